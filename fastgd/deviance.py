"""The deviance of predictions: their loss above that of perfect ones, and the part that x explains."""

from typing import Any

import numpy as np

from .cpu.elementwise import evaluated
from .losses import CoupledLoss, Loss
from .sources.dense import DenseRows

#: Halvings of the interval that holds the best constant at most: from the ends of `logarithm` to a digit.
_HALVINGS = 200
#: What rounding leaves of a difference of sums, relative to them.
_ROUNDING = 1e-13


def has_deviance(loss: Any) -> bool:
    """Whether the least loss of each target is known."""
    return loss.link is not None if loss.coupled else loss.perfect is not None


def deviance(loss: Loss | CoupledLoss, raw: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """2·Σ weight·(loss − least loss), summed over outputs; without the 2 for (z − y)².

    raw (k, n) are raw predictions, y (k, n) targets, or (1, n) class indices of a coupled loss.
    """
    if isinstance(loss, CoupledLoss):  # its least loss is 0, at a probability of 1
        k = len(raw)
        rows = DenseRows(raw.T, y, weight, np.float64, None, k)
        return 2 * float(rows.totals(loss, np.eye(k), np.zeros(k), None, False)[:, -1].sum())
    above = _losses(loss, raw, y, weight) - _losses(loss, _perfect(loss, y), y, weight)
    return (1 if loss.quadratic else 2) * float(above.sum())


def explained(
    loss: Loss, raw: np.ndarray, y: np.ndarray, weight: np.ndarray, offset: Any
) -> np.ndarray:
    """D² = 1 − deviance/(that of the best constant), (k,); the constant stands beside the offset, if any.

    Constant targets are predicted fully or not at all.
    """
    fixed = np.broadcast_to(np.zeros((1, 1)) if offset is None else offset, y.shape)
    perfect = _perfect(loss, y)
    outputs = zip(y, fixed, perfect, strict=True)
    constant = np.array([o + _constant(loss, t, weight, o, z - o) for t, o, z in outputs])
    ours, of_constant, least = (_losses(loss, z, y, weight) for z in (raw, constant, perfect))
    varies = (y.min(axis=1) < y.max(axis=1)) | (offset is not None)
    met = ours - least <= _ROUNDING * (np.abs(ours) + np.abs(least))
    return np.where(varies, 1 - (ours - least) / (of_constant - least), 1.0 * met)


def _perfect(loss: Loss, y: np.ndarray) -> np.ndarray:
    return evaluated(loss.perfect, np.ascontiguousarray(y), None)


def _losses(loss: Loss, raw: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The summed losses of each output, (k,)."""
    return np.array([_at(loss, z, t, weight)[1] for z, t in zip(raw, y, strict=True)])


def _at(
    loss: Loss, raw: np.ndarray, y: np.ndarray, weight: np.ndarray, constant: float = 0.0
) -> tuple[float, float]:
    """The sums over rows of the slopes and of the losses at raw + constant."""
    rows = DenseRows(raw[:, None], y[None], weight, np.float64, None)
    _, slope, cost = rows.totals(loss, np.ones((1, 1)), np.array([constant]))[0].tolist()
    return slope, cost


def _constant(
    loss: Loss, y: np.ndarray, weight: np.ndarray, offset: np.ndarray, wanted: np.ndarray
) -> float:
    """The constant at which the summed slopes change their sign, between those that rows would want."""
    low, high = float(wanted.min()), float(wanted.max())
    for _ in range(_HALVINGS):
        middle = low / 2 + high / 2
        if not low < middle < high:
            break
        falls = _at(loss, offset, y, weight, middle)[0] <= 0
        low, high = (middle, high) if falls else (low, middle)
    return low
