"""`lr="auto"` with an l2 penalty for many columns: dual coordinate ascent, then descent.

The l2 penalty makes the coefficients at the optimum a sum over rows, coef = −scale/l2·Σ weight·s·x,
where s is the slope of a row's loss. An epoch solves for one s after another, all others given
(Shalev-Shwartz and Zhang, 2013, Stochastic dual coordinate ascent methods). For the usual
penalties of wide sparse data three epochs come within a thousandth of the optimum, and each further one
gains a digit; L-BFGS takes ten to twenty passes. Where columns are of very different size, or the penalty
is small, an epoch gains little: then, and near the floor of rounding, L-BFGS goes on from there.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cpu.order import visiting_order
from ..settings import CONVERGED, RUNNING
from .automatic import AutomaticSolver, Steps
from .curved import CurvedDescent
from .joint import CoupledDescent
from .metric import Metric, diagonal_metric
from .state import State
from .whitened import AutomaticDescent

#: An epoch takes as long as three passes. It goes on while so many make the gradient smaller by this.
_OVER, _WORTH = 3, 0.75
#: How many times Newton's step the level moves: the coefficients follow it, and then it has to go on.
_RELAXED = 1.5
#: Before the names of the arrays of the solver that goes on.
_NEXT = "stage.next."


class DualStage(NamedTuple):
    """Epochs of ascent, up to the last one.

    Attributes
    ----------
    slopes : ndarray (n,) or (n, k)
        s of every row.
    next_move : ndarray (k,)
        By how much the levels are to change before the next epoch.
    first : float
        The gradient norm that `tol` refers to.
    history : list of (float, float)
        Gradient norm and objective before each epoch and after the last.
    """

    slopes: np.ndarray
    next_move: np.ndarray
    first: float
    history: Sequence[tuple[float, float]]


class DualDescent(AutomaticDescent):
    """The solver behind `lr="auto"` with l2 for many sparse columns, and a start at zero.

    It has one output, or those of softmax.
    """

    loss: Any
    _kind_of_stage = DualStage

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.method = "dual"
        #: The solver that goes on, once there is one.
        self._next: AutomaticSolver | None = None

    def _descent(self, stage: Any) -> Steps:
        if self._next is None:
            if (yield from self._ascend(stage)):
                return True
            self._next = self._solver_from_here(self._stage)
        return (yield from self._steps_of_next(self._next))

    # --- ascent --------------------------------------------------------------------------------------

    def _ascend(self, stage: DualStage | None) -> Steps:
        """Epochs; False where another solver is to go on."""
        source, settings, epoch = self.source, self.settings, self.source.dual_epoch
        assert epoch is not None
        bound = self.loss.curvature if math.isfinite(self.loss.curvature) else 1.0
        how = bound * settings.scale, settings.l2, settings.fit_intercept
        metric = diagonal_metric(source, *how)
        factor = settings.scale / settings.l2
        if stage is None:
            level = self._centred(metric, self.intercept)
            point = self._evaluate(metric, self.coef, level)
            self.final_cost = point.cost
            if not math.isfinite(point.objective):
                self.trouble = "overflow"
                return True
            begin = [(point.norm, point.objective)]
            k = len(self.coef)
            slopes = np.zeros((source.n, k) if self.loss.coupled else source.n)
            stage = DualStage(slopes, np.zeros(k), point.norm, begin)
        while True:
            slopes, next_move, first, history = stage
            level = self._centred(metric, self.intercept)
            if self._at_floor(metric, level, self.final_cost, first, history, False):
                return True
            if self.epoch >= self.epochs or self.stopped:
                return True
            if len(history) > _OVER and history[-1][0] > _WORTH * history[-1 - _OVER][0]:
                return False
            slopes, coef, level = slopes.copy(), self.coef.copy(), level + next_move
            order = visiting_order(source.n, True, 0, self.epoch)
            curvature = epoch(self.loss, order, factor, metric.center, level, slopes, coef)
            del order
            point = self._evaluate(metric, coef, level)
            if not point.objective < history[-1][1]:
                return False
            next_move = np.zeros_like(level)
            if (
                settings.fit_intercept and (curvature > 0).all()
            ):  # Newton's step, as rows are centred
                slope = point.gradient[:, -1] / metric.level_scale
                next_move = -_RELAXED * slope / (settings.scale * curvature)
            if self.loss.coupled:  # what is common to all levels changes nothing
                next_move -= next_move.mean()
            history = [*history, (point.norm, point.objective)]
            stage = DualStage(slopes, next_move, first, history)
            intercept = level - coef @ metric.center
            self._accept_step(self.final_cost, coef, intercept, point.cost, stage)
            yield

    def _patience(self, metric: Metric, exact: bool) -> int:
        """An epoch that does not halve the gradient has come to its floor."""
        return 2

    # --- the solver that goes on -----------------------------------------------------------------------

    def _solver_from_here(self, stage: DualStage | None) -> AutomaticSolver:
        """L-BFGS in scaled coordinates, from the parameters that the ascent has reached."""
        kind: type[AutomaticDescent] = AutomaticDescent
        if self.loss.coupled:
            kind = CoupledDescent
        elif not math.isfinite(self.loss.curvature):
            kind = CurvedDescent
        settings = copy.copy(self.settings)
        if stage is not None and settings.tol > 0:
            settings.tol *= stage.first / stage.history[-1][0]
        left = self.epochs - self.epoch
        return kind(self.source, self.loss, settings, self.coef, self.intercept, left, False)

    def _steps_of_next(self, solver: AutomaticSolver) -> Steps:
        status = RUNNING
        while status == RUNNING:
            before = solver.epoch
            status = solver.run(before + 1)
            if solver.epoch == before:
                continue
            self.method = f"dual-{solver.method}"
            self._accept_step(self.final_cost, solver.coef, solver.intercept, solver.cost(), ())
            yield
            if self.stopped:
                return False
        self.trouble, self.null = solver.trouble, solver.null
        self.converged = status == CONVERGED
        return True

    def state(self) -> State:
        """Arrays by name, with those of the solver that goes on."""
        if self._next is None:
            return super().state()
        others = {_NEXT + name: array for name, array in self._next.state().items()}
        return super().state() | {"stage.method": np.array(self.method)} | others

    def load(self, state: State) -> None:
        """Go on from a state of a solver of the same kind, on the same rows, with the same settings."""
        named = {n[len(_NEXT) :]: a for n, a in state.items() if n.startswith(_NEXT)}
        super().load({n: a for n, a in state.items() if not n.startswith(_NEXT)})
        if named:
            self._stage = None
            self._next = self._solver_from_here(None)
            self._next.load(named)
            self.method = str(state["stage.method"])
