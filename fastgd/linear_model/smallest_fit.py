"""Least squares of dependent columns: the smallest coefficients, by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, lsqr
from sklearn.utils.validation import assert_all_finite

from ..costs import mse_cost
from ..errors import InputError
from ..result import Fit
from ..solvers.metric import FULL_METRIC
from ..sources.blocks import Blocks
from .running_moments import RunningMoments


def smallest_fit(
    X: Any, y: Any, sample_weight: Any, fit_intercept: bool, cut: Any, alpha: float = 0.0
) -> tuple[Any, ...]:
    """The fit with the smallest coefficients of those that fit best; and rank and singular values of X.

    Of blocks it is that of X^T X.

    Parameters
    ----------
    X, y, sample_weight : checked data
    fit_intercept : bool
    cut : float, optional
        The part of the largest singular value below which one is zero; by default that of rounding.
    alpha : float
        The penalty alpha·‖coef‖², for dense X.
    """
    if isinstance(X, Blocks):
        return _of_moments(X, y, sample_weight, fit_intercept, cut, alpha)
    sparse = scipy.sparse.issparse(X)
    dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float64)
    assert_all_finite(X, input_name="X")
    y = y.astype(dtype, copy=False)
    center, y_center = np.zeros(X.shape[1], dtype), np.zeros(y.shape[1:], dtype)
    if fit_intercept:
        center, y_center = (_mean(columns, sample_weight).astype(dtype) for columns in (X, y))
    root = np.ones(X.shape[0], dtype) if sample_weight is None else np.sqrt(sample_weight)
    targets = (y - y_center) * (root if y.ndim == 1 else root[:, None])
    rank = singular = None
    if sparse:
        centred = LinearOperator(
            X.shape, matvec=lambda w: root * (X @ w - center @ w),
            rmatvec=lambda r: X.T @ (root * r) - center * (root @ r), dtype=dtype,
        )  # fmt: skip
        columns = np.atleast_2d(targets.T)
        found = [lsqr(centred, column, atol=1e-13, btol=1e-13)[0] for column in columns]
        coef = np.stack(found, axis=1).reshape(X.shape[1], *y.shape[1:])
    else:
        apart = X - center
        # What is left of a constant column is the rounding of its mean.
        apart[:, np.abs(apart).max(axis=0) <= 16 * np.finfo(dtype).eps * np.abs(center)] = 0.0
        apart = apart.astype(dtype, copy=False)
        cut = max(X.shape) * np.finfo(dtype).eps if cut is None else cut
        rows = apart * root[:, None]
        if alpha > 0:  # the penalty is that of one more row for each column
            rows = np.vstack([rows, np.sqrt(alpha) * np.eye(X.shape[1], dtype=dtype)])
            targets = np.concatenate([targets, np.zeros((X.shape[1], *y.shape[1:]), dtype)])
        coef, _, rank, singular = scipy.linalg.lstsq(rows, targets, cond=cut)
    coef = np.ascontiguousarray(coef.T, dtype=dtype)
    intercept = y_center - coef @ center
    fit = Fit(
        coef=coef, intercept=intercept.item() if y.ndim == 1 else intercept, costs=np.empty(0),
        cost=mse_cost(X, y, coef, intercept), n_epochs=0, converged=True, method="lstsq",
    )  # fmt: skip
    return fit, rank, singular


def _of_moments(
    X: Blocks, y: Any, sample_weight: Any, fit_intercept: bool, cut: Any, alpha: float
) -> tuple[Any, ...]:
    """The same for rows in blocks."""
    n, d = X.shape
    if d > FULL_METRIC:
        raise InputError(
            f"X has {n} rows in blocks and {d} columns, which are dependent: without a penalty more than "
            f"{FULL_METRIC} of them have no fit; pass the rows in memory, or use Ridge."
        )
    targets = y.reshape(n, -1)
    moments = RunningMoments(d, targets.shape[1]).with_batch(X, targets, sample_weight)
    if not moments.is_finite():
        X.require_finite("X")
        raise InputError("the squares of X or y overflow float64; scale them.")
    fit = moments.fit(fit_intercept, np.full(targets.shape[1], alpha), y.ndim == 1)
    fit.coef = fit.coef.astype(X.dtype, copy=False)
    cut = max(X.shape) * np.finfo(X.dtype).eps if cut is None else cut
    return fit, *moments.spectrum(fit_intercept, cut)


def _mean(columns: Any, weight: Any) -> np.ndarray:
    """The weighted mean of columns."""
    if weight is None:
        sums, total = columns.sum(axis=0), columns.shape[0]
    elif scipy.sparse.issparse(columns):
        sums, total = weight @ columns, weight.sum()
    else:  # not by BLAS, whose threads would spin-wait beside those of SciPy's own
        sums, total = np.einsum("n,n...->...", weight, columns), weight.sum()
    return np.asarray(sums, dtype=np.float64).reshape(columns.shape[1:]) / total
