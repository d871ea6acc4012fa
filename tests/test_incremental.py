"""`partial_fit` of LinearRegression and Ridge: the fit of all batches at once."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn import linear_model as genuine

from fastgd.linear_model import LinearRegression, Ridge

BATCHES = ((0, 3), (3, 100), (100, 500))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6)) * [1, 10, 0.1, 1, 5, 100] + [0, 100, 0, 1, 1e3, 0]
    y = np.stack([x @ rng.normal(size=6) + 5, np.zeros(500)], axis=1) + rng.normal(size=(500, 2))
    return x, y, rng.uniform(0, 2, 500)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("made", [np.asarray, np.asfortranarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("alpha", [None, (1.0, 3.0)])
def test_is_the_fit_of_all_rows(data, made, fit_intercept, weighted, alpha):
    x, y, weight = data
    weight = weight if weighted else None
    if alpha is None:
        model = LinearRegression(fit_intercept=fit_intercept)
        expected = genuine.LinearRegression(fit_intercept=fit_intercept, tol=0)
    else:
        model = Ridge(alpha=alpha, fit_intercept=fit_intercept)
        expected = genuine.Ridge(alpha=alpha, fit_intercept=fit_intercept, solver="svd")
    for first, last in BATCHES:
        of_batch = None if weight is None else weight[first:last]
        model.partial_fit(made(x[first:last]), y[first:last], of_batch)
    expected.fit(x, y, weight)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6)
    residuals = y - expected.predict(x)
    cost = np.average(residuals**2, axis=0, weights=weight).mean()
    assert model.fit_.cost == pytest.approx(cost, rel=1e-6)
    if alpha is None:
        assert model.rank_ == 6
        np.testing.assert_allclose(
            model.singular_, LinearRegression(fit_intercept=fit_intercept).fit(x, y, weight).singular_,
            rtol=1e-6,
        )  # fmt: skip


def test_dependent_columns_have_the_smallest_coefficients(data):
    x, y, _ = data
    x = np.column_stack([x[:, :2], x[:, :2] @ [2.0, 1.0]])
    model = LinearRegression()
    for first, last in BATCHES:
        model.partial_fit(x[first:last], y[first:last, 0])
    expected = genuine.LinearRegression().fit(x, y[:, 0])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)


def test_a_refused_batch_changes_nothing(data):
    x, y, _ = data
    model = LinearRegression().partial_fit(x[:100], y[:100])
    before = pickle.dumps(vars(model))
    bad = x[:5].copy()
    bad[2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(bad, y[:5])
    with pytest.raises(ValueError, match="overflow"):
        model.partial_fit(x[:5] * 1e300, y[:5])
    with pytest.raises(ValueError, match="had 2"):
        model.partial_fit(x[:5], y[:5, 0])
    with pytest.raises(ValueError, match="6 features"):
        model.partial_fit(x[:5, :4], y[:5])
    assert pickle.dumps(vars(model)) == before


def test_after_fit_it_begins_anew_with_a_warning(data):
    x, y, _ = data
    model = LinearRegression().fit(x, y)
    with pytest.warns(UserWarning, match="anew"):
        model.partial_fit(x[:50], y[:50])
    np.testing.assert_allclose(model.coef_, LinearRegression().fit(x[:50], y[:50]).coef_, rtol=1e-7)
    model.partial_fit(x[50:], y[50:])
    np.testing.assert_allclose(model.coef_, LinearRegression().fit(x, y).coef_, rtol=1e-7)
    model.fit(x[:20], y[:20])
    assert not hasattr(model, "moments_")
