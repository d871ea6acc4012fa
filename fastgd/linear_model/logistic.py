"""LogisticRegression."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn import linear_model
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from .. import losses
from ..errors import InputError
from ..sources.blocks import Blocks
from .callbacks import Iterations
from .estimator import Estimator, at_least_one, intercept_of, refuse, start_at
from .logistic_penalty import penalty_of
from .rows import over_blocks, predicted


class LogisticRegression(Estimator, linear_model.LogisticRegression):
    """Logistic regression for two classes or more (softmax): scikit-learn's, by fastgd.

    Minimises ``C·Σ loss + (1 − l1_ratio)/2·‖coef‖² + l1_ratio·‖coef‖₁`` with the cross-entropy of each
    row, weighted by `sample_weight` and `class_weight`.

    Parameters
    ----------
    penalty : deprecated
        As in scikit-learn: use `C` and `l1_ratio`.
    C : float, default=1.0
        The inverse of the strength of the penalty; ``np.inf`` is none.
    l1_ratio : float, default=0.0
        The part of the penalty that is l1, from 0 to 1.
    dual : bool, default=False
        Without effect, accepted where scikit-learn accepts it.
    tol : float, default=1e-4
        The fit ends where the norm of the gradient is below `tol` times that at the start, in coordinates
        in which the columns have one scale and are not correlated.
    fit_intercept : bool, default=True
    intercept_scaling : float, default=1
        For "liblinear": the value of the column that its penalised intercept belongs to.
    class_weight : dict or "balanced", optional
    random_state : optional
        Without effect.
    solver : str, default="lbfgs"
        "lbfgs", "newton-cg", "newton-cholesky", "sag" and "saga" have one optimum, and all are fastgd's
        way to it. "liblinear" has another, for it penalises the intercept: so does this class then. A
        penalty that a solver of scikit-learn doesn't know is refused in the same way.
    max_iter : int, default=100
        The most epochs, each a reading of X.
    verbose : int, default=0
        Without effect.
    warm_start : bool, default=False
    n_jobs : deprecated
        Without effect: all processors are used.

    Attributes
    ----------
    classes_ : ndarray (k,)
    coef_ : ndarray (1, d) or (k, d)
    intercept_ : ndarray (1,) or (k,)
    n_iter_ : ndarray (1,)
        The epochs.
    fit_ : Fit
        None with ``max_iter=0``.

    Examples
    --------
    >>> from fastgd.linear_model import LogisticRegression
    >>> model = LogisticRegression().fit([[1], [2], [3], [4], [5], [6]], ["a", "a", "b", "a", "b", "b"])
    >>> model.predict([[0], [7]]).tolist()
    ['a', 'b']
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
            Labels.
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
            If `max_iter` epochs were too few, or without a penalty labels are separable.
        """
        ratio, C = penalty_of(self)
        if self.n_jobs is not None:
            warnings.warn(
                "'n_jobs' has no effect since 1.8 and will be removed in 1.10. "
                f"You provided 'n_jobs={self.n_jobs}', please leave it unspecified.",
                category=FutureWarning,
                stacklevel=4,
            )
        X, y, sample_weight = self._read(X, y, sample_weight)
        penalised_intercept = self.solver == "liblinear" and self.fit_intercept
        if penalised_intercept and isinstance(X, Blocks):
            refuse(
                self,
                "solver='liblinear' with an intercept for rows in blocks",
                "pass another solver",
            )
        columns = _with_constant(X, self.intercept_scaling) if penalised_intercept else X
        weight = self._weights_of_rows(y, sample_weight)
        total = X.shape[0] if weight is None else weight.sum()
        with Iterations(self, X, y, sample_weight) as iterations:
            if self.max_iter == 0:
                self._at_start(X, y)
                iterations.end_one(self.coef_, self.intercept_)  # scikit-learn has one, too
                return self
            run = self._fit_labels(
                columns, y, sample_weight=weight, l1=ratio / (C * total), l2=(1 - ratio) / (C * total),
                fit_intercept=self.fit_intercept and not penalised_intercept,
                tol=self.tol or None, epochs=self.max_iter, callback=iterations.callback,
                dtype="float64" if self.solver == "liblinear" else None,
                **self._start(penalised_intercept),
            )  # fmt: skip
        self._warn(run)
        fit = self.fit_
        self.n_iter_ = np.array([at_least_one(fit)], dtype=np.int32)
        self.classes_ = fit.classes.astype(y.dtype, copy=False)
        self.coef_ = np.atleast_2d(fit.coef)
        self.intercept_ = np.array(intercept_of(fit), ndmin=1)
        if len(self.intercept_) > 1:
            # What is common to all classes changes no prediction, and in the coefficients adds to l2.
            self.intercept_ -= self.intercept_.mean()
            if ratio == 0:
                self.coef_ = self.coef_ - self.coef_.mean(axis=0)
        if penalised_intercept:
            self.intercept_ = self.coef_[:, -1] * self.intercept_scaling
            self.coef_ = np.ascontiguousarray(self.coef_[:, :-1])
        return self

    def decision_function(self, X: Any) -> Any:
        """The raw prediction of two classes, or one of each: as `predict` takes and returns them.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks.

        Returns
        -------
        ndarray (n,) or (n, k), or dask array
        """
        return predicted(self, "decision_function", super().decision_function, X)

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class: as `predict` takes and returns them.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks.

        Returns
        -------
        ndarray (n, k), or dask array
        """
        return predicted(self, "predict_proba", super().predict_proba, X)

    def _at_start(self, X: Any, y: Any) -> None:
        """Set the parameters before the first epoch."""
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        if not (self.warm_start and hasattr(self, "coef_")):
            dtype = X.dtype if X.dtype.kind == "f" else np.float64
            self.coef_ = np.zeros((outputs, X.shape[1]), dtype)
            self.intercept_ = np.zeros(outputs, dtype)
        self.n_iter_, self.fit_ = np.zeros(1, dtype=np.int32), None
        warnings.warn(
            "LogisticRegression did not converge: max_iter is 0.", ConvergenceWarning, stacklevel=5
        )

    def _weights_of_rows(self, y: Any, sample_weight: Any) -> Any:
        """The weights times those of the classes; None if there are neither."""
        if self.class_weight is None:
            return sample_weight
        check_classification_targets(y)
        classes, places = np.unique(y, return_inverse=True)
        how = {} if sample_weight is None else {"sample_weight": sample_weight}
        of_class = compute_class_weight(self.class_weight, classes=classes, y=y, **how)
        return of_class[places] * (1.0 if sample_weight is None else sample_weight)

    def _start(self, penalised_intercept: bool) -> dict[str, Any]:
        """Where to start: with `warm_start` at the last fit."""
        if not self.warm_start or not hasattr(self, "coef_") or penalised_intercept:
            return {}
        flat = len(self.coef_) == 1
        coef, intercept = self.coef_, self.intercept_
        return start_at(
            coef[0] if flat else coef, intercept[0] if flat else intercept, self.fit_intercept
        )

    def _fit_labels(self, X: Any, y: Any, **options: Any) -> Any:
        """The run; in scikit-learn's words where the labels can't be used."""
        try:
            run = self._solve(losses.BCE, X, y, **options)
        except InputError:
            check_classification_targets(y)
            classes = np.unique(y)
            if len(classes) < 2:
                raise ValueError(
                    "This solver needs samples of at least 2 classes in the data, but the data contains "
                    f"only one class: {classes[0]!r}"
                ) from None
            raise
        if self.solver == "liblinear" and len(self.fit_.classes) > 2:
            raise ValueError(
                "The 'liblinear' solver does not support multiclass classification (n_classes >= 3). "
                "Either use another solver or wrap the estimator in a OneVsRestClassifier to keep "
                "applying a one-versus-rest scheme."
            )
        return run


def _with_constant(X: Any, value: float) -> Any:
    """X and a column of this value."""
    constant = np.full((X.shape[0], 1), value, dtype=X.dtype if X.dtype.kind == "f" else float)
    if scipy.sparse.issparse(X):
        return scipy.sparse.hstack([X, scipy.sparse.csr_array(constant)], format="csr")
    return np.hstack([X, constant])
