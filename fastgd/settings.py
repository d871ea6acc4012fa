"""The settings of an epoch, and their places in the array that kernels read."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import real, shown
from .errors import InputError
from .formulas.updates import GD, HYPER, SLOTS, Optimizer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

#: Places in the array of `Settings.array`, in the order in which it lists them; LAST is the tolerance of
#: a batch loop, and in minibatch loops 1 if a batch divides by its rows; P is the parameter of the loss.
L1, L2, SCALE, LEARN, LAST, P = range(6)

#: The status after an epoch.
RUNNING, CONVERGED, NOT_FINITE = 0, 1, 2
#: What a run ends with beside these: it was asked to stop, or no further step helps.
STOPPED, ENDED = 3, 4
#: What a loop on statistics returns beside these: their anchor is too far away.
STALE = 5

#: Places in the state of a descent: the gradient norm of the first epoch (negative before it), the cost
#: at the parameters (NaN if unknown), and the number of epochs so far. The call that moves the
#: parameters also counts the epoch, so that no signal comes between.
FIRST_NORM, COST, EPOCHS = range(3)


_BEGIN = np.array([-1.0, math.nan, 0.0])


def new_state() -> np.ndarray:
    """The state before the first epoch."""
    return _BEGIN.copy()


@functools.lru_cache(maxsize=256)
def _shared(values: tuple[Any, ...], dtype: np.dtype) -> np.ndarray:
    """An array of these numbers for kernels, which only read it: fits with equal numbers share it."""
    return np.array(values, dtype)


class Settings:
    """All that an epoch depends on except the data.

    Parameters
    ----------
    lr : float or ndarray (k,)
        One learning rate, or one for every output.
    l1, l2 : float
    scale : float
        Turns summed losses into the cost.
    row_scale : float
        The factor of a row's slope in an update: `scale` itself in batch descent.
    fit_intercept : bool
    tol : float
    optimizer : Optimizer
    schedule : object with a method ``rate(lr, epoch)``, optional
    """

    def __init__(
        self, *, lr: Any, l2: float, scale: float, row_scale: float, fit_intercept: bool, tol: float,
        l1: float = 0.0,
        optimizer: Optimizer = GD, schedule: Any = None,
    ) -> None:  # fmt: skip
        self.lr, self.l1, self.l2, self.scale, self.row_scale = lr, l1, l2, scale, row_scale
        self.fit_intercept, self.tol = fit_intercept, tol
        self.optimizer, self.schedule = optimizer, schedule
        self._scheduled: list[tuple[float, ...]] = []  # the rates of the epochs so far

    def array(
        self, dtype: DTypeLike = np.float64, last: float | None = None, p: float = 0.0
    ) -> np.ndarray:
        """The numbers for kernels; `last` replaces the tolerance, `p` is the loss's parameter."""
        last = self.tol if last is None else last
        learn = float(self.fit_intercept)
        return _shared((self.l1, self.l2, self.row_scale, learn, last, p), np.dtype(dtype))

    @property
    def plain(self) -> bool:
        """Whether an update is θ ← θ − lr·(g + l2·θ), with the lr of its epoch."""
        simple = self.optimizer.rule.slots == 0 and not self.optimizer.weight_decay
        return simple and not self.l1

    def hyper(self, dtype: DTypeLike = np.float64) -> np.ndarray:
        """The parameters of the optimizer, as the functions of its rule take them."""
        given = self.optimizer.hyper()
        return _shared(given + (0.0,) * (HYPER - len(given)), np.dtype(dtype))

    def rates(self, k: int, first: int, last: int, dtype: DTypeLike = np.float64) -> np.ndarray:
        """The learning rates of these epochs (last − first, k), or (1, k) if constant."""
        if self.schedule is None:
            several = isinstance(self.lr, np.ndarray)
            lrs = tuple(self.lr.tolist()) if several else (self.lr,) * k
            return _shared((lrs,), np.dtype(dtype))
        epochs = range(len(self._scheduled), last)
        of_outputs = [self._rates_of(lr, epochs) for lr in np.full(k, self.lr, np.float64).tolist()]
        self._scheduled += zip(*of_outputs, strict=True)
        return np.array(self._scheduled[first:last], dtype).reshape(last - first, k)

    def _rates_of(self, lr: float, epochs: range) -> list[float]:
        """The learning rates of some epochs as floats."""
        rate_of = self.schedule.rate
        rates = [rate_of(lr, epoch) for epoch in epochs]
        floats = set(map(type, rates)) == {float}
        if floats and 0.0 <= min(rates) <= max(rates) < math.inf and not math.isnan(sum(rates)):
            return rates
        return list(map(self._checked, rates, epochs))

    def _checked(self, given: Any, epoch: int) -> float:
        """A learning rate of the schedule as a float."""
        rate = real(given)
        if rate is None or not 0.0 <= rate < math.inf:
            raise InputError(
                f"the schedule {type(self.schedule).__name__} gives lr={shown(given)} for epoch {epoch}; "
                "expected a finite number from 0 up."
            )
        return rate

    def memory(self, k: int, d: int, dtype: DTypeLike = np.float64) -> np.ndarray:
        """The initial optimizer state, (SLOTS, k, d+1), or (0, k, d+1) if it has none."""
        if not self.optimizer.rule.slots:
            return np.empty((0, k, d + 1), dtype)
        memory = np.empty((SLOTS, k, d + 1), dtype)
        for c, lr in enumerate(self.rates(k, 0, 1)[0]):
            for slot, value in enumerate(self.optimizer.start(float(lr))):
                memory[slot, c] = value
        return memory
