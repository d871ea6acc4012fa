"""The textbook loops against torch: gradients by autograd, trajectories by torch.optim.SGD."""

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastgd import reference
from fastgd.losses import LOSSES

EXACT = {"rtol": 1e-11, "atol": 1e-12}


def lists(*arrays):
    return [None if a is None else np.asarray(a, dtype=float).tolist() for a in arrays]


def orders_of(n, epochs, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.permutation(n).tolist() for _ in range(epochs)]


@pytest.mark.parametrize("intercept", [0.0, 0.3])
def test_cost_and_gradient_follow_autograd(shape, loss_name, reduction, weighted, intercept):
    x, y, weight, coef, _ = oracles.problem(*shape, loss_name)
    options = {"weight": weight.tolist() if weighted else None, "reduction": reduction}
    arguments = *lists(x, y, coef), intercept, LOSSES[loss_name]
    by_coef, by_intercept = reference.gradient(*arguments, **options)
    wanted = oracles.cost_and_gradient(x, y, coef, intercept, loss_name, **options)
    np.testing.assert_allclose(reference.cost(*arguments, **options), wanted[0], **EXACT)
    np.testing.assert_allclose(by_coef, wanted[1], **EXACT)
    np.testing.assert_allclose(by_intercept, wanted[2], **EXACT)


def test_gradient_passes_gradcheck(loss_name, reduction, weighted):
    """torch.autograd.gradcheck: the reference's gradient is the difference quotient of its cost."""
    x, y, weight, coef, intercept = oracles.problem(9, 4, loss_name, seed=3)
    x, y, weight = lists(x, y, weight if weighted else None)

    class Cost(torch.autograd.Function):
        @staticmethod
        def forward(ctx, coef, intercept):
            ctx.at = coef.tolist(), intercept.item()
            value = reference.cost(x, y, *ctx.at, LOSSES[loss_name], weight, reduction)
            return coef.new_tensor(value)

        @staticmethod
        def backward(ctx, grad):
            by_coef, by_intercept = reference.gradient(
                x, y, *ctx.at, LOSSES[loss_name], weight, reduction
            )
            return grad * grad.new_tensor(by_coef), grad * grad.new_tensor(by_intercept)

    at = oracles.tensor(coef, True), oracles.tensor(intercept, True)
    assert torch.autograd.gradcheck(Cost.apply, at)


def test_predictions_are_those_of_nn_linear(shape):
    x, _, _, coef, intercept = oracles.problem(*shape)
    model = torch.nn.Linear(shape[1], 1).double()
    with torch.no_grad():
        model.weight[:], model.bias[:] = oracles.tensor(coef), intercept
    wanted = model(oracles.tensor(x)).detach().numpy()[:, 0]
    np.testing.assert_allclose(reference.predict(*lists(x, coef), intercept), wanted, **EXACT)


def run(loop, x, y, coef, intercept, orders, size, **options):
    """The same call for each of the three loops."""
    if loop is reference.batch_gd:
        return loop(x, y, coef, intercept, epochs=len(orders), **options)
    if loop is reference.minibatch_gd:
        options["batch_size"] = size
    return loop(x, y, coef, intercept, orders=orders, **options)


LOOPS = {
    reference.batch_gd: None,
    reference.minibatch_gd: 4,
    reference.per_sample_sgd: 1,
}
every_loop = pytest.mark.parametrize(
    ("loop", "size"), LOOPS.items(), ids=lambda p: getattr(p, "__name__", "")
)


@every_loop
@given(
    shape=st.sampled_from([(1, 1), (33, 5), (7, 1), (6, 20)]),
    loss=st.sampled_from(sorted(name for name, loss in LOSSES.items() if not loss.coupled)),
    reduction=st.sampled_from(["mean", "sum"]),
    weighted=st.booleans(),
    l2=st.sampled_from([0.0, 0.3]),
    fit_intercept=st.booleans(),
    seed=st.integers(0, 9),
)
def test_trajectories_follow_torch_sgd(
    loop, size, shape, loss, reduction, weighted, l2, fit_intercept, seed
):
    x, y, weight, coef, intercept = oracles.problem(*shape, loss, seed=seed)
    orders = orders_of(len(y), 5, seed)
    options = {"lr": 0.01, "l2": l2, "fit_intercept": fit_intercept, "reduction": reduction}
    weight = weight.tolist() if weighted else None
    found = run(
        loop,
        *lists(x, y, coef),
        intercept,
        orders,
        size,
        loss=LOSSES[loss],
        weight=weight,
        **options,
    )
    wanted = oracles.trajectory(
        x, y, coef, intercept, orders=orders, batch_size=size, loss=loss, weight=weight, **options
    )
    for part, twin in zip(found, wanted, strict=True):
        np.testing.assert_allclose(part, twin, **EXACT)


@every_loop
@pytest.mark.parametrize("l2", [0.0, 0.2])
def test_trajectories_follow_modules(loop, size, loss_name, reduction, l2):
    """nn.Linear, MSELoss or BCEWithLogitsLoss, SGD; weight_decay is l2, without a bias."""
    x, y, _, coef, intercept = oracles.problem(33, 5, loss_name)
    intercept = 0.0 if l2 else intercept
    orders = orders_of(33, 6)
    options = {"lr": 0.01, "reduction": reduction, "l2": l2}
    found = run(
        loop, *lists(x, y, coef), intercept, orders, size,
        loss=LOSSES[loss_name], fit_intercept=not l2, **options,
    )  # fmt: skip
    weight, bias, losses = oracles.module_trajectory(
        x, y, coef, intercept, orders=orders, batch_size=size, loss=loss_name, **options
    )
    np.testing.assert_allclose(found[0], weight, **EXACT)
    np.testing.assert_allclose(found[1], bias, **EXACT)
    if size is None:
        np.testing.assert_allclose(found[2], losses, **EXACT)


def test_a_batch_of_all_rows_is_batch_descent(reduction, weighted):
    x, y, weight, coef, intercept = oracles.problem(12, 3)
    given_ = *lists(x, y, coef), intercept
    options = {"lr": 0.02, "reduction": reduction, "weight": weight.tolist() if weighted else None}
    batch = reference.batch_gd(*given_, epochs=4, **options)
    whole = reference.minibatch_gd(*given_, orders=[range(12)] * 4, batch_size=12, **options)
    for part, twin in zip(whole, batch, strict=True):
        np.testing.assert_allclose(part, twin, **EXACT)


def test_a_weight_of_two_is_a_row_given_twice(reduction, loss_name):
    x, y, _, coef, intercept = oracles.problem(5, 2, loss_name)
    twice = [0, 1, 1, 2, 3, 4, 4]
    options = {"lr": 0.05, "epochs": 3, "reduction": reduction, "loss": LOSSES[loss_name]}
    weighted = reference.batch_gd(
        *lists(x, y, coef), intercept, weight=[1.0, 2.0, 1.0, 1.0, 2.0], **options
    )
    repeated = reference.batch_gd(*lists(x[twice], y[twice], coef), intercept, **options)
    for part, twin in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(part, twin, **EXACT)


def test_what_is_passed_in_stays():
    x, y, coef = [[1.0], [2.0]], [1.0, 3.0], [0.5]
    reference.per_sample_sgd(x, y, coef, 0.1, lr=0.1, orders=[[1, 0]])
    reference.batch_gd(x, y, coef, 0.1, lr=0.1, epochs=2)
    assert (x, y, coef) == ([[1.0], [2.0]], [1.0, 3.0], [0.5])


# --- the tutorial's own numbers: x·w, w = 1 at first, y = 2x, lr 0.01, 100 epochs ---------------------

X, Y = [[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0]


def test_tutorial_batch():
    """Each epoch shrinks w − 2 by 1 − 0.01·28/3, and the cost is 14/3·(w − 2)²."""
    (w,), b, costs, path = reference.batch_gd(X, Y, [1.0], lr=0.01, epochs=100, fit_intercept=False)
    errors = (1 - 0.28 / 3) ** np.arange(101)
    np.testing.assert_allclose(np.ravel(path), 2 - errors[1:], rtol=1e-14)
    np.testing.assert_allclose(costs, 14 / 3 * errors[:-1] ** 2, rtol=1e-9)
    assert b == 0.0
    assert costs[0] == pytest.approx(4.67, abs=0.005)
    assert 4 * w == pytest.approx(7.9998, abs=5e-5)


def test_tutorial_per_sample():
    """The printed run: gradients −2, −7.84, −16.2288 in the first epoch, w = 1.260688 after it."""
    assert [2 * x[0] * (x[0] * w - y) for x, y, w in zip(X, Y, (1, 1.02, 1.0984), strict=True)] == (
        pytest.approx([-2.0, -7.84, -16.2288])
    )
    (w,), _, costs, path = reference.per_sample_sgd(
        X, Y, [1.0], lr=0.01, orders=[[0, 1, 2]] * 100, fit_intercept=False
    )
    errors = (0.98 * 0.92 * 0.82) ** np.arange(101)
    np.testing.assert_allclose(np.ravel(path), 2 - errors[1:], rtol=1e-14)
    met = (1 + (2 * 0.98) ** 2 + (3 * 0.98 * 0.92) ** 2) / 3
    np.testing.assert_allclose(costs[:40], met * errors[:40] ** 2, rtol=1e-8)
    assert path[0] == pytest.approx([1.260688], abs=5e-7)
    assert 4 * w == pytest.approx(8.0, abs=1e-12)


def test_tutorial_logistic():
    """y = [0, 0, 1], both parameters zero at first, the summed cross-entropy, 1000 epochs."""
    labels = [0.0, 0.0, 1.0]
    options = {"lr": 0.01, "loss": LOSSES["bce"], "reduction": "sum"}
    (w,), b, costs, _ = reference.batch_gd(X, labels, [0.0], epochs=1000, **options)
    weight, bias, losses = oracles.module_trajectory(
        X, labels, [0.0], lr=0.01, orders=[[0, 1, 2]] * 1000, loss="bce", reduction="sum"
    )
    np.testing.assert_allclose([w, b], [weight[0], bias], rtol=1e-11)
    np.testing.assert_allclose(costs, losses, rtol=1e-12)
    assert costs[0] == pytest.approx(3 * np.log(2), rel=1e-15)
