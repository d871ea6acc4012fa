"""The cost at many coefficients from the moments: the same numbers as from every loss summed up."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgd
from fastgd import reference
from fastgd.losses import LOSSES
from fastgd.solvers import curve
from fastgd.sources.dense import DenseRows

MSE = LOSSES["mse"]


def rows(x, y, weight=None, dtype=np.float64):
    return DenseRows(x, y[None], weight, dtype, 1)


@given(
    n=st.integers(2, 300),
    d=st.integers(1, 6),
    offset=st.sampled_from([0.0, 1e5]),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_costs_are_those_of_the_reference(n, d, offset, weighted, seed):
    x, y, weight, coef, intercept = oracles.problem(n, d, seed=seed)
    x, weight = x + offset, weight if weighted else None
    coefs = np.stack([coef, 0 * coef, 3 * coef - 1])
    levels = np.array([intercept, 0.0, -2.0]) - offset * coefs.sum(axis=1)
    got = curve.squared_costs(rows(x, y, weight), MSE, coefs, levels)
    told = None if weight is None else weight.tolist()
    wanted = [
        reference.cost(x.tolist(), y.tolist(), c.tolist(), b, MSE, told, "sum")
        for c, b in zip(coefs, levels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-11 if offset == 0 else 1e-8)


def test_a_cost_far_below_that_of_zero_keeps_its_digits():
    x, _, _, coef, _ = oracles.problem(500, 3)
    noise = 1e-9 * np.random.default_rng(1).standard_normal(500)
    y = x @ coef + 7.0 + noise
    coefs, levels = np.stack([coef, coef * (1 + 1e-9), 0 * coef]), np.full(3, 7.0)
    got = curve.squared_costs(rows(x, y), MSE, coefs, levels)
    r = [y - x @ c - 7.0 for c in coefs]
    np.testing.assert_allclose(got, [a @ a for a in r], rtol=1e-6)
    assert got[0] < 1e-14 * got[2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_sides_of_the_switch_agree(monkeypatch, dtype):
    """The fewest coefficients for which the moments pay, and one less."""
    x, y, *_ = oracles.problem(60_000, 2, dtype=dtype)
    source = rows(x, y, dtype=dtype)
    least = next(m for m in range(1, 1000) if curve.pays(source, MSE, m))
    assert least > 1
    used = []
    by_moments = curve.squared_costs
    monkeypatch.setattr(curve, "squared_costs", lambda *a: used.append(0) or by_moments(*a))
    coefs = np.random.default_rng(0).standard_normal((least, 2))
    more = fastgd.cost_curve(x, y, coefs, intercept=0.5)
    assert len(used) == 1
    fewer = fastgd.cost_curve(x, y, coefs[:-1], intercept=0.5)
    assert len(used) == 1
    np.testing.assert_allclose(more[:-1], fewer, rtol=1e-12 if dtype == np.float64 else 1e-5)


def test_only_squared_error_has_moments():
    x, y, *_ = oracles.problem(1000, 1, "bce")
    assert not curve.pays(rows(x, y), LOSSES["bce"], 10**6)


def test_moments_that_overflow_leave_it_to_the_losses():
    x = np.full(60_000, 1e200)
    y = np.full(60_000, 1e200)
    costs = fastgd.cost_curve(x, y, np.ones(50))
    np.testing.assert_array_equal(costs, np.zeros(50))
