"""`lr="auto"` with an l1 penalty: descent whose every step solves a penalised quadratic exactly.

|θ| does not stay what it is in rotated coordinates, so nothing is whitened here. With up to
`FULL_METRIC` columns, for softmax of all classes, the cost is replaced by its quadratic with the Hessian
(squared error: exact; cross-entropy: the one at hand, or its bound at the start). Coordinate descent and
then an active set find the penalised minimum of that, with exact zeros (Friedman, Hastie and Tibshirani
2010; Lee, Sun and Saunders 2014). A pass over the data then says what the step was worth. Where the
Hessian is too large come accelerated proximal steps in the metric of its bound (Beck and Teboulle 2009,
with the restarts of O'Donoghue and Candès 2015).
"""

import contextlib
import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cpu.coordinates import substitute, sweep
from .joint import PenalisedMetric, is_joint, joint_hessian, steps_for_curvature
from .metric import FULL_METRIC, diagonal_metric, full_metric
from .penalty import l1_slope, soft
from .whitened import AutomaticDescent

_EPS = float(np.finfo(np.float64).eps)
#: Sweeps of coordinate descent between two attempts to solve for the coefficients that are not zero.
_SWEEPS, _ATTEMPTS = 20, 200
#: Steps of an active set between two such attempts.
_CHANGES = 50
#: A sample of one row in so many at most that leaves so many rows for every column; its tolerance.
_SAMPLED, _ROWS_A_COLUMN, _SAMPLE_TOL = 32, 50, 1e-3
#: A larger sample is not worth its passes.
_LEAST_SAMPLED = 4


class _Point(NamedTuple):
    """What is known at coefficients (k, d) and at intercepts (k,) for columns without `center`."""

    center: np.ndarray
    coef: np.ndarray
    level: np.ndarray
    cost: float
    objective: float
    by_coef: np.ndarray  # of cost + l2
    by_level: np.ndarray

    def seen_from(self, center) -> "_Point":
        """The same parameters with another centre; that takes no pass."""
        back = self.center - center
        return self._replace(
            center=center,
            level=self.level - self.coef @ back,
            by_coef=self.by_coef + np.outer(self.by_level, back),
        )


class _Accelerated(NamedTuple):
    """Accelerated steps up to the last one accepted, by which proximal steps differ from `point`."""

    point: _Point
    coef: np.ndarray
    level: np.ndarray
    factor: float  # of the bound of the curvature
    momentum: float
    first: float
    history: Sequence


class _Newton(NamedTuple):
    """Newton steps up to the last one accepted; the Hessian is that at `at`, or the bound."""

    sampled: bool
    point: _Point
    first: float
    history: Sequence
    renewed: int
    at_coef: np.ndarray | None
    at_intercept: np.ndarray | None


class ProximalDescent(AutomaticDescent):
    """The loop behind `lr="auto"` with l1; as `AutomaticDescent`, with `settings.l1`."""

    def __init__(self, source, loss, settings, coef, intercept, epochs, keep_path):
        super().__init__(source, loss, settings, coef, intercept, epochs, keep_path)
        self._coupled, self.bound = loss.coupled, None
        self._by_newton = is_joint(source) if self._coupled else source.d <= FULL_METRIC
        self.method = "proximal-newton" if self._by_newton else "proximal-accelerated"

        self._kind_of_stage = _Newton if self._by_newton else _Accelerated

    def _descent(self, stage):
        source, settings = self.source, self.settings
        curvature = self.loss.curvature * settings.scale
        how = (source, curvature, settings.l2, settings.fit_intercept)
        exact = self.loss.quadratic
        if not self._by_newton:
            full = source.d <= FULL_METRIC
            metric = full_metric(*how, whitened=False) if full else diagonal_metric(*how)
            yield from self._accelerated(metric, stage)
            return
        if stage is None and not exact:
            stage, metric = self._start_from_sample()
        elif stage is not None and stage.sampled:
            metric = self._hessian_at((stage.at_coef, stage.at_intercept))
        if stage is None or not stage.sampled:
            metric = self.bound = full_metric(*how, squares=exact, whitened=False)
            if stage is None:
                level = self._centred(metric, self.intercept)
                at_zero = not self.coef.any() and not level.any()
                known = metric.totals_at_zero if at_zero else None
                point = self._at(metric.center, self.coef, level, known)
                stage = _Newton(False, point, self._norm(metric, point), [], 1, None, None)
            elif stage.at_coef is not None:
                metric = self._hessian_at((stage.at_coef, stage.at_intercept))
        yield from self._newton(metric, stage, exact)

    def _start_from_sample(self) -> Any:
        """Move to the optimum of a sample: the stage there and its metric; None twice for little data.

        A sample of m rows has its optimum within about sqrt(d/m) of that of all rows.
        """
        source, settings = self.source, self.settings
        outputs = source.k if self._coupled else 1
        every = min(_SAMPLED, source.n // (_ROWS_A_COLUMN * outputs * (source.d + 1)))
        if every < _LEAST_SAMPLED:
            return None, None
        rows, share = source.subset(every)
        if not share > 0:
            return None, None
        on_sample = copy.copy(settings)
        on_sample.scale, on_sample.tol = settings.scale / share, _SAMPLE_TOL
        sample = ProximalDescent(rows, self.loss, on_sample, self.coef, self.intercept, 100, False)
        sample.run(100)
        if sample.trouble or not sample.converged:
            return None, None
        start = self._at(np.zeros(source.d), self.coef, self.intercept)
        point = self._at(np.zeros(source.d), sample.coef, sample.intercept)
        if not point.objective < start.objective:
            return None, None
        self.coef, self.intercept = at = sample.coef, sample.intercept
        metric = self._hessian_at(at)
        first = self._norm(metric, start.seen_from(metric.center))
        return _Newton(True, point.seen_from(metric.center), first, [], 1, *at), metric

    # --- points ----------------------------------------------------------------------------------

    def _at(self, center, coef, level, totals=None) -> _Point:
        """By a pass, if the totals are not known."""
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
        return _Point(center, coef, level, cost, objective, by_coef, by_level)

    def _l1(self, coef) -> float:
        return self.settings.l1 * float(np.abs(coef).sum())

    def _norm(self, metric, point) -> float:
        """The smallest slope of the objective, each in units of its own curvature."""
        g = metric.decoupled(point.by_coef, point.by_level) * metric.scale
        t = self.settings.l1 * metric.scale
        slope = l1_slope(point.coef, g, t)
        slope = slope * _unit(_diagonal(metric)).reshape(-1, self.source.d)
        return math.hypot(np.linalg.norm(slope), metric.level_slope(point.by_level))

    def _accept(self, metric, stage) -> None:
        """Take the point of a stage as the parameters so far."""
        point = stage.point
        intercept = point.level - point.coef @ metric.center
        self._accept_step(self.final_cost, point.coef, intercept, point.cost, stage)

    # --- Newton ----------------------------------------------------------------------------------

    def _newton(self, metric, stage, exact):
        """Steps to the floor of the slopes, or to `tol` times the `first` one."""
        if not math.isfinite(stage.point.objective):
            self.trouble = "overflow"
            return
        self.final_cost, first = stage.point.cost, stage.first
        rebuild = math.inf if exact else steps_for_curvature(self.source, self._coupled)
        wanted = max(self.settings.tol, 1e-13) * first
        while True:
            point, renewed, at = stage.point, stage.renewed, (stage.at_coef, stage.at_intercept)
            norm = self._norm(metric, point)
            history = [*stage.history, (norm, point.objective)]
            if _passes_left(history, wanted) > rebuild:
                metric, at = self._rebuilt(metric, at)
                point, renewed = point.seen_from(metric.center), len(history)
                norm = self._norm(metric, point)
                history[-1] = norm, point.objective
            if self._at_floor(norm, first, history, metric, point.level, point, exact):
                return
            if self.epoch >= self.epochs or self.stopped:
                return
            new = self._step(metric, point, norm, exact)
            if new is None and renewed < len(history) and not exact:
                metric, at = self._rebuilt(metric, at)
                point = point.seen_from(metric.center)
                norm = self._norm(metric, point)
                history[-1] = norm, point.objective
                new = self._step(metric, point, norm, exact)
            if new is None:  # rounding is all that is left
                self.converged = norm <= 1e-6 * max(first, metric.size(point.coef, point.level))
                return
            stage = _Newton(stage.sampled, new, first, history, renewed, *at)
            self._accept(metric, stage)
            yield

    def _hessian_at(self, at, otherwise=None):
        """The metric of the true curvature at some parameters."""
        settings, source = self.settings, self.source
        how = (settings.l2, settings.fit_intercept)
        if self._coupled:
            if self.bound is None:
                self.bound = full_metric(source, settings.scale, *how, whitened=False)
            hessian = joint_hessian(
                self.loss, source, settings.scale, settings.l2, self._raw(at), self.bound
            )
            return PenalisedMetric(self.bound, hessian)
        weight = self._row_curvatures(source.predictions(*at), False)
        if otherwise is not None and not weight.sum() > 0:
            return otherwise
        return full_metric(source, settings.scale, *how, weight, whitened=False)

    def _rebuilt(self, metric, at):
        """The metric of the true curvature here, and where that is; as given if it has none."""
        here = self.coef, self.intercept
        new = self._hessian_at(here, metric)
        return new, at if new is metric else here

    def _step(self, metric, point, norm, exact) -> _Point | None:
        """A point of lower objective, or near the floor of smaller slope; None if there is none."""
        target = self._target(metric, point)
        move = target - point.coef
        rise = metric.rise(move, point.by_level)
        slope = float((point.by_coef * move).sum() + (point.by_level * rise).sum())
        slope += self._l1(target) - self._l1(point.coef)
        length = 1.0
        for _ in range(30):
            coef = target if length == 1.0 else point.coef + length * move
            new = self._at(metric.center, coef, point.level + length * rise)
            if new.objective <= point.objective + 1e-4 * length * min(slope, 0.0):
                return new
            level_ground = new.objective <= point.objective + 1e-12 * abs(point.objective)
            if (exact or level_ground) and self._norm(metric, new) < norm:
                return new
            if exact or level_ground:
                return None
            length *= 0.5 if math.isfinite(new.objective) else 0.1
        return None

    def _target(self, metric, point, factor=1.0) -> np.ndarray:
        """The coefficients at the minimum of the penalised quadratic, of `factor` times the curvature."""
        side, shape = len(metric.hessian), point.coef.shape
        slopes = metric.decoupled(point.by_coef, point.by_level) * metric.scale
        starts, slopes = (a.reshape(-1, side) for a in (point.coef / metric.scale, slopes))
        thresholds = np.resize(self.settings.l1 * metric.scale, side)
        target = [
            _solve(factor * metric.hessian, start, slope, thresholds)
            for start, slope in zip(starts, slopes, strict=True)
        ]
        return np.reshape(target, shape) * metric.scale

    # --- accelerated -----------------------------------------------------------------------------

    def _accelerated(self, metric, stage):
        """A pass a step. The bound is raised where two points show it too low, as one of variances is."""
        if stage is None:
            coef, level = self.coef, self._centred(metric, self.intercept)
            point = self._at(metric.center, coef, level)
            stage = _Accelerated(point, coef, level, 1.0, 1.0, self._norm(metric, point), [])
        if not math.isfinite(stage.point.objective):
            self.trouble = "overflow"
            return
        self.final_cost, first = stage.point.cost, stage.first
        while True:
            point, coef, level, factor, momentum, _, _ = stage
            norm = self._norm(metric, point)
            history = [*stage.history, (norm, point.objective)]
            if self._at_floor(norm, first, history, metric, point.level, point, False):
                return
            while True:
                if self.epoch >= self.epochs or self.stopped:
                    return
                new, rise = self._proximal(metric, point, factor)
                ahead = ((point.coef - new) * (new - coef)).sum() / (metric.scale**2).mean()
                next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
                beta = (momentum - 1) / next_momentum
                if ahead > 0:  # past the valley: start anew
                    next_momentum, beta = 1.0, 0.0
                y, height = new + beta * (new - coef), rise + beta * (rise - level)
                tried = self._at(metric.center, y, height)
                if not self._curved_more(metric, point, tried, factor):
                    break
                factor, momentum, coef, level = 2 * factor, 1.0, point.coef, point.level
            stage = _Accelerated(tried, new, rise, factor, next_momentum, first, history)
            self._accept(metric, stage)
            yield

    def _curved_more(self, metric, before, point, factor) -> bool:
        """Whether the smooth part rises between two points above what the bound allows."""
        move, rise = point.coef - before.coef, point.level - before.level
        smooth = point.objective - self._l1(point.coef) - before.objective + self._l1(before.coef)
        linear = float((before.by_coef * move).sum() + (before.by_level * rise).sum())
        allowed = linear + factor / 2 * metric.size(move, rise) ** 2
        return not smooth <= allowed + 1e-12 * abs(before.objective)

    def _proximal(self, metric, point, factor):
        """The minimum of the penalised bound at a point."""
        level = point.level - metric.bias**2 / factor * point.by_level
        if metric.hessian.ndim == 1:
            unit = _unit(metric.hessian) ** 2 / factor
            coef = point.coef - unit * point.by_coef
            coef = soft(coef, self.settings.l1 * unit)
            return np.where(unit > 0, coef, 0.0), level
        return self._target(metric, point, factor), level


def _diagonal(metric):
    return metric.hessian if metric.hessian.ndim == 1 else np.diagonal(metric.hessian)


def _unit(diagonal):
    """1/√diagonal, and 0 where that is 0."""
    unit = np.zeros(len(diagonal))
    unit[diagonal > 0] = 1 / np.sqrt(diagonal[diagonal > 0])
    return unit


def _passes_left(history, wanted) -> float:
    """How many passes as good as the last one are left."""
    if len(history) < 2 or history[-1][0] <= wanted:
        return 0.0
    (before, _), (now, _) = history[-2:]
    return math.inf if now >= before else math.log(wanted / now) / math.log(now / before)


def _solve(hessian, start, slope, thresholds) -> np.ndarray:
    """The minimum of ½·m^T H m + slope^T m + Σ thresholds·|θ|, m = θ − start.

    Coordinate descent finds the signs where columns are not too much alike; from there an active set is
    changed by one coordinate at a time, and each time a linear system is solved.
    """
    theta, at_start = start.copy(), slope
    slope, unit = slope.copy(), _unit(np.diagonal(hessian))
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


def _active_set(hessian, theta, start, at_start, thresholds, unit, small) -> bool:
    """Move to the minimum, by those for given signs; True if it was reached.

    A coordinate leaves where its sign turns. Where none does, the one whose slope is farthest above its
    threshold enters.
    """
    signs, largest = np.sign(theta), math.inf
    for _ in range(_CHANGES):
        slope = at_start + hessian @ (theta - start)
        used = np.flatnonzero(signs)
        downhill = -(slope + signs * thresholds)[used]
        steepest = np.abs(downhill * unit[used]).max(initial=0.0)
        if not steepest < largest:  # no change since, and no gain
            steepest = 0.0
        if steepest <= small:
            above = np.where(signs == 0, (np.abs(slope) - thresholds) * unit, 0.0)
            enters = int(above.argmax())
            if above[enters] <= small:
                return True
            signs[enters], largest = -np.sign(slope[enters]), math.inf
            continue
        move = _solved(hessian, used, unit[used], downhill)
        if move is None:
            return False
        after = theta[used] + move
        turns = after * signs[used] < 0
        largest = steepest
        if turns.any():
            lengths = np.full(len(used), math.inf)
            lengths[turns] = -theta[used][turns] / move[turns]
            first = lengths == lengths.min()
            after = np.where(first, 0.0, theta[used] + lengths.min() * move)
            signs[used[first]], largest = 0.0, math.inf
        theta[used] = after
    return False


def _solved(hessian, used, unit, downhill) -> np.ndarray | None:
    """The solution of the linear system of some coordinates, None if it has no factor.

    What is added to the diagonal is far below what a column brings along that is no copy of others, and
    leaves the rest to another step.
    """
    inner = hessian[np.ix_(used, used)] * np.outer(unit, unit)
    inner.flat[:: len(used) + 1] += 8 * _EPS * len(used)
    with contextlib.suppress(np.linalg.LinAlgError):
        lower, move = np.linalg.cholesky(inner), downhill * unit
        substitute(lower, move)
        return move * unit
    return None
