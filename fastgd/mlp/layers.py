"""The operations that an update of a network is made of, on a part of a block of rows.

Gathering rows, products, bias and activation and its slope from one exponential, loss and its slope, the
backward step through an activation, the step of an optimizer. `network.updates` calls them by address,
so that it is compiled once for all of them. Each takes the same arguments and returns a float, the sum
of losses of the part or 0:

    name           dir     shape   meaning
    plan           IN      record  of `network._new_plan`: addresses of the data, places, learning rate
    numbers        IN OUT  (…,)    parameters, gradient, optimizer state, and scratch for a block
    operation      IN      record  of `network._OPERATION`: the places of its matrices
    block          IN      record  of `network._BLOCK_TYPE`: which rows of which batch
    first, stop    IN      int     the part: rows of the block, or of the result
"""

import functools

import numpy as np

from ..compile.functions import leaf, piece
from ..cpu.machine.blas import multiply
from ..cpu.machine.vector_math import vectorised
from ..cpu.machine.vector_width import use_widest_vectors
from ..cpu.machine.views import array_at, view
from ..cpu.sparse import arrays_of
from ..formulas.activations import ACTIVATIONS
from ..formulas.updates import Rule
from ..losses import CoupledLoss, Loss


@functools.cache
def gather(dtype: np.dtype, by_rows: bool):
    """The compiled copy of rows of x to `out`.

    x has this dtype, and with `by_rows` the numbers of a row are adjacent in memory.
    """
    scalar = dtype.type

    @piece
    def apply(plan, numbers, operation, block, first, stop):
        m, d = stop - first, operation.columns
        order = array_at(plan.order, (plan.n,), None, np.int64)
        out = view(numbers, operation.out + first * d, (m, d))
        for i in range(m):
            address = plan.x + order[block.at + first + i] * plan.x_row
            if by_rows:
                row = array_at(address, (d,), None, scalar)
            else:
                row = array_at(address, (d,), (plan.x_column,), scalar)
            for j in range(d):
                out[i, j] = row[j]
        return 0.0

    return apply


@piece
def products(plan, numbers, operation, block, first, stop):
    """out[first:stop] = alpha·a[first:stop]·b + beta·out[first:stop]."""
    n, inner = operation.columns, operation.inner if operation.inner > 0 else block.rows
    multiply(
        plan.product, numbers, stop - first, n, inner,
        (operation.a + first * operation.a_step, operation.a_row, operation.a_turned),
        (operation.b, operation.b_row, operation.b_turned), (operation.out + first * n, n),
        operation.alpha, operation.beta + operation.adds * block.adds,
    )  # fmt: skip
    return 0.0


@functools.cache
def sparse_products(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled out[first:stop] = x·b for sparse rows x of the block; `plan.x` is their header."""
    arrays = arrays_of(data_dtype, index_dtype)

    @piece
    def apply(plan, numbers, operation, block, first, stop):
        T, m, k = numbers.dtype.type, stop - first, operation.columns
        data, indices, indptr = arrays(plan.x)
        order = array_at(plan.order, (plan.n,), None, np.int64)
        out = view(numbers, operation.out + first * k, (m, k))
        for i in range(m):
            row = order[block.at + first + i]
            for c in range(k):
                out[i, c] = T(0)
            for at in range(indptr[row], indptr[row + 1]):
                value, w = T(data[at]), view(numbers, operation.b + np.int64(indices[at]) * k, (k,))
                for c in range(k):
                    out[i, c] += value * w[c]
        return 0.0

    return apply


@functools.cache
def sparse_gradient(data_dtype: np.dtype, index_dtype: np.dtype):
    """The compiled out[first:stop] = alpha·x^T·b + beta·out[first:stop], for all rows of the block."""
    arrays = arrays_of(data_dtype, index_dtype)

    @piece
    def apply(plan, numbers, operation, block, first, stop):
        T, k = numbers.dtype.type, operation.columns
        data, indices, indptr = arrays(plan.x)
        order = array_at(plan.order, (plan.n,), None, np.int64)
        alpha, beta = T(operation.alpha), T(operation.beta + operation.adds * block.adds)
        out = view(numbers, operation.out + first * k, ((stop - first) * k,))
        for j in range(out.shape[0]):
            out[j] = beta * out[j] if beta != T(0) else T(0)
        for i in range(block.rows):
            row = order[block.at + i]
            delta = view(numbers, operation.b + i * k, (k,))
            for at in range(indptr[row], indptr[row + 1]):
                j = np.int64(indices[at])
                if first <= j < stop:
                    value, w = alpha * T(data[at]), view(numbers, operation.out + j * k, (k,))
                    for c in range(k):
                        w[c] += value * delta[c]
        return 0.0

    return apply


@functools.cache
def activate(name: str):
    """The compiled activation: out ← σ(out + a), and b ← σ′(out + a), with biases a."""
    value = vectorised(ACTIVATIONS[name].value)
    slope_of = vectorised(ACTIVATIONS[name].slope)

    @piece
    def apply(plan, numbers, operation, block, first, stop):
        use_widest_vectors()
        m, k = stop - first, operation.columns
        bias, z = view(numbers, operation.a, (k,)), view(numbers, operation.out + first * k, (m, k))
        slope = view(numbers, operation.b + first * k, (m, k))
        for i in range(m):
            for j in range(k):
                raw = z[i, j] + bias[j]
                slope[i, j] = slope_of(raw)
                z[i, j] = value(raw)
        return 0.0

    return apply


@functools.cache
def head(loss: Loss):
    """The compiled losses at out + a, with biases a: their sum, and out ← factor·weight·slope."""
    value, slope_of = vectorised(loss.value), vectorised(loss.slope)

    @piece
    def apply(plan, numbers, operation, block, first, stop):
        T, m, k = numbers.dtype.type, stop - first, operation.columns
        bias, z = view(numbers, operation.a, (k,)), view(numbers, operation.out + first * k, (m, k))
        y, weight = (
            array_at(plan.y, (plan.n, k), None, T),
            array_at(plan.weight, (plan.n,), None, T),
        )
        order, factor = array_at(plan.order, (plan.n,), None, np.int64), T(block.factor)
        total = 0.0
        for i in range(m):
            row = order[block.at + first + i]
            counts = weight[row]
            for j in range(k):
                raw, target = z[i, j] + bias[j], y[row, j]
                total += counts * value(raw, target)
                z[i, j] = factor * counts * slope_of(raw, target)
        return total

    return apply


@functools.cache
def softmax_head(loss: CoupledLoss):
    """The compiled `head` of a coupled loss: y (n, 1) has class indices."""
    add, value, slope_of = vectorised(loss.add), vectorised(loss.value), vectorised(loss.slope)

    @piece
    def apply(plan, numbers, operation, block, first, stop):
        T, m, k = numbers.dtype.type, stop - first, operation.columns
        bias, z = view(numbers, operation.a, (k,)), view(numbers, operation.out + first * k, (m, k))
        y, weight = (
            array_at(plan.y, (plan.n,), None, np.int64),
            array_at(plan.weight, (plan.n,), None, T),
        )
        order, factor = array_at(plan.order, (plan.n,), None, np.int64), T(block.factor)
        total = 0.0
        for i in range(m):
            row = order[block.at + first + i]
            label, counts = y[row], weight[row]
            top, rest = z[i, 0] + bias[0], T(0)
            for j in range(k):
                z[i, j] += bias[j]
                if j > 0:
                    top, rest = add(top, rest, z[i, j])
            total += counts * value(z[i, label], top, rest)
            for j in range(k):
                hit = T(1) if j == label else T(0)
                z[i, j] = factor * counts * slope_of(z[i, j], hit, top, rest)
        return total

    return apply


@piece
def through(plan, numbers, operation, block, first, stop):
    """out ← out·a, elementwise: deltas times the slopes of the activation."""
    k, n = operation.columns, (stop - first) * operation.columns
    delta = view(numbers, operation.out + first * k, (n,))
    slope = view(numbers, operation.a + first * k, (n,))
    for j in range(n):
        delta[j] *= slope[j]
    return 0.0


@functools.cache
def update(rule: Rule):
    """The compiled step of the parameters `out`, at the end of a batch; returns its part of penalties."""
    scales, step, slots = leaf(rule.scales), leaf(rule.step), rule.slots

    @piece
    def apply(plan, numbers, operation, block, first, stop):
        if not block.ends:
            return 0.0
        T, n, p = numbers.dtype.type, (stop - first) * operation.columns, plan.low_hyper
        zero, l2 = T(0), T(operation.penalty * block.penalty)
        u64, v64, w64 = scales(plan.lr, plan.t + block.t, plan.hyper)
        u, v, w = T(u64), T(v64), T(w64)
        # Views, because an index from a place on might be negative: 7 times slower.
        at = operation.out + first * operation.columns
        theta, gradient = view(numbers, at, (n,)), view(numbers, at + plan.size, (n,))
        squares, half = 0.0, block.squares * operation.penalty / 2
        if half > 0:
            for j in range(n):
                squares += theta[j] * theta[j]
        if slots > 0:
            a, b = view(numbers, at + 2 * plan.size, (n,)), view(numbers, at + 3 * plan.size, (n,))
            c = view(numbers, at + 4 * plan.size, (n,))
            for j in range(n):
                g = gradient[j] + l2 * theta[j]
                theta[j], a[j], b[j], c[j] = step(theta[j], g, u, v, w, p, a[j], b[j], c[j])
        else:
            for j in range(n):
                g = gradient[j] + l2 * theta[j]
                theta[j] = step(theta[j], g, u, v, w, p, zero, zero, zero)[0]
        return half * squares

    return apply
