"""Fits of fewer rows than columns with l2, in the space of the rows."""

import numpy as np
import pytest

import fastgd
from fastgd.fitting import plan

N, D = 24, 60


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def data(loss, rng):
    """Rows with columns of sizes from 0.1 to 10, about 3, and targets for a loss."""
    size = np.geomspace(0.1, 10, D)
    x = rng.normal(size=(N, D))
    z = x @ rng.normal(size=D) / 8 + rng.normal(size=N)
    y = {"bce": (z > 0).astype(int), "cross_entropy": np.arange(N) % 3}.get(loss, z)
    if loss == "poisson":
        y = rng.poisson(np.exp(z / 2))
    return x * size + 3, y


def both_ways(monkeypatch, x, y, **given):
    """The fit in the space of the rows, and the one over all columns."""
    found = fastgd.fit(x, y, **given)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "spans_fewer", lambda *_: False)
        expected = fastgd.fit(x, y, **given)
    assert not np.array_equal(found.coef, expected.coef)  # they are two ways indeed
    return found, expected


def assert_same(found, expected, close):
    assert found.converged
    assert found.cost == pytest.approx(expected.cost, rel=close)
    size = abs(expected.coef).max()
    np.testing.assert_allclose(found.coef, expected.coef, rtol=0, atol=close * size)
    np.testing.assert_allclose(found.intercept, expected.intercept, rtol=close, atol=close)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", ["mse", "bce", "cross_entropy", "huber", "poisson", "quantile"])
def test_is_the_fit_over_all_columns(loss, fit_intercept, rng, monkeypatch):
    x, y = data(loss, rng)
    weight = rng.uniform(0.5, 2, N)
    given = dict(loss=loss, l2=0.1, sample_weight=weight, fit_intercept=fit_intercept)
    found, expected = both_ways(monkeypatch, x, y, **given)
    assert_same(found, expected, 1e-4 if loss == "quantile" else 1e-7)


@pytest.mark.parametrize("loss", ["mse", "poisson"])
def test_offset_start_and_several_columns_of_y(loss, rng, monkeypatch):
    x, y = data(loss, rng)
    y = np.stack([y, y[::-1]], axis=1)
    given = dict(
        loss=loss, l2=0.1, offset=rng.normal(size=(N, 2)) / 4, keep_path=True,
        coef_init=rng.normal(size=(2, D)) / 100, intercept_init=[1.0, 2.0],
    )  # fmt: skip
    found, expected = both_ways(monkeypatch, x, y, **given)
    assert_same(found, expected, 1e-7)
    assert found.start.shape == (2, D)
    assert np.array_equal(found.path[-1], found.coef)


def test_small_penalty_has_the_smallest_interpolation(rng):
    x, y = data("mse", rng)
    found = fastgd.fit(x, y, l2=1e-16)
    centred = x - x.mean(axis=0)
    smallest = np.linalg.lstsq(centred, y - y.mean())[0]
    np.testing.assert_allclose(found.coef, smallest, rtol=0, atol=1e-10)


def test_resumed_fit_has_the_same_bits(rng):
    x, y = data("poisson", rng)
    given = dict(loss="poisson", l2=0.01)
    whole = fastgd.fit(x, y, **given)
    halves = []
    part = fastgd.fit(x, y, **given, callback=lambda fit: halves.append(fit) or fit.n_epochs == 2)
    assert part.n_epochs == 2
    assert halves[0].coef.shape == (D,)
    resumed = fastgd.fit(x, y, **given, resume=part)
    assert np.array_equal(resumed.coef, whole.coef)
    assert resumed.intercept == whole.intercept


def test_same_bits_for_every_number_of_threads(rng):
    x, y = data("mse", rng)
    one, two = (fastgd.fit(x, y, l2=0.1, n_threads=threads) for threads in (1, 2))
    assert np.array_equal(one.coef, two.coef)


def test_float32_rows_give_float32_coefficients(rng):
    x, y = data("mse", rng)
    low = fastgd.fit(x.astype(np.float32), y, l2=0.1)
    assert low.coef.dtype == np.float32
    np.testing.assert_allclose(low.coef, fastgd.fit(x, y, l2=0.1).coef, rtol=0, atol=1e-5)


def test_what_is_not_finite_is_named(rng):
    x, y = data("mse", rng)
    x[3, 5] = np.nan
    with pytest.raises(fastgd.InputError, match="row 3, column 5"):
        fastgd.fit(x, y, l2=0.1)


@pytest.mark.parametrize("size", [1e-150, 1e150, 1e306])
def test_values_of_any_size_are_fitted(size, rng):
    x, y = data("mse", rng)
    found = fastgd.fit(x * size, y, l2=1e-6 * min(size, 1) ** 2)
    np.testing.assert_allclose(found.predict(x * size), y, rtol=0, atol=1e-5)


def test_two_rows(rng):
    x, y = data("mse", rng)
    found = fastgd.fit(x[:2], y[:2], l2=1e-12)
    np.testing.assert_allclose(found.predict(x[:2]), y[:2], rtol=0, atol=1e-9)
