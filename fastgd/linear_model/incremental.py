"""`partial_fit` of least squares."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import assert_all_finite

from ..errors import InputError
from .estimator import Estimator, intercept_of, refuse
from .running_moments import RunningMoments


class Incremental(Estimator):
    """A mixin with `partial_fit` for least squares."""

    _own = ("fit_", "moments_")
    fit_intercept: bool
    positive: bool

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit all batches so far, without keeping them.

        Second moments add up: after any number of batches the coefficients are those of a fit of all rows
        at once, to the accuracy of X^T X.

        Parameters
        ----------
        X : array-like or sparse (n, d)
        y : array-like (n,) or (n, k)
        sample_weight : array-like (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data can't be used. The batches before stay.

        Warns
        -----
        UserWarning
            If the model was fitted by `fit`, whose rows then don't count.
        """
        self._validate_params()  # type: ignore[attr-defined]
        if self.positive:
            refuse(self, "positive=True", "bound the coefficients with scipy.optimize.lsq_linear")
        before = getattr(self, "moments_", None)
        if before is None and hasattr(self, "coef_"):
            warnings.warn(
                "partial_fit begins anew: the model was fitted by `fit`, which keeps nothing to add rows "
                "to. Give all rows to partial_fit.",
                stacklevel=2,
            )
        X, y, sample_weight = self._read(
            X, y, sample_weight, y_numeric=True, multi_output=True, reset=before is None
        )
        targets = y[:, None] if y.ndim == 1 else y
        if before is None:
            before = RunningMoments(X.shape[1], targets.shape[1])
        if len(before.mean) != X.shape[1] + targets.shape[1]:
            raise InputError(
                f"y has {targets.shape[1]} column(s), and in the batches before it had "
                f"{len(before.mean) - X.shape[1]}."
            )
        with np.errstate(all="ignore"):  # what overflows is found in the moments
            after = before.with_batch(X, targets, sample_weight)
        if not after.is_finite():
            assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
            raise InputError("the squares of X or y overflow float64; scale them.")
        self.moments_ = after
        alpha = np.broadcast_to(np.ravel(getattr(self, "alpha", 0.0)), targets.shape[1:])
        self.fit_ = after.fit(self.fit_intercept, alpha, y.ndim == 1)
        self.coef_, self.intercept_ = self.fit_.coef, intercept_of(self.fit_)
        return self
