"""One update a row for any loss, with penalties, schedules and averages as scikit-learn defines them.

Coefficients are kept as size·v, so that an l2 penalty changes one number (Bottou, 2012, Stochastic
gradient descent tricks). The l1 penalty is cumulative (Tsuruoka, Tsujii and Ananiadou, 2009): `limit` is
what each coefficient could have lost so far, `lost` what it has, and a row brings its columns up to date.
The mean of the coefficients is (mean + a·v)/b, so that an update changes the columns of its row only.

`epochs` is compiled once for all. It calls by address what depends on the loss (`step_of`, `values_of`),
the schedule (`rates_of`), and the kind of rows (`dense_rows` or `sparse_rows`, and what they call).
Predictions, losses and all numbers of a row are float64, coefficients and x are in the dtype of x.

These arguments have one meaning in all pieces:

    name         dir     shape               meaning
    rows_at      IN      int                 address of x (n, d), or of the `sparse.Header` of sparse rows
    target       IN      (n, 2) float64      y, and the weight of the row
    order        IN      (n,) int32          the row visited at each place
    v            IN OUT  (d,)                coefficients by size
    lost         IN OUT  (d,) or (0,)        what the l1 penalty has taken from each; (0,): no l1 penalty
    mean         IN OUT  (d,) or (0,)        see above; (0,): no average
    state        IN OUT  (STATE,) float64    see below
    settings     IN      record              of `settings_of`
    block        IN OUT  (4, BLOCK) float64  step sizes, squared norms, predictions and targets of a block
    first        IN      int                 place in `order` of the first row of the block
    m            IN      int                 number of rows of the block
"""

import copy
import functools
import math
from typing import Any

import numpy as np

from ..compile.functions import call, kernel, leaf, piece, pointer, record, with_parameter
from ..losses import Loss
from .machine.prefetch import LINE, prefetch
from .machine.tabulated import tabulated
from .machine.vector_math import vectorised
from .machine.views import array_at, view
from .sparse import IN_ORDER, Header, arrays_of
from .xorshift_order import next_order

#: Places of `state`: the intercept; `size`; the number of updates, from 1; `limit`; the squared norm and
#: the l1 norm of the coefficients; a and b of the mean; the mean intercept; the step size of constant
#: schedules; sums of the losses and the penalties of an epoch; epochs; the least objective so far, and
#: epochs since it fell.
INTERCEPT, SIZE, UPDATES, LIMIT, SQUARES, ABSOLUTE, A, B, MEAN_INTERCEPT, ETA = range(10)
LOSSES, PENALTIES, EPOCHS, LEAST, IDLE, STATE = range(10, 16)
#: Rows of `block`, and its columns.
RATE, SQUARE, Z, Y = range(4)
BLOCK = 256
#: What `epochs` returns.
RUNNING, STOPPED, NOT_FINITE = range(3)
#: Bytes of the rows of a block: whose norms are wanted are read twice, the second time from a cache.
_BLOCK_BYTES = 1 << 15
#: Rows are prefetched so many bytes, and at most so many rows, before their update.
_BYTES_AHEAD, _MOST_AHEAD = 4096, 32
#: Slopes are cut at ± this.
_STEEPEST = 1e12


def constant(t, s, eta):
    """η, for "constant", "adaptive", "pa1" and "pa2"."""
    return eta


def optimal(t, s, eta):
    """1/(α·(t₀ + t − 1)), Bottou's."""
    return 1.0 / (s.alpha * (s.t0 + t - 1.0))


def inverse_scaling(t, s, eta):
    """η₀/t^p."""
    return s.eta0 * math.exp(-s.power_t * math.log1p(t - 1.0))


@functools.cache
def rates_of(schedule: Any):
    """The compiled ``(block, t, m, settings, eta)``: the step sizes of m updates from number t on."""
    rate = vectorised(schedule)

    @piece
    def rates(block, t, m, settings, eta):
        for i in range(m):
            block[RATE, i] = rate(t + i, settings, eta)
        return 0.0

    return rates


@functools.cache
def step_of(loss: Loss, aggressive: int):
    """The compiled ``(z, y, eta, square, p)``: the u of an update, which adds u·x to the coefficients.

    `aggressive` is 0 for gradient descent, 1 and 2 for the steps PA-I and PA-II of Crammer et al. (2006),
    which are as long as the loss of the row and its squared norm say.
    """
    value, slope = (with_parameter(tabulated(f)) for f in (loss.value, loss.slope))

    @piece
    def descent(z, y, eta, square, p):
        return -eta * min(max(slope(z, y, p), -_STEEPEST), _STEEPEST)

    @piece
    def pa1(z, y, eta, square, p):
        return -slope(z, y, p) * min(eta, value(z, y, p) / square)

    @piece
    def pa2(z, y, eta, square, p):
        return -slope(z, y, p) * (value(z, y, p) / (square + 0.5 / eta))

    return (descent, pa1, pa2)[aggressive]


@functools.cache
def values_of(loss: Loss):
    """The compiled ``(block, m, p)``: the sum of the losses of a block."""
    value = with_parameter(vectorised(loss.value))

    @piece
    def values(block, m, p):
        total = 0.0
        for i in range(m):
            total += value(block[Z, i], block[Y, i], p)
        return total

    return values


@piece
def rescale(v, mean, state):
    """Make the coefficients v itself, and the mean `mean` itself."""
    size = state[SIZE]
    if mean.shape[0] > 0:
        a, b = state[A], state[B]
        for j in range(v.shape[0]):
            mean[j] = (mean[j] + a * v[j]) / b
        state[A], state[B] = 0.0, 1.0
    for j in range(v.shape[0]):
        v[j] *= size
    state[SIZE] = 1.0
    return 0.0


@piece
def _advance_mean(state, k, size, b):
    if k > 1.0:
        state[B] /= 1.0 - 1.0 / k
    state[A] += 1.0 / k * state[B] * size
    state[MEAN_INTERCEPT] += (b - state[MEAN_INTERCEPT]) / k


@piece
def _truncated(v, lost, limit):
    """A coefficient by size after the l1 penalty, all by size: it doesn't change its sign.

    There is no branch, because half of them would be predicted wrongly.
    """
    side, length = math.copysign(1.0, v), abs(v)
    return side * min(length, max(0.0, length - (limit + side * lost)))


@piece
def dense_extras(rows_at, row, v, lost, mean, state, settings, u, rate, size, b, t):
    """What an update by a dense row does beside the step, with an l1 penalty or an average.

    name     dir  shape   meaning
    row      IN   int     the row
    u        IN   float   what the update added to the coefficients, by the row
    rate     IN   float   step size
    size     IN   float   `size` after the update
    b        IN   float   the intercept after the update
    t        IN   float   number of the update
    """
    d, T, by_size = v.shape[0], v.dtype.type, 1.0 / size
    if u != 0.0 and settings.l1_part != 0.0:
        squares, absolute = 0.0, 0.0
        for j in range(d):
            squares += v[j] * v[j]
            absolute += abs(v[j])
        state[SQUARES], state[ABSOLUTE] = size * size * squares, size * absolute
    if 0.0 < settings.average <= t:
        x, change = array_at(rows_at, (row + 1, d), None, T), T(state[A] * u * by_size)
        for j in range(d):
            mean[j] -= change * x[row, j]
        _advance_mean(state, t - settings.average + 1.0, size, b)
    if settings.truncate != 0.0:
        state[LIMIT] += settings.truncate * rate
        limit = state[LIMIT] * by_size
        for j in range(d):
            new = T(_truncated(v[j], lost[j] * by_size, limit))
            lost[j] += size * (new - v[j])
            v[j] = new
    return 0.0


@piece
def dense_squares(rows_at, target, order, v, block, first, m):
    """The squared norms of the rows of a block."""
    n, d, T = target.shape[0], v.shape[0], v.dtype.type
    x = array_at(rows_at, (n, d), None, T)
    for i in range(m):
        total = T(0)
        for j in range(d):
            total += x[order[first + i], j] * x[order[first + i], j]
        block[SQUARE, i] = total
    return 0.0


@piece
def dense_rows(rows_at, target, order, v, lost, mean, state, settings, block, first, m):
    """The updates of a block of dense rows.

    Two rows at a time, where nothing but their steps is done: see `stochastic.per_sample`.
    """
    n, d, T = target.shape[0], v.shape[0], v.dtype.type
    x = array_at(rows_at, (n, d), None, T)
    p, step, shrink, l2_part = settings.p, settings.step, settings.shrink, settings.l2_part
    decay, smallest = settings.intercept_decay, settings.smallest
    b, size, t, penalties = state[INTERCEPT], state[SIZE], state[UPDATES], state[PENALTIES]
    squares = state[SQUARES]
    lines = (d * v.itemsize + LINE - 1) // LINE
    ahead = min(_MOST_AHEAD, max(2, _BYTES_AHEAD // (d * v.itemsize)))
    i = 0
    while i < m:
        for place in range(first + i + ahead, min(first + i + ahead + 2, n)):
            prefetch(target, order[place], 0)
            for line in range(lines):
                prefetch(x, order[place], line)
        row1, rate1 = order[first + i], block[RATE, i]
        factor1 = max(0.0, 1.0 - shrink * rate1)
        size1, y1, square1 = size * factor1, target[row1, 0], block[SQUARE, i]
        alone = i + 1 == m or settings.alone != 0.0
        row2, rate2, size2, factor2 = row1, rate1, size1, factor1
        if not alone:
            row2, rate2 = order[first + i + 1], block[RATE, i + 1]
            factor2 = max(0.0, 1.0 - shrink * rate2)
            size2 = size1 * factor2
        first_row, second_row = view(x, row1 * d, (d,)), view(x, row2 * d, (d,))
        penalties += l2_part * squares
        if alone or size2 < smallest:
            total = T(0)
            for j in range(d):
                total += first_row[j] * v[j]
            z = size * total
            block[Z, i], block[Y, i] = z + b, y1
            i += 1
            penalties += settings.l1_part * state[ABSOLUTE]
            if settings.skips_zeros != 0.0 and square1 == 0.0:
                continue
            u = call(step, z + b, y1, rate1, square1, p) * target[row1, 1]
            squares = factor1 * factor1 * squares + u * (2.0 * factor1 * z + u * square1)
            state[ABSOLUTE] *= factor1
            size = size1
            if size < smallest:
                state[SIZE] = size
                call(settings.rescale, v, mean, state)
                size = 1.0
            move = T(u / size)
            for j in range(d):
                v[j] += move * first_row[j]
            b += u * decay
            if settings.extras != 0:
                state[SQUARES] = squares
                call(
                    settings.extras,
                    rows_at,
                    row1,
                    v,
                    lost,
                    mean,
                    state,
                    settings,
                    u,
                    rate1,
                    size,
                    b,
                    t,
                )
                squares = state[SQUARES]
            t += 1.0
        else:
            p1, p2, product = T(0), T(0), T(0)
            for j in range(d):
                x1, x2 = first_row[j], second_row[j]
                p1 += x1 * v[j]
                p2 += x2 * v[j]
                product += x1 * x2
            y2, square2 = target[row2, 0], block[SQUARE, i + 1]
            z1 = size * p1
            u1 = call(step, z1 + b, y1, rate1, square1, p) * target[row1, 1]
            move1 = u1 / size1
            block[Z, i], block[Y, i] = z1 + b, y1
            b += u1 * decay
            z2 = size1 * (p2 + move1 * product)
            u2 = call(step, z2 + b, y2, rate2, square2, p) * target[row2, 1]
            move2 = u2 / size2
            block[Z, i + 1], block[Y, i + 1] = z2 + b, y2
            step1, step2 = T(move1), T(move2)
            for j in range(d):
                v[j] += step1 * first_row[j] + step2 * second_row[j]
            squares = factor1 * factor1 * squares + u1 * (2.0 * factor1 * z1 + u1 * square1)
            penalties += l2_part * squares
            squares = factor2 * factor2 * squares + u2 * (2.0 * factor2 * z2 + u2 * square2)
            b += u2 * decay
            size = size2
            t += 2.0
            i += 2
    state[INTERCEPT], state[SIZE], state[UPDATES], state[PENALTIES] = b, size, t, penalties
    state[SQUARES] = squares
    return 0.0


@functools.cache
def sparse_squares(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled twin of `dense_squares` for sparse rows."""
    arrays = arrays_of(data_dtype, index_dtype)

    def of_rows(rows_at, target, order, v, block, first, m):
        data, _, indptr = arrays(rows_at)
        for i in range(m):
            row, total = order[first + i], 0.0
            for q in range(indptr[row], indptr[row + 1]):
                total += data[q] * data[q]
            block[SQUARE, i] = total
        return 0.0

    return piece(of_rows)


@functools.cache
def sparse_rows(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled twin of `dense_rows` for sparse rows: an update takes the time of its entries."""
    arrays = arrays_of(data_dtype, index_dtype)
    bytes_of_entry = data_dtype.itemsize + index_dtype.itemsize

    def of_rows(rows_at, target, order, v, lost, mean, state, settings, block, first, m):
        n, T = target.shape[0], v.dtype.type
        data, indices, indptr = arrays(rows_at)
        p, step, shrink, truncate = settings.p, settings.step, settings.shrink, settings.truncate
        decay, smallest = settings.intercept_decay, settings.smallest
        b, size, t, penalties = state[INTERCEPT], state[SIZE], state[UPDATES], state[PENALTIES]
        squares = state[SQUARES]
        ahead = min(_MOST_AHEAD, max(2, _BYTES_AHEAD * n // max(data.shape[0] * bytes_of_entry, 1)))
        # As many lines for every row: a loop over those of each is predicted wrongly at its end.
        data_lines = min(32, data.shape[0] * data.itemsize // (n * LINE) + 2)
        index_lines = min(16, data.shape[0] * indices.itemsize // (n * LINE) + 2)
        for i in range(m):
            prefetch(indptr, order[min(first + i + 2 * ahead, n - 1)], 0)
            near = order[min(first + i + ahead, n - 1)]
            place = np.int64(indptr[near])
            for line in range(data_lines):
                prefetch(data, place, line)
            for line in range(index_lines):
                prefetch(indices, place, line)
            prefetch(target, near, 0)
            row, rate, square = order[first + i], block[RATE, i], block[SQUARE, i]
            begin, end = indptr[row], indptr[row + 1]
            following = order[min(first + i + 1, n - 1)]
            start, stop = indptr[following], indptr[following + 1]
            for q in range(start, stop):  # which are in no near cache
                prefetch(v, indices[q], 0)
            if mean.shape[0] > 0:
                for q in range(start, stop):
                    prefetch(mean, indices[q], 0)
            if truncate != 0.0:
                for q in range(start, stop):
                    prefetch(lost, indices[q], 0)
            total = T(0)
            for q in range(begin, end):
                total += data[q] * v[indices[q]]
            z, y = size * total, target[row, 0]
            block[Z, i], block[Y, i] = z + b, y
            penalties += settings.l2_part * squares + settings.l1_part * state[ABSOLUTE]
            if settings.skips_zeros != 0.0 and square == 0.0:
                continue
            u = call(step, z + b, y, rate, square, p) * target[row, 1]
            factor = max(0.0, 1.0 - shrink * rate)
            shrunk = factor * factor * squares
            squares = shrunk + u * (2.0 * factor * z + u * square)
            size *= factor
            if size < smallest:
                state[SIZE] = size
                call(settings.rescale, v, mean, state)
                size = 1.0
            b += u * decay
            if truncate == 0.0 and u != 0.0:
                move = T(u / size)
                for q in range(begin, end):
                    v[indices[q]] += move * data[q]
            if settings.extras != 0:
                state[SQUARES] = shrunk if truncate != 0.0 else squares
                state[ABSOLUTE] *= factor
                call(
                    settings.extras,
                    rows_at,
                    row,
                    v,
                    lost,
                    mean,
                    state,
                    settings,
                    u,
                    rate,
                    size,
                    b,
                    t,
                )
                squares = state[SQUARES]
            t += 1.0
        state[INTERCEPT], state[SIZE], state[UPDATES], state[PENALTIES] = b, size, t, penalties
        state[SQUARES] = squares
        return 0.0

    return piece(of_rows, IN_ORDER)


@functools.cache
def sparse_extras(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled twin of `dense_extras` for sparse rows; with an l1 penalty it does the step too."""
    arrays = arrays_of(data_dtype, index_dtype)

    def of_row(rows_at, row, v, lost, mean, state, settings, u, rate, size, b, t):
        T, by_size = v.dtype.type, 1.0 / size
        data, indices, indptr = arrays(rows_at)
        begin, end = indptr[row], indptr[row + 1]
        if 0.0 < settings.average <= t:
            change = T(state[A] * u * by_size)
            for q in range(begin, end):
                mean[indices[q]] -= change * data[q]
            _advance_mean(state, t - settings.average + 1.0, size, b)
        if settings.truncate != 0.0:
            state[LIMIT] += settings.truncate * rate
            limit, move = state[LIMIT] * by_size, T(u * by_size)
            squares, absolute = 0.0, 0.0
            for q in range(begin, end):
                j = indices[q]
                old = v[j]
                moved = T(old + move * data[q])
                new = T(_truncated(moved, lost[j] * by_size, limit))
                lost[j] += size * (new - moved)
                v[j] = new
                before, after = np.float64(old), np.float64(new)
                squares += after * after - before * before
                absolute += abs(after) - abs(before)
            state[SQUARES] += size * size * squares
            state[ABSOLUTE] += size * absolute
        return 0.0

    return piece(of_row, IN_ORDER)


@leaf
def no_progress(state, objective, tol, patience):
    """Whether an epoch's objective is the `patience`-th in turn that fell by no more than `tol`.

    A negative infinite `tol` never ends a run. An objective that is a score to be high is given negative.
    """
    if objective > state[LEAST] - tol:
        state[IDLE] += 1.0
    else:
        state[IDLE] = 0.0
    if objective < state[LEAST]:
        state[LEAST] = objective
    return state[IDLE] >= patience


@leaf
def slower(state, adaptive):
    """Divide the step of an adaptive schedule by 5 in place of a stop; returns whether it was."""
    if not adaptive or state[ETA] <= 1e-6:
        return False
    state[ETA] /= 5.0
    state[IDLE] = 0.0
    return True


@kernel
def epochs(
    settings, rows_at, target, order, permutation, skipped, visited, v, lost, mean, state, block, costs,
    last_epoch,
):  # fmt: skip
    """Epochs up to number `last_epoch`; returns RUNNING, STOPPED or NOT_FINITE.

    name         dir     shape               meaning
    permutation  IN      (n,) or (0,)        see `xorshift_order`, as for `skipped`
    visited      OUT     (n,) int32          the order without the rows skipped; `order` itself if none is
    costs        OUT     (epochs,) float64   mean loss that the updates of each epoch met
    last_epoch   IN      int                 number of epochs at the end

    The others are described at the top of the file.
    """
    d, row_block = v.shape[0], settings.rows_of_block
    while state[EPOCHS] < last_epoch:
        n = int(call(settings.next_order, order, permutation, skipped, visited))
        if state[EPOCHS] == 0.0 or settings.truncate == 0.0:  # without the rounding of many updates
            squares, absolute = 0.0, 0.0
            for j in range(d):
                squares += v[j] * v[j]
                absolute += abs(v[j])
            state[SQUARES] = state[SIZE] * state[SIZE] * squares
            state[ABSOLUTE] = state[SIZE] * absolute
        state[LOSSES], state[PENALTIES] = 0.0, 0.0
        for first in range(0, n, row_block):
            m = min(row_block, n - first)
            call(settings.rates, block, state[UPDATES], m, settings, state[ETA])
            if settings.squares != 0:
                call(settings.squares, rows_at, target, visited, v, block, first, m)
            call(
                settings.rows,
                rows_at,
                target,
                visited,
                v,
                lost,
                mean,
                state,
                settings,
                block,
                first,
                m,
            )
            state[LOSSES] += call(settings.values, block, m, settings.p)
        epoch = int(state[EPOCHS])
        state[EPOCHS] += 1.0
        costs[epoch] = state[LOSSES] / n
        finite = math.isfinite(costs[epoch]) and math.isfinite(state[INTERCEPT])
        for j in range(d):
            finite = finite and math.isfinite(v[j])
        if not finite:
            return NOT_FINITE
        if (
            settings.stops
            and no_progress(
                state, (state[LOSSES] + state[PENALTIES]) / n, settings.tol, settings.patience
            )
            and not slower(state, settings.adaptive)
        ):
            return STOPPED
    return RUNNING


#: The numbers and the addresses of the settings.
_NUMBERS = (
    "alpha", "t0", "eta0", "power_t", "p", "shrink", "truncate", "l2_part", "l1_part", "intercept_decay",
    "average", "smallest", "alone", "skips_zeros", "stops", "tol", "patience", "adaptive",
)  # fmt: skip
_ADDRESSES = (
    "next_order", "rates", "step", "values", "rescale", "rows", "squares", "extras",
)  # fmt: skip


@functools.cache
def _template(
    loss: Loss, schedule: Any, aggressive: int, wanted: frozenset[str], kinds: Any, dtype: np.dtype
) -> Any:
    """Settings with the addresses of a run and no numbers; `kinds` are the dtypes of sparse rows.

    It is kept because making a record takes 0.2 ms.
    """
    numbers = dict.fromkeys(_ADDRESSES, 0) | dict.fromkeys(_NUMBERS, 0.0)
    settings = record(**numbers, rows_of_block=0)
    target, block, state = np.empty((1, 2)), np.empty((4, 1)), np.empty(1)
    order, skipped, v = np.empty(1, np.int32), np.empty(1, bool), np.empty(1, dtype)
    found = {
        "next_order": pointer(next_order, order, order, skipped, order),
        "rates": pointer(rates_of(schedule), block, 0.0, 0, settings, 0.0),
        "step": pointer(step_of(loss, aggressive), 0.0, 0.0, 0.0, 0.0, 0.0),
        "values": pointer(values_of(loss), block, 0, 0.0),
        "rescale": pointer(rescale, v, v, state),
    }
    rows = dense_rows if kinds is None else sparse_rows(*kinds)
    found["rows"] = pointer(rows, 0, target, order, v, v, v, state, settings, block, 0, 0)
    if "squares" in wanted:
        squares = dense_squares if kinds is None else sparse_squares(*kinds)
        found["squares"] = pointer(squares, 0, target, order, v, block, 0, 0)
    if "extras" in wanted:
        extras = dense_extras if kinds is None else sparse_extras(*kinds)
        found["extras"] = pointer(
            extras, 0, 0, v, v, v, state, settings, 0.0, 0.0, 0.0, 0.0, 0.0
        )  # fmt: skip
    return record(**(numbers | found), rows_of_block=0)


def settings_of(
    loss: Loss, schedule: Any, aggressive: int, d: int, header: Header | None, dtype: np.dtype,
    **numbers: float,
) -> Any:  # fmt: skip
    """The settings of `epochs`, which are addresses of pieces and numbers.

    Parameters
    ----------
    loss : Loss
    schedule : callable
        `constant`, `optimal` or `inverse_scaling`.
    aggressive : {0, 1, 2}
        See `step_of`.
    d : int
        Number of columns.
    header : Header, optional
        Of sparse rows; None for dense rows.
    dtype : dtype
        That of x and the coefficients.
    **numbers
        `alpha`, `t0`, `eta0` and `power_t` of the schedules; `shrink` and `truncate`, the l2 and the l1
        penalty; `l2_part` and `l1_part`, their factors in the objective that stops a run;
        `intercept_decay`, 0 without an intercept; `average`, the number of the first update whose
        parameters count in the mean, 0 for no mean; `stops`, 1 if the objective may stop a run; `tol`;
        `patience`; `adaptive`.
    """
    kinds, wanted, rows = None if header is None else header.dtypes, set(), BLOCK
    numbers |= {
        "p": loss.p,
        # What is below is rescaled, at the same update as in scikit-learn.
        "smallest": 1e-6 if dtype == np.float32 else 1e-9,
        "alone": aggressive > 0 or numbers["truncate"] > 0 or numbers["average"] > 0,
        "skips_zeros": aggressive == 1,
    }
    if aggressive or (numbers["l2_part"] and not numbers["truncate"]):
        wanted.add("squares")
        if header is None:
            rows = max(8, min(BLOCK, _BLOCK_BYTES // (d * dtype.itemsize)))
    if numbers["truncate"] or numbers["average"]:
        wanted.add("extras")
    settings = copy.copy(
        _template(loss.formula, schedule, aggressive, frozenset(wanted), kinds, dtype)
    )
    for name, value in numbers.items():
        setattr(settings, name, value)
    settings.rows_of_block = rows
    return settings
