"""Stochastic gradient descent: an update for every row, or for every batch of rows."""

import functools
import math
import time
from typing import Any

import numpy as np

from ..compile.functions import pointer
from ..cpu import stochastic
from ..cpu.machine import team
from ..cpu.machine.atomics import backoff_address
from ..cpu.order import KINDS, empty_order, seed_number, visiting_order
from ..settings import CONVERGED, RUNNING
from ..sources.protocol import Visit
from .protocol import Descent
from .work import Pace

#: An epoch of batches is not worth a second thread below so much work.
_SHARED_NS = 1e6
#: Of the updates that have been asked for: to name the types of their arguments takes 0.2 ms.
_addresses: dict[tuple, Any] = {}


class StochasticDescent(Descent):
    """An update for every row, or for every batch of rows, in the visiting order of each epoch.

    The updates move parameters of their own, in the dtype of the computation. At the end of an epoch
    these, or the mean of all so far, become those of the fit.
    """

    # Losses met are finite where the parameters after them may be too large already.
    _KEPT = 2
    _SAVED = (
        *Descent._SAVED, "_memory", "_moving", "_moving_intercept", "_mean", "_first_norm", "_first_cost",
        "_converged_at",
    )  # fmt: skip

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
        plain = settings.plain and not average and not loss.coupled
        self._by_row = batch_size == 1 and plain
        self._rows_at_once = source.rows_at_once()
        self._array = settings.array(source.dtype, float(mean), loss.p)
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
        self._converged_at = -1  # which epoch

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
        if self.loss.coupled:  # every row of a class has the same loss
            loss: Any = self.loss
            z, add, value = self.intercept.tolist(), loss.add, loss.value
            top, rest = functools.reduce(lambda sums, one: add(*sums, one), z[1:], (z[0], 0.0))
            weight = source.weight if len(source.weight) else None
            masses = np.bincount(source.y[0].astype(np.intp), weight, len(z))
            losses = [value(one, top, rest) for one in z]
            return self.settings.scale * float(masses @ losses)
        kernel, p = stochastic.cost_at_zero(self.loss.formula), source.dtype.type(self.loss.p)
        return self.settings.scale * kernel(source.y, source.weight, p, self._low(self.intercept))

    def _run(self, stop: int) -> int:
        if not self.moved:
            self._first_cost = self._cost_at_start()
        if self._converged_at == self.epoch:
            return CONVERGED
        self._make_room(stop)
        tol, n = self.settings.tol, self.source.n
        alone = self._rows_at_once is None and self._members() == 1
        while self.epoch < stop:
            if alone and self._pace.units >= n:
                status = self._run_compiled(self.epoch + 1 if tol > 0 else stop)
            else:
                status = self._one_epoch()
            if status == RUNNING and tol > 0 and self._within_tolerance():
                status, self._converged_at = CONVERGED, self.epoch
            if status != RUNNING:
                return status
        return RUNNING

    def _run_compiled(self, stop: int) -> int:
        """As many epochs in one call as make a chunk, where none needs a pause."""
        source, first = self.source, self.epoch
        stop = min(stop, first + self.chunk)
        begun, rates = time.perf_counter(), self._rates(stop)
        order = empty_order(source.n, self.shuffle)
        given = self._arguments(np.zeros(1), source.visit(order, 0, source.n), rates[0])
        status = stochastic.stochastic_epochs(
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

    def _arguments(self, met, visit: Visit, rates, before=0) -> tuple:
        """Those of the updates by the rows of a visit, after so many others in this epoch."""
        x, y, weight, order, first, last = visit
        batches = -(-self.source.n // self.batch_size)
        return (
            team.counters(), backoff_address(), x, y, weight, order, self._moving, self._moving_intercept,
            self._array, rates, self._hyper, self._low_hyper, self._memory, self._mean, self._totals,
            met, self.batch_size, float(self.epoch * batches + before // self.batch_size),
            first, last,
        )  # fmt: skip

    def _address(self, given: tuple):
        """Of the updates: the same machine code for every way to get there, and so the same bits."""
        _, _, x, y, _, order, *_ = given
        if self._by_row:
            kernel = stochastic.per_sample(self.loss.formula)
        else:
            ordered, average = len(order) > 0, len(self._mean) > 0
            rule = self.settings.optimizer.rule
            kernel = stochastic.minibatch(self.loss.formula, ordered, rule, average)
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

    def _next_rows(self) -> int:
        """Rows between two looks at the outside world; where they begin changes no bit."""
        whole = stochastic.BLOCK if self._by_row else self.batch_size
        rows = self._pace.units
        if self._rows_at_once is not None:
            rows = min(rows, self._rows_at_once)
        return max(1, rows // whole) * whole

    def _one_epoch(self) -> int:
        source, met = self.source, np.zeros(1)
        rates = self._rates(self.epoch + 1)[0]
        order = empty_order(source.n, self.shuffle)
        if self.shuffle:
            order = visiting_order(source.n, self.shuffle, self.seed, self.epoch)
        first = 0
        while first < source.n:
            last, begun = min(first + self._next_rows(), source.n), time.perf_counter()
            self._update_by(met, source.visit(order, first, last), rates, first)
            self._pace.took(last - first, time.perf_counter() - begun)
            first = last
            if self.epoch == 0 and last < source.n:  # as long as there is no whole epoch
                moving = np.column_stack([self._moving, self._moving_intercept])
                self.put(self._mean if len(self._mean) else moving.astype(np.float64), 0)
        return self._end_of_epoch(met)

    def _update_by(self, met, visit: Visit, rates, before: int) -> None:
        """Updates by the rows of a visit, on the threads that share them."""
        given, members = self._arguments(met, visit, rates, before), self._members()
        address = self._address(given)
        team.run(stochastic.run_updates, given[0], (address, given), members)

    def _end_of_epoch(self, met: np.ndarray) -> int:
        moving = self._moving, self._moving_intercept, self._mean
        return stochastic.end_of_epoch(*moving, met, *self._epochs_arrays())
