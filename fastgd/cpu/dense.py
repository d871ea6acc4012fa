"""One pass over dense rows: cost and gradient together, each block of X read from memory once.

Kernels add to `totals`, so that blocks, parts and machines add up. A block of rows fits into a cache: the
pass computes its raw predictions, then calls its losses and slopes by address (`block_losses`), then adds
up its gradient. Sums inside a block are in the dtype of `coef`, sums over blocks in float64. Every scalar
has the dtype of `coef`: one bare 0.0 costs a factor of 2 to 3 in float32.
"""

import functools
from typing import NamedTuple

import numpy as np

from ..compile.functions import call, kernel, leaf, piece, pointer, with_parameter
from ..losses import CoupledLoss, Loss
from ..settings import COST, EPOCHS, RUNNING, SCALE, P
from .block_losses import OTHERS, WEIGHT, Z, block_losses, block_scratch
from .machine.prefetch import LINE, LONGEST_ROW, prefetch
from .machine.vector_math import vectorised
from .machine.views import array_at, view

#: Bytes of X in a block of rows: with the next block prefetched, a third of the first-level cache; with
#: coupled outputs, whose exponentials are loops over rows, an eighth of a second-level cache.
_ROW_BLOCK, _COUPLED_BLOCK = 1 << 14, 1 << 17
#: Elements in a block of columns: 256 KiB of float64, inside the second-level cache.
_COLUMN_BLOCK = 32768
#: Most rows in a block, and rows whose gradients are summed in the working dtype.
_ROWS = 256
#: The visiting order of rows as they lie.
GIVEN_ORDER = np.empty(0, np.int32)
#: Rows of an order arrive after so many bytes of others: prefetch as many, but at most so many rows.
_BYTES_AHEAD, _MOST_AHEAD = 4096, 32
#: Most rows in a block of columns.
_COLUMN_ROWS = 1024


class Scratch(NamedTuple):
    """The scratch of the parts of a pass."""

    block: np.ndarray  #: (parts, rows, d): copied rows
    own_y: np.ndarray  #: (parts, targets, rows): their targets
    losses: np.ndarray  #: of `block_scratch`
    gradient: np.ndarray  #: (parts, k, d) zeros: sums in the dtype of `coef`


@leaf
def block_rows(row_bytes, coupled):
    """The number of rows in a block."""
    if coupled:
        return min(_ROWS, max(16, _COUPLED_BLOCK // row_bytes // 16 * 16))
    return min(_ROWS, max(4, _ROW_BLOCK // row_bytes // 4 * 4))


def scratch(
    loss: Loss | CoupledLoss,
    x: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    by_columns: bool,
    copied: bool,
    parts: int | None = None,
) -> Scratch:
    """The scratch of a pass, or of each part, over x (n, d), or over its transpose if `by_columns`."""
    k, d = coef.shape
    rows = rows_of_block(loss, d, x.itemsize, y.shape[1], by_columns)
    copies = rows if copied and not by_columns else 0
    dtype = coef.dtype
    lead = () if parts is None else (parts,)
    block = np.empty((*lead, copies, d), dtype)
    own_y = np.empty((*lead, len(y), copies), dtype)
    losses = block_scratch(parts, k, rows, dtype)
    return Scratch(block, own_y, losses, np.zeros((*lead, k, d), dtype))


def rows_of_block(loss: Loss | CoupledLoss, d: int, itemsize: int, n: int, by_columns: bool) -> int:
    """The rows of a block of a pass over n rows of d numbers: no more than there are."""
    if by_columns:
        return min(n, _COLUMN_ROWS, max(64, _COLUMN_BLOCK // d))
    return min(n, block_rows(d * itemsize, loss.coupled))


@functools.cache
def gather(x_dtype: np.dtype):
    """The compiled copy of m rows from place `start` on, with their targets and weights.

    ``(rows_at, order, y, weight, center, start, m, shift, block, own_y, scratch)``

        name        dir     shape          meaning
        rows_at     IN      int            address of x (n, d) in C order, of this dtype
        block       OUT     (rows, d)      x − center
        own_y       OUT     (targets, rows) targets
        scratch     OUT     (…, rows)      of `block_scratch`: the weights, if there are any

    The other arguments are described in `fastgd.cpu`.
    """
    scalar = x_dtype.type

    @piece
    def gathered(rows_at, order, y, weight, center, start, m, shift, block, own_y, scratch):
        ordered, d = order.shape[0] > 0, block.shape[1]
        x, n = array_at(rows_at, (y.shape[1], d), None, scalar), order.shape[0]
        distance = min(_MOST_AHEAD, max(4, _BYTES_AHEAD // (d * x.itemsize)))
        lines = (d * x.itemsize + LINE - 1) // LINE
        for i in range(m):
            row = start + i
            if ordered:
                # Also rows of later batches: their places follow.
                row, ahead = order[row], order[min(row + distance, n - 1)]
                for line in range(lines):
                    prefetch(x, ahead, line)
            for j in range(d):
                block[i, j] = x[row, j] - center[j]
            for c in range(y.shape[0]):
                own_y[c, i] = y[c, row + shift]
            if weight.shape[0] > 0:
                scratch[WEIGHT, i] = weight[row + shift]
        return 0.0

    return gathered


@functools.cache
def rows_pass(paired: bool):
    """The compiled pass that adds the rows `first` to `last` to `totals`, for x in C order.

    ``(x, rows_at, order, y, weight, offset, p, center, coef, intercept, first, last, shift, losses,
    slopes_too, gather, block, own_y, scratch, gradient, totals)``.

        name        dir     shape          meaning
        rows_at     IN      int            address of x, for `gather`
        order       IN      (n,), (0,)     the rows are order[first:last], if `gather` and not empty
        center      IN      (d,)           subtracted from the rows, if `gather`
        losses      IN      int            address of `block_losses`
        slopes_too  IN      bool           whether the gradient is wanted, and `losses` has slopes
        gather      IN      int            address of `gather`; 0: x is read in place
        block, own_y, scratch, gradient    of `Scratch`, whose `losses` is `scratch`

    The other arguments are described in `fastgd.cpu`. With `gather` the rows of a block are copied to
    scratch: those of an order, centred ones, and those of another dtype, where x is not read. `paired` is
    for two outputs and more: it computes two at a time.

    A pass reads a block of rows from memory once and from the first-level cache the second time, while
    the memory is idle. Prefetching the next block during both took a pass over 1e6×32 by two threads from
    22 to 26 GB/s in float64 and from 19 to 28 in float32 (a bare sum: 33).
    """

    @kernel
    def one_pass(
        x, rows_at, order, y, weight, offset, p, center, coef, intercept, first, last, shift, losses,
        slopes_too, gather, block, own_y, scratch, gradient, totals,
    ):  # fmt: skip
        k, d = coef.shape
        rows, zero = scratch.shape[1], coef.dtype.type(0)
        outputs = 2 if paired else 1  # at a time
        # The hardware's own prefetcher follows longer rows; ours only costs there. Lines of two rows.
        ahead = d * x.itemsize <= LONGEST_ROW and gather == 0
        lines = (2 * d * x.itemsize + LINE - 1) // LINE if ahead else 0
        summed = 0
        for start in range(first, last, rows):
            m = min(rows, last - start)
            if gather == 0:
                seen, at, seen_y, at_y = x, start, y, start + shift
                if weight.shape[0] > 0:
                    for i in range(m):
                        scratch[WEIGHT, i] = weight[start + shift + i]
            else:
                seen, at, seen_y, at_y = block, 0, own_y, 0
                call(
                    gather, rows_at, order, y, weight, center, start, m, shift, block, own_y, scratch,
                )  # fmt: skip
            # Four rows at a time: each coefficient, and each part of the gradient, is loaded once for
            # four products; for two outputs six loads serve eight.
            fours = m // 4 * 4
            for i in range(0, fours, 4):
                four = view(seen, (at + i) * d, (4, d))
                for line in range(lines):
                    prefetch(x, at + i + rows, line)
                for c in range(0, k, outputs):
                    p0, p1, p2, p3 = zero, zero, zero, zero
                    if paired and c + 1 < k:
                        q0, q1, q2, q3 = zero, zero, zero, zero
                        for j in range(d):
                            v, w = coef[c, j], coef[c + 1, j]
                            x0, x1, x2, x3 = (
                                four[0, j],
                                four[1, j],
                                four[2, j],
                                four[3, j],
                            )
                            p0 += x0 * v
                            p1 += x1 * v
                            p2 += x2 * v
                            p3 += x3 * v
                            q0 += x0 * w
                            q1 += x1 * w
                            q2 += x2 * w
                            q3 += x3 * w
                        own, b = scratch[Z + c + 1], intercept[c + 1]
                        own[i], own[i + 1], own[i + 2], own[i + 3] = q0 + b, q1 + b, q2 + b, q3 + b
                    else:
                        for j in range(d):
                            w = coef[c, j]
                            p0 += four[0, j] * w
                            p1 += four[1, j] * w
                            p2 += four[2, j] * w
                            p3 += four[3, j] * w
                    own, b = scratch[Z + c], intercept[c]
                    own[i], own[i + 1], own[i + 2], own[i + 3] = p0 + b, p1 + b, p2 + b, p3 + b
            for i in range(fours, m):
                for c in range(k):
                    p0 = zero
                    for j in range(d):
                        p0 += seen[at + i, j] * coef[c, j]
                    scratch[Z + c, i] = p0 + intercept[c]
            for c in range(k if offset.shape[0] > 0 else 0):
                for i in range(m):
                    row = start + i
                    if gather != 0 and order.shape[0] > 0:
                        row = order[row]
                    scratch[Z + c, i] += offset[min(c, offset.shape[0] - 1), shift + row]
            call(losses, scratch, seen_y, at_y, p, m, totals)
            if not slopes_too:
                continue
            # Outputs outside: with rows of the gradient one after another in the loop around it, the
            # innermost loop took them for overlapping and was not vectorised.
            for c in range(0, k, outputs):
                own, other = scratch[Z + c], scratch[Z + min(c + 1, k - 1)]
                for i in range(0, fours, 4):
                    four = view(seen, (at + i) * d, (4, d))
                    if c == 0:
                        for line in range(lines):
                            prefetch(x, at + i + rows + 2, line)
                    s0, s1, s2, s3 = own[i], own[i + 1], own[i + 2], own[i + 3]
                    if paired and c + 1 < k:
                        t0, t1, t2, t3 = other[i], other[i + 1], other[i + 2], other[i + 3]
                        for j in range(d):
                            x0, x1, x2, x3 = (
                                four[0, j],
                                four[1, j],
                                four[2, j],
                                four[3, j],
                            )
                            gradient[c, j] += (s0 * x0 + s1 * x1) + (s2 * x2 + s3 * x3)
                            gradient[c + 1, j] += (t0 * x0 + t1 * x1) + (t2 * x2 + t3 * x3)
                    else:
                        for j in range(d):
                            gradient[c, j] += (s0 * four[0, j] + s1 * four[1, j]) + (
                                s2 * four[2, j] + s3 * four[3, j]
                            )
            for i in range(fours, m):
                for c in range(k):
                    s0 = scratch[Z + c, i]
                    for j in range(d):
                        gradient[c, j] += s0 * seen[at + i, j]
            summed += m
            if summed >= _ROWS or start + m == last:
                for c in range(k):
                    for j in range(d):
                        totals[c, j] += gradient[c, j]
                        gradient[c, j] = zero
                summed = 0
        return 0.0

    return one_pass


@functools.cache
def columns_pass(centred: bool):
    """The pass of `rows_pass` over columns: x is its transpose (d, n) in C order, `order` is not read."""

    @kernel
    def one_pass(
        x, rows_at, order, y, weight, offset, p, center, coef, intercept, first, last, shift, losses,
        slopes_too, gather, block, own_y, scratch, gradient, totals,
    ):  # fmt: skip
        k, d = coef.shape
        rows, zero, fours = scratch.shape[1], coef.dtype.type(0), d // 4 * 4
        c0, c1, c2, c3 = zero, zero, zero, zero  # compiled code drops a difference to zero
        for start in range(first, last, rows):
            m = min(rows, last - start)
            if weight.shape[0] > 0:
                for i in range(m):
                    scratch[WEIGHT, i] = weight[start + shift + i]
            for c in range(k):
                for i in range(m):
                    scratch[Z + c, i] = intercept[c]
            # Four columns at a time: one load of z for four products, and the columns stay in the cache
            # for all outputs.
            for j in range(0, fours, 4):
                if centred:
                    c0, c1, c2, c3 = center[j], center[j + 1], center[j + 2], center[j + 3]
                for c in range(k):
                    w0, w1, w2, w3 = coef[c, j], coef[c, j + 1], coef[c, j + 2], coef[c, j + 3]
                    for i in range(m):
                        at = start + i
                        scratch[Z + c, i] += ((x[j, at] - c0) * w0 + (x[j + 1, at] - c1) * w1) + (
                            (x[j + 2, at] - c2) * w2 + (x[j + 3, at] - c3) * w3
                        )
            for j in range(fours, d):
                if centred:
                    c0 = center[j]
                for c in range(k):
                    w = coef[c, j]
                    for i in range(m):
                        scratch[Z + c, i] += (x[j, start + i] - c0) * w
            for c in range(k if offset.shape[0] > 0 else 0):
                for i in range(m):
                    row = start + i
                    scratch[Z + c, i] += offset[min(c, offset.shape[0] - 1), shift + row]
            call(losses, scratch, y, start + shift, p, m, totals)
            if not slopes_too:
                continue
            for j in range(0, fours, 4):
                if centred:
                    c0, c1, c2, c3 = center[j], center[j + 1], center[j + 2], center[j + 3]
                for c in range(k):
                    g0, g1, g2, g3 = zero, zero, zero, zero
                    for i in range(m):
                        at, s = start + i, scratch[Z + c, i]
                        g0 += (x[j, at] - c0) * s
                        g1 += (x[j + 1, at] - c1) * s
                        g2 += (x[j + 2, at] - c2) * s
                        g3 += (x[j + 3, at] - c3) * s
                    totals[c, j] += g0
                    totals[c, j + 1] += g1
                    totals[c, j + 2] += g2
                    totals[c, j + 3] += g3
            for j in range(fours, d):
                if centred:
                    c0 = center[j]
                for c in range(k):
                    g = zero
                    for i in range(m):
                        g += (x[j, start + i] - c0) * scratch[Z + c, i]
                    totals[c, j] += g
        return 0.0

    return one_pass


@functools.cache
def address_of_gather(order_dtype: np.dtype, x_dtype: np.dtype, dtype: np.dtype) -> int:
    """The address of `gather`, for an order, x, and all others of these dtypes."""
    one, two, order = unknown(1, dtype), unknown((1, 1), dtype), np.empty(0, order_dtype)
    scratch = np.empty((1, 1), dtype)
    return pointer(gather(x_dtype), 0, order, two, one, one, 0, 0, 0, scratch, scratch, scratch)


def unknown(shape, dtype: np.dtype) -> np.ndarray:
    """A read-only array of unknown contents, for the type that it has."""
    array = np.empty(shape, dtype)
    array.flags.writeable = False
    return array


@functools.cache
def _compiled_pass(
    loss: Loss | CoupledLoss,
    by_columns: bool,
    centred: bool,
    paired: bool,
    slopes_too: bool,
    x_dtype,
    dtype,
):
    """A pass, the address of its losses, and that of `gather`, or 0 if rows are read in place."""
    losses = block_losses(loss, slopes_too, dtype)
    if by_columns:
        return columns_pass(centred), losses, 0
    copied = centred or x_dtype != dtype
    gathered = address_of_gather(GIVEN_ORDER.dtype, x_dtype, dtype) if copied else 0
    return rows_pass(paired), losses, gathered


class Pass:
    """A pass of a loss over rows x with y and weight, and its scratch: of one thread at a time.

    It is for parameters of the shape and dtype of `coef`; if `centred`, a center is subtracted from the
    rows. The other arguments are described in `fastgd.cpu`; x, y, weight and offset are read-only,
    and all but x in the dtype of `coef`.
    """

    def __init__(
        self, loss: Loss | CoupledLoss, by_columns: bool, slopes_too: bool, centred: bool, x, y, weight,
        offset, coef,
    ) -> None:  # fmt: skip
        (k, d), dtype = coef.shape, coef.dtype
        self._kernel, losses, gathered = _compiled_pass(
            loss.formula, by_columns, centred, k > 1, slopes_too, x.dtype, dtype
        )
        self._x = x  # which has to live as long as its address
        rows_at, self._no_center = 0, weight
        own = scratch(loss, x, y, coef, by_columns, gathered != 0)
        if gathered != 0:
            rows_at, x, self._no_center = x.ctypes.data, unknown((0, d), dtype), zeros(d, dtype)
        self._rows = x, rows_at, GIVEN_ORDER, y, weight, offset, dtype.type(loss.p)
        self._scratch = losses, slopes_too, gathered, *own

    def add(self, center, coef, intercept, first: int, last: int, shift: int, totals) -> None:
        """Add the rows `first` to `last` to `totals`; `center` (d,) is None, or read-only."""
        center = self._no_center if center is None else center
        self._kernel(
            *self._rows, center, coef, intercept, first, last, shift, *self._scratch, totals
        )


def zeros(d: int, dtype: np.dtype) -> np.ndarray:
    """The center of rows that are not centred."""
    array = np.zeros(d, dtype)
    array.flags.writeable = False
    return array


@functools.cache
def address_of_pass(
    by_columns: bool, paired: bool, order_dtype: np.dtype, x_dtype: np.dtype, dtype: np.dtype
) -> int:
    """The address of a pass, for an order, x read in place, and all others of these dtypes."""
    one, two = np.empty(1, dtype), np.empty((1, 1), dtype)
    x, y, vector = unknown((1, 1), x_dtype), unknown((1, 1), dtype), unknown(1, dtype)
    return pointer(
        columns_pass(False) if by_columns else rows_pass(paired), x, 0, np.empty(0, order_dtype), y,
        vector, y, dtype.type(0), vector, two, one, 0, 0, 0, 0, True, 0, two, two, two, two,
        np.empty((1, 1)),
    )  # fmt: skip


@functools.cache
def predictions(by_columns: bool):
    """The compiled pass that writes the predictions of one output to `out`.

    ``(x, coef, intercept, first, last, shift, out)``

        name        dir     shape        meaning
        out         OUT     (n,)         out[i + shift] = x[i]·coef[0] + intercept[0]

    The other arguments are described in `fastgd.cpu`.
    """

    @kernel
    def predict(x, coef, intercept, first, last, shift, out):
        d = coef.shape[1]
        for i in range(first, last):
            z = intercept[0]
            for j in range(d):
                z += x[i, j] * coef[0, j]
            out[i + shift] = z

    @kernel
    def predict_by_columns(xt, coef, intercept, first, last, shift, out):
        d = coef.shape[1]
        fours = d // 4 * 4
        for start in range(first, last, _COLUMN_ROWS):
            m = min(_COLUMN_ROWS, last - start)
            own = view(out, start + shift, (m,))
            for i in range(m):
                own[i] = intercept[0]
            for j in range(0, fours, 4):  # one load of a prediction for four products
                w0, w1, w2, w3 = coef[0, j], coef[0, j + 1], coef[0, j + 2], coef[0, j + 3]
                for i in range(m):
                    at = start + i
                    own[i] += (xt[j, at] * w0 + xt[j + 1, at] * w1) + (
                        xt[j + 2, at] * w2 + xt[j + 3, at] * w3
                    )
            for j in range(fours, d):
                w = coef[0, j]
                for i in range(m):
                    own[i] += xt[j, start + i] * w

    return predict_by_columns if by_columns else predict


@kernel
def batch_epochs(
    one_pass, losses, end_of_epoch, step, gather, x, rows_at, order, y, weight, offset, numbers, rows,
    copied, totals, coef, intercept, previous, settings, rates, hyper, memory, state, costs, norms, path,
    last_epoch, with_cost,
):  # fmt: skip
    """Epochs of batch descent in one call, for data small enough that one thread does a pass.

    It returns the status, and goes on from the epoch in `state`.

        name           dir     shape             meaning
        one_pass       IN      int               address of `rows_pass` or `columns_pass`
        losses         IN      int               address of `block_losses`
        end_of_epoch   IN      int               address of `advance.end_of_epoch`
        step           IN      int               address of `advance.step`
        gather         IN      int               address of `gather`; 0: x is read in place
        rows_at        IN      int               address of x, for `gather`
        numbers        OUT     (…,)              scratch of the pass: `size_of_numbers` zeros
        rows           IN      int               rows of a block
        copied         IN      int               rows of a block that `gather` copies: all or none
        totals         OUT     (1, k, d+2)       sums of a pass
        coef           IN OUT  (k, d) float64    coefficients
        intercept      IN OUT  (k,) float64      intercepts
        last_epoch     IN      int               number of epochs at the end
        with_cost      IN      bool              whether `state` gets the cost at the last parameters

    The other arguments are described in `fastgd.cpu`.
    """
    k, d = coef.shape
    T = numbers.dtype.type
    n, p, sums = y.shape[1], T(settings[P]), totals[0]
    low, gradient = view(numbers, 0, (k, d)), view(numbers, k * d, (k, d))
    low_intercept, center = view(numbers, 2 * k * d, (k,)), view(numbers, k * (2 * d + 1), (d,))
    at = k * (2 * d + 1) + d
    scratch = view(numbers, at, (k + OTHERS, rows))
    for i in range(rows):
        scratch[WEIGHT, i] = T(1)
    at += (k + OTHERS) * rows
    block, own_y = (
        view(numbers, at, (copied, d)),
        view(numbers, at + copied * d, (y.shape[0], copied)),
    )
    for epoch in range(int(state[EPOCHS]), last_epoch + int(with_cost)):
        for c in range(k):
            low_intercept[c] = intercept[c]
            for j in range(d):
                low[c, j] = coef[c, j]
            for j in range(d + 2):
                sums[c, j] = 0.0
        call(
            one_pass, x, rows_at, order, y, weight, offset, p, center, low, low_intercept, 0, n, 0,
            losses, True, gather, block, own_y, scratch, gradient, sums,
        )  # fmt: skip
        if epoch == last_epoch:
            state[COST] = 0.0
            for c in range(k):
                state[COST] += settings[SCALE] * sums[c, d + 1]
            break
        status = call(
            end_of_epoch, step, totals, coef, intercept, previous, settings, rates, hyper, memory,
            state, costs, norms, path,
        )  # fmt: skip
        if status != RUNNING:
            return int(status)
    return RUNNING


def size_of_numbers(k: int, d: int, targets: int, rows: int, copied: int) -> int:
    """The numbers in the scratch of `batch_epochs`, for k outputs and so many targets of a row."""
    return k * (2 * d + 1) + d + (k + OTHERS) * rows + copied * (d + targets)


@functools.cache
def cost_and_gradient(loss: Loss):
    """The mean cost and its gradient as one compiled function, for your own ``@njit`` code.

    ``(x, y, coef, intercept, gradient)`` returns the mean cost and the gradient of the intercept.

        name        dir     shape        meaning
        x           IN      (n, d)       rows in C order; all arrays have one dtype
        y           IN      (n,)         targets
        coef        IN      (d,)         coefficients
        intercept   IN      scalar       intercept
        gradient    OUT     (d,)         gradient of the coefficients

    Examples
    --------
    >>> import numpy as np
    >>> from fastgd.cpu import dense
    >>> from fastgd.losses import LOSSES
    >>> kernel = dense.cost_and_gradient(LOSSES["mse"])
    >>> gradient = np.empty(1)
    >>> kernel(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]), np.array([1.0]), 0.0, gradient)
    (2.5, -3.0)
    >>> gradient
    array([-5.])
    """
    value, slope = with_parameter(vectorised(loss.value)), with_parameter(vectorised(loss.slope))
    parameter = float(loss.p)

    # No calls by address: another process may load code of the caller, with this in it, from a cache.
    @kernel
    def mean_cost_and_gradient(x, y, coef, intercept, gradient):
        n, d = x.shape
        T = coef.dtype.type
        p, cost, slopes = T(parameter), 0.0, 0.0
        values, z = np.empty(_ROWS, coef.dtype), np.empty(_ROWS, coef.dtype)
        for j in range(d):
            gradient[j] = 0
        for start in range(0, n, _ROWS):
            m = min(_ROWS, n - start)
            for i in range(m):
                prediction = T(intercept)
                for j in range(d):
                    prediction += x[start + i, j] * coef[j]
                z[i] = prediction
            for i in range(m):
                values[i] = value(z[i], y[start + i], p)
                z[i] = slope(z[i], y[start + i], p)
            block_cost, block_slopes = T(0), T(0)
            for i in range(m):
                block_cost += values[i]
                block_slopes += z[i]
            cost += block_cost
            slopes += block_slopes
            for i in range(m):
                for j in range(d):
                    gradient[j] += z[i] * x[start + i, j]
        for j in range(d):
            gradient[j] /= n
        return cost / n, slopes / n

    return mean_cost_and_gradient
