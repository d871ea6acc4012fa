"""Updates that visit rows in blocks: in the given order, or in parts and windows in random order."""

import gc
import signal
import threading
import time
import tracemalloc

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array
from test_blocks import (
    LABELS,
    SOURCES,
    D,
    N,
    W,
    X,
    Y,
    columns,
    folder,
    many_blocks,
    one_file,
    pairs,
    refused,
    triples,
)

import fastgd
from fastgd.sources import blocks, readers, shuffled
from fastgd.sources.readers import opened

__all__ = ["many_blocks"]

WINDOW = 500
#: A size of batches that divides neither windows nor parts.
BATCH = 64


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(blocks, "_WINDOW_BYTES", WINDOW * D * 8)
    monkeypatch.setattr(blocks, "_VISIT_BYTES", 150 * D * 8)
    monkeypatch.setattr(readers, "BLOCK_BYTES", 300 * D * 8)


def lists(path):
    return [X[:1_000], np.asfortranarray(X[1_000:1_003]), X[1_003:]], Y


#: What x may be, with y, and the rows of its parts: None where it is read from its beginning.
EVERY = {name: (lambda path, make=make: (make(path / "data"), "y")) for name, make in SOURCES.items()} | {
    "list": lists, "function": lambda path: (pairs, None),
    "sparse list": lambda path: ([csr_array(x) for x in lists(path)[0]], Y),
    "sparse list by entries": lambda path: ([coo_array(X[:1_000]), coo_array(X[1_000:])], Y),
    "mixed list": lambda path: ([X[:1_000], csr_array(X[1_000:])], Y),
    "memory-mapped list": lambda path: ([mapped(path)], Y),
}  # fmt: skip
WHOLE = [N]
GROUPS = [170] * 6 + [80]
PARTS = {
    "folder": [*GROUPS, *GROUPS, *[170] * 4, 120], "folder of CSV": [1_100, 1_100, 800],
    "folder of IPC": [1_100, 1_100, 800], "file": [170] * 17 + [110], "Dataset in memory": WHOLE,
    "ParquetFile": [170] * 17 + [110], "LazyFrame": WHOLE, "function": WHOLE,
    "list": [300] * 3 + [100, 3] + [300] * 6 + [197], "sparse list by entries": [1_000, 2_000],
    "memory-mapped list": [300] * 10,
}  # fmt: skip


def mapped(path):
    np.save(path / "x.npy", X)
    return np.load(path / "x.npy", mmap_mode="r")


def in_memory(rows_of, epochs, x=X, y=Y, **options):
    """The fits after each epoch of rows in memory, in the order of ``rows_of(epoch)``."""
    fit, found = None, []
    for epoch in range(epochs):
        rows = rows_of(epoch)
        own = {"coef_init": fit.coef, "intercept_init": fit.intercept} if fit else {}
        per_row = {
            name: options[name][rows] for name in ("sample_weight", "offset") if name in options
        }
        fit = fastgd.fit(
            x[rows], y[rows], **options | own | per_row, epochs=1, shuffle=False
        )  # fmt: skip
        found.append(fit)
    return found


def order_of(x, y, seed=0):
    source = opened(x, y, None).x
    return lambda epoch: source.order(seed, epoch).rows(0, N)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("batch_size", [1, BATCH])
def test_the_iterates_are_those_of_the_rows_in_that_order(tmp_path, name, batch_size):
    x, y = EVERY[name](tmp_path)
    options = {"lr": 0.001, "batch_size": batch_size}
    fit = fastgd.fit(x, y, shuffle="block", seed=5, epochs=3, keep_path=True, **options)
    rows_of = order_of(x, y, 5)
    wanted = in_memory(rows_of, 3, **options)
    np.testing.assert_array_equal(fit.path, [one.coef for one in wanted])
    np.testing.assert_array_equal(fit.costs, [one.cost for one in wanted])
    assert fit.intercept == wanted[-1].intercept
    kind = "per-sample" if batch_size == 1 else "minibatch"
    assert fit.method == f"{kind} (shuffle by blocks)"
    sizes = opened(x, y, None).x.part_sizes
    assert list(sizes) == PARTS.get(name, list(sizes))
    assert sum(sizes) == N


@pytest.mark.parametrize("shuffle", [False, "block"])
def test_what_belongs_to_rows_goes_with_them(tmp_path, shuffle):
    path = folder(tmp_path / "data", columns("label", "w"))
    offset = X[:, 0] / 10
    options = {"lr": 0.05, "batch_size": 7, "offset": offset, "loss": "bce"}
    fit = fastgd.fit(path, "label", sample_weight="w", shuffle=shuffle, epochs=3, **options)
    rows_of = order_of(path, "label")
    if not shuffle:
        assert fit.method == "minibatch"
        rows_of = lambda epoch: np.arange(N)  # noqa: E731
    else:  # without the weights as a feature
        rows_of = order_of(ds.dataset(path, schema=columns("label").schema), "label")
    wanted = in_memory(rows_of, 3, y=LABELS, sample_weight=W, **options)
    np.testing.assert_allclose(fit.coef, wanted[-1].coef, rtol=1e-12)
    np.testing.assert_allclose(fit.costs, [one.cost for one in wanted], rtol=1e-12)
    by_function = fastgd.fit_linear(triples, None, lr=0.001, batch_size=7, shuffle="block")
    assert by_function.cost < by_function.costs[0]


def test_loops_with_more_state(tmp_path):
    x = one_file(tmp_path / "all")
    for options in (
        {"optimizer": "adam", "lr": 0.01}, {"average": True, "lr": 0.001}, {"l1": 0.1, "lr": 0.001},
        {"lr": 0.01, "schedule": fastgd.schedules.StepLR(1)}, {},
    ):  # fmt: skip
        fit = fastgd.fit(x, "y", batch_size=BATCH, shuffle="block", epochs=1, **options)
        wanted = in_memory(order_of(x, "y"), 1, batch_size=BATCH, **options)[0]
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-12)


# --- the order ------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any), window=st.integers(1, 100),
    seed=st.integers(0, 2**70), epoch=st.integers(0, 10**6),
)  # fmt: skip
def test_every_row_once_and_windows_of_rows_that_are_read_together(sizes, window, seed, epoch):
    order, n = shuffled.parts_order(sizes, window, seed, epoch), sum(sizes)
    rows = order.rows(0, n)
    assert sorted(rows.tolist()) == list(range(n))
    assert sorted(order.parts.tolist()) == list(range(len(sizes)))
    starts = np.cumsum(sizes) - sizes
    read = np.concatenate([starts[i] + np.arange(sizes[i]) for i in order.parts])
    for first in range(0, n, window):
        last = min(n, first + window)
        assert sorted(rows[first:last]) == sorted(read[first:last])
        np.testing.assert_array_equal(order.rows(first, last), rows[first:last])


def test_seed_and_epoch_decide():
    orders = {
        (seed, epoch): shuffled.parts_order([50] * 8, 100, seed, epoch)
        for seed in range(4) for epoch in range(4)
    }  # fmt: skip
    assert len({order.parts.tobytes() for order in orders.values()}) == 16
    assert len({order.places.tobytes() for order in orders.values()}) == 16
    for key, order in orders.items():
        again = shuffled.parts_order([50] * 8, 100, *key)
        assert again.rows(0, 400).tobytes() == order.rows(0, 400).tobytes()
    firsts = [shuffled.parts_order([50] * 8, 100, 0, epoch).parts[0] for epoch in range(400)]
    assert np.bincount(firsts, minlength=8).min() > 25  # 50 expected
    places = [shuffled.parts_order([400], 100, 0, epoch).places[0] for epoch in range(400)]
    assert 40 < np.mean(places) < 60
    assert max(places) < 100


def test_the_same_bits_whatever_the_visits(tmp_path, monkeypatch):
    x = one_file(tmp_path / "all")
    options = {"lr": 0.001, "epochs": 2, "shuffle": "block", "loss": "bce"}
    for batch_size in (1, BATCH, 1_024):
        y = (Y > 0).astype(float)
        x = [X[:1_100], X[1_100:]]
        fits = []
        for rows, threads in ((150, 1), (1, 2), (10_000, 1), (777, 2)):
            monkeypatch.setattr(blocks, "_VISIT_BYTES", rows * D * 8)
            fits.append(
                fastgd.fit(x, y, batch_size=batch_size, n_threads=threads, **options).coef.tobytes()
            )
        assert len(set(fits)) == 1


# --- how x is read --------------------------------------------------------------------------------


@pytest.fixture
def readings(monkeypatch):
    """The rows of every block that is read, a list for each reading."""
    found, read = [], blocks.Blocks.read

    def counted(self, *order):
        found.append([])
        own = found[-1]
        for first, block in read(self, *order):
            own.append(block.shape[0])
            yield first, block

    monkeypatch.setattr(blocks.Blocks, "read", counted)
    return found


@pytest.mark.parametrize("shuffle", [False, "block"])
@pytest.mark.parametrize("batch_size", [1, BATCH])
def test_an_epoch_reads_x_once(tmp_path, readings, shuffle, batch_size):
    for x, y in ((one_file(tmp_path / "all"), "y"), lists(tmp_path)):
        readings.clear()
        fastgd.fit(x, y, lr=0.001, epochs=4, batch_size=batch_size, shuffle=shuffle)
        assert [sum(one) for one in readings] == [N] * 4


def test_a_few_windows_are_in_memory(tmp_path, monkeypatch):
    """32 MB of rows; a window of 1 MB, blocks of 256 KB."""
    n, d = 400_000, 10
    rng = np.random.default_rng(0)
    parts, y = [rng.standard_normal((n // 8, d)) for _ in range(8)], rng.standard_normal(n)
    for module in (blocks, readers):
        monkeypatch.setattr(module, "BLOCK_BYTES", 1 << 18)
    monkeypatch.setattr(blocks, "_WINDOW_BYTES", 1 << 20)
    monkeypatch.setattr(blocks, "_VISIT_BYTES", 1 << 18)

    def fit(epochs):
        return fastgd.fit_linear(
            parts, y, lr=1e-4, batch_size=256, epochs=epochs, shuffle="block", seed=1
        )

    fit(1)
    gc.collect()
    tracemalloc.start()
    try:
        fit(2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Two windows, an order of 32-bit numbers, a visit, and blocks: 4.1 MB.
    assert peak < 5 * (1 << 20)


def test_a_fit_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.solvers.work.CHUNK_NS", 1.0)
    x = one_file(tmp_path / "all")
    options = {
        "lr": 0.001,
        "batch_size": BATCH,
        "shuffle": "block",
        "epochs": 30,
        "optimizer": "momentum",
    }
    whole = fastgd.fit(x, "y", **options)
    short = fastgd.fit(x, "y", **options, callback=lambda fit: True)
    assert 0 < short.n_epochs < 30
    rest = fastgd.fit(x, "y", **options, resume=short)
    assert rest.coef.tobytes() == whole.coef.tobytes()
    assert rest.costs.tobytes() == whole.costs.tobytes()
    assert rest.method == whole.method


@pytest.mark.filterwarnings("ignore:the validation cost was lowest")
def test_validation_between_epochs(tmp_path):
    x = one_file(tmp_path / "all")
    options, held = {"lr": 0.001, "batch_size": BATCH}, (X[:200], Y[:200])
    fit = fastgd.fit(x, "y", shuffle="block", validation=held, epochs=3, **options)
    wanted = in_memory(order_of(x, "y"), 3, **options)
    np.testing.assert_allclose(
        fit.validation_costs,
        [fastgd.mse_cost(*held, w.coef, w.intercept) for w in wanted],
        rtol=1e-10,
    )


# --- what is refused, and what fails --------------------------------------------------------------


def test_a_uniform_order_is_refused(tmp_path, readings):
    x = one_file(tmp_path / "all")
    for options in (
        {"batch_size": 1},
        {"batch_size": BATCH, "lr": 0.1},
        {"batch_size": 2, "shuffle": True},
    ):
        said = refused(
            "can't be visited in an order that is uniform", fastgd.fit, x, "y", **options
        )
        assert "shuffle='block'" in said
        assert "shuffle=False" in said
    assert not readings
    fastgd.fit(x, "y", batch_size=N, lr=0.01, epochs=2)  # all rows at once


def test_a_file_that_is_gone(tmp_path):
    path = folder(tmp_path / "data", columns("y"))
    file = path / "1.parquet"

    def damage(fit):
        if fit.n_epochs == 4:
            file.unlink()

    options = {"lr": 1e-3, "batch_size": BATCH, "shuffle": "block", "epochs": 40}
    with pytest.raises(fastgd.BlockError) as caught:
        fastgd.fit(path, "y", callback=damage, validation=(X, Y), patience=99, **options)
    assert caught.value.fit.n_epochs == 4
    assert str(file) in str(caught.value)


def test_the_row_that_can_not_be_read_is_named():
    """Parts of 1,000 rows in the order 2, 0, 1; the second one fails."""
    parts, failing = np.array([2, 0, 1]), [X[:1_000], X[1_000:2_000], X[2_000:]]

    def read(order):
        yield failing[order[0]]
        raise OSError("the disk is gone")

    x = blocks.Blocks(read, (N, D), float, None, lambda row: f" (place {row})", lambda: [1_000] * 3)
    with pytest.raises(
        fastgd.BlockError, match=r"can't be read at row 0 \(place 0\): OSError: the disk"
    ):
        list(x.read(parts))


def test_an_interrupt_waits_for_one_block(monkeypatch):
    """A window of 40 slow blocks, of which the third or so is interrupted."""
    monkeypatch.setattr(blocks, "_WINDOW_BYTES", N * D * 8)
    read, first = [], [X[i : i + 75] for i in range(0, N, 75)]

    def slow():
        for block in first:
            read.append(len(block))
            if len(read) > len(first):  # not while it is found out what x is
                time.sleep(0.05)
            if len(read) == len(first) + 3:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            yield block

    with pytest.raises(KeyboardInterrupt):
        fastgd.fit(slow, Y, lr=1e-3, batch_size=BATCH, shuffle="block")
    assert len(read) < len(first) + 8


def test_a_list_that_is_changed():
    x = [X[:1_000], X[1_000:]]
    options = {"lr": 1e-3, "batch_size": BATCH, "shuffle": "block", "epochs": 20}
    wanted = fastgd.fit(x, Y, **options)
    found = fastgd.fit(x, Y, callback=lambda fit: x.clear(), **options)
    assert found.coef.tobytes() == wanted.coef.tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows(rows):
    fit = fastgd.fit([X[:rows]], Y[:rows], lr=1e-3, batch_size=1, shuffle="block", epochs=2)
    assert np.isfinite(fit.coef).all()


def test_other_frames(tmp_path):
    """Columns of folders, of several types, and a filter that Arrow can't take apart."""
    table = columns("y").append_column("flag", pa.array(X[:, 0] > 0))
    pq.write_to_dataset(
        table.append_column("part", pa.array(np.arange(N) // 1_000)),
        tmp_path,
        partition_cols=["part"],
    )
    fit = fastgd.fit(tmp_path, "y", lr=1e-3, batch_size=BATCH, shuffle="block", epochs=2)
    assert fit.feature_names == ("c0", "c1", "c2", "c3", "flag", "part")
    x = np.column_stack([X, X[:, 0] > 0, np.arange(N) // 1_000])
    wanted = in_memory(order_of(tmp_path, "y"), 2, x=x, lr=1e-3, batch_size=BATCH)[-1]
    np.testing.assert_array_equal(fit.coef, wanted.coef)
    few = ds.dataset(columns("y")).filter(ds.field("c0") > 0)
    refused("Dataset with a filter", fastgd.fit, few, "y")
    rows = X[:, 0] > 0
    by_query = fastgd.fit(pl.from_arrow(columns("y")).lazy().filter(pl.col("c0") > 0), "y")
    np.testing.assert_allclose(by_query.coef, fastgd.fit(X[rows], Y[rows]).coef, rtol=1e-9)
