"""Coordinates in which a bound of the Hessian is the identity: the metric of `lr="auto"`.

The second moments of X bound the Hessian of every loss with a bounded second derivative: it is at most
curvature·X^T X (Böhning and Lindsay, 1988). Columns are centred and scaled on the fly; the intercepts of
centred columns are called levels.
"""

import contextlib
import functools
import math
from typing import Any

import numpy as np

from ..inputs import is_finite
from ..sources.protocol import Source
from .moments import off_center, totals_at_zero

#: With more columns than this a square matrix costs more than it saves, and columns are only scaled.
FULL_METRIC = 2048
#: Eigenvalues of the unit-diagonal moment matrix below this part of the largest are rounding (500 ulp).
RANK_CUT = 1e-13
#: If all pivots of a Cholesky factor are above this, the matrix has full rank.
_SMALL_PIVOT = 1e-8
#: The relative rounding error of float64.
EPS = float(np.finfo(np.float64).eps)


def is_full(source: Source) -> bool:
    """Whether the metric of a source has a square matrix; else its columns are scaled only."""
    return source.d <= min(FULL_METRIC, source.widest_square)


class NotFiniteError(ArithmeticError):
    """The moments are not finite: X is not, or it is too large to be squared."""


class FlatError(ArithmeticError):
    """No row has a curvature: all are lost to rounding."""


class Metric:
    """Coordinates u with coef = base + u·whiten^T and level = base + level_scale·u_last.

    Parameters
    ----------
    center : ndarray (d,)
        The centre of the columns.
    whiten : ndarray (d, r) or (d,)
        The whitening matrix, or the scale of each column.
    level_scale : float
        1/√(curvature of a level); 0 without intercepts.
    hessian : ndarray (d, d) or (d,)
        The Hessian of the scaled columns, or its diagonal; that of the caller's columns may overflow.
    scale : ndarray (d,)
        The factor of each column in `hessian`, so that its parameters are coef/scale.
    null : ndarray (d,)
        By how much each column takes part in a linear dependence.
    """

    #: The totals of a squared error where all parameters are zero.
    totals_at_zero: np.ndarray | None = None
    #: Whether directions are missing in which the bound of the Hessian has curvature.
    incomplete = False

    def __init__(
        self,
        center: np.ndarray,
        whiten: np.ndarray,
        level_scale: float,
        hessian: np.ndarray,
        scale: np.ndarray,
        null: np.ndarray,
    ):
        self.center, self.whiten, self.level_scale = center, whiten, level_scale
        self.hessian, self.scale, self.null = hessian, scale, null

    @functools.cached_property
    def unit(self) -> np.ndarray:
        """1/√ of the diagonal of `hessian`, and 0 where that is 0."""
        diagonal = self.hessian.diagonal() if self.hessian.ndim == 2 else self.hessian
        return inverse_root(diagonal, diagonal > 0)

    def to_parameters(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The changes of the coefficients and of the levels for a step in u, (k, r+1)."""
        w = self.whiten
        return (u[:, :-1] * w if w.ndim == 1 else u[:, :-1] @ w.T), self.level_scale * u[:, -1]

    def to_gradient(self, by_coef: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        """The gradient in u of a gradient in the parameters."""
        w = self.whiten
        gradient = np.empty((len(by_coef), w.shape[-1] + 1))
        if w.ndim == 1:
            np.multiply(by_coef, w, out=gradient[:, :-1])
        else:
            gradient[:, :-1] = by_coef @ w
        gradient[:, -1] = self.level_scale * by_level
        return gradient

    def norm(self, coef: np.ndarray, level: np.ndarray) -> float:
        """The norm of given parameters in this metric, √(θ^T H θ)."""
        h, v = self.hessian, coef / self.scale
        inner = np.vdot(v * h if h.ndim == 1 else v @ h, v)
        beside = np.vdot(level, level) / self.level_scale**2 if self.level_scale else 0.0
        return math.sqrt(max(0.0, float(inner)) + float(beside))

    def size_of_terms(self, coef: np.ndarray) -> float:
        """The norm of the terms coef_j·x_j, which is larger than that of their sums if they cancel."""
        squares = self.hessian.diagonal() if self.hessian.ndim == 2 else self.hessian
        terms = coef / self.scale * np.sqrt(squares)
        return math.sqrt(np.vdot(terms, terms))

    def reduced_gradient(self, by_coef: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        """The gradient in the coefficients with the levels eliminated, which are at their minimum.

        Of centred columns it is the gradient itself.
        """
        return by_coef

    def level_step(self, move: np.ndarray, by_level: np.ndarray) -> np.ndarray:
        """The step of the levels to their minimum, along with a step of the coefficients."""
        return -(self.level_scale**2) * by_level

    def level_gradient_norm(self, by_level: np.ndarray) -> float:
        """The norm of the gradient in the levels, in units of their curvature."""
        return float(np.linalg.norm(by_level * self.level_scale))


def full_metric(
    source: Source,
    curvature: float,
    l2: float,
    fit_intercept: bool,
    weight: Any = None,
    squares: bool = False,
    whitened: bool = True,
) -> Metric:
    """The metric of curvature·(second moments) + l2.

    Parameters
    ----------
    source : Source
    curvature : float
        The second derivative of the summed objective in a prediction, per unit of weight.
    l2 : float
    fit_intercept : bool
    weight : ndarray (n,) or result of `Source.per_row`, optional
        In place of the weights of the source.
    squares : bool
        Whether the moments include y, so that the metric has the first totals of a squared error.
    whitened : bool
        If not, the metric is only its `hessian`, in which constant columns have no curvature.

    Raises
    ------
    NotFiniteError
        If the moments are not finite.
    FlatError
        If the sum of weights is not positive.
    """
    d, y_center = source.d, np.zeros(source.k if squares else 0)
    # The factor of a very small column is limited, or its penalty would overflow.
    # The power of two is above 1/√l2/2, which is finite.
    most = math.ldexp(1.0, -math.frexp(math.sqrt(l2))[1]) * 2.0**501 if l2 > 0 else math.inf
    shifts = fit_intercept and source.shifts_rows
    for scale_of in (_sampled_scale, _exact_scale):  # a sample may miss an extreme value
        center, scale = scale_of(source, shifts)
        if l2 > 0:
            scale = np.minimum(scale, most)
        moments = source.moments(center, scale, y_center, weight)
        if is_finite(moments):
            break
    else:
        raise NotFiniteError
    mass = moments.item(0)
    if not mass > 0:
        raise FlatError
    second, mean = moments[1 : d + 1, 1 : d + 1] / mass, moments[0, 1 : d + 1] / mass
    mean_square = mean * mean
    if shifts and np.add.reduce(off_center(mean_square, second.diagonal() - mean_square)):
        center = center + mean / scale
        moments = source.moments(center, scale, y_center, weight)
        second, mean = moments[1 : d + 1, 1 : d + 1] / mass, moments[0, 1 : d + 1] / mass
        mean_square = mean * mean
    noise = 1e-30 * second.diagonal()
    shift = mean / scale if fit_intercept else np.zeros(d)
    if fit_intercept:
        noise += 16 * EPS * mean_square
        second -= mean[:, None] * mean
    hessian = curvature * mass * second
    diagonal = hessian.reshape(-1)[:: d + 1]
    diagonal += l2 * scale * scale
    used = diagonal > curvature * mass * noise
    # Of columns that are not used it is 0.
    unit = used / np.sqrt(np.where(used, diagonal, 1.0))
    whiten, null = np.empty((d, 0)), np.zeros(d)
    if whitened:
        whiten, null = unit_whitening(hessian * (unit[:, None] * unit), used)
        whiten *= (unit * scale)[:, None]
    else:
        hessian[~used], hessian[:, ~used] = 0.0, 0.0
    level_scale = 1 / math.sqrt(curvature * mass) if fit_intercept else 0.0
    metric = Metric(center + shift, whiten, level_scale, hessian, scale, null)
    if squares:
        metric.totals_at_zero = totals_at_zero(moments, d, scale, shift)
    return metric


def unit_whitening(hessian: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W with W^T·hessian·W = 1 for a matrix of unit diagonal, and by how much each column is dependent.

    The Cholesky factor gives it where no pivot is small. Otherwise eigenvalues do, which show the rank,
    but cost 30 times the operations, and LAPACK's threads spin for 0.1 s afterwards, so that passes took
    twice as long.
    """
    d = len(hessian)
    if used.all():
        with contextlib.suppress(np.linalg.LinAlgError):
            lower = np.linalg.cholesky(hessian)
            if min(lower.diagonal().tolist(), default=1.0) ** 2 > _SMALL_PIVOT:
                return np.linalg.inv(lower).T.copy(), np.zeros(d)
    values, vectors = np.linalg.eigh(hessian)
    kept = values > RANK_CUT * max(1.0, d / 50) * max(values[-1], 1e-300)
    # Constant columns have a zero row and drop out; they don't count as dependent.
    dependent = ~kept & (np.abs(vectors[used]).max(axis=0, initial=0) > 0.5 / math.sqrt(d))
    null = np.abs(vectors[:, dependent]).max(axis=1, initial=0) * used
    return vectors[:, kept] / np.sqrt(values[kept]), null


def diagonal_metric(source: Source, curvature: float, l2: float, fit_intercept: bool) -> Metric:
    """The metric of curvature·(variances) + l2, for many columns; arguments as in `full_metric`."""
    mass, mean, variance = source.column_moments(fit_intercept)
    shifts = fit_intercept and source.shifts_rows
    if shifts and off_center((mean - source.middle()) ** 2, variance).any():
        mass, mean, variance = source.column_moments(fit_intercept, mean)
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise NotFiniteError
    hessian = curvature * mass * variance + l2
    used = hessian > 16 * EPS * curvature * mass * mean**2 * fit_intercept
    whiten = inverse_root(hessian, used & (hessian > 0))
    level_scale = 1 / math.sqrt(curvature * mass) if fit_intercept else 0.0
    # If there are more columns than rows, they are dependent.
    dependent = float(l2 == 0 and source.d > source.n - fit_intercept)
    one, null = np.broadcast_to(1.0, source.d), np.broadcast_to(dependent, source.d)  # of no memory
    return Metric(mean * fit_intercept, whiten, level_scale, hessian, one, null)


def inverse_root(diagonal: np.ndarray, used: np.ndarray) -> np.ndarray:
    """1/√diagonal where it is used, else 0."""
    root = np.zeros(len(diagonal))
    np.sqrt(diagonal, out=root, where=used)
    return np.divide(1.0, root, out=root, where=used)


def _sampled_scale(source: Source, shifts: bool) -> tuple[np.ndarray, np.ndarray]:
    """A centre and a factor of each column, from a sample of rows."""
    sample = source.sample()
    center = np.zeros(source.d)
    if shifts:
        rows = len(sample)
        columns = zip(
            np.minimum.reduce(sample).tolist(), np.maximum.reduce(sample).tolist(),
            np.add.reduce(sample).tolist(), strict=True,
        )  # fmt: skip
        center = np.array([_middle(low, high, total / rows) for low, high, total in columns])
    return center, _power_of_two(np.maximum.reduce(np.abs(sample - center)))


def _middle(low: float, high: float, mean: float) -> float:
    """The mean of a column, or what is near it where the mean overflows."""
    if not math.isfinite(mean):
        return low / 2 + high / 2
    # A constant column must be exactly zero about its centre, and its mean has a rounding error.
    return low if low == high else mean


def _exact_scale(source: Source, shifts: bool) -> tuple[np.ndarray, np.ndarray]:
    """The middle of each column's values, and a factor with which none is farther than 2 from it."""
    low, high = source.extremes()
    center = low / 2 + high / 2 if shifts else np.zeros(source.d)
    return center, _power_of_two(np.maximum(np.abs(low - center), np.abs(high - center)))


def _power_of_two(size: np.ndarray) -> np.ndarray:
    """1/size rounded to a power of two, which scales without rounding; 1 for 0."""
    # Numbers of Python: arrays of a few columns would take longer, and many have a square matrix beside.
    exponents = [1 - math.frexp(s)[1] if 0 < s < math.inf else 0 for s in size.tolist()]
    return np.array([math.ldexp(1.0, min(max(e, -1000), 1000)) for e in exponents])
