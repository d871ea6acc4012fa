"""A line search for the strong Wolfe conditions, step for step that of torch.optim.LBFGS.

Nocedal and Wright, algorithms 3.5 and 3.6, with cubic interpolation: an interval is widened until it
holds an acceptable step, then narrowed around one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_DECREASE, _CURVATURE = 1e-4, 0.9


class Trial(NamedTuple):
    """A step along the direction: objective, gradient, and slope along the direction there."""

    length: float
    objective: float
    gradient: np.ndarray
    slope: float


def search(
    evaluate: Callable[[float], tuple[float, np.ndarray]],
    direction: np.ndarray,
    first: float,
    start: Trial,
    *,
    change: float,
    most: int,
) -> tuple[Trial, int]:
    """The step found and the evaluations it took.

    Parameters
    ----------
    evaluate : callable
        Objective and gradient at a length along `direction`.
    first : float
        The length to try first.
    start : Trial
        That of length 0.
    change : float
        Intervals that move no parameter by more than this are not narrowed.
    most : int
        Trials after the first one.
    """

    def trial(length: float) -> Trial:
        objective, gradient = evaluate(length)
        return Trial(length, objective, gradient, gradient @ direction)

    def risen(new: Trial) -> bool:
        # False for NaN, which is no decrease either.
        return bool(new.objective > start.objective + _DECREASE * new.length * start.slope)

    def flat(new: Trial) -> bool:
        return bool(abs(new.slope) <= -_CURVATURE * start.slope)

    before, new, tried = start, trial(first), 0
    while True:
        if tried >= most:
            ends = [start, new]
            break
        if risen(new) or (tried > 1 and new.objective >= before.objective):
            ends = [before, new]
            break
        if flat(new):
            return new, tried + 1
        if new.slope >= 0:
            ends = [before, new]
            break
        low, high = new.length + 0.01 * (new.length - before.length), new.length * 10
        before, new = new, trial(_minimum_of_cubic(before, new, low, high))
        tried += 1

    stuck = False
    low = _lower(ends)
    while tried < most and abs(ends[1].length - ends[0].length) * np.abs(direction).max() >= change:
        left, right = sorted((ends[0].length, ends[1].length))
        length, margin = _minimum_of_cubic(ends[0], ends[1], left, right), 0.1 * (right - left)
        near_an_end = min(right - length, length - left) < margin
        if near_an_end and (stuck or length >= right or length <= left):
            length = right - margin if abs(length - right) < abs(length - left) else left + margin
            stuck = False
        else:
            stuck = near_an_end
        new = trial(length)
        tried += 1
        if risen(new) or new.objective >= ends[low].objective:
            ends[1 - low] = new
            low = _lower(ends)
            continue
        done = flat(new)
        if not done and new.slope * (ends[1 - low].length - ends[low].length) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = new
        if done:
            break
    return ends[low], tried + 1


def _lower(ends: list[Trial]) -> int:
    return 0 if ends[0].objective <= ends[1].objective else 1


def _minimum_of_cubic(a: Trial, b: Trial, low: float, high: float) -> float:
    """The minimum of the cubic through two trials, within bounds; their middle if it has none."""
    if a.length > b.length:
        a, b = b, a
    mean = a.slope + b.slope - 3 * (a.objective - b.objective) / (a.length - b.length)
    square = mean * mean - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    root = np.sqrt(square)
    fraction = (b.slope + root - mean) / (b.slope - a.slope + 2 * root)
    return min(max(b.length - (b.length - a.length) * fraction, low), high)
