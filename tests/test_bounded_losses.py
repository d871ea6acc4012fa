"""lr="auto" for losses with a bounded curvature and flat parts: their optimum is SciPy's."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

import fastgd
from fastgd.losses import MODIFIED_HUBER, SQUARED_HINGE, SquaredEpsilonInsensitive

D = 5
LOSSES = {
    loss.name: loss for loss in (SquaredEpsilonInsensitive(30.0), SQUARED_HINGE, MODIFIED_HUBER)
}
PENALTIES = {
    "none": {}, "l2": {"l2": 1e-3}, "l1": {"l1": 1e-3}, "both": {"l1": 1e-4, "l2": 1e-4}
}  # fmt: skip
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def problem(loss, noise, n=400):
    """Raw columns of sizes from 1e-3 to 1e4, far from 0, two of them nearly the same."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, D))
    x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
    raw = x @ [1.0, -0.5, 2.0, 0.0, 0.3] + noise * rng.logistic(size=n)
    y = (raw > 0.3).astype(float) if loss.targets == "labels" else 100 * raw + 1e4
    return (x + rng.standard_normal(D) * 10) * [1e-3, 1e4, 1.0, 1e2, 1e-1], y


def values_and_slopes(loss, z, y):
    """The loss of every row in NumPy."""
    if loss.targets == "real":
        r = z - y
        excess = r - np.clip(r, -loss.p, loss.p)
        return excess**2, 2 * excess
    side = 2 * y - 1
    short = np.maximum(1 - side * z, 0)
    if loss.name == "squared_hinge":
        return short**2, -2 * side * short
    near = np.minimum(short, 2)
    return np.where(short > 2, -4 * side * z, short**2), -2 * side * near


def objective(fit, l1=0.0, l2=0.0):
    return fit.cost + l1 * np.abs(fit.coef).sum() + l2 / 2 * (fit.coef**2).sum()


def scipy_s(x, y, loss, l1=0.0, l2=0.0):
    """The least objective by L-BFGS-B in standardised columns; for l1 in positive and negative parts."""
    scale = x.std(axis=0)
    z = (x - x.mean(axis=0)) / scale

    def of(parts):
        coef = (parts[:D] - parts[D:-1]) / scale
        value, slope = values_and_slopes(loss, z @ (coef * scale) + parts[-1], y)
        gradient = z.T @ slope / len(y) + l2 * coef / scale
        total = value.mean() + l2 / 2 * coef @ coef + l1 * (parts[:-1] / np.tile(scale, 2)).sum()
        threshold = l1 / scale
        return total, np.concatenate([gradient + threshold, threshold - gradient, [slope.mean()]])

    found = np.append(np.zeros(2 * D), y.mean() if loss.targets == "real" else 0.0)
    bounds = [(0, None)] * (2 * D) + [(None, None)]
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-14, "maxcor": 50}
    for _ in range(3):  # it gives up early
        found = minimize(of, found, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return of(found)[0]


@every_loss
@pytest.mark.parametrize("noise", [1.0, 0.0], ids=["noise", "exact"])
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_the_optimum_is_scipy_s(loss, noise, penalty):
    x, y = problem(loss, noise)
    fit = fastgd.fit(x, y, loss, **penalty)  # a warning is an error
    assert fit.converged
    found, wanted = objective(fit, **penalty), scipy_s(x, y, loss, **penalty)
    if not penalty and not noise:  # labels that a plane separates, residuals that cost nothing
        assert found == pytest.approx(0, abs=1e-20)
        assert fit.n_epochs < 100
    assert found <= wanted * (1 + 1e-10) + 1e-20
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-20)


@every_loss
def test_l1_meets_the_conditions_of_the_optimum(loss):
    x, y = problem(loss, 1.0)
    z, l1 = (x - x.mean(axis=0)) / x.std(axis=0), 0.02 if loss.targets == "labels" else 5.0
    fit = fastgd.fit(z, y, loss, l1=l1)
    _, slope = values_and_slopes(loss, z @ fit.coef + fit.intercept, y)
    gradient, zero = z.T @ slope / len(y), fit.coef == 0
    assert 0 < zero.sum() < D
    assert np.abs(gradient[zero]).max() <= l1 * (1 + 1e-6)
    np.testing.assert_allclose(gradient[~zero], -l1 * np.sign(fit.coef[~zero]), rtol=1e-6)
    assert slope.mean() == pytest.approx(0, abs=1e-6 * l1)


@every_loss
def test_a_start_at_a_cost_of_zero_stays(loss):
    x, y = problem(loss, 0.0)
    if loss.targets == "real":
        fit = fastgd.fit_linear(x, y)
        start = {"coef_init": fit.coef, "intercept_init": fit.intercept}
    else:
        fit = fastgd.fit(x, y, loss)
        start = {"coef_init": 3 * fit.coef, "intercept_init": 3 * fit.intercept}
    again = fastgd.fit(x, y, loss, **start)
    assert (again.converged, again.cost) == (True, 0.0)
    assert again.coef.tolist() == start["coef_init"].tolist()
    if loss.targets == "labels":  # no row has curvature where it starts
        found, wanted = (fastgd.fit(x, y, loss, l1=1e-3, **given) for given in (start, {}))
        assert objective(found, 1e-3) == pytest.approx(objective(wanted, 1e-3), rel=1e-9)


def test_a_sample_without_curvature_is_no_start():
    """All its rows may cost nothing at its optimum."""
    x = np.random.default_rng(0).standard_normal((20_000, 3))
    fit = fastgd.fit(x, np.full(len(x), 7.0), SquaredEpsilonInsensitive(0.3), l1=1e-3)
    assert fit.converged
    assert fit.coef.tolist() == [0, 0, 0]
    assert fit.cost == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("loss", [SQUARED_HINGE, MODIFIED_HUBER], ids=lambda loss: loss.name)
def test_separable_labels_of_many_rows(loss):
    """Without a sample, a warning or a thousand epochs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 3))
    side = x @ [1.0, 2.0, -1.0]
    x, y = x[np.abs(side) > 0.5], side[np.abs(side) > 0.5] > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fastgd.fit(x, y, loss)
        shrunk = fastgd.fit(x, y, loss, l1=1e-6)
    assert (fit.converged, fit.cost, fit.score(x, y)) == (True, 0.0, 1.0)
    assert (shrunk.converged, shrunk.score(x, y)) == (True, 1.0)
    assert fit.n_epochs < 100


@pytest.mark.parametrize("l1", [0.0, 0.01])
def test_targets_far_from_zero(l1):
    """The fit starts at their mean: a step of the bound moves the intercept by no more than δ."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3))
    y = x @ [1.0, -2.0, 0.0] + rng.standard_t(2, 500)
    near, far = (fastgd.fit(x, y + at, "huber", l1=l1) for at in (0.0, 1e6))
    assert far.converged
    assert far.n_epochs < 60
    np.testing.assert_allclose(far.coef, near.coef, rtol=1e-6, atol=1e-7)
    assert far.intercept - 1e6 == pytest.approx(near.intercept, abs=1e-6)
