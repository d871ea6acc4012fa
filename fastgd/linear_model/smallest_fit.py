"""Least squares of dependent columns: the smallest coefficients, by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, lsqr
from sklearn.utils.validation import assert_all_finite

from ..costs import mse_cost
from ..result import Fit


def smallest_fit(
    X: Any, y: Any, sample_weight: Any, fit_intercept: bool, cut: Any
) -> tuple[Any, ...]:
    """The fit with the smallest coefficients of those that fit best; and rank and singular values of X.

    Parameters
    ----------
    X, y, sample_weight : checked data
    fit_intercept : bool
    cut : float, optional
        The part of the largest singular value below which one is zero.
    """
    sparse = scipy.sparse.issparse(X)
    dtype = np.result_type(X.dtype, np.float32 if X.dtype.kind == "f" else np.float64)
    assert_all_finite(X, input_name="X")
    y = y.astype(dtype, copy=False)
    center, y_center = np.zeros(X.shape[1], dtype), np.zeros(y.shape[1:], dtype)
    if fit_intercept:
        total = X.shape[0] if sample_weight is None else sample_weight.sum()
        share = np.full(X.shape[0], 1 / total) if sample_weight is None else sample_weight / total
        # Not by BLAS, whose threads would spin-wait beside those of SciPy's own.
        center = share @ X if sparse else np.einsum("n,nd->d", share, X)
        center, y_center = center.astype(dtype), np.einsum("n,n...->...", share, y).astype(dtype)
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
        coef, _, rank, singular = scipy.linalg.lstsq(
            (X - center) * root[:, None], targets, cond=cut
        )
    coef = np.ascontiguousarray(coef.T, dtype=dtype)
    intercept = y_center - coef @ center
    fit = Fit(
        coef=coef, intercept=intercept.item() if y.ndim == 1 else intercept, costs=np.empty(0),
        cost=mse_cost(X, y, coef, intercept), n_epochs=0, converged=True, method="lstsq",
    )  # fmt: skip
    return fit, rank, singular
