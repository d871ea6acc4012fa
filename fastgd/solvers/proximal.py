"""`lr="auto"` with an l1 penalty: descent in which each step minimises a penalised quadratic.

The l1 norm is not that of rotated coordinates, so nothing is whitened here. With up to `FULL_METRIC`
columns, counted once per class for softmax, steps are those of proximal Newton: the cost is replaced by
its quadratic with the Hessian (for squared error the exact one; for cross-entropy the one at the current
parameters, or its bound at the start). Coordinate descent and then an active-set method find the
penalised minimum of the quadratic, with exact zeros (Friedman, Hastie and Tibshirani, 2010; Lee, Sun and
Saunders, 2014), and a pass over the data gives the objective there. With more columns, steps are
accelerated proximal gradient steps in the metric of the bound (Beck and Teboulle, 2009; restarts of
O'Donoghue and Candès, 2015).
"""

import contextlib
import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..cpu.coordinates import substitute, sweep
from ..losses import CoupledLoss, Loss
from ..settings import Settings
from ..sources.protocol import Source
from .automatic import AutomaticSolver, History, Steps
from .joint import PenalisedMetric, is_joint, joint_hessian, steps_for_curvature
from .metric import FlatError, Metric, diagonal_metric, full_metric, inverse_root, is_full
from .penalty import l1_slope, soft
from .per_row import Parameters, curvatures_at

_EPS = float(np.finfo(np.float64).eps)
#: Sweeps of coordinate descent between two runs of the active-set method, and the most such runs.
_SWEEPS, _ATTEMPTS = 20, 200
#: The most changes of the active set in a run.
_CHANGES = 50
#: A sample is one row in at most so many, with at least so many rows per column; its tolerance.
_SAMPLED, _ROWS_A_COLUMN, _SAMPLE_TOL = 32, 50, 1e-3
#: A sample of more than one row in so many is not worth its passes.
_LEAST_SAMPLED = 4
#: The most passes over a sample.
_SAMPLE_EPOCHS = 100
#: The most trial lengths of a step.
_TRIES = 30


class Point(NamedTuple):
    """The objective and its derivatives at coefficients (k, d) and levels (k,) of columns about `center`.

    `by_coef` and `by_level` are the gradient of the cost with the l2 penalty, without l1.
    """

    center: np.ndarray
    coef: np.ndarray
    level: np.ndarray
    cost: float
    objective: float
    by_coef: np.ndarray
    by_level: np.ndarray

    def about(self, center: np.ndarray) -> "Point":
        """The same parameters with another centre of the columns; this takes no pass."""
        back = self.center - center
        return self._replace(
            center=center,
            level=self.level - self.coef @ back,
            by_coef=self.by_coef + np.outer(self.by_level, back),
        )


class _Accelerated(NamedTuple):
    """Accelerated steps, up to the last one accepted.

    Attributes
    ----------
    point : Point
        The extrapolated parameters, from which the next proximal step starts.
    coef, level : ndarray (k, d), (k,)
        The result of the last proximal step.
    factor : float
        The factor of the bound of the Hessian.
    momentum : float
    first : float
        The norm that `tol` refers to.
    history : list of (float, float)
    """

    point: Point
    coef: np.ndarray
    level: np.ndarray
    factor: float
    momentum: float
    first: float
    history: Sequence[tuple[float, float]]


class _Newton(NamedTuple):
    """Newton steps, up to the last one accepted.

    Attributes
    ----------
    sampled : bool
        Whether the run started from a sample.
    point : Point
    first : float
        The norm that `tol` refers to.
    history : list of (float, float)
    renewed : int
        The length of the history at the last new Hessian.
    at_coef, at_intercept : ndarray or None
        The parameters of the Hessian; None for its bound.
    """

    sampled: bool
    point: Point
    first: float
    history: Sequence[tuple[float, float]]
    renewed: int
    at_coef: np.ndarray | None
    at_intercept: np.ndarray | None


class ProximalDescent(AutomaticSolver):
    """The solver behind `lr="auto"` with l1."""

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
        self.bound: Metric | None = None
        self._by_newton = is_joint(source) if loss.coupled else is_full(source)
        self.method = "proximal-newton" if self._by_newton else "proximal-accelerated"
        self._kind_of_stage = _Newton if self._by_newton else _Accelerated

    def _descent(self, stage: Any) -> Steps:
        exact = self.loss.quadratic
        metric: Any
        if not self._by_newton:
            full = is_full(self.source)
            how = self._bound_arguments()
            metric = full_metric(*how, whitened=False) if full else diagonal_metric(*how)
            return (yield from self._accelerated(metric, stage))
        if stage is None:
            stage, metric = self._start(exact)
        else:
            if not stage.sampled and math.isfinite(self.loss.curvature):
                self.bound = full_metric(*self._bound_arguments(), squares=exact, whitened=False)
            at = stage.at_coef, stage.at_intercept
            metric = self.bound if stage.at_coef is None else self._first_hessian(at)
        return (yield from self._newton(metric, stage, exact))

    def _bound_arguments(self) -> tuple[Source, float, float, bool]:
        """The arguments of the metric of the bound."""
        settings = self.settings
        curvature = self.loss.curvature * settings.scale
        return self.source, curvature, settings.l2, settings.fit_intercept

    def _start(self, exact: bool) -> tuple[_Newton, Metric]:
        """The first stage of Newton steps, and its metric."""
        found = None if exact else self._start_from_sample()
        if found is not None:
            return found
        at: Any = (None, None)
        if math.isfinite(self.loss.curvature):
            metric = self.bound = full_metric(
                *self._bound_arguments(), squares=exact, whitened=False
            )
        else:
            at = self.coef, self.intercept
            metric = self._first_hessian(at)
        level = self._centred(metric, self.intercept)
        at_zero = not self.coef.any() and not level.any()
        known = metric.totals_at_zero if at_zero else None
        point = self._point(metric.center, self.coef, level, known)
        return _Newton(False, point, self._norm(metric, point), [], 1, *at), metric

    def _start_from_sample(self) -> tuple[_Newton, Metric] | None:
        """Move to the optimum of a sample; the stage there and its metric, None if it is no better.

        The optimum of a sample of m rows is within about sqrt(d/m) of that of all rows.
        """
        source, settings = self.source, self.settings
        outputs = source.k if self.loss.coupled else 1
        every = min(_SAMPLED, source.n // (_ROWS_A_COLUMN * outputs * (source.d + 1)))
        if every < _LEAST_SAMPLED:
            return None
        rows, weight_fraction = source.subset(every)
        if not weight_fraction > 0:
            return None
        on_sample = copy.copy(settings)
        on_sample.scale, on_sample.tol = settings.scale / weight_fraction, _SAMPLE_TOL
        sample = ProximalDescent(
            rows, self.loss, on_sample, self.coef, self.intercept, _SAMPLE_EPOCHS, False
        )
        sample.run(_SAMPLE_EPOCHS)
        if sample.trouble or not sample.converged:
            return None
        start = self._point(np.zeros(source.d), self.coef, self.intercept)
        point = self._point(np.zeros(source.d), sample.coef, sample.intercept)
        at = sample.coef, sample.intercept
        metric = self._hessian_at(at)
        if metric is None or not point.objective < start.objective:
            return None
        self.coef, self.intercept = at
        first = self._norm(metric, start.about(metric.center))
        return _Newton(True, point.about(metric.center), first, [], 1, *at), metric

    # --- points ----------------------------------------------------------------------------------

    def _point(
        self,
        center: np.ndarray,
        coef: np.ndarray,
        level: np.ndarray,
        totals: np.ndarray | None = None,
    ) -> Point:
        """The point at given parameters, by a pass if its totals are not given."""
        settings, d = self.settings, self.source.d
        if totals is None:
            totals = self.source.totals(self.loss, coef, level, center)
        cost = settings.scale * float(totals[:, d + 1].sum())
        by_coef = settings.scale * totals[:, :d] + settings.l2 * coef
        by_level = settings.scale * totals[:, d] * settings.fit_intercept
        objective = cost + self._l1(coef)
        if settings.l2 > 0:
            objective += settings.l2 / 2 * float((coef * coef).sum())
        if not (np.isfinite(by_coef).all() and np.isfinite(by_level).all()):
            objective = math.inf
        return Point(center, coef, level, cost, objective, by_coef, by_level)

    def _l1(self, coef: np.ndarray) -> float:
        return self.settings.l1 * float(np.abs(coef).sum())

    def _norm(self, metric: Metric, point: Point) -> float:
        """The norm of the smallest subgradient of the objective, each entry in units of its curvature."""
        g = metric.reduced_gradient(point.by_coef, point.by_level) * metric.scale
        t = self.settings.l1 * metric.scale
        slope = l1_slope(point.coef, g, t)
        slope *= metric.unit.reshape(-1, self.source.d)
        return math.hypot(np.linalg.norm(slope), metric.level_gradient_norm(point.by_level))

    def _accept(self, metric: Metric, stage: Any) -> None:
        """Make the point of a stage the current parameters."""
        point = stage.point
        intercept = point.level - point.coef @ metric.center
        self._accept_step(self.final_cost, point.coef, intercept, point.cost, stage)

    # --- proximal Newton -------------------------------------------------------------------------

    def _newton(self, metric: Metric, stage: _Newton, exact: bool) -> Steps:
        """Newton steps, to the floor of the subgradient or to `tol` times its first norm.

        `exact` says that the metric is the Hessian of a squared error.
        """
        if not math.isfinite(stage.point.objective):
            self.trouble = "overflow"
            return False
        self.final_cost, first = stage.point.cost, stage.first
        rebuild = math.inf if exact else steps_for_curvature(self.source, self.loss.coupled)
        wanted = max(self.settings.tol, 1e-13) * first
        while True:
            point, renewed, at = stage.point, stage.renewed, (stage.at_coef, stage.at_intercept)
            norm = self._norm(metric, point)
            history: History = [*stage.history, (norm, point.objective)]
            if _passes_left(history, wanted) > rebuild:
                metric, at = self._rebuilt(metric, at)
                point, renewed = point.about(metric.center), len(history)
                norm = self._norm(metric, point)
                history = [*stage.history, (norm, point.objective)]
            if self._at_floor(metric, point.level, point.cost, first, history, exact):
                return True
            if self.epoch >= self.epochs or self.stopped:
                return False
            new = self._step(metric, point, norm, exact)
            if new is None and renewed < len(history) and not exact:
                metric, at = self._rebuilt(metric, at)
                point = point.about(metric.center)
                norm = self._norm(metric, point)
                history = [*stage.history, (norm, point.objective)]
                new = self._step(metric, point, norm, exact)
            if new is None:  # the subgradient consists of rounding errors
                self.converged = norm <= 1e-6 * max(first, metric.norm(point.coef, point.level))
                return True
            stage = _Newton(stage.sampled, new, first, history, renewed, *at)
            self._accept(metric, stage)
            yield

    def _hessian_at(self, at: Parameters, otherwise: Any = None) -> Any:
        """The metric of the Hessian at some parameters; `otherwise` if no row has a curvature there."""
        settings, source = self.settings, self.source
        loss: Any = self.loss
        how = (settings.l2, settings.fit_intercept)
        if loss.coupled:
            if self.bound is None:
                self.bound = full_metric(source, settings.scale, *how, whitened=False)
            hessian = joint_hessian(loss, source, settings.scale, settings.l2, at, self.bound)
            return PenalisedMetric(self.bound, hessian)
        weight = source.per_row(partial(curvatures_at, loss=loss, at=at))
        try:
            return full_metric(source, settings.scale, *how, weight, whitened=False)
        except FlatError:
            return otherwise

    def _first_hessian(self, at: Parameters) -> Metric:
        """The metric of the Hessian, or of a curvature of 1 in every row where none has one."""
        metric = self._hessian_at(at)
        if metric is None:
            how = self.settings.scale, self.settings.l2, self.settings.fit_intercept
            metric = full_metric(self.source, *how, whitened=False)
        return metric

    def _rebuilt(self, metric: Metric, at: Any) -> tuple[Metric, Any]:
        """The metric of the Hessian here, and its parameters; those given if no row has a curvature."""
        here = self.coef, self.intercept
        new = self._hessian_at(here, metric)
        return new, at if new is metric else here

    def _step(self, metric: Metric, point: Point, norm: float, exact: bool) -> Point | None:
        """A point of lower objective, or near the floor of smaller subgradient; None if there is none."""
        target = self._target(metric, point)
        move = target - point.coef
        level_move = metric.level_step(move, point.by_level)
        slope = float((point.by_coef * move).sum() + (point.by_level * level_move).sum())
        slope += self._l1(target) - self._l1(point.coef)
        length = 1.0
        for _ in range(_TRIES):
            coef = target if length == 1.0 else point.coef + length * move
            new = self._point(metric.center, coef, point.level + length * level_move)
            if new.objective <= point.objective + 1e-4 * length * min(slope, 0.0):
                return new
            equal = new.objective <= point.objective + 1e-12 * abs(point.objective)
            if (exact or equal) and self._norm(metric, new) < norm:
                return new
            if exact or equal:
                return None
            length *= 0.5 if math.isfinite(new.objective) else 0.1
        return None

    def _target(self, metric: Metric, point: Point, factor: float = 1.0) -> np.ndarray:
        """The coefficients at the minimum of the penalised quadratic, of `factor` times the Hessian."""
        side, shape = len(metric.hessian), point.coef.shape
        slopes = metric.reduced_gradient(point.by_coef, point.by_level) * metric.scale
        starts, slopes = (a.reshape(-1, side) for a in (point.coef / metric.scale, slopes))
        thresholds = np.resize(self.settings.l1 * metric.scale, side)
        target = [
            _solve(factor * metric.hessian, start, slope, thresholds)
            for start, slope in zip(starts, slopes, strict=True)
        ]
        return np.asarray(np.reshape(target, shape) * metric.scale)

    # --- accelerated proximal gradient -----------------------------------------------------------

    def _accelerated(self, metric: Metric, stage: _Accelerated | None) -> Steps:
        """Accelerated steps, of one pass each.

        The bound is doubled where two points show it too low, which that of variances alone may be.
        """
        if stage is None:
            coef, level = self.coef, self._centred(metric, self.intercept)
            point = self._point(metric.center, coef, level)
            stage = _Accelerated(point, coef, level, 1.0, 1.0, self._norm(metric, point), [])
        if not math.isfinite(stage.point.objective):
            self.trouble = "overflow"
            return False
        self.final_cost, first = stage.point.cost, stage.first
        while True:
            point, coef, level, factor, momentum, _, _ = stage
            norm = self._norm(metric, point)
            history: History = [*stage.history, (norm, point.objective)]
            if self._at_floor(metric, point.level, point.cost, first, history, False):
                return True
            while True:
                if self.epoch >= self.epochs or self.stopped:
                    return False
                new, new_level = self._proximal_step(metric, point, factor)
                ascent = ((point.coef - new) * (new - coef)).sum() / (metric.scale**2).mean()
                next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
                beta = (momentum - 1) / next_momentum
                if ascent > 0:  # the momentum points uphill: restart
                    next_momentum, beta = 1.0, 0.0
                ahead = new + beta * (new - coef), new_level + beta * (new_level - level)
                tried = self._point(metric.center, *ahead)
                if not self._exceeds_bound(metric, point, tried, factor):
                    break
                factor, momentum, coef, level = 2 * factor, 1.0, point.coef, point.level
            stage = _Accelerated(tried, new, new_level, factor, next_momentum, first, history)
            self._accept(metric, stage)
            yield

    def _exceeds_bound(self, metric: Metric, before: Point, point: Point, factor: float) -> bool:
        """Whether cost + l2 rises between two points by more than the bound of the Hessian allows."""
        move, level_move = point.coef - before.coef, point.level - before.level
        smooth = point.objective - self._l1(point.coef) - before.objective + self._l1(before.coef)
        linear = float((before.by_coef * move).sum() + (before.by_level * level_move).sum())
        allowed = linear + factor / 2 * metric.norm(move, level_move) ** 2
        return not smooth <= allowed + 1e-12 * abs(before.objective)

    def _proximal_step(
        self, metric: Metric, point: Point, factor: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The coefficients and levels at the minimum of the penalised bound about a point."""
        level = point.level - metric.level_scale**2 / factor * point.by_level
        if metric.hessian.ndim == 1:
            unit = metric.unit**2 / factor
            coef = point.coef - unit * point.by_coef
            coef = soft(coef, self.settings.l1 * unit)
            return np.where(unit > 0, coef, 0.0), level
        return self._target(metric, point, factor), level


def _passes_left(history: History, wanted: float) -> float:
    """The number of further passes to the wanted norm, if each gains as much as the last one."""
    if len(history) < 2 or history[-1][0] <= wanted:
        return 0.0
    (before, _), (now, _) = history[-2:]
    return math.inf if now >= before else math.log(wanted / now) / math.log(now / before)


def _solve(
    hessian: np.ndarray, start: np.ndarray, slope: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """The minimum of ½·m^T H m + slope^T m + Σ thresholds·|θ|, m = θ − start.

    Coordinate descent finds the signs unless columns are strongly correlated. From there the active set
    changes by one coordinate at a time, with the solution of a linear system for each set.
    """
    theta, at_start = start.copy(), slope
    diagonal = np.diagonal(hessian)
    slope, unit = slope.copy(), inverse_root(diagonal, diagonal > 0)
    hessian = np.ascontiguousarray(hessian)
    downhill = np.maximum(np.abs(slope) - thresholds, 0) * unit
    size = np.linalg.norm(downhill) + np.abs(theta[unit > 0] / unit[unit > 0]).sum()
    small = 4 * _EPS * size
    for _ in range(_ATTEMPTS):
        if sweep(hessian, theta, slope, thresholds, _SWEEPS, small) < _SWEEPS:
            break
        before = theta.copy()
        if _active_set(hessian, theta, start, at_start, thresholds, unit, small):
            break
        slope = at_start + hessian @ (theta - start)
        if (np.abs(theta - before) <= _EPS * np.abs(before)).all():
            break
    return theta


def _active_set(
    hessian: np.ndarray,
    theta: np.ndarray,
    start: np.ndarray,
    at_start: np.ndarray,
    thresholds: np.ndarray,
    unit: np.ndarray,
    small: float,
) -> bool:
    """Move θ to the minimum for the signs of an active set, which changes; True at the minimum.

    A coordinate leaves the set if its sign would change. If none does, the coordinate enters whose slope
    is farthest above its threshold.

    Parameters
    ----------
    hessian : ndarray (d, d)
    theta : ndarray (d,)
        Changed in place.
    start, at_start : ndarray (d,)
        Where the quadratic is expanded, and its gradient there.
    thresholds : ndarray (d,)
        The l1 penalty of each coordinate.
    unit : ndarray (d,)
        1/√curvature of each coordinate.
    small : float
        Slopes below this are rounding, each in units of its curvature.
    """
    signs, last = np.sign(theta), math.inf
    for _ in range(_CHANGES):
        slope = at_start + hessian @ (theta - start)
        used = np.flatnonzero(signs)
        downhill = -(slope + signs * thresholds)[used]
        steepest = np.abs(downhill * unit[used]).max(initial=0.0)
        if not steepest < last:  # the same set, and no gain
            steepest = 0.0
        if steepest <= small:
            above = np.where(signs == 0, (np.abs(slope) - thresholds) * unit, 0.0)
            enters = int(above.argmax())
            if above[enters] <= small:
                return True
            signs[enters], last = -np.sign(slope[enters]), math.inf
            continue
        move = _solved(hessian, used, unit[used], downhill)
        if move is None:
            return False
        after = theta[used] + move
        turns = after * signs[used] < 0
        last = steepest
        if turns.any():
            lengths = np.full(len(used), math.inf)
            lengths[turns] = -theta[used][turns] / move[turns]
            first = lengths == lengths.min()
            after = np.where(first, 0.0, theta[used] + lengths.min() * move)
            signs[used[first]], last = 0.0, math.inf
        theta[used] = after
    return False


def _solved(
    hessian: np.ndarray, used: np.ndarray, unit: np.ndarray, downhill: np.ndarray
) -> np.ndarray | None:
    """The solution of the linear system of some coordinates; None if it has no Cholesky factor.

    The diagonal is raised by a few ulp per coordinate, far less than the part of a column that is
    independent of the others; the next step corrects the error.
    """
    inner = hessian[np.ix_(used, used)] * np.outer(unit, unit)
    inner.flat[:: len(used) + 1] += 8 * _EPS * len(used)
    with contextlib.suppress(np.linalg.LinAlgError):
        lower, move = np.linalg.cholesky(inner), downhill * unit
        substitute(lower, move)
        return move * unit
    return None
