"""The end of an epoch of batch descent: from summed totals to the next parameters."""

import functools
import math

import numpy as np

from ..compile.functions import call, kernel, leaf, piece, pointer
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

_slope_of = leaf(l1_slope)


@functools.cache
def step(rule: Rule):
    """The compiled step of the coefficients `low` to `high` of each output; with high = d its intercept.

    ``(coef, intercept, totals, parts, factor, settings, rates, at, t, hyper, low_hyper, memory, low,
    high)``

        name        dir     shape                  meaning
        coef        IN OUT  (k, d)                 coefficients
        intercept   IN OUT  (k,)                   intercepts
        totals      IN OUT  (…, k, d+2)            sums of each part; the first gets those of all
        parts       IN      int                    number of parts
        factor      IN      scalar                 turns sums into the gradient
        at          IN      int                    row of `rates`
        t           IN      float                  number of the update, from 1
        low_hyper   IN      (HYPER,)               `hyper` in the dtype of `coef`
        low, high   IN      int                    range of coefficients

    The other arguments are described in `fastgd.cpu`.
    """
    scales, move, slots = leaf(rule.scales), leaf(rule.step), rule.slots
    shrink = leaf(soft)

    @piece
    def stepped(
        coef, intercept, totals, parts, factor, settings, rates, at, t, hyper, low_hyper, memory, low,
        high,
    ):  # fmt: skip
        k, d = coef.shape
        T = coef.dtype.type
        zero, l1, l2 = T(0), settings[L1], settings[L2]
        for c in range(k):
            lr = rates[at, c]
            u64, v64, w64 = scales(np.float64(lr), t, hyper)
            u, v, w = T(u64), T(v64), T(w64)
            # Slices, because an index from `low` on might be negative: 7 times slower.
            own, sums = coef[c, low:high], totals[0, c, low:high]
            for part in range(1, parts):
                more = totals[part, c, low:high]
                for j in range(own.shape[0]):
                    sums[j] += more[j]
            if slots > 0:
                m0, m1, m2 = memory[0, c, low:high], memory[1, c, low:high], memory[2, c, low:high]
                for j in range(own.shape[0]):
                    g = factor * T(sums[j]) + l2 * own[j]
                    own[j], m0[j], m1[j], m2[j] = move(
                        own[j], g, u, v, w, low_hyper, m0[j], m1[j], m2[j]
                    )
            else:
                for j in range(own.shape[0]):
                    g = factor * T(sums[j]) + l2 * own[j]
                    own[j] = move(own[j], g, u, v, w, low_hyper, zero, zero, zero)[0]
            if l1 > zero:
                for j in range(own.shape[0]):
                    own[j] = shrink(own[j], lr * l1)
            if high == d and settings[LEARN] != zero:
                slopes = 0.0
                for part in range(parts):
                    slopes += totals[part, c, d]
                g, b = factor * T(slopes), intercept[c]
                if slots > 0:
                    intercept[c], memory[0, c, d], memory[1, c, d], memory[2, c, d] = move(
                        b, g, u, v, w, low_hyper, memory[0, c, d], memory[1, c, d], memory[2, c, d]
                    )
                else:
                    intercept[c] = move(b, g, u, v, w, low_hyper, zero, zero, zero)[0]
        return 0.0

    return stepped


@kernel
def end_of_epoch(
    step,
    totals,
    coef,
    intercept,
    previous,
    settings,
    rates,
    hyper,
    memory,
    state,
    costs,
    norms,
    path,
):
    """The end of an epoch: cost, gradient norm, stopping rule and step; returns the status as a float.

        name        dir     shape            meaning
        step        IN      int              address of `step`
        totals      IN      (1, k, d+2)      sums of a pass at coef and intercept
        coef        IN OUT  (k, d) float64   coefficients
        intercept   IN OUT  (k,) float64     intercepts

    The other arguments are described in `fastgd.cpu`. If the cost is not finite, nothing changes.
    """
    k, d = coef.shape
    epoch = int(state[EPOCHS])
    l1, l2, scale, tol = settings[L1], settings[L2], settings[SCALE], settings[LAST]
    cost = 0.0
    for c in range(k):
        cost += totals[0, c, d + 1]
    cost *= scale
    if not math.isfinite(cost):
        return float(NOT_FINITE)
    costs[epoch] = cost
    norm = 0.0
    for c in range(k):
        if settings[LEARN] != 0.0:
            norm += (scale * totals[0, c, d]) ** 2
        for j in range(d):
            g = scale * totals[0, c, j] + l2 * coef[c, j]
            if l1 > 0.0:
                g = _slope_of(coef[c, j], g, l1)
            norm += g**2
    norm = math.sqrt(norm)
    norms[epoch] = norm
    if tol > 0.0:
        if state[FIRST_NORM] < 0.0:
            state[FIRST_NORM] = norm
        if norm <= tol * state[FIRST_NORM]:
            return float(CONVERGED)
    for c in range(k):
        for j in range(d):
            previous[c, j] = coef[c, j]
        previous[c, d] = intercept[c]
    at = epoch if rates.shape[0] > 1 else 0
    call(
        step, coef, intercept, totals, 1, scale, settings, rates, at, epoch + 1.0, hyper, hyper,
        memory, 0, d,
    )  # fmt: skip
    if path.shape[0] > 0:
        for c in range(k):
            for j in range(d):
                path[epoch, c, j] = coef[c, j]
    state[EPOCHS] = epoch + 1
    return float(RUNNING)


@functools.cache
def address_of_step(rule: Rule, dtype: np.dtype) -> int:
    """The address of `step` for parameters of a dtype."""
    one, two, three = (np.empty((1,) * rank, dtype) for rank in (1, 2, 3))
    totals, factor, hyper = np.empty((1, 1, 1)), dtype.type(0), np.empty(1)
    return pointer(
        step(rule), two, one, totals, 1, factor, one, two, 0, 0.0, hyper, one, three, 0, 0
    )


@functools.cache
def address_of_end() -> int:
    """The address of `end_of_epoch`."""
    one, two, three = (np.empty((1,) * rank) for rank in (1, 2, 3))
    return pointer(
        end_of_epoch, 0, three, two, one, two, one, two, one, three, one, one, one, three
    )
