"""σ(z) and log(1 + exp(−|z|)) from a table, in ulp against mpmath, and losses made of them."""

import math

import mpmath
import numpy as np
import pytest

from fastgd.compile.functions import kernel, with_parameter
from fastgd.cpu.machine import tabulated
from fastgd.formulas import activations
from fastgd.formulas.margins import log1p_exp
from fastgd.losses import BCE

pytestmark = pytest.mark.jit

#: Measured: 1.4 and 0.9 in float64, 0.5 in float32, which is rounded once.
MOST_ULP = {np.float64: 2.0, np.float32: 0.51}


@kernel
def logistic(z, out):
    for i in range(z.shape[0]):
        out[i] = tabulated.logistic(z[i])


@kernel
def logarithm(z, out):
    for i in range(z.shape[0]):
        out[i] = tabulated.log1p_exp(z[i])


KERNELS = {
    "logistic": (logistic, lambda z: 1 / (1 + mpmath.exp(-z)), activations.logistic),
    "log1p_exp": (logarithm, lambda z: mpmath.log1p(mpmath.exp(-abs(z))), log1p_exp),
}


def points(dtype):
    """All of the table, the middles between its rows, its ends, and beyond."""
    rows = np.arange(-520, 521) / 32
    ends = [15.999, 16.0, -16.0, 17.0, -40.0, 36.0, -86.0, 1e-300, 0.0, -0.0]
    z = np.concatenate([rows, rows + 1 / 64, np.nextafter(rows + 1 / 64, 99), ends])
    return np.concatenate([z, np.random.default_rng(0).uniform(-17, 17, 4000)]).astype(dtype)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", MOST_ULP)
def test_values_in_ulp(name, dtype):
    compiled, exact, _ = KERNELS[name]
    z = points(dtype)
    out = np.empty_like(z)
    compiled(z, out)
    with mpmath.workprec(200):
        wanted = [exact(mpmath.mpf(float(a))) for a in z]
        ulp = [float(abs(mpmath.mpf(float(o)) - w)) for o, w in zip(out, wanted, strict=True)]
    ulp /= np.spacing(np.array([float(w) for w in wanted], dtype))
    inside = np.abs(z) < 16
    assert ulp[inside].max() < MOST_ULP[dtype]
    assert ulp.max() < 2.5  # beyond it is that of the formula


@pytest.mark.parametrize("name", KERNELS)
def test_what_is_not_finite_is_that_of_the_formula(name):
    compiled, _, formula = KERNELS[name]
    z = np.array([np.inf, -np.inf, np.nan, 800.0, -800.0])
    out = np.empty_like(z)
    compiled(z, out)
    np.testing.assert_array_equal(out, [formula(a) for a in z.tolist()])


def test_a_loss_of_these_formulas():
    value, slope = (with_parameter(tabulated.tabulated(f)) for f in (BCE.value, BCE.slope))

    @kernel
    def both(z, y, values, slopes):
        for i in range(z.shape[0]):
            values[i], slopes[i] = value(z[i], y[i], 0.0), slope(z[i], y[i], 0.0)

    z = points(np.float64)
    y = (np.arange(len(z)) % 2).astype(float)
    values, slopes = np.empty_like(z), np.empty_like(z)
    both(z, y, values, slopes)
    pairs = list(zip(z.tolist(), y.tolist(), strict=True))
    np.testing.assert_allclose(values, [BCE.value(*p) for p in pairs], rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(slopes, [BCE.slope(*p) for p in pairs], rtol=0, atol=4e-16)
    assert not np.array_equal(
        slopes, [BCE.slope(*p) for p in pairs]
    )  # it is not the formula itself
    # Other functions stay what they are.
    assert tabulated.tabulated(math.exp) is math.exp
