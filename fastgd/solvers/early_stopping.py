"""Early stopping: the cost of held-out rows after every epoch, and the best parameters so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from .state import State


class Validation:
    """The costs of rows that are held out from the updates, and the best parameters by them.

    Parameters
    ----------
    cost_of : callable
        The cost of the held-out rows at given parameters.
    patience : int
        The number of epochs without a lower cost that ends the fit.
    """

    def __init__(self, cost_of: Callable[[np.ndarray], float], patience: int):
        self.cost_of, self.patience = cost_of, patience
        self.costs: list[float] = []
        #: The parameters of the lowest cost, of equal costs the first, and the number of their epoch.
        self.best: Any = None
        self.best_epoch, self._lowest = 0, math.inf
        #: The number of epochs recorded so far. It is set last, as a signal may interrupt `look`.
        self.epochs = 0

    def look(self, parameters: np.ndarray) -> None:
        """Record the cost at the parameters after one more epoch, and keep them if it is the lowest."""
        cost, epoch = self.cost_of(parameters), self.epochs + 1
        self.costs[self.epochs :] = [cost]
        record: dict[str, Any] = {"epochs": epoch}
        if cost < self._lowest:
            record |= {"best": parameters, "best_epoch": epoch, "_lowest": cost}
        vars(self).update(record)

    def state(self) -> State:
        """Arrays by name, from which `load` goes on."""
        best = None if self.best is None else np.asarray(self.best)
        return {
            "validation.costs": np.array(self.costs[: self.epochs], np.float64),
            "validation.best_epoch": np.array(self.best_epoch),
            **({} if best is None else {"validation.best": best.copy()}),
        }

    def load(self, state: State) -> None:
        """Go on from a state."""
        if "validation.costs" not in state:
            raise InputError("the fit to resume had no validation; leave it out here too.")
        self.costs = state["validation.costs"].tolist()
        self.epochs, self.best_epoch = len(self.costs), int(state["validation.best_epoch"])
        self.best = state.get("validation.best")
        if self.best_epoch:
            self._lowest = self.costs[self.best_epoch - 1]

    @property
    def finite(self) -> bool:
        """Whether the last cost is finite."""
        return not self.costs or math.isfinite(self.costs[-1])

    @property
    def over(self) -> bool:
        """Whether as many epochs as the patience have passed since the lowest cost."""
        return self.epochs - self.best_epoch >= self.patience


def resumed(state: State, validation: Validation | None) -> State:
    """The part of a fit's state that is the solver's; the validation goes on from the other.

    Raises
    ------
    InputError
        If one of the fits had validation and the other has none.
    """
    held = {name: array for name, array in state.items() if name.startswith("validation.")}
    if validation is not None:
        validation.load(held)
    elif held:
        raise InputError("the fit to resume had validation; pass the same validation again.")
    return {name: array for name, array in state.items() if name not in held}
