"""Losses: values and slopes against torch, exact numbers and finite differences, up to ±1e4."""

import itertools
import math

import mpmath
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgd.cpu.machine.vector_math import vectorised
from fastgd.losses import LOSSES, Loss

Z = [-1e4, -745.0, -40.0, -1.0, -1e-9, 0.0, 1e-9, 0.5, 17.0, 40.0, 745.0, 1e4]
Y = {"mse": [-1e4, -2.0, 0.0, 0.3, 1e4], "bce": [0.0, 0.3, 1.0]}

EXACT = {
    "mse": (lambda z, y: (z - y) ** 2, lambda z, y: 2 * (z - y)),
    "bce": (
        lambda z, y: y * mpmath.log(1 + mpmath.exp(-z)) + (1 - y) * mpmath.log(1 + mpmath.exp(z)),
        lambda z, y: 1 / (1 + mpmath.exp(-z)) - y,
    ),
}

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def grid(loss):
    return np.array(list(itertools.product(Z, Y[loss.name]))).T


def test_every_loss_has_a_torch_twin():
    assert LOSSES.keys() == oracles.LOSSES.keys() == oracles.MODULES.keys()
    assert all(name == loss.name for name, loss in LOSSES.items())


@every_loss
def test_value_and_slope_follow_torch(loss):
    z, y = grid(loss)

    def twin(z):
        return oracles.LOSSES[loss.name](z, oracles.tensor(y), reduction="none")

    value = [loss.value(*pair) for pair in zip(z, y, strict=True)]
    # torch rounds a small loss and a small slope as if they were 1: absolute there.
    np.testing.assert_allclose(value, twin(oracles.tensor(z)), rtol=1e-14, atol=2e-16)
    slope = [loss.slope(*pair) for pair in zip(z, y, strict=True)]
    np.testing.assert_allclose(slope, oracles.slope(twin, z), rtol=1e-14, atol=2e-16)


@every_loss
def test_value_and_slope_are_exact_to_rounding(loss):
    """Nothing overflows, and no digit of a small loss is lost beside a large label or exponential."""
    value, slope = EXACT[loss.name]
    with mpmath.workprec(16_000):  # log(1 + exp(−1e4)) needs the digits
        for z, y in grid(loss).T.tolist():
            a, b = mpmath.mpf(z), mpmath.mpf(y)
            # In two parts, z·y and the rest, the value rounds relative to the larger of the two.
            scale = 4e-16 * abs(z * y) if y not in (0, 1) else 0.0
            assert loss.value(z, y) == pytest.approx(float(value(a, b)), rel=1e-15, abs=scale)
            assert loss.slope(z, y) == pytest.approx(float(slope(a, b)), rel=1e-15, abs=2e-16)


@every_loss
@given(z=st.floats(-40, 40), y=st.floats(0, 1))
def test_slope_is_the_finite_difference(loss, z, y):
    h = 1e-5
    difference = (loss.value(z + h, y) - loss.value(z - h, y)) / (2 * h)
    assert loss.slope(z, y) == pytest.approx(difference, rel=1e-8, abs=1e-8)


@every_loss
def test_curvature_is_the_largest_second_derivative(loss):
    h = 1e-4
    for y in (0.0, 0.3, 1.0):
        second = [
            (loss.slope(z + h, y) - loss.slope(z - h, y)) / (2 * h) for z in np.linspace(-9, 9, 91)
        ]
        assert max(second) == pytest.approx(loss.curvature, rel=1e-6)


@every_loss
@given(z=st.floats(-1e4, 1e4), y=st.floats(0, 1))
def test_a_loss_is_never_negative(loss, z, y):
    assert loss.value(z, y) >= 0
    assert math.isfinite(loss.value(z, y))


def test_cross_entropy_far_out():
    bce = LOSSES["bce"]
    assert (bce.value(1e4, 0.0), bce.value(-1e4, 1.0)) == (1e4, 1e4)
    assert (bce.value(1e4, 1.0), bce.value(-1e4, 0.0)) == (0.0, 0.0)
    assert (bce.slope(1e4, 0.0), bce.slope(-1e4, 1.0)) == (1.0, -1.0)
    assert (bce.slope(1e4, 1.0), bce.slope(-1e4, 0.0)) == (0.0, 0.0)
    assert bce.value(-40.0, 0.0) == pytest.approx(math.exp(-40), rel=1e-15)
    assert bce.value(40.0, 1.0) == pytest.approx(math.exp(-40), rel=1e-15)


@every_loss
def test_nan_and_infinity_are_passed_on(loss):
    """The divergence check rests on them."""
    assert math.isnan(loss.value(math.nan, 1.0))
    assert math.isnan(loss.slope(math.nan, 1.0))
    assert not math.isfinite(loss.value(math.inf, 0.0))


@pytest.mark.jit
@every_loss
def test_compiled_code_stays_in_its_dtype(loss, check_compiled):
    for function in (loss.value, loss.slope):
        plain = vectorised(function)
        check_compiled(lambda z, y, plain=plain: plain(z, y), function, 0.7, 0.25)


def test_a_loss_of_your_own():
    quartic = Loss("quartic", lambda z, y: (z - y) ** 4, lambda z, y: 4 * (z - y) ** 3)
    assert quartic.curvature == math.inf
    assert (quartic.value(3, 1), quartic.slope(3, 1)) == (16, 32)
