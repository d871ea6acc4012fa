"""Rows of Dask arrays and frames: the fit is that of rows in memory, wherever the chunks lie."""

import gc
import time

import numpy as np
import pytest

pytest.importorskip("distributed")

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
from dask.delayed import delayed
from distributed import Client
from scipy.sparse import csr_array

import fastgd
from fastgd import BlockError, InputError
from fastgd.sources.readers import opened

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:distributed", "ignore::ResourceWarning"
)

N, D = 700, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)) * [1, 3, 0.1, 1] + [0, 5, 0, -2]
SCORE = X @ [1.0, -0.3, 4.0, 0.5] + RNG.standard_normal(N)
WEIGHT = RNG.integers(0, 4, N).astype(float)
CHUNKS = (200, 37, 263, 1, 199)

#: Function, targets and options of a fit.
FITS = {
    "linear": ("fit_linear", SCORE, {}),
    "targets": ("fit_linear", np.column_stack([SCORE, -SCORE + X[:, 0]]), {}),
    "weights": ("fit_linear", SCORE, {"sample_weight": WEIGHT, "l2": 0.1}),
    "lasso": ("fit_linear", SCORE, {"l1": 0.05}),
    "numeric": ("fit_linear", SCORE, {"lr": 0.01, "epochs": 20}),
    "adam": ("fit_linear", SCORE, {"lr": 0.1, "epochs": 20, "optimizer": "adam"}),
    "lbfgs": ("fit_linear", SCORE, {"optimizer": "lbfgs", "lr": 1.0, "epochs": 5}),
    "logistic": ("fit_logistic", SCORE > 0, {}),
    "logistic with l1": ("fit_logistic", SCORE > 0, {"l1": 0.01}),
    "logistic with a numeric lr": ("fit_logistic", SCORE > 0, {"lr": 0.1, "epochs": 20}),
    "softmax": ("fit_logistic", np.digitize(SCORE, [-2, 2]), {}),
    "softmax with a numeric lr": (
        "fit_logistic", np.digitize(SCORE, [-2, 2]), {"lr": 0.1, "epochs": 20},
    ),
    "classes with weights": ("fit_logistic", SCORE > 0, {"class_weight": "balanced"}),
    "poisson with offset": (
        "fit", np.floor(np.exp(SCORE / 4)), {"loss": "poisson", "offset": X[:, 0] / 10},
    ),
    "huber": ("fit", SCORE, {"loss": "huber"}),
    "quantile": ("fit", SCORE, {"loss": "quantile"}),
    "hinge": ("fit", SCORE > 0, {"loss": "hinge", "l2": 0.01}),
}  # fmt: skip


@pytest.fixture(scope="module")
def client():
    """Two workers of one thread each in this process."""
    with Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as connected:
        yield connected


@pytest.fixture(params=["threads", "client"])
def where(request):
    """Chunks in this process, or on workers."""
    if request.param == "client":
        connected = request.getfixturevalue("client")
        with connected.as_current(), dask.config.set(scheduler="dask.distributed"):
            yield "client"
            assert none_left(connected)
    else:
        with dask.config.set(scheduler="threads"):
            yield "threads"


def none_left(client):
    """Whether the client holds no futures, a moment after they are let go."""
    gc.collect()  # an argument that is refused leaves its error with what it came through
    end = time.monotonic() + 5
    while client.futures and time.monotonic() < end:
        time.sleep(0.01)
    return not client.futures


def equal(found, wanted, rtol=1e-10):
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(found.intercept, wanted.intercept, rtol=rtol, atol=1e-12)
    assert found.cost == pytest.approx(wanted.cost, rel=1e-10)


def chunked(x=X, chunks=CHUNKS):
    return da.from_array(x, chunks=(chunks, -1) if x.ndim == 2 else chunks)


@pytest.mark.parametrize("name", FITS)
def test_the_fit_is_that_of_rows_in_memory(name, where):
    function, y, options = FITS[name]
    fit = getattr(fastgd, function)
    found = fit(chunked(), y, **options)
    wanted = fit(X, y, **options)
    equal(found, wanted, 1e-7 if wanted.method.endswith(("lbfgs", "interior")) else 1e-10)


@pytest.mark.parametrize("name", ["linear", "logistic", "softmax", "numeric"])
def test_the_bits_are_the_same_wherever_chunks_lie(name, client):
    function, y, options = FITS[name]
    fit = getattr(fastgd, function)
    with dask.config.set(scheduler="threads"):
        wanted = fit(chunked(), y, **options)
    workers = list(client.scheduler_info()["workers"])
    with client.as_current(), dask.config.set(scheduler="dask.distributed"):
        for used in (workers, workers[:1], workers[1:]):
            x = client.persist(chunked(), workers=used)
            found = fit(x, y, **options)
            assert found.coef.tobytes() == wanted.coef.tobytes()
            np.testing.assert_array_equal(found.costs, wanted.costs)


def frame():
    made = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    made["y"], made["w"] = SCORE, WEIGHT
    return dd.from_pandas(made, npartitions=3)


KINDS = {
    "columns in chunks": lambda: (da.from_array(X, chunks=(300, 3)), SCORE),
    "unknown chunk sizes": lambda: (chunked()[chunked()[:, 0] > -50], SCORE),
    "empty chunks": lambda: (da.concatenate([chunked(), chunked()])[da.arange(2 * N) < N], SCORE),
    "sparse chunks": lambda: (chunked().map_blocks(csr_array), SCORE),
    "a frame and a column's name": lambda: (frame()[["a", "b", "c", "d", "y"]], "y"),
    "a frame and a series": lambda: (frame()[["a", "b", "c", "d"]], frame()["y"]),
    "a dask array of targets": lambda: (chunked(), da.from_array(SCORE, chunks=77)),
    "persisted": lambda: (chunked().persist(), SCORE),
    "rows of other strides": lambda: (chunked(np.repeat(X, 2, axis=1))[:, ::2], SCORE),
    "columns in order": lambda: (chunked().map_blocks(np.asfortranarray), SCORE),
    "delayed chunks": lambda: (
        da.concatenate([da.from_delayed(delayed(X), X.shape, X.dtype)]), SCORE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_x(kind, where):
    x, y = KINDS[kind]()
    for options in ({}, {"lr": 0.01, "epochs": 5}):
        found = fastgd.fit_linear(x, y, **options)
        equal(found, fastgd.fit_linear(X, SCORE, **options))
    names = ("a", "b", "c", "d") if "frame" in kind else None
    assert found.feature_names == names


def test_what_the_caller_keeps_stays(client):
    with client.as_current(), dask.config.set(scheduler="dask.distributed"):
        x = chunked().persist()
        for _ in range(2):
            fastgd.fit_linear(x, SCORE)
        np.testing.assert_array_equal(x.compute(), X)
        del x
        assert none_left(client)


def test_weights_in_a_column(where):
    found = fastgd.fit_linear(frame(), "y", sample_weight="w")
    equal(found, fastgd.fit_linear(X, SCORE, sample_weight=WEIGHT))


def test_columns_of_categories(where):
    text = np.where(WEIGHT > 1, "high", "low")
    made = pd.DataFrame({"a": X[:, 0], "t": text, "c": pd.Categorical(text), "y": SCORE})
    of_text, by_hand = dd.from_pandas(made, npartitions=3), np.column_stack([X[:, 0], WEIGHT <= 1])
    wanted = fastgd.fit_linear(by_hand, SCORE)
    found = fastgd.fit_linear(of_text, "y", columns=["a", "t"], categories=["t"])
    assert found.categories == {"t": ("high", "low")}
    equal(found, wanted)
    np.testing.assert_allclose(found.predict(of_text), wanted.predict(by_hand), rtol=1e-10)
    not_known = of_text.assign(c=of_text["c"].cat.as_unknown())
    equal(fastgd.fit_linear(not_known, "y", columns=["a", "c"]), wanted)
    made.loc[500, "t"] = "other"
    said = r"column 't' of x is 'other' at row 33 of chunk 2, which is none of .* \('low', 'high'\)"
    with pytest.raises(InputError, match=said):
        fastgd.fit_linear(
            dd.from_pandas(made, npartitions=3), "y",
            columns=["a", "t"], categories={"t": ["low", "high"]},
        )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.int16, bool])
def test_dtypes(dtype, where):
    x = (10 * X).astype(dtype)[:, :3] if dtype is not bool else X[:, :3] > X[:, :3].mean(axis=0)
    found, wanted = fastgd.fit_linear(chunked(x), SCORE), fastgd.fit_linear(x, SCORE)
    equal(found, wanted, 1e-6 if dtype is np.float32 else 1e-10)
    assert found.coef.dtype == wanted.coef.dtype


def test_one_column(where):
    wanted = fastgd.fit_linear(X[:, 1], SCORE)
    equal(fastgd.fit_linear(chunked(X[:, 1]), SCORE), wanted)
    equal(fastgd.fit_linear(frame()["b"], SCORE), wanted)


def test_nullable_columns(where):
    made = pd.DataFrame({"a": pd.array(X[:, 0], "Float64"), "b": np.arange(N)})
    found = fastgd.fit_linear(dd.from_pandas(made, npartitions=2), SCORE)
    equal(found, fastgd.fit_linear(np.column_stack([X[:, 0], np.arange(N)]), SCORE))


@pytest.mark.parametrize("of_frame", [False, True])
def test_a_missing_value_is_named_with_chunk_and_row(where, of_frame):
    x = X.copy()
    x[450, 2] = np.nan
    if of_frame:
        x = dd.from_pandas(pd.DataFrame(x, columns=list("abcd")), npartitions=2)
        said = r"x is nan at row 450 \(row 100 of chunk 1\), column 2 \('c'\)"
    else:
        x, said = chunked(x), r"x is nan at row 450 \(row 213 of chunk 2\), column 2"
    for fit in (fastgd.fit_linear, fastgd.fit):
        with pytest.raises(InputError, match=said):
            fit(x, SCORE)


class Gpu(np.ndarray):
    __cuda_array_interface__ = 1


REFUSED = {
    "text": (lambda: dd.from_pandas(pd.DataFrame({"a": ["u", "v"]}), npartitions=1), "column 0"),
    "an unknown column": (frame, "y is 'z', and the columns of x are 'a'"),
    "Delayed": (lambda: delayed(X), "x is a Delayed"),
    "a name without columns": (chunked, "which has no columns"),
    "complex": (lambda: chunked(X + 1j), "complex128"),
    "a cube": (lambda: da.zeros((3, 3, 3)), r"shape \(3, 3, 3\)"),
    "no rows": (lambda: chunked()[chunked()[:, 0] > 1e9], "x"),
    "a GPU": (lambda: da.from_array(X.view(Gpu), asarray=False, chunks=100), "on GPUs"),
    "objects": (lambda: chunked().map_blocks(lambda a: a.astype(object), dtype=float), "object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_rows_of_numbers_is_refused(name, where):
    make, said = REFUSED[name]
    y = "z" if "column" in name else SCORE
    with pytest.raises(InputError, match=said):
        fastgd.fit_linear(make(), y)


def test_stochastic_loops(where):
    said = "batch_size" if where == "client" else "shuffle=False"
    with pytest.raises(InputError, match=said):
        fastgd.fit_linear(chunked(), SCORE, lr=0.01, batch_size=32)
    options = {"lr": 0.01, "batch_size": 32, "shuffle": "block", "epochs": 1}
    if where == "client":
        with pytest.raises(InputError, match="batch_size"):
            fastgd.fit_linear(chunked(), SCORE, **options)
    else:  # chunks are parts
        order = opened(chunked(), SCORE, None).x.order(0, 0)
        assert order.sizes == CHUNKS
        rows, options["shuffle"] = order.rows(0, N), False
        wanted = fastgd.fit_linear(X[rows], SCORE[rows], **options)
        found = fastgd.fit_linear(chunked(), SCORE, **options | {"shuffle": "block"})
        np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:the validation cost was lowest")
@pytest.mark.parametrize("held", ["fraction", "dask", "memory", "list"])
def test_validation(where, held):
    """A share of the rows, or others wherever they lie; all that is held is let go."""
    others = X[:150] * 1.1, SCORE[:150]
    given = {
        "fraction": 0.3, "dask": (da.from_array(others[0], chunks=(70, D)), others[1]),
        "memory": others, "list": ([others[0][:50], others[0][50:]], others[1]),
    }[held]  # fmt: skip
    options = {"lr": 0.02, "epochs": 12, "sample_weight": WEIGHT, "seed": 3}
    wanted = fastgd.fit_linear(
        X, SCORE, validation=0.3 if held == "fraction" else others, **options
    )
    for x in (chunked(), chunked().map_blocks(csr_array)):
        fit = fastgd.fit_linear(x, SCORE, validation=given, **options)
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-10)
        np.testing.assert_allclose(fit.validation_costs, wanted.validation_costs, rtol=1e-10)
        assert fit.best_epoch == wanted.best_epoch
    few = da.from_array(X[:, :3], chunks=(500, 3))
    with pytest.raises(InputError, match="in validation, x has 3 columns"):
        fastgd.fit_linear(chunked(), SCORE, validation=(few, SCORE), **options)


@pytest.mark.parametrize("given", [0.3, (chunked(), SCORE)])
def test_chunks_of_a_fit_that_failed_are_let_go(client, given):
    """Also while somebody keeps the error."""

    def fails(fit):
        raise RuntimeError("of the caller")

    options = {"lr": 0.01, "callback": fails, "validation": given}
    with pytest.raises(RuntimeError) as caught:
        fastgd.fit_linear(chunked(), SCORE, **options)
    assert none_left(client)
    assert "of the caller" in str(caught.value)


@pytest.mark.filterwarnings("ignore:the validation cost was lowest")
def test_progress(where, capfd, monkeypatch):
    """Rows of the workers that have ended their part of a pass."""
    monkeypatch.setattr("fastgd.sources.dask._LOOK", 0.01)
    monkeypatch.setattr("fastgd.fitting.progress._SECONDS", 0.0)

    def slow(chunk):
        time.sleep(0.02)
        return chunk

    x = chunked().map_blocks(slow, dtype=float)
    for options in ({}, {"validation": 0.3}):
        fastgd.fit(x, SCORE, loss="huber", lr=0.01, epochs=2, progress=True, patience=1, **options)
        shown = capfd.readouterr().err
        assert "opening x: 0.00 rows" in shown
        assert "700/700 rows, 22.4kB" in shown.split("epoch 2 of 2")[0]
        assert "epoch 2 of 2: 100%" in shown


def _rows_of_slow_chunk(block, n_threads):
    time.sleep(0.3 if block.shape[0] == max(CHUNKS) else 0.0)
    return block.shape[0]


def test_rows_are_told_while_workers_are_busy(client, monkeypatch):
    monkeypatch.setattr("fastgd.sources.dask._LOOK", 0.01)
    with client.as_current(), dask.config.set(scheduler="dask.distributed"):
        x, told = opened(chunked(), SCORE, None).x, []
        x.watch = lambda rows, size: told.append(rows)
        assert x.each(_rows_of_slow_chunk) == list(CHUNKS)
        x.close()
    assert told[-1] == N
    assert any(0 < rows < N for rows in told)
    assert told == sorted(told)


def test_a_chunk_that_fails_is_said(where):
    def fails(chunk, block_info=None):
        if block_info[0]["chunk-location"][0] == 2:
            raise OSError("no such file: part-2")
        return chunk

    with pytest.raises(BlockError, match="no such file: part-2"):
        fastgd.fit_linear(chunked().map_blocks(fails, dtype=float), SCORE)


def test_losses_of_the_caller(where):
    loss = fastgd.losses.Loss(
        "half square", lambda z, y: (z - y) * (z - y) / 2, lambda z, y: z - y, 1.0
    )
    equal(fastgd.fit(chunked(), SCORE, loss=loss), fastgd.fit(X, SCORE, loss=loss), 1e-8)


def test_predictions_are_lazy(where):
    linear, labels = fastgd.fit_linear(X, SCORE), fastgd.fit_logistic(X, SCORE > 0)
    classes = fastgd.fit_logistic(X, np.digitize(SCORE, [-2, 2]))
    named = fastgd.fit_linear(pd.DataFrame(X, columns=list("abcd")), SCORE)
    frames = frame()[["a", "b", "c", "d"]]
    empty = chunked()[chunked()[:, 0] > 1e9]
    for fit in (linear, labels, classes, named):
        for name in ("predict", "raw_prediction", "predict_proba"):
            if name == "predict_proba" and fit.classes is None:
                continue
            predict = getattr(fit, name)
            for x in (chunked(), frames, da.from_array(X, chunks=(300, 3))):
                found = predict(x)
                assert isinstance(found, da.Array)
                wanted = predict(X)
                assert found.dtype == wanted.dtype
                np.testing.assert_allclose(found.compute(), wanted, rtol=1e-12, atol=1e-14)
            assert predict(empty).compute().shape == (0, *wanted.shape[1:])
    assert linear.predict(chunked()).chunks == (CHUNKS,)
    assert linear.score(chunked(), SCORE) == pytest.approx(linear.score(X, SCORE))
    with pytest.raises(InputError, match="columns"):
        linear.predict(chunked()[:, :2])
    with pytest.raises(InputError, match="'b'"):
        named.predict(frames[["b", "a", "c", "d"]])


def parts(offset, chunks=100):
    return da.from_array(offset, chunks=(chunks, -1)[: offset.ndim])


@pytest.mark.parametrize("shape", [(N,), (N, 2), (N, 3)])
def test_predictions_with_an_offset_are_lazy(shape, where):
    offset = np.random.default_rng(1).standard_normal(shape)
    if len(shape) == 1:
        fit = fastgd.fit(X, np.floor(np.exp(SCORE / 4)), loss="poisson")
    elif shape[1] == 2:
        fit = fastgd.fit_linear(X, np.column_stack([SCORE, -SCORE]))
    else:
        fit = fastgd.fit_logistic(X, np.digitize(SCORE, [-2, 2]))
    own = dd.from_pandas(pd.DataFrame(offset).squeeze(axis=1), npartitions=3)
    pairs = {
        "in memory": (chunked(), offset),
        "other chunks": (chunked(), parts(offset)),
        "unknown chunks": (chunked()[chunked()[:, 0] > -50], parts(offset, CHUNKS)),
        "frames": (frame()[["a", "b", "c", "d"]], own),
        "a frame and an array": (frame()[["a", "b", "c", "d"]], own.to_dask_array()),
    }
    for name in ("predict", "raw_prediction", "predict_proba"):
        if name == "predict_proba" and fit.classes is None:
            continue
        wanted = getattr(fit, name)(X, offset)
        for x, beside in pairs.values():
            found = getattr(fit, name)(x, beside)
            assert isinstance(found, da.Array)
            assert (found.dtype, found.ndim) == (wanted.dtype, wanted.ndim)
            np.testing.assert_allclose(found.compute(), wanted, rtol=1e-12)
    assert fit.predict(chunked(), parts(offset)).chunks[0] == CHUNKS
    y = fit.predict(X) if fit.classes is not None else np.exp(offset)
    score = fit.score(chunked(), y, offset=parts(offset))
    assert score == pytest.approx(fit.score(X, y, offset=offset))


UNKNOWN = "the rows of the chunks of x are not known"


@pytest.mark.parametrize(
    ("x", "offset", "said"),
    [
        (chunked, lambda: SCORE[:5], r"offset has shape \(5,\); expected \(700,\)"),
        (chunked, lambda: parts(SCORE[:5]), r"offset has shape \(5,\); expected \(700,\)"),
        (chunked, lambda: 3.0, r"offset has shape \(\)"),
        (chunked, lambda: np.ones((N, 2, 1)), r"offset has shape \(700, 2, 1\)"),
        (chunked, lambda: np.ones((N, 2)), r"offset has shape \(1, 2\); expected \(1,\)"),
        (chunked, lambda: frame()["a"].mean(), "offset is a Scalar of Dask"),
        (frame, lambda: SCORE, UNKNOWN),
        (frame, lambda: parts(SCORE), r"offset has 7 chunk\(s\) and x has 3"),
        (lambda: chunked()[chunked()[:, 0] > -50], lambda: SCORE, UNKNOWN),
    ],
)
def test_an_offset_that_can_not_be_cut_is_refused(x, offset, said):
    fit, x = fastgd.fit_linear(X, SCORE), x()
    with pytest.raises(InputError, match=said):
        fit.predict(x if isinstance(x, da.Array) else x[["a", "b", "c", "d"]], offset())


def test_an_asynchronous_client_is_refused(client):
    class Asynchronous:
        asynchronous = True
        who_has = None

        def get(self, *arguments):
            return None

    with (
        dask.config.set(scheduler=Asynchronous().get),
        pytest.raises(InputError, match="asynchronous"),
    ):
        fastgd.fit_linear(chunked(), SCORE)
