"""Back-propagation, held to torch: gradients by autograd, trajectories by torch.optim."""

import contextlib
import itertools
import math
import signal
import sys
import threading
import warnings

import numpy as np
import oracles
import pytest
import torch
from conftest import JIT_OFF
from numpy.testing import assert_allclose, assert_array_equal

import fastgd
from fastgd import reference
from fastgd.cpu.machine import blas
from fastgd.cpu.order import visiting_order
from fastgd.fitting import held_out as validation
from fastgd.formulas.activations import ACTIVATIONS
from fastgd.losses import LOSSES
from fastgd.mlp import network
from fastgd.mlp import run as mlp_run

HIDDEN = {"none": (), "one": (6,), "two": (5, 3), "three": (4, 4, 3)}
#: Those that a network has a head for.
TORCH_LOSSES = {name: oracles.LOSSES[name] for name in ("mse", "bce")} | oracles.COUPLED
ELEMENTWISE = [name for name in oracles.OPTIMIZERS if name != "lbfgs"]


def problem(hidden=(6,), loss="mse", n=33, d=4, k=3, dtype=np.float64, seed=0):
    """x, y as fastgd takes it, weights and biases."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(dtype)
    y = {
        "mse": lambda: rng.standard_normal((n, k)).astype(dtype),
        "bce": lambda: (rng.random((n, k)) > 0.5).astype(dtype),
        "cross_entropy": lambda: rng.integers(0, k, n),
    }[loss]()
    sizes = [d, *hidden, k]
    weights = [rng.standard_normal((b, a)).astype(dtype) for a, b in itertools.pairwise(sizes)]
    biases = [rng.standard_normal(b).astype(dtype) for b in sizes[1:]]
    return x, y, weights, biases


def torch_forward(x, weights, biases, activation):
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = x @ weight.T + bias
        if layer < len(weights) - 1:
            x = oracles.ACTIVATIONS[activation](x)
    return x


def by_autograd(x, y, weights, biases, activation, loss, reduction="mean"):
    weights, biases = (
        [torch.tensor(p, requires_grad=True) for p in ps] for ps in (weights, biases)
    )
    z = torch_forward(torch.tensor(x), weights, biases, activation)
    cost = TORCH_LOSSES[loss](z, torch.tensor(y), reduction=reduction)
    cost.backward()
    return cost.item(), [w.grad.numpy() for w in weights], [b.grad.numpy() for b in biases]


def assert_agree(got, wanted, **options):
    assert_allclose(got[0], wanted[0], **options)
    for ours, theirs in zip((*got[1], *got[2]), (*wanted[1], *wanted[2]), strict=True):
        assert_allclose(ours, theirs, **options)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", TORCH_LOSSES)
@pytest.mark.parametrize("layers", HIDDEN)
def test_gradients_are_those_of_autograd(activation, loss, layers, dtype, close):
    x, y, weights, biases = problem(HIDDEN[layers], loss, dtype=dtype)
    got = fastgd.mlp_cost_and_gradient(x, y, weights, biases, activation=activation, loss=loss)
    wanted = by_autograd(x, y, weights, biases, activation, loss)
    close(got[0], wanted[0])
    for ours, theirs in zip((*got[1], *got[2]), (*wanted[1], *wanted[2]), strict=True):
        assert ours.dtype == dtype
        assert ours.shape == theirs.shape
        close(ours, theirs)


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a != "relu"])
@pytest.mark.parametrize("loss", TORCH_LOSSES)
def test_gradients_are_finite_differences(activation, loss):
    x, y, weights, biases = problem((5, 4), loss, n=6)

    def cost():
        return fastgd.mlp_cost_and_gradient(
            x, y, weights, biases, activation=activation, loss=loss
        )[0]

    by_weights, by_biases = fastgd.mlp_cost_and_gradient(
        x, y, weights, biases, activation=activation, loss=loss
    )[1:]
    h = 1e-5
    for array, gradient in zip((*weights, *biases), (*by_weights, *by_biases), strict=True):
        for at in np.ndindex(array.shape):
            kept = array[at]
            array[at] = kept + h
            above = cost()
            array[at] = kept - h
            below = cost()
            array[at] = kept
            assert_allclose(gradient[at], (above - below) / (2 * h), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", TORCH_LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_reference_is_the_same(activation, loss, reduction):
    x, y, weights, biases = problem((5, 3), loss)
    got = fastgd.mlp_cost_and_gradient(
        x, y, weights, biases, activation=activation, loss=loss, reduction=reduction
    )
    lists = [[p.tolist() for p in ps] for ps in (weights, biases)]
    wanted = reference.mlp_cost_and_gradient(
        x.tolist(), y.tolist(), *lists, ACTIVATIONS[activation], LOSSES[loss], reduction
    )
    assert_agree(got, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", ["F", "strided", "read-only", "list", "int"])
def test_x_of_any_kind(layout):
    x, y, weights, biases = problem()
    if layout == "int":
        x = np.round(x * 3)
    wanted = fastgd.mlp_cost_and_gradient(x, y, weights, biases)
    given = {
        "F": np.asfortranarray,
        "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
        "read-only": lambda x: (x.setflags(write=False), x)[1],
        "list": np.ndarray.tolist,
        "int": lambda x: x.astype(np.int32),
    }[layout](x)
    assert_agree(
        fastgd.mlp_cost_and_gradient(given, y, weights, biases), wanted, rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_blocks_add_up_in_the_same_order_on_any_number_of_threads(monkeypatch, n_threads):
    monkeypatch.setattr(network, "BLOCK", 4)
    x, y, weights, biases = problem(n=95)
    options = {"lr": 0.1, "epochs": 3, "batch_size": None, "hidden": 6}
    options |= {"weights_init": weights, "biases_init": biases}
    one = fastgd.fit_mlp(x, y, n_threads=1, **options)
    several = fastgd.fit_mlp(x, y, n_threads=n_threads, **options)
    for a, b in zip(one.weights, several.weights, strict=True):
        assert_array_equal(a, b)
    assert one.cost == several.cost
    monkeypatch.undo()
    assert_allclose(fastgd.fit_mlp(x, y, **options).weights[0], one.weights[0], rtol=1e-9)


@pytest.mark.parametrize("batch_size", [150, None])
@pytest.mark.parametrize("optimizer", ["gd", "adam"])
def test_parts_give_the_same_bits_on_any_number_of_threads(monkeypatch, batch_size, optimizer):
    monkeypatch.setattr(network, "_THREADED", 0)
    monkeypatch.setattr(network, "BLOCK", 200)
    x, y, *_ = problem(n=320, d=90, loss="cross_entropy")
    assert network.parts_of(150, 2 * 150 * 90 * 60) == 2
    options = {"loss": "cross_entropy", "hidden": (60, 50), "batch_size": batch_size, "epochs": 3}
    options |= {"optimizer": optimizer, "lr": 0.1 if optimizer == "gd" else 1e-3}
    with oracles.quiet():
        fits = [fastgd.fit_mlp(x, y, n_threads=t, **options) for t in (1, 2, 3)]
    for fit in fits[1:]:
        for a, b in zip(
            (*fits[0].weights, *fits[0].biases), (*fit.weights, *fit.biases), strict=True
        ):
            assert_array_equal(a, b)
        assert_array_equal(fit.costs, fits[0].costs)
        assert fit.cost == fits[0].cost


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
def test_large_batches_in_parts_walk_with_torch(monkeypatch, optimizer):
    monkeypatch.setattr(network, "_THREADED", 0)
    monkeypatch.setattr(network, "BLOCK", 96)
    x, y, weights, biases = problem((60, 50), "cross_entropy", n=200, d=90)
    weights = [w / 9 for w in weights]
    make, options = oracles.OPTIMIZERS[optimizer]
    wanted = walk_of_torch(
        x, y, weights, biases, "cross_entropy", lambda p: make(p, lr=0.01, **options), 3, 150
    )
    fit = fastgd.fit_mlp(
        x, y, hidden=(60, 50), activation="tanh", loss="cross_entropy", lr=0.01, epochs=3,
        batch_size=150, seed=3, optimizer=optimizer, weights_init=weights, biases_init=biases,
    )  # fmt: skip
    for ours, theirs in zip((*fit.weights, *fit.biases), (*wanted[0], *wanted[1]), strict=True):
        assert_allclose(ours, theirs, rtol=1e-8, atol=1e-11)


def test_without_a_blas_that_we_know_plain_loops_multiply(monkeypatch, dtype, close):
    x, y, weights, biases = problem((5, 3), dtype=dtype)
    wanted = fastgd.mlp_cost_and_gradient(x, y, weights, biases)
    monkeypatch.setattr(blas, "_PRODUCTS", ())
    found = blas.product(np.dtype(dtype))
    blas.product.cache_clear()
    try:
        assert blas.product(np.dtype(dtype)) != found
        got = fastgd.mlp_cost_and_gradient(x, y, weights, biases)
    finally:
        blas.product.cache_clear()
    close(got[0], wanted[0])
    for ours, theirs in zip((*got[1], *got[2]), (*wanted[1], *wanted[2]), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("loss", TORCH_LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_whole_weights_are_copies_of_rows(loss, reduction):
    x, y, weights, biases = problem(loss=loss, n=20, k=1 if loss == "bce" else 3)
    counts = np.random.default_rng(1).integers(0, 4, 20)
    y = y[:, 0] if loss == "bce" else y
    options = {"lr": 0.02, "epochs": 4, "batch_size": None, "hidden": 6, "loss": loss}
    options |= {"weights_init": weights, "biases_init": biases, "reduction": reduction}
    if loss == "cross_entropy":  # each class on both sides
        counts[:3], y[:3] = 1, range(3)
    weighted = fastgd.fit_mlp(x, y, sample_weight=counts, **options)
    copies = fastgd.fit_mlp(np.repeat(x, counts, axis=0), np.repeat(y, counts, axis=0), **options)
    assert_allclose(weighted.costs, copies.costs, rtol=1e-12)
    assert_allclose(weighted.weights[0], copies.weights[0], rtol=1e-9, atol=1e-12)
    assert_allclose(weighted.cost, copies.cost, rtol=1e-12)


def assert_same_parameters(a, b):
    for ours, theirs in zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True):
        assert_array_equal(ours, theirs)


@pytest.mark.parametrize("size", [2.0**1023, 2.0**-1070, 1e308, 1e-320])
def test_the_mean_of_weights_of_any_size_is_that_of_ones(size):
    x, y, *_ = problem(n=20)
    options = {"epochs": 3, "hidden": 6, "batch_size": 8, "lr": 0.02, "validation": 0.3}
    with oracles.quiet():
        ones = fastgd.fit_mlp(x, y, **options)
        fit = fastgd.fit_mlp(x, y, sample_weight=np.full(20, size), **options)
    assert_allclose(fit.weights[0], ones.weights[0], rtol=1e-13)
    assert_allclose(fit.validation_costs, ones.validation_costs, rtol=1e-13)
    assert_allclose([*fit.costs, fit.cost], [*ones.costs, ones.cost], rtol=1e-13)
    if math.frexp(size)[0] == 0.5:  # a power of two changes no bit
        assert_same_parameters(fit, ones)
        assert fit.cost == ones.cost


@pytest.mark.parametrize("size", [2.0**600, 2.0**-600])
def test_the_sum_and_its_steps_are_as_large_as_the_weights(size):
    x, y, *_ = problem(n=20)
    options = {"epochs": 3, "hidden": 6, "batch_size": 8, "reduction": "sum"}
    held = x, y, np.ones(20)
    with oracles.quiet():
        ones = fastgd.fit_mlp(x, y, lr=0.02, validation=held, **options)
        held = x, y, np.full(20, size)
        fit = fastgd.fit_mlp(
            x, y, sample_weight=np.full(20, size), lr=0.02 / size, validation=held, **options
        )
    assert_same_parameters(fit, ones)
    assert_array_equal(fit.costs, ones.costs * size)
    assert_array_equal(fit.validation_costs, ones.validation_costs * size)


def test_a_sum_that_overflows_by_its_weights():
    x, y, *_ = problem(n=20)
    with pytest.raises(
        fastgd.DivergenceError, match="values of x, y or sample_weight are too large"
    ):
        fastgd.fit_mlp(x, y, hidden=6, sample_weight=np.full(20, 1e308), reduction="sum")


VALIDATED = {"hidden": 6, "lr": 0.1, "batch_size": 8, "loss": "cross_entropy", "patience": 3}


def walk_and_look(x, y, held_x, held_y, weight=None, held_weight=None):
    """Epochs run, the best, its weights, and all costs of the rows held out, the obvious way."""
    costs, best = [], None
    options = {key: value for key, value in VALIDATED.items() if key != "patience"}
    while best is None or len(costs) - best[0] < VALIDATED["patience"]:
        with oracles.quiet():
            fit = fastgd.fit_mlp(x, y, epochs=len(costs) + 1, sample_weight=weight, **options)
        z = torch.tensor(fit.raw_prediction(held_x))
        losses = torch.nn.functional.cross_entropy(z, torch.tensor(held_y), reduction="none")
        costs.append(np.average(losses.numpy(), weights=held_weight))
        if best is None or costs[-1] < min(costs[:-1]):
            best = len(costs), fit.weights[0]
    return len(costs), *best, costs


def assert_stopped_there(fit, wanted):
    assert (fit.n_epochs, fit.best_epoch) == wanted[:2]
    assert_allclose(fit.weights[0], wanted[2], rtol=1e-12)
    assert_allclose(fit.validation_costs, wanted[3], rtol=1e-10)
    assert fit.converged


def test_early_stopping_on_given_rows():
    x, y, *_ = problem(loss="cross_entropy")
    held_x, held_y, *_ = problem(loss="cross_entropy", seed=5)
    weight, held_weight = np.random.default_rng(0).random((2, 33)) + 0.1
    fit = fastgd.fit_mlp(
        x, y, sample_weight=weight, validation=(held_x, held_y, held_weight), **VALIDATED
    )
    assert_stopped_there(fit, walk_and_look(x, y, held_x, held_y, weight, held_weight))


def test_early_stopping_on_a_fraction():
    x, y, *_ = problem(loss="cross_entropy", n=60)
    fit = fastgd.fit_mlp(x, y, validation=0.4, **VALIDATED)
    trained, held = validation.split(60, 0.4, 0)
    assert_stopped_there(fit, walk_and_look(x[trained], y[trained], x[held], y[held]))


def test_patience_that_did_not_end_the_fit_is_told():
    x, y, *_ = problem()
    with pytest.warns(fastgd.ConvergenceWarning, match="patience=5 did not end the fit"):
        fit = fastgd.fit_mlp(x, y, hidden=6, lr=0.01, epochs=2, validation=(x, y))
    assert fit.best_epoch == 2


def test_ctrl_c_with_validation_keeps_the_best():
    x, y, *_ = problem(loss="cross_entropy")
    held_x, held_y, *_ = problem(loss="cross_entropy", seed=5)
    given = VALIDATED | {"validation": (held_x, held_y)}
    whole = fastgd.fit_mlp(x, y, **given)

    def interrupt(fit):
        if fit.n_epochs == whole.best_epoch + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as e:
        fastgd.fit_mlp(x, y, callback=interrupt, **given)
    assert e.value.fit.best_epoch == whole.best_epoch
    assert_array_equal(e.value.fit.weights[0], whole.weights[0])
    assert_allclose(e.value.fit.cost, whole.cost)


HELD_OUT = [
    ((np.ones((2, 3)), np.ones((2, 3))), "in validation, x has 3 columns"),
    ((np.ones((2, 4)), np.ones((2, 2))), r"in validation, y has 2 column\(s\)"),
    ((np.full((2, 4), np.nan), np.ones((2, 3))), "in validation, x is nan at row 0"),
    ((np.full((2, 4), 1e200), np.full((2, 3), 1e200)), "the validation cost overflows float64"),
    ((np.full((2, 4), np.inf), np.ones((2, 3))), "in validation, x is inf at row 0"),
    (1.0, "validation is 1.0"),
    (0.99, "leaves none to train on"),
]


@pytest.mark.parametrize(("held_out", "sentence"), HELD_OUT)
def test_rows_that_cannot_validate(held_out, sentence):
    x, y, *_ = problem()
    wanted = fastgd.DivergenceError if "overflows" in sentence else fastgd.InputError
    with pytest.raises(wanted, match=sentence):
        fastgd.fit_mlp(x, y, hidden=6, lr=0.01, epochs=3, activation="relu", validation=held_out)


@pytest.mark.parametrize("held_out", [0.3, 0.7])
def test_an_infinity_is_found_among_the_rows_held_out(held_out):
    """The logistic function would make a finite activation of it."""
    x, y, *_ = problem()
    x[validation.split(33, 0.3, 0)[1][2], 1] = np.inf
    row = int(np.argmax(x[:, 1]))
    with pytest.raises(fastgd.InputError, match=f"^x is inf at row {row}, column 1;"):
        fastgd.fit_mlp(x, y, hidden=6, lr=0.01, validation=held_out)


def test_weights_that_leave_a_side_without_rows():
    x, y, *_ = problem()
    weight = np.zeros(33)
    weight[0] = 1
    with pytest.raises(fastgd.InputError, match="one side of the validation split"):
        fastgd.fit_mlp(x, y, hidden=6, lr=0.01, validation=0.2, sample_weight=weight)


def walk_of_torch(
    x, y, weights, biases, loss, optimizer, epochs, batch_size, l2=0.0, schedule=None
):
    """Parameters and costs after minibatch updates by torch.optim, in fastgd's order."""
    weights, biases = (
        [torch.tensor(p, requires_grad=True) for p in ps] for ps in (weights, biases)
    )
    x, y = torch.tensor(x), torch.tensor(y)
    optimizer = optimizer([*weights, *biases])
    costs = []
    for epoch in range(epochs):
        order, met = visiting_order(len(x), True, 3, epoch), 0.0
        if schedule:
            optimizer.param_groups[0]["lr"] = schedule(epoch)
        for start in range(0, len(x), batch_size):
            batch = torch.from_numpy(order[start : start + batch_size].astype(np.int64))
            optimizer.zero_grad()
            cost = TORCH_LOSSES[loss](torch_forward(x[batch], weights, biases, "tanh"), y[batch])
            met += cost.item() * len(batch)
            (cost + l2 / 2 * sum((w**2).sum() for w in weights)).backward()
            optimizer.step()
        costs.append(met / len(x))
    return [w.detach().numpy() for w in weights], [b.detach().numpy() for b in biases], costs


@pytest.fixture
def torch_in_float64():
    """torch.optim.ASGD keeps its eta in torch's default dtype: float32 would be 6e-8 off."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("torch_in_float64")
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_trajectories_are_those_of_torch(name, loss):
    x, y, weights, biases = problem((6, 5), loss)
    lr = 0.01 if name in ("gd", "momentum", "nesterov", "adagrad", "asgd") else 1e-3
    make, options = oracles.OPTIMIZERS[name]
    wanted = walk_of_torch(
        x, y, weights, biases, loss, lambda p: make(p, lr=lr, **options), 7, 7
    )  # 35 updates
    with oracles.quiet():
        fit = fastgd.fit_mlp(
            x, y, hidden=(6, 5), activation="tanh", loss=loss, lr=lr, epochs=7, batch_size=7, seed=3,
            optimizer=name, weights_init=weights, biases_init=biases,
        )  # fmt: skip
    for ours, theirs in zip((*fit.weights, *fit.biases), (*wanted[0], *wanted[1]), strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    assert_allclose(fit.costs, wanted[2], rtol=1e-10)


DECAYING = ["SGD", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "RMSprop"]


@pytest.mark.usefixtures("torch_in_float64")
@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize("block", [512, 5])
def test_weight_decay_is_that_of_torch(monkeypatch, name, l2, block):
    """Of weights and biases, in batches of one block and of several; l2 is of weights alone."""
    monkeypatch.setattr(network, "BLOCK", block)
    x, y, weights, biases = problem()
    kind = getattr(torch.optim, name)
    wanted = walk_of_torch(
        x, y, weights, biases, "mse", lambda p: kind(p, lr=0.01, weight_decay=0.3), 3, 12, l2
    )
    with oracles.quiet():
        fit = fastgd.fit_mlp(
            x, y, hidden=6, activation="tanh", lr=0.01, epochs=3, batch_size=12, seed=3, l2=l2,
            optimizer=getattr(fastgd, name)(weight_decay=0.3), weights_init=weights,
            biases_init=biases,
        )  # fmt: skip
    for ours, theirs in zip((*fit.weights, *fit.biases), (*wanted[0], *wanted[1]), strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    assert_allclose(fit.costs, wanted[2], rtol=1e-10)


def test_penalty_and_schedule_are_those_of_torch():
    x, y, weights, biases = problem()
    wanted = walk_of_torch(
        x, y, weights, biases, "mse", lambda p: torch.optim.SGD(p, lr=0.1), 5, 8, 0.3,
        lambda epoch: 0.1 * 0.5**epoch,
    )  # fmt: skip
    fit = fastgd.fit_mlp(
        x, y, hidden=6, activation="tanh", lr=0.1, epochs=5, batch_size=8, seed=3, l2=0.3,
        schedule=fastgd.schedules.ExponentialLR(0.5), weights_init=weights, biases_init=biases,
    )  # fmt: skip
    for ours, theirs in zip((*fit.weights, *fit.biases), (*wanted[0], *wanted[1]), strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    assert_allclose(fit.lrs, 0.1 * 0.5 ** np.arange(5))


def test_sum_takes_steps_of_the_sum():
    x, y, weights, biases = problem(n=12)
    start = {"weights_init": weights, "biases_init": biases, "hidden": 6, "epochs": 3}
    mean = fastgd.fit_mlp(x, y, lr=0.36, batch_size=4, **start)
    total = fastgd.fit_mlp(x, y, lr=0.03, batch_size=4, reduction="sum", **start)
    assert_allclose(mean.weights[0], total.weights[0], rtol=1e-10)
    assert_allclose(36 * mean.costs, total.costs)


def test_labels_of_two_kinds_and_bce():
    x = np.linspace(-2, 2, 40)
    y = np.where(x > 0.3, "yes", "no")
    fit = fastgd.fit_mlp(x, y, hidden=4, loss="bce", lr=1.0, batch_size=8, epochs=60)
    assert fit.classes.tolist() == ["no", "yes"]
    assert fit.score(x, y) > 0.9
    assert_allclose(fit.predict_proba(x).sum(axis=1), 1)
    assert_allclose(fit.predict_proba(x)[:, 1], 1 / (1 + np.exp(-fit.raw_prediction(x))))
    assert fit.weights[1].shape == (1, 4)


def test_predictions_and_score():
    x, y, weights, biases = problem((6, 5))
    fit = fastgd.fit_mlp(
        x, y, hidden=(6, 5), activation="gudermannian", lr=0.05, epochs=3, weights_init=weights,
        biases_init=biases,
    )  # fmt: skip
    z = torch_forward(
        torch.tensor(x), *([torch.tensor(p) for p in ps] for ps in (fit.weights, fit.biases)),
        "gudermannian",
    )  # fmt: skip
    assert_allclose(fit.predict(x), z.numpy(), rtol=1e-10)
    assert_allclose(fit.cost, ((fit.predict(x) - y) ** 2).mean())
    from sklearn.metrics import r2_score

    assert_allclose(fit.score(x, y), r2_score(y, fit.predict(x)))
    with pytest.raises(AttributeError, match="predict_proba is for fits on labels"):
        fit.predict_proba(x)


@pytest.mark.jit
def test_digits_as_well_as_scikit_learn():
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    x, labels = (x / 16).astype(np.float32), np.array([f"digit {c}" for c in y])
    fit = fastgd.fit_mlp(
        x[:1200], labels[:1200], hidden=64, loss="cross_entropy", epochs=60, lr="auto"
    )
    assert fit.method == "adam"
    assert fit.converged
    assert fit.weights[0].dtype == np.float32
    with warnings.catch_warnings(action="ignore"):
        rival = MLPClassifier(
            (64,), activation="logistic", alpha=0.0, batch_size=64, max_iter=60, random_state=0
        ).fit(x[:1200], y[:1200])
    assert fit.score(x[1200:], labels[1200:]) > rival.score(x[1200:], y[1200:]) - 0.02


def test_the_start_is_that_of_torch_and_the_seed_decides():
    x, y, *_ = problem(n=50, d=9)
    options = {"hidden": 40, "lr": 1e-12, "epochs": 1}
    with oracles.quiet():
        a, b, c = (fastgd.fit_mlp(x, y, seed=s, **options) for s in (1, 1, 2))
    assert_array_equal(a.weights[0], b.weights[0])
    assert (a.weights[0] != c.weights[0]).any()
    for parameters in (a.weights[0], a.biases[0]):
        assert 0.25 < np.abs(parameters).max() < 1 / 3 + 1e-9


@pytest.mark.parametrize("loss", TORCH_LOSSES)
def test_save_and_load(tmp_path, loss):
    x, y, *_ = problem(loss=loss, k=2)
    y = y[:, 0] if y.ndim == 2 else y
    with oracles.quiet():
        fit = fastgd.fit_mlp(x, y, hidden=(5, 4), loss=loss, epochs=2, validation=0.3)
    fit.save(tmp_path / "fit.npz")
    again = fastgd.load(tmp_path / "fit.npz")
    assert isinstance(again, fastgd.MlpFit)
    assert repr(again) == repr(fit)
    assert_array_equal(again.predict(x), fit.predict(x))
    assert_array_equal(again.costs, fit.costs)
    assert_array_equal(again.validation_costs, fit.validation_costs)
    assert again.best_epoch == fit.best_epoch


def test_labels_that_no_file_keeps(tmp_path):
    x, y, *_ = problem(loss="cross_entropy")
    fit = fastgd.fit_mlp(x, y, loss="cross_entropy", epochs=1, lr=1e-9, hidden=2)
    fit.classes = fit.classes.astype(object)
    with pytest.raises(fastgd.InputError, match="Python objects"):
        fit.save(tmp_path / "fit.npz")


def test_divergence_carries_the_last_finite_parameters():
    x, y, *_ = problem()
    with pytest.raises(
        fastgd.DivergenceError, match=r"no longer finite after epoch .* lr=1e\+10"
    ) as e:
        fastgd.fit_mlp(x, y, hidden=6, activation="relu", lr=1e10, epochs=50)
    fit = e.value.fit
    assert np.isfinite(fit.cost)
    assert all(np.isfinite(w).all() for w in fit.weights)
    assert len(fit.costs) == fit.n_epochs
    assert not fit.converged


OVERFLOWS = [
    ({}, 1e200, "values of x or y are too large"),
    (
        {"l2": 1e300, "weights_init": [np.full((2, 2), 1e10), np.ones((1, 2))]},
        1.0,
        "weights_init or l2",
    ),
    ({"biases_init": [np.ones(2), np.full(1, 1e200)]}, 1.0, "x, y or biases_init are too large"),
    ({"dtype": "float32"}, 1e50, "the cost overflows float32"),
]


@pytest.mark.parametrize(("options", "size", "sentence"), OVERFLOWS)
def test_a_cost_that_overflows_at_the_start(options, size, sentence):
    x, y = np.full((4, 2), size), np.ones(4)
    with pytest.raises(fastgd.DivergenceError, match=f"at the start.*{sentence}|{sentence}") as e:
        fastgd.fit_mlp(x, y, hidden=2, activation="identity", **options)
    assert e.value.fit is None


def test_an_overflow_whatever_the_order_of_bytes():
    x, y = np.full((4, 2), 1e50, ">f8"), np.ones(4)
    with pytest.raises(fastgd.DivergenceError, match="the cost overflows float32 at the start"):
        fastgd.fit_mlp(x, y, hidden=2, activation="identity", dtype="float32")


@pytest.mark.parametrize("held_out", [None, 0.3])
@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize("l2", [0.0, 1.0])
@pytest.mark.parametrize("lr", [10.0, 1e3, 1e10, 1e150, 1e300])
def test_a_fit_that_diverges_has_a_finite_one(held_out, batch_size, l2, lr):
    x, y, *_ = problem()
    options = {"hidden": 6, "activation": "identity", "batch_size": batch_size, "l2": l2}
    options["validation"] = held_out
    with pytest.raises(fastgd.DivergenceError, match="is no longer finite after epoch") as e:
        fastgd.fit_mlp(x, y, lr=lr, epochs=300, **options)
    fit = e.value.fit
    assert f"after epoch {fit.n_epochs} with" in str(e.value)
    for values in (fit.cost, fit.costs, *fit.weights, *fit.biases):
        assert np.isfinite(values).all()
    if held_out:
        assert np.isfinite(fit.validation_costs).all()
    assert len(fit.costs) == len(fit.lrs) == fit.n_epochs
    if fit.n_epochs:
        with oracles.quiet():
            assert_same_fit(fit, fastgd.fit_mlp(x, y, lr=lr, epochs=fit.n_epochs, **options))


def test_a_cost_that_rose_is_told():
    x, y, *_ = problem()
    with pytest.warns(fastgd.ConvergenceWarning, match="the cost rose from"):
        fit = fastgd.fit_mlp(x, y, hidden=6, lr=3.0, epochs=1)
    assert not fit.converged


def test_ctrl_c_keeps_the_fit_so_far():
    x, y, *_ = problem()
    seen = []

    def interrupt(fit):
        seen.append(fit)
        if fit.n_epochs == 3:
            raise KeyboardInterrupt

    run = {"hidden": 6, "lr": 0.01, "epochs": 3, "callback": interrupt}
    with pytest.raises(KeyboardInterrupt) as e:
        fastgd.fit_mlp(x, y, **run)
    assert e.value.fit.n_epochs == 3
    assert_array_equal(e.value.fit.weights[0], seen[-1].weights[0])


def assert_same_fit(a, b):
    assert_same_parameters(a, b)
    assert (a.n_epochs, a.cost, a.best_epoch) == (b.n_epochs, b.cost, b.best_epoch)
    for name in ("costs", "lrs", "validation_costs"):
        assert_array_equal(getattr(a, name), getattr(b, name))


def assert_fit_of_its_epochs(fit, x, y, **options):
    """That of a call with as many epochs; in the first epoch of parameters that have moved."""
    with oracles.quiet():
        if fit.n_epochs:
            assert_same_fit(fit, fastgd.fit_mlp(x, y, **options, epochs=fit.n_epochs))
        else:
            start = fastgd.fit_mlp(x, y, **options | {"lr": 1e-300}, epochs=1)
            assert (fit.weights[0] != start.weights[0]).any()
            assert len(fit.costs) == len(fit.lrs) == 0
            assert math.isfinite(fit.cost)


def in_spans_of(rows, patch):
    def measured(run, *_):
        run.span = rows

    patch.setattr(mlp_run, "_SPAN", 0)  # the first one is as short as can be
    patch.setattr(mlp_run.MlpRun, "_measured", measured)


@pytest.mark.parametrize("update", range(1, 12))
@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_between_updates(monkeypatch, update, when):
    """In the first epoch every finished update counts, and later every finished epoch."""
    x, y, *_ = problem(n=40)
    options = {"hidden": 6, "lr": 0.01, "batch_size": 8}
    met, original = [], network.Passes.train

    def interrupted(self, *arguments):
        met.append(1)
        losses = original(self, *arguments) if len(met) < update or when == "after" else 0.0
        if len(met) == update:
            raise KeyboardInterrupt
        return losses

    with monkeypatch.context() as patch:
        in_spans_of(8, patch)
        patch.setattr(network.Passes, "train", interrupted)
        with pytest.raises(KeyboardInterrupt) as e:
            fastgd.fit_mlp(x, y, **options, epochs=9)
    if update == 1:
        assert e.value.fit is None
    else:
        assert e.value.fit.n_epochs == (update - 1) // 5
        assert_fit_of_its_epochs(e.value.fit, x, y, **options)


@contextlib.contextmanager
def interrupted_at(instruction, files):
    """Ctrl-C at this instruction of Python, counted in the functions of these files."""
    left, before = instruction, sys.gettrace()

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left < 0:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("held_out", [None, 0.4])
def test_ctrl_c_at_any_instruction(held_out):
    x, y, *_ = problem(n=20)
    options = {"hidden": 3, "lr": 0.01, "batch_size": 7, "validation": held_out}
    fits, instruction = [], 0
    while True:
        try:
            with (
                oracles.quiet(),
                interrupted_at(instruction, {mlp_run.__file__, validation.__file__}),
            ):
                fastgd.fit_mlp(x, y, **options, epochs=3)
            break
        except KeyboardInterrupt as stop:
            fits.append(stop.fit)
            instruction += 29
    first = next(i for i, fit in enumerate(fits) if fit)
    epochs = [fit.n_epochs for fit in fits[first:]]
    assert epochs == sorted(epochs)
    assert set(epochs) == {0, 1, 2, 3}
    for fit in fits[first:]:
        assert_fit_of_its_epochs(fit, x, y, **options)


def test_ctrl_c_at_any_time():
    """A signal while compiled code runs."""
    x, y, *_ = problem(n=200)
    options = {"hidden": 6, "lr": 1e-3, "batch_size": 8}

    def interrupted(seconds):
        # Within `raises`: on a busy machine the signal may come first, and would end pytest elsewhere.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        fastgd.fit_mlp(x, y, **options, epochs=10**6)

    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for seconds in (0.02, 0.031, 0.047, 0.085, 0.11):
            with pytest.raises(KeyboardInterrupt) as e:
                interrupted(seconds)
            fit = getattr(e.value, "fit", None)  # none if it came before the fit began
            if fit is not None:
                assert_fit_of_its_epochs(fit, x, y, **options)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_ctrl_c_on_many_rows_estimates_the_cost(monkeypatch):
    x, y, *_ = problem(n=600)
    in_spans_of(10, monkeypatch)

    def stopped(fit):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as e:
        fastgd.fit_mlp(x, y, hidden=6, lr=0.01, batch_size=10, epochs=1, callback=stopped)
    fit = e.value.fit
    assert_allclose(fit.cost, ((fit.predict(x) - y)[::8] ** 2).mean())


class Clock:
    """In place of `time`: it goes on where it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize("batch_size", [1, 8, None])
@pytest.mark.parametrize("row", [1e-8, 2e-6])
def test_spans_take_less_than_a_tenth_of_a_second(monkeypatch, batch_size, row):
    """Ctrl-C waits for the end of one, however slow the machine."""
    x, y, *_ = problem(n=200_000)
    clock, spans = Clock(), []

    def train(self, order, first, stop, *more):
        spans.append(stop - first)
        clock.now += row * (stop - first)
        return 0.0

    monkeypatch.setattr(mlp_run, "time", clock)
    monkeypatch.setattr(network.Passes, "train", train)
    monkeypatch.setattr(network.Passes, "cost", lambda *_: 0.0)
    fastgd.fit_mlp(x, y, hidden=6, lr=0.01, epochs=2, batch_size=batch_size, shuffle=False)
    assert sum(spans) == 400_000
    assert max(spans) * row < 0.1
    assert len(spans) < (20 if row == 2e-6 else 6)


@pytest.mark.parametrize("batch_size", [7, 40, None])
@pytest.mark.parametrize("optimizer", ["gd", "adam"])
def test_spans_change_no_bit(monkeypatch, batch_size, optimizer):
    """Not even those that end within a batch."""
    monkeypatch.setattr(network, "BLOCK", 16)
    x, y, *_ = problem(n=95)
    options = {"hidden": 6, "lr": 0.01, "epochs": 3, "batch_size": batch_size}
    options |= {"optimizer": optimizer, "sample_weight": np.arange(95)}
    whole = fastgd.fit_mlp(x, y, **options)
    for rows in (1, 20, 50):
        in_spans_of(rows, monkeypatch)
        assert_same_fit(fastgd.fit_mlp(x, y, **options), whole)


@pytest.mark.parametrize("seconds", [0.001, 0.03, 0.2])
def test_callbacks_come_about_every_tenth_of_a_second(monkeypatch, seconds):
    x, y, *_ = problem()
    clock, seen, original = Clock(), [], network.Passes.train

    def train(self, *arguments):
        clock.now += seconds
        return original(self, *arguments)

    monkeypatch.setattr(mlp_run, "time", clock)
    monkeypatch.setattr(network.Passes, "train", train)
    with oracles.quiet():
        fastgd.fit_mlp(
            x, y, hidden=6, lr=1e-3, epochs=500, batch_size=None,
            callback=lambda fit: seen.append(fit.n_epochs),
        )  # fmt: skip
    every = max(1, math.ceil(0.1 / seconds - 1e-9))
    assert_allclose(np.diff([0, *seen[:-1]]), every, atol=1)
    assert seen[-1] == 500


@pytest.mark.parametrize("held_out", [None, 0.3])
@pytest.mark.parametrize("columns", [1, 3])
def test_a_fit_kept_from_a_callback_is_not_changed_later(monkeypatch, columns, held_out):
    x, y, *_ = problem(d=columns, k=columns)
    kept = []

    def keep(fit):
        kept.append((fit, [p.copy() for p in (*fit.weights, *fit.biases)]))

    def spoil(fit):
        for p in (*fit.weights, *fit.biases, fit.costs, fit.lrs):
            p[...] = 7.0

    options = {"hidden": 6, "lr": 0.01, "epochs": 4, "validation": held_out}
    monkeypatch.setattr(mlp_run, "_CALLBACK", 0)
    with oracles.quiet():
        whole = fastgd.fit_mlp(x, y, **options, callback=keep)
        spoilt = fastgd.fit_mlp(x, y, **options, callback=spoil)
    assert len(kept) == 4
    for fit, parameters in kept:
        for now, then in zip((*fit.weights, *fit.biases), parameters, strict=True):
            assert_array_equal(now, then)
            assert now.flags.owndata
    assert_same_fit(spoilt, whole)


def test_a_callback_may_stop():
    x, y, *_ = problem()
    fit = fastgd.fit_mlp(x, y, hidden=6, lr=0.01, epochs=1, callback=lambda fit: True)
    assert (fit.n_epochs, fit.converged) == (1, False)


def test_progress_shows_a_bar(capsys):
    x, y, *_ = problem()
    fastgd.fit_mlp(x, y, hidden=6, lr=0.01, epochs=2, progress=True)
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize("fit", [fastgd.fit_mlp, fastgd.fit_logistic])
def test_labels_of_a_fit_kept_from_a_callback_are_its_own(fit):
    x, y, *_ = problem(loss="cross_entropy")

    def spoil(fit):
        fit.classes[...] = 7

    options = {"loss": "cross_entropy", "hidden": 6} if fit is fastgd.fit_mlp else {}
    last = fit(x, y, lr=0.01, epochs=1, callback=spoil, **options)
    assert last.classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [1e-300, 1e-30])
def test_numpy_is_not_asked_to_raise(size, dtype):
    """What underflows is zero, whatever `np.seterr` says."""
    x, y, weights, biases = problem((6, 3), dtype=dtype)
    weight = 10.0 ** np.linspace(-300, 300, 33)
    with np.errstate(all="raise"):
        fit = fastgd.fit_mlp(
            x.astype(float) * size,
            y,
            sample_weight=weight,
            hidden=6,
            lr=1e-3,
            epochs=2,
            dtype=dtype,
        )
        fit.predict(x.astype(float) * size)
        fastgd.mlp_cost_and_gradient(
            x, y, [w.astype(float) * size for w in weights], biases, activation="erf"
        )


@pytest.mark.parametrize("shuffle", [False, "block"])
def test_other_orders(shuffle):
    x, y, *_ = problem()
    a, b = (
        fastgd.fit_mlp(x, y, hidden=6, lr=0.05, epochs=3, batch_size=8, shuffle=shuffle)
        for _ in range(2)
    )
    assert_array_equal(a.weights[0], b.weights[0])


BAD = [
    ({"hidden": 0}, "hidden is 0; expected at least 1"),
    ({"hidden": (4, "a")}, r"hidden\[1\] is 'a'; expected a whole number"),
    ({"activation": "tahn"}, "did you mean 'tanh'"),
    ({"loss": "hinge"}, "loss is 'hinge'; choose from 'mse', 'bce', 'cross_entropy'"),
    ({"optimizer": "lbfgs"}, "fit_mlp does not take 'lbfgs'"),
    ({"optimizer": fastgd.LBFGS()}, "fit_mlp does not take 'lbfgs'"),
    ({"optimizer": "adamm"}, "did you mean 'adam'"),
    ({"lr": "fast"}, "lr is 'fast'"),
    ({"lr": [0.1, 0.2]}, "a network takes one number"),
    ({"epochs": None}, "epochs is None"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"l2": -1.0}, "l2 is -1.0"),
    ({"weights_init": 3}, "weights has no list of arrays; expected 2"),
    ({"weights_init": [[[1.0]]]}, "weights has 1 of arrays; expected 2"),
    ({"biases_init": [[0.0], [0.0]]}, r"biases\[0\] has shape \(1,\); expected \(6,\)"),
    ({"callback": 1}, "callback is 1"),
    ({"dtype": "int32"}, "dtype is 'int32'"),
    (
        {"biases_init": [np.full(6, 1e300), np.ones(3)], "dtype": "float32"},
        r"biases\[0\] goes up to 1e\+300, beyond float32; use dtype='float64'",
    ),
]


@pytest.mark.parametrize(("options", "sentence"), BAD)
def test_options_that_cannot_be_used(options, sentence):
    x, y, *_ = problem()
    with pytest.raises(fastgd.InputError, match=sentence):
        fastgd.fit_mlp(x, y, **({"hidden": 6, "lr": 0.01} | options))


DATA = [
    ([[1.0], [np.nan]], [1, 2], "mse", "x is nan at row 1, column 0"),
    ([[1.0], [2.0]], [1, np.inf], "mse", "y is inf at row 1"),
    ([[1.0], [2.0]], [1, 2, 3], "mse", "x has 2 rows and y has 3"),
    ([[1.0], [2.0]], [1, 2, 3], "cross_entropy", "x has 2 rows and y has 3"),
    ([[1.0], [2.0]], ["a", "a"], "cross_entropy", "y has 1 label value.*'a'"),
    ([[1.0], [2.0]], ["a", None], "cross_entropy", "y has no label at row 1"),
    ([[1.0], [2.0]], [1.0, np.nan], "cross_entropy", "y is nan at row 1"),
    ([[1.0], [2.0]], [[1, 2], [2, 1]], "cross_entropy", "takes one label a row"),
    (np.eye(3), [0, 1, 2], "bce", "y has 3 label values; 'bce' takes two"),
]


@pytest.mark.parametrize(("x", "y", "loss", "sentence"), DATA)
def test_data_that_cannot_be_used(x, y, loss, sentence):
    with pytest.raises(fastgd.InputError, match=sentence):
        fastgd.fit_mlp(x, y, hidden=2, loss=loss, lr=0.1, epochs=2, activation="relu")


COST_INPUTS = [
    ({"weights": 3}, "weights is not a list"),
    ({"weights": [np.ones(3)]}, r"weights\[0\] has shape \(3,\); expected \(out, in\)"),
    ({"biases": [np.ones(2)]}, r"biases\[0\] has shape \(2,\); expected \(3,\)"),
    ({"weights": [np.ones((3, 5))]}, r"weights\[0\] has shape \(3, 5\); expected \(3, 4\)"),
    ({"y": np.ones((33, 2))}, "y has 2 column"),
    ({"loss": "cross_entropy", "y": np.full(33, 3)}, "classes are 0 to 2"),
    ({"loss": "cross_entropy", "y": np.full(33, 0.5)}, "y is 0.5 at row 0"),
    ({"loss": "cross_entropy", "y": np.full(33, np.nan)}, "y is nan at row 0"),
    ({"loss": "cross_entropy", "y": np.full(33, -np.inf)}, "y is -inf at row 0"),
    ({"loss": "cross_entropy", "y": np.full(33, 1e300)}, r"y is 1e\+300 at row 0"),
    ({"loss": "cross_entropy"}, "the index of each row's class"),
    ({"loss": "bce"}, "labels in"),
    ({"x": np.full((33, 4), np.nan)}, "x is nan at row 0"),
]


@pytest.mark.parametrize(("change", "sentence"), COST_INPUTS)
def test_costs_of_what_cannot_be_used(change, sentence):
    x, y, weights, biases = problem(())
    given = {"x": x, "y": y, "weights": weights, "biases": biases} | change
    with pytest.raises(fastgd.InputError, match=sentence):
        fastgd.mlp_cost_and_gradient(**given)


@pytest.mark.parametrize(("weight", "what"), [(1e120, "gradient"), (1e160, "cost")])
def test_a_cost_or_a_gradient_that_overflows(weight, what):
    """A cost of 1e240 is finite, but not its gradient of 2e440."""
    x, weights, biases = np.full((4, 1), 1e200), [[[1e-200]], [[weight]]], [[0.0], [0.0]]
    with pytest.raises(fastgd.DivergenceError, match=f"the {what} overflows float64 at these"):
        fastgd.mlp_cost_and_gradient(x, np.zeros(4), weights, biases, activation="identity")


def test_gradients_are_their_own():
    x, y, weights, biases = problem(d=1, k=1)
    _, by_weights, by_biases = fastgd.mlp_cost_and_gradient(x, y, weights, biases)
    assert all(g.flags.owndata and g.flags.c_contiguous for g in (*by_weights, *by_biases))


def test_predictions_of_what_cannot_be_used():
    x, y, *_ = problem()
    fit = fastgd.fit_mlp(x, y, hidden=6, lr=0.01, epochs=1)
    with pytest.raises(fastgd.InputError, match="x has 3 columns; this fit has 4"):
        fit.predict(x[:, :3])
    with pytest.raises(fastgd.InputError, match="x is inf at row 2, column 1"):
        fit.predict(np.where(np.arange(132).reshape(33, 4) == 9, np.inf, x))


def test_blas_gets_its_threads_back():
    controls = blas._controls()
    if controls is None:
        pytest.skip("not OpenBLAS")
    get, put = controls
    before = get()
    put(2)
    try:
        inside = threading.Barrier(2)

        def other():
            with blas.one_thread():
                inside.wait()

        thread = threading.Thread(target=other)
        with blas.one_thread():
            assert get() == 1
            thread.start()
            inside.wait()
            thread.join()
            assert get() == 1
        assert get() == 2
    finally:
        put(before)


@pytest.mark.skipif(JIT_OFF, reason="plain Python counts in float64")
def test_float32_stays_float32():
    x, y, weights, biases = problem(dtype=np.float32)
    cost, by_weights, by_biases = fastgd.mlp_cost_and_gradient(x, y, weights, biases)
    assert isinstance(cost, float)
    assert {g.dtype for g in (*by_weights, *by_biases)} == {np.dtype(np.float32)}
