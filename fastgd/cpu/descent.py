"""Gradient descent with a given learning rate: batch and stochastic loops that run in chunks.

A chunk is about 100 ms of work, so that callbacks and Ctrl-C come through; all state lies in arrays here,
and the next chunk goes on from it. How long a chunk is changes no bit.

A signal may come between any two steps of Python. So parameters and the number of epochs that led to them
change together: by one call of a kernel, or by one call that replaces the arrays (`_go`).
"""

import functools
import math
import time
from typing import Any

import numpy as np

from .._jit import pointer
from ..losses import Coupled, Loss
from . import advance, dense, statistics, stochastic, team
from .advance import COST, EPOCHS
from .atomics import resting
from .order import KINDS, empty_order, seed_number, visiting_order
from .source import PART_BYTES, DenseRows

RUNNING, CONVERGED, NOT_FINITE = advance.RUNNING, advance.CONVERGED, advance.NOT_FINITE

#: Nanoseconds of work between two looks at the outside world.
CHUNK_NS = 100e6

#: What an epoch takes beside its pass. It decides nothing but how long the first chunk is.
_EPOCH_NS = 1e3

#: An epoch of batches is not worth a second thread below so much work.
_SHARED_NS = 1e6

#: Of the updates that have been asked for: to name the types of their arguments takes 0.2 ms.
_addresses: dict[tuple, Any] = {}

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


class Pace:
    """How much work makes a chunk: a tenth of what a cost model says at first, then by the clock.

    Parameters
    ----------
    ns : float
        What a unit of work takes by the model.
    """

    def __init__(self, ns: float):
        self._units = CHUNK_NS / 10 / ns

    @property
    def units(self) -> int:
        """Units of work in the next chunk, 1 at least."""
        return max(1, int(self._units))

    def took(self, units: int, seconds: float) -> None:
        """Learn from a chunk; the next one is at most ten times as long."""
        self._units = min(10.0 * units, units * CHUNK_NS / max(1.0, 1e9 * seconds))


class _Descent:
    """The state that both loops share.

    `coef`, `intercept` and the number of epochs, in `_state`, belong together: what a fit that ended here
    would return. `past` (m, k, d+1) are the parameters after the epochs before, the last one first.
    """

    #: How many parameters `past` has.
    _KEPT = 1

    def __init__(self, source: DenseRows, loss: Loss, settings, coef, intercept, keep_path):
        k, d = coef.shape
        self.source, self.loss, self.settings = source, loss, settings
        self.coef, self.intercept = coef, intercept
        self._start = self.parameters()
        self.past = np.array([self._start] * self._KEPT)
        self.costs, self.norms = np.empty(0), np.empty(0)
        self.path = np.empty((0, k, d))
        self.keep_path = keep_path
        self._state = advance.new_state()
        self._gone = 0

    @property
    def epoch(self) -> int:
        """The number of epochs that led to the parameters."""
        return int(self._state[EPOCHS])

    @property
    def moved(self) -> bool:
        """Whether an update has changed the parameters."""
        return self.epoch > 0 or not np.array_equal(self.parameters(), self._start)

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
            longer, done = np.empty(shape), getattr(self, name)[: self.epoch]
            longer[: len(done)] = done
            setattr(self, name, longer)

    def _low(self, array):
        return array.astype(self.source.dtype)

    def _go(self, coef, intercept, epoch: int, **others) -> None:
        """Take parameters and the number of epochs that led to them, in one step that no signal parts."""
        state = self._state.copy()
        state[EPOCHS], state[COST] = epoch, math.nan
        vars(self).update(coef=coef, intercept=intercept, _state=state, **others)

    def back(self) -> bool:
        """Go back to the parameters of an epoch before, in the end to the start; False from there."""
        if not self.moved:
            return False
        kept = self._gone < len(self.past) and self.epoch > 0
        there = self.past[self._gone] if kept else self._start
        self._gone += 1
        self.put(there, self.epoch - 1 if kept else 0)
        return True

    def parameters(self) -> np.ndarray:
        """A copy of what a fit that ended here would return, (k, d+1), intercepts last."""
        return np.column_stack([self.coef, self.intercept])

    def put(self, parameters: np.ndarray, epoch: int) -> None:
        """Go to parameters from `parameters()`, those of an epoch."""
        self._go(parameters[:, :-1].copy(), parameters[:, -1].copy(), epoch)

    def totals(self, coef=None, intercept=None, slopes_too: bool = True) -> np.ndarray:
        """A true pass at the given parameters, or the current ones."""
        if coef is None:
            coef, intercept = self.coef, self.intercept
        low = self._low(coef), self._low(intercept)
        return self.source.totals(self.loss, *low, slopes_too=slopes_too)

    def cost(self) -> float:
        """The cost at the current parameters, without the penalty."""
        return self.settings.scale * float(self.totals(slopes_too=False)[:, -1].sum())

    def _gradient_norm(self, coef, intercept) -> float:
        """The norm of the objective's gradient at these parameters."""
        gradient = self.settings.scale * self.totals(coef, intercept)[:, :-1]
        gradient[:, :-1] += self.settings.l2 * coef
        if self.settings.l1:
            gradient[:, :-1] = _with_l1(coef, gradient[:, :-1], self.settings.l1)
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
    _pace: Pace

    @property
    def chunk(self) -> int:
        """Epochs in about 100 ms."""
        return self._pace.units

    def first_cost(self) -> float:
        """The cost at the start, once an epoch has run."""
        return float(self.costs[0])

    def _build_statistics(self, coef, intercept):
        """The statistics, with their anchor at these parameters."""
        source = self.source
        at_zero = not coef.any() and not intercept.any()
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
            anchor = self.totals(coef, intercept)
        self._anchor = anchor, coef.copy(), intercept.copy()


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
        one_pass = pass_ns(source.n, source.d, source.k, source.x.dtype.itemsize)
        build = moments_ns(source.n, source.d, source.k)
        on_moments = 100 + 0.3 * source.k * (source.d + 1) ** 2
        self._epochs = self._switch = epochs
        if loss.name == "mse" and build + epochs * on_moments < epochs * one_pass:
            self._switch = min(epochs, math.ceil(build / one_pass)) if may_stop else 0
        self._one_pass, self._on_moments = one_pass, on_moments
        self._pace = Pace(one_pass + _EPOCH_NS)
        self.method = "statistics" if self._switch == 0 else "stream"

    def run(self, stop: int) -> int:
        """Go on to epoch number `stop` at most; returns the status."""
        first, begun = self.epoch, time.perf_counter()
        status = self._run(stop)
        self._pace.took(self.epoch - first, time.perf_counter() - begun)
        if status == NOT_FINITE:  # the cost of these parameters; that of those before was finite
            self.back()
        return status

    def _run(self, stop: int) -> int:
        self._state[COST] = math.nan
        self._make_room(stop)
        if self.settings.schedule is not None and len(self._rates) < stop:
            more = self.settings.rates(len(self.coef), len(self._rates), max(stop, 2))
            self._rates = np.concatenate([self._rates, more])
        while self.epoch < stop:
            if self.epoch >= self._switch:
                status = self._run_on_statistics(stop)
            elif self._in_one_call:
                status = self._run_compiled(min(stop, self._switch), stop == self._epochs)
            else:
                status = self._run_by_parts(min(stop, self._switch))
            if status != RUNNING:
                return status
        return RUNNING

    @property
    def _in_one_call(self) -> bool:
        """Whether one thread does a pass, inside a kernel that runs many epochs."""
        return self.source.n_parts == 1 and not self.source.converts

    def cost(self) -> float:
        if math.isnan(self._state[COST]):
            if not self._in_one_call:
                return super().cost()
            self._run_compiled(self.epoch, True)
        return float(self._state[COST])

    def _run_compiled(self, stop: int, with_cost: bool) -> int:
        """The epochs up to `stop`, and if asked for a pass for the cost at their end."""
        source = self.source
        kernel = dense.descend(self.loss, source.by_columns, self.settings.optimizer.rule)
        return kernel(
            source.seen, source.y, source.weight, self._low(self.coef), self._low(self.intercept),
            *self._epochs_arrays(), stop, with_cost,
        )  # fmt: skip

    def _epochs_arrays(self) -> tuple:
        """What the end of an epoch needs."""
        return (
            self.coef, self.intercept, self.past[0], self._array, self._rates, self._hyper,
            self._memory, self._state, self.costs, self.norms, self.path,
        )  # fmt: skip

    def _run_by_parts(self, stop):
        end_of_epoch, status = advance.advance(self.settings.optimizer.rule), RUNNING
        while self.epoch < stop and status == RUNNING:
            status = end_of_epoch(self.totals(), *self._epochs_arrays())
        return status

    def _run_on_statistics(self, stop):
        if self._second is None:
            self._build_statistics(self.coef, self.intercept)
            self.method, self._pace = "statistics", Pace(self._on_moments)
        kernel = statistics.descend_statistics(self.settings.optimizer.rule)
        status = kernel(*self._anchor, self._second, self._center, *self._epochs_arrays(), stop)
        if status == statistics.STALE:
            self._anchor = self.totals(), self.coef.copy(), self.intercept.copy()
            status = RUNNING
        return status


class StochasticDescent(_Descent):
    """An update for every row, or for every batch of rows, in the visiting order of each epoch.

    The updates move parameters of their own, in the dtype of the computation. At the end of an epoch
    these, or the mean of all so far, become those of the fit.
    """

    # Losses met are finite where the parameters after them may be too large already.
    _KEPT = 2

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
        # The look-ahead of single rows is for outputs that don't see each other.
        plain = settings.plain and not average and not isinstance(loss, Coupled)
        self._by_row = batch_size == 1 and plain
        self._in_place = source.by_rows is not None
        self._array = settings.array(source.dtype, float(mean))
        self._hyper, self._low_hyper = settings.hyper(), settings.hyper(source.dtype)
        self._memory = settings.memory(*coef.shape, source.dtype)
        self._moving, self._moving_intercept = self._low(coef), self._low(intercept)
        k, d = coef.shape
        self._mean = np.zeros((k if average else 0, d + 1))
        self._totals = np.empty((team.PARTS, source.k, source.d + 2))
        self.method = "per-sample" if batch_size == 1 else "minibatch"
        self._row_ns = 20 + 2.0 * source.d * source.k
        self._pace = Pace(self._row_ns)  # in rows
        self._first_norm = -1.0
        self._first_cost = math.nan

    @property
    def chunk(self) -> int:
        """Epochs in about 100 ms."""
        return max(1, self._pace.units // self.source.n)

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
        if not self.moved:
            self._first_cost = self._cost_at_start()
        self._make_room(stop)
        tol, n = self.settings.tol, self.source.n
        alone = self._in_place and self._members() == 1
        while self.epoch < stop:
            if alone and self._pace.units >= n:
                status = self._run_compiled(self.epoch + 1 if tol > 0 else stop)
            else:
                status = self._one_epoch()
            if status == RUNNING and tol > 0 and self._within_tolerance():
                status = CONVERGED
            if status != RUNNING:
                return status
        return RUNNING

    def _run_compiled(self, stop: int) -> int:
        """As many epochs in one call as make a chunk, where none needs a pause."""
        source, first = self.source, self.epoch
        stop = min(stop, first + self.chunk)
        begun, rates = time.perf_counter(), self._rates(stop)
        order = empty_order(source.n, self.shuffle)
        given = self._arguments(
            np.zeros(1), source.by_rows, source.y, source.weight, order, rates[0], 0, source.n
        )
        status = stochastic.descend(
            self._address(given), given, rates, KINDS.index(self.shuffle), seed_number(self.seed),
            *self._epochs_arrays(), stop,
        )  # fmt: skip
        self._pace.took((stop - first) * source.n, time.perf_counter() - begun)
        return status

    def _epochs_arrays(self) -> tuple:
        """What the end of an epoch needs beside the arguments of the updates."""
        return (
            self.settings.scale, self.coef, self.intercept, self.past, self._state, self.costs, self.path,
        )  # fmt: skip

    def _rates(self, stop: int) -> np.ndarray:
        """The learning rates of the epochs from here to `stop`, (epochs, k) or (1, k)."""
        return self.settings.rates(len(self.coef), self.epoch, stop, self.source.dtype)

    def _arguments(self, met, x, y, weight, order, rates, first, last, before=0) -> tuple:
        """Those of the updates by the rows order[first:last], after so many others in this epoch."""
        batches = -(-self.source.n // self.batch_size)
        return (
            team.counters(), resting(), x, y, weight, order, self._moving, self._moving_intercept,
            self._array, rates, self._hyper, self._low_hyper, self._memory, self._mean, self._totals,
            met, self.batch_size, float(self.epoch * batches + before // self.batch_size),
            first, last,
        )  # fmt: skip

    def _address(self, given: tuple):
        """Of the updates: the same machine code for every way to get there, and so the same bits."""
        if self._by_row:
            kernel = stochastic.per_sample(self.loss)
        else:
            ordered, average = self._in_place and bool(self.shuffle), len(self._mean) > 0
            rule = self.settings.optimizer.rule
            kernel = stochastic.minibatch(self.loss, ordered, rule, average)
        _, _, x, y, _, order, *_ = given
        key = kernel, x.dtype, y.dtype, order.dtype  # all that the types of the arguments depend on
        if key not in _addresses:
            _addresses[key] = pointer(kernel, *given)
        return _addresses[key]

    def _within_tolerance(self) -> bool:
        moving = self._moving.astype(np.float64), self._moving_intercept.astype(np.float64)
        norm = self._gradient_norm(*moving)
        if self._first_norm < 0:
            self._first_norm = norm
        return norm <= self.settings.tol * self._first_norm

    def _rows_at_once(self) -> int:
        """Rows between two looks at the outside world; where they begin changes no bit."""
        whole = stochastic.BLOCK if self._by_row else self.batch_size
        rows = self._pace.units
        if not self._in_place:  # gathered, a part at a time
            rows = min(rows, PART_BYTES // 8 // (self.source.d * self.source.dtype.itemsize))
        return max(1, rows // whole) * whole

    def _one_epoch(self) -> int:
        source, met = self.source, np.zeros(1)
        rates = self._rates(self.epoch + 1)[0]
        order = empty_order(source.n, self.shuffle)
        if self.shuffle:
            order = visiting_order(source.n, self.shuffle, self.seed, self.epoch)
        first = 0
        while first < source.n:
            last, begun = min(first + self._rows_at_once(), source.n), time.perf_counter()
            if self._in_place:
                self._share(
                    met, source.by_rows, source.y, source.weight, order, rates, first, last, first
                )
            else:  # rows that can't be read one by one
                rows = order[first:last] if self.shuffle else slice(first, last)
                x = np.array(source.x[rows], dtype=source.dtype, order="C")
                y = np.ascontiguousarray(source.y[:, rows])
                weight = source.weight[rows] if len(source.weight) else source.weight
                for array in (x, y, weight):
                    array.flags.writeable = False
                self._share(met, x, y, weight, order[:0], rates, 0, last - first, first)
            self._pace.took(last - first, time.perf_counter() - begun)
            first = last
            if self.epoch == 0 and last < source.n:  # as long as there is no whole epoch
                moving = np.column_stack([self._moving, self._moving_intercept])
                self.put(self._mean if len(self._mean) else moving.astype(np.float64), 0)
        return self._end_of_epoch(met)

    def _share(self, *which) -> None:
        """Updates by some rows, on the threads that share them."""
        given, members = self._arguments(*which), self._members()
        address = self._address(given)
        team.run(stochastic.share, given[0], (address, given), members)

    def _end_of_epoch(self, met: np.ndarray) -> int:
        moving = self._moving, self._moving_intercept, self._mean
        return stochastic.end_of_epoch(*moving, met, *self._epochs_arrays())
