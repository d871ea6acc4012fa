"""Activations as plain Python functions of one number: the value and the derivative.

A leaf: no numba, no numpy. The same text runs in `fastgd.reference`, inside the compiled CPU kernels
and inside CUDA kernels. Constants are written ``T(1)`` with ``T = type(z)``, because a bare ``1.0``
would turn a float32 kernel into a float64 one. `fastgd.activations` has them for arrays.

The sigmoids tanh to softsign are scaled to a slope of 1 at zero and the limits ±1, so that they can
be compared. Each formula keeps its relative precision until it underflows.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Activation(NamedTuple):
    """A scalar function σ(z) and its derivative σ′(z)."""

    name: str
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]


def logistic(z):
    """σ(z) = 1 / (1 + exp(−z)).

    The exponential has the argument −|z| ≤ 0, so nothing overflows; with e = exp(−|z|) the value is
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


def tanh(z):
    """σ(z) = tanh(z)."""
    return math.tanh(z)


def tanh_slope(z):
    """σ′(z) = 1 − tanh²(z) = 4e/(1+e)² with e = exp(−2|z|), without cancellation."""
    T = type(z)
    e = math.exp(-T(2) * abs(z))
    return T(4) * e / ((T(1) + e) * (T(1) + e))


def erf(z):
    """σ(z) = erf(√π/2·z)."""
    T = type(z)
    return math.erf(T(0.8862269254527580) * z)


def erf_slope(z):
    """σ′(z) = exp(−π/4·z²).

    A rounding error of π/4·z² would be multiplied by up to 745. With k, the multiple of 1/16 next to
    |z|, the power is exp(−c·k²)·exp(−(π/4 − c)·k² − π/4·(|z| − k)(|z| + k)): c has 8 bits, which makes
    the first exponent exact, and the second one is small.
    """
    T = type(z)
    a = abs(z)
    k = T(math.floor(T(16) * (a if a < T(32) else T(32)) + T(0.5))) / T(16)
    remainder = T(2.4191339744830962e-4) * k * k + T(0.7853981633974483) * ((a - k) * (a + k))
    return math.exp(-T(0.78515625) * (k * k)) * math.exp(-remainder)


def gudermannian(z):
    """σ(z) = 2/π·gd(π/2·z) = 4/π·atan(tanh(π/4·z))."""
    T = type(z)
    return T(1.2732395447351628) * math.atan(math.tanh(T(0.7853981633974483) * z))


def gudermannian_slope(z):
    """σ′(z) = 1/cosh(π/2·z) = 2e/(1+e²) with e = exp(−π/2·|z|), its exponent in two parts.

    k is the multiple of 1/16 next to |z|, and the first part of π/2 has 8 bits, so their product is
    exact and the other exponent small.
    """
    T = type(z)
    a = abs(z)
    k = T(math.floor(T(16) * (a if a < T(512) else T(512)) + T(0.5))) / T(16)
    remainder = T(4.8382679489661923e-4) * k + T(1.5707963267948966) * (a - k)
    e = math.exp(-T(1.5703125) * k) * math.exp(-remainder)
    return T(2) * e / (T(1) + e * e)


def _bounded(z):
    """z, clipped to ±2⁶⁰: large enough to act as infinity, and with a square in float32."""
    T = type(z)
    far = T(1152921504606846976)
    return far if z > far else (-far if z < -far else z)


def algebraic(z):
    """σ(z) = z / √(1 + z²)."""
    T = type(z)
    b = _bounded(z)
    return b / math.sqrt(T(1) + b * b)


def algebraic_slope(z):
    """σ′(z) = (1 + z²)^(−3/2)."""
    T = type(z)
    s = T(1) + z * z
    return T(1) / s / math.sqrt(s)


def arctan(z):
    """σ(z) = 2/π·atan(π/2·z)."""
    T = type(z)
    return T(0.6366197723675814) * math.atan(T(1.5707963267948966) * z)


def arctan_slope(z):
    """σ′(z) = 1 / (1 + u²) with u = π/2·z, and (1/u)² where u² might overflow."""
    T = type(z)
    u = T(1.5707963267948966) * abs(z)
    far = u > T(1073741824)
    r = T(1) / (u if far else T(1) + u * u)
    return r * r if far else r


def softsign(z):
    """σ(z) = z / (1 + |z|)."""
    T = type(z)
    b = _bounded(z)
    return b / (T(1) + abs(b))


def softsign_slope(z):
    """σ′(z) = 1 / (1 + |z|)²."""
    T = type(z)
    r = T(1) / (T(1) + abs(z))
    return r * r


def relu(z):
    """σ(z) = max(z, 0)."""
    T = type(z)
    return T(0) if z <= T(0) else z


def relu_slope(z):
    """σ′(z) = 1 right of zero, else 0; and NaN of NaN."""
    T = type(z)
    return T(0) if z <= T(0) else (T(1) if z > T(0) else z)


def identity(z):
    """σ(z) = z."""
    return z


def identity_slope(z):
    """σ′(z) = 1; and NaN of NaN."""
    T = type(z)
    return T(1) if z == z else z


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("logistic", logistic, logistic_slope),
        Activation("tanh", tanh, tanh_slope),
        Activation("erf", erf, erf_slope),
        Activation("gudermannian", gudermannian, gudermannian_slope),
        Activation("algebraic", algebraic, algebraic_slope),
        Activation("arctan", arctan, arctan_slope),
        Activation("softsign", softsign, softsign_slope),
        Activation("relu", relu, relu_slope),
        Activation("identity", identity, identity_slope),
    )
}
