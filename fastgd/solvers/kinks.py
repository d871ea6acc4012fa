"""The kinks of the rows' losses and of an l1 penalty, one after another in flat arrays."""

import math
from collections.abc import Iterator

import numpy as np

from ..losses import Loss
from ..settings import Settings
from ..sources.protocol import Source

#: Kinks at a time, for temporary arrays that stay in the cache.
_PART = 1 << 13


class Kinks:
    """The kinks of a loss on the rows of a source, and those of an l1 penalty on scaled coefficients.

    The first kinks of all rows come first, then the second ones, then one of each coefficient.

    Parameters
    ----------
    source : Source
    loss : Loss
    settings : Settings
        l1 and scale are used.
    scale : ndarray (d,)
        The factor of each column.

    Attributes
    ----------
    low : ndarray (n,)
        The slope of a row left of its kinks.
    jumps : ndarray (number·n,)
        By how much it rises at each.
    at, mass : ndarray (m,)
        Where they are, and their jumps in the objective.
    rows, coefs : slice
        Which of them are those of rows, and of coefficients.
    aims : ndarray (d,) or (0,)
        The size of the products of a coefficient in units of those of a row.
    total : float
        The sum of the masses, those of coefficients times these sizes.
    least : float
        No cost is below this, with rows at their first kink costing nothing.
    """

    def __init__(self, source: Source, loss: Loss, settings: Settings, scale: np.ndarray):
        self.source, self.scale, y = source, scale, source.y[0].astype(np.float64)
        low, kinks = loss.kinks(y, *loss.parameters)  # type: ignore[misc]
        self.number, m = len(kinks), len(kinks) * source.n
        self.low = np.broadcast_to(low, y.shape)
        jumps = np.array([np.broadcast_to(jump, y.shape) for _, jump in kinks])
        places = np.array([np.broadcast_to(place, y.shape) for place, _ in kinks])
        if len(source.offset):  # which is no part of what the parameters make
            places = places - source.offset
        self.weight = np.full(source.n, settings.scale)
        if len(source.weight):
            self.weight *= source.weight
        penalised = settings.l1 * scale if settings.l1 else np.empty(0)
        self.rows, self.coefs = slice(0, m), slice(m, m + len(penalised))
        self.jumps = jumps.ravel()
        self.at = np.concatenate([places.ravel(), np.zeros(len(penalised))])
        self.mass = np.concatenate([(self.weight * jumps).ravel(), 2 * penalised])
        # A coefficient counts no more than a row.
        mean = float(self.mass[self.rows].sum()) / m
        self.aims = np.minimum(1.0, mean / self.mass[self.coefs])
        self.total = mean * m + float(self.aims @ self.mass[self.coefs])
        # A row costs least at one of its kinks, if its slopes go from below 0 to above.
        costs = [
            self.low * (place - places[0]) + (jumps * np.maximum(place - places, 0)).sum(axis=0)
            for place in places
        ]
        bounded = (self.low <= 0).all() and (self.low + jumps.sum(axis=0) >= 0).all()
        self.least = float(self.weight @ np.min(costs, axis=0)) if bounded else -math.inf

    def distances(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """How far the predictions are above their kinks, and scaled coefficients above zero."""
        away = self.values(coef, intercept)
        away -= self.at
        return away

    def values(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """Predictions, and scaled coefficients, one for each kink."""
        found = [self.source.predictions(coef, intercept)] * self.number
        if len(self.aims):
            found.append((coef / self.scale).ravel())
        return np.concatenate(found)

    def of_rows(self, jumps: np.ndarray, *factors: np.ndarray) -> np.ndarray:
        """The sums over the kinks of a row of jumps·first, or of jumps·(first + second·third)."""
        n, total = self.source.n, np.zeros(self.source.n)
        for rows in parts(n):
            for j in range(self.number):
                at = slice(rows.start + j * n, rows.stop + j * n)
                first, *others = (factor[at] for factor in factors)
                total[rows] += jumps[at] * (first + others[0] * others[1] if others else first)
        return total

    def cost(self, away: np.ndarray) -> float:
        """The cost at these distances, with rows at their first kink costing nothing."""
        left = float((self.weight * self.low) @ away[: self.source.n])
        return left + float(self.mass[self.rows] @ np.maximum(away[self.rows], 0))

    def mean(self, values: np.ndarray) -> float:
        """The weighted mean over the kinks of all rows."""
        mass = self.mass[self.rows]
        return float(mass @ values[self.rows]) / float(mass.sum())


def parts(m: int) -> Iterator[slice]:
    """Slices of so many numbers that go through the cache."""
    return (slice(first, min(m, first + _PART)) for first in range(0, m, _PART))
