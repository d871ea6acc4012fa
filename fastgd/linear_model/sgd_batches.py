"""Runs of SGDClassifier and SGDRegressor with a batch size or an optimizer, by the general fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..cpu import penalized_sgd as kernels
from ..errors import DivergenceError
from ..fit import fitted
from ..losses import REAL
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
            (f"learning_rate={schedule!r}", schedule not in _SCHEDULES, f"pass one of {_SCHEDULES}"),
            ("an l1 penalty", l1 and model.optimizer not in (None, "gd"), "pass penalty='l2' or None"),
            ("early_stopping", model.early_stopping, default),
            ("average", model.average, default),
            ("verbose", model.verbose, default),
            ("intercept_decay", model.intercept_decay not in (None, 1.0), default),
        ):  # fmt: skip
            if asked:
                refuse(model, f"{what} with a batch_size or an optimizer", instead)
        if model.t_ > 1.0:
            check_partial_fit(model)
        self._estimator, self._x = model, x

    def run(
        self, start: Parameters, y: np.ndarray, weight: np.ndarray, seed: int, max_iter: int, *_: Any
    ) -> Outcome:  # fmt: skip
        """A run from given parameters, one epoch at a time where `tol` may end it."""
        model, (l1, l2) = self._estimator, penalties(self._estimator)
        decays = model.learning_rate == "invscaling"
        options = defaults() | {
            "lr": model.eta0, "schedule": InverseScaling(model.power_t) if decays else None,
            "batch_size": model.batch_size and min(model.batch_size, len(y)),
            "optimizer": model.optimizer or "gd", "l1": l1, "l2": l2, "seed": seed,
            "fit_intercept": model.fit_intercept, "shuffle": model.shuffle,
            "sample_weight": weight, "coef_init": start.coef, "intercept_init": start.intercept,
            "callback": lambda _: False,  # with which a fit keeps what the next goes on from
        }  # fmt: skip
        state = np.zeros(kernels.STATE)
        state[kernels.LEAST] = math.inf
        found: Any = None
        # Of the numbers that labels stand for here, a part of the rows may have only one.
        loss = loss_of(model.loss, model.epsilon)._replace(targets=REAL)
        epochs, stopped = 0, False
        while epochs < max_iter and not stopped:
            epochs += max_iter if model.tol is None else 1
            given = options | {"x": self._x, "y": y, "epochs": epochs, "resume": found}
            try:
                found = fitted(loss, given, lambda run: None)
            except DivergenceError as error:
                raise _in_its_words(error, model.eta0) from None
            if model.tol is not None:
                size = l1 * np.abs(found.coef).sum() + l2 / 2 * float(found.coef @ found.coef)
                objective = float(found.costs[-1]) + float(size)
                stopped = kernels.no_progress(state, objective, model.tol, model.n_iter_no_change)
        end = Parameters(found.coef, float(found.intercept), start.mean, start.mean_intercept)
        return Outcome(end, found.n_epochs, found.costs, stopped, found.method)


def _in_its_words(error: DivergenceError, eta0: float) -> SGDDivergenceError:
    """The error of the general fit with the name that the step size has here."""
    advice = "Scaling input data with StandardScaler or MinMaxScaler might help."
    if error.stable_lr is not None:
        advice += f" Or pass an eta0 below {error.stable_lr:.2g}."
    text = f"The cost is no longer finite with eta0={eta0:g}. {advice}"
    return SGDDivergenceError(text, error.fit, error.stable_lr)


def check_partial_fit(model: Any) -> None:
    """Raise NotImplementedError where a call has to know more of the last than its parameters."""
    if model.optimizer not in (None, "gd") or model.learning_rate != "constant":
        what = "partial_fit with an optimizer, or with batches of another schedule than 'constant'"
        refuse(model, what, "call fit, or pass a batch_size and learning_rate='constant'")
