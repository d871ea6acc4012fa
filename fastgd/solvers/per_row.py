"""Numbers per row at given parameters: raw predictions, margins, and the curvature of each row's loss."""

import math
from typing import Any

import numpy as np

from ..cpu.elementwise import curvatures
from ..sources.protocol import Source

#: Coefficients (k, d) and intercepts (k,).
Parameters = tuple[np.ndarray, np.ndarray]


def linear_predictions(source: Source, at: Parameters) -> np.ndarray:
    """x·coef + intercept of all outputs, (k, n): the part of the raw predictions that parameters make."""
    outputs = zip(*at, strict=True)
    raw = [source.predictions(w[None], b[None]) for w, b in outputs]
    return raw[0][None] if len(raw) == 1 else np.array(raw)  # no second array of one number per row


def raw_predictions(source: Source, at: Parameters) -> np.ndarray:
    """The predictions of all outputs before the link, with the offset, (k, n)."""
    raw = linear_predictions(source, at)
    if len(source.offset):
        raw += source.offset
    return raw


def margins_at(source: Source, at: Parameters) -> np.ndarray:
    """The predictions (n,) of two labels, positive where the label is right; 1 in rows without weight."""
    return margins_of(source, raw_predictions(source, at)[0])


def margins_of(source: Source, values: np.ndarray) -> np.ndarray:
    """The margins (n,) of these predictions, written over them."""
    weight = source.weight
    np.negative(values, out=values, where=source.y[0] == 0)
    if len(weight):
        values[weight == 0] = 1.0
    return values


def curvatures_at(source: Source, loss: Any, at: Parameters) -> np.ndarray:
    """The weighted second derivative (n,) of each row's loss, as of `row_curvatures`."""
    return row_curvatures(source, loss, raw_predictions(source, at)[0], False)


def row_curvatures(source: Source, loss: Any, rows: np.ndarray, of_margins: bool) -> np.ndarray:
    """The weighted second derivative of each row's loss, written over its margin or its prediction.

    A loss without a second derivative gives its bound, or else a difference of slopes. What is negative,
    as for Tweedie's loss with a power above 2, is 0.
    """
    if loss.second is None and math.isfinite(loss.curvature):
        rows[:] = loss.curvature * (source.weight if len(source.weight) else 1.0)
    else:
        curvatures(loss, rows, source.y[0], source.weight, of_margins, source.n_threads)
        if not math.isfinite(
            loss.curvature
        ):  # it may not be convex, and a metric has no other sign
            np.maximum(rows, 0.0, out=rows)
    return rows
