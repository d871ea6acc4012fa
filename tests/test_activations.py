"""Activations: values and slopes against exact numbers, torch and finite differences."""

import math

import mpmath
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgd._jit import leaf
from fastgd.activations import ACTIVATIONS

Z = [
    -1e308,
    -1e4,
    -745.0,
    -709.0,
    -40.0,
    -1.0,
    -1e-9,
    0.0,
    1e-9,
    0.5,
    17.0,
    40.0,
    709.0,
    1e4,
    1e308,
]

EXACT = {
    "identity": (lambda z: z, lambda z: mpmath.mpf(1)),
    "logistic": (
        lambda z: 1 / (1 + mpmath.exp(-z)),
        lambda z: mpmath.exp(-z) / (1 + mpmath.exp(-z)) ** 2,
    ),
}

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


def test_every_activation_has_a_torch_twin():
    assert ACTIVATIONS.keys() == oracles.ACTIVATIONS.keys()
    assert all(name == activation.name for name, activation in ACTIVATIONS.items())


@every_activation
def test_value_and_slope_follow_torch(activation):
    twin = oracles.ACTIVATIONS[activation.name]
    value = [activation.value(z) for z in Z]
    np.testing.assert_allclose(value, twin(oracles.tensor(Z)), rtol=1e-14, atol=1e-320)
    # σ·(1 − σ), as autograd has it, cancels far to the right: absolute there.
    slope = [activation.slope(z) for z in Z]
    np.testing.assert_allclose(slope, oracles.slope(twin, Z), rtol=1e-14, atol=2e-16)


@every_activation
@pytest.mark.parametrize("z", [z for z in Z if abs(z) < 1e5])
def test_value_and_slope_are_exact_to_rounding(activation, z):
    for computed, exact in zip(activation[1:], EXACT[activation.name], strict=True):
        with mpmath.workprec(20_000):  # exp(1e4) needs the digits
            wanted = float(exact(mpmath.mpf(z)))
        assert computed(z) == pytest.approx(wanted, rel=1e-15, abs=1e-320)


@every_activation
@given(z=st.floats(-40, 40))
def test_slope_is_the_finite_difference(activation, z):
    h = 1e-5
    difference = (activation.value(z + h) - activation.value(z - h)) / (2 * h)
    assert activation.slope(z) == pytest.approx(difference, rel=1e-9, abs=1e-9)


@given(z=st.floats(-1e4, 1e4), more=st.floats(0, 10))
def test_logistic_is_a_rising_probability(z, more):
    logistic = ACTIVATIONS["logistic"].value
    assert 0 <= logistic(z) <= logistic(z + more) <= 1
    assert logistic(z) + logistic(-z) == pytest.approx(1, rel=1e-15)


def test_ends_of_the_line():
    for activation, (left, right) in {
        "logistic": (0, 1),
        "identity": (-math.inf, math.inf),
    }.items():
        value = ACTIVATIONS[activation].value
        assert (value(-math.inf), value(math.inf)) == (left, right)
        assert math.isnan(value(math.nan))


@pytest.mark.jit
@every_activation
def test_compiled_code_stays_in_its_dtype(activation, check_compiled):
    for function in activation[1:]:
        plain = leaf(function)
        check_compiled(lambda z, plain=plain: plain(z), function, 0.7)
