"""Passes over sparse rows in compressed form (CSR): what `dense` has, for the same callers.

Kernels take the rows as the address of a header, five int64: the addresses of data, indices and indptr,
the number of entries, and the number of rows. So they fit into the loops of `dense.batch_epochs` and
`stochastic.minibatch`, which are compiled once for all kinds of rows.

Indices are read as unsigned numbers: Numba lets negative ones count from the end, which costs a test an
entry. Sums are not reordered: to vectorise them the compiler loads coefficients with `vgather`, and a
dot product then takes 22 ns for 10 entries, not 10.
"""

import functools

import numpy as np

from ..compile.functions import FLAGS, call, kernel, leaf, pointer
from . import dense
from .block_losses import WEIGHT, Z
from .machine.prefetch import LINE, prefetch
from .machine.views import array_at

#: The flags of loops over entries.
IN_ORDER = frozenset(FLAGS - {"reassoc"})
#: Entries of a pass over several outputs whose coefficients are prefetched: they are in no near cache.
_AHEAD = 8
#: Entries of a block of rows: with their coefficients they stay in a second-level cache. And its rows.
_BLOCK_ENTRIES, _BLOCK_ROWS = 1 << 12, 256


class Header:
    """The header of rows with these arrays, which have to live as long as its address."""

    def __init__(self, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray):
        self.arrays = data, indices, indptr
        self.dtypes, self.entries = (data.dtype, indices.dtype), len(data)
        addresses = [array.ctypes.data for array in self.arrays]
        self.numbers = np.array([*addresses, len(data), len(indptr) - 1])
        self.address = self.numbers.ctypes.data


def rows_of_block(n: int, entries: int) -> int:
    """The rows of a block of a pass over n rows with so many entries."""
    return max(1, min(n, _BLOCK_ROWS, _BLOCK_ENTRIES * n // max(entries, 1) // 16 * 16 or 16))


@functools.cache
def arrays_of(data_dtype: np.dtype, index_dtype: np.dtype):
    """The leaf that makes data, indices and indptr of the address of a header."""
    scalar, index = data_dtype.type, np.uint32 if index_dtype.itemsize == 4 else np.uint64

    def arrays(rows_at):
        header = array_at(rows_at, (5,), None, np.int64)
        return (
            array_at(header[0], (header[3],), None, scalar),
            array_at(header[1], (header[3],), None, index),
            array_at(header[2], (header[4] + 1,), None, index),
        )

    return leaf(arrays)


@leaf
def prefetch_row(data, indices, indptr, row):
    """Ask for the entries of a row; one line more than they fill, as they begin anywhere in one."""
    begin, end = np.int64(indptr[row]), np.int64(indptr[row + 1])
    for line in range((end - begin) * data.itemsize // LINE + 1):
        prefetch(data, begin, line)
    for line in range((end - begin) * indices.itemsize // LINE + 1):
        prefetch(indices, begin, line)


@functools.cache
def rows_pass(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled pass that adds the rows `first` to `last` to `totals`; arguments of `dense.rows_pass`.

        name        dir     shape             meaning
        rows_at     IN      int               address of the header
        own_y       OUT     (targets, rows)   targets of a block, where there is an order
        scratch     OUT     (k + 4, rows)     of `block_scratch`

    x, `center`, `gather`, `block` and `gradient` are not read.
    """
    arrays = arrays_of(data_dtype, index_dtype)

    def one_pass(
        x, rows_at, order, y, weight, offset, p, center, coef, intercept, first, last, shift, losses,
        slopes_too, gather, block, own_y, scratch, gradient, totals,
    ):  # fmt: skip
        T, k, rows, ordered = coef.dtype.type, coef.shape[0], scratch.shape[1], order.shape[0] > 0
        data, indices, indptr = arrays(rows_at)
        for start in range(first, last, rows):
            m = min(rows, last - start)
            for i in range(m):
                row = order[start + i] if ordered else start + i
                if weight.shape[0] > 0:
                    scratch[WEIGHT, i] = weight[row + shift]
                for c in range(k):
                    z = T(0)
                    for at in range(indptr[row], indptr[row + 1]):
                        z += T(data[at]) * coef[c, indices[at]]
                    z += intercept[c]
                    if offset.shape[0] > 0:
                        z += offset[min(c, offset.shape[0] - 1), row + shift]
                    scratch[Z + c, i] = z
                if ordered:
                    for c in range(y.shape[0]):
                        own_y[c, i] = y[c, row + shift]
            if ordered:
                call(losses, scratch, own_y, 0, p, m, totals)
            else:
                call(losses, scratch, y, start + shift, p, m, totals)
            if slopes_too:
                for i in range(m):
                    row = order[start + i] if ordered else start + i
                    for c in range(k):
                        slope = scratch[Z + c, i]
                        for at in range(indptr[row], indptr[row + 1]):
                            totals[c, indices[at]] += slope * T(data[at])
        return 0.0

    return kernel(one_pass, IN_ORDER)


@functools.cache
def address_of_pass(
    data_dtype: np.dtype, index_dtype: np.dtype, order_dtype: np.dtype, dtype: np.dtype
) -> int:
    """The address of `rows_pass`, for an order and for all others of these dtypes."""
    one, two = np.empty(1, dtype), np.empty((1, 1), dtype)
    x, y, vector = (dense.unknown(shape, dtype) for shape in ((1, 1), (1, 1), 1))
    return pointer(
        rows_pass(data_dtype, index_dtype), x, 0, np.empty(0, order_dtype), y, vector, y,
        dtype.type(0), vector, two, one, 0, 0, 0, 0, True, 0, two, two, two, two, np.empty((1, 1)),
    )  # fmt: skip


@functools.cache
def outputs_pass(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled pass for several outputs, whose coefficients lie together for each column.

    ``(rows_at, y, weight, offset, p, coef, intercept, first, last, shift, losses, slopes_too, scratch,
    row_numbers, sums, totals)``

        name         dir     shape             meaning
        rows_at      IN      int               address of the header
        coef         IN      (d, k)            coefficients
        row_numbers  OUT     (k,)              predictions or slopes of a row
        sums         IN OUT  (d, k) float64    sums of the gradient
        totals       IN OUT  (k, 2) float64    sums of its intercept part, and of the cost

    The other arguments are those of `rows_pass`. In memory that goes by outputs an entry would touch k
    cache lines far apart.
    """
    arrays = arrays_of(data_dtype, index_dtype)

    @kernel
    def one_pass(
        rows_at, y, weight, offset, p, coef, intercept, first, last, shift, losses, slopes_too, scratch,
        row_numbers, sums, totals,
    ):  # fmt: skip
        T, k, rows = coef.dtype.type, coef.shape[1], scratch.shape[1]
        data, indices, indptr = arrays(rows_at)
        stop = np.int64(indptr[last]) - 1
        lines = k * coef.itemsize // LINE + 1
        lines_of_sums = k * sums.itemsize // LINE + 1
        for start in range(first, last, rows):
            m = min(rows, last - start)
            for i in range(m):
                row = start + i
                if weight.shape[0] > 0:
                    scratch[WEIGHT, i] = weight[row + shift]
                for c in range(k):
                    row_numbers[c] = intercept[c]
                for at in range(indptr[row], indptr[row + 1]):
                    value, j = T(data[at]), indices[at]
                    soon = np.int64(indices[min(np.int64(at) + _AHEAD, stop)])
                    for line in range(lines):
                        prefetch(coef, soon, line)
                    for c in range(k):
                        row_numbers[c] += value * coef[j, c]
                for c in range(k):
                    scratch[Z + c, i] = row_numbers[c]
                if offset.shape[0] > 0:
                    for c in range(k):
                        scratch[Z + c, i] += offset[min(c, offset.shape[0] - 1), row + shift]
            call(losses, scratch, y, start + shift, p, m, totals)
            if slopes_too:
                for i in range(m):
                    row = start + i
                    for c in range(k):
                        row_numbers[c] = scratch[Z + c, i]
                    for at in range(indptr[row], indptr[row + 1]):
                        value, j = T(data[at]), indices[at]
                        soon = np.int64(indices[min(np.int64(at) + _AHEAD, stop)])
                        for line in range(lines_of_sums):
                            prefetch(sums, soon, line)
                        for c in range(k):
                            sums[j, c] += row_numbers[c] * value
        return 0.0

    return one_pass


@kernel
def sum_of_groups(groups, first, last):
    """Add up the columns `first` to `last` of groups (g, m, d) in the first one, and empty the others."""
    for g in range(1, groups.shape[0]):
        for i in range(groups.shape[1]):
            for j in range(first, last):
                groups[0, i, j] += groups[g, i, j]
                groups[g, i, j] = 0.0


@functools.cache
def predictions(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled ``(rows_at, coef, intercept, first, last, shift, out)``, as of `dense.predictions`."""
    arrays = arrays_of(data_dtype, index_dtype)

    def predict(rows_at, coef, intercept, first, last, shift, out):
        T = coef.dtype.type
        data, indices, indptr = arrays(rows_at)
        for row in range(first, last):
            z = T(0)
            for at in range(indptr[row], indptr[row + 1]):
                z += T(data[at]) * coef[0, indices[at]]
            out[row + shift] = z + intercept[0]

    return kernel(predict, IN_ORDER)


@functools.cache
def add_moments(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled sum of second moments of rows [1, x·scale, y − y_center] about zero.

    ``(rows_at, y, weight, scale, y_center, first, last, shift, moments)``

        name      dir     shape            meaning
        rows_at   IN      int              address of the header
        scale     IN      (d,) float64     factor of each column
        y_center  IN      (m,) float64     subtracted from the first m targets
        moments   IN OUT  (1+d+m, …)       sums, on the diagonal and above it

    The other arguments are described in `fastgd.cpu`. A row takes the square of its entries.
    """
    arrays = arrays_of(data_dtype, index_dtype)

    def add(rows_at, y, weight, scale, y_center, first, last, shift, moments):
        d, m = scale.shape[0], y_center.shape[0]
        data, indices, indptr = arrays(rows_at)
        for row in range(first, last):
            w = np.float64(weight[row + shift]) if weight.shape[0] > 0 else 1.0
            begin, end = indptr[row], indptr[row + 1]
            own = moments[0]
            own[0] += w
            for at in range(begin, end):
                j = indices[at]
                own[np.int64(j) + 1] += w * (data[at] * scale[j])
            for c in range(m):
                own[1 + d + c] += w * (y[c, row + shift] - y_center[c])
            for at in range(begin, end):
                j = indices[at]
                value = w * (data[at] * scale[j])
                own = moments[np.int64(j) + 1]
                for after in range(at, end):
                    other = indices[after]
                    own[np.int64(other) + 1] += value * (data[after] * scale[other])
                for c in range(m):
                    own[1 + d + c] += value * (y[c, row + shift] - y_center[c])
            for c in range(m):
                target = w * (y[c, row + shift] - y_center[c])
                for other in range(c, m):
                    moments[1 + d + c, 1 + d + other] += target * (
                        y[other, row + shift] - y_center[other]
                    )

    return kernel(add, IN_ORDER)


@functools.cache
def add_columns(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled sums of entries and of their squares for each column.

    ``(rows_at, weight, first, last, shift, sums)`` with sums (2, d) float64, IN OUT.
    """
    arrays = arrays_of(data_dtype, index_dtype)

    def add(rows_at, weight, first, last, shift, sums):
        data, indices, indptr = arrays(rows_at)
        for row in range(first, last):
            w = np.float64(weight[row + shift]) if weight.shape[0] > 0 else 1.0
            for at in range(indptr[row], indptr[row + 1]):
                value = np.float64(data[at])
                sums[0, indices[at]] += w * value
                sums[1, indices[at]] += w * value * value

    return kernel(add, IN_ORDER)
