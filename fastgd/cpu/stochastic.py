"""Stochastic loops over a given visiting order: one update a row, or one a batch of rows.

The order is an input, so that every implementation walks the same path. All state is in the arrays of
the caller: a call does the rows `order[first:last]`, and the next call goes on from there. Parameters
are in the dtype of the computation, as in torch.
"""

import functools
import math

import numpy as np

from .._jit import compiled, leaf
from ..losses import Loss
from ..optimizers import OPTIMIZERS
from .dense import NOT_FINITE, RUNNING
from .order import fill_order
from .prefetch import LINE, prefetch
from .vector_math import vectorised

#: Rows that a shuffled loop asks for while it works on as many: about the latency of memory. A
#: prefetch among the updates themselves would keep the compiler from holding anything in registers.
_AHEAD = 8
#: Bytes of a row below which that costs more than it brings.
_SHORT_ROW = 256
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


@compiled
def _in_sequence(order, first, last):
    """Whether the first few rows follow each other, as they do in the given order."""
    breaks = 0
    for at in range(first, min(first + 4, last) - 1):
        breaks += order[at + 1] != order[at] + 1
    return breaks == 0


@compiled
def _ask_for(x, order, first, last):
    """Prefetch the rows order[first:last]."""
    for at in range(first, last):
        row = order[at]
        for j in range(0, x.shape[1], LINE // x.itemsize):
            prefetch(x, row, j)


@functools.cache
def per_sample(loss: Loss, optimizer: str = "gd"):
    """The compiled loop of one update a row; returns the sum of the losses met.

    The kernel takes ``(x, y, weight, order, coef, intercept, settings, first, last)`` with x (n, d) in
    C order, y (k, n), weight (n,) or (0,) for none, coef (k, d), intercept (k,), and settings
    (lr, l2, scale, learn_intercept), all in the dtype of the computation.
    """
    # One row waits for the other: with libm's exp a logistic update at d=8 took 27 ns, with the
    # vector code's longer chain 37.
    slope = leaf(loss.slope)
    step = vectorised(OPTIMIZERS[optimizer].step)
    losses_met = sum_of_losses(loss)

    @compiled
    def updates(x, y, weight, order, coef, intercept, settings, first, last):
        k, d = coef.shape
        zero = coef.dtype.type(0)
        lr, l2, scale, learn_intercept = settings[0], settings[1], settings[2], settings[3]
        z = np.empty((k, _MET), coef.dtype)
        shuffled = d * x.itemsize >= _SHORT_ROW and not _in_sequence(order, first, last)
        cost = 0.0
        for start in range(first, last, _MET):
            m = min(_MET, last - start)
            for group in range(start, start + m, _AHEAD):
                group_stop = min(group + _AHEAD, start + m)
                if shuffled:
                    _ask_for(x, order, group_stop, min(group_stop + _AHEAD, last))
                for at in range(group, group_stop):
                    row = order[at]
                    w = scale * weight[row] if weight.shape[0] > 0 else scale
                    for c in range(k):
                        prediction = zero
                        for j in range(d):
                            prediction += x[row, j] * coef[c, j]
                        prediction += intercept[c]
                        z[c, at - start] = prediction
                        s = w * slope(prediction, y[c, row])
                        if l2 == zero:
                            for j in range(d):
                                coef[c, j] = step(coef[c, j], s * x[row, j], lr)
                        else:
                            for j in range(d):
                                g = s * x[row, j] + l2 * coef[c, j]
                                coef[c, j] = step(coef[c, j], g, lr)
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
                fours = m // 4 * 4
                for c in range(k):
                    b = intercept[c]
                    for i in range(0, fours, 4):
                        at = start + i
                        r0, r1, r2, r3 = order[at], order[at + 1], order[at + 2], order[at + 3]
                        p0, p1, p2, p3 = zero, zero, zero, zero
                        for j in range(d):
                            w = coef[c, j]
                            p0 += x[r0, j] * w
                            p1 += x[r1, j] * w
                            p2 += x[r2, j] * w
                            p3 += x[r3, j] * w
                        z[c, i], z[c, i + 1], z[c, i + 2], z[c, i + 3] = (
                            p0 + b,
                            p1 + b,
                            p2 + b,
                            p3 + b,
                        )
                    for i in range(fours, m):
                        row = order[start + i]
                        prediction = zero
                        for j in range(d):
                            prediction += x[row, j] * coef[c, j]
                        z[c, i] = prediction + b
                for c in range(k):
                    for i in range(m):
                        row = order[start + i]
                        w = share * weight[row] if weight.shape[0] > 0 else share
                        s[c, i] = w * slope(z[c, i], y[c, row])
                following = start + m
                for c in range(k):
                    for i in range(0, fours, 4):
                        at = start + i
                        if c == 0:  # the rows after these, while these come from the cache
                            _ask_for(x, order, following + i, min(following + i + 4, last))
                        r0, r1, r2, r3 = order[at], order[at + 1], order[at + 2], order[at + 3]
                        s0, s1, s2, s3 = s[c, i], s[c, i + 1], s[c, i + 2], s[c, i + 3]
                        for j in range(d):
                            gradient[c, j] += (s0 * x[r0, j] + s1 * x[r1, j]) + (
                                s2 * x[r2, j] + s3 * x[r3, j]
                            )
                    for i in range(fours, m):
                        row = order[start + i]
                        for j in range(d):
                            gradient[c, j] += s[c, i] * x[row, j]
                    for i in range(m):
                        gradient[c, d] += s[c, i]
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


@functools.cache
def descend(loss: Loss, by_row: bool, optimizer: str = "gd"):
    """The compiled loop over epochs, for data small enough that an epoch needs no pause.

    Each epoch draws its order, does its updates and keeps its cost, the losses met times
    `cost_scale`. One that ends in a number that is not finite is undone. Returns the status and the
    number of epochs done.
    """
    updates = per_sample(loss, optimizer) if by_row else minibatch(loss, optimizer)

    @compiled
    def epochs_of_updates(
        x, y, weight, order, kind, seed, coef, intercept, previous, settings, batch_size,
        cost_scale, costs, path, first_epoch, last_epoch,
    ):  # fmt: skip
        k, d = coef.shape
        n = order.shape[0]
        for epoch in range(first_epoch, last_epoch):
            if kind != 0 or epoch == first_epoch:
                fill_order(order, kind, seed, epoch)
            previous[:, :d] = coef
            previous[:, d] = intercept
            if by_row:
                cost = updates(x, y, weight, order, coef, intercept, settings, 0, n)
            else:
                cost = updates(x, y, weight, order, coef, intercept, settings, batch_size, 0, n)
            finite = math.isfinite(cost)
            for c in range(k):
                finite = finite and math.isfinite(intercept[c])
                for j in range(d):
                    finite = finite and math.isfinite(coef[c, j])
            if not finite:
                for c in range(k):
                    intercept[c] = previous[c, d]
                    for j in range(d):
                        coef[c, j] = previous[c, j]
                return NOT_FINITE, epoch
            costs[epoch] = cost * cost_scale
            if path.shape[0] > 0:
                path[epoch] = coef
        return RUNNING, last_epoch

    return epochs_of_updates
