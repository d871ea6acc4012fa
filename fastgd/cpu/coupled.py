"""One pass over dense rows for a coupled loss: the loss of a row depends on its k raw predictions.

A block of rows gets all its predictions, then its losses and slopes, then its gradient; X is read from
memory once. Predictions are stored as (k, rows), so that exponentials are loops over rows, which
vectorise. Sums inside a block are in the dtype of `coef`, sums over blocks in float64, as in `dense`.
"""

import functools

import numpy as np

from ..compile.functions import inlined
from ..losses import CoupledLoss
from .machine.vector_math import vectorised
from .machine.vector_width import use_widest_vectors
from .reading import element_of, row_of

#: Rows in a block, a few vectors of exponentials, if so many bytes of X hold them: an eighth of a
#: second-level cache. And rows whose gradients are summed in the working dtype.
_ROWS, _BLOCK_BYTES = 256, 1 << 17


@inlined
def new_scratch(x, coef, by_columns):
    """Allocate the scratch of a pass, ``(scratch, gradient)``: see `dense.scratch_maker`.

    Rows 0 to k−1 of `scratch` hold the predictions of a block, the other three the two numbers of
    `CoupledLoss.add` and the loss of each row.
    """
    k, d = coef.shape
    rows = min(_ROWS, max(16, _BLOCK_BYTES // max(d * x.itemsize, 1) // 16 * 16))
    return np.empty((k + 3, rows), coef.dtype), np.zeros((k, d), coef.dtype)


@functools.cache
def _losses(loss: CoupledLoss, slopes_too: bool):
    """Compiled: predictions in scratch[:k] become slopes; returns the summed cost."""
    add, value, slope = vectorised(loss.add), vectorised(loss.value), vectorised(loss.slope)

    @inlined
    def losses(scratch, y, weight, start, m):
        use_widest_vectors()
        k = scratch.shape[0] - 3
        T = scratch.dtype.type
        top, rest, met = scratch[k], scratch[k + 1], scratch[k + 2]
        for i in range(m):
            top[i], rest[i] = scratch[0, i], T(0)
            met[i] = scratch[int(y[0, start + i]), i]
        for c in range(1, k):
            z = scratch[c]
            for i in range(m):
                top[i], rest[i] = add(top[i], rest[i], z[i])
        for i in range(m):
            met[i] = value(met[i], top[i], rest[i])
        if weight.shape[0] > 0:
            for i in range(m):
                met[i] *= weight[start + i]
        cost = T(0)
        for i in range(m):
            cost += met[i]
        if slopes_too:
            for c in range(k):
                z, label = scratch[c], T(c)
                for i in range(m):
                    hit = T(1) if y[0, start + i] == label else T(0)
                    z[i] = slope(z[i], hit, top[i], rest[i])
                if weight.shape[0] > 0:
                    for i in range(m):
                        z[i] *= weight[start + i]
        return cost

    return losses


@inlined
def _add_slopes(scratch, totals, m):
    """The gradient of the intercepts."""
    d = totals.shape[1] - 2
    for c in range(totals.shape[0]):
        slopes, z = scratch.dtype.type(0), scratch[c]
        for i in range(m):
            slopes += z[i]
        totals[c, d] += slopes


@functools.cache
def rows_pass(loss: CoupledLoss, centred: bool, slopes_too: bool, ordered: bool):
    """The compiled pass of `dense.rows_pass` for a coupled loss; y (1, n) has class indices."""
    element, row, losses = element_of(centred), row_of(ordered), _losses(loss, slopes_too)

    @inlined
    def predict(x, order, center, coef, intercept, start, m, scratch):
        k, d = coef.shape
        zero = coef.dtype.type(0)
        fours, pairs = m // 4 * 4, k // 2 * 2
        # Four rows and two classes at a time: six loads for eight products. The rows stay in the
        # first-level cache for all classes.
        for at in range(0, fours, 4):
            i = start + at
            r0, r1, r2, r3 = row(order, i), row(order, i + 1), row(order, i + 2), row(order, i + 3)
            for c in range(0, pairs, 2):
                p0, p1, p2, p3 = zero, zero, zero, zero
                q0, q1, q2, q3 = zero, zero, zero, zero
                for j in range(d):
                    v, w = coef[c, j], coef[c + 1, j]
                    x0, x1 = element(x, center, r0, j), element(x, center, r1, j)
                    x2, x3 = element(x, center, r2, j), element(x, center, r3, j)
                    p0 += x0 * v
                    p1 += x1 * v
                    p2 += x2 * v
                    p3 += x3 * v
                    q0 += x0 * w
                    q1 += x1 * w
                    q2 += x2 * w
                    q3 += x3 * w
                b, a = intercept[c], intercept[c + 1]
                z, y = scratch[c], scratch[c + 1]
                z[at], z[at + 1], z[at + 2], z[at + 3] = p0 + b, p1 + b, p2 + b, p3 + b
                y[at], y[at + 1], y[at + 2], y[at + 3] = q0 + a, q1 + a, q2 + a, q3 + a
            for c in range(pairs, k):
                p0, p1, p2, p3 = zero, zero, zero, zero
                for j in range(d):
                    w = coef[c, j]
                    p0 += element(x, center, r0, j) * w
                    p1 += element(x, center, r1, j) * w
                    p2 += element(x, center, r2, j) * w
                    p3 += element(x, center, r3, j) * w
                b, z = intercept[c], scratch[c]
                z[at], z[at + 1], z[at + 2], z[at + 3] = p0 + b, p1 + b, p2 + b, p3 + b
        for at in range(fours, m):
            r0 = row(order, start + at)
            for c in range(k):
                p0 = zero
                for j in range(d):
                    p0 += element(x, center, r0, j) * coef[c, j]
                scratch[c, at] = p0 + intercept[c]

    @inlined
    def add_gradient(x, order, center, start, m, scratch, gradient):
        k, d = gradient.shape
        fours, pairs = m // 4 * 4, k // 2 * 2
        for at in range(0, fours, 4):
            i = start + at
            r0, r1, r2, r3 = row(order, i), row(order, i + 1), row(order, i + 2), row(order, i + 3)
            for c in range(0, pairs, 2):
                z, y = scratch[c], scratch[c + 1]
                s0, s1, s2, s3 = z[at], z[at + 1], z[at + 2], z[at + 3]
                t0, t1, t2, t3 = y[at], y[at + 1], y[at + 2], y[at + 3]
                for j in range(d):
                    x0, x1 = element(x, center, r0, j), element(x, center, r1, j)
                    x2, x3 = element(x, center, r2, j), element(x, center, r3, j)
                    gradient[c, j] += (s0 * x0 + s1 * x1) + (s2 * x2 + s3 * x3)
                    gradient[c + 1, j] += (t0 * x0 + t1 * x1) + (t2 * x2 + t3 * x3)
            for c in range(pairs, k):
                z = scratch[c]
                s0, s1, s2, s3 = z[at], z[at + 1], z[at + 2], z[at + 3]
                for j in range(d):
                    gradient[c, j] += (
                        s0 * element(x, center, r0, j) + s1 * element(x, center, r1, j)
                    ) + (s2 * element(x, center, r2, j) + s3 * element(x, center, r3, j))
        for at in range(fours, m):
            r0 = row(order, start + at)
            for c in range(k):
                s0 = scratch[c, at]
                for j in range(d):
                    gradient[c, j] += s0 * element(x, center, r0, j)

    @inlined
    def one_pass(
        x,
        order,
        y,
        weight,
        p,
        center,
        coef,
        intercept,
        first,
        last,
        offset,
        scratch,
        gradient,
        totals,
    ):
        k, d = coef.shape
        rows = scratch.shape[1]
        if ordered:
            own_y = np.empty((1, rows), coef.dtype)
            own_weight = np.empty(rows if weight.shape[0] > 0 else 0, coef.dtype)
        summed = 0
        for start in range(first, last, rows):
            m = min(rows, last - start)
            predict(x, order, center, coef, intercept, start, m, scratch)
            if ordered:
                for i in range(m):
                    own_y[0, i] = y[0, order[start + i]]
                for i in range(min(m, own_weight.shape[0])):
                    own_weight[i] = weight[order[start + i]]
                totals[0, d + 1] += losses(scratch, own_y, own_weight, 0, m)
            else:
                totals[0, d + 1] += losses(scratch, y, weight, start + offset, m)
            if not slopes_too:
                continue
            _add_slopes(scratch, totals, m)
            add_gradient(x, order, center, start, m, scratch, gradient)
            summed += m
            if summed >= _ROWS or start + m == last:
                for c in range(k):
                    for j in range(d):
                        totals[c, j] += gradient[c, j]
                        gradient[c, j] = 0
                summed = 0

    return one_pass


@functools.cache
def columns_pass(loss: CoupledLoss, centred: bool, slopes_too: bool):
    """The pass of `rows_pass` over columns: x is its transpose (d, n) in C order."""
    element, losses = element_of(centred), _losses(loss, slopes_too)

    @inlined
    def one_pass(
        xt,
        order,
        y,
        weight,
        p,
        center,
        coef,
        intercept,
        first,
        last,
        offset,
        scratch,
        gradient,
        totals,
    ):
        k, d = coef.shape
        x = xt.T
        zero, rows = coef.dtype.type(0), scratch.shape[1]
        fours = d // 4 * 4
        for start in range(first, last, rows):
            m = min(rows, last - start)
            for c in range(k):
                for i in range(m):
                    scratch[c, i] = intercept[c]
            # Four columns at a time: one load of z for four products, and the columns stay in the
            # first-level cache for all classes.
            for j in range(0, fours, 4):
                for c in range(k):
                    z = scratch[c]
                    w0, w1, w2, w3 = coef[c, j], coef[c, j + 1], coef[c, j + 2], coef[c, j + 3]
                    for i in range(m):
                        at = start + i
                        z[i] += (
                            element(x, center, at, j) * w0 + element(x, center, at, j + 1) * w1
                        ) + (
                            element(x, center, at, j + 2) * w2 + element(x, center, at, j + 3) * w3
                        )
            for j in range(fours, d):
                for c in range(k):
                    z, w = scratch[c], coef[c, j]
                    for i in range(m):
                        z[i] += element(x, center, start + i, j) * w
            totals[0, d + 1] += losses(scratch, y, weight, start + offset, m)
            if not slopes_too:
                continue
            _add_slopes(scratch, totals, m)
            for j in range(0, fours, 4):
                for c in range(k):
                    z = scratch[c]
                    g0, g1, g2, g3 = zero, zero, zero, zero
                    for i in range(m):
                        at, s = start + i, z[i]
                        g0 += element(x, center, at, j) * s
                        g1 += element(x, center, at, j + 1) * s
                        g2 += element(x, center, at, j + 2) * s
                        g3 += element(x, center, at, j + 3) * s
                    totals[c, j] += g0
                    totals[c, j + 1] += g1
                    totals[c, j + 2] += g2
                    totals[c, j + 3] += g3
            for j in range(fours, d):
                for c in range(k):
                    g, z = zero, scratch[c]
                    for i in range(m):
                        g += element(x, center, start + i, j) * z[i]
                    totals[c, j] += g

    return one_pass
