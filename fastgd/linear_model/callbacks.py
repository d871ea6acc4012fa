"""scikit-learn's callbacks (from its version 1.9 on), called at every epoch of a fit."""

from __future__ import annotations

from typing import Any, Self

import numpy as np


class Iterations:
    """The iterations of a fit as scikit-learn's callbacks see them; nothing where there are none.

    Parameters
    ----------
    estimator : LogisticRegression
    X, y, sample_weight
        What `fit` was called with.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any):
        self._estimator = estimator
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"X": X, "y": y, "metadata": weights}
        self._fit: Any = None
        self._iteration: Any = None
        #: What `fastgd.fit` is to call, or None.
        self.callback = self._next if hasattr(estimator, "_skl_callbacks") else None

    def __enter__(self) -> Self:
        if self.callback is not None:
            estimator = self._estimator
            estimator.classes_ = np.unique(self._data["y"])  # with which a callback may predict
            most = max(estimator.max_iter, 1) + 1
            self._fit = estimator._init_callback_context(max_subtasks=most)
            self._fit.call_on_fit_task_begin(estimator=estimator, **self._data)
            if estimator.solver == "lbfgs":
                self._begin({})
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.callback is None or kind is not None:
            return
        if self._iteration is not None:  # of an iteration that no longer ran
            self._iteration.call_on_fit_task_end(estimator=self._estimator)
        self._fit.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes={}, **self._data
        )

    def _next(self, fit: Any) -> None:
        self.end_one(fit.coef, fit.intercept)

    def end_one(self, coef: Any, intercept: Any) -> None:
        """End one iteration at these parameters, and begin another."""
        if self._iteration is None:
            return
        now = {"coef_": np.atleast_2d(coef), "intercept_": np.atleast_1d(intercept)}
        self._iteration.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=now, **self._data
        )
        self._begin(now)

    def _begin(self, now: dict[str, Any]) -> None:
        self._iteration = self._fit.subcontext(task_name="lbfgs-iter")
        self._iteration.call_on_fit_task_begin(
            estimator=self._estimator, reconstruction_attributes=now, **self._data
        )
