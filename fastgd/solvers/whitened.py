"""`lr="auto"`: descent with a step that the data itself provides.

The second moments of X bound the curvature of both losses: the Hessian of the squared error is
2·X^T X, that of the cross-entropy at most X^T X/4 (Böhning and Lindsay 1988), and X^T X/2 in each
output of softmax (Böhning 1992). In coordinates u where
that bound is the identity, a step of length 1 along −gradient descends without a line search, and bad
scaling or correlated columns are no longer felt. For squared error it lands in one step; what follows
are refinements with true residuals, so that X and not X^T X sets the accuracy. For the cross-entropy
L-BFGS (Nocedal and Wright, algorithm 7.4) runs in these coordinates, and the bound is replaced by the
curvature at hand once as much work was spent as that costs.

Columns are centred and scaled on the fly; coefficients come back in the caller's units.
"""

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cpu.elementwise import curvatures
from ..losses import BCE, CoupledLoss, Loss
from ..settings import CONVERGED, ENDED, NOT_FINITE, RUNNING, STOPPED
from ..sources.protocol import Source
from .inverse_hessian import descent_direction
from .metric import (
    FULL_METRIC,
    Metric,
    NotFiniteError,
    diagonal_metric,
    full_metric,
)
from .protocol import AfterStep
from .state import State, checked, flattened, optional, restored

#: Rows whose predictions are this far on their side have a curvature of at most 8e-7.
_FAR = 14.0
#: Curvature pairs that L-BFGS keeps.
PAIRS = 10
#: One row in so many makes a sample, if that leaves so many rows for every column.
_SAMPLED, _ROWS_A_COLUMN = 32, 100
#: How far the gradient of a sample falls: its optimum is off by more than that anyway.
_SAMPLE_TOL = 1e-5
#: Passes over a sample, after which it is given up; three passes over all rows.
_SAMPLE_EPOCHS = 100
#: Steps over all rows in the curvature of the sample, and trial lengths of such a step.
_SAMPLE_STEPS, _SAMPLE_TRIES = 3, 2
#: Steps without a gain, after which no more are taken where half the square of the gradient, which in the
#: curvature at hand is what is left to gain, is below 1e-10 of the objective.
_STALLED, _NEAR = 10, 1e-5
#: Trial lengths of any other step.
_TRIES = 30
#: How far a direction may take a row to the wrong side, in parts of its largest move to the right one.
_ONE_SIDED = 1e-10
#: Columns that are tried one by one as such a direction; up to so many classes every group of them is.
_CANDIDATES, _GROUPED = 32, 5


class _Point(NamedTuple):
    """What is known at one set of parameters."""

    objective: float
    cost: float
    gradient: np.ndarray
    norm: float


class Stage(NamedTuple):
    """Steps in one metric, up to the last one accepted: all that the next step needs but the metric.

    Attributes
    ----------
    sampled : bool
        Whether the run started from a sample.
    follows : bool
        Whether this is a round of `_follow`.
    point : _Point
    level : ndarray (k,)
        The centred intercepts.
    first : float
        The norm that `tol` refers to.
    refresh : float
        Steps after which another metric takes over.
    tries : int
        Trial lengths of a step.
    taken : int
        Steps so far.
    history : list of (float, float)
        Norms and objectives before each of them.
    steps, changes, inner : list
        The curvature pairs of L-BFGS: steps, changes of the gradient, and their products.
    at_coef, at_intercept : ndarray or None
        The parameters whose curvature the metric has; None for the bound of the curvature.
    """

    sampled: bool
    follows: bool
    point: _Point
    level: np.ndarray
    first: float
    refresh: float
    tries: int
    taken: int = 0
    history: Sequence = ()
    steps: Sequence = ()
    changes: Sequence = ()
    inner: Sequence = ()
    at_coef: np.ndarray | None = None
    at_intercept: np.ndarray | None = None

    @property
    def at(self) -> Any:
        """The parameters whose curvature the metric has."""
        return self.at_coef, self.at_intercept


class AutomaticDescent:
    """The loop behind `lr="auto"`; `run` may be interrupted and keeps the best parameters.

    Parameters
    ----------
    source : Source
        Float64 source whose targets are already free of `y_center`.
    loss : Loss
    settings : Settings
        l2, scale, fit_intercept and tol are used.
    coef, intercept : ndarray (k, d), (k,)
        Where to start; `intercept` for x as given and y without `y_center`.
    epochs : int
        At most this many data passes.
    """

    #: The type of what a run goes on from.
    _kind_of_stage: type = Stage

    def __init__(
        self,
        source: Source,
        loss: Loss | CoupledLoss,
        settings,
        coef,
        intercept,
        epochs: int,
        keep_path: bool,
    ):
        self.source, self.loss, self.settings = source, loss, settings
        self.start, self.coef = (coef, intercept), coef.copy()
        self.epochs, self.keep_path = epochs, keep_path
        self.costs_list: list[float] = []
        self.path_list: list[np.ndarray] = []
        self.converged = False
        self.trouble: str | None = None
        self.null: Any = None
        self.stopped = False
        self.method = "whitened" if loss.quadratic else "whitened-lbfgs"
        if source.d > FULL_METRIC:
            self.method = "diagonal-lbfgs"
        self.intercept = intercept.copy()
        self.final_cost = math.nan
        #: Data passes with a step so far.
        self.epoch = 0
        self._stage: Any = None
        self._walk: Iterator[None] | None = None
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

    def first_cost(self) -> float:
        """The cost before the first step, once there was one."""
        return self.costs_list[0]

    def back(self) -> bool:
        """Every step descends: there is nothing to go back to."""
        return False

    def parameters(self) -> np.ndarray:
        """A copy of the parameters, (k, d+1), intercepts last."""
        return np.column_stack([self.coef, self.intercept])

    def put(self, parameters: np.ndarray, epoch: int) -> None:
        """Go to parameters from `parameters()`, those of an epoch; no step goes on from there."""
        coef, intercept = parameters[:, :-1].copy(), parameters[:, -1].copy()
        vars(self).update(
            coef=coef, intercept=intercept, epoch=epoch, final_cost=math.nan, _ended=True
        )

    def _accept_step(self, before: float, coef, intercept, cost: float, stage) -> None:
        """Take a step, from a cost to parameters and theirs: all at once, as no signal parts a call."""
        self.costs_list.append(before)
        if self.keep_path:
            self.path_list.append(coef.copy())
        vars(self).update(
            coef=coef, intercept=intercept, final_cost=cost, epoch=self.epoch + 1, _stage=stage
        )

    # --- a run, its pauses, and its state --------------------------------------------------------

    def run(self, until: int, after_step: AfterStep | None = None) -> int:
        """Go on to epoch number `until` at most; returns the status.

        `after_step` is called after every accepted step and ends the run by returning True.
        """
        if self._walk is None:
            self._walk = self._steps()
        while not self._ended:
            if self.epoch >= until and until < self.epochs:
                return RUNNING
            self._ended = next(self._walk, self) is self
            if not self._ended and after_step is not None and after_step():
                self.stopped = True  # the walk ends before another step
        if self.stopped:
            return STOPPED
        if self.trouble == "overflow":
            return NOT_FINITE
        return CONVERGED if self.converged else ENDED

    def state(self) -> State:
        """Arrays by name, from which a new solver goes on to the same bits.

        What comes back of a run that is not over is its last step; nothing later than that is kept.
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
        self.stopped, self._walk = False, None
        self._stage = restored("stage", self._kind_of_stage, state)

    def _steps(self) -> Iterator[None]:
        """The whole descent; it pauses after every accepted step."""
        try:
            yield from self._descent(self._stage)
        except NotFiniteError:
            self.trouble = "overflow"
        if self.trouble:
            self.converged = False

    # --- descents, which pause after every accepted step -----------------------------------------

    def _descent(self, stage):
        """All of it, or what is left at a stage."""
        if stage is None or stage.sampled:
            if (yield from self._run_from_sample(stage)):
                return
            stage = None
        yield from self._run_from_bound(stage)

    def _run_from_sample(self, stage=None):
        """Descend from the optimum of a sample of rows; False if the bound is the better start.

        A sample of m rows has its optimum within about sqrt(d/m) of that of all rows, and a Hessian as
        near to theirs: a step gains a factor of five or more where the bound gains one or two. What a
        sample does not show, such as a column that is constant in it, the curvature of all rows does.
        """
        if stage is None:
            stage, metric = self._start_from_sample()
            if stage is None:
                return False
        elif not stage.follows:
            sample = self._sample(*stage.at)
            metric = sample._curvature_at(stage.at, sample._margins(stage.at))
            del sample
        if not stage.follows:
            yield from self._descend(stage, metric, False)
            self.converged, stage = False, None
        return (yield from self._follow(sampled=True, stage=stage))

    def _sample(self, coef, intercept) -> Any:
        """The descent over a sample of rows; None if they have no weight."""
        rows, share = self.source.subset(_SAMPLED)
        if not share > 0:
            return None
        on_sample = copy.copy(self.settings)
        on_sample.scale, on_sample.tol = self.settings.scale / share, _SAMPLE_TOL
        return AutomaticDescent(
            rows, self.loss, on_sample, coef, intercept, _SAMPLE_EPOCHS, False
        )  # fmt: skip

    def _start_from_sample(self) -> Any:
        """Move to the optimum of a sample: the stage there and its metric, or None twice."""
        source = self.source
        if not self.loss.open_ended or self.loss.coupled or source.d > FULL_METRIC:
            return None, None
        if source.n < _SAMPLED * _ROWS_A_COLUMN * (source.d + 1):
            return None, None
        sample = self._sample(self.coef, self.intercept)
        if sample is None:
            return None, None
        for _ in sample._run_from_bound():
            pass
        if sample.trouble or not sample.converged:
            return None, None
        at = sample.coef, sample.intercept
        metric = sample._curvature_at(at, sample._margins(at))
        if sample.trouble or metric.null.any():
            return None, None
        before = sample._evaluate(metric, self.coef, self._centred(metric, self.intercept))
        level = sample._centred(metric, sample.intercept)
        point = self._evaluate(metric, sample.coef, level)
        if not point.objective <= before.objective:
            return None, None
        self.coef, self.intercept = at
        stage = Stage(
            True, False, point, self._centred(metric, self.intercept), before.norm, _SAMPLE_STEPS,
            _SAMPLE_TRIES, at_coef=at[0], at_intercept=at[1],
        )  # fmt: skip
        return stage, metric

    def _run_from_bound(self, stage=None):
        """Descend in the metric of the bound, and where that pays in that of the curvature at hand."""
        source, settings = self.source, self.settings
        full = source.d <= FULL_METRIC
        exact = full and self.loss.quadratic
        renewed = full and self.loss.open_ended and not self.loss.coupled
        done = False
        if stage is None or not stage.follows:
            make = full_metric if full else diagonal_metric
            curvature = self.loss.curvature * settings.scale
            options = {"squares": True} if exact else {}
            metric = make(source, curvature, settings.l2, settings.fit_intercept, **options)
            if stage is None:
                self.null = metric.null
                stage = self._start_from_bound(metric, self._refresh() if renewed else math.inf)
                if stage is None:
                    self.trouble = "overflow"
                    return
            done = yield from self._descend(stage, metric, exact)
            stage = None
        if renewed:
            yield from self._follow(done, stage=stage)
        elif settings.l2 == 0 and self.loss.open_ended and self._apart():
            self.trouble = "separable"
        if not self.trouble and self.null.any():
            self.trouble = "dependent"

    def _start_from_bound(self, metric, refresh) -> Stage | None:
        """The stage at the start; None if its objective is not finite."""
        level = self._centred(metric, self.intercept)
        at_zero = not self.coef.any() and not level.any()
        known = metric.totals_at_zero if at_zero else None
        point = self._evaluate(metric, self.coef, level, known)
        if not math.isfinite(point.objective):
            return None
        return Stage(False, False, point, level, point.norm, refresh, _TRIES)

    def _follow(self, done=False, sampled=False, stage=None):
        """Descend in the curvature at hand, to the optimum or to a proof that there is none.

        `done`: in the metric of the bound that is so already, if every row is near. False if columns are
        dependent and the bound has not been asked.
        """
        far = np.zeros(self.source.n, bool)
        while True:
            at = (self.coef, self.intercept) if stage is None else stage.at
            margins = self._margins(at)
            least, most = float(margins.min()), float(margins.max())
            if stage is None:
                if self.settings.l2 == 0 and least > 0:
                    self.trouble = "separable"
                if self.trouble or self.stopped or self.epoch >= self.epochs:
                    return True
            # A gradient tells where rows have the curvature that the metric gives them.
            known, far = far, (margins > _FAR) | (margins < -_FAR)
            if stage is None and done and np.array_equal(far, known):
                return True
            metric = self._curvature_at(at, margins)
            del margins  # at most one number a row
            if stage is None:
                if self.trouble:
                    return True
                if self.null is None and metric.null.any():
                    return False
                self.null = metric.null if self.null is None else self.null
                stage = self._stage_at(at, metric, sampled)
            done = yield from self._descend(stage, metric, False)
            if done and self._stays_near(metric, max(most, -least), *at):
                return True
            stage = None

    def _stage_at(self, at, metric, sampled) -> Stage:
        """A round of `_follow` in the curvature at the current parameters."""
        level = self._centred(metric, self.intercept)
        point = self._evaluate(metric, self.coef, level)
        first = point.norm
        if self.settings.tol > 0:
            coef, intercept = self.start
            first = self._evaluate(metric, coef, intercept + coef @ metric.center).norm
        return Stage(
            sampled, True, point, level, first, self._refresh(), _TRIES, at_coef=at[0],
            at_intercept=at[1],
        )  # fmt: skip

    def _stays_near(self, metric, largest, coef, intercept) -> bool:
        """Whether every row is near still, at a minimum reached from where the margins were so large.

        The curvature of one row is at most that of all: curvature·(move of its prediction)² ≤ size².
        """
        weight = self.source.weight
        if self.settings.tol > 0 or not largest < _FAR:
            return False
        moved, rise = self.coef - coef, self.intercept - intercept
        size = metric.size(moved, rise + moved @ metric.center)
        least = weight[weight > 0].min() if len(weight) else 1.0
        second: Any = self.loss.second
        least *= second(largest, 1.0, *self.loss.parameters)
        curvature = self.settings.scale * least
        return largest + size / math.sqrt(curvature) < _FAR

    def _refresh(self) -> int:
        """Steps after which the curvature at hand is worth its cost."""
        return max(10, math.ceil(self._moments_in_passes()))

    def _moments_in_passes(self) -> float:
        return self.source.work("moments") / self.source.work("pass")

    def _centred(self, metric, intercept):
        return intercept + self.coef @ metric.center

    def _evaluate(self, metric, coef, level, totals=None):
        """The point at given coefficients and centred intercept; by a pass if its totals are unknown."""
        settings, d = self.settings, self.source.d
        if totals is None:
            totals = self.source.totals(self.loss, coef, level, metric.center)
        cost = settings.scale * float(totals[:, d + 1].sum())
        by_coef, objective = settings.scale * totals[:, :d], cost
        if settings.l2 > 0:
            by_coef += settings.l2 * coef
            objective += settings.l2 / 2 * float((coef * coef).sum())
        gradient = metric.to_gradient(by_coef, settings.scale * totals[:, d])
        if not np.isfinite(gradient).all():
            objective = math.inf  # as good as an overflow of the cost
        return _Point(objective, cost, gradient, float(np.linalg.norm(gradient)))

    def _descend(self, stage, metric, exact):
        """Steps in one metric; True when the gradient is at its floor, or within tol of `first`."""
        self.final_cost = stage.point.cost
        while True:
            point, level, norm = stage.point, stage.level, stage.point.norm
            history = [*stage.history, (norm, point.objective)]
            if self._at_floor(norm, stage.first, history, metric, level, point, exact):
                return True
            if self.epoch >= self.epochs or stage.taken >= stage.refresh:
                return False
            pairs = list(zip(stage.steps, stage.changes, stage.inner, strict=True))
            direction = descent_direction(point.gradient, pairs)
            if stage.taken == 0 and metric.whiten.ndim == 1:
                # Scaled columns only: the bound may be off by d, start with a short step.
                direction = direction / min(self.source.d, 64)
            found = self._line_search(metric, level, point, direction, exact, stage.tries)
            if found is None:
                if pairs:
                    pairs = []  # stale curvature: once more along the plain gradient
                    found = self._line_search(
                        metric, level, point, -point.gradient, exact, stage.tries
                    )
                if found is None:
                    # Neither direction descends: rounding is all that is left.
                    size = self._size(metric, level, exact)
                    self.converged = norm <= 1e-6 * max(stage.first, size)
                    return True
            step, coef, new_level, new = found
            change = new.gradient - point.gradient
            inner = float((change * step).sum())
            if not exact and inner > 1e-14 * float((change * change).sum()):
                pairs = [*pairs[1 - PAIRS :], (step, change, inner)]
            steps, changes, products = (
                map(list, zip(*pairs, strict=True)) if pairs else ([], [], [])
            )
            stage = stage._replace(
                point=new, level=new_level, taken=stage.taken + 1, history=history, steps=steps,
                changes=changes, inner=products,
            )  # fmt: skip
            self._accept_step(point.cost, coef, new_level - coef @ metric.center, new.cost, stage)
            yield
            if self.stopped:
                return False

    def _at_floor(self, norm, first, history, metric, level, point, exact) -> bool:
        """Whether this gradient is as small as wanted, or as rounding lets it be."""
        if self.settings.tol > 0:
            self.converged = norm <= self.settings.tol * first
            return self.converged
        # Residuals of size r leave rounding of eps·r in the gradient. Predictions much larger than
        # the residuals, or summed from what is larger than they are, leave more: squared error ends at
        # eps·(that size), the others where steps no longer halve the gradient.
        eps, root = np.finfo(np.float64).eps, math.sqrt(point.cost)
        size, summed = self._size(metric, level, exact), metric.summed(self.coef)
        done = norm <= 2 * eps * root or (exact and norm <= eps * max(size, summed))
        patience = 1 if exact else 3 if metric.whiten.ndim == 2 else 12
        if len(history) > patience and norm < max(1e-9 * max(size, root), 100 * eps * summed):
            done = done or not _shrinks(history[-patience - 1 :])
        if len(history) > _STALLED and not exact and norm <= _NEAR * math.sqrt(point.objective):
            # Of rows that are certain the curvature is small, and rounding large in its units.
            recent = history[-_STALLED - 1 :]
            done = done or not (_shrinks(recent) or point.objective < (1 - 4 * eps) * recent[0][1])
        self.converged = bool(done)
        return self.converged

    def _size(self, metric, level, exact) -> float:
        """The size of the predictions, as far as residuals follow it: those of a label are at most 1."""
        size = metric.size(self.coef, level)
        if exact or not self.loss.open_ended:
            return size
        weight = self.source.weight
        mass = float(weight.sum()) if len(weight) else self.source.n
        return min(size, math.sqrt(self.settings.scale * mass))

    def _line_search(self, metric, level, point, direction, exact, tries):
        """A step that lowers the objective, or near its floor the gradient; None if there is none."""
        slope = float((point.gradient * direction).sum())
        if slope >= 0:
            return None
        length = 1.0
        for _ in range(tries):
            step = length * direction
            move, rise = metric.to_parameters(step)
            coef, new_level = self.coef + move, level + rise
            new = self._evaluate(metric, coef, new_level)
            if math.isfinite(new.objective):
                if new.objective <= point.objective + 1e-4 * length * slope:
                    return step, coef, new_level, new
                if exact:
                    smaller = new.norm < point.norm
                    return (step, coef, new_level, new) if smaller else None
                # Where objectives differ by rounding alone, slopes still tell (Hager and Zhang 2005).
                level_ground = new.objective <= point.objective + 1e-12 * abs(point.objective)
                if level_ground and abs((new.gradient * direction).sum()) <= -0.9 * slope:
                    return step, coef, new_level, new
                better = (
                    -slope * length**2 / (2 * (new.objective - point.objective - slope * length))
                )
                length = min(max(better, 0.1 * length), 0.5 * length)
            else:
                length *= 0.1
        return None

    def _raw(self, at=None):
        """The predictions of all outputs, (k, n), at the current parameters or others."""
        outputs = zip(*(at or (self.coef, self.intercept)), strict=True)
        return np.array([self.source.predictions(w[None], b[None]) for w, b in outputs])

    def _apart(self) -> bool:
        """Whether the labels are separable, in all rows or for softmax in some."""
        coupled = self.loss.coupled and self.source.d <= FULL_METRIC
        return self._separated() or (coupled and self._parted())

    def _margins(self, at) -> np.ndarray:
        """Predictions, positive on the side of the label; those of rows without weight are 1."""
        margins, weight = self.source.predictions(*at), self.source.weight
        np.negative(margins, out=margins, where=self.source.y[0] == 0)
        if len(weight):
            margins[weight == 0] = 1.0
        return margins

    def _separated(self) -> bool:
        """Whether these parameters put every row on the right side: then no finite optimum exists."""
        if not self.loss.coupled:
            return bool(self._margins((self.coef, self.intercept)).min() > 0)
        y, weight = self.source.y, self.source.weight
        raw = self._raw()
        own = np.take_along_axis(raw, y.astype(np.intp), axis=0)
        right = (raw < own).sum(axis=0) == len(raw) - 1
        counts = weight > 0 if len(weight) else slice(None)
        return bool(right[counts].all())

    def _row_curvatures(self, rows, of_margins=True, loss=None) -> np.ndarray:
        """The weighted second derivative of every row's loss, in place of its margin or prediction.

        Without second derivatives it is their bound.
        """
        source, loss = self.source, loss or self.loss
        if loss.second is None:
            rows[:] = loss.curvature * (source.weight if len(source.weight) else 1.0)
        else:
            curvatures(loss, rows, source.y[0], source.weight, of_margins, source.n_threads)
        return rows

    def _curvature_at(self, at, margins) -> Metric:
        """The metric of the true curvature at parameters with these margins, which are lost.

        Where labels are separable in part, rows that are far on their side leave a direction without
        curvature; then `trouble` and `null` say so, if the rows confirm it.
        """
        apart = self.settings.l2 == 0 and margins.max() > _FAR
        beyond = margins > _FAR if apart else slice(0)
        near = self._row_curvatures(margins)
        near[beyond] = 0.0
        if not near.sum() > 0:  # all curvature is lost to rounding
            return self._metric(self.loss.curvature)
        metric = self._metric(1.0, near)
        if not apart or metric.whiten.shape[1] == self.source.d:
            return metric
        direction = self._parting(metric, self._sides(self.source.y[0] == 1), at[0][0])
        if direction is None:
            return self._metric(1.0, self._row_curvatures(self.source.predictions(*at), False))
        self.trouble, sizes = "flat", np.abs(direction / metric.scale)
        self.null = sizes * (sizes > 0.1 * sizes.max())
        return metric

    def _metric(self, curvature, weight=None) -> Metric:
        settings = self.settings
        curvature = curvature * settings.scale
        return full_metric(self.source, curvature, settings.l2, settings.fit_intercept, weight)

    def _sides(self, positive) -> np.ndarray:
        """1 for these rows, −1 for the others, 0 without weight."""
        sides, weight = np.where(positive, 1.0, -1.0), self.source.weight
        return sides * (weight > 0) if len(weight) else sides

    def _parting(self, metric, sides, coef) -> np.ndarray | None:
        """A direction without curvature that takes rows to their side and none away from it.

        Candidates are the coefficients and each column, projected on the directions without curvature.
        """
        d = self.source.d
        whiten = metric.whiten / metric.scale[:, None]
        flat = np.eye(d) - whiten @ (whiten.T @ metric.hessian)
        along = flat @ (coef / metric.scale)
        columns = np.argsort(-np.abs(along))[:_CANDIDATES]
        for candidate in [along, *(flat[:, j] for j in columns if flat[j, j] > 0.1)]:
            direction = candidate * metric.scale
            level = -(metric.center @ direction) * self.settings.fit_intercept
            if self._one_sided(sides, direction, level):
                return direction
        return None

    def _one_sided(self, sides, coef, intercept) -> bool:
        """Whether this direction or its opposite takes rows to their side, and none away from it."""
        moves = sides * self.source.predictions(coef[None], np.array([intercept]))
        back, ahead = -moves.min(), moves.max()
        return bool(max(back, ahead) > 0 and min(back, ahead) <= _ONE_SIDED * max(back, ahead))

    def _parted(self) -> bool:
        """Whether a plane parts rows of one group of classes from the others, and errs in none.

        As in `_curvature_at`: rows far on their side leave a direction without curvature.
        """
        raw, y, classes = self._raw(), self.source.y[0], range(self.source.k)
        sizes = range(1, len(classes) // 2 + 1 if len(classes) <= _GROUPED else 2)
        for group in (g for size in sizes for g in itertools.combinations(classes, size)):
            others = [c for c in classes if c not in group]
            sides = self._sides(np.isin(y, group))
            margins = np.logaddexp.reduce(raw[list(group)]) - np.logaddexp.reduce(raw[others])
            margins *= sides
            if not margins.max() > _FAR:
                continue
            beyond = margins > _FAR
            near = self._row_curvatures(margins, loss=BCE)  # of one group against the others
            near[beyond] = 0.0
            coef = self.coef[list(group)].mean(axis=0) - self.coef[others].mean(axis=0)
            if near.sum() > 0:
                metric = self._metric(1.0, near)
                parted = metric.whiten.shape[1] < self.source.d and (
                    self._parting(metric, sides, coef) is not None
                )
            else:
                level = self.intercept[list(group)].mean() - self.intercept[others].mean()
                parted = self._one_sided(sides, coef, level)
            if parted:
                return True
        return False


def _shrinks(history) -> bool:
    """Whether the last norm is less than half of those before."""
    *before, (norm, _) = history
    return norm <= 0.5 * min(n for n, _ in before)
