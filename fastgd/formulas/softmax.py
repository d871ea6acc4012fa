"""The loss of several labels, which couples the k raw predictions of a row.

A leaf: no numba, no numpy. The value, the slope in z and the second derivative of each loss. Constants
are written ``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes float32 kernels compute in float64.
"""

import math


def log_sum_exp_step(top, rest, z):
    """The largest z so far, and the sum of exp(z − top) over all others, with one z more.

    One exponential, never of more than 0; and the largest one's own 1 stays out of the sum, where it
    would take the digits of the others.
    """
    T = type(z)
    e = math.exp(-abs(z - top))
    return (z, (rest + T(1)) * e) if z > top else (top, rest + e)


def cross_entropy(z, top, rest):
    """log Σ exp(z_c) − z = (top − z) + log(1 + rest)."""
    return (top - z) + math.log1p(rest)


def softmax(z, top, rest):
    """exp(z)/Σ exp(z_c)."""
    T = type(z)
    return math.exp(z - top) / (T(1) + rest)


def cross_entropy_slope(z, hit, top, rest):
    """exp(z)/Σ exp(z_c) − hit."""
    return softmax(z, top, rest) - hit
