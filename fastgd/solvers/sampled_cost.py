"""The cost of evenly spaced rows in plain Python: a kernel for so few would take seconds to compile."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from ..losses import CoupledLoss, Loss
from ..sources.protocol import Source

#: The most losses, about half a microsecond each.
_MOST = 256


def sampled_cost(
    source: Source, loss: Loss | CoupledLoss, coef: np.ndarray, intercept: np.ndarray
) -> tuple[float, bool]:
    """The summed cost of all rows as a sample tells it, and whether the sample holds all rows.

    NaN where a loss overflows or is not defined: plain Python raises. Coefficients of zero need no x.
    """
    every = -(-source.n * len(coef) // _MOST)
    rows: Any
    if not coef.any():
        rows, share = _samples(source, every)
        z = np.zeros((rows.y.shape[1], len(coef))) + intercept
    else:
        rows, share = source.subset(every, 1) if every > 1 else (source, 1.0)
        z = rows.few_predictions(coef) + intercept
    if len(rows.offset):
        z += rows.offset.T
    try:
        losses = _losses(loss, z, rows.y.T)
    except (ArithmeticError, ValueError):
        return math.nan, False
    total = rows.weight @ losses if len(rows.weight) else np.add.reduce(losses)
    return float(total) / share, every == 1


class _Samples(NamedTuple):
    """What belongs to some rows beside x, as in a source."""

    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray


def _samples(source: Source, every: int) -> tuple[_Samples, float]:
    """Those of one row in so many, and its share of the weight."""
    found = _Samples(
        *(a[..., ::every] if a.size else a for a in (source.y, source.weight, source.offset))
    )
    if len(found.weight):
        of_all = source.weight.sum(dtype=np.float64)
        return found, float(found.weight.sum(dtype=np.float64) / of_all)
    return found, found.y.shape[1] / source.n


def _losses(loss: Any, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The loss of each row, from raw predictions z (m, k) and targets y (m, k), or (m, 1) if coupled."""
    if loss.coupled:
        return np.array(
            [_coupled_loss(loss, *row) for row in zip(z.tolist(), y[:, 0], strict=True)]
        )
    parameters = map(itertools.repeat, loss.parameters)
    losses = list(map(loss.value, z.ravel().tolist(), y.ravel().tolist(), *parameters))
    return np.add.reduce(np.array(losses).reshape(z.shape), axis=1)


def _coupled_loss(loss: Any, z: list[float], label: float) -> float:
    top, rest = z[0], 0.0
    for a in z[1:]:
        top, rest = loss.add(top, rest, a)
    return loss.value(z[int(label)], top, rest)
