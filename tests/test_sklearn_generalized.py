"""PoissonRegressor, GammaRegressor and TweedieRegressor beside scikit-learn's own."""

import math

import numpy as np
import pytest
import scipy.sparse
from conftest import JIT_OFF
from sklearn import linear_model as genuine
from sklearn._loss.loss import HalfTweedieLossIdentity
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastgd import linear_model
from fastgd.formulas.power_means import tweedie_mean, tweedie_mean_second, tweedie_mean_slope
from fastgd.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

pytestmark = pytest.mark.skipif(JIT_OFF, reason="tests the estimators, not their kernels")

KINDS = {"dense": np.asarray, "csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array}
_random = np.random.default_rng(0)
N, D = 300, 6
SCALES = np.array([1, 10, 0.1, 1, 3, 1])
X = _random.random((N, D)) * SCALES
X[_random.random((N, D)) < 0.3] = 0
MEAN = np.exp(X @ (_random.standard_normal(D) / SCALES) * 0.4)
COUNTS, POSITIVE = _random.poisson(MEAN).astype(float), MEAN * _random.gamma(3, 1 / 3, N)
WEIGHT = _random.random(N) + 0.2
CASES = [
    ("PoissonRegressor", {}, COUNTS),
    ("GammaRegressor", {}, POSITIVE),
    ("TweedieRegressor", {"power": 0}, POSITIVE - 2),
    ("TweedieRegressor", {"power": 1}, COUNTS),
    ("TweedieRegressor", {"power": 1.5}, COUNTS),
    ("TweedieRegressor", {"power": 3}, POSITIVE),
    ("TweedieRegressor", {"power": 0.5, "link": "log"}, COUNTS),
    ("TweedieRegressor", {"power": 0, "link": "log"}, POSITIVE),
    ("TweedieRegressor", {"power": -1, "link": "log"}, POSITIVE),
]
#: Without a link the mean has to be above 0 everywhere on the way, which without an intercept it isn't.
WITHOUT_LINK = [
    ("TweedieRegressor", {"power": power, "link": "identity"}, y)
    for power, y in ((0.5, COUNTS), (1, COUNTS), (1.5, COUNTS), (2, POSITIVE), (3, POSITIVE))
]


def name_of(case):
    return "-".join(map(str, [case[0], *case[1].values()]))


@pytest.mark.slow
@parametrize_with_checks([GammaRegressor(), PoissonRegressor(), TweedieRegressor()])
def test_of_scikit_learn(estimator, check):
    check(estimator)


def both(name, x, y, sample_weight=None, **named):
    """scikit-learn's estimator and fastgd's, both near their optimum."""
    theirs = getattr(genuine, name)(tol=1e-9, max_iter=100_000, **named)
    ours = getattr(linear_model, name)(**{"tol": 1e-10} | named)
    return theirs.fit(x, y, sample_weight), ours.fit(x, y, sample_weight)


def assert_same(theirs, ours, x, y):
    scale = np.abs(theirs.coef_ * SCALES).max()
    np.testing.assert_allclose(ours.coef_ * SCALES, theirs.coef_ * SCALES, atol=1e-5 * scale)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-4, atol=1e-5)
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y), abs=1e-6)
    for attribute in ("coef_", "intercept_", "n_iter_"):
        found, expected = getattr(ours, attribute), getattr(theirs, attribute)
        assert np.shape(found) == np.shape(expected)
        assert np.asarray(found).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
@pytest.mark.parametrize("alpha", [0, 0.1])
@pytest.mark.parametrize("case", [*CASES, *WITHOUT_LINK], ids=name_of)
def test_optimum(case, alpha, weight):
    name, named, y = case
    assert_same(*both(name, X, y, weight, alpha=alpha, **named), X, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES[:5], ids=name_of)
def test_without_intercept(case, kind):
    name, named, y = case
    x = KINDS[kind](X)
    assert_same(*both(name, x, y, alpha=0.1, fit_intercept=False, **named), x, y)


@pytest.mark.parametrize("name", ["PoissonRegressor", "GammaRegressor"])
def test_default_tolerance_ends_no_higher(name):
    y = {"PoissonRegressor": COUNTS, "GammaRegressor": POSITIVE}[name]

    def objective(m):
        return (
            m._base_loss(y_true=y, raw_prediction=m._linear_predictor(X)) + m.coef_ @ m.coef_ / 200
        )

    theirs = getattr(genuine, name)(alpha=0.01, max_iter=1000).fit(X, y)
    ours = getattr(linear_model, name)(alpha=0.01).fit(X, y)
    assert objective(ours) <= objective(theirs) + 1e-8


def test_float32():
    x, y = X.astype(np.float32), COUNTS.astype(np.float32)
    ours = PoissonRegressor(alpha=0.1).fit(x, y)
    assert ours.coef_.dtype == ours.intercept_.dtype == np.float32
    expected = PoissonRegressor(alpha=0.1, tol=1e-9).fit(X, COUNTS)
    np.testing.assert_allclose(ours.coef_, expected.coef_, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (PoissonRegressor(), -COUNTS - 1),
        (GammaRegressor(), COUNTS),
        (TweedieRegressor(power=1.5), -POSITIVE),
        (TweedieRegressor(power=2.5), COUNTS),
    ],
)
def test_targets_out_of_range(model, y):
    with pytest.raises(ValueError, match=r"y are out of the valid range of the loss 'Half"):
        model.fit(X, y)


def test_mean_without_link_needs_an_intercept():
    model = TweedieRegressor(power=1.5, link="identity", fit_intercept=False)
    with pytest.raises(NotImplementedError, match=r"link='identity' with power=1\.5"):
        model.fit(X, COUNTS)


def test_too_few_epochs():
    with pytest.warns(ConvergenceWarning, match="PoissonRegressor did not converge"):
        PoissonRegressor(alpha=0, max_iter=1, tol=1e-12).fit(X, COUNTS)


def test_warm_start():
    model = PoissonRegressor(alpha=0.1, warm_start=True, tol=1e-8).fit(X, COUNTS)
    cold = model.n_iter_
    before = model.coef_.copy()
    model.set_params(tol=1e-2).fit(X, COUNTS)
    assert model.n_iter_ < cold
    np.testing.assert_allclose(model.coef_, before, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_smallest_of_dependent_coefficients(kind):
    x = np.hstack([X, X])
    once = PoissonRegressor(alpha=0, tol=1e-10).fit(X, COUNTS)
    twice = PoissonRegressor(alpha=0, tol=1e-10).fit(KINDS[kind](x), COUNTS)
    np.testing.assert_allclose(twice.coef_, np.tile(once.coef_ / 2, 2), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(twice.fit_.predict(x), twice.predict(x))


def test_genuine_objects():
    ours = TweedieRegressor(power=1.5, alpha=0.1).fit(X, COUNTS)
    made = ours.to_sklearn()
    assert type(made) is genuine.TweedieRegressor
    np.testing.assert_array_equal(made.predict(X), ours.predict(X))
    assert made.score(X, COUNTS) == ours.score(X, COUNTS)


@pytest.mark.parametrize("power", [-1.0, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_formulas_of_the_mean(power):
    theirs = HalfTweedieLossIdentity(power=power)
    y, z = np.array([0.5, 2.0, 3.0]), np.array([1.5, 0.7, 3.0])
    slope = theirs.gradient(y, z)
    assert [tweedie_mean_slope(a, b, power) for a, b in zip(z, y, strict=True)] == pytest.approx(
        slope
    )
    values = [
        tweedie_mean(a, b, power) - tweedie_mean(b, b, power) for a, b in zip(z, y, strict=True)
    ]
    assert values == pytest.approx(theirs.loss(y, z) - theirs.loss(y, y), abs=1e-12)
    h = 1e-5
    for a, b in zip(z, y, strict=True):
        rise = tweedie_mean_slope(a + h, b, power) - tweedie_mean_slope(a - h, b, power)
        assert tweedie_mean_second(a, b, power) == pytest.approx(rise / (2 * h), rel=1e-6, abs=1e-9)
    assert tweedie_mean(0.0, 1.0, power) == math.inf
    assert math.isnan(tweedie_mean_slope(-1.0, 1.0, power))
    assert math.isnan(tweedie_mean_second(-1.0, 1.0, power))
