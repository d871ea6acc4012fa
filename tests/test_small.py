"""The fast lane for small problems: the planned run's results, and only where nothing is unusual."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_fit import assert_same, expected, made

import fastgd
from fastgd import fit as fit_module
from fastgd.fitting import small


def fit_of(logistic):
    return fastgd.fit_logistic if logistic else fastgd.fit_linear


@pytest.fixture
def taken(monkeypatch):
    """The results of the lane so far: a Fit, or None where it left the fit to the planned run."""
    results = []
    attempt, planned = fit_module._ways()

    def watched(*arguments):
        results.append(attempt(*arguments))
        return results[-1]

    monkeypatch.setattr(fit_module, "_ways", lambda: (watched, planned))
    return results


def planned_fit(monkeypatch, logistic, *arguments, **options):
    with monkeypatch.context() as patch:
        _, planned = fit_module._ways()
        patch.setattr(fit_module, "_ways", lambda: (lambda *_: None, planned))
        return fit_of(logistic)(*arguments, **options)


@given(
    n=st.integers(2, 40),
    d=st.integers(1, 6),
    seed=st.integers(0, 99),
    logistic=st.booleans(),
    by_row=st.booleans(),
    shuffle=st.booleans(),
    l2=st.sampled_from([0.0, 0.3]),
    fit_intercept=st.booleans(),
    epochs=st.integers(1, 30),
)
def test_iterates_are_those_of_the_reference(n, d, seed, logistic, by_row, epochs, **options):
    x, y = made(n, d, seed, logistic=logistic)
    if logistic and len(set(y.tolist())) < 2:
        y[0] = 1 - y[0]
    run = {
        "lr": 0.01,
        "epochs": epochs,
        "batch_size": 1 if by_row else None,
        "seed": seed,
    } | options
    loss = fastgd.losses.LOSSES["bce" if logistic else "mse"]
    fit = small.attempt(
        loss, x, y, fastgd.fit_linear.__kwdefaults__ | run, fastgd.fit_linear.__kwdefaults__
    )
    coef, intercept, costs, *_ = expected(x, y, logistic, **run)
    if fit is None:  # only where the cost rose, which the planned run has to say
        start = expected(x, y, logistic, **(run | {"lr": 1e-300, "epochs": 1, "batch_size": None}))
        end = expected(x, y, logistic, **(run | {"epochs": epochs + 1, "batch_size": None}))
        assert by_row or end[2][-1] >= start[2][0] * (1 - 1e-12) or l2_rose(options, coef)
        return
    assert_same(fit, coef, intercept, costs)
    assert fit.converged
    assert fit.n_epochs == epochs
    assert fit.method == ("per-sample" if by_row else "stream")


def l2_rose(options, coef):
    return options["l2"] > 0 and np.square(coef).sum() > 0


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_planned_run_gives_the_same(monkeypatch, taken, logistic, batch_size, shuffle):
    x, y = made(20, 3, logistic=logistic)
    options = {"lr": 0.05, "epochs": 40, "batch_size": batch_size, "shuffle": shuffle, "seed": 3}
    fast = fit_of(logistic)(x.tolist(), y.tolist(), **options)
    assert taken == [fast]
    slow = planned_fit(monkeypatch, logistic, x, y, **options)
    assert_same(fast, slow.coef, slow.intercept, slow.costs)
    assert fast.cost == pytest.approx(slow.cost, rel=1e-12)
    for name in ("n_epochs", "converged", "method", "loss", "path"):
        assert getattr(fast, name) == getattr(slow, name), name
    for name in ("coef", "costs"):
        assert getattr(fast, name).dtype == getattr(slow, name).dtype
    assert type(fast.intercept) is type(slow.intercept)
    assert type(fast.cost) is type(slow.cost)
    if logistic:
        np.testing.assert_array_equal(fast.classes, slow.classes)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2, 3], [2, 4, 6]),
        ([[1], [2], [3]], [2.0, 4.0, 6.0]),
        (np.array([1, 2, 3], dtype=np.int8), np.array([2, 4, 6])),
        (np.arange(6.0)[::2], [2.0, 4.0, 6.0]),
        (np.asfortranarray(np.arange(6.0).reshape(3, 2)), [2.0, 4.0, 6.0]),
    ],
)
def test_taken_for_lists_and_arrays(taken, x, y):
    before = np.array(x)
    fit = fastgd.fit_linear(x, y, lr=0.01)
    assert taken == [fit]
    assert fit.n_epochs == 100
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        ([1, 2, 3], [2, 4, 6], {}),  # lr="auto"
        ([1, 2, 3], [2, 4, 6], {"lr": np.float64(0.1)}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.1, "batch_size": 2}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.1, "tol": 1e-3}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.1, "sample_weight": [1, 2, 3]}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.1, "coef_init": [1.0]}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.1, "keep_path": True}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.01, "reduction": "sum"}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.1, "callback": lambda fit: False}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.1, "shuffle": "block", "batch_size": 1}),
        (np.ones(3, np.float32), [2, 4, 6], {"lr": 0.1}),
        ([[1], [2], [3]], [[2, 1], [4, 1], [6, 1]], {"lr": 0.1}),
        (np.zeros((2000, 1)), np.ones(2000), {"lr": 0.1}),
        ([1, 2, 3], [2, 4, 6], {"lr": 0.01, "epochs": 400_000}),
    ],
)
def test_left_to_the_planned_run(taken, x, y, options):
    fit = fastgd.fit_linear(x, y, **options)
    assert taken == [None]
    assert np.isfinite(fit.cost)


def test_errors_and_warnings_are_those_of_the_planned_run(taken):
    with pytest.raises(fastgd.DivergenceError, match=r"lr=10.*lr up to") as caught:
        fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=10, epochs=1000)
    assert np.isfinite(caught.value.fit.coef).all()
    with pytest.warns(fastgd.ConvergenceWarning, match="rose"):
        fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.3, epochs=5)
    assert not fit.converged
    for x, y, message in (
        ([1, 2, np.nan], [1, 2, 3], "x is nan at row 2"),
        ([1, 2, 3], [1, np.inf, 3], "y is inf at row 1"),
        (["1", "2"], [1, 2], "holds text"),
        ([1, 2, 3], [1, 2], "x has 3 rows and y has 2"),
        ([[1, 2], [3]], [1, 2], "different lengths"),
        ([], [], "0 rows"),
        (np.array(3.0), [1], "expected"),
    ):
        with pytest.raises(fastgd.InputError, match=message):
            fastgd.fit_linear(x, y, lr=0.1)
    for lr in (0.01, 0.001):
        with pytest.raises(fastgd.DivergenceError, match="overflows"):
            fastgd.fit_linear([1, 2, 3], [1e308, 1e308, -1e308], lr=lr, epochs=2, batch_size=1)
    assert taken == [None] * 11
