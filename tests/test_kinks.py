"""lr="auto" for losses with kinks.

The optimum without l2 is that of a linear program, which HiGHS solves. With any penalty, the conditions
of Karush, Kuhn and Tucker hold: there are slopes of the rows, any between the two sides for a row at a
kink, with which the gradient is zero.
"""

import numpy as np
import pytest
from scipy.optimize import linprog

import fastgd
from fastgd.losses import HINGE, EpsilonInsensitive, Huber, Loss, Quantile
from fastgd.solvers import kinks

N, D = 150, 5
LOSSES = {
    "median": Quantile(0.5), "0.9": Quantile(0.9), "0.02": Quantile(0.02), "hinge": HINGE,
    "epsilon": EpsilonInsensitive(0.3), "absolute": EpsilonInsensitive(0.0),
}  # fmt: skip
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
PENALTIES = {"none": {}, "l2": {"l2": 0.05}, "l1": {"l1": 0.05}, "both": {"l1": 0.03, "l2": 0.1}}
every_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
#: Factors and offsets of the columns.
RAW = np.array([1e3, 1e-4, 1.0, 1e5, 1e-2]), np.array([1e6, 0.0, 0.0, -1e5, 3.0])


def data(loss, n=N, seed=0, raw=False, d=D):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    y = x @ np.resize([1.0, -2.0, 0.0, 0.5, 0.0], d) + rng.standard_t(3, n) + 2
    x = x * np.resize(RAW[0], d) + np.resize(RAW[1], d) if raw else x
    return x, (y > 2).astype(float) if loss.targets == "labels" else y


def sides(loss, z, y, near):
    """The slopes left and right of each prediction, which differ where a kink is near."""
    if loss.name == "quantile":
        r = z - y
        return np.where(r > near, 1 - loss.p, -loss.p), np.where(r < -near, -loss.p, 1 - loss.p)
    if loss.name == "hinge":
        side = 2 * y - 1
        m = side * z
        inner, outer = np.where(m > 1 + near, 0.0, -1.0), np.where(m < 1 - near, -1.0, 0.0)
        return np.minimum(side * inner, side * outer), np.maximum(side * inner, side * outer)
    r, e = z - y, loss.p
    low = np.where(r > e + near, 1.0, np.where(r > -e + near, 0.0, -1.0))
    return low, np.where(r < -e - near, -1.0, np.where(r < e - near, 0.0, 1.0))


def kkt(loss, x, y, fit, weight=None, l1=0.0, l2=0.0, fit_intercept=True, near=1e-6):
    """The smallest largest entry of the gradient, of columns of unit size, over all slopes allowed.

    Of centred columns: a mean of 1e6 would multiply the rounding of the intercept's condition.
    """
    low, high = sides(loss, x @ fit.coef + fit.intercept, y, near)
    weight = np.ones(len(y)) if weight is None else weight
    weight = weight / weight.sum()
    center, size = x.mean(axis=0) * fit_intercept, np.maximum(x.std(axis=0), 1e-300)
    free = np.where(fit.coef == 0, l1, 0.0)
    columns = np.vstack([((x - center) / size).T * weight, weight * fit_intercept])
    fixed = np.append((l2 * fit.coef + l1 * np.sign(fit.coef)) / size, 0.0)
    both = np.hstack([columns, np.vstack([np.diag(1 / size), np.zeros(len(size))])])
    one = np.ones((len(columns), 1))
    found = linprog(
        np.append(np.zeros(both.shape[1]), 1.0),
        A_ub=np.vstack([np.hstack([both, -one]), np.hstack([-both, -one])]),
        b_ub=np.concatenate([-fixed, fixed]),
        bounds=[*zip(low, high, strict=True), *zip(-free, free, strict=True), (0, None)],
    )
    assert found.status == 0
    return found.fun


def lowest(loss, x, y, weight=None, l1=0.0, fit_intercept=True):
    """The optimum by HiGHS, of columns of unit size about their means."""
    size, (n, d) = x.std(axis=0), x.shape
    z = (x - x.mean(axis=0) * fit_intercept) / size
    weight = (np.ones(n) if weight is None else weight) / (n if weight is None else weight.sum())
    if loss.name == "hinge":
        side, one = 2 * y - 1, np.ones(n)
        lines = [(-side, one)]  # costs are at least a·z + b, and at least 0
    elif loss.name == "quantile":
        lines = [(np.full(n, -loss.p), loss.p * y), (np.full(n, 1 - loss.p), (loss.p - 1) * y)]
    else:
        one = np.ones(n)
        lines = [(one, -y - loss.p), (-one, y - loss.p)]
    parts = np.hstack([z, -z, np.full((n, 1), float(fit_intercept))])
    found = linprog(
        np.concatenate([l1 / size, l1 / size, [0.0], weight]),
        A_ub=np.vstack([np.hstack([a[:, None] * parts, -np.eye(n)]) for a, _ in lines]),
        b_ub=np.concatenate([-b for _, b in lines]),
        bounds=[*[(0, None)] * 2 * d, (None, None), *[(0, None)] * n],
    )
    assert found.status == 0
    return found.fun


def objective(fit, l1=0.0, l2=0.0):
    return fit.cost + l1 * np.abs(fit.coef).sum() + l2 / 2 * (fit.coef**2).sum()


@every_loss
@pytest.mark.parametrize("l1", [0.0, 0.05])
@pytest.mark.parametrize("raw", [False, True], ids=["plain", "badly scaled"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_the_optimum_is_that_of_the_linear_program(loss, l1, raw, weighted):
    x, y = data(loss, raw=raw)
    weight = np.random.default_rng(1).random(N) * (np.arange(N) % 5 > 0) if weighted else None
    fit = fastgd.fit(x, y, loss, l1=l1, sample_weight=weight)  # a warning is an error
    assert fit.converged
    assert fit.method == "interior-point"
    assert fit.n_epochs < 25
    wanted = lowest(loss, x, y, weight, l1)
    assert objective(fit, l1) == pytest.approx(wanted, rel=1e-8)


@every_loss
@every_penalty
@pytest.mark.parametrize("raw", [False, True], ids=["plain", "badly scaled"])
def test_the_conditions_of_the_optimum(loss, penalty, raw):
    x, y = data(loss, raw=raw)
    fit = fastgd.fit(x, y, loss, **penalty)
    assert fit.converged
    assert kkt(loss, x, y, fit, **penalty) < 1e-6
    if "l1" in penalty and not raw:
        assert (fit.coef == 0).any()
    z = x @ fit.coef + fit.intercept
    rows = [loss.value(a, b, *loss.parameters) for a, b in zip(z, y, strict=True)]
    assert fit.cost == pytest.approx(np.mean(rows), rel=1e-8)


@every_loss
def test_without_an_intercept(loss):
    x, y = data(loss)
    fit = fastgd.fit(x + 1, y, loss, fit_intercept=False)
    assert (fit.converged, fit.intercept) == (True, 0.0)
    wanted = lowest(loss, x + 1, y, fit_intercept=False)
    assert fit.cost == pytest.approx(wanted, rel=1e-8)
    shrunk = fastgd.fit(x + 1, y, loss, fit_intercept=False, l1=0.05, l2=0.01)
    assert kkt(loss, x + 1, y, shrunk, l1=0.05, l2=0.01, fit_intercept=False) < 1e-6


@every_loss
def test_more_columns_than_rows(loss):
    x, y = data(loss, 20, d=40)
    for penalty in ({"l2": 0.1}, {"l1": 0.05}):
        fit = fastgd.fit(x, y, loss, **penalty)
        assert fit.converged
        assert kkt(loss, x, y, fit, **penalty) < 1e-6
    with pytest.warns(fastgd.ConvergenceWarning, match="linearly dependent"):
        assert fastgd.fit(x, y, loss).cost == pytest.approx(0, abs=1e-12)


def test_a_small_penalty_on_targets_that_are_met():
    """Coefficients that are set to zero leave the others to meet them."""
    for seed in range(6):
        x, y = data(Quantile(), 6 + seed, seed, d=30)
        fit = fastgd.fit(x, y, Quantile(0.3), l1=1e-4)
        assert (fit.coef != 0).sum() <= 6 + seed
        assert objective(fit, 1e-4) == pytest.approx(lowest(Quantile(0.3), x, y, l1=1e-4), rel=1e-6)


@every_loss
def test_constant_and_dependent_columns(loss):
    x, y = data(loss)
    wanted = fastgd.fit(x, y, loss).cost
    fit = fastgd.fit(np.column_stack([x, np.full(N, 7.0)]), y, loss)
    assert (fit.converged, fit.coef[-1]) == (True, 0.0)
    assert fit.cost == pytest.approx(wanted, rel=1e-8)
    with pytest.warns(fastgd.ConvergenceWarning, match="columns 0, 5 are linearly dependent"):
        fit = fastgd.fit(np.column_stack([x, 2 * x[:, 0]]), y, loss)
    assert fit.cost == pytest.approx(wanted, rel=1e-8)


def test_few_numbers():
    for loss in (Quantile(0.3), EpsilonInsensitive(0.1), HINGE):
        for x, y in (([1.0], [1.0]), ([1.0, 2.0], [0.0, 1.0]), ([3.0, 3.0], [1.0, 1.0])):
            if len(set(y)) == 2 or loss is not HINGE:
                fit = fastgd.fit(x, y, loss, l2=1e-3 if len(y) == 1 else 0.0)
                assert fit.cost < 1e-3
    # The quantile of numbers alone, any between two of them.
    y = np.arange(10.0)
    fit = fastgd.fit(np.zeros((10, 1)), y, Quantile(0.25))
    assert fit.intercept == pytest.approx(2.0, abs=1e-6)
    assert fit.cost == pytest.approx(np.mean(np.maximum(0.25 * (y - 2), 0.75 * (2 - y))), rel=1e-9)


@every_loss
def test_a_cost_of_zero(loss):
    """Targets on a plane, or labels that a plane separates; and a start there stays."""
    x = data(loss)[0]
    y = x @ np.arange(1.0, D + 1)
    x, y = (x[np.abs(y) > 0.5], (y > 0)[np.abs(y) > 0.5]) if loss is HINGE else (x, y)
    fit = fastgd.fit(x, y, loss)
    assert fit.converged
    assert fit.cost == pytest.approx(0, abs=1e-9)
    assert fit.n_epochs < 25
    start = {"coef_init": np.arange(1.0, D + 1) * (100 if loss is HINGE else 1)}
    again = fastgd.fit(x, y, loss, **start)
    assert (again.converged, again.n_epochs) == (True, 0)
    assert again.coef.tolist() == start["coef_init"].tolist()


@pytest.mark.parametrize("size", [1e-8, 1e8, 1e250])
def test_targets_of_any_size(size):
    x, y = data(Quantile())
    fit, plain = (fastgd.fit(x, y * by, Quantile(0.7)) for by in (size, 1.0))
    assert fit.converged
    assert fit.cost / size == pytest.approx(plain.cost, rel=1e-8)
    far = fastgd.fit(x, y + 1e6, Quantile(0.7), l1=0.01)
    assert far.cost == pytest.approx(fastgd.fit(x, y, Quantile(0.7), l1=0.01).cost, rel=1e-7)


def test_outliers_and_ties():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, (500, 4)).astype(float), rng.integers(0, 4, 500).astype(float)
    y[:10] *= 1e9
    fit = fastgd.fit(x, y, Quantile(0.5))
    assert fit.converged
    assert fit.cost == pytest.approx(lowest(Quantile(0.5), x, y), rel=1e-9)


def ladder(z, y):
    T = type(z)
    r = z - y
    return -r if r < T(0) else (T(0.5) * r if r < T(2) else T(2) * r - T(3))


def ladder_slope(z, y):
    T = type(z)
    r = z - y
    return T(-1) if r < T(0) else (T(0.5) if r < T(2) else T(2))


def test_a_loss_of_your_own():
    """Costs of too little, of too much, and of far too much."""
    x, y = data(Quantile())
    loss = Loss("ladder", ladder, ladder_slope, smooth=False)
    with pytest.raises(fastgd.InputError, match="names its `kinks`; that of the loss 'ladder'"):
        fastgd.fit(x, y, loss)
    fit = fastgd.fit(x, y, loss._replace(kinks=lambda y: (-1.0, ((y, 1.5), (y + 2, 1.5)))))
    assert fit.converged
    r = np.append(x @ fit.coef + fit.intercept - y, 0)
    tied = np.abs(r * (r - 2)) < 1e-7
    assert tied.sum() - 1 == D + 1  # a vertex
    nudged = np.random.default_rng(0).standard_normal((200, D + 1)) * 1e-4
    z = x @ (fit.coef + nudged[:, :D]).T + fit.intercept + nudged[:, D] - y[:, None]
    assert np.maximum(np.maximum(-z, z / 2), 2 * z - 3).mean(axis=0).min() > fit.cost


def test_tol_and_epochs():
    x, y = data(Quantile())
    best, near = (fastgd.fit(x, y, "quantile", tol=tol) for tol in (None, 0.01))
    assert near.converged
    assert near.n_epochs < best.n_epochs
    assert best.cost < near.cost <= 1.01 * best.cost
    with pytest.warns(
        fastgd.ConvergenceWarning, match="the duality gap is short of rounding after 3"
    ):
        short = fastgd.fit(x, y, "quantile", epochs=3)
    assert (short.n_epochs, short.converged) == (3, False)
    assert short.costs[0] == pytest.approx(np.abs(y - y.mean()).mean() / 2)


def test_a_paused_fit_goes_on_to_the_same_bits():
    x, y = data(Quantile())
    for options in ({}, {"l1": 0.05}, {"l2": 0.1}):
        whole, kept = fastgd.fit(x, y, "quantile", callback=lambda fit: False, **options), []

        def stop(fit, kept=kept):
            kept.append(fit)
            return fit.n_epochs == 4

        fastgd.fit(x, y, "quantile", callback=stop, **options)
        resumed = fastgd.fit(x, y, "quantile", resume=kept[-1], **options)
        assert resumed.coef.tobytes() == whole.coef.tobytes()
        assert resumed.n_epochs == whole.n_epochs


def test_the_path_ends_at_the_coefficients():
    x, y = data(Quantile())
    fit = fastgd.fit(x, y, "quantile", l1=0.05, keep_path=True)
    assert len(fit.path) == len(fit.costs) == fit.n_epochs
    assert fit.path[-1].tolist() == fit.coef.tolist()


@pytest.mark.parametrize("part", [1, 7])
def test_parts_add_up(part, monkeypatch):
    for loss in (EpsilonInsensitive(0.3), HINGE):
        x, y = data(loss)
        whole = fastgd.fit(x, y, loss, l1=0.05)
        monkeypatch.setattr(kinks, "_PART", part)
        assert fastgd.fit(x, y, loss, l1=0.05).cost == pytest.approx(whole.cost, rel=1e-9)
        monkeypatch.undo()


@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1e100])
def test_units_of_the_targets(unit):
    for loss, scaled in ((Quantile(0.3), Quantile(0.3)), (Huber(0.5), Huber(0.5 * unit))):
        x, y = data(Quantile())
        fit, wanted = fastgd.fit(x, y * unit, scaled), fastgd.fit(x, y, loss)
        assert fit.converged
        np.testing.assert_allclose(fit.coef / unit, wanted.coef, rtol=1e-6)
        if unit < 1e-100:
            break  # the square of a residual is below the numbers of float64


def test_what_is_refused(monkeypatch):
    y = data(Quantile())[1]
    with pytest.raises(fastgd.InputError, match="up to 2048 columns with the loss 'quantile'"):
        fastgd.fit(np.ones((3, 2049)), y[:3], "quantile")
