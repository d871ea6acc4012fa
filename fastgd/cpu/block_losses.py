"""Losses and slopes of a block of rows, from raw predictions in scratch.

A pass over rows or columns calls them by address, once a block: the pass is compiled once for all losses,
and these small loops once for each loss.

Rows of `scratch` (1 + k + 3, rows), with one place for every row of the block:

    WEIGHT           sample weights, ones without weights
    Z, Z + 1 …       raw predictions of the k outputs, which become weighted slopes
    the last 3       scratch of the losses
"""

import functools

import numpy as np

from ..compile.functions import piece, pointer, with_parameter
from ..losses import CoupledLoss, Loss
from .machine.vector_math import vectorised
from .machine.vector_width import use_widest_vectors

#: Rows of the scratch, and how many there are beside predictions.
WEIGHT, Z, OTHERS = 0, 1, 4


def block_scratch(parts: int | None, k: int, rows: int, dtype) -> np.ndarray:
    """The scratch of a block of so many rows, or of one for each part, with weights of one."""
    lead = () if parts is None else (parts,)
    scratch = np.empty((*lead, k + OTHERS, rows), dtype)
    scratch[..., WEIGHT, :] = 1
    return scratch


@functools.cache
def block_losses(loss: Loss | CoupledLoss, slopes_too: bool, dtype: np.dtype) -> int:
    """The address of the compiled ``(scratch, y, at, p, m, totals)``, an argument of a pass.

    It adds the losses of m rows, and with `slopes_too` their slopes, to the last two columns of `totals`,
    and turns the predictions in `scratch` into weighted slopes.

        name        dir     shape            meaning
        scratch     IN OUT  (k + 4, rows)    see above
        y           IN      (k, n), (1, n)   targets; one row serves all outputs
        at          IN      int              place of the first row in y
        m           IN      int              number of rows
    """
    make = _losses_of_rows if loss.coupled else losses_of_outputs
    scratch, y, totals = np.empty((5, 1), dtype), np.empty((1, 1), dtype), np.empty((1, 2))
    return pointer(make(loss, slopes_too), scratch, y, 0, dtype.type(0), 0, totals)


@functools.cache
def losses_of_outputs(loss: Loss, slopes_too: bool):
    """The compiled losses of outputs that don't see each other: see `block_losses`."""
    value = with_parameter(vectorised(loss.value))
    slope = with_parameter(vectorised(loss.slope))

    # Value and slope in one loop have one exponential, 2.1 and not 2.8 ns a row in float32. Sums have
    # loops of their own: a loop that sums and stores is compiled as vector and as scalar code, and the
    # addresses of the arrays select one at run time: one call in a hundred then summed in another order.
    @piece
    def losses(scratch, y, at, p, m, totals):
        use_widest_vectors()
        k, d = totals.shape[0], totals.shape[1] - 2
        w, values = scratch[WEIGHT], scratch[scratch.shape[0] - 1]
        for c in range(k):
            # A slice, because an index from `at` on might be negative: the loop would not be vectorised.
            z, target = scratch[Z + c], y[min(c, y.shape[0] - 1), at : at + m]
            for i in range(m):
                prediction = z[i]
                values[i] = w[i] * value(prediction, target[i], p)
                if slopes_too:
                    z[i] = w[i] * slope(prediction, target[i], p)
            cost, slopes = scratch.dtype.type(0), scratch.dtype.type(0)
            for i in range(m):
                cost += values[i]
                if slopes_too:
                    slopes += z[i]
            totals[c, d] += slopes
            totals[c, d + 1] += cost
        return 0.0

    return losses


@functools.cache
def _losses_of_rows(loss: CoupledLoss, slopes_too: bool):
    """The compiled losses of all k predictions of a row; the targets are class indices."""
    add, value, slope = vectorised(loss.add), vectorised(loss.value), vectorised(loss.slope)

    @piece
    def losses(scratch, y, at, p, m, totals):
        use_widest_vectors()
        T = scratch.dtype.type
        k, d = totals.shape[0], totals.shape[1] - 2
        w, label = scratch[WEIGHT], y[0, at : at + m]
        top, rest, values = scratch[Z + k], scratch[Z + k + 1], scratch[Z + k + 2]
        for i in range(m):
            top[i], rest[i] = scratch[Z, i], T(0)
            values[i] = scratch[Z + int(label[i]), i]
        for c in range(1, k):
            z = scratch[Z + c]
            for i in range(m):
                top[i], rest[i] = add(top[i], rest[i], z[i])
        for i in range(m):
            values[i] = w[i] * value(values[i], top[i], rest[i])
        cost = T(0)
        for i in range(m):
            cost += values[i]
        totals[0, d + 1] += cost
        if slopes_too:
            for c in range(k):
                z, slopes = scratch[Z + c], T(0)
                for i in range(m):
                    hit = T(1) if label[i] == T(c) else T(0)
                    z[i] = w[i] * slope(z[i], hit, top[i], rest[i])
                for i in range(m):
                    slopes += z[i]
                totals[c, d] += slopes
        return 0.0

    return losses
