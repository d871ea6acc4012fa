"""lr="auto" with l1 for many sparse columns: working sets of them; and matrices in columns (CSC)."""

import io

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

import fastgd
from fastgd.fitting import plan  # before its limit is patched, which it keeps a copy of
from fastgd.losses import LOSSES
from fastgd.solvers import columns as working_sets
from fastgd.solvers import metric
from fastgd.sources import columns as by_columns
from fastgd.sources import compressed
from fastgd.sources import sparse as source
from fastgd.sources.columns import SparseColumns
from fastgd.sources.sparse import SparseRows

N, D = 90, 40
OF_COLUMNS = sp.csc_matrix, sp.csc_array
SAME = "coef", "intercept", "costs", "path", "n_epochs", "cost", "converged", "method"


@pytest.fixture(autouse=True)
def _few_columns_are_many(monkeypatch):
    """A square matrix for up to four columns only, and small working sets."""
    monkeypatch.setattr(metric, "FULL_METRIC", 4)
    monkeypatch.setattr(working_sets, "_FEWEST", 5)
    assert plan.FULL_METRIC > 4
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def _no_rows(monkeypatch):
    """Nobody may make rows of columns."""
    monkeypatch.delattr(compressed.Columns, "rows")


def rows(n=N, d=D, density=0.2, seed=0):
    """CSR with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * (rng.random((n, d)) < density)
    x[3] = x[:, d // 2] = 0.0
    return sp.csr_array(x)


def targets(x, loss="mse", seed=0):
    rng = np.random.default_rng(seed)
    z = x.toarray()[:, :5] @ np.linspace(-2, 2, 5) + rng.logistic(size=x.shape[0]) / 2
    if loss in oracles.OF_LABELS:
        return (z > 0.2).astype(float)
    if loss in oracles.OF_COUNTS:
        return rng.poisson(np.exp(z / 4)).astype(float)
    return np.exp(z / 4) + 0.1 if loss in ("gamma", "tweedie") else z


def assert_same(found, wanted, names=SAME):
    for name in names:
        a, b = getattr(found, name), getattr(wanted, name)
        np.testing.assert_array_equal(a, b, err_msg=name)


def assert_close(found, wanted):
    assert found.method == wanted.method == "working-sets"
    assert found.converged
    assert wanted.converged
    np.testing.assert_array_equal(found.coef == 0, wanted.coef == 0)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.intercept, wanted.intercept, rtol=1e-6, atol=1e-7)
    assert found.cost == pytest.approx(wanted.cost, rel=1e-9)


# --- the optimum --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"fit_intercept": False}, {"l2": 0.05}, {"weighted": True}]
)
@pytest.mark.parametrize("loss", ["mse", "bce", "huber", "poisson", "squared_hinge"])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array])
def test_the_smallest_subgradient_is_zero(kind, loss, options):
    options = {"l1": 0.03, "offset": np.linspace(-0.3, 0.3, N)} | options
    if options.pop("weighted", False):
        options["sample_weight"] = np.linspace(0, 2, N)
    x = rows()
    y = targets(x, loss)
    fit = fastgd.fit(kind(x), y, loss, **options)
    assert fit.method == "working-sets"
    assert fit.converged
    assert 0 < np.count_nonzero(fit.coef) < D
    weight = options.get("sample_weight", np.ones(N))
    z = x.toarray() @ fit.coef + fit.intercept + options["offset"]
    slope_of, p = LOSSES[loss].slope, LOSSES[loss].parameters
    slope = np.array([slope_of(a, b, *p) for a, b in zip(z, y, strict=True)])
    slope *= weight / weight.sum()
    gradient = x.T @ slope + options.get("l2", 0.0) * fit.coef
    used = fit.coef != 0
    np.testing.assert_allclose(gradient[used], -0.03 * np.sign(fit.coef[used]), atol=1e-6)
    assert np.abs(gradient[~used]).max() <= 0.03 + 1e-6
    if options.get("fit_intercept", True):
        assert abs(slope.sum()) < 1e-6


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array])
def test_scikit_learn_finds_the_same(kind):
    x = rows()
    y = targets(x, "bce")
    model = LogisticRegression(
        C=1 / (0.02 * N), l1_ratio=1.0, solver="saga", tol=1e-10, max_iter=100_000
    ).fit(x, y)
    fit = fastgd.fit(kind(x), y, "bce", l1=0.02)
    np.testing.assert_allclose(fit.coef, model.coef_[0], atol=1e-5)
    np.testing.assert_allclose(fit.intercept, model.intercept_[0], atol=1e-5)


# --- columns are read where they are --------------------------------------------------------------------


@pytest.mark.usefixtures("_no_rows")
@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "?", ">f8", "f2"])
@pytest.mark.parametrize("of", OF_COLUMNS)
@pytest.mark.thin(1)
def test_no_row_is_made_and_nothing_changes(of, dtype, index):
    x = rows()
    x.data = np.round(3 * x.data).astype(dtype)
    given = of(x.astype(np.float64))
    given.data = given.data.astype(dtype)
    given.indices, given.indptr = given.indices.astype(index), given.indptr.astype(index)
    arrays = given.data, given.indices, given.indptr
    for array in arrays:
        array.flags.writeable = False
    before = [array.tobytes() for array in arrays]
    options = {"l1": 0.03, "l2": 0.01, "dtype": "float64"}
    y = targets(rows(), "bce")
    found = fastgd.fit(given, y, "bce", **options)
    assert_close(found, fastgd.fit(x.astype(np.float64), y, "bce", **options))
    assert (given.data, given.indices, given.indptr) == arrays or all(
        a is b for a, b in zip((given.data, given.indices, given.indptr), arrays, strict=True)
    )
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.usefixtures("_no_rows")
def test_several_targets_and_a_start():
    x = rows()
    y = np.column_stack([targets(x), targets(x, seed=1)])
    for more in ({}, {"coef_init": np.linspace(-1, 1, 2 * D).reshape(2, D)}):
        found, wanted = (fastgd.fit(m, y, l1=0.05, **more) for m in (sp.csc_array(x), x))
        assert_close(found, wanted)


@pytest.mark.usefixtures("_no_rows")
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_costs_and_gradients(loss, dtype):
    x = rows()
    x.data = np.round(3 * x.data).astype(dtype)
    y, coef = targets(rows(), loss), np.linspace(-1, 1, D)
    coef[::3] = 0.0
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "f4" else {"rtol": 1e-12, "atol": 1e-14}
    for what in ("cost", "gradient", "cost_and_gradient"):
        function = getattr(fastgd, f"{loss}_{what}")
        for more in ({}, {"sample_weight": np.linspace(0, 1, N), "reduction": "sum"}):
            given = [function(m, y, coef, 0.3, **more) for m in (sp.csc_array(x), x)]
            parts = [one if isinstance(one, tuple) else (one,) for one in given]
            for a, b in zip(*parts, strict=True):
                np.testing.assert_allclose(a, b, **close)
                assert np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.usefixtures("_no_rows")
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2"])
def test_predictions_are_those_of_rows_bit_for_bit(dtype):
    x = rows()
    fit = fastgd.fit(x, targets(x), lr=0.1, epochs=2)
    x.data = np.round(3 * x.data).astype(dtype)
    assert fit.predict(sp.csc_array(x)).tobytes() == fit.predict(x).tobytes()


def test_what_is_not_finite_is_named():
    x, y = sp.csc_array(rows()), targets(rows())
    x.data[7] = np.nan
    row, column = x.indices[7], int(np.searchsorted(x.indptr, 7, side="right")) - 1
    fit = fastgd.fit(rows(), y, lr=0.1, epochs=2)
    for call in (
        lambda: fastgd.fit(x, y, l1=0.05), lambda: fastgd.mse_cost(x, y, np.ones(D)),
        lambda: fit.predict(x),
    ):  # fmt: skip
        with pytest.raises(fastgd.InputError, match=rf"x is nan at row {row}, column {column};"):
            call()


@pytest.mark.parametrize("how", ["unsorted", "repeated"])
def test_columns_that_are_not_sorted_become_rows(how):
    x = rows()
    given = sp.csc_array(x)
    begin, end = given.indptr[1:3]
    given.indices[begin:end] = given.indices[begin:end][::-1].copy()
    if how == "repeated":
        given.indices[begin] = given.indices[begin + 1]
    assert compressed.rows_or_columns(given).format == "csr"
    wanted = given.tocsr()
    wanted.sum_duplicates()
    y = targets(x)
    assert_same(fastgd.fit(given, y, l1=0.05), fastgd.fit(wanted, y, l1=0.05))


def test_entries_that_are_converted_by_parts_become_rows(monkeypatch):
    monkeypatch.setattr(source, "PART_BYTES", 512)
    x = rows()
    x.data = np.round(3 * x.data).astype(np.int16)
    y = targets(rows())
    found, wanted = (fastgd.fit(m, y, l1=0.05) for m in (sp.csc_array(x), x))
    assert found.method == wanted.method == "proximal-accelerated"
    assert_same(found, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.01, "epochs": 3, "validation": 0.3, "patience": 9},
        {"lr": 0.01, "epochs": 3, "batch_size": 1},
        {"lr": 0.1, "epochs": 3, "l1": 0.01},
        {"l2": 0.1},
        {},
    ],
)
def test_other_fits_have_the_bits_of_rows(options):
    """Also where rows are held out: they are those of the whole."""
    x = rows()
    with oracles.quiet():
        found, wanted = (fastgd.fit(m, targets(x), **options) for m in (sp.csc_array(x), x))
    for name in ("coef", "intercept", "costs", "validation_costs", "cost"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), name


def test_rows_to_validate_on_may_be_in_columns():
    x = rows()
    y = targets(x)
    options = {"lr": 0.01, "epochs": 3, "patience": 9}
    for fit, names in (
        (fastgd.fit, ("coef", "validation_costs")),
        (lambda *a, **more: fastgd.fit_mlp(*a, hidden=3, **more), ("costs", "validation_costs")),
    ):
        with oracles.quiet():
            found, wanted = (
                fit(m, y, validation=(kind(rows(seed=1)), y), **options)
                for m, kind in ((sp.csc_array(x), sp.csc_array), (x, sp.csr_array))
            )
        assert_same(found, wanted, names)


def test_a_network_predicts_on_columns():
    x = rows()
    net = fastgd.fit_mlp(x, targets(x), hidden=3, lr=0.1, epochs=2)
    assert net.predict(sp.csc_array(x)).tobytes() == net.predict(x).tobytes()


# --- the source ---------------------------------------------------------------------------------------


def sources(dtype=np.float64, n_threads=1, weighted=True, loss="bce"):
    """A source of columns, and one of the same rows."""
    x = rows()
    y, weight = targets(x, loss)[None], np.linspace(0, 2, N) if weighted else None
    offset = np.linspace(-1, 1, N)[None]
    given = compressed.rows_or_columns(sp.csc_array(x))
    return (
        SparseRows(given, y, weight, dtype, n_threads, 1, offset).columns,
        SparseRows(x, y, weight, dtype, n_threads, 1, offset),
    )


@pytest.mark.parametrize("part", [1, 7, 1 << 20])
@pytest.mark.parametrize("weighted", [True, False])
def test_passes_are_those_of_rows(weighted, part, monkeypatch):
    monkeypatch.setattr(by_columns, "_PART", part)
    monkeypatch.setattr(by_columns, "_ENTRIES_A_SUM", 1)
    found, wanted = sources(weighted=weighted)
    assert type(found) is SparseColumns
    assert found.columns is found
    close = {"rtol": 1e-12, "atol": 1e-12}
    none, some, all_of_them = np.zeros((1, D)), np.zeros((1, D)), np.linspace(-1, 1, D)[None]
    some[0, 7:9] = 1, -2
    for coef in (none, some, all_of_them):
        for center in (None, np.linspace(0, 1, D)):
            for slopes_too in (True, False):
                a, b = (
                    one.totals(LOSSES["bce"], coef, np.array([0.3]), center, slopes_too)
                    for one in (found, wanted)
                )
                np.testing.assert_allclose(a, b, **close)
        a, b = (one.predictions(coef, np.array([0.3])) for one in (found, wanted))
        np.testing.assert_allclose(a, b, **close)
    for centred in (True, False):
        for a, b in zip(found.column_moments(centred), wanted.column_moments(centred), strict=True):
            np.testing.assert_allclose(a, b, **close)
    assert "rows" not in vars(found.x)


@pytest.mark.parametrize("which", [[0, 3, 4, D // 2, D - 1], [], range(D)])
def test_columns_that_are_picked(which):
    which = np.array(which, int)
    wanted = rows().tocsc()
    for one in sources():
        begins, ends, of_rows, values = one.pick(which)
        assert len(begins) == len(ends) == len(which)
        for j, begin, end in zip(which, begins, ends, strict=True):
            own = slice(wanted.indptr[j], wanted.indptr[j + 1])
            np.testing.assert_array_equal(of_rows[begin:end], wanted.indices[own])
            np.testing.assert_array_equal(values[begin:end], wanted.data[own])
        if len(which):
            again = one.pick(which)[3]
            assert np.shares_memory(values, again) == (type(one) is SparseColumns)


# --- the same bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [2, 3, 5])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array])
def test_the_same_bits_for_every_number_of_threads(kind, n_threads, monkeypatch):
    monkeypatch.setattr(source, "PART_BYTES", 1 << 10)
    monkeypatch.setattr(by_columns, "_PART", 16)
    monkeypatch.setattr(by_columns, "_ENTRIES_A_SUM", 1)
    x = rows(400, 60, 0.1)
    start = {"coef_init": np.linspace(-1, 1, 60), "keep_path": True}
    one, many = (
        fastgd.fit(kind(x), targets(x, "bce"), "bce", l1=0.01, n_threads=t, **start)
        for t in (1, n_threads)
    )
    assert one.method == "working-sets"
    assert_same(many, one)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array])
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_a_fit_that_was_stopped_goes_on_with_the_same_bits(kind):
    x = rows()
    y, shared = targets(x, "bce"), {"l1": 0.01, "keep_path": True}
    whole = fastgd.fit(kind(x), y, "bce", callback=lambda fit: None, **shared)
    assert whole.n_epochs > 2
    for stop in range(1, whole.n_epochs):
        stopped = fastgd.fit(kind(x), y, "bce", callback=lambda f: f.n_epochs >= stop, **shared)  # noqa: B023
        file = io.BytesIO()
        stopped.save(file)
        file.seek(0)
        again = fastgd.fit(
            kind(x), y, "bce", resume=fastgd.load(file), callback=lambda fit: None, **shared
        )
        assert_same(again, whole)
