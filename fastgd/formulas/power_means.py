"""The Tweedie loss of a mean that is the raw prediction itself, without a link.

A leaf: no numba, no numpy. The value, the slope in z and the second derivative. Constants are written
``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes float32 kernels compute in float64.
"""

import math


def tweedie_mean(z, y, p):
    """z^(2 − p)/(2 − p) − y·z^(1 − p)/(1 − p), half the deviance but for terms in y alone; inf for z ≤ 0.

    In place of the terms that have no limit at p = 1 and 2 stands the logarithm.
    """
    T = type(z)
    log = math.log(z if z > T(0) else T(1))
    of_mean = log if p == T(2) else math.exp((T(2) - p) * log) / (T(2) - p)
    of_target = y * (log if p == T(1) else math.exp((T(1) - p) * log) / (T(1) - p))
    return of_mean - of_target if z > T(0) else T(math.inf)


def tweedie_mean_slope(z, y, p):
    """z^(−p)·(z − y); NaN for z ≤ 0."""
    T = type(z)
    log = math.log(z if z > T(0) else T(1))
    return math.exp(-p * log) * (z - y) if z > T(0) else T(math.nan)


def tweedie_mean_second(z, y, p):
    """z^(−p − 1)·((1 − p)·z + p·y); NaN for z ≤ 0."""
    T = type(z)
    log = math.log(z if z > T(0) else T(1))
    inner = (T(1) - p) * z + p * y
    return math.exp(-(p + T(1)) * log) * inner if z > T(0) else T(math.nan)
