"""One pass of a block of threads over dense rows, for a coupled loss.

A block takes a few rows at a time. Their columns come through shared memory, a tile at a time, so that
rows may be in C or F order: first for the predictions, of which one thread a row computes the two
numbers of `CoupledLoss.add`, then, from the cache, for the gradient. Slopes replace the predictions in
shared memory. Classes that don't fit there are predicted twice, as their slopes need the sum over all
classes.

The gradient of a block is in global memory: its tiles are summed in registers, and added there.
"""

import functools

import numba

from ..compile.functions import leaf
from ..losses import CoupledLoss
from .driver import cuda
from .groups import sum_of_block
from .layout import WARP, CoupledLayout
from .loads import fetch

#: Steps of a sum that are written out: their addresses then differ by constants.
_UNROLLED = 8


@functools.cache
def _staged(layout: CoupledLayout, centred: bool, ordered: bool):
    """A device function that puts a tile of x into shared memory, columns first; zero where x ends.

    Neighbouring threads take neighbouring elements of x, and a column has one spare place, so that
    they access different banks in either order.
    """
    rows, _, columns, by_columns, threads = layout
    pitch, last_thread = rows + 1, threads - 1  # a mask: see row_pass

    @cuda.jit(device=True)
    def stage(x, order, center, coef, start, last, column, tile):
        d = coef.shape[1]
        for at in range(cuda.threadIdx.x & last_thread, rows * columns, threads):
            row = at % rows if by_columns else at // columns
            j = at // rows if by_columns else at % columns
            element = coef.dtype.type(0)
            if start + row < last and column + j < d:
                i = start + row
                if ordered:
                    i = order[i]
                element = coef.dtype.type(x[column + j, i] if by_columns else x[i, column + j])
                if centred:
                    element -= center[column + j]
            tile[j * pitch + row] = element

    return stage


@functools.cache
def _predicted(layout: CoupledLayout, dtype: str, centred: bool, ordered: bool):
    """A device function that fills `z` with the predictions of the classes from `base` on.

    A thread writes, and changes later, those of its own row and of every so many classes. Shared memory
    is read by `load`, for the reason in `row_pass`.
    """
    rows, classes, columns, _, threads = layout
    pitch, across, last_thread = rows + 1, threads // rows, threads - 1
    units, real, unrolled = classes // across, getattr(numba, dtype), min(_UNROLLED, columns)
    stage, load = _staged(layout, centred, ordered), fetch(1)
    w_size = classes * columns  # sizes of arrays must be names

    @cuda.jit(device=True)
    def predict(x, order, offset, center, coef, intercept, start, last, base, tile, z):
        factors = cuda.shared.array(w_size, real)
        sums = cuda.local.array(units, real)
        element = cuda.local.array(1, real)
        factor = cuda.local.array(1, real)
        k, d = coef.shape
        zero = coef.dtype.type(0)
        thread = cuda.threadIdx.x & last_thread
        row, group = thread % rows, thread // rows
        for u in range(units):
            sums[u] = zero
        for column in range(0, d, columns):
            cuda.syncthreads()  # no thread reads the old tiles any more
            stage(x, order, center, coef, start, last, column, tile)
            for at in range(thread, w_size, threads):
                c, j = base + at // columns, column + at % columns
                factors[at] = coef[c, j] if c < k and j < d else zero
            cuda.syncthreads()
            for j in range(0, min(columns, d - column), unrolled):
                for e in range(unrolled):
                    load(tile, (j + e) * pitch + row, element, 0)
                    for u in range(units):
                        load(factors, (group + across * u) * columns + j + e, factor, 0)
                        sums[u] += element[0] * factor[0]
        for u in range(units):
            c = base + group + across * u
            if c < k:
                sums[u] += intercept[c]
                if offset.shape[0] > 0 and start + row < last:
                    i = start + row
                    if ordered:
                        i = order[i]
                    sums[u] += offset[c if offset.shape[0] > 1 else 0, i]
            z[(group + across * u) * pitch + row] = sums[u]

    return predict


@functools.cache
def coupled_pass(
    loss: CoupledLoss,
    layout: CoupledLayout,
    dtype: str,
    slopes_too=True,
    centred=False,
    ordered=False,
):
    """A device function that fills `out` with the sums of a range of rows, at least one.

    ``(x, order, y, weight, offset, p, center, coef, intercept, first, last, out)``

        name    dir     shape      meaning
        x       IN      (n, d)     rows, or (d, n) for a layout by columns
        order   IN      (n,)       if `ordered`, the rows are order[first:last]; else not read
        y       IN      (1, n)     indices of the classes, as floats
        out     OUT     (k, d+2)   gradient of each class, of its intercept, and the cost (in class 0)

    The other arguments are described in `fastgd.cuda`. Without `slopes_too` only the cost is written.
    `out` is complete after the next barrier.
    """
    rows, classes, columns, _, threads = layout
    pitch, across, side = rows + 1, threads // rows, threads // columns
    units, column_units = classes // across, -(-classes // side)
    real, warps, last_thread = getattr(numba, dtype), threads // WARP, threads - 1
    stage, load = _staged(layout, centred, ordered), fetch(1)
    predict = _predicted(layout, dtype, centred, ordered)
    unrolled = min(_UNROLLED, rows)
    add, value, slope = leaf(loss.add), leaf(loss.value), leaf(loss.slope)
    over_block = sum_of_block(threads)
    # Sizes of arrays must be names.
    tile_size, z_size, of_rows = columns * pitch, classes * pitch, 4 * rows

    @cuda.jit(device=True)
    def one_pass(x, order, y, weight, offset, p, center, coef, intercept, first, last, out):
        block_sums = cuda.shared.array(warps, real)
        tile = cuda.shared.array(tile_size, real)
        z = cuda.shared.array(z_size, real)
        told = cuda.shared.array(of_rows, real)  # of every row: label, weight, top, rest
        sums = cuda.local.array(column_units, real)
        element = cuda.local.array(1, real)
        factor = cuda.local.array(1, real)
        k, d = coef.shape
        weighted = weight.shape[0] > 0
        zero, one = coef.dtype.type(0), coef.dtype.type(1)
        thread = cuda.threadIdx.x & last_thread
        row, group = thread % rows, thread // rows
        j, lane = thread % columns, thread // columns
        cost = zero
        for start in range(first, last, rows):
            top = rest = right = label = row_weight = zero
            mine = thread < rows and start + thread < last
            if mine:
                i = start + thread
                if ordered:
                    i = order[i]
                label = y[0, i]
                row_weight = weight[i] if weighted else one
            for base in range(0, k, classes):
                predict(x, order, offset, center, coef, intercept, start, last, base, tile, z)
                cuda.syncthreads()
                if mine:
                    for c in range(min(classes, k - base)):
                        raw = z[c * pitch + thread]
                        if base + c == 0:
                            top = raw
                        else:
                            top, rest = add(top, rest, raw)
                        if coef.dtype.type(base + c) == label:
                            right = raw
            if mine:
                cost += row_weight * value(right, top, rest)
            if not slopes_too:
                continue
            if mine:
                told[thread], told[rows + thread] = label, row_weight
                told[2 * rows + thread], told[3 * rows + thread] = top, rest
            for base in range(0, k, classes):
                if k > classes:
                    predict(x, order, offset, center, coef, intercept, start, last, base, tile, z)
                cuda.syncthreads()
                for u in range(units):
                    c = base + group + across * u
                    at = (group + across * u) * pitch + row
                    s = zero
                    if c < k and start + row < last:
                        hit = one if coef.dtype.type(c) == told[row] else zero
                        s = told[rows + row] * slope(
                            z[at], hit, told[2 * rows + row], told[3 * rows + row]
                        )
                    z[at] = s
                cuda.syncthreads()
                if thread < classes and base + thread < k:
                    total = zero
                    for r in range(rows):
                        total += z[thread * pitch + r]
                    if start > first:
                        total += out[base + thread, d]
                    out[base + thread, d] = total
                for column in range(0, d, columns):
                    if d > columns:  # else the tile of the predictions
                        cuda.syncthreads()
                        stage(x, order, center, coef, start, last, column, tile)
                        cuda.syncthreads()
                    if lane < classes and column + j < d:
                        for u in range(column_units):
                            sums[u] = zero
                        for r in range(0, min(rows, last - start), unrolled):
                            for e in range(unrolled):
                                load(tile, j * pitch + r + e, element, 0)
                                for u in range(column_units):
                                    # Beyond the last class: the last one again, which is not kept.
                                    at = min(lane + side * u, classes - 1)
                                    load(z, at * pitch + r + e, factor, 0)
                                    sums[u] += element[0] * factor[0]
                        for u in range(column_units):
                            c = base + lane + side * u
                            if c < k and lane + side * u < classes:
                                before = zero
                                if start > first:
                                    before = out[c, column + j]
                                out[c, column + j] = before + sums[u]
        cost = over_block(cost, block_sums, 0)
        for c in range(thread, k, threads):
            out[c, d + 1] = cost if c == 0 else zero

    return one_pass
