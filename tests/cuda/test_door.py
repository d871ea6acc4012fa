"""The door: data on the GPU is fitted there, and everyone else hears exactly what is missing."""

import numpy as np
import pytest

import fastgd
from fastgd.cuda import driver

cuda = driver.cuda


def problem(n=40, d=2, logistic=False):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    z = x @ np.arange(1.0, d + 1) + 0.5 + rng.standard_normal(n)
    return x, (z > 0).astype(float) if logistic else z


def assert_same(fit, other):
    np.testing.assert_allclose(fit.coef, other.coef, rtol=1e-9)
    np.testing.assert_allclose(fit.intercept, other.intercept, rtol=1e-9)
    # How many refinements rounding allows may differ by one.
    both = min(fit.n_epochs, other.n_epochs)
    np.testing.assert_allclose(fit.costs[:both], other.costs[:both], rtol=1e-9)
    np.testing.assert_allclose(fit.cost, other.cost, rtol=1e-9)
    assert type(fit.coef) is np.ndarray
    assert fit.method == other.method


@pytest.mark.parametrize("place", ["on the GPU", "moved"])
@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("options", [{"lr": 0.1, "epochs": 2}, {}], ids=["numeric", "auto"])
def test_the_fit_is_the_one_on_the_cpu(place, logistic, options):
    x, y = problem(logistic=logistic)
    fit = fastgd.fit_logistic if logistic else fastgd.fit_linear
    l2 = {"l2": 0.01}
    if place == "moved":
        got = fit(x, y, device="cuda", **options, **l2)
    else:
        got = fit(cuda.to_device(x), cuda.to_device(y), **options, **l2)
    assert_same(got, fit(x, y, **options, **l2, n_threads=1))


@pytest.mark.parametrize("batch_size", [1, 7])
def test_stochastic_fits_walk_the_same_order(batch_size):
    x, y = problem()
    options = {"lr": 0.05, "epochs": 2, "batch_size": batch_size}
    got = fastgd.fit_linear(cuda.to_device(x), cuda.to_device(y), **options)
    assert_same(got, fastgd.fit_linear(x, y, **options))


def test_predictions_of_data_on_the_gpu():
    x, y = problem()
    fit = fastgd.fit_linear(x, np.column_stack([y, -y]))
    np.testing.assert_allclose(fit.predict(cuda.to_device(x)), fit.predict(x), rtol=1e-12)
    x, y = problem(logistic=True)
    fit = fastgd.fit_logistic(x, y)
    there = cuda.to_device(np.asfortranarray(x))
    np.testing.assert_allclose(fit.predict_proba(there), fit.predict_proba(x), rtol=1e-12)
    assert fit.score(there, y) == fit.score(x, y)
    with pytest.raises(fastgd.InputError, match="x has 1 columns; this fit has 2 coefficients"):
        fit.predict(cuda.to_device(x[:, :1].copy()))
    x[3, 0] = np.nan
    with pytest.raises(fastgd.InputError, match="prediction of row 3 is not finite"):
        fit.predict(cuda.to_device(x))


def test_y_and_weights_may_stay_on_the_host():
    x, y = problem()
    weight = np.linspace(0.5, 1.5, len(y))
    got = fastgd.fit_linear(cuda.to_device(x), y, lr=0.1, epochs=2, sample_weight=weight)
    assert_same(got, fastgd.fit_linear(x, y, lr=0.1, epochs=2, sample_weight=weight))


def test_y_that_lies_in_steps():
    x, y = problem()
    table = cuda.to_device(np.column_stack([y, -y]))
    options = {"lr": 0.1, "epochs": 2}
    got = fastgd.fit_linear(cuda.to_device(x), table[::-1, 1], **options)
    assert_same(got, fastgd.fit_linear(x, -y[::-1], **options))


def test_places_that_don_t_fit_together():
    x, y = problem()
    on_gpu = cuda.to_device(x)
    for arguments, options, message in (
        ((on_gpu, y), {"device": "cpu"}, "x is on a GPU and device is 'cpu'"),
        ((x, cuda.to_device(y)), {}, "y is on a GPU and x is on the host"),
        ((x, y), {"device": "cuda:3"}, "moved to 'cuda:0' only"),
        ((x, y), {"device": "tpu"}, "choose from 'cpu', 'cuda'"),
        ((cuda.to_device(np.zeros((2, 2, 2))), y), {}, r"shape \(2, 2, 2\)"),
        ((cuda.to_device(x[:5]), y), {}, "x has 5 rows and y has 40"),
        ((on_gpu, cuda.to_device(np.zeros((40, 1, 1)))), {}, r"y has shape \(40, 1, 1\)"),
    ):
        with pytest.raises(fastgd.InputError, match=message):
            fastgd.fit_linear(*arguments, **options)


def test_nan_on_the_gpu_is_named():
    x, y = problem()
    x[7, 1] = np.nan
    with pytest.raises(fastgd.InputError, match="x is nan at row 7, column 1"):
        fastgd.fit_linear(cuda.to_device(x), y, lr=0.1, epochs=2)


@pytest.mark.filterwarnings("ignore:.*overflow:RuntimeWarning")  # of the simulator's numbers
def test_divergence_names_a_stable_step():
    x, y = problem()
    with pytest.raises(fastgd.DivergenceError, match="lr up to") as caught:
        fastgd.fit_linear(cuda.to_device(x), y, lr=1e100, epochs=3)
    assert np.isfinite(caught.value.fit.coef).all()


@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")  # patience may outlast the epochs
@pytest.mark.parametrize("options", [{}, {"batch_size": 8}])
def test_early_stopping_on_rows_there(options):
    x, y = problem()
    there, held = cuda.to_device(x), x[:10].copy()
    options |= {"lr": 0.1, "epochs": 4, "patience": 1}
    wanted = fastgd.fit_linear(x, y, validation=(held, y[:10] + x[:10, 0]), **options)
    rows = cuda.to_device(held), y[:10] + x[:10, 0]
    got = fastgd.fit_linear(there, y, validation=rows, **options)
    assert_same(got, wanted)
    assert got.best_epoch == wanted.best_epoch
    np.testing.assert_allclose(got.validation_costs, wanted.validation_costs, rtol=1e-9)
    moved = fastgd.fit_linear(x, y, device="cuda", validation=0.25, **(options | {"patience": 9}))
    same = fastgd.fit_linear(x, y, validation=0.25, **(options | {"patience": 9}))
    np.testing.assert_allclose(moved.validation_costs, same.validation_costs, rtol=1e-9)
    with pytest.raises(fastgd.InputError, match="x is on a GPU; pass validation as a tuple"):
        fastgd.fit_linear(there, y, validation=0.25, **options)
    with pytest.raises(
        fastgd.InputError, match="in validation, x lies elsewhere than the x to train"
    ):
        fastgd.fit_linear(there, y, validation=(held, y[:10]), **options)
