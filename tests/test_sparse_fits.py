"""Fits on sparse rows: those of `x.toarray()`, up to rounding, and the same bits however they are run."""

import io
import warnings

import hypothesis
import numpy as np
import oracles
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import JIT_OFF
from hypothesis import given, settings
from hypothesis import strategies as st

import fastgd
from fastgd import schedules
from fastgd.cpu import sparse_updates, stochastic
from fastgd.losses import LOSSES
from fastgd.optimizers import OPTIMIZERS
from fastgd.solvers import stochastic as stochastic_solver
from fastgd.solvers import work
from fastgd.sources import sparse as source

N, D = 60, 9
#: What a step may add to the difference, in units of the largest coefficient.
A_STEP = {"float32": 2e-6, "float64": 1e-12}
WAYS = {
    "batch": {"lr": 0.05, "epochs": 4},
    "per sample": {"lr": 0.02, "epochs": 2, "batch_size": 1},
    "sevens": {"lr": 0.05, "epochs": 3, "batch_size": 7},
    "auto": {},
}
FORMATS = {
    "csr_matrix": sp.csr_matrix, "csr_array": sp.csr_array, "csc": sp.csc_array, "coo": sp.coo_array,
    "bsr": sp.bsr_array, "lil": sp.lil_array, "dok": sp.dok_array, "dia": sp.dia_array,
    "frame": lambda x: pd.DataFrame.sparse.from_spmatrix(sp.csr_array(x)),
}  # fmt: skip


def rows(n=N, d=D, density=0.3, seed=0):
    """CSR with an empty row, an empty column, and a zero that is stored."""
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((n, d)) * (rng.random((n, d)) < density)
    dense[3] = dense[:, d // 2] = 0.0
    x = sp.csr_array(dense)
    x.data[5] = 0.0
    return x


def targets(x, loss="mse", seed=0):
    """Targets that the loss takes, which depend on x."""
    rng = np.random.default_rng(seed)
    z = np.asarray(x @ np.linspace(-1, 1, x.shape[1])) + rng.logistic(size=x.shape[0]) / 2
    if loss == "cross_entropy":
        return np.digitize(z, [-0.5, 0.5])
    if loss in oracles.OF_LABELS:
        return z > 0
    if loss in oracles.OF_COUNTS:
        return rng.poisson(np.exp(z / 2))
    return np.exp(z / 2) + 0.1 if loss in ("gamma", "tweedie") else z


def dense_of(x):
    return x.toarray() if hasattr(x, "toarray") else np.asarray(x, np.float64)


def both(x, y, loss="mse", **options):
    """The fit on x, and that on the same rows without gaps."""
    held = options.get("validation")
    with oracles.quiet():
        found = fastgd.fit(x, y, loss, **options)
        if isinstance(held, tuple):
            options["validation"] = dense_of(held[0]), *held[1:]
        return found, fastgd.fit(dense_of(x), y, loss, **options)


def assert_follows(found, wanted, updates=1, same_method=True):
    """Every iterate is the other's, but for what so many updates an epoch may have added until then."""
    a_step = A_STEP[str(wanted.coef.dtype)]
    assert found.n_epochs == wanted.n_epochs
    assert found.coef.dtype == wanted.coef.dtype
    assert found.coef.shape == wanted.coef.shape
    size = max(1.0, np.abs(wanted.path).max(), np.abs(wanted.intercept).max())
    allowed = a_step * updates * np.arange(1, wanted.n_epochs + 1) * size
    off = np.abs(found.path - wanted.path).reshape(wanted.n_epochs, -1).max(axis=1)
    assert (off <= allowed).all(), f"off by {(off / allowed).max():.2g} of the bound"
    np.testing.assert_allclose(found.intercept, wanted.intercept, rtol=0, atol=allowed[-1])
    close = {"rtol": 50 * a_step, "atol": 50 * a_step}
    np.testing.assert_allclose(found.costs, wanted.costs, **close)
    if wanted.validation_costs is not None:
        np.testing.assert_allclose(found.validation_costs, wanted.validation_costs, **close)
    assert found.cost == pytest.approx(wanted.cost, rel=50 * a_step)
    assert found.method == wanted.method or not same_method
    assert found.converged == wanted.converged


def updates_of(n, options):
    """How many updates an epoch has."""
    return -(-n // options.get("batch_size", n))


# --- the same iterates ------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [{}, {"l2": 0.3}], ids=["plain", "l2"])
@pytest.mark.parametrize("way", ["batch", "per sample", "sevens"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.thin(2 if JIT_OFF else 1)  # a loop of updates for each loss takes 1.5 s to compile
def test_every_loss_has_the_iterates_of_dense_rows(loss, way, penalty, weighted):
    x = rows()
    options = WAYS[way] | penalty | {"keep_path": True}
    if weighted:
        options["sample_weight"] = np.linspace(0, 2, N)
    found, wanted = both(x, targets(x, loss), loss, **options)
    assert_follows(found, wanted, updates_of(N, options))


@pytest.mark.parametrize("penalty", [{"l2": 0.1}, {"l1": 0.03}], ids=["l2", "l1"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_has_the_optimum_of_dense_rows(loss, penalty):
    x = rows()
    y = targets(x, loss)
    found, wanted = both(x, y, loss, **penalty)
    assert found.converged == wanted.converged
    l1, l2 = penalty.get("l1", 0.0), penalty.get("l2", 0.0)
    objectives = [
        fit.cost + l1 * np.abs(fit.coef).sum() + l2 / 2 * (fit.coef**2).sum()
        for fit in (found, wanted)
    ]
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-8)
    if LOSSES[loss].smooth:
        np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.coef == 0, wanted.coef == 0)


OPTIONS = {
    "l1": {"l1": 0.02},
    "l1 and l2": {"l1": 0.02, "l2": 0.1},
    "no intercept": {"fit_intercept": False, "l2": 0.1},
    "start": {"coef_init": np.linspace(1, -1, D), "intercept_init": 0.5},
    "schedule": {"schedule": schedules.StepLR(1)},
    "sum": {"reduction": "sum", "lr": 1e-3},
    "offset": {"offset": np.linspace(-1, 1, N)},
    "fraction to validate on": {"validation": 0.3, "patience": 50},
    "rows to validate on": {"validation": (rows(20, seed=1), np.linspace(-1, 1, 20) > 0), "patience": 50},
    "in order": {"shuffle": False},
    "by blocks": {"shuffle": "block"},
    "average": {"average": True, "batch_size": 7},
    "tol": {"tol": 0.3},
    "every row twice": {"sample_weight": np.full(N, 2)},
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("way", ["batch", "per sample", "sevens"])
def test_every_option_has_the_iterates_of_dense_rows(option, way):
    x = rows()
    options = {"keep_path": True} | WAYS[way] | OPTIONS[option]
    found, wanted = both(x, targets(x, "bce"), "bce", **options)
    assert_follows(found, wanted, updates_of(N, options))


@pytest.mark.parametrize("way", ["batch", "sevens"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_the_iterates_of_dense_rows(optimizer, way):
    if optimizer == "lbfgs" and way == "sevens":
        pytest.skip("of all rows alone")
    x = rows()
    options = WAYS[way] | {"optimizer": optimizer, "keep_path": True, "l2": 0.1}
    found, wanted = both(x, targets(x), **options)
    # Quotients by small roots enlarge rounding, and curvature pairs, which may be those of statistics.
    joint = optimizer == "lbfgs"
    assert_follows(found, wanted, updates_of(N, options) * (1e3 if joint else 10), not joint)


def test_several_targets_and_learning_rates():
    x = rows()
    y = np.column_stack([targets(x), targets(x, seed=1), targets(x, seed=2)])
    offset = np.linspace(0, 1, 3 * N).reshape(N, 3)
    for way, options in WAYS.items():
        if way == "auto":
            continue
        shared = options | {"keep_path": True, "l2": 0.1}
        of_each = both(x, y, **(shared | {"lr": [0.05, 0.02, 0.01]}))
        assert_follows(*of_each, updates_of(N, options))
        assert_follows(*both(x, y, "huber", offset=offset, **shared), updates_of(N, options))


@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "?", ">f8"])
@pytest.mark.parametrize("way", ["batch", "per sample"])
@pytest.mark.parametrize("of", [sp.csr_matrix, sp.csr_array])
@pytest.mark.thin(2 if JIT_OFF else 1)
def test_every_dtype_of_entries_and_indices(of, dtype, index, way):
    x = of(rows()[:, :6])
    x.data = np.round(3 * x.data).astype(dtype)
    x.indices, x.indptr = x.indices.astype(index), x.indptr.astype(index)
    before = [array.tobytes() for array in (x.data, x.indices, x.indptr)]
    options = WAYS[way] | {"keep_path": True, "l2": 0.1}
    assert_follows(*both(x, targets(rows()), **options), updates_of(N, options))
    assert [array.tobytes() for array in (x.data, x.indices, x.indptr)] == before


def test_a_dtype_that_is_asked_for():
    x = rows().astype(np.float32)
    y = targets(x)
    for options in (WAYS["batch"], WAYS["per sample"]):
        options = options | {"keep_path": True}
        double = both(x, y, **options, dtype="float64")
        assert double[0].coef.dtype == np.float64
        assert_follows(*double, updates_of(N, options))
        single = both(x.astype(np.float64), y, **options, dtype="float32")
        assert single[0].coef.dtype == np.float32
        assert_follows(*single, updates_of(N, options))


@pytest.mark.parametrize("way", ["batch", "per sample", "auto"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_bits(kind, way):
    x = rows()
    x.eliminate_zeros()
    options = WAYS[way] | {"l2": 0.1}
    wanted = fastgd.fit(x, targets(x), **options)
    found = fastgd.fit(FORMATS[kind](x), targets(x), **options)
    assert found.coef.tobytes() == wanted.coef.tobytes()
    assert found.intercept == wanted.intercept
    assert found.costs.tobytes() == wanted.costs.tobytes()


# --- an epoch of updates in several windows -----------------------------------------------------------

MANY, WIDE = 1100, 40


def many():
    """Rows whose coefficients are brought up to date five times an epoch."""
    x = rows(MANY, WIDE, 0.2)
    assert sparse_updates.window(MANY, WIDE, x.nnz, 1) == stochastic.BLOCK == 256
    return x


@pytest.mark.parametrize("shuffle", [True, False, "block"])
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("l2", [0.0, 0.5, 45.0])
def test_windows_have_the_iterates_of_dense_rows(l2, batch_size, shuffle):
    """With the largest l2 an update takes nine tenths of the coefficients: their scale is set back."""
    x = many()
    y = np.column_stack([targets(x), -targets(x, seed=1)])
    options = {"lr": 0.02, "l2": l2, "batch_size": batch_size, "shuffle": shuffle, "epochs": 2}
    options |= {"keep_path": True, "sample_weight": np.linspace(0.5, 1.5, MANY)}
    assert_follows(*both(x, y, **options), updates_of(MANY, options))


def test_an_update_that_shrinks_coefficients_to_nothing():
    """lr·l2 is 1, and beyond: what is left is the last step, with another sign."""
    x = many()
    for l2 in (50.0, 60.0, 90.0):
        options = {"lr": 0.02, "l2": l2, "batch_size": 1, "epochs": 1, "keep_path": True}
        assert_follows(*both(x, targets(x), **options), MANY)


# --- the same bits -----------------------------------------------------------------------------------

BITS = {
    "batch": ("mse", {"lr": 0.05, "epochs": 3}),
    "batch, softmax": ("cross_entropy", {"lr": 0.05, "epochs": 3}),
    "batch, l1": ("bce", {"lr": 0.05, "epochs": 3, "l1": 0.01}),
    "per sample, l2": ("bce", {"lr": 0.05, "epochs": 3, "batch_size": 1, "l2": 0.5}),
    "sevens, l2": ("mse", {"lr": 0.05, "epochs": 3, "batch_size": 7, "l2": 0.5}),
    "adam": ("bce", {"lr": 0.05, "epochs": 3, "batch_size": 500, "optimizer": "adam"}),
    "softmax in batches": ("cross_entropy", {"lr": 0.05, "epochs": 3, "batch_size": 500}),
    "average": ("mse", {"lr": 0.05, "epochs": 3, "batch_size": 500, "average": True}),
    "auto": ("bce", {"l2": 1e-6}),
    "auto, squared error": ("mse", {}),
    "auto, softmax": ("cross_entropy", {"l2": 0.1}),
    "auto, l1": ("bce", {"l1": 0.01}),
    "auto, poisson": ("poisson", {}),
}  # fmt: skip
SAME = (
    "coef",
    "intercept",
    "costs",
    "path",
    "lrs",
    "gradient_norms",
    "n_epochs",
    "cost",
    "converged",
)


def bits(fit):
    return {name: np.asarray(getattr(fit, name)).tobytes() for name in SAME}


@pytest.fixture
def _small_parts(monkeypatch):
    """Parts of some hundred rows, and loops that take a second thread."""
    monkeypatch.setattr(source, "PART_BYTES", 1 << 14)
    monkeypatch.setattr(stochastic_solver, "_SHARED_NS", 0)


def run(name, x=None, **more):
    loss, options = BITS[name]
    x = many() if x is None else x
    return fastgd.fit(x, targets(many(), loss), loss, **({"keep_path": True} | options | more))


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("name", BITS)
def test_every_number_of_threads_gives_the_same_bits(name):
    wanted = bits(run(name, n_threads=1))
    for n_threads in (2, 3, 5):
        assert bits(run(name, n_threads=n_threads)) == wanted, n_threads


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("name", ["batch", "per sample, l2", "auto"])
def test_entries_that_are_converted_by_parts_give_the_same_bits(name):
    x = many()
    x.data = np.round(3 * x.data).astype(np.int16)
    assert source.SparseRows(x, np.ones((1, MANY)), None, np.float64, 1).rows_at_once() is not None
    found = run(name, x)
    wanted = run(name, x.astype(np.float64))
    if name == "per sample, l2":
        assert bits(found) == bits(wanted)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-9, atol=1e-12)
    assert bits(run(name, x, n_threads=3)) == bits(found)


def stop_after(calls):
    left = iter(range(calls - 1))
    return lambda fit: next(left, None) is None


@pytest.mark.parametrize("name", BITS)
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_a_loop_in_short_calls_that_stops_and_goes_on_gives_the_same_bits(name, monkeypatch):
    wanted = run(name)
    with monkeypatch.context() as patch:
        patch.setattr(work, "CHUNK_NS", 1.0)
        whole = run(name, callback=lambda fit: None)
        assert bits(whole) == bits(wanted)
        stopped = run(name, callback=stop_after(1))
        assert stopped.n_epochs < wanted.n_epochs
        file = io.BytesIO()
        stopped.save(file)
        file.seek(0)
        again = run(name, resume=fastgd.load(file))
    assert bits(again) == bits(wanted)


# --- costs, predictions, networks ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["mse", "bce", "cross_entropy"])
def test_costs_and_gradients(loss, dtype):
    x = rows().astype(dtype)
    y = targets(rows(), loss)
    coef, intercept = np.linspace(-1, 1, D), 0.3
    if loss == "cross_entropy":
        coef, intercept = np.linspace(-1, 1, 3 * D).reshape(3, D), np.array([0.1, 0.2, -0.3])
    close = {"rtol": 1e-12, "atol": 1e-13} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-5}
    for what in ("cost", "gradient", "cost_and_gradient"):
        function = getattr(fastgd, f"{loss}_{what}")
        for weight in (None, np.linspace(0, 1, N)):
            for reduction in ("mean", "sum"):
                more = {"sample_weight": weight, "reduction": reduction}
                given = [function(a, y, coef, intercept, **more) for a in (x, x.toarray())]
                parts = [one if isinstance(one, tuple) else (one,) for one in given]
                for a, b in zip(*parts, strict=True):
                    np.testing.assert_allclose(a, b, **close)
                    assert np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.parametrize("loss", ["mse", "huber", "poisson"])
def test_the_cost_at_many_coefficients(loss):
    x = rows()
    y, coefs = targets(x, loss), np.random.default_rng(0).standard_normal((40, D))
    for more in ({}, {"sample_weight": np.linspace(0, 1, N), "reduction": "sum", "intercept": 0.5}):
        found, wanted = (
            fastgd.cost_curve(a, y, coefs, loss=loss, **more) for a in (x, x.toarray())
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "bce", "cross_entropy", "poisson"])
def test_predictions_and_scores(loss):
    x = rows()
    y = targets(x, loss)
    fit = fastgd.fit(x, y, loss, l2=0.1)
    np.testing.assert_allclose(fit.predict(x), fit.predict(x.toarray()), rtol=1e-13, atol=1e-13)
    assert fit.deviance(x, y) == pytest.approx(fit.deviance(x.toarray(), y), rel=1e-12)
    if loss != "poisson":
        assert fit.score(x, y) == pytest.approx(fit.score(x.toarray(), y), rel=1e-12)


@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
@pytest.mark.parametrize(
    "options", [{"batch_size": 7}, {"optimizer": "adam", "l2": 0.1}, {"validation": 0.3}],
    ids=["sevens", "adam", "validation"],
)  # fmt: skip
@pytest.mark.thin(1)
def test_networks(options, dtype, index):
    x = rows()
    x.data = np.round(3 * x.data).astype(dtype)
    x.indices, x.indptr = x.indices.astype(index), x.indptr.astype(index)
    y = targets(rows(), "cross_entropy")
    options = {"hidden": (5, 4), "lr": 0.05, "epochs": 3, "patience": 50} | options
    if "validation" not in options:
        del options["patience"]
    with oracles.quiet():
        found, wanted = (
            fastgd.fit_mlp(a, y, loss="cross_entropy", **options, n_threads=t)
            for a, t in ((x, 1), (x.toarray(), 1))
        )
        again = fastgd.fit_mlp(x, y, loss="cross_entropy", **options, n_threads=3)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "f4" else {"rtol": 1e-11, "atol": 1e-13}
    for a, b, c in zip(found.weights, wanted.weights, again.weights, strict=True):
        np.testing.assert_allclose(a, b, **close)
        assert a.dtype == b.dtype
        assert a.tobytes() == c.tobytes()
    np.testing.assert_allclose(found.costs, wanted.costs, **close)
    np.testing.assert_array_equal(found.predict(x), wanted.predict(x.toarray()))


# --- ugly matrices ------------------------------------------------------------------------------------


@st.composite
def ugly(draw):
    """CSR of one row or more with repeated, unsorted and constant entries, zeros, and odd magnitudes."""
    n, d = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    size = 10.0 ** draw(st.sampled_from([0, 0, 0, 0, -300, -160, -5, 5, 100, 150]))
    kind = draw(st.sampled_from(["any", "any", "zero", "constant column", "one entry a row"]))
    if kind == "one entry a row":
        of_rows = [[draw(st.integers(0, d - 1))] for _ in range(n)]
    elif kind == "zero":
        of_rows = [[0] * draw(st.integers(0, 1)) for _ in range(n)]
    else:
        of_rows = draw(
            st.lists(st.lists(st.integers(0, d - 1), max_size=6), min_size=n, max_size=n)
        )
    if kind == "constant column":
        of_rows = [[*(j for j in row if j > 0), 0] for row in of_rows]
    indptr = np.cumsum([0, *map(len, of_rows)])
    indices = np.array([j for row in of_rows for j in row], int)
    data = np.array([float(draw(st.integers(-3, 3))) for _ in indices])
    data = data * 0 if kind == "zero" else data * size
    if kind == "constant column":
        data[indices == 0] = 2.0
    x = sp.csr_array((n, d))
    x.data, x.indices, x.indptr = data, indices, indptr
    y = np.array(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), float)
    return x, y


def outcome(x, y, loss, options):
    """A fit, or the error that it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastgd.ConvergenceWarning)
        try:
            return fastgd.fit(x, y, loss, **options)
        except fastgd.DivergenceError as error:
            return error


@settings(max_examples=60)
@given(ugly(), st.sampled_from(list(WAYS)), st.sampled_from([0.0, 0.1]))
def test_ugly_rows_give_what_dense_rows_do(drawn, way, l2):
    x, y = drawn
    options = WAYS[way] | {"l2": l2}
    n = x.shape[0]
    if options.get("batch_size", 1) > n:
        options = options | {"batch_size": n}
    hypothesis.note(
        f"data {x.data.tolist()}, indices {x.indices.tolist()}, indptr {x.indptr.tolist()}"
    )
    before = [array.tobytes() for array in (x.data, x.indices, x.indptr)]
    found, wanted = (outcome(a, y, "mse", options) for a in (x, x.toarray()))
    assert [array.tobytes() for array in (x.data, x.indices, x.indptr)] == before
    assert type(found) is type(wanted)
    if isinstance(found, Exception):
        assert str(found).split(" with lr")[0] == str(wanted).split(" with lr")[0]
        return
    assert np.isfinite(found.coef).all()
    assert found.converged == wanted.converged
    if not wanted.converged:  # what grows enlarges rounding
        return
    if way != "auto":
        scale = max(1.0, np.abs(wanted.coef).max())
        np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-10, atol=1e-10 * scale)
    penalties = [l2 / 2 * float((f.coef**2).sum()) if l2 else 0.0 for f in (found, wanted)]
    ours, theirs = found.cost + penalties[0], wanted.cost + penalties[1]
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


# --- sentences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 1, 7])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_a_rate_that_diverges_is_named_with_one_that_is_stable(batch_size, l2):
    x = rows()
    for a in (x, x.toarray()):
        with pytest.raises(fastgd.DivergenceError, match=r"below|stable") as caught:
            fastgd.fit(a, targets(x), lr=10.0, epochs=2000, batch_size=batch_size, l2=l2)
        stable = caught.value.stable_lr
        if a is x:
            ours = stable
        assert np.isfinite(caught.value.fit.coef).all()
    assert ours == pytest.approx(stable, rel=1e-6)
    with oracles.quiet():
        fit = fastgd.fit(x, targets(x), lr=0.9 * ours, epochs=50, batch_size=batch_size, l2=l2)
    assert np.isfinite(fit.cost)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_named(value, way):
    x, y = rows(), targets(rows())
    entry = int(x.indptr[10])
    x.data[entry] = value
    place = f"x is {value} at row 10, column {x.indices[entry]}; drop or fill that row."
    with pytest.raises(fastgd.InputError) as caught:
        fastgd.fit(x, y, **WAYS[way])
    assert str(caught.value) == place
    with pytest.raises(fastgd.InputError) as caught:
        fastgd.mse_cost(x, y, np.ones(D))
    assert str(caught.value) == place
    if way == "batch":
        with pytest.raises(fastgd.InputError) as caught:
            fastgd.fit_mlp(x, y, hidden=3, lr=0.1, epochs=2)
        assert str(caught.value) == place
        with pytest.raises(fastgd.InputError, match=r"in validation, x is .* at row 10, column"):
            fastgd.fit(rows(), y, lr=0.1, epochs=3, validation=(x, y), patience=9)


def test_a_column_of_a_frame_that_is_not_finite_is_named():
    x = rows().toarray()
    x[10, 2] = np.nan
    frame = pd.DataFrame(x, columns=list("abcdefghi")).astype(pd.SparseDtype(float, 0))
    with pytest.raises(fastgd.InputError, match=r"x is nan at row 10, column 2 \('c'\)"):
        fastgd.fit(frame, targets(rows()), lr=0.1, epochs=2)
    frame["c"] = pd.arrays.SparseArray(np.nan_to_num(x[:, 2]), fill_value=0)
    fit = fastgd.fit(frame, targets(rows()), lr=0.1, epochs=2)
    assert list(fit.feature_names) == list("abcdefghi")


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_device_is_refused(device):
    x = rows()
    with pytest.raises(fastgd.InputError) as caught:
        fastgd.fit(x, targets(x), device=device)
    assert str(caught.value) == (
        f"x is sparse and device is {device!r}: sparse rows are read on the CPU only; leave device out, "
        "or pass x.toarray()."
    )
    cpu = fastgd.fit(x, targets(x), device="cpu", lr=0.1, epochs=2)
    assert cpu.n_epochs == 2


def test_shapes_that_do_not_fit():
    x = rows()
    for options, words in (
        ({"validation": (rows(20, D + 1), np.zeros(20))}, "columns"),
        ({"batch_size": N + 1}, f"batch_size is {N + 1}, x has {N} rows"),
        ({"sample_weight": np.ones(N - 1)}, "sample_weight"),
        ({"coef_init": np.ones(D + 1)}, "coef_init"),
    ):
        with pytest.raises(fastgd.InputError, match=words):
            fastgd.fit(x, targets(x), lr=0.1, epochs=2, **options)
    with pytest.raises(fastgd.InputError, match="y has"):
        fastgd.fit(x, targets(x)[:-1])
