"""Gradient descent with a given learning rate: batch and stochastic loops that run in chunks.

A chunk is about 100 ms of work, counted from shapes, so that callbacks and Ctrl-C come through; all
state lies in arrays here, and the next chunk goes on from it.
"""

import functools
import math

import numpy as np

from ..losses import Coupled, Loss
from . import advance, dense, statistics, stochastic, team
from .atomics import resting
from .order import KINDS, empty_order, seed_number, visiting_order
from .source import PART_BYTES, DenseRows
from .threads import for_each_part

RUNNING, CONVERGED, NOT_FINITE = advance.RUNNING, advance.CONVERGED, advance.NOT_FINITE

#: Nanoseconds of work between two looks at the outside world.
CHUNK_NS = 100e6

#: An epoch of batches is not worth a second thread below so much work.
_SHARED_NS = 1e6

# The cost model: nanoseconds by one thread, on a 3 GHz Xeon with AVX-512. Only their ratio decides, and
# a wrong decision costs at most the difference of the two ways near the point where they are even: on a
# machine where the ratio is twice another, less than a factor of 2.


def pass_ns(n: int, d: int, k: int, itemsize: int) -> float:
    """What one fused pass takes: 12 GB/s of X, 2 ns a row and output beside it.

    Measured a row: 22 to 26 (32 columns of float64), 10 to 13 (of float32), 1.2 to 3.5 (one column).
    """
    return n * (0.08 * d * itemsize + k * (2 + 0.1 * d))


def moments_ns(n: int, d: int, k: int) -> float:
    """What the moments take: 1 ns to lay out an entry, 25 products a ns, 50 µs to set up.

    Measured a row: 0.7 (one column), 63 (32), 120 (50), 4,500 (500).
    """
    wide = 1 + d + k
    return 5e4 + n * (wide + wide * wide / 50)


class _Descent:
    """The state that both loops share."""

    def __init__(self, source: DenseRows, loss: Loss, settings, coef, intercept, keep_path):
        k, d = coef.shape
        self.source, self.loss, self.settings = source, loss, settings
        self.coef, self.intercept = coef, intercept
        self.previous = np.empty((k, d + 1))
        self.previous[:, :d], self.previous[:, d] = coef, intercept
        self.costs, self.norms = np.empty(0), np.empty(0)
        self.path = np.empty((0, k, d))
        self.keep_path = keep_path
        self.epoch = 0
        #: Whether somebody looks after every epoch: then none ends with a pass for the cost.
        self.pauses = False

    def _make_room(self, stop: int) -> None:
        """Room for the costs (and the path) up to epoch `stop`: doubled when it is short."""
        if stop <= len(self.costs):
            return
        rows = max(stop, 2 * len(self.costs))
        for name, shape in (
            ("costs", (rows,)),
            ("norms", (rows,)),
            ("path", (rows if self.keep_path else 0, *self.coef.shape)),
        ):
            longer, done = np.full(shape, np.nan), getattr(self, name)[: self.epoch]
            longer[: len(done)] = done
            setattr(self, name, longer)

    def _low(self, array):
        return array.astype(self.source.dtype)

    def restore(self, epochs: int = 1) -> int:
        """Back to the last parameters whose cost was finite, so many epochs ago."""
        self.coef[:], self.intercept[:] = self.previous[:, :-1], self.previous[:, -1]
        self.epoch = max(0, self.epoch - epochs)
        return NOT_FINITE

    def parameters(self) -> np.ndarray:
        """A copy of what a fit that ended here would return, (k, d+1), intercepts last."""
        return np.column_stack([self.coef, self.intercept])

    def put(self, parameters: np.ndarray) -> None:
        """Go to parameters from `parameters()`."""
        self.coef[:], self.intercept[:] = parameters[:, :-1], parameters[:, -1]

    def totals(self, slopes_too: bool = True) -> np.ndarray:
        """A true pass at the current parameters."""
        coef, intercept = self._low(self.coef), self._low(self.intercept)
        return self.source.totals(self.loss, coef, intercept, slopes_too=slopes_too)

    def cost(self) -> float:
        """The cost at the current parameters, without the penalty."""
        return self.settings.scale * float(self.totals(slopes_too=False)[:, -1].sum())

    def gradient_norm(self) -> float:
        """The norm of the objective's gradient at the current parameters."""
        gradient = self.settings.scale * self.totals()[:, :-1]
        gradient[:, :-1] += self.settings.l2 * self.coef
        if self.settings.l1:
            gradient[:, :-1] = _with_l1(self.coef, gradient[:, :-1], self.settings.l1)
        if not self.settings.fit_intercept:
            gradient = gradient[:, :-1]
        return float(np.linalg.norm(gradient))


def _with_l1(coef, gradient, l1):
    """The smallest gradient of cost + l1·‖coef‖₁, as `fastgd.rules.l1_slope`."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0)
    return np.where(coef == 0, at_zero, gradient + l1 * np.sign(coef))


class AllRows(_Descent):
    """Descent that sees all rows at once, or for squared error their sufficient statistics."""

    _second: np.ndarray | None = None

    def first_cost(self) -> float:
        """The cost at the start, once an epoch has run."""
        return float(self.costs[0])

    def _build_statistics(self):
        source = self.source
        at_zero = not self.coef.any() and not self.intercept.any()
        # From zero the first pass is in the moments; from elsewhere one pass anchors them.
        moments, self._center = statistics.centred_moments(source, np.zeros(source.k))
        d = source.d
        self._second = np.empty((d + 1, d + 1))
        self._second[:d, :d] = moments[1 : d + 1, 1 : d + 1]
        self._second[d, :d] = self._second[:d, d] = moments[0, 1 : d + 1]
        self._second[d, d] = moments[0, 0]
        if at_zero:
            anchor = statistics.totals_at_zero(moments, d, np.ones(d), -self._center)
        else:
            anchor = self.totals()
        self._anchor = anchor, self.coef.copy(), self.intercept.copy()


class BatchDescent(AllRows):
    """Every update sees all rows: a fused pass each epoch, or statistics where they are cheaper.

    Squared error can be followed on X^T X instead of X. Whether that pays is decided from shapes,
    dtype and epochs alone, so that a run takes the same path, and gives the same bits, every time.
    If the run may stop early, it streams until it has spent what the statistics cost, as a ski renter
    does; it then never takes more than twice the better choice.
    """

    def __init__(self, source, loss, settings, coef, intercept, epochs, keep_path, may_stop):
        super().__init__(source, loss, settings, coef, intercept, keep_path)
        self._array, self._hyper = settings.array(), settings.hyper()
        self._memory, self._rates = settings.memory(*coef.shape), settings.rates(len(coef), 0, 1)
        self._state = np.array([-1.0, np.nan])
        one_pass = pass_ns(source.n, source.d, source.k, source.x.dtype.itemsize)
        build = moments_ns(source.n, source.d, source.k)
        on_moments = 100 + 0.3 * source.k * (source.d + 1) ** 2
        self._switch = epochs
        if loss.name == "mse" and build + epochs * on_moments < epochs * one_pass:
            self._switch = min(epochs, math.ceil(build / one_pass)) if may_stop else 0
        self._one_pass, self._on_moments = one_pass, on_moments
        self.method = "statistics" if self._switch == 0 else "stream"

    @property
    def chunk(self) -> int:
        """Epochs in 100 ms."""
        on_moments = self._switch <= self.epoch
        return max(1, int(CHUNK_NS / (self._on_moments if on_moments else self._one_pass)))

    def run(self, stop: int) -> int:
        """Go on to epoch number `stop` at most; returns the status."""
        self._state[1] = math.nan
        self._make_room(stop)
        if self.settings.schedule is not None and len(self._rates) < stop:
            more = self.settings.rates(len(self.coef), len(self._rates), max(stop, 2))
            self._rates = np.concatenate([self._rates, more])
        while self.epoch < stop:
            if self.epoch >= self._switch:
                status = self._run_on_statistics(stop)
            elif self.source.n_parts == 1 and not self.source.converts and not self.pauses:
                status = self._run_compiled(min(stop, self._switch))
            else:
                status = self._run_by_parts(min(stop, self._switch))
            if status == NOT_FINITE:
                return self.restore()
            if status != RUNNING:
                return status
        return RUNNING

    def put(self, parameters: np.ndarray) -> None:
        super().put(parameters)
        self._state[1] = math.nan

    def cost(self) -> float:
        return float(self._state[1]) if math.isfinite(self._state[1]) else super().cost()

    def _run_compiled(self, stop):
        source = self.source
        kernel = dense.descend(self.loss, source.by_columns, self.settings.optimizer.rule)
        status, self.epoch = kernel(
            source.seen,
            source.y,
            source.weight,
            self._low(self.coef),
            self._low(self.intercept),
            self.coef,
            self.intercept,
            *self._epochs_arrays(),
            self.epoch,
            stop,
        )
        return status

    def _epochs_arrays(self) -> tuple:
        """What the end of an epoch needs beside the parameters."""
        return (
            self.previous, self._array, self._rates, self._hyper, self._memory, self._state,
            self.costs, self.norms, self.path,
        )  # fmt: skip

    def _run_by_parts(self, stop):
        end_of_epoch = advance.advance(self.settings.optimizer.rule)
        while self.epoch < stop:
            status = end_of_epoch(
                self.totals(), self.coef, self.intercept, *self._epochs_arrays(), self.epoch
            )
            if status != RUNNING:
                return status
            self.epoch += 1
        return RUNNING

    def _run_on_statistics(self, stop):
        if self._second is None:
            self._build_statistics()
            self.method = "statistics"
        kernel = statistics.descend_statistics(self.settings.optimizer.rule)
        status, self.epoch = kernel(
            *self._anchor,
            self._second,
            self._center,
            self.coef,
            self.intercept,
            *self._epochs_arrays(),
            self.epoch,
            stop,
        )
        if status == statistics.STALE:
            self._anchor = self.totals(), self.coef.copy(), self.intercept.copy()
            status = RUNNING
        return status


class StochasticDescent(_Descent):
    """An update for every row, or for every batch of rows, in the visiting order of each epoch."""

    def __init__(
        self,
        source,
        loss,
        settings,
        coef,
        intercept,
        keep_path,
        *,
        batch_size,
        shuffle,
        seed,
        mean,
        average=False,
    ):
        super().__init__(source, loss, settings, coef, intercept, keep_path)
        self.batch_size, self.shuffle, self.seed, self.mean = batch_size, shuffle, seed, mean
        self.average = average
        self._plain = settings.plain and not average
        # The look-ahead of single rows is for outputs that don't see each other.
        self._by_row = batch_size == 1 and self._plain and not isinstance(loss, Coupled)
        self._hyper, self._low_hyper = settings.hyper(), settings.hyper(source.dtype)
        self._memory, self._clock = settings.memory(*coef.shape, source.dtype), np.zeros(1)
        self._mean = np.zeros_like(self.previous)
        self.method = "per-sample" if batch_size == 1 else "minibatch"
        row_ns = 20 + 2.0 * source.d * source.k
        self._totals = np.empty((team.PARTS, source.k, source.d + 2))
        self.chunk = max(1, int(CHUNK_NS / (source.n * row_ns)))
        self._rows_at_once = batch_size * max(1, int(CHUNK_NS / 2 / row_ns / batch_size))
        self._in_place = source.by_rows is not None
        # One call for many epochs, where an epoch needs no pause and nothing looks in between.
        self._row_ns = row_ns
        self._compiled = (
            self._in_place and self.chunk > 1 and settings.tol == 0 and self._plain
        ) and self._members() == 1
        self._first_norm = -1.0
        self._first_cost = math.nan

    def _members(self) -> int:
        """The threads that share a batch."""
        source = self.source
        if source.n * self._row_ns < _SHARED_NS:
            return 1
        return min(stochastic.parts_of(self.batch_size, source.d, source.k), source.n_threads)

    def first_cost(self) -> float:
        """The cost at the start; the losses met in the first epoch would be too late a measure."""
        return self._first_cost

    def _cost_at_start(self) -> float:
        source = self.source
        if self.coef.any():
            return self.cost()
        if isinstance(self.loss, Coupled):  # every row of a class has the same loss
            z, add, value = self.intercept.tolist(), self.loss.add, self.loss.value
            top, rest = functools.reduce(lambda sums, one: add(*sums, one), z[1:], (z[0], 0.0))
            weight = source.weight if len(source.weight) else None
            masses = np.bincount(source.y[0].astype(np.intp), weight, len(z))
            losses = [value(one, top, rest) for one in z]
            return self.settings.scale * float(masses @ losses)
        kernel = stochastic.cost_at_zero(self.loss)
        return self.settings.scale * kernel(source.y, source.weight, self._low(self.intercept))

    def run(self, stop: int) -> int:
        """Go on to epoch number `stop` at most; returns the status."""
        if self.epoch == 0:
            self._first_cost = self._cost_at_start()
        self._make_room(stop)
        if self._compiled:
            return self._run_compiled(stop)
        while self.epoch < stop:
            self.previous[:, :-1], self.previous[:, -1] = self.coef, self.intercept
            try:
                cost = self._one_epoch()
            except KeyboardInterrupt:  # back to the start of the epoch: costs and parameters agree
                self.restore(0)
                raise
            finite = np.isfinite(self.coef).all() and np.isfinite(self.intercept).all()
            if not (math.isfinite(cost) and finite):
                return self.restore(0)
            self.costs[self.epoch] = cost
            if self.keep_path:
                self.path[self.epoch] = self.coef
            self.epoch += 1
            if self.settings.tol > 0 and self._within_tolerance():
                return CONVERGED
        return RUNNING

    def _run_compiled(self, stop: int) -> int:
        source = self.source
        coef, intercept = self._low(self.coef), self._low(self.intercept)
        status, self.epoch = stochastic.descend(self.loss, self._by_row, bool(self.shuffle))(
            source.by_rows, source.y, source.weight, empty_order(source.n, self.shuffle),
            KINDS.index(self.shuffle), seed_number(self.seed), coef, intercept, self.previous,
            self._array(), self._rates(), self._hyper, self.batch_size, self.settings.scale,
            self.costs, self.path, self.epoch, stop,
        )  # fmt: skip
        self.coef[:], self.intercept[:] = coef, intercept
        return status

    def parameters(self) -> np.ndarray:
        return self._mean.copy() if self.average else super().parameters()

    def _array(self) -> np.ndarray:
        """The settings of the kernels, `mean` at their end."""
        return self.settings.array(self.source.dtype, float(self.mean))

    def _rates(self) -> np.ndarray:
        """The learning rates of this epoch, (k,)."""
        k, epoch = len(self.coef), self.epoch
        return self.settings.rates(k, epoch, epoch + 1, self.source.dtype)[0]

    def _within_tolerance(self) -> bool:
        norm = self.gradient_norm()
        if self._first_norm < 0:
            self._first_norm = norm
        return norm <= self.settings.tol * self._first_norm

    def _one_epoch(self) -> float:
        source = self.source
        coef, intercept = self._low(self.coef), self._low(self.intercept)
        in_place = self._in_place
        order = empty_order(source.n, self.shuffle)
        if self.shuffle:
            order = visiting_order(source.n, self.shuffle, self.seed, self.epoch)
        # Rows that can't be read one by one are gathered a part at a time.
        share = PART_BYTES // 8 // (source.d * source.dtype.itemsize)
        gathered = self.batch_size * max(1, share // self.batch_size)
        at_once = self._rows_at_once if in_place else min(self._rows_at_once, gathered)
        met = 0.0
        for first in range(0, source.n, at_once):
            last = min(first + at_once, source.n)
            if in_place:
                met += self._updates(
                    source.by_rows, source.y, source.weight, order, coef, intercept, first, last
                )
                continue
            rows = order[first:last] if self.shuffle else slice(first, last)
            x = np.array(source.x[rows], dtype=source.dtype, order="C")
            y = np.ascontiguousarray(source.y[:, rows])
            weight = source.weight[rows] if len(source.weight) else source.weight
            for array in (x, y, weight):
                array.flags.writeable = False
            met += self._updates(x, y, weight, order[:0], coef, intercept, 0, last - first)
        self.coef[:], self.intercept[:] = coef, intercept
        return met * self.settings.scale

    def _updates(self, x, y, weight, order, coef, intercept, first, last) -> float:
        if self._by_row:
            return stochastic.per_sample(self.loss)(
                x, y, weight, order, coef, intercept, self._array(), self._rates(), first, last
            )
        kernel = stochastic.minibatch(
            self.loss, len(order) > 0, self.settings.optimizer.rule, self.average
        )
        met = np.zeros(1)
        given = (
            team.counters(), resting(), x, y, weight, order, coef, intercept, self._array(),
            self._rates(), self._hyper, self._low_hyper, self._memory, self._mean, self._totals,
            met, self.batch_size, float(self._clock[0]), first, last,
        )  # fmt: skip
        members = self._members()
        for_each_part(lambda group, part: kernel(*given), [range(1)] * members, members)
        self._clock[0] += -(-(last - first) // self.batch_size)
        return float(met[0])
