"""The Hessian of softmax in all coefficients and intercepts together.

Softmax couples the classes: with probabilities p the Hessian of a row is the sum over pairs of classes of
p_a·p_b·(e_a − e_b)(e_a − e_b)^T. So each pair takes one pass of moments, and no rounding error makes an
eigenvalue negative. Without a penalty the cost does not change if one vector is added to all classes; no
step does that, so that the coefficients stay as near to the start as possible.
"""

import itertools
import math
import operator
from functools import partial, reduce
from typing import Any

import numpy as np

from ..cpu.elementwise import probabilities
from ..losses import CoupledLoss
from ..sources.protocol import Source
from .automatic import Steps
from .metric import FULL_METRIC, Metric, is_full, unit_whitening
from .per_row import Parameters, raw_predictions
from .whitened import AutomaticDescent, Stage

#: Nanoseconds of a factorisation, per m³ of its m coefficients, and of a step beside its pass.
_FACTOR_NS, _STEP_NS = 0.1, 1e5
#: The most entries of the Hessians of all classes alone.
_BY_CLASS = 1 << 24
#: A penalty below this part of a column's curvature does not move what is common to all classes.
_LOST = 1e-12


def is_by_class(source: Source, l2: float, coef: np.ndarray) -> bool:
    """Whether the Hessians of the classes alone are small enough to be used, with this penalty.

    The start must have no part that is common to all classes, which l2 would have to remove.
    """
    small = is_full(source) and source.k * (source.d + 1) ** 2 <= _BY_CLASS
    return small and l2 > 0 and not coef.sum(axis=0).any()


def is_joint(source: Source) -> bool:
    """Whether the Hessian in all coefficients is small enough to be used."""
    return source.k * source.d <= FULL_METRIC and is_full(source)


def steps_for_curvature(source: Source, coupled: bool) -> float:
    """The number of steps that take as long as the Hessian at the current parameters."""
    d, k = source.d, source.k
    if coupled and not is_joint(
        source
    ):  # each is worth more steps than its time: 70 of 200 were left
        work = k * (source.work("moments", 0) + _FACTOR_NS * (d + 1) ** 3) / 3
    else:
        pairs, side = (k * (k - 1) / 2, k * (d + 1)) if coupled else (1, d)
        work = pairs * source.work("moments", 0) + _FACTOR_NS * side**3
    return work / (_STEP_NS + source.work("pass"))


def joint_hessian(
    loss: CoupledLoss,
    source: Source,
    curvature: float,
    l2: float,
    at: Parameters,
    bound: Metric,
) -> np.ndarray:
    """The Hessian (k, 1+d, k, 1+d) at some parameters, the level of each class first.

    It is that of the levels and of coef/scale for the centre and the scale of `bound`. Columns that are
    constant in `bound` have no curvature. `curvature` is the factor of the summed losses.
    """
    k, d = source.k, source.d
    used = np.diagonal(bound.hessian) > 0
    if bound.whiten.shape[1]:
        used = used & bound.whiten.any(axis=1)
    used = np.append(bool(bound.level_scale), used)
    hessian = np.zeros((k, 1 + d, k, 1 + d))
    pairs = list(itertools.combinations(range(k), 2))
    see = partial(_moments, loss, at, pairs, bound.center, bound.scale)
    products: np.ndarray = reduce(operator.iadd, source.look(see))
    for (a, b), moments in zip(pairs, products, strict=True):
        moments *= curvature * np.outer(used, used)
        hessian[a, :, a] += moments
        hessian[b, :, b] += moments
        hessian[a, :, b] -= moments
        hessian[b, :, a] -= moments
    diagonal = np.einsum("cjcj->cj", hessian)
    diagonal[:, 1:] += l2 * bound.scale * bound.scale
    return hessian


def class_hessians(
    loss: CoupledLoss,
    source: Source,
    curvature: float,
    l2: float,
    at: Parameters,
    bound: Metric,
) -> np.ndarray:
    """The Hessian of each class alone, (k, 1+d, 1+d); arguments as in `joint_hessian`."""
    used = np.append(bool(bound.level_scale), np.diagonal(bound.hessian) > 0)
    pairs = [(c, c) for c in range(source.k)]
    see = partial(_moments, loss, at, pairs, bound.center, bound.scale)
    hessians: np.ndarray = reduce(operator.iadd, source.look(see))
    hessians *= curvature * np.outer(used, used)
    diagonal = np.einsum("cjj->cj", hessians)
    diagonal[:, 1:] += l2 * bound.scale * bound.scale
    return hessians


def _moments(
    loss: CoupledLoss, at: Parameters, pairs: list[tuple[int, int]], center: np.ndarray,
    scale: np.ndarray, rows: Source,
) -> np.ndarray:  # fmt: skip
    """Moments (pairs, 1+d, 1+d) of rows of weight p_a·p_b for a pair, p_a·(1 − p_a) for a class alone."""
    p = raw_predictions(rows, at)
    probabilities(loss)(p.T)
    moments = np.empty((len(pairs), 1 + rows.d, 1 + rows.d))
    for of_pair, (a, b) in zip(moments, pairs, strict=True):
        weight = p[a] * (1 - p[a] if a == b else p[b])
        if len(rows.weight):
            weight *= rows.weight
        of_pair[...] = rows.moments(center, scale, np.zeros(0), weight)
    return moments


def contrasts(k: int) -> np.ndarray:
    """Orthonormal columns (k, k−1) whose entries sum to zero."""
    columns = np.triu(np.ones((k, k - 1)))
    columns[np.arange(1, k), np.arange(k - 1)] = -np.arange(1.0, k)
    return columns / np.linalg.norm(columns, axis=0)


def whitening(hessian: np.ndarray) -> np.ndarray:
    """W with W^T·hessian·W = 1; rows of coordinates without curvature are zero."""
    diagonal = np.diagonal(hessian)
    used = np.flatnonzero(diagonal > 0)
    if not len(used):
        return np.empty((len(hessian), 0))
    unit = 1 / np.sqrt(diagonal[used])
    scaled = hessian[np.ix_(used, used)] * np.outer(unit, unit)
    inner, _ = unit_whitening(scaled, np.ones(len(used), bool))
    whiten = np.zeros((len(hessian), inner.shape[1]))
    whiten[used] = unit[:, None] * inner
    return whiten


class JointMetric(Metric):
    """Coordinates in which the Hessian of all classes together is the identity.

    Parameters
    ----------
    bound : Metric
        The metric of the bound, with the centre and the scale of `hessian`.
    hessian : ndarray (k, 1+d, k, 1+d)
    common : bool
        Whether coefficients may move by a part that is common to all classes; levels never do.
    """

    def __init__(self, bound: Metric, hessian: np.ndarray, common: bool):
        k, wide = hessian.shape[:2]
        basis = contrasts(k)
        if common:
            basis = np.column_stack([basis, np.full(k, 1 / math.sqrt(k))])
        m = basis.shape[1]
        inner = np.tensordot(np.tensordot(basis.T, hessian, 1), basis, ([2], [0]))
        inner = np.moveaxis(inner, 3, 2).reshape(m * wide, m * wide)
        fixed = 0
        if common:
            # Common parts have the curvature of the penalty alone, and a gradient of that and rounding.
            curvatures = np.diagonal(inner).reshape(m, wide)
            of_column = curvatures.max(axis=0)
            lost = curvatures[-1] <= _LOST * of_column
            lost[0] = True
            fixed, at = int((lost & (of_column > 0)).sum()), (m - 1) * wide + np.flatnonzero(lost)
            inner[at], inner[:, at] = 0.0, 0.0
        by_class = whitening(inner).reshape(m, wide, -1)
        rank, with_levels = bound.whiten.shape[1], bound.level_scale > 0
        self.incomplete = by_class.shape[2] < m * (rank + with_levels) - fixed
        whiten = np.tensordot(basis, by_class, 1).reshape(k * wide, -1)
        flat = hessian.reshape(k * wide, -1)
        super().__init__(bound.center, whiten, bound.level_scale, flat, bound.scale, bound.null)

    def to_parameters(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moves = (self.whiten @ u).reshape(-1, 1 + len(self.scale))
        return moves[:, 1:] * self.scale, moves[:, 0]

    def size_of_terms(self, coef: np.ndarray) -> float:
        squares = np.diagonal(self.hessian).reshape(len(coef), -1)[:, 1:]
        return float(np.linalg.norm(coef / self.scale * np.sqrt(squares)))

    def to_gradient(self, by_coef: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        return np.column_stack([by_level, by_coef * self.scale]).ravel() @ self.whiten

    def norm(self, coef: np.ndarray, level: np.ndarray) -> float:
        v = np.column_stack([level, coef / self.scale]).ravel()
        return math.sqrt(max(0.0, float(v @ self.hessian @ v)))


class ClassMetric(Metric):
    """Coordinates in which the Hessian of each class, in its own coefficients and level, is the identity.

    For where that of all classes together is too large. What is common to all classes does not move: the
    loss has no curvature there.

    Parameters
    ----------
    bound : Metric
        The metric of the bound, with the centre and the scale of `hessians`.
    hessians : ndarray (k, 1+d, 1+d)
        Of the level and of coef/scale.
    """

    def __init__(self, bound: Metric, hessians: np.ndarray):
        self.by_class = np.zeros_like(hessians)
        for inner, hessian in zip(self.by_class, hessians, strict=True):
            found = whitening(hessian)
            inner[:, : found.shape[1]] = found
        super().__init__(
            bound.center, bound.whiten, bound.level_scale, hessians, bound.scale, bound.null
        )

    def to_parameters(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moves = np.matmul(self.by_class, u[:, :, None])[:, :, 0]
        moves -= moves.mean(axis=0)
        return moves[:, 1:] * self.scale, moves[:, 0]

    def to_gradient(self, by_coef: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        slopes = np.column_stack([by_level, by_coef * self.scale])
        slopes -= slopes.mean(axis=0)
        return np.matmul(slopes[:, None], self.by_class)[:, 0]

    def size_of_terms(self, coef: np.ndarray) -> float:
        squares = np.diagonal(self.hessian, axis1=1, axis2=2)[:, 1:]
        return float(np.linalg.norm(coef / self.scale * np.sqrt(squares)))

    def norm(self, coef: np.ndarray, level: np.ndarray) -> float:
        v = np.column_stack([level, coef / self.scale])[:, :, None]
        return math.sqrt(max(0.0, float((v * np.matmul(self.hessian, v)).sum())))


class PenalisedMetric(Metric):
    """The Hessian in all coefficients with the levels eliminated, for penalties on coefficients.

    It is the Schur complement of the levels. Nothing is whitened.

    Parameters
    ----------
    bound, hessian
        As in `JointMetric`.
    """

    def __init__(self, bound: Metric, hessian: np.ndarray):
        k, wide = hessian.shape[:2]
        basis = contrasts(k)
        by_levels, m = hessian[:, 0, :, 0], k * (wide - 1)
        # R with R·R^T the inverse Hessian of the levels; that Hessian; and the mixed derivatives.
        self.inverse_root = basis @ whitening(basis.T @ by_levels @ basis)
        self.of_levels, self.mixed = by_levels, hessian[:, 0, :, 1:].reshape(k, -1)
        eliminated = self.inverse_root.T @ self.mixed
        of_coef = hessian[:, 1:, :, 1:].reshape(m, m)
        inner = of_coef - eliminated.T @ eliminated
        rounding = np.diagonal(inner) <= 16 * np.finfo(float).eps * of_coef.diagonal()
        inner[rounding], inner[:, rounding] = 0.0, 0.0
        empty = np.empty((m, 0))
        super().__init__(bound.center, empty, bound.level_scale, inner, bound.scale, bound.null)

    def reduced_gradient(self, by_coef: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        """The gradient in the coefficients with the levels eliminated."""
        root = self.inverse_root
        eliminated = (root @ (root.T @ by_level)) @ self.mixed
        return np.asarray(by_coef - eliminated.reshape(by_coef.shape) / self.scale)

    def level_step(self, move: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        gradient = by_level + self.mixed @ (move / self.scale).ravel()
        return np.asarray(-self.inverse_root @ (self.inverse_root.T @ gradient))

    def size_of_terms(self, coef: np.ndarray) -> float:
        squares = np.diagonal(self.hessian).reshape(coef.shape)
        return float(np.linalg.norm(coef / self.scale * np.sqrt(squares)))

    def level_gradient_norm(self, by_level: np.ndarray) -> float:
        return float(np.linalg.norm(self.inverse_root.T @ by_level))

    def norm(self, coef: np.ndarray, level: np.ndarray) -> float:
        v = (coef / self.scale).ravel()
        inner = float(v @ self.hessian @ v)
        by_level = self.of_levels @ level + self.mixed @ v
        return math.hypot(math.sqrt(max(0.0, inner)), self.level_gradient_norm(by_level))


class CoupledDescent(AutomaticDescent):
    """The solver behind `lr="auto"` for a loss that couples its outputs.

    The bound of the Hessian is far too large for rare classes and for rows that are certain. Once
    the work of a Hessian was spent in it, the Hessian at the current parameters replaces it, and so on.
    """

    loss: CoupledLoss

    def _descend(self, stage: Stage, metric: Metric, exact: bool) -> Steps:
        if not is_joint(self.source) and not self._is_by_class():
            return (yield from super()._descend(stage, metric, exact))
        bound, by_tol = metric, self.settings.tol > 0
        least = float(max(4, math.ceil(steps_for_curvature(self.source, True))))
        if stage.at_coef is not None:
            metric = self._joint_at(stage.at, bound)
        elif not stage.history:
            stage = stage._replace(refresh=least)
        refresh = stage.refresh if math.isfinite(stage.refresh) else least
        while True:
            done = yield from super()._descend(stage, metric, exact)
            if self.stopped or self.epoch >= self.epochs or (done and not metric.incomplete):
                return done
            if self.settings.l2 == 0 and (self._separable() if done else self._separated()):
                return False
            level = self._centred(bound, self.intercept)
            totals = self.source.totals(self.loss, self.coef, level, bound.center)
            before = self._evaluate(metric, self.coef, level, totals).norm
            # Where the Hessian has lost curvature to rounding, the bound still has it.
            at: Any = (None, None) if done else (self.coef, self.intercept)
            metric = bound if done else self._joint_at(at, bound)
            point, first = self._evaluate(metric, self.coef, level, totals), stage.first
            if not by_tol:
                first = point.norm
            elif before > 0:  # the same tolerance, in the norm of the new metric
                first *= point.norm / before
            # At last there are steps enough in one metric to show that only rounding is left.
            refresh = least if done else refresh + 1
            stage = Stage(
                False, False, point, level, first, math.inf if done else refresh, stage.tries,
                at_coef=at[0], at_intercept=at[1],
            )  # fmt: skip

    def _is_by_class(self) -> bool:
        return is_by_class(self.source, self.settings.l2, self.start[0])

    def _joint_at(self, at: Parameters, bound: Metric) -> Metric:
        settings = self.settings
        how = self.loss, self.source, settings.scale, settings.l2, at, bound
        if not is_joint(self.source):
            return ClassMetric(bound, class_hessians(*how))
        return JointMetric(bound, joint_hessian(*how), common=settings.l2 > 0)
