"""The step of one parameter in a stochastic update, with penalties and averaging."""

import functools

from ..compile.functions import leaf
from ..formulas.updates import Rule, soft
from .driver import cuda


@functools.cache
def parameter_step(rule: Rule, averaging: bool):
    """A device function that moves parameter j of model c; j = d is its intercept.

    ``(c, j, slope, lr, u, v, w, t, l1, l2, learn, hyper, coef, intercept, memory, mean)``

        name       dir     shape           meaning
        slope      IN      scalar          slope of the cost
        u, v, w    IN      scalar          `rule.scales` of update number t
        learn      IN      bool            whether the intercept moves
        coef       IN OUT  (k, d)          coefficients
        intercept  IN OUT  (k,)            intercepts
        mean       IN OUT  (k, d+1)        mean of the parameters in float64, if `averaging`

    All numbers but t are in the dtype of `coef`; `fastgd.cpu` describes the other arguments.
    """
    step, shrink, slots = leaf(rule.step), leaf(soft), rule.slots

    @cuda.jit(device=True)
    def move(c, j, slope, lr, u, v, w, t, l1, l2, learn, hyper, coef, intercept, memory, mean):
        d, zero = coef.shape[1], coef.dtype.type(0)
        before = coef[c, j] if j < d else intercept[c]
        g = slope
        if j < d:
            g += l2 * before
        if slots > 0:
            after, s0, s1, s2 = step(
                before, g, u, v, w, hyper, memory[0, c, j], memory[1, c, j], memory[2, c, j]
            )
            memory[0, c, j], memory[1, c, j], memory[2, c, j] = s0, s1, s2
        else:
            after = step(before, g, u, v, w, hyper, zero, zero, zero)[0]
        if j < d:
            if l1 > zero:
                after = shrink(after, lr * l1)
            coef[c, j] = after
        elif learn:
            intercept[c] = after
        else:
            after = before
        if averaging:
            mean[c, j] += (after - mean[c, j]) / t

    return move
