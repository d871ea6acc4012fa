"""The stochastic loops against the reference's, along the same visiting orders."""

import itertools
import warnings

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import read_only

import fastgd
from fastgd import reference
from fastgd.cpu import advance, dense, stochastic
from fastgd.cpu.block_losses import block_losses
from fastgd.cpu.machine import team
from fastgd.cpu.machine.atomics import backoff_address
from fastgd.formulas.updates import GD
from fastgd.losses import LOSSES, Loss
from fastgd.settings import Settings
from fastgd.solvers import stochastic as solver
from fastgd.solvers import work
from fastgd.solvers.stochastic import StochasticDescent
from fastgd.sources.dense import DenseRows


class Loop:
    """The arrays of a stochastic descent; `run` does rows order[first:last] of one epoch.

    Under "mean" the weights have a mean of 1 in every update, as `row_scale` makes them.
    """

    def __init__(
        self, n, d, loss_name, batch_size, *, weighted=False, dtype=np.float64, k=1, seed=0
    ):
        x, y, weight, coef, self.b = oracles.problem(n, d, loss_name, seed=seed, dtype=dtype)
        self.x, self.loss, self.batch_size = x, LOSSES[loss_name], batch_size
        self.weight = weight if weighted else np.empty(0, dtype)
        self.y = np.stack([np.roll(y, c) for c in range(k)])
        self.start = np.stack([coef * (-1) ** c for c in range(k)])
        self.coef, self.intercept = self.start.copy(), np.full(k, self.b, dtype=dtype)

    def run(self, order, first=0, last=None, *, lr=0.02, l2=0.0, reduction="mean", learn=True):
        mean = reduction == "mean"
        row_scale = len(self.x) / self.weight.sum() if mean and len(self.weight) else 1.0
        settings = Settings(
            lr=lr, l2=l2, scale=1.0, row_scale=row_scale, fit_intercept=learn, tol=0.0
        )
        (k, d), dtype = self.coef.shape, self.x.dtype
        order = np.array(order, dtype=np.int32)
        last = (len(order) or len(self.x)) if last is None else last
        arrays = self.x, self.y, self.weight, np.empty((0, 1), dtype)
        x, y, weight, no_offset = map(read_only, arrays)
        met, by_row = np.zeros((k, 2)), self.batch_size == 1
        if by_row:
            one_pass, losses, step, gather = 0, 0, 0, 0
            scratch = stochastic.scratch(dtype)
        else:
            types = order.dtype, dtype, dtype
            one_pass = dense.address_of_pass(False, k > 1, *types)
            losses = block_losses(self.loss, True, dtype)
            step = advance.address_of_step(GD.rule, dtype)
            gather = dense.address_of_gather(*types) if len(order) else 0
            scratch = dense.scratch(self.loss, x, y, self.coef, False, True, team.PARTS)
        given = (
            one_pass, losses, step, team.counters(), backoff_address(), x, y, weight, no_offset, order,
            self.coef, self.intercept,
            settings.array(dtype, mean), settings.rates(k, 0, 1, dtype), settings.hyper(),
            settings.hyper(dtype),
            settings.memory(k, d, dtype), np.zeros((0, d + 1)), np.empty((team.PARTS, k, d + 2)), met,
            gather, x.ctypes.data, read_only(np.zeros(d, dtype)), *scratch, self.batch_size, 0, 0.0,
            first, last,
        )  # fmt: skip
        updates = stochastic.per_sample(self.loss, d == 1) if by_row else stochastic.minibatch
        address = stochastic.address_of_updates(updates, order.dtype, dtype, dtype)
        stochastic.called(address, given)
        return met[:, 1].sum()

    def expected(self, orders, *, learn=True, **options):
        """The reference's coef, intercept and costs of every output."""
        runs = [
            reference.minibatch_gd(
                self.x.tolist(), y.tolist(), start.tolist(), self.b, orders=orders, loss=self.loss,
                batch_size=self.batch_size, weight=self.weight.tolist() or None, fit_intercept=learn,
                **options,
            )
            for y, start in zip(self.y, self.start, strict=True)
        ]  # fmt: skip
        return [np.array(part) for part in list(zip(*runs, strict=True))[:3]]

    def scale(self, reduction):
        """What turns summed losses into the cost of an epoch."""
        mass = self.weight.sum(dtype=float) if len(self.weight) else len(self.x)
        return 1 / mass if reduction == "mean" else 1.0


QUARTIC = Loss("quartic", lambda z, y: (z - y) ** 4, lambda z, y: 4 * (z - y) ** 3)


def orders_of(n, epochs):
    rng = np.random.default_rng(7)
    return [rng.permutation(n).tolist() for _ in range(epochs)]


#: A loop is compiled for a loss and a dtype, in 5 to 10 s; test_losses holds every loss to both dtypes.
each_kernel = pytest.mark.parametrize(
    ("dtype", "loss_name"),
    [(np.float64, "mse"), (np.float64, "bce"), (np.float32, "bce")],
    ids=["float64-mse", "float64-bce", "float32-bce"],
    scope="session",
)
every_size = pytest.mark.parametrize("batch_size", [1, 4, 300], ids="batch{}".format)


@each_kernel
@every_size
def test_iterates_are_those_of_the_reference(
    shape, dtype, close, loss_name, reduction, weighted, batch_size
):
    loop = Loop(*shape, loss_name, batch_size, weighted=weighted, dtype=dtype)
    # Under "sum" 300 rows add up in one step.
    options = {"lr": 0.02 if batch_size < 300 else 0.001, "reduction": reduction}
    orders = orders_of(shape[0], 2)
    costs = [loop.scale(reduction) * loop.run(order, **options) for order in orders]
    coef, intercept, wanted = loop.expected(orders, **options)
    close(loop.coef, coef)
    close(loop.intercept, intercept)
    close(costs, wanted[0])


@every_size
@given(
    l2=st.sampled_from([0.0, 0.3]),
    learn=st.booleans(),
    weighted=st.booleans(),
    reduction=st.sampled_from(["mean", "sum"]),
    loss_name=st.sampled_from(["mse", "bce"]),
    d=st.sampled_from([1, 5]),
    seed=st.integers(0, 9),
)
def test_penalty_intercept_and_several_outputs(
    batch_size, l2, learn, weighted, reduction, loss_name, d, seed
):
    loop = Loop(33, d, loss_name, batch_size, weighted=weighted, k=3, seed=seed)
    options = {"lr": 0.01, "l2": l2, "learn": learn, "reduction": reduction}
    orders = orders_of(33, 3)
    costs = [loop.scale(reduction) * loop.run(order, **options) for order in orders]
    coef, intercept, wanted = loop.expected(orders, **options)
    np.testing.assert_allclose(loop.coef, coef, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(loop.intercept, intercept, rtol=1e-11)
    np.testing.assert_allclose(costs, wanted.sum(axis=0), rtol=1e-11)
    assert learn or (loop.intercept == loop.b).all()


@pytest.mark.parametrize("batch_size", [1, 4], ids="batch{}".format)
@given(cuts=st.lists(st.integers(0, 175), max_size=4))
def test_chunks_end_where_one_call_ends(batch_size, cuts):
    """All state is in the caller's arrays: calls that follow each other give the same bits."""
    order = orders_of(700, 1)[0]
    whole = Loop(700, 3, "bce", batch_size, weighted=True)
    cost = whole.run(order, l2=0.1)
    parts = Loop(700, 3, "bce", batch_size, weighted=True)
    cuts = [0, *(4 * cut for cut in sorted(cuts)), 700]
    met = sum(parts.run(order, a, b, l2=0.1) for a, b in itertools.pairwise(cuts))
    np.testing.assert_array_equal(parts.coef, whole.coef)
    np.testing.assert_array_equal(parts.intercept, whole.intercept)
    assert met == pytest.approx(cost, rel=1e-12)


@every_size
@pytest.mark.parametrize("loss_name", ["mse"])
@pytest.mark.parametrize("n", [33, 700])
def test_an_empty_order_is_the_given_one(n, loss_name, weighted, batch_size):
    """The kernels then read x where it lies."""
    given = Loop(n, 5, loss_name, batch_size, weighted=weighted, k=2)
    told = Loop(n, 5, loss_name, batch_size, weighted=weighted, k=2)
    cost = given.run([], l2=0.1)
    assert cost == pytest.approx(told.run(range(n), l2=0.1), rel=1e-13)
    np.testing.assert_allclose(given.coef, told.coef, rtol=1e-13)
    np.testing.assert_allclose(given.intercept, told.intercept, rtol=1e-13)


# --- threads that share a batch -------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
def test_threads_that_share_batches_change_no_bit(monkeypatch, shuffle):
    x, y, *_ = oracles.problem(2000, 60, "mse")
    numbers, team_run = [], team.run
    monkeypatch.setattr(solver, "_SHARED_NS", 0)
    monkeypatch.setattr(work, "CHUNK_NS", 1e5)
    monkeypatch.setattr(team, "default_threads", lambda: 3)

    def run(kernel, counters, given, n_threads):
        numbers.append(n_threads)
        team_run(kernel, counters, given, n_threads)

    def fit_by(*threads):
        """A fit whose chunks have these numbers of threads in turn."""
        turns = itertools.cycle(threads)
        monkeypatch.setattr(work.Members, "best", property(lambda self: next(turns)))
        fit = fastgd.fit_linear(
            x, y, lr=0.01, epochs=3, batch_size=700, shuffle=shuffle, n_threads=3,
            optimizer=fastgd.Adam(),
        )  # fmt: skip
        return fit.coef.tobytes(), fit.intercept, fit.costs.tobytes()

    monkeypatch.setattr(team, "run", run)
    alone = fit_by(1)
    assert fit_by(3) == alone
    assert fit_by(1, 2, 3) == alone
    assert set(numbers) == {1, 2, 3}


def test_a_team_is_as_large_as_takes_the_least_time():
    members, numbers = work.Members(4), []
    for slow in (10, 0.1):  # beside other processes, and then alone
        for _ in range(400):
            numbers.append(members.best)
            members.took(members.best, 100, slow if members.best == 4 else 1)
    assert set(numbers[:2]) == {1, 4}
    assert 1 <= numbers[2:400].count(4) < 5
    assert 0 < numbers[400:].count(1) < 200
    assert numbers[-1] == 4


def test_a_trial_is_a_chunk_after_one_of_another_number():
    members = work.Members(2)
    assert members.on_trial
    members.took(1, 1, 1.0)
    assert members.best == 2
    assert members.on_trial
    members.took(2, 1, 0.5)
    assert members.best == 2
    assert not members.on_trial
    assert not work.Members(1).on_trial


# --- the cost of a fit, and whether it rose -------------------------------------------------------


class Counted(DenseRows):
    """Rows that count the passes over all of them."""

    passes = 0

    def totals(self, *arguments, **options):
        self.passes += 1
        return super().totals(*arguments, **options)


def descent(source, loss, coef, **options):
    settings = Settings(
        lr=0.001, l2=0.0, scale=1 / source.n, row_scale=1.0, fit_intercept=True, tol=0.0
    )
    return StochasticDescent(
        source, loss, settings, coef.copy(), np.zeros(len(coef)), False, shuffle=False, seed=0, mean=True,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 32], ids="batch{}".format)
@pytest.mark.parametrize("average", [False, True])
def test_the_cost_is_that_of_the_losses_met(batch_size, average, weighted, dtype, close):
    x, y, weight, coef, _ = oracles.problem(5000, 4, "bce", dtype=dtype)
    source = Counted(x, y[None], weight if weighted else None, dtype, 1)
    solver = descent(
        source, LOSSES["bce"], coef[None].astype(float), batch_size=batch_size, average=average
    )
    solver.run(3)
    assert solver.cost() > 0
    assert source.passes == average  # no update met a loss at a mean of parameters
    if average:
        totals = source.totals(
            solver.loss, *(a.astype(dtype) for a in (solver.coef, solver.intercept))
        )
        close(solver.cost(), solver.settings.scale * totals[:, -1].sum())
        return
    assert solver.cost() == solver.costs[2]
    last = solver.parameters()
    solver.put(last, 3, 2)
    assert (solver.epoch, solver.cost()) == (3, solver.costs[1])
    solver.put(last, 3)
    assert solver.back()
    assert (solver.epoch, solver.cost()) == (2, solver.costs[1])
    assert source.passes == 0


@pytest.mark.parametrize("n", [50, 5000])
@pytest.mark.parametrize("loss_name", ["mse", "bce", "huber", "poisson", "cross_entropy"])
def test_the_cost_at_the_start(n, loss_name, weighted, close):
    """Of a sample where that is enough, else of all rows."""
    x, y, weight, coef, _ = oracles.problem(n, 4, "bce")
    loss, coef = LOSSES[loss_name], np.stack([coef, -coef])
    y = y[None] if loss.coupled else np.stack([y, 1 - y])
    source = Counted(x, y, weight if weighted else None, np.float64, 1, 2)
    solver = descent(source, loss, coef, batch_size=1)
    solver.run(1)
    totals = source.totals(loss, coef, np.zeros(2))
    wanted = solver.settings.scale * totals[:, -1].sum()
    source.passes = 0
    assert solver.first_cost(wanted / 2) == pytest.approx(wanted, rel=0.3)
    assert source.passes == 0
    assert solver.first_cost(2 * wanted) == pytest.approx(wanted, rel=1e-12)
    assert solver.first_cost() == pytest.approx(wanted, rel=1e-12)
    assert source.passes == (0 if n == 50 else 2)


@pytest.mark.jit
def test_a_cost_at_the_start_that_overflows_in_a_sample():
    """Plain Python raises where kernels have an infinity."""
    source = Counted(np.full((3, 1), 1000.0), np.zeros((1, 3)), None, np.float64, 1)
    assert descent(source, LOSSES["poisson"], np.ones((1, 1)), batch_size=1).first_cost() == np.inf
    assert source.passes == 1


@pytest.mark.parametrize(("batch_size", "large"), [(1, 0.1), (50, 0.8)])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_rise_is_told_and_a_start_at_a_good_point_is_not(batch_size, large, epochs):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4000, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.standard_normal(4000)
    options = {"lr": 0.001, "epochs": epochs, "batch_size": batch_size}
    with warnings.catch_warnings(action="error"):
        optimum = fastgd.fit_linear(x, y)
        for seed in range(10):
            warm = fastgd.fit_linear(x, y, coef_init=optimum.coef, seed=seed, **options)
            assert warm.converged
    start = fastgd.mse_cost(x, y, optimum.coef)
    with pytest.warns(fastgd.ConvergenceWarning, match=f"the cost rose from {start:.6g} to"):
        wild = fastgd.fit_linear(x, y, coef_init=optimum.coef, **options | {"lr": large})
    assert not wild.converged


def test_the_order_decides():
    """The same rows in another order are another path; a row visited twice counts twice."""
    ends = []
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 1, 2, 3, 3]):
        loop = Loop(4, 2, "mse", 1)
        loop.run(order, lr=0.1)
        np.testing.assert_allclose(loop.coef[0], loop.expected([order], lr=0.1)[0][0], rtol=1e-13)
        ends.append(loop.coef.tobytes())
    assert len(set(ends)) == 3


@pytest.mark.parametrize("batch_size", [1, 3], ids="batch{}".format)
def test_a_loss_of_your_own(batch_size):
    loop = Loop(10, 2, "mse", batch_size)
    loop.loss = QUARTIC
    order = orders_of(10, 1)[0]
    cost = loop.run(order, lr=0.001) / 10
    coef, _, wanted = loop.expected([order], lr=0.001)
    np.testing.assert_allclose(loop.coef, coef, rtol=1e-13)
    assert cost == pytest.approx(wanted[0, 0], rel=1e-13)


def test_nan_is_passed_on():
    """The check for divergence looks at the result."""
    loop = Loop(6, 2, "mse", 1)
    loop.x[3, 1] = np.nan
    assert np.isnan(loop.run(range(6)))
    assert np.isnan(loop.coef).all()
