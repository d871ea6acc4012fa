"""The constant prediction whose mean is that of y, at which lr="auto" starts."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..losses import Loss

#: The most offsets of which the mean is taken, evenly spaced: it is a start.
_OFFSETS = 256


def constant_prediction(loss: Loss, y: np.ndarray, weight: Any, offset: Any) -> np.ndarray:
    """The constants (k,) with which the mean inverse link is that of y (k, n).

    weight is (n,) or None, offset (k, n), (1, n) or None.
    """
    with np.errstate(all="ignore"):
        means = np.average(y, axis=1, weights=weight)
    offset = np.zeros((1, 1)) if offset is None else offset[:, :: len(y[0]) // _OFFSETS + 1]
    offsets = np.broadcast_to(offset, (len(y), offset.shape[1])).tolist()
    return np.array([inverse(loss.link, *of) for of in zip(means.tolist(), offsets, strict=True)])


def inverse(
    link: Callable[[float], float] | None, mean: float, offsets: Sequence[float] = (0.0,)
) -> float:
    """The constant z with the mean link(z + offset) of `mean`, by bisection; 0 where there is none."""

    def at(z: float) -> float:
        try:
            return sum(link(z + of_row) for of_row in offsets) / len(offsets)  # type: ignore[misc]
        except OverflowError:
            return math.inf

    low, high = -1.0, 1.0
    if link is None or not math.isfinite(mean):
        return 0.0
    beside = mean - sum(offsets) / len(offsets)
    if math.isclose(at(beside), mean, rel_tol=1e-9):  # as with the identity
        return beside
    while at(high) < mean or at(low) > mean:
        low, high = 2 * low, 2 * high
        if high > 1e308:
            return 0.0
    while high - low > 1e-9 * max(1.0, abs(low)):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < mean else (low, middle)
    return high
