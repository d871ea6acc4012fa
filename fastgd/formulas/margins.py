"""Losses of two labels, functions of the margin m, which is z for the label y = 1 and −z for y = 0.

A leaf: no numba, no numpy. The value, the slope in z and the second derivative of each loss. Constants
are written ``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes float32 kernels compute in float64.
"""

import math

from .activations import logistic


def log1p_exp(z):
    """log(1 + exp(−|z|))."""
    return math.log1p(math.exp(-abs(z)))


def certain(y):
    """A raw prediction with the probability y, 0 or 1."""
    T = type(y)
    return T(2e30) * y - T(1e30)


def binary_cross_entropy(z, y):
    """−y·log σ(z) − (1−y)·log(1−σ(z)) = max(z, 0) − z·y + log(1 + exp(−|z|)), for y in [0, 1].

    The last form neither overflows nor cancels, for any z.
    """
    T = type(z)
    return (z if z > T(0) else T(0)) - z * y + log1p_exp(z)


def binary_cross_entropy_slope(z, y):
    """σ(z) − y."""
    return logistic(z) - y


def binary_cross_entropy_second(z, y):
    """σ(z)·(1 − σ(z)) = e/(1+e)² with e = exp(−|z|)."""
    T = type(z)
    e = math.exp(-abs(z))
    return e / ((T(1) + e) * (T(1) + e))


def hinge(z, y):
    """max(0, 1 − m)."""
    T = type(z)
    r = T(1) - (z if y > T(0) else -z)
    return T(0) if r < T(0) else r


def hinge_slope(z, y):
    """−1 for y = 1 and 1 for y = 0 where m ≤ 1, else 0; NaN of NaN."""
    T = type(z)
    side = T(1) if y > T(0) else T(-1)
    return -side if side * z <= T(1) else (T(0) if side * z > T(1) else z)


def hinge_kinks(y):
    """The slope −y left of the kink, which is at 1 for y = 1 and at −1 for y = 0, with a jump of 1."""
    return -y, ((2.0 * y - 1.0, 1.0),)


def squared_hinge(z, y):
    """max(0, 1 − m)²."""
    T = type(z)
    r = T(1) - (z if y > T(0) else -z)
    return T(0) if r < T(0) else r * r


def squared_hinge_slope(z, y):
    """2·(z − 1) for y = 1 and 2·(z + 1) for y = 0 where m < 1, else 0; NaN of NaN."""
    T = type(z)
    side = T(1) if y > T(0) else T(-1)
    r = z - side
    return T(0) * z if side * r >= T(0) else r + r


def squared_hinge_second(z, y):
    """2 where m < 1, else 0."""
    T = type(z)
    return T(2) if (z if y > T(0) else -z) < T(1) else T(0)


def modified_huber(z, y):
    """max(0, 1 − m)² where m ≥ −1, else −4·m."""
    T = type(z)
    m = z if y > T(0) else -z
    r = T(1) - m
    return T(-4) * m if m < T(-1) else (T(0) if r < T(0) else r * r)


def modified_huber_slope(z, y):
    """That of the squared hinge, cut at ±4."""
    T = type(z)
    side = T(1) if y > T(0) else T(-1)
    r = z - side
    return T(0) * z if side * r >= T(0) else (T(-4) * side if side * r < T(-2) else r + r)


def modified_huber_second(z, y):
    """2 where −1 ≤ m < 1, else 0."""
    T = type(z)
    m = z if y > T(0) else -z
    return T(2) if T(-1) <= m < T(1) else T(0)


def clipped_probability(z):
    """(z + 1)/2, cut at 0 and 1: the probability of `modified_huber`; NaN of NaN."""
    T = type(z)
    return T(1) if z > T(1) else (T(0) if z < T(-1) else (z + T(1)) / T(2))
