"""Stochastic loops of many models against the reference, each with a learning rate of its own."""

import itertools

import numpy as np
import oracles
import pytest

from fastgd import reference
from fastgd.cuda import driver
from fastgd.cuda.layout import THREADS
from fastgd.cuda.stochastic import Models
from fastgd.losses import LOSSES
from fastgd.settings import Settings
from fastgd.solvers.on_device import DeviceStochasticDescent
from fastgd.solvers.stochastic import StochasticDescent
from fastgd.sources.dense import DenseRows
from fastgd.sources.device import DeviceRows

every_size = pytest.mark.parametrize("batch_size", [1, 4, 300], ids="batch{}".format)


class Loop:
    """k models, the learning rate of each twice that of the one before."""

    def __init__(
        self, n, d, loss_name, batch_size, *, weighted=False, dtype=np.float64, k=1, lr=0.02, l2=0.0,
        learn=True, by_columns=False,
    ):  # fmt: skip
        x, y, weight, coef, self.b = oracles.problem(n, d, loss_name, dtype=dtype)
        self.x, self.loss, self.batch_size = x, LOSSES[loss_name], batch_size
        self.weight = weight if weighted else None
        self.y = np.stack([np.roll(y, c) for c in range(k)])
        self.start = np.stack([coef * (-1) ** c for c in range(k)])
        self.rates, self.l2, self.learn = lr * 2.0 ** np.arange(k), l2, learn
        row_scale = n / weight.sum() if weighted else 1.0
        settings = Settings(
            lr=self.rates, l2=l2, scale=1.0, row_scale=row_scale, fit_intercept=learn, tol=0.0
        )
        source = DeviceRows(np.asfortranarray(x) if by_columns else x, self.y, self.weight, dtype)
        self.models = Models(
            source, self.loss, self.start, np.full(k, self.b, dtype), settings, batch_size
        )

    def run(self, order, *bounds):
        losses = self.models.update(np.array(order, dtype=np.int32), *bounds)
        return losses / (self.weight.sum(dtype=float) if self.weight is not None else len(self.x))

    def expected(self, orders):
        """The reference's coef, intercept and costs of every model."""
        runs = [
            reference.minibatch_gd(
                self.x.tolist(), y.tolist(), start.tolist(), self.b, orders=orders, loss=self.loss,
                batch_size=self.batch_size, fit_intercept=self.learn, lr=lr, l2=self.l2,
                weight=None if self.weight is None else self.weight.tolist(),
            )
            for y, start, lr in zip(self.y, self.start, self.rates.tolist(), strict=True)
        ]  # fmt: skip
        return [np.array(part) for part in list(zip(*runs, strict=True))[:3]]


def orders_of(n, epochs):
    rng = np.random.default_rng(7)
    return [rng.permutation(n).tolist() for _ in range(epochs)]


@every_size
@pytest.mark.parametrize("shape", [(1, 1), (33, 5), (6, 20), (5, 40)], ids=str)
def test_iterates_are_those_of_the_reference(shape, dtype, close, loss_name, batch_size):
    loop = Loop(*shape, loss_name, batch_size, weighted=True, dtype=dtype)
    orders = orders_of(shape[0], 2)
    costs = [loop.run(order)[0] for order in orders]
    coef, intercept, wanted = loop.expected(orders)
    found = loop.models.parameters()
    close(found[0], coef)
    close(found[1], intercept)
    close(costs, wanted[0])


@every_size
@pytest.mark.parametrize("options", [{"l2": 0.2}, {"learn": False}, {"by_columns": True}], ids=str)
@pytest.mark.parametrize("k", [3, 11])
def test_every_model_has_a_learning_rate_of_its_own(batch_size, k, options):
    """Eleven models of four lanes: two blocks, the last of them with lanes to spare."""
    loop = Loop(9, 3, "bce", batch_size, k=k, lr=0.001, **options)
    orders = orders_of(9, 2)
    costs = [loop.run(order) for order in orders]
    coef, intercept, wanted = loop.expected(orders)
    found = loop.models.parameters()
    np.testing.assert_allclose(found[0], coef, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found[1], intercept, rtol=1e-11)
    np.testing.assert_allclose(np.transpose(costs), wanted, rtol=1e-11)


def test_a_model_wider_than_a_warp_can_hold():
    """The block is then one model, and its warps meet in shared memory."""
    loop = Loop(4, 530, "bce", 1, k=2)
    if driver.SIMULATED:
        loop.models._layout = loop.models._layout._replace(lanes=64, threads=64, loads=9)
    orders = orders_of(4, 2)
    costs = [loop.run(order) for order in orders]
    coef, _, wanted = loop.expected(orders)
    np.testing.assert_allclose(loop.models.parameters()[0], coef, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.transpose(costs), wanted, rtol=1e-11)


def test_batches_of_the_widest_rows(monkeypatch):
    """The shared memory of a block holds the gradient of 4096 columns in float64."""
    monkeypatch.setattr(DeviceRows, "threads", THREADS)
    loop = Loop(2, 4096, "mse", 2, lr=1e-5)
    orders = orders_of(2, 1)
    costs = [loop.run(order)[0] for order in orders]
    coef, _, wanted = loop.expected(orders)
    np.testing.assert_allclose(loop.models.parameters()[0], coef, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(costs, wanted[0], rtol=1e-11)


@pytest.mark.parametrize("batch_size", [1, 4], ids="batch{}".format)
def test_chunks_end_where_one_call_ends(batch_size):
    order = orders_of(30, 1)[0]
    whole = Loop(30, 3, "bce", batch_size, weighted=True)
    cost = whole.run(order)
    parts = Loop(30, 3, "bce", batch_size, weighted=True)
    losses = sum(parts.run(order, a, b) for a, b in itertools.pairwise((0, 4, 4, 20, 30)))
    np.testing.assert_array_equal(parts.models.parameters()[0], whole.models.parameters()[0])
    assert losses == pytest.approx(cost, rel=1e-12)


@every_size
def test_an_empty_order_is_the_given_one(batch_size):
    given, told = (Loop(20, 5, "mse", batch_size, k=2) for _ in range(2))
    np.testing.assert_array_equal(given.run([]), told.run(range(20)))
    np.testing.assert_array_equal(given.models.parameters()[0], told.models.parameters()[0])


@every_size
@pytest.mark.parametrize("shuffle", [True, False, "block"])
def test_the_descent_is_that_of_the_cpu(batch_size, shuffle, dtype, close):
    x, y, weight, *_ = oracles.problem(20, 3, "bce", dtype=dtype)
    if batch_size > 20:
        batch_size = 20
    runs = []
    for rows, kind in ((DeviceRows, DeviceStochasticDescent), (DenseRows, StochasticDescent)):
        settings = Settings(
            lr=0.05, l2=0.1, scale=1 / weight.sum(), row_scale=20 / weight.sum(), tol=0.0,
            fit_intercept=True,
        )  # fmt: skip
        descent = kind(
            rows(x, y[None], weight, dtype, 1), LOSSES["bce"], settings, np.zeros((1, 3)), np.zeros(1),
            True, batch_size=batch_size, shuffle=shuffle, seed=3, mean=True,
        )  # fmt: skip
        assert descent.run(3) == 0
        runs.append((descent.coef, descent.intercept, descent.costs[:3], descent.cost()))
    for found, wanted in zip(*runs, strict=True):
        close(found, wanted)
