"""The constant prediction whose mean is that of y, at which lr="auto" starts."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..losses import Loss


def constant_prediction(loss: Loss, y: np.ndarray, weight: Any) -> np.ndarray:
    """The raw prediction (k,) whose inverse link is the mean of y (k, n); weight is (n,) or None."""
    with np.errstate(all="ignore"):
        means = np.average(y, axis=1, weights=weight)
    return np.array([inverse(loss.link, mean) for mean in means.tolist()])


def inverse(link: Callable[[float], float] | None, mean: float) -> float:
    """The raw prediction whose link is `mean`, by bisection; 0 where the link has no such value."""

    def at(z: float) -> float:
        try:
            return link(z)  # type: ignore[misc]
        except OverflowError:
            return math.inf

    low, high = -1.0, 1.0
    if link is None or not math.isfinite(mean):
        return 0.0
    while at(high) < mean or at(low) > mean:
        low, high = 2 * low, 2 * high
        if high > 1e308:
            return 0.0
    while high - low > 1e-9 * max(1.0, abs(low)):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < mean else (low, middle)
    return high
