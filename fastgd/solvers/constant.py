"""The constant prediction whose mean is that of y, from which losses without a bound start."""

import math
from collections.abc import Callable

import numpy as np

from ..losses import Loss
from ..settings import Settings
from ..sources.protocol import Source


def constant_start(
    source: Source, loss: Loss, settings: Settings, coef: np.ndarray, intercept: np.ndarray
) -> np.ndarray:
    """The intercepts (1,) of the mean of y where all parameters are zero, else those given."""
    if coef.any() or intercept.any() or not settings.fit_intercept:
        return intercept
    mean = np.average(source.y[0], weights=source.weight if len(source.weight) else None)
    return np.array([inverse(loss.link, float(mean))])


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
