"""`lr="auto"` for losses that are lines between kinks, such as the quantile's: an interior point method.

The loss of a row is low·z + Σ jump·max(0, z − kink), and so is an l1 penalty in a coefficient. Each kink
has a dual variable, the share of its jump that the slope takes, the rest of that share, and two slacks:
how far the prediction is above and below. At the optimum above·rest and below·share are 0; Newton's steps
on these conditions with Mehrotra's predictor and corrector (1992) take 10 to 20 rounds for any number of
rows (Portnoy and Koenker, 1997). A round takes the second moments of the rows, each weighted by how near
it is to its kinks, and five passes. The sum of the products is the duality gap: no objective is lower by
more than that.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..formulas.residuals import product, product_slope
from ..losses import Loss
from .automatic import AutomaticSolver, Steps
from .kinks import Kinks, parts
from .metric import EPS, Metric, full_metric
from .per_row import Parameters

#: The sum of y·z, whose gradient is X^T y.
_LINEAR = Loss("product", product, product_slope)
#: The default of `tol`, the gap relative to the objective; and the largest one of a descent that stalls.
_GAP, _LARGEST_GAP = 1e-9, 1e-6
#: Where a round makes the gap smaller by this factor, others follow down to the least gap.
_FAST, _LEAST_GAP = 0.1, 1e-13
#: Rounds without a smaller gap that end the descent.
_STALLED = 30
#: The share of the way to the boundary that a step takes at most.
_INSIDE = 0.9995
#: The first slacks in units of the mean distance, and the ends of the first shares.
_SLACK, _ENDS = 0.3, (0.1, 0.9)


class Stage(NamedTuple):
    """All that the next round needs beside the parameters.

    Attributes
    ----------
    state : ndarray (4, m)
        The share, the rest, and the slacks above and below of every kink: the first kinks of all rows,
        the second ones, and with l1 that of every coefficient.
    residual : ndarray
        The gradient at these shares, whose slopes are not yet in balance.
    best : float
        The smallest gap so far.
    stalled : int
        Rounds since.
    """

    state: np.ndarray
    residual: np.ndarray
    best: float
    stalled: int


class InteriorDescent(AutomaticSolver):
    """The solver behind `lr="auto"` for a loss that names its kinks."""

    measure = "duality gap"
    _kind_of_stage = Stage
    loss: Loss

    def _descent(self, stage: Stage | None) -> Steps:
        self.method = "interior-point"
        settings = self.settings
        self.metric = self._first_metric()
        self.null = self.metric.null
        self.kinks = Kinks(self.source, self.loss, settings, self.metric.scale)
        away = self.kinks.distances(*self.start)
        totals = self.source.totals(self.loss, *self.start, slopes_too=False)
        first = settings.scale * float(totals[:, -1].sum())
        #: The cost of rows at their first kink.
        self.constant = first - self.kinks.cost(away)
        if abs(self.constant) < 16 * EPS * abs(first):
            self.constant = 0.0
        if not math.isfinite(first):
            self.trouble = "overflow"
            return False
        if stage is None:
            self.final_cost = first
            if self._is_least():
                self.converged = True
                return True
            coef, intercept = self._nearest(away)
            away = self.kinks.distances(coef, intercept)
            stage = self._stage_at(coef, away)
            self._accept_step(first, coef, intercept, self._cost_at(stage), stage)
            yield
        self.final_cost = self._cost_at(stage)
        while not self._is_optimal(stage) and self.epoch < self.epochs and not self.stopped:
            new, coef, intercept = self._round(stage)
            cost = self._cost_at(new)
            if not math.isfinite(cost):  # rounding left nothing to step on
                break
            self._accept_step(self.final_cost, coef, intercept, cost, new)
            stage = new
            yield
        self._finish(stage)
        if self.converged and self.null.any():
            self.trouble = "dependent"
        return True

    def _first_metric(self) -> Metric:
        """The coordinates of the steps: whitened columns; with l1, which needs all, scaled ones."""
        source, settings = self.source, self.settings
        how = source, settings.scale, settings.l2, settings.fit_intercept
        if not settings.l1:
            return full_metric(*how)
        metric = full_metric(*how, whitened=False)
        metric.whiten = metric.scale * _inverse_root(metric.hessian.diagonal())
        return metric

    def _cost_at(self, stage: Stage) -> float:
        """The cost, but for the rounding of steps that add up."""
        return self.constant + self.kinks.cost(stage.state[2] - stage.state[3])

    # --- the start -------------------------------------------------------------------------------

    def _nearest(self, away: np.ndarray) -> Parameters:
        """The parameters with the smallest squared distances from the kinks."""
        kinks, beside = self.kinks, self.settings.l2 * self.coef
        if self.settings.l1:
            beside = beside + kinks.mass[kinks.coefs] * away[kinks.coefs] / self.metric.scale
        gradient = self._transposed(kinks.of_rows(kinks.jumps, away), beside)
        u = _solver(self._hessian(np.ones(len(away))))(-gradient)
        coef, level = self.metric.to_parameters(u)
        return self.coef + coef, self.intercept + level - coef @ self.metric.center

    def _stage_at(self, coef: np.ndarray, away: np.ndarray) -> Stage:
        """The first stage: shares with small slopes, and slacks far from zero."""
        kinks, state = self.kinks, np.empty((4, len(away)))
        balanced = -kinks.low / kinks.of_rows(kinks.jumps, np.ones(len(away)))
        state[0, kinks.rows], state[0, kinks.coefs] = np.tile(balanced, kinks.number), 0.5
        np.clip(state[0], *_ENDS, out=state[0])
        state[1] = 1 - state[0]
        slack = _SLACK * kinks.mean(np.abs(away))
        slack = slack or float(np.abs(kinks.at).max(initial=0.0)) or 1.0
        state[2], state[3] = np.maximum(away, 0) + slack, np.maximum(-away, 0) + slack
        residual = self._gradient(coef, state[0], np.zeros(len(away)), away)
        return Stage(state, residual, math.inf, 0)

    # --- a round ---------------------------------------------------------------------------------

    def _gradient(
        self, coef: np.ndarray, share: np.ndarray, curvature: np.ndarray, wanted: np.ndarray
    ) -> np.ndarray:
        """The gradient with the shares + curvature·wanted as slopes, in whitened coordinates."""
        kinks, at, beside = self.kinks, self.kinks.coefs, self.settings.l2 * coef
        slope = kinks.of_rows(kinks.jumps, share, curvature, wanted)
        slope += kinks.low
        if self.settings.l1:
            slopes = kinks.mass[at] * (share[at] + curvature[at] * wanted[at] - 0.5)
            beside = beside + slopes / self.metric.scale
        return self._transposed(slope, beside)

    def _transposed(self, slope: np.ndarray, by_coef: np.ndarray) -> np.ndarray:
        """The gradient of rows with these slopes, and one in the coefficients beside it."""
        source, metric, d = self.source, self.metric, self.source.d
        rows = source.with_targets(slope[None], np.float64)
        totals = rows.totals(_LINEAR, np.zeros((1, d)), np.zeros(1), metric.center)
        totals *= self.settings.scale
        return metric.to_gradient(totals[:, :d] + by_coef, totals[:, d])

    def _hessian(self, curvature: np.ndarray) -> np.ndarray:
        """The Hessian for these curvatures of the kinks, in whitened coordinates."""
        metric, scale = self.metric, self.metric.scale
        weight = self.kinks.of_rows(self.kinks.mass, curvature)
        moments = self.source.moments(metric.center, scale, np.zeros(0), weight)
        diagonal = moments.reshape(-1)[:: len(moments) + 1][1:]
        diagonal += self.settings.l2 * scale * scale
        if self.settings.l1:
            diagonal += self.kinks.mass[self.kinks.coefs] * curvature[self.kinks.coefs]
        # `metric` takes the gradient of a row of moments as it does that of an output.
        half = metric.to_gradient(moments[:, 1:] / scale, moments[:, 0])
        return metric.to_gradient(half[1:].T / scale, half[0])

    def _round(self, stage: Stage) -> tuple[Stage, np.ndarray, np.ndarray]:
        """The stage and the parameters after a round."""
        state, coef, m = stage.state, self.coef, len(self.kinks.at)
        curvature, extra, wanted = _curvature(state), np.zeros((2, m)), state[2] - state[3]
        solve = _solver(self._hessian(curvature))

        def move() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """The step of the parameters, and of what is at the kinks."""
            u = solve(-self._gradient(coef, state[0], curvature, wanted))
            step, level = self.metric.to_parameters(u)
            by = step, level - step @ self.metric.center
            return *by, self.kinks.values(*by)

        # The predictor: to products of zero.
        *_, by = move()
        longest, sums = np.ones(2), np.zeros(4)
        for part in parts(m):
            mass, values = self.kinks.mass[part], state[:, part]
            changes = _changes(values, curvature[part], wanted[part], by[part], extra[:, part])
            longest = np.maximum(longest, _ratios(values, changes))
            share, rest, above, below = values
            by_share, by_rest, by_above, by_below = changes
            sums += [
                mass @ (above * rest + below * share),
                mass @ (by_above * rest + by_below * share),
                mass @ (above * by_rest + below * by_share),
                mass @ (by_above * by_rest + by_below * by_share),
            ]
            extra[0, part], extra[1, part] = -by_above * by_rest, -by_below * by_share
        primal, dual = (1 / float(ratio) for ratio in longest)
        gap = float(sums[0])
        predicted = gap + primal * sums[1] + dual * sums[2] + primal * dual * sums[3]
        barrier = (predicted / gap) ** 3 * gap / (2 * self.kinks.total)
        # The corrector: to equal products, with the second order of the predictor.
        extra[:, self.kinks.rows] += barrier
        extra[:, self.kinks.coefs] += barrier * self.kinks.aims
        for part in parts(m):
            share, rest = state[:2, part]
            wanted[part] += extra[1, part] / share - extra[0, part] / rest
        step, level, by = move()
        longest, moves = np.ones(2), np.empty((4, m))
        for part in parts(m):
            values = state[:, part]
            changes = _changes(values, curvature[part], wanted[part], by[part], extra[:, part])
            longest = np.maximum(longest, _ratios(values, changes))
            for move_of, change in zip(moves, changes, strict=True):
                move_of[part] = change
        primal, dual = (min(1.0, _INSIDE / float(ratio)) for ratio in longest)
        for length, row, values in zip((dual, dual, primal, primal), moves, state, strict=True):
            row *= length
            row += values
        best, stalled = (gap, 0) if gap < 0.9 * stage.best else (stage.best, stage.stalled + 1)
        by_penalty = self.metric.to_gradient(self.settings.l2 * step, np.zeros(1))
        residual = (1 - dual) * stage.residual + (primal - dual) * by_penalty
        new = Stage(moves, residual, best, stalled)
        return new, coef + primal * step, self.intercept + primal * level

    # --- the end ---------------------------------------------------------------------------------

    def _objective(self) -> float:
        coef, l1, l2 = self.coef, self.settings.l1, self.settings.l2
        penalty = l1 * float(np.abs(coef).sum())
        penalty += l2 / 2 * float(np.vdot(coef, coef)) if l2 else 0.0
        return self.final_cost + penalty

    def _is_least(self) -> bool:
        """Whether every row is at the least that it can cost."""
        least = self.constant + self.kinks.least
        return self._objective() <= least + 4 * EPS * abs(self.constant)

    def _is_optimal(self, stage: Stage) -> bool:
        """Whether the gap is within `tol` of the objective, or at rounding, or no longer falls."""
        gap = rounding = size = 0.0
        for part in parts(len(self.kinks.at)):
            mass = self.kinks.mass[part]
            share, rest, above, below = stage.state[:, part]
            gap += float(mass @ (above * rest + below * share))
            size += float(mass @ (above + below))
            rounding += float(mass @ np.abs(self.kinks.at[part]))
        objective, coef, center = abs(self._objective()), self.coef, self.metric.center
        way = size / math.sqrt(self.kinks.total) + self.metric.norm(coef, np.zeros(1))
        terms = float((np.abs(coef) @ np.abs(center) + np.abs(self.intercept)).sum())
        rounding = 4 * EPS * (size + rounding + self.kinks.total * terms)
        rounding += 16 * EPS * math.sqrt(self.kinks.total) * way
        within = max((self.settings.tol or _GAP) * objective, rounding)
        if gap + float(np.linalg.norm(stage.residual)) * way <= within:
            # The last rounds are cheap digits of the coefficients.
            last = gap <= rounding or gap <= _LEAST_GAP * objective or gap > _FAST * stage.best
            if not (last or self.settings.tol):
                return False
        elif stage.stalled <= _STALLED:
            return False
        # The gradient itself, with the rounding of all rounds.
        nothing = np.zeros(len(self.kinks.at))
        residual = np.linalg.norm(self._gradient(coef, stage.state[0], nothing, nothing))
        self.converged = gap + float(residual) * way <= max(within, _LARGEST_GAP * objective)
        return True

    def _finish(self, stage: Stage) -> None:
        """Set coefficients to zero whose slope is within the penalty, and find the final cost."""
        if self.settings.l1 and self.converged and self.epoch:
            share, rest, above, below = stage.state[:, self.kinks.coefs]
            slacks = stage.state[2] + stage.state[3]
            size = max(self.kinks.mean(slacks), float(slacks[self.kinks.coefs].mean()))
            zero = np.maximum(above, below) < np.minimum(share, rest) * size
            self.coef = np.where(zero, 0.0, self.coef)
            if self.keep_path:
                self.path_list[self.epoch - 1] = self.coef.copy()
        if self.epoch:
            self.final_cost = math.nan
            self.cost()


def _curvature(state: np.ndarray) -> np.ndarray:
    """The curvature of each kink, in units of its mass."""
    curvature = np.empty(state.shape[1])
    for part in parts(len(curvature)):
        share, rest, above, below = state[:, part]
        curvature[part] = 1 / (above / rest + below / share)
    return curvature


def _changes(
    values: np.ndarray, curvature: np.ndarray, wanted: np.ndarray, by: np.ndarray, extra: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The step of shares, rests and slacks, for a step `by` of the predictions.

    The products become `extra`, to first order.
    """
    share, rest, above, below = values
    by_share = curvature * (by + wanted)
    by_above = (extra[0] + above * by_share) / rest - above
    by_below = (extra[1] - below * by_share) / share - below
    return by_share, -by_share, by_above, by_below


def _ratios(values: np.ndarray, changes: tuple[np.ndarray, ...]) -> tuple[float, float]:
    """How much of the slacks, and of the shares and rests, a step of length 1 takes at most."""
    share, rest, above, below = (
        float(np.max(-change / value, initial=0.0))
        for value, change in zip(values, changes, strict=True)
    )
    return max(above, below), max(share, rest)


def _inverse_root(values: np.ndarray) -> np.ndarray:
    """1/√value, and 0 where that is 0."""
    return np.asarray((values > 0) / np.sqrt(np.where(values > 0, values, 1.0)))


def _solver(hessian: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function that solves a linear system of the matrix, whose diagonal is raised by rounding."""
    unit = _inverse_root(hessian.diagonal())
    scaled, ridge = hessian * np.outer(unit, unit), 8 * EPS * len(hessian)
    scaled.flat[:: len(scaled) + 1] = 1.0
    root = np.full_like(scaled, math.nan)
    while ridge < 1:
        try:
            root = np.linalg.inv(np.linalg.cholesky(scaled + ridge * np.eye(len(scaled))))
            break
        except np.linalg.LinAlgError:
            ridge *= 100

    def solve(gradient: np.ndarray) -> np.ndarray:
        wanted = unit * gradient[0]
        u = root.T @ (root @ wanted)
        for _ in range(2):  # the ridge is no part of the matrix
            u += root.T @ (root @ (wanted - scaled @ u))
        return (unit * u)[None]

    return solve
