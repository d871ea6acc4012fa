"""Dual coordinate ascent over sparse rows, in terms of the loss alone: one epoch of steps, a row each."""

import functools
import math

import numpy as np

from ..compile.functions import kernel, with_parameter
from ..losses import Loss
from .machine.prefetch import LINE, prefetch
from .machine.tabulated import tabulated
from .sparse import arrays_of

#: A step ends where its last correction is below this part of it.
_NEAR = 1e-2
_MOST = 60


def _no_second(z, y):
    return type(z)(0)


@functools.cache
def epoch(loss: Loss, data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled steps of the rows order[first:last]; returns the sum of their weighted slopes.

    ``(rows_at, order, y, weight, offset, p, factor, level_factor, norms, slopes, coef, intercept,
    first, last)``

        name          dir     shape   meaning
        rows_at       IN      int     address of the header of `sparse`
        factor        IN      float   what a weighted slope adds to coef, times the row, negative
        level_factor  IN      float   the same of the intercept
        norms         IN      (n,)    squared norms of the rows
        slopes        IN OUT  (n,)    s, with coef = −factor·Σ weight·s·x
        coef          IN OUT  (1, d)  coefficients
        intercept     IN OUT  (1,)    intercept

    The other arguments are described in `fastgd.cpu`. The step of a row makes its slope that of the
    prediction t after it: t = z − q·(slope(t) − s) with q = weight·(factor·‖x‖² + level_factor). The
    right-hand side falls in t, so there is one solution, found by Newton's method between bounds. For
    convex losses it is the best step in the dual variable of the row (Hsieh et al., 2008, A dual
    coordinate descent method for large-scale linear SVM; Yu, Huang and Lin, 2011).
    """
    slope_of = with_parameter(tabulated(loss.slope))
    second_of = with_parameter(tabulated(loss.second or _no_second))
    arrays = arrays_of(data_dtype, index_dtype)
    bytes_of_entry = data_dtype.itemsize + index_dtype.itemsize

    def steps(
        rows_at, order, y, weight, offset, p, factor, level_factor, norms, slopes, coef, intercept,
        first, last,
    ):  # fmt: skip
        data, indices, indptr = arrays(rows_at)
        n, b, total = order.shape[0], intercept[0], 0.0
        ahead = min(32, max(2, 4096 * n // max(data.shape[0] * bytes_of_entry, 1)))
        for place in range(first, last):
            row = order[place]
            prefetch(indptr, order[min(place + 2 * ahead, n - 1)], 0)
            near = order[min(place + ahead, n - 1)]
            begin, end = np.int64(indptr[near]), np.int64(indptr[near + 1])
            for line in range((end - begin) * data.itemsize // LINE + 1):
                prefetch(data, begin, line)
            for line in range((end - begin) * indices.itemsize // LINE + 1):
                prefetch(indices, begin, line)
            prefetch(slopes, near, 0)
            prefetch(norms, near, 0)
            share = weight[row] if weight.shape[0] > 0 else 1.0
            q = share * (factor * norms[row] + level_factor)
            if q == 0.0:
                continue
            z, target, s = 0.0, y[0, row], slopes[row]
            for at in range(indptr[row], indptr[row + 1]):
                z += data[at] * coef[0, indices[at]]
            z += b
            if offset.shape[0] > 0:
                z += offset[0, row]
            t, low, high = z, -math.inf, math.inf
            for _ in range(_MOST):
                error = t - z + q * (slope_of(t, target, p) - s)
                if error > 0.0:
                    high = t
                else:
                    low = t
                new = t - error / (1.0 + q * second_of(t, target, p))
                if not low <= new <= high:
                    new = (low + high) / 2
                near_enough = abs(new - t) <= _NEAR * abs(new - z)
                t = new
                if near_enough:
                    break
            change = share * (z - t) / q
            slopes[row] = s + (z - t) / q
            total += share * slopes[row]
            move = factor * change
            for at in range(indptr[row], indptr[row + 1]):
                coef[0, indices[at]] -= move * data[at]
            b -= level_factor * change
        intercept[0] = b
        return total

    return kernel(steps, frozenset({"nsz", "arcp", "contract", "afn"}))


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
