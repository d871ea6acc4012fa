"""A share of rows in blocks that is held out: the split and the result are those of rows in memory."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from test_block_order import readings, small_windows
from test_blocks import (
    COUNTS,
    LABELS,
    SOURCES,
    W,
    X,
    Y,
    columns,
    folder,
    many_blocks,
    one_file,
    pairs,
    refused,
)

import fastgd
from fastgd.fitting.held_out import split
from fastgd.sources.readers import opened
from fastgd.sources.selected import selected

__all__ = ["many_blocks", "readings", "small_windows"]

pytestmark = pytest.mark.filterwarnings("ignore:the validation cost was lowest")
N = len(X)
EVERY = {name: (lambda path, make=make: (make(path / "data"), "y")) for name, make in SOURCES.items()} | {
    "list": lambda path: ([X[:1_000], X[1_000:]], Y), "function": lambda path: (pairs, None),
    "sparse list": lambda path: ([csr_array(X[:1_000]), csr_array(X[1_000:])], Y),
}  # fmt: skip


def close(fit, wanted):
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-10)
    np.testing.assert_allclose(fit.costs, wanted.costs, rtol=1e-10)
    np.testing.assert_allclose(fit.validation_costs, wanted.validation_costs, rtol=1e-10)
    assert (fit.best_epoch, fit.n_epochs) == (wanted.best_epoch, wanted.n_epochs)


@pytest.mark.parametrize("name", EVERY)
def test_a_fraction_is_that_of_rows_in_memory(tmp_path, name):
    x, y = EVERY[name](tmp_path)
    options = {"lr": 0.01, "epochs": 5, "validation": 0.2, "seed": 4}
    close(fastgd.fit(x, y, **options), fastgd.fit(X, Y, **options))
    options |= {"batch_size": 64, "shuffle": False, "lr": 0.001}
    close(fastgd.fit(x, y, **options), fastgd.fit(X, Y, **options))


LOOPS = {
    "weights": (LABELS, "bce", {"sample_weight": W, "lr": 0.1}),
    "class weights, l2": (LABELS, "bce", {"class_weight": "balanced", "lr": 0.1, "l2": 0.1}),
    "classes": (np.digitize(Y, [-1, 2]), "bce", {"lr": 0.1}),
    "offset": (COUNTS, "poisson", {"offset": np.log(W), "lr": 0.01}),
    "offset of squared error": (Y, "mse", {"offset": np.log(W), "lr": 1e-6, "reduction": "sum"}),
    "adam": (Y, "huber", {"optimizer": "adam", "lr": 0.1}),
    "step of the data": (Y, "mse", {"optimizer": "momentum"}),
    "lbfgs": (LABELS, "bce", {"optimizer": "lbfgs", "lr": 1.0}),
    "statistics": (Y, "mse", {"lr": 0.01, "epochs": 300, "patience": 300}),
    "targets": (np.column_stack([Y, -Y]), "mse", {"lr": 0.01}),
    "float32": (Y, "huber", {"lr": 0.01, "dtype": "float32"}),
    "nearly all": (Y, "mse", {"lr": 0.01, "validation": 1 - 1 / N}),
    "one": (Y, "mse", {"lr": 0.01, "validation": 1e-9}),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name):
    y, loss, options = LOOPS[name]
    options = {"epochs": 4, "validation": 0.3} | options
    x = [X[:1_000], X[1_000:1_001], X[1_001:]]
    fit, wanted = fastgd.fit(x, y, loss, **options), fastgd.fit(X, y, loss, **options)
    if options.get("dtype"):
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-5)
        assert fit.coef.dtype == wanted.coef.dtype
    else:
        close(fit, wanted)


def test_names_of_columns(tmp_path):
    path = folder(tmp_path / "data", columns("label", "w"))
    options = {"lr": 0.1, "epochs": 5, "validation": 0.25}
    fit = fastgd.fit_logistic(path, "label", sample_weight="w", **options)
    close(fit, fastgd.fit_logistic(X, LABELS, sample_weight=W, **options))
    assert fit.feature_names == ("c0", "c1", "c2", "c3")


@pytest.mark.parametrize("batch_size", [1, 64])
def test_rows_to_train_on_are_shuffled_by_blocks(tmp_path, batch_size):
    path = one_file(tmp_path / "all")
    options = {"lr": 0.001, "batch_size": batch_size}
    fit = fastgd.fit(path, "y", validation=0.3, shuffle="block", epochs=2, seed=2, **options)
    trained, held = split(N, 0.3, 2)
    rows, wanted = selected(opened(path, "y", None).x, trained), None
    assert sum(rows.part_sizes) == len(trained) == len(rows)
    for epoch in range(2):
        order = trained[rows.order(2, epoch).rows(0, len(trained))]
        start = {"coef_init": wanted.coef, "intercept_init": wanted.intercept} if wanted else {}
        wanted = fastgd.fit(X[order], Y[order], epochs=1, shuffle=False, **options, **start)
    np.testing.assert_array_equal(fit.coef, wanted.coef)
    cost = fastgd.mse_cost(X[held], Y[held], fit.coef, fit.intercept)
    assert fit.validation_costs[1] == pytest.approx(cost, rel=1e-10)


def test_an_epoch_reads_x_twice(tmp_path, readings):
    """The rows to train on, and those held out; a pass for the cost at the end is one more."""
    path, options = one_file(tmp_path / "all"), {"lr": 0.01, "validation": 0.3, "loss": "huber"}
    fastgd.fit(path, "y", epochs=1, **options)
    one = len(readings)
    readings.clear()
    fastgd.fit(path, "y", epochs=5, **options)
    assert len(readings) - one == 2 * 4
    assert {sum(rows) for rows in readings} == {N}


def test_x_is_not_copied():
    """A block at a time is."""
    x = opened([X[:1_000], X[1_000:]], Y, None).x
    few = selected(x, np.array([0, 3, 999, 1_000, N - 1]))
    found = [(first, block.tolist()) for first, block in few.read()]
    assert found == [(0, X[[0, 3, 999]].tolist()), (3, X[[1_000, N - 1]].tolist())]
    assert sum(few.part_sizes) == 5
    np.testing.assert_array_equal(few.rows(1, 4), X[[3, 999, 1_000]])
    few.close()


def test_what_is_refused_and_what_fails(tmp_path):
    path = folder(tmp_path / "data", columns("y"))
    refused("leaves none to train on", fastgd.fit, path, "y", lr=0.1, validation=1 - 1e-9)
    refused("validation looks after every epoch", fastgd.fit, path, "y", validation=0.3)
    broken = X.copy()
    broken[1_600, 2] = np.nan
    said = refused("row 1600", fastgd.fit, [X[:1_000], broken[1_000:]], Y, lr=0.01, validation=0.3)
    assert "column 2" in said
    calls = []

    def damage(fit):
        calls.append(fit)
        (path / "2.parquet").unlink(missing_ok=True)

    with pytest.raises(fastgd.BlockError, match=r"2\.parquet") as caught:
        fastgd.fit(path, "y", loss="huber", lr=0.01, validation=0.3, callback=damage)
    assert "at row 2" in str(caught.value)  # of x, and not of the rows to train on
    assert caught.value.fit.n_epochs == len(calls) == 1
