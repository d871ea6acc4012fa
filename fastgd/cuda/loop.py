"""Batch descent as one launch for many epochs: nothing returns to the host between them.

An epoch has three steps: all blocks pass over the rows, all blocks add up the parts, one block moves the
parameters. After each the whole grid meets at a barrier, 1 to 2 µs each. Parameters, sums over parts,
cost, stopping rule and the check for a finite cost are float64, as on the CPU.
"""

import functools
import math

import numba

from ..compile.functions import leaf
from ..formulas.updates import RULES, Rule, l1_slope, soft
from ..losses import CoupledLoss, Loss
from ..settings import CONVERGED, L1, L2, LAST, LEARN, NOT_FINITE, RUNNING, SCALE, P
from .dense import part_pass, sums_of_columns
from .driver import cuda, with_registers
from .layout import INT32, registers


@functools.cache
def advance(threads: int, rule: Rule = RULES["gd"]):
    """A device function: the end of an epoch, as `fastgd.cpu.advance`, by the threads of one block.

    ``(totals, low, low_intercept, coef, intercept, previous, settings, rates, hyper, memory, state,
    costs, norms, path, epoch, before, sums)`` returns the status to every thread.

        name           dir     shape              meaning
        totals         IN      (k, d+2)           sums of a pass at coef and intercept
        low            OUT     (k, d)             coefficients in the dtype of the pass
        low_intercept  OUT     (k,)               intercepts in the dtype of the pass
        coef           IN OUT  (k, d) float64     coefficients
        intercept      IN OUT  (k,) float64       intercepts
        epoch          IN      int                the epoch, counted in this chunk
        before         IN      int                number of epochs before this chunk
        sums           OUT     (threads,)         shared float64 scratch
    """
    scales, step, slots = leaf(rule.scales), leaf(rule.step), rule.slots
    shrink, slope_of = leaf(soft), leaf(l1_slope)

    @cuda.jit(device=True)
    def end_of_epoch(
        totals, low, low_intercept, coef, intercept, previous, settings, rates, hyper, memory, state,
        costs, norms, path, epoch, before, sums,
    ):  # fmt: skip
        k, d = coef.shape[0], coef.shape[1]
        thread = cuda.threadIdx.x
        l1, l2 = settings[L1], settings[L2]
        scale, tol = settings[SCALE], settings[LAST]
        learn = settings[LEARN] != 0.0
        cost = numba.float64(0)
        for c in range(k):
            cost += totals[c, d + 1]
        cost *= scale
        if not math.isfinite(cost):
            return NOT_FINITE
        if thread == 0:
            costs[epoch] = cost
        norm = numba.float64(0)
        for at in range(thread, k * (d + 1), threads):
            c = (at & INT32) // ((d + 1) & INT32)
            j = at - c * (d + 1)
            slope = scale * totals[c, j]
            if j < d:
                slope += l2 * coef[c, j]
                if l1 > 0.0:
                    slope = slope_of(coef[c, j], slope, l1)
            elif not learn:
                slope = numba.float64(0)
            norm += slope * slope
        sums[thread] = norm
        half = threads // 2
        while half > 0:
            cuda.syncthreads()
            if thread < half:
                sums[thread] += sums[thread + half]
            half //= 2
        cuda.syncthreads()
        norm = math.sqrt(sums[0])
        first = state[0] if state[0] >= 0.0 else norm
        cuda.syncthreads()
        if thread == 0:
            norms[epoch] = norm
            if tol > 0.0:
                state[0] = first
        if tol > 0.0 and norm <= tol * first:
            return CONVERGED
        t = numba.float64(before + epoch + 1)
        for at in range(thread, k * (d + 1), threads):
            c = (at & INT32) // ((d + 1) & INT32)
            j = at - c * (d + 1)
            lr = rates[epoch if rates.shape[0] > 1 else 0, c]
            u, v, w = scales(lr, t, hyper)
            slope = scale * totals[c, j]
            theta = coef[c, j] if j < d else intercept[c]
            previous[c, j] = theta
            if j < d:
                slope += l2 * theta
            if slots > 0:
                after, s0, s1, s2 = step(
                    theta, slope, u, v, w, hyper, memory[0, c, j], memory[1, c, j], memory[2, c, j]
                )
                memory[0, c, j], memory[1, c, j], memory[2, c, j] = s0, s1, s2
            else:
                zero = numba.float64(0)
                after = step(theta, slope, u, v, w, hyper, zero, zero, zero)[0]
            if j < d:
                if l1 > 0.0:
                    after = shrink(after, lr * l1)
                coef[c, j] = after
                low[c, j] = after
                if path.shape[0] > 0:
                    path[epoch, c, j] = after
            elif learn:
                intercept[c] = after
                low_intercept[c] = after
        return RUNNING

    return end_of_epoch


@functools.cache
def batch_epochs(
    loss: Loss | CoupledLoss, layout, dtype: str, width: int, rule: Rule = RULES["gd"]
):
    """The kernel of a chunk of epochs, for a grid whose blocks all run at the same time.

    ``(x, y, weight, offset, low, low_intercept, coef, intercept, previous, settings, rates, hyper,
    memory, state, costs, norms, path, outcome, partials, flat, by_output, totals, part_rows, before,
    epochs)``

        name           dir     shape              meaning
        low            IN OUT  (k, d)             coefficients in `dtype`
        low_intercept  IN OUT  (k,)               intercepts in `dtype`
        coef           IN OUT  (k, d) float64     coefficients
        intercept      IN OUT  (k,) float64       intercepts
        outcome        OUT     (2,) int64         the status and the number of updates
        flat           OUT     (parts, k·(d+2))   a view of `partials`
        by_output      OUT     (k, d+2)           a view of `totals`
        before         IN      int                number of epochs before this chunk
        epochs         IN      int                number of epochs of this chunk

    `rates`, `costs`, `norms` and `path` begin at the first epoch of the chunk. If the chunk runs to its
    end, state[COST] is the cost at the last parameters. `width` columns are added up side by side.
    """
    threads = layout.threads
    add_part, coupled = part_pass(loss, layout, dtype), loss.coupled
    sums, end_of_epoch = sums_of_columns(width, threads), advance(threads, rule)

    most = registers(layout, getattr(numba, dtype).bitwidth // 8)

    @cuda.jit(**with_registers(most))
    def epochs_of_gd(
        x, y, weight, offset, low, low_intercept, coef, intercept, previous, settings, rates, hyper,
        memory, state, costs, norms, path, outcome, partials, flat, by_output, totals, part_rows, before,
        epochs,
    ):  # fmt: skip
        scratch = cuda.shared.array(threads, numba.float64)
        grid = cuda.cg.this_grid()
        k, d, columns = coef.shape[0], coef.shape[1], flat.shape[1]
        blocks = partials.shape[0] * (1 if coupled else k)
        none, p = low_intercept[:0], low.dtype.type(settings[P])
        for epoch in range(epochs + 1):
            block = cuda.blockIdx.x
            while block < blocks:
                add_part(
                    x, y, weight, offset, p, none, low, low_intercept, block, part_rows, partials
                )
                cuda.syncthreads()
                block += cuda.gridDim.x
            grid.sync()
            column = cuda.blockIdx.x * width
            while column < columns:
                sums(flat, column, columns, totals, scratch)
                column += cuda.gridDim.x * width
            grid.sync()
            if epoch == epochs:
                break
            if cuda.blockIdx.x == 0:
                status = end_of_epoch(
                    by_output, low, low_intercept, coef, intercept, previous, settings, rates, hyper,
                    memory, state, costs, norms, path, epoch, before, scratch,
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
