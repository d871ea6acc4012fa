"""Back-propagation on the CPU: dense products by BLAS, with fused kernels between them.

A layer is aₗ = σ(aₗ₋₁·Wₗ + bₗ), with Wₗ as (in, out): a batch of 64 rows times 784×128 float32 takes
BLAS 107 µs this way and 138 in torch's (out, in). All parameters are in one array.

An update has two phases, whatever the number of layers: the rows of the batch go forward and back, then
the rows of every Wₗ get their gradient and their step. A phase is cut into parts, by the shapes alone,
and a team of threads runs the phases of many updates in one compiled loop.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from ..compile.functions import call, kernel, leaf, piece, pointer
from ..cpu.machine import team
from ..cpu.machine.atomics import backoff_address
from ..cpu.machine.blas import multiply, one_thread, product
from ..cpu.machine.pool import for_each_part
from ..formulas.updates import RULES, Rule
from .layers import activate, gather, head, softmax_head, stay, through, update

#: Rows that go through the layers together; larger batches add up. BLAS is as fast at 64 as at 10,000.
BLOCK = 512
#: The same for a cost, a forward pass.
_COST_BLOCK = 256
#: A part is not worth a thread below so many operations, about 4 µs.
_LEAST = 400_000
#: A second thread, which takes 70 µs to wake up, is not worth it below so many.
_THREADED = 20_000_000
#: Places between the sums of two parts: a cache line.
_APART = 8
_GIVEN_ORDER = np.empty(0, np.int32)


class _Scratch(NamedTuple):
    """The scratch of m rows in all layers.

    Without `rows` they are read in place, and without `deltas` there is no backward pass. The matrices
    (m, units) of the layers are stored one after the other.
    """

    rows: np.ndarray
    zs: np.ndarray
    deltas: np.ndarray
    slopes: np.ndarray
    by_biases: np.ndarray


@piece
def _matrix(flat, at, m, n):
    return flat[at : at + m * n].reshape(m, n)


@piece
def _place(layers, i):
    """Rows and columns of a layer's weights, where they and its biases begin, and the units before."""
    return layers[i, 0], layers[i, 1], layers[i, 2], layers[i, 3], layers[i, 4]


@piece
def _bounds(n, part, parts):
    """First and last + 1 of part number `part` of n."""
    return n * part // parts, n * (part + 1) // parts


@leaf
def parts_of(m, operations):
    """The number of parts of a phase of m rows: of about 64 rows each, of 32 if there are only two."""
    return max(1, min(max(min(m // 32, 2), m // 64), team.PARTS, operations // _LEAST))


@kernel
def rows_part(
    activate, head, blas, x, y, weight, order, at, m, part, parts, factor, layers, theta, scratch
):
    """One part of m rows from place `at` on, forward and back; returns the sum of their losses.

        name      dir     shape         meaning
        activate  IN      int           address of `layers.activate`
        head      IN      int           address of `layers.head`
        blas      IN      int           address of `blas.product`
        y         IN      (n, k)        targets
        factor    IN      scalar        turns a sum of losses into the cost of the batch
        layers    IN      (layers, 5)   rows, columns, places of weights and biases, and units before
        theta     IN      (all,)        parameters
        scratch   OUT     _Scratch      activations, slopes and deltas of the rows

    The other arguments are described in `fastgd.cpu`.
    """
    first, stop = _bounds(m, part, parts)
    last = layers.shape[0] - 1
    a = scratch.rows[first:stop]
    gather(x, order, at + first, a)
    for layer in range(last + 1):
        n, k, w_at, b_at, before = _place(layers, layer)
        z = _matrix(scratch.zs, before * m, m, k)[first:stop]
        w = _matrix(theta, w_at, n, k)
        if layer == 0 and scratch.rows.shape[0] == 0:
            multiply(blas, x[at + first : at + stop], False, w, False, z, 1.0, 0.0)
        else:
            multiply(blas, a, False, w, False, z, 1.0, 0.0)
        if layer < last:
            slope = _matrix(scratch.slopes, before * m, m, k)[first:stop]
            call(activate, (z, theta[b_at : b_at + k], slope))
        a = z
    n, k, w_at, b_at, before = _place(layers, last)
    bias, by_b = theta[b_at : b_at + k], scratch.by_biases[part]
    total = call(head, (a, bias, y, weight, order, at + first, factor, by_b[before : before + k]))
    if scratch.deltas.shape[0] > 0:
        for layer in range(last, 0, -1):
            n, k, w_at, b_at, before = _place(layers, layer)
            before -= n
            below = _matrix(scratch.deltas, before * m, m, n)[first:stop]
            multiply(blas, a, False, _matrix(theta, w_at, n, k), True, below, 1.0, 0.0)
            slope = _matrix(scratch.slopes, before * m, m, n)[first:stop]
            through(below, slope, by_b[before : before + n])
            a = below
    return total


@piece
def parameters_part(
    step, plain, blas, m, part, parts, begins, ends, layers, theta, gradient, memory, scratch, l2, lr, t,
    hyper, low_hyper,
):  # fmt: skip
    """One part of every layer's gradient, from m rows, and of its step if the batch ends.

        name        dir     shape         meaning
        step        IN      int           address of `layers.update`
        plain       IN      bool          plain gradient descent, whose step BLAS takes
        begins      IN      bool          whether these are the first rows of the batch
        ends        IN      bool          whether these are its last rows
        theta       IN OUT  (all,)        parameters
        gradient    IN OUT  (all,)        gradient of the batch
        scratch     IN      _Scratch      of `rows_part`
        l2, lr, t   IN      scalar        penalty, learning rate, number of the update

    The other arguments are those of `layers.update` and `rows_part`.
    """
    last = layers.shape[0] - 1
    a = scratch.rows[:m]
    for layer in range(last + 1):
        n, k, w_at, b_at, before = _place(layers, layer)
        delta = _matrix(scratch.zs if layer == last else scratch.deltas, before * m, m, k)
        first, stop = _bounds(n, part, parts)
        columns = a[:, first:stop]
        if plain and begins and ends:
            # BLAS takes the step too: 5 of 46 ms an epoch of 10,000×784, 128 units, batches of 64.
            w = _matrix(theta, w_at, n, k)[first:stop]
            multiply(blas, columns, True, delta, False, w, -lr, 1.0 - lr * (l2 + hyper[0]))
        else:
            by_w = _matrix(gradient, w_at, n, k)[first:stop]
            multiply(blas, columns, True, delta, False, by_w, 1.0, 0.0 if begins else 1.0)
            if ends:
                low, high = w_at + first * k, w_at + stop * k
                call(step, (theta, gradient, memory, low, high, l2, lr, t, hyper, low_hyper))
        low, high = _bounds(k, part, parts)
        for j in range(low, high):
            g = gradient.dtype.type(0) if begins else gradient[b_at + j]
            for other in range(parts):
                g += scratch.by_biases[other, before + j]
            gradient[b_at + j] = g
        if ends:
            low, high = b_at + low, b_at + high
            call(step, (theta, gradient, memory, low, high, 0.0, lr, t, hyper, low_hyper))
        a = _matrix(scratch.zs, before * m, m, k)


@kernel
def updates(
    activate, head, step, plain, members, backoff, blas, x, y, weight, order, first, stop, batch, block,
    unit, mean, layers, theta, gradient, memory, scratch, losses, l2, lr, t, hyper, low_hyper,
):  # fmt: skip
    """What one member of a team does of the updates by the rows order[first:stop], `batch` at a time.

        name         dir     shape           meaning
        members      IN OUT  (SIZE,) int64   `team.counters()`
        backoff      IN      int             `atomics.backoff_address()`
        first, stop  IN      int             places in `order` where blocks begin or end
        batch        IN      int             rows of a batch
        block        IN      int             rows that go through the layers together
        unit         IN      scalar          times the losses of a batch is its cost
        mean         IN      bool            whether the cost is also divided by the rows of the batch
        losses       IN OUT  no_losses()     sums of the losses of each part, each before its update
        t            IN      float           number of batches that began before `first`

    The other arguments are those of `rows_part` and `parameters_part`.
    """
    T, rows = theta.dtype.type, x.shape[0]
    begun = 0  # parts of the phases before
    mine = team.take(members)
    at, start = first, first // batch * batch
    while at < stop:
        end = min(start + batch, rows)
        factor = T(unit / (end - start) if mean else unit)
        m = min(block, end - at)
        begins, ends = at == start, at + m == end
        if begins:
            t += 1.0
        parts = parts_of(m, 2 * m * theta.shape[0])
        while mine < begun + parts:
            part = mine - begun
            team.wait_for(members, begun, backoff)
            losses[part * _APART] += rows_part(
                activate, head, blas, x, y, weight, order, at, m, part, parts, factor, layers, theta,
                scratch,
            )  # fmt: skip
            team.finish(members)
            mine = team.take(members)
        begun += parts
        while mine < begun + parts:
            part = mine - begun
            team.wait_for(members, begun, backoff)
            parameters_part(
                step, plain, blas, m, part, parts, begins, ends, layers, theta, gradient, memory, scratch,
                l2, lr, t, hyper, low_hyper,
            )  # fmt: skip
            team.finish(members)
            mine = team.take(members)
        begun += parts
        at += m
        if ends:
            start = end


def no_losses() -> np.ndarray:
    """The zeros to which `Network.train` adds the losses of every part."""
    return np.zeros(team.PARTS * _APART)


def end_of_block(at: int, batch: int, n: int) -> int:
    """The first end of a block after place `at`, of n rows in batches."""
    start = at // batch * batch
    return min(start - (start - at) // BLOCK * BLOCK, start + batch, n)


class Network:
    """Parameters, their gradient, and scratch for a block of rows; allocated once.

    Parameters
    ----------
    sizes : list of int
        Columns of x, units of each hidden layer, outputs.
    activation : str
    loss : Loss or CoupledLoss
        For a coupled one y is the index of a row's class.
    dtype : dtype
    n_threads : int
    """

    def __init__(self, sizes: list[int], activation: str, loss: Any, dtype, n_threads: int):
        self.sizes, self.dtype, self.n_threads = sizes, np.dtype(dtype), n_threads
        units = sum(sizes[1:])
        self.penalised = sum(a * b for a, b in itertools.pairwise(sizes))
        self.theta, self.gradient = np.zeros((2, self.penalised + units), dtype)
        layers, w_at, before = [], 0, 0
        for n, k in itertools.pairwise(sizes):
            layers.append((n, k, w_at, self.penalised + before, before))
            w_at, before = w_at + n * k, before + k
        self._layers, self._blas = np.array(layers, np.int64), product(self.dtype)
        self.weights, self.biases = self.views(self.theta)
        self._kept: _Scratch | None = None
        self._steps: dict[Rule | None, Any] = {}
        z, b = np.empty((1, 1), dtype), np.empty(1, dtype)
        self._activate = pointer(activate(activation), z, b, z)
        y = np.empty((1, 1), np.int64) if loss.coupled else z
        self._head = pointer(
            softmax_head(loss) if loss.coupled else head(loss), z, b, y, b, _GIVEN_ORDER, 0,
            self.dtype.type(1), b,
        )  # fmt: skip

    def views(self, flat):
        """Weights (in, out) and biases (out,) in a flat array: all weights first."""
        weights, biases = [], []
        for n, k, w_at, b_at, _ in self._layers.tolist():
            weights.append(flat[w_at : w_at + n * k].reshape(n, k))
            biases.append(flat[b_at : b_at + k])
        return weights, biases

    def _new_scratch(self, m: int, straight=False, back=True) -> _Scratch:
        units = sum(self.sizes[1:])
        zs, deltas, slopes = (np.empty(n * units, self.dtype) for n in (m, m * back, m))
        rows = np.empty((0 if straight else m, self.sizes[0]), self.dtype)
        return _Scratch(rows, zs, deltas, slopes, np.empty((team.PARTS, units), self.dtype))

    @one_thread()
    def train(
        self, x, y, weight, order, first: int, stop: int, batch: int, unit: float, mean: bool,
        losses, rule: Rule | None = None, memory=None, l2=0.0, lr=0.0, t=0.0, hyper=None,
        low_hyper=None,
    ) -> None:  # fmt: skip
        """All updates by the rows order[first:stop]; t batches began before. Adds to `losses`.

        `first` and `stop` are ends of blocks. An empty order is the given one, and empty weights are
        ones. Without a rule the parameters stay, and `gradient` is that of the only batch.
        """
        m = min(batch, BLOCK)
        if self._kept is None or len(self._kept.rows) < m:
            self._kept = self._new_scratch(m)
        members = team.counters()
        memory = np.empty((0, 0), self.dtype) if memory is None else memory
        hyper = np.empty(0) if hyper is None else hyper
        low_hyper = np.empty(0, self.dtype) if low_hyper is None else low_hyper
        if rule not in self._steps:
            taken = self.theta, self.gradient, memory, 0, 0, 0.0, 0.0, 0.0, hyper, low_hyper
            self._steps[rule] = pointer(stay if rule is None else update(rule), *taken)
        given = (
            self._activate, self._head, self._steps[rule], rule is RULES["gd"], members,
            backoff_address(), self._blas, x, y, weight, order, first, stop, batch, BLOCK, float(unit),
            mean, self._layers, self.theta, self.gradient, memory, self._kept, losses, float(l2),
            float(lr), float(t), hyper, low_hyper,
        )  # fmt: skip
        operations = 6 * self.theta.size * (stop - first)
        helpful = parts_of(m, 2 * m * self.theta.size) if operations > _THREADED else 1
        team.run(updates, members, given, min(helpful, self.n_threads))

    @one_thread()
    def cost(self, x, y, weight, order=_GIVEN_ORDER) -> float:
        """The sum of the losses of the rows in `order`, all of them if it is empty."""
        n = len(order) or len(x)
        starts = range(0, n, _COST_BLOCK)
        used = min(team.PARTS, len(starts))
        groups = [
            range(g * len(starts) // used, (g + 1) * len(starts) // used) for g in range(used)
        ]
        straight = x.dtype == self.dtype and x.flags.c_contiguous and not len(order)
        scratches = [self._new_scratch(min(_COST_BLOCK, n), straight, False) for _ in groups]
        costs = [0.0] * len(starts)

        def work(group, part):
            at, scratch = starts[part], scratches.pop()
            costs[part] = rows_part(
                self._activate, self._head, self._blas, x, y, weight, order, at,
                min(_COST_BLOCK, n - at), 0, 1, self.dtype.type(1), self._layers, self.theta, scratch,
            )  # fmt: skip
            scratches.append(scratch)

        for_each_part(work, groups, self.n_threads)
        return sum(costs)
