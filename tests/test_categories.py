"""Chosen columns and columns of categories of frames, files, queries and Dask: fits on 0 and 1."""

import io
import pickle

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

N = 300
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(5, 1, N),
        "sex": RNG.choice(["male", "female"], N),
        "town": pd.Categorical(RNG.choice(["Rome", "Ulm", "Bonn"], N), ["Bonn", "Rome", "Ulm"]),
        "rooms": RNG.integers(1, 5, N),
        "note": "x",
    }
)
PRICE = (
    3 * FRAME["size"] + 10 * (FRAME.sex == "male") + 5 * (FRAME.town == "Ulm") + FRAME.rooms**2
).to_numpy(np.float64) + RNG.normal(size=N)
FRAME["price"] = PRICE
HAND = np.column_stack(
    [FRAME["size"], FRAME.sex == "male", FRAME.town == "Rome", FRAME.town == "Ulm"]
    + [FRAME.rooms == value for value in (2, 3, 4)]
).astype(float)
NAMES = (
    "size", "sex=male", "town=Rome", "town=Ulm", "rooms=2", "rooms=3", "rooms=4",
)  # fmt: skip
VALUES = {"sex": ("female", "male"), "town": ("Bonn", "Rome", "Ulm"), "rooms": (1, 2, 3, 4)}
CHOSEN = {"columns": ["size", "sex", "town", "rooms"], "categories": ["sex", "rooms"]}
BY_HAND = fastgd.fit_linear(HAND, PRICE)


def _hive(frame, folder):
    table = pa.Table.from_pandas(frame.astype({"town": str}))
    pq.write_to_dataset(table, folder / "hive", partition_cols=["town"])
    return ds.dataset(folder / "hive", partitioning="hive")


def _file(frame, folder):
    path = folder / "x.parquet"
    frame.to_parquet(path, row_group_size=70)
    return path


KINDS = {
    "pandas": lambda frame, folder: frame,
    "polars": lambda frame, folder: pl.from_pandas(frame),
    "arrow": lambda frame, folder: pa.Table.from_pandas(frame),
    "path": _file,
    "file": lambda frame, folder: pq.ParquetFile(_file(frame, folder)),
    "query": lambda frame, folder: pl.from_pandas(frame).lazy(),
    "enum": lambda frame, folder: (
        pl.from_pandas(frame)
        .with_columns(pl.col("town").cast(pl.String).cast(pl.Enum(["Bonn", "Rome", "Ulm"])))
        .lazy()
    ),
    "dask": lambda frame, folder: dd.from_pandas(frame, npartitions=3),
}


@pytest.fixture(params=KINDS)
def table(request, tmp_path):
    with dask.config.set(scheduler="threads"):
        yield KINDS[request.param](FRAME, tmp_path)


def computed(found):
    return found.compute() if hasattr(found, "compute") else found


def test_a_fit_is_that_of_columns_encoded_by_hand(table):
    fit = fastgd.fit_linear(table, "price", **CHOSEN)
    assert (fit.feature_names, fit.categories) == (NAMES, VALUES)
    np.testing.assert_allclose(fit.coef, BY_HAND.coef, rtol=1e-10)
    np.testing.assert_allclose(computed(fit.predict(table)), BY_HAND.predict(HAND), rtol=1e-10)
    assert fit.score(table, "price") == pytest.approx(BY_HAND.score(HAND, PRICE), rel=1e-10)


def test_text_in_partitions(tmp_path):
    fit = fastgd.fit_linear(
        _hive(FRAME, tmp_path), "price",
        columns=["town", "size"], categories=["town"],
    )  # fmt: skip
    assert fit.feature_names == ("town=Rome", "town=Ulm", "size")
    np.testing.assert_allclose(
        fit.coef, fastgd.fit_linear(HAND[:, [2, 3, 0]], PRICE).coef, rtol=1e-10
    )


def test_given_values_have_their_order(table):
    values = {"sex": ["male", "female", "other"], "town": ["Ulm", "Bonn", "Rome"]}
    fit = fastgd.fit_linear(table, "price", columns=["sex", "town"], categories=values)
    assert fit.feature_names == ("sex=female", "sex=other", "town=Bonn", "town=Rome")
    by_hand = np.column_stack(
        [FRAME[name] == value for name in values for value in values[name][1:]]
    )
    wanted = fastgd.fit_linear(by_hand.astype(float), PRICE)
    np.testing.assert_allclose(computed(fit.predict(table)), wanted.predict(by_hand), rtol=1e-10)


def test_columns_that_are_not_chosen_are_not_looked_at(table):
    fit = fastgd.fit_linear(table, "price", columns=["rooms", "size"])
    assert fit.feature_names == ("rooms", "size")
    assert not fit.categories
    wanted = fastgd.fit_linear(FRAME[["rooms", "size"]].to_numpy(float), PRICE)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-10)


@pytest.mark.parametrize("kind", ["pandas", "path", "dask"])
def test_rows_with_other_values_are_refused(kind, tmp_path):
    fit = fastgd.fit_linear(KINDS[kind](FRAME, tmp_path), "price", **CHOSEN)
    other = FRAME.copy()
    other.loc[130, "sex"] = "other"
    with dask.config.set(scheduler="threads"), pytest.raises(InputError) as caught:
        computed(fit.predict(KINDS[kind](other, tmp_path)))
    assert "column 'sex' of x is 'other'" in str(caught.value)
    assert "none of its categories ('female', 'male')." in str(caught.value)
    where = {
        "pandas": "at row 130,",
        "path": f"at row 130 (row 130 of {tmp_path}/x.parquet, row group 1),",
        "dask": "at row 30,",
    }
    assert where[kind] in str(caught.value)


def test_missing_values_are_refused(tmp_path):
    other = FRAME.copy()
    other.loc[130, "sex"] = None
    for kind, where in {"path": "at row 130 (row 130 of", "pandas": "at row 130;"}.items():
        with pytest.raises(InputError, match="column 'sex' of x has no value") as caught:
            fastgd.fit_linear(KINDS[kind](other, tmp_path), "price", **CHOSEN)
        assert where in str(caught.value)
    with dask.config.set(scheduler="threads"), pytest.raises(InputError, match="has no value"):
        fastgd.fit_linear(KINDS["dask"](other, tmp_path), "price", **CHOSEN)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_frames_in_memory_with_targets_in_an_array(kind):
    frame = KINDS[kind](FRAME[["size", "town"]], None)
    fit = fastgd.fit_linear(frame, PRICE)
    assert fit.feature_names == ("size", "town=Rome", "town=Ulm")
    hand = HAND[:, [0, 2, 3]]
    np.testing.assert_allclose(fit.coef, fastgd.fit_linear(hand, PRICE).coef, rtol=1e-12)
    np.testing.assert_allclose(fit.predict(frame), fit.predict(hand), rtol=1e-12)
    assert fit.score(frame, PRICE) == pytest.approx(fit.score(hand, PRICE), rel=1e-12)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_predictions_of_frames_with_more_columns(kind):
    frame = KINDS[kind](FRAME, None)
    fit = fastgd.fit_linear(frame, "price", columns=["rooms", "size"])
    wanted = fit.predict(FRAME[["rooms", "size"]])
    np.testing.assert_array_equal(fit.predict(frame), wanted)
    with pytest.raises(InputError, match="column 0 of x is 'size'"):
        fit.predict(FRAME[["size", "rooms"]])


def test_updates_by_row_visit_encoded_rows(tmp_path):
    path = _file(FRAME, tmp_path)
    options = {"lr": 0.01, "epochs": 2, "batch_size": 1, "shuffle": False}
    fit = fastgd.fit_linear(path, "price", **CHOSEN, **options)
    np.testing.assert_allclose(fit.coef, fastgd.fit_linear(HAND, PRICE, **options).coef, rtol=1e-12)
    shuffled = fastgd.fit_linear(path, "price", **CHOSEN, **options | {"shuffle": "block"})
    assert shuffled.method == "per-sample (shuffle by blocks)"


@pytest.mark.filterwarnings("ignore:the validation cost was lowest")
def test_labels_of_text_validation_and_encoded_arrays(tmp_path):
    sold = np.where(FRAME["price"] > PRICE.mean(), "yes", "no")
    path = _file(FRAME.assign(sold=sold), tmp_path)
    chosen = {"columns": ["sex", "town"], "categories": ["sex"]}
    fit = fastgd.fit_logistic(path, "sold", **chosen)
    assert fit.classes.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(fit.predict(path), fit.predict(HAND[:, 1:4]))
    np.testing.assert_array_equal(fit.predict(FRAME), fit.predict(HAND[:, 1:4]))
    options = {"lr": 0.1, "epochs": 5}
    held = fastgd.fit_logistic(path, "sold", validation=(path, "sold"), **chosen, **options)
    wanted = fastgd.fit_logistic(HAND[:, 1:4], sold, validation=(HAND[:, 1:4], sold), **options)
    np.testing.assert_allclose(held.validation_costs, wanted.validation_costs, rtol=1e-10)


def test_the_categories_are_saved(tmp_path):
    fit = fastgd.fit_linear(FRAME, "price", **CHOSEN)
    file = io.BytesIO()
    fit.save(file)
    file.seek(0)
    for again in (fastgd.load(file), pickle.loads(pickle.dumps(fit))):
        assert again.categories == VALUES
        np.testing.assert_array_equal(again.predict(FRAME), fit.predict(FRAME))


def test_a_column_of_one_value_is_looked_at_too():
    fit = fastgd.fit_linear(FRAME, "price", columns=["size", "note"], categories=["note"])
    assert (fit.feature_names, fit.categories) == (("size",), {"note": ("x",)})
    with pytest.raises(InputError, match="none of its categories"):
        fit.predict(FRAME.assign(note="y"))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"columns": ["town", "size"]},
            "column 0 of x is 'town=Rome', and that of the fit is 'size'",
        ),
        (
            {"categories": {"town": ["Ulm", "Bonn", "Rome"]}},
            "column 1 of x is 'town=Bonn', and that",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["pandas", "path", "dask"])
def test_a_fit_goes_on_with_the_same_columns(kind, other, said, tmp_path):
    x, path = KINDS[kind](FRAME, tmp_path), tmp_path / "fit.npz"
    options = {"columns": ["size", "town"], "lr": 0.01}
    with dask.config.set(scheduler="threads"):
        fastgd.fit_linear(x, "price", epochs=2, checkpoint=path, **options)
        found = fastgd.fit_linear(x, "price", epochs=4, resume=path, **options)
        wanted = fastgd.fit_linear(x, "price", epochs=4, **options)
        np.testing.assert_array_equal(found.coef, wanted.coef)
        with pytest.raises(InputError, match=said):
            fastgd.fit_linear(x, "price", epochs=4, resume=path, **options | other)


def test_estimators(tmp_path):
    from fastgd.linear_model import LinearRegression

    path = _file(FRAME.drop(columns=["sex", "note"]), tmp_path)
    model = LinearRegression().fit(path, "price")
    assert model.feature_names_in_.tolist() == ["size", "town=Rome", "town=Ulm", "rooms"]
    hand = np.column_stack([HAND[:, [0, 2, 3]], FRAME.rooms])
    wanted = LinearRegression().fit(hand, PRICE).predict(hand)
    np.testing.assert_allclose(model.predict(path), wanted, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"column 1 \('sex'\) of x is .*; name it in categories= to have columns of 0 and 1"),
        ({"columns": ["size", "height"]}, "no column 'height'"),
        ({"columns": ["size", "price"]}, "columns has 'price', which is y"),
        ({"columns": ["size", "size"]}, "columns has 'size' twice"),
        ({"columns": []}, "columns is empty"),
        ({"columns": "size"}, "columns is 'size'; pass a list of names"),
        ({"columns": ["size"], "categories": ["sex"]}, "'sex', which is no feature"),
        ({"categories": {"sex": []}}, "categories of 'sex' are .*; pass a list"),
        ({"categories": {"sex": ["a", "a"]}}, "pass a list of different values"),
        ({"columns": ["size"], "categories": ["size"]}, None),
    ],
)
def test_what_is_refused(options, message):
    if message is None:  # 300 different numbers
        assert len(fastgd.fit_linear(FRAME, "price", l2=1.0, **options).categories["size"]) == N
        return
    with pytest.raises(InputError, match=message):
        fastgd.fit_linear(FRAME, "price", **options)


def test_names_need_columns():
    for options in ({"columns": ["a"]}, {"categories": ["a"]}):
        for x in (HAND, [HAND, HAND], iter([(HAND, PRICE)])):
            with pytest.raises(InputError, match="x has no named columns"):
                fastgd.fit_linear(x, PRICE, **options)
    frame = pd.DataFrame({"a": np.arange(1001), "y": 0.0})
    with pytest.raises(InputError, match="more than 1000 values"):
        fastgd.fit_linear(frame, "y", categories=["a"])
    frame = pd.DataFrame({"a": ["p", "q"] * 5, "a=q": 1.0, "y": np.arange(10.0)})
    with pytest.raises(InputError, match="x has the column 'a=q'"):
        fastgd.fit_linear(frame, "y", categories=["a"])
