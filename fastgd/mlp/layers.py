"""The kernels between the products of a network.

Rows of a batch; bias, activation and its slope from one exponential; loss and its slope; the backward
step through an activation; the step of an optimizer. `fastgd.mlp.network` calls them by address, so that
its own loops are compiled once for all of them; those that it calls so return a float. Matrices are (m,
k): m rows of the batch, k units of the layer.
"""

import functools

from ..compile.functions import kernel, leaf, piece
from ..cpu.machine.prefetch import LINE, prefetch
from ..cpu.machine.vector_math import vectorised
from ..cpu.machine.vector_width import use_widest_vectors
from ..cpu.order import row_at
from ..formulas.activations import ACTIVATIONS
from ..formulas.updates import Rule
from ..losses import CoupledLoss, Loss


@piece
def gather(x, order, first, out):
    """Copy the rows order[first : first + m] of x to out (m, d), prefetching one row ahead."""
    m, d = out.shape
    for i in range(m):
        row, ahead = row_at(order, first + i), row_at(order, first + min(i + 1, m - 1))
        step = LINE // x.itemsize
        for j in range(0, d, step):
            prefetch(x, ahead, j)
        for j in range(d):
            out[i, j] = x[row, j]


@functools.cache
def activate(name: str):
    """The compiled ``(z, b, slope)``: z ← σ(z + b), and slope ← σ′(z + b).

    name    dir     shape     meaning
    z       IN OUT  (m, k)    products, then activations
    b       IN      (k,)      biases
    slope   OUT     (m, k)    slopes of the activations
    """
    value = vectorised(ACTIVATIONS[name].value)
    slope_of = vectorised(ACTIVATIONS[name].slope)

    @kernel
    def apply(z, b, slope):
        use_widest_vectors()
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                raw = z[i, j] + b[j]
                slope[i, j] = slope_of(raw)
                z[i, j] = value(raw)
        return 0.0

    return apply


@piece
def _weight_at(weight, row):
    """1 without weights."""
    return weight[row] if weight.shape[0] > 0 else weight.dtype.type(1)


@functools.cache
def head(loss: Loss):
    """The compiled ``(z, b, y, weight, order, first, factor, by_b)``: the sum of the losses at z + b.

    name    dir     shape         meaning
    z       IN OUT  (m, k)        products of the last layer, then factor·weight·slope of the loss
    b       IN      (k,)          biases
    y       IN      (n, k)        targets of all rows
    weight  IN      (n,) or (0,)  sample weights; (0,): none
    order   IN      (n,) or (0,)  row i of z is the row order[first + i]
    factor  IN      scalar        turns a sum of losses into the cost
    by_b    OUT     (k,)          column sums of z: the gradient of the biases
    """
    value, slope_of = vectorised(loss.value), vectorised(loss.slope)

    @kernel
    def apply(z, b, y, weight, order, first, factor, by_b):
        total = 0.0
        by_b[:] = z.dtype.type(0)
        for i in range(z.shape[0]):
            row = row_at(order, first + i)
            counts = _weight_at(weight, row)
            for j in range(z.shape[1]):
                raw = z[i, j] + b[j]
                total += counts * value(raw, y[row, j])
                z[i, j] = factor * counts * slope_of(raw, y[row, j])
                by_b[j] += z[i, j]
        return total

    return apply


@functools.cache
def softmax_head(loss: CoupledLoss):
    """The compiled `head` of a coupled loss: y (n, 1) has class indices."""
    add, value, slope_of = vectorised(loss.add), vectorised(loss.value), vectorised(loss.slope)

    @kernel
    def apply(z, b, y, weight, order, first, factor, by_b):
        T, (m, k) = z.dtype.type, z.shape
        total = 0.0
        by_b[:] = T(0)
        for i in range(m):
            row = row_at(order, first + i)
            label, counts = y[row, 0], _weight_at(weight, row)
            top, rest = z[i, 0] + b[0], T(0)
            for j in range(k):
                z[i, j] += b[j]
                if j > 0:
                    top, rest = add(top, rest, z[i, j])
            total += counts * value(z[i, label], top, rest)
            for j in range(k):
                hit = T(1) if j == label else T(0)
                z[i, j] = factor * counts * slope_of(z[i, j], hit, top, rest)
                by_b[j] += z[i, j]
        return total

    return apply


@piece
def through(delta, slope, by_b):
    """delta ← delta·slope (m, k) in place, and by_b (k,) ← the column sums of delta."""
    by_b[:] = delta.dtype.type(0)
    for i in range(delta.shape[0]):
        for j in range(delta.shape[1]):
            delta[i, j] *= slope[i, j]
            by_b[j] += delta[i, j]


@functools.cache
def update(rule: Rule):
    """The compiled step of the parameters θ[first:stop].

    ``(theta, gradient, memory, first, stop, penalty, lr, t, hyper, low_hyper)``

        name       dir     shape           meaning
        theta      IN OUT  (all,)          parameters
        gradient   IN      (all,)          gradient of the cost
        memory     IN OUT  (SLOTS, all)    optimizer state
        penalty    IN      scalar          penalty·θ is added to the gradient
        lr, t      IN      scalar          learning rate, and number of the update
        hyper      IN      (HYPER,)        parameters of the optimizer in float64
        low_hyper  IN      (HYPER,)        the same in the dtype of θ
    """
    scales, step, slots = leaf(rule.scales), leaf(rule.step), rule.slots

    @kernel
    def apply(theta, gradient, memory, first, stop, penalty, lr, t, hyper, low_hyper):
        T = theta.dtype.type
        zero, l2 = T(0), T(penalty)
        u64, v64, w64 = scales(lr, t, hyper)
        u, v, w = T(u64), T(v64), T(w64)
        # Slices, because an index from `first` on might be negative: 7 times slower.
        own, by_own = theta[first:stop], gradient[first:stop]
        if slots > 0:
            a, b, c = memory[0][first:stop], memory[1][first:stop], memory[2][first:stop]
            for j in range(own.shape[0]):
                g = by_own[j] + l2 * own[j]
                own[j], a[j], b[j], c[j] = step(own[j], g, u, v, w, low_hyper, a[j], b[j], c[j])
        else:
            for j in range(own.shape[0]):
                g = by_own[j] + l2 * own[j]
                own[j] = step(own[j], g, u, v, w, low_hyper, zero, zero, zero)[0]
        return 0.0

    return apply


@kernel
def stay(theta, gradient, memory, first, stop, penalty, lr, t, hyper, low_hyper):
    """The arguments of `update`, without a step."""
    return 0.0
