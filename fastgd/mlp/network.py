"""Back-propagation on the CPU: dense products by BLAS, and all that lies between them fused.

A layer is aₗ = σ(aₗ₋₁·Wₗ + bₗ), with Wₗ as (in, out): a batch of 64 rows times 784×128 float32 takes BLAS
107 µs this way and 138 in torch's (out, in). All parameters lie in one array.

An update has two phases, whatever the number of layers: the rows of the batch go forward and back, then
the rows of every Wₗ get their gradient and their step. A phase is cut into parts, by the shapes alone,
and a team of threads goes through the phases of many updates in one compiled loop.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from ..compile.functions import call, compiled, pointer
from ..cpu.machine import team
from ..cpu.machine.atomics import resting
from ..cpu.machine.blas import multiply, one_thread, product
from ..cpu.machine.pool import for_each_part
from ..formulas.updates import RULES, Rule
from .layers import activate, gather, head, softmax_head, stay, through, update

#: Rows that go through the layers together; larger batches add up. BLAS is as fast at 64 as at 10,000.
BLOCK = 512
#: Those of a cost, which goes only forward.
_COST_BLOCK = 256
#: A part is not worth a thread below so many operations, about 4 µs.
_LEAST = 400_000
#: A second thread, which takes 70 µs to wake up, is not worth it below so many.
_THREADED = 20_000_000
#: The first loss of a part is this far from the next one's: a cache line.
_APART = 8
_GIVEN_ORDER = np.empty(0, np.int32)


class _Room(NamedTuple):
    """What m rows need on their way through the layers.

    Without `rows` they are read where they lie, and without `deltas` they go only forward. The matrices
    (m, units) of the layers lie one behind the other.
    """

    rows: np.ndarray
    zs: np.ndarray
    deltas: np.ndarray
    slopes: np.ndarray
    by_biases: np.ndarray


@compiled
def _matrix(flat, at, m, n):
    return flat[at : at + m * n].reshape(m, n)


@compiled
def _place(layers, i):
    """Rows and columns of a layer's weights, where they and its biases begin, and the units before."""
    return layers[i, 0], layers[i, 1], layers[i, 2], layers[i, 3], layers[i, 4]


@compiled
def _share(n, part, parts):
    """Where one of so many parts of n begins and ends."""
    return n * part // parts, n * (part + 1) // parts


@compiled
def parts_of(m, operations):
    """The parts of a phase of m rows: of about 64 rows each, of 32 if there are only two."""
    return max(1, min(max(min(m // 32, 2), m // 64), team.PARTS, operations // _LEAST))


@compiled
def rows_part(
    activate, head, blas, x, y, weight, order, at, m, part, parts, share, layers, theta, room
):
    """One part of m rows from number `at` on, forward and back; returns the sum of their losses."""
    first, stop = _share(m, part, parts)
    last = layers.shape[0] - 1
    a = room.rows[first:stop]
    gather(x, order, at + first, a)
    for layer in range(last + 1):
        n, k, w_at, b_at, before = _place(layers, layer)
        z = _matrix(room.zs, before * m, m, k)[first:stop]
        w = _matrix(theta, w_at, n, k)
        if layer == 0 and room.rows.shape[0] == 0:
            multiply(blas, x[at + first : at + stop], False, w, False, z, 1.0, 0.0)
        else:
            multiply(blas, a, False, w, False, z, 1.0, 0.0)
        if layer < last:
            slope = _matrix(room.slopes, before * m, m, k)[first:stop]
            call(activate, (z, theta[b_at : b_at + k], slope))
        a = z
    n, k, w_at, b_at, before = _place(layers, last)
    bias, by_b = theta[b_at : b_at + k], room.by_biases[part]
    total = call(head, (a, bias, y, weight, order, at + first, share, by_b[before : before + k]))
    if room.deltas.shape[0] > 0:
        for layer in range(last, 0, -1):
            n, k, w_at, b_at, before = _place(layers, layer)
            before -= n
            below = _matrix(room.deltas, before * m, m, n)[first:stop]
            multiply(blas, a, False, _matrix(theta, w_at, n, k), True, below, 1.0, 0.0)
            slope = _matrix(room.slopes, before * m, m, n)[first:stop]
            through(below, slope, by_b[before : before + n])
            a = below
    return total


@compiled
def parameters_part(
    step, plain, blas, m, part, parts, begins, ends, layers, theta, gradient, memory, room, l2, lr, t,
    hyper, low_hyper,
):  # fmt: skip
    """One part of every layer's gradient, from m rows, and, if the batch `ends`, of its step.

    `begins` where these are the first rows of the batch.
    """
    last = layers.shape[0] - 1
    a = room.rows[:m]
    for layer in range(last + 1):
        n, k, w_at, b_at, before = _place(layers, layer)
        delta = _matrix(room.zs if layer == last else room.deltas, before * m, m, k)
        first, stop = _share(n, part, parts)
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
        low, high = _share(k, part, parts)
        for j in range(low, high):
            g = gradient.dtype.type(0) if begins else gradient[b_at + j]
            for other in range(parts):
                g += room.by_biases[other, before + j]
            gradient[b_at + j] = g
        if ends:
            low, high = b_at + low, b_at + high
            call(step, (theta, gradient, memory, low, high, 0.0, lr, t, hyper, low_hyper))
        a = _matrix(room.zs, before * m, m, k)


@compiled
def updates(
    activate, head, step, plain, members, rest, blas, x, y, weight, order, first, stop, batch, block,
    unit, mean, layers, theta, gradient, memory, room, losses, l2, lr, t, hyper, low_hyper,
):  # fmt: skip
    """A thread's part in the updates by the rows order[first:stop], `batch` at a time.

    Both are where blocks begin or end; `t` batches began before `first`. `unit` times the losses of a
    batch is its cost, divided by its rows with `mean`. The losses are added to `losses`.
    """
    T, rows = theta.dtype.type, x.shape[0]
    begun = 0  # parts of the phases before
    mine = team.take(members)
    at, start = first, first // batch * batch
    while at < stop:
        end = min(start + batch, rows)
        share = T(unit / (end - start) if mean else unit)
        m = min(block, end - at)
        begins, ends = at == start, at + m == end
        if begins:
            t += 1.0
        parts = parts_of(m, 2 * m * theta.shape[0])
        while mine < begun + parts:
            part = mine - begun
            team.wait_for(members, begun, rest)
            losses[part * _APART] += rows_part(
                activate, head, blas, x, y, weight, order, at, m, part, parts, share, layers, theta,
                room,
            )  # fmt: skip
            team.finish(members)
            mine = team.take(members)
        begun += parts
        while mine < begun + parts:
            part = mine - begun
            team.wait_for(members, begun, rest)
            parameters_part(
                step, plain, blas, m, part, parts, begins, ends, layers, theta, gradient, memory, room,
                l2, lr, t, hyper, low_hyper,
            )  # fmt: skip
            team.finish(members)
            mine = team.take(members)
        begun += parts
        at += m
        if ends:
            start = end


def no_losses() -> np.ndarray:
    """Where `Network.train` adds up the losses of every part."""
    return np.zeros(team.PARTS * _APART)


def end_of_block(at: int, batch: int, n: int) -> int:
    """The first end of a block from number `at` on, of n rows in batches."""
    start = at // batch * batch
    return min(start - (start - at) // BLOCK * BLOCK, start + batch, n)


class Network:
    """Parameters, their gradient, and room for a block of rows; allocated once.

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
        self._kept: _Room | None = None
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

    def _room(self, m: int, straight=False, back=True) -> _Room:
        units = sum(self.sizes[1:])
        zs, deltas, slopes = (np.empty(n * units, self.dtype) for n in (m, m * back, m))
        rows = np.empty((0 if straight else m, self.sizes[0]), self.dtype)
        return _Room(rows, zs, deltas, slopes, np.empty((team.PARTS, units), self.dtype))

    @one_thread()
    def train(
        self, x, y, weight, order, first: int, stop: int, batch: int, unit: float, mean: bool,
        losses, rule: Rule | None = None, memory=None, l2=0.0, lr=0.0, t=0.0, hyper=None,
        low_hyper=None,
    ) -> None:  # fmt: skip
        """All updates by the rows order[first:stop]; t batches began before. Adds to `losses`.

        `first` and `stop` are where blocks end. An empty order is the given one, and empty weights are
        ones. Without a rule nothing moves, and `gradient` is that of the only batch.
        """
        m = min(batch, BLOCK)
        if self._kept is None or len(self._kept.rows) < m:
            self._kept = self._room(m)
        members = team.counters()
        memory = np.empty((0, 0), self.dtype) if memory is None else memory
        hyper = np.empty(0) if hyper is None else hyper
        low_hyper = np.empty(0, self.dtype) if low_hyper is None else low_hyper
        if rule not in self._steps:
            taken = self.theta, self.gradient, memory, 0, 0, 0.0, 0.0, 0.0, hyper, low_hyper
            self._steps[rule] = pointer(stay if rule is None else update(rule), *taken)
        given = (
            self._activate, self._head, self._steps[rule], rule is RULES["gd"], members,
            resting(), self._blas, x, y, weight, order, first, stop, batch, BLOCK, float(unit),
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
        rooms = [self._room(min(_COST_BLOCK, n), straight, False) for _ in groups]
        costs = [0.0] * len(starts)

        def work(group, part):
            at, room = starts[part], rooms.pop()
            costs[part] = rows_part(
                self._activate, self._head, self._blas, x, y, weight, order, at,
                min(_COST_BLOCK, n - at), 0, 1, self.dtype.type(1), self._layers, self.theta, room,
            )  # fmt: skip
            rooms.append(room)

        for_each_part(work, groups, self.n_threads)
        return sum(costs)
