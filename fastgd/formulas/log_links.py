"""Losses of generalized linear models whose mean is exp(z), for counts and positive numbers.

A leaf: no numba, no numpy. The value, the slope in z and the second derivative of each loss. Constants
are written ``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes float32 kernels compute in float64.
"""

import math


def exponential(z):
    """exp(z), the inverse of the logarithmic link."""
    return math.exp(z)


def logarithm(y):
    """log(y), the raw prediction whose mean is y; of 0 one with the mean 0."""
    T = type(y)
    return math.log(y) if y > T(0) else T(-1e30)


def poisson(z, y):
    """exp(z) − y·z, the negative log likelihood of a count with mean exp(z), without log(y!)."""
    return math.exp(z) - y * z


def poisson_slope(z, y):
    """exp(z) − y."""
    return math.exp(z) - y


def poisson_second(z, y):
    """exp(z)."""
    return math.exp(z)


def gamma(z, y):
    """z + y·exp(−z), the negative log likelihood of a gamma variable with mean exp(z)."""
    return z + y * math.exp(-z)


def gamma_slope(z, y):
    """1 − y·exp(−z)."""
    T = type(z)
    return T(1) - y * math.exp(-z)


def gamma_second(z, y):
    """y·exp(−z)."""
    return y * math.exp(-z)


def tweedie(z, y, p):
    """exp((2 − p)·z)/(2 − p) − y·exp((1 − p)·z)/(1 − p), half the deviance but for terms in y alone.

    The variance of y is proportional to exp(z)^p. In place of the terms that have no limit at p = 1 and 2
    stand those of `poisson` and `gamma`. The power of a target of 0 is not taken: it may overflow.
    """
    T = type(z)
    power = math.exp((T(1) - p) * z if y != T(0) else T(0))
    of_mean = z if p == T(2) else math.exp((T(2) - p) * z) / (T(2) - p)
    return of_mean - y * (z if p == T(1) else power / (T(1) - p))


def tweedie_slope(z, y, p):
    """exp((2 − p)·z) − y·exp((1 − p)·z)."""
    T = type(z)
    return math.exp((T(2) - p) * z) - y * math.exp((T(1) - p) * z if y != T(0) else T(0))


def tweedie_second(z, y, p):
    """(2 − p)·exp((2 − p)·z) + (p − 1)·y·exp((1 − p)·z)."""
    T = type(z)
    power = math.exp((T(1) - p) * z if y != T(0) else T(0))
    return (T(2) - p) * math.exp((T(2) - p) * z) + (p - T(1)) * y * power


def negative_binomial(z, y, p):
    """(y + 1/α)·log(1 + α·exp(z)) − y·z, with α = p.

    The negative log likelihood of a count with mean exp(z) and variance exp(z) + α·exp(z)². The mean is
    m/u with exp(−|z|) as m or u, which does not overflow. Where α·exp(z) > 1, its logarithm is taken out
    of log(1 + α·exp(z)): then y·z cancels exactly.
    """
    T = type(z)
    e = math.exp(-abs(z))
    m = p * (T(1) if z > T(0) else e)
    u = e if z > T(0) else T(1)
    ratio = (u if m > u else m) / (m if m > u else u)
    rest = (z + math.log(p)) / p + y * math.log(p) if m > u else -y * z
    return (y + T(1) / p) * math.log1p(ratio) + rest


def negative_binomial_slope(z, y, p):
    """(exp(z) − y)/(1 + α·exp(z)), with e = exp(−|z|) in place of the exponential."""
    T = type(z)
    e = math.exp(-abs(z))
    return (T(1) - y * e) / (e + p) if z > T(0) else (e - y) / (T(1) + p * e)


def negative_binomial_second(z, y, p):
    """(1 + α·y)·exp(z)/(1 + α·exp(z))²."""
    T = type(z)
    e = math.exp(-abs(z))
    unit = (e + p) if z > T(0) else T(1) + p * e
    return (T(1) + p * y) * (e / unit) / unit
