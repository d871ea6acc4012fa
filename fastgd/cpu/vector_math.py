"""Branch-free `exp` and `log1p` that LLVM turns into vector code, for the kernels of the CPU.

PyPI's Numba calls the scalar libm, 6 ns a number; these cost below 1 ns inside a loop. They are twins
of `math.exp` and `math.log1p`: `vectorised(leaf)` gives the same leaf with these in place of `math`,
and the tests hold them to mpmath in ulp over the whole range.

exp: x = k·ln 2 + r with |r| ≤ ln 2/2 (Cody and Waite, ln 2 in two parts), Taylor polynomial in r, and
2^k in two factors so that denormal results round properly.
log1p: 1+x = 2^k·(1+f), log(1+f) by the series in s = f/(2+f) (as in FreeBSD's msun), and the rounding
error of 1+x added back.
"""

import math
import sys
import types as python_types
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .._jit import leaf

#: No "reassoc": it would allow the compiler to cancel the corrections that exp and log1p rest on.
_EXACT: Any = {"fastmath": {"contract"}, "error_model": "numpy", "forceinline": True}


def __getattr__(name: str):
    """Every other function of `math` stays what it is."""
    return getattr(math, name)


def exp(x):
    """e to the power x."""
    return math.exp(x)


def log1p(x):
    """log(1 + x)."""
    return math.log1p(x)


def _reinterpret(source, target, llvm):
    @intrinsic
    def cast(typingctx, value):
        def codegen(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], llvm)

        return target(source), codegen

    return cast


_double_of = _reinterpret(types.int64, types.float64, ir.DoubleType())
_bits_of_double = _reinterpret(types.float64, types.int64, ir.IntType(64))
_single_of = _reinterpret(types.int32, types.float32, ir.FloatType())
_bits_of_single = _reinterpret(types.float32, types.int32, ir.IntType(32))

# 1/k!, from k = 2; float64 takes degree 13, float32 degree 7.
_E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11, _E12, _E13 = (
    1 / math.factorial(k) for k in range(2, 14)
)
_F2, _F3, _F4, _F5, _F6, _F7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))


def _exp_double(x):
    clamped = min(max(x, -746.0), 710.0)
    k = math.floor(clamped * 1.4426950408889634 + 0.5)
    r = (clamped - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    # Estrin's scheme: a chain of 7 operations where Horner's has 13, for loops that wait for one exp.
    r2 = r * r
    r4 = r2 * r2
    low = (_E2 + _E3 * r) + (_E4 + _E5 * r) * r2
    middle = (_E6 + _E7 * r) + (_E8 + _E9 * r) * r2
    high = (_E10 + _E11 * r) + (_E12 + _E13 * r) * r2
    q = low + (middle + high * r4) * r4
    p = 1.0 + (r + r2 * q)
    k = np.int64(k)
    half = k >> np.int64(1)
    one = _double_of((half + np.int64(1023)) << np.int64(52))
    other = _double_of((k - half + np.int64(1023)) << np.int64(52))
    return x if x != x else p * one * other


def _exp_single(x):
    clamped = min(max(x, np.float32(-105.0)), np.float32(89.0))
    k = np.float32(math.floor(clamped * np.float32(1.44269504) + np.float32(0.5)))
    r = (clamped - k * np.float32(0.693359375)) - k * np.float32(-2.12194440e-4)
    r2 = r * r
    q = (_F2 + _F3 * r) + ((_F4 + _F5 * r) + (_F6 + _F7 * r) * r2) * r2
    p = np.float32(1.0) + (r + r2 * q)
    k = np.int32(k)
    half = np.int32(k >> np.int32(1))
    one = _single_of(np.int32(np.int32(half + np.int32(127)) << np.int32(23)))
    other = _single_of(np.int32(np.int32(np.int32(k - half) + np.int32(127)) << np.int32(23)))
    return x if x != x else p * one * other


# 2/(2k+1), the odd series of log((1+s)/(1-s)) after its first term, as msun's minimax fits.
_L1, _L2, _L3, _L4, _L5, _L6, _L7 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_M1, _M2, _M3, _M4 = (
    np.float32(0.66666662693),
    np.float32(0.40000972152),
    np.float32(0.28498786688),
    np.float32(0.24279078841),
)


def _log1p_double(x):
    u = 1.0 + x
    # Shift so that the mantissa lands in [sqrt(1/2), sqrt(2)), then split exponent and mantissa.
    bits = _bits_of_double(u) + np.int64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
    k = (bits >> np.int64(52)) - np.int64(1023)
    bits = (bits & np.int64(0x000FFFFFFFFFFFFF)) + np.int64(0x3FE6A09E667F3BCD)
    f = _double_of(bits) - 1.0
    lost = (x - (u - 1.0)) if x < 1.0 else (1.0 - (u - x))
    c = lost / u
    s = f / (2.0 + f)
    z = s * s
    series = _L7
    series = series * z + _L6
    series = series * z + _L5
    series = series * z + _L4
    series = series * z + _L3
    series = series * z + _L2
    series = series * z + _L1
    half = 0.5 * f * f
    n = np.float64(k)
    result = n * 6.93147180369123816490e-01 + (
        f - (half - (s * (half + z * series) + (n * 1.90821492927058770002e-10 + c)))
    )
    result = x if x == np.inf else result
    result = -np.inf if x == -1.0 else result
    return np.nan if not (x >= -1.0) else result


def _log1p_single(x):
    one, two, half_ = np.float32(1.0), np.float32(2.0), np.float32(0.5)
    u = one + x
    bits = np.int32(_bits_of_single(u) + np.int32(0x3F800000 - 0x3F3504F3))
    k = np.int32(np.int32(bits >> np.int32(23)) - np.int32(127))
    bits = np.int32(np.int32(bits & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3))
    f = _single_of(bits) - one
    lost = (x - (u - one)) if x < one else (one - (u - x))
    c = lost / u
    s = f / (two + f)
    z = s * s
    series = _M4
    series = series * z + _M3
    series = series * z + _M2
    series = series * z + _M1
    half = half_ * f * f
    n = np.float32(k)
    result = n * np.float32(6.9313812256e-01) + (
        f - (half - (s * (half + z * series) + (n * np.float32(9.0580006145e-06) + c)))
    )
    result = x if x == np.float32(np.inf) else result
    result = np.float32(-np.inf) if x == -one else result
    return np.float32(np.nan) if not (x >= -one) else result


@overload(exp, jit_options=_EXACT)
def _exp(x):
    return _exp_single if x == types.float32 else _exp_double


@overload(log1p, jit_options=_EXACT)
def _log1p(x):
    return _log1p_single if x == types.float32 else _log1p_double


def vectorised(function):
    """The same plain function with this module in place of `math`, ready for kernels."""
    if not isinstance(function, python_types.FunctionType):
        return function
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = scope.get(name)
        if value is math:
            scope[name] = sys.modules[__name__]
        elif isinstance(value, python_types.FunctionType):
            scope[name] = vectorised(value)
    twin = python_types.FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__module__ = function.__module__
    return leaf(twin)
