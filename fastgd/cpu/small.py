"""A whole descent on a small problem as one compiled call, of plain loops over rows.

Blocks, chunks and prefetches cost more than they bring where everything lies in the first-level cache.
"""

import functools

import numpy as np

from ..compile.functions import compiled
from ..formulas.updates import gd
from ..losses import Loss
from .machine.vector_math import vectorised
from .order import fill_order


@functools.cache
def descend(loss: Loss, by_row: bool):
    """The compiled loop over `len(costs)` epochs: batch descent, or an update a row.

    The kernel takes ``(x, y, coef, costs, lr, l2, learn_intercept, kind, seed)``, everything float64,
    x (n, d) in C order, `kind` the visiting order as an index of `order.KINDS`. It moves `coef` (d,),
    fills `costs` and returns the intercept, the cost at the start and that at the end.
    """
    value, slope, step = vectorised(loss.value), vectorised(loss.slope), vectorised(gd)

    @compiled
    def cost_at(x, y, coef, intercept):
        n, d = x.shape
        cost = 0.0
        for i in range(n):
            z = intercept
            for j in range(d):
                z += x[i, j] * coef[j]
            cost += value(z, y[i])
        return cost / n

    @compiled
    def batch(x, y, coef, costs, lr, l2, learn, kind, seed):
        n, d = x.shape
        gradient = np.empty(d)
        intercept = 0.0
        for epoch in range(costs.shape[0]):
            cost = by_intercept = 0.0
            for j in range(d):
                gradient[j] = 0.0
            for i in range(n):
                z = intercept
                for j in range(d):
                    z += x[i, j] * coef[j]
                cost += value(z, y[i])
                s = slope(z, y[i])
                by_intercept += s
                for j in range(d):
                    gradient[j] += s * x[i, j]
            costs[epoch] = cost / n
            for j in range(d):
                coef[j] = step(coef[j], gradient[j] / n + l2 * coef[j], lr)
            if learn:
                intercept = step(intercept, by_intercept / n, lr)
        return intercept, costs[0], cost_at(x, y, coef, intercept)

    @compiled
    def per_sample(x, y, coef, costs, lr, l2, learn, kind, seed):
        n, d = x.shape
        intercept = 0.0
        before = cost_at(x, y, coef, intercept)
        order = np.arange(n)
        for epoch in range(costs.shape[0]):
            if kind != 0:
                fill_order(order, kind, seed, epoch)
            cost = 0.0
            for at in range(n):
                i = order[at]
                z = intercept
                for j in range(d):
                    z += x[i, j] * coef[j]
                cost += value(z, y[i])
                s = slope(z, y[i])
                for j in range(d):
                    coef[j] = step(coef[j], s * x[i, j] + l2 * coef[j], lr)
                if learn:
                    intercept = step(intercept, s, lr)
            costs[epoch] = cost / n
        return intercept, before, cost_at(x, y, coef, intercept)

    return per_sample if by_row else batch
