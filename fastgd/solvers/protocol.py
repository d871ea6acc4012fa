"""What every solver keeps: parameters, epochs, costs, and the way back."""

import math

import numpy as np

from ..losses import Loss
from ..settings import COST, EPOCHS, new_state
from ..sources.protocol import Source


class _Descent:
    """The state that both loops share.

    `coef`, `intercept` and the number of epochs, in `_state`, belong together: what a fit that ended here
    would return. `past` (m, k, d+1) are the parameters after the epochs before, the last one first.
    """

    #: How many parameters `past` has.
    _KEPT = 1

    def __init__(self, source: Source, loss: Loss, settings, coef, intercept, keep_path):
        k, d = coef.shape
        self.source, self.loss, self.settings = source, loss, settings
        self.coef, self.intercept = coef, intercept
        self._start = self.parameters()
        self.past = np.array([self._start] * self._KEPT)
        self.costs, self.norms = np.empty(0), np.empty(0)
        self.path = np.empty((0, k, d))
        self.keep_path = keep_path
        self._state = new_state()
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
    """The smallest gradient of cost + l1·‖coef‖₁, as `fastgd.formulas.updates.l1_slope`."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0)
    return np.where(coef == 0, at_zero, gradient + l1 * np.sign(coef))
