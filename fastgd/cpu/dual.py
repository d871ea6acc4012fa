"""Dual coordinate ascent over sparse rows, in terms of the loss alone: one epoch of steps, a row each."""

import functools
import math

import numpy as np

from ..compile.functions import kernel, leaf, with_parameter
from ..losses import CoupledLoss, Loss
from .machine.prefetch import LINE, prefetch
from .machine.tabulated import tabulated
from .sparse import IN_ORDER, arrays_of, prefetch_row

#: A step ends where its last correction is below this part of it, and the error before it was small.
_NEAR = 1e-2
_MOST = 60


def _no_second(z, y):
    return type(z)(0)


@functools.cache
def epoch(loss: Loss, data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled steps of the rows order[first:last]; returns the sum of their second derivatives.

    ``(rows_at, order, y, weight, offset, p, factor, norms, along, centred, level, slopes, coef, first,
    last)``

        name     dir     shape         meaning
        rows_at  IN      int           address of the header of `sparse`
        factor   IN      float         −factor·weight·slope·(x − c) is a row's part of coef
        norms    IN      (n,)          squared norms of x − c
        along    IN      (n,) or (0,)  x·c; (0,): c is zero
        centred  IN OUT  (3,)          c·c, the sum of parts −factor·weight·slope of this epoch, coef·c
        level    IN      float         prediction at x = c
        slopes   IN OUT  (n,)          s, with the coefficients −factor·Σ weight·s·(x − c)
        coef     IN OUT  (1, d)        coefficients, with centred[1]·c too much

    The other arguments are described in `fastgd.cpu`. The step of a row makes its slope that of the
    prediction t after it: t = z − q·(slope(t) − s) with q = weight·factor·‖x − c‖². The right-hand side
    falls in t, so there is one solution, found by Newton's method between bounds, which are halved where
    its moves do not become smaller by half. For convex losses it
    is the best step in the dual variable of the row (Hsieh et al., 2008, A dual coordinate descent
    method for large-scale linear SVM; Yu, Huang and Lin, 2011). Rows are centred without a change of
    their entries: what a step takes from coef along c is kept as one number, and subtracted at the end.
    """
    slope_of = with_parameter(tabulated(loss.slope))
    second_of = with_parameter(tabulated(loss.second or _no_second))
    arrays = arrays_of(data_dtype, index_dtype)
    bytes_of_entry = data_dtype.itemsize + index_dtype.itemsize

    def steps(
        rows_at, order, y, weight, offset, p, factor, norms, along, centred, level, slopes, coef, first,
        last,
    ):  # fmt: skip
        data, indices, indptr = arrays(rows_at)
        n, total, about = order.shape[0], 0.0, along.shape[0] > 0
        square, moved, inner = centred[0], centred[1], centred[2]
        ahead = min(32, max(2, 4096 * n // max(data.shape[0] * bytes_of_entry, 1)))
        for place in range(first, last):
            row = order[place]
            prefetch(indptr, order[min(place + 2 * ahead, n - 1)], 0)
            near = order[min(place + ahead, n - 1)]
            prefetch_row(data, indices, indptr, near)
            prefetch(slopes, near, 0)
            prefetch(norms, near, 0)
            share = weight[row] if weight.shape[0] > 0 else 1.0
            q = share * factor * norms[row]
            if q == 0.0:
                continue
            z, target, s = 0.0, y[0, row], slopes[row]
            for at in range(indptr[row], indptr[row + 1]):
                z += data[at] * coef[0, indices[at]]
            z += level
            if about:
                z -= moved * along[row] + inner - moved * square
            if offset.shape[0] > 0:
                z += offset[0, row]
            t, low, high, second = z, -math.inf, math.inf, 0.0
            small, last = -1.0, math.inf
            for _ in range(_MOST):
                error = t - z + q * (slope_of(t, target, p) - s)
                if small < 0.0:
                    small = abs(error) / 8
                if error > 0.0:  # its slope is 1 at least
                    low, high = max(low, t - error), t
                else:
                    low, high = t, min(high, t - error)
                second = second_of(t, target, p)
                new = t - error / (1.0 + q * second)
                if not low <= new <= high or abs(new - t) > last / 2:
                    new = (low + high) / 2
                last = abs(new - t)
                near_enough = last <= _NEAR * abs(new - z) and abs(error) <= small
                t = new
                if near_enough:
                    break
            change = (z - t) / q
            slopes[row] = s + change
            total += share * second
            move = -factor * share * change
            for at in range(indptr[row], indptr[row + 1]):
                coef[0, indices[at]] += move * data[at]
            if about:
                moved += move
                inner += move * along[row]
        centred[1], centred[2] = moved, inner
        return total

    return kernel(steps, IN_ORDER)


@functools.cache
def coupled_epoch(loss: CoupledLoss, data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled steps of `epoch` for softmax: a step finds the k slopes of a row together.

    ``(rows_at, order, y, weight, offset, factor, norms, along, square, centred, level, slopes, coef,
    numbers, seconds, first, last)``

        name     dir     shape    meaning
        centred  IN OUT  (2, k)   per output what `epoch` has in centred[1] and centred[2]
        square   IN      float    c·c
        level    IN      (k,)     predictions at x = c
        slopes   IN OUT  (n, k)   s
        coef     IN OUT  (d, k)   coefficients, with centred[0]·c too much
        numbers  OUT     (6, k)   predictions, probabilities and others of a row
        seconds  IN OUT  (k,)     sums of weight·p·(1 − p)

    The other arguments are those of `epoch`. The equation t = z − q·(p(t) − hit − s) has the Jacobian
    1 + q·(diag(p) − p·p^T), which the formula of Sherman and Morrison inverts. Its solution minimises
    ‖t − z‖²/2 + q·(loss(t) − s·t); where a step of Newton's method raises that it is halved.
    """
    add, value_of, slope_of = leaf(loss.add), leaf(loss.value), leaf(loss.slope)
    arrays = arrays_of(data_dtype, index_dtype)
    bytes_of_entry = data_dtype.itemsize + index_dtype.itemsize

    def steps(
        rows_at, order, y, weight, offset, factor, norms, along, square, centred, level, slopes, coef,
        numbers, seconds, first, last,
    ):  # fmt: skip
        data, indices, indptr = arrays(rows_at)
        (n, k), about = slopes.shape, along.shape[0] > 0
        z, t, before, p, error, scaled = (
            numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
        )  # fmt: skip
        ahead = min(32, max(2, 4096 * n // max(data.shape[0] * bytes_of_entry, 1)))
        lines = k * coef.itemsize // LINE + 1
        for place in range(first, last):
            row = order[place]
            near = order[min(place + ahead, n - 1)]
            prefetch_row(data, indices, indptr, near)
            soon = order[min(place + 1, n - 1)]
            for at in range(indptr[soon], indptr[soon + 1]):
                for line in range(lines):
                    prefetch(coef, np.int64(indices[at]), line)
            share = weight[row] if weight.shape[0] > 0 else 1.0
            q = share * factor * norms[row]
            if q == 0.0:
                continue
            label = int(y[0, row])
            for c in range(k):
                z[c] = level[c]
            for at in range(indptr[row], indptr[row + 1]):
                value, j = data[at], indices[at]
                for c in range(k):
                    z[c] += value * coef[j, c]
            for c in range(k):
                if about:
                    z[c] -= centred[0, c] * along[row] + centred[1, c] - centred[0, c] * square
                if offset.shape[0] > 0:
                    z[c] += offset[min(c, offset.shape[0] - 1), row]
                t[c], before[c] = z[c], z[c]
            least = math.inf
            for _ in range(_MOST):
                top, rest = t[0], 0.0
                for c in range(1, k):
                    top, rest = add(top, rest, t[c])
                height, along_p, square_p = q * value_of(t[label], top, rest), 0.0, 0.0
                for c in range(k):
                    p[c] = slope_of(t[c], 0.0, top, rest)
                    hit = 1.0 if c == label else 0.0
                    error[c] = t[c] - z[c] + q * (p[c] - hit - slopes[row, c])
                    height += (t[c] - z[c]) ** 2 / 2 - q * slopes[row, c] * t[c]
                    scaled[c] = 1.0 / (1.0 + q * p[c])
                    along_p += p[c] * scaled[c] * error[c]
                    square_p += p[c] * scaled[c] * p[c]
                if height > least + 1e-12 * abs(least):
                    for c in range(k):
                        t[c] = (t[c] + before[c]) / 2
                    continue
                least, beside, largest, moved = height, q * along_p / (1.0 - q * square_p), 0.0, 0.0
                for c in range(k):
                    before[c] = t[c]
                    step = scaled[c] * (error[c] + p[c] * beside)
                    t[c] -= step
                    largest, moved = max(largest, abs(step)), max(moved, abs(t[c] - z[c]))
                if largest <= _NEAR * moved:
                    break
            for c in range(k):
                change = (z[c] - t[c]) / q
                slopes[row, c] += change
                seconds[c] += share * p[c] * (1.0 - p[c])
                scaled[c] = -factor * share * change
                if about:
                    centred[0, c] += scaled[c]
                    centred[1, c] += scaled[c] * along[row]
            for at in range(indptr[row], indptr[row + 1]):
                value, j = data[at], indices[at]
                for c in range(k):
                    coef[j, c] += scaled[c] * value
        return 0.0

    return kernel(steps)


@functools.cache
def squared_norms(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled ``(rows_at, unit, first, last, shift, out)``: squared norms of unit·row, out (n,)."""
    arrays = arrays_of(data_dtype, index_dtype)

    def norms(rows_at, unit, first, last, shift, out):
        data, _, indptr = arrays(rows_at)
        for row in range(first, last):
            total = 0.0
            for at in range(indptr[row], indptr[row + 1]):
                value = unit * data[at]
                total += value * value
            out[row + shift] = total

    return kernel(norms)
