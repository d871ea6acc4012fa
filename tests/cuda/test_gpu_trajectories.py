"""A hundred epochs on a GPU, iterate by iterate, against torch.optim.SGD on the same GPU."""

import math

import numpy as np
import pytest
from beside_torch import assert_follows, laid

import fastgd
from fastgd.sources import work

torch = pytest.importorskip("torch")

DEVICE = "cuda"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # of other libraries, in versions not known here
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="this torch sees no GPU"
    ),
]

EPOCHS = 100

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
both = pytest.mark.parametrize("logistic", [False, True], ids=["linear", "logistic"])
both_orders = pytest.mark.parametrize("order", ["C", "F"])


@pytest.fixture(autouse=True)
def _exact_products():
    """No TensorFloat-32 in torch."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def streaming(monkeypatch):
    """Squared error reads X every epoch, too."""
    monkeypatch.setattr(work, "moments_ns", lambda *shape: math.inf)


def problem(n, d, dtype, logistic, k=None):
    options = {
        "generator": torch.Generator(DEVICE).manual_seed(n + d),
        "device": DEVICE,
        "dtype": getattr(torch, dtype),
    }
    x = torch.randn(n, d, **options)
    z = x @ torch.randn(d, k or 1, **options) / d**0.5 + 0.5
    z = z + torch.randn(z.shape, **options)
    y = (z > 0).to(z.dtype) if logistic else z
    return x, y if k else y[:, 0].contiguous()


def step_for(n, d, logistic):
    """Half of the largest stable step for standard normal rows."""
    return 0.25 * (4 if logistic else 1) / (1 + math.sqrt(d / n)) ** 2


def torch_path(x, y, logistic, *, lr, epochs, l2=0.0, weight=None, batch_size=None):
    """The coefficients after every epoch, (epochs, k, d), the last intercept, and the costs."""
    n, k = len(x), 1 if y.ndim == 1 else y.shape[1]
    target = y.reshape(n, k)
    weight = torch.ones(n, device=x.device, dtype=x.dtype) if weight is None else weight
    weight = (weight * n / weight.sum())[:, None]
    coef = torch.zeros(k, x.shape[1], device=x.device, dtype=x.dtype, requires_grad=True)
    intercept = torch.zeros(k, device=x.device, dtype=x.dtype, requires_grad=True)
    rule = torch.optim.SGD(
        [{"params": [coef], "weight_decay": l2}, {"params": [intercept]}], lr=lr
    )  # fmt: skip
    each = torch.nn.functional.binary_cross_entropy_with_logits if logistic else None
    size, path, costs = batch_size or n, [], []
    for _ in range(epochs):
        summed = torch.zeros((), device=x.device, dtype=torch.float64)
        for first in range(0, n, size):
            rows = slice(first, min(first + size, n))
            z, wanted = x[rows] @ coef.T + intercept, target[rows]
            loss = each(z, wanted, reduction="none") if logistic else (z - wanted) ** 2
            total = (weight[rows] * loss).sum()
            summed += total.detach()
            rule.zero_grad()
            (total / (len(wanted) * k)).backward()
            rule.step()
        path.append(coef.detach().cpu().numpy().copy())
        costs.append(float(summed) / (n * k))
    return np.array(path), intercept.detach().cpu().numpy(), np.array(costs)


def check(x, y, logistic, dtype, *, steps=1, **options):
    fit = fastgd.fit_logistic if logistic else fastgd.fit_linear
    epochs = options.pop("epochs", EPOCHS)
    options.setdefault("lr", step_for(*x.shape, logistic))
    weight = {"sample_weight": options.pop("weight")} if "weight" in options else {}
    order = {"shuffle": False} if "batch_size" in options else {}
    found = fit(x, y, epochs=epochs, keep_path=True, **options, **order, **weight)
    weight = {"weight": weight["sample_weight"]} if weight else {}
    wanted = torch_path(x, y, logistic, epochs=epochs, **options, **weight)
    assert_follows(found, wanted, dtype, steps)
    return found


@every_dtype
@both_orders
@pytest.mark.parametrize("d", [1, 5, 32, 1024, 4096])
def test_logistic(dtype, order, d):
    x, y = problem(2003, d, dtype, True)
    assert check(laid(x, order), y, True, dtype).method == "stream"


@every_dtype
@both_orders
@pytest.mark.parametrize("d", [5, 32, 1024])
@pytest.mark.usefixtures("streaming")
def test_linear(dtype, order, d):
    x, y = problem(2003, d, dtype, False)
    assert check(laid(x, order), y, False, dtype).method == "stream"


@every_dtype
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("d", [1, 5, 32, 200])
def test_linear_on_statistics(dtype, order, d):
    x, y = problem(40_000, d, dtype, False)
    epochs = 1000 if d == 200 else EPOCHS
    assert check(laid(x, order), y, False, dtype, epochs=epochs).method == "statistics"


@every_dtype
@both
@pytest.mark.usefixtures("streaming")
def test_many_rows(dtype, logistic):
    x, y = problem(1_000_003, 32, dtype, logistic)
    check(x, y, logistic, dtype)


@every_dtype
@both
@pytest.mark.usefixtures("streaming")
def test_weights_and_penalty(dtype, logistic):
    x, y = problem(2003, 32, dtype, logistic)
    weight = torch.linspace(0.5, 1.5, len(y)).to(x)
    check(x, y, logistic, dtype, weight=weight, l2=0.1, lr=0.1)


@every_dtype
@pytest.mark.parametrize("k", [3, 40])
@pytest.mark.parametrize("streams", [False, True], ids=["statistics", "stream"])
def test_several_targets(dtype, k, streams, request):
    if streams:
        request.getfixturevalue("streaming")
    x, y = problem(20_011, 32, dtype, False, k)
    check(x, y, False, dtype, lr=k * step_for(*x.shape, False))


@every_dtype
@both
@pytest.mark.parametrize("d", [5, 32, 600])
def test_minibatches_in_the_given_order(dtype, logistic, d):
    x, y = problem(1030, d, dtype, logistic)
    lr = 0.25 / (1 + math.sqrt(d / 64)) ** 2
    check(x, y, logistic, dtype, batch_size=64, lr=lr, epochs=20, steps=17)


@every_dtype
@both
@both_orders
@pytest.mark.parametrize("d", [1, 32, 1024])
def test_a_row_at_a_time_in_the_given_order(dtype, logistic, order, d):
    x, y = problem(150, d, dtype, logistic)
    x = laid(x, order)
    check(x, y, logistic, dtype, batch_size=1, lr=0.3 / (d + 1), epochs=3, steps=150)


@both
@pytest.mark.parametrize("batch_size", [1, 64])
def test_a_shuffled_order_is_that_of_the_cpu(logistic, batch_size):
    x, y = problem(3000, 8, "float64", logistic)
    fit = fastgd.fit_logistic if logistic else fastgd.fit_linear
    options = {"lr": 0.02, "epochs": 5, "batch_size": batch_size, "keep_path": True}
    for shuffle in (True, "block"):
        found = fit(x, y, shuffle=shuffle, **options)
        wanted = fit(x.cpu().numpy(), y.cpu().numpy(), shuffle=shuffle, **options)
        np.testing.assert_allclose(found.path, wanted.path, rtol=1e-9, atol=1e-12)
