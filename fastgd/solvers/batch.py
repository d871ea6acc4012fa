"""Batch gradient descent with a given learning rate, in chunks of about 100 ms."""

import functools
import math
import time
from typing import Any

import numpy as np

from ..cpu import advance, statistics
from ..settings import COST, NOT_FINITE, RUNNING, STALE
from .moments import centred_moments, totals_at_zero
from .protocol import Descent
from .state import State, optional
from .work import Pace

_FLOAT64 = np.dtype(np.float64)
#: What an epoch takes beside its pass. It decides nothing but how long the first chunk is.
_EPOCH_NS = 1e3


#: What statistics are made of, by their names in a state.
_STATISTICS = ("second", "center", "anchor_totals", "anchor_coef", "anchor_intercept")


class AllRows(Descent):
    """Descent that sees all rows at once, or for squared error their sufficient statistics."""

    _GROWING = (*Descent._GROWING, *_STATISTICS)

    _second: np.ndarray | None = None
    _pace: Pace

    @property
    def chunk(self) -> int:
        """Epochs in about 100 ms."""
        return self._pace.units

    def state(self) -> State:
        k, d = self.coef.shape
        parts: list[Any] = [None] * len(_STATISTICS)
        if self._second is not None:
            parts = [self._second, self._center, *self._anchor]
        shapes = (d + 1, d + 1), (d,), (k, d + 2), (k, d), (k,)
        named = zip(_STATISTICS, parts, shapes, strict=True)
        return super().state() | {name: optional(part, shape) for name, part, shape in named}

    def _take(self, state: State) -> None:
        super()._take(state)
        if len(state["second"]):
            self._second, self._center, *anchor = (state[name][0] for name in _STATISTICS)
            self._anchor = tuple(anchor)

    def first_cost(self, enough: float = math.inf) -> float:
        """The cost at the start, once an epoch has run."""
        return self.costs.item(0)

    def _build_statistics(self, coef, intercept):
        """The statistics, with their anchor at these parameters."""
        source = self.source
        at_zero = not coef.any() and not intercept.any()
        # From zero the first pass is in the moments; from elsewhere one pass anchors them.
        moments, self._center = centred_moments(source, np.zeros(source.k))
        d = source.d
        self._second = np.empty((d + 1, d + 1))
        self._second[:d, :d] = moments[1 : d + 1, 1 : d + 1]
        self._second[d, :d] = self._second[:d, d] = moments[0, 1 : d + 1]
        self._second[d, d] = moments[0, 0]
        if at_zero:
            anchor = totals_at_zero(moments, d, np.ones(d), -self._center)
        else:
            anchor = self.totals(coef, intercept)
        self._anchor = anchor, coef.copy(), intercept.copy()


@functools.lru_cache(maxsize=256)
def _switch(
    one_pass: float, build: float, k: int, d: int, epochs: int, may_stop: bool
) -> tuple[float, int]:
    """The nanoseconds of an epoch on statistics, and the epochs on rows before they are built."""
    on_moments = 100 + 0.3 * k * (d + 1) ** 2
    if build + epochs * on_moments >= epochs * one_pass:
        return on_moments, epochs
    return on_moments, min(epochs, math.ceil(build / one_pass)) if may_stop else 0


class BatchDescent(AllRows):
    """Every update sees all rows: a fused pass each epoch, or statistics where they are cheaper.

    Squared error can be followed on X^T X instead of X. Whether that pays is decided from shapes,
    dtype and epochs alone, so that a run takes the same path, and gives the same bits, every time.
    If the run may stop early, it streams until it has spent what the statistics cost, as a ski renter
    does; it then never takes more than twice the better choice.
    """

    _SAVED = (*AllRows._SAVED, "_memory")

    def __init__(self, source, loss, settings, coef, intercept, epochs, keep_path, may_stop):
        super().__init__(source, loss, settings, coef, intercept, keep_path)
        (k, d), self._epochs = coef.shape, epochs
        self._array, self._hyper = settings.array(p=loss.p), settings.hyper()
        self._memory, self._rates = settings.memory(k, d), settings.rates(k, 0, 1)
        self._one_pass = one_pass = source.work("pass")
        build = source.work("moments") if loss.quadratic else math.inf
        self._on_moments, self._switch = _switch(one_pass, build, k, d, epochs, may_stop)
        self._pace = Pace(one_pass + _EPOCH_NS)
        self.method = "statistics" if self._switch == 0 else "stream"

    def _run(self, stop: int) -> int:
        first, begun = self.epoch, time.perf_counter()
        status = self._run_epochs(stop)
        self._pace.took(self.epoch - first, time.perf_counter() - begun)
        if status == NOT_FINITE:  # the cost of these parameters; that of those before was finite
            self.back()
        return status

    def _run_epochs(self, stop: int) -> int:
        self._state[COST] = math.nan
        self._make_room(stop)
        if self.settings.schedule is not None and len(self._rates) < stop:
            more = self.settings.rates(len(self.coef), len(self._rates), max(stop, 2))
            self._rates = np.concatenate([self._rates, more])
        while (epoch := self.epoch) < stop:
            if epoch >= self._switch:
                status = self._run_on_statistics(stop)
            else:
                status = self._run_on_rows(min(stop, self._switch), stop == self._epochs)
            if status != RUNNING or self._late:
                return status
        return RUNNING

    def cost(self) -> float:
        cost = self._state.item(COST)
        if cost == cost:  # not NaN
            return cost
        if self._run_compiled(self.epoch, True) is None:
            return super().cost()
        return self._state.item(COST)

    def _run_on_rows(self, stop: int, with_cost: bool) -> int:
        status = self._run_compiled(stop, with_cost)
        return self._run_by_parts(stop) if status is None else status

    def _run_compiled(self, stop: int, with_cost: bool) -> int | None:
        """The epochs up to `stop` in one call, and if asked for a pass for the cost at their end."""
        return self.source.batch_epochs(
            self.loss, self.settings.optimizer.rule, self._epochs_arrays(), stop, with_cost
        )

    def _epochs_arrays(self) -> tuple:
        """What the end of an epoch needs."""
        return (
            self.coef, self.intercept, self.past[0], self._array, self._rates, self._hyper,
            self._memory, self._state, self.costs, self.norms, self.path,
        )  # fmt: skip

    def _run_by_parts(self, stop):
        step, status = advance.address_of_step(self.settings.optimizer.rule, _FLOAT64), RUNNING
        while self.epoch < stop and status == RUNNING:
            arrays = self._epochs_arrays()
            status = int(advance.end_of_epoch(step, self.totals()[None], *arrays))
            if self._late:
                break
        return status

    def _run_on_statistics(self, stop):
        if self._second is None:
            self._build_statistics(self.coef, self.intercept)
            self.method, self._pace = "statistics", Pace(self._on_moments)
        k, d = self.coef.shape
        status = statistics.statistics_epochs(
            statistics.address_of_totals(), advance.address_of_end(),
            advance.address_of_step(self.settings.optimizer.rule, _FLOAT64), *self._anchor, self._second,
            self._center, np.empty((1, k + 1, d + 2)), *self._epochs_arrays(), stop,
        )  # fmt: skip
        if status == STALE:
            self._anchor = self.totals(), self.coef.copy(), self.intercept.copy()
            status = RUNNING
        return status
