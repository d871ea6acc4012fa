"""HuberRegressor and QuantileRegressor."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning

from .. import losses
from ..costs import mse_gradient
from ..sources.blocks import Blocks
from .estimator import Estimator, at_least_one, refuse, start_at
from .rows import over_blocks

#: The least scale of residuals, as in scikit-learn, and as a part of that of y: smaller residuals are 0.
_LEAST_SCALE, _LEAST_PART = 10 * float(np.finfo(np.float64).eps), 1e-10
#: The most columns that the interior point method takes.
_COLUMNS = 2048
#: The first fit is to one row in so many, if there are so many of them for each column.
_SAMPLED, _ROWS_A_COLUMN = 16, 10
#: The most scales that are tried; the changes of one below which none is needed, from `tol`, at the ends.
_SCALES, _CHANGES = 50, (1e-9, 1e-6)
#: The secant leads no farther below the best scale for some residuals than this factor.
_FARTHEST = 10
#: The tolerance of the fit for one scale, relative to where it starts: the end of the fit before.
_TOL = 1e-4


class _Scale(NamedTuple):
    """A scale, where a fit for it would start, and how fast the best scale for its residuals leaves it.

    `slope` is the derivative in the scale of the difference of the two, NaN where it isn't known.
    """

    scale: float
    start: dict[str, Any]
    slope: float = math.nan


class HuberRegressor(Estimator, linear_model.HuberRegressor):
    """Regression that outliers move little: scikit-learn's HuberRegressor, by fastgd.

    Minimises ``Σ (scale + scale·H((y − X·coef − intercept)/scale)) + alpha·‖coef‖²`` in coefficients and
    scale, weighted by `sample_weight`, with ``H(u) = u²`` up to `epsilon`, and beyond that
    ``2·epsilon·|u| − epsilon²``. For one scale this is fastgd's loss "huber"; the scale is found by the
    secant method, from one fit to the next.

    Parameters
    ----------
    epsilon : float, default=1.35
        Beyond so many scales a residual is that of an outlier; 1 or more.
    max_iter : int, default=100
        The most epochs of all fits, each a reading of X.
    alpha : float, default=0.0001
    warm_start : bool, default=False
    fit_intercept : bool, default=True
    tol : float, default=1e-5
        The fit ends where the best scale for its residuals differs by no more than a tenth of `tol` from
        that of the fit, relative to it.

    Attributes
    ----------
    coef_ : ndarray (d,)
    intercept_ : float
    scale_ : float
    n_iter_ : int
        The epochs of all fits.
    outliers_ : ndarray of bool (n,)
        Where the residual is beyond ``epsilon·scale_``.
    fit_ : Fit
        That of the last scale.

    Examples
    --------
    >>> from fastgd.linear_model import HuberRegressor
    >>> x, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], [0.1, 2.0, 3.9, 6.1, 8.0, 90.0]
    >>> model = HuberRegressor(alpha=0.0).fit(x, y)
    >>> model.coef_.round(1), model.outliers_.tolist()
    (array([2.]), [False, False, False, False, False, True])
    """

    coef_: Any
    intercept_: Any
    scale_: Any

    @_fit_context(prefer_skip_nested_validation=True)
    @over_blocks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks, as `fastgd.fit` takes them, with y and weights as arrays or names.
        y : array-like (n,)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter can't be used.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` epochs were too few.
        """
        X, y, sample_weight = self._read(
            X, y, sample_weight, dtype=[np.float64, np.float32], y_numeric=True
        )
        n, weight = len(y), sample_weight
        at, met = _Scale(math.nan, {}), False
        if self.warm_start and hasattr(self, "coef_"):
            at = _Scale(self.scale_, self._start(self.coef_, self.intercept_))
            met = self._steepest(X, y, 1.0 if weight is None else weight) <= self.tol
        elif not isinstance(X, Blocks) and n >= _SAMPLED * _ROWS_A_COLUMN * (X.shape[1] + 1):
            some = slice(None, None, _SAMPLED)
            if weight is None or weight[some].any():
                of_rows = None if weight is None else weight[some]
                at, _ = self._search(X[some], y[some], of_rows, at)
        self.n_iter_ = 0
        if met:
            self._fit_at(at, X, y, weight, tol=1.0)  # which ends where it starts
        else:
            at, met = self._search(X, y, weight, at)
        self.scale_ = at.scale
        if not met:
            warnings.warn(
                f"HuberRegressor did not converge: the scale is short of tol={self.tol} after "
                f"{self.n_iter_} epochs; allow more epochs.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.coef_ = self.fit_.coef
        self.intercept_ = self.fit_.intercept if self.fit_intercept else 0.0
        self.outliers_ = np.abs(y - self.fit_.predict(X)) > self.scale_ * self.epsilon
        return self

    def _search(self, X: Any, y: Any, weight: Any, at: _Scale) -> tuple[_Scale, bool]:
        """The scale, from a near one if that is known, and whether it is met; its fit is in `fit_`."""
        y = y.astype(np.float64, copy=False)
        of_rows = np.ones(len(y)) if weight is None else weight.astype(np.float64, copy=False)
        size = math.sqrt(np.average((y - np.average(y, weights=weight)) ** 2, weights=weight))
        least, enough = max(_LEAST_SCALE, _LEAST_PART * size), np.clip(self.tol / 10, *_CHANGES)
        at = at._replace(scale=max(size if math.isnan(at.scale) else at.scale, least))
        low, high, last, last_change = 0.0, math.inf, math.nan, math.nan
        self.n_iter_ = 0
        for _ in range(_SCALES):
            epochs = max(1, self.max_iter - self.n_iter_)
            self._fit_at(at, X, y, weight, tol=_TOL, epochs=epochs)
            fit, (scale, _, slope) = self.fit_, at
            self.n_iter_ += fit.n_epochs
            best = best_scale(np.abs(y - fit.predict(X)), of_rows, self.epsilon, scale)
            best = max(least, best)
            change = best - scale
            met = abs(change) <= enough * scale or best == least
            low, high = (scale, high) if change > 0 else (low, scale)
            if not math.isnan(last):
                slope = (change - last_change) / (scale - last)
            following = best
            if not met and slope < 0 and low <= (secant := scale - change / slope) < high:
                following = max(secant, best / _FARTHEST, least)
            at = _Scale(following, self._start(fit.coef, fit.intercept), slope)
            if met or self.n_iter_ >= self.max_iter:
                break
            last, last_change = scale, change
        return at, bool(met)

    def _fit_at(self, at: _Scale, X: Any, y: Any, weight: Any, **options: Any) -> None:
        """Set `fit_` to the fit for one scale: its objective is half a scale times that of the class."""
        self._solve(
            losses.Huber(self.epsilon * at.scale), X, y, sample_weight=weight,
            l2=self.alpha * at.scale, reduction="sum", fit_intercept=self.fit_intercept,
            dtype="float64", **at.start, **options,
        )  # fmt: skip

    def _steepest(self, X: Any, y: Any, weight: Any) -> float:
        """The largest derivative of the objective where the last fit ended."""
        residuals = (y - X @ self.coef_ - self.intercept_) / self.scale_
        slopes = 2 * weight * np.clip(residuals, -self.epsilon, self.epsilon)
        in_scale = (weight * (1 - np.minimum(np.abs(residuals), self.epsilon) ** 2)).sum()
        # X^T slopes: the gradient of squares where predictions are 0.
        by_coef, _ = mse_gradient(X, slopes / -2, np.zeros(X.shape[1]), reduction="sum")
        in_coef = 2 * self.alpha * self.coef_ - by_coef
        in_intercept = slopes.sum() if self.fit_intercept else 0.0
        return float(np.abs([*in_coef, in_intercept, in_scale]).max())

    def _start(self, coef: Any, intercept: Any) -> dict[str, Any]:
        """The arguments of a fit that starts at these parameters."""
        return start_at(coef, intercept, self.fit_intercept)


def best_scale(sizes: Any, weight: Any, epsilon: float, near: float) -> float:
    """The scale with the least objective, given the sizes of residuals; 0 if it has no least.

    It is the root of ``Σ weight·min((size/scale)², epsilon²) = Σ weight``, whose left side is concave in
    1/scale²: Newton's steps reach it from the side of large scales.

    Parameters
    ----------
    sizes, weight : ndarray (n,)
    epsilon : float
    near : float
        Where to begin.
    """
    squares, total = weight * sizes * sizes, float(weight.sum())
    largest = float(sizes.max()) / epsilon
    scale = min(near, largest)
    while True:
        inside = (sizes <= epsilon * scale).astype(np.float64)
        left = total - epsilon**2 * (total - _dot(weight, inside))
        if left <= 0:  # far on the side of small scales
            scale = min(2 * scale, largest)
            continue
        following = math.sqrt(_dot(squares, inside) / left)
        if following == 0 or math.isclose(following, scale, rel_tol=1e-14):
            return following
        scale = following


def _dot(a: Any, b: Any) -> float:
    """The inner product; threads of BLAS would cost more than they spare."""
    return float(np.einsum("i,i->", a, b))


class QuantileRegressor(Estimator, linear_model.QuantileRegressor):
    """Regression of a quantile: scikit-learn's QuantileRegressor, by fastgd.

    Minimises ``mean(loss) + alpha·‖coef‖₁`` with the pinball loss ``quantile·(y − z)`` of an y above
    ``z = X·coef + intercept``, and ``(1 − quantile)·(z − y)`` of one below; the mean is weighted by
    `sample_weight`. Where several coefficients are optimal, these may be others than scikit-learn's.

    Parameters
    ----------
    quantile : float, default=0.5
        Between 0 and 1; 0.5 is the median.
    alpha : float, default=1.0
    fit_intercept : bool, default=True
    solver : str, default="highs"
        Any of scikit-learn's names, refused where scikit-learn refuses them; all are fastgd's interior
        point method, for up to 2048 columns.
    solver_options : dict, optional
        Without effect.

    Attributes
    ----------
    coef_ : ndarray (d,)
    intercept_ : float
    n_iter_ : int
        The epochs.
    fit_ : Fit

    Examples
    --------
    >>> from fastgd.linear_model import QuantileRegressor
    >>> x, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [0.0, 2.0, 4.0, 6.0, 80.0]
    >>> model = QuantileRegressor(alpha=0.0).fit(x, y)
    >>> model.coef_.round(6)
    array([2.])
    """

    @_fit_context(prefer_skip_nested_validation=True)
    @over_blocks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks, as `fastgd.fit` takes them, with y and weights as arrays or names.
        y : array-like (n,)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter can't be used.
        NotImplementedError
            With more than 2048 columns.

        Warns
        -----
        ConvergenceWarning
            If the duality gap is not small.
        """
        X, y, sample_weight = self._read(
            X, y, sample_weight, accept_sparse=("csr", "csc", "coo"), y_numeric=True
        )
        if self.solver == "interior-point":
            raise ValueError(f"Solver {self.solver} is not anymore available in SciPy >= 1.11.0.")
        if scipy.sparse.issparse(X) and not self.solver.startswith("highs"):
            raise ValueError(
                f"Solver {self.solver} does not support sparse X. Use solver 'highs' for example."
            )
        if X.shape[1] > _COLUMNS:
            refuse(self, f"{X.shape[1]} columns, more than {_COLUMNS}", "drop some of them")
        run = self._solve(
            losses.Quantile(self.quantile), X, y, sample_weight=sample_weight, l1=self.alpha,
            fit_intercept=self.fit_intercept, dtype="float64",
        )  # fmt: skip
        self._warn(run)
        self.coef_, self.n_iter_ = self.fit_.coef, at_least_one(self.fit_)
        self.intercept_ = self.fit_.intercept if self.fit_intercept else 0.0
        return self
