"""One run of scikit-learn's SGD on one output, by fastgd's kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from ..cpu import penalized_sgd as kernels
from ..cpu.sparse import Header
from ..cpu.xorshift_order import fill_permutation
from ..errors import DivergenceError
from .sgd_losses import loss_of

#: What scikit-learn multiplies the steps of the intercept by, on sparse rows.
_SPARSE_DECAY = 0.01
#: The schedules with step sizes that depend on the number of the update.
_SCHEDULES = {"optimal": kernels.optimal, "invscaling": kernels.inverse_scaling}
_AGGRESSIVE = {"pa1": 1, "pa2": 2}


class SGDDivergenceError(DivergenceError, ValueError):
    """A `DivergenceError` that is the ValueError, too, which scikit-learn raises."""


class Rows:
    """The rows of a fit and where kernels find them.

    Parameters
    ----------
    x : ndarray (n, d) or CSR matrix
        In float32 or float64; an array in C order.

    Raises
    ------
    ValueError
        If the arrays of a sparse matrix don't fit together.
    """

    def __init__(self, x: Any):
        self.x, self.shape, self.dtype = x, x.shape, x.dtype
        self.header: Header | None = None
        if scipy.sparse.issparse(x):
            x.check_format(full_check=True)
            self.header = Header(x.data, x.indices, x.indptr)
            self.address = self.header.address
        else:
            self.address = x.ctypes.data

    def stable_step(self, curvature: float) -> float:
        """The largest step size with which no row alone makes a descent diverge."""
        if self.header is None:
            squares = np.einsum("ij,ij->i", self.x, self.x, dtype=np.float64)
        else:
            squares = np.asarray(self.x.multiply(self.x).sum(axis=1), np.float64)
        return 2.0 / (curvature * (1.0 + float(squares.max())))


class Parameters(NamedTuple):
    """What a run moves."""

    coef: np.ndarray
    intercept: float
    mean: np.ndarray  #: of the coefficients; (0,) without an average
    mean_intercept: float


class Outcome(NamedTuple):
    """What a run ends with."""

    parameters: Parameters
    n_iter: int
    costs: np.ndarray
    stopped: bool  #: by the rule of `tol` and `n_iter_no_change`
    method: str  #: of `Fit`


def penalties(model: Any) -> tuple[float, float]:
    """The strengths of the l1 and of the l2 penalty."""
    if model.penalty is None:
        return 0.0, 0.0
    l1_ratio = {"l1": 1.0, "l2": 0.0}.get(model.penalty, model.l1_ratio)
    return l1_ratio * model.alpha, (1.0 - l1_ratio) * model.alpha


class Descent:
    """Runs on some rows with the parameters of an estimator.

    Parameters
    ----------
    estimator : SGDClassifier or SGDRegressor
    rows : Rows
    """

    def __init__(self, estimator: Any, rows: Rows):
        self._estimator, self._rows = estimator, rows
        self._loss = loss_of(estimator.loss, estimator.epsilon)
        self._settings = self._settings_of()

    def _settings_of(self) -> Any:
        model, rows, loss = self._estimator, self._rows, self._loss
        alpha, schedule = model.alpha, model.learning_rate
        aggressive = _AGGRESSIVE.get(schedule, 0)
        l1, l2 = penalties(model)
        t0 = 0.0
        if schedule == "optimal":
            typical = math.sqrt(1.0 / math.sqrt(alpha))
            slope = loss.slope(-typical, 1.0, *loss.parameters)
            t0 = max(1.0, slope) / (typical * alpha)
        decay = model.intercept_decay
        if decay is None:
            decay = 1.0 if rows.header is None else _SPARSE_DECAY
        stops = model.tol is not None and not model.early_stopping
        in_objective = stops and not aggressive
        return kernels.settings_of(
            loss, _SCHEDULES.get(schedule, kernels.constant), aggressive, rows.shape[1], rows.header,
            rows.dtype, alpha=alpha, t0=t0, eta0=model.eta0, power_t=model.power_t, shrink=l2,
            truncate=l1, l2_part=l2 / 2 if in_objective else 0.0, l1_part=l1 if in_objective else 0.0,
            intercept_decay=decay if model.fit_intercept else 0.0, average=float(model.average),
            stops=stops, tol=-math.inf if model.tol is None else model.tol,
            patience=model.n_iter_no_change, adaptive=schedule == "adaptive",
        )  # fmt: skip

    def run(
        self,
        start: Parameters,
        y: np.ndarray,
        weight: np.ndarray,
        seed: int,
        max_iter: int,
        skipped: np.ndarray,
        score: Callable[[np.ndarray, float], float] | None,
    ) -> Outcome:
        """A run from given parameters.

        Parameters
        ----------
        start : Parameters
        y, weight : ndarray (n,)
        seed : int
            Of the order of rows.
        max_iter : int
            The most epochs.
        skipped : ndarray (n,) of bool
            Rows that are held out.
        score : callable, optional
            ``score(coef, intercept)`` on rows held out ends the run, if given.

        Raises
        ------
        SGDDivergenceError
            If the parameters or the losses stop being finite.
        """
        model, settings = self._estimator, self._settings
        (n, d), dtype = self._rows.shape, self._rows.dtype
        order, permutation = np.arange(n, dtype=np.int32), np.empty(0, np.int32)
        if model.shuffle:
            permutation = np.empty(n, np.int32)
            fill_permutation(permutation, np.uint32(seed))
        visited = order
        if score is None:
            skipped = np.empty(0, bool)
        else:
            visited = np.zeros(n, np.int32)
        target = np.empty((n, 2))
        target[:, 0], target[:, 1] = y, weight
        v = _aligned(start.coef, dtype)
        lost = np.zeros(d if model.penalty in ("l1", "elasticnet") else 0, dtype)
        mean = start.mean.astype(dtype)  # a copy
        state = np.zeros(kernels.STATE)
        state[kernels.INTERCEPT], state[kernels.MEAN_INTERCEPT] = (
            start.intercept,
            start.mean_intercept,
        )
        state[kernels.SIZE], state[kernels.B] = 1.0, 1.0
        state[kernels.UPDATES], state[kernels.ETA] = model.t_, model.eta0
        state[kernels.LEAST] = math.inf
        block, costs = np.zeros((4, kernels.BLOCK)), np.empty(max_iter)

        # One epoch at a time only where something is done between them.
        at_once = 1 if score is not None or model.verbose > 0 else max_iter
        epoch, status = 0, kernels.RUNNING
        while status == kernels.RUNNING and epoch < max_iter:
            status = kernels.epochs(
                settings, self._rows.address, target, order, permutation, skipped, visited, v, lost, mean,
                state, block, costs, epoch + at_once,
            )  # fmt: skip
            epoch = int(state[kernels.EPOCHS])
            if status == kernels.NOT_FINITE:
                raise self._diverged(epoch)
            if score is not None:
                found = score(v * dtype.type(state[kernels.SIZE]), float(state[kernels.INTERCEPT]))
                status = self._judge(found, state)
            if model.verbose > 0:
                _print_epoch(epoch, v, state, costs, settings.stops != 0)
        size, b = state[kernels.SIZE], state[kernels.B]
        moved = (mean + state[kernels.A] * v[: len(mean)]) / b if len(mean) else mean
        ended = Parameters(
            (v * size).astype(dtype), float(state[kernels.INTERCEPT]), moved.astype(dtype),
            float(state[kernels.MEAN_INTERCEPT]),
        )  # fmt: skip
        stopped = status == kernels.STOPPED
        return Outcome(ended, epoch, costs[:epoch].copy(), stopped, "per-sample")

    def _judge(self, score: float, state: np.ndarray) -> int:
        """Whether the scores end a run."""
        model = self._estimator
        tol = -math.inf if model.tol is None else model.tol
        if not kernels.no_progress(state, -score, tol, model.n_iter_no_change):
            return kernels.RUNNING
        slower = kernels.slower(state, model.learning_rate == "adaptive")
        return kernels.RUNNING if slower else kernels.STOPPED

    def _diverged(self, epoch: int) -> SGDDivergenceError:
        stable = None
        advice = ""
        if math.isfinite(self._loss.curvature):
            step = self._rows.stable_step(self._loss.curvature)
            if math.isfinite(step) and step > 0:
                stable = step
                advice = f" Or pass learning_rate='constant' with an eta0 below {step:.2g}."
        return SGDDivergenceError(
            f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input data with "
            f"StandardScaler or MinMaxScaler might help.{advice}",
            None,
            stable,
        )


def _aligned(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A copy that begins at a cache line: vectors of it that are stored and loaded again lie in one."""
    memory = np.empty(values.size * dtype.itemsize + 64, np.uint8)
    first = -memory.ctypes.data % 64
    copy = memory[first : first + values.size * dtype.itemsize].view(dtype)
    copy[:] = values.ravel()
    return copy


def _print_epoch(
    epoch: int, v: np.ndarray, state: np.ndarray, costs: np.ndarray, stops: bool
) -> None:
    norm = state[kernels.SIZE] * float(np.linalg.norm(v))
    # The mean penalty is that of as many rows as the mean loss.
    loss, losses = costs[epoch - 1], state[kernels.LOSSES]
    objective = loss * (1 + state[kernels.PENALTIES] / losses) if stops and losses else math.nan
    print(
        f"-- Epoch {epoch}\nNorm: {norm:.2f}, NNZs: {np.count_nonzero(v)}, "
        f"Bias: {state[kernels.INTERCEPT]:.6f}, T: {int(state[kernels.UPDATES]) - 1}, "
        f"Avg. loss: {loss:f}" + (f", Objective: {objective:f}" if stops else "")
    )
