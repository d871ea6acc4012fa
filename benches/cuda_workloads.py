"""What is raced over on a GPU, and by whom: gradient descent on data that lies there.

A contestant takes a `Work` and its data and returns a callable that does the whole work once and
returns (coef, intercept). As in `providers.py` each is written as its own users would at their best.
torch, CuPy, cuML and fastgd's kernels are imported by those who use them, so that this module can be
read on any machine.
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Goal(NamedTuple):
    """A figure of a contestant, and what it is to be: at most the bound, or at least."""

    contestant: str
    figure: str  # "of_read", "passes", "deviation" or "x NAME": how many times as fast as NAME
    bound: float
    at_most: bool = False


class Work(NamedTuple):
    """Batch gradient descent from zero, with a constant step."""

    model: str  # "linear" or "logistic"
    n: int
    d: int
    epochs: int
    k: int = 1  # models on the same rows, each with targets of its own
    dtype: str = "float32"
    order: str = "C"
    agreement: bool = False  # every iterate is compared with torch.optim.SGD, and nothing is timed
    only: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()

    @property
    def name(self) -> str:
        models = f", {self.k:,} models" if self.k > 1 else ""
        order = "" if self.order == "C" else f" in {self.order} order"
        what = ", every iterate" if self.agreement else ""
        shape = f"{self.n:,}x{self.d} {self.dtype}{order}"
        return f"{self.model}, {shape}{models}, {self.epochs:,} epochs{what}"

    @property
    def logistic(self) -> bool:
        return self.model == "logistic"

    @property
    def lr(self) -> float:
        """Half of what is stable for standard normal rows; the mean is over all targets."""
        return 0.25 * self.k * (4 if self.logistic else 1) / (1 + math.sqrt(self.d / self.n)) ** 2

    @property
    def step(self) -> float:
        """What a summed slope times a row is multiplied with, but for the 2 of the squared error."""
        return self.lr * (1.0 if self.logistic else 2.0) / (self.n * self.k)

    @property
    def x_bytes(self) -> int:
        return self.n * self.d * np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """X once an epoch; contestants may move more, or less."""
        return self.epochs * self.x_bytes

    @property
    def memory(self) -> int:
        """What data and the temporaries of the greediest contestant take together, about."""
        return 3 * self.x_bytes + 6 * self.n * self.k * np.dtype(self.dtype).itemsize


def _raced(eager: float, compiled: float) -> tuple[Goal, ...]:
    return (
        Goal("fastgd", "of_read", 0.8),
        Goal("fastgd", "x torch eager", eager),
        Goal("fastgd", "x torch.compile", compiled),
    )


_EPOCH = _raced(1.8, 1.3)
_SMALL = (Goal("fastgd", "x torch eager", 20), Goal("fastgd", "x torch graph", 5))

#: In the order in which they run while there is time.
WORKS = (
    *(
        Work(
            model, 100_000, 32, 100, dtype=dtype, agreement=True,
            goals=(Goal("fastgd", "deviation", tolerance, at_most=True),),
        )
        for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-12))
        for model in ("linear", "logistic")
    ),
    Work("linear", 10_000_000, 32, 50, goals=_EPOCH),
    Work("logistic", 10_000_000, 32, 50, goals=_EPOCH),
    Work("logistic", 10_000, 32, 1000, goals=_SMALL),
    Work("linear", 10_000, 32, 1000, goals=_SMALL),
    Work("linear", 1_000_000, 1024, 20, goals=_EPOCH),
    Work("logistic", 1_000_000, 1024, 20, goals=_EPOCH),
    Work(
        "linear", 10_000_000, 32, 1000, only=("fastgd, whole call", "torch eager"),
        goals=(Goal("fastgd, whole call", "passes", 3, at_most=True),),
    ),
    Work(
        "linear", 1_000_000, 32, 100, k=1000,
        only=("fastgd", "fastgd, planned", "fastgd, whole call", "torch eager", "torch.compile"),
        goals=(Goal("fastgd, planned", "x torch eager", 5),),
    ),
    Work("logistic", 10_000_000, 32, 50, dtype="float64"),
    Work("logistic", 10_000_000, 32, 50, order="F"),
    Work("linear", 1_000_000, 1024, 20, order="F"),
)  # fmt: skip


def works(quick: bool = False) -> dict[str, Work]:
    """By name; `quick` takes a hundredth of the rows, and then no figure is judged."""
    if quick:
        return {w.name: w for w in (w._replace(n=max(1000, w.n // 100), goals=()) for w in WORKS)}
    return {w.name: w for w in WORKS}


# --- data ----------------------------------------------------------------------------------------


def data(work: Work, device: str | None = "cuda") -> tuple[Any, Any]:
    """x (n, d) and y (n,) or (n, k), seeds fixed: torch tensors, or without a device numba's arrays."""
    return _drawn_by_numpy(work) if device is None else _drawn_by_torch(work, device)


def _drawn_by_torch(work: Work, device: str):
    import torch

    draw = torch.Generator(device).manual_seed(work.n + work.d)
    options: Any = {"generator": draw, "device": device, "dtype": getattr(torch, work.dtype)}
    x = torch.randn(work.n, work.d, **options)
    if work.order == "F":
        x = x.T.contiguous().T
    coef = torch.randn(work.d, work.k, **options) / math.sqrt(work.d)
    y = (x @ coef).add_(0.3)
    y.add_(torch.randn(y.shape, **options), alpha=1.5 if work.logistic else 0.5)
    if work.logistic:
        y = (y > 0).to(y.dtype)
    return x, y[:, 0].contiguous() if work.k == 1 else y


def _drawn_by_numpy(work: Work):
    from fastgd.cuda.driver import cuda

    rng, dtype = np.random.default_rng(work.n + work.d), np.dtype(work.dtype)
    x = rng.standard_normal((work.n, work.d), dtype=np.float32).astype(dtype, order=work.order)
    coef = rng.standard_normal((work.d, work.k)) / math.sqrt(work.d)
    y = x @ coef.astype(dtype) + dtype.type(0.3)
    y += rng.standard_normal(y.shape, dtype=np.float32) * dtype.type(1.5 if work.logistic else 0.5)
    if work.logistic:
        y = (y > 0).astype(dtype)
    return cuda.to_device(x), cuda.to_device(y[:, 0].copy() if work.k == 1 else y)


def by_target(y):
    """y (n,) or (n, k) as (k, n) in C order, outside the timing."""
    if y.ndim == 1:
        return y.reshape(1, -1)
    if hasattr(y, "copy_to_host"):
        from fastgd.cuda.driver import cuda

        return cuda.to_device(np.ascontiguousarray(y.copy_to_host().T))
    return y.T.contiguous()


# --- contestants ---------------------------------------------------------------------------------


class Contestant(NamedTuple):
    make: Callable[[Work, Any, Any], Callable[[], tuple[Any, Any]]]
    needs: tuple[str, ...]
    when: Callable[[Work], bool]


CONTESTANTS: dict[str, Contestant] = {}


def _enters(name: str, *needs: str, when: Callable[[Work], bool] = lambda work: True):
    def register(make):
        CONTESTANTS[name] = Contestant(make, needs, when)
        return make

    return register


def contestants(work: Work) -> list[str]:
    """Who does this work, installed or not; fastgd first."""
    if work.agreement:
        return ["fastgd"]
    return [n for n, c in CONTESTANTS.items() if c.when(work) and n in (work.only or CONTESTANTS)]


def missing(name: str) -> str | None:
    """Why a contestant can't enter here, without importing anything."""
    lacking = [n for n in CONTESTANTS[name].needs if importlib.util.find_spec(n) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else None


@_enters("fastgd", "fastgd")
def fastgd_loop(work, x, y, planned=False):
    """The loop that a fit runs, data prepared: every epoch reads X, or what is planned for it."""
    from fastgd.losses import LOSSES
    from fastgd.settings import Settings
    from fastgd.solvers.on_device import DeviceDescent
    from fastgd.sources.device import DeviceRows

    source = DeviceRows(x, by_target(y), None, np.dtype(work.dtype))
    scale = 1 / (work.n * work.k)
    settings = Settings(
        lr=work.lr, l2=0.0, scale=scale, row_scale=scale, fit_intercept=True, tol=0.0
    )
    loss = LOSSES["bce" if work.logistic else "mse"]

    def run():
        descent: Any = DeviceDescent(
            source, loss, settings, np.zeros((work.k, work.d)), np.zeros(work.k), work.epochs,
            False, False,
        )  # fmt: skip
        if not planned:
            descent._switch = work.epochs  # no statistics
        if descent.run(work.epochs):
            raise ArithmeticError("the cost is not finite")
        return descent.coef, descent.intercept

    return run


@_enters("fastgd, planned", "fastgd", when=lambda work: work.k > 1)
def fastgd_planned(work, x, y):
    return fastgd_loop(work, x, y, planned=True)


@_enters("fastgd, whole call", "fastgd")
def fastgd_fit(work, x, y):
    """What a user calls, with the checks and whatever is copied."""
    import fastgd

    fit = fastgd.fit_logistic if work.logistic else fastgd.fit_linear

    def run():
        result = fit(x, y, lr=work.lr, epochs=work.epochs)
        return result.coef, result.intercept

    return run


def torch_epoch(work, x, y):
    """A function that does one epoch in place, and the parameters: coef (d,) or (d, k)."""
    import torch

    target = y
    coef = x.new_zeros((work.d, work.k) if work.k > 1 else work.d)
    intercept = x.new_zeros(work.k) if work.k > 1 else x.new_zeros(())
    buffer = torch.empty_like(y)
    product = torch.mm if work.k > 1 else torch.mv

    @torch.inference_mode()
    def epoch():
        z = product(x, coef, out=buffer)
        z.add_(intercept)
        if work.logistic:
            z.sigmoid_()
        z.sub_(target)
        coef.sub_(product(x.T, z), alpha=work.step)
        intercept.sub_(z.sum(0), alpha=work.step)

    return epoch, coef, intercept


@_enters("torch eager", "torch")
def torch_eager(work, x, y):
    epoch, coef, intercept = torch_epoch(work, x, y)

    def run():
        coef.zero_()
        intercept.zero_()
        for _ in range(work.epochs):
            epoch()
        return coef, intercept

    return run


@_enters("torch.compile", "torch", "triton")
def torch_compiled(work, x, y):
    import torch

    torch.compiler.reset()  # or the functions of other works count towards its limit

    @functools.partial(torch.compile, fullgraph=True, dynamic=False)
    def update(coef, intercept, rows, target):
        z = rows @ coef + intercept
        slope = (torch.sigmoid(z) if work.logistic else z) - target
        return coef - work.step * (rows.T @ slope), intercept - work.step * slope.sum(0)

    @torch.inference_mode()
    def run():
        coef = x.new_zeros((work.d, work.k) if work.k > 1 else work.d)
        intercept = x.new_zeros(work.k) if work.k > 1 else x.new_zeros(())
        for _ in range(work.epochs):
            coef, intercept = update(coef, intercept, x, y)
        return coef, intercept

    return run


@_enters("torch graph", "torch")
def torch_graph(work, x, y):
    """Up to a hundred epochs recorded as one CUDA graph, that is then replayed."""
    import torch

    epoch, coef, intercept = torch_epoch(work, x, y)
    at_once = math.gcd(work.epochs, 100)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries set themselves up, outside the recording
        for _ in range(3):
            epoch()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(at_once):
            epoch()

    def run():
        coef.zero_()
        intercept.zero_()
        for _ in range(work.epochs // at_once):
            graph.replay()
        return coef, intercept

    return run


@_enters("torch.optim.SGD", "torch")
def torch_sgd(work, x, y):
    """The loop of the tutorials: autograd and an optimizer."""

    def run():
        for state in torch_iterates(work, x, y):  # noqa: B007
            pass
        return state

    return run


def torch_iterates(work, x, y):
    """(coef, intercept) after every epoch of torch.optim.SGD: the same two tensors, changed."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

    loss = binary_cross_entropy_with_logits if work.logistic else mse_loss
    coef = x.new_zeros((work.d, work.k) if work.k > 1 else work.d).requires_grad_()
    intercept = (x.new_zeros(work.k) if work.k > 1 else x.new_zeros(())).requires_grad_()
    rule = torch.optim.SGD([coef, intercept], lr=work.lr)
    for _ in range(work.epochs):
        rule.zero_grad()
        loss(x @ coef + intercept, y).backward()
        rule.step()
        yield coef.detach(), intercept.detach()


@_enters("CuPy", "cupy")
def cupy_loop(work, x, y):
    import cupy

    x, y = cupy.asarray(x), cupy.asarray(y)

    def run():
        coef = cupy.zeros((work.d, work.k) if work.k > 1 else work.d, x.dtype)
        intercept = cupy.zeros(work.k if work.k > 1 else (), x.dtype)
        step = x.dtype.type(work.step)
        for _ in range(work.epochs):
            z = x @ coef
            z += intercept
            if work.logistic:
                z = 1 / (1 + cupy.exp(-z))
            z -= y
            coef -= step * (x.T @ z)
            intercept -= step * z.sum(axis=0)
        return coef, intercept

    return run


@_enters("cuML", "cuml", "cupy", when=lambda work: work.k == 1 and not work.logistic)
def cuml_sgd(work, x, y):
    """Its only gradient descent with a constant step; batches of all rows."""
    import cupy
    from cuml.solvers import SGD

    x, y = cupy.asarray(x), cupy.asarray(y)

    def run():
        model = SGD(
            loss="squared_loss", penalty="none", epochs=work.epochs, eta0=work.lr, tol=0.0,
            learning_rate="constant", batch_size=work.n, shuffle=False,
        )  # fmt: skip
        model.fit(x, y)
        return model.coef_, model.intercept_

    return run


# --- results -------------------------------------------------------------------------------------


def on_host(value) -> np.ndarray:
    """Any library's array as NumPy float64."""
    for way in ("to_numpy", "detach", "cpu", "copy_to_host", "get"):
        if not isinstance(value, np.ndarray) and hasattr(value, way):
            value = getattr(value, way)()
    return np.asarray(value, dtype=np.float64)


def parameters(work: Work, result) -> np.ndarray:
    """(k, d + 1): coefficients and intercept of every model, of (k, d), (d,) or (d, k)."""
    coef, intercept = map(on_host, result)
    if coef.shape == (work.d, work.k) and work.d != work.k:
        coef = coef.T
    return np.column_stack([coef.reshape(work.k, work.d), intercept.reshape(work.k)])


def deviation(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, in units of the largest number wanted."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def deviation_a_step(work: Work, x, y) -> float:
    """How far the iterates of a fit are from torch.optim.SGD's: the most of any step, by its number."""
    import fastgd

    fit = fastgd.fit_logistic if work.logistic else fastgd.fit_linear
    path = fit(x, y, lr=work.lr, epochs=work.epochs, keep_path=True).path
    worst = 0.0
    for epoch, (coef, _) in enumerate(torch_iterates(work, x, y)):
        worst = max(worst, deviation(path[epoch], on_host(coef)) / (epoch + 1))
    return worst
