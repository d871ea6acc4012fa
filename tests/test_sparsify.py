"""Coefficients most of which are 0: as a sparse array and in a file. Sparse rows to predict."""

import io
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastgd
from fastgd import InputError, archive

RNG = np.random.default_rng(0)
WIDE = 1 << 18
DENSE = (RNG.random((60, 4)) < 0.5) * RNG.integers(-3, 4, (60, 4)).astype(float)
Y = DENSE @ [1.0, -2, 0, 3] + RNG.normal(size=60)


def fit_of(coef, intercept=0.5, **more):
    history = {
        "costs": np.ones(3),
        "cost": 1.0,
        "n_epochs": 3,
        "converged": True,
        "method": "stream",
    }
    return fastgd.Fit(coef=coef, intercept=intercept, **history, **more)


def wide(*outputs, dtype=np.float64, places=(0, 5, WIDE - 1)):
    coef = np.zeros((*outputs, WIDE), dtype)
    coef[..., list(places)] = 1.5
    return fit_of(coef, np.ones(outputs, dtype) if outputs else 0.5)


def file_of(fit):
    file = io.BytesIO()
    fit.save(file)
    return file.getvalue()


# --- as a sparse array ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("outputs", [(), (1,), (3,)])
def test_the_sparse_array_has_the_coefficients_that_are_not_0(outputs, dtype):
    fit = wide(*outputs, dtype=dtype)
    before = fit.coef.copy()
    found = fit.sparsify()
    assert isinstance(found, sp.csr_array)
    assert found.has_canonical_format
    assert found.dtype == dtype
    assert found.nnz == 3 * (outputs or (1,))[0]
    np.testing.assert_array_equal(found.toarray(), np.atleast_2d(fit.coef))
    found.data[:] = 7  # memory of its own
    np.testing.assert_array_equal(fit.coef, before)


def test_the_sparse_array_predicts():
    fit = fastgd.fit_linear(DENSE, Y, l1=0.5)
    coef = fit.sparsify()
    assert coef.nnz < 4
    product = (sp.csr_array(DENSE) @ coef.T).toarray()[:, 0] + fit.intercept
    np.testing.assert_allclose(product, fit.predict(DENSE), rtol=1e-14, atol=1e-14)


def test_the_sparse_array_needs_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r"sparsify needs SciPy: pip install scipy\."):
        fit_of(np.ones(3)).sparsify()


# --- in a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("outputs", [(), (3,)])
def test_a_wide_fit_takes_a_small_file(outputs, dtype):
    fit = wide(*outputs, dtype=dtype)
    fit.coef.flat[9] = -0.0  # its sign is kept
    data = file_of(fit)
    assert len(data) < 8_000
    found = fastgd.load(io.BytesIO(data))
    assert found.coef.dtype == dtype
    assert found.coef.shape == fit.coef.shape
    assert found.coef.tobytes() == fit.coef.tobytes()
    assert file_of(found) == data


def test_the_start_the_path_and_the_state_are_small_too():
    coef = np.zeros(WIDE)
    path = np.zeros((3, WIDE))
    path[2, 7] = coef[7] = -1
    state = {"memory": np.zeros((2, WIDE)), "t": np.array(3)}
    fit = fit_of(coef, start=np.zeros(WIDE), path=path, state=state)
    data = file_of(fit)
    assert len(data) < 12_000
    found = fastgd.load(io.BytesIO(data))
    for name in ("start", "path"):
        np.testing.assert_array_equal(getattr(found, name), getattr(fit, name))
    assert {k: v.tobytes() for k, v in found.state.items()} == {
        k: v.tobytes() for k, v in state.items()
    }


@pytest.mark.parametrize(
    "coef", [RNG.normal(size=WIDE), np.zeros(100), np.asfortranarray(np.zeros((2, WIDE)))]
)
def test_other_coefficients_are_stored_as_they_are(coef):
    fit = fit_of(coef, 0.0 if coef.ndim == 1 else np.zeros(2))
    with zipfile.ZipFile(io.BytesIO(file_of(fit))) as file:
        assert "coef.npy" in file.namelist()


def members_of(fit):
    with np.load(io.BytesIO(file_of(fit))) as file:
        return dict(file)


AT, VALUES, SHAPE = (f"{prefix}coef" for prefix in archive._SPARSE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({AT: np.array([0, 5, WIDE], np.int32)}, "not in order"),
        ({AT: np.array([-1, 5, 6], np.int32)}, "not in order"),
        ({AT: np.array([5, 5, 6], np.int32)}, "not in order"),
        ({AT: np.array([0, 5], np.int32)}, "don't fit each other"),
        ({AT: np.array([[0, 5, 6]], np.int32)}, "don't fit each other"),
        ({AT: np.array([0, 5, 6])}, "other dtypes"),
        ({VALUES: np.array([1, 2, 3])}, "other dtypes"),
        ({VALUES: np.array([1, np.nan, 3])}, "coef is not finite"),
        ({SHAPE: np.array([1 << 40])}, "has shape"),
        ({SHAPE: np.array([1 << 40, 1 << 40])}, "has shape"),
        ({SHAPE: np.array([-1, -WIDE])}, "has shape"),
        ({SHAPE: np.zeros(0, np.int64)}, "has shape"),
        ({SHAPE: np.array([1, 1, WIDE])}, "has shape"),
        ({SHAPE: None}, "in part"),
        ({AT: None}, "not of a fit"),
        ({"coef": np.ones(3)}, "twice"),
    ],
)
def test_damaged_parts_are_refused(change, words):
    members = members_of(wide()) | change
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in members.items() if array is not None})
    with pytest.raises(InputError, match=words):
        fastgd.load(io.BytesIO(file.getvalue()))


def test_a_file_cannot_ask_for_more_memory_than_its_limit():
    members = members_of(wide())
    for name in ("one", "two"):  # each below the limit
        parts = np.zeros(0, np.int32), np.zeros(0), np.array([archive._MOST_SPARSE - WIDE])
        members |= {
            f"{p}state.{name}": part for p, part in zip(archive._SPARSE, parts, strict=True)
        }
    file = io.BytesIO()
    np.savez(file, **members)
    with pytest.raises(InputError, match=r"state\.(one|two) has shape"):
        fastgd.load(io.BytesIO(file.getvalue()))


# --- in messages ------------------------------------------------------------------------------------


def test_a_wide_fit_has_a_short_text_and_its_plot():
    pytest.importorskip("matplotlib").use("agg")
    fit = wide()
    assert repr(fit) == "Fit(mse, coef (262144,), cost 1, 3 epochs, stream, converged)"
    fit.plot()
    with pytest.raises(InputError, match="kept no path"):
        fit.plot_path(np.ones((2, 2)), np.ones(2))


# --- sparse rows to predict -------------------------------------------------------------------------


def rows(kind, dtype="f8"):
    if kind == "frame":
        return pd.DataFrame.sparse.from_spmatrix(sp.csr_array(DENSE.astype(dtype)))
    return sp.csr_array(DENSE.astype(dtype)).asformat(kind)


LABELS = {"binary": np.where(Y > 0, "yes", "no"), "softmax": np.digitize(Y, [-2, 2])}


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "frame"])
def test_sparse_rows_predict_what_dense_rows_do(kind):
    x, targets = rows(kind), np.column_stack([Y, -2 * Y])
    for fit in (fastgd.fit_linear(DENSE, Y), fastgd.fit_linear(DENSE, targets)):
        y = targets if fit.coef.ndim == 2 else Y
        np.testing.assert_allclose(fit.predict(x), fit.predict(DENSE), rtol=1e-14, atol=1e-13)
        np.testing.assert_allclose(fit.score(x, y), fit.score(DENSE, y), rtol=1e-14)
    offset = np.linspace(0, 1, 60)
    fit = fastgd.fit(DENSE, np.exp(DENSE @ [0.1, 0, 0.2, 0]).round(), loss="poisson")
    for name in ("raw_prediction", "predict"):
        ours, theirs = (getattr(fit, name)(given, offset=offset) for given in (x, DENSE))
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)
    assert fit.deviance(x, Y**2) == pytest.approx(fit.deviance(DENSE, Y**2), rel=1e-13)


@pytest.mark.parametrize("which", LABELS)
def test_sparse_rows_get_labels_and_probabilities(which):
    y = LABELS[which]
    fit = fastgd.fit_logistic(DENSE, y, l2=0.1)
    x = rows("csr")
    np.testing.assert_array_equal(fit.predict(x), fit.predict(DENSE))
    np.testing.assert_allclose(fit.predict_proba(x), fit.predict_proba(DENSE), rtol=1e-12)
    assert fit.score(x, y) == fit.score(DENSE, y)


def test_the_bits_of_a_row_do_not_depend_on_the_others():
    fit = fastgd.fit_linear(DENSE, np.column_stack([Y, Y**2]))
    together = fit.predict(rows("csr"))
    for row in (0, 17, 59):
        assert fit.predict(rows("csr")[[row]]).tobytes() == together[[row]].tobytes()


@pytest.mark.parametrize("of_coef", ["f4", "f8"])
@pytest.mark.parametrize("dtype", ["?", "i1", "i8", "f4", "f8"])
def test_predictions_have_the_dtype_that_dense_rows_give(dtype, of_coef):
    fit = fit_of(np.ones(4, of_coef))
    ours, theirs = fit.raw_prediction(rows("csr", dtype)), fit.raw_prediction(DENSE.astype(dtype))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_sparse_rows_that_do_not_fit_are_refused():
    fit = fastgd.fit_linear(DENSE, Y)
    for x, words in (
        (sp.csr_array(DENSE[:, :3]), "x has 3 columns; this fit has 4."),
        (sp.coo_array(DENSE[0]), "For one row pass x.reshape(1, -1)."),
        (sp.csr_array((0, 4)), "x has 0 rows; pass at least one."),
    ):
        with pytest.raises(InputError) as caught:
            fit.predict(x)
        assert str(caught.value).endswith(words)
    x = rows("csr")
    x.data[x.indptr[8]] = np.nan
    with pytest.raises(InputError, match="x is nan at row 8, column"):
        fit.predict(x)
    x.data[:] = 1e308
    fit.coef = 1e9 * fit.coef
    with pytest.raises(InputError, match="the prediction overflows float64 at row"):
        fit.predict(x)
    x = rows("csr")
    x.indices = x.indices + 2
    with pytest.raises(InputError, match=r"x\.indices is 4 at entry"):
        fit.predict(x)


def test_a_sparse_frame_has_the_names_of_the_fit():
    frame = pd.DataFrame(DENSE, columns=list("abcd"))
    fit = fastgd.fit_linear(frame, Y)
    sparse = frame.astype(pd.SparseDtype(float, 0))
    np.testing.assert_allclose(fit.predict(sparse), fit.predict(frame), rtol=1e-14, atol=1e-13)
    with pytest.raises(InputError, match="column 0 of x is 'd'"):
        fit.predict(sparse[list("dabc")])
    frame.iloc[3, 1] = np.inf
    with pytest.raises(InputError, match=r"x is inf at row 3, column 1 \('b'\)"):
        fit.predict(frame.astype(pd.SparseDtype(float, 0)))
