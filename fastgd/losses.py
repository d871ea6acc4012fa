"""Losses as plain Python functions of one sample: value and slope on the raw prediction.

The raw prediction is z = x·coef + intercept, before any link. ``value(z, y)`` is the loss of one
sample, ``slope(z, y)`` its derivative with respect to z; everything else (sums, means, gradients,
loops) is the same for every loss and written elsewhere, once. A leaf: no numba, no numpy.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .formulas.activations import logistic


class Loss(NamedTuple):
    """A loss made of two plain functions, and what is known about it.

    Parameters
    ----------
    name : str
        How the loss is called in messages.
    value, slope : callable
        ``value(z, y)`` and its derivative ``slope(z, y)`` in z: scalar functions made of assignments,
        ``math``, comparisons and one return, so that they compile as they stand.
    curvature : float, default=inf
        The largest second derivative in z, if there is one. It bounds the stable learning rate.

    Examples
    --------
    >>> from fastgd.losses import Loss
    >>> half_square = Loss("half square", lambda z, y: (z - y) * (z - y) / 2, lambda z, y: z - y, 1.0)
    >>> half_square.slope(3.0, 1.0)
    2.0
    """

    name: str
    value: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any], Any]
    curvature: float = math.inf


def squared_error(z, y):
    """(z − y)²."""
    r = z - y
    return r * r


def squared_error_slope(z, y):
    """2·(z − y)."""
    r = z - y
    return r + r


def binary_cross_entropy(z, y):
    """−y·log σ(z) − (1−y)·log(1−σ(z)) = max(z, 0) − z·y + log(1 + exp(−|z|)), for y in [0, 1].

    The last form neither overflows nor cancels, for any z.
    """
    T = type(z)
    return (z if z > T(0) else T(0)) - z * y + math.log1p(math.exp(-abs(z)))


def binary_cross_entropy_slope(z, y):
    """σ(z) − y."""
    return logistic(z) - y


class Coupled(NamedTuple):
    """A loss of k raw predictions and the index of the right one, made of three plain functions.

    One loop over the predictions keeps two numbers of a row, and value and slope need no more of the
    others: a loop over rows in each step is a loop over numbers that lie together.

    Parameters
    ----------
    name : str
        How the loss is called in messages.
    add : callable
        ``add(top, rest, z)``: the two numbers with one prediction more; they begin as z of the first
        class, and 0.
    value : callable
        ``value(z, top, rest)``: the loss, z that of the right class.
    slope : callable
        ``slope(z, hit, top, rest)``: its derivative in z of any class, hit 1 for the right one, else 0.
    curvature : float, default=inf
        A bound of the largest eigenvalue of the second derivatives, for every k.
    """

    name: str
    add: Callable[[Any, Any, Any], Any]
    value: Callable[[Any, Any, Any], Any]
    slope: Callable[[Any, Any, Any, Any], Any]
    curvature: float = math.inf


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


def cross_entropy_slope(z, hit, top, rest):
    """exp(z)/Σ exp(z_c) − hit."""
    T = type(z)
    return math.exp(z - top) / (T(1) + rest) - hit


#: Softmax regression. Its second derivatives diag(p) − p·p^T are at most (1 − 1·1^T/k)/2 (Böhning, 1992).
CROSS_ENTROPY = Coupled("cross_entropy", log_sum_exp_step, cross_entropy, cross_entropy_slope, 0.5)

LOSSES = {
    loss.name: loss
    for loss in (
        Loss("mse", squared_error, squared_error_slope, 2.0),
        Loss("bce", binary_cross_entropy, binary_cross_entropy_slope, 0.25),
    )
}

#: What the attribute `loss` of a fit may be.
LOSS_NAMES = (*LOSSES, CROSS_ENTROPY.name)
