"""Stochastic loops over a given visiting order: one update a row, or one a batch of rows.

The order is an input, so that every implementation visits the same rows. All state is in the caller's
arrays: a call visits order[first:last], and the next call goes on from there. Parameters are in the
dtype of the computation, as in torch.

Both kinds of updates take the same arguments and are called by address: the loop over epochs is compiled
once for all of them, and every caller runs the same machine code.
"""

import functools
import math
from typing import Any

import numpy as np

from ..compile.functions import call, kernel, leaf, piece, pointer, with_parameter
from ..losses import Loss
from ..settings import COST, EPOCHS, L2, LAST, LEARN, NOT_FINITE, RUNNING, SCALE, P
from . import dense
from .block_losses import WEIGHT, Z, block_scratch
from .machine import team
from .machine.prefetch import LINE, prefetch
from .machine.tabulated import tabulated
from .machine.views import array_at, view

#: Rows are prefetched so many bytes, and at most so many rows, before their update.
_BYTES_AHEAD, _MOST_AHEAD = 4096, 32
#: So many bytes, and a pair or two pairs of rows, are prefetched together: among the updates of a pair a
#: prefetch would keep the compiler from using registers.
_BYTES_TOGETHER, _TOGETHER = 1024, 4
#: Bytes of a row from which on this pays in the given order too. Shorter rows are prefetched by the
#: processor itself: once more took 2 to 5 ns a row of up to 16 columns.
_LONG = 256
#: Rows whose losses are summed before they are added to the others.
BLOCK = 256

#: A part of a batch is not worth a thread below so many operations, about 4 µs.
_LEAST = 50_000


@functools.cache
def per_sample(loss: Loss, one_column: bool):
    """The compiled loop of one update a row, for plain gradient descent; `one_column` is for d = 1.

    The arguments are those of `minibatch`; those of the pass, the optimizer, the team, the mean and the
    batch are not read. Where `first` is a multiple of `BLOCK`, calls that split a loop change no bit.

    The loop does two rows at a time, with an update a row: for u = lr·slope of the first row, the
    prediction of the second is x₂·(w − u·x₁) = x₂·w − u·(x₂·x₁). Its long dot product doesn't wait for
    the first update, and coefficients are loaded and stored once for both: 7 ns a row instead of 12 at
    d=8. Four rows at a time, or a look-ahead of one row for every row, were no faster.
    """
    # Each row waits for the one before, so latency counts: one column of a logistic loss takes 24 ns a
    # row with libm's exp, and 18 from a table. The loss of a row stands right after its slope: the
    # compiler finds what they share, and the processor has time for the rest while the next row waits.
    value, slope = (with_parameter(tabulated(f)) for f in (loss.value, loss.slope))

    @piece
    def updates(
        one_pass, losses, step, members, backoff, x, y, weight, offset, order, coef, intercept, settings,
        rates, hyper, low_hyper, memory, mean, totals, loss_sums, gather, rows_at, center, block, own_y,
        scratch, gradient, batch_size, at, t, first, last,
    ):  # fmt: skip
        # One column is no loop, and its coefficient stays in a register: 4.2 ns a row of a squared error,
        # not 6.6.
        k, d = coef.shape[0], 1 if one_column else coef.shape[1]
        T = coef.dtype.type
        zero, one = T(0), T(1)
        l2, scale, learn, p = settings[L2], settings[SCALE], settings[LEARN], settings[P]
        # An array of the kernel is aligned to a vector; NumPy's is not, and a vector of coefficients
        # that is stored across two cache lines and loaded again made an update of d=8 take 42 ns, not 7.
        w = np.empty(d, coef.dtype)
        ordered = order.shape[0] > 0
        prefetches = ordered or d * x.itemsize >= _LONG
        lines = (d * x.itemsize + LINE - 1) // LINE
        ahead = min(_MOST_AHEAD, max(2, _BYTES_AHEAD // (d * x.itemsize)))
        together = 2 if d * x.itemsize * _TOGETHER > _BYTES_TOGETHER else _TOGETHER
        if not prefetches:
            together = BLOCK
        for block_start in range(first, last, BLOCK):
            m = min(BLOCK, last - block_start)
            for c in range(k):  # outputs are independent
                if weight.shape[0] > 0:
                    for i in range(m):
                        row = order[block_start + i] if ordered else block_start + i
                        scratch[0, WEIGHT, i] = weight[row]
                if offset.shape[0] > 0:
                    for i in range(m):
                        row = order[block_start + i] if ordered else block_start + i
                        scratch[0, Z, i] = offset[min(c, offset.shape[0] - 1), row]
                lr, b = rates[at, c], intercept[c]
                shrink, total = one - lr * l2, 0.0
                for j in range(d):
                    w[j] = coef[c, j]
                for group in range(0, m, together):
                    group_stop = min(group + together, m)
                    soon = block_start + group + ahead
                    for i in range(soon, min(soon + together, last) if prefetches else soon):
                        row = order[i] if ordered else i
                        if ordered:  # its target is in no cache line of the one before
                            prefetch(y, c, row * y.itemsize // LINE)
                        for line in range(lines):
                            prefetch(x, row, line)
                    pairs = group + (group_stop - group) // 2 * 2
                    for i in range(group, pairs, 2):
                        row1, row2 = block_start + i, block_start + i + 1
                        if ordered:
                            row1, row2 = order[row1], order[row2]
                        first_row, second_row = view(x, row1 * d, (d,)), view(x, row2 * d, (d,))
                        p1, p2, product = zero, zero, learn
                        for j in range(d):
                            x1, x2 = T(first_row[j]), T(second_row[j])
                            p1 += x1 * w[j]
                            p2 += x2 * w[j]
                            product += x1 * x2
                        z1 = p1 + (b + scratch[0, Z, i])
                        step1 = lr * scale * scratch[0, WEIGHT, i]
                        y1, y2 = y[c, row1], y[c, row2]
                        u1 = step1 * slope(z1, y1, p)
                        total += scratch[0, WEIGHT, i] * value(z1, y1, p)
                        z2 = (shrink * p2 + (b + scratch[0, Z, i + 1])) - u1 * product
                        step2 = lr * scale * scratch[0, WEIGHT, i + 1]
                        u2 = step2 * slope(z2, y2, p)
                        total += scratch[0, WEIGHT, i + 1] * value(z2, y2, p)
                        if l2 == zero:
                            for j in range(d):
                                w[j] -= u1 * first_row[j] + u2 * second_row[j]
                        else:
                            for j in range(d):
                                w[j] = (
                                    shrink * (shrink * w[j] - u1 * first_row[j])
                                    - u2 * second_row[j]
                                )
                        b -= learn * (u1 + u2)
                    for i in range(pairs, group_stop):
                        row = order[block_start + i] if ordered else block_start + i
                        product = b + scratch[0, Z, i]
                        for j in range(d):
                            product += x[row, j] * w[j]
                        total += scratch[0, WEIGHT, i] * value(product, y[c, row], p)
                        u = lr * scale * scratch[0, WEIGHT, i] * slope(product, y[c, row], p)
                        for j in range(d):
                            w[j] = shrink * w[j] - u * x[row, j]
                        b -= learn * u
                intercept[c] = b
                loss_sums[c, 1] += total
                for j in range(d):
                    coef[c, j] = w[j]
        return 0.0

    return updates


@leaf
def parts_of(m, d, k):
    """The number of parts of a batch of m rows: one for each thread that is worth its start."""
    return max(1, min(team.PARTS, m // 32, m * k * (4 * d + 20) // _LEAST))


@piece
def minibatch(
    one_pass, losses, step, members, backoff, x, y, weight, offset, order, coef, intercept, settings,
    rates, hyper, low_hyper, memory, mean, totals, loss_sums, gather, rows_at, center, block, own_y,
    scratch, gradient, batch_size, at, t, first, last,
):  # fmt: skip
    """One update a batch: what one member of a team of threads does of them.

    A batch is two phases: the gradient of a part of its rows, then the step of a part of the parameters.
    The parts depend on shapes alone. `x` is read at its address, `rows_at`.

        name        dir     shape                    meaning
        one_pass    IN      int                      address of `dense.rows_pass`
        losses      IN      int                      address of `block_losses`
        step        IN      int                      address of `advance.step`
        members     IN OUT  (SIZE,) int64            `team.counters()`
        backoff     IN      int                      `atomics.backoff_address()`
        coef        IN OUT  (k, d)                   coefficients
        intercept   IN OUT  (k,)                     intercepts
        low_hyper   IN      (HYPER,)                 `hyper` in the dtype of the computation
        mean        IN OUT  (k, d+1) float64, (0, …) mean of the parameters, if it is wanted
        totals      OUT     (PARTS, k, d+2) float64  scratch: the sums of each part
        loss_sums   IN OUT  (k, 2) float64           in its last column the sum of the losses, each before
                                                     the update of its row
        gather      IN      int                      address of `dense.gather`; 0: x is read in place
        rows_at     IN      int                      address of x
        center      IN      (d,)                     zeros
        block, own_y, scratch, gradient              of `dense.Scratch`, one of each for every part
        batch_size  IN      int                      rows in a batch
        at          IN      int                      row of `rates` for this epoch
        t           IN      float                    number of updates before
        first       IN      int                      the start of a batch

    The other arguments are described in `fastgd.cpu`.
    """
    k, d = coef.shape
    T = coef.dtype.type
    rows = array_at(rows_at, (y.shape[1], d), None, T)  # not read, if `gather`
    alone = parts_of(batch_size, d, k) == 1
    begun = 0  # parts of the phases before
    mine = 0
    if not alone:
        mine = team.take(members)
    for start in range(first, last, batch_size):
        stop = min(start + batch_size, last)
        m = stop - start
        factor = settings[SCALE]
        if settings[LAST] != T(0):
            factor /= T(m)
        t += 1.0
        parts = 1 if alone else parts_of(m, d, k)
        # Alone, a thread does all parts in their order, and looks at no counter.
        part = 0 if alone else mine - begun
        while part < parts:
            if not alone:
                team.wait_for(members, begun, backoff)
            for c in range(k):
                for j in range(d + 2):
                    totals[part, c, j] = 0.0
            call(
                one_pass, rows, rows_at, order, y, weight, offset, settings[P], center, coef,
                intercept, start + m * part // parts, start + m * (part + 1) // parts, 0, losses, True,
                gather, block[part], own_y[part], scratch[part], gradient[part], totals[part],
            )  # fmt: skip
            part += 1
            if not alone:
                team.finish(members)
                mine = team.take(members)
                part = mine - begun
        begun += parts
        part = 0 if alone else mine - begun
        while part < parts:
            if not alone:
                team.wait_for(members, begun, backoff)
            # Whole vectors but for the last part.
            low, high = d * part // parts // 16 * 16, d * (part + 1) // parts // 16 * 16
            if part == parts - 1:
                high = d
                for c in range(k):
                    for other in range(parts):
                        loss_sums[c, 1] += totals[other, c, d + 1]
            call(
                step, coef, intercept, totals, parts, factor, settings, rates, at, t, hyper, low_hyper,
                memory, low, high,
            )  # fmt: skip
            for c in range(mean.shape[0]):
                for j in range(low, high):
                    mean[c, j] += (coef[c, j] - mean[c, j]) / t
                if high == d:
                    mean[c, d] += (intercept[c] - mean[c, d]) / t
            part += 1
            if not alone:
                team.finish(members)
                mine = team.take(members)
                part = mine - begun
        begun += parts
    return 0.0


@piece
def end_of_epoch(
    moving, moving_intercept, mean, loss_sums, scale, coef, intercept, past, state, costs, path
):
    """Store the parameters, the cost, the path and the count of an epoch; returns the status as a float.

        name              dir     shape               meaning
        moving            IN      (k, d)              coefficients that the updates moved
        moving_intercept  IN      (k,)                intercepts that the updates moved
        mean              IN      (k, d+1) or (0, …)  mean of the parameters: the result, if given
        loss_sums         IN      (k, 2) float64      in its last column the sum of the losses
        scale             IN      scalar              turns summed losses into the cost
        coef              IN OUT  (k, d) float64      coefficients of the result
        intercept         IN OUT  (k,) float64        intercepts of the result
        past              IN OUT  (2, k, d+1)         results of the two epochs before

    The other arguments are described in `fastgd.cpu`. If a number is not finite, nothing is stored.
    The cost of a mean of parameters, which met no losses, is not known.
    """
    k, d = coef.shape
    epoch, cost = int(state[EPOCHS]), 0.0
    for c in range(k):
        cost += loss_sums[c, 1]
    cost *= scale
    finite = math.isfinite(cost)
    for c in range(k):
        finite = finite and math.isfinite(moving_intercept[c])
        for j in range(d):
            finite = finite and math.isfinite(moving[c, j])
    if not finite:
        return float(NOT_FINITE)
    for c in range(k):
        if epoch > 0:
            for j in range(d + 1):
                past[1, c, j] = past[0, c, j]
            past[0, c, d] = intercept[c]
            for j in range(d):
                past[0, c, j] = coef[c, j]
        intercept[c] = moving_intercept[c]
        for j in range(d):
            coef[c, j] = moving[c, j]
        if path.shape[0] > 0:
            for j in range(d):
                path[epoch, c, j] = moving[c, j]
    for c in range(mean.shape[0]):
        intercept[c] = mean[c, d]
        for j in range(d):
            coef[c, j] = mean[c, j]
    costs[epoch], state[COST] = cost, cost if mean.shape[0] == 0 else math.nan
    state[EPOCHS] = epoch + 1
    return float(RUNNING)


@kernel
def called(function, arguments):
    """The result of the piece at an address, for Python."""
    return call(function, *arguments)


@kernel
def stochastic_epochs(
    updates, fill_order, end_of_epoch, kind, seed, one_pass, losses, step, members, backoff, x, y, weight,
    offset, order, moving, moving_intercept, settings, rates, hyper, low_hyper, memory, mean, totals,
    loss_sums, gather, rows_at, center, block, own_y, scratch, gradient, batch_size, t, scale, coef,
    intercept, past, state, costs, path, last_epoch,
):  # fmt: skip
    """Epochs up to `last_epoch` in one call, by one thread; returns the status.

        name          dir  shape     meaning
        updates       IN   int       address of `per_sample` or `minibatch`
        fill_order    IN   int       address of `order.fill_order`
        end_of_epoch  IN   int       address of `end_of_epoch`
        kind          IN   int       index into `order.KINDS`
        seed          IN   uint64    `order.seed_number` of the order's seed
        t             IN   float     number of updates before
        last_epoch    IN   int       number of epochs at the end

    The arguments from `one_pass` to `batch_size` are those of `minibatch`, those from `scale` on those of
    `end_of_epoch`; `rates` begins at the first epoch of the call.
    """
    first_epoch, n = int(state[EPOCHS]), y.shape[1]
    for epoch in range(first_epoch, last_epoch):
        if kind != 0:
            call(fill_order, order, kind, seed, epoch)
        for i in range(members.shape[0]):
            members[i] = 0
        for c in range(loss_sums.shape[0]):
            loss_sums[c, 1] = 0.0
        at = epoch - first_epoch if rates.shape[0] > 1 else 0
        call(
            updates, one_pass, losses, step, members, backoff, x, y, weight, offset, order, moving,
            moving_intercept, settings, rates, hyper, low_hyper, memory, mean, totals, loss_sums,
            gather, rows_at, center, block, own_y, scratch, gradient, batch_size, at, t, 0, n,
        )  # fmt: skip
        t += float((n + batch_size - 1) // batch_size)
        status = call(
            end_of_epoch, moving, moving_intercept, mean, loss_sums, scale, coef, intercept, past,
            state, costs, path,
        )  # fmt: skip
        if status != RUNNING:
            return int(status)
    return RUNNING


@functools.cache
def address_of_updates(
    updates: Any, order_dtype: np.dtype, x_dtype: np.dtype, dtype: np.dtype
) -> int:
    """The address of `per_sample` of a loss, or of `minibatch`, for these dtypes."""
    one, two, three = (np.empty((1,) * rank, dtype) for rank in (1, 2, 3))
    x, y, vector = (
        dense.unknown(*given) for given in (((1, 1), x_dtype), ((1, 1), dtype), (1, dtype))
    )
    hyper, mean, totals, order = (
        np.empty(1),
        np.empty((1, 1)),
        np.empty((1, 1, 1)),
        np.empty(0, order_dtype),
    )
    return pointer(
        updates, 0, 0, 0, team.counters(), 0, x, y, vector, y, order, two, one, one, two, hyper, one,
        three, mean, totals, mean, 0, 0, vector, three, three, three, three, 1, 0, 0.0, 0, 0,
    )  # fmt: skip


@functools.cache
def address_of_end(dtype: np.dtype) -> int:
    """The address of `end_of_epoch`."""
    one, two, three = (np.empty((1,) * rank) for rank in (1, 2, 3))
    moving = np.empty((1, 1), dtype), np.empty(1, dtype)
    return pointer(end_of_epoch, *moving, two, two, 0.0, two, one, three, one, one, three)


def scratch(dtype: np.dtype) -> dense.Scratch:
    """The scratch of `per_sample`: weights and offsets of a block."""
    empty, of_block = np.empty((0, 0, 0), dtype), block_scratch(1, 0, BLOCK, dtype)
    of_block[0, Z] = 0
    return dense.Scratch(empty, empty, of_block, empty)
