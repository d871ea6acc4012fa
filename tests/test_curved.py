"""lr="auto" for losses whose second derivative has no bound.

The optimum is checked by its own condition and by no other solver: the gradient of the objective is at
rounding, in units in which columns have a standard deviation of 1.
"""

import math

import numpy as np
import pytest

import fastgd
from fastgd.fitting.constant import inverse
from fastgd.losses import GAMMA, POISSON, Loss, NegativeBinomial, Tweedie
from fastgd.solvers import whitened
from fastgd.sources.dense import DenseRows

N, D = 3000, 6
UNBOUNDED = {
    "poisson": POISSON, "gamma": GAMMA, "tweedie": Tweedie(1.5), "nearly poisson": Tweedie(1.01),
    "negative binomial": NegativeBinomial(0.5),
}  # fmt: skip
every_loss = pytest.mark.parametrize("loss", UNBOUNDED.values(), ids=UNBOUNDED)
#: Factors and offsets of the columns.
RAW = np.array([1e3, 1e-4, 1.0, 1e5, 1.0, 1e-2]), np.array([1e6, 0.0, 0.0, -1e5, 3.0, 0.0])


def data(loss, n=N, seed=0, raw=False):
    """Rows and targets whose mean is exp(a linear function), with a variance that suits the loss."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, D))
    mean = np.exp(x[:, :4] @ [0.5, -0.3, 0.8, 0.1] + 0.5)
    if loss.name == "poisson":
        y = rng.poisson(mean).astype(float)
    elif loss.name == "negative_binomial":
        y = rng.poisson(mean * rng.gamma(2, 0.5, n)).astype(float)
    else:
        y = mean * rng.gamma(2, 0.5, n)
        if loss.name == "tweedie":
            y[rng.random(n) < 0.3] = 0.0
    return (x * RAW[0] + RAW[1] if raw else x), y


def slopes(loss, x, y, fit):
    z = x @ fit.coef + fit.intercept
    return np.array([loss.slope(a, b, *loss.parameters) for a, b in zip(z, y, strict=True)])


def gradient(loss, x, y, fit, weight=None, l2=0.0):
    """Of the objective in the coefficients of columns of unit size, and in the intercept."""
    s = slopes(loss, x, y, fit)
    s /= len(s) if weight is None else weight.sum()
    s = s if weight is None else s * weight
    return np.append((s @ (x - x.mean(axis=0)) + l2 * fit.coef) / x.std(axis=0), s.sum())


@every_loss
@pytest.mark.parametrize("raw", [False, True], ids=["plain", "badly scaled"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_the_gradient_is_zero_at_the_optimum(loss, raw, weighted):
    x, y = data(loss, raw=raw)
    weight = np.random.default_rng(1).random(N) if weighted else None
    fit = fastgd.fit(x, y, loss, sample_weight=weight)
    assert fit.converged
    assert fit.method == "newton-lbfgs"
    assert fit.n_epochs < 15
    assert np.abs(gradient(loss, x, y, fit, weight)).max() < 1e-8
    assert fit.costs[0] > fit.cost


@every_loss
def test_with_a_penalty(loss):
    x, y = data(loss)
    fit = fastgd.fit(x, y, loss, l2=0.3)
    assert fit.converged
    found = slopes(loss, x, y, fit)
    assert np.abs(found @ x / N + 0.3 * fit.coef).max() < 1e-9
    assert abs(found.mean()) < 1e-9


@every_loss
@pytest.mark.parametrize("raw", [False, True], ids=["plain", "badly scaled"])
def test_lasso(loss, raw):
    """The conditions of Karush, Kuhn and Tucker, with exact zeros."""
    x, y = data(loss, raw=raw)
    fit = fastgd.fit(x, y, loss, l1=0.05)
    assert fit.converged
    found = slopes(loss, x, y, fit)
    # Of centred columns: a mean of 1e6 would multiply the rounding of the intercept's condition.
    by_coef, used = found @ (x - x.mean(axis=0)) / N, fit.coef != 0
    assert 0 < used.sum() < D
    assert np.abs(by_coef[used] + 0.05 * np.sign(fit.coef[used])).max() < 1e-6 * 0.05
    assert np.abs(by_coef[~used]).max() < 0.05
    assert abs(found.mean()) < 1e-8


def test_a_sample_gives_the_start_of_many_rows():
    x, y = data(POISSON, n=32 * 100 * (D + 1) + 5)
    fit = fastgd.fit(x, y, "poisson")
    assert fit.converged
    assert fit.n_epochs <= 6
    assert np.abs(gradient(POISSON, x, y, fit)).max() < 1e-9


def test_means_of_nine_orders_of_magnitude():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 3))
    y = rng.poisson(np.exp(np.clip(x @ [2.0, -1.5, 1.0] + 2, -7, 11.5)))
    assert y.max() > 9e4
    fit = fastgd.fit(x, y, "poisson")
    assert fit.converged
    assert np.abs(gradient(POISSON, x, y, fit)).max() < 1e-8 * y.mean()


def test_targets_at_the_ends_of_float64():
    x = data(POISSON)[0]
    for size in (1e-300, 1e300):
        fit = fastgd.fit(x, np.full(N, size), "poisson")
        assert fit.converged
        assert fit.intercept == pytest.approx(math.log(size), rel=1e-6)
    fit = fastgd.fit([1.0], [3], "poisson")
    assert fit.predict([1.0])[0] == pytest.approx(3.0)


@pytest.mark.parametrize("all_rows", [False, True])
def test_no_finite_optimum(all_rows):
    """Counts that are zero in a whole group, or everywhere."""
    x, y = data(POISSON)
    group = np.arange(N) % 7 == 0
    y[group | all_rows] = 0
    with pytest.warns(fastgd.ConvergenceWarning, match="no finite optimum: it falls for ever"):
        fit = fastgd.fit(np.column_stack([x, group]), y, "poisson")
    assert not fit.converged
    assert np.isfinite(fit.coef).all()
    assert fastgd.fit(np.column_stack([x, group]), y, "poisson", l2=1e-3).converged or all_rows


def test_dependent_columns_are_named():
    x, y = data(POISSON)
    with pytest.warns(fastgd.ConvergenceWarning, match="columns 0, 6 are linearly dependent"):
        fit = fastgd.fit(np.column_stack([x, 2 * x[:, 0]]), y, "poisson")
    assert fit.cost == pytest.approx(fastgd.fit(x, y, "poisson").cost, rel=1e-10)


def quartic(z, y):
    r = z - y
    return r * r * r * r


def quartic_slope(z, y):
    T = type(z)
    r = z - y
    return T(4) * r * r * r


def test_a_loss_of_your_own_without_a_second_derivative():
    own = Loss("quartic", quartic, quartic_slope)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, D)) * RAW[0]
    y = x / RAW[0] @ np.arange(D) + rng.standard_normal(N)
    fit = fastgd.fit(x, y, own)
    assert fit.converged
    assert np.abs(gradient(own, x, y, fit)).max() < 1e-7


def test_a_paused_fit_goes_on_to_the_same_bits():
    x, y = data(GAMMA, n=32 * 100 * (D + 1) + 5)
    whole = fastgd.fit(x, y, "gamma", callback=lambda fit: False)
    kept = []

    def stop(fit):
        kept.append(fit)
        return fit.n_epochs == 2

    fastgd.fit(x, y, "gamma", callback=stop)
    resumed = fastgd.fit(x, y, "gamma", resume=kept[-1])
    assert kept[-1].n_epochs == 2
    assert resumed.coef.tobytes() == whole.coef.tobytes()
    assert resumed.n_epochs == whole.n_epochs


@pytest.mark.parametrize("power", [0.0, 2.5, 3.0])
def test_a_loss_that_is_not_convex(power):
    """Rows with a negative second derivative have none in the metric; steps still descend."""
    x, y = data(GAMMA)
    loss = Tweedie(power)
    fit = fastgd.fit(x, y, loss)
    assert fit.converged
    assert np.abs(gradient(loss, x, y, fit)).max() < 1e-7


def test_what_is_refused():
    x, y = data(POISSON, n=50)
    for options in ({"optimizer": "gd"}, {"batch_size": 2}):
        with pytest.raises(fastgd.InputError, match="the loss 'poisson' has none"):
            fastgd.fit(x, y, "poisson", **options)


def test_the_inverse_of_a_link():
    for link, mean, wanted in (
        (math.exp, 3.0, math.log(3)), (math.exp, 1e-300, math.log(1e-300)), (float, -1e9, -1e9),
        (math.tanh, 0.5, math.atanh(0.5)), (math.tanh, 2.0, 0.0), (None, 2.0, 0.0),
        (float, math.nan, 0.0),
    ):  # fmt: skip
        assert inverse(link, mean) == pytest.approx(wanted, rel=1e-8, abs=1e-8)


def test_a_tolerance_with_l2_is_met_in_the_curvature_of_a_sample(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6_000, 3)) * [1.0, 10.0, 0.1]
    y = rng.poisson(np.exp(x @ [0.3, 0.05, 1.0]))
    monkeypatch.setattr(whitened, "_ROWS_A_COLUMN", 30)
    squares, moments = [], DenseRows.moments

    def watched(self, *arguments):
        squares.append(self.n)
        return moments(self, *arguments)

    monkeypatch.setattr(DenseRows, "moments", watched)
    given = dict(loss="poisson", l2=1e-3, tol=1e-6)
    fit = fastgd.fit(x, y, **given)
    assert fit.converged
    assert max(squares) < len(y)  # no Hessian of all rows
    exact = fastgd.fit(x, y, "poisson", l2=1e-3)
    assert max(squares) == len(y)
    np.testing.assert_allclose(fit.coef, exact.coef, rtol=0, atol=1e-6)
    stopped = fastgd.fit(x, y, **given, callback=lambda fit: True)
    assert stopped.n_epochs == 1
    resumed = fastgd.fit(x, y, **given, resume=stopped)
    assert np.array_equal(resumed.coef, fit.coef)
    assert resumed.n_epochs == fit.n_epochs
