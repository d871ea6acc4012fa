"""lr="auto" from a sample's optimum: that of all rows, whatever their order, layout and weights."""

import warnings

import numpy as np
import pytest
from test_automatic import noise

import fastgd
from fastgd.solvers import metric
from fastgd.solvers import whitened as automatic
from fastgd.sources.dense import DenseRows


def logistic_data(n=20_000, d=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.logspace(0, 3, d) + 5.0
    z = (x - 5.0) @ (rng.standard_normal(d) / np.logspace(0, 3, d)) + 0.3
    return x, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)


def gradient_at(fit, x, y, l2=0.0, weight=None):
    """Norm of the objective's gradient in units of the columns: 0 at the optimum."""
    scale = np.concatenate([x.std(axis=0), [1.0]])
    weight = np.ones(len(y)) if weight is None else weight
    z = np.clip(x @ fit.coef + fit.intercept, -700, 700)
    slopes = (1 / (1 + np.exp(-z)) - y) * weight / weight.sum()
    gradient = np.concatenate([x.T @ slopes + l2 * fit.coef, [slopes.sum()]])
    # Around the centre, or the rounding of 5.0 + a thousand would be all there is to see.
    gradient[:-1] -= x.mean(axis=0) * slopes.sum()
    return np.abs(gradient / scale).max()


@pytest.fixture
def ways(monkeypatch):
    """What every automatic fit did: True where it came from a sample."""
    taken = []
    from_sample = automatic.AutomaticDescent._run_from_sample

    def watched(self, stage=None):
        taken.append((yield from from_sample(self, stage)))
        return taken[-1]

    monkeypatch.setattr(automatic.AutomaticDescent, "_run_from_sample", watched)
    return taken


@pytest.mark.parametrize("l2", [0.0, 1e-3])
@pytest.mark.parametrize("lay", [np.asarray, np.asfortranarray, lambda x: x[::-1][::-1]])
def test_it_ends_at_the_optimum(ways, l2, lay):
    x, y = logistic_data()
    fit = fastgd.fit_logistic(lay(x), y, l2=l2)
    assert ways == [True]
    assert fit.converged
    assert gradient_at(fit, x, y, l2) < 1e-13
    assert fit.n_epochs < 15


def test_a_tolerance_with_l2_is_met_in_the_curvature_of_the_sample(ways, monkeypatch):
    x, y = logistic_data()
    squares, moments = [], DenseRows.moments

    def watched(self, *arguments):
        squares.append(self.n)
        return moments(self, *arguments)

    monkeypatch.setattr(DenseRows, "moments", watched)
    fit = fastgd.fit_logistic(x, y, l2=1e-3, tol=1e-5)
    assert ways == [True]
    assert fit.converged
    assert max(squares) < len(y)  # no Hessian of all rows
    start = gradient_at(fastgd.fit_logistic(x, y, lr=1e-12, epochs=1), x, y, 1e-3)
    assert gradient_at(fit, x, y, 1e-3) < 1e-4 * start
    fastgd.fit_logistic(x, y, tol=1e-5)
    assert max(squares) == len(y)  # without a penalty, that shows whether there is an optimum


@pytest.mark.parametrize(
    "kind", ["sorted by label", "sorted by column", "weighted", "sum", "started"]
)
def test_order_weights_reduction_and_start(ways, kind):
    x, y = logistic_data()
    weight, options = None, {}
    if kind.startswith("sorted"):
        order = np.argsort(y if kind.endswith("label") else x[:, 1], kind="stable")
        x, y = x[order], y[order]
    elif kind == "weighted":
        weight = np.random.default_rng(1).integers(0, 4, len(y)).astype(float)
        options["sample_weight"] = weight
    elif kind == "sum":
        options["reduction"] = "sum"
    else:
        options |= {"coef_init": [0.3, -0.01, 0.001], "intercept_init": -1.0}
    fit = fastgd.fit_logistic(x, y, **options)
    assert ways == [True]
    assert fit.converged
    assert gradient_at(fit, x, y, weight=weight) < 1e-13


def test_integers_are_read_by_parts(ways):
    rng = np.random.default_rng(0)
    x = rng.integers(-50, 50, (30_000, 4)).astype(np.int8)
    y = (x @ [0.02, -0.01, 0.0, 0.01] + rng.logistic(0, 1, 30_000) > 0).astype(int)
    fit = fastgd.fit_logistic(x, y)
    assert ways == [True]
    assert gradient_at(fit, x.astype(float), y) < 1e-13


def test_tol_is_relative_to_the_start(ways):
    x, y = logistic_data()
    rough, fine = (fastgd.fit_logistic(x, y, tol=tol) for tol in (1e-2, 1e-7))
    assert ways == [True, True]
    assert rough.converged
    assert fine.converged
    assert rough.n_epochs < fine.n_epochs
    assert gradient_at(rough, x, y) < 1e-2
    assert gradient_at(fine, x, y) < 1e-7


def test_the_same_bits_for_every_number_of_threads():
    x, y = logistic_data()
    fits = [fastgd.fit_logistic(x, y, n_threads=t) for t in (1, 2, 5)]
    assert len({fit.coef.tobytes() + fit.costs.tobytes() for fit in fits}) == 1


def test_a_sample_with_one_label_leaves_it_to_the_bound(ways):
    x, y = logistic_data()
    y[:] = 0.0
    y[100:164] = 1.0  # between the runs of rows that a sample takes
    fit = fastgd.fit_logistic(x, y)
    assert ways == [False]
    assert fit.converged
    assert gradient_at(fit, x, y) < 1e-12


#: What a sample of the first 64 of every 2,048 rows does not show.
OUTSIDE = np.arange(20_000) % 2048 >= 64


def hidden(kind):
    """A column that the sample sees otherwise than it is, and by how much it moves a prediction."""
    rng = np.random.default_rng(4)
    column = np.zeros(len(OUTSIDE))
    if kind == "a sorted group":
        column[100:1900] = 1.0
    elif kind == "tiny in the sample":
        column = np.where(OUTSIDE, 1.0, 1e-6) * rng.standard_normal(len(OUTSIDE))
    elif kind == "huge in the sample":
        column = np.where(OUTSIDE, 1.0, 1e6) * rng.standard_normal(len(OUTSIDE))
    elif kind == "heavy tails":
        column = rng.standard_cauchy(len(OUTSIDE))
    elif kind == "like another in the sample":
        column = logistic_data()[0][:, 1] + OUTSIDE * rng.standard_normal(len(OUTSIDE))
    return column


@pytest.mark.jit
@pytest.mark.parametrize(
    "kind",
    ["a sorted group", "tiny in the sample", "huge in the sample", "heavy tails",
     "like another in the sample"],
)  # fmt: skip
def test_what_the_sample_does_not_show(kind):
    x, y = logistic_data()
    x = np.column_stack([x, hidden(kind)])
    z = (x[:, 3] - np.median(x[:, 3])) * (1e-5 if kind.startswith("huge") else 0.7)
    y = (2 * y - 1 + z + np.random.default_rng(5).logistic(size=len(y)) > 0).astype(float)
    fit = fastgd.fit_logistic(x, y)
    assert fit.converged
    assert gradient_at(fit, x, y) < 1e-13
    assert fit.n_epochs < 40


@pytest.mark.jit
def test_weights_outside_the_sample():
    x, y = logistic_data()
    x = np.column_stack([x, hidden("a sorted group")])
    weight = np.where(OUTSIDE, 1.0, 1e-9)
    fit = fastgd.fit_logistic(x, y, sample_weight=weight)
    assert fit.converged
    assert gradient_at(fit, x, y, weight=weight) < 1e-13


@pytest.mark.jit
@pytest.mark.parametrize("rows", [slice(100, 1900), slice(0, 3), slice(90, 91)])
def test_a_group_of_one_label_is_reported(rows):
    """Outside of the sample, in it, and one row alone."""
    x, y = logistic_data()
    group = np.zeros(len(y))
    group[rows], y[rows] = 1.0, 1.0
    x = np.column_stack([x, group])
    with pytest.warns(fastgd.ConvergenceWarning, match=r"separable along column\(s\) 3:"):
        fit = fastgd.fit_logistic(x, y)
    assert not fit.converged
    assert fastgd.fit_logistic(x, y, l2=1e-4).converged


@pytest.mark.jit
def test_tol_counts_for_every_column():
    x, y = logistic_data()
    x = np.column_stack([x, hidden("a sorted group")])
    y[100:1900] = np.random.default_rng(0).random(1800) < 0.9
    fit = fastgd.fit_logistic(x, y, tol=1e-3)
    assert fit.converged
    assert gradient_at(fit, x, y) < 1e-3


@pytest.mark.jit
@pytest.mark.parametrize("seed", range(12))
def test_hostile_tables_end_where_newton_ends(seed):
    """Sorted groups, one-hot tables, rare dummies, outliers: the optimum, or no `converged`."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(26_000, 40_000))
    columns = [rng.standard_normal((n, 2))]
    for kind in rng.choice(["block", "one-hot", "rare", "outlier", "sorted"], 2):
        column = np.zeros((n, 1))
        if kind == "block":
            start = int(rng.integers(n))
            column[start : start + int(2 ** rng.uniform(0, 12))] = 1
        elif kind == "one-hot":
            levels = np.sort(rng.choice(4, n, p=rng.dirichlet(np.full(4, 0.5))))
            column = (levels[:, None] == [1, 2, 3]).astype(float)
        elif kind == "rare":
            column[rng.random((n, 1)) < 10 ** rng.uniform(-4, -1)] = 1
        else:
            column = rng.standard_normal((n, 1))
            column = np.sort(column, axis=0) if kind == "sorted" else column
            column[rng.integers(0, n, 2)] *= 1e5 if kind == "outlier" else 1
        columns.append(column)
    x = np.column_stack(columns)
    z = np.clip(x, -5, 5) @ rng.standard_normal(x.shape[1])
    y = (z + rng.logistic(size=n) > 0).astype(float)
    if seed % 3 == 0:
        order = np.argsort(y, kind="stable")
        x, y = x[order], y[order]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = fastgd.fit_logistic(x, y)
    moves = newton_step(fit, x, y)
    if fit.converged:
        assert np.abs(moves).max() < 1e-8
    else:
        # Newton goes on by a constant step in what is separable.
        assert "separable along" in str(told[0].message)
        assert np.abs(moves).max() > 0.3


def newton_step(fit, x, y):
    """By how much a step of Newton's method moves the predictions."""
    z = np.clip(fit.raw_prediction(x), -700, 700)
    p = 1 / (1 + np.exp(-np.abs(z)))
    curvature = p * (1 - p)
    slopes = np.where(y == 1, -1, 1) / (1 + np.exp(np.where(y == 1, z, -z)))
    a = np.column_stack([x - np.average(x, axis=0, weights=curvature), np.ones(len(x))])
    hessian = (a * curvature[:, None]).T @ a
    unit = 1 / np.sqrt(np.maximum(np.diagonal(hessian), 1e-300))
    step = np.linalg.pinv(hessian * np.outer(unit, unit), 1e-13, True) @ (unit * (a.T @ slopes))
    return (a @ (unit * step))[np.abs(z) < 35]


def test_separable_and_dependent_data_are_still_reported(ways):
    x, y = logistic_data()
    with pytest.warns(fastgd.ConvergenceWarning, match="separable"):
        fastgd.fit_logistic(x, x[:, 0] > 5)
    with pytest.warns(fastgd.ConvergenceWarning, match="dependent"):
        fastgd.fit_logistic(np.column_stack([x, x[:, 0] + x[:, 1]]), y)
    assert ways == [False, False]


def test_a_cap_on_epochs_and_a_callback_hold(ways):
    x, y = logistic_data()
    with pytest.warns(fastgd.ConvergenceWarning, match="short of rounding after 2 epochs"):
        fit = fastgd.fit_logistic(x, y, epochs=2)
    assert fit.n_epochs == 2
    seen = []
    fit = fastgd.fit_logistic(x, y, callback=lambda fit: seen.append(fit.cost) or len(seen) == 3)
    assert len(seen) == 3
    assert not fit.converged
    assert ways == [True, True]


@pytest.mark.parametrize("n", [1, 63, 64, 65, 5000])
def test_a_subset_is_runs_of_rows_all_over(n):
    x = np.arange(2.0 * n).reshape(n, 2)
    rows, share = DenseRows(x, noise(n)[None], None, np.float64, 1).subset(4, together=16)
    which = rows.x[:, 0] / 2
    assert share == len(which) / n
    starts = np.arange(0, n, 64)
    wanted = np.concatenate([np.arange(s, min(s + 16, n)) for s in starts])
    np.testing.assert_array_equal(which, wanted)
    np.testing.assert_array_equal(rows.y[0], noise(n)[wanted])


def test_its_share_is_one_of_weight():
    weight = np.concatenate([np.full(64, 3.0), np.ones(192)])
    x = np.zeros((256, 1))
    _, share = DenseRows(x, np.zeros((1, 256)), weight, np.float64, 1).subset(4)
    assert share == 0.5


def spoiled(size, n=1000):
    """Rows of which the first, in every sample, is far away and has no weight."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3))
    y = x @ [1.0, 2.0, 3.0] + rng.standard_normal(n)
    x[0, 0] = size
    weight = np.ones(n)
    weight[0] = 0.0
    return x, y, weight


@pytest.mark.jit
@pytest.mark.parametrize("size", [1e6, 1e12])
def test_a_spoiled_sample_costs_statistics_no_digits(size):
    x, y, weight = spoiled(size)
    fit = fastgd.fit_linear(x, y, sample_weight=weight, lr=0.1, epochs=500)
    assert fit.method == "statistics"
    wanted = fastgd.fit_linear(x[1:], y[1:], lr=0.1, epochs=500)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-12)
    coefs = wanted.coef + np.linspace(0, 1, 200)[:, None]
    costs = fastgd.cost_curve(x, y, coefs, sample_weight=weight)
    np.testing.assert_allclose(costs, fastgd.cost_curve(x[1:], y[1:], coefs), rtol=1e-12)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("logistic", [True, False])
def test_a_spoiled_sample_costs_a_metric_nothing(full, logistic, monkeypatch):
    if not full:
        monkeypatch.setattr(metric, "FULL_METRIC", 0)
    x, y, weight = spoiled(1e15)
    fit_it, y = (fastgd.fit_logistic, y > 0) if logistic else (fastgd.fit_linear, y)
    fit, wanted = fit_it(x, y, sample_weight=weight), fit_it(x[1:], y[1:])
    assert fit.converged
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-12)
