"""Runs of SGDClassifier and SGDRegressor with a batch size or an optimizer, by the general fit."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from ..cpu import penalized_sgd as kernels
from ..errors import DivergenceError
from ..fit import fitted
from ..schedules import InverseScaling
from .estimator import defaults, refuse
from .sgd_descent import Outcome, Parameters, SGDDivergenceError, penalties
from .sgd_losses import loss_of

_SCHEDULES = ("constant", "invscaling")


class Batches:
    """Runs on some rows with the parameters of an estimator, as `Descent` has them.

    Parameters
    ----------
    estimator : SGDClassifier or SGDRegressor
    x : ndarray (n, d) or CSR matrix

    Raises
    ------
    NotImplementedError
        If a parameter asks for what the general fit has not.
    """

    def __init__(self, estimator: Any, x: Any):
        model, schedule = estimator, estimator.learning_rate
        l1, default = penalties(model)[0], "leave it at its default"
        for what, asked, instead in (
            (
                f"learning_rate={schedule!r}",
                schedule not in _SCHEDULES,
                f"pass one of {_SCHEDULES}",
            ),
            (
                "an l1 penalty",
                l1 and model.optimizer not in (None, "gd"),
                "pass penalty='l2' or None",
            ),
            ("early_stopping", model.early_stopping, default),
            ("average", model.average, default),
            ("verbose", model.verbose, default),
            ("intercept_decay", model.intercept_decay not in (None, 1.0), default),
        ):
            if asked:
                refuse(model, f"{what} with a batch_size or an optimizer", instead)
        if model.t_ > 1.0:
            refuse_partial_fit(model)
        self._estimator, self._x = model, x

    def run(
        self, start: Parameters, y: np.ndarray, weight: np.ndarray, seed: int, max_iter: int, *_: Any
    ) -> Outcome:  # fmt: skip
        """A run from given parameters, one epoch at a time where `tol` may end it."""
        model, (l1, l2) = self._estimator, penalties(self._estimator)
        decays = model.learning_rate == "invscaling"
        options = defaults() | {
            "lr": model.eta0, "schedule": InverseScaling(model.power_t) if decays else None,
            "batch_size": model.batch_size, "optimizer": model.optimizer or "gd", "l1": l1, "l2": l2,
            "fit_intercept": model.fit_intercept, "shuffle": model.shuffle, "seed": seed,
            "sample_weight": weight, "coef_init": start.coef, "intercept_init": start.intercept,
            "callback": lambda _: False,  # with which a fit keeps what the next goes on from
        }  # fmt: skip
        state = np.zeros(kernels.STATE)
        state[kernels.LEAST] = math.inf
        found: Any = None
        epochs, stopped, loss = 0, False, loss_of(model.loss, model.epsilon)
        while epochs < max_iter and not stopped:
            epochs += max_iter if model.tol is None else 1
            given = options | {"x": self._x, "y": y, "epochs": epochs, "resume": found}
            try:
                found = fitted(loss, given, lambda run: None)
            except DivergenceError as error:
                raise SGDDivergenceError(str(error), error.fit, error.stable_lr) from None
            if model.tol is not None:
                size = l1 * np.abs(found.coef).sum() + l2 / 2 * float(found.coef @ found.coef)
                objective = float(found.costs[-1]) + float(size)
                stopped = kernels.no_progress(state, objective, model.tol, model.n_iter_no_change)
        end = Parameters(found.coef, float(found.intercept), start.mean, start.mean_intercept)
        return Outcome(end, found.n_epochs, found.costs, stopped, found.method)


def refuse_partial_fit(model: Any) -> NoReturn:
    """Raise NotImplementedError: what an optimizer remembers would be lost between calls."""
    refuse(model, "partial_fit with a batch_size or an optimizer", "call fit, or leave them None")
