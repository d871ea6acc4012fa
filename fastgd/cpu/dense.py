"""One pass over dense rows: cost and gradient together, each block of X read from memory once.

Kernels add to `totals`, so that blocks, parts and machines add up. A block of rows fits into the
first-level cache: the pass computes its raw predictions, then its losses and slopes (vectorised, with
the exponentials of `vector_math`), then its gradient. Sums inside a block are in the dtype of `coef`,
sums over blocks in float64. Every scalar has the dtype of `coef`: one bare 0.0 costs a factor of 2 to 3
in float32.
"""

import functools

import numpy as np

from ..compile.functions import inlined, kernel, with_parameter
from ..formulas.updates import Rule
from ..losses import CoupledLoss, Loss
from ..settings import COST, EPOCHS, RUNNING, SCALE, P
from . import coupled
from .advance import advance
from .machine.prefetch import LONGEST_ROW, ask_for_ordered, ask_for_rows
from .machine.vector_math import vectorised
from .machine.vector_width import use_widest_vectors
from .reading import element_of, row_of

#: Bytes of X in a block of rows: with the next block prefetched, a third of the first-level cache.
_ROW_BLOCK = 1 << 14
#: Elements in a block of columns: 256 KiB of float64, inside the second-level cache.
_COLUMN_BLOCK = 32768
#: Rows whose gradients are summed in the working dtype before they go to float64.
_SUMMED = 256


@functools.cache
def _values(loss: Loss):
    """Compiled: the weighted sum of the losses at raw predictions z."""
    value = with_parameter(vectorised(loss.value))

    @inlined
    def values(z, y, weight, p, c, start, m):
        use_widest_vectors()
        cost = z.dtype.type(0)
        if weight.shape[0] > 0:
            for i in range(m):
                cost += weight[start + i] * value(z[i], y[c, start + i], p)
        else:
            for i in range(m):
                cost += value(z[i], y[c, start + i], p)
        return cost

    return values


@functools.cache
def _losses(loss: Loss):
    """Compiled: raw predictions in z become slopes; returns the summed cost and slope."""
    value = with_parameter(vectorised(loss.value))
    slope = with_parameter(vectorised(loss.slope))

    # Value and slope in one loop have one exponential, 2.1 and not 2.8 ns a row in float32. Sums have
    # loops of their own: a loop that sums and stores is compiled as vector and as scalar code, and the
    # addresses of the arrays select one at run time: one call in a hundred then summed in another order.
    @inlined
    def losses(z, values, y, weight, p, c, start, m):
        use_widest_vectors()
        if weight.shape[0] > 0:
            for i in range(m):
                prediction, w = z[i], weight[start + i]
                values[i] = w * value(prediction, y[c, start + i], p)
                z[i] = w * slope(prediction, y[c, start + i], p)
        else:
            for i in range(m):
                prediction = z[i]
                values[i] = value(prediction, y[c, start + i], p)
                z[i] = slope(prediction, y[c, start + i], p)
        cost, slopes = z.dtype.type(0), z.dtype.type(0)
        for i in range(m):
            cost += values[i]
            slopes += z[i]
        return cost, slopes

    return losses


@inlined
def _new_scratch(x, coef, by_columns):
    k, d = coef.shape
    rows = min(1024, max(64, _COLUMN_BLOCK // max(d, 1)))
    if not by_columns:
        rows = min(_SUMMED, max(4, _ROW_BLOCK // max(d * x.itemsize, 1) // 4 * 4))
    return np.empty((2, rows), coef.dtype), np.zeros((k, d), coef.dtype)


def scratch_maker(loss: Loss | CoupledLoss):
    """The compiled ``(x, coef, by_columns)`` that allocates ``(scratch, gradient)`` for a pass.

    name        dir     shape        meaning
    by_columns  IN      bool         whether the pass is over columns
    scratch     OUT     (2, rows)    raw predictions and losses of a block; (k+3, rows) if coupled
    gradient    OUT     (k, d)       zeros: sums in the dtype of `coef`
    """
    return coupled.new_scratch if loss.coupled else _new_scratch


@functools.cache
def rows_pass(
    loss: Loss | CoupledLoss, centred: bool = False, slopes_too: bool = True, ordered: bool = False
):
    """The compiled pass that adds the rows `first` to `last` to `totals`.

    ``(x, order, y, weight, p, center, coef, intercept, first, last, offset, scratch, gradient,
    totals)``. Without `slopes_too` it adds the cost alone.

        name        dir     shape        meaning
        order       IN      (n,)         if `ordered`, the rows are order[first:last]; else not read
        scratch     OUT     (2, rows)    of `scratch_maker`
        gradient    IN OUT  (k, d)       of `scratch_maker`; zeros before and after

    The other arguments are described in `fastgd.cpu`.
    """
    if loss.coupled:
        return coupled.rows_pass(loss, centred, slopes_too, ordered)
    element = element_of(centred)
    row = row_of(ordered)
    ask = ask_for_ordered if ordered else ask_for_rows
    values, losses = _values(loss), _losses(loss)

    @inlined
    def one_pass(
        x,
        order,
        y,
        weight,
        p,
        center,
        coef,
        intercept,
        first,
        last,
        offset,
        scratch,
        gradient,
        totals,
    ):
        k, d = coef.shape
        zero = coef.dtype.type(0)
        z, met = scratch[0], scratch[1]
        rows = z.shape[0]
        ahead = ordered or d * x.itemsize <= LONGEST_ROW
        at_first = 2 if slopes_too else 4
        if ordered:
            own_y = np.empty((1, rows), coef.dtype)
            own_weight = np.empty(rows if weight.shape[0] > 0 else 0, coef.dtype)
        summed = 0
        for start in range(first, last, rows):
            stop = min(start + rows, last)
            fours = start + (stop - start) // 4 * 4
            for c in range(k):
                # Four rows at a time: each coefficient, and each part of the gradient, is loaded
                # once for four products. Both halves prefetch a half of the next block.
                for i in range(start, fours, 4):
                    if ahead and c == 0:
                        ask(x, order, i + rows, at_first)
                    r0, r1, r2, r3 = (
                        row(order, i),
                        row(order, i + 1),
                        row(order, i + 2),
                        row(order, i + 3),
                    )
                    p0, p1, p2, p3 = zero, zero, zero, zero
                    for j in range(d):
                        w = coef[c, j]
                        p0 += element(x, center, r0, j) * w
                        p1 += element(x, center, r1, j) * w
                        p2 += element(x, center, r2, j) * w
                        p3 += element(x, center, r3, j) * w
                    at, b = i - start, intercept[c]
                    z[at], z[at + 1], z[at + 2], z[at + 3] = p0 + b, p1 + b, p2 + b, p3 + b
                for i in range(fours, stop):
                    prediction, r0 = zero, row(order, i)
                    for j in range(d):
                        prediction += element(x, center, r0, j) * coef[c, j]
                    z[i - start] = prediction + intercept[c]
                if not slopes_too:
                    totals[c, d + 1] += values(z, y, weight, p, c, start + offset, stop - start)
                    continue
                if ordered:
                    for i in range(stop - start):
                        own_y[0, i] = y[c, order[start + i]]
                    for i in range(min(stop - start, own_weight.shape[0])):
                        own_weight[i] = weight[order[start + i]]
                    cost, slopes = losses(z, met, own_y, own_weight, p, 0, 0, stop - start)
                else:
                    cost, slopes = losses(z, met, y, weight, p, c, start + offset, stop - start)
                for i in range(start, fours, 4):
                    if ahead and c == 0:
                        ask(x, order, i + rows + 2, 2)
                    at = i - start
                    r0, r1, r2, r3 = (
                        row(order, i),
                        row(order, i + 1),
                        row(order, i + 2),
                        row(order, i + 3),
                    )
                    s0, s1, s2, s3 = z[at], z[at + 1], z[at + 2], z[at + 3]
                    for j in range(d):
                        gradient[c, j] += (
                            s0 * element(x, center, r0, j) + s1 * element(x, center, r1, j)
                        ) + (s2 * element(x, center, r2, j) + s3 * element(x, center, r3, j))
                for i in range(fours, stop):
                    s, r0 = z[i - start], row(order, i)
                    for j in range(d):
                        gradient[c, j] += s * element(x, center, r0, j)
                totals[c, d] += slopes
                totals[c, d + 1] += cost
            summed += rows
            if summed >= _SUMMED or stop == last:
                for c in range(k):
                    for j in range(d):
                        totals[c, j] += gradient[c, j]
                        gradient[c, j] = zero
                summed = 0

    return one_pass


@functools.cache
def _columns_pass(loss: Loss | CoupledLoss, centred: bool, slopes_too: bool = True):
    if loss.coupled:
        return coupled.columns_pass(loss, centred, slopes_too)
    element = element_of(centred)
    values, losses = _values(loss), _losses(loss)

    @inlined
    def columns_pass(
        xt,
        order,
        y,
        weight,
        p,
        center,
        coef,
        intercept,
        first,
        last,
        offset,
        scratch,
        gradient,
        totals,
    ):
        k, d = coef.shape
        x = xt.T
        zero = coef.dtype.type(0)
        z, met = scratch[0], scratch[1]
        rows = z.shape[0]
        fours = d // 4 * 4
        for start in range(first, last, rows):
            m = min(rows, last - start)
            for c in range(k):
                for i in range(m):
                    z[i] = intercept[c]
                # Four columns at a time: one load of z for four products.
                for j in range(0, fours, 4):
                    w0, w1, w2, w3 = coef[c, j], coef[c, j + 1], coef[c, j + 2], coef[c, j + 3]
                    for i in range(m):
                        at = start + i
                        z[i] += (
                            element(x, center, at, j) * w0 + element(x, center, at, j + 1) * w1
                        ) + (
                            element(x, center, at, j + 2) * w2 + element(x, center, at, j + 3) * w3
                        )
                for j in range(fours, d):
                    w = coef[c, j]
                    for i in range(m):
                        z[i] += element(x, center, start + i, j) * w
                if not slopes_too:
                    totals[c, d + 1] += values(z, y, weight, p, c, start + offset, m)
                    continue
                cost, slopes = losses(z, met, y, weight, p, c, start + offset, m)
                for j in range(0, fours, 4):
                    g0, g1, g2, g3 = zero, zero, zero, zero
                    for i in range(m):
                        at, s = start + i, z[i]
                        g0 += element(x, center, at, j) * s
                        g1 += element(x, center, at, j + 1) * s
                        g2 += element(x, center, at, j + 2) * s
                        g3 += element(x, center, at, j + 3) * s
                    totals[c, j] += g0
                    totals[c, j + 1] += g1
                    totals[c, j + 2] += g2
                    totals[c, j + 3] += g3
                for j in range(fours, d):
                    g = zero
                    for i in range(m):
                        g += element(x, center, start + i, j) * z[i]
                    totals[c, j] += g
                totals[c, d] += slopes
                totals[c, d + 1] += cost

    return columns_pass


@functools.cache
def accumulate_rows(loss: Loss | CoupledLoss, centred: bool = False, slopes_too: bool = True):
    """The compiled pass over rows in C order, with scratch of its own; it returns nothing.

    ``(x, y, weight, p, center, coef, intercept, first, last, offset, totals)``, described in
    `fastgd.cpu`. It adds the rows `first` to `last` to `totals`; without `slopes_too` only the cost.
    """
    return _accumulate(loss, rows_pass(loss, centred, slopes_too), False)


@functools.cache
def accumulate_columns(loss: Loss | CoupledLoss, centred: bool = False, slopes_too: bool = True):
    """The pass of `accumulate_rows` over columns: x is its transpose (d, n) in C order."""
    return _accumulate(loss, _columns_pass(loss, centred, slopes_too), True)


def _accumulate(loss, one_pass, by_columns):
    new_scratch = scratch_maker(loss)

    @kernel
    def accumulate(x, y, weight, p, center, coef, intercept, first, last, offset, totals):
        scratch, gradient = new_scratch(x, coef, by_columns)
        given = np.empty(0, np.int32)
        one_pass(
            x,
            given,
            y,
            weight,
            p,
            center,
            coef,
            intercept,
            first,
            last,
            offset,
            scratch,
            gradient,
            totals,
        )

    return accumulate


@functools.cache
def predictions(by_columns: bool):
    """The compiled pass that writes the predictions of one output to `out`.

    ``(x, coef, intercept, first, last, offset, out)``

        name        dir     shape        meaning
        out         OUT     (n,)         out[i + offset] = x[i]·coef[0] + intercept[0]

    The other arguments are described in `fastgd.cpu`.
    """

    @kernel
    def predict(x, coef, intercept, first, last, offset, out):
        d = coef.shape[1]
        for i in range(first, last):
            z = intercept[0]
            for j in range(d):
                z += x[i, j] * coef[0, j]
            out[i + offset] = z

    @kernel
    def predict_by_columns(xt, coef, intercept, first, last, offset, out):
        d = coef.shape[1]
        for i in range(first, last):
            out[i + offset] = intercept[0]
        for j in range(d):
            w = coef[0, j]
            for i in range(first, last):
                out[i + offset] += xt[j, i] * w

    return predict_by_columns if by_columns else predict


@functools.cache
def many_costs(loss: Loss, by_columns: bool):
    """The compiled pass that adds up the cost at each of m coefficients, a block of rows at a time.

    ``(x, y, weight, p, center, coef, intercept, first, last, offset, totals)``

        name        dir     shape        meaning
        y           IN      (1, n)       targets
        coef        IN      (m, d)       coefficients of m models
        intercept   IN      (m,)         intercepts of m models
        totals      IN OUT  (m,)         the summed costs

    The other arguments are described in `fastgd.cpu`.
    """
    values = _values(loss)

    @kernel
    def costs_pass(x, y, weight, p, center, coef, intercept, first, last, offset, totals):
        x = x.T if by_columns else x
        m, d = coef.shape
        rows = min(1024, max(1, _ROW_BLOCK // max(d * x.itemsize, 1)))
        z = np.empty(rows, coef.dtype)
        for start in range(first, last, rows):
            stop = min(start + rows, last)
            for c in range(m):
                for i in range(stop - start):
                    z[i] = intercept[c]
                if by_columns:
                    for j in range(d):
                        for i in range(stop - start):
                            z[i] += x[start + i, j] * coef[c, j]
                else:
                    for i in range(stop - start):
                        prediction = z[i]
                        for j in range(d):
                            prediction += x[start + i, j] * coef[c, j]
                        z[i] = prediction
                totals[c] += values(z, y, weight, p, 0, start + offset, stop - start)

    return costs_pass


@functools.cache
def batch_epochs(loss: Loss | CoupledLoss, by_columns: bool, rule: Rule):
    """The compiled loop over epochs of batch descent, for data small enough that one thread does a pass.

    ``(x, y, weight, low, low_intercept, coef, intercept, previous, settings, rates, hyper, memory,
    state, costs, norms, path, last_epoch, with_cost)`` returns the status. It goes on from the epoch in
    `state`.

        name           dir     shape            meaning
        low            OUT     (k, d)           the coefficients in the dtype of the pass
        low_intercept  OUT     (k,)             the intercepts in the dtype of the pass
        coef           IN OUT  (k, d) float64   coefficients
        intercept      IN OUT  (k,) float64     intercepts
        last_epoch     IN      int              number of epochs at the end
        with_cost      IN      bool             whether `state` gets the cost at the last parameters

    The other arguments are described in `fastgd.cpu`.
    """
    one_pass = (_columns_pass if by_columns else rows_pass)(loss, False)
    end_of_epoch, new_scratch = advance(rule), scratch_maker(loss)

    @kernel
    def epochs_of_gd(
        x,
        y,
        weight,
        low,
        low_intercept,
        coef,
        intercept,
        previous,
        settings,
        rates,
        hyper,
        memory,
        state,
        costs,
        norms,
        path,
        last_epoch,
        with_cost,
    ):
        k, d = coef.shape
        totals = np.empty((k, d + 2))
        scratch, gradient = new_scratch(x, low, by_columns)
        n, center, given = y.shape[1], low[0], np.empty(0, np.int32)
        p = low.dtype.type(settings[P])
        for epoch in range(int(state[EPOCHS]), last_epoch + int(with_cost)):
            for c in range(k):
                low_intercept[c] = intercept[c]
                for j in range(d):
                    low[c, j] = coef[c, j]
            for c in range(k):
                for j in range(d + 2):
                    totals[c, j] = 0.0
            one_pass(
                x, given, y, weight, p, center, low, low_intercept, 0, n, 0, scratch, gradient,
                totals,
            )  # fmt: skip
            if epoch == last_epoch:
                state[COST] = 0.0
                for c in range(k):
                    state[COST] += settings[SCALE] * totals[c, d + 1]
                break
            status = end_of_epoch(
                totals, coef, intercept, previous, settings, rates, hyper, memory, state, costs, norms,
                path,
            )  # fmt: skip
            if status != RUNNING:
                return status
        return RUNNING

    return epochs_of_gd


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
    one_pass, parameter = accumulate_rows(loss.formula), float(loss.p)

    @kernel
    def mean_cost_and_gradient(x, y, coef, intercept, gradient):
        n, d = x.shape
        totals = np.zeros((1, d + 2))
        constant = np.empty(1, coef.dtype)
        constant[0] = intercept
        one_pass(
            x,
            y.reshape(1, n),
            coef[:0],
            coef.dtype.type(parameter),
            coef[:0],
            coef.reshape(1, d),
            constant,
            0,
            n,
            0,
            totals,
        )
        for j in range(d):
            gradient[j] = totals[0, j] / n
        return totals[0, d + 1] / n, totals[0, d] / n

    return mean_cost_and_gradient
