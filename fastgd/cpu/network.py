"""Back-propagation on the CPU: dense products by BLAS, and all that lies between them fused.

A layer is aₗ = σ(aₗ₋₁·Wₗ + bₗ), with Wₗ as (in, out): a batch of 64 rows times 784×128 float32 takes BLAS
107 µs this way and 138 in torch's (out, in). Between two products there is one kernel: bias, activation
and its slope from one exponential, loss and its slope, or a slope times what comes from the layer
above; biases' gradients are summed on the way. All parameters lie in one array, so that an update is one
call, whatever the number of layers.

A batch of up to `BLOCK` rows runs on one thread, BLAS included (see `fastgd.cpu.blas`). The blocks of a
larger one, and those of the final cost, go to several: in groups that don't depend on their number.
"""

import functools
import itertools
import math

import numpy as np

from .._jit import compiled, leaf
from ..losses import Loss
from ..optimizers import Rule
from ..scalars import ACTIVATIONS
from .order import row_at
from .prefetch import LINE, prefetch
from .threads import for_each_part
from .vector_math import exp, vectorised
from .vector_width import use_widest_vectors

#: Rows that go through the layers together; larger batches add up. BLAS is as fast at 64 as at 10,000.
BLOCK = 512
#: Most groups of blocks; each has a gradient of its own.
_GROUPS = 8
_GIVEN_ORDER = np.empty(0, np.int32)


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
def activate(name: str, with_slope: bool):
    """Compiled: z ← σ(z + b), and slope ← σ′(z + b)."""
    value = vectorised(ACTIVATIONS[name].value)
    slope_of = vectorised(ACTIVATIONS[name].slope)

    @compiled
    def apply(z, b, slope):
        use_widest_vectors()
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                raw = z[i, j] + b[j]
                if with_slope:
                    slope[i, j] = slope_of(raw)
                z[i, j] = value(raw)

    return apply


@functools.cache
def head(loss: Loss):
    """Compiled: the sum of the losses at z + b; z ← share·slope, and its column sums in `by_b`."""
    value, slope_of = vectorised(loss.value), vectorised(loss.slope)

    @compiled
    def apply(z, b, y, order, first, share, by_b):
        total = 0.0
        by_b[:] = z.dtype.type(0)
        for i in range(z.shape[0]):
            row = row_at(order, first + i)
            for j in range(z.shape[1]):
                raw = z[i, j] + b[j]
                total += value(raw, y[row, j])
                z[i, j] = share * slope_of(raw, y[row, j])
                by_b[j] += z[i, j]
        return total

    return apply


_exp, _log = vectorised(exp), math.log


@compiled
def softmax_head(z, b, y, order, first, share, by_b):
    """`head` of the cross-entropy log Σⱼ exp(zⱼ) − z_y; its slope is softmax(z) − [j = y]."""
    T, (m, k) = z.dtype.type, z.shape
    total = 0.0
    by_b[:] = T(0)
    for i in range(m):
        top = z[i, 0] + b[0]
        for j in range(k):
            z[i, j] += b[j]
            top = max(top, z[i, j])
        label = y[row_at(order, first + i), 0]
        of_label, mass = z[i, label] - top, T(0)
        for j in range(k):
            z[i, j] = _exp(z[i, j] - top)
            mass += z[i, j]
        total += _log(mass) - of_label
        for j in range(k):
            z[i, j] = share * (z[i, j] / mass - (T(1) if j == label else T(0)))
            by_b[j] += z[i, j]
    return total


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
    """Compiled: the step of every parameter; l2·θ is in the gradient of the first `penalised`."""
    scales, step, slots = leaf(rule.scales), leaf(rule.step), rule.slots

    @compiled
    def apply(theta, gradient, memory, penalised, l2, lr, t, hyper, low_hyper):
        T = theta.dtype.type
        zero, penalty = T(0), T(l2)
        u64, v64, w64 = scales(lr, t, hyper)
        u, v, w = T(u64), T(v64), T(w64)
        if slots > 0:
            for j in range(theta.shape[0]):
                g = gradient[j] + (penalty if j < penalised else zero) * theta[j]
                theta[j], memory[0, j], memory[1, j], memory[2, j] = step(
                    theta[j], g, u, v, w, low_hyper, memory[0, j], memory[1, j], memory[2, j]
                )
        else:
            for j in range(theta.shape[0]):
                g = gradient[j] + (penalty if j < penalised else zero) * theta[j]
                theta[j] = step(theta[j], g, u, v, w, low_hyper, zero, zero, zero)[0]

    return apply


class _Room:
    """What m rows need on their way through the layers."""

    def __init__(self, m: int, sizes: list[int], dtype):
        self.x = np.empty((m, sizes[0]), dtype)
        self.z, self.delta, self.slope = (
            [np.empty((m, size), dtype) for size in sizes[1:]] for _ in range(3)
        )


class _Lane:
    """A gradient, and room for the rows that add to it."""

    def __init__(self, network: "Network"):
        self._network = network
        self._rooms: dict[int, _Room] = {}
        self.gradient, self.more = (np.zeros_like(network.theta) for _ in range(2))
        self.views = network.views(self.gradient), network.views(self.more)

    def room(self, m: int) -> _Room:
        """Room for m rows, kept for the next ones."""
        if m not in self._rooms:
            if len(self._rooms) > 3:
                self._rooms.clear()
            self._rooms[m] = _Room(m, self._network.sizes, self._network.dtype)
        return self._rooms[m]


class Network:
    """Parameters, their gradient, and room for blocks of rows; allocated once.

    Parameters
    ----------
    sizes : list of int
        Columns of x, units of each hidden layer, outputs.
    activation : str
    loss : Loss or None
        None is the cross-entropy of the softmax, with y the index of a row's class.
    dtype : dtype
    n_threads : int
    """

    def __init__(self, sizes: list[int], activation: str, loss: Loss | None, dtype, n_threads: int):
        self.sizes, self.dtype, self.n_threads = sizes, np.dtype(dtype), n_threads
        self.penalised = sum(a * b for a, b in itertools.pairwise(sizes))
        self.theta = np.zeros(self.penalised + sum(sizes[1:]), dtype)
        self.weights, self.biases = self.views(self.theta)
        self._activate = activate(activation, True), activate(activation, False)
        self._head = softmax_head if loss is None else head(loss)
        self._lanes = [_Lane(self)]
        self.gradient = self._lanes[0].gradient

    def views(self, flat):
        """Weights (in, out) and biases (out,) in a flat array: all weights first."""
        weights, biases, at = [], [], 0
        for a, b in itertools.pairwise(self.sizes):
            weights.append(flat[at : at + a * b].reshape(a, b))
            at += a * b
        for b in self.sizes[1:]:
            biases.append(flat[at : at + b])
            at += b
        return weights, biases

    def gradients(self):
        """The gradient as lists of (in, out) and (out,), which the next call overwrites."""
        return self._lanes[0].views[0]

    def cost_and_gradient(self, x, y, order, first: int, stop: int, share: float) -> float:
        """The sum of the losses of the rows order[first:stop]; `gradient` is that of share times it.

        An empty order is the given one.
        """
        if stop - first <= BLOCK:
            return self._block(self._lanes[0], x, y, order, first, stop, share, False)

        def block(lane, at, begins):
            cost = self._block(lane, x, y, order, at, min(at + BLOCK, stop), share, not begins)
            if not begins:
                lane.gradient += lane.more
            return cost

        total, used = self._by_blocks(block, first, stop)
        for lane in self._lanes[1:used]:
            self.gradient += lane.gradient
        return total

    def cost(self, x, y) -> float:
        """The sum of the losses of all rows."""

        def block(lane, at, begins):
            room, spare = lane.room(min(BLOCK, len(x) - at)), lane.views[1][1][-1]
            z = self._forward(self._rows(x, _GIVEN_ORDER, at, room), room, False)
            return self._head(z, self.biases[-1], y, _GIVEN_ORDER, at, self.dtype.type(1), spare)

        return self._by_blocks(block, 0, len(x))[0]

    def _by_blocks(self, block, first: int, stop: int) -> tuple[float, int]:
        """The sum of ``block(lane, at, begins)`` over blocks, and how many lanes took part."""
        starts = range(first, stop, BLOCK)
        n = len(starts)
        used = min(_GROUPS, n)
        while len(self._lanes) < used:
            self._lanes.append(_Lane(self))
        groups = [range(g * n // used, (g + 1) * n // used) for g in range(used)]
        costs = [0.0] * n

        def work(group, part):
            costs[part] = block(self._lanes[group], starts[part], part == groups[group][0])

        for_each_part(work, groups, self.n_threads)
        return sum(costs), used

    def _rows(self, x, order, first, room):
        m = len(room.x)
        if not len(order) and x.dtype == self.dtype and x.flags.c_contiguous:
            return x[first : first + m]
        gather(x, order, first, room.x)
        return room.x

    def _forward(self, a, room, with_slope):
        """The last layer's products, without its bias."""
        apply = self._activate[0 if with_slope else 1]
        for layer, z in enumerate(room.z):
            np.dot(a, self.weights[layer], out=z)
            if layer < len(room.z) - 1:
                apply(z, self.biases[layer], room.slope[layer])
            a = z
        return a

    def _block(self, lane, x, y, order, first, stop, share, more):
        room = lane.room(stop - first)
        by_weights, by_biases = lane.views[more]
        rows = self._rows(x, order, first, room)
        delta = self._forward(rows, room, True)
        total = self._head(
            delta, self.biases[-1], y, order, first, self.dtype.type(share), by_biases[-1]
        )
        for layer in range(len(room.z) - 1, 0, -1):
            np.dot(room.z[layer - 1].T, delta, out=by_weights[layer])
            below = np.dot(delta, self.weights[layer].T, out=room.delta[layer - 1])
            through(below, room.slope[layer - 1], by_biases[layer - 1])
            delta = below
        np.dot(rows.T, delta, out=by_weights[0])
        return total
