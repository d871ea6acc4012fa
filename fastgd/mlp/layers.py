"""What lies between the products of a network, one kernel each.

Rows on their way in; bias, activation and its slope from one exponential; loss and its slope; a slope
times what comes from the layer above; the step of an optimizer. `fastgd.mlp.network` calls them through
pointers, so that its own loops are compiled once for all of them: they all return a number.
"""

import functools

from ..compile.functions import compiled, leaf
from ..cpu.machine.prefetch import LINE, prefetch
from ..cpu.machine.vector_math import vectorised
from ..cpu.machine.vector_width import use_widest_vectors
from ..cpu.order import row_at
from ..formulas.activations import ACTIVATIONS
from ..formulas.updates import Rule
from ..losses import CoupledLoss, Loss


@compiled
def gather(x, order, first, out):
    """out = the rows order[first : first + m] of x, in out's dtype, asked for a row ahead."""
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
    """Compiled: z ← σ(z + b), and slope ← σ′(z + b)."""
    value = vectorised(ACTIVATIONS[name].value)
    slope_of = vectorised(ACTIVATIONS[name].slope)

    @compiled
    def apply(z, b, slope):
        use_widest_vectors()
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                raw = z[i, j] + b[j]
                slope[i, j] = slope_of(raw)
                z[i, j] = value(raw)
        return 0.0

    return apply


@compiled
def _weight_at(weight, row):
    """1 without weights."""
    return weight[row] if weight.shape[0] > 0 else weight.dtype.type(1)


@functools.cache
def head(loss: Loss):
    """Compiled: the sum of the losses at z + b; z ← share·slope, and its column sums in `by_b`."""
    value, slope_of = vectorised(loss.value), vectorised(loss.slope)

    @compiled
    def apply(z, b, y, weight, order, first, share, by_b):
        total = 0.0
        by_b[:] = z.dtype.type(0)
        for i in range(z.shape[0]):
            row = row_at(order, first + i)
            counts = _weight_at(weight, row)
            for j in range(z.shape[1]):
                raw = z[i, j] + b[j]
                total += counts * value(raw, y[row, j])
                z[i, j] = share * counts * slope_of(raw, y[row, j])
                by_b[j] += z[i, j]
        return total

    return apply


@functools.cache
def softmax_head(loss: CoupledLoss):
    """Compiled: `head` of a loss that couples the outputs, with the index of the right one in y."""
    add, value, slope_of = vectorised(loss.add), vectorised(loss.value), vectorised(loss.slope)

    @compiled
    def apply(z, b, y, weight, order, first, share, by_b):
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
                z[i, j] = share * counts * slope_of(z[i, j], hit, top, rest)
                by_b[j] += z[i, j]
        return total

    return apply


@compiled
def through(delta, slope, by_b):
    """delta ← delta·slope, and its column sums in `by_b`."""
    by_b[:] = delta.dtype.type(0)
    for i in range(delta.shape[0]):
        for j in range(delta.shape[1]):
            delta[i, j] *= slope[i, j]
            by_b[j] += delta[i, j]


@functools.cache
def update(rule: Rule):
    """Compiled: the step of the parameters θ[first:stop]; penalty·θ is in their gradient."""
    scales, step, slots = leaf(rule.scales), leaf(rule.step), rule.slots

    @compiled
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


@compiled
def stay(theta, gradient, memory, first, stop, penalty, lr, t, hyper, low_hyper):
    """`update` of no rule."""
    return 0.0
