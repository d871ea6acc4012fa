"""lr="auto" against exact solutions in rational arithmetic, and what it says when there is none."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge

import fastgd
from fastgd.solvers import metric


def exact(x, y, fit_intercept=True, l2=0.0, weight=None):
    """Least squares in rational arithmetic: normal equations without any rounding."""
    rows = [[Fraction(float(v)) for v in row] + [Fraction(1)] * fit_intercept for row in x]
    wanted = [Fraction(float(v)) for v in y]
    weights = [Fraction(1)] * len(rows) if weight is None else [Fraction(float(w)) for w in weight]
    d, mass = len(rows[0]), sum(weights)
    a = [
        [sum(w * r[i] * r[j] for w, r in zip(weights, rows, strict=True)) for j in range(d)]
        for i in range(d)
    ]
    b = [sum(w * r[i] * t for w, r, t in zip(weights, rows, wanted, strict=True)) for i in range(d)]
    for i in range(d - fit_intercept):
        a[i][i] += Fraction(l2) * mass / 2
    for i in range(d):
        for k in range(i + 1, d):
            factor = a[k][i] / a[i][i]
            a[k] = [p - factor * q for p, q in zip(a[k], a[i], strict=True)]
            b[k] -= factor * b[i]
    solution = [Fraction(0)] * d
    for i in reversed(range(d)):
        solution[i] = (b[i] - sum(a[i][j] * solution[j] for j in range(i + 1, d))) / a[i][i]
    numbers = np.array([float(v) for v in solution])
    return (numbers[:-1], numbers[-1]) if fit_intercept else (numbers, 0.0)


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def hard_data():
    n = 120
    rng = np.random.default_rng(5)
    t = np.linspace(0, 20, n)
    scaled = np.column_stack(
        [rng.integers(1950, 2021, n), 5e6 + 1e6 * noise(n), 1e-3 * noise(n, 1)]
    )
    return {
        "plain": (rng.standard_normal((n, 4)), noise(n)),
        "year, millions and thousandths": (scaled, scaled @ [0.1, 1e-6, 1e3] + noise(n, 2)),
        "polynomial of degree five": (
            np.column_stack([t**k for k in range(1, 6)]), np.sin(t) + 0.1 * noise(n),
        ),
        "target with a huge offset": (rng.standard_normal((n, 3)), 1e9 + noise(n)),
        "years to the third": (
            np.column_stack([(1950.0 + np.arange(71)) ** k for k in (1, 2, 3)]), noise(71),
        ),
        "one column": (noise(n)[:, None], 3 * noise(n) + 0.1 * noise(n, 3)),
        "huge and tiny": (
            np.column_stack([1e150 * noise(n), 1e-150 * noise(n, 1)]), noise(n, 2),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", hard_data())
def test_linear_agrees_with_exact_arithmetic(name, fit_intercept):
    x, y = hard_data()[name]
    fit = fastgd.fit_linear(x, y, fit_intercept=fit_intercept)
    coef, intercept = exact(x, y, fit_intercept)
    np.testing.assert_allclose(fit.coef, coef, rtol=1e-9)
    np.testing.assert_allclose(fit.intercept, intercept, rtol=1e-9)
    assert fit.converged
    assert fit.method == "whitened"


@pytest.mark.parametrize("order", ["C", "F"])
def test_real_data_weights_and_l2(order):
    x, y = datasets.load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    x = np.asarray(x[:, :6], order=order)
    fit = fastgd.fit_linear(x, y, sample_weight=weight, l2=0.001)
    coef, intercept = exact(x, y, l2=0.001, weight=weight)
    np.testing.assert_allclose(fit.coef, coef, rtol=1e-9)
    np.testing.assert_allclose(fit.intercept, intercept, rtol=1e-9)
    ridge = Ridge(alpha=0.0005 * weight.sum(), tol=1e-12).fit(x, y, weight)
    np.testing.assert_allclose(fit.coef, ridge.coef_, rtol=1e-6)


def test_sum_and_mean_meet_without_a_penalty():
    x, y = hard_data()["plain"]
    mean, total = fastgd.fit_linear(x, y), fastgd.fit_linear(x, y, reduction="sum")
    np.testing.assert_allclose(mean.coef, total.coef, rtol=1e-12)
    assert total.cost == pytest.approx(mean.cost * len(y))


def test_several_targets_are_solved_one_by_one():
    x, _ = hard_data()["year, millions and thousandths"]
    y = np.column_stack([noise(len(x), 7), 1e6 + x @ [1.0, 1e-6, 100.0]])
    fit = fastgd.fit_linear(x, y)
    for k in range(2):
        one = fastgd.fit_linear(x, y[:, k])
        np.testing.assert_allclose(fit.coef[k], one.coef, rtol=1e-10)
        np.testing.assert_allclose(fit.intercept[k], one.intercept, rtol=1e-10)


def test_a_constant_column_gets_zero():
    x, y = hard_data()["plain"]
    fit = fastgd.fit_linear(np.column_stack([x, np.full(len(x), 0.1)]), y)
    coef, intercept = exact(x, y)
    np.testing.assert_allclose(fit.coef, [*coef, 0.0], rtol=1e-9, atol=0)
    assert fit.intercept == pytest.approx(intercept, rel=1e-9)
    assert fit.converged


def test_dependent_columns_are_named_and_the_smallest_answer_returned():
    x, y = hard_data()["plain"]
    x = np.column_stack([x, x[:, 1]])
    with pytest.warns(fastgd.ConvergenceWarning, match=r"columns 1, 4 are linearly dependent"):
        fit = fastgd.fit_linear(x, y)
    assert not fit.converged
    coef, _ = exact(x[:, :4], y)
    assert fit.coef[1] == pytest.approx(coef[1] / 2, rel=1e-9)
    assert fit.coef[4] == pytest.approx(coef[1] / 2, rel=1e-9)
    with pytest.warns(fastgd.ConvergenceWarning, match="linearly dependent"):
        wide = fastgd.fit_linear(x[:4], y[:4])
    np.testing.assert_allclose(wide.predict(x[:4]), y[:4], rtol=1e-9)
    assert fastgd.fit_linear(x, y, l2=0.1).converged


def test_few_columns_and_many_columns_meet(monkeypatch):
    """Above FULL_METRIC columns only variances are used; the answer is the same."""
    x, y = hard_data()["year, millions and thousandths"]
    for logistic in (False, True):
        fit_it = fastgd.fit_logistic if logistic else fastgd.fit_linear
        target = y > np.median(y) if logistic else y
        full = fit_it(x, target, l2=1e-9)
        with monkeypatch.context() as patch:
            patch.setattr(metric, "FULL_METRIC", 0)
            many = fit_it(x, target, l2=1e-9)
        assert many.method == "diagonal-lbfgs"
        np.testing.assert_allclose(many.coef, full.coef, rtol=1e-6)


def newton(x, y, fit, fit_intercept=True):
    """The optimum next to a fit by Newton's method in 60 digits."""
    import mpmath

    with mpmath.workdps(60):
        rows = [[mpmath.mpf(float(v)) for v in r] + [mpmath.mpf(1)] * fit_intercept for r in x]
        d = len(rows[0])
        theta = mpmath.matrix([mpmath.mpf(float(v)) for v in [*fit.coef, fit.intercept][:d]])
        for _ in range(3):
            gradient, hessian = mpmath.zeros(d, 1), mpmath.zeros(d, d)
            for row, label in zip(rows, y, strict=True):
                p = 1 / (1 + mpmath.exp(-sum(a * b for a, b in zip(row, theta, strict=True))))
                for i in range(d):
                    gradient[i] += (p - int(label)) * row[i]
                    for j in range(d):
                        hessian[i, j] += p * (1 - p) * row[i] * row[j]
            theta -= mpmath.lu_solve(hessian, gradient)
        return np.array([float(v) for v in theta])


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_logistic_is_where_the_gradient_vanishes(fit_intercept):
    """The yardstick is Newton's method in 60 digits."""
    x, _ = hard_data()["year, millions and thousandths"]
    z = (x - x.mean(0)) / x.std(0) @ [1.0, -0.7, 0.4]
    y = (z + 1.5 * noise(len(x), 8) > 0).astype(int)
    fit = fastgd.fit_logistic(x, y, fit_intercept=fit_intercept)
    best = newton(x, y, fit, fit_intercept)
    np.testing.assert_allclose([*fit.coef, fit.intercept][: len(best)], best, rtol=1e-9)
    assert fit.converged
    assert (np.diff([*fit.costs, fit.cost]) <= 1e-15).all()


def test_logistic_with_l2_and_weights_agrees_with_scikit_learn():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    weight = np.random.default_rng(0).random(len(y)) + 0.5
    fit = fastgd.fit_logistic(x, y, l2=0.01, sample_weight=weight)
    scaled = x / x.std(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rival = LogisticRegression(
            C=1 / (0.01 * weight.sum()), solver="newton-cholesky", tol=1e-12, max_iter=500
        ).fit(x, y, weight)
    np.testing.assert_allclose(fit.coef, rival.coef_[0], rtol=1e-6, atol=1e-9)
    assert fit.converged
    assert fit.score(x, y) > 0.9
    assert scaled.shape == x.shape


def test_rare_labels_converge():
    """One positive in a hundred: the bound on the curvature is far off, its refresh is needed."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4000, 3))
    y = rng.random(4000) < 1 / (1 + np.exp(6 - x @ [1.5, 1.0, -1.0]))
    fit = fastgd.fit_logistic(x, y)
    assert fit.converged
    by_coef, by_intercept = fastgd.bce_gradient(x, y, fit.coef, fit.intercept)
    assert max(np.abs(by_coef).max(), abs(by_intercept)) < 1e-14


def test_separable_labels_are_reported():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.warns(fastgd.ConvergenceWarning, match="labels are separable: a plane parts them"):
        fit = fastgd.fit_logistic(x, [0, 0, 1, 1, 1])
    assert not fit.converged
    assert fit.score(x, [0, 0, 1, 1, 1]) == 1.0
    assert fastgd.fit_logistic(x, [0, 0, 1, 1, 1], l2=0.1).converged


def test_labels_separable_along_one_column_are_reported():
    rng = np.random.default_rng(0)
    certain = (rng.random(300) < 0.3).astype(float)
    x = np.column_stack([noise(300), certain])
    y = np.where(certain == 1, 1, rng.random(300) < 0.4)
    with pytest.warns(fastgd.ConvergenceWarning, match=r"separable along column\(s\) 1:"):
        fit = fastgd.fit_logistic(x, y)
    assert not fit.converged


OVERLAP = [-2.0, -1, 0, 1, 2, -1.5, 0.5, 1.5], [0, 0, 1, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    "far", [[3e4], [1e5], [1e8], [1e12], [-1e5], [1e5, -1e7], [1e8, 3e4], [-1e8, -1e4, 1e6]]
)
@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_a_row_far_from_the_rest_parts_nothing(far, unit):
    x = unit * np.array(OVERLAP[0] + far)[:, None] + 50
    y = OVERLAP[1] + [int(value > 0) for value in far]
    fit = fastgd.fit_logistic(x, y)
    assert fit.converged
    np.testing.assert_allclose([*fit.coef, fit.intercept], newton(x, y, fit), rtol=1e-13)


@pytest.mark.parametrize("l2", [0.0, 1e-9])
@pytest.mark.parametrize("seed", range(3))
def test_far_rows_in_several_columns(seed, l2):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 3))
    y = (x @ [1, -1, 0.5] + rng.logistic(size=60) > 0).astype(int)
    near = fastgd.fit_logistic(x, y)
    far = np.array([[1e5, 0, 0], [0, 1e7, 0], [0, -1e4, 0], [0, 0, 3e5]])
    fit = fastgd.fit_logistic(np.vstack([x, far]), [*y, *(far @ near.coef > 0).astype(int)], l2=l2)
    assert fit.converged
    np.testing.assert_allclose(fit.coef, near.coef, rtol=1e-12 if l2 == 0 else 1e-6)


def test_a_far_row_hides_no_column_that_separates():
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.standard_normal(200), rng.random(200) < 0.2, rng.random(200) < 0.2])
    y = np.where(x[:, 1] == 1, 1, rng.random(200) < 0.4).astype(int)
    x[0], y[0] = [1e6, 0, 0], 1
    y[1:20] = x[1:20, 0] > 0  # a positive slope
    y[x[:, 1] == 1] = 1
    with pytest.warns(fastgd.ConvergenceWarning, match=r"separable along column\(s\) 1:"):
        assert not fastgd.fit_logistic(x, y).converged


def test_a_plane_that_parts_some_rows_is_reported():
    """Not along a column: rows on the plane overlap, the others are on their sides."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 2))
    across = np.where(np.arange(300) < 200, 0.0, rng.standard_normal(300))
    y = np.where(across == 0, x[:, 1] + rng.logistic(size=300) > 0, across > 0).astype(int)
    x[:, 0] = 3 * x[:, 1] + across
    with pytest.warns(fastgd.ConvergenceWarning, match=r"separable along column\(s\) 0, 1:"):
        assert not fastgd.fit_logistic(x, y).converged


@pytest.mark.parametrize("size", [3e4, 1e6])
def test_a_far_row_parts_no_classes(size):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 2))
    y = np.argmax(x @ [[1, 0, -1], [0, 1, -1]] + rng.gumbel(size=(90, 3)), axis=1)
    near = fastgd.fit_logistic(x, y)
    far = np.array([[size, 0.0]])
    fit = fastgd.fit_logistic(np.vstack([x, far]), [*y, *near.predict(far)])
    assert fit.converged
    np.testing.assert_allclose(fit.coef, near.coef, atol=1e-6)


def test_two_classes_parted_from_two_others_are_reported():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((200, 2))
    half = x[:, 0] > 0
    y = 2 * half + (x[:, 1] + rng.logistic(size=200) > 0)
    with pytest.warns(fastgd.ConvergenceWarning, match="planes part some of them"):
        assert not fastgd.fit_logistic(x, y).converged


def test_a_start_where_all_rows_are_certain_and_some_wrong():
    best = fastgd.fit_logistic(*OVERLAP)
    for start in (1e3, -1e5):
        fit = fastgd.fit_logistic(*OVERLAP, coef_init=[start])
        assert fit.converged
        assert fit.coef == pytest.approx(best.coef, rel=1e-13)


def test_the_cap_on_epochs_is_reported():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    with pytest.warns(fastgd.ConvergenceWarning, match="after 2 epochs"):
        fit = fastgd.fit_logistic(x, y, epochs=2, l2=0.01)
    assert fit.n_epochs == 2
    assert not fit.converged


def test_tol_ends_earlier():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    rough = fastgd.fit_logistic(x, y, l2=0.01, tol=1e-2)
    fine = fastgd.fit_logistic(x, y, l2=0.01)
    assert rough.converged
    assert rough.n_epochs < fine.n_epochs


def test_a_start_at_the_solution_stays_there():
    x, y = hard_data()["plain"]
    fit = fastgd.fit_linear(x, y)
    again = fastgd.fit_linear(x, y, coef_init=fit.coef, intercept_init=fit.intercept)
    np.testing.assert_allclose(again.coef, fit.coef, rtol=1e-12)
    assert again.converged


def test_float32_data_is_summed_in_float64():
    x, y = hard_data()["plain"]
    low, target = x.astype(np.float32), y.astype(np.float32)
    fit = fastgd.fit_linear(low, target)
    coef, _ = exact(low, target)
    assert fit.coef.dtype == np.float32
    np.testing.assert_array_equal(fit.coef, coef.astype(np.float32))


def test_path_holds_every_step():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    fit = fastgd.fit_logistic(x, y, l2=0.01, keep_path=True)
    assert fit.path.shape == (fit.n_epochs, x.shape[1])
    np.testing.assert_array_equal(fit.path[-1], fit.coef)


def test_values_too_large_to_square_are_refused():
    with pytest.raises(fastgd.DivergenceError, match="overflows float64"):
        fastgd.fit_linear([1.0, 2.0, 3.0], [1e300, -1e300, 3e300])
    fit = fastgd.fit_linear([1e300, 2e300, 4e300], [1.0, 2.0, 5.0])
    coef, _ = exact([[1e300], [2e300], [4e300]], [1.0, 2.0, 5.0])
    assert fit.coef[0] == pytest.approx(coef[0], rel=1e-12)


def test_stochastic_auto_takes_a_stable_step():
    x, y = hard_data()["plain"]
    fit = fastgd.fit_linear(x, y, batch_size=1, epochs=50)
    best = fastgd.fit_linear(x, y)
    assert fit.method == "per-sample"
    assert best.cost <= fit.cost < 1.2 * best.cost


@pytest.mark.parametrize("unit", [1e-200, 1e-3, 1.0, 1e5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_penalty_near_the_largest_number_leaves_nothing(unit, reduction):
    x, y = hard_data()["plain"]
    for target in (y, y > 0, np.digitize(y, [-1, 1])):
        fit_it = fastgd.fit_linear if target is y else fastgd.fit_logistic
        for penalty in ({"l2": 1e308}, {"l2": 1e160}, {"l1": 1e308}):
            fit = fit_it(x * unit, target, reduction=reduction, **penalty)
            assert fit.converged
            assert np.abs(fit.coef * unit).max() < 1e-100


@pytest.mark.parametrize(("penalty", "unit"), [("l1", 1e-200), ("l1", 1.0), ("l2", 1.0)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_penalty_near_zero_changes_nothing(penalty, unit, fit_intercept):
    x, y = hard_data()["plain"]
    for target in (y, y > 0, np.digitize(y, [-1, 1])):
        fit_it = fastgd.fit_linear if target is y else fastgd.fit_logistic
        wanted = fit_it(x, target, fit_intercept=fit_intercept)
        fit = fit_it(x * unit, target, fit_intercept=fit_intercept, **{penalty: 1e-320})
        assert fit.converged
        assert fit.cost == pytest.approx(wanted.cost, rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(("size", "l2"), [(1e-200, 1e-300), (1e-200, 0.1), (1e-305, 1e300)])
def test_a_penalty_of_a_column_next_to_nothing(size, l2, k):
    x = np.random.default_rng(0).standard_normal((40, 2))
    y, fit_one = x @ [1, 2] + noise(40), fastgd.fit_linear
    if k > 1:
        y, fit_one = np.digitize(y, [-1, 1][: k - 1]), fastgd.fit_logistic
    fit = fit_one(np.column_stack([x, size * noise(40, 2)]), y, l2=l2)
    assert fit.converged
    assert fit.cost == pytest.approx(fit_one(x, y, l2=l2).cost, rel=1e-12)


@pytest.mark.jit
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("seed", [12, 20, 33])
def test_rows_that_are_certain_end_where_no_step_gains(seed, k):
    """Rounding is large in units of their curvature; 1,000 passes changed nothing any more."""
    x = np.random.default_rng(seed).standard_normal((6, 4)) * [1, 1e3, 1e5, 1]
    fit = fastgd.fit_logistic(x, np.arange(6) % k, l2=1e-4)
    assert fit.converged
    assert fit.n_epochs < 200
