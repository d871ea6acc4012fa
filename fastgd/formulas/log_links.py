"""Losses of generalized linear models whose mean is exp(z), for counts and positive numbers.

A leaf: no numba, no numpy. The value, the slope in z and the second derivative of each loss. Constants
are written ``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes float32 kernels compute in float64.
"""

import math


def exponential(z):
    """exp(z), the inverse of the logarithmic link."""
    return math.exp(z)


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

    The variance of y is proportional to exp(z)^p. The limits at p = 1 and 2 are `poisson` and `gamma`.
    """
    T = type(z)
    of_mean = z if p == T(2) else math.exp((T(2) - p) * z) / (T(2) - p)
    of_target = y * z if p == T(1) else y * (math.exp((T(1) - p) * z) / (T(1) - p))
    return of_mean - of_target


def tweedie_slope(z, y, p):
    """exp((2 − p)·z) − y·exp((1 − p)·z)."""
    T = type(z)
    return math.exp((T(2) - p) * z) - y * math.exp((T(1) - p) * z)


def tweedie_second(z, y, p):
    """(2 − p)·exp((2 − p)·z) + (p − 1)·y·exp((1 − p)·z)."""
    T = type(z)
    return (T(2) - p) * math.exp((T(2) - p) * z) + (p - T(1)) * y * math.exp((T(1) - p) * z)


def negative_binomial(z, y, p):
    """(y + 1/α)·log(1 + α·exp(z)) − y·z, with α = p and u = z + log α the exponent that is used.

    The negative log likelihood of a count with mean exp(z) and variance exp(z) + α·exp(z)².
    """
    T = type(z)
    u = z + math.log(p)
    return (y + T(1) / p) * ((u if u > T(0) else T(0)) + math.log1p(math.exp(-abs(u)))) - y * z


def negative_binomial_slope(z, y, p):
    """(exp(z) − y)/(1 + α·exp(z)), with e = exp(−|u|) in place of the exponential."""
    T = type(z)
    u = z + math.log(p)
    e = math.exp(-abs(u))
    return (T(1) / p - y * e if u > T(0) else e / p - y) / (T(1) + e)


def negative_binomial_second(z, y, p):
    """(y + 1/α)·e/(1 + e)²."""
    T = type(z)
    e = math.exp(-abs(z + math.log(p)))
    return (y + T(1) / p) * e / ((T(1) + e) * (T(1) + e))
