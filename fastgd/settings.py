"""What an epoch needs to know beside the data, and where kernels find it in one array."""

from typing import Any

import numpy as np

#: Places in the array of `Settings.array`; LAST is the tolerance of a batch loop, and for minibatches
#: 1 where a batch divides by its rows. From LR on there is a learning rate for every output.
L2, SCALE, LEARN, LAST, LR = range(5)


class Settings:
    """What an epoch needs to know beside the data.

    Parameters
    ----------
    lr : float or ndarray (k,)
        One learning rate, or one for every output.
    l2 : float
    scale : float
        Turns summed losses into the cost.
    row_scale : float
        What an update multiplies the slope of a row with: `scale` itself in batch descent.
    fit_intercept : bool
    tol : float
    """

    def __init__(self, *, lr: Any, l2, scale, row_scale, fit_intercept, tol):
        self.lr, self.l2, self.scale, self.row_scale = lr, l2, scale, row_scale
        self.fit_intercept, self.tol = fit_intercept, tol

    def array(self, k: int, dtype=np.float64, last: float | None = None) -> np.ndarray:
        """All of it for the kernels of k outputs; `last` in place of the tolerance."""
        values = np.empty(LR + k, dtype)
        values[L2], values[SCALE], values[LEARN] = self.l2, self.row_scale, self.fit_intercept
        values[LAST] = self.tol if last is None else last
        values[LR:] = self.lr
        return values
