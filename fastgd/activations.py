"""Activations as plain Python functions of one number: the value and the derivative.

A leaf: no numba, no numpy. The same text runs in `fastgd.reference`, inside the compiled CPU kernels
and inside CUDA kernels. Constants are written ``T(1)`` with ``T = type(z)``, because a bare ``1.0``
would turn a float32 kernel into a float64 one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Activation(NamedTuple):
    """A scalar function σ(z) and its derivative σ′(z)."""

    name: str
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]


def identity(z):
    """σ(z) = z."""
    return z


def identity_slope(z):
    """σ′(z) = 1."""
    T = type(z)
    return T(1)


def logistic(z):
    """σ(z) = 1 / (1 + exp(−z)).

    The exponential is only taken of −|z|, so nothing overflows; with e = exp(−|z|) the value is
    1/(1+e) right of zero and e/(1+e) left of it.
    """
    T = type(z)
    e = math.exp(-abs(z))
    return (T(1) if z >= T(0) else e) / (T(1) + e)


def logistic_slope(z):
    """σ′(z) = σ(z)·(1 − σ(z)) = e/(1+e)² with e = exp(−|z|)."""
    T = type(z)
    e = math.exp(-abs(z))
    return e / ((T(1) + e) * (T(1) + e))


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("identity", identity, identity_slope),
        Activation("logistic", logistic, logistic_slope),
    )
}
