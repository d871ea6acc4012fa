"""Rows in blocks, through the door: what x may be, equality with rows in memory, and errors."""

import functools
import os
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_array

import fastgd
from fastgd.sources import arrow_tables, blocks, polars_tables, tables
from fastgd.sources.readers import opened

RNG = np.random.default_rng(0)
N, D = 3_000, 4
X = RNG.standard_normal((N, D)) * [1, 5, 0.2, 1] + [0, 3, 0, 0]
Z = X @ [1.0, -0.3, 2.0, 0.5] + 0.5
Y = Z + RNG.standard_normal(N)
LABELS = np.where(Z + RNG.logistic(size=N) > 0, "yes", "no")
COUNTS = RNG.poisson(np.exp(np.clip(Z / 4, -3, 2)))
W = RNG.uniform(0.5, 2, N)
TABLE = pa.table(
    {**{f"c{j}": X[:, j] for j in range(D)}, "y": Y, "w": W, "label": LABELS, "count": COUNTS}
)
FEATURES = [f"c{j}" for j in range(D)]
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(autouse=True)
def many_blocks(monkeypatch):
    """A block of 256 rows, and parts of 100; no thread is left behind."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 256 * D * 8)
    for module in (arrow_tables, polars_tables):
        monkeypatch.setattr(module, "ROWS", 100)
    yield
    deadline = time.monotonic() + 5
    while any("fastgd-reader" in each.name for each in threading.enumerate()):
        assert time.monotonic() < deadline, "a reader was left behind"
        time.sleep(0.01)


def columns(*names):
    return TABLE.select([*FEATURES, *names])


def parts(table, size=1_100):
    return [table.slice(first, size) for first in range(0, N, size)]


def folder(path, table, write=None):
    path.mkdir(exist_ok=True)
    for number, part in enumerate(parts(table)):
        if write is None:
            pq.write_table(part, path / f"{number}.parquet", row_group_size=170)
        else:
            write(part, path / f"{number}.csv")
    return path


def hive(path):
    table = columns("y").drop_columns("c3")
    table = table.append_column("c3", pa.array(np.arange(N) // 1_000))
    pq.write_to_dataset(table, path, partition_cols=["c3"])
    return path


def arrow_files(path):
    path.mkdir()
    for number, part in enumerate(parts(columns("y"))):
        pyarrow.feather.write_feather(part, path / f"{number}.arrow", chunksize=77)
    return path


def one_file(path, table=None):
    table = columns("y") if table is None else table
    pq.write_table(table, path.with_suffix(".parquet"), row_group_size=170)
    return path.with_suffix(".parquet")


SOURCES = {
    "folder": lambda path: folder(path, columns("y")),
    "folder of CSV": lambda path: folder(path, columns("y"), pyarrow.csv.write_csv),
    "folder of IPC": arrow_files,
    "folder as text": lambda path: str(folder(path, columns("y"))),
    "file": one_file,
    "file as text": lambda path: str(one_file(path)),
    "files": lambda path: sorted(folder(path, columns("y")).iterdir()),
    "Dataset": lambda path: ds.dataset(folder(path, columns("y"))),
    "Dataset in memory": lambda path: ds.dataset(columns("y")),
    "ParquetFile": lambda path: pq.ParquetFile(one_file(path)),
    "LazyFrame": lambda path: pl.scan_parquet(folder(path, columns("y")) / "*.parquet"),
    "LazyFrame in memory": lambda path: pl.from_arrow(columns("y")).lazy(),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("options", [{}, {"lr": 0.01, "epochs": 7}], ids=["auto", "batch"])
def test_tables_are_as_in_memory(tmp_path, source, options):
    x = SOURCES[source](tmp_path / "data")
    by_name = fastgd.fit_linear(x, "y", **options)
    wanted = fastgd.fit_linear(X, Y, **options)
    np.testing.assert_allclose(by_name.coef, wanted.coef, **CLOSE)
    assert by_name.intercept == pytest.approx(wanted.intercept, rel=1e-10)
    assert by_name.cost == pytest.approx(wanted.cost, rel=1e-10)
    assert by_name.feature_names == tuple(FEATURES)
    np.testing.assert_allclose(by_name.predict(x), wanted.predict(X), **CLOSE)
    assert by_name.score(x, "y") == pytest.approx(wanted.score(X, Y), rel=1e-10)
    again = fastgd.fit_linear(x, "y", **options)
    assert again.coef.tobytes() == by_name.coef.tobytes()
    assert again.costs.tobytes() == by_name.costs.tobytes()


def test_columns_of_folders(tmp_path):
    x = np.column_stack([X[:, :3], np.arange(N) // 1_000])
    wanted = fastgd.fit_linear(x, Y)
    fit = fastgd.fit_linear(hive(tmp_path / "data"), "y")
    assert fit.feature_names == tuple(FEATURES)
    np.testing.assert_allclose(fit.coef, wanted.coef, **CLOSE)


def pairs():
    for first in range(0, N, 700):
        own = slice(first, first + 700)
        yield X[own], Y[own]


def triples():
    for first in range(0, N, 700):
        own = slice(first, first + 700)
        yield X[own], Y[own], W[own]


def sparse_pairs():
    return ((csr_array(x), y) for x, y in pairs())


class Maker:
    def blocks(self):
        return pairs()


PIECES = {
    "arrays": ([x for x, _ in pairs()], Y), "tuple of arrays": (tuple(x for x, _ in pairs()), Y),
    "arrays and lists of targets": ([x for x, _ in pairs()], [y for _, y in pairs()]),
    "sparse": ([csr_array(x) for x, _ in pairs()], Y), "function": (pairs, None),
    "function without targets": (lambda: (x for x, _ in pairs()), Y), "method": (Maker().blocks, None),
    "partial": (functools.partial(pairs), None), "sparse function": (sparse_pairs, None),
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
def test_arrays_and_functions_are_as_in_memory(name):
    x, y = PIECES[name]
    fit, wanted = fastgd.fit_linear(x, y), fastgd.fit_linear(X, Y)
    np.testing.assert_allclose(fit.coef, wanted.coef, **CLOSE)
    np.testing.assert_allclose(fit.predict(x), wanted.predict(X), **CLOSE)
    given = None if y is None else Y
    assert fit.score(x, given) == pytest.approx(wanted.score(X, Y), rel=1e-10)
    assert fit.deviance(x, given) == pytest.approx(wanted.deviance(X, Y), rel=1e-10)


def test_weights(tmp_path):
    wanted = fastgd.fit_linear(X, Y, sample_weight=W)
    path = folder(tmp_path / "data", columns("y", "w"))
    both = fastgd.fit_linear(path, "y", sample_weight="w")
    assert both.feature_names == tuple(FEATURES)
    only_y = ds.dataset(path, schema=columns("y").schema)
    for fit in (
        both,
        fastgd.fit_linear(only_y, "y", sample_weight=W),
        fastgd.fit_linear(triples, None),
    ):
        np.testing.assert_allclose(fit.coef, wanted.coef, **CLOSE)
    score = wanted.score(X, Y, sample_weight=W)
    assert both.score(path, "y", sample_weight="w") == pytest.approx(score, rel=1e-10)
    assert both.score(triples, None) == pytest.approx(score, rel=1e-10)
    assert both.score(path, "y") != pytest.approx(score, rel=1e-10)


def test_losses_labels_and_offset(tmp_path):
    path = folder(tmp_path / "data", columns("label"))
    fit, wanted = (
        fastgd.fit_logistic(path, "label", l2=0.01),
        fastgd.fit_logistic(X, LABELS, l2=0.01),
    )
    np.testing.assert_allclose(fit.coef, wanted.coef, **CLOSE)
    assert fit.classes.tolist() == ["no", "yes"]
    np.testing.assert_allclose(fit.predict_proba(path), wanted.predict_proba(X), **CLOSE)
    assert fit.predict(path).tolist() == wanted.predict(X).tolist()
    assert fit.score(path, "label") == wanted.score(X, LABELS)
    assert fit.deviance(path, "label") == pytest.approx(wanted.deviance(X, LABELS), rel=1e-9)
    offset = np.log(W)
    path = folder(tmp_path / "counts", columns("count"))
    options = {"loss": "poisson", "offset": offset, "l1": 0.001}
    fit, wanted = fastgd.fit(path, "count", **options), fastgd.fit(X, COUNTS, **options)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-6, atol=1e-8)
    for method in ("score", "deviance"):
        found = getattr(fit, method)(path, "count", offset=offset)
        assert found == pytest.approx(getattr(wanted, method)(X, COUNTS, offset=offset), rel=1e-6)
    found = fit.predict(path, offset=offset)
    np.testing.assert_allclose(found, wanted.predict(X, offset=offset), rtol=1e-6)


def test_three_labels():
    labels = np.digitize(Z, [-1, 2])
    x = [X[:1_000], X[1_000:]]
    fit, wanted = fastgd.fit_logistic(x, labels, l2=0.01), fastgd.fit_logistic(X, labels, l2=0.01)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(fit.predict_proba(x), wanted.predict_proba(X), rtol=1e-7)
    assert fit.score(x, labels) == wanted.score(X, labels)


@pytest.mark.parametrize(
    ("y", "options"),
    [
        (LABELS, {"loss": "bce"}),
        (LABELS, {"loss": "bce", "l1": 0.01}),
        (COUNTS, {"loss": "poisson"}),
        (np.digitize(Z, [-1, 0, 1, 2]), {"loss": "cross_entropy"}),
        (np.digitize(Z, [-1, 2]), {"loss": "cross_entropy", "l1": 0.01}),
    ],
    ids=["logistic", "logistic, l1", "poisson", "softmax", "softmax, l1"],
)
def test_curvatures_of_rows_stay_with_their_blocks(y, options, monkeypatch):
    """No array of all rows is made of them, and a Hessian is one reading."""
    wanted = fastgd.fit(X, y, l2=0.01, **options)
    monkeypatch.delattr(blocks.BlockRows, "predictions")
    readings = []

    def read():
        readings.append(1)
        yield from (X[:1_000], X[1_000:])

    found = fastgd.fit(read, y, l2=0.01, **options)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-6, atol=1e-8)
    assert len(readings) < found.n_epochs + 12


@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["memory", "blocks", "file"])
def test_validation(tmp_path, kind):
    held = TABLE.slice(0, 500).select([*FEATURES, "y"])
    given = {
        "memory": (X[:500], Y[:500]),
        "blocks": ([X[:300], X[300:500]], Y[:500]),
        "file": (one_file(tmp_path / "held", held), "y"),
    }[kind]
    options = {"lr": 0.02, "epochs": 300}
    path = one_file(tmp_path / "all")
    wanted = fastgd.fit_linear(X, Y, validation=(X[:500], Y[:500]), **options)
    fits = [fastgd.fit_linear(path, "y", validation=given, **options)]
    fits += [fastgd.fit_linear(X, Y, validation=given, **options)]
    for fit in fits:
        np.testing.assert_allclose(fit.validation_costs, wanted.validation_costs, rtol=1e-9)
        assert fit.best_epoch == wanted.best_epoch


@pytest.mark.parametrize("batch_size", [1, 64])
def test_stochastic_updates_in_the_given_order(tmp_path, batch_size):
    path = one_file(tmp_path / "all")
    options = {"lr": 0.001, "epochs": 3, "batch_size": batch_size, "shuffle": False}
    fit, wanted = fastgd.fit_linear(path, "y", **options), fastgd.fit_linear(X, Y, **options)
    np.testing.assert_allclose(fit.coef, wanted.coef, **CLOSE)
    np.testing.assert_allclose(fit.costs, wanted.costs, rtol=1e-10)
    with pytest.raises(fastgd.InputError, match="shuffle=False"):
        fastgd.fit_linear(path, "y", **{**options, "shuffle": True})


def test_types_of_columns():
    x = {
        "float": X[:, 0].astype(np.float32), "whole": np.round(X[:, 1]).astype(np.int16),
        "flag": X[:, 2] > 0, "large": np.round(X[:, 3] * 1e6).astype(np.int64),
    }  # fmt: skip
    wanted = fastgd.fit_linear(np.column_stack([*x.values()]).astype(float), Y)
    for table in (ds.dataset(pa.table(x)), pl.LazyFrame(x)):
        np.testing.assert_allclose(fastgd.fit_linear(table, Y).coef, wanted.coef, **CLOSE)
    single = pa.table({name: X[:, j].astype(np.float32) for j, name in enumerate(FEATURES)})
    fit = fastgd.fit_linear(ds.dataset(single), Y, lr=0.01, epochs=3)
    assert fit.coef.dtype == np.float32
    assert fit.predict(ds.dataset(single)).dtype == np.float32


def test_small_row_groups_make_blocks_of_one_size(tmp_path):
    path = one_file(tmp_path / "all")
    sizes = [block.shape[0] for _, block in opened(path, "y", None).x.read()]
    assert sizes == [256] * (N // 256) + [N % 256]


# --- what is refused ----------------------------------------------------------------------------


def refused(match, call, *arguments, **options):
    with pytest.raises(fastgd.InputError, match=match) as caught:
        call(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("value", [None, np.nan, np.inf])
def test_a_value_that_is_missing_is_named_with_its_place(tmp_path, value):
    numbers = X[:, 2].tolist()
    numbers[1_600] = value
    at = columns("y").schema.get_field_index("c2")
    table = columns("y").set_column(at, "c2", pa.array(numbers, pa.float64()))
    path = folder(tmp_path / "data", table)
    fit = fastgd.fit_linear(ds.dataset(columns("y")), "y")
    for call in (lambda: fastgd.fit_linear(path, "y"), lambda: fastgd.fit_linear(path, "y", lr=0.1),
                 lambda: fit.predict(path)):  # fmt: skip
        said = refused("row 1600", call)
        assert "(row 500 of " in said
        assert f"{path}/1.parquet, row group 2), column 2 ('c2')" in said
    x = pq.ParquetFile(one_file(tmp_path / "one", table))
    assert "(row group 9 of the file), column 2 ('c2')" in refused(
        "row 1600", fastgd.fit_linear, x, "y"
    )


def test_missing_booleans_and_targets():
    flags = [None if i == 7 else bool(i % 2) for i in range(N)]
    refused(
        r"x is nan at row 7 .*column 0 \('a'\)",
        fastgd.fit_linear,
        ds.dataset(pa.table({"a": flags})),
        Y,
    )
    y = [None if i == 9 else i for i in range(N)]
    table = ds.dataset(pa.table({"a": range(N), "y": y}))
    assert "row 9" in refused("y is nan", fastgd.fit_linear, table, "y")


def test_names_and_types(tmp_path):
    path = folder(tmp_path / "data", columns("y"))
    refused("y is 'z', and the columns of x are 'c0', 'c1'", fastgd.fit_linear, path, "z")
    refused("sample_weight is 'z'", fastgd.fit_linear, path, "y", sample_weight="z")
    refused("y is missing", fastgd.fit_linear, path, None)
    refused("x has 3000 rows and y has 2999", fastgd.fit_linear, path, Y[:-1])
    refused("no column but y", fastgd.fit_linear, ds.dataset(columns("y").select(["y"])), "y")
    text = ds.dataset(columns("label", "y"))
    refused(r"column 4 \('label'\) of x is string", fastgd.fit_linear, text, "y")
    coded = pa.table({"a": pa.array(LABELS).dictionary_encode(), "b": X[:, 0]})
    assert fastgd.fit_linear(ds.dataset(coded), Y).feature_names[-1] == "b"
    refused(r"column 0 \('a'\) of x is String", fastgd.fit_linear, pl.LazyFrame({"a": LABELS}), Y)
    refused("x has no named columns", fastgd.fit_linear, pairs, "y")
    refused("have their own y", fastgd.fit_linear, pairs, Y)
    double = pa.Table.from_arrays([pa.array(X[:, 0])] * 2, ["a", "a"])
    refused("several columns named 'a'", fastgd.fit_linear, ds.dataset(double), Y)


def test_names_of_a_fit(tmp_path):
    path = folder(tmp_path / "data", columns("y"))
    fit, query = fastgd.fit_linear(path, "y"), pl.from_arrow(columns()).lazy()
    for call in (fit.predict, lambda x: fit.score(x, Y), lambda x: fit.deviance(x, Y)):
        refused("x has no column 'c3', which is one of the features", call, query.drop("c3"))
    other = query.select(FEATURES[::-1])  # columns are found by their names
    assert fit.predict(other).tobytes() == fit.predict(query).tobytes()
    refused("x has 5 columns; this fit has 4", fastgd.fit_linear(X, Y).predict, path)
    refused("x has 3 columns; this fit has 4", fit.predict, [X[:, :3]])
    more = {"lr": 0.01, "epochs": 2, "validation": (query.drop("c3"), Y)}
    refused("in validation, x has no column 'c3'", fastgd.fit_linear, path, "y", **more)


def test_files_that_are_not_there_or_differ(tmp_path):
    refused("which is not there", fastgd.fit_linear, tmp_path / "none.parquet", "y")
    (tmp_path / "empty").mkdir()
    refused("has no file", fastgd.fit_linear, tmp_path / "empty", "y")
    mixed = [one_file(tmp_path / "a"), tmp_path / "b.csv"]
    pyarrow.csv.write_csv(columns("y"), mixed[1])
    refused("several endings", fastgd.fit_linear, mixed, "y")
    path = folder(tmp_path / "data", columns("y"))
    last = path / "2.parquet"
    pq.write_table(parts(columns("y").drop_columns("c1"))[2], last)
    refused("2.parquet has no column 'c1'", fastgd.fit_linear, path, "y")
    pq.write_table(parts(columns("y", "w"))[2], last)
    refused("2.parquet has the column 'w'", fastgd.fit_linear, path, "y")
    fit = fastgd.fit_linear(ds.dataset(path, schema=columns("y").schema), "y")
    np.testing.assert_allclose(fit.coef, fastgd.fit_linear(X, Y).coef, **CLOSE)
    text = parts(columns("y"))[2].set_column(1, "c1", parts(TABLE)[2]["label"])
    pq.write_table(text, last)
    refused("column 'c1' of .*2.parquet is string, and float64", fastgd.fit_linear, path, "y")
    last.write_bytes(b"PAR1 nothing")
    refused("2.parquet", fastgd.fit_linear, path, "y")
    pq.write_table(columns("y").slice(0, 0), tmp_path / "no_rows.parquet")
    refused("0 rows", fastgd.fit_linear, tmp_path / "no_rows.parquet", "y")


def test_functions_that_can_not_be_read():
    refused("returned a int", fastgd.fit_linear, lambda: 3, Y)
    refused("x gave no block", fastgd.fit_linear, lambda: iter([]), Y)
    refused("block 1 has 3 columns, and block 0 has 4", fastgd.fit_linear, [X, X[:, :3]], Y)
    refused("block 0 has shape", fastgd.fit_linear, lambda: iter([X[None]]), Y)
    refused(
        "block 0 has 3000 rows, and 5 targets", fastgd.fit_linear, lambda: iter([(X, Y[:5])]), None
    )


def test_networks_and_gpus(tmp_path):
    path = one_file(tmp_path / "all")
    refused("on the CPU only", fastgd.fit_linear, path, "y", device="cuda")
    refused("networks don't read", fastgd.fit_mlp, X, Y, epochs=1, validation=([X], Y))


def test_packages_that_are_not_there(tmp_path, monkeypatch):
    path = one_file(tmp_path / "all")
    monkeypatch.delattr(pl.LazyFrame, "collect_batches")
    refused("'polars>=1.34'", fastgd.fit_linear, pl.scan_parquet(path), "y")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    refused(r"pip install 'fastgd\[arrow\]'", fastgd.fit_linear, path, "y")


# --- what goes wrong between two readings ---------------------------------------------------------


def stopped(match, *arguments, **options):
    with pytest.raises(fastgd.BlockError, match=match) as caught:
        fastgd.fit(*arguments, loss="huber", **options)
    return caught.value


class Changes:
    """Blocks that are others from the third reading on."""

    def __init__(self, later):
        self.later, self.readings = later, 0

    def blocks(self):
        self.readings += 1
        yield X[:1_000], Y[:1_000]
        if self.readings < 4:
            yield X[1_000:], Y[1_000:]
            return
        yield from self.later()


def fails():
    raise OSError("the disk is gone")
    yield


@pytest.mark.parametrize(
    ("later", "match"),
    [
        (lambda: iter([]), "x ends at row 1000"),
        (lambda: [(X[:999], Y[:999])], "x ends at row 1999"),
        (lambda: [(X, Y)], r"has a block of shape \(3000, 4\) at row 1000"),
        (lambda: [(X[1_000:, :3], Y)], r"has a block of shape \(2000, 3\)"),
        (fails, "can't be read at row 1000: OSError: the disk is gone"),
    ],
)
def test_blocks_that_change(later, match):
    error = stopped(match, Changes(later).blocks, None, lr=0.01, epochs=20)
    assert error.fit is not None
    assert 0 < error.fit.n_epochs < 20
    wanted = fastgd.fit(X, Y, loss="huber", lr=0.01, epochs=error.fit.n_epochs)
    np.testing.assert_allclose(error.fit.coef, wanted.coef, **CLOSE)


@pytest.mark.parametrize("damage", ["removed", "cut off", "overwritten"])
def test_a_file_that_is_damaged_between_readings(tmp_path, damage, monkeypatch):
    path = folder(tmp_path / "data", columns("y"))
    file, read, readings = path / "1.parquet", blocks.Blocks.read, []

    def damaging(self):
        readings.append(self)
        if len(readings) == 6:
            if damage == "removed":
                file.unlink()
            elif damage == "cut off":
                os.truncate(file, file.stat().st_size // 2)
            else:
                pq.write_table(parts(columns("y"))[0].slice(0, 5), file)
        return read(self)

    monkeypatch.setattr(blocks.Blocks, "read", damaging)
    error = stopped(None, path, "y", lr=0.01, epochs=50)
    assert 2 <= error.fit.n_epochs <= 6
    assert str(file) in str(error) or damage == "overwritten"


def test_a_fit_that_diverges_leaves_no_reader(tmp_path):
    options = {"lr": 1e6, "batch_size": 10, "shuffle": False}
    with pytest.raises(fastgd.DivergenceError):
        fastgd.fit_linear(one_file(tmp_path / "all"), "y", **options)


def test_a_fit_goes_on_from_the_one_that_was_stopped():
    error = stopped(
        None, Changes(fails).blocks, None, lr=0.01, epochs=20, callback=lambda fit: None
    )
    left = 20 - error.fit.n_epochs
    start = {"coef_init": error.fit.coef, "intercept_init": error.fit.intercept}
    rest = fastgd.fit(pairs, None, loss="huber", lr=0.01, epochs=left, **start)
    wanted = fastgd.fit(X, Y, loss="huber", lr=0.01, epochs=20)
    np.testing.assert_allclose(rest.coef, wanted.coef, **CLOSE)


# --- how they are read ----------------------------------------------------------------------------


def test_the_next_block_is_read_while_one_is_used():
    read = []

    def items():
        for number in range(5):
            read.append((number, threading.current_thread().name))
            yield number

    ahead = blocks.read_ahead(items())
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(read) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [number for number, _ in read] == [0, 1]
    assert all("fastgd-reader" in name for _, name in read)
    assert list(ahead) == [1, 2, 3, 4]


def test_a_block_is_good_until_the_next_one(tmp_path):
    x = opened(one_file(tmp_path / "all"), "y", None).x
    for first, block in x.read():
        time.sleep(0.002)  # the next one is read meanwhile
        np.testing.assert_array_equal(block, X[first : first + len(block)])
    assert x.sample().base is None
    np.testing.assert_array_equal(x.rows(100, 1_700), X[100:1_700])
    np.testing.assert_array_equal(x.rows(1_700, N), X[1_700:])


def test_paths_of_folders_of_other_files(tmp_path):
    path = folder(tmp_path / "data", columns("y"))
    (path / "_SUCCESS").touch()
    (path / ".hidden.crc").touch()
    wanted = fastgd.fit_linear(X, Y)
    np.testing.assert_allclose(fastgd.fit_linear(Path(path), "y").coef, wanted.coef, **CLOSE)


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "mse"}, {"optimizer": "lbfgs"}, {"batch_size": 100, "shuffle": False}],
    ids=["batch", "until statistics", "lbfgs", "stochastic"],
)
def test_the_callback_is_called_after_every_epoch_that_takes_long(options, monkeypatch):
    """Passes over blocks that a disk gives slowly, which no count of rows and columns knows."""
    monkeypatch.setattr("fastgd.solvers.work.CHUNK_NS", 10e6)
    seen = []

    def slow():
        time.sleep(0.012)
        yield from pairs()

    options = {"loss": "huber", "lr": 0.001, "epochs": 6} | options
    fastgd.fit(slow, None, callback=lambda fit: seen.append(fit.n_epochs), **options)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_arrow_does_not_run_ahead_of_a_slow_reader(tmp_path, monkeypatch):
    """Two or three of 40 row groups of 0.8 MB are in memory."""
    for module in (arrow_tables, polars_tables):
        monkeypatch.setattr(module, "ROWS", 1 << 16)
    path, group = tmp_path / "x.parquet", pa.table({f"c{j}": RNG.random(25_000) for j in range(D)})
    with pq.ParquetWriter(path, group.schema) as file:
        for _ in range(40):
            file.write_table(group)
    before, reading = pa.total_allocated_bytes(), opened(path, None, None).x.read()
    next(reading)
    time.sleep(0.2)
    assert 0 < pa.total_allocated_bytes() - before < 4 * group.nbytes
    reading.close()


def test_labels_need_few_numbers_a_row(tmp_path, monkeypatch):
    """Two float64 a row at once: labels, and predictions; blocks and batches are small beside them."""
    for module in (arrow_tables, polars_tables):
        monkeypatch.setattr(module, "ROWS", 1 << 14)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1 << 19)
    path, n, rng = tmp_path / "x.parquet", 1_000_000, np.random.default_rng(0)
    x = rng.standard_normal(n, dtype=np.float32)
    pq.write_table(pa.table({"x": x, "y": (x + rng.logistic(size=n) > 0).astype(int)}), path)
    fastgd.fit_logistic(path, "y")  # compiles
    tracemalloc.start()
    try:
        fastgd.fit_logistic(path, "y")
        assert tracemalloc.get_traced_memory()[1] < 22 * n
    finally:
        tracemalloc.stop()


def test_a_sample_of_rows_is_in_memory_once():
    x = np.zeros((200_000, 32), np.float32)

    def read():
        yield from np.split(x, 25)

    of_all = blocks.Blocks(read, x.shape, x.dtype)
    rows = blocks.BlockRows(of_all, np.zeros((1, len(x))), None, np.float64, None)
    tracemalloc.start()
    try:
        sample, share = rows.subset(2)
        assert tracemalloc.get_traced_memory()[1] < 1.3 * sample.x.nbytes
    finally:
        tracemalloc.stop()
    assert share == pytest.approx(0.5, abs=1e-3)
