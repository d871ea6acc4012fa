"""More than two labels on a GPU: against autograd, torch.optim.SGD and the CPU."""

import math

import numpy as np
import pytest
from beside_torch import assert_follows, laid

import fastgd
from fastgd.solvers.on_device import DeviceDescent

torch = pytest.importorskip("torch")

DEVICE = "cuda"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # of other libraries, in versions not known here
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="this torch sees no GPU"
    ),
]

RTOL = {"float32": 2e-5, "float64": 1e-11}

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
both_orders = pytest.mark.parametrize("order", ["C", "F"])


@pytest.fixture(autouse=True)
def _exact_products():
    """No TensorFloat-32 in torch."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def problem(n, d, k, dtype):
    """x (n, d) and labels (n,) on the GPU, every one of k there."""
    options = {
        "generator": torch.Generator(DEVICE).manual_seed(n + d + k),
        "device": DEVICE,
        "dtype": getattr(torch, dtype),
    }
    x = torch.randn(n, d, **options)
    z = x @ torch.randn(d, k, **options) / d**0.5 + torch.randn(n, k, **options)
    y = z.argmax(dim=1)
    y[:k] = torch.arange(k, device=DEVICE)
    return x, y


def totals(x, y, coef, intercept, weight):
    """Cost and gradients of the weighted mean by autograd."""
    coef, intercept = coef.clone().requires_grad_(), intercept.clone().requires_grad_()
    losses = torch.nn.functional.cross_entropy(x @ coef.T + intercept, y, reduction="none")
    cost = (weight * losses).sum() / weight.sum()
    cost.backward()
    return [value.detach().cpu().numpy() for value in (cost, coef.grad, intercept.grad)]


@every_dtype
@both_orders
@pytest.mark.parametrize(
    ("d", "k"), [(1, 3), (5, 4), (32, 10), (784, 10), (33, 100), (100, 33), (4096, 3)]
)
def test_cost_and_gradient(dtype, order, d, k):
    x, y = problem(2003, d, k, dtype)
    coef = torch.linspace(-1, 1, k * d).reshape(k, d).to(x) / d**0.5
    intercept, weight = torch.linspace(0, 1, k).to(x), torch.linspace(0.5, 1.5, len(y)).to(x)
    at = laid(x, order), y, coef.cpu().numpy(), intercept.cpu().numpy()
    found = fastgd.cross_entropy_cost_and_gradient(*at, sample_weight=weight)
    for got, value in zip(found, totals(x, y, coef, intercept, weight), strict=True):
        atol = RTOL[dtype] * float(np.abs(value).max())
        np.testing.assert_allclose(got, value, rtol=RTOL[dtype], atol=atol)
    assert fastgd.cross_entropy_cost(*at, sample_weight=weight) == found[0]


def torch_path(x, y, k, *, lr, epochs, l2=0.0, weight=None, batch_size=None):
    """The coefficients after every epoch, (epochs, k, d), the last intercept, and the costs."""
    n = len(x)
    weight = torch.ones(n, device=x.device, dtype=x.dtype) if weight is None else weight
    weight = weight * n / weight.sum()
    coef = torch.zeros(k, x.shape[1], device=x.device, dtype=x.dtype, requires_grad=True)
    intercept = torch.zeros(k, device=x.device, dtype=x.dtype, requires_grad=True)
    rule = torch.optim.SGD(
        [{"params": [coef], "weight_decay": l2}, {"params": [intercept]}], lr=lr
    )  # fmt: skip
    size, path, costs = batch_size or n, [], []
    for _ in range(epochs):
        summed = torch.zeros((), device=x.device, dtype=torch.float64)
        for first in range(0, n, size):
            rows = slice(first, min(first + size, n))
            z = x[rows] @ coef.T + intercept
            losses = torch.nn.functional.cross_entropy(z, y[rows], reduction="none")
            total = (weight[rows] * losses).sum()
            summed += total.detach()
            rule.zero_grad()
            (total / len(z)).backward()
            rule.step()
        path.append(coef.detach().cpu().numpy().copy())
        costs.append(float(summed) / n)
    return np.array(path), intercept.detach().cpu().numpy(), np.array(costs)


def check(x, y, k, dtype, order="C", *, steps=1, weight=None, **options):
    given = {"shuffle": False} if "batch_size" in options else {}
    found = fastgd.fit_logistic(
        laid(x, order), y, keep_path=True, sample_weight=weight, **options, **given
    )  # fmt: skip
    assert_follows(found, torch_path(x, y, k, weight=weight, **options), dtype, steps)


def step_for(n, d):
    """Half of the largest stable step for standard normal rows."""
    return 2 / (1 + math.sqrt(d / n)) ** 2


@every_dtype
@both_orders
@pytest.mark.parametrize(("d", "k"), [(1, 3), (5, 4), (32, 10), (784, 10), (100, 33)])
def test_all_rows(dtype, order, d, k):
    x, y = problem(2003, d, k, dtype)
    check(x, y, k, dtype, order, lr=step_for(*x.shape), epochs=100)


@every_dtype
def test_many_rows(dtype):
    x, y = problem(1_000_003, 32, 10, dtype)
    check(x, y, 10, dtype, lr=step_for(*x.shape), epochs=20)


@every_dtype
def test_weights_and_penalty(dtype):
    x, y = problem(2003, 32, 5, dtype)
    weight = torch.linspace(0.5, 1.5, len(y)).to(x)
    check(x, y, 5, dtype, weight=weight, l2=0.1, lr=0.1, epochs=100)


@every_dtype
@both_orders
@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize(("d", "k"), [(5, 3), (100, 10), (20, 40)])
def test_batches_in_the_given_order(dtype, order, d, k, batch_size):
    x, y = problem(150 if batch_size == 1 else 1030, d, k, dtype)
    steps = -(-len(x) // batch_size)
    lr = 0.3 / (d + 1) if batch_size == 1 else 0.25 / (1 + math.sqrt(d / 64)) ** 2
    check(x, y, k, dtype, order, batch_size=batch_size, lr=lr, epochs=3, steps=steps)


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}, {"l1": 0.01}], ids=str)
@pytest.mark.parametrize("batch_size", [None, 1, 64])
def test_a_fit_is_that_of_the_cpu(batch_size, options):
    x, y = problem(3000, 8, 5, "float64")
    options = {"lr": 0.02, "epochs": 5, "batch_size": batch_size, "keep_path": True} | options
    found = fastgd.fit_logistic(x, y, **options)
    wanted = fastgd.fit_logistic(x.cpu().numpy(), y.cpu().numpy(), **options)
    np.testing.assert_allclose(found.path, wanted.path, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.intercept, wanted.intercept, rtol=1e-9, atol=1e-12)


@every_dtype
def test_the_same_call_gives_the_same_bits(dtype, monkeypatch):
    x, y = problem(200_000, 32, 10, dtype)

    def bits():
        fit = fastgd.fit_logistic(x, y, lr=0.2, epochs=20)
        return [a.tobytes() for a in (fit.coef, fit.intercept, fit.costs)]

    wanted = bits()
    for _ in range(3):
        assert bits() == wanted
    monkeypatch.setattr(DeviceDescent, "chunk", 7)
    assert bits() == wanted


@every_dtype
@pytest.mark.parametrize("options", [{"l2": 0.01}, {"l1": 0.01}], ids=str)
def test_by_itself(dtype, options):
    x, y = problem(20_000, 8, 5, dtype)
    fit = fastgd.fit_logistic(x, y, **options)
    assert fit.converged
    wanted = fastgd.fit_logistic(x.cpu().numpy(), y.cpu().numpy(), **options)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-4, atol=1e-6)
