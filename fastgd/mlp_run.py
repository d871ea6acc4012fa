"""One fit of `fit_mlp`: its data, its epochs, and the truth about the result."""

import contextlib
import math
from typing import Any, NoReturn

import numpy as np

from . import inputs
from ._jit import default_threads
from .cpu.blas import one_thread
from .cpu.network import Network, update
from .cpu.order import visiting_order
from .errors import DivergenceError, InputError
from .losses import LOSSES
from .mlp_result import MlpFit
from .settings import Settings

EPOCHS = 100
_GIVEN_ORDER = np.empty(0, np.int32)
#: What a chunk between two calls of the callback takes, at about 100 operations a nanosecond.
_CHUNK_OPERATIONS = 1e10


def rows_of(x: Any, dtype: Any) -> tuple[np.ndarray, np.dtype]:
    """x as the kernels read it, float32 or float64 in any strides, and what to compute in."""
    x = inputs.features(x)
    working = inputs.working_dtype(x, dtype)
    if x.dtype not in (np.float32, np.float64) or not x.dtype.isnative:
        x = x.astype(working)
    x = x[:]
    x.flags.writeable = False  # one compilation, also for arrays that are read-only
    return x, working


def network_for(
    sizes: list[int], activation: str, loss: str, dtype, n_threads: int | None = None
) -> Network:
    """A network of zeros with the head of this loss."""
    return Network(sizes, activation, LOSSES.get(loss), dtype, n_threads or default_threads())


def fill(network: Network, weights, biases) -> None:
    """Set the parameters to (out, in) and (out,) arrays; None keeps those of all layers."""
    for name, given, into in (
        ("weights", weights, [w.T for w in network.weights]),
        ("biases", biases, network.biases),
    ):
        if given is None:
            continue
        if not isinstance(given, list | tuple) or len(given) != len(into):
            many = f"{len(given)}" if isinstance(given, list | tuple) else "no list"
            raise InputError(f"{name} has {many} of arrays; expected {len(into)}, one a layer.")
        for layer, (value, place) in enumerate(zip(given, into, strict=True)):
            array = inputs.as_array(value, f"{name}[{layer}]")
            if array.shape != place.shape:
                raise InputError(
                    f"{name}[{layer}] has shape {array.shape}; expected {place.shape}."
                )
            inputs.require_finite(array, f"{name}[{layer}]")
            place[...] = array


class MlpRun:
    """One fit, from checked options to the result."""

    def __init__(self, x: Any, y: Any, options: dict[str, Any]):
        self.options, o = options, options
        self.names = inputs.column_names(x)
        self.x, self.dtype = rows_of(x, o["dtype"])
        n, d = self.x.shape
        self.classes, self.flat, outputs = None, False, 0
        if o["loss"] == "cross_entropy":
            labels, self.classes = inputs.labels(y, n, np.int64)
            self.y, outputs = labels.T, len(self.classes)
        elif o["loss"] == "bce":
            labels, self.classes = inputs.labels(y, n, self.dtype)
            if len(self.classes) > 2:
                raise InputError(
                    f"y has {len(self.classes)} label values; 'bce' takes two, 'cross_entropy' more."
                )
            self.y, self.flat, outputs = labels.T, True, 1
        else:
            targets, self.flat = inputs.targets(y, n, self.dtype)
            self.y, outputs = targets.T, len(targets)
        self.y = np.ascontiguousarray(self.y)
        self.batch = min(n, o["batch_size"] or n)
        self.network = network_for(
            [d, *o["hidden"], outputs], o["activation"], o["loss"], self.dtype, o["n_threads"]
        )
        self._initialise()
        self.settings = Settings(
            lr=o["lr"], l2=o["l2"], scale=1.0, row_scale=1.0, fit_intercept=True, tol=0.0,
            optimizer=o["optimizer"], schedule=o["schedule"],
        )  # fmt: skip
        self.epoch = 0
        self.costs: list[float] = []
        self.lrs: list[float] = []
        self.converged, self.stopped, self.warning = False, False, ""
        #: What a row's loss counts in the cost.
        entries = n * (1 if o["loss"] == "cross_entropy" else outputs)
        self.scale = 1 / entries if o["reduction"] == "mean" else 1.0
        self.before = self.network.theta.copy()

    def _initialise(self) -> None:
        """Uniform within ±1/√(units below), as torch.nn.Linear begins."""
        rng = np.random.default_rng(self.options["seed"])
        for weight, bias in zip(self.network.weights, self.network.biases, strict=True):
            bound = 1 / math.sqrt(len(weight))
            weight[...] = rng.uniform(-bound, bound, weight.T.shape).T
            bias[...] = rng.uniform(-bound, bound, len(bias))
        fill(self.network, self.options["weights_init"], self.options["biases_init"])

    def result(self) -> MlpFit:
        """Run, and return what the outside sees."""
        with np.errstate(over="ignore", invalid="ignore"), one_thread(), self._bar() as bar:
            return self._run(bar)

    def _bar(self):
        if not self.options["progress"]:
            return contextlib.nullcontext()
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                'progress=True needs tqdm: pip install "fastgd[progress]".'
            ) from error
        return tqdm(total=self.options["epochs"], unit="epoch")

    def _run(self, bar) -> MlpFit:
        o, penalty = self.options, self._penalty()
        self.step = update(o["optimizer"].rule)
        self.hyper, self.low_hyper = self.settings.hyper(), self.settings.hyper(self.dtype)
        size = self.network.theta.size
        self.memory = self.settings.memory(1, size - 1, self.dtype)[:, 0]
        self.t = 0
        earlier, start = self.before, self.before
        callback = o["callback"]
        chunk = max(1, int(_CHUNK_OPERATIONS / (6.0 * len(self.x) * size)))
        while self.epoch < o["epochs"]:
            earlier, self.before = self.before, self.network.theta.copy()
            cost = self._one_epoch() * self.scale
            if not (math.isfinite(cost) and np.isfinite(self.network.theta).all()):
                self._diverged(self.before, earlier, start)
            self.costs.append(cost)
            self.epoch += 1
            if bar is not None:
                bar.update()
            if callback is not None and (self.epoch % chunk == 0 or self.epoch == o["epochs"]):
                self.before = self.network.theta.copy()
                self.stopped = bool(callback(self.so_far()))
                if self.stopped:
                    break
        cost = self.network.cost(self.x, self.y) * self.scale
        if not math.isfinite(cost):
            self._diverged(self.before, earlier, start)
        before, after = self.costs[0] + penalty, cost + self._penalty()
        if after > before + 8 * float(np.finfo(self.dtype).eps) * abs(before):
            what = "the cost plus penalty" if o["l2"] else "the cost"
            self.warning = (
                f"{what} rose from {before:.6g} to {after:.6g} in {self.epoch} epochs with "
                f"lr={o['lr']:g}; try a smaller lr."
            )
        self.converged = not (self.warning or self.stopped)
        return self.so_far(cost)

    def _one_epoch(self) -> float:
        """All updates of an epoch; returns the sum of the losses they met."""
        o, network, n = self.options, self.network, len(self.x)
        lr = float(self.settings.rates(1, self.epoch, self.epoch + 1)[0, 0])
        self.lrs[self.epoch :] = [lr]
        order = _GIVEN_ORDER
        if o["shuffle"] and self.batch < n:
            order = visiting_order(n, o["shuffle"], o["seed"], self.epoch)
        total = 0.0
        for first in range(0, n, self.batch):
            stop = min(first + self.batch, n)
            # Under "mean" a batch divides by its own rows.
            share = self.scale * n / (stop - first) if o["reduction"] == "mean" else 1.0
            total += network.cost_and_gradient(self.x, self.y, order, first, stop, share)
            self.t += 1
            self.step(
                network.theta, network.gradient, self.memory, network.penalised, o["l2"], lr,
                float(self.t), self.hyper, self.low_hyper,
            )  # fmt: skip
        return total

    def undo(self) -> None:
        """Back to the start of the epoch: costs and parameters agree."""
        self.network.theta[:] = self.before

    def _penalty(self) -> float:
        squares = self.network.theta[: self.network.penalised].astype(np.float64) ** 2
        return self.options["l2"] / 2 * float(squares.sum()) if self.options["l2"] else 0.0

    def _diverged(self, *parameters) -> NoReturn:
        inputs.require_finite(self.x, "x", self.names)
        lr = self.options["lr"]
        for theta in parameters:
            self.network.theta[:] = theta
            cost = self.network.cost(self.x, self.y) * self.scale
            if math.isfinite(cost):
                raise DivergenceError(
                    f"the cost is no longer finite after epoch {self.epoch} with lr={lr:g}; try a "
                    "smaller lr. The error's attribute `fit` holds the last finite parameters.",
                    self.so_far(cost),
                )
        raise DivergenceError(
            f"the cost overflows {self.dtype} at the start: values of x or y are too large; scale them."
        )

    def so_far(self, cost: float | None = None) -> MlpFit:
        """The fit at the network's current parameters."""
        if cost is None:
            cost = self.costs[-1] if self.costs else math.nan
        network = self.network
        return MlpFit(
            weights=[np.ascontiguousarray(w.T) for w in network.weights],
            biases=[b.copy() for b in network.biases],
            costs=np.array(self.costs),
            cost=float(cost),
            n_epochs=self.epoch,
            converged=self.converged,
            method=self.options["optimizer"].rule.name,
            classes=self.classes,
            loss=self.options["loss"],
            activation=self.options["activation"],
            lrs=np.array(self.lrs[: self.epoch]),
            flat=self.flat,
        )
