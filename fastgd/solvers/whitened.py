"""`lr="auto"`: descent in coordinates in which a bound of the Hessian is the identity.

The second moments of X bound the Hessian of every loss with a bounded second derivative: it is
2·X^T X for the squared error, at most X^T X/4 for the cross-entropy (Böhning and Lindsay, 1988), and at
most X^T X/2 in each output of softmax (Böhning, 1992). In coordinates u where that bound is the identity
(whitened columns), a step of length 1 along −gradient descends without a line search, whatever the scale
and the correlation of the columns. For squared error one step reaches the optimum; further steps refine
it with true residuals, so that the condition of X and not that of X^T X limits the accuracy. For other
losses L-BFGS (Nocedal and Wright, algorithm 7.4) runs in these coordinates. For two labels the Hessian at
the current parameters replaces the bound, once the steps have cost as much as a Hessian.

Columns are centred and scaled on the fly, and the intercepts of centred columns are called levels. The
coefficients returned are those of the caller's columns.
"""

import copy
import hashlib
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..losses import CoupledLoss, Loss
from ..settings import Settings
from ..sources.protocol import Source
from .automatic import AutomaticSolver, History, Steps
from .inverse_hessian import descent_direction
from .metric import FlatError, Metric, diagonal_metric, full_metric, is_full
from .per_row import Parameters, curvatures_at, margins_at, row_curvatures
from .separability import (
    FAR,
    group_separated,
    separated,
    separating_direction,
    signed_labels,
)

#: The most curvature pairs of L-BFGS.
PAIRS = 10
#: A sample is one row in so many, or fewer where that would not leave so many rows for each column.
_SAMPLED, _LEAST_SAMPLED, _ROWS_A_COLUMN = 32, 8, 100
#: The relative tolerance of a sample's gradient; its optimum is farther off than that.
_SAMPLE_TOL = 1e-5
#: The most passes over a sample, which cost as much as three over all rows.
_SAMPLE_EPOCHS = 100
#: The most steps over all rows in the curvature of the sample, and trial lengths of such a step.
_SAMPLE_STEPS, _SAMPLE_TRIES = 3, 2
#: Trial lengths of any other step.
_TRIES = 30


class _Point(NamedTuple):
    """The objective, the cost without the penalty, the gradient in u and its norm at some parameters."""

    objective: float
    cost: float
    gradient: np.ndarray
    norm: float


class _Margins(NamedTuple):
    """The margins of the rows at some parameters.

    Attributes
    ----------
    of_rows : result of `Source.per_row`
    least, most : float
    far : tuple of bytes
        Of each part of the rows a digest of which are far on either side; empty where none is.
    """

    of_rows: Any
    least: float
    most: float
    far: tuple[bytes, ...]


class Stage(NamedTuple):
    """Steps in one metric, up to the last one accepted: all that the next step needs but the metric.

    Attributes
    ----------
    sampled : bool
        Whether the run started from a sample.
    follows : bool
        Whether this is a round of `_follow_curvature`.
    point : _Point
    level : ndarray (k,)
        The centred intercepts.
    first : float
        The gradient norm that `tol` refers to.
    refresh : float
        Steps after which another metric replaces this one.
    tries : int
        The most trial lengths of a step.
    taken : int
        Steps so far.
    history : list of (float, float)
        Gradient norm and objective before each of them.
    steps, changes, inner : list
        The curvature pairs of L-BFGS: steps, changes of the gradient, and their inner products.
    at_coef, at_intercept : ndarray or None
        The parameters whose Hessian is the metric; None for the bound of the Hessian.
    """

    sampled: bool
    follows: bool
    point: _Point
    level: np.ndarray
    first: float
    refresh: float
    tries: int
    taken: int = 0
    history: Sequence[tuple[float, float]] = ()
    steps: Sequence[np.ndarray] = ()
    changes: Sequence[np.ndarray] = ()
    inner: Sequence[float] = ()
    at_coef: np.ndarray | None = None
    at_intercept: np.ndarray | None = None

    @property
    def at(self) -> Any:
        """The parameters whose Hessian is the metric."""
        return self.at_coef, self.at_intercept


class AutomaticDescent(AutomaticSolver):
    """The solver behind `lr="auto"` without l1."""

    _kind_of_stage: type = Stage
    #: The metric of the bound of the Hessian, where the run began with it.
    bound: Metric | None = None

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
        super().__init__(source, loss, settings, coef, intercept, epochs, keep_path)
        self.method = "whitened" if loss.quadratic else "whitened-lbfgs"
        if not is_full(source):
            self.method = "diagonal-lbfgs"

    def _descent(self, stage: Stage | None) -> Steps:
        if stage is None or stage.sampled:
            if (yield from self._run_from_sample(stage)):
                return True
            stage = None
        yield from self._run_from_bound(stage)
        return True

    # --- a start from a sample -------------------------------------------------------------------

    def _run_from_sample(self, stage: Stage | None = None) -> Steps:
        """Descend from the optimum of a sample of rows; False if the bound is the better start.

        The optimum of a sample of m rows is within about sqrt(d/m) of that of all rows, and its Hessian
        is as near to theirs: a step reduces the gradient by a factor of 5 or more, in the bound by 1 or
        2. The Hessian of all rows then covers what the sample lacks, such as a column that is constant in
        it.
        """
        if stage is None:
            found = self._start_from_sample()
            if found is None:
                return False
            stage, metric = found
        elif not stage.follows:
            sample = self._sample(*stage.at)
            assert sample is not None  # as it was before the pause
            metric = sample._metric_at(stage.at, sample._margins_at(stage.at))
            del sample
        if not stage.follows:
            done = yield from self._descend(stage, metric, False)
            if done and self._is_enough():
                return True
            self.converged, stage = False, None
        return (yield from self._follow_curvature(sampled=True, stage=stage))

    def _sample(self, coef: np.ndarray, intercept: np.ndarray) -> "AutomaticDescent | None":
        """The solver over a sample of rows; None if they are too few, or have no weight."""
        every = min(_SAMPLED, self.source.n // (_ROWS_A_COLUMN * (self.source.d + 1)))
        if every < _LEAST_SAMPLED:
            return None
        rows, weight_fraction = self.source.subset(every)
        if not weight_fraction > 0:
            return None
        on_sample = copy.copy(self.settings)
        on_sample.scale, on_sample.tol = self.settings.scale / weight_fraction, _SAMPLE_TOL
        return type(self)(rows, self.loss, on_sample, coef, intercept, _SAMPLE_EPOCHS, False)

    def _start_from_sample(self) -> tuple[Stage, Metric] | None:
        """Move to the optimum of a sample; the stage there and its metric, None if it is no better."""
        source = self.source
        if not self.loss.open_ended or self.loss.coupled or not is_full(source):
            return None
        sample = self._sample(self.coef, self.intercept)
        if sample is None:
            return None
        for _ in sample._run_from_bound():
            pass
        if sample.trouble or not sample.converged:
            return None
        at = sample.coef, sample.intercept
        metric = sample._metric_at(at, sample._margins_at(at))
        if sample.trouble or metric.null.any():
            return None
        before = sample._evaluate(metric, self.coef, self._centred(metric, self.intercept))
        level = sample._centred(metric, sample.intercept)
        point = self._evaluate(metric, sample.coef, level)
        if not point.objective <= before.objective:
            return None
        self.coef, self.intercept = at
        stage = Stage(
            True, False, point, self._centred(metric, self.intercept), before.norm,
            self._refresh() if self._is_enough() else _SAMPLE_STEPS, _SAMPLE_TRIES, at_coef=at[0],
            at_intercept=at[1],
        )  # fmt: skip
        return stage, metric

    def _is_enough(self) -> bool:
        """Whether a small gradient is, in the curvature of a sample: there is an optimum and a `tol`."""
        return self.settings.tol > 0 and self.settings.l2 > 0

    # --- a start from the bound of the Hessian ---------------------------------------------------

    def _run_from_bound(self, stage: Stage | None = None) -> Steps:
        """Descend in the metric of the bound, and for labels then in that of the Hessian."""
        source, settings = self.source, self.settings
        full = is_full(source)
        exact = full and self.loss.quadratic
        follows = full and self.loss.open_ended and not self.loss.coupled
        done = False
        if stage is None or not stage.follows:
            how = source, self.loss.curvature * settings.scale, settings.l2, settings.fit_intercept
            metric = full_metric(*how, squares=exact) if full else diagonal_metric(*how)
            if stage is None:
                self.null, self.bound = metric.null, metric
                stage = self._start_from_bound(metric, self._refresh() if follows else math.inf)
                if stage is None:
                    self.trouble = "overflow"
                    return False
            done = yield from self._descend(stage, metric, exact)
            stage = None
        if follows:
            yield from self._follow_curvature(done, stage=stage)
        elif settings.l2 == 0 and self.loss.open_ended and self._separable():
            self.trouble = "separable"
        if not self.trouble and self.null.any():
            self.trouble = "dependent"
        return True

    def _start_from_bound(self, metric: Metric, refresh: float) -> Stage | None:
        """The stage at the start; None if its objective is not finite."""
        level = self._centred(metric, self.intercept)
        at_zero = not self.coef.any() and not level.any()
        known = metric.totals_at_zero if at_zero else None
        point = self._evaluate(metric, self.coef, level, known)
        if not math.isfinite(point.objective):
            return None
        return Stage(False, False, point, level, point.norm, refresh, _TRIES)

    # --- descent in the Hessian at the current parameters ----------------------------------------

    def _follow_curvature(
        self, done: bool = False, sampled: bool = False, stage: Stage | None = None
    ) -> Steps:
        """Rounds in the Hessian at the current parameters, to the optimum or a proof that there is none.

        Parameters
        ----------
        done : bool
            Whether the descent in the bound converged; no round follows then, if no margin is far.
        sampled : bool
            Whether the run started from a sample.
        stage : Stage, optional
            The round to go on with.

        Returns
        -------
        bool
            False if columns are dependent and the metric of the bound has not been made.
        """
        far: tuple[bytes, ...] = ()
        while True:
            at = (self.coef, self.intercept) if stage is None else stage.at
            margins = self._margins_at(at)
            least, most = margins.least, margins.most
            if stage is None:
                if self.settings.l2 == 0 and least > 0 and self._separated():
                    self.trouble = "separable"
                if self.trouble or self.stopped or self.epoch >= self.epochs:
                    return True
            # A small gradient proves an optimum if the rows have the curvature that the metric assumes.
            known, far = far, margins.far
            if stage is None and done and (far == known if known else not any(far)):
                return True
            metric = self._metric_at(at, margins)
            del margins  # so that at most one array has a number per row
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

    def _stage_at(self, at: Parameters, metric: Metric, sampled: bool) -> Stage:
        """The stage at which a round of `_follow_curvature` begins, in the Hessian at `at`."""
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

    def _stays_near(
        self, metric: Metric, largest: float, coef: np.ndarray, intercept: np.ndarray
    ) -> bool:
        """Whether no margin can be far at this minimum, given the largest at other parameters.

        A row's curvature is at most that of all rows: curvature·(change of its prediction)² ≤ norm², with
        the norm of the move in the metric.
        """
        weight = self.source.weight
        second = self.loss.second
        if self.settings.tol > 0 or not largest < FAR or second is None:
            return False
        moved, level_moved = self.coef - coef, self.intercept - intercept
        norm = metric.norm(moved, level_moved + moved @ metric.center)
        least = weight[weight > 0].min() if len(weight) else 1.0
        least *= second(largest, 1.0, *self.loss.parameters)
        curvature = self.settings.scale * least
        return bool(largest + norm / math.sqrt(curvature) < FAR)

    def _refresh(self) -> int:
        """Steps after which a Hessian has cost no more than they did."""
        return max(10, math.ceil(self.source.work("moments") / self.source.work("pass")))

    def _margins_at(self, at: Parameters) -> _Margins:
        """The margins of the rows at some parameters."""
        of_rows = self.source.per_row(partial(margins_at, at=at))
        least, most, far = zip(*self.source.look(_seen, of_rows), strict=True)
        return _Margins(of_rows, min(least), max(most), far)

    def _metric_at(self, at: Parameters, margins: _Margins) -> Metric:
        """The metric of the Hessian at parameters with these margins, which are overwritten.

        If labels are separable in some rows, those rows are far on their side, and the Hessian of the
        others has no curvature along a separating direction. If one is found, `trouble` is "flat", and
        `null` names its columns.
        """
        source, fit_intercept = self.source, self.settings.fit_intercept
        suspect = self.settings.l2 == 0 and margins.most > FAR
        near = source.per_row(partial(_near, self.loss, suspect), margins.of_rows)
        try:
            metric = self._metric(1.0, near)
        except FlatError:
            return self._metric(self.loss.curvature)
        if not suspect or metric.whiten.shape[1] == source.d:
            return metric
        sides = signed_labels(source, source.y[0] == 1)
        direction = separating_direction(source, sides, metric, at[0][0], fit_intercept)
        if direction is None:
            return self._metric(1.0, source.per_row(partial(curvatures_at, loss=self.loss, at=at)))
        self.trouble, sizes = "flat", np.abs(direction / metric.scale)
        self.null = sizes * (sizes > 0.1 * sizes.max())
        return metric

    def _metric(self, curvature: float, weight: Any = None) -> Metric:
        settings = self.settings
        curvature = curvature * settings.scale
        return full_metric(self.source, curvature, settings.l2, settings.fit_intercept, weight)

    def _separable(self) -> bool:
        """Whether the labels are separable, in all rows or for softmax in some."""
        if self._separated():
            return True
        if not self.loss.coupled or not is_full(self.source):
            return False
        settings = self.settings
        how = settings.scale, settings.l2, settings.fit_intercept

        def metric_of(rows: Source, weight: np.ndarray) -> Metric:
            return full_metric(rows, *how, weight)

        return group_separated(
            self.source, (self.coef, self.intercept), metric_of, settings.fit_intercept
        )

    def _separated(self) -> bool:
        """Whether the current parameters classify every row right, without an offset."""
        return separated(self.source, self.loss, (self.coef, self.intercept))

    # --- steps in one metric ---------------------------------------------------------------------

    def _evaluate(
        self,
        metric: Metric,
        coef: np.ndarray,
        level: np.ndarray,
        totals: np.ndarray | None = None,
    ) -> _Point:
        """The point at given coefficients and levels, by a pass if its totals are not given."""
        d, l2 = self.source.d, self.settings.l2
        if totals is None:
            totals = self.source.totals(self.loss, coef, level, metric.center)
            totals *= self.settings.scale
        else:
            totals = self.settings.scale * totals
        cost = objective = float(sum(totals[:, d + 1].tolist()))
        by_coef = totals[:, :d]
        if l2 > 0:
            by_coef += l2 * coef
            objective += l2 / 2 * float(np.vdot(coef, coef))
        gradient = metric.to_gradient(by_coef, totals[:, d])
        norm = math.sqrt(np.vdot(gradient, gradient))
        if not math.isfinite(norm) and not np.isfinite(gradient).all():
            objective = math.inf  # as if the cost had overflowed
        return _Point(objective, cost, gradient, norm)

    def _descend(self, stage: Stage, metric: Metric, exact: bool) -> Steps:
        """Steps in one metric; True when the gradient is at its floor, or within `tol` of the first one.

        `exact` says that the metric is the Hessian of a squared error.
        """
        self.final_cost = stage.point.cost
        while True:
            point, level, norm = stage.point, stage.level, stage.point.norm
            history: History = [*stage.history, (norm, point.objective)]
            if self._at_floor(metric, level, point.cost, stage.first, history, exact):
                return True
            if self.epoch >= self.epochs or self._is_outdated(stage, history):
                return False
            pairs = list(zip(stage.steps, stage.changes, stage.inner, strict=True))
            direction = descent_direction(point.gradient, pairs)
            if stage.taken == 0 and metric.whiten.ndim == 1:
                # The columns are scaled and not whitened, and the bound may be too low by a factor of d.
                direction = direction / min(self.source.d, 64)
            found = self._line_search(metric, level, point, direction, exact, stage.tries)
            if found is None:
                if pairs:
                    pairs = []  # stale curvature: once more along −gradient
                    found = self._line_search(
                        metric, level, point, -point.gradient, exact, stage.tries
                    )
                if found is None:
                    # Neither direction descends: the gradient consists of rounding errors.
                    size = self._size(metric, level, exact)
                    self.converged = norm <= 1e-6 * max(stage.first, size)
                    return True
            step, coef, new_level, new = found
            change = new.gradient - point.gradient
            inner = float(np.vdot(change, step))
            if not exact and inner > 1e-14 * float(np.vdot(change, change)):
                pairs = [*pairs[1 - PAIRS :], (step, change, inner)]
            steps, changes, products = zip(*pairs, strict=True) if pairs else ((), (), ())
            stage = stage._replace(
                point=new, level=new_level, taken=stage.taken + 1, history=history, steps=steps,
                changes=changes, inner=products,
            )  # fmt: skip
            self._accept_step(point.cost, coef, new_level - coef @ metric.center, new.cost, stage)
            yield
            if self.stopped:
                return False

    def _is_outdated(self, stage: Stage, history: History) -> bool:
        """Whether another metric is worth its passes."""
        return stage.taken >= stage.refresh

    def _line_search(
        self,
        metric: Metric,
        level: np.ndarray,
        point: _Point,
        direction: np.ndarray,
        exact: bool,
        tries: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, _Point] | None:
        """A step in u that lowers the objective, or near its floor the gradient; None if none does.

        With it come the coefficients, the levels and the point that it leads to.
        """
        slope = float(np.vdot(point.gradient, direction))
        if slope >= 0:
            return None
        length = 1.0
        for _ in range(tries):
            step = direction if length == 1.0 else length * direction
            coef, level_move = metric.to_parameters(step)
            coef += self.coef
            new_level = level + level_move
            new = self._evaluate(metric, coef, new_level)
            if math.isfinite(new.objective):
                if new.objective <= point.objective + 1e-4 * length * slope:
                    return step, coef, new_level, new
                if exact:
                    smaller = new.norm < point.norm
                    return (step, coef, new_level, new) if smaller else None
                # If objectives differ by rounding alone, slopes decide (Hager and Zhang, 2005).
                equal = new.objective <= point.objective + 1e-12 * abs(point.objective)
                if equal and abs(np.vdot(new.gradient, direction)) <= -0.9 * slope:
                    return step, coef, new_level, new
                better = (
                    -slope * length**2 / (2 * (new.objective - point.objective - slope * length))
                )
                length = min(max(better, 0.1 * length), 0.5 * length)
            else:
                length *= 0.1
        return None


# --- numbers per row --------------------------------------------------------------------------------


def _seen(rows: Source, margins: np.ndarray) -> tuple[float, float, bytes]:
    """The least and the most of the margins of rows, and a digest of which are far."""
    least, most, far = float(margins.min()), float(margins.max()), b""
    if most > FAR or least < -FAR:
        which = np.packbits((margins > FAR) | (margins < -FAR))
        far = hashlib.blake2b(which.tobytes(), digest_size=16).digest()
    return least, most, far


def _near(loss: Loss | CoupledLoss, suspect: bool, rows: Source, margins: np.ndarray) -> np.ndarray:
    """The curvature of the rows, without those far on their side if labels may be separable."""
    beyond = margins > FAR if suspect else slice(0)
    near = row_curvatures(rows, loss, margins, True)
    near[beyond] = 0.0
    return near
