"""lr="auto" with l2 for many sparse columns: dual coordinate ascent, and the descent that goes on."""

import io

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from conftest import JIT_OFF
from sklearn.linear_model import LogisticRegression, Ridge

import fastgd
from fastgd.cpu import dual
from fastgd.fitting import plan  # before its limit is patched, which it keeps a copy of
from fastgd.losses import CROSS_ENTROPY, LOSSES
from fastgd.settings import RUNNING, STOPPED, Settings
from fastgd.solvers import metric
from fastgd.solvers.dual import DualDescent
from fastgd.sources import sparse as source
from fastgd.sources.sparse import SparseRows

N, D = 90, 12
#: Losses with a second derivative; each has an epoch of its own to compile.
SMOOTH = [name for name, loss in LOSSES.items() if loss.second is not None and not loss.coupled]
EXPONENTIAL = "poisson", "gamma", "tweedie", "negative_binomial"
SOME = SMOOTH if JIT_OFF else ["mse", "bce"]


@pytest.fixture(autouse=True)
def _few_columns_are_many(monkeypatch):
    """A square matrix for up to four columns only. Fits ignore what overflows."""
    monkeypatch.setattr(metric, "FULL_METRIC", 4)
    assert plan.FULL_METRIC > 4
    with np.errstate(all="ignore"):
        yield


def rows(n=N, d=D, density=0.3, seed=0):
    """CSR with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * (rng.random((n, d)) < density)
    x[3] = x[:, d // 2] = 0.0
    return sp.csr_array(x)


def targets(x, loss="mse", seed=0):
    rng = np.random.default_rng(seed)
    z = np.asarray(x @ np.linspace(-1, 1, x.shape[1])) + rng.logistic(size=x.shape[0]) / 2
    if loss in oracles.OF_LABELS:
        return (z > 0.2).astype(float)
    if loss in oracles.OF_COUNTS:
        return rng.poisson(np.exp(z / 2)).astype(float)
    return np.exp(z / 2) + 0.1 if loss in ("gamma", "tweedie") else z


def gradient(x, y, fit, loss, l2, weight=None, offset=0.0):
    """That of the objective at a fit, with the intercept's part last, by torch."""
    z = x.toarray() @ fit.coef + fit.intercept + offset
    weight = np.ones(len(y)) if weight is None else weight
    part = (
        weight * oracles.slope(lambda raw: _summed(loss)(raw, oracles.tensor(y)), z) / weight.sum()
    )
    return np.r_[x.T @ part + l2 * fit.coef, part.sum()]


def _summed(loss):
    return lambda z, y: oracles.LOSSES[loss](z, y, reduction="sum")


def without_gaps(x, y, loss="mse", **options):
    """The same fit on dense rows, by a square matrix."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric, "FULL_METRIC", 2048)
        fit = fastgd.fit(x.toarray(), y, loss, **options)
    assert "dual" not in fit.method
    return fit


# --- an epoch, row by row -----------------------------------------------------------------------------


def bisected(loss, z, q, s, y, p):
    """t with t = z − q·(slope(t) − s), to the last bit."""

    def error(t):
        return t - z + q * (loss.slope(*((t, y) if p is None else (t, y, p))) - s)

    low, high = z - 1.0, z + 1.0
    while error(low) > 0:
        low -= 2 * (high - low)
    while error(high) < 0:
        high += 2 * (high - low)
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return middle
        low, high = (low, middle) if error(middle) > 0 else (middle, high)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("index", ["i4", "i8"] if JIT_OFF else ["i4"])
@pytest.mark.parametrize(
    ("loss", "dtype"), [*((name, "f8") for name in sorted({*SOME, "poisson"})), ("mse", "f4")]
)
@pytest.mark.parametrize("factor", [1e-3, 0.5, 100.0])
def test_every_step_is_that_of_its_formula(loss, factor, index, dtype, weighted, centred):
    """Of each row from where the kernel left the last, on rows that are centred one by one."""
    if JIT_OFF and factor > 1 and loss in EXPONENTIAL:
        pytest.skip("math.exp raises where compiled code has inf")
    x, rng = rows(), np.random.default_rng(1)
    x = x.astype("f4" if dtype == "f4" and not JIT_OFF else "f8")  # NumPy would multiply in float32
    x.indices, x.indptr = x.indices.astype(index), x.indptr.astype(index)
    y, loss = targets(x, loss), LOSSES[loss]
    weight = rng.random(N) * (rng.random(N) < 0.9) if weighted else None
    offset = rng.standard_normal((1, N)) / 4 if weighted else None
    one = SparseRows(x, y[None], weight, np.float64, 1, None, offset)
    weight = np.ones(N) if weight is None else weight
    offset = np.zeros(N) if offset is None else offset[0]
    dense, p = x.toarray().astype(float), loss.p if len(loss.formula.parameters) else None
    center = dense.mean(axis=0) if centred else np.zeros(D)
    about, level = dense - center, 0.3
    slopes, coef = np.zeros(N), np.zeros((1, D))
    for number in range(2):
        order = np.random.default_rng(number).permutation(N).astype(np.uint32)
        for place in range(N):
            row, before, w = int(order[place]), slopes.copy(), coef[0].copy()
            only = np.full(N, N - 1, np.uint32)
            only[0] = row
            total = step_of(one, loss, only, factor, center, level, slopes, coef)
            q = weight[row] * factor * float(about[row] @ about[row])
            z = float(about[row] @ w) + level + offset[row]
            if q == 0:
                assert total == 0
                np.testing.assert_array_equal(coef[0], w)
                continue
            t = bisected(loss.formula, z, q, before[row], y[row], p)
            found = z - q * (slopes[row] - before[row])
            # The last correction is below a hundredth of the step; Newton's is its square.
            assert abs(found - t) <= (1e-9 if loss.quadratic else 2e-3) * abs(t - z) + 1e-12
            assert np.array_equal(np.flatnonzero(slopes != before), [row]) or found == z
            moved = -factor * weight[row] * (slopes[row] - before[row]) * about[row]
            np.testing.assert_allclose(coef[0] - w, moved, rtol=1e-9, atol=1e-12)
            curvature = weight[row] * loss.second(*((t, y[row]) if p is None else (t, y[row], p)))
            assert total == pytest.approx(curvature, rel=0.3, abs=1e-12)
    sums = -factor * ((weight * slopes) @ about)
    np.testing.assert_allclose(coef[0], sums, rtol=0, atol=1e-11 * np.abs(sums).max())


def step_of(one, loss, order, factor, center, level, slopes, coef):
    """The first step of an epoch, by the source's own way to its kernel."""
    with pytest.MonkeyPatch.context() as patch:
        kernel = dual.epoch(loss.formula, *one._dtypes)
        patch.setattr(dual, "epoch", lambda *_: lambda *given: kernel(*given[:-1], 1))
        return one.dual_epoch(loss, order, factor, center, level, slopes, coef)


def test_an_epoch_is_a_chain_of_such_steps():
    """Of squares, which are exact: what a step takes along the centre counts in those that follow."""
    x, y = rows(), targets(rows())
    dense, n_epochs, factor, level = x.toarray(), 2, 0.5, 0.3
    one, center = SparseRows(x, y[None], None, np.float64, 1), np.linspace(-1, 1, D)
    about = dense - center
    slopes, coef, wanted_slopes, wanted = np.zeros(N), np.zeros((1, D)), np.zeros(N), np.zeros(D)
    for number in range(n_epochs):
        order = np.random.default_rng(number).permutation(N).astype(np.uint32)
        one.dual_epoch(LOSSES["mse"], order, factor, center, level, slopes, coef)
        for row in order.tolist():
            q, z = factor * float(about[row] @ about[row]), float(about[row] @ wanted) + level
            t = (z + q * (2 * y[row] + wanted_slopes[row])) / (1 + 2 * q)
            wanted_slopes[row] += (z - t) / q
            wanted -= factor * (z - t) / q * about[row]
        np.testing.assert_allclose(coef[0], wanted, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("loss", SOME)
def test_an_epoch_in_pieces_has_the_same_bits(loss, monkeypatch):
    x, found = rows(), []
    order = np.random.default_rng(0).permutation(N).astype(np.uint32)
    for part_bytes in (source.PART_BYTES, 1 << 8):
        monkeypatch.setattr(source, "PART_BYTES", part_bytes)
        monkeypatch.setattr(source, "_PROMPT_PARTS", 2)
        one = SparseRows(x, targets(x, loss)[None], None, np.float64, 1)
        slopes, coef = np.zeros(N), np.zeros((1, D))
        total = one.dual_epoch(LOSSES[loss], order, 0.5, np.full(D, 0.1), 0.3, slopes, coef)
        found.append((slopes.tobytes(), coef.tobytes(), pytest.approx(float(total[0]), rel=1e-14)))
        assert (one.n_parts > 6) == (part_bytes == 1 << 8)
    assert found[0] == found[1]


# --- softmax ------------------------------------------------------------------------------------------

K = 3


def classes(x, seed=0):
    rng = np.random.default_rng(seed)
    z = x @ np.linspace(-1, 1, x.shape[1] * K).reshape(-1, K)
    return (z + rng.gumbel(size=z.shape)).argmax(axis=1)


def solved(z, q, s, hit):
    """t with t = z − q·(softmax(t) − hit − s), the least of `height`, and softmax(t)."""

    def height(t):
        return ((t - z) ** 2).sum() / 2 + q * (np.logaddexp.reduce(t) - (hit + s) @ t)

    t = z.copy()
    for _ in range(100):
        p = np.exp(t - np.logaddexp.reduce(t))
        error = t - z + q * (p - hit - s)
        step, length = np.linalg.solve(np.eye(K) + q * (np.diag(p) - np.outer(p, p)), error), 1.0
        while height(t - length * step) > height(t) and length > 1e-12:
            length /= 2
        t = t - length * step
    assert np.abs(error).max() < 1e-6 * (1 + q)  # as near as rounded heights tell
    return t, p


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("factor", [1e-3, 0.5, 100.0])
def test_every_step_of_softmax_is_that_of_its_formula(factor, centred):
    x, rng = rows(), np.random.default_rng(1)
    y, loss = classes(x), CROSS_ENTROPY
    weight, offset = rng.random(N) * (rng.random(N) < 0.9), rng.standard_normal((K, N)) / 4
    one = SparseRows(x, y[None].astype(float), weight, np.float64, 1, K, offset)
    dense, level = x.toarray(), np.array([0.3, -0.2, 0.0])
    center = dense.mean(axis=0) if centred else np.zeros(D)
    about, slopes, coef = dense - center, np.zeros((N, K)), np.zeros((K, D))
    kernel = dual.coupled_epoch(loss.formula, *one._dtypes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dual, "coupled_epoch", lambda *_: lambda *given: kernel(*given[:-1], 1))
        for row in [*rng.permutation(N), *rng.permutation(N)]:
            before, w, only = slopes.copy(), coef.copy(), np.full(N, N - 1, np.uint32)
            only[0] = row
            total = one.dual_epoch(loss, only, factor, center, level, slopes, coef)
            q = weight[row] * factor * float(about[row] @ about[row])
            z = w @ about[row] + level + offset[:, row]
            if q == 0:
                np.testing.assert_array_equal(coef, w)
                continue
            t, p = solved(z, q, before[row], np.arange(K) == y[row])
            found = z - q * (slopes[row] - before[row])
            assert np.abs(found - t).max() <= 5e-3 * np.abs(t - z).max() + 1e-12
            moved = -factor * weight[row] * np.outer(slopes[row] - before[row], about[row])
            np.testing.assert_allclose(coef - w, moved, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(total, weight[row] * p * (1 - p), rtol=0.3, atol=1e-9)


@pytest.mark.parametrize("l2", [1e-6, 0.01, 1e3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_softmax_ends_where_it_does_on_dense_rows(fit_intercept, l2):
    x = rows()
    y, rng = np.array(["a", "b", "c"])[classes(x)], np.random.default_rng(0)
    for more in ({}, {"sample_weight": rng.random(N), "offset": rng.standard_normal((N, K))}):
        options = more | {"l2": l2, "fit_intercept": fit_intercept}
        fit, wanted = (f(x, y, "cross_entropy", **options) for f in (fastgd.fit, without_gaps))
        assert fit.method.startswith("dual")
        assert fit.converged
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(fit.intercept, wanted.intercept, rtol=1e-5, atol=1e-7)
        assert fit.cost == pytest.approx(wanted.cost, rel=1e-8)


@pytest.mark.parametrize("epochs", [2, 9])
def test_softmax_goes_on_with_the_same_bits(epochs):
    """In the ascent, and in what goes on."""
    x = rows()
    whole = fastgd.fit_logistic(x, classes(x), l2=1e-3)
    paused = fastgd.fit_logistic(
        x, classes(x), l2=1e-3, callback=lambda fit: fit.n_epochs >= epochs
    )
    assert paused.n_epochs == epochs < whole.n_epochs
    rest = fastgd.fit_logistic(x, classes(x), l2=1e-3, resume=paused)
    assert rest.coef.tobytes() == whole.coef.tobytes()
    assert (rest.n_epochs, rest.method) == (whole.n_epochs, whole.method)


# --- optima -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l2", [1e-6, 0.1, 1e3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", SOME)
def test_the_gradient_is_zero_where_it_ends(loss, weighted, fit_intercept, l2):
    if JIT_OFF and l2 < 0.1 and loss in EXPONENTIAL:
        pytest.skip("math.exp raises where compiled code has inf")
    x = rows()
    y = targets(x, loss)
    more = {"l2": l2, "fit_intercept": fit_intercept}
    if weighted:
        more |= {"sample_weight": np.linspace(0, 2, N), "offset": np.linspace(-0.5, 0.5, N)}
    fit = fastgd.fit(x, y, loss, **more)
    assert fit.method.startswith("dual")
    assert fit.converged
    found = gradient(x, y, fit, loss, l2, more.get("sample_weight"), more.get("offset", 0.0))
    assert np.abs(found[: None if fit_intercept else -1]).max() < 1e-7
    wanted = without_gaps(x, y, loss, **more)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-6, atol=1e-8)
    assert fit.intercept == pytest.approx(wanted.intercept, rel=1e-6, abs=1e-8)
    assert fit.cost == pytest.approx(wanted.cost, rel=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("l2", [1e-3, 1.0])
def test_scikit_learn_finds_the_same(l2, fit_intercept):
    x = rows()
    y, labels, weight = targets(x), targets(x, "bce"), np.linspace(0.1, 2, N)
    fit = fastgd.fit_logistic(x, labels, l2=l2, fit_intercept=fit_intercept, sample_weight=weight)
    theirs = LogisticRegression(
        C=1 / (l2 * weight.sum()), fit_intercept=fit_intercept, tol=1e-10, max_iter=10_000
    ).fit(x, labels, weight)
    np.testing.assert_allclose(fit.coef, theirs.coef_[0], rtol=1e-4, atol=1e-5)
    assert fit.intercept == pytest.approx(np.ravel(theirs.intercept_)[0], rel=1e-4, abs=1e-5)
    both = np.column_stack([y, -2 * y + labels])
    fit = fastgd.fit_linear(x, both, l2=l2, fit_intercept=fit_intercept, sample_weight=weight)
    assert "dual" in fit.method
    # The mean is over both targets, and the cost has no factor 1/2.
    ridge = Ridge(l2 * weight.sum(), fit_intercept=fit_intercept, solver="sparse_cg" if not
                  fit_intercept else "auto", tol=1e-12)  # fmt: skip
    ridge.fit(x.toarray(), both, weight)
    np.testing.assert_allclose(fit.coef, ridge.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.intercept, ridge.intercept_, rtol=1e-6, atol=1e-8)


def test_several_outputs_one_after_the_other():
    x = rows()
    y = np.column_stack([targets(x), targets(x, seed=1) * 100 + 7, np.ones(N)])
    for loss in ("mse", "huber") if JIT_OFF else ("mse",):
        fit = fastgd.fit(x, y, loss, l2=0.1)
        wanted = without_gaps(x, y, loss, l2=0.1)
        assert fit.converged
        assert "dual" in fit.method
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-7, atol=1e-8)
        assert fit.cost == pytest.approx(wanted.cost, rel=1e-9)


@pytest.mark.parametrize("l2", [1e-12, 1e12])
def test_a_huge_and_a_tiny_penalty(l2):
    x = rows()
    for loss in ("mse", "bce"):
        y = targets(x, loss)
        fit, wanted = fastgd.fit(x, y, loss, l2=l2), without_gaps(x, y, loss, l2=l2)
        assert fit.method.startswith("dual")
        assert fit.converged
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-5, atol=1e-6 * min(1, 1 / l2))
        assert fit.cost == pytest.approx(wanted.cost, rel=1e-9)


def test_columns_of_very_different_size():
    """The ascent gains little there, and L-BFGS goes on in scaled columns."""
    x = rows()
    scales = np.logspace(-6, 6, D)
    scaled = sp.csr_array(x.toarray() * scales)
    for loss in ("mse", "bce"):
        y = targets(x, loss)
        fit, wanted = (f(scaled, y, loss, l2=1e-4) for f in (fastgd.fit, without_gaps))
        assert fit.method == "dual-diagonal-lbfgs"
        assert fit.converged
        np.testing.assert_allclose(fit.coef * scales, wanted.coef * scales, rtol=1e-4, atol=1e-5)
        assert fit.cost == pytest.approx(wanted.cost, rel=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_rows_without_entries(fit_intercept):
    """One row with an entry, and none at all."""
    y, x = targets(rows(), "bce"), sp.csr_array((N, D))
    for entries in (0, 1):
        if entries:
            x = sp.csr_array(([2.0], ([4], [1])), shape=(N, D))
        fit = fastgd.fit(x, y, "bce", l2=0.1, fit_intercept=fit_intercept)
        wanted = without_gaps(x, y, "bce", l2=0.1, fit_intercept=fit_intercept)
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-6, atol=1e-9)
        assert fit.intercept == pytest.approx(wanted.intercept, rel=1e-6, abs=1e-9)
        assert fit.converged


def test_a_column_of_ones_takes_no_part_beside_the_intercept():
    x = sp.csr_array(np.c_[np.ones(N), rows().toarray()])
    y = targets(rows(), "bce")
    fit = fastgd.fit(x, y, "bce", l2=0.01)
    wanted = fastgd.fit(rows(), y, "bce", l2=0.01)
    np.testing.assert_allclose(fit.coef, np.r_[0.0, wanted.coef], rtol=1e-6, atol=1e-8)


def test_tol_is_reached():
    x = rows()
    y = targets(x, "bce")
    epochs = []
    for tol in (0.3, 1e-3, 1e-9):
        fit = fastgd.fit(x, y, "bce", l2=1.0, tol=tol)
        assert fit.converged
        assert fit.gradient_norms is None or fit.gradient_norms[-1] <= tol * fit.gradient_norms[0]
        size = np.linalg.norm(gradient(x, y, fit, "bce", 1.0))
        epochs.append((fit.n_epochs, size))
    assert epochs == sorted(epochs, key=lambda one: (one[0], -one[1]))
    assert epochs[0][0] < epochs[-1][0]
    assert epochs[-1][1] < 1e-8
    with pytest.warns(fastgd.ConvergenceWarning, match="short of tol=1e-09 after 2 epochs"):
        fit = fastgd.fit(x, y, "bce", l2=1.0, tol=1e-9, epochs=2)
    assert (fit.converged, fit.n_epochs) == (False, 2)


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, False), ({"coef_init": np.linspace(0, 1, D)}, True), ({"l2": 0.0}, True),
        ({"l1": 0.1}, True), ({"intercept_init": 2.0}, False),
    ],
)  # fmt: skip
def test_when_it_takes_another_way(options, changed):
    x = rows()
    y = targets(x)
    options = {"l2": 0.1} | options
    fit = fastgd.fit(x, y, **options)
    assert fit.method.startswith("dual") != changed
    wanted = without_gaps(x, y, **options)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-6, atol=1e-8)


def test_entries_that_are_converted_take_another_way(monkeypatch):
    x = rows().astype(np.float32)
    x.data = np.round(4 * x.data).astype(np.int16)
    y = targets(x)
    near = fastgd.fit(x, y, l2=0.1)
    assert near.method.startswith("dual")  # so few are converted at once
    monkeypatch.setattr(source, "PART_BYTES", 1 << 8)
    far = fastgd.fit(x, y, l2=0.1)
    assert "dual" not in far.method
    np.testing.assert_allclose(far.coef, near.coef, rtol=1e-7, atol=1e-9)


def test_float32_rows():
    x = rows().astype(np.float32)
    fit = fastgd.fit(x, targets(x), l2=0.1)
    assert fit.method.startswith("dual")
    assert fit.coef.dtype == np.float32
    wanted = fastgd.fit(x.astype(float), targets(x), l2=0.1)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-5, atol=1e-6)


# --- pauses -------------------------------------------------------------------------------------------

PAUSES = {"mse": ("mse", 0.1), "bce": ("bce", 0.5)}


def solver_of(name, start=0.0):
    loss, l2 = PAUSES[name]
    x = rows()
    settings = Settings(
        lr=0.1, l2=l2, scale=1 / N, row_scale=1 / N, fit_intercept=True, tol=0.0
    )  # fmt: skip
    one = SparseRows(x, targets(x, loss)[None], None, np.float64, 1)
    return DualDescent(one, LOSSES[loss], settings, np.zeros((1, D)), np.full(1, start), 200, True)


def saved(state):
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file) as arrays:
        return dict(arrays)


def assert_same(found, wanted):
    assert (found.epoch, found.converged, found.trouble) == (
        wanted.epoch, wanted.converged, wanted.trouble
    )  # fmt: skip
    for name in ("coef", "intercept", "costs", "path"):
        a, b = getattr(found, name), getattr(wanted, name)
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert found.cost() == wanted.cost()
    assert found.method == wanted.method


@pytest.mark.parametrize("name", PAUSES)
def test_a_run_that_paused_anywhere_ends_in_the_same_bits(name):
    whole = solver_of(name)
    status = whole.run(whole.epochs)
    assert whole.converged
    assert whole.method == "dual-diagonal-lbfgs"
    methods = set()
    for pause in range(whole.epoch + 1):
        first = solver_of(name)
        first.run(pause)
        assert first.epoch == pause
        methods.add(first.method)
        second = solver_of(name, start=-3.0)
        second.load(saved(first.state()))
        np.testing.assert_array_equal(second.parameters(), first.parameters())
        assert second.run(second.epochs) == status
        assert_same(second, whole)
        assert first.run(first.epochs) == status
        assert_same(first, whole)
    assert methods == {"dual", "dual-diagonal-lbfgs"}


def test_a_callback_stops_it():
    whole = solver_of("bce")
    whole.run(whole.epochs)
    for stop in (2, whole.epoch - 2):  # in the ascent, and after it
        first = solver_of("bce")
        assert first.run(first.epochs, lambda: first.epoch == stop) == STOPPED  # noqa: B023
        second = solver_of("bce", start=-3.0)
        second.load(saved(first.state()))
        second.run(second.epochs)
        assert_same(second, whole)
    assert solver_of("bce").run(2) == RUNNING


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("how", ["callback", "epochs"])
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_a_fit_goes_on_from_a_file(how, outputs):
    x = rows()
    y = targets(x, "mse")
    y = y if outputs == 1 else np.column_stack([y, targets(x, seed=1)])
    shared = {"l2": 0.1, "keep_path": True}
    whole = fastgd.fit(x, y, callback=lambda fit: None, **shared)
    assert whole.converged
    for stop in sorted({1, 3, whole.n_epochs // 2, whole.n_epochs - 1}):
        if how == "callback":
            stopped = fastgd.fit(x, y, callback=lambda fit: fit.n_epochs >= stop, **shared)  # noqa: B023
        else:
            stopped = fastgd.fit(x, y, callback=lambda fit: None, epochs=stop, **shared)
        assert not stopped.converged
        file = io.BytesIO()
        stopped.save(file)
        file.seek(0)
        again = fastgd.fit(x, y, resume=fastgd.load(file), callback=lambda fit: None, **shared)
        for name in (
            "coef",
            "intercept",
            "costs",
            "path",
            "n_epochs",
            "cost",
            "converged",
            "method",
        ):
            a, b = getattr(again, name), getattr(whole, name)
            np.testing.assert_array_equal(a, b, err_msg=f"{name}, {stop}")
    ended = fastgd.fit(x, y, resume=whole, callback=lambda fit: None, **shared)
    assert ended.coef.tobytes() == whole.coef.tobytes()
    assert (ended.method, ended.converged) == (whole.method, True)


@pytest.mark.parametrize("at", [1, 4, 12])
def test_an_interrupt_leaves_the_last_step(at, monkeypatch):
    """Ctrl-C in a pass: the error has the parameters that the last whole step left."""
    x = rows()
    y = targets(x, "bce")
    whole = fastgd.fit(x, y, "bce", l2=0.5, keep_path=True)
    assert whole.n_epochs > 12
    calls, totals = [], SparseRows.totals

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == at + 2:
            raise KeyboardInterrupt
        return totals(*arguments, **options)

    monkeypatch.setattr(SparseRows, "totals", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fastgd.fit(x, y, "bce", l2=0.5)
    fit = caught.value.fit
    assert 0 < fit.n_epochs <= at
    np.testing.assert_array_equal(fit.coef, whole.path[fit.n_epochs - 1])
    np.testing.assert_array_equal(fit.costs, whole.costs[: fit.n_epochs])


@pytest.mark.parametrize("at", [1, 4, 12])
def test_the_state_after_an_interrupt_is_that_after_the_last_step(at, monkeypatch):
    """An epoch that was interrupted has changed nothing that goes on from there."""
    whole, first, totals = solver_of("bce"), solver_of("bce"), SparseRows.totals
    whole.run(whole.epochs)

    def interrupted(*arguments, **options):
        if first.epoch == at:
            raise KeyboardInterrupt
        return totals(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SparseRows, "totals", interrupted)
        with pytest.raises(KeyboardInterrupt):
            first.run(first.epochs)
    assert first.epoch == at
    second = solver_of("bce", start=-3.0)
    second.load(saved(first.state()))
    second.run(second.epochs)
    assert_same(second, whole)


@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_the_same_bits_for_every_number_of_threads(n_threads, monkeypatch):
    monkeypatch.setattr(source, "PART_BYTES", 1 << 10)
    x = rows(400, 40, 0.1)
    one, many = (
        fastgd.fit(x, targets(x, "bce"), "bce", l2=0.01, n_threads=t) for t in (1, n_threads)
    )
    assert one.method.startswith("dual")
    assert one.coef.tobytes() == many.coef.tobytes()
    assert one.costs.tobytes() == many.costs.tobytes()


def test_data_that_overflows_gets_a_sentence():
    x = rows()
    x.data *= 1e200
    with pytest.raises(fastgd.DivergenceError, match="overflows"):
        fastgd.fit(x, targets(x) * 1e-3, l2=0.1)
    x.data[4] = np.nan
    with pytest.raises(fastgd.InputError, match="x is nan at row"):
        fastgd.fit(x, targets(rows()), l2=0.1)


@pytest.mark.jit
def test_an_epoch_is_compiled_once_for_all_values_of_a_parameter():
    first, second = (dual.epoch(fastgd.losses.Huber(d).formula, *_DTYPES) for d in (1.0, 2.0))
    assert first is second


_DTYPES = np.dtype(np.float64), np.dtype(np.int32)
