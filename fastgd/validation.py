"""Early stopping: rows held out of a fit, their cost after every epoch, the best parameters so far."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import backend, inputs
from .cpu.order import visiting_order
from .errors import InputError


class Validation:
    """Rows that no update sees.

    Parameters
    ----------
    cost_of : callable
        The cost of those rows at the parameters.
    patience : int
        Epochs without a lower cost after which it is over.
    """

    def __init__(self, cost_of: Callable[[np.ndarray], float], patience: int):
        self.cost_of, self.patience = cost_of, patience
        self.costs: list[float] = []
        #: The parameters of the lowest cost, the first of equal ones, and after how many epochs.
        self.best: Any = None
        self.best_epoch, self._lowest = 0, math.inf
        #: The number of epochs of which all this is known; a signal may part the steps of `look`.
        self.epochs = 0

    def look(self, parameters: np.ndarray) -> None:
        """Add the cost at the parameters after one more epoch; keep them if it is lowest."""
        cost, epoch = self.cost_of(parameters), self.epochs + 1
        self.costs[self.epochs :] = [cost]
        known: dict[str, Any] = {"epochs": epoch}
        if cost < self._lowest:
            known |= {"best": parameters, "best_epoch": epoch, "_lowest": cost}
        vars(self).update(known)

    @property
    def finite(self) -> bool:
        """Whether the last cost is."""
        return not self.costs or math.isfinite(self.costs[-1])

    @property
    def over(self) -> bool:
        """Whether patience is."""
        return self.epochs - self.best_epoch >= self.patience


def split(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those held out, a share of them rounded up, each in the given order."""
    m = math.ceil(fraction * n)
    if m >= n:
        raise InputError(f"validation={fraction:g} of {n} row(s) leaves none to train on.")
    order = visiting_order(n, True, seed, -1)  # of an epoch before the first
    return np.sort(order[m:]), np.sort(order[:m])


def given_rows(given: tuple, place: Any, options: dict[str, Any], like: dict[str, Any]):
    """The tuple's x (n, d), y (k, n) and weight or None, checked against the rows trained on.

    `like` says what those are: `d`, `k`, `dtype`, and `classes` or None.
    """
    try:
        x, found = backend.features(given[0], options["device"])
        if found != place:
            raise InputError("x lies elsewhere than the x to train on; move one of them.")
        n, d = x.shape
        if d != like["d"]:
            raise InputError(f"x has {d} columns; the x to train on has {like['d']}.")
        y = backend.on_host(given[1], "y", place)
        if like["classes"] is None:
            y, _ = inputs.targets(y, n, like["dtype"])
        else:
            y = inputs.known_labels(y, n, like["classes"], like["dtype"])
        if len(y) != like["k"]:
            raise InputError(f"y has {len(y)} column(s); the y to train on has {like['k']}.")
        weight = given[2] if len(given) == 3 else None
        weight = backend.on_host(weight, "sample_weight", place)
        return x, y, inputs.weights(weight, n, np.float64)
    except InputError as error:
        raise InputError(f"in validation, {error}") from None
