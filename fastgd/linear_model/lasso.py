"""Lasso and ElasticNet."""

from __future__ import annotations

import numbers
import warnings
from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning

from .. import losses
from ..costs import mse_cost_and_gradient
from ..errors import DivergenceError
from ..sources.blocks import Blocks
from .estimator import Estimator, at_least_one, refuse
from .rows import over_blocks

#: The smallest tolerance of a duality gap, in units of the rounding error.
_ROUNDING = 64


class Penalised(Estimator):
    """What Lasso and ElasticNet share: the fit."""

    alpha: Any
    fit_intercept: Any
    max_iter: Any
    positive: Any
    precompute: Any
    warm_start: Any

    @_fit_context(prefer_skip_nested_validation=True)
    @over_blocks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, check_input: bool = True) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks, as `fastgd.fit` takes them, with y and weights as arrays or names.
        y : array-like (n,) or (n, k)
        sample_weight : float or array-like (n,), optional
        check_input : bool, default=True
            False takes X and y as they are: arrays of the same dtype.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter can't be used.
        NotImplementedError
            With ``positive=True``.

        Warns
        -----
        ConvergenceWarning
            If the duality gap is above the tolerance, as where `max_iter` epochs were too few.
        """
        if self.alpha == 0:
            warnings.warn(
                "With alpha=0, this algorithm does not converge well. You are advised to use the "
                "LinearRegression estimator",
                stacklevel=4,
            )
        if self.positive:
            refuse(self, "positive=True", "bound the coefficients with scipy.optimize.lsq_linear")
        if isinstance(sample_weight, numbers.Number):
            sample_weight = None
        if check_input:
            X, y, sample_weight = self._read(
                X, y, sample_weight, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True
            )  # fmt: skip
            y = y.astype(X.dtype, copy=False)
            self._check_gram(X, sample_weight)
        gaps = _Gaps(X, y, sample_weight, self)
        total = X.shape[0] if sample_weight is None else float(np.sum(sample_weight))
        try:
            self._solve(
                losses.MSE, X, y, sample_weight=sample_weight, fit_intercept=self.fit_intercept,
                reduction="sum", l1=2 * total * gaps.l1, l2=2 * total * gaps.l2,
                epochs=self.max_iter, callback=gaps, **self._start(X, y, sample_weight, gaps),
            )  # fmt: skip
        except DivergenceError as error:
            raise ValueError(
                "Coordinate descent iterations resulted in non-finite parameter values. The input data "
                f"may contain large values and need to be preprocessed: {error}"
            ) from None
        fit = self.fit_
        gaps(fit)
        if not gaps.met:
            warnings.warn(gaps.shortfall(), ConvergenceWarning, stacklevel=4)
        epochs: Any = at_least_one(fit) if fit.n_epochs or not gaps.met else 0
        self.coef_, self.intercept_ = fit.coef, fit.intercept if self.fit_intercept else 0.0
        self.dual_gap_ = gaps.values.astype(X.dtype)
        if len(gaps.values) == 1:
            self.coef_, self.dual_gap_ = fit.coef.reshape(-1), self.dual_gap_[0]
        self.n_iter_ = epochs if len(gaps.values) == 1 else [epochs] * len(gaps.values)
        return self

    def _check_gram(self, X: Any, weight: Any) -> None:
        """Refuse a given X^T X as scikit-learn does, if one of its numbers isn't that of X."""
        if not hasattr(self.precompute, "__array__") or scipy.sparse.issparse(X):
            return
        if isinstance(X, Blocks):
            refuse(self, "a given `precompute` for rows in blocks", "leave it out")
        root = np.ones(len(X)) if weight is None else np.sqrt(weight * (len(X) / weight.sum()))
        center = np.zeros(X.shape[1])
        if self.fit_intercept and not np.allclose(
            center := np.average(X, axis=0, weights=weight), 0
        ):
            warnings.warn(
                "Gram matrix was provided but X was centered to fit intercept: recomputing Gram matrix.",
                UserWarning,
                stacklevel=5,
            )
            return
        one = X.shape[1] // 2
        other = min(one + 1, X.shape[1] - 1)
        columns = root[:, None] * (X[:, [one, other]] - center[[one, other]])
        expected, given = columns[:, 0] @ columns[:, 1], np.asarray(self.precompute)[one, other]
        rtol = 1e-4 if np.float32 in (X.dtype, given.dtype) else 1e-7
        if not np.isclose(expected, given, rtol=rtol, atol=1e-5):
            raise ValueError(
                "Gram matrix passed in via 'precompute' parameter did not pass validation when a single "
                "element was checked - please check that it was computed properly. For element "
                f"({one},{other}) we computed {expected} but the user-supplied value was {given}."
            )

    def _start(self, X: Any, y: Any, weight: Any, gaps: _Gaps) -> dict[str, Any]:
        """Where to start: with `warm_start` at the last fit, and to stay there if its gap is met."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return {}
        coef = np.reshape(self.coef_, (-1,) if y.ndim == 1 else (y.shape[1], -1))
        start = {"coef_init": coef}
        intercept = np.zeros(y.shape[1:])
        if self.fit_intercept:
            intercept = np.average(y - X @ coef.T, axis=0, weights=weight)
            start["intercept_init"] = intercept
        return start | ({"tol": 1.0} if gaps.at(coef, intercept) else {})


class ElasticNet(Penalised, linear_model.ElasticNet):
    """Least squares with l1 and l2 penalties: scikit-learn's ElasticNet, by fastgd.

    Minimises ``mean((X·coef + intercept − y)²)/2 + alpha·(l1_ratio·‖coef‖₁ + (1 − l1_ratio)/2·‖coef‖²)``,
    the mean weighted by `sample_weight`, for each column of y.

    Parameters
    ----------
    alpha : float, default=1.0
    l1_ratio : float, default=0.5
        The part of the penalty that is l1, from 0 to 1.
    fit_intercept : bool, default=True
    precompute : bool or array-like (d, d), default=False
        Without effect, but that a matrix which is not X^T X is refused.
    max_iter : int, default=1000
        The most epochs, each a reading of X.
    copy_X : bool, default=True
        Without effect: X is never written.
    tol : float, default=1e-4
        The fit ends where the duality gap, which bounds how far the objective is above its optimum, is at
        most `tol` times the mean square of y about its mean (without intercept about 0). With up to 2048
        columns it goes to rounding at once.
    warm_start : bool, default=False
    positive : bool, default=False
        True raises NotImplementedError.
    random_state : optional
        Without effect.
    selection : {"cyclic", "random"}, default="cyclic"
        Without effect.

    Attributes
    ----------
    coef_ : ndarray (d,) or (k, d)
    sparse_coef_ : sparse array (1, d) or (k, d)
    intercept_ : float or ndarray (k,)
    n_iter_ : int or list of int
        The epochs.
    dual_gap_ : float or ndarray (k,)
        The duality gap of each column of y.
    fit_ : Fit

    Examples
    --------
    >>> from fastgd.linear_model import ElasticNet
    >>> model = ElasticNet(alpha=0.1).fit([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], [0.0, 1.0, 2.0])
    >>> model.coef_.round(6), round(float(model.intercept_), 6)
    (array([0.860465, 0.      ]), 0.139535)
    """


class Lasso(Penalised, linear_model.Lasso):
    """Least squares with an l1 penalty: scikit-learn's Lasso, by fastgd.

    Minimises ``mean((X·coef + intercept − y)²)/2 + alpha·‖coef‖₁``, the mean weighted by `sample_weight`,
    for each column of y.

    Parameters
    ----------
    alpha : float, default=1.0
    fit_intercept : bool, default=True
    precompute : bool or array-like (d, d), default=False
        Without effect, but that a matrix which is not X^T X is refused.
    copy_X : bool, default=True
        Without effect: X is never written.
    max_iter : int, default=1000
        The most epochs, each a reading of X.
    tol : float, default=1e-4
        The fit ends where the duality gap, which bounds how far the objective is above its optimum, is at
        most `tol` times the mean square of y about its mean (without intercept about 0). With up to 2048
        columns it goes to rounding at once.
    warm_start : bool, default=False
    positive : bool, default=False
        True raises NotImplementedError.
    random_state : optional
        Without effect.
    selection : {"cyclic", "random"}, default="cyclic"
        Without effect.

    Attributes
    ----------
    coef_ : ndarray (d,) or (k, d)
    sparse_coef_ : sparse array (1, d) or (k, d)
    intercept_ : float or ndarray (k,)
    n_iter_ : int or list of int
        The epochs.
    dual_gap_ : float or ndarray (k,)
        The duality gap of each column of y.
    fit_ : Fit

    Examples
    --------
    >>> from fastgd.linear_model import Lasso
    >>> model = Lasso(alpha=0.1).fit([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], [0.0, 1.0, 2.0])
    >>> model.coef_.round(6), round(float(model.intercept_), 6)
    (array([0.85, 0.  ]), 0.15)
    """


class _Gaps:
    """The duality gaps of a fit, one for each column of y; as a callback it ends the fit that meets them.

    With residuals r, A = X^T r/n − l2·coef and a scale s that brings A within ±l1, the dual objective is
    ``s·mean(r·y) − s²/2·(mean(r²) + l2·‖coef‖²)`` (Fercoq, Gramfort and Salmon, 2015). Without l1 it is
    that of ridge regression; without a penalty the squared gradient stands in for the gap.

    Parameters
    ----------
    X, y, sample_weight : checked data
    model : Penalised

    Attributes
    ----------
    l1, l2 : float
        The penalties.
    values, limits : ndarray (k,)
        The gaps at the parameters of the last call, and the largest that they may be.
    """

    def __init__(self, X: Any, y: Any, sample_weight: Any, model: Any):
        self.X, self.weight = X, sample_weight
        self.columns = np.ascontiguousarray(y.T).reshape(-1, y.shape[0])
        self.l1, self.l2 = model.alpha * model.l1_ratio, model.alpha * (1 - model.l1_ratio)
        y = self.columns.astype(np.float64, copy=False)
        if model.fit_intercept:
            y = y - np.average(y, axis=1, weights=sample_weight)[:, None]
        least = _ROUNDING * float(np.finfo(X.dtype if X.dtype.kind == "f" else float).eps)
        self.limits = max(model.tol, least) * np.average(y * y, axis=1, weights=sample_weight)
        self.values = np.full(len(y), np.inf)
        self._at: Any = None

    @property
    def met(self) -> bool:
        return bool((self.values <= self.limits).all())

    def __call__(self, fit: Any) -> bool:
        return self.at(fit.coef, fit.intercept)

    def at(self, coef: Any, intercept: Any) -> bool:
        """Whether they are met at coefficients, and the intercepts that are the best for them."""
        at = np.atleast_2d(coef), np.atleast_1d(intercept)
        if self._at is None or not all(map(np.array_equal, at, self._at)):
            parts = zip(self.columns, *at, strict=True)
            self.values, self._at = np.array([self._gap(*of) for of in parts]), at
        return self.met

    def _gap(self, y: Any, coef: Any, intercept: Any) -> float:
        square, gradient, _ = mse_cost_and_gradient(
            self.X, y, coef, float(intercept), sample_weight=self.weight
        )
        coef, products = coef.astype(np.float64), gradient.astype(np.float64) / -2
        size, inner = self.l2 * float(coef @ coef), square + float(coef @ products)
        if self.l1 > 0:
            largest = float(np.abs(products - self.l2 * coef).max())
            scale = self.l1 / max(largest, self.l1)
            primal = (square + size) / 2 + self.l1 * float(np.abs(coef).sum())
            return primal - scale * inner + scale**2 / 2 * (square + size)
        steep = float(products @ products)
        if self.l2 > 0:
            return square + size / 2 - inner + steep / (2 * self.l2)
        return steep * len(y)

    def shortfall(self) -> str:
        """That the gaps are above their limits, in scikit-learn's words."""
        worst = int(np.argmax(self.values - self.limits))
        return (
            "Objective did not converge. You might want to increase the number of iterations, check the "
            "scale of the features or consider increasing regularisation. Duality gap: "
            f"{self.values[worst]:.6e}, tolerance: {self.limits[worst]:.3e}"
        )
