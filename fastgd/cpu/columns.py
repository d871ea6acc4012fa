"""Coordinate descent over compressed columns (CSC): a penalised quadratic with a weight for each row.

Columns hold the rows of their entries as unsigned numbers; see `sparse` for why sums keep their order.
"""

import functools

import numpy as np

from ..compile.functions import call, kernel, leaf
from ..formulas.updates import soft
from .block_losses import WEIGHT, Z
from .sparse import IN_ORDER, arrays_of

_shrink = leaf(soft)


@functools.cache
def count_entries(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled ``(rows_at, first, last, counts)``: entries of some rows in each column are counted.

    ``counts`` is (d,) int, IN OUT.
    """
    arrays = arrays_of(data_dtype, index_dtype)

    def count(rows_at, first, last, counts):
        _, indices, indptr = arrays(rows_at)
        for at in range(indptr[first], indptr[last]):
            counts[indices[at]] += 1

    return kernel(count)


@functools.cache
def fill_columns(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled copy of some columns of the rows `first` to `last`.

    ``(rows_at, first, last, places, ends, rows, values)``

        name     dir     shape       meaning
        rows_at  IN      int         address of the header of `sparse`
        places   IN      (d,) int    number of the column among those copied, or −1
        ends     IN OUT  (m,) int    where the copy of each column begins, which becomes where it ends
        rows     OUT     (entries,)  the row of each entry
        values   OUT     (entries,)  the entry
    """
    arrays = arrays_of(data_dtype, index_dtype)

    def fill(rows_at, first, last, places, ends, rows, values):
        data, indices, indptr = arrays(rows_at)
        for row in range(first, last):
            for at in range(indptr[row], indptr[row + 1]):
                place = places[indices[at]]
                if place >= 0:
                    end = ends[place]
                    rows[end], values[end] = row, data[at]
                    ends[place] = end + 1

    return kernel(fill, IN_ORDER)


@kernel
def losses_at(losses, z, y, weight, p, scratch, slopes, totals):
    """The slopes of the losses at raw predictions, and their sums.

        name     dir     shape            meaning
        losses   IN      int              address of `block_losses`, with slopes
        z        IN      (n,)             raw predictions
        scratch  OUT     (5, rows)        of `block_scratch`
        slopes   OUT     (n,)             weighted slopes
        totals   IN OUT  (1, 2) float64   sums of the slopes and of the losses

    y is (1, n); the other arguments are described in `fastgd.cpu`.
    """
    n, rows = z.shape[0], scratch.shape[1]
    for start in range(0, n, rows):
        m = min(rows, n - start)
        for i in range(m):
            scratch[Z, i] = z[start + i]
            if weight.shape[0] > 0:
                scratch[WEIGHT, i] = weight[start + i]
        call(losses, scratch, y, start, p, m, totals)
        for i in range(m):
            slopes[start + i] = scratch[Z, i]


def _curvatures(begins, ends, rows, values, h, out):
    """out (m,) = Σ values²·h over each column.

    name          dir  shape     meaning
    begins, ends  IN   (m,) int  where the entries of each column begin and end
    h             IN   (n,)      weights of the rows
    """
    for j in range(out.shape[0]):
        total = 0.0
        for at in range(begins[j], ends[j]):
            value = values[at]
            total += value * value * h[rows[at]]
        out[j] = total


def _products(begins, ends, rows, values, of_rows, out):
    """out (m,) = Σ values·of_rows over each column, with of_rows (n,)."""
    for j in range(out.shape[0]):
        total = 0.0
        for at in range(begins[j], ends[j]):
            total += values[at] * of_rows[rows[at]]
        out[j] = total


def _add_products(begins, ends, rows, values, coef, out):
    """out (n,) += columns·coef (m,)."""
    for j in range(coef.shape[0]):
        if coef[j] != 0.0:
            for at in range(begins[j], ends[j]):
                out[rows[at]] += coef[j] * values[at]


def _sweep(
    begins, ends, rows, values, h, slopes, coef, move, curvatures, l1, l2, level, most, share, least
):
    """Sweeps of coordinate descent over m columns; returns the size of the first.

        name        dir     shape       meaning
        h           IN      (n,)        curvature of each row
        slopes      IN OUT  (n,)        slope of each row: h·(what `move` does to its prediction) is added
        coef        IN      (m,)        coefficients
        move        IN OUT  (m,)        their changes
        curvatures  IN      (m,)        Σ values²·h + l2 of each column
        l1, l2      IN      float       penalties of coef + move
        level       IN OUT  (2,)        change of the intercept, and Σ h; 0 there: it stays
        most        IN      int         largest number of sweeps
        share       IN      float       part of the size of the first sweep, and
        least       IN      float       size, below which a sweep over all columns is the last one

    The size of a sweep is √(Σ curvature·move²). Between sweeps over all columns there are some over those
    that are not zero. As in Friedman, Hastie and Tibshirani (2010) and Yuan, Ho and Lin (2012).
    """
    m, n, first, everything = coef.shape[0], h.shape[0], -1.0, True
    for _ in range(most):
        size = 0.0
        if level[1] > 0.0:
            total = 0.0
            for i in range(n):
                total += slopes[i]
            step = -total / level[1]
            for i in range(n):
                slopes[i] += step * h[i]
            level[0] += step
            size += level[1] * step * step
        for j in range(m):
            now, curvature = coef[j] + move[j], curvatures[j]
            if curvature <= 0.0 or (now == 0.0 and not everything):
                continue
            slope = l2 * now
            for at in range(begins[j], ends[j]):
                slope += values[at] * slopes[rows[at]]
            if now == 0.0 and abs(slope) <= l1:
                continue
            after = _shrink(now - slope / curvature, l1 / curvature)
            step = after - now
            if step == 0.0:
                continue
            move[j] = after - coef[j]
            size += curvature * step * step
            for at in range(begins[j], ends[j]):
                i = rows[at]
                slopes[i] += step * values[at] * h[i]
        size = np.sqrt(size)
        if first < 0.0:
            first = size
        if size <= max(share * first, least):
            if everything:
                break
            everything = True
        else:
            everything = False
    return first


curvatures, products, add_products, sweep = (
    kernel(function, IN_ORDER) for function in (_curvatures, _products, _add_products, _sweep)
)
