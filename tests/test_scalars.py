"""Scalar activations: values and slopes against exact numbers, torch and finite differences."""

import math

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgd.compile.functions import leaf
from fastgd.cpu.machine.vector_math import vectorised
from fastgd.formulas.activations import ACTIVATIONS

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
    np.testing.assert_allclose(slope, oracles.slope(twin, Z), rtol=2e-14, atol=4e-16)


@every_activation
@pytest.mark.parametrize("z", [z for z in Z if abs(z) < 1e5])
def test_value_and_slope_are_exact_to_rounding(activation, z):
    for computed, exact in zip(activation[1:], oracles.EXACT[activation.name], strict=True):
        assert computed(z) == pytest.approx(float(exact(z)), rel=2e-15, abs=1e-320)


@every_activation
@given(z=st.floats(-40, 40).filter(lambda z: abs(z) > 1e-4))  # relu has a corner at zero
def test_slope_is_the_finite_difference(activation, z):
    h = 1e-5
    difference = (activation.value(z + h) - activation.value(z - h)) / (2 * h)
    assert activation.slope(z) == pytest.approx(difference, rel=1e-9, abs=1e-9)


@given(z=st.floats(-1e4, 1e4), more=st.floats(0, 10))
def test_logistic_is_a_rising_probability(z, more):
    logistic = ACTIVATIONS["logistic"].value
    assert 0 <= logistic(z) <= logistic(z + more) <= 1
    assert logistic(z) + logistic(-z) == pytest.approx(1, rel=1e-15)


@every_activation
def test_ends_of_the_line(activation):
    """The limits, the slope there, NaN, the largest numbers and denormal ones."""
    _, value, slope = activation
    limits = {"logistic": (0, 1), "relu": (0, math.inf), "identity": (-math.inf, math.inf)}
    left, right = limits.get(activation.name, (-1, 1))
    assert (value(-math.inf), value(math.inf)) == (left, right)
    assert (value(-1e308), value(1e308)) == (max(left, -1e308), min(right, 1e308))
    at_the_ends = {"relu": (0, 1), "identity": (1, 1)}.get(activation.name, (0, 0))
    assert (slope(-math.inf), slope(math.inf)) == at_the_ends
    assert math.isnan(value(math.nan))
    assert math.isnan(slope(math.nan))
    if activation.name not in ("relu", "identity"):
        assert slope(0.0) == slope(5e-324) == (0.25 if activation.name == "logistic" else 1)
    if activation.name != "logistic":
        assert value(5e-324) == 5e-324


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in ("logistic", "relu")])
@given(z=st.floats(0, 1e4), more=st.floats(0, 10))
def test_sigmoids_are_odd_and_rise(name, z, more):
    value = ACTIVATIONS[name].value
    assert value(-z) == -value(z)
    assert value(z) <= value(z + more) + 4e-16
    assert math.copysign(1, value(-0.0)) == -1


@pytest.mark.jit
@every_activation
@pytest.mark.parametrize("register", [leaf, vectorised], ids=["scalar", "vectorised"])
def test_compiled_code_stays_in_its_dtype(activation, register, check_compiled):
    for function in activation[1:]:
        plain = register(function)
        check_compiled(lambda z, plain=plain: plain(z), function, 0.7)
