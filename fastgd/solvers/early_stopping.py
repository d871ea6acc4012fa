"""Early stopping: the cost of held-out rows after every epoch, and the best parameters so far."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


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
