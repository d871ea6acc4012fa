"""Stochastic loops over a given visiting order: one update a row, or one a batch of rows.

The order is an input, so that every implementation walks the same path. All state is in the arrays of
the caller: a call does the rows `order[first:last]`, and the next call goes on from there. Parameters
are in the dtype of the computation, as in torch.
"""

import functools

import numpy as np

from .._jit import compiled
from ..losses import Loss
from ..optimizers import OPTIMIZERS
from .vector_math import vectorised

#: Raw predictions kept before their losses are summed in one vectorised loop.
_MET = 256


@functools.cache
def sum_of_losses(loss: Loss):
    """Compiled: the weighted sum of the losses at raw predictions z (k, m) of rows in order."""
    value = vectorised(loss.value)

    @compiled
    def losses_met(z, y, weight, order, first, m):
        cost = 0.0
        for c in range(z.shape[0]):
            met = z.dtype.type(0)
            for i in range(m):
                row = order[first + i]
                w = weight[row] if weight.shape[0] > 0 else z.dtype.type(1)
                met += w * value(z[c, i], y[c, row])
            cost += met
        return cost

    return losses_met


@functools.cache
def per_sample(loss: Loss, optimizer: str = "gd"):
    """The compiled loop of one update a row; returns the sum of the losses met.

    The kernel takes ``(x, y, weight, order, coef, intercept, settings, first, last)`` with x (n, d) in
    C order, y (k, n), weight (n,) or (0,) for none, coef (k, d), intercept (k,), and settings
    (lr, l2, scale, learn_intercept), all in the dtype of the computation.
    """
    slope = vectorised(loss.slope)
    step = vectorised(OPTIMIZERS[optimizer].step)
    losses_met = sum_of_losses(loss)

    @compiled
    def updates(x, y, weight, order, coef, intercept, settings, first, last):
        k, d = coef.shape
        zero = coef.dtype.type(0)
        lr, l2, scale, learn_intercept = settings[0], settings[1], settings[2], settings[3]
        z = np.empty((k, _MET), coef.dtype)
        cost = 0.0
        for start in range(first, last, _MET):
            m = min(_MET, last - start)
            for i in range(m):
                row = order[start + i]
                w = scale * weight[row] if weight.shape[0] > 0 else scale
                for c in range(k):
                    prediction = zero
                    for j in range(d):
                        prediction += x[row, j] * coef[c, j]
                    prediction += intercept[c]
                    z[c, i] = prediction
                    s = w * slope(prediction, y[c, row])
                    if l2 == zero:
                        for j in range(d):
                            coef[c, j] = step(coef[c, j], s * x[row, j], lr)
                    else:
                        for j in range(d):
                            coef[c, j] = step(coef[c, j], s * x[row, j] + l2 * coef[c, j], lr)
                    if learn_intercept != zero:
                        intercept[c] = step(intercept[c], s, lr)
            cost += losses_met(z, y, weight, order, start, m)
        return cost

    return updates


@functools.cache
def minibatch(loss: Loss, optimizer: str = "gd"):
    """The compiled loop of one update a batch; returns the sum of the losses met.

    As `per_sample`, with settings (lr, l2, scale, learn_intercept, mean) and the batch size before
    `first`: `mean` is 1 where a batch of m rows divides by m. `first` starts a batch.
    """
    slope = vectorised(loss.slope)
    step = vectorised(OPTIMIZERS[optimizer].step)
    losses_met = sum_of_losses(loss)

    @compiled
    def updates(x, y, weight, order, coef, intercept, settings, batch_size, first, last):
        k, d = coef.shape
        zero = coef.dtype.type(0)
        lr, l2, scale, learn_intercept = settings[0], settings[1], settings[2], settings[3]
        z = np.empty((k, _MET), coef.dtype)
        s = np.empty((k, _MET), coef.dtype)
        gradient = np.zeros((k, d + 1), coef.dtype)
        cost = 0.0
        for batch in range(first, last, batch_size):
            stop = min(batch + batch_size, last)
            share = scale / coef.dtype.type(stop - batch) if settings[4] != zero else scale
            for start in range(batch, stop, _MET):
                m = min(_MET, stop - start)
                for i in range(m):
                    row = order[start + i]
                    for c in range(k):
                        prediction = zero
                        for j in range(d):
                            prediction += x[row, j] * coef[c, j]
                        z[c, i] = prediction + intercept[c]
                for c in range(k):
                    for i in range(m):
                        row = order[start + i]
                        w = share * weight[row] if weight.shape[0] > 0 else share
                        s[c, i] = w * slope(z[c, i], y[c, row])
                for c in range(k):
                    for i in range(m):
                        row = order[start + i]
                        si = s[c, i]
                        for j in range(d):
                            gradient[c, j] += si * x[row, j]
                        gradient[c, d] += si
                cost += losses_met(z, y, weight, order, start, m)
            for c in range(k):
                for j in range(d):
                    g = gradient[c, j] + l2 * coef[c, j]
                    coef[c, j] = step(coef[c, j], g, lr)
                    gradient[c, j] = zero
                if learn_intercept != zero:
                    intercept[c] = step(intercept[c], gradient[c, d], lr)
                gradient[c, d] = zero
        return cost

    return updates
