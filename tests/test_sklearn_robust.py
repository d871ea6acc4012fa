"""HuberRegressor and QuantileRegressor beside scikit-learn's own."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from conftest import JIT_OFF
from sklearn import linear_model as genuine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._huber import _huber_loss_and_gradient
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastgd.linear_model import HuberRegressor, QuantileRegressor
from fastgd.linear_model.robust import best_scale

pytestmark = pytest.mark.skipif(JIT_OFF, reason="tests the estimators, not their kernels")

KINDS = {"dense": np.asarray, "csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array}
_random = np.random.default_rng(0)
N, D = 300, 7
X = _random.standard_normal((N, D)) * np.exp(_random.standard_normal(D)) + 1
X[_random.random((N, D)) < 0.3] = 0
Y = X @ _random.standard_normal(D) + 2 * _random.standard_normal(N) + 3
Y[:45] += 30 * _random.exponential(size=45)
WEIGHT = _random.random(N) + 0.2


@pytest.mark.slow
@parametrize_with_checks([HuberRegressor(), QuantileRegressor()])
def test_of_scikit_learn(estimator, check):
    check(estimator)


# --- Huber ------------------------------------------------------------------------------------------


def optimum(x, y, model, weight=None):
    """Coefficients, intercept if any, and scale: scikit-learn's objective by SciPy, to rounding."""
    weight = np.ones(len(y)) if weight is None else weight
    m = x.shape[1] + 1 + model.fit_intercept
    start, bounds = np.zeros(m), [(None, None)] * (m - 1) + [(1e-14, None)]
    start[-1] = y.std()
    for _ in range(5):  # L-BFGS loses its way at kinks, and finds it again from where it ended
        found = scipy.optimize.minimize(
            _huber_loss_and_gradient, start, (x, y, model.epsilon, model.alpha, weight), "L-BFGS-B",
            jac=True, bounds=bounds, options={"ftol": 0, "gtol": 1e-11, "maxiter": 10_000},
        )  # fmt: skip
        start = found.x
    return start


def parameters(model):
    intercept = [model.intercept_] if model.fit_intercept else []
    return np.array([*model.coef_, *intercept, model.scale_])


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0, 1e-4, 10.0])
@pytest.mark.parametrize("epsilon", [1.1, 1.35, 3.0])
def test_optimum_of_huber(epsilon, alpha, fit_intercept, weight):
    model = HuberRegressor(
        epsilon=epsilon, alpha=alpha, fit_intercept=fit_intercept, tol=1e-9, max_iter=1000
    ).fit(X, Y, weight)
    expected = optimum(X, Y, model, weight)
    np.testing.assert_allclose(parameters(model), expected, rtol=1e-6, atol=1e-7)
    residuals = np.abs(Y - model.predict(X))
    np.testing.assert_array_equal(model.outliers_, residuals > epsilon * model.scale_)
    usual = HuberRegressor(epsilon=epsilon, alpha=alpha, fit_intercept=fit_intercept, max_iter=1000)
    theirs = genuine.HuberRegressor(**usual.get_params()).fit(X, Y, weight)
    usual.fit(X, Y, weight)
    np.testing.assert_allclose(usual.coef_, model.coef_, rtol=1e-4, atol=1e-6)

    def objective(m):
        rows = np.ones(N) if weight is None else weight
        return _huber_loss_and_gradient(parameters(m), X, Y, epsilon, alpha, rows)[0]

    assert objective(usual) <= objective(theirs) * (1 + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_huber_on_kinds_of_rows(kind):
    model = HuberRegressor(tol=1e-9).fit(KINDS[kind](X), Y)
    np.testing.assert_allclose(parameters(model), optimum(X, Y, model), rtol=1e-6, atol=1e-7)


def test_huber_from_a_sample():
    n = 16 * 10 * 6
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, 5))
    y = x @ rng.standard_normal(5) + rng.standard_t(2, n)
    model = HuberRegressor(tol=1e-9).fit(x, y)
    np.testing.assert_allclose(parameters(model), optimum(x, y, model), rtol=1e-6, atol=1e-7)
    weight = rng.random(n)
    weight[::16] = 0  # those of the sample
    model.fit(x, y, weight)
    np.testing.assert_allclose(
        parameters(model), optimum(x, y, model, weight), rtol=1e-6, atol=1e-7
    )


def test_huber_with_more_columns_than_rows():
    x = _random.standard_normal((30, 40))
    y = x[:, 0] + _random.standard_t(2, 30)
    model = HuberRegressor(alpha=30.0, tol=1e-9, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(parameters(model), optimum(x, y, model), rtol=1e-5, atol=1e-6)


def test_huber_of_rows_on_a_plane():
    x = _random.standard_normal((60, 3))
    y = x @ [1.0, 2.0, 3.0] - 1
    model = HuberRegressor(alpha=0).fit(x, y)
    np.testing.assert_allclose(model.coef_, [1, 2, 3], rtol=1e-8)
    assert model.scale_ < 1e-9
    y[:10] += 100  # far fewer than would lift the scale
    model.fit(x, y)
    np.testing.assert_allclose(model.coef_, [1, 2, 3], rtol=1e-6)
    assert model.outliers_[:10].all()


def test_huber_in_other_units():
    model = HuberRegressor(alpha=0).fit(X, Y)
    for unit in (1e-6, 1e6):
        other = HuberRegressor(alpha=0).fit(X, unit * Y)
        np.testing.assert_allclose(other.coef_, unit * model.coef_, rtol=1e-5)
        assert other.scale_ == pytest.approx(unit * model.scale_, rel=1e-5)


def test_huber_float32():
    theirs = genuine.HuberRegressor().fit(X.astype(np.float32), Y.astype(np.float32))
    ours = HuberRegressor().fit(X.astype(np.float32), Y.astype(np.float32))
    assert ours.coef_.dtype == theirs.coef_.dtype == np.float64
    np.testing.assert_allclose(ours.coef_, HuberRegressor().fit(X, Y).coef_, rtol=1e-4, atol=1e-5)


def test_huber_warm_start():
    model = HuberRegressor(warm_start=True, tol=1e-3).fit(X, Y)
    before = parameters(model)
    model.fit(X, Y)
    assert model.n_iter_ == 0
    np.testing.assert_array_equal(parameters(model), before)
    model.fit(X, Y + 5)
    assert model.intercept_ == pytest.approx(before[-2] + 5, abs=1e-4)


def test_huber_with_too_few_epochs():
    with pytest.warns(ConvergenceWarning, match="HuberRegressor did not converge"):
        model = HuberRegressor(max_iter=1).fit(X, Y)
    assert model.n_iter_ == 1


@pytest.mark.parametrize("near", [1e-6, 1.0, 1e6])
def test_best_scale(near):
    sizes = np.abs(_random.standard_t(2, 500))
    scale = best_scale(sizes, np.ones(500), 1.35, near)
    assert np.minimum((sizes / scale) ** 2, 1.35**2).sum() == pytest.approx(500, rel=1e-12)
    assert best_scale(np.zeros(500), np.ones(500), 1.35, near) == 0
    sizes[:400] = 0  # the others can't make up for so many
    assert best_scale(sizes, np.ones(500), 1.35, near) == 0


# --- quantiles --------------------------------------------------------------------------------------


def loss_of(model, x, y, weight=None):
    r = y - model.predict(x)
    loss = np.where(r > 0, model.quantile * r, (model.quantile - 1) * r)
    return np.average(loss, weights=weight) + model.alpha * np.abs(model.coef_).sum()


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0, 0.01, 1.0])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_optimum_of_quantiles(quantile, alpha, fit_intercept, weight):
    how = {"quantile": quantile, "alpha": alpha, "fit_intercept": fit_intercept}
    theirs = genuine.QuantileRegressor(**how).fit(X, Y, weight)
    ours = QuantileRegressor(**how).fit(X, Y, weight)
    assert loss_of(ours, X, Y, weight) == pytest.approx(loss_of(theirs, X, Y, weight), rel=1e-9)
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_) == ()


@pytest.mark.parametrize("kind", [*KINDS, "coo"])
@pytest.mark.parametrize("solver", ["highs", "highs-ds", "highs-ipm"])
def test_quantiles_on_kinds_of_rows(kind, solver):
    x = (KINDS | {"coo": scipy.sparse.coo_array})[kind](X)
    ours = QuantileRegressor(alpha=0.01, solver=solver).fit(x, Y)
    theirs = genuine.QuantileRegressor(alpha=0.01).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-8)


def test_quantiles_of_float32():
    x, y = X.astype(np.float32), Y.astype(np.float32)
    ours = QuantileRegressor(alpha=0).fit(x, y)
    theirs = genuine.QuantileRegressor(alpha=0).fit(x, y)
    assert ours.coef_.dtype == theirs.coef_.dtype
    assert loss_of(ours, x, y) == pytest.approx(loss_of(theirs, x, y), rel=1e-6)


def test_quantiles_with_more_columns_than_an_interior_point_takes():
    with pytest.raises(NotImplementedError, match="2049 columns, more than 2048"):
        QuantileRegressor().fit(np.zeros((3, 2049)), [1.0, 2.0, 3.0])


def test_genuine_objects():
    for ours in (HuberRegressor().fit(X, Y), QuantileRegressor(alpha=0.1).fit(X, Y)):
        made = ours.to_sklearn()
        assert type(made) is getattr(genuine, type(ours).__name__)
        np.testing.assert_array_equal(made.predict(X), ours.predict(X))
