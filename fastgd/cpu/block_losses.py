"""Losses and slopes of a block of rows, from raw predictions in scratch.

A pass over rows or columns calls them by address, once a block: the pass is compiled once for all losses,
and these small loops once for each loss.

Rows of `scratch` (1 + outputs of y + k + 3, rows), with one place for every row of the block:

    WEIGHT                sample weights, ones without weights
    TARGETS …             targets: one row, or one for each of the k outputs
    then k rows           raw predictions, which become weighted slopes
    the last 3 rows       scratch of the losses
"""

import functools

import numpy as np

from ..compile.functions import piece, pointer, with_parameter
from ..losses import CoupledLoss, Loss
from .machine.vector_math import vectorised
from .machine.vector_width import use_widest_vectors

#: Rows of the scratch, and how many there are beside targets and predictions.
WEIGHT, TARGETS, OTHERS = 0, 1, 4

#: Addresses by loss, kind and dtype: naming the types of arguments takes 0.2 ms.
_addresses: dict[tuple, int] = {}


def block_scratch(parts: int, targets: int, k: int, rows: int, dtype) -> np.ndarray:
    """The scratch of a block of so many rows for each part, with weights of one."""
    scratch = np.empty((parts, targets + k + OTHERS, rows), dtype)
    scratch[:, WEIGHT] = 1
    return scratch


def block_losses(loss: Loss | CoupledLoss, slopes_too: bool, dtype: np.dtype) -> int:
    """The address of the compiled ``(scratch, p, m, totals)``, an argument of a pass.

    It adds the losses of m rows, and with `slopes_too` their slopes, to the last two columns of `totals`,
    and turns the predictions in `scratch` into weighted slopes. The result is a meaningless float, which
    `call` needs.

        name        dir     shape                meaning
        scratch     IN OUT  (t + k + 4, rows)    see above
        m           IN      int                  number of rows
    """
    key = loss, slopes_too, dtype
    if key not in _addresses:
        make = _losses_of_rows if loss.coupled else losses_of_outputs
        given = np.empty((6, 1), dtype), dtype.type(0), 0, np.empty((1, 2))
        _addresses[key] = pointer(make(loss, slopes_too), *given)
    return _addresses[key]


@functools.cache
def losses_of_outputs(loss: Loss, slopes_too: bool):
    """The compiled losses of outputs that don't see each other: see `block_losses`."""
    value = with_parameter(vectorised(loss.value))
    slope = with_parameter(vectorised(loss.slope))

    # Value and slope in one loop have one exponential, 2.1 and not 2.8 ns a row in float32. Sums have
    # loops of their own: a loop that sums and stores is compiled as vector and as scalar code, and the
    # addresses of the arrays select one at run time: one call in a hundred then summed in another order.
    @piece
    def losses(scratch, p, m, totals):
        use_widest_vectors()
        k, d = totals.shape[0], totals.shape[1] - 2
        targets, values = scratch.shape[0] - OTHERS - k, scratch.shape[0] - 1
        for c in range(k):
            target, at = TARGETS + min(c, targets - 1), TARGETS + targets + c
            for i in range(m):
                z, y, w = scratch[at, i], scratch[target, i], scratch[WEIGHT, i]
                scratch[values, i] = w * value(z, y, p)
                if slopes_too:
                    scratch[at, i] = w * slope(z, y, p)
            cost, slopes = scratch.dtype.type(0), scratch.dtype.type(0)
            for i in range(m):
                cost += scratch[values, i]
                if slopes_too:
                    slopes += scratch[at, i]
            totals[c, d] += slopes
            totals[c, d + 1] += cost
        return 0.0

    return losses


@functools.cache
def _losses_of_rows(loss: CoupledLoss, slopes_too: bool):
    """The compiled losses of all k predictions of a row; the targets are class indices."""
    add, value, slope = vectorised(loss.add), vectorised(loss.value), vectorised(loss.slope)

    @piece
    def losses(scratch, p, m, totals):
        use_widest_vectors()
        T = scratch.dtype.type
        k, d = totals.shape[0], totals.shape[1] - 2
        first = TARGETS + 1
        top, rest, values = first + k, first + k + 1, first + k + 2
        for i in range(m):
            scratch[top, i], scratch[rest, i] = scratch[first, i], T(0)
            scratch[values, i] = scratch[first + int(scratch[TARGETS, i]), i]
        for c in range(1, k):
            at = first + c
            for i in range(m):
                scratch[top, i], scratch[rest, i] = add(
                    scratch[top, i], scratch[rest, i], scratch[at, i]
                )
        for i in range(m):
            scratch[values, i] = scratch[WEIGHT, i] * value(
                scratch[values, i], scratch[top, i], scratch[rest, i]
            )
        cost = T(0)
        for i in range(m):
            cost += scratch[values, i]
        totals[0, d + 1] += cost
        if slopes_too:
            for c in range(k):
                at, label, slopes = first + c, T(c), T(0)
                for i in range(m):
                    hit = T(1) if scratch[TARGETS, i] == label else T(0)
                    scratch[at, i] = scratch[WEIGHT, i] * slope(
                        scratch[at, i], hit, scratch[top, i], scratch[rest, i]
                    )
                for i in range(m):
                    slopes += scratch[at, i]
                totals[c, d] += slopes
        return 0.0

    return losses
