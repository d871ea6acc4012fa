"""Sufficient statistics: moments against NumPy, and the descent on them against the textbook loop."""

import numpy as np
import oracles
import pytest
from oracles import read_only

import fastgd
from fastgd import reference
from fastgd.cpu import statistics
from fastgd.losses import LOSSES
from fastgd.sources import work
from fastgd.sources.dense import DenseRows

EXACT = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture
def free_statistics(monkeypatch):
    """Statistics cost nothing, so that they are used from the first epoch on."""
    monkeypatch.setattr(work, "moments_ns", lambda n, d, k: -1e12)


def numpy_moments(x, y, weight, center, scale, y_center):
    z = np.column_stack([np.ones(len(x)), (x - center) * scale, y.T - y_center]).astype(float)
    return z.T @ (z if weight is None else z * weight[:, None])


@pytest.mark.parametrize("by_columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("k", [1, 2])
def test_moments_are_those_of_numpy(shape, dtype, weighted, by_columns, k):
    n, d = shape
    x, y, weight, *_ = oracles.problem(n, d, dtype=dtype)
    y = np.stack([y + c for c in range(k)])
    center, scale, y_center = np.linspace(-1, 2, d), np.linspace(0.5, 3, d), np.arange(k) + 0.5
    wide = 1 + d + k
    moments = np.zeros((-(-wide // 4) * 4,) * 2)
    arrays = [
        read_only(np.ascontiguousarray(x.T if by_columns else x)),
        read_only(y),
        read_only(weight if weighted else weight[:0]),
    ]
    for first, last in ((0, n // 3), (n // 3, n)):  # parts add up
        statistics.add_moments(
            by_columns, *arrays, center, scale, y_center, first, last, 0, moments
        )
    wanted = numpy_moments(x, y, weight if weighted else None, center, scale, y_center)
    upper = np.triu(moments)
    np.testing.assert_allclose(upper[:wide, :wide], np.triu(wanted), rtol=1e-12, atol=1e-11)
    assert not upper[wide:].any()
    assert not upper[:, wide:].any()


def test_offset_says_which_samples_the_rows_are():
    x, y, weight, *_ = oracles.problem(30, 2)
    rows, moments = slice(12, 25), np.zeros((4, 4))
    statistics.add_moments(
        False, read_only(x[10:25]), read_only(y[None]), read_only(weight),
        np.zeros(2), np.ones(2), np.zeros(1), 2, 15, 10, moments,
    )  # fmt: skip
    wanted = numpy_moments(x[rows], y[None, rows], weight[rows], 0, 1, 0)
    np.testing.assert_allclose(np.triu(moments), np.triu(wanted), rtol=1e-13)


@pytest.mark.parametrize("anchor_at", ["zero", "elsewhere"])
def test_totals_elsewhere_follow_from_an_anchor(weighted, anchor_at):
    """Cost and gradient at any parameters, from a true pass at others, without the data."""
    x, y, weight, coef, intercept = oracles.problem(40, 3)
    x += [0.0, 20.0, -3.0]
    center, mass = x.mean(axis=0) + 0.1, weight if weighted else np.ones(40)
    a = np.column_stack([x - center, np.ones(40)])
    second = a.T @ (a * mass[:, None])
    source = DenseRows(x, y[None], weight if weighted else None, np.float64, 1)
    anchor = coef[None] * (anchor_at != "zero"), np.array([intercept]) * (anchor_at != "zero")
    totals = np.empty((2, 5))
    there = np.array([[0.5, -1.0, 2.0]]), np.array([-0.7])
    cost = statistics.totals_at(
        source.totals(LOSSES["mse"], *anchor), *anchor, second, center, *there, totals
    )
    wanted = source.totals(LOSSES["mse"], *there)
    np.testing.assert_allclose(totals[:1], wanted, rtol=1e-11)
    assert cost == pytest.approx(wanted[0, -1], rel=1e-12)


def compare(x, y, *, epochs=60, **options):
    """`fit_linear` on statistics, and the textbook's run of the same call."""
    fit = fastgd.fit_linear(x, y, epochs=epochs, keep_path=True, **options)
    assert fit.method == "statistics"
    names = {"sample_weight": "weight", "coef_init": "coef", "intercept_init": "intercept"}
    options = {names.get(key, key): np.array(v).tolist() for key, v in options.items()}
    options.setdefault("coef", [0.0] * x.shape[1])
    wanted = reference.batch_gd(x.tolist(), y.tolist(), epochs=epochs, **options)
    for part, twin in zip((fit.coef, fit.intercept, fit.costs, fit.path), wanted, strict=True):
        np.testing.assert_allclose(part, twin, **EXACT)
    return fit


@pytest.mark.usefixtures("free_statistics")
@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_iterates_are_those_of_the_textbook(shape, reduction, weighted, l2, fit_intercept):
    x, y, weight, *_ = oracles.problem(*shape)
    lr = 0.01 if reduction == "mean" else 0.01 / shape[0]
    options = {"sample_weight": weight} if weighted else {}
    compare(
        x, y, epochs=20, lr=lr, reduction=reduction, l2=l2, fit_intercept=fit_intercept, **options
    )


@pytest.mark.usefixtures("free_statistics")
@pytest.mark.parametrize("offset", [[0, 30, 0], [2020, -5, 1e-3]], ids=str)
def test_columns_far_from_zero(weighted, offset):
    x, y, weight, *_ = oracles.problem(50, 3)
    x += offset
    lr = 0.5 / np.square(x).sum(axis=1).max()
    compare(x, y, lr=lr, **({"sample_weight": weight} if weighted else {}))


@pytest.mark.usefixtures("free_statistics")
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_start_elsewhere(order):
    x, y, _, coef, intercept = oracles.problem(50, 3)
    compare(np.asarray(x, order=order), y, lr=0.05, coef_init=coef, intercept_init=intercept)


@pytest.mark.usefixtures("free_statistics")
def test_several_targets():
    x, y, *_ = oracles.problem(50, 3)
    y = np.column_stack([y, 3 - y])
    fit = fastgd.fit_linear(x, y, lr=0.1, epochs=30)
    assert fit.method == "statistics"
    for c in range(2):  # the mean over both targets halves the step of each
        coef, intercept, *_ = reference.batch_gd(
            x.tolist(), y[:, c].tolist(), [0.0] * 3, lr=0.05, epochs=30
        )
        np.testing.assert_allclose(fit.coef[c], coef, **EXACT)
        np.testing.assert_allclose(fit.intercept[c], intercept, **EXACT)


@pytest.mark.usefixtures("free_statistics")
def test_float32():
    x, y, *_ = oracles.problem(60, 3, dtype=np.float32)
    fit = fastgd.fit_linear(x, y, lr=0.1, epochs=40)
    coef, intercept, costs, _ = reference.batch_gd(
        x.tolist(), y.tolist(), [0.0] * 3, lr=0.1, epochs=40
    )
    assert fit.method == "statistics"
    assert fit.coef.dtype == np.float32
    np.testing.assert_allclose(fit.coef, coef, rtol=2e-6)
    np.testing.assert_allclose(fit.intercept, intercept, rtol=2e-6)
    np.testing.assert_allclose(fit.costs, costs, rtol=2e-6)


@pytest.mark.usefixtures("free_statistics")
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_a_cost_that_falls_by_far_keeps_its_digits(monkeypatch, level):
    """y is met exactly: the cost falls through all digits, from one fresh anchor to the next."""
    passes = []
    true_pass = DenseRows.totals
    monkeypatch.setattr(
        DenseRows, "totals", lambda *a, **options: passes.append(0) or true_pass(*a, **options)
    )
    x, *_ = oracles.problem(40, 2)
    y = x @ [2.0, -1.0] + level
    fit = fastgd.fit_linear(x, y, lr=0.3, epochs=60, dtype=float)  # not the fast lane
    assert fit.method == "statistics"
    _, _, costs, _ = reference.batch_gd(x.tolist(), y.tolist(), [0.0, 0.0], lr=0.3, epochs=60)
    costs = np.array(costs)
    assert costs[-1] < 1e-12 * costs[0]
    # A residual is as exact as y: what that makes of the cost is common to both.
    residual = 1e-15 * np.abs(y).max()
    bound = 1e-9 * costs + 4 * residual * np.sqrt(costs) + residual**2
    assert (np.abs(fit.costs - costs) <= bound).all()
    assert (fit.costs >= 0).all()
    assert 2 <= len(passes) < 10


def test_enough_epochs_go_over_to_statistics():
    """The choice rests on shapes and epochs: few epochs stream, many don't, both as the textbook."""
    x, y, *_ = oracles.problem(200, 2)
    assert fastgd.fit_linear(x, y, lr=0.01, epochs=10).method == "stream"
    compare(x, y, lr=0.01, epochs=120)


def test_a_run_that_may_stop_streams_first():
    """It goes over to statistics once it has spent what they cost, in the middle of its iterates."""
    x, y, *_ = oracles.problem(200, 2)
    fit = compare(x, y, lr=0.01, epochs=150)
    seen = []
    watched = fastgd.fit_linear(x, y, lr=0.01, epochs=150, callback=lambda fit: seen.append(fit))
    assert watched.method == "statistics"
    np.testing.assert_allclose(watched.costs, fit.costs, **EXACT)
    np.testing.assert_allclose(watched.coef, fit.coef, **EXACT)
