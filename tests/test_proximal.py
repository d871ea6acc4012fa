"""l1: the optimality conditions, other libraries' solutions, and the textbook's proximal steps."""

import warnings

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.linear_model import ElasticNet, LogisticRegression

import fastgd
from fastgd import reference
from fastgd.losses import LOSSES
from fastgd.solvers import metric, proximal
from fastgd.sources import work


def fit_of(loss):
    return fastgd.fit_logistic if loss == "bce" else fastgd.fit_linear


def gradient_of(loss):
    return fastgd.bce_gradient if loss == "bce" else fastgd.mse_gradient


def data(loss, n=300, d=12, correlation=0.5, seed=0):
    """Correlated columns of several scales off zero, of which five matter."""
    rng = np.random.default_rng(seed)
    x = np.sqrt(1 - correlation) * rng.standard_normal((n, d))
    x += np.sqrt(correlation) * rng.standard_normal((n, 1))
    z = x[:, :5] @ rng.standard_normal(x[:, :5].shape[1]) + rng.logistic(size=n)
    x = x * 10.0 ** rng.uniform(-1, 1, d) + rng.standard_normal(d)
    return x, (z > 0).astype(float) if loss == "bce" else z + 2


def largest_l1(loss, x, y, **options):
    """The smallest l1 that leaves nothing, and the intercept then."""
    mean = np.average(y, weights=options.get("sample_weight"))
    intercept = np.log(mean / (1 - mean)) if loss == "bce" else mean
    by_coef, _ = gradient_of(loss)(x, y, np.zeros(x.shape[1]), intercept, **options)
    return np.abs(by_coef).max()


def violation(loss, fit, x, y, l1, l2=0.0, fit_intercept=True, **options):
    """How far the smallest slope is from zero, relatively to those that make it up."""
    by_coef, by_intercept = gradient_of(loss)(x, y, fit.coef, fit.intercept, **options)
    by_coef = by_coef + l2 * fit.coef
    slope = np.where(
        fit.coef == 0, np.maximum(np.abs(by_coef) - l1, 0), by_coef + np.sign(fit.coef) * l1
    )
    spread = np.abs(x).max(axis=0)  # slopes are in units of 1/column
    return max(np.abs(slope / spread).max(), abs(by_intercept) * fit_intercept)


@given(
    n=st.integers(5, 60), d=st.integers(1, 30), seed=st.integers(0, 99), fit_intercept=st.booleans(),
    share=st.sampled_from([0.9, 0.3, 0.03]), l2=st.sampled_from([0.0, 0.1]), weighted=st.booleans(),
    loss=st.sampled_from(["mse", "bce"]), reduction=st.sampled_from(["mean", "sum"]),
    correlation=st.sampled_from([0.0, 0.5, 0.99]),
)  # fmt: skip
def test_optimality(n, d, seed, fit_intercept, share, l2, weighted, loss, reduction, correlation):
    x, y = data(loss, n, d, correlation, seed)
    y[:2] = 0, 1
    options = {"reduction": reduction}
    if weighted:
        options["sample_weight"] = np.random.default_rng(seed).random(n) + 0.1
    l1 = share * largest_l1(loss, x, y, **options)
    fit = fit_of(loss)(x, y, l1=l1, l2=l2, fit_intercept=fit_intercept, **options)
    assert fit.converged
    scale = n if reduction == "sum" else 1
    assert violation(loss, fit, x, y, l1, l2, fit_intercept, **options) < 1e-9 * scale


@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_linear_agrees_with_scikit_learn(share, l2):
    """There the cost is halved: alpha·l1_ratio = l1/2 and alpha·(1 − l1_ratio) = l2/2."""
    x, y = datasets.load_diabetes(return_X_y=True)
    x = x * 20
    l1 = share * largest_l1("mse", x, y)
    fit = fastgd.fit_linear(x, y, l1=l1, l2=l2)
    rival = ElasticNet(
        alpha=(l1 + l2) / 2, l1_ratio=l1 / (l1 + l2), tol=1e-13, max_iter=1_000_000
    ).fit(x, y)
    np.testing.assert_allclose(fit.coef, rival.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(fit.coef == 0, rival.coef_ == 0)
    assert fit.intercept == pytest.approx(rival.intercept_)
    assert fit.method == "proximal-newton"
    assert fit.n_epochs <= 3


@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_logistic_agrees_with_scikit_learn(share, l2):
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    l1 = share * largest_l1("bce", x, y)
    fit = fastgd.fit_logistic(x, y, l1=l1, l2=l2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the name of an option is on its way out
        rival = LogisticRegression(
            penalty="elasticnet", l1_ratio=l1 / (l1 + l2), C=1 / ((l1 + l2) * len(y)), solver="saga",
            tol=1e-10, max_iter=100_000,
        ).fit(x, y)  # fmt: skip
    np.testing.assert_allclose(fit.coef, rival.coef_[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(fit.coef == 0, rival.coef_[0] == 0)
    assert fit.intercept == pytest.approx(rival.intercept_[0], rel=1e-5)
    assert fit.converged


def test_logistic_agrees_with_liblinear():
    """Which penalises the intercept, so here is none."""
    x, y = data("bce")
    fit = fastgd.fit_logistic(x, y, l1=0.02, fit_intercept=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rival = LogisticRegression(
            penalty="l1", C=50 / len(y), solver="liblinear", tol=1e-10, max_iter=100_000,
            fit_intercept=False,
        ).fit(x, y)  # fmt: skip
    np.testing.assert_allclose(fit.coef, rival.coef_[0], rtol=1e-5, atol=1e-6)


def test_both_agree_with_skglm():
    skglm = pytest.importorskip("skglm")
    for loss in ("mse", "bce"):
        x, y = data(loss)
        x = np.asfortranarray(x / x.std(0))
        l1 = 0.1 * largest_l1(loss, x, y)
        fit = fit_of(loss)(x, y, l1=l1)
        make = {"mse": skglm.Lasso, "bce": skglm.SparseLogisticRegression}[loss]
        rival = make(alpha=l1 / (2 if loss == "mse" else 1), tol=1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rival.fit(x, y)
        np.testing.assert_allclose(fit.coef, np.ravel(rival.coef_), rtol=1e-5, atol=1e-7)
        assert fit.intercept == pytest.approx(float(np.ravel(rival.intercept_)[0]), rel=1e-5)


def test_where_nothing_is_left(loss_name):
    x, y = data(loss_name)
    l1 = largest_l1(loss_name, x, y)
    none = fit_of(loss_name)(x, y, l1=1.001 * l1)
    np.testing.assert_array_equal(none.coef, 0)
    mean = y.mean()
    best = np.log(mean / (1 - mean)) if loss_name == "bce" else mean
    assert none.intercept == pytest.approx(best, rel=1e-12)
    assert np.count_nonzero(fit_of(loss_name)(x, y, l1=0.99 * l1).coef) == 1
    from_afar = fit_of(loss_name)(x, y, l1=1.001 * l1, coef_init=np.full(x.shape[1], 0.1))
    np.testing.assert_array_equal(from_afar.coef, 0)


def test_the_objective_falls_and_the_path_is_kept(loss_name):
    x, y = data(loss_name)
    fit = fit_of(loss_name)(x, y, l1=0.01, keep_path=True)
    objectives = [*fit.costs[1:], fit.cost] + 0.01 * np.abs(fit.path).sum(axis=1)
    assert fit.path.shape == (fit.n_epochs, x.shape[1])
    assert (np.diff([fit.costs[0], *objectives]) <= 1e-12 * fit.costs[0]).all()
    np.testing.assert_array_equal(fit.path[-1], fit.coef)


def test_several_outputs_are_several_fits():
    x, y = data("mse")
    both = np.column_stack([y, 3 - 2 * x[:, 1] * y])
    fit = fastgd.fit_linear(x, both, l1=0.5, reduction="sum")
    for c in range(2):
        one = fastgd.fit_linear(x, both[:, c], l1=0.5, reduction="sum")
        np.testing.assert_allclose(fit.coef[c], one.coef, rtol=1e-9, atol=1e-12)
        assert fit.intercept[c] == pytest.approx(one.intercept, rel=1e-9)


def test_many_columns_take_accelerated_steps(loss_name, monkeypatch):
    x, y = data(loss_name)
    x = x / x.std(0)
    full = fit_of(loss_name)(x, y, l1=0.03, l2=0.01)
    monkeypatch.setattr(metric, "FULL_METRIC", 0)
    many = fit_of(loss_name)(x, y, l1=0.03, l2=0.01)
    assert many.method == "proximal-accelerated"
    assert many.converged
    np.testing.assert_allclose(many.coef, full.coef, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(many.coef == 0, full.coef == 0)
    with pytest.warns(fastgd.ConvergenceWarning, match="after 3 epochs"):
        few = fit_of(loss_name)(x, y, l1=0.03, epochs=3)
    assert few.n_epochs == 3


def test_a_large_sample_comes_first(monkeypatch):
    x, y = data("bce", n=5000)
    monkeypatch.setattr(proximal, "_LEAST_SAMPLED", 10**9)
    without = fastgd.fit_logistic(x, y, l1=0.01)
    monkeypatch.undo()
    fit = fastgd.fit_logistic(x, y, l1=0.01)
    assert fit.n_epochs < without.n_epochs
    np.testing.assert_allclose(fit.coef, without.coef, rtol=1e-9, atol=1e-12)
    rough = fastgd.fit_logistic(x, y, l1=0.01, tol=1e-3)
    assert rough.converged
    assert rough.n_epochs <= fit.n_epochs


@pytest.mark.jit
@pytest.mark.parametrize("kind", ["a sorted group", "tiny in the sample", "one label outside"])
def test_what_a_sample_does_not_show(kind):
    x, y = data("bce", n=20_000, d=3)
    outside = np.arange(len(y)) % 2048 >= 64
    column = np.zeros(len(y))
    if kind == "tiny in the sample":
        column = np.where(outside, 1.0, 1e-6) * np.random.default_rng(1).standard_normal(len(y))
    else:
        column[100:1900] = 1.0
    if kind == "one label outside":
        y[column == 1] = 1.0
    x = np.column_stack([x, column])
    fit = fastgd.fit_logistic(x, y, l1=1e-4)
    assert fit.converged
    assert violation("bce", fit, x, y, 1e-4) < 1e-13


def test_constant_dependent_and_huge_columns(loss_name):
    x, y = data(loss_name)
    odd = np.column_stack([x, np.full(len(x), 7.0), x[:, 0], 1e12 * x[:, 1], 1e-12 * x[:, 2]])
    fit = fit_of(loss_name)(odd, y, l1=0.02, coef_init=np.eye(16)[12])
    assert fit.converged
    assert fit.coef[12] == 0
    assert fit.coef[15] == 0
    assert abs(fit.coef[13]) > 0 or abs(fit.coef[0]) > 0
    assert violation(loss_name, fit, odd, y, 0.02) < 1e-9


@pytest.mark.parametrize("far", [1e1, 1e3, 1e5])
@pytest.mark.parametrize("share", [0.1, 1e-3])
def test_columns_far_from_zero_without_intercept(loss_name, far, share):
    """The columns all but agree; around their means they don't, and the conditions can be checked."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((100, 8))
    z = x @ rng.standard_normal(8) + rng.logistic(size=100)
    y = z + 2 if loss_name == "mse" else (z > 0).astype(float)
    x = x + far * (1 + rng.random(8))
    fit = fit_of(loss_name)(x, y, l1=share, fit_intercept=False)
    assert fit.converged
    assert fit.n_epochs < 20
    best = _with_signs(loss_name, x, y, share, fit.coef)
    gap = _objective(loss_name, x, y, share, fit.coef) - _objective(loss_name, x, y, share, best)
    assert -1e-9 < gap < 1e-8


def _objective(loss, x, y, l1, coef):
    """In extended precision."""
    z = x.astype(np.longdouble) @ coef
    losses = np.logaddexp(0, z) - y * z if loss == "bce" else (z - y) ** 2
    return float(losses.mean() + l1 * np.abs(coef).sum())


def _with_signs(loss, x, y, l1, coef):
    """The minimum for these signs, by Newton steps in fifty digits."""
    import mpmath

    used = np.flatnonzero(coef)
    with mpmath.workdps(50):
        rows = mpmath.matrix(x[:, used].tolist())
        theta = mpmath.matrix(coef[used].tolist())
        for _ in range(12 if loss == "bce" else 1):
            z = list(rows * theta)
            p = [1 / (1 + mpmath.exp(-one)) if loss == "bce" else one for one in z]
            slope = [
                (a - float(b)) * (1 if loss == "bce" else 2) for a, b in zip(p, y, strict=True)
            ]
            curve = [a * (1 - a) if loss == "bce" else 2 for a in p]
            scaled = mpmath.matrix([[c * v for v in rows[i, :]] for i, c in enumerate(curve)])
            by_coef = rows.T * mpmath.matrix(slope) / len(y)
            by_coef += l1 * mpmath.matrix(np.sign(coef[used]).tolist())
            theta -= mpmath.lu_solve(rows.T * scaled / len(y), by_coef)
        best = np.zeros(len(coef), np.longdouble)
        best[used] = [np.longdouble(mpmath.nstr(one, 25)) for one in theta]
    return best


def test_the_quadratic_is_solved_where_columns_are_alike():
    rng = np.random.default_rng(0)
    for rank in (3, 8, 12):
        root = rng.standard_normal((rank, 12))
        root[:, 6:9] = root[:, :3]
        hessian, start = root.T @ root, rng.standard_normal(12) * (rng.random(12) < 0.5)
        slope, thresholds = root.T @ rng.standard_normal(rank), rng.random(12)
        theta = proximal._solve(hessian, start, slope, thresholds)
        after = slope + hessian @ (theta - start)
        at_zero = np.maximum(np.abs(after) - thresholds, 0)
        wrong = np.where(theta == 0, at_zero, after + np.sign(theta) * thresholds)
        np.testing.assert_allclose(wrong, 0, atol=1e-11)


def test_units_of_y_and_float32():
    x, y = data("mse")
    fit = fastgd.fit_linear(x, y, l1=0.1)
    small = fastgd.fit_linear(x, 1e-100 * y, l1=1e-101)
    np.testing.assert_allclose(1e100 * small.coef, fit.coef, rtol=1e-9)
    low = fastgd.fit_linear(x.astype(np.float32), y.astype(np.float32), l1=0.1)
    assert low.coef.dtype == np.float32
    np.testing.assert_allclose(low.coef, fit.coef, rtol=1e-3, atol=1e-6)


def test_threads_orders_and_repeats_give_the_same(loss_name):
    x, y = data(loss_name, n=3000)
    fits = [fit_of(loss_name)(x, y, l1=0.02, n_threads=n) for n in (1, 2, 2)]
    for fit in fits[1:]:
        np.testing.assert_array_equal(fit.coef, fits[0].coef)
    by_columns = fit_of(loss_name)(np.asfortranarray(x), y, l1=0.02)
    np.testing.assert_allclose(by_columns.coef, fits[0].coef, rtol=1e-9, atol=1e-12)


def test_it_stops_where_it_is_told_to(loss_name):
    x, y = data(loss_name)
    fit = fit_of(loss_name)(x, y, l1=0.01, callback=lambda so_far: True)
    assert fit.n_epochs == 1
    again = fit_of(loss_name)(x, y, l1=0.01)
    assert again.converged
    assert fit_of(loss_name)(
        x, y, l1=0.01, coef_init=again.coef, intercept_init=again.intercept
    ).coef == pytest.approx(again.coef, rel=1e-9, abs=1e-13)


def test_values_too_large_are_refused():
    with pytest.raises(fastgd.DivergenceError):
        fastgd.fit_linear([1.0, 2.0, 3.0], [1e300, -1e300, 3e300], l1=0.1)
    with pytest.raises(fastgd.InputError, match="x"):
        fastgd.fit_linear([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], l1=0.1)


# --- with a learning rate ----------------------------------------------------------------------------


@pytest.mark.parametrize("statistics", [False, True])
def test_proximal_steps_end_at_the_same_solution(loss_name, statistics, monkeypatch):
    x, y = data(loss_name, correlation=0.2)
    x = (x - x.mean(0)) / x.std(0)
    if not statistics:
        monkeypatch.setattr(work, "moments_ns", lambda *shape: 1e18)
    fit = fit_of(loss_name)(x, y, l1=0.05, l2=0.01, lr=0.1 if loss_name == "mse" else 0.8,
                            epochs=3000)  # fmt: skip
    best = fit_of(loss_name)(x, y, l1=0.05, l2=0.01)
    np.testing.assert_allclose(fit.coef, best.coef, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(fit.coef == 0, best.coef == 0)
    assert fit.method == ("statistics" if statistics and loss_name == "mse" else "stream")


@pytest.mark.parametrize("way", ["stream", "statistics", "minibatch", "per-sample"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_update_is_the_textbook_s(loss_name, way, fit_intercept, monkeypatch):
    x, y, weight, coef, intercept = oracles.problem(23, 4, loss_name)
    options = {"lr": 0.05, "l1": 0.8, "l2": 0.1, "fit_intercept": fit_intercept}
    intercept *= fit_intercept
    where = {"coef": coef.tolist(), "intercept": intercept, "loss": LOSSES[loss_name]}
    rows, labels, weights = x.tolist(), y.tolist(), weight.tolist()
    size = {"minibatch": 5, "per-sample": 1}.get(way)
    if way == "stream":
        monkeypatch.setattr(work, "moments_ns", lambda *shape: 1e18)
    with oracles.quiet():
        fit = fit_of(loss_name)(
            x, y, sample_weight=weight, coef_init=coef, epochs=20, batch_size=size, shuffle=False,
            keep_path=True, intercept_init=intercept if fit_intercept else None, **options,
        )  # fmt: skip
    if size is None:
        wanted = reference.batch_gd(rows, labels, **where, epochs=20, weight=weights, **options)
    else:
        orders = [range(23)] * 20
        wanted = reference.minibatch_gd(
            rows, labels, **where, orders=orders, batch_size=size, weight=weights, **options
        )
    np.testing.assert_allclose(fit.path, wanted[3], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fit.costs, wanted[2], rtol=1e-10)
    assert fit.intercept == pytest.approx(wanted[1], rel=1e-10)
    assert way in (fit.method, "statistics")
    assert way == "per-sample" or (fit.path == 0).any()  # there a row moves any of them
