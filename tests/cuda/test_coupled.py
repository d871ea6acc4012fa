"""Softmax on a GPU: the pass against the reference and the CPU's, and fits against the CPU's."""

import math

import numpy as np
import pytest

import fastgd
from fastgd import reference
from fastgd.cuda import driver
from fastgd.cuda.layout import coupled_layout, rows_of_coupled_part
from fastgd.losses import CROSS_ENTROPY
from fastgd.solvers.on_device import DeviceDescent
from fastgd.sources import streamed
from fastgd.sources.dense import DenseRows
from fastgd.sources.device import DeviceRows

LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
}
every_layout = pytest.mark.parametrize("lay", LAYOUTS.values(), ids=LAYOUTS)


def made(n, d, k, dtype=np.float64, seed=0):
    """x (n, d), classes (n,), weights (n,), coef (k, d) and intercept (k,)."""
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((n, d)), rng.random(n) + 0.1
    y = np.concatenate([np.arange(k), rng.integers(0, k, n)])[:n]
    coef, intercept = rng.standard_normal((k, d)) / math.sqrt(d), rng.standard_normal(k)
    return x.astype(dtype), y, *(a.astype(dtype) for a in (weight, coef, intercept))


def source_of(x, y, weight, k, dtype=np.float64, rows=DeviceRows):
    return rows(x, y[None].astype(dtype), weight, dtype, 1, k)


def expected_totals(x, y, weight, coef, intercept):
    """As `totals` has them, but for the cost, which is that of all classes."""
    given = x.tolist(), y.tolist(), coef.tolist(), intercept.tolist()
    weight = None if weight is None else weight.tolist()
    by_coef, by_intercept = reference.softmax_gradient(*given, weight, "sum")
    return np.column_stack([by_coef, by_intercept]), reference.softmax_cost(*given, weight, "sum")


# --- the pass ----------------------------------------------------------------------------------------

#: One number; d > n; fewer classes than a tile has, as many, and more; several tiles of columns and rows.
SHAPES = [(1, 1, 2), (33, 5, 3), (6, 40, 10), (70, 1, 4), (40, 33, 32), (35, 3, 40), (3, 34, 65)]


@every_layout
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_totals_are_those_of_the_reference(n, d, k, lay, weighted, dtype, close):
    x, y, weight, coef, intercept = made(n, d, k, dtype)
    weight = weight if weighted else None
    source = source_of(lay(x), y, weight, k, dtype)
    slopes, cost = expected_totals(x, y, weight, coef, intercept)
    found = source.totals(CROSS_ENTROPY, coef, intercept)
    assert found.shape == (k, d + 2)
    close(found[:, :-1] / n, slopes / n)
    close(found[:, -1].sum(), cost)
    alone = source.totals(CROSS_ENTROPY, coef, intercept, slopes_too=False)
    close(alone[:, -1].sum(), cost)
    assert not alone[:, :-1].any()


@every_layout
def test_columns_are_centred_in_passing(lay, weighted):
    x, y, weight, coef, intercept = made(40, 35, 5, np.float32)
    weight = weight if weighted else None
    at = coef.astype(float), intercept.astype(float), x.mean(axis=0, dtype=float)
    found, wanted = (
        source_of(lay(x), y, weight, 5, rows=rows).totals(CROSS_ENTROPY, *at)
        for rows in (DeviceRows, DenseRows)
    )
    np.testing.assert_allclose(found[:, :-1], wanted[:, :-1], rtol=1e-11, atol=1e-11)
    assert found[:, -1].sum() == pytest.approx(wanted[:, -1].sum(), rel=1e-12)


@pytest.mark.thin(1)
@pytest.mark.parametrize("threads", [32, 64, 128])
@pytest.mark.parametrize("k", [3, 10, 70])
def test_every_number_of_warps(threads, k, monkeypatch):
    monkeypatch.setattr(DeviceRows, "threads", threads)
    x, y, weight, coef, intercept = made(70, 9, k)
    found, wanted = (
        source_of(x, y, weight, k, rows=rows).totals(CROSS_ENTROPY, coef, intercept)
        for rows in (DeviceRows, DenseRows)
    )
    np.testing.assert_allclose(found[:, :-1], wanted[:, :-1], rtol=1e-11, atol=1e-11)
    assert found[:, -1].sum() == pytest.approx(wanted[:, -1].sum(), rel=1e-12)


def test_predictions_far_out():
    """One class is all but certain, or as likely as another, at 1e4."""
    x = np.array([[1e4], [-1e4], [1.0]])
    y, coef, intercept = np.array([0, 1, 2]), np.array([[1.0], [1.0], [-1.0]]), np.zeros(3)
    slopes, cost = expected_totals(x, y, None, coef, intercept)
    found = source_of(x, y, None, 3).totals(CROSS_ENTROPY, coef, intercept)
    np.testing.assert_allclose(found[:, :-1], slopes, rtol=1e-12)
    assert found[:, -1].sum() == pytest.approx(cost, rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*(invalid value|overflow):RuntimeWarning")
def test_nan_and_infinity_are_passed_on():
    for bad in (np.nan, np.inf):
        x, y, weight, coef, intercept = made(40, 5, 3)
        x[17, 2] = bad
        found = source_of(x, y, weight, 3).totals(CROSS_ENTROPY, coef, intercept)
        assert not np.isfinite(found[:, -1].sum())


def test_layouts_fit_into_a_block():
    """Whose shared memory is limited; parts are whole turns of a block, and few."""
    for d, k in ((1, 2), (5, 3), (784, 10), (100, 100), (4096, 1000)):
        lay = coupled_layout(d, k, False)
        assert lay.classes % (lay.threads // lay.rows) == 0
        tiles = (lay.rows + 1) * (lay.columns + lay.classes) + lay.columns * lay.classes
        shared = 8 * (tiles + 4 * lay.rows + lay.threads // lay.rows)
        assert shared <= 48 << 10
        for n in (1, 1000, 10**7):
            rows = rows_of_coupled_part(n, d, k, lay)
            assert rows % lay.rows == 0
            assert -(-n // rows) * k * (d + 2) <= max(1 << 25, k * (d + 2))


# --- fits --------------------------------------------------------------------------------------------


def assert_same(found, wanted, rtol=1e-9):
    for name in ("coef", "intercept", "costs", "cost"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(wanted, name), rtol=rtol, atol=1e-3 * rtol, err_msg=name
        )
    assert (found.n_epochs, found.method) == (wanted.n_epochs, wanted.method)


WAYS = {
    "gd": {"lr": 0.3},
    "adam": {"lr": 0.1, "optimizer": "adam"},
    "nesterov": {"lr": 0.1, "optimizer": "nesterov", "schedule": lambda epoch: 1 / (epoch + 1)},
    "l1": {"lr": 0.3, "l1": 0.05},
    "l2 sum": {"lr": 0.01, "l2": 0.1, "reduction": "sum"},
    "rates": {"lr": [0.1, 0.2, 0.3]},
    "no intercept": {"lr": 0.3, "fit_intercept": False},
    "balanced": {"lr": 0.3, "class_weight": "balanced"},
    "tol": {"lr": 0.5, "tol": 0.7, "epochs": 20, "l2": 0.5},
    "lbfgs": {"lr": 0.5, "optimizer": "lbfgs"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_fit_is_the_one_on_the_cpu(way, weighted):
    x, y, weight, *_ = made(40, 4, 3)
    options = {"epochs": 4, "keep_path": True, "sample_weight": weight if weighted else None}
    options |= WAYS[way]
    laid = np.asfortranarray(x) if weighted else x
    found = fastgd.fit_logistic(driver.cuda.to_device(laid), driver.cuda.to_device(y), **options)
    wanted = fastgd.fit_logistic(x, y, **options)
    assert_same(found, wanted)
    np.testing.assert_allclose(found.path, wanted.path, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.gradient_norms, wanted.gradient_norms, rtol=1e-8)


def test_a_fit_in_single_precision():
    x, y, *_ = made(40, 4, 5, np.float32)
    found = fastgd.fit_logistic(x, y, lr=0.3, epochs=5, device="cuda")
    assert found.coef.dtype == np.float32
    assert_same(found, fastgd.fit_logistic(x, y, lr=0.3, epochs=5), 1e-5)


@pytest.mark.parametrize(
    ("shape", "batch_size", "lay"),
    [
        ((20, 4, 3), 1, "C"),
        ((40, 4, 3), 39, "F"),
        ((40, 3, 35), 7, "strided"),
        ((40, 35, 5), 39, "C"),
    ],
    ids=str,
)
def test_updates_walk_the_same_order(shape, batch_size, lay, weighted, dtype, close):
    """39 leaves a batch of one row."""
    x, y, weight, coef, intercept = made(*shape, dtype)
    options = {
        "lr": 0.02, "epochs": 2, "l2": 0.01, "batch_size": batch_size, "keep_path": True,
        "sample_weight": weight if weighted else None, "coef_init": coef, "intercept_init": intercept,
    }  # fmt: skip
    found = fastgd.fit_logistic(LAYOUTS[lay](x), y, device="cuda", **options)
    wanted = fastgd.fit_logistic(x, y, **options)
    for name in ("path", "intercept", "costs", "cost"):
        close(getattr(found, name), getattr(wanted, name))
    assert (found.n_epochs, found.method) == (wanted.n_epochs, wanted.method)


UPDATES = {
    "adam": {"optimizer": "adam"},
    "nesterov": {"optimizer": "nesterov", "schedule": lambda epoch: 1 / (epoch + 1)},
    "l1": {"l1": 0.05},
    "rates": {"lr": [0.01, 0.02, 0.04], "reduction": "sum", "optimizer": "adam"},
    "no intercept": {"fit_intercept": False, "shuffle": False},
    "block": {"shuffle": "block", "class_weight": "balanced"},
    "average": {"average": True},
    "auto": {"lr": "auto"},
    "tol": {"tol": 0.5, "l2": 0.2},
    "validation": {"validation": 0.3, "patience": 9},
}


@pytest.mark.parametrize("batch_size", [1, 7], ids="batch{}".format)
@pytest.mark.parametrize("way", UPDATES)
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")  # few epochs
def test_stochastic_fits(way, batch_size):
    x, y, *_ = made(24, 4, 3)
    options = {"lr": 0.1, "epochs": 2, "batch_size": batch_size} | UPDATES[way]
    found = fastgd.fit_logistic(x, y, device="cuda", **options)
    assert_same(found, fastgd.fit_logistic(x, y, **options))


@pytest.mark.parametrize("options", [{"l2": 0.1}, {"l1": 0.02}, {"l1": 0.02, "l2": 0.1}], ids=str)
def test_without_a_learning_rate(options):
    x, y, *_ = made(40, 3, 3)
    found = fastgd.fit_logistic(driver.cuda.to_device(x * [1, 50, 1] + 3), y, tol=1e-6, **options)
    wanted = fastgd.fit_logistic(x * [1, 50, 1] + 3, y, tol=1e-6, **options)
    assert found.converged
    assert found.method == wanted.method
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(found.coef == 0, wanted.coef == 0)


def test_auto_with_an_optimizer():
    x, y, *_ = made(40, 3, 3)
    found = fastgd.fit_logistic(x, y, optimizer="gd", epochs=3, device="cuda")
    assert_same(found, fastgd.fit_logistic(x, y, optimizer="gd", epochs=3), 1e-6)


def test_what_is_separable_is_told():
    x, y = np.arange(30.0) + np.arange(30) // 10, np.arange(30) // 10
    with pytest.warns(fastgd.ConvergenceWarning, match="the labels are separable"):
        fastgd.fit_logistic(x, y, device="cuda")


@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")  # patience may outlast the epochs
def test_early_stopping():
    x, y, *_ = made(60, 3, 4)
    options = {"lr": 0.5, "epochs": 5, "patience": 1}
    for validation in (0.3, (x[:20] + 0.5, y[:20])):
        found, wanted = (
            fastgd.fit_logistic(x, y, validation=validation, device=device, **options)
            for device in ("cuda", None)
        )
        assert_same(found, wanted)
        assert found.best_epoch == wanted.best_epoch
        np.testing.assert_allclose(found.validation_costs, wanted.validation_costs, rtol=1e-9)


def test_chunks_end_where_one_launch_ends(monkeypatch):
    x, y, *_ = made(40, 4, 3, np.float32)
    options = {"lr": 0.1, "epochs": 5, "optimizer": "adam", "device": "cuda"}
    whole = fastgd.fit_logistic(x, y, **options)
    monkeypatch.setattr(DeviceDescent, "chunk", 2)
    parts = fastgd.fit_logistic(x, y, **options)
    np.testing.assert_array_equal(whole.coef, parts.coef)


def test_labels_and_predictions():
    x, y, *_ = made(40, 3, 4)
    names = np.array(["d", "b", "c", "a"])[y]
    there = driver.cuda.to_device(x)
    found, wanted = (fastgd.fit_logistic(at, names, l2=0.1) for at in (there, x))
    assert list(found.classes) == ["a", "b", "c", "d"]
    np.testing.assert_allclose(found.predict_proba(there), wanted.predict_proba(x), rtol=1e-7)
    assert (found.predict(there) == wanted.predict(x)).all()
    assert found.score(there, names) == wanted.score(x, names)


def test_too_large_a_step_is_named():
    x, y, *_ = made(40, 4, 3)
    with pytest.warns(fastgd.ConvergenceWarning, match="lr up to"):
        fastgd.fit_logistic(x, y, lr=1e3, epochs=5, l2=1e-3, device="cuda")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_functions_at_the_door(weighted, reduction, dtype, close):
    x, y, weight, coef, intercept = made(40, 3, 5, dtype)
    there, weight = driver.cuda.to_device(x), weight if weighted else None
    options = {"sample_weight": weight, "reduction": reduction}
    found = fastgd.cross_entropy_cost_and_gradient(there, y, coef, intercept, **options)
    wanted = fastgd.cross_entropy_cost_and_gradient(x, y, coef, intercept, **options)
    for ours, theirs in zip(found, wanted, strict=True):
        close(ours, theirs)
    assert found[0] == fastgd.cross_entropy_cost(there, y, coef, intercept, **options)
    by_coef, _ = fastgd.cross_entropy_gradient(there, y, coef, intercept, **options)
    np.testing.assert_array_equal(by_coef, found[1])
    with pytest.raises(fastgd.InputError, match="y is 7 at row 3; expected a class index"):
        fastgd.cross_entropy_cost(there, np.where(np.arange(40) == 3, 7, y), coef)


@pytest.mark.parametrize("options", [{"lr": 0.1, "epochs": 3}, {"l2": 0.1}], ids=str)
def test_rows_that_pass_through_in_chunks(options, monkeypatch):
    monkeypatch.setattr(streamed, "fits", lambda size: False)
    monkeypatch.setattr(streamed, "_CHUNK_BYTES", 16 * 3 * 8)
    x, y, *_ = made(40, 3, 4)
    found, wanted = (
        fastgd.fit_logistic(x, y, device=device, **options) for device in ("cuda", None)
    )
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.cost, wanted.cost, rtol=1e-9)
