"""Values of columns of categories: how they are found, which are refused, and where they are."""

import datetime

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("pandas")
pytest.importorskip("polars")
pytest.importorskip("dask.dataframe")

import dask
import dask.dataframe as dd
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import fastgd
from fastgd import InputError
from fastgd.sources.blocks import Blocks

N = 200
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"a": RNG.normal(size=N), "s": RNG.choice(["p", "q", "r"], N), "i": RNG.integers(0, 3, N)}
)
Y = FRAME.a + (FRAME.s == "q") + RNG.normal(size=N)
FRAME["y"] = Y
BY_HAND = fastgd.fit_linear(
    np.column_stack([FRAME.a, FRAME.s == "q", FRAME.s == "r"]).astype(float), Y
)
CHOSEN = {"columns": ["a", "s"], "categories": ["s"]}
GIVEN = {"columns": ["a", "s"], "categories": {"s": ["p", "q", "r"]}}


def refused(x, **options):
    """What is said of this table."""
    with dask.config.set(scheduler="threads"), pytest.raises(InputError) as caught:
        fastgd.fit_linear(x, "y", **options)
    return str(caught.value)


def written(table, path, **options):
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    pq.write_table(table, path, **options)
    return path


def with_text(values):
    return pa.table({"a": FRAME.a, "y": Y, "s": values})


# --- dictionaries -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uint8", "uint32", "int64"])
def test_dictionaries_with_indices_of_any_type(kind, tmp_path):
    codes = pa.array(FRAME.s.map({"r": 0, "p": 1, "q": 3}), kind)
    table = with_text(pa.DictionaryArray.from_arrays(codes, ["r", "p", "never", "q"]))
    for x in (table, written(table, tmp_path / "x.parquet", row_group_size=70)):
        fit = fastgd.fit_linear(x, "y", columns=["a", "s"])
        assert fit.categories == {"s": ("p", "q", "r")}
        np.testing.assert_allclose(fit.coef, BY_HAND.coef, rtol=1e-10)


def test_categoricals_that_polars_wrote(tmp_path):
    frame = pl.from_pandas(FRAME).with_columns(pl.col("s").cast(pl.Categorical))
    path = tmp_path / "x.parquet"
    frame.write_parquet(path)
    for x in (path, pl.scan_parquet(path), frame.to_arrow()):
        fit = fastgd.fit_linear(x, "y", columns=["a", "s"])
        np.testing.assert_allclose(fit.coef, BY_HAND.coef, rtol=1e-10)
        np.testing.assert_allclose(fit.predict(x), fit.predict(frame), rtol=1e-12)


@pytest.mark.parametrize("kind", ["pandas", "polars", "query", "dask"])
def test_values_that_belong_to_a_type_keep_their_order(kind):
    order = ["r", "q", "p"]
    frame = FRAME.assign(s=pd.Categorical(FRAME.s, order))
    of_polars = pl.from_pandas(FRAME).with_columns(pl.col("s").cast(pl.Enum(order)))
    x = {
        "pandas": frame,
        "polars": of_polars,
        "query": of_polars.lazy(),
        "dask": dd.from_pandas(frame, npartitions=2),
    }[kind]
    with dask.config.set(scheduler="threads"):
        fit = fastgd.fit_linear(x, "y", **CHOSEN)
    assert fit.feature_names == ("a", "s=q", "s=p")


def test_a_dictionary_with_an_entry_that_is_missing():
    codes = pa.array([0, 1] * (N // 2 - 1) + [0, 2], "int8")
    table = with_text(pa.DictionaryArray.from_arrays(codes, pa.array(["p", "q", None])))
    for options in (CHOSEN, GIVEN):
        assert f"column 's' of x has no value at row {N - 1};" in refused(table, **options)


@pytest.mark.parametrize("kind", ["pandas", "dask"])
def test_dictionaries_of_arrow_in_frames_of_pandas(kind):
    kept = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    x = FRAME.assign(s=FRAME.s.astype(kept))
    with dask.config.set(scheduler="threads"):
        x = dd.from_pandas(x, npartitions=3) if kind == "dask" else x
        fit = fastgd.fit_linear(x, "y", columns=["a", "s"])
    assert fit.categories == {"s": ("p", "q", "r")}
    np.testing.assert_allclose(fit.coef, BY_HAND.coef, rtol=1e-10)


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [np.array([2, 1, 0]), [np.int64(2), np.int8(1), 0], pd.Index([2, 1, 0]), (2, 1, 0)]
)
def test_values_in_any_list_are_kept_as_those_of_python(values, tmp_path):
    fit = fastgd.fit_linear(FRAME, "y", columns=pd.Index(["i"]), categories={"i": values})
    assert fit.feature_names == ("i=1", "i=0")
    fit.save(tmp_path / "f.npz")
    assert fastgd.load(tmp_path / "f.npz").categories == {"i": (2, 1, 0)}


def test_no_categories_are_the_same_as_none():
    for none in ([], {}, ()):
        assert fastgd.fit_linear(FRAME[["a"]], Y, categories=none).categories is None
        assert fastgd.fit_linear([[1.0], [2.0]], [1.0, 3.0], categories=none).categories is None


@pytest.mark.parametrize("values", ["pq", [["p"], ["q"]], ["p", None], [1.0, np.nan], {}, 3, None])
def test_values_that_are_given_and_refused(values):
    said = refused(FRAME, columns=["a", "s"], categories={"s": values})
    assert "categories of 's' are" in said
    assert "pass a list of different values, of text, numbers or booleans." in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [datetime.date(2020, 1, 1)] * N,
            "has the value datetime.date(2020, 1, 1), and categories",
        ),
        ([b"p"] * N, "has the value b'p', and categories are text, numbers or"),
        ([[1], [2]] * (N // 2), "categories are text, numbers or booleans; leave it out"),
        ([None] * N, "has no value at row 0"),
    ],
)
def test_columns_of_other_kinds(values, said, tmp_path):
    table = with_text(pa.array(values))
    for x in (table, written(table, tmp_path / "x.parquet"), pl.from_arrow(table).lazy()):
        assert said in refused(x, **CHOSEN)
    frame = FRAME.assign(s=pd.Series(values, dtype=object))
    assert said in refused(frame, **CHOSEN)


def test_intervals_of_pandas():
    said = refused(FRAME.assign(s=pd.cut(FRAME.a, 3)), columns=["i", "s"])
    assert "column 's' of x has the value Interval(" in said


def test_nan_is_no_value(tmp_path):
    numbers = np.where(np.arange(N) == 150, np.nan, 1.5)
    table = with_text(pa.array(numbers, from_pandas=False))
    path = written(table, tmp_path / "x.parquet", row_group_size=100)
    for options in (CHOSEN, {"columns": ["a", "s"], "categories": {"s": [1.5]}}):
        for x in (table, path, pl.from_arrow(table).lazy(), FRAME.assign(s=numbers)):
            assert "column 's' of x has no value at row 150" in refused(x, **options)


@pytest.mark.parametrize("value", [None, "NA"])
def test_text_that_is_missing_in_a_csv_file(value, tmp_path):
    path = tmp_path / "x.csv"
    FRAME.assign(s=np.where(np.arange(N) == 150, value, FRAME.s)).to_csv(path, index=False)
    for options in (CHOSEN, GIVEN):
        assert "column 's' of x has no value at row 150 (row 150 of" in refused(path, **options)
    with pytest.raises(InputError, match="y has no label at row 150"):
        fastgd.fit_logistic(path, "s", columns=["a"])


def test_a_feature_is_needed():
    assert "x has no feature" in refused(FRAME.assign(s="p"), columns=["s"], categories=["s"])


# --- places -----------------------------------------------------------------------------------


def test_places_in_a_shuffled_reading(tmp_path):
    frame = pd.concat([FRAME] * 5, ignore_index=True)
    frame.loc[777, "s"] = "other"
    path = written(frame, tmp_path / "x.parquet", row_group_size=100)
    options = {"batch_size": 8, "shuffle": "block", "lr": 0.01, "epochs": 1}
    for x in (path, pq.ParquetFile(path)):
        said = refused(x, **GIVEN, **options)
        assert "is 'other' at row 777 (row" in said
        assert "row group 7" in said


@pytest.mark.parametrize("options", [CHOSEN, GIVEN, {"columns": ["a", "s"]}])
def test_places_of_chunks(options):
    frame = FRAME.copy()
    frame.loc[130, "s"] = None
    x = dd.from_pandas(frame, npartitions=4)
    if "categories" not in options:
        x["s"] = x.s.astype("category")  # of values that are not known
    assert "column 's' of x has no value at row 30 of chunk 2;" in refused(x, **options)


def test_values_of_all_chunks_are_found_by_one_reading():
    read = []

    def seen(part):
        read.append(len(part))
        return part

    x = dd.from_pandas(FRAME, npartitions=4).map_partitions(seen, meta=FRAME.iloc[:0])
    options = {"columns": ["a", "s", "i"], "lr": 0.1, "epochs": 1}
    with dask.config.set(scheduler="sync"):
        found = fastgd.fit_linear(x, Y, categories=["s", "i"], **options).categories
        parts = len(read)
        fastgd.fit_linear(x, Y, categories=found, **options)
    assert found == {"s": ("p", "q", "r"), "i": (0, 1, 2)}
    assert parts - (len(read) - parts) == 4
    many = dd.from_pandas(pd.DataFrame({"m": np.arange(2002), "y": 0.0}), npartitions=3)
    assert "more than 1000 values" in refused(many, categories=["m"])


def test_places_of_predictions_of_chunks():
    fit = fastgd.fit_linear(FRAME, "y", **CHOSEN)
    frame = FRAME.copy()
    frame.loc[130, "s"] = "other"
    with dask.config.set(scheduler="threads"), pytest.raises(InputError) as caught:
        fit.predict(dd.from_pandas(frame, npartitions=4)).compute()
    assert "in chunk 2, column 's' of x is 'other' at row 30, which is none of" in str(caught.value)


def test_places_of_rows_to_validate_on():
    frame = FRAME.assign(s="other")
    said = refused(FRAME, **CHOSEN, validation=(frame, "y"), lr=0.1, epochs=2)
    assert "in validation, column 's' of x is 'other' at row 0, which is none of" in said


def test_rows_to_validate_on_are_let_go_of_after_an_error(tmp_path, monkeypatch):
    path, closed = written(FRAME[["a", "i"]], tmp_path / "x.parquet"), []
    monkeypatch.setattr(Blocks, "close", lambda rows: closed.append(rows.names))
    with pytest.raises(InputError, match="in validation, x has 200 rows and y has 3"):
        fastgd.fit_linear(FRAME[["a", "i"]], Y, validation=(path, np.zeros(3)), lr=0.1, epochs=2)
    assert closed == [["a", "i"]]


def test_tables_of_no_rows(tmp_path):
    none = FRAME.iloc[:0]
    fit = fastgd.fit_linear(FRAME, "y", **CHOSEN)
    for x in (none, pl.from_pandas(none), written(none, tmp_path / "x.parquet")):
        assert "x has 0 rows" in refused(x, **CHOSEN)
        with pytest.raises(InputError, match="x has 0 rows"):
            fit.predict(x)


# --- columns that are not chosen --------------------------------------------------------------


def test_columns_that_are_not_chosen_may_differ_between_files(tmp_path):
    half = N // 2
    files = [
        written(FRAME[:half].assign(note="x", more=1.0), tmp_path / "0.parquet"),
        written(FRAME[half:].assign(i="text", other=1), tmp_path / "1.parquet"),
    ]
    for x in (files, tmp_path, ds.dataset(tmp_path)):
        fit = fastgd.fit_linear(x, "y", **CHOSEN)
        np.testing.assert_allclose(fit.coef, BY_HAND.coef, rtol=1e-10)
        np.testing.assert_allclose(fit.predict(x), fit.predict(FRAME), rtol=1e-12)
        assert "1.parquet has no column 'more'" in refused(x, columns=["a", "more"])
        assert "1.parquet is large_string, and int64 in other" in refused(x, columns=["a", "i"])
        assert "1.parquet" in refused(x, categories=["s", "i"])


def test_all_columns_are_looked_at_where_none_are_chosen(tmp_path):
    files = [
        written(FRAME[["a", "y"]], tmp_path / "0.parquet"),
        written(FRAME[["a", "y"]].assign(more=1.0), tmp_path / "1.parquet"),
    ]
    said = "has the column 'more', which the first file of x has not; choose columns with columns="
    assert said in refused(files)
    assert "has no column 'more', which other files of x have" in refused(files[::-1])
