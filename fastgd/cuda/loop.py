"""Batch descent as one launch for many epochs: nothing goes back to the host in between.

Between the three steps of an epoch (all blocks pass over the rows, all blocks add up the parts, one
block moves the parameters) the whole grid meets at a barrier, 1 to 2 µs each. Parameters, sums over
parts, cost, stopping rule and the check for a finite cost are float64, as on the CPU.
"""

import functools
import math

import numba

from .._jit import leaf
from ..cpu.dense import CONVERGED, NOT_FINITE, RUNNING
from ..losses import Loss
from ..optimizers import OPTIMIZERS
from ..settings import L2, LAST, LEARN, LR, SCALE
from .dense import block_pass, sums_of_columns
from .driver import cuda
from .layout import INT32


@functools.cache
def advance(threads: int, optimizer: str = "gd"):
    """The end of an epoch, by one block: `fastgd.cpu.dense.advance` with a thread a parameter.

    A device function ``(totals, low, low_intercept, coef, intercept, previous, settings, state, costs,
    path, epoch, memory)`` that returns the status to every thread. It also leaves the next parameters
    in the dtype of the pass in `low` and `low_intercept`.
    """
    step = leaf(OPTIMIZERS[optimizer].step)

    @cuda.jit(device=True)
    def end_of_epoch(
        totals, low, low_intercept, coef, intercept, previous, settings, state, costs, path, epoch,
        memory,
    ):  # fmt: skip
        k, d = coef.shape[0], coef.shape[1]
        thread = cuda.threadIdx.x
        l2, scale, tol = settings[L2], settings[SCALE], settings[LAST]
        learn = settings[LEARN] != 0.0
        cost = numba.float64(0)
        for c in range(k):
            cost += totals[c, d + 1]
        cost *= scale
        if not math.isfinite(cost):
            for at in range(thread, k * (d + 1), threads):
                c = (at & INT32) // ((d + 1) & INT32)
                j = at - c * (d + 1)
                if j < d:
                    coef[c, j] = previous[c, j]
                else:
                    intercept[c] = previous[c, d]
            return NOT_FINITE
        if thread == 0:
            costs[epoch] = cost
        if tol > 0.0:
            norm = numba.float64(0)
            for at in range(thread, k * (d + 1), threads):
                c = (at & INT32) // ((d + 1) & INT32)
                j = at - c * (d + 1)
                slope = scale * totals[c, j]
                if j < d:
                    slope += l2 * coef[c, j]
                elif not learn:
                    slope = numba.float64(0)
                norm += slope * slope
            memory[thread] = norm
            half = threads // 2
            while half > 0:
                cuda.syncthreads()
                if thread < half:
                    memory[thread] += memory[thread + half]
                half //= 2
            cuda.syncthreads()
            norm = math.sqrt(memory[0])
            first = state[0] if state[0] >= 0.0 else norm
            cuda.syncthreads()
            if thread == 0:
                state[0] = first
            if norm <= tol * first:
                return CONVERGED
        for at in range(thread, k * (d + 1), threads):
            c = (at & INT32) // ((d + 1) & INT32)
            j = at - c * (d + 1)
            slope, lr = scale * totals[c, j], settings[LR + c]
            if j < d:
                before = coef[c, j]
                after = step(before, slope + l2 * before, lr)
                coef[c, j] = after
                low[c, j] = after
                if path.shape[0] > 0:
                    path[epoch, c, j] = after
            else:
                before = intercept[c]
                after = step(before, slope, lr) if learn else before
                intercept[c] = after
                low_intercept[c] = after
            previous[c, j] = before
        return RUNNING

    return end_of_epoch


@functools.cache
def descend(loss: Loss, layout, dtype: str, width: int, optimizer: str = "gd"):
    """The kernel of a whole chunk of epochs, for a grid whose blocks all run at the same time.

    ``(x, y, weight, low, low_intercept, coef, intercept, previous, settings, state, costs, path,
    outcome, partials, flat, by_output, totals, part_rows, epochs)``. The first arrays are those of
    `fastgd.cpu.dense.descend`, on the GPU and in float64 but for `low` and `low_intercept`, which hold
    the parameters in `dtype` at the start; `flat` is partials (parts, k, d+2) as (parts, k·(d+2)),
    `by_output` totals (k·(d+2),) as (k, d+2). `costs` and `path` begin at the first epoch of the chunk.

    `outcome` gets the status and the number of updates, state[1] the cost at the last parameters if the
    chunk ran to its end. `width` columns are added up side by side.
    """
    threads = layout.threads
    one_pass = block_pass(loss, layout, dtype)
    sums, end_of_epoch = sums_of_columns(width, threads), advance(threads, optimizer)

    @cuda.jit
    def epochs_of_gd(
        x, y, weight, low, low_intercept, coef, intercept, previous, settings, state, costs, path,
        outcome, partials, flat, by_output, totals, part_rows, epochs,
    ):  # fmt: skip
        memory = cuda.shared.array(threads, numba.float64)
        grid = cuda.cg.this_grid()
        parts, k = partials.shape[0], partials.shape[1]
        n, d, columns = y.shape[1], coef.shape[1], flat.shape[1]
        none = low_intercept[:0]
        for epoch in range(epochs + 1):
            block = cuda.blockIdx.x
            while block < parts * k:
                part = (block & INT32) // (k & INT32)
                c = block - part * k
                first = part * part_rows
                last = min(first + part_rows, n)
                one_pass(
                    x, none, y, weight, none, low, low_intercept, c, c, first, last,
                    partials[part, c],
                )  # fmt: skip
                cuda.syncthreads()
                block += cuda.gridDim.x
            grid.sync()
            column = cuda.blockIdx.x * width
            while column < columns:
                sums(flat, column, columns, totals, memory)
                column += cuda.gridDim.x * width
            grid.sync()
            if epoch == epochs:
                break
            if cuda.blockIdx.x == 0:
                status = end_of_epoch(
                    by_output, low, low_intercept, coef, intercept, previous, settings, state, costs,
                    path, epoch, memory,
                )  # fmt: skip
                if cuda.threadIdx.x == 0:
                    outcome[0], outcome[1] = status, epoch + (status == RUNNING)
            grid.sync()
            if outcome[0] != RUNNING:
                return
        if cuda.blockIdx.x == 0 and cuda.threadIdx.x == 0:
            cost = numba.float64(0)
            for c in range(k):
                cost += totals[c * (d + 2) + d + 1]
            state[1] = settings[SCALE] * cost

    return epochs_of_gd
