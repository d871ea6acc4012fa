"""Losses: values and slopes against torch, exact numbers and finite differences, up to ±1e4."""

import itertools
import math
import re

import mpmath
import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastgd import losses
from fastgd.compile.functions import with_parameter
from fastgd.cpu.machine.vector_math import vectorised
from fastgd.errors import InputError
from fastgd.losses import Loss

#: The losses of one raw prediction.
LOSSES = {name: loss for name, loss in losses.LOSSES.items() if not loss.coupled}

Z = [-1e4, -745.0, -40.0, -1.0, -1e-9, 0.0, 1e-9, 0.5, 17.0, 40.0, 745.0, 1e4]
#: Where exp(z) is a number.
Z_OF = {"poisson": [z for z in Z if z < 700]}
Y = {
    "mse": [-1e4, -2.0, 0.0, 0.3, 1e4], "bce": [0.0, 0.3, 1.0],
    "huber": [-1e4, -2.0, 0.0, 0.3, 1e4], "poisson": [0.0, 1.0, 3.0, 1e4],
}  # fmt: skip

DELTA = mpmath.mpf(1.35)
EXACT = {
    "mse": (lambda z, y: (z - y) ** 2, lambda z, y: 2 * (z - y)),
    "bce": (
        lambda z, y: y * mpmath.log(1 + mpmath.exp(-z)) + (1 - y) * mpmath.log(1 + mpmath.exp(z)),
        lambda z, y: 1 / (1 + mpmath.exp(-z)) - y,
    ),
    "huber": (
        lambda z, y: (z - y) ** 2 / 2 if abs(z - y) <= DELTA else DELTA * (abs(z - y) - DELTA / 2),
        lambda z, y: min(max(z - y, -DELTA), DELTA),
    ),
    "poisson": (lambda z, y: mpmath.exp(z) - y * z, lambda z, y: mpmath.exp(z) - y),
}

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def grid(loss):
    return np.array(list(itertools.product(Z_OF.get(loss.name, Z), Y[loss.name]))).T


def value(loss, z, y):
    return loss.value(z, y, *loss.parameters)


def slope(loss, z, y):
    return loss.slope(z, y, *loss.parameters)


def test_every_loss_has_a_torch_twin():
    assert LOSSES.keys() == oracles.LOSSES.keys() == oracles.MODULES.keys()
    assert all(name == loss.name for name, loss in LOSSES.items())


@every_loss
def test_value_and_slope_follow_torch(loss):
    z, y = grid(loss)

    def twin(z):
        return oracles.LOSSES[loss.name](z, oracles.tensor(y), reduction="none")

    values = [value(loss, *pair) for pair in zip(z, y, strict=True)]
    # torch rounds a small loss and a small slope as if they were 1: absolute there.
    np.testing.assert_allclose(values, twin(oracles.tensor(z)), rtol=1e-14, atol=2e-16)
    slopes = [slope(loss, *pair) for pair in zip(z, y, strict=True)]
    np.testing.assert_allclose(slopes, oracles.slope(twin, z), rtol=1e-14, atol=2e-16)


@every_loss
def test_value_and_slope_are_exact_to_rounding(loss):
    """Nothing overflows, and no digit of a small loss is lost beside a large label or exponential."""
    exact_value, exact_slope = EXACT[loss.name]
    with mpmath.workprec(16_000):  # log(1 + exp(−1e4)) needs the digits
        for z, y in grid(loss).T.tolist():
            a, b = mpmath.mpf(z), mpmath.mpf(y)
            # In two parts, z·y and the rest, the value rounds relative to the larger of the two.
            scale = 0.0 if loss.quadratic else 4e-16 * abs(z * y)
            if loss.targets == losses.LABELS and y in (0, 1):
                scale = 0.0
            wanted = float(exact_value(a, b)), float(exact_slope(a, b))
            assert value(loss, z, y) == pytest.approx(wanted[0], rel=1e-15, abs=scale)
            assert slope(loss, z, y) == pytest.approx(wanted[1], rel=1e-15, abs=2e-16)


@every_loss
@given(z=st.floats(-40, 40), y=st.floats(0, 1))
def test_slope_is_the_finite_difference(loss, z, y):
    h = 1e-5
    difference = (value(loss, z + h, y) - value(loss, z - h, y)) / (2 * h)
    assume(abs(abs(z - y) - loss.p) > h or not loss.p)  # not across a corner of the slope
    scale = 1e-8 * max(1.0, abs(value(loss, z, y)))
    assert slope(loss, z, y) == pytest.approx(difference, rel=1e-8, abs=scale)


@every_loss
@given(z=st.floats(-9, 9), y=st.floats(0, 1))
def test_second_is_the_slope_of_the_slope(loss, z, y):
    h = 1e-5
    assume(abs(abs(z - y) - loss.p) > h or not loss.p)
    difference = (slope(loss, z + h, y) - slope(loss, z - h, y)) / (2 * h)
    found = loss.second(z, y, *loss.parameters)
    assert found == pytest.approx(difference, rel=1e-6, abs=1e-9)
    assert 0 <= found <= loss.curvature


@every_loss
def test_curvature_is_the_largest_second_derivative(loss):
    grid = [
        loss.second(z, y, *loss.parameters) for y in (0.0, 0.3, 1.0) for z in np.linspace(-9, 9, 91)
    ]
    if math.isinf(loss.curvature):
        assert loss.second(700.0, 0.0) > 1e300
    else:
        assert max(grid) == pytest.approx(loss.curvature, rel=1e-6)


@every_loss
@given(z=st.floats(-600, 600), y=st.floats(0, 1))
def test_a_loss_is_convex_and_finite(loss, z, y):
    assert math.isfinite(value(loss, z, y))
    middle = value(loss, z / 2, y)
    line = (value(loss, z, y) + value(loss, 0.0, y)) / 2
    assert middle <= line + 1e-12 * abs(line)


@every_loss
def test_the_link_is_that_of_the_optimum(loss):
    """The raw prediction of a single target that has no slope is the one whose link is the target."""
    for y in (0.2, 0.7):
        if loss.targets == losses.LABELS:
            z = math.log(y / (1 - y))
        else:
            z = math.log(y) if loss.name == "poisson" else y
        assert slope(loss, z, y) == pytest.approx(0, abs=1e-15)
        assert loss.link(z) == pytest.approx(y, rel=1e-15)


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
    assert math.isnan(value(loss, math.nan, 1.0))
    assert math.isnan(slope(loss, math.nan, 1.0))
    assert not math.isfinite(value(loss, math.inf, 0.0))


@pytest.mark.jit
@every_loss
def test_compiled_code_stays_in_its_dtype(loss, check_compiled):
    for function in (loss.value, loss.slope, loss.second):
        leaf = with_parameter(vectorised(function))
        plain = with_parameter(function)
        check_compiled(lambda z, y, p, leaf=leaf: leaf(z, y, p), plain, 0.7, 0.25, loss.p)


def test_a_loss_of_your_own():
    quartic = Loss("quartic", lambda z, y: (z - y) ** 4, lambda z, y: 4 * (z - y) ** 3)
    assert (quartic.curvature, quartic.second, quartic.parameters) == (math.inf, None, ())
    assert (quartic.targets, quartic.link(2.0), quartic.coupled) == ("real", 2.0, False)
    assert (quartic.value(3, 1), quartic.slope(3, 1)) == (16, 32)


def test_a_parameter_is_no_part_of_the_formula():
    one, other = losses.Huber(1.0), losses.Huber(2.0)
    assert one != other
    assert one.formula == other.formula
    assert (one.parameters, losses.MSE.parameters) == ((1.0,), ())
    assert losses.CROSS_ENTROPY.formula is losses.CROSS_ENTROPY


@pytest.mark.parametrize("delta", [0, -1, math.nan, math.inf, "1", None, True])
def test_delta_is_a_number_above_zero(delta):
    with pytest.raises(InputError, match="delta of Huber is"):
        losses.Huber(delta)


def test_a_loss_is_chosen_by_name_or_object():
    assert losses.chosen("huber") == losses.Huber()
    own = Loss("own", lambda z, y: z, lambda z, y: 1.0)
    assert losses.chosen(own) is own
    for wrong, text in (
        ("hubert", "did you mean 'huber'"), (3, "loss is 3; pass a name"), (None, "loss is None"),
        (losses.Huber, "pass Huber()"), (math.exp, "pass a name"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(text)):
            losses.chosen(wrong)
