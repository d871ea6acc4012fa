"""Back-propagation on the CPU: dense products by BLAS, with fused kernels between them.

A layer is aₗ = σ(aₗ₋₁·Wₗ + bₗ), with Wₗ as (in, out): a batch of 64 rows times 784×128 float32 takes
BLAS 107 µs this way and 138 in torch's (out, in). All numbers are in one array.

An update is a list of operations in two phases, whatever the number of layers: those on the rows of the
batch, forward and back, then those on the rows of every Wₗ, its gradient and its step. A phase is cut
into parts, by the shapes alone, and a team of threads runs the phases of many updates in one compiled
loop. Operations are called by address and find their matrices in records, so that the loop and each
operation are compiled once, for every network.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from ..compile.functions import call, kernel, pointer, record, records
from ..cpu.machine import team
from ..cpu.machine.atomics import backoff_address
from ..cpu.machine.blas import one_thread, product
from ..cpu.order import visiting_order
from ..cpu.sparse import Header
from ..formulas.updates import HYPER, RULES, SLOTS, Rule
from .layers import (
    activate,
    gather,
    head,
    products,
    softmax_head,
    sparse_gradient,
    sparse_products,
    through,
    update,
)

#: Rows that go through the layers together; larger batches add up. BLAS is as fast at 64 as at 10,000.
BLOCK = 512
#: Rows in one part of a forward pass for the cost, and rows in one of its blocks.
_COST_ROWS = 256
_COST_BLOCK = team.PARTS * _COST_ROWS
#: A part is not worth a thread below so many operations, about 4 µs.
_LEAST = 400_000
#: A second thread, which takes 70 µs to wake up, is not worth it below so many.
_THREADED = 20_000_000
#: Operations of one compiled call for a cost, about 70 ms; after it Ctrl-C takes effect.
_SPAN = 2_000_000_000
#: Places between the sums of two parts, a cache line, and a multiple of it, where matrices begin.
_APART, _ALIGNED = 8, 32

#: One operation of `layers`, by default. 'out', 'a' and 'b' are the first places of its matrices.
#: function: its address.
#: size: rows of the result, which are cut into parts; 0 for those of the block. columns: of the result.
#: inner: rows of b in a product; 0 for those of the block.
#: a_row, b_row: places from row to row as stored. a_step: those from one row of the result to the next.
#: a_turned, b_turned: whether the stored matrix is the transpose.
#: alpha, beta: factors of a product and of the result before; from a batch's second block on, beta is
#: `adds` more.
#: penalty: the l2 of a step.
_OPERATION = {
    "function": 0, "size": 0, "columns": 0, "out": 0, "a": 0, "b": 0, "inner": 0, "a_row": 0,
    "a_step": 0, "a_turned": False, "b_row": 0, "b_turned": False, "alpha": 1.0, "beta": 0.0,
    "adds": 0.0, "penalty": 0.0,
}  # fmt: skip

#: A block: its first place in the order, its rows and parts, the factor from summed losses to the cost
#: of its batch, the number of the batch, from 1, whether the block ends it, and 1 if it doesn't begin it.
#: penalty: the factor of the l2 of the batch's steps. counts: the factor of what its operations return,
#: in the sum of losses. squares: that of l2/2·Σθ² there, which is not among losses by default.
_BLOCK_TYPE = np.dtype(
    (
        np.record,
        [
            ("at", np.int64), ("rows", np.int64), ("parts", np.int64), ("factor", np.float64),
            ("t", np.float64), ("adds", np.float64), ("ends", np.int64), ("penalty", np.float64),
            ("counts", np.float64), ("squares", np.float64),
        ],
    )
)  # fmt: skip


def parts_of(m, operations):
    """The number of parts of a phase of m rows: of about 64 rows each, of 32 if there are only two."""
    parts = np.maximum(np.minimum(m // 32, 2), m // 64)
    return np.maximum(np.minimum(np.minimum(parts, team.PARTS), operations // _LEAST), 1)


@kernel
def updates(plan, operations, blocks, numbers):
    """What one member of a team does of the operations on blocks.

    name         dir     shape           meaning
    plan         IN OUT  record          of `Passes`
    operations   IN      (operations,)   records of `_OPERATION`, up to `plan.ends[phase]` for a phase
    blocks       IN      (blocks,)       records of `_BLOCK_TYPE`
    numbers      IN OUT  (…,)            of the network
    """
    members, losses = plan.members, plan.losses
    mine = team.take(members)
    begun = 0  # parts of the phases before
    for b in range(blocks.shape[0]):
        block = blocks[b]
        first_operation = 0
        for phase in range(plan.phases):
            while mine < begun + block.parts:
                part = mine - begun
                # Not `begun`: for its first value, a literal, `wait_for` would be compiled once more.
                team.wait_for(members, mine - part, plan.backoff)
                for i in range(first_operation, plan.ends[phase]):
                    operation = operations[i]
                    size = operation.size if operation.size > 0 else block.rows
                    first = size * part // block.parts
                    stop = size * (part + 1) // block.parts
                    if first < stop:
                        losses[part * _APART] += block.counts * call(
                            operation.function, plan, numbers, operation, block, first, stop
                        )
                team.finish(members)
                mine = team.take(members)
            begun += block.parts
            first_operation = plan.ends[phase]


def end_of_block(at: int, batch: int, n: int) -> int:
    """The first end of a block at or after place `at`, of n rows in batches."""
    start = at // batch * batch
    return min(start - (start - at) // BLOCK * BLOCK, start + batch, n)


@functools.lru_cache(4)
def blocks_of(
    first: int, stop: int, batch: int, n: int, block: int, unit: float, mean: bool, size: int
) -> tuple[np.ndarray, int]:
    """The blocks of the rows from one end of a block to another, of n rows in batches; their most parts.

    They are kept, because the spans of an epoch are those of the next.
    """
    each = -(-batch // block)  # blocks of a batch
    last = stop - 1
    numbers = np.arange(
        first // batch * each + first % batch // block,
        last // batch * each + last % batch // block + 1,
    )
    start = numbers // each * batch
    at, end = start + numbers % each * block, np.minimum(start + batch, n)
    rows = np.minimum(block, end - at)
    blocks = np.empty(len(numbers), _BLOCK_TYPE)
    blocks["at"], blocks["rows"], blocks["t"] = at, rows, start // batch + 1
    blocks["parts"] = parts_of(rows, 2 * rows * size)
    blocks["factor"] = unit / (end - start) if mean else unit
    blocks["adds"], blocks["ends"] = at > start, at + rows == end
    blocks["penalty"], blocks["counts"], blocks["squares"] = 1, 1, 0
    return blocks, int(blocks["parts"].max())


def _cost_blocks(first: int, stop: int) -> np.ndarray:
    """The blocks of a forward pass over these rows."""
    at = np.arange(first, stop, _COST_BLOCK)
    blocks = np.zeros(len(at), _BLOCK_TYPE)
    rows = np.minimum(_COST_BLOCK, stop - at)
    blocks["at"], blocks["rows"], blocks["parts"] = at, rows, -(-rows // _COST_ROWS)
    blocks["counts"] = 1
    return blocks


class _Layer(NamedTuple):
    """Units before and of a layer, and the places of its numbers; the last has no slope and delta = z."""

    n: int
    k: int
    weights: int
    biases: int
    z: int
    slope: int
    delta: int


class Network:
    """The parameters of a network, their gradient and the optimizer's state, and scratch.

    Parameters
    ----------
    sizes : list of int
        Columns of x, units of each hidden layer, outputs.
    activation : str
    loss : Loss or CoupledLoss
        For a coupled one y is the index of a row's class.
    dtype : dtype
    n_threads : int
    sparse : bool
        Whether x is sparse: its rows are not copied.
    most : int
        Rows of the largest block: `BLOCK`, or fewer, for a network whose passes have no `cost`.
    """

    def __init__(
        self, sizes: list[int], activation: str, loss: Any, dtype, n_threads: int, sparse: bool,
        most: int = _COST_BLOCK,
    ):  # fmt: skip
        self.sizes, self.dtype, self.n_threads = sizes, np.dtype(dtype), n_threads
        pairs = list(itertools.pairwise(sizes))
        self.penalised = sum(n * k for n, k in pairs)
        self.size = self.penalised + sum(sizes[1:])
        # Parameters, gradient and optimizer state; ones, and the rows of a block, and its layers.
        self.ones = -(-(2 + SLOTS) * self.size // _ALIGNED) * _ALIGNED
        self.rows = self.ones + most
        self.layers, weights, biases, at = [], 0, self.penalised, self.rows
        if not sparse:
            at += most * sizes[0]
        for n, k in pairs:
            units = most * k
            self.layers.append(
                _Layer(n, k, weights, biases, z=at, slope=at + units, delta=at + 2 * units)
            )
            weights, biases, at = weights + n * k, biases + k, at + 3 * units
        self.layers[-1] = self.layers[-1]._replace(delta=self.layers[-1].z)
        self.numbers = np.empty(at, dtype)  # memory that is not touched takes no place
        self.theta, self.gradient = self.numbers[: 2 * self.size].reshape(2, self.size)
        self.memory = self.numbers[2 * self.size : self.ones]
        self.theta[:], self.gradient[:], self.numbers[self.ones : self.rows] = 0, 0, 1
        self.weights, self.biases = self.views(self.theta)
        self.activate = activate(activation)
        self.head = softmax_head(loss) if loss.coupled else head(loss)
        #: The dtype of targets.
        self.kind = np.dtype(np.int64) if loss.coupled else self.dtype

    def views(self, flat):
        """Weights (in, out) and biases (out,) in a flat array of all parameters: all weights first."""
        weights = [flat[a.weights : a.weights + a.n * a.k].reshape(a.n, a.k) for a in self.layers]
        return weights, [flat[a.biases : a.biases + a.k] for a in self.layers]


def _new_plan(dtype: np.dtype) -> Any:
    """What the operations and their loop are told, and the counters and sums of a team."""
    return record(
        members=team.counters(), losses=np.zeros(team.PARTS * _APART), ends=np.zeros(2, np.int64),
        hyper=np.zeros(HYPER), low_hyper=np.zeros(HYPER, dtype), n=0, x=0, x_row=0, x_column=0, y=0,
        weight=0, order=0, product=0, backoff=0, size=0, phases=0, lr=0.0, t=0.0,
    )  # fmt: skip


@functools.cache
def _address(kernel, dtype: np.dtype) -> int:
    """The address of an operation; kept, because Numba takes 0.1 ms to find the type of a record."""
    example = _new_plan(dtype), np.empty(0, dtype), records([_OPERATION])[0]
    return pointer(kernel, *example, np.zeros(1, _BLOCK_TYPE)[0], 0, 0)


class Passes:
    """Passes of a network over rows, forward and back.

    Parameters
    ----------
    network : Network
    x : ndarray or sparse matrix (n, d)
        In float32 or float64: with any strides, or in compressed rows.
    y : ndarray (n, k)
        Targets, or (n, 1) indices of classes for a coupled loss.
    weight : ndarray (n,)
        Sample weights.
    """

    def __init__(self, network: Network, x: np.ndarray, y: np.ndarray, weight: np.ndarray):
        self.network, self.n = network, x.shape[0]
        self.given_order = visiting_order(self.n, False, 0, 0).astype(np.int64)
        y = np.ascontiguousarray(y, network.kind)
        weight = np.ascontiguousarray(weight, network.dtype)
        self.plan = plan = _new_plan(network.dtype)
        # The operations on sparse rows; for others their strides, and the operation that copies them.
        self._of_sparse = of_dense = None
        if isinstance(x, np.ndarray):
            rows, columns = x.strides
            plan.x, plan.x_row, plan.x_column = x.ctypes.data, rows, columns
            of_dense = gather(x.dtype, columns == x.itemsize)
        else:
            x = Header(x.data, x.indices, x.indptr)
            plan.x = x.address
            self._of_sparse = sparse_products(*x.dtypes), sparse_gradient(*x.dtypes)
        plan.n, self._data = self.n, (x, y, weight)  # the kernels have their addresses
        plan.y, plan.weight, plan.size = y.ctypes.data, weight.ctypes.data, network.size
        plan.product, plan.backoff = product(network.dtype), backoff_address()
        # Attributes of a record that are arrays take long to find.
        self._members, self._sums, self._ends = plan.members, plan.losses, plan.ends
        self._hyper, self._low_hyper = plan.hyper, plan.low_hyper
        self._forward, self._back = self._of_rows(of_dense)
        self._only_forward = records(self._forward)
        #: The operations of the last update and what they were made for.
        self._update: Any = None, None

    def _operation(self, kernel, columns: int, out: int, a: int, b: int = 0, **more: Any) -> Any:
        """One operation; the other fields are those of `_OPERATION`."""
        given = {"columns": columns, "out": out, "a": a, "b": b}
        return _OPERATION | given | more | {"function": _address(kernel, self.network.dtype)}

    def _of_rows(self, gather) -> tuple[Any, Any]:
        """The operations on the rows of a block: forward, and back."""
        network, operation = self.network, self._operation
        *hidden, last = network.layers
        forward, back = [], []
        if gather is not None:
            forward.append(operation(gather, network.sizes[0], network.rows, 0))
        a = network.rows
        for one in network.layers:
            given: Any = {"inner": one.n, "a_row": one.n, "a_step": one.n, "b_row": one.k}
            product = products
            if self._of_sparse and one is network.layers[0]:
                product = self._of_sparse[0]
            forward.append(operation(product, one.k, one.z, a, one.weights, **given))
            if one is not last:
                forward.append(operation(network.activate, one.k, one.z, one.biases, one.slope))
            a = one.z
        forward.append(operation(network.head, last.k, last.z, last.biases))
        for above, one in reversed(list(zip(network.layers[1:], hidden, strict=True))):
            given = {"inner": above.k, "a_row": above.k, "a_step": above.k, "b_row": above.k}
            back += [
                operation(
                    products, one.k, one.delta, above.delta, above.weights, b_turned=True, **given
                ),
                operation(through, one.k, one.delta, one.slope),
            ]
        return forward, back

    def _of_update(self, step, l2: float, plain: tuple[float, float] | None) -> np.ndarray:
        """All operations of an update: those on rows, the gradients of parameters, and their steps.

        A plain step, by lr and weight decay, is one with its product: 5 of 46 ms an epoch of
        10,000×784, 128 units, batches of 64.
        """
        network, operation, found = self.network, self._operation, [*self._forward, *self._back]
        a, turned = network.rows, {"a_turned": True, "a_step": 1}
        for one in network.layers:
            for rows, place, left, penalty in (
                (one.n, one.weights, a, l2),
                (1, one.biases, network.ones, 0.0),
            ):
                about: Any = {"size": rows, "penalty": penalty}
                into, scales = network.size + place, {"adds": 1.0}
                if plain is not None:
                    lr, decay = plain
                    into, scales = place, {"alpha": -lr, "beta": 1.0 - lr * (penalty + decay)}
                given = about | turned | scales | {"a_row": rows, "b_row": one.k}
                product = products
                if self._of_sparse and place == network.layers[0].weights:
                    product = self._of_sparse[1]
                found.append(operation(product, one.k, into, left, one.delta, **given))
                if step is not None:
                    found.append(operation(step, one.k, place, 0, **about))
            a = one.z
        return records(found)

    def train(
        self, order, first: int, stop: int, batch: int, unit: float, mean: bool,
        rule: Rule | None = None, l2=0.0, lr=0.0, t=0.0, hyper=None, low_hyper=None,
    ) -> float:  # fmt: skip
        """All updates by the rows order[first:stop]; returns the sum of the losses from place 0 on.

        `first` and `stop` are ends of blocks, and t batches began before place 0. Times `unit` the
        losses of a batch are its cost, with `mean` also divided by its rows. Each loss is that before
        its update. Without a rule the parameters stay, and the network's `gradient` is that of the only
        batch.
        """
        size = self.network.size
        blocks = blocks_of(first, stop, batch, len(order), BLOCK, unit, mean, size)
        plain = rule is RULES["gd"] and batch <= BLOCK
        return self.train_blocks(order, blocks, rule, l2, lr, t, hyper, low_hyper, plain)

    @one_thread()
    def train_blocks(
        self, order, blocks: tuple[np.ndarray, int], rule: Rule | None, l2, lr, t, hyper, low_hyper,
        plain: bool = False,
    ) -> float:  # fmt: skip
        """`train` by the rows of these blocks, from `blocks_of`: a step for each batch.

        With `plain` a step of gradient descent is one with its product, and l2 is that of all batches.
        """
        plan, step, at_once = self.plan, None, None
        if plain:
            at_once = lr, float(hyper[0])
        elif rule is not None:
            step = update(rule)
            plan.lr, plan.t, self._hyper[:], self._low_hyper[:] = lr, t, hyper, low_hyper
        made_for = step, l2, at_once
        if self._update[0] != made_for:
            self._update = made_for, self._of_update(*made_for)
        operations, (them, parts) = self._update[1], blocks
        ends = [len(self._forward) + len(self._back), len(operations)]
        # An update multiplies and adds three times for a row and a parameter.
        rows = int(them["rows"].sum())
        threads = parts if 6 * self.network.size * rows > _THREADED else 1
        return self._losses(order, int(them["at"][0]), them, operations, ends, threads)

    @one_thread()
    def cost(self, order=None) -> float:
        """The sum of the losses of the rows in `order`, by default of all."""
        order = self.given_order if order is None else order
        n, total = len(order), 0.0
        span = max(1, _SPAN // (2 * self.network.size * _COST_BLOCK)) * _COST_BLOCK
        for first in range(0, n, span):
            blocks = _cost_blocks(first, min(first + span, n))
            threads, ends = int(blocks["parts"][0]), [len(self._forward)]
            total = self._losses(order, first, blocks, self._only_forward, ends, threads)
        return total

    def _losses(
        self, order, first: int, blocks, operations, ends: list[int], threads: int
    ) -> float:
        """Run a team of up to so many threads, with the operations up to these ends in the phases."""
        self.plan.order, self.plan.phases = order.ctypes.data, len(ends)
        self._ends[: len(ends)], self._members[:] = ends, 0
        if first == 0:
            self._sums[:] = 0.0
        given = self.plan, operations, blocks, self.network.numbers
        team.run(updates, self._members, given, min(threads, self.network.n_threads))
        return float(self._sums.sum())
