"""Stochastic gradient descent: an update for every row, or for every batch of rows."""

import math
import time

import numpy as np

from ..cpu import advance, dense, stochastic
from ..cpu.block_losses import block_losses
from ..cpu.machine import team
from ..cpu.machine.atomics import backoff_address
from ..cpu.order import KINDS, address_of_fill, empty_order, seed_number
from ..settings import CONVERGED, RUNNING
from ..sources.protocol import Visit
from .protocol import Descent
from .sampled_cost import sampled_cost
from .work import Members, Pace

#: An epoch of batches is not worth a second thread below so much work.
_SHARED_NS = 1e6
#: The share of a chunk that tells whether another number of threads takes less time.
_TRIAL = 16


class StochasticDescent(Descent):
    """An update for every row, or for every batch of rows, in the visiting order of each epoch.

    The updates move parameters of their own, in the dtype of the computation. At the end of an epoch
    these, or the mean of all so far, become those of the fit. Their cost is the mean of the losses that
    the updates of the epoch met; only that of averaged parameters takes a pass.
    """

    noise = 0.1
    # The losses before an update are finite where the parameters after it may be too large already.
    _KEPT = 2
    _SAVED = (
        *Descent._SAVED, "_memory", "_moving", "_moving_intercept", "_mean", "_first_norm",
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
        plain = settings.plain and not average
        # The rows between two calls of the loop that makes no gradient of its own; else None.
        self._direct_rows = source.direct_rows(loss, batch_size) if plain else None
        self._rows_at_once = source.rows_at_once()
        self._array = settings.array(source.dtype, float(mean), loss.p)
        self._hyper, self._low_hyper = settings.hyper(), settings.hyper(source.dtype)
        self._memory = settings.memory(*coef.shape, source.dtype)
        self._moving, self._moving_intercept = self._low(coef), self._low(intercept)
        k, d = coef.shape
        self._mean = np.zeros((k if average else 0, d + 1))
        self._center = dense.zeros(d, source.dtype)
        self.method = "per-sample" if batch_size == 1 else "minibatch"
        if shuffle == "block":
            self.method += source.block_order
        row_ns = 10 + 0.5 * source.d * source.k
        self._pace = Pace(row_ns)  # in rows
        most = 1 if source.n * row_ns < _SHARED_NS else source.n_threads
        direct = self._direct_rows is not None
        # The parts of a batch depend on shapes alone, also where one thread does all of them.
        self._parts = parts = 1 if direct else stochastic.parts_of(batch_size, source.d, source.k)
        self._totals = np.empty((0 if direct else parts, source.k, source.d + 2))
        self._members = Members(min(most, parts))
        self._first_norm = -1.0
        self._converged_at = -1  # which epoch

    @property
    def chunk(self) -> int:
        """Epochs in about 100 ms."""
        return max(1, self._pace.units // self.source.n)

    def first_cost(self, enough: float = math.inf) -> float:
        """The cost at the start, or of a sample of the rows if `enough` is no rise from there."""
        coef, intercept = self._start[:, :-1], self._start[:, -1]
        total, exact = sampled_cost(self.source, self.loss, coef, intercept)
        cost = self.settings.scale * total
        if exact or cost + self.noise * abs(cost) >= enough:
            return cost
        return self.settings.scale * float(self.totals(coef, intercept, False)[:, -1].sum())

    def _cost_of(self, epoch: int) -> float:
        """The mean of the losses that the updates of an epoch met; a mean of parameters met none."""
        return float(self.costs[epoch - 1]) if epoch and not len(self._mean) else math.nan

    def _run(self, stop: int) -> int:
        if self._converged_at == self.epoch:
            return CONVERGED
        self._make_room(stop)
        tol, n = self.settings.tol, self.source.n
        in_place = self._rows_at_once is None
        while self.epoch < stop:
            alone = self._members.best == 1 and not self._members.on_trial
            if alone and in_place and self._pace.units >= n:
                status = self._run_compiled(self.epoch + 1 if tol > 0 else stop)
            else:
                status = self._one_epoch()
            if status == RUNNING and tol > 0 and self._within_tolerance():
                status, self._converged_at = CONVERGED, self.epoch
            if status != RUNNING or self._late:
                return status
        return RUNNING

    def _run_compiled(self, stop: int) -> int:
        """As many epochs in one call as make a chunk, where none needs a pause."""
        source, first = self.source, self.epoch
        stop = min(stop, first + self.chunk)
        begun, order = time.perf_counter(), empty_order(source.n, self.shuffle)
        visit = source.visit(order, 0, source.n)
        rates = self.settings.rates(len(self.coef), first, stop, source.dtype)
        given = self._arguments(visit, np.zeros((source.k, 2)), rates)
        status = stochastic.stochastic_epochs(
            self._address(visit), address_of_fill(order.dtype), stochastic.address_of_end(source.dtype),
            KINDS.index(self.shuffle), seed_number(self.seed), *given, float(self._updates_before(0)),
            *self._epochs_arrays(), stop,
        )  # fmt: skip
        self._took(1, (stop - first) * source.n, time.perf_counter() - begun)
        return status

    def _took(self, members: int, rows: int, seconds: float) -> None:
        """Adapt the next chunk to the time of one."""
        self._pace.took(rows, seconds)
        self._members.took(members, rows, seconds)

    def _epochs_arrays(self) -> tuple:
        """What the end of an epoch needs beside the arguments of the updates."""
        return (
            self.settings.scale, self.coef, self.intercept, self.past, self._state, self.costs, self.path,
        )  # fmt: skip

    def _updates_before(self, rows: int) -> int:
        """The number of updates before, with so many rows of this epoch."""
        return self.epoch * -(-self.source.n // self.batch_size) + rows // self.batch_size

    def _arguments(self, visit: Visit, loss_sums, rates) -> tuple:
        """Those of the updates by the rows of a visit, up to `batch_size`."""
        loss, dtype = self.loss, self.source.dtype
        one_pass = losses = step = gather = 0
        if self._direct_rows is not None:
            gather = self._direct_rows
            scratch = visit.direct_scratch(loss, self.batch_size, len(self._moving))
            losses = block_losses(loss.formula, True, dtype) if loss.coupled else 0
        else:
            losses = block_losses(loss.formula, True, dtype)
            one_pass, gather, scratch = visit.batch_pass(loss, self._moving, self._parts)
            step = advance.address_of_step(self.settings.optimizer.rule, dtype)
        return (
            one_pass, losses, step, team.counters(), backoff_address(), visit.x, visit.y, visit.weight,
            visit.offset, visit.order, self._moving, self._moving_intercept, self._array, rates,
            self._hyper, self._low_hyper, self._memory, self._mean, self._totals, loss_sums, gather,
            visit.rows_at, self._center, *scratch, self.batch_size,
        )  # fmt: skip

    def _address(self, visit: Visit) -> int:
        """Of the updates: the same machine code for every way to get there, and so the same bits."""
        if self._direct_rows is not None:
            return visit.direct_updates(self.loss)
        order, x, dtype = visit.order.dtype, visit.x.dtype, self.source.dtype
        return stochastic.address_of_updates(stochastic.minibatch, order, x, dtype)

    def _within_tolerance(self) -> bool:
        moving = self._moving.astype(np.float64), self._moving_intercept.astype(np.float64)
        norm = self._gradient_norm(*moving)
        if self._first_norm < 0:
            self._first_norm = norm
        return norm <= self.settings.tol * self._first_norm

    def _next_rows(self) -> int:
        """Rows between two looks at the outside world; where they begin changes no bit."""
        whole = self._direct_rows or self.batch_size
        rows = self._pace.units
        if self._members.on_trial:
            rows //= _TRIAL
        if self._rows_at_once is not None:
            rows = min(rows, self._rows_at_once)
        return max(1, rows // whole) * whole

    def _one_epoch(self) -> int:
        source, loss_sums = self.source, np.zeros((self.source.k, 2))
        order, first = source.order(self.shuffle, self.seed, self.epoch), 0
        while first < source.n:
            last, members = min(first + self._next_rows(), source.n), self._members.best
            begun = time.perf_counter()
            self._update_by(source.visit(order, first, last), loss_sums, first, members)
            self._took(members, last - first, time.perf_counter() - begun)
            first = last
            if self.epoch == 0 and last < source.n:  # as long as there is no whole epoch
                together = np.column_stack([self._moving, self._moving_intercept])
                self.put(self._mean if len(self._mean) else together.astype(np.float64), 0)
        return self._end_of_epoch(loss_sums)

    def _end_of_epoch(self, loss_sums: np.ndarray) -> int:
        moving = self._moving, self._moving_intercept, self._mean, loss_sums
        end = stochastic.address_of_end(self.source.dtype)
        return int(stochastic.called(end, (*moving, *self._epochs_arrays())))

    def _update_by(self, visit: Visit, loss_sums, before: int, members: int) -> None:
        """Updates by the rows of a visit, on the threads that share them."""
        epoch = self.epoch
        rates = self.settings.rates(len(self.coef), epoch, epoch + 1, self.source.dtype)
        given = self._arguments(visit, loss_sums, rates)
        place = 0, float(self._updates_before(before)), visit.first, visit.last
        counters = given[3]
        team.run(stochastic.called, counters, (self._address(visit), (*given, *place)), members)
