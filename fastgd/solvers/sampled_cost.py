"""The cost of evenly spaced rows in plain Python: a kernel for so few would take seconds to compile."""

import math
from typing import Any

import numpy as np

from ..losses import CoupledLoss, Loss
from ..sources.protocol import Source

#: The most losses, about half a microsecond each.
_MOST = 256


def sampled_cost(
    source: Source, loss: Loss | CoupledLoss, coef: np.ndarray, intercept: np.ndarray
) -> tuple[float, bool]:
    """The summed cost of all rows as a sample tells it, and whether the sample holds all rows.

    NaN where a loss overflows or is not defined: plain Python raises.
    """
    every, share = -(-source.n * len(coef) // _MOST), 1.0
    rows = source
    if every > 1:
        rows, share = source.subset(every, 1)
    z, y = rows.sample(rows.n) @ coef.T + intercept, rows.y.T
    weights = rows.weight.tolist() or [1.0] * rows.n
    try:
        losses = [_loss_of_row(loss, *row) for row in zip(z.tolist(), y.tolist(), strict=True)]
    except (ArithmeticError, ValueError):
        return math.nan, False
    return sum(w * a for w, a in zip(weights, losses, strict=True)) / share, every == 1


def _loss_of_row(loss: Any, z: list[float], y: list[float]) -> float:
    if not loss.coupled:
        return sum(loss.value(a, b, *loss.parameters) for a, b in zip(z, y, strict=True))
    top, rest = z[0], 0.0
    for a in z[1:]:
        top, rest = loss.add(top, rest, a)
    return loss.value(z[int(y[0])], top, rest)
