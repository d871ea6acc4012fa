"""PoissonRegressor, GammaRegressor and TweedieRegressor."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from sklearn import linear_model
from sklearn.base import _fit_context

from .. import losses
from ..formulas.power_means import tweedie_mean, tweedie_mean_second, tweedie_mean_slope
from .estimator import Estimator, at_least_one, refuse, start_at
from .rows import over_blocks, predicted
from .smallest_fit import smallest_fit

#: The Tweedie loss without a link.
_MEAN = losses.Loss(
    "tweedie without link", tweedie_mean, tweedie_mean_slope, math.inf, tweedie_mean_second
)


class Generalized(Estimator):
    """What the estimators of generalized linear models share: the fit.

    Those of scikit-learn have the loss in `_base_loss` too, from which they predict and score.
    """

    alpha: Any
    fit_intercept: Any
    max_iter: Any
    tol: Any
    warm_start: Any
    _get_loss: Any

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
            For a TweedieRegressor with the identity link, another power than 0, and no intercept.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` epochs were too few, or no finite optimum exists.
        """
        loss, scale = self._loss()
        X, y, sample_weight = self._read(
            X, y, sample_weight, dtype=[np.float64, np.float32], y_numeric=True
        )
        y = y.astype(X.dtype, copy=False)
        self._base_loss = self._get_loss()
        if not self._base_loss.in_y_true_range(y):
            raise ValueError(
                "Some value(s) of y are out of the valid range of the loss "
                f"{type(self._base_loss).__name__!r}."
            )
        run = self._solve(
            loss, X, y, sample_weight=sample_weight, fit_intercept=self.fit_intercept,
            l2=scale * self.alpha, tol=self.tol, epochs=self.max_iter, **self._start(),
        )  # fmt: skip
        if run.solver.trouble == "dependent":  # of the many coefficients, the smallest
            raw = X @ self.fit_.coef + self.fit_.intercept
            smallest = smallest_fit(X, raw, None, self.fit_intercept, None)[0]
            self.fit_.coef, self.fit_.intercept = smallest.coef, smallest.intercept
        else:
            self._warn(run)
        self.coef_, self.n_iter_ = self.fit_.coef, at_least_one(self.fit_)
        self.intercept_ = X.dtype.type(self.fit_.intercept) if self.fit_intercept else 0.0
        return self

    def _linear_predictor(self, X: Any) -> Any:
        """The raw prediction, which scikit-learn's `score` takes."""
        return predicted(self, "_linear_predictor", super()._linear_predictor, X)  # type: ignore[misc]

    def _loss(self) -> tuple[Any, float]:
        """The loss, and how many times scikit-learn's it is."""
        raise NotImplementedError

    def _start(self) -> dict[str, Any]:
        """Where to start: with `warm_start` at the last fit."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return {}
        return start_at(self.coef_, self.intercept_, self.fit_intercept)


class PoissonRegressor(Generalized, linear_model.PoissonRegressor):
    """Regression of counts, whose mean is exp(X·coef + intercept): scikit-learn's, by fastgd.

    Minimises ``mean(exp(z) − y·z) + alpha/2·‖coef‖²`` with ``z = X·coef + intercept``, the mean weighted
    by `sample_weight`.

    Parameters
    ----------
    alpha : float, default=1.0
    fit_intercept : bool, default=True
    solver : {"lbfgs", "newton-cholesky"}, default="lbfgs"
        Both have one optimum, and both are fastgd's way to it.
    max_iter : int, default=100
        The most epochs, each a reading of X.
    tol : float, default=1e-4
        The fit ends where the norm of the gradient is below `tol` times that at the start, in coordinates
        in which the columns have one scale and are not correlated.
    warm_start : bool, default=False
    verbose : int, default=0
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
    >>> from fastgd.linear_model import PoissonRegressor
    >>> model = PoissonRegressor(alpha=0.0, tol=1e-9).fit([[0.0], [1.0], [2.0]], [1, 2, 4])
    >>> model.predict([[3.0]]).round(6)
    array([8.])
    """

    def _loss(self) -> tuple[Any, float]:
        return losses.POISSON, 1.0


class GammaRegressor(Generalized, linear_model.GammaRegressor):
    """Regression of positive numbers, whose mean is exp(X·coef + intercept): scikit-learn's, by fastgd.

    Minimises ``mean(z + y·exp(−z)) + alpha/2·‖coef‖²`` with ``z = X·coef + intercept``, the mean weighted
    by `sample_weight`.

    Parameters
    ----------
    alpha : float, default=1.0
    fit_intercept : bool, default=True
    solver : {"lbfgs", "newton-cholesky"}, default="lbfgs"
        Both have one optimum, and both are fastgd's way to it.
    max_iter : int, default=100
        The most epochs, each a reading of X.
    tol : float, default=1e-4
        The fit ends where the norm of the gradient is below `tol` times that at the start, in coordinates
        in which the columns have one scale and are not correlated.
    warm_start : bool, default=False
    verbose : int, default=0
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
    >>> from fastgd.linear_model import GammaRegressor
    >>> model = GammaRegressor(alpha=0.0, tol=1e-9).fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 4.0])
    >>> model.predict([[3.0]]).round(6)
    array([8.])
    """

    def _loss(self) -> tuple[Any, float]:
        return losses.GAMMA, 1.0


class TweedieRegressor(Generalized, linear_model.TweedieRegressor):
    """Regression with the Tweedie deviance of a power: scikit-learn's TweedieRegressor, by fastgd.

    Minimises ``mean(deviance)/2 + alpha/2·‖coef‖²``, the mean weighted by `sample_weight`. The loss is
    convex with a logarithmic link for powers from 1 to 2, and without for those of 0 and 1; else there
    may be several optima, and this is one of them.

    Parameters
    ----------
    power : float, default=0.0
        The variance of y is proportional to mean^power. 0 is normal, 1 Poisson, between 1 and 2 a sum of
        gamma variables as many as a Poisson variable says, 2 gamma, 3 inverse Gaussian. Between 0 and 1
        no such variable exists; the deviance does.
    alpha : float, default=1.0
    fit_intercept : bool, default=True
    link : {"auto", "identity", "log"}, default="auto"
        The mean is X·coef + intercept, or its exponential; "auto" is "identity" for a power of 0 and
        less, else "log". With "identity" and a power that is not 0 the deviance is infinite where the
        mean is not above 0: as a fit starts at the mean of y, it then raises NotImplementedError without
        an intercept.
    solver : {"lbfgs", "newton-cholesky"}, default="lbfgs"
        Both are fastgd's way to an optimum.
    max_iter : int, default=100
        The most epochs, each a reading of X.
    tol : float, default=1e-4
        The fit ends where the norm of the gradient is below `tol` times that at the start, in coordinates
        in which the columns have one scale and are not correlated.
    warm_start : bool, default=False
    verbose : int, default=0
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
    >>> from fastgd.linear_model import TweedieRegressor
    >>> model = TweedieRegressor(power=1.5, alpha=0.0, tol=1e-9).fit([[0.0], [1.0], [2.0]], [1, 2, 4])
    >>> model.predict([[3.0]]).round(6)
    array([8.])
    """

    def _loss(self) -> tuple[Any, float]:
        link = self.link
        if link == "auto":
            link = "identity" if self.power <= 0 else "log"
        if link == "identity" and self.power == 0:
            return losses.MSE, 2.0
        if link == "identity" and not self.fit_intercept:
            what = f"link='identity' with power={self.power:g} and fit_intercept=False"
            refuse(self, what, "fit an intercept, or pass link='log' or power=0")
        targets = losses.REAL if self.power <= 0 else losses.COUNTS
        targets = losses.POSITIVE if self.power >= 2 else targets
        loss = losses.Tweedie() if link == "log" else _MEAN
        return loss._replace(p=float(self.power), targets=targets), 1.0
