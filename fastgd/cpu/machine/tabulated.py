"""σ(z) and log(1 + exp(−|z|)) from a table, for loops that wait for the value of each row.

An exponential and a division take some 50 cycles one after the other. Here a row of the table holds the
Taylor coefficients of σ about a multiple of 1/32, and the polynomial in the distance h from it, at most
1/64, is evaluated in pairs of terms: some 30 cycles. log(1 + exp(z)) is its integral. `tabulated(leaf)`
gives the same leaf with these in place of the formulas, and the tests hold them to mpmath in ulp. Beyond
the table, at |z| ≥ 16, the formulas are computed as they stand.
"""

import numpy as np
from numba import types
from numba.extending import overload

from ...compile.functions import leaf
from ...formulas import activations, margins
from .vector_math import EXACT, bits_of_double, with_twins

#: Steps of the table in a unit of z, where it ends, and the coefficients of a row.
_STEPS, _END, _TERMS = 32, 16, 8
#: Adding this rounds to a multiple of 1/32, which is then in the last bits.
_ROUND = 1.5 * 2.0**52 / _STEPS
_MIDDLE = _END * _STEPS
_ROUND_BITS = int(np.float64(_ROUND).view(np.int64))


def _table() -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of σ about (i − 512)/32 in row i, and log(1 + exp(−i/32))."""
    e = np.exp(-np.abs(np.arange(-_MIDDLE, _MIDDLE + 1)) / np.longdouble(_STEPS))
    right = np.arange(len(e)) > _MIDDLE
    terms = [np.where(right, 1, e) / (1 + e)]
    other = np.where(right, e, 1) / (1 + e)  # 1 − σ
    terms.append(terms[0] * other)
    for n in range(2, _TERMS):  # σ′ = σ − σ², hence (σ′)′ = σ′·(1 − σ) − σ·σ′
        slope = terms[n - 1] * (other - terms[0])
        slope -= sum(terms[i] * terms[n - 1 - i] for i in range(1, n - 1))
        terms.append(slope / n)
    return np.column_stack(terms).astype(np.float64), np.log1p(e[_MIDDLE:]).astype(np.float64)


_SIGMA, _LOG1P_EXP = _table()
_log1p_exp_formula, _logistic_formula = leaf(margins.log1p_exp), leaf(activations.logistic)


def logistic(z):
    """1/(1 + exp(−z))."""
    return activations.logistic(z)


def log1p_exp(z):
    """log(1 + exp(−|z|))."""
    return margins.log1p_exp(z)


def _logistic_double(z):
    if not abs(z) < _END:
        return _logistic_formula(z)
    shifted = z + _ROUND
    h = z - (shifted - _ROUND)
    i = np.uint64(bits_of_double(shifted) - np.int64(_ROUND_BITS - _MIDDLE))
    h2 = h * h
    low = (_SIGMA[i, 0] + _SIGMA[i, 1] * h) + (_SIGMA[i, 2] + _SIGMA[i, 3] * h) * h2
    high = (_SIGMA[i, 4] + _SIGMA[i, 5] * h) + (_SIGMA[i, 6] + _SIGMA[i, 7] * h) * h2
    return low + high * (h2 * h2)


def _log1p_exp_double(z):
    if not abs(z) < _END:
        return _log1p_exp_formula(z)
    a = -abs(z)
    shifted = a + _ROUND
    h = a - (shifted - _ROUND)
    i = np.uint64(bits_of_double(shifted) - np.int64(_ROUND_BITS - _MIDDLE))
    h2 = h * h
    low = (_SIGMA[i, 0] + _SIGMA[i, 1] * (h * 0.5)) + (
        _SIGMA[i, 2] * (1 / 3) + _SIGMA[i, 3] * (h * 0.25)
    ) * h2
    high = (_SIGMA[i, 4] * 0.2 + _SIGMA[i, 5] * (h * (1 / 6))) + _SIGMA[i, 6] * (h2 * (1 / 7))
    return _LOG1P_EXP[np.uint64(_MIDDLE) - i] + h * (low + high * (h2 * h2))


_logistic_of_double = leaf(_logistic_double)
_log1p_exp_of_double = leaf(_log1p_exp_double)


@overload(logistic, jit_options=EXACT)
def _logistic(z):
    if z == types.float32:
        return lambda z: np.float32(_logistic_of_double(np.float64(z)))
    return _logistic_double


@overload(log1p_exp, jit_options=EXACT)
def _log1p_exp(z):
    if z == types.float32:
        return lambda z: np.float32(_log1p_exp_of_double(np.float64(z)))
    return _log1p_exp_double


def tabulated(function):
    """The same plain function with these functions in place of the formulas, ready for kernels."""
    return with_twins(function, ((activations.logistic, logistic), (margins.log1p_exp, log1p_exp)))
