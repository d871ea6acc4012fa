"""Coordinates in which a bound of the curvature is the identity: the metric of `lr="auto"`.

The second moments of X bound the curvature of every loss with bounded second derivative: the Hessian is
at most curvature·X^T X (Böhning and Lindsay, 1988). Columns are centred and scaled on the fly.
"""

import contextlib
import math

import numpy as np

from .moments import off_center, totals_at_zero

#: Above this many columns a square matrix of moments costs more than it saves: scale columns only.
FULL_METRIC = 2048
#: Eigenvalues of the unit-diagonal moment matrix below this are rounding: 500 ulp of its largest.
RANK_CUT = 1e-13
#: Pivots above this leave no doubt about the rank.
_SMALL_PIVOT = 1e-8


class NotFiniteError(ArithmeticError):
    """The moments are not finite: the data is not, or it is too large to be squared."""


class Metric:
    """Coordinates u with coef = base + u·whiten^T and (centred) intercept = base + bias·u_last."""

    #: Squared error: the totals where all parameters are zero.
    totals_at_zero: np.ndarray | None = None
    #: Whether directions are missing that the bound of the curvature has.
    lost = False

    def __init__(self, center, whiten, bias, hessian, scale, null):
        self.center, self.whiten, self.bias = center, whiten, bias
        # The Hessian is that of coef/scale: in the caller's units it may overflow.
        self.hessian, self.scale, self.null = hessian, scale, null

    def to_parameters(self, u):
        """Move (k, r+1) in u as a move of the coefficients and of the centred intercept."""
        w = self.whiten
        return (u[:, :-1] * w if w.ndim == 1 else u[:, :-1] @ w.T), self.bias * u[:, -1]

    def to_gradient(self, by_coef, by_intercept):
        """The gradient in u of a gradient in the parameters."""
        w = self.whiten
        inner = by_coef * w if w.ndim == 1 else by_coef @ w
        return np.column_stack([inner, self.bias * by_intercept])

    def size(self, coef, intercept) -> float:
        """The length of given parameters in this metric."""
        h, v = self.hessian, coef / self.scale
        inner = (v * h * v).sum() if h.ndim == 1 else ((v @ h) * v).sum()
        beside = (intercept**2).sum() / self.bias**2 if self.bias else 0.0
        return math.sqrt(max(0.0, float(inner)) + float(beside))

    def summed(self, coef) -> float:
        """The size of what predictions are summed from, which far columns make larger than they are."""
        squares = np.diagonal(self.hessian) if self.hessian.ndim == 2 else self.hessian
        return float(np.linalg.norm(coef / self.scale * np.sqrt(squares)))

    def decoupled(self, by_coef, by_level):
        """The slopes of the coefficients where the levels follow; centred, those don't."""
        return by_coef

    def rise(self, move, by_level):
        """How the levels follow a move of the coefficients, to where their own slope is zero."""
        return -(self.bias**2) * by_level

    def level_slope(self, by_level) -> float:
        """The slope of the levels, in units of their curvature."""
        return float(np.linalg.norm(by_level * self.bias))


def full_metric(
    source, curvature, l2, fit_intercept, weight=None, squares=False, whitened=True
) -> Metric:
    """The metric of curvature·(second moments) + l2.

    `curvature` is that of the summed objective for each unit of weight. With `squares` the moments take
    y along, and the metric knows the first step of least squares. Not `whitened`, it is its Hessian,
    in which constant columns have no curvature.
    """
    d, y_center = source.d, np.zeros(source.k if squares else 0)
    # Of a column so small that its penalty would overflow in its own units, those are larger.
    most = _power_of_two(math.sqrt(l2)) * 2.0**500 if l2 > 0 else math.inf
    center, scale = _sampled_scale(source, fit_intercept)
    scale = np.minimum(scale, most)
    moments = source.moments(center, scale, y_center, weight)
    if not np.isfinite(moments).all():  # the sample missed an extreme value
        center, scale = _exact_scale(source, fit_intercept)
        scale = np.minimum(scale, most)
        moments = source.moments(center, scale, y_center, weight)
    if not np.isfinite(moments).all():
        raise NotFiniteError
    mass = moments[0, 0]
    second, mean = moments[1 : d + 1, 1 : d + 1] / mass, moments[0, 1 : d + 1] / mass
    if fit_intercept and off_center(mean, np.diagonal(second) - mean**2).any():
        center = center + mean / scale
        moments = source.moments(center, scale, y_center, weight)
        second, mean = moments[1 : d + 1, 1 : d + 1] / mass, moments[0, 1 : d + 1] / mass
    noise = 1e-30 * np.diagonal(second)
    shift = mean / scale if fit_intercept else np.zeros(d)
    if fit_intercept:
        noise = 16 * np.finfo(float).eps * mean**2 + noise
        second = second - np.outer(mean, mean)
    hessian = curvature * mass * second + np.diag(l2 * scale * scale)
    diagonal = np.diagonal(hessian)
    used = diagonal > curvature * mass * noise
    unit = np.zeros(d)
    unit[used] = 1 / np.sqrt(diagonal[used])
    whiten, null = np.empty((d, 0)), np.zeros(d)
    if whitened:
        whiten, null = _whitening(hessian * np.outer(unit, unit), used)
        whiten *= (unit * scale)[:, None]
    else:
        hessian[~used], hessian[:, ~used] = 0.0, 0.0
    bias = 1 / math.sqrt(curvature * mass) if fit_intercept else 0.0
    metric = Metric(center + shift, whiten, bias, hessian, scale, null)
    if squares:
        metric.totals_at_zero = totals_at_zero(moments, d, scale, shift)
    return metric


def _whitening(hessian, used):
    """W with W^T·hessian·W = 1 for a matrix of unit diagonal, and by how much columns are dependent.

    By Cholesky where no pivot is small. Else by eigenvalues, which tell the rank, but cost thirty times
    the flops, and LAPACK does them on threads that go on spinning for 0.1 s: passes took twice as long.
    """
    d = len(hessian)
    if used.all():
        with contextlib.suppress(np.linalg.LinAlgError):
            lower = np.linalg.cholesky(hessian)
            if np.diagonal(lower).min(initial=1.0) ** 2 > _SMALL_PIVOT:
                return np.linalg.inv(lower).T.copy(), np.zeros(d)
    values, vectors = np.linalg.eigh(hessian)
    kept = values > RANK_CUT * max(1.0, d / 50) * max(values[-1], 1e-300)
    # Columns that are constant drop out with a zero row; they are not what "dependent" means.
    dependent = ~kept & (np.abs(vectors[used]).max(axis=0, initial=0) > 0.5 / math.sqrt(d))
    null = np.abs(vectors[:, dependent]).max(axis=1, initial=0) * used
    return vectors[:, kept] / np.sqrt(values[kept]), null


def diagonal_metric(source, curvature, l2, fit_intercept) -> Metric:
    """The same from the variances alone, for many columns."""
    mass, mean, variance = source.column_moments(fit_intercept)
    if fit_intercept and off_center(mean - source.sample().mean(axis=0), variance).any():
        mass, mean, variance = source.column_moments(fit_intercept, mean)
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise NotFiniteError
    hessian = curvature * mass * variance + l2
    used = hessian > 16 * np.finfo(float).eps * curvature * mass * mean**2 * fit_intercept
    whiten = np.zeros(source.d)
    whiten[used & (hessian > 0)] = 1 / np.sqrt(hessian[used & (hessian > 0)])
    bias = 1 / math.sqrt(curvature * mass) if fit_intercept else 0.0
    # More columns than rows are dependent without a look at them.
    null = np.full(source.d, float(l2 == 0 and source.d > source.n - fit_intercept))
    return Metric(mean * fit_intercept, whiten, bias, hessian, np.ones(source.d), null)


def _sampled_scale(source, fit_intercept):
    sample = source.sample()
    center = np.zeros(source.d)
    if fit_intercept:
        low, high = sample.min(axis=0), sample.max(axis=0)
        # A constant must come out as exactly zero, which its mean by summation may miss.
        center = np.where(low == high, low, low / 2 + high / 2)
        mean = sample.mean(axis=0)
        center = np.where((low < high) & np.isfinite(mean), mean, center)
    return center, _power_of_two(np.abs(sample - center).max(axis=0))


def _exact_scale(source, fit_intercept):
    low, high = source.extremes()
    center = low / 2 + high / 2 if fit_intercept else np.zeros(source.d)
    return center, _power_of_two(np.maximum(np.abs(low - center), np.abs(high - center)))


def _power_of_two(size):
    """1/size rounded to a power of two, which scales without rounding; 1 for 0."""
    good = np.isfinite(size) & (size > 0)
    _, exponent = np.frexp(np.where(good, size, 1.0))
    return np.where(good, np.ldexp(1.0, np.clip(1 - exponent, -1000, 1000)), 1.0)
