"""`lr="auto"` for losses whose second derivative has no bound, such as Poisson's: Newton's method.

There is no metric that bounds the Hessian everywhere, so that at the current parameters takes its place:
second moments of the rows, each weighted by the second derivative of its loss. In the coordinates where
it is the identity a step along −gradient is Newton's, and those that follow, of L-BFGS, use what the
gradients told since; a line search keeps all of them from rising. A Hessian serves as long as steps make
the gradient much smaller: for one step far from the optimum, and for all that are left near it. A start
at the optimum of a sample spares most of the steps over all rows.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..losses import Loss
from ..sources.protocol import Source
from .automatic import History, Steps, shrinks
from .metric import Metric, diagonal_metric, full_metric, is_full
from .per_row import Parameters, curvatures_at
from .whitened import AutomaticDescent, Stage

#: A step in a Hessian that is not outdated makes the gradient smaller by this factor.
_SLOW = 0.2
#: Steps in one diagonal.
_DIAGONAL_STEPS = 50
#: A Hessian is good enough where no row's second derivative has changed by more than this factor.
_CHANGED = 4.0
#: Rows whose second derivative is below this part of the largest one show that there is no optimum.
_FLAT = 1e-14


class CurvedDescent(AutomaticDescent):
    """The solver behind `lr="auto"` without l1, for a smooth loss of no bounded second derivative."""

    loss: Loss

    def _descent(self, stage: Stage | None) -> Steps:
        self.method = "newton-lbfgs" if is_full(self.source) else "diagonal-lbfgs"
        if stage is None or stage.sampled:
            if (yield from self._run_from_sample(stage)) or self.stopped:
                return True
            stage = None
        before = self._curvatures_at((self.coef, self.intercept) if stage is None else stage.at)
        while True:
            metric = self._metric_of(before)
            if stage is None:
                stage = self._stage_at((self.coef, self.intercept), metric, False)
                if not math.isfinite(stage.first):  # `tol` can't refer to a start that overflows
                    stage = stage._replace(first=stage.point.norm)
                if not math.isfinite(stage.point.objective):
                    self.trouble = "overflow"
                    return False
            self.null = metric.null
            done = yield from self._descend(stage, metric, False)
            after = self._curvatures_at((self.coef, self.intercept), before)
            if self.stopped or self.epoch >= self.epochs or (done and after.near):
                break
            stage, before = None, after
        if self.settings.l2 == 0 and after.flat:
            self.trouble = "unbounded"
        elif metric.null.any():
            self.trouble = "dependent"
        return True

    # --- the start -------------------------------------------------------------------------------

    def _run_from_sample(self, stage: Stage | None = None) -> Steps:
        """Move to the optimum of a sample of many rows, if it is better; True if that led to the optimum.

        With a tolerance the descent goes on in the Hessian of the sample: none of all rows is made.
        """
        at = (self.coef, self.intercept) if stage is None else stage.at
        sample: Any = self._sample(*at) if is_full(self.source) else None
        if sample is None:
            return False
        if stage is None:
            sample.run(sample.epochs)
            if not (sample.converged and self._objective(sample) <= self._objective(self)):
                return False
            at = self.coef, self.intercept = sample.coef, sample.intercept
            if not self._is_enough():
                return False
        metric = sample._metric_of(sample._curvatures_at(at))
        if metric.null.any():
            return False
        if stage is None:
            stage = self._stage_at(at, metric, True)
            if not math.isfinite(stage.first) or not math.isfinite(stage.point.objective):
                return False
        return (yield from self._descend(stage, metric, False))

    def _objective(self, at: Any) -> float:
        """The objective over all rows at the parameters of a solver."""
        totals = self.source.totals(self.loss, at.coef, at.intercept, slopes_too=False)
        penalty = self.settings.l2 / 2 * float((at.coef * at.coef).sum())
        found = self.settings.scale * float(totals[:, -1].sum()) + penalty
        return found if math.isfinite(found) else math.inf

    # --- the Hessian -----------------------------------------------------------------------------

    def _curvatures_at(self, at: Parameters, before: "_Curvatures | None" = None) -> "_Curvatures":
        """The weighted second derivatives at some parameters, looked at beside those of `before`."""
        source = self.source
        found = of_metric = source.per_row(partial(curvatures_at, loss=self.loss, at=at))
        beside = () if before is None else (before.found,)
        totals, near, least, most = zip(*source.look(_seen, found, *beside), strict=True)
        total = float(sum(totals))
        if not math.isfinite(total):
            of_metric = source.per_row(partial(_bounded, 1e300 / source.n), found)
            total = float(sum(source.look(_total, of_metric)))
        elif not total > 0:  # all curvature is lost to rounding
            of_metric, total = source.per_row(_ones), float(source.n)
        flat = not max(most) > 0 or min(least) < _FLAT * max(most)
        return _Curvatures(found, of_metric, total, all(near), flat)

    def _metric_of(self, curvatures: "_Curvatures") -> Metric:
        """The metric of the Hessian with these second derivatives of rows."""
        source, settings = self.source, self.settings
        how = settings.l2, settings.fit_intercept
        if not is_full(source):
            mass = float(source.weight.sum()) if len(source.weight) else source.n
            return diagonal_metric(source, curvatures.total / mass * settings.scale, *how)
        return full_metric(source, settings.scale, *how, curvatures.of_metric)

    def _is_outdated(self, stage: Stage, history: History) -> bool:
        """Whether the last step made the gradient little smaller: the Hessian has changed since."""
        if stage.sampled:
            return stage.taken >= stage.refresh
        if not is_full(self.source):  # L-BFGS does what a diagonal can't
            return stage.taken >= _DIAGONAL_STEPS
        return stage.taken > 0 and history[-1][0] > _SLOW * history[-2][0]

    def _at_floor(
        self,
        metric: Metric,
        level: np.ndarray,
        cost: float,
        first: float,
        history: History,
        exact: bool,
    ) -> bool:
        """As in `AutomaticSolver`; but one step that does not halve a small gradient ends the descent."""
        if self.settings.tol > 0:
            return super()._at_floor(metric, level, cost, first, history, exact)
        norm, objective = history[-1]
        size = max(metric.norm(self.coef, level), math.sqrt(abs(objective)))
        stalled = len(history) > 1 and norm < 1e-8 * size and not shrinks(history[-2:])
        self.converged = norm <= 1e-11 * size or stalled
        return self.converged


class _Curvatures(NamedTuple):
    """Second derivatives of the rows at some parameters.

    Attributes
    ----------
    found, of_metric : results of `Source.per_row`
        What they are, and what the metric takes for them: finite, and not all zero.
    total : float
        The sum of the latter.
    near : bool
        Whether no row's is far from the one before, which a metric assumes.
    flat : bool
        Whether some rows went so far that theirs is gone, for want of an optimum.
    """

    found: Any
    of_metric: Any
    total: float
    near: bool
    flat: bool


def _seen(
    rows: Source, curvatures: np.ndarray, before: np.ndarray | None = None
) -> tuple[float, bool, float, float]:
    """Of rows: the sum, whether none is far from `before`, the least per unit of weight, and the most."""
    near = before is not None and bool(
        (curvatures <= _CHANGED * before).all() and (before <= _CHANGED * curvatures).all()
    )
    total, weight = float(curvatures.sum()), rows.weight
    if len(weight):
        curvatures = curvatures[weight > 0] / weight[weight > 0]
    curvatures = curvatures[curvatures > 0]  # a row that is not convex here has 0
    if not len(curvatures):
        return total, near, math.inf, 0.0
    return total, near, float(curvatures.min()), float(curvatures.max())


def _total(rows: Source, curvatures: np.ndarray) -> float:
    return float(curvatures.sum())


def _bounded(most: float, rows: Source, curvatures: np.ndarray) -> np.ndarray:
    """Curvatures of at most so much, so that their sum is finite."""
    return np.minimum(np.nan_to_num(curvatures, posinf=1e300), most)


def _ones(rows: Source) -> np.ndarray:
    return np.ones(rows.n)
