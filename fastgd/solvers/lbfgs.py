"""L-BFGS on all rows, step for step that of torch.optim.LBFGS (Liu and Nocedal, 1989).

The parameters are one vector, all coefficients before the intercepts, as torch lays out a weight and
a bias. The curvature pairs of the steps so far are twice `history_size` such vectors.
"""

import functools
import math
import time
from typing import Any, cast

import numpy as np

from ..cpu import statistics
from ..cpu.machine.blas import one_thread
from ..optimizers import LBFGS
from ..settings import CONVERGED, NOT_FINITE, RUNNING, Settings
from ..sources.protocol import Source
from .batch import AllRows
from .inverse_hessian import Pair, descent_direction
from .state import State
from .wolfe import Trial, search
from .work import Pace

#: Steps with a smaller curvature give no pair.
_LEAST_CURVATURE = 1e-10


class LBFGSDescent(AllRows):
    """An epoch is one call of torch's `step`: up to `max_iter` steps, and `max_eval` passes.

    For squared error, statistics replace the passes once these have cost as much: how many there will
    be is not known before, as steps end early near the optimum.
    """

    _SAVED = (
        *AllRows._SAVED, "_passes", "_taken", "_length", "_first_norm", "_direction",
        "_last_gradient",
    )  # fmt: skip
    _GROWING = (*AllRows._GROWING, "direction", "last_gradient", "steps", "changes", "inner")

    def __init__(
        self,
        source: Source,
        loss: Any,
        settings: Settings,
        coef: np.ndarray,
        intercept: np.ndarray,
        keep_path: bool,
    ):
        super().__init__(source, loss, settings, coef, intercept, keep_path)
        self.options = cast(LBFGS, settings.optimizer)
        most = self.options.max_eval
        self._most = self.options.max_iter * 5 // 4 if most is None else most
        self._one_pass = source.work("pass")
        build = source.work("moments")
        self._switch: float = math.inf
        if loss.quadratic and self._one_pass > 100 + 0.3 * source.k * (source.d + 1) ** 2:
            self._switch = math.ceil(build / self._one_pass)
        self._passes = 0
        self._pace = Pace(self._most * (self._one_pass + 1e5))
        self.method = "lbfgs"
        self._steps: list[np.ndarray] = []
        self._changes: list[np.ndarray] = []
        self._inner: list[float] = []
        self._taken, self._length = 0, 0.0
        self._direction = self._last_gradient = np.empty(0)
        self._first_norm = -1.0

    @one_thread()
    def _run(self, stop: int) -> int:
        self._make_room(stop)
        with np.errstate(all="ignore"):
            while self.epoch < stop:
                begun = time.perf_counter()
                status = self._one_epoch()
                if status != RUNNING:
                    return status
                self._pace.took(1, time.perf_counter() - begun)
                if self._late:
                    break
        return RUNNING

    def state(self) -> State:
        size = len(self._flat())
        pairs = {
            "steps": np.reshape(self._steps, (-1, size)),
            "changes": np.reshape(self._changes, (-1, size)),
            "inner": np.array(self._inner, np.float64),
        }
        return super().state() | pairs

    def _take(self, state: State) -> None:
        super()._take(state)
        self._steps, self._changes, self._inner = (
            list(state[name]) for name in ("steps", "changes", "inner")
        )

    # --- parameters as one vector ----------------------------------------------------------------

    def _flat(self) -> np.ndarray:
        learned = self.intercept if self.settings.fit_intercept else self.intercept[:0]
        return np.concatenate([self.coef.ravel(), learned])

    def _parts(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The coefficients and the intercepts in the vector, in arrays of their own."""
        split = self.coef.size
        intercept = theta[split:] if self.settings.fit_intercept else self.intercept
        return theta[:split].reshape(self.coef.shape).copy(), intercept.copy()

    def _evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and its gradient; `_cost` is the former without its penalty."""
        settings, d = self.settings, self.source.d
        coef, intercept = self._parts(theta)
        on_statistics = self._passes >= self._switch
        totals = (self._statistics if on_statistics else self.totals)(coef, intercept)
        self._passes += 1
        self._cost = objective = settings.scale * totals[:, d + 1].sum()
        by_coef = settings.scale * totals[:, :d]
        if settings.l2:
            by_coef += settings.l2 * coef
            objective = objective + settings.l2 / 2 * (coef * coef).sum()
        by_intercept = settings.scale * totals[:, d] if settings.fit_intercept else totals[:0, d]
        return objective, np.concatenate([by_coef.ravel(), by_intercept])

    def _evaluate_along(
        self, theta: np.ndarray, direction: np.ndarray, length: float
    ) -> tuple[float, np.ndarray]:
        return self._evaluate(theta + length * direction)

    def _statistics(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        if self._second is None:
            self._build_statistics(coef, intercept)
            self.method = "lbfgs-statistics"
        totals = np.empty((self.source.k + 1, self.source.d + 2))
        where = self._second, self._center, coef, intercept, totals
        cost = statistics.totals_at(*self._anchor, *where)
        if cost < statistics.STALE_SHARE * self._anchor[0][:, -1].sum():
            self._anchor = self.totals(coef, intercept), coef, intercept
            statistics.totals_at(*self._anchor, *where)
        return totals[:-1]

    # --- an epoch --------------------------------------------------------------------------------

    def _one_epoch(self) -> int:
        """Steps; the current parameters change after the last, in the first epoch after each."""
        options, theta = self.options, self._flat()
        before_epoch = self.parameters()
        rate = float(self.settings.rates(1, self.epoch, self.epoch + 1)[0, 0])
        objective, gradient = self._evaluate(theta)
        if not math.isfinite(objective):
            self.back()
            return NOT_FINITE
        norm = float(np.linalg.norm(gradient))
        self.costs[self.epoch], self.norms[self.epoch] = self._cost, norm
        if self._first_norm < 0:
            self._first_norm = norm
        if self.settings.tol > 0 and norm <= self.settings.tol * self._first_norm:
            return CONVERGED
        passes = 1
        done = np.abs(gradient).max() <= options.tolerance_grad
        for iteration in range(1, 1 if done else options.max_iter + 1):
            self._taken += 1
            direction = self._next_direction(gradient)
            self._last_gradient, before = gradient, objective
            self._length = rate
            if self._taken == 1:
                self._length = min(1.0, 1.0 / np.abs(gradient).sum()) * rate
            slope = gradient @ direction
            if slope > -options.tolerance_change:
                break
            last = iteration == options.max_iter
            if options.line_search_fn:
                found, tried = search(
                    functools.partial(self._evaluate_along, theta, direction),
                    direction,
                    self._length,
                    Trial(0.0, objective, gradient, slope),
                    change=options.tolerance_change,
                    most=self._most - passes,
                )
                self._length, objective, gradient, _ = found
                passes += tried
                theta = theta + self._length * direction
            else:
                theta = theta + self._length * direction
                if last:  # the next epoch begins with its cost
                    break
                objective, gradient = self._evaluate(theta)
                passes += 1
            if not math.isfinite(objective):
                return NOT_FINITE
            if self.epoch == 0:
                self._go(*self._parts(theta), 0)
            moved = np.abs(self._length * direction).max()
            if (
                last
                or passes >= self._most
                or np.abs(gradient).max() <= options.tolerance_grad
                or moved <= options.tolerance_change
                or abs(objective - before) < options.tolerance_change
            ):
                break
        coef, intercept = self._parts(theta)
        if self.keep_path:
            self.path[self.epoch] = coef
        self._go(coef, intercept, self.epoch + 1, past=before_epoch[None])
        return RUNNING

    def _next_direction(self, gradient: np.ndarray) -> np.ndarray:
        """−H·gradient, with H the inverse Hessian that the steps so far suggest."""
        if self._taken > 1:
            change, step = gradient - self._last_gradient, self._length * self._direction
            inner = float(change @ step)
            if inner > _LEAST_CURVATURE:
                if len(self._steps) == self.options.history_size:
                    for oldest_first in (self._steps, self._changes, self._inner):
                        del oldest_first[0]
                self._steps.append(step)
                self._changes.append(change)
                self._inner.append(inner)
        self._direction = descent_direction(gradient, self._pairs())
        return self._direction

    def _pairs(self) -> list[Pair]:
        return list(zip(self._steps, self._changes, self._inner, strict=True))
