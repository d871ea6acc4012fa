"""L-BFGS and its line search: whole trajectories against torch.optim.LBFGS."""

import itertools

import numpy as np
import oracles
import pytest
import torch

import fastgd
from fastgd.solvers import lbfgs, work
from fastgd.sources import work as source_work

#: max_iter, history_size, line_search_fn, lr.
GRID = [*itertools.product((1, 5, 20), (3, 100), (None, "strong_wolfe"), (1.0, 0.3))]


def torch_fit(x, y, loss, optimizer, lr, epochs, l2=0.0, fit_intercept=True, schedule=None):
    """The first cost of each call of `step`, and the coefficients after it."""
    coef = oracles.tensor(np.zeros(x.shape[1]), True)
    intercept = oracles.tensor(0.0, fit_intercept)
    rule = torch.optim.LBFGS(
        [coef, intercept][: 1 + fit_intercept],
        lr=lr,
        max_iter=optimizer.max_iter,
        max_eval=optimizer.max_eval,
        history_size=optimizer.history_size,
        line_search_fn=optimizer.line_search_fn,
    )
    scheduler = schedule and schedule(rule)
    x, y, costs, path = oracles.tensor(x), oracles.tensor(y), [], []

    def closure():
        rule.zero_grad()
        objective = oracles.LOSSES[loss](x @ coef + intercept, y) + l2 / 2 * (coef**2).sum()
        objective.backward()
        return objective

    for _ in range(epochs):
        penalty = l2 / 2 * (coef**2).sum().item()
        costs.append(rule.step(closure).item() - penalty)
        path.append(coef.detach().numpy().copy())
        if scheduler:
            scheduler.step()
    return np.array(costs), np.array(path), intercept.item()


def data(loss, n=200):
    x, *_ = oracles.problem(n, 6, loss)
    x = x * [1, 3, 0.5, 1, 2, 1]
    rng = np.random.default_rng(1)
    z = x @ rng.standard_normal(6) + rng.logistic(size=n)
    return x, (z > 0).astype(float) if loss == "bce" else z


def fit_of(loss):
    return fastgd.fit_logistic if loss == "bce" else fastgd.fit_linear


@pytest.fixture(params=["rows", "statistics"])
def way(request, monkeypatch):
    """Squared error on rows alone, or on statistics where they pay."""
    if request.param == "rows":
        monkeypatch.setattr(source_work, "moments_ns", lambda *shape: 1e18)
    return request.param


@pytest.mark.parametrize(("max_iter", "history_size", "line_search_fn", "lr"), GRID)
def test_50_epochs_follow_torch(loss_name, way, max_iter, history_size, line_search_fn, lr):
    """To 1e-9 over all 50 epochs: rounding grows by curvature pairs, but the optimum takes it back."""
    x, y = data(loss_name)
    optimizer = fastgd.LBFGS(
        max_iter=max_iter, history_size=history_size, line_search_fn=line_search_fn
    )
    with oracles.quiet():
        fit = fit_of(loss_name)(x, y, lr=lr, epochs=50, optimizer=optimizer, keep_path=True)
    costs, path, intercept = torch_fit(x, y, loss_name, optimizer, lr, 50)
    np.testing.assert_allclose(fit.costs, costs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.path, path, rtol=1e-9, atol=1e-9)
    assert fit.intercept == pytest.approx(intercept, rel=1e-9, abs=1e-9)
    assert fit.method == (
        "lbfgs-statistics" if (loss_name, way) == ("mse", "statistics") else "lbfgs"
    )


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_l2_schedules_and_few_passes(loss_name, way, line_search_fn, fit_intercept):
    x, y = data(loss_name)
    optimizer = fastgd.LBFGS(max_iter=4, max_eval=7, line_search_fn=line_search_fn)
    with oracles.quiet():
        fit = fit_of(loss_name)(
            x, y, lr=0.5, epochs=50, optimizer=optimizer, keep_path=True, l2=0.1,
            fit_intercept=fit_intercept, schedule=fastgd.schedules.StepLR(3, 0.5),
        )  # fmt: skip
    costs, path, intercept = torch_fit(
        x, y, loss_name, optimizer, 0.5, 50, l2=0.1, fit_intercept=fit_intercept,
        schedule=lambda rule: torch.optim.lr_scheduler.StepLR(rule, 3, 0.5),
    )  # fmt: skip
    np.testing.assert_allclose(fit.costs, costs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.path, path, rtol=1e-9, atol=1e-9)
    assert fit.intercept == pytest.approx(intercept, rel=1e-9, abs=1e-9)
    assert fit.lrs[4] == 0.25


@pytest.mark.parametrize("lr", [30.0, 1e4])
def test_a_wild_first_step_is_searched_back_as_torch_does(loss_name, lr):
    """Bracketing and narrowing, to where the interval closes."""
    x, y = data(loss_name)
    optimizer = fastgd.LBFGS(max_iter=10, line_search_fn="strong_wolfe")
    with oracles.quiet():
        fit = fit_of(loss_name)(x, y, lr=lr, epochs=3, optimizer=optimizer, keep_path=True)
    costs, path, _ = torch_fit(x, y, loss_name, optimizer, lr, 3)
    np.testing.assert_allclose(fit.costs, costs, rtol=1e-6)
    np.testing.assert_allclose(fit.path, path, rtol=1e-6, atol=1e-7)


def test_it_converges_with_its_defaults(loss_name):
    x, y = data(loss_name)
    fit = fit_of(loss_name)(x, y, optimizer="lbfgs", epochs=5)
    best = fit_of(loss_name)(x, y)
    np.testing.assert_allclose(fit.coef, best.coef, rtol=1e-3)  # its tolerance_change is 1e-9
    assert fit.lrs[0] == 1.0
    assert fit.converged
    again = fit_of(loss_name)(x, y, optimizer="lbfgs", epochs=5)
    np.testing.assert_array_equal(fit.coef, again.coef)


def test_several_outputs_and_weights():
    x, y = data("mse")
    y = np.column_stack([y, -2 * y + 1])
    weight = np.random.default_rng(0).random(len(y)) + 0.5
    fit = fastgd.fit_linear(x, y, optimizer="lbfgs", epochs=5, sample_weight=weight)
    best = fastgd.fit_linear(x, y, sample_weight=weight)
    np.testing.assert_allclose(fit.coef, best.coef, rtol=1e-5)
    np.testing.assert_allclose(fit.intercept, best.intercept, rtol=1e-5)


def test_tol_chunks_and_the_callback(loss_name, monkeypatch):
    x, y = data(loss_name)
    options = {"optimizer": fastgd.LBFGS(max_iter=2), "lr": 0.5, "keep_path": True}
    fit = fit_of(loss_name)(x, y, tol=1e-3, epochs=100, **options)
    assert fit.converged
    assert fit.n_epochs < 100
    assert fit.gradient_norms[-1] > 1e-3 * fit.gradient_norms[0]
    with oracles.quiet():
        whole = fit_of(loss_name)(x, y, epochs=9, **options)
        monkeypatch.setattr(work, "CHUNK_NS", 1.0)
        parts = fit_of(loss_name)(x, y, epochs=9, **options, callback=lambda fit: False)
        one = fit_of(loss_name)(x, y, epochs=9, **options, callback=lambda fit: True)
    np.testing.assert_array_equal(whole.coef, parts.coef)
    np.testing.assert_array_equal(whole.path[0], one.coef)


def test_divergence_is_told_with_the_last_finite_parameters():
    x, y = data("mse")
    with pytest.raises(fastgd.DivergenceError, match="strong_wolfe' finds a step") as caught:
        fastgd.fit_linear(x, y, lr=1e80, epochs=50, optimizer=fastgd.LBFGS(max_iter=3))
    assert np.isfinite(caught.value.fit.coef).all()
    assert np.isfinite(caught.value.fit.cost)


def test_ctrl_c_leaves_parameters_whose_cost_was_seen(monkeypatch):
    x, y = data("bce")
    passes = lbfgs.LBFGSDescent.totals

    def interrupted(self, *parameters, **options):
        if self._passes == 30:
            raise KeyboardInterrupt
        return passes(self, *parameters, **options)

    monkeypatch.setattr(lbfgs.LBFGSDescent, "totals", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fastgd.fit_logistic(x, y, optimizer=fastgd.LBFGS(max_iter=4))
    assert 0 < caught.value.fit.n_epochs < 100
    assert np.isfinite(caught.value.fit.coef).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastgd.LBFGS(max_eval=0), "max_eval of LBFGS is 0; expected a number from 1 up"),
        (lambda: fastgd.LBFGS(max_iter=2.5), "max_iter of LBFGS is 2.5; expected an integer"),
        (
            lambda: fastgd.fit_linear(
                [[1.0], [2]], [[1.0, 2], [2, 1]], optimizer="lbfgs", lr=[1, 2]
            ),
            "takes one step for all outputs",
        ),
        (
            lambda: fastgd.fit_linear([1.0, 2], [1.0, 2], optimizer="lbfgs", batch_size=1),
            "looks at all rows",
        ),
    ],
)
def test_odd_options_are_answered_with_a_sentence(make, message):
    with pytest.raises(fastgd.InputError, match=message):
        make()
