"""The fused passes against the reference, and their use from code of the caller's own."""

import itertools
import math

import numba
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import read_only

from fastgd import reference
from fastgd.cpu import block_losses, dense
from fastgd.cpu.stochastic import called
from fastgd.formulas.updates import RULES
from fastgd.losses import LOSSES, Loss
from fastgd.settings import CONVERGED, COST, EPOCHS, NOT_FINITE, RUNNING, Settings, new_state
from fastgd.sources.dense import DenseRows

every_layout = pytest.mark.parametrize("by_columns", [False, True], ids=["rows", "columns"])


def several(n, d, k, loss_name, weighted=False, dtype=np.float64, seed=0):
    """A problem as the kernels take it: y (k, n), weight (n,) or (0,), coef (k, d), intercept (k,)."""
    x, y, weight, coef, intercept = oracles.problem(n, d, loss_name, seed=seed, dtype=dtype)
    y = np.stack([np.roll(y, c) for c in range(k)])
    coef = np.stack([coef * (-1) ** c for c in range(k)])
    intercept = np.array([intercept + c for c in range(k)], dtype=dtype)
    return x, y, weight if weighted else np.empty(0, dtype), coef, intercept


def expected_totals(x, y, weight, coef, intercept, loss):
    """Row c: the summed gradient, that of the intercept, and the summed cost of output c."""
    rows, weight = x.tolist(), weight.tolist() or None
    totals = []
    for c in range(len(y)):
        at = rows, y[c].tolist(), coef[c].tolist(), float(intercept[c]), loss, weight, "sum"
        by_coef, by_intercept = reference.gradient(*at)
        totals.append([*by_coef, by_intercept, reference.cost(*at)])
    return np.array(totals)


def one_pass(x, y, weight, coef, intercept, loss, by_columns, center=None, bounds=None, shift=0):
    x = np.ascontiguousarray(x.T if by_columns else x)
    totals = np.zeros((len(coef), coef.shape[1] + 2))
    x, y, weight = map(read_only, (x, y, weight))
    center = None if center is None else read_only(center)
    no_offset = read_only(np.empty((0, 1), coef.dtype))
    one = dense.Pass(loss, by_columns, True, center is not None, x, y, weight, no_offset, coef)
    for first, last in bounds or [(0, y.shape[1])]:
        one.add(center, coef, intercept, first, last, shift, totals)
    return totals


@every_layout
@pytest.mark.parametrize("k", [1, 3])
def test_totals_are_those_of_the_reference(shape, dtype, close, loss_name, weighted, by_columns, k):
    problem = several(*shape, k, loss_name, weighted, dtype)
    found = one_pass(*problem, LOSSES[loss_name], by_columns)
    wanted = expected_totals(*problem, LOSSES[loss_name])
    close(found / shape[0], wanted / shape[0])


@every_layout
@pytest.mark.parametrize("shape", [(1100, 2), (70, 600), (2, 5000)], ids=str)
def test_several_blocks(shape, by_columns):
    """More rows than a block has, and rows longer than a block."""
    problem = several(*shape, 1, "bce")
    found = one_pass(*problem, LOSSES["bce"], by_columns)
    wanted = expected_totals(*problem, LOSSES["bce"])
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@every_layout
def test_a_centred_pass_sees_x_minus_center(loss_name, weighted, by_columns):
    x, *rest = several(40, 3, 2, loss_name, weighted)
    center = np.array([100.0, -3.0, 0.5])
    found = one_pass(x + center, *rest, LOSSES[loss_name], by_columns, center)
    np.testing.assert_allclose(found, expected_totals(x, *rest, LOSSES[loss_name]), rtol=1e-11)


@every_layout
@given(cuts=st.lists(st.integers(0, 700), max_size=4), weighted=st.booleans())
def test_parts_add_up(by_columns, cuts, weighted):
    """Every split of the rows gives the totals of the whole, empty parts included."""
    problem = several(700, 3, 2, "mse", weighted)
    cuts = [0, *sorted(cuts), 700]
    found = one_pass(*problem, LOSSES["mse"], by_columns, bounds=list(itertools.pairwise(cuts)))
    whole = one_pass(*problem, LOSSES["mse"], by_columns)
    np.testing.assert_allclose(found, whole, rtol=1e-12)


@every_layout
def test_shift_says_which_samples_the_rows_are(by_columns):
    x, y, weight, coef, intercept = several(30, 4, 2, "bce", weighted=True)
    part = one_pass(
        x[10:25], y, weight, coef, intercept, LOSSES["bce"], by_columns, None, [(2, 15)], 10
    )
    rows = slice(12, 25)
    wanted = expected_totals(x[rows], y[:, rows], weight[rows], coef, intercept, LOSSES["bce"])
    np.testing.assert_allclose(part, wanted, rtol=1e-12)


@every_layout
@pytest.mark.parametrize(("name", "scalar"), [("mse", np.float32), ("bce", np.float64)])
def test_costs_of_several_coefficients(shape, name, scalar, weighted, by_columns):
    x, y, weight, coef, _ = several(*shape, 1, name, weighted, scalar)
    coefs = np.concatenate([coef, -coef, 0 * coef])
    intercepts = np.array([0.3, -1.0, 0.0], dtype=scalar)
    totals = np.zeros((3, x.shape[1] + 2))
    laid = read_only(np.ascontiguousarray(x.T if by_columns else x))
    rows = laid, read_only(y), read_only(weight), read_only(np.empty((0, 1)))
    one = dense.Pass(LOSSES[name], by_columns, False, False, *rows, coefs)
    one.add(None, coefs, intercepts, 0, shape[0], 0, totals)
    wanted = [
        expected_totals(x, y, weight, coefs[c : c + 1], intercepts[c : c + 1], LOSSES[name])[0, -1]
        for c in range(3)
    ]
    np.testing.assert_allclose(totals[:, -1], wanted, rtol=1e-5 if scalar == np.float32 else 1e-12)


@pytest.mark.jit
@pytest.mark.parametrize("first", [0, 170])
def test_where_arrays_lie_does_not_change_a_bit(loss_name, weighted, first):
    """Compiled loops check whether their arrays overlap, and sum in another order where they do.

    The scratch of a block is where the allocator puts it.
    """
    _, y, weight, *_ = oracles.problem(900, 1, loss_name)
    address = block_losses.block_losses(LOSSES[loss_name], True, np.dtype(np.float64))
    results = set()
    for gap, rows, at in itertools.product((0, 1, 3, 500), (170, 256), (0, 7)):
        memory = np.zeros(20_000)
        scratch = memory[gap : gap + 5 * rows].reshape(5, rows)
        scratch[block_losses.WEIGHT] = 1
        if weighted:
            scratch[block_losses.WEIGHT, :170] = weight[first : first + 170]
        scratch[block_losses.Z, :170] = np.linspace(-3, 3, 170)
        targets = memory[-200:].reshape(1, 200)
        targets[0, at : at + 170] = y[first : first + 170]
        totals = np.zeros((1, 2))
        called(address, (scratch, targets, at, 0.0, 170, totals))
        results.add((totals.tobytes(), scratch[block_losses.Z, :170].tobytes()))
    assert len(results) == 1


# --- the loop over epochs ----------------------------------------------------------------------------


class Loop:
    """The arrays of a batch descent on (x, y), and chunks of it."""

    def __init__(
        self, x, y, weight, coef, intercept, loss, *, epochs, by_columns=False, **settings
    ):
        self.loss = loss
        x = np.asarray(x, order="F" if by_columns else "C")
        self.rows = DenseRows(x, y, weight, x.dtype, 1)
        self.coef, self.intercept = coef.astype(float), intercept.astype(float)
        self.previous = np.column_stack([self.coef, self.intercept])
        settings = {"l2": 0.0, "fit_intercept": True, "tol": 0.0} | settings
        settings = Settings(row_scale=settings["scale"], **settings)
        self.settings = (
            settings.array(), settings.rates(len(coef), 0, 1), settings.hyper(),
            settings.memory(*coef.shape),
        )  # fmt: skip
        self.state = new_state()
        self.costs, self.norms = np.empty((2, epochs))
        self.path = np.empty((epochs, *coef.shape))

    def run(self, last):
        arrays = (
            self.coef, self.intercept, self.previous, *self.settings, self.state, self.costs, self.norms,
            self.path,
        )  # fmt: skip
        status = self.rows.batch_epochs(self.loss, RULES["gd"], arrays, last, True)
        return status, self.state[EPOCHS]


@every_layout
@pytest.mark.parametrize("l2", [0.0, 0.2])
def test_the_loop_is_batch_descent(dtype, close, loss_name, weighted, by_columns, l2):
    x, y, weight, coef, intercept = several(33, 5, 1, loss_name, weighted, dtype)
    scale = 1 / (weight.sum(dtype=float) if weighted else 33)
    loop = Loop(
        x, y, weight, coef, intercept, LOSSES[loss_name],
        epochs=7, by_columns=by_columns, lr=0.1, l2=l2, scale=scale,
    )  # fmt: skip
    assert loop.run(3) == (RUNNING, 3)
    assert loop.run(7) == (RUNNING, 7)
    w, b, costs, path = reference.batch_gd(
        x.tolist(), y[0].tolist(), coef[0].tolist(), float(intercept[0]), lr=0.1, epochs=7,
        loss=LOSSES[loss_name], weight=weight.tolist() or None, l2=l2,
    )  # fmt: skip
    close(loop.coef[0], w)
    close(loop.intercept[0], b)
    close(loop.costs, costs)
    close(loop.path[:, 0], path)
    final = expected_totals(x, y, weight, loop.coef, loop.intercept, LOSSES[loss_name])[0, -1]
    close(loop.state[COST], scale * final)


def test_the_loop_stops_at_a_small_gradient():
    problem = several(33, 2, 1, "mse")
    loop = Loop(*problem, LOSSES["mse"], epochs=500, lr=0.1, scale=1 / 33, tol=1e-6)
    status, epoch = loop.run(500)
    assert status == CONVERGED
    assert 20 < epoch < 500
    x, y, weight, *_ = problem

    def norm(coef, intercept):
        return np.linalg.norm(expected_totals(x, y, weight, coef, intercept, LOSSES["mse"])[0, :-1])

    share = norm(loop.coef, loop.intercept) / norm(*problem[3:])
    assert 5e-7 < share <= 1e-6


def test_the_loop_keeps_the_parameters_of_the_last_finite_cost():
    problem = several(33, 2, 1, "mse")
    loop = Loop(*problem, LOSSES["mse"], epochs=2000, lr=50.0, scale=1 / 33)
    with np.errstate(over="ignore", invalid="ignore"):
        status, epochs = loop.run(2000)
    epoch = int(epochs)
    assert status == NOT_FINITE
    assert np.isfinite(loop.costs[:epoch]).all()
    x, y, weight, *_ = problem
    before = loop.previous[:, :-1], loop.previous[:, -1]
    last = expected_totals(x, y, weight, *before, LOSSES["mse"])[0, -1] / 33
    assert last == pytest.approx(loop.costs[epoch - 1], rel=1e-12)


# --- from the caller's own compiled code, with a loss of the caller's own ----------------------------


def huber(z, y):
    r = abs(z - y)
    T = type(z)
    return r * r if r < T(1) else r + r - T(1)


def huber_slope(z, y):
    r = z - y
    T = type(z)
    return r + r if abs(r) < T(1) else math.copysign(T(2), r)


def pinball(z, y):
    T = type(z)
    return max((y - z) * T(0.75), (z - y) * T(0.25))


def pinball_slope(z, y):
    T = type(z)
    return T(0.25) if z > y else T(-0.75)


OWN = {
    "huber": Loss("huber", huber, huber_slope, 2.0),
    "pinball": Loss("pinball", pinball, pinball_slope),
}


@pytest.mark.parametrize(
    ("loss", "scalar"),
    [(OWN["huber"], np.float64), (OWN["pinball"], np.float32), (LOSSES["bce"], np.float32)],
    ids=lambda p: getattr(p, "name", None) or p.__name__,
)
def test_from_compiled_code_of_your_own(loss, scalar):
    kernel = dense.cost_and_gradient(loss)

    @numba.njit
    def descend(x, y, coef, intercept, lr, epochs):
        gradient = np.empty_like(coef)
        costs = np.empty(epochs)
        for epoch in range(epochs):
            costs[epoch], slope = kernel(x, y, coef, intercept, gradient)
            coef -= lr * gradient
            intercept -= lr * slope
        return costs, intercept

    x, y, _, coef, _ = oracles.problem(33, 5, loss.name, dtype=scalar)
    at = coef.copy()
    costs, intercept = descend(x, y, at, 0.0, scalar(0.1), 6)
    w, b, wanted, _ = reference.batch_gd(
        x.tolist(), y.tolist(), coef.tolist(), lr=0.1, epochs=6, loss=loss
    )
    close = {"rtol": 1e-4, "atol": 1e-5} if scalar == np.float32 else {"rtol": 1e-11}
    np.testing.assert_allclose(costs, wanted, **close)
    np.testing.assert_allclose(at, w, **close)
    np.testing.assert_allclose(intercept, b, **close)


def test_cost_and_gradient_of_arrays_that_cannot_be_written():
    x, y, _, coef, intercept = oracles.problem(33, 5)
    kernel = dense.cost_and_gradient(OWN["huber"])
    results = []
    for arrays in ((x, y, coef), [read_only(a) for a in (x, y, coef)]):
        gradient = np.empty(5)
        results.append((*kernel(*arrays, intercept, gradient), *gradient))
    assert results[0] == results[1]
    at = x.tolist(), y.tolist(), coef.tolist(), intercept, OWN["huber"]
    by_coef, by_intercept = reference.gradient(*at)
    wanted = (reference.cost(*at), by_intercept, *by_coef)
    np.testing.assert_allclose(results[0], wanted, rtol=1e-12)
