"""What the solvers behind `lr="auto"` share: pauses, history, state, and the end of a descent.

A solver is a generator of accepted steps. Between two of them a run may pause; an interrupt anywhere
leaves the parameters after the last accepted step.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..cpu.machine.blas import one_thread
from ..losses import CoupledLoss, Loss
from ..settings import CONVERGED, ENDED, NOT_FINITE, RUNNING, STOPPED, Settings
from ..sources.protocol import Source
from .metric import EPS, Metric, NotFiniteError
from .protocol import AfterStep
from .state import State, checked, flattened, optional, restored

#: Gradient norm and objective before every step.
History = Sequence[tuple[float, float]]
#: Accepted steps; the value at the end says whether the descent is complete.
Steps = Generator[None, None, bool]

#: If the gradient is no longer halved within so many steps, they are over where half its square, which in
#: the metric is the descent that is left, is below 1e-10 of the objective.
_STALLED, _NEAR = 10, 1e-5


class AutomaticSolver:
    """The base class of the solvers behind `lr="auto"`; `run` may be interrupted.

    Parameters
    ----------
    source : Source
        Float64 source whose targets are already free of `y_center`.
    loss : Loss or CoupledLoss
    settings : Settings
        l1, l2, scale, fit_intercept and tol are used.
    coef, intercept : ndarray (k, d), (k,)
        Where to start; `intercept` for x as given and y without `y_center`.
    epochs : int
        At most this many data passes.
    keep_path : bool
    """

    #: What `tol` refers to.
    measure = "gradient"
    #: The named tuple from which a run goes on.
    _kind_of_stage: type

    def __init__(
        self,
        source: Source,
        loss: Loss | CoupledLoss,
        settings: Settings,
        coef: np.ndarray,
        intercept: np.ndarray,
        epochs: int,
        keep_path: bool,
    ):
        self.source, self.loss, self.settings = source, loss, settings
        self.start, self.coef = (coef, intercept), coef
        self.epochs, self.keep_path = epochs, keep_path
        self.costs_list: list[float] = []
        self.path_list: list[np.ndarray] = []
        self.converged = False
        #: Why there is no optimum: "overflow", "separable", "flat" or "dependent".
        self.trouble: str | None = None
        #: By how much each column (d,) takes part in a linear dependence.
        self.null: Any = None
        self.stopped = False
        self.method = ""
        self.intercept = intercept.copy()
        self.final_cost = math.nan
        #: Data passes with a step so far.
        self.epoch = 0
        self._stage: Any = None
        self._generator: Iterator[None] | None = None
        self._ended = False

    # The state as the caller sees it.
    @property
    def costs(self) -> np.ndarray:
        """The cost before every step."""
        return np.array(self.costs_list[: self.epoch])

    @property
    def path(self) -> np.ndarray:
        """The coefficients after every step."""
        return np.array(self.path_list[: self.epoch]).reshape(-1, *self.coef.shape)

    @property
    def moved(self) -> bool:
        """Whether a step has changed the parameters."""
        return self.epoch > 0

    def cost(self) -> float:
        """The cost at the current parameters, without the penalty."""
        if self.moved and math.isnan(self.final_cost):
            at = self.coef, self.intercept
            totals = self.source.totals(self.loss, *at, slopes_too=False)
            self.final_cost = self.settings.scale * float(totals[:, -1].sum())
        return self.final_cost

    def first_cost(self, enough: float = math.inf) -> float:
        """The cost before the first step, once there was one."""
        return self.costs_list[0]

    def back(self) -> bool:
        """False: every step descends, so there is nothing to go back to."""
        return False

    def parameters(self) -> np.ndarray:
        """A copy of the parameters, (k, d+1), intercepts last."""
        return np.column_stack([self.coef, self.intercept])

    def put(self, parameters: np.ndarray, epoch: int, of: int | None = None) -> None:
        """Go to parameters from `parameters()`, those of an epoch; no step goes on from there."""
        coef, intercept = parameters[:, :-1].copy(), parameters[:, -1].copy()
        vars(self).update(
            coef=coef, intercept=intercept, epoch=epoch, final_cost=math.nan, _ended=True
        )

    def _accept_step(
        self,
        cost_before: float,
        coef: np.ndarray,
        intercept: np.ndarray,
        cost: float,
        stage: tuple[Any, ...],
    ) -> None:
        """Take a step to parameters and their cost, in one call, which no signal can divide."""
        self.costs_list.append(cost_before)
        if self.keep_path:
            self.path_list.append(coef.copy())
        vars(self).update(
            coef=coef, intercept=intercept, final_cost=cost, epoch=self.epoch + 1, _stage=stage
        )

    # --- a run, its pauses, and its state --------------------------------------------------------

    @one_thread()
    def run(self, until: int, after_step: AfterStep | None = None) -> int:
        """Go on to epoch number `until` at most; returns the status.

        `after_step` is called after every accepted step and ends the run by returning True.
        """
        if self._generator is None:
            self._generator = self._steps()
        while not self._ended:
            if self.epoch >= until and until < self.epochs:
                return RUNNING
            self._ended = next(self._generator, self) is self
            if not self._ended and after_step is not None and after_step():
                self.stopped = True  # the generator ends before another step
        if self.stopped:
            return STOPPED
        if self.trouble == "overflow":
            return NOT_FINITE
        return CONVERGED if self.converged else ENDED

    def state(self) -> State:
        """Arrays by name, from which a new solver goes on to the same bits.

        The state of an unfinished run is that after its last accepted step.
        """
        source, epoch = self.source, self.epoch
        capped = epoch >= self.epochs and not self.converged
        over = self._ended and not (self.stopped or capped)
        coef, intercept = (self.coef, self.intercept) if epoch or over else self.start
        arrays = {
            "solver": np.array(type(self).__name__),
            "shape": np.array([source.n, source.d, source.k]),
            "coef": np.array(coef), "intercept": np.array(intercept),
            "start_coef": np.array(self.start[0]), "start_intercept": np.array(self.start[1]),
            "epoch": np.array(epoch), "final_cost": np.array(float(self.final_cost)),
            "over": np.array(over), "converged": np.array(over and bool(self.converged)),
            "trouble": np.array((over and self.trouble) or ""),
            "null": optional(self.null, (source.d,)),
            "costs": np.array(self.costs, np.float64), "path": self.path,
        }  # fmt: skip
        return arrays | flattened("stage", self._stage)

    def load(self, state: State) -> None:
        """Go on from a state of a solver of the same kind, on the same rows, with the same settings."""
        like = {name: array for name, array in self.state().items() if name[:6] != "stage."}
        state = checked(state, like, ("null", "costs", "path"))
        self.start = state["start_coef"], state["start_intercept"]
        self.coef, self.intercept = state["coef"], state["intercept"]
        self.epoch, self.final_cost = int(state["epoch"]), float(state["final_cost"])
        self.costs_list, self.path_list = state["costs"].tolist(), list(state["path"])
        self.null = state["null"][0] if len(state["null"]) else None
        self.trouble = str(state["trouble"]) or None
        self.converged, self._ended = bool(state["converged"]), bool(state["over"])
        self.stopped, self._generator = False, None
        self._stage = restored("stage", self._kind_of_stage, state)

    def _steps(self) -> Iterator[None]:
        """The whole descent; it pauses after every accepted step."""
        try:
            yield from self._descent(self._stage)
        except NotFiniteError:
            self.trouble = "overflow"
        if self.trouble:
            self.converged = False

    def _descent(self, stage: Any) -> Iterator[None]:
        """The accepted steps from the start, or from a stage."""
        raise NotImplementedError

    # --- the end of a descent --------------------------------------------------------------------

    def _centred(self, metric: Metric, intercept: np.ndarray) -> np.ndarray:
        """The centred intercepts, or levels, at the current coefficients."""
        return np.asarray(intercept + self.coef @ metric.center)

    def _at_floor(
        self,
        metric: Metric,
        level: np.ndarray,
        cost: float,
        first: float,
        history: History,
        exact: bool,
    ) -> bool:
        """Whether the last gradient is within `tol` of the `first` norm, or as small as rounding permits.

        The parameters are the current ones, `level` their centred intercepts and `cost` their cost.
        `exact` says that the metric is the Hessian of a squared error.
        """
        norm, objective = history[-1]
        if self.settings.tol > 0:
            self.converged = bool(norm <= self.settings.tol * first)
            return self.converged
        # Residuals of size r leave a rounding error of eps·r in the gradient. Predictions much larger
        # than the residuals, or sums of larger terms that cancel, leave a larger one: squared error ends
        # at eps·(that size), the other losses where steps no longer halve the gradient.
        root = math.sqrt(abs(cost))
        done = norm <= 2 * EPS * root
        patience = self._patience(metric, exact)
        stalled = len(history) > patience and not shrinks(history[-patience - 1 :])
        if not done and (exact or stalled):
            size, terms = self._size(metric, level, exact), metric.size_of_terms(self.coef)
            done = exact and norm <= EPS * max(size, terms)
            done = done or (stalled and norm < max(1e-9 * max(size, root), 100 * EPS * terms))
        if len(history) > _STALLED and not exact and norm <= _NEAR * math.sqrt(abs(objective)):
            # Rows far on their side have little curvature; in its unit rounding is large.
            recent = history[-_STALLED - 1 :]
            done = done or not (shrinks(recent) or objective < (1 - 4 * EPS) * recent[0][1])
        self.converged = bool(done)
        return self.converged

    def _patience(self, metric: Metric, exact: bool) -> int:
        """The steps of which one has to halve the gradient, unless that is at its floor."""
        return 1 if exact else 3 if metric.whiten.ndim == 2 else 12

    def _size(self, metric: Metric, level: np.ndarray, exact: bool) -> float:
        """The norm of the predictions, but for labels at most that of residuals of 1."""
        size = metric.norm(self.coef, level)
        if exact or not self.loss.open_ended:
            return size
        weight = self.source.weight
        mass = float(weight.sum()) if len(weight) else self.source.n
        return min(size, math.sqrt(self.settings.scale * mass))


def shrinks(history: History) -> bool:
    """Whether the last norm is at most half of those before."""
    *before, (norm, _) = history
    return norm <= 0.5 * min(n for n, _ in before)
