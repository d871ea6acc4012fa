"""Stochastic loops over sparse rows, for plain gradient descent: an update takes the time of its entries.

The l2 penalty shrinks all coefficients in every update. They are kept as size·v, so that it changes one
number, and an update the columns of its rows (Bottou, 2010, Large-scale machine learning with stochastic
gradient descent). Rounding aside the iterates are the textbook's.
"""

import functools

import numpy as np

from ..compile.functions import call, piece, with_parameter
from ..losses import Loss
from ..settings import L2, LAST, LEARN, SCALE, P
from . import dense, stochastic
from .block_losses import WEIGHT, Z, block_scratch
from .machine.prefetch import LINE, prefetch
from .machine.tabulated import tabulated
from .sparse import IN_ORDER, arrays_of, prefetch_row

#: Rows are prefetched so many bytes, and at most so many rows, before their update.
_BYTES_AHEAD, _MOST_AHEAD = 2048, 32


def window(n: int, d: int, entries: int, batch_size: int) -> int:
    """The rows after which `updates` brings its coefficients up to date: a multiple of a batch.

    That takes time for all d columns, and is an eighth of the work for the entries of so many rows.
    """
    rows = max(stochastic.BLOCK, 8 * d * n // max(entries, 1))
    return -(-rows // batch_size) * batch_size


@functools.cache
def updates(loss: Loss, data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled loop of one update a row or batch, for plain gradient descent, in the time of entries.

    The arguments are those of `stochastic.minibatch`; those of the pass, the optimizer, the team and
    the mean are not read. `rows_at` is the address of the header, and `gather` the number of rows of a
    `window`: where `first` is a multiple of it, calls that split a loop change no bit.
    """
    value, slope = (with_parameter(tabulated(f)) for f in (loss.value, loss.slope))
    arrays = arrays_of(data_dtype, index_dtype)
    bytes_of_entry = data_dtype.itemsize + index_dtype.itemsize

    def of_rows(
        one_pass, losses, step, members, backoff, x, y, weight, offset, order, coef, intercept, settings,
        rates, hyper, low_hyper, memory, mean, totals, loss_sums, gather, rows_at, center, block, own_y,
        scratch, gradient, batch_size, at, t, first, last,
    ):  # fmt: skip
        (k, d), n, T = coef.shape, y.shape[1], coef.dtype.type
        zero, one, smallest = T(0), T(1), T(1e-15)
        data, indices, indptr = arrays(rows_at)
        entries = data.shape[0]
        l2, scale, learn, p = settings[L2], settings[SCALE], settings[LEARN], settings[P]
        ordered = order.shape[0] > 0
        rows = gather
        ahead = min(_MOST_AHEAD, max(2, _BYTES_AHEAD * n // max(entries * bytes_of_entry, 1)))
        for window_start in range(first, last, rows):
            window_stop = min(window_start + rows, last)
            for c in range(k):  # outputs are independent
                lr, b, size, total = rates[at, c], intercept[c], one, 0.0
                shrink = one - lr * l2
                for start in range(window_start, window_stop, batch_size):
                    m = min(batch_size, window_stop - start)
                    for i in range(m):
                        place = start + i
                        row = order[place] if ordered else place
                        if ordered:
                            far = order[min(place + 2 * ahead, n - 1)]
                            prefetch(indptr, far, 0)
                            near = order[min(place + ahead, n - 1)]
                            prefetch_row(data, indices, indptr, near)
                            prefetch(y, c, near * y.itemsize // LINE)
                        z = zero
                        for q in range(indptr[row], indptr[row + 1]):
                            z += T(data[q]) * coef[c, indices[q]]
                        z = size * z + b
                        if offset.shape[0] > 0:
                            z += offset[min(c, offset.shape[0] - 1), row]
                        share = weight[row] if weight.shape[0] > 0 else one
                        total += share * value(z, y[c, row], p)
                        scratch[0, Z, i] = share * slope(z, y[c, row], p)
                    if l2 != zero:
                        size *= shrink
                        if abs(size) < smallest:
                            for j in range(d):
                                coef[c, j] *= size
                            size = one
                    factor = lr * scale
                    if settings[LAST] != zero:
                        factor /= T(m)
                    by_size, slopes = factor / size, zero
                    for i in range(m):
                        row = order[start + i] if ordered else start + i
                        slopes += scratch[0, Z, i]
                        move = by_size * scratch[0, Z, i]
                        for q in range(indptr[row], indptr[row + 1]):
                            coef[c, indices[q]] -= move * T(data[q])
                    b -= learn * factor * slopes
                if l2 != zero:
                    for j in range(d):
                        coef[c, j] *= size
                intercept[c] = b
                loss_sums[c, 1] += total
        return 0.0

    return piece(of_rows, IN_ORDER)


@functools.cache
def coupled_updates(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled loop of `updates` for a loss that couples the outputs, which it calls by address.

    The arguments are those of `updates`, with `losses` and `own_y` of a batch.
    """
    arrays = arrays_of(data_dtype, index_dtype)

    def of_rows(
        one_pass, losses, step, members, backoff, x, y, weight, offset, order, coef, intercept, settings,
        rates, hyper, low_hyper, memory, mean, totals, loss_sums, gather, rows_at, center, block, own_y,
        scratch, gradient, batch_size, at, t, first, last,
    ):  # fmt: skip
        (k, d), T, rows = coef.shape, coef.dtype.type, gather
        zero, one, smallest = T(0), T(1), T(1e-15)
        data, indices, indptr = arrays(rows_at)
        l2, learn, ordered = settings[L2], settings[LEARN], order.shape[0] > 0
        numbers, targets, sizes = scratch[0], own_y[0], np.empty(k, coef.dtype)
        for window_start in range(first, last, rows):
            window_stop = min(window_start + rows, last)
            for c in range(k):
                sizes[c] = one
            for start in range(window_start, window_stop, batch_size):
                m = min(batch_size, window_stop - start)
                for i in range(m):
                    row = order[start + i] if ordered else start + i
                    targets[0, i] = y[0, row]
                    if weight.shape[0] > 0:
                        numbers[WEIGHT, i] = weight[row]
                    for c in range(k):
                        z = zero
                        for q in range(indptr[row], indptr[row + 1]):
                            z += T(data[q]) * coef[c, indices[q]]
                        z = sizes[c] * z + intercept[c]
                        if offset.shape[0] > 0:
                            z += offset[min(c, offset.shape[0] - 1), row]
                        numbers[Z + c, i] = z
                call(losses, numbers, targets, 0, settings[P], m, loss_sums)
                for c in range(k if l2 != zero else 0):
                    sizes[c] *= one - rates[at, c] * l2
                    if abs(sizes[c]) < smallest:
                        for j in range(d):
                            coef[c, j] *= sizes[c]
                        sizes[c] = one
                factor = settings[SCALE]
                if settings[LAST] != zero:
                    factor /= T(m)
                for i in range(m):
                    row = order[start + i] if ordered else start + i
                    for c in range(k):
                        slope = rates[at, c] * factor * numbers[Z + c, i]
                        intercept[c] -= learn * slope
                        move = slope / sizes[c]
                        for q in range(indptr[row], indptr[row + 1]):
                            coef[c, indices[q]] -= move * T(data[q])
            if l2 != zero:
                for c in range(k):
                    for j in range(d):
                        coef[c, j] *= sizes[c]
        return 0.0

    return piece(of_rows, IN_ORDER)


def scratch(batch_size: int, outputs: int, dtype: np.dtype) -> dense.Scratch:
    """The scratch of a batch: of `updates` for one output, of `coupled_updates` for several."""
    empty = np.empty((0, 0, 0), dtype)
    own_y = np.empty((1, 1, batch_size), dtype)
    return dense.Scratch(empty, own_y, block_scratch(1, outputs, batch_size, dtype), empty)
