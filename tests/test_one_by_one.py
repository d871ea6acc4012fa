"""Several outputs of a loss whose curvature has no bound, or whose slope jumps, against fits of each."""

import numpy as np
import pytest

import fastgd
from fastgd.losses import Quantile, Tweedie

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)) * [1, 100, 0.01] + [0, 5, 0]
MEANS = np.exp(np.column_stack([0.5 * X[:, 0], -0.003 * X[:, 1], 0 * X[:, 0] + 1]))
Y = RNG.poisson(MEANS).astype(float)
OFFSET = RNG.normal(size=Y.shape)
LOSSES = {"poisson": "poisson", "tweedie": Tweedie(1.3), "quantile": Quantile(0.7)}
OPTIONS = {
    "plain": {},
    "weights": {"sample_weight": RNG.random(len(X))},
    "l1": {"l1": 0.02},
    "l2": {"l2": 0.02, "fit_intercept": False},
    "sum": {"reduction": "sum", "l2": 1.0},
    "tol": {"tol": 1e-3},
    "one offset": {"offset": OFFSET[:, 0]},
    "offsets": {"offset": OFFSET},
    "F": {"coef_init": np.ones((3, 3)) * [0.1, 0.001, 0.1]},
}


def alone(loss, output, options):
    """The fit of one output whose objective is a third of the mean's, or its part of the sum."""
    own = dict(options)
    for name in ("l1", "l2"):
        if name in own and own.get("reduction") != "sum":
            own[name] *= 3
    for name in ("offset", "coef_init"):
        if np.ndim(own.get(name)) == 2:
            own[name] = own[name][:, output] if name == "offset" else own[name][output]
    return fastgd.fit(X, Y[:, output], loss, **own)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_are_those_of_their_own_fits(loss, options):
    given = OPTIONS[options]
    x = np.asfortranarray(X) if options == "F" else X
    fit = fastgd.fit(x, Y, LOSSES[loss], **given)
    each = [alone(LOSSES[loss], c, given) for c in range(3)]
    assert fit.converged
    assert fit.n_epochs == sum(one.n_epochs for one in each)
    np.testing.assert_allclose(fit.coef, [one.coef for one in each], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(fit.intercept, [one.intercept for one in each], rtol=1e-9)
    sums = given.get("reduction") == "sum"
    cost = (np.sum if sums else np.mean)([one.cost for one in each])
    assert fit.cost == pytest.approx(cost, rel=1e-12)
    if fit.method == "newton-lbfgs" and "l2" not in given:  # else it is the objective that falls
        assert (np.diff(fit.costs) <= 1e-12 * abs(fit.cost)).all()
    assert fit.method == each[0].method


@pytest.mark.parametrize("options", ["plain", "l1"])
def test_a_stopped_fit_goes_on_to_the_same_bits(options):
    given = OPTIONS[options] | {"keep_path": True}
    whole = fastgd.fit(X, Y, "poisson", callback=lambda fit: False, **given)
    for stop in range(1, whole.n_epochs):
        first = fastgd.fit(
            X, Y, "poisson", callback=lambda fit, stop=stop: fit.n_epochs == stop, **given
        )
        assert first.n_epochs == stop
        assert not first.converged
        rest = fastgd.fit(X, Y, "poisson", resume=first, **given)
        assert rest.coef.tobytes() == whole.coef.tobytes()
        assert rest.costs.tobytes() == whole.costs.tobytes()
        assert rest.path.tobytes() == whole.path.tobytes()
        assert rest.n_epochs == whole.n_epochs


def test_epochs_are_those_of_all_outputs():
    with pytest.warns(fastgd.ConvergenceWarning, match="after 9 epochs"):
        fit = fastgd.fit(X, Y, "poisson", epochs=9)
    assert fit.n_epochs == 9
    assert not fit.converged
    assert fit.coef[0].any()
    assert not fit.coef[2].any()  # not begun


def test_one_output_without_an_optimum_is_told():
    y = np.column_stack([Y[:, 0], 0 * Y[:, 1]])
    with pytest.warns(fastgd.ConvergenceWarning):
        fit = fastgd.fit(X, y, "poisson")
    assert not fit.converged
    np.testing.assert_allclose(fit.coef[0], fastgd.fit(X, y[:, 0], "poisson").coef, rtol=1e-9)
