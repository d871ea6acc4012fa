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
from collections.abc import Callable
from typing import Any

import numpy as np

from ..losses import CoupledLoss, Loss
from .metric import (
    FULL_METRIC,
    Metric,
    NotFiniteError,
    diagonal_metric,
    full_metric,
)

#: Rows whose predictions are this far on their side have a curvature of at most 8e-7.
_FAR = 14.0
#: Pairs of steps that L-BFGS remembers.
MEMORY = 10
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
#: Rows whose curvatures are found together: temporary arrays of them stay in the first-level cache.
_ROWS = 1024


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

    def __init__(
        self,
        source,
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
        self.null: np.ndarray | None = None
        self.stopped = False
        self.method = "whitened" if loss.quadratic else "whitened-lbfgs"
        self.intercept = intercept.copy()
        self.final_cost = math.nan
        #: Data passes with a step so far.
        self.epoch = 0

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
        return self.final_cost

    def back(self) -> bool:
        """Every step descends: there is nothing to go back to."""
        return False

    def _accept_step(self, before: float, coef, intercept, cost: float) -> None:
        """Take a step, from a cost to parameters and theirs: all at once, as no signal parts a call."""
        self.costs_list.append(before)
        if self.keep_path:
            self.path_list.append(coef.copy())
        vars(self).update(coef=coef, intercept=intercept, final_cost=cost, epoch=self.epoch + 1)

    def run(self, after_step: Callable[[], bool]) -> None:
        """Descend; `after_step` is called after every accepted step and may stop the run."""
        try:
            if not self._run_from_sample(after_step):
                self._run_from_bound(after_step)
        except NotFiniteError:
            self.trouble = "overflow"
        if self.trouble:
            self.converged = False

    def _run_from_sample(self, after_step) -> bool:
        """Descend from the optimum of a sample of rows; False if the bound is the better start.

        A sample of m rows has its optimum within about sqrt(d/m) of that of all rows, and a Hessian as
        near to theirs: a step gains a factor of five or more where the bound gains one or two. What a
        sample does not show, such as a column that is constant in it, the curvature of all rows does.
        """
        source, settings = self.source, self.settings
        if not self.loss.open_ended or self.loss.coupled or source.d > FULL_METRIC:
            return False
        if source.n < _SAMPLED * _ROWS_A_COLUMN * (source.d + 1):
            return False
        rows, share = source.subset(_SAMPLED)
        if not share > 0:
            return False
        on_sample = copy.copy(settings)
        on_sample.scale, on_sample.tol = settings.scale / share, _SAMPLE_TOL
        sample = AutomaticDescent(
            rows, self.loss, on_sample, self.coef, self.intercept, _SAMPLE_EPOCHS, False
        )
        sample._run_from_bound(lambda: False)
        if sample.trouble or not sample.converged:
            return False
        metric = sample._curvature_here(sample._margins())
        if sample.trouble or metric.null.any():
            return False
        before = sample._evaluate(metric, self.coef, self._centred(metric, self.intercept))
        point = self._evaluate(metric, sample.coef, sample._centred(metric, sample.intercept))
        if not point.objective <= before.objective:
            return False
        self.coef, self.intercept = sample.coef, sample.intercept
        del rows, sample  # their memory is needed for the curvatures of all rows
        self._descend(metric, point, False, _SAMPLE_STEPS, after_step, before.norm, _SAMPLE_TRIES)
        self.converged = False
        return self._follow(after_step)

    def _run_from_bound(self, after_step) -> None:
        source, settings = self.source, self.settings
        full = source.d <= FULL_METRIC
        make = full_metric if full else diagonal_metric
        if not full:
            self.method = "diagonal-lbfgs"
        curvature = self.loss.curvature * settings.scale
        options = {"squares": True} if full and self.loss.quadratic else {}
        metric = make(source, curvature, settings.l2, settings.fit_intercept, **options)
        self.null = metric.null
        exact = full and self.loss.quadratic
        coupled = self.loss.coupled
        renewed = full and self.loss.open_ended and not coupled
        level = self._centred(metric, self.intercept)
        at_zero = not self.coef.any() and not level.any()
        known = metric.totals_at_zero if at_zero else None
        point = self._evaluate(metric, self.coef, level, known)
        if not math.isfinite(point.objective):
            self.trouble = "overflow"
            return
        refresh = self._refresh() if renewed else math.inf
        done = self._descend(metric, point, exact, refresh, after_step)
        if renewed:
            self._follow(after_step, done)
        elif settings.l2 == 0 and self.loss.open_ended and self._apart():
            self.trouble = "separable"
        if not self.trouble and self.null.any():
            self.trouble = "dependent"

    def _follow(self, after_step, done=False) -> bool:
        """Descend in the curvature at hand, to the optimum or to a proof that there is none.

        `done`: in the metric of the bound that is so already, if every row is near. False if columns are
        dependent and the bound has not been asked.
        """
        margins, far = self._margins(), np.zeros(self.source.n, bool)
        while True:
            least, most = float(margins.min()), float(margins.max())
            if self.settings.l2 == 0 and least > 0:
                self.trouble = "separable"
            if self.trouble or self.stopped or self.epoch >= self.epochs:
                return True
            # A gradient tells where rows have the curvature that the metric gives them.
            known, far = far, (margins > _FAR) | (margins < -_FAR)
            if done and np.array_equal(far, known):
                return True
            metric = self._curvature_here(margins)
            del margins  # at most one number a row
            if self.trouble:
                return True
            if self.null is None and metric.null.any():
                return False
            self.null = metric.null if self.null is None else self.null
            first, point = (
                None,
                self._evaluate(metric, self.coef, self._centred(metric, self.intercept)),
            )
            if self.settings.tol > 0:
                coef, intercept = self.start
                first = self._evaluate(metric, coef, intercept + coef @ metric.center).norm
            before = self.coef, self.intercept
            done = self._descend(metric, point, False, self._refresh(), after_step, first)
            if done and self._stays_near(metric, max(most, -least), *before):
                return True
            margins = self._margins()

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
        curvature = self.settings.scale * least / (2 + 2 * math.cosh(largest))
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
        return _Point(objective, cost, gradient)

    def _descend(self, metric, point, exact, refresh, after_step, first=None, tries=_TRIES) -> bool:
        """Steps in one metric; True when the gradient is at its floor, or within tol of `first`."""
        level = self._centred(metric, self.intercept)
        self.final_cost = point.cost
        first = point.norm if first is None else first
        history: list[tuple[float, float]] = []
        memory: list[tuple[np.ndarray, np.ndarray, float]] = []
        for taken in range(10**9):
            norm = point.norm
            history.append((norm, point.objective))
            if self._at_floor(norm, first, history, metric, level, point, exact):
                return True
            if self.epoch >= self.epochs or taken >= refresh:
                return False
            direction = _lbfgs(point.gradient, memory)
            if taken == 0 and metric.whiten.ndim == 1:
                # Scaled columns only: the bound may be off by d, start with a short step.
                direction = direction / min(self.source.d, 64)
            found = self._line_search(metric, level, point, direction, exact, tries)
            if found is None:
                if memory:
                    memory.clear()  # stale curvature: once more along the plain gradient
                    found = self._line_search(metric, level, point, -point.gradient, exact, tries)
                if found is None:
                    # Neither direction descends: rounding is all that is left.
                    self.converged = norm <= 1e-6 * max(first, self._size(metric, level, exact))
                    return True
            step, coef, new_level, new = found
            change = new.gradient - point.gradient
            inner = float((change * step).sum())
            if not exact and inner > 1e-14 * float((change * change).sum()):
                memory = [*memory[1 - MEMORY :], (step, change, inner)]
            self._accept_step(point.cost, coef, new_level - coef @ metric.center, new.cost)
            level, point = new_level, new
            if after_step():
                self.stopped = True
                return False
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

    def _logits(self):
        return self.source.predictions(self.coef, self.intercept)

    def _raw(self):
        """The predictions of all outputs, (k, n)."""
        outputs = zip(self.coef, self.intercept, strict=True)
        return np.array([self.source.predictions(w[None], b[None]) for w, b in outputs])

    def _apart(self) -> bool:
        """Whether the labels are separable, in all rows or for softmax in some."""
        coupled = self.loss.coupled and self.source.d <= FULL_METRIC
        return self._separated() or (coupled and self._parted())

    def _margins(self) -> np.ndarray:
        """Predictions, positive on the side of the label; those of rows without weight are 1."""
        margins, weight = self._logits(), self.source.weight
        np.negative(margins, out=margins, where=self.source.y[0] == 0)
        if len(weight):
            margins[weight == 0] = 1.0
        return margins

    def _separated(self) -> bool:
        """Whether these parameters put every row on the right side: then no finite optimum exists."""
        if not self.loss.coupled:
            return bool(self._margins().min() > 0)
        y, weight = self.source.y, self.source.weight
        raw = self._raw()
        own = np.take_along_axis(raw, y.astype(np.intp), axis=0)
        right = (raw < own).sum(axis=0) == len(raw) - 1
        counts = weight > 0 if len(weight) else slice(None)
        return bool(right[counts].all())

    def _row_curvatures(self, margins=None) -> np.ndarray:
        """The weighted second derivative of every row's cross-entropy, in place of its margin."""
        rows = self._logits() if margins is None else margins
        for start in range(0, len(rows), _ROWS):
            block = rows[start : start + _ROWS]
            e = np.exp(-np.abs(block))
            block[:] = e / (1 + e) ** 2
        if len(self.source.weight):
            rows *= self.source.weight
        return rows

    def _curvature_here(self, margins) -> Metric:
        """The metric of the true curvature at the current parameters; the margins are lost.

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
        direction = self._parting(metric, self._sides(self.source.y[0] == 1), self.coef[0])
        if direction is None:
            return self._metric(1.0, self._row_curvatures())
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

        As in `_curvature_here`: rows far on their side leave a direction without curvature.
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
            near = self._row_curvatures(margins)
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


class _Point:
    """What is known at one set of parameters."""

    def __init__(self, objective: float, cost: float, gradient: np.ndarray):
        self.objective, self.cost, self.gradient = objective, cost, gradient
        self.norm = float(np.linalg.norm(gradient))


def _shrinks(history) -> bool:
    """Whether the last norm is less than half of those before."""
    *before, (norm, _) = history
    return norm <= 0.5 * min(n for n, _ in before)


def _lbfgs(gradient, memory) -> Any:
    """−(inverse Hessian)·gradient by the two-loop recursion; −gradient without memory."""
    q = gradient.copy()
    alphas = []
    for step, change, inner in reversed(memory):
        alpha = float((step * q).sum()) / inner
        alphas.append(alpha)
        q -= alpha * change
    if memory:
        _, change, inner = memory[-1]
        q *= inner / float((change * change).sum())
    for (step, change, inner), alpha in zip(memory, reversed(alphas), strict=True):
        q += (alpha - float((change * q).sum()) / inner) * step
    return -q
