"""Minibatches for a coupled loss: one block has the model with all its outputs.

An update waits for the one before, and the outputs of a row for each other, so a second block would
idle.
"""

import functools

import numba

from ..compile.functions import leaf
from ..formulas.updates import Rule
from ..losses import CoupledLoss
from ..settings import L1, L2, LAST, LEARN, SCALE
from .coupled import coupled_pass
from .driver import cuda
from .layout import INT32, CoupledLayout
from .step import parameter_step


@functools.cache
def coupled_minibatch(
    loss: CoupledLoss, layout: CoupledLayout, dtype: str, ordered: bool, rule: Rule, averaging: bool
):
    """The kernel of one update a batch, for one block.

    The arguments are those of `stochastic.minibatch`, with y (1, n) and losses (1,), and after them:

        name       dir     shape     meaning
        totals     OUT     (k, d+2)  scratch: the sums of a batch
    """
    threads, real = layout.threads, getattr(numba, dtype)
    one_pass = coupled_pass(loss, layout, dtype, ordered=ordered)
    scales, move = leaf(rule.scales), parameter_step(rule, averaging)

    @cuda.jit
    def updates(
        x, y, weight, offset, order, coef, intercept, settings, rates, hyper, low_hyper, memory,
        updates_before, mean, batch_size, first, last, losses, totals,
    ):  # fmt: skip
        k, d = coef.shape[0], coef.shape[1]
        zero, none, thread = coef.dtype.type(0), intercept[:0], cuda.threadIdx.x
        l1, l2, scale = settings[L1], settings[L2], settings[SCALE]
        learn, by_rows = settings[LEARN] != zero, settings[LAST] != zero
        t, total = updates_before, numba.float64(0)
        batch = first
        while batch < last:
            stop = min(batch + batch_size, last)
            one_pass(x, order, y, weight, offset, zero, none, coef, intercept, batch, stop, totals)
            cuda.syncthreads()
            factor = scale / coef.dtype.type(stop - batch) if by_rows else scale
            t += 1.0
            lr = rates[0]
            u64, v64, w64 = scales(numba.float64(lr), t, hyper)
            u, v, w = real(u64), real(v64), real(w64)
            for at in range(thread, k * (d + 1), threads):
                c = (at & INT32) // ((d + 1) & INT32)
                if rates[c] != lr:
                    lr = rates[c]
                    u64, v64, w64 = scales(numba.float64(lr), t, hyper)
                    u, v, w = real(u64), real(v64), real(w64)
                j = at - c * (d + 1)
                move(
                    c, j, factor * totals[c, j], lr, u, v, w, t, l1, l2, learn, low_hyper, coef,
                    intercept, memory, mean,
                )  # fmt: skip
            if thread == 0:
                total += totals[0, d + 1]
            cuda.syncthreads()
            batch = stop
        if thread == 0:
            losses[0] = total

    return updates
