"""Optimizers, schedules, l1 and averages on a GPU are those of the CPU."""

import numpy as np
import oracles
import pytest

import fastgd
from fastgd.cuda.driver import cuda
from fastgd.optimizers import OPTIMIZERS

ELEMENTWISE = [name for name in OPTIMIZERS if name != "lbfgs"]
OPTIONS = {
    "schedule": {"schedule": lambda epoch: 1 / (epoch + 1)},
    "l1": {"l1": 0.05},
    "rates": {"lr": [0.02, 0.05], "reduction": "sum"},
    "no intercept": {"fit_intercept": False, "optimizer": "adam"},
}


@pytest.mark.parametrize("batch_size", [None, 1, 5], ids="batch{}".format)
@pytest.mark.parametrize("case", [*ELEMENTWISE, *OPTIONS])
def test_a_fit_is_the_one_on_the_cpu(case, batch_size):
    x, y, *_ = oracles.problem(16, 3, "mse")
    options = {"lr": 0.02, "epochs": 3, "batch_size": batch_size, "keep_path": True}
    options |= OPTIONS.get(case, {"optimizer": case})
    y = np.stack([y, -2 * y], axis=1)
    with oracles.quiet():
        found = fastgd.fit_linear(cuda.to_device(x), y, **options)
        wanted = fastgd.fit_linear(x, y, **options)
    np.testing.assert_allclose(found.path, wanted.path, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.intercept, wanted.intercept, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.costs, wanted.costs, rtol=1e-9)
    if batch_size is None:
        np.testing.assert_allclose(found.gradient_norms, wanted.gradient_norms, rtol=1e-8)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_averages(batch_size):
    x, y, *_ = oracles.problem(16, 3, "bce")
    options = {"lr": 0.1, "epochs": 3, "batch_size": batch_size, "average": True}
    found = fastgd.fit_logistic(cuda.to_device(x), y, **options)
    np.testing.assert_allclose(found.coef, fastgd.fit_logistic(x, y, **options).coef, rtol=1e-9)


def test_what_is_remembered_outlives_a_chunk(monkeypatch):
    from fastgd.solvers.on_device import DeviceDescent

    x, y, *_ = oracles.problem(16, 3, "bce")
    options = {"lr": 0.1, "epochs": 5, "optimizer": "adam", "schedule": lambda epoch: 0.9**epoch}
    whole = fastgd.fit_logistic(cuda.to_device(x), y, **options)
    monkeypatch.setattr(DeviceDescent, "chunk", 1)
    parts = fastgd.fit_logistic(cuda.to_device(x), y, **options)
    np.testing.assert_array_equal(whole.coef, parts.coef)


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_lbfgs(loss, line_search_fn):
    """Squared error on a device goes over to statistics, as on the CPU, if later."""
    x, y, *_ = oracles.problem(16, 3, loss)
    fit = fastgd.fit_logistic if loss == "bce" else fastgd.fit_linear
    optimizer = fastgd.LBFGS(max_iter=4, line_search_fn=line_search_fn)
    options = {"lr": 0.5, "epochs": 2, "l2": 0.1, "optimizer": optimizer, "keep_path": True}
    with oracles.quiet():
        found, wanted = fit(cuda.to_device(x), y, **options), fit(x, y, **options)
    np.testing.assert_allclose(found.path, wanted.path, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.costs, wanted.costs, rtol=1e-9)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_l1_without_a_learning_rate(loss):
    x, y, *_ = oracles.problem(16, 3, loss)
    fit = fastgd.fit_logistic if loss == "bce" else fastgd.fit_linear
    options = {"l1": 0.05, "l2": 0.05, "tol": 1e-6}
    found, wanted = fit(cuda.to_device(x), y, **options), fit(x, y, **options)
    assert found.method == wanted.method
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found.coef == 0, wanted.coef == 0)
