"""Deviance and score, against scikit-learn's metrics and statsmodels' definitions."""

import copy
import pickle

import numpy as np
import oracles
import pytest
from sklearn import metrics

import fastgd
from fastgd import DivergenceError, InputError
from fastgd.losses import Huber, Loss, NegativeBinomial, Quantile, Tweedie

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 2))
COUNTS = RNG.poisson(np.exp(X @ [0.5, -0.3])).astype(float)
WEIGHT = np.where(RNG.random(80) < 0.2, 0.0, RNG.random(80))
both = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


def fitted(y, loss):
    """Some coefficients that are no optimum."""
    return fastgd.fit(X, y, loss, lr=0.05, epochs=20)


@both
@pytest.mark.parametrize("power", [0.0, 1.0, 1.3, 1.99, 2.0, 3.0])
def test_tweedie(power, weight):
    y = COUNTS + 0.1 if power >= 2 else COUNTS
    fit = fitted(y, Tweedie(power))
    got, mass = fit.predict(X), 80 if weight is None else weight.sum()
    wanted = mass * metrics.mean_tweedie_deviance(y, got, sample_weight=weight, power=power)
    assert fit.deviance(X, y, weight) == pytest.approx(wanted, rel=1e-9)
    wanted = metrics.d2_tweedie_score(y, got, sample_weight=weight, power=power)
    assert fit.score(X, y, weight) == pytest.approx(wanted, rel=1e-9)


@both
@pytest.mark.parametrize(("name", "power"), [("poisson", 1), ("gamma", 2)])
def test_names(name, power, weight):
    y = COUNTS + (name == "gamma")
    fit = fitted(y, name)
    wanted = metrics.d2_tweedie_score(y, fit.predict(X), sample_weight=weight, power=power)
    assert fit.score(X, y, weight) == pytest.approx(wanted, rel=1e-9)


@both
def test_negative_binomial(weight):
    """2·Σ(y·log(y/μ) − (y + 1/α)·log((1 + αy)/(1 + αμ))), as in statsmodels."""
    fit, alpha = fitted(COUNTS, NegativeBinomial(0.7)), 0.7

    def deviance(mean):
        ratio = np.where(COUNTS > 0, COUNTS, 1) / np.where(COUNTS > 0, mean, 1)
        logs = np.log((1 + alpha * COUNTS) / (1 + alpha * mean))
        each = 2 * (COUNTS * np.log(ratio) - (COUNTS + 1 / alpha) * logs)
        return float(each @ (np.ones(80) if weight is None else weight))

    wanted = deviance(fit.predict(X))
    null = deviance(np.full(80, np.average(COUNTS, weights=weight)))
    assert fit.deviance(X, COUNTS, weight) == pytest.approx(wanted, rel=1e-9)
    assert fit.score(X, COUNTS, weight) == pytest.approx(1 - wanted / null, rel=1e-9)


@both
def test_quantile(weight):
    fit = fitted(COUNTS, Quantile(0.8))
    wanted = metrics.d2_pinball_score(COUNTS, fit.predict(X), sample_weight=weight, alpha=0.8)
    assert fit.score(X, COUNTS, weight) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("unit", [1e-60, 1e60])
def test_quantiles_in_other_units(unit):
    fit = fitted(COUNTS, Quantile(0.8))
    wanted = fit.score(X, COUNTS)
    fit.coef, fit.intercept = fit.coef * unit, fit.intercept * unit
    assert fit.score(X, COUNTS * unit) == pytest.approx(wanted, rel=1e-9)


@both
@pytest.mark.parametrize(
    "loss", ["mse", Huber(0.5), "epsilon_insensitive"], ids=["mse", "huber", "epsilon"]
)
def test_r_squared(loss, weight):
    fit = fitted(COUNTS, loss)
    wanted = metrics.r2_score(COUNTS, fit.predict(X), sample_weight=weight)
    assert fit.score(X, COUNTS, weight) == pytest.approx(wanted, rel=1e-12)


@both
def test_the_deviance_of_squared_error_is_its_sum(weight):
    fit = fitted(COUNTS, "mse")
    squares = (COUNTS - fit.predict(X)) ** 2
    wanted = squares.sum() if weight is None else squares @ weight
    assert fit.deviance(X, COUNTS, weight) == pytest.approx(wanted, rel=1e-12)


@both
@pytest.mark.parametrize(
    "labels", [COUNTS > 1, np.where(COUNTS > 1, "b", "a"), np.minimum(COUNTS, 2)]
)
def test_labels(labels, weight):
    fit = fastgd.fit_logistic(X, labels, lr=0.1, epochs=20)
    wanted = 2 * metrics.log_loss(
        labels, fit.predict_proba(X), sample_weight=weight, normalize=False
    )
    assert fit.deviance(X, labels, weight) == pytest.approx(wanted, rel=1e-9)
    right = metrics.accuracy_score(labels, fit.predict(X), sample_weight=weight)
    assert fit.score(X, labels, weight) == pytest.approx(right)


def test_a_network_has_one_too():
    net = fastgd.fit_mlp(X, COUNTS > 1, hidden=4, loss="bce", epochs=2)
    wanted = 2 * metrics.log_loss(COUNTS > 1, net.predict_proba(X), normalize=False)
    assert net.deviance(X, COUNTS > 1) == pytest.approx(wanted, rel=1e-9)


def test_the_best_constant_stands_beside_the_offset():
    offset = np.linspace(-1, 2, 80)
    fit = fastgd.fit(X, COUNTS, "poisson", offset=offset)
    null = fastgd.fit(np.zeros((80, 1)), COUNTS, "poisson", offset=offset, lr=0.05, epochs=2000)
    of_null = null.deviance(np.zeros((80, 1)), COUNTS, offset=offset)
    wanted = 1 - fit.deviance(X, COUNTS, offset=offset) / of_null
    assert fit.score(X, COUNTS, offset=offset) == pytest.approx(wanted, rel=1e-9)


def test_several_targets():
    y = np.column_stack([COUNTS, COUNTS[::-1]])
    fit = fastgd.fit(X, y, "poisson", lr=0.05, epochs=20)
    pairs = list(zip(y.T, fit.predict(X).T, strict=True))
    wanted = np.mean([metrics.d2_tweedie_score(t, got, power=1) for t, got in pairs])
    assert fit.score(X, y) == pytest.approx(wanted, rel=1e-9)
    wanted = sum(80 * metrics.mean_poisson_deviance(t, got) for t, got in pairs)
    assert fit.deviance(X, y) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", ["poisson", "quantile"])
def test_constant_targets_are_predicted_fully_or_not_at_all(name):
    y = np.full(80, 3.0)
    fit = fitted(y, name)
    assert fit.score(X, y) == 0
    fit.coef = fit.coef * 0
    fit.intercept = 3.0 if name == "quantile" else np.log(3.0)
    assert fit.score(X, y) == 1


def test_no_counts_at_all():
    fit = fitted(COUNTS, "poisson")
    assert fit.score(X, 0 * COUNTS) == 0
    assert fit.deviance(X, 0 * COUNTS) == pytest.approx(2 * fit.predict(X).sum())


def test_the_parameter_is_kept(tmp_path):
    fit = fitted(COUNTS, Tweedie(1.3))
    wanted = fit.deviance(X, COUNTS)
    fit.save(tmp_path / "fit.npz")
    for other in (
        fastgd.load(tmp_path / "fit.npz"),
        pickle.loads(pickle.dumps(fit)),
        copy.deepcopy(fit),
    ):
        assert other.p == 1.3
        assert other.deviance(X, COUNTS) == wanted


OWN = Loss("own", lambda z, y: (z - y) ** 4, lambda z, y: 4 * (z - y) ** 3)
#: Not the loss of that name.
ANOTHER = Loss("poisson", lambda z, y: (z - y) ** 4, lambda z, y: 4 * (z - y) ** 3)


@pytest.mark.parametrize("loss", ["huber", OWN, ANOTHER], ids=["huber", "own", "another"])
def test_losses_without_a_deviance(loss):
    fit = fastgd.fit(X, COUNTS, loss, lr=1e-4, epochs=3)
    with pytest.raises(AttributeError, match="has no deviance"):
        fit.deviance(X, COUNTS)
    assert fit.score(X, COUNTS) == pytest.approx(metrics.r2_score(COUNTS, fit.predict(X)))


def test_margins_have_no_deviance():
    fit = fastgd.fit(X, COUNTS > 1, "hinge", lr=0.1, epochs=3)
    with pytest.raises(AttributeError, match="the loss 'hinge' has no deviance"):
        fit.deviance(X, COUNTS > 1)


def test_what_can_not_be_scored():
    fit = fitted(COUNTS, "poisson")
    for of in (fit.score, fit.deviance):
        with pytest.raises(InputError, match=r"y is -1.* at row 3"):
            of(X, np.where(np.arange(80) == 3, -1, COUNTS))
        with pytest.raises(InputError, match="y is nan at row 3"):
            of(X, np.where(np.arange(80) == 3, np.nan, COUNTS))
        with pytest.raises(InputError, match="79"):
            of(X, COUNTS[1:])
    with oracles.quiet(), pytest.raises(DivergenceError, match="the deviance overflows"):
        fit.deviance(1e6 * X, COUNTS)
    with oracles.quiet(), pytest.raises(DivergenceError, match="score is below"):
        fit.score(1e6 * X, COUNTS)
    labels = fastgd.fit_logistic(X, COUNTS > 1, lr=0.1, epochs=3)
    with pytest.raises(InputError, match="y at row 0 is none of the labels"):
        labels.deviance(X, np.where(np.arange(80) == 0, 7, COUNTS > 1))
