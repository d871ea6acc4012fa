"""Branch-free exp, log1p, tanh, atan and erf that LLVM turns into vector code, for the CPU's kernels.

PyPI's Numba calls the scalar libm, 6 ns a number; these cost about 1 ns inside a loop. They are twins
of the functions of `math`: `vectorised(leaf)` gives the same leaf with these in place of `math`, and
the tests hold them to mpmath in ulp over the whole range.

exp: x = k·ln 2 + r with |r| ≤ ln 2/2 (Cody and Waite, ln 2 in two parts), a polynomial in r, and
2^k in two factors so that denormal results round properly.
log1p: 1+x = 2^k·(1+f), log(1+f) by the series in s = f/(2+f) (as in FreeBSD's msun), and the rounding
error of 1+x added back.
tanh: −m/(2+m) with m = expm1(−2|x|) = 2^k·expm1(r) + (2^k − 1).
atan: one division leaves |t| ≤ tan(π/8): t is |x|, (|x|−1)/(|x|+1) or −1/|x|, then a polynomial.
erf: float64 the Taylor series about the next multiple r of 1/128, where erf(r) and erf′(r) come from a
table: erf(r+d) = erf(r) + erf′(r)·d·(1 − r·d + …). float32 −expm1(log(1 − erf|x|)), that logarithm a
polynomial: where erf is near 1, its rounding error is negligible.
Polynomials without another source interpolate at Chebyshev nodes, or have the smallest largest error:
below 0.2 ulp before rounding.
"""

import math
import sys
import types as python_types
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from ...compile.functions import global_names, leaf

#: No "reassoc": it would allow the compiler to cancel the corrections that exp and log1p need.
EXACT: Any = {
    "fastmath": {"contract"},
    "error_model": "numpy",
    "forceinline": True,
    "no_cfunc_wrapper": True,
}


def __getattr__(name: str):
    """All other functions are those of `math`."""
    return getattr(math, name)


def exp(x):
    """e to the power x."""
    return math.exp(x)


def log1p(x):
    """log(1 + x)."""
    return math.log1p(x)


def tanh(x):
    """The hyperbolic tangent."""
    return math.tanh(x)


def atan(x):
    """The inverse tangent."""
    return math.atan(x)


def erf(x):
    """The error function."""
    return math.erf(x)


def floor(x):
    """The integer below."""
    return math.floor(x)


def _reinterpret(source, target, llvm):
    @intrinsic
    def cast(typingctx, value):
        def codegen(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], llvm)

        return target(source), codegen

    return cast


_double_of = _reinterpret(types.int64, types.float64, ir.DoubleType())
bits_of_double = _reinterpret(types.float64, types.int64, ir.IntType(64))
_single_of = _reinterpret(types.int32, types.float32, ir.FloatType())
_bits_of_single = _reinterpret(types.float32, types.int32, ir.IntType(32))

#: Adding one of these rounds to an integer, which is then in the last bits: no floor and no cast.
_ROUND, _ROUND_SINGLE = 1.5 * 2.0**52, np.float32(1.5 * 2.0**23)
_ROUND_BITS, _ROUND_SINGLE_BITS = 0x4338000000000000, 0x4B400000

# (expm1(r) − r)/r² for |r| ≤ ln 2/2; in float32 Taylor's 1/k! from k = 2 do as well.
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7, _P8, _P9 = (
    0.5000000000000001,
    0.16666666666666669,
    0.041666666666623824,
    0.008333333333330039,
    0.0013888888917367081,
    0.00019841269863171557,
    2.4801521057868204e-05,
    2.7557268276905696e-06,
    2.7620201591031547e-07,
    2.5100472505694996e-08,
)
_F2, _F3, _F4, _F5, _F6, _F7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))


def _exp_double(x):
    clamped = 710.0 if x > 710.0 else (-746.0 if x < -746.0 else x)
    shifted = clamped * 1.4426950408889634 + _ROUND
    k = shifted - _ROUND
    r = (clamped - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    # Estrin's scheme: a chain of 6 operations where Horner's has 10, for loops that wait for one exp.
    r2 = r * r
    r4 = r2 * r2
    low = (_P0 + _P1 * r) + (_P2 + _P3 * r) * r2
    high = ((_P4 + _P5 * r) + (_P6 + _P7 * r) * r2) + (_P8 + _P9 * r) * r4
    p = 1.0 + (r + r2 * (low + high * r4))
    # k + 2048 is positive: AVX2 shifts no signed 64-bit integers.
    n = np.uint64(bits_of_double(shifted)) - np.uint64(_ROUND_BITS - 2048)
    half = n >> np.uint64(1)
    one = _double_of((half - np.uint64(1)) << np.uint64(52))
    other = _double_of((n - half - np.uint64(1)) << np.uint64(52))
    return x if x != x else p * one * other


def _exp_single(x):
    low, high = np.float32(-105.0), np.float32(89.0)
    clamped = high if x > high else (low if x < low else x)
    shifted = clamped * np.float32(1.44269504) + _ROUND_SINGLE
    k = shifted - _ROUND_SINGLE
    r = (clamped - k * np.float32(0.693359375)) - k * np.float32(-2.12194440e-4)
    r2 = r * r
    q = (_F2 + _F3 * r) + ((_F4 + _F5 * r) + (_F6 + _F7 * r) * r2) * r2
    p = np.float32(1.0) + (r + r2 * q)
    n = np.int32(_bits_of_single(shifted) - np.int32(_ROUND_SINGLE_BITS))
    half = np.int32(n >> np.int32(1))
    one = _single_of(np.int32(np.int32(half + np.int32(127)) << np.int32(23)))
    other = _single_of(np.int32(np.int32(np.int32(n - half) + np.int32(127)) << np.int32(23)))
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
    bits = np.uint64(bits_of_double(u)) + np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
    # The exponent as the last bits of 2^52 and more: AVX2 converts no 64-bit integers.
    n = _double_of((bits >> np.uint64(52)) | np.uint64(0x4330000000000000)) - (2.0**52 + 1023.0)
    bits = (bits & np.uint64(0x000FFFFFFFFFFFFF)) + np.uint64(0x3FE6A09E667F3BCD)
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


def _tanh_double(x):
    a = abs(x)
    y = -2.0 * (22.0 if a > 22.0 else a)
    shifted = y * 1.4426950408889634 + _ROUND
    k = shifted - _ROUND
    r = (y - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    q = _P8 + _P9 * r
    q = q * r + _P7
    q = q * r + _P6
    q = q * r + _P5
    q = q * r + _P4
    q = q * r + _P3
    q = q * r + _P2
    q = q * r + _P1
    q = q * r + _P0
    scale = _double_of((bits_of_double(shifted) + np.int64(1023)) << np.int64(52))
    m = scale * (r + r * r * q) + (scale - 1.0)
    return math.copysign(m / (2.0 + m), x)


@register_jitable(**EXACT)
def _expm1_single(y):
    """exp(y) − 1 for −60 < y ≤ 0."""
    one = np.float32(1.0)
    shifted = y * np.float32(1.44269504) + _ROUND_SINGLE
    k = shifted - _ROUND_SINGLE
    r = (y - k * np.float32(0.693359375)) - k * np.float32(-2.12194440e-4)
    q = _F6 + _F7 * r
    q = q * r + _F5
    q = q * r + _F4
    q = q * r + _F3
    q = q * r + _F2
    exponent = np.int32(np.int32(_bits_of_single(shifted)) + np.int32(127))
    scale = _single_of(np.int32(exponent << np.int32(23)))
    return scale * (r + r * r * q) + (scale - one)


def _tanh_single(x):
    two, far = np.float32(2.0), np.float32(10.0)
    a = abs(x)
    m = _expm1_single(-two * (far if a > far else a))
    return math.copysign(m / (two + m), x)


# (atan(t)/t − 1)/t² as a polynomial in t², for |t| ≤ tan(π/8).
_A0, _A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8, _A9, _A10 = (
    -0.3333333333333333,
    0.19999999999995516,
    -0.14285714284665682,
    0.11111111015187018,
    -0.0909090457530649,
    0.07692183125376892,
    -0.06664510525508936,
    0.05858140904866328,
    -0.050854078345894844,
    0.03923044778479309,
    -0.019175404711104935,
)
_B0, _B1, _B2, _B3, _B4 = (
    np.float32(c)
    for c in (
        -0.33333331760434554,
        0.1999954031495797,
        -0.14263949753605723,
        0.10743668324830098,
        -0.06451718869358958,
    )
)


def _atan_double(x):
    a = abs(x)
    middle, far = a > 0.41421356237309503, a > 2.414213562373095
    above = -1.0 if far else (a - 1.0 if middle else a)
    below = a if far else (a + 1.0 if middle else 1.0)
    t = above / below
    # π/2 and π/4 in two parts each.
    high = 1.5707963267948966 if far else (0.7853981633974483 if middle else 0.0)
    low = 6.123233995736766e-17 if far else (3.061616997868383e-17 if middle else 0.0)
    z = t * t
    p = _A9 + _A10 * z
    p = p * z + _A8
    p = p * z + _A7
    p = p * z + _A6
    p = p * z + _A5
    p = p * z + _A4
    p = p * z + _A3
    p = p * z + _A2
    p = p * z + _A1
    p = p * z + _A0
    return math.copysign(high + (t + (t * z * p + low)), x)


def _atan_single(x):
    zero, one = np.float32(0.0), np.float32(1.0)
    a = abs(x)
    middle, far = a > np.float32(0.41421356), a > np.float32(2.4142135)
    above = -one if far else (a - one if middle else a)
    below = a if far else (a + one if middle else one)
    t = above / below
    high = np.float32(1.5707964) if far else (np.float32(0.7853982) if middle else zero)
    low = np.float32(-4.371139e-8) if far else (np.float32(-2.1855694e-8) if middle else zero)
    z = t * t
    p = _B3 + _B4 * z
    p = p * z + _B2
    p = p * z + _B1
    p = p * z + _B0
    return math.copysign(high + (t + (t * z * p + low)), x)


#: erf and its derivative at the multiples of 1/128 up to 6; 1024 of them, so that any ten bits are one.
_ERF = np.array([math.erf(i / 128) for i in range(1024)])
_ERF_SLOPE = np.array([2 / math.sqrt(math.pi) * math.exp(-((i / 128) ** 2)) for i in range(1024)])


def _erf_double(x):
    a = abs(x)
    a = 6.0 if a > 6.0 else a
    shifted = a * 128.0 + _ROUND
    i = np.uint64(bits_of_double(shifted)) & np.uint64(1023)
    r = (shifted - _ROUND) * 0.0078125
    d = a - r
    r2 = r * r
    d2 = d * d
    # The series in d, up to its sixth power; the last coefficient counts near zero only.
    even = (r2 * (2 / 3) - 1 / 3) + d2 * ((r2 * (r2 * (2 / 15) - 2 / 5) + 1 / 10) - d2 * (1 / 42))
    odd = (1.0 - d2 * (0.5 - r2 * (1 / 3))) + d2 * d2 * (r2 * (r2 * (2 / 45) - 2 / 9) + 1 / 6)
    series = d - d2 * (r * odd - d * even)
    return math.copysign(_ERF[i] + _ERF_SLOPE[i] * series, x)


# −log(1 − erf(x))/x for 0 ≤ x ≤ 3.95.
_G0, _G1, _G2, _G3, _G4, _G5, _G6, _G7, _G8 = (
    np.float32(c)
    for c in (
        1.1283791715547813,
        0.6366193834853116,
        0.1027778189636015,
        -0.019153025723539063,
        -0.00016046100142272162,
        0.0016670882819677726,
        -0.0006328683892344781,
        0.00011764971334918084,
        -9.257171775050994e-06,
    )
)


def _erf_single(x):
    far = np.float32(3.95)
    a = abs(x)
    a = far if a > far else a
    g = _G8 * a + _G7
    g = g * a + _G6
    g = g * a + _G5
    g = g * a + _G4
    g = g * a + _G3
    g = g * a + _G2
    g = g * a + _G1
    g = g * a + _G0
    return math.copysign(_expm1_single(-(g * a)), x)


@overload(exp, jit_options=EXACT)
def _exp(x):
    return _exp_single if x == types.float32 else _exp_double


@overload(log1p, jit_options=EXACT)
def _log1p(x):
    return _log1p_single if x == types.float32 else _log1p_double


@overload(tanh, jit_options=EXACT)
def _tanh(x):
    return _tanh_single if x == types.float32 else _tanh_double


@overload(atan, jit_options=EXACT)
def _atan(x):
    return _atan_single if x == types.float32 else _atan_double


@overload(erf, jit_options=EXACT)
def _erf(x):
    return _erf_single if x == types.float32 else _erf_double


@overload(floor, jit_options=EXACT)
def _floor(x):
    # Numba's own is an int64, and the way there and back three times as long.
    return lambda x: np.floor(x)


def with_twins(function, twins):
    """The same plain function with other objects in place of globals, ready for kernels.

    `twins` are pairs of an object and the one to take its place, also in the functions that are called.
    """
    if not isinstance(function, python_types.FunctionType):
        return function
    scope = dict(function.__globals__)
    for name in global_names(function):
        value = scope.get(name)
        other = [twin for original, twin in twins if value is original]
        if other:
            scope[name] = other[0]
        elif isinstance(value, python_types.FunctionType):
            scope[name] = with_twins(value, twins)
    twin = python_types.FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__module__ = function.__module__
    return leaf(twin)


def vectorised(function):
    """The same plain function with this module in place of `math`, ready for kernels."""
    return with_twins(function, ((math, sys.modules[__name__]),))
