"""LinearRegression and Ridge."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn import linear_model
from sklearn.base import _fit_context

from .. import losses
from .estimator import at_least_one, intercept_of, refuse, threads
from .incremental import Incremental
from .rows import over_blocks
from .running_moments import spectrum_of
from .smallest_fit import smallest_fit

#: Entries of X up to which a factorisation takes less time than to plan passes: 1 ms.
_FEW = 10_000


class LinearRegression(Incremental, linear_model.LinearRegression):
    """Ordinary least squares: scikit-learn's LinearRegression, by fastgd.

    Minimises ``Σ (x·coef + intercept − y)²``, weighted by `sample_weight`. Where columns are dependent,
    the coefficients are the smallest of those that fit best, from SciPy's `lstsq` as in scikit-learn, and
    so are those of at most 10,000 entries of X.

    Parameters
    ----------
    fit_intercept : bool, default=True
    copy_X : bool, default=True
        Without effect: X is never written.
    tol : float, default=1e-6
        Where columns are dependent: the part of the largest singular value below which one is zero. A fit
        of independent columns goes to rounding.
    n_jobs : int, optional
        The number of threads; by default all processors.
    positive : bool, default=False
        True raises NotImplementedError.

    Attributes
    ----------
    coef_ : ndarray (d,) or (k, d)
    intercept_ : float or ndarray (k,)
    rank_ : int
        The rank of the centred X, if X is dense: its singular values above `tol` times the largest.
    singular_ : ndarray (min(n, d),)
        Its singular values, if X is dense. They are the roots of the eigenvalues of X^T X, so that those
        below 1e-8 of the largest are lost to rounding. With more than 2048 independent columns it is
        None, as is `rank_`.
    fit_ : Fit

    Examples
    --------
    >>> from fastgd.linear_model import LinearRegression
    >>> model = LinearRegression().fit([[1, 1], [1, 2], [2, 2], [2, 3]], [6, 8, 9, 11])
    >>> model.coef_.round(9), round(float(model.intercept_), 9)
    (array([1., 2.]), 3.0)
    """

    @_fit_context(prefer_skip_nested_validation=True)
    @over_blocks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks, as `fastgd.fit` takes them, with y and weights as arrays or names.
        y : array-like (n,) or (n, k)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data can't be used.
        NotImplementedError
            With ``positive=True``.
        """
        if self.positive:
            refuse(self, "positive=True", "bound the coefficients with scipy.optimize.nnls")
        X, y, sample_weight = self._read(X, y, sample_weight, y_numeric=True, multi_output=True)
        options = dict(fit_intercept=self.fit_intercept, n_threads=threads(self.n_jobs))
        run = None
        if not _is_small(X) and _has_more_rows(X, self.fit_intercept):
            run = self._solve(losses.MSE, X, y, sample_weight=sample_weight, **options)
        self.__dict__.pop("moments_", None)
        if run is None or run.solver.trouble == "dependent":
            self.fit_, *spectrum = smallest_fit(X, y, sample_weight, self.fit_intercept, self.tol)
        else:
            self._warn(run)
            spectrum = [*_spectrum(run, self.tol)]
        if not scipy.sparse.issparse(X):
            self.rank_, self.singular_ = spectrum
        self.coef_, self.intercept_ = self.fit_.coef, intercept_of(self.fit_)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit all batches so far, as `Incremental.partial_fit` says."""
        super().partial_fit(X, y, sample_weight)
        self.rank_, self.singular_ = self.moments_.spectrum(self.fit_intercept, self.tol)
        return self


class Ridge(Incremental, linear_model.Ridge):
    """Least squares with an l2 penalty: scikit-learn's Ridge, by fastgd.

    Minimises ``Σ (x·coef + intercept − y)² + alpha·‖coef‖²``, the squares weighted by `sample_weight`. At
    most 10,000 entries of X have SciPy's `lstsq`.

    Parameters
    ----------
    alpha : float or array-like (k,), default=1.0
        The penalty, for all columns of y or one for each.
    fit_intercept : bool, default=True
    copy_X : bool, default=True
        Without effect: X is never written.
    max_iter : int, optional
        The most epochs; 1000 by default.
    tol : float, default=1e-4
        Without effect: a fit goes to rounding, which takes a pass or two.
    solver : str, default="auto"
        Any of scikit-learn's names, refused where scikit-learn refuses them; all have the same optimum,
        and all are fastgd's way to it.
    positive : bool, default=False
        True raises NotImplementedError.
    random_state : optional
        Without effect.

    Attributes
    ----------
    coef_ : ndarray (d,) or (k, d)
    intercept_ : float or ndarray (k,)
    n_iter_ : ndarray (k,)
        The epochs.
    solver_ : str
        `solver`, for "auto" the method of the fit.
    fit_ : Fit, or list of Fit
        With several values of `alpha` one fit for each column of y.

    Examples
    --------
    >>> from fastgd.linear_model import Ridge
    >>> model = Ridge(alpha=1.0).fit([[0.0], [1.0], [2.0]], [0.0, 2.0, 4.0])
    >>> model.coef_.round(9), round(float(model.intercept_), 9)
    (array([1.33333333]), 0.666666667)
    """

    @_fit_context(prefer_skip_nested_validation=True)
    @over_blocks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks, as `fastgd.fit` takes them, with y and weights as arrays or names.
        y : array-like (n,) or (n, k)
        sample_weight : float or array-like (n,), optional

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
            If `max_iter` epochs were too few.
        """
        X, y, sample_weight = self._read(X, y, sample_weight, y_numeric=True, multi_output=True)
        self._check_solver(scipy.sparse.issparse(X))
        self.__dict__.pop("moments_", None)
        outputs = 1 if y.ndim == 1 else y.shape[1]
        alphas = np.asarray(self.alpha, dtype=np.float64).ravel()
        if len(alphas) not in (1, outputs):
            raise ValueError(
                "Number of targets and number of penalties do not correspond: "
                f"{len(alphas)} != {outputs}."
            )
        if (alphas == alphas[0]).all():
            self._fit_one(X, y, sample_weight, float(alphas[0]))
            epochs = [at_least_one(self.fit_)] * outputs
        else:
            fits = []
            for column, alpha in zip(y.T, alphas.tolist(), strict=True):
                self._fit_one(X, column, sample_weight, alpha)
                fits.append(self.fit_)
            self.fit_, epochs = fits, [at_least_one(fit) for fit in fits]
            self.coef_ = np.stack([fit.coef for fit in fits])
            self.intercept_ = np.array([fit.intercept for fit in fits], self.coef_.dtype)
        if outputs == 1:
            self.coef_ = self.coef_.ravel()
        self.n_iter_ = np.array(epochs, dtype=np.int32)
        return self

    def _check_solver(self, sparse: bool) -> None:
        """Refuse what scikit-learn refuses, in its words."""
        if self.positive:
            if self.solver not in ("auto", "lbfgs"):
                raise ValueError(
                    f"solver='{self.solver}' does not support positive fitting. Please set the solver to "
                    "'auto' or 'lbfgs', or set `positive=False`"
                )
            refuse(self, "positive=True", "bound the coefficients with scipy.optimize.lsq_linear")
        if self.solver == "lbfgs":
            raise ValueError(
                "'lbfgs' solver can be used only when positive=True. Please use another solver."
            )
        if not (sparse and self.fit_intercept):
            return
        if self.solver == "sag" and self.max_iter is None and self.tol > 1e-4:
            warnings.warn(
                '"sag" solver requires many iterations to fit an intercept with sparse inputs. Either '
                'set the solver to "auto" or "sparse_cg", or set a low "tol" and a high "max_iter" '
                "(especially if inputs are not standardized).",
                stacklevel=5,
            )
        if self.solver in ("svd", "cholesky", "saga"):
            raise ValueError(
                f"solver='{self.solver}' does not support fitting the intercept on sparse data. Please "
                "set the solver to 'auto' or 'lsqr', 'sparse_cg', 'sag', 'lbfgs' or set "
                "`fit_intercept=False`"
            )

    def _fit_one(self, X: Any, y: Any, sample_weight: Any, alpha: float) -> None:
        """Set `fit_`, `coef_`, `intercept_` and `solver_` for one alpha."""
        run, tall = None, _has_more_rows(X, self.fit_intercept)
        if not (tall and _is_small(X)) and (alpha > 0 or tall):
            run = self._solve(
                losses.MSE, X, y, sample_weight=sample_weight, fit_intercept=self.fit_intercept,
                l2=2 * alpha, reduction="sum", epochs=self.max_iter,
            )  # fmt: skip
        if run is None or run.solver.trouble == "dependent":
            self.fit_ = smallest_fit(X, y, sample_weight, self.fit_intercept, None, alpha)[0]
        else:
            self._warn(run)
        self.coef_, self.intercept_ = self.fit_.coef, intercept_of(self.fit_)
        self.solver_ = self.fit_.method if self.solver == "auto" else self.solver


def _is_small(X: Any) -> bool:
    """Whether a factorisation takes less time than to plan passes."""
    return isinstance(X, np.ndarray) and X.size <= _FEW


def _has_more_rows(X: Any, fit_intercept: bool) -> bool:
    """Whether columns may be independent."""
    return bool(X.shape[0] - fit_intercept >= X.shape[1])


def _spectrum(run: Any, cut: float) -> tuple[Any, Any]:
    """The rank and the singular values of the centred, weighted X of a squared error.

    None of both with so many columns that no square matrix of them was made.
    """
    metric = run.solver.bound
    if metric.hessian.ndim == 1:
        return None, None
    squares = metric.hessian * (run.problem.weight_unit / (2 * run.solver.settings.scale))
    return spectrum_of(squares / (metric.scale[:, None] * metric.scale), cut)
