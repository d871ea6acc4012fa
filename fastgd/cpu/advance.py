"""The end of an epoch of batch descent: from summed totals to the next parameters."""

import functools
import math

import numpy as np

from ..compile.functions import kernel, leaf
from ..formulas.updates import Rule, l1_slope, soft
from ..settings import (
    CONVERGED,
    EPOCHS,
    FIRST_NORM,
    L1,
    L2,
    LAST,
    LEARN,
    NOT_FINITE,
    RUNNING,
    SCALE,
)


@functools.cache
def advance(rule: Rule):
    """The compiled end of an epoch: cost, gradient norm, stopping rule and step; returns the status.

    ``(totals, coef, intercept, previous, settings, rates, hyper, memory, state, costs, norms, path)``

        name        dir     shape            meaning
        totals      IN      (k, d+2)         sums of a pass at coef and intercept
        coef        IN OUT  (k, d) float64   coefficients
        intercept   IN OUT  (k,) float64     intercepts

    The other arguments are described in `fastgd.cpu`. If the cost is not finite, nothing changes.
    """
    scales, step, slots = leaf(rule.scales), leaf(rule.step), rule.slots
    shrink, slope_of = leaf(soft), leaf(l1_slope)

    @kernel
    def end_of_epoch(
        totals, coef, intercept, previous, settings, rates, hyper, memory, state, costs, norms, path
    ):
        k, d = coef.shape
        epoch = int(state[EPOCHS])
        l1, l2, scale = settings[L1], settings[L2], settings[SCALE]
        learn, tol = settings[LEARN], settings[LAST]
        cost = 0.0
        for c in range(k):
            cost += totals[c, d + 1]
        cost *= scale
        if not math.isfinite(cost):
            return NOT_FINITE
        costs[epoch] = cost
        norm = 0.0
        for c in range(k):
            if learn != 0.0:
                norm += (scale * totals[c, d]) ** 2
            if l1 > 0.0:
                for j in range(d):
                    g = scale * totals[c, j] + l2 * coef[c, j]
                    norm += slope_of(coef[c, j], g, l1) ** 2
            else:
                for j in range(d):
                    norm += (scale * totals[c, j] + l2 * coef[c, j]) ** 2
        norm = math.sqrt(norm)
        norms[epoch] = norm
        if tol > 0.0:
            if state[FIRST_NORM] < 0.0:
                state[FIRST_NORM] = norm
            if norm <= tol * state[FIRST_NORM]:
                return CONVERGED
        t = np.float64(epoch + 1)
        for c in range(k):
            lr = rates[epoch if rates.shape[0] > 1 else 0, c]
            u, v, w = scales(lr, t, hyper)
            # Loops of few arrays: before a loop of many, compiled code compares all their addresses.
            for j in range(d):
                previous[c, j] = coef[c, j]
            previous[c, d] = b = intercept[c]
            g = scale * totals[c, d]
            if slots > 0:
                for j in range(d):
                    coef[c, j], memory[0, c, j], memory[1, c, j], memory[2, c, j] = step(
                        coef[c, j], scale * totals[c, j] + l2 * coef[c, j], u, v, w, hyper,
                        memory[0, c, j], memory[1, c, j], memory[2, c, j],
                    )  # fmt: skip
                if learn != 0.0:
                    intercept[c], memory[0, c, d], memory[1, c, d], memory[2, c, d] = step(
                        b, g, u, v, w, hyper, memory[0, c, d], memory[1, c, d], memory[2, c, d]
                    )
            else:
                for j in range(d):
                    g_j = scale * totals[c, j] + l2 * coef[c, j]
                    coef[c, j] = step(coef[c, j], g_j, u, v, w, hyper, 0.0, 0.0, 0.0)[0]
                if learn != 0.0:
                    intercept[c] = step(b, g, u, v, w, hyper, 0.0, 0.0, 0.0)[0]
            if l1 > 0.0:
                for j in range(d):
                    coef[c, j] = shrink(coef[c, j], lr * l1)
        if path.shape[0] > 0:
            for c in range(k):
                for j in range(d):
                    path[epoch, c, j] = coef[c, j]
        state[EPOCHS] = epoch + 1
        return RUNNING

    return end_of_epoch
