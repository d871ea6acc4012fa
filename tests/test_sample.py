"""lr="auto" from a sample's optimum: that of all rows, whatever their order, layout and weights."""

import numpy as np
import pytest
from test_automatic import noise

import fastgd
from fastgd import automatic
from fastgd.cpu.source import DenseRows


def logistic_data(n=20_000, d=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.logspace(0, 3, d) + 5.0
    z = (x - 5.0) @ (rng.standard_normal(d) / np.logspace(0, 3, d)) + 0.3
    return x, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)


def gradient_at(fit, x, y, l2=0.0, weight=None):
    """Norm of the objective's gradient in units of the columns: 0 at the optimum."""
    scale = np.concatenate([x.std(axis=0), [1.0]])
    weight = np.ones(len(y)) if weight is None else weight
    slopes = (1 / (1 + np.exp(-(x @ fit.coef + fit.intercept))) - y) * weight / weight.sum()
    gradient = np.concatenate([x.T @ slopes + l2 * fit.coef, [slopes.sum()]])
    # Around the centre, or the rounding of 5.0 + a thousand would be all there is to see.
    gradient[:-1] -= x.mean(axis=0) * slopes.sum()
    return np.abs(gradient / scale).max()


@pytest.fixture
def ways(monkeypatch):
    """What every automatic fit did: True where it came from a sample."""
    taken = []
    from_sample = automatic.AutomaticDescent._run_from_sample

    def watched(self, after_step):
        taken.append(from_sample(self, after_step))
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
