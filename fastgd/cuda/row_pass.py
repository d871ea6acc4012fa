"""One pass of a block of threads over rows in C order: cost and gradient, each row read once.

A row is in the registers of a group of lanes. Its dot product with the coefficients is summed over the
lanes; the same registers then go into the gradient, which is summed in registers over all rows of the
block, and over threads only at the end. The loss of a row is computed by one lane in `rows`.
"""

import functools

import numba

from ..compile.functions import leaf, with_parameter
from ..losses import Loss
from .driver import cuda
from .groups import sum_of_block, sum_of_lanes, value_of_lane
from .layout import WARP, RowLayout
from .loads import fetch


@functools.cache
def row_pass(
    loss: Loss, layout: RowLayout, dtype: str, slopes_too=True, centred=False, ordered=False
):
    """A device function that fills `out` with the sums of a range of rows, for one output.

    ``(x, order, y, weight, offset, p, center, coef, intercept, c, target, first, last, out)``

        name    dir     shape     meaning
        order   IN      (n,)      if `ordered`, the rows are order[first:last]; else not read
        out     OUT     (d+2,)    gradient of the coefficients, of the intercept, and the cost

    The other arguments are described in `fastgd.cuda`. Without `slopes_too` only the cost is written.
    `coef` and every sum is of `dtype`. Shared memory of the function is free at the next barrier.
    """
    vector, lanes, loads, rows, threads = layout
    held, groups = vector * loads, threads // lanes
    wide, warps = lanes > WARP, threads // WARP
    real = getattr(numba, dtype)
    load, load_one = fetch(vector), fetch(1)
    value, slope = with_parameter(leaf(loss.value)), with_parameter(leaf(loss.slope))
    over_block = sum_of_block(threads)
    over_lanes = sum_of_lanes(1, min(lanes, WARP))
    over_groups = sum_of_lanes(min(lanes, WARP), WARP)
    # Lane number `own` of each `apart` neighbours computes the loss of every `apart`-th row.
    apart = 1 if wide else min(lanes, rows)
    turns, over_rows, of_lane = rows // apart, sum_of_lanes(1, apart), value_of_lane(apart)
    entries = min(lanes, WARP) * held
    # Sizes of local and shared arrays must be names.
    in_flight, block_entries, reduced = held * rows, 2 * warps, entries + 2
    # A mask shows the compiler that a thread's number, and so an index, is not negative. Without it each
    # index has a test for counting from the end, whose result takes registers. For the same reason y,
    # weight, coef and center are read by `load_one`.
    last_thread = threads - 1

    @cuda.jit(device=True)
    def one_pass(
        x, order, y, weight, offset, p, center, coef, intercept, c, target, first, last, out
    ):  # fmt: skip
        block_sums = cuda.shared.array(block_entries, real)
        gathered = cuda.shared.array(reduced, real)
        w = cuda.local.array(held, real)
        middle = cuda.local.array(held, real)
        gradient = cuda.local.array(held, real)
        row = cuda.local.array(in_flight, real)
        raw = cuda.local.array(turns, real)
        label = cuda.local.array(turns, real)
        row_weight = cuda.local.array(turns, real)
        n, d = y.shape[1], coef.shape[1]
        weighted, fixed = weight.shape[0] > 0, offset.shape[0] > 0
        of_output = (c if offset.shape[0] > 1 else 0) * n
        zero, one = coef.dtype.type(0), coef.dtype.type(1)
        thread = cuda.threadIdx.x & last_thread
        lane, group, own = thread % lanes, thread // lanes, thread % apart
        b = intercept[c]
        cost, slopes = zero, zero
        turn = 0
        for r in range(loads):
            j, e = (lane + lanes * r) * vector, r * vector
            for v in range(vector):
                w[e + v] = middle[e + v] = gradient[e + v] = zero
            if j < d:
                for v in range(vector):
                    load_one(coef, c * d + j + v, w, e + v)
                    if centred:
                        load_one(center, j + v, middle, e + v)
        for start in range(first, last, groups * rows):
            # All loads come before the first use, so that they are in flight together. Beyond the last
            # row they read that row, with a weight of 0, and beyond the last column the first ones,
            # whose coefficients are 0: no branch between loads, nor between the sums of rows.
            for u in range(rows):
                at = min(start + group + groups * u, last - 1)
                if ordered:
                    at = order[at]
                for r in range(loads):
                    j, e = (lane + lanes * r) * vector, (u * loads + r) * vector
                    load(x, at * d + (j if j < d else 0), row, e)
                    if centred:
                        for v in range(vector):
                            row[e + v] -= middle[r * vector + v]
            for q in range(turns):
                i = start + group + groups * (q * apart + own)
                at = min(i, last - 1)
                if ordered:
                    at = order[at]
                load_one(y, target * n + at, label, q)
                row_weight[q] = one
                if weighted:
                    load_one(weight, at, row_weight, q)
                if i >= last:
                    row_weight[q] = zero
                raw[q] = zero
                if fixed:
                    load_one(offset, of_output + at, raw, q)
            for u in range(rows):
                z = zero
                for e in range(held):
                    z += row[u * held + e] * w[e]
                if wide:
                    z = over_block(z, block_sums, turn)
                    turn = warps - turn
                else:
                    z = over_lanes(z)
                if u % apart == own and start + group + groups * u < last:
                    raw[u // apart] += z + b
            for q in range(turns):
                cost += row_weight[q] * value(raw[q], label[q], p)
                if slopes_too:
                    s = row_weight[q] * slope(raw[q], label[q], p)
                    slopes += s
                    for v in range(apart):
                        of_row = of_lane(s, v)
                        for e in range(held):
                            gradient[e] += of_row * row[(q * apart + v) * held + e]
        # Over groups of lanes: within a warp by exchange, over warps one after the other.
        if not wide:
            cost, slopes = over_groups(over_rows(cost)), over_groups(over_rows(slopes))
            if slopes_too:
                for e in range(held):
                    gradient[e] = over_groups(gradient[e])
            place = thread % WARP
            for warp in range(warps):
                cuda.syncthreads()
                if thread // WARP == warp and place < lanes:
                    if slopes_too:
                        for e in range(held):
                            if warp == 0:
                                gathered[e * lanes + place] = gradient[e]
                            else:
                                gathered[e * lanes + place] += gradient[e]
                    if place == 0:
                        if warp == 0:
                            gathered[entries], gathered[entries + 1] = slopes, cost
                        else:
                            gathered[entries] += slopes
                            gathered[entries + 1] += cost
            cuda.syncthreads()
            cost, slopes = gathered[entries + 1], gathered[entries]
        if slopes_too and group == 0:
            for r in range(loads):
                j = (lane + lanes * r) * vector
                if j < d:
                    for v in range(vector):
                        e = r * vector + v
                        out[j + v] = gradient[e] if wide else gathered[e * lanes + lane]
        if thread == 0:
            out[d + 1] = cost
            if slopes_too:
                out[d] = slopes

    return one_pass
