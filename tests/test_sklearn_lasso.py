"""Lasso and ElasticNet beside scikit-learn's own."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from conftest import JIT_OFF
from sklearn import linear_model as genuine
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastgd import linear_model
from fastgd.linear_model import ElasticNet, Lasso

pytestmark = pytest.mark.skipif(JIT_OFF, reason="tests the estimators, not their kernels")

KINDS = {"dense": np.asarray, "csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array}
_random = np.random.default_rng(0)
N, D = 211, 13
X = (_random.standard_normal((N, D)) + 1) * np.exp(_random.standard_normal(D))
X[_random.random((N, D)) < 0.3] = 0
Y = X @ _random.standard_normal((D, 3)) + 3 * _random.standard_normal((N, 3)) + 5
WEIGHT = _random.random(N) + 0.2


@pytest.mark.slow
@parametrize_with_checks([ElasticNet(), Lasso()])
def test_of_scikit_learn(estimator, check):
    check(estimator)


def both(name, x, y, sample_weight=None, **named):
    """scikit-learn's estimator near its optimum, and fastgd's at its own tolerance."""
    tight = {"tol": 1e-12, "max_iter": 100_000} | named
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = getattr(genuine, name)(**tight).fit(x, y, sample_weight)
    return theirs, getattr(linear_model, name)(**named).fit(x, y, sample_weight)


def gap(x, y, weight, model):
    """The duality gap by its definition: rows times roots of weights, columns centred."""
    weight = np.ones(len(y)) if weight is None else weight / weight.mean()
    if model.fit_intercept:
        x, y = (a - np.average(a, axis=0, weights=weight) for a in (x, y))
    root = np.sqrt(weight)
    x, y, n, w = x * root[:, None], y * root, len(y), model.coef_
    l1, l2 = n * model.alpha * model.l1_ratio, n * model.alpha * (1 - model.l1_ratio)
    r = y - x @ w
    scale = min(1.0, l1 / np.abs(x.T @ r - l2 * w).max())
    primal = (r @ r + l2 * w @ w) / 2 + l1 * np.abs(w).sum()
    return (primal - scale * r @ y + scale**2 / 2 * (r @ r + l2 * w @ w)) / n


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("Lasso", {"alpha": 0.1}),
        ("Lasso", {"alpha": 3.0}),
        ("ElasticNet", {"alpha": 0.3, "l1_ratio": 0.3}),
        ("ElasticNet", {"alpha": 0.3, "l1_ratio": 0.0}),
    ],
)
@pytest.mark.parametrize("columns", [slice(0, 3), slice(0, 1), 0], ids=["3", "1", "flat"])
def test_optimum(kind, weight, fit_intercept, name, named, columns):
    y = Y[:, columns]
    theirs, ours = both(name, KINDS[kind](X), y, weight, fit_intercept=fit_intercept, **named)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6)
    assert (ours.coef_ == 0).tolist() == (theirs.coef_ == 0).tolist()
    for attribute in ("coef_", "intercept_", "dual_gap_", "n_iter_"):
        found, expected = getattr(ours, attribute), getattr(theirs, attribute)
        assert np.shape(found) == np.shape(expected), attribute
    assert ours.sparse_coef_.shape == theirs.sparse_coef_.shape


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
def test_dual_gap_of_a_fit_that_is_cut_short(fit_intercept, weight):
    x = np.hstack([X, _random.standard_normal((N, 2100))])  # more than second moments are made of
    model = ElasticNet(alpha=0.05, max_iter=3, l1_ratio=0.7, fit_intercept=fit_intercept)
    with pytest.warns(ConvergenceWarning, match="Objective did not converge"):
        model.fit(x, Y[:, 0], weight)
    assert model.n_iter_ == 3
    # The fit's intercept is not yet the best for its coefficients, which the definition assumes.
    np.testing.assert_allclose(model.dual_gap_, gap(x, Y[:, 0], weight, model), rtol=2e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-7])
def test_gap_is_met_with_many_columns(kind, tol):
    x = np.hstack([X, _random.standard_normal((N, 2100))])
    x[:, D:][_random.random((N, 2100)) < 0.9] = 0
    y = Y[:, 0]
    model = Lasso(alpha=0.5, tol=tol).fit(KINDS[kind](x), y)
    assert model.dual_gap_ <= tol * y.var()
    tight = genuine.Lasso(alpha=0.5, tol=1e-12, max_iter=100_000).fit(x, y)

    def objective(m):
        return ((y - m.predict(x)) ** 2).mean() / 2 + 0.5 * np.abs(m.coef_).sum()

    assert objective(model) - objective(tight) <= model.dual_gap_ + 1e-12


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_float32(l1_ratio):
    x, y = X.astype(np.float32), Y[:, 0].astype(np.float32)
    theirs, ours = both("ElasticNet", x, y, alpha=0.2, l1_ratio=l1_ratio)
    assert ours.coef_.dtype == theirs.coef_.dtype == np.float32
    assert ours.dual_gap_.dtype == np.float32
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-4)


def test_without_penalty():
    with pytest.warns(UserWarning, match="With alpha=0"):
        model = Lasso(alpha=0).fit(X, Y[:, 0])
    expected = genuine.LinearRegression().fit(X, Y[:, 0])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8)
    assert model.dual_gap_ < 1e-10


def test_dependent_columns_without_penalty():
    x = np.hstack([X, X])
    with pytest.warns(UserWarning, match="With alpha=0"):
        model = Lasso(alpha=0).fit(x, Y[:, 0])
    expected = genuine.LinearRegression().fit(X, Y[:, 0])
    np.testing.assert_allclose(model.predict(x), expected.predict(X), rtol=1e-8)


def test_warm_start_at_the_optimum():
    model = ElasticNet(alpha=0.1, warm_start=True).fit(X, Y)
    before = model.coef_.copy()
    model.fit(X, Y)
    assert model.n_iter_ == [0, 0, 0]
    np.testing.assert_array_equal(model.coef_, before)


def test_positive_is_refused():
    with pytest.raises(NotImplementedError, match="ElasticNet of fastgd doesn't do positive=True"):
        ElasticNet(positive=True).fit(X, Y)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
def test_given_gram(weight):
    x = X - np.average(X, axis=0, weights=weight)
    root = np.sqrt(np.ones(N) if weight is None else weight / weight.mean())
    gram = (x * root[:, None]).T @ (x * root[:, None])
    theirs, ours = both("Lasso", x, Y[:, 0], weight, alpha=0.1, precompute=gram)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="did not pass validation"):
        Lasso(precompute=gram + 1).fit(x, Y[:, 0], weight)
    with pytest.warns(UserWarning, match="recomputing Gram matrix"):
        Lasso(precompute=gram).fit(x + 1, Y[:, 0], weight)


def test_genuine_objects():
    ours = Lasso(alpha=0.1).fit(X, Y[:, 0])
    made = ours.to_sklearn()
    assert type(made) is genuine.Lasso
    np.testing.assert_array_equal(made.predict(X), ours.predict(X))
    assert Lasso.from_sklearn(made).alpha == 0.1
