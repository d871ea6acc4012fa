"""One pass of a block of threads over rows in F order: x is given as its columns (d, n).

Neighbouring threads take neighbouring rows, so that a warp reads a column in one access. Few columns
stay in the registers of a thread from the prediction to the gradient. Of many columns a block reads a
tile of rows for the predictions, and once more from the cache for the gradient.
"""

import functools

import numba

from ..compile.functions import leaf, with_parameter
from ..losses import Loss
from .driver import cuda
from .groups import sum_of_block, sum_of_lanes
from .layout import WARP, ColumnLayout
from .loads import fetch


def column_pass(loss: Loss, layout: ColumnLayout, dtype: str, slopes_too=True, centred=False):
    """The device function of `row_pass` for x (d, n)."""
    make = _tiles if layout.tile else _few_columns
    return make(loss, layout, dtype, slopes_too, centred)


@functools.cache
def _few_columns(loss, layout, dtype, slopes_too, centred):
    vector, _, columns, threads = layout
    warps = threads // WARP
    real = getattr(numba, dtype)
    load = fetch(vector)
    value, slope = with_parameter(leaf(loss.value)), with_parameter(leaf(loss.slope))
    over_warp, entries = sum_of_lanes(1, WARP), columns + 2
    all_entries, in_flight = warps * entries, columns * vector  # sizes of arrays must be names
    last_thread = threads - 1  # a mask: see row_pass

    @cuda.jit(device=True)
    def one_pass(
        x, order, y, weight, offset, p, center, coef, intercept, c, target, first, last, out
    ):  # fmt: skip
        warp_sums = cuda.shared.array(all_entries, real)
        gradient = cuda.local.array(columns, real)
        block = cuda.local.array(in_flight, real)
        labels = cuda.local.array(vector, real)
        row_weights = cuda.local.array(vector, real)
        raw = cuda.local.array(vector, real)
        n = y.shape[1]
        weighted, fixed = weight.shape[0] > 0, offset.shape[0] > 0
        of_output = c if offset.shape[0] > 1 else 0
        zero, one = coef.dtype.type(0), coef.dtype.type(1)
        thread = cuda.threadIdx.x & last_thread
        b = intercept[c]
        cost, slopes = zero, zero
        for j in range(columns):
            gradient[j] = zero
        for v in range(vector):
            row_weights[v], raw[v] = one, zero
        for start in range(first, last, threads * vector):
            i = start + thread * vector
            if i + vector <= last:
                for j in range(columns):
                    load(x, j * n + i, block, j * vector)
                load(y, target * n + i, labels, 0)
                if weighted:
                    load(weight, i, row_weights, 0)
                if fixed:
                    load(offset, of_output * n + i, raw, 0)
            else:
                for v in range(vector):
                    inside = i + v < last
                    for j in range(columns):
                        block[j * vector + v] = x[j, i + v] if inside else zero
                    labels[v] = y[target, i + v] if inside else zero
                    if weighted:
                        row_weights[v] = weight[i + v] if inside else zero
                    if fixed:
                        raw[v] = offset[of_output, i + v] if inside else zero
            for v in range(vector):
                if i + v < last:
                    z = b + raw[v]
                    for j in range(columns):
                        if centred:
                            block[j * vector + v] -= center[j]
                        z += block[j * vector + v] * coef[c, j]
                    cost += row_weights[v] * value(z, labels[v], p)
                    if slopes_too:
                        s = row_weights[v] * slope(z, labels[v], p)
                        slopes += s
                        for j in range(columns):
                            gradient[j] += s * block[j * vector + v]
        # Over the lanes of a warp by exchange, over warps one after the other.
        warp, lane = thread // WARP, thread % WARP
        cost, slopes = over_warp(cost), over_warp(slopes)
        if lane == 0:
            warp_sums[warp * entries + columns], warp_sums[warp * entries + columns + 1] = (
                slopes,
                cost,
            )
        if slopes_too:
            for j in range(columns):
                total = over_warp(gradient[j])
                if lane == 0:
                    warp_sums[warp * entries + j] = total
        cuda.syncthreads()
        for j in range(thread if slopes_too else columns + 1 + thread, entries, threads):
            total = zero
            for other in range(warps):
                total += warp_sums[other * entries + j]
            out[j] = total

    return one_pass


@functools.cache
def _tiles(loss, layout, dtype, slopes_too, centred):
    _, tile, columns, threads = layout
    groups = threads // tile
    warps = threads // WARP
    real = getattr(numba, dtype)
    value, slope = with_parameter(leaf(loss.value)), with_parameter(leaf(loss.slope))
    over_block, over_rows = sum_of_block(threads), sum_of_lanes(1, tile)
    block_entries, two_turns = 2 * warps, 2 * threads  # sizes of arrays must be names
    last_thread = threads - 1  # a mask: see row_pass

    @cuda.jit(device=True)
    def one_pass(
        x, order, y, weight, offset, p, center, coef, intercept, c, target, first, last, out
    ):  # fmt: skip
        block_sums = cuda.shared.array(block_entries, real)
        predicted = cuda.shared.array(two_turns, real)
        gradient = cuda.shared.array(columns, real)
        d = coef.shape[1]
        weighted, fixed = weight.shape[0] > 0, offset.shape[0] > 0
        of_output = c if offset.shape[0] > 1 else 0
        zero, one = coef.dtype.type(0), coef.dtype.type(1)
        thread = cuda.threadIdx.x & last_thread
        row, group = thread % tile, thread // tile
        b = intercept[c]
        cost, slopes = zero, zero
        turn = 0
        if slopes_too and row == 0:
            for j in range(group, d, groups):
                gradient[j] = zero
        for start in range(first, last, tile):
            i = start + row
            z = zero
            if i < last:
                for j in range(group, d, groups):
                    element = coef.dtype.type(x[j, i])
                    if centred:
                        element -= center[j]
                    z += element * coef[c, j]
            predicted[turn + thread] = z
            cuda.syncthreads()
            z = b
            for g in range(groups):
                z += predicted[turn + g * tile + row]
            turn = threads - turn
            s = zero
            if i < last:
                row_weight = weight[i] if weighted else one
                if fixed:
                    z += offset[of_output, i]
                cost += row_weight * value(z, y[target, i], p)
                if slopes_too:
                    s = row_weight * slope(z, y[target, i], p)
                    slopes += s
            if slopes_too:
                # The same count in all groups: the sum needs the lanes of every group.
                for base in range(0, d, groups):
                    j = base + group
                    element = zero
                    if i < last and j < d:
                        element = coef.dtype.type(x[j, i])
                        if centred:
                            element -= center[j]
                    element = over_rows(s * element)
                    if row == 0 and j < d:
                        gradient[j] += element
        # Every group has seen every row.
        cost = over_block(cost if group == 0 else zero, block_sums, 0)
        if slopes_too:
            slopes = over_block(slopes if group == 0 else zero, block_sums, warps)
            if row == 0:
                for j in range(group, d, groups):
                    out[j] = gradient[j]
        if thread == 0:
            out[d + 1] = cost
            if slopes_too:
                out[d] = slopes

    return one_pass
