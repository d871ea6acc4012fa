"""The curvature of softmax at hand: that of all coefficients and intercepts together.

Its second derivatives couple the classes: with probabilities p, those of a row are the sum over pairs of
classes of p_a·p_b·(e_a − e_b)(e_a − e_b)^T. So every pair takes one pass of moments, and no rounding
makes an eigenvalue negative. Without a penalty the same vector may be added to all classes; no step does
that, so that the coefficients stay as near to the start as may be.
"""

import itertools
import math

import numpy as np

from ..cpu.elementwise import probabilities
from .metric import FULL_METRIC, Metric, _whitening
from .whitened import AutomaticDescent, Stage

#: What a factorisation takes, in ns for m³ of its m coefficients; what a step takes beside its pass.
_FACTOR_NS, _STEP_NS = 0.1, 1e5


def is_joint(source) -> bool:
    """Whether the matrix of all coefficients is small enough."""
    return source.k * source.d <= FULL_METRIC


def steps_for_curvature(source, coupled: bool) -> float:
    """What the curvature at hand takes, counted in steps."""
    d, k = source.d, source.k
    pairs, side = (k * (k - 1) / 2, k * (d + 1)) if coupled else (1, d)
    work = pairs * source.work("moments", 0) + _FACTOR_NS * side**3
    return work / (_STEP_NS + source.work("pass"))


def joint_hessian(loss, source, curvature, l2, raw, bound) -> np.ndarray:
    """The second derivatives (k, 1+d, k, 1+d) at raw predictions (k, n); each class's level comes first.

    They are those of the level at the centre of `bound` and of coef/scale, as in `bound`. Columns that
    are constant there have none.
    """
    k, d = source.k, source.d
    p = raw.copy()
    probabilities(loss)(p.T)
    used = np.diagonal(bound.hessian) > 0
    if bound.whiten.shape[1]:
        used = used & bound.whiten.any(axis=1)
    used = np.append(bool(bound.bias), used)
    hessian = np.zeros((k, 1 + d, k, 1 + d))
    for a, b in itertools.combinations(range(k), 2):
        weight = p[a] * p[b]
        if len(source.weight):
            weight *= source.weight
        moments = curvature * source.moments(bound.center, bound.scale, np.zeros(0), weight)
        moments *= np.outer(used, used)
        hessian[a, :, a] += moments
        hessian[b, :, b] += moments
        hessian[a, :, b] -= moments
        hessian[b, :, a] -= moments
    diagonal = np.einsum("cjcj->cj", hessian)
    diagonal[:, 1:] += l2 * bound.scale * bound.scale
    return hessian


def contrasts(k: int) -> np.ndarray:
    """Orthonormal columns (k, k−1) whose entries sum to zero."""
    columns = np.triu(np.ones((k, k - 1)))
    columns[np.arange(1, k), np.arange(k - 1)] = -np.arange(1.0, k)
    return columns / np.linalg.norm(columns, axis=0)


def whitening(hessian) -> np.ndarray:
    """W with W^T·hessian·W = 1; rows of coordinates without curvature are zero."""
    diagonal = np.diagonal(hessian)
    used = np.flatnonzero(diagonal > 0)
    if not len(used):
        return np.empty((len(hessian), 0))
    unit = 1 / np.sqrt(diagonal[used])
    scaled = hessian[np.ix_(used, used)] * np.outer(unit, unit)
    inner, _ = _whitening(scaled, np.ones(len(used), bool))
    whiten = np.zeros((len(hessian), inner.shape[1]))
    whiten[used] = unit[:, None] * inner
    return whiten


class JointMetric(Metric):
    """Coordinates in which the curvature of all classes is the identity.

    Parameters
    ----------
    bound : Metric
        Whose centre and scale are those of `hessian`.
    hessian : ndarray (k, 1+d, k, 1+d)
    common : bool
        Whether moves may have a part that is the same for all classes; levels never have one.
    """

    def __init__(self, bound: Metric, hessian: np.ndarray, common: bool):
        k, wide = hessian.shape[:2]
        basis = contrasts(k)
        if common:
            basis = np.column_stack([basis, np.full(k, 1 / math.sqrt(k))])
        m = basis.shape[1]
        inner = np.tensordot(np.tensordot(basis.T, hessian, 1), basis, ([2], [0]))
        inner = np.moveaxis(inner, 3, 2).reshape(m * wide, m * wide)
        if common:
            inner[-wide], inner[:, -wide] = 0.0, 0.0
        by_class = whitening(inner).reshape(m, wide, -1)
        seen = bound.whiten.shape[1] + (bound.bias > 0)
        self.lost = by_class.shape[2] < m * seen - (common and bound.bias > 0)
        whiten = np.tensordot(basis, by_class, 1).reshape(k * wide, -1)
        super().__init__(
            bound.center, whiten, bound.bias, hessian.reshape(k * wide, -1), bound.scale, bound.null
        )

    def to_parameters(self, u):
        """Move u as a move of the coefficients and of the centred intercepts."""
        moves = (self.whiten @ u).reshape(-1, 1 + len(self.scale))
        return moves[:, 1:] * self.scale, moves[:, 0]

    def summed(self, coef) -> float:
        """The size of what predictions are summed from."""
        squares = np.diagonal(self.hessian).reshape(len(coef), -1)[:, 1:]
        return float(np.linalg.norm(coef / self.scale * np.sqrt(squares)))

    def to_gradient(self, by_coef, by_intercept):
        """The gradient in u of a gradient in the parameters."""
        return np.column_stack([by_intercept, by_coef * self.scale]).ravel() @ self.whiten

    def size(self, coef, intercept) -> float:
        """The length of given parameters in this metric."""
        v = np.column_stack([intercept, coef / self.scale]).ravel()
        return math.sqrt(max(0.0, float(v @ self.hessian @ v)))


class PenalisedMetric(Metric):
    """The curvature of all coefficients where the levels follow them, for penalties on coefficients.

    Parameters
    ----------
    bound, hessian
        As in `JointMetric`.
    """

    def __init__(self, bound: Metric, hessian: np.ndarray):
        k, wide = hessian.shape[:2]
        basis = contrasts(k)
        lift = basis @ whitening(basis.T @ hessian[:, 0, :, 0] @ basis)
        self.lift, self.levels = lift, hessian[:, 0, :, 0]
        self.beside = hessian[:, 0, :, 1:].reshape(
            k, -1
        )  # how slopes of levels rise with coefficients
        follows, m = lift.T @ self.beside, k * (wide - 1)
        inner = hessian[:, 1:, :, 1:].reshape(m, m) - follows.T @ follows
        diagonal = hessian[:, 1:, :, 1:].reshape(m, m).diagonal()
        lost = np.diagonal(inner) <= 16 * np.finfo(float).eps * diagonal
        inner[lost], inner[:, lost] = 0.0, 0.0
        empty = np.empty((m, 0))
        super().__init__(bound.center, empty, bound.bias, inner, bound.scale, bound.null)

    def decoupled(self, by_coef, by_level):
        """The slopes of the coefficients where the levels follow."""
        follow = (self.lift @ (self.lift.T @ by_level)) @ self.beside
        return by_coef - follow.reshape(by_coef.shape) / self.scale

    def rise(self, move, by_level):
        """How the levels follow a move of the coefficients."""
        slope = by_level + self.beside @ (move / self.scale).ravel()
        return -self.lift @ (self.lift.T @ slope)

    def summed(self, coef) -> float:
        """The size of what predictions are summed from."""
        squares = np.diagonal(self.hessian).reshape(coef.shape)
        return float(np.linalg.norm(coef / self.scale * np.sqrt(squares)))

    def level_slope(self, by_level) -> float:
        """The slope of the levels, in units of their curvature."""
        return float(np.linalg.norm(self.lift.T @ by_level))

    def size(self, coef, level) -> float:
        """The length of given parameters in this metric."""
        v = (coef / self.scale).ravel()
        inner = float(v @ self.hessian @ v)
        return math.hypot(
            math.sqrt(max(0.0, inner)), self.level_slope(self.levels @ level + self.beside @ v)
        )


class CoupledDescent(AutomaticDescent):
    """The loop behind `lr="auto"` where a loss couples its outputs; as `AutomaticDescent`.

    The bound of the curvature knows nothing of rare or certain classes. The curvature at hand replaces it
    once twice the work was spent that it costs.
    """

    def _descend(self, stage, metric, exact):
        if not is_joint(self.source):
            return (yield from super()._descend(stage, metric, exact))
        bound, by_tol = metric, self.settings.tol > 0
        refresh = max(10, math.ceil(2 * steps_for_curvature(self.source, True)))
        if stage.at_coef is not None:
            metric = self._joint_at(stage.at, bound)
        elif not stage.history:
            stage = stage._replace(refresh=refresh)
        while True:
            done = yield from super()._descend(stage, metric, exact)
            if self.stopped or self.epoch >= self.epochs or (done and not metric.lost):
                return done
            if self.settings.l2 == 0 and (self._apart() if done else self._separated()):
                return False
            level = self._centred(bound, self.intercept)
            totals = self.source.totals(self.loss, self.coef, level, bound.center)
            before = self._evaluate(metric, self.coef, level, totals).norm
            # What the curvature at hand has lost to rounding, the bound may still see.
            at = (None, None) if done else (self.coef, self.intercept)
            metric = bound if done else self._joint_at(at, bound)
            point, first = self._evaluate(metric, self.coef, level, totals), stage.first
            if not by_tol:
                first = point.norm
            elif before > 0:  # the same is wanted, in units of another length
                first *= point.norm / before
            stage = Stage(
                False, False, point, level, first, math.inf if done else refresh, stage.tries,
                at_coef=at[0], at_intercept=at[1],
            )  # fmt: skip

    def _joint_at(self, at, bound) -> JointMetric:
        settings = self.settings
        hessian = joint_hessian(
            self.loss, self.source, settings.scale, settings.l2, self._raw(at), bound
        )
        return JointMetric(bound, hessian, common=settings.l2 > 0)
