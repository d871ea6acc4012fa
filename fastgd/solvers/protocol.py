"""What a fit asks of a solver, and what the loops with a given learning rate share."""

import math
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..cpu.machine.blas import one_thread
from ..losses import Loss
from ..settings import COST, EPOCHS, RUNNING, STOPPED, new_state
from ..sources.protocol import Source
from .penalty import l1_slope
from .state import State, checked, number_or_array
from .work import end_of_chunk

#: Called between steps; True ends the run.
AfterStep = Callable[[], bool]


class Solver(Protocol):
    """How parameters move: one descent over a source, that may pause after every step.

    Attributes
    ----------
    method : str
        The way taken so far, as in `fastgd.Fit.method`.
    epoch : int
        The number of epochs, which are passes with a step, that led to the parameters.
    coef : ndarray (k, d)
    intercept : ndarray (k,)
        What a fit that ended here would return.
    costs : ndarray (epochs or more,)
        The cost that the updates of each epoch saw.
    path : ndarray (epochs or more, k, d)
        The coefficients after each epoch, where they are kept.
    moved : bool
        Whether an update has changed the parameters.

    Methods
    -------
    run(until, after_step)
        Go on to an epoch; the status.
    parameters(), put(parameters, epoch, of)
        A copy of the parameters, and the way to others.
    back()
        Go back to the parameters of the epoch before.
    cost(), first_cost(enough)
        The cost of the parameters, and where the run began.
    state(), load(state)
        All that another solver needs to go on from here.
    """

    method: str
    coef: np.ndarray
    intercept: np.ndarray

    @property
    def epoch(self) -> int: ...

    @property
    def costs(self) -> np.ndarray: ...

    @property
    def path(self) -> np.ndarray: ...

    @property
    def moved(self) -> bool: ...

    def run(self, until: int, after_step: AfterStep | None = None) -> int:
        """Go on to epoch number `until` at most; returns the status, one of `fastgd.settings`.

        `after_step` is called between steps, about 100 ms of work each or one epoch if that takes
        longer, and ends the run by returning True.
        """
        ...

    def parameters(self) -> np.ndarray:
        """A copy of the parameters, (k, d+1), intercepts last."""
        ...

    def put(self, parameters: np.ndarray, epoch: int, of: int | None = None) -> None:
        """Go to parameters from `parameters()` after `epoch` epochs, or after the first `of` of them."""
        ...

    def back(self) -> bool:
        """Go back to the parameters of an epoch before, in the end to the start; False from there."""
        ...

    def cost(self) -> float:
        """The cost of the current parameters, without the penalty.

        It is the cost at these parameters, or the mean of the losses that their epoch's updates met.
        """
        ...

    def first_cost(self, enough: float = math.inf) -> float:
        """The cost where the run began, without the penalty, once an epoch has run.

        Where it takes a pass, it may be that of a sample of the rows, if this is not below `enough`.
        """
        ...

    def state(self) -> State:
        """Arrays by name, from which a new solver goes on to the same bits, once `run` has returned.

        Numbers are arrays without axes.
        """
        ...

    def load(self, state: State) -> None:
        """Go on from a state of a solver of the same kind, on the same rows, with the same settings.

        Raises
        ------
        InputError
            If the state is that of another solver, or has other shapes.
        """
        ...


#: The costs before the first epoch.
_NONE = np.empty(0)


class Descent:
    """What the loops with a given learning rate share.

    `coef`, `intercept` and the number of epochs, in `_state`, belong together: what a fit that ended here
    would return. `past` (m, k, d+1) are the parameters after the epochs before, the last one first.
    """

    #: By how much of itself the cost of a fit that stays where it began may rise.
    noise = 0.0
    #: How many parameters `past` has.
    _KEPT = 1
    #: Attributes in `state`, by name without underscores around it, and those that grow.
    _SAVED: tuple[str, ...] = ("method", "coef", "intercept", "past", "_start", "_state", "_gone")
    _GROWING: tuple[str, ...] = ("costs", "norms", "path")
    method = ""
    #: How many epochs `back` has gone back.
    _gone = 0
    #: When `_run` ends before its last epoch, between two of them: passes may take longer than expected.
    _pause_at = math.inf

    def __init__(self, source: Source, loss: Loss, settings, coef, intercept, keep_path):
        self.source, self.loss, self.settings = source, loss, settings
        self.coef, self.intercept = coef, intercept
        known = np.empty((1 + self._KEPT, len(coef), coef.shape[1] + 1))
        known[:, :, :-1], known[:, :, -1] = coef, intercept
        self._start, self.past = known[0], known[1:]
        self.costs = self.norms = _NONE
        self.path = np.empty((0, *coef.shape))
        self.keep_path = keep_path
        self._state = new_state()

    @property
    def epoch(self) -> int:
        """The number of epochs that led to the parameters."""
        return int(self._state.item(EPOCHS))

    @property
    def moved(self) -> bool:
        """Whether an update has changed the parameters."""
        return self.epoch > 0 or not np.array_equal(self.parameters(), self._start)

    @property
    def chunk(self) -> int:
        """Epochs between two calls of `after_step`."""
        return 1

    def run(self, until: int, after_step: AfterStep | None = None) -> int:
        """Go on to epoch number `until` at most; returns the status."""
        epoch = self.epoch
        if after_step is None:
            return self._run(until) if epoch < until else RUNNING
        while epoch < until:
            self._pause_at = end_of_chunk()
            status = self._run(min(until, epoch + self.chunk))
            if status != RUNNING:
                return status
            if after_step():
                return STOPPED
            epoch = self.epoch
        return RUNNING

    def _run(self, stop: int) -> int:
        """Go on to epoch number `stop` at most, or to one that ends after `_pause_at`; the status."""
        raise NotImplementedError

    @property
    def _late(self) -> bool:
        return time.perf_counter() >= self._pause_at

    def state(self) -> State:
        """Arrays by name, from which a new solver goes on to the same bits."""
        source, epoch = self.source, self.epoch
        arrays = {
            "solver": np.array(type(self).__name__),
            "shape": np.array([source.n, source.d, source.k]),
            "costs": self.costs[:epoch].copy(),
            "norms": self.norms[:epoch].copy(),
            "path": self.path[:epoch].copy(),
        }
        return arrays | {name.strip("_"): np.array(getattr(self, name)) for name in self._SAVED}

    def load(self, state: State) -> None:
        """Go on from a state of a solver of the same kind, on the same rows, with the same settings."""
        self._take(checked(state, self.state(), self._GROWING))

    def _take(self, state: State) -> None:
        """Take the arrays of a state, which are this solver's own from now on."""
        for name in self._SAVED:
            setattr(self, name, number_or_array(state[name.strip("_")]))
        self.costs, self.norms, self.path = (state[name] for name in ("costs", "norms", "path"))

    def _make_room(self, stop: int) -> None:
        """Room for the costs (and the path) up to epoch `stop`: doubled when it is short."""
        room = len(self.costs)
        if stop <= room:
            return
        rows, done = max(stop, 2 * room), self.epoch
        self.costs, self.norms = _longer(self.costs, rows, done), _longer(self.norms, rows, done)
        if self.keep_path:
            self.path = _longer(self.path, rows, done)

    def _low(self, array):
        return array.astype(self.source.dtype)

    def _go(self, coef, intercept, epoch: int, cost: float = math.nan, **others) -> None:
        """Take parameters and the number of epochs that led to them, in one step that no signal parts."""
        state = self._state.copy()
        state[EPOCHS], state[COST] = epoch, cost
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
        return np.concatenate([self.coef, self.intercept[:, None]], axis=1)

    def put(self, parameters: np.ndarray, epoch: int, of: int | None = None) -> None:
        """Go to parameters from `parameters()` after `epoch` epochs, or after the first `of` of them."""
        cost = self._cost_of(epoch if of is None else of)
        self._go(parameters[:, :-1].copy(), parameters[:, -1].copy(), epoch, cost)

    def _cost_of(self, epoch: int) -> float:
        """The cost of the parameters after an epoch, where it takes no pass; else NaN."""
        return math.nan

    def totals(self, coef=None, intercept=None, slopes_too: bool = True) -> np.ndarray:
        """A true pass at the given parameters, or the current ones."""
        if coef is None:
            coef, intercept = self.coef, self.intercept
        low = self._low(coef), self._low(intercept)
        return self.source.totals(self.loss, *low, slopes_too=slopes_too)

    def cost(self) -> float:
        """The cost of the current parameters, without the penalty: the one that is known, or a pass."""
        known = float(self._state[COST])
        if math.isnan(known):
            return self.settings.scale * float(self.totals(slopes_too=False)[:, -1].sum())
        return known

    @one_thread()
    def _gradient_norm(self, coef, intercept) -> float:
        """The norm of the objective's gradient at these parameters."""
        gradient = self.settings.scale * self.totals(coef, intercept)[:, :-1]
        gradient[:, :-1] += self.settings.l2 * coef
        if self.settings.l1:
            gradient[:, :-1] = l1_slope(coef, gradient[:, :-1], self.settings.l1)
        if not self.settings.fit_intercept:
            gradient = gradient[:, :-1]
        return float(np.linalg.norm(gradient))


def _longer(array: np.ndarray, rows: int, done: int) -> np.ndarray:
    """The first `done` rows, then zeros: stochastic loops fill no norms, and a saved state has them."""
    longer = np.zeros((rows, *array.shape[1:]))
    if done:
        longer[:done] = array[:done]
    return longer
