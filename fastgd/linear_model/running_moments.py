"""Least squares over batches of rows: second moments add up, so that no batch has to be kept.

Moments of a batch about its own mean are merged with those before (Chan, Golub and LeVeque, 1983,
Algorithms for computing the sample variance), and give the coefficients of a fit of all rows at once, to
the accuracy of X^T X.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from ..cpu.machine.blas import one_thread
from ..result import Fit
from ..solvers.metric import unit_whitening
from ..solvers.moments import centred_moments
from ..sources import place


class RunningMoments:
    """The mean and the centred second moments of the columns of X and y in all batches so far.

    Parameters
    ----------
    columns, targets : int
        The number of columns of X and of y.
    """

    def __init__(self, columns: int, targets: int):
        self.columns = columns
        self.batches = 0
        self.weight = 0.0
        self.mean = np.zeros(columns + targets)
        self.squares = np.zeros((columns + targets, columns + targets))

    def with_batch(self, X: Any, y: np.ndarray, sample_weight: Any) -> RunningMoments:
        """The moments with those of another batch: X (n, d), y (n, k), weights (n,) or None."""
        x, of_x = place.features(X, None)
        targets = np.ascontiguousarray(y.T, dtype=np.float64)
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        source = of_x.rows(x, targets, weight, np.dtype(np.float64), None)
        y_center = targets.mean(axis=1)
        moments, center = centred_moments(source, y_center)
        mass, sums = moments.item(0), moments[0, 1:]
        center = np.concatenate([center, y_center])
        made = RunningMoments(self.columns, len(targets))
        made.batches, made.weight = self.batches + 1, self.weight + mass
        if not made.weight > 0:
            made.mean = center
            return made
        shift = sums / mass if mass > 0 else sums
        apart = center + shift - (self.mean if self.weight > 0 else 0.0)
        made.mean = self.mean + apart * (mass / made.weight)
        between = self.weight * mass / made.weight
        of_batch = moments[1:, 1:] - mass * np.outer(shift, shift)
        made.squares = self.squares + of_batch + between * np.outer(apart, apart)
        return made

    def is_finite(self) -> bool:
        """Whether all moments are."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.squares).all())

    def fit(self, fit_intercept: bool, alpha: np.ndarray, flat: bool) -> Fit:
        """The least squares of all batches with Σ(residual²) + alpha·‖coef‖² for each column of y.

        Parameters
        ----------
        fit_intercept : bool
        alpha : ndarray (k,)
        flat : bool
            Whether y had one axis.
        """
        d, squares = self.columns, self.squares
        if not fit_intercept:
            squares = squares + self.weight * np.outer(self.mean, self.mean)
        by_target = squares[:d, d:]
        with one_thread():
            coef = np.stack(
                [_solution(squares[:d, :d], by_target[:, c], a) for c, a in enumerate(alpha)]
            )
        intercept = (self.mean[d:] - coef @ self.mean[:d]) * fit_intercept
        explained = 2 * by_target.T - coef @ squares[:d, :d]
        cost = max(0.0, float(np.trace(squares[d:, d:]) - np.vdot(coef, explained)))
        return Fit(
            coef=coef[0] if flat else coef, intercept=intercept.item(0) if flat else intercept,
            costs=np.empty(0), cost=cost / (self.weight * len(coef)) if self.weight else 0.0,
            n_epochs=self.batches, converged=True, method="moments",
        )  # fmt: skip

    def spectrum(self, fit_intercept: bool, cut: float) -> tuple[int, np.ndarray]:
        """The rank and the singular values of the rows so far."""
        d, squares = self.columns, self.squares
        if not fit_intercept:
            squares = squares + self.weight * np.outer(self.mean, self.mean)
        return spectrum_of(squares[:d, :d], cut)


def spectrum_of(squares: np.ndarray, cut: float) -> tuple[int, np.ndarray]:
    """The singular values of X from X^T X, and how many are above `cut` times the largest."""
    values = np.linalg.eigvalsh(squares)[::-1]
    singular = np.sqrt(np.maximum(values, 0.0))
    return int((singular > cut * singular[0]).sum()), singular


def _solution(squares: np.ndarray, by_target: np.ndarray, alpha: float) -> np.ndarray:
    """The solution of (squares + alpha)·w = by_target; the smallest where there are many."""
    squares = squares + alpha * np.eye(len(squares))
    diagonal = squares.diagonal()
    used = diagonal > 0
    unit = used / np.sqrt(np.where(used, diagonal, 1.0))
    whiten, null = unit_whitening(squares * (unit[:, None] * unit), used)
    if null.any():
        return np.asarray(scipy.linalg.lstsq(squares, by_target, cond=1e-13)[0])
    return np.asarray(unit * (whiten @ (whiten.T @ (unit * by_target))))
