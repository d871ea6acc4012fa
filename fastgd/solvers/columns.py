"""`lr="auto"` with l1 for many sparse columns: coordinate descent over those that may matter.

A pass over all rows gives the slope of every coefficient. The coefficients that are not zero, and the
zeros with the steepest slopes, make a working set (Massias, Gramfort and Salmon, 2018, Celer). Its
columns are copied, unless the matrix came in columns, and the problem in them alone is solved by
proximal Newton steps: coordinate descent on the quadratic with the present curvature of each row, and a
line search on the predictions, neither of which reads other columns (Yuan, Ho and Lin, 2012, An improved
GLMNET). Then another pass looks for what was left out.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cpu import columns
from ..cpu.block_losses import block_losses, block_scratch
from ..sources.protocol import ColumnSource
from .automatic import History, Steps
from .metric import Metric, diagonal_metric
from .per_row import raw_predictions, row_curvatures
from .proximal import Point, ProximalDescent

#: The least columns of a working set, and how many times those that are not zero it has.
_FEWEST, _GROWTH = 256, 2
#: How far a working set is solved: to this part of the norm that all columns have.
_DEPTH = 0.1
#: The most Newton steps for a working set, and sweeps and trial lengths of each.
_STEPS, _SWEEPS, _LENGTHS = 30, 100, 30
#: A sweep this much smaller than the first ends a Newton step.
_SHARE = 0.1
#: The least curvature of a column as a part of its bound, and that of a row.
_FLAT, _LEAST = 1e-9, 1e-2
#: Rows whose losses are taken together.
_ROWS = 256
#: The part of the size of the predictions below which a norm is left alone.
_FLOOR = 1e-9


class ColumnStage(NamedTuple):
    """Working sets so far: the point of the last, the norm that `tol` refers to, and the history."""

    point: Point
    first: float
    history: Sequence[tuple[float, float]]


class ColumnDescent(ProximalDescent):
    """The solver behind `lr="auto"` with l1 for many sparse columns and one output."""

    source: ColumnSource

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.method, self._kind_of_stage = "working-sets", ColumnStage

    def _descent(self, stage: ColumnStage | None) -> Steps:
        curvature = self.loss.curvature if math.isfinite(self.loss.curvature) else 1.0
        settings = self.settings
        metric = diagonal_metric(
            self.source, curvature * settings.scale, settings.l2, settings.fit_intercept
        )
        if stage is None:
            point = self._point(metric.center, self.coef, self._centred(metric, self.intercept))
            stage = ColumnStage(point, self._norm(metric, point), ())
        if not math.isfinite(stage.point.objective):
            self.trouble = "overflow"
            return False
        self.final_cost = stage.point.cost
        while True:
            point, first = stage.point, stage.first
            norm = self._norm(metric, point)
            history = [*stage.history, (norm, point.objective)]
            if self._at_floor(metric, point.level, point.cost, first, history, False):
                return True
            if self.epoch >= self.epochs or self.stopped:
                return False
            depth = max(_DEPTH, settings.tol * first / (2 * norm))
            found = self._solved(metric, point, depth)
            new = None if found is None else self._point(metric.center, *found)
            if new is None or not new.objective < point.objective:
                self.converged = norm <= 1e-6 * max(first, metric.norm(point.coef, point.level))
                return True
            stage = ColumnStage(new, first, history)
            self._accept(metric, stage)
            yield

    def _patience(self, metric: Metric, exact: bool) -> int:
        """Two working sets, each solved to a tenth, that do not halve the norm are at its floor."""
        return 2

    def _at_floor(
        self, metric: Metric, level: np.ndarray, cost: float, first: float, history: History, exact: bool
    ) -> bool:  # fmt: skip
        """As in `AutomaticSolver`; but sweeps gain digits slowly, and the last two are not waited for."""
        size = max(metric.norm(self.coef, level), math.sqrt(abs(cost)))
        if not self.settings.tol > 0 and history[-1][0] <= _FLOOR * size:
            self.converged = True
            return True
        return super()._at_floor(metric, level, cost, first, history, exact)

    def _row_curvatures(self, z: np.ndarray, floor: float) -> np.ndarray:
        """The weighted second derivatives of the rows, written over z, at least this part of their bound.

        Where a loss is a line, as Huber's far out, steps would have no end.
        """
        source, bound = self.source, self.loss.curvature
        h = row_curvatures(source, self.loss, z, False)
        if math.isfinite(bound):
            least = floor * bound
            np.maximum(h, least * source.weight if len(source.weight) else least, out=h)
        return h

    def _working_set(self, metric: Metric, point: Point) -> np.ndarray:
        """The columns whose coefficients are not zero, and those with the steepest slopes, in order."""
        slope = np.abs(point.by_coef[0]) - self.settings.l1
        with np.errstate(divide="ignore", invalid="ignore"):
            steep = np.where(metric.hessian > 0, slope / np.sqrt(metric.hessian), -np.inf)
        used = point.coef[0] != 0
        steep[used] = np.inf
        most = min(self.source.d, max(_FEWEST, _GROWTH * int(used.sum())))
        chosen = np.argpartition(-steep, most - 1)[:most]
        return np.sort(chosen[steep[chosen] > 0])

    def _solved(self, metric: Metric, point: Point, depth: float) -> Any:
        """The coefficients and levels near the optimum over a working set; None if nothing descends.

        Newton steps end where one is smaller than this part of the first.
        """
        source, settings, loss = self.source, self.settings, self.loss
        which = self._working_set(metric, point)
        begins, ends, rows, values = source.pick(which)
        bound, l1, l2 = metric.hessian[which], settings.l1, settings.l2
        coef = point.coef[0, which]
        intercept = point.level - point.coef @ metric.center
        z = raw_predictions(source, (point.coef, intercept))[0]
        losses, p = block_losses(loss.formula, True, source.dtype), float(loss.p)
        scratch, slopes = block_scratch(None, 1, _ROWS, source.dtype), np.empty_like(z)
        h, moving = np.empty_like(z), np.empty_like(z)
        moved = False

        def at(z: np.ndarray, coef: np.ndarray) -> float:
            """The objective there; `slopes` become those of the rows."""
            totals = np.zeros((1, 2))
            columns.losses_at(losses, z, source.y, source.weight, p, scratch, slopes, totals)
            penalty = l1 * float(np.abs(coef).sum()) + l2 / 2 * float(coef @ coef)
            objective = settings.scale * totals.item(0, 1) + penalty
            return objective if math.isfinite(objective) else math.inf

        objective, floor = at(z, coef), _LEAST
        enough = _FLOOR / 10 * math.sqrt(abs(objective))
        for _ in range(_STEPS):
            np.copyto(h, z)
            h = self._row_curvatures(h, floor)
            h *= settings.scale
            curvatures = np.empty(len(which))
            columns.curvatures(begins, ends, rows, values, h, curvatures)
            curvatures = np.maximum(curvatures + l2, _FLAT * bound)
            level, move = np.array([0.0, h.sum() * settings.fit_intercept]), np.zeros(len(which))
            slopes *= settings.scale
            np.copyto(moving, slopes)
            size = columns.sweep(
                begins, ends, rows, values, h, moving, coef, move, curvatures, l1, l2, level, _SWEEPS,
                _SHARE, enough * _SHARE,
            )  # fmt: skip
            if size <= enough:
                break
            if not moved:
                enough = max(enough, depth * size)
            change, trial = moving, h  # the memory of what is no longer needed
            change.fill(level[0])
            columns.add_products(begins, ends, rows, values, move, change)
            after = coef + move
            expected = float(slopes @ change) + l2 * float(coef @ move)
            expected += l1 * float(np.abs(after).sum() - np.abs(coef).sum())
            length = 1.0
            for _ in range(_LENGTHS):
                to = after if length == 1.0 else coef + length * move
                np.multiply(change, length, out=trial)
                trial += z
                new = at(trial, to)
                if new <= objective + 1e-4 * length * min(expected, 0.0):
                    break
                length *= 0.5
            else:
                if floor == 1.0:
                    break
                objective, floor = at(z, coef), 1.0  # once more with the bound of all curvatures
                continue
            z, h, coef, objective, moved = trial, z, to, new, True
            intercept = intercept + length * level[0]
        if not moved:
            return None
        whole = np.zeros_like(point.coef)
        whole[0, which] = coef
        return whole, intercept + whole @ metric.center
