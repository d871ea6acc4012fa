"""scikit-learn's estimators of rows in blocks: the same models as of rows in memory, and errors."""

import contextlib
import threading
import time

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_array

pytest.importorskip("distributed")

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
from distributed import Client

import fastgd
from fastgd import InputError, linear_model
from fastgd.sources import tables

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:distributed", "ignore::ResourceWarning"
)

N, NAMES = 600, ["a", "b", "c", "d"]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 4)) * [1, 3, 0.1, 1] + [0, 5, 0, -2]
SCORE = X @ [1.0, -0.3, 4.0, 0.5] + RNG.standard_normal(N)
WEIGHT = RNG.integers(0, 4, N).astype(float)
THREE = np.array(["low", "mid", "top"])[np.digitize(SCORE, [-2, 2])]

#: Targets, and the parameters of an estimator.
MODELS = {
    "LinearRegression": (SCORE, {}),
    "Ridge": (SCORE, {}),
    "Lasso": (SCORE, {"alpha": 0.05}),
    "ElasticNet": (SCORE, {"alpha": 0.05}),
    "LogisticRegression": (THREE, {"tol": 1e-9, "class_weight": "balanced"}),
    "PoissonRegressor": (np.floor(np.exp(SCORE / 4)), {"tol": 1e-9}),
    "GammaRegressor": (np.exp(SCORE / 4), {"tol": 1e-9}),
    "TweedieRegressor": (np.exp(SCORE / 4), {"power": 1.5, "tol": 1e-9}),
    "HuberRegressor": (SCORE, {"tol": 1e-9}),
    "QuantileRegressor": (SCORE, {"alpha": 0.01}),
}


def new(name, **more):
    return getattr(linear_model, name)(**MODELS[name][1] | more)


def pieces(*arrays):
    return zip(*(np.split(a, [250, 251]) for a in arrays), strict=True)


def frame(y):
    return pd.DataFrame(X, columns=NAMES).assign(y=y, w=WEIGHT)


#: x, y and weights in blocks.
KINDS = {
    "arrays": lambda y: ([x for x, in pieces(X)], y, WEIGHT),
    "sparse": lambda y: ([csr_array(x) for x, in pieces(X)], y, WEIGHT),
    "function": lambda y: (lambda: pieces(X, y, WEIGHT), None, None),
    "query": lambda y: (pl.from_pandas(frame(y)).lazy(), "y", "w"),
    "dataset": lambda y: (ds.dataset(pa.Table.from_pandas(frame(y))), "y", "w"),
    "dask array": lambda y: (
        da.from_array(X, chunks=((250, 1, 349), 4)), da.from_array(y, chunks=200), WEIGHT,
    ),
    "dask frame": lambda y: (dd.from_pandas(frame(y), npartitions=2), "y", "w"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def many_blocks(monkeypatch):
    """A block of 256 rows; no thread is left behind."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 256 * 4 * 8)
    with dask.config.set(scheduler="threads"):
        yield
    deadline = time.monotonic() + 5
    while any("fastgd-reader" in each.name for each in threading.enumerate()):
        assert time.monotonic() < deadline, "a reader was left behind"
        time.sleep(0.01)


@contextlib.contextmanager
def connected():
    """A client with two workers of one thread each in this process; nothing is left on it."""
    with (
        Client(
            processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as client,
        dask.config.set(scheduler="dask.distributed"),
    ):
        yield client
        end = time.monotonic() + 5
        while client.futures and time.monotonic() < end:
            time.sleep(0.01)
        assert not client.futures


def assert_same(found, wanted):
    """The same attributes, but for names and iterations."""
    for name, value in vars(wanted).items():
        if name.startswith("n_iter"):
            assert np.shape(getattr(found, name)) == np.shape(value)
        elif isinstance(value, np.ndarray | float | int):
            got = getattr(found, name)
            assert np.shape(got) == np.shape(value)
            if np.asarray(value).dtype.kind in "fiub":
                assert np.asarray(got).dtype == np.asarray(value).dtype
                np.testing.assert_allclose(got, value, rtol=1e-8, atol=1e-12, err_msg=name)
            else:
                np.testing.assert_array_equal(got, value)
    assert vars(found).keys() - vars(wanted).keys() <= {"feature_names_in_"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "function") for name in MODELS),
        *(("LogisticRegression", kind) for kind in KINDS if kind != "function"),
        *(
            (name, "dask frame")
            for name in ("LinearRegression", "GammaRegressor", "HuberRegressor")
        ),
    ],
)
def test_the_model_is_that_of_rows_in_memory(name, kind):
    y = MODELS[name][0]
    x, of_x, weight = KINDS[kind](y)
    found, wanted = new(name).fit(x, of_x, weight), new(name).fit(X, y, WEIGHT)
    assert_same(found, wanted)
    assert found.score(x, of_x, weight) == pytest.approx(wanted.score(X, y, WEIGHT), abs=1e-9)
    named = kind in ("query", "dataset", "dask frame")
    assert list(getattr(found, "feature_names_in_", [])) == (NAMES if named else [])
    x = x[NAMES] if kind == "dask frame" else x
    rows = frame(y)[NAMES] if named else X
    genuine = found.to_sklearn()
    for method in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
        if not hasattr(genuine, method):
            continue
        got, expected = getattr(found, method)(x), getattr(genuine, method)(rows)
        assert isinstance(got, da.Array if "dask" in kind else np.ndarray)
        assert got.dtype == expected.dtype
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
        else:
            np.testing.assert_array_equal(got, expected)


def test_chunks_on_workers():
    with connected():
        for name in ("Ridge", "Lasso", "LogisticRegression", "PoissonRegressor", "HuberRegressor"):
            y = MODELS[name][0]
            x, of_x, weight = KINDS["dask array"](y)
            found, wanted = new(name).fit(x, of_x, weight), new(name).fit(X, y, WEIGHT)
            assert_same(found, wanted)
            assert found.score(x, of_x, weight) == pytest.approx(
                wanted.score(X, y, WEIGHT), abs=1e-9
            )
            assert (
                np.mean(found.predict(x).compute() == found.predict(X)) > 0.95
            )  # but for rounding
        with pytest.raises(ValueError, match="Unknown label type"):
            new("LogisticRegression").fit(x, SCORE)


def test_predictions_of_dask_compute_nothing_yet():
    computed = []

    def chunk(rows):
        computed.append(len(rows))
        return rows

    x = da.from_array(X, chunks=(200, 4)).map_blocks(chunk, dtype=float, meta=np.empty((0, 0)))
    model = linear_model.LogisticRegression().fit(X, SCORE > 0)
    found = [
        getattr(model, name)(x) for name in ("predict", "decision_function", "predict_log_proba")
    ]
    assert not computed
    assert [one.chunks[0] for one in found] == [(200, 200, 200)] * 3
    assert found[0].sum().compute() == model.predict(X).sum()
    assert computed == [200, 200, 200]


@pytest.mark.parametrize("rows", [N, 3])
def test_dependent_columns_have_the_smallest_coefficients(rows):
    x = np.column_stack([X[:rows], X[:rows, 0] - X[:rows, 3]])
    counts = MODELS["PoissonRegressor"][0]
    for name, y, more in (
        ("LinearRegression", SCORE, {}),
        ("LinearRegression", np.column_stack([SCORE, X[:, 1]]), {"fit_intercept": False}),
        ("Ridge", SCORE, {"alpha": 0.0}),
        ("Ridge", SCORE, {}),
        *([("PoissonRegressor", counts, {"alpha": 0.0})] if rows > 5 else []),
    ):
        wanted = new(name, **more).fit(x, y[:rows], WEIGHT[:rows] + 1)
        found = new(name, **more).fit([x[:2], x[2:]], y[:rows], WEIGHT[:rows] + 1)
        np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found.intercept_, wanted.intercept_, rtol=1e-7, atol=1e-9)
        if name == "LinearRegression":
            assert found.rank_ == wanted.rank_ < 5


def test_several_targets_and_penalties():
    y = np.column_stack([SCORE, X[:, 0] - SCORE])
    for model in (linear_model.Ridge(alpha=[0.1, 2.0]), linear_model.Lasso(alpha=0.1)):
        wanted = model.fit(X, y).coef_
        found = model.fit([X[:100], X[100:]], y)
        np.testing.assert_allclose(found.coef_, wanted, rtol=1e-10)
        assert found.score([X[:9], X[9:]], y) == pytest.approx(found.score(X, y))


@pytest.mark.parametrize(
    "name", ["Lasso", "LogisticRegression", "GammaRegressor", "HuberRegressor"]
)
def test_a_warm_start_stays_at_the_optimum(name):
    y, x = MODELS[name][0], [X[:100], X[100:]]
    model = new(name, warm_start=True, tol=1e-5).fit(x, y)
    before = model.coef_.copy()
    model.fit(x, y)
    np.testing.assert_allclose(model.coef_, before, rtol=1e-4)
    assert np.max(model.n_iter_) <= (5 if name == "LogisticRegression" else 1)


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_dtypes(dtype):
    x = np.round(3 * X).astype(dtype)
    for name in ("LinearRegression", "Lasso", "PoissonRegressor"):
        y = MODELS[name][0]
        wanted, found = new(name).fit(x, y), new(name).fit([x[:100], x[100:]], y)
        np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-4)
        assert found.coef_.dtype == wanted.coef_.dtype
        assert found.predict([x]).dtype == wanted.predict(x).dtype


# --- what is refused ----------------------------------------------------------------------------------

BLOCKS = [X[:100], X[100:]]
REFUSED = {
    "positive": (lambda: linear_model.Ridge(positive=True).fit(BLOCKS, SCORE), "positive=True"),
    "a Gram matrix": (lambda: linear_model.Lasso(precompute=np.eye(4)).fit(BLOCKS, SCORE), "precompute"),
    "liblinear": (
        lambda: linear_model.LogisticRegression(solver="liblinear").fit(BLOCKS, SCORE > 0),
        "pass another solver",
    ),
    "partial_fit": (lambda: linear_model.Ridge().partial_fit(BLOCKS, SCORE), "rows in blocks here; give"),
    "SGDRegressor": (lambda: linear_model.SGDRegressor().fit(BLOCKS, SCORE), "rows in blocks here; give"),
    "SGDClassifier": (
        lambda: linear_model.SGDClassifier().partial_fit(BLOCKS, SCORE > 0, [False, True]), "in blocks",
    ),
    "MLPRegressor": (lambda: linear_model.MLPRegressor().fit(BLOCKS, SCORE), "rows in blocks here; give"),
    "no y": (lambda: linear_model.Ridge().fit(BLOCKS, None), "y is missing; pass"),
    "y of another length": (lambda: linear_model.Ridge().fit(BLOCKS, SCORE[:9]), "inconsistent numbers"),
    "y with NaN": (lambda: linear_model.Ridge().fit(BLOCKS, np.full(N, np.nan)), "y contains NaN"),
    "one class": (lambda: linear_model.LogisticRegression().fit(BLOCKS, np.ones(N)), "only one class"),
    "counts below 0": (lambda: linear_model.PoissonRegressor().fit(BLOCKS, SCORE), "the valid range"),
    "weights of another length": (
        lambda: linear_model.Ridge().fit(BLOCKS, SCORE, WEIGHT[:9]), "sample_weight.shape",
    ),
    "an unknown column": (
        lambda: linear_model.Ridge().fit(pl.LazyFrame({"a": [1.0]}), "z"), "y is 'z', and the columns",
    ),
    "text": (
        lambda: linear_model.Ridge().fit(pl.LazyFrame({"a": ["u"], "y": [1]}), "y"),
        "name it in categories=",
    ),
    "no rows": (
        lambda: linear_model.Ridge().fit(pl.from_pandas(frame(SCORE)).lazy().clear(), "y"), "0 sample",
    ),
    "a generator": (lambda: linear_model.Ridge().fit((x for x in BLOCKS), SCORE), "is a generator"),
    "not fitted": (lambda: linear_model.Ridge().predict(BLOCKS), "not fitted yet"),
    "many dependent columns": (
        lambda: linear_model.LinearRegression().fit([np.ones((3, 2_100))], np.ones(3)), "or use Ridge",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what):
    call, said = REFUSED[what]
    with pytest.raises((ValueError, NotImplementedError), match=said):
        call()


def test_columns_of_predictions(tmp_path):
    table = pa.Table.from_pandas(frame(SCORE))
    pq.write_table(table, tmp_path / "rows.parquet")
    model = linear_model.Ridge().fit(tmp_path / "rows.parquet", "y", "w")
    wanted = model.predict(frame(SCORE)[NAMES])
    np.testing.assert_allclose(model.predict(str(tmp_path / "rows.parquet")), wanted)
    np.testing.assert_allclose(model.predict(ds.dataset(table.select(NAMES[::-1]))), wanted)
    other = table.select(NAMES[:3])
    with pytest.raises(InputError, match="no column 'd'"):
        model.predict(ds.dataset(other))
    with pytest.raises(InputError, match="no column 'd'"):
        model.score(ds.dataset(other.append_column("y", table["y"])), "y")
    with pytest.raises(InputError, match="x has 3 columns"):
        model.predict([X[:, :3]])


@pytest.mark.parametrize("name", [n for n in MODELS if n != "QuantileRegressor"])
def test_columns_of_categories(name):
    y, more = MODELS[name][0], {"b": pd.Categorical(THREE), "other": "text"}
    rows = pd.DataFrame({"a": X[:, 0], **more, "y": y})
    x = dd.from_pandas(rows, npartitions=2)
    model = new(name).fit(x[["a", "b", "y"]], "y")
    assert model.feature_names_in_.tolist() == ["a", "b=mid", "b=top"]
    by_hand = np.column_stack([X[:, 0], THREE == "mid", THREE == "top"])
    wanted = new(name).fit(by_hand, y).predict(by_hand)
    same = np.testing.assert_array_equal if name == "LogisticRegression" else close
    same(model.predict(x).compute(), wanted)
    same(model.predict(rows), wanted)
    same(model.predict(pl.from_pandas(rows).lazy()), wanted)
    score = model.score(rows[["a", "b", "y"]], y)
    assert model.score(x, "y") == pytest.approx(score, rel=1e-9)
    rows["b"] = "none of them"
    with pytest.raises(InputError, match="column 'b' of x is 'none of them' at row 0"):
        model.predict(rows)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_chunks_of_a_frame_with_more_columns():
    model = linear_model.Ridge().fit(frame(SCORE)[NAMES], SCORE)
    x = dd.from_pandas(frame(SCORE), npartitions=2)
    close(model.predict(x).compute(), model.predict(frame(SCORE)[NAMES]))


def test_a_row_that_is_not_finite_is_named(tmp_path):
    holed = frame(SCORE)
    holed.loc[450, "c"] = np.nan
    holed.to_parquet(tmp_path / "rows.parquet", row_group_size=400)
    said = r"is nan at row 450 \(row 450 of .*rows.parquet, row group 1\), column 2 \('c'\)"
    model = linear_model.Ridge()
    for name in ("Ridge", "LinearRegression", "HuberRegressor", "LogisticRegression"):
        y = "y" if name != "LogisticRegression" else SCORE > 0
        with pytest.raises(InputError, match=said):
            new(name).fit(ds.dataset(tmp_path).replace_schema(SCHEMA), y)
    model.fit(frame(SCORE)[NAMES], SCORE)
    with pytest.raises(InputError, match=said):
        model.predict(tmp_path / "rows.parquet")


SCHEMA = pa.schema([(name, pa.float64()) for name in (*NAMES, "y")])


def test_a_reading_that_fails_ends_the_fit():
    readings = []

    def blocks():
        readings.append(1)
        yield X[:100]
        if len(readings) > 2:
            raise OSError("no such file")
        yield X[100:]

    with pytest.raises(
        fastgd.BlockError, match=r"x can't be read at row 100: OSError: no such file"
    ):
        linear_model.PoissonRegressor().fit(blocks, MODELS["PoissonRegressor"][0])
