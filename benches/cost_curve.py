"""Who draws a cost curve: the cost at many coefficients of one column, without an intercept.

Squared error would need only three sums; nobody takes that way here, as it loses digits near the
optimum and has no counterpart for the cross-entropy.
"""

import functools
import math

import numpy as np
from providers import provides
from workloads import Workload, truth

#: Numbers of a block that NumPy keeps in the cache, three buffers at a time.
BLOCK = 8192


def _coefs(work: Workload) -> np.ndarray:
    return truth(work) + np.linspace(-2, 2, work.points)


@provides("fastgd", "cost curve", needs="fastgd")
def fastgd_curve(work):
    import fastgd

    coefs, loss = _coefs(work), "bce" if work.logistic else "mse"
    return lambda x, y: (x, y), lambda x, y: (fastgd.cost_curve(x, y, coefs, loss=loss),)


@provides("NumPy", "cost curve")
def numpy_curve(work):
    """Block by block, so that the temporaries of all coefficients stay in the cache."""
    coefs = _coefs(work)
    buffers = np.empty((2, BLOCK))

    def run(x, y):
        costs = np.zeros(len(coefs))
        for start in range(0, work.n, BLOCK):
            xs, ys = x[start : start + BLOCK], y[start : start + BLOCK]
            z, e = buffers[:, : len(xs)]
            for i, coef in enumerate(coefs):
                np.multiply(xs, coef, out=z)
                if work.logistic:
                    costs[i] -= np.dot(z, ys)
                    np.abs(z, out=e)
                    np.negative(e, out=e)
                    np.exp(e, out=e)
                    np.log1p(e, out=e)
                    np.maximum(z, 0, out=z)
                    z += e
                    costs[i] += z.sum()
                else:
                    z -= ys
                    costs[i] += np.dot(z, z)
        return (costs / work.n,)

    return lambda x, y: (x, y), run


@functools.cache
def _numba_loop(logistic: bool):
    from numba import njit

    @njit
    def costs_at(x, y, coefs):
        costs = np.empty(len(coefs))
        for c in range(len(coefs)):
            cost = 0.0
            for i in range(len(x)):
                z = x[i] * coefs[c]
                if logistic:
                    cost += max(z, 0.0) - z * y[i] + math.log1p(math.exp(-abs(z)))
                else:
                    cost += (z - y[i]) ** 2
            costs[c] = cost / len(x)
        return costs

    return costs_at


@provides("Numba loop", "cost curve", needs="numba")
def numba_curve(work):
    coefs = _coefs(work)
    return lambda x, y: (x, y), lambda x, y: (_numba_loop(work.logistic)(x, y, coefs),)
