"""`lr="auto"` for several outputs, one after the other, by a solver that takes one.

Outputs of a loss that does not couple them share nothing but x. Newton's steps need the second moments of
the rows with other weights for each of them, so that nothing is gained by taking them together.
"""

import math
from typing import Any

import numpy as np

from ..losses import Loss
from ..settings import CONVERGED, RUNNING, Settings
from ..sources.protocol import Source
from .automatic import AutomaticSolver, Steps
from .state import State

#: Before the names of the arrays of the solver of the current output.
_CURRENT = "stage.current."


class OneByOne(AutomaticSolver):
    """Each output by a solver of `kind`; an epoch is a step of one of them.

    Parameters
    ----------
    kind : type
        A subclass of `AutomaticSolver`. The others are its parameters.
    """

    _kind_of_stage = tuple

    def __init__(
        self,
        kind: type[AutomaticSolver],
        source: Source,
        loss: Loss,
        settings: Settings,
        coef: np.ndarray,
        intercept: np.ndarray,
        epochs: int,
        keep_path: bool,
    ):
        super().__init__(source, loss, settings, coef, intercept, epochs, keep_path)
        self._kind, self.measure = kind, kind.measure
        #: The cost of each output where it is, the number of the current one, and its solver.
        self._costs = np.full(source.k, math.nan)
        self._output, self._current = 0, self._solver_of(0)

    def _solver_of(self, output: int) -> AutomaticSolver:
        own = slice(output, output + 1)
        source, left = self.source.only(output), self.epochs - self.epoch
        start = self.coef[own], self.intercept[own]
        return self._kind(source, self.loss, self.settings, *start, left, False)

    def _descent(self, stage: Any) -> Steps:
        if math.isnan(self._costs[0]):
            totals = self.source.totals(self.loss, self.coef, self.intercept, slopes_too=False)
            self._costs = self.settings.scale * totals[:, -1]
        done = True
        while True:
            done = (yield from self._steps_of_current()) and done
            if self.stopped or self._output + 1 == self.source.k or self.epoch >= self.epochs:
                break
            self._current = self._solver_of(self._output + 1)
            self._output += 1
        self.converged = done and self._output + 1 == self.source.k
        return True

    def _steps_of_current(self) -> Steps:
        """The steps of the current output; whether it converged."""
        current, c = self._current, self._output
        status = RUNNING
        while status == RUNNING:
            before = current.epoch
            status = current.run(before + 1)
            self.method = current.method
            if current.epoch == before:
                continue
            coef, intercept, costs = self.coef.copy(), self.intercept.copy(), self._costs.copy()
            coef[c], intercept[c], costs[c] = current.coef[0], current.intercept[0], current.cost()
            cost_before, self._costs = float(self._costs.sum()), costs
            self._accept_step(cost_before, coef, intercept, float(costs.sum()), ())
            yield
            if self.stopped:
                return False
        self.trouble = self.trouble or current.trouble
        if current.null is not None:
            self.null = current.null if self.null is None else np.maximum(self.null, current.null)
        return status == CONVERGED

    def state(self) -> State:
        """Arrays by name, with those of the solver of the current output."""
        current = {_CURRENT + name: array for name, array in self._current.state().items()}
        own = {"stage.output": np.array(self._output), "stage.costs": self._costs.copy()}
        return super().state() | own | current

    def load(self, state: State) -> None:
        """Go on from a state of a solver of the same kind, on the same rows, with the same settings."""
        super().load(state)
        self._output, self._costs = int(state["stage.output"]), np.array(state["stage.costs"])
        self._current = self._solver_of(self._output)
        named = {n[len(_CURRENT) :]: a for n, a in state.items() if n.startswith(_CURRENT)}
        self._current.load(named)
        self.method = self._current.method
