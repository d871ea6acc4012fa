"""What only a GPU can show: arrays of other libraries are read where they lie, in the caller's order.

Whole trajectories are in `test_gpu_trajectories.py`.
"""

import threading

import numpy as np
import pytest

import fastgd
from fastgd.cuda import driver
from fastgd.solvers.on_device import DeviceDescent
from fastgd.sources.device import DeviceRows

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
both = pytest.mark.parametrize("logistic", [False, True], ids=["linear", "logistic"])


def problem(n=3000, d=8, dtype="float32", logistic=False, k=None):
    """x (n, d) and y (n,) or (n, k) on the GPU."""
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


def fitted(x, y, logistic, **options):
    fit = fastgd.fit_logistic if logistic else fastgd.fit_linear
    return fit(x, y, **({"lr": 0.2, "epochs": 20} | options))


def bits(fit):
    return [np.asarray(a).tobytes() for a in (fit.coef, fit.intercept, fit.costs, fit.cost)]


def in_f_order(x):
    return x.T.contiguous().T


def assert_same_fit(fit, other, rtol):
    np.testing.assert_allclose(fit.coef, other.coef, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(fit.intercept, other.intercept, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(fit.cost, other.cost, rtol=rtol)


# --- nothing is copied ----------------------------------------------------------------------------


def address(array):
    return array.__cuda_array_interface__["data"][0]


@every_dtype
@pytest.mark.parametrize("order", [lambda x: x, in_f_order], ids=["C", "F"])
@pytest.mark.parametrize("learned", [False, True], ids=["plain", "requires_grad"])
def test_a_tensor_is_read_where_it_lies(dtype, order, learned):
    x = order(problem(dtype=dtype)[0]).requires_grad_(learned)
    assert address(driver.device_array(x)) == x.data_ptr()
    assert driver.device_number(x) == x.device.index
    source = DeviceRows(x, np.zeros((1, len(x))), None, np.dtype(dtype))
    assert address(source.seen) == x.data_ptr()
    assert source.by_columns == (not x.is_contiguous())


class OnlyDLPack:
    """An array that knows nothing but DLPack."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, *, stream=None):
        return self.tensor.__dlpack__(stream=stream)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


@both
def test_through_dlpack(logistic):
    x, y = problem(logistic=logistic)
    assert address(driver.device_array(OnlyDLPack(x))) == x.data_ptr()
    assert bits(fitted(OnlyDLPack(x), OnlyDLPack(y), logistic)) == bits(fitted(x, y, logistic))


# --- cost and gradient against autograd -----------------------------------------------------------


def autograd(x, y, coef, intercept, logistic, weight=None, reduction="mean"):
    coef, intercept = coef.clone().requires_grad_(), intercept.clone().requires_grad_()
    z = x @ coef + intercept
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    each = loss(z, y, reduction="none") if logistic else (z - y) ** 2
    weight = torch.ones_like(y) if weight is None else weight
    cost = (weight * each).sum()
    if reduction == "mean":
        cost = cost / weight.sum()
    cost.backward()
    return [value.detach().cpu().numpy() for value in (cost, coef.grad, intercept.grad)]


@every_dtype
@both
@pytest.mark.parametrize("d", [1, 5, 32, 1024, 4096])
def test_cost_and_gradient(dtype, logistic, d):
    x, y = problem(701, d, dtype, logistic)
    coef, intercept = torch.linspace(-1, 1, d).to(x) / d**0.5, x.new_tensor(0.3)
    functions = (
        (fastgd.bce_cost_and_gradient, fastgd.bce_cost, fastgd.bce_gradient)
        if logistic
        else (fastgd.mse_cost_and_gradient, fastgd.mse_cost, fastgd.mse_gradient)
    )
    host = coef.cpu().numpy(), float(intercept)
    for order in (lambda x: x, in_f_order):
        cost, by_coef, by_intercept = functions[0](order(x), y, *host)
        wanted = autograd(x, y, coef, intercept, logistic)
        tolerance = {"rtol": RTOL[dtype], "atol": RTOL[dtype] * float(np.abs(wanted[1]).max())}
        np.testing.assert_allclose(cost, wanted[0], **tolerance)
        np.testing.assert_allclose(by_coef, wanted[1], **tolerance)
        np.testing.assert_allclose(by_intercept, wanted[2], **tolerance)
        assert functions[1](order(x), y, *host) == cost
        np.testing.assert_array_equal(functions[2](order(x), y, *host)[0], by_coef)


@every_dtype
@both
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_and_reduction(dtype, logistic, reduction):
    x, y = problem(dtype=dtype, logistic=logistic)
    weight = torch.linspace(0, 2, len(y)).to(x)
    coef, intercept = torch.linspace(-1, 1, 8).to(x), x.new_tensor(0.3)
    function = fastgd.bce_cost_and_gradient if logistic else fastgd.mse_cost_and_gradient
    found = function(
        x, y, coef.cpu().numpy(), 0.3, sample_weight=weight, reduction=reduction
    )  # fmt: skip
    wanted = autograd(x, y, coef, intercept, logistic, weight, reduction)
    for got, value in zip(found, wanted, strict=True):
        atol = RTOL[dtype] * float(np.abs(value).max())
        np.testing.assert_allclose(got, value, rtol=RTOL[dtype], atol=atol)


@every_dtype
@both
@pytest.mark.parametrize("d", [1, 8])
def test_the_sweep_over_coefficients(dtype, logistic, d):
    x, y = problem(d=d, dtype=dtype, logistic=logistic)
    coefs = torch.linspace(-2, 2, 11 * d).reshape(11, d).to(x)
    found = fastgd.cost_curve(
        x, y, coefs.cpu().numpy(), intercept=0.1, loss="bce" if logistic else "mse"
    )
    wanted = [autograd(x, y, c, x.new_tensor(0.1), logistic)[0] for c in coefs]
    np.testing.assert_allclose(found, wanted, rtol=RTOL[dtype])


# --- layouts, dtypes, places ----------------------------------------------------------------------


def unaligned(x):
    """The same numbers from an address that is no multiple of 16 bytes."""
    memory = torch.empty(x.numel() + 1, device=x.device, dtype=x.dtype)
    view = memory[1:].view(x.shape)
    view.copy_(x)
    return view


ODD = {
    "every second row": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "some columns": lambda x: torch.cat([x[:, :1], x, x[:, :3]], dim=1)[:, 1:-3],
    "unaligned": unaligned,
    "unaligned columns": lambda x: unaligned(x.T.contiguous()).T,
    "F order": in_f_order,
}


@both
@pytest.mark.parametrize("view", ODD.values(), ids=list(ODD))
def test_odd_layouts(logistic, view):
    x, y = problem(logistic=logistic)
    assert torch.equal(view(x), x)
    wanted = fitted(x, y, logistic)
    assert_same_fit(fitted(view(x), y, logistic), wanted, 1e-5)
    late = y.repeat_interleave(2)[::2]
    assert not late.is_contiguous()
    assert bits(fitted(x, late, logistic)) == bits(wanted)


@pytest.mark.parametrize("name", ["float16", "int32", "int64", "uint8", "bool"])
def test_other_dtypes_are_converted(name):
    x, y = problem(500, 3)
    x = (4 * x.abs()).to(getattr(torch, name))
    inner = "float32" if name == "float16" else "float64"
    wanted = fitted(x.to(getattr(torch, inner)), y, False, lr=0.001, dtype=inner)
    assert_same_fit(fitted(x, y, False, lr=0.001), wanted, RTOL[inner])


@both
def test_tensors_of_autograd(logistic):
    x, y = problem(logistic=logistic)
    wanted = bits(fitted(x, y, logistic))
    assert bits(fitted(x.clone().requires_grad_(), y, logistic)) == wanted
    weight = torch.ones_like(y).requires_grad_()
    assert_same_fit(
        fitted(x, y, logistic, sample_weight=weight), fitted(x, y, logistic), RTOL["float32"]
    )


@both
def test_data_from_the_host_is_moved(logistic):
    x, y = problem(logistic=logistic)
    wanted = bits(fitted(x, y, logistic))
    on_host = x.cpu().numpy(), y.cpu().numpy()
    assert bits(fitted(*on_host, logistic, device="cuda")) == wanted
    assert bits(fitted(x, on_host[1], logistic)) == wanted


def test_one_column_and_one_row():
    x, y = problem(500, 1)
    assert bits(fitted(x[:, 0], y, False)) == bits(fitted(x, y, False))
    fit = fitted(x[:1], y[:1], False, lr=0.01)
    assert fit.cost < fit.costs[0]


def test_cupy_arrays():
    cupy = pytest.importorskip("cupy")
    x, y = problem()
    wanted = bits(fitted(x, y, False))
    own = cupy.asarray(x), cupy.asarray(y)
    assert address(driver.device_array(own[0])) == own[0].data.ptr
    assert bits(fitted(*own, False)) == wanted
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        assert bits(fitted(*own, False)) == wanted


def test_a_second_gpu():
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    x, y = problem()
    wanted = bits(fitted(x, y, False))
    there = x.to("cuda:1"), y.to("cuda:1")
    assert bits(fitted(*there, False)) == wanted
    assert bits(fitted(there[0], y, False)) == wanted
    with pytest.raises(fastgd.InputError, match="x is on cuda:1"):
        fitted(*there, False, device="cuda:0")


# --- order of work --------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("side", [False, True], ids=["default stream", "side stream"])
def test_data_that_is_still_being_written(logistic, side):
    """The fit is queued after the work that makes its data, on the stream that is current."""
    x, y = problem(logistic=logistic)
    wanted = bits(fitted(x, y, logistic))
    late_x, late_y = torch.full_like(x, torch.nan), y.clone()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream() if side else torch.cuda.current_stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # cycles: a tenth of a second
        late_x.copy_(x)
        late_y.copy_(y)
        found = bits(fitted(late_x, late_y, logistic))
    assert found == wanted


def test_what_follows_on_the_stream_sees_the_end_of_the_fit():
    x, y = problem()
    wanted = bits(fitted(x, y, False))
    with torch.cuda.stream(torch.cuda.Stream()):
        found = fitted(x, y, False)
        x.zero_()
    torch.cuda.synchronize()
    assert bits(found) == wanted


def test_two_fits_at_once():
    """From two threads, each with a stream and kernels of its own, that have yet to be compiled."""
    problems = [problem(20_000, d, logistic=logistic) for d, logistic in ((7, False), (9, True))]
    found, failures = [None, None], []

    def work(i):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(3):
                    found[i] = fitted(*problems[i], bool(i))
        except Exception as failure:
            failures.append(failure)

    torch.cuda.synchronize()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for i in range(2):
        assert bits(found[i]) == bits(fitted(*problems[i], bool(i)))


@both
@every_dtype
def test_the_same_call_gives_the_same_bits(logistic, dtype, monkeypatch):
    x, y = problem(200_000, 32, dtype, logistic)
    wanted = bits(fitted(x, y, logistic))
    for _ in range(3):
        assert bits(fitted(x, y, logistic)) == wanted
    if logistic:  # squared error would change to statistics elsewhere
        monkeypatch.setattr(DeviceDescent, "chunk", 7)
        assert bits(fitted(x, y, logistic)) == wanted


# --- without a step, and where there is no result -------------------------------------------------


@every_dtype
@pytest.mark.parametrize("d", [3, 32])
def test_least_squares_by_itself(dtype, d):
    x, y = problem(20_000, d, dtype)
    fit = fastgd.fit_linear(x, y)
    assert fit.converged
    rows = torch.cat([x, torch.ones_like(x[:, :1])], dim=1).double().cpu()
    wanted = torch.linalg.lstsq(rows, y.double().cpu()[:, None]).solution[:, 0].numpy()
    np.testing.assert_allclose(np.append(fit.coef, fit.intercept), wanted, rtol=1e-5, atol=1e-6)


@every_dtype
def test_logistic_regression_by_itself(dtype):
    x, y = problem(20_000, 8, dtype, True)
    fit = fastgd.fit_logistic(x, y)
    assert fit.converged
    wanted = fastgd.fit_logistic(x.cpu().numpy(), y.cpu().numpy())
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-4, atol=1e-6)


def test_nan_and_divergence_are_named():
    x, y = problem(dtype="float64")
    with pytest.raises(fastgd.DivergenceError, match="lr up to") as caught:
        fitted(x, y, False, lr=1e100, epochs=3)
    assert np.isfinite(caught.value.fit.coef).all()
    x[7, 1] = torch.nan
    with pytest.raises(fastgd.InputError, match="x is nan at row 7, column 1"):
        fitted(x, y, False)


@both
def test_more_numbers_than_32_bits_count(logistic):
    n, d = 70_000_000, 32
    if torch.cuda.mem_get_info()[0] < 3 * 4 * n * d:
        pytest.skip("there is too little memory")
    x = torch.zeros(n, d, device=DEVICE)
    y = torch.zeros(n, device=DEVICE)
    end = n - 1000  # only the last rows say anything
    x[end:], y[end:] = problem(1000, d, logistic=logistic)
    function = fastgd.bce_gradient if logistic else fastgd.mse_gradient
    coef = np.linspace(-1, 1, d)
    found = function(x, y, coef, reduction="sum")[0]
    wanted = function(x[end:], y[end:], coef, reduction="sum")[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
