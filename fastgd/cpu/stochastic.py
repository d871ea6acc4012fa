"""Stochastic loops over a given visiting order: one update a row, or one a batch of rows.

The order is an input, so that every implementation visits the same rows. All state is in the caller's
arrays: a call visits order[first:last], and the next call goes on from there. Parameters are in the
dtype of the computation, as in torch.

Both kinds of updates take the same arguments and are called by address: the loop over epochs is compiled
once for all of them, and every caller runs the same machine code.
"""

import functools
import math

import numpy as np

from ..compile.functions import call, inlined, kernel, leaf, with_parameter
from ..formulas.updates import Rule, soft
from ..losses import CoupledLoss, Loss
from ..settings import COST, EPOCHS, L1, L2, LAST, LEARN, NOT_FINITE, RUNNING, SCALE, P
from .dense import rows_pass, scratch_maker
from .machine import team
from .machine.prefetch import ask_for_ordered, ask_for_rows
from .machine.vector_math import vectorised
from .order import fill_order, row_at

#: Rows that a loop prefetches while it works on the same number; 8 and 16 are slower at d=64. A prefetch
#: among the updates would keep the compiler from using registers.
_AHEAD = 4
#: Shuffled short rows arrive after four updates: prefetch so many bytes, but at most so many rows.
_BYTES_AHEAD, _MOST_AHEAD = 4096, 32
#: Rows whose losses are summed in one vectorised loop.
BLOCK = 256

#: A part of a batch is not worth a thread below so many operations, about 4 µs.
_LEAST = 50_000


@functools.cache
def sum_of_losses(loss: Loss):
    """The compiled ``(z, y, weight, p, order, first, m)``: the weighted sum of the losses of m rows.

        name        dir     shape        meaning
        z           IN      (k, m)       raw predictions of the rows order[first : first + m]
        m           IN      int          number of rows

    The other arguments are described in `fastgd.cpu`.
    """
    value = with_parameter(vectorised(loss.value))

    @inlined
    def losses_met(z, y, weight, p, order, first, m):
        cost = 0.0
        for c in range(z.shape[0]):
            met = z.dtype.type(0)
            for i in range(m):
                row = row_at(order, first + i)
                w = weight[row] if weight.shape[0] > 0 else z.dtype.type(1)
                met += w * value(z[c, i], y[c, row], p)
            cost += met
        return cost

    return losses_met


@functools.cache
def cost_at_zero(loss: Loss):
    """The compiled ``(y, weight, p, intercept)``: the summed losses where every coefficient is zero.

    It reads no row of x. The arguments are described in `fastgd.cpu`.
    """
    value, losses_met = with_parameter(vectorised(loss.value)), sum_of_losses(loss)

    @kernel
    def cost_of_intercept(y, weight, p, intercept):
        k, n = y.shape
        cost = 0.0
        for c in range(k):
            z = intercept[c]
            zero, one = value(z, y.dtype.type(0), p), value(z, y.dtype.type(1), p)
            labels, mass, ones = 0, 0.0, 0.0
            for i in range(n):
                w = weight[i] if weight.shape[0] > 0 else y.dtype.type(1)
                labels += y[c, i] == 0 or y[c, i] == 1
                mass += w
                ones += w * y[c, i]
            if labels == n:  # only two values: 0.4 and not 3.5 ns a row
                cost += (mass - ones) * zero + ones * one
                continue
            predictions = np.full((1, BLOCK), z)
            given = np.empty(0, np.int32)
            for start in range(0, n, BLOCK):
                m = min(BLOCK, n - start)
                cost += losses_met(predictions, y[c : c + 1], weight, p, given, start, m)
        return cost

    return cost_of_intercept


@functools.cache
def per_sample(loss: Loss):
    """The compiled loop of one update a row, for plain gradient descent.

    The arguments are those of `minibatch`; those of the optimizer, the team and the batch are not read.
    Where `first` is a multiple of `BLOCK`, splitting a loop into calls changes no bit.

    The loop does two rows at a time, with an update a row: for u = lr·slope of the first row, the
    prediction of the second is x₂·(w − u·x₁) = x₂·w − u·(x₂·x₁). Its long dot product doesn't wait for
    the first update, and coefficients are loaded and stored once for both: 7 ns a row instead of 12 at
    d=8. Four rows at a time, or a look-ahead of one row for every row, were no faster.
    """
    # Each row waits for the one before, so latency counts: a logistic update at d=8 took 27 ns with
    # libm's exp and 37 with the longer chain of the vector code.
    slope = with_parameter(leaf(loss.slope))
    losses_met = sum_of_losses(loss)

    @inlined
    def one_output(x, y, weight, order, w, b, z, settings, lr, start, stop):
        d = w.shape[0]
        zero, one = w.dtype.type(0), w.dtype.type(1)
        l2, scale, learn, p = settings[L2], settings[SCALE], settings[LEARN], settings[P]
        shrink = one - lr * l2
        ahead = _AHEAD
        if order.shape[0] > 0:
            ahead = min(_MOST_AHEAD, max(_AHEAD, _BYTES_AHEAD // (d * x.itemsize)))
        for group in range(start, stop, ahead):
            group_stop = min(group + ahead, stop)
            if order.shape[0] > 0:
                ask_for_ordered(x, order, group_stop, ahead)
            else:
                ask_for_rows(x, order, group_stop, ahead)
            pairs = group + (group_stop - group) // 2 * 2
            for at in range(group, pairs, 2):
                row1, row2 = row_at(order, at), row_at(order, at + 1)
                step1, step2 = lr * scale, lr * scale
                if weight.shape[0] > 0:
                    step1 *= weight[row1]
                    step2 *= weight[row2]
                p1, p2, product = zero, zero, learn
                for j in range(d):
                    x1, x2 = x[row1, j], x[row2, j]
                    p1 += x1 * w[j]
                    p2 += x2 * w[j]
                    product += x1 * x2
                z1 = p1 + b
                u1 = step1 * slope(z1, y[row1], p)
                z2 = (shrink * p2 + b) - u1 * product
                u2 = step2 * slope(z2, y[row2], p)
                z[at - start], z[at + 1 - start] = z1, z2
                if l2 == zero:
                    for j in range(d):
                        w[j] -= u1 * x[row1, j] + u2 * x[row2, j]
                else:
                    for j in range(d):
                        w[j] = shrink * (shrink * w[j] - u1 * x[row1, j]) - u2 * x[row2, j]
                b -= learn * (u1 + u2)
            for at in range(pairs, group_stop):
                row = row_at(order, at)
                step = lr * scale * weight[row] if weight.shape[0] > 0 else lr * scale
                product = zero
                for j in range(d):
                    product += x[row, j] * w[j]
                z[at - start] = product + b
                u = step * slope(product + b, y[row], p)
                for j in range(d):
                    w[j] = shrink * w[j] - u * x[row, j]
                b -= learn * u
        return b

    @kernel
    def updates(
        members, backoff, x, y, weight, order, coef, intercept, settings, rates, hyper, low_hyper, memory,
        mean, totals, met, batch_size, t, first, last,
    ):  # fmt: skip
        k, d = coef.shape
        z = np.empty((k, BLOCK), coef.dtype)
        # An array of the kernel is aligned to a vector; NumPy's is not, and a vector of coefficients
        # that is stored across two cache lines and loaded again made an update of d=8 take 42 ns, not 7.
        w = np.empty(d, coef.dtype)
        for start in range(first, last, BLOCK):
            stop = min(start + BLOCK, last)
            for c in range(k):  # outputs are independent
                for j in range(d):
                    w[j] = coef[c, j]
                intercept[c] = one_output(
                    x, y[c], weight, order, w, intercept[c], z[c], settings, rates[c], start,
                    stop,
                )  # fmt: skip
                for j in range(d):
                    coef[c, j] = w[j]
            met[0] += losses_met(z, y, weight, settings[P], order, start, stop - start)
        return 0.0

    return updates


@leaf
def parts_of(m, d, k):
    """The number of parts of a batch of m rows: one for each thread that is worth its start."""
    return max(1, min(team.PARTS, m // 32, m * k * (4 * d + 20) // _LEAST))


@inlined
def _bounds(n, part, parts):
    """Where one of so many parts of n begins and ends: whole vectors but for the last one."""
    first, stop = n * part // parts // 16 * 16, n * (part + 1) // parts // 16 * 16
    return first, (n if part == parts - 1 else stop)


@functools.cache
def minibatch(loss: Loss | CoupledLoss, shuffled: bool, rule: Rule, averaging: bool):
    """The compiled loop of one update a batch: what one member of a team of threads does.

    ``(members, backoff, x, y, weight, order, coef, intercept, settings, rates, hyper, low_hyper, memory,
    mean, totals, met, batch_size, t, first, last)``

    A batch is two phases: the gradient of a part of its rows, then the step of a part of the parameters.
    The parts depend on shapes alone.

        name        dir     shape                    meaning
        members     IN OUT  (SIZE,) int64            `team.counters()`
        backoff     IN      int                      `atomics.backoff_address()`
        coef        IN OUT  (k, d)                   coefficients
        intercept   IN OUT  (k,)                     intercepts
        rates       IN      (k,)                     learning rates of this epoch
        low_hyper   IN      (HYPER,)                 `hyper` in the dtype of the computation
        mean        IN OUT  (k, d+1) float64         mean of the parameters, if `averaging`
        totals      OUT     (PARTS, k, d+2) float64  scratch: the sums of each part
        met         IN OUT  (1,) float64             sum of the losses before the updates
        batch_size  IN      int                      rows in a batch
        t           IN      float                    number of updates before
        first       IN      int                      the start of a batch

    The other arguments are described in `fastgd.cpu`. The result is a meaningless float, which `call`
    needs.
    """
    one_pass, new_scratch = rows_pass(loss, ordered=shuffled), scratch_maker(loss)
    scales, step, slots = leaf(rule.scales), leaf(rule.step), rule.slots
    shrink = leaf(soft)

    @inlined
    def gradient_part(
        x, y, weight, p, order, coef, intercept, scratch, gradient, totals, part, parts, first, last
    ):
        k, d = coef.shape
        for c in range(k):
            for j in range(d + 2):
                totals[part, c, j] = 0.0
        n = last - first
        low, high = first + n * part // parts, first + n * (part + 1) // parts
        none = coef[0, :0]
        one_pass(
            x,
            order,
            y,
            weight,
            p,
            none,
            coef,
            intercept,
            low,
            high,
            0,
            scratch,
            gradient,
            totals[part],
        )

    @inlined
    def move_part(
        coef, intercept, settings, rates, hyper, low_hyper, memory, mean, totals, met, part, parts,
        factor, t,
    ):  # fmt: skip
        k, d = coef.shape
        T = coef.dtype.type
        zero, l1, l2 = T(0), settings[L1], settings[L2]
        low, high = _bounds(d, part, parts)
        for c in range(k):
            u64, v64, w64 = scales(np.float64(rates[c]), t, hyper)
            u, v, w = T(u64), T(v64), T(w64)
            own, sums = coef[c, low:high], totals[0, c, low:high]
            for other in range(1, parts):
                more = totals[other, c, low:high]
                for j in range(own.shape[0]):
                    sums[j] += more[j]
            if slots > 0:
                m0, m1, m2 = memory[0, c, low:high], memory[1, c, low:high], memory[2, c, low:high]
                for j in range(own.shape[0]):
                    g = factor * T(sums[j]) + l2 * own[j]
                    own[j], m0[j], m1[j], m2[j] = step(
                        own[j], g, u, v, w, low_hyper, m0[j], m1[j], m2[j]
                    )
            else:
                for j in range(own.shape[0]):
                    g = factor * T(sums[j]) + l2 * own[j]
                    own[j] = step(own[j], g, u, v, w, low_hyper, zero, zero, zero)[0]
            if l1 > zero:
                for j in range(own.shape[0]):
                    own[j] = shrink(own[j], rates[c] * l1)
            if part == parts - 1:
                slopes = 0.0
                for other in range(parts):
                    slopes += totals[other, c, d]
                    met[0] += totals[other, c, d + 1]
                if settings[LEARN] != zero:
                    g = factor * T(slopes)
                    if slots > 0:
                        intercept[c], memory[0, c, d], memory[1, c, d], memory[2, c, d] = step(
                            intercept[c], g, u, v, w, low_hyper,
                            memory[0, c, d], memory[1, c, d], memory[2, c, d],
                        )  # fmt: skip
                    else:
                        intercept[c] = step(intercept[c], g, u, v, w, low_hyper, zero, zero, zero)[
                            0
                        ]
                if averaging:
                    mean[c, d] += (intercept[c] - mean[c, d]) / t
            if averaging:
                average = mean[c, low:high]
                for j in range(own.shape[0]):
                    average[j] += (own[j] - average[j]) / t

    @kernel
    def updates(
        members, backoff, x, y, weight, order, coef, intercept, settings, rates, hyper, low_hyper, memory,
        mean, totals, met, batch_size, t, first, last,
    ):  # fmt: skip
        k, d = coef.shape
        scratch, gradient = new_scratch(x, coef, False)
        scale, by_rows = settings[SCALE], settings[LAST]
        alone = parts_of(batch_size, d, k) == 1
        begun = 0  # parts of the phases before
        mine = 0 if alone else team.take(members)
        for batch in range(first, last, batch_size):
            stop = min(batch + batch_size, last)
            factor = scale
            if by_rows != coef.dtype.type(0):
                factor = scale / coef.dtype.type(stop - batch)
            t += 1.0
            if alone:
                gradient_part(
                    x,
                    y,
                    weight,
                    settings[P],
                    order,
                    coef,
                    intercept,
                    scratch,
                    gradient,
                    totals,
                    0,
                    1,
                    batch,
                    stop,
                )
                move_part(
                    coef, intercept, settings, rates, hyper, low_hyper, memory, mean, totals, met, 0,
                    1, factor, t,
                )  # fmt: skip
                continue
            parts = parts_of(stop - batch, d, k)
            while mine < begun + parts:
                part = mine - begun
                team.wait_for(members, begun, backoff)
                gradient_part(
                    x, y, weight, settings[P], order, coef, intercept, scratch, gradient, totals, part,
                    parts, batch, stop,
                )  # fmt: skip
                team.finish(members)
                mine = team.take(members)
            begun += parts
            while mine < begun + parts:
                part = mine - begun
                team.wait_for(members, begun, backoff)
                move_part(
                    coef, intercept, settings, rates, hyper, low_hyper, memory, mean, totals, met,
                    part, parts, factor, t,
                )  # fmt: skip
                team.finish(members)
                mine = team.take(members)
            begun += parts
        return 0.0

    return updates


@kernel
def run_updates(update, arguments):
    """Call the updates at an address with their tuple of arguments: what one thread of a team does."""
    return call(update, arguments)


@kernel
def end_of_epoch(
    moving, moving_intercept, mean, met, scale, coef, intercept, past, state, costs, path
):
    """Store the parameters, the cost, the path and the count of an epoch; returns the status.

        name              dir     shape               meaning
        moving            IN      (k, d)              coefficients that the updates moved
        moving_intercept  IN      (k,)                intercepts that the updates moved
        mean              IN      (k, d+1) or (0, …)  mean of the parameters: the result, if given
        met               IN      (1,) float64        sum of the losses of the epoch
        scale             IN      scalar              turns summed losses into the cost
        coef              OUT     (k, d) float64      coefficients of the result
        intercept         OUT     (k,) float64        intercepts of the result
        past              OUT     (2, k, d+1)         results of the two epochs before

    The other arguments are described in `fastgd.cpu`. If a number is not finite, nothing is stored.
    """
    k, d = coef.shape
    epoch, cost = int(state[EPOCHS]), met[0] * scale
    finite = math.isfinite(cost)
    for c in range(k):
        finite = finite and math.isfinite(moving_intercept[c])
        for j in range(d):
            finite = finite and math.isfinite(moving[c, j])
    if not finite:
        return NOT_FINITE
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
    costs[epoch], state[COST] = cost, math.nan
    state[EPOCHS] = epoch + 1
    return RUNNING


@kernel
def stochastic_epochs(
    update,
    arguments,
    rates,
    kind,
    seed,
    scale,
    coef,
    intercept,
    past,
    state,
    costs,
    path,
    last_epoch,
):
    """The loop over epochs up to `last_epoch` without a return to Python; returns the status.

        name        dir     shape            meaning
        update      IN      int              address of the compiled updates
        arguments   IN OUT  tuple            arguments of the updates for all rows of the first epoch
        kind        IN      int              index into `order.KINDS`
        seed        IN      uint64           `order.seed_number` of the order's seed
        scale       IN      scalar           turns summed losses into the cost
        last_epoch  IN      int              number of epochs at the end

    The other arguments are those of `end_of_epoch`; `rates` begins at the first epoch of the call.
    """
    (
        members, backoff, x, y, weight, order, moving, moving_intercept, settings, _, hyper, low_hyper,
        memory, mean, totals, met, batch_size, t, first, last,
    ) = arguments  # fmt: skip
    first_epoch = int(state[EPOCHS])
    for epoch in range(first_epoch, last_epoch):
        if kind != 0:
            fill_order(order, kind, seed, epoch)
        for i in range(members.shape[0]):
            members[i] = 0
        met[0] = 0.0
        lr = rates[epoch - first_epoch if rates.shape[0] > 1 else 0]
        call(
            update,
            (
                members, backoff, x, y, weight, order, moving, moving_intercept, settings, lr, hyper,
                low_hyper, memory, mean, totals, met, batch_size, t, first, last,
            ),
        )  # fmt: skip
        t += np.float64((last + batch_size - 1) // batch_size)
        status = end_of_epoch(
            moving, moving_intercept, mean, met, scale, coef, intercept, past, state, costs, path
        )
        if status != RUNNING:
            return status
    return RUNNING
