"""One fit of `fit_mlp`: its data, its epochs, and the truth about the result."""

import contextlib
import math
from typing import Any, NoReturn

import numpy as np

from . import inputs
from ._jit import default_threads
from .backend import CPU
from .cpu.blas import one_thread
from .cpu.network import Network
from .cpu.order import visiting_order
from .errors import DivergenceError, InputError
from .losses import LOSSES
from .mlp_result import MlpFit
from .settings import Settings
from .validation import Validation, given_rows, split

EPOCHS = 100
_GIVEN_ORDER = np.empty(0, np.int32)
#: What a chunk between two calls of the callback takes, at about 100 operations a nanosecond; and how
#: long Ctrl-C may have to wait.
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
        self.given_x = self.x
        n, d = self.x.shape
        self.classes, self.flat, outputs = None, False, 0
        # What y is read as.
        self.kind = np.dtype(np.int64) if o["loss"] == "cross_entropy" else self.dtype
        if o["loss"] == "mse":
            y, self.flat = inputs.targets(y, n, self.dtype)
            outputs = len(y)
        else:
            y, self.classes = inputs.labels(y, n, self.kind)
            outputs = len(self.classes) if o["loss"] == "cross_entropy" else 1
            self.flat = o["loss"] == "bce"
            if self.flat and len(self.classes) > 2:
                raise InputError(
                    f"y has {len(self.classes)} label values; 'bce' takes two, 'cross_entropy' more."
                )
        self.y = np.ascontiguousarray(y.T)
        weight = inputs.weights(o["sample_weight"], n, np.float64)
        #: What a row's loss counts for in the cost.
        self.share = 1.0 if o["loss"] == "cross_entropy" else 1 / outputs
        self.held: Validation | None = None
        if o["validation"] is not None:
            weight = self._hold_out(weight)
        n = len(self.x)
        self.weight, self.scale = self._weight_and_scale(weight, n)
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
        self.before = self.network.theta.copy()

    def _weight_and_scale(self, weight, n: int) -> tuple[np.ndarray, float]:
        """The weights as kernels take them, none being ones, and what turns summed losses into a cost."""
        mean = self.options["reduction"] == "mean"
        if weight is None:
            weight = np.empty(0)
        elif mean:
            weight = weight * (n / weight.sum())
        return weight.astype(self.dtype), self.share / n if mean else 1.0

    def _hold_out(self, weight):
        """Take the rows to validate on out of x, y and the weights, or those that are given."""
        o = self.options
        if isinstance(o["validation"], float):
            trained, others = split(len(self.x), o["validation"], o["seed"])
            x, y = self.x[others], self.y[others]
            self.x, self.y = rows_of(self.x[trained], self.dtype)[0], self.y[trained]
            held, weight = (None, None) if weight is None else (weight[others], weight[trained])
            if weight is not None and not (held.any() and weight.any()):
                raise InputError(
                    "sample_weight is zero for every row on one side of the validation split; choose "
                    "another seed, or pass the rows to validate on."
                )
        else:
            like = {
                "d": self.x.shape[1], "k": self.y.shape[1], "dtype": self.kind,
                "classes": self.classes,
            }  # fmt: skip
            x, y, held = given_rows(o["validation"], CPU, {"device": None}, like)
            y = np.ascontiguousarray(y.T)
        self.held_x = rows_of(x, self.dtype)[0]
        held, scale = self._weight_and_scale(held, len(x))
        self.held = Validation(
            lambda parameters: scale * self.network.cost(self.held_x, y, held), o["patience"]
        )
        return weight

    def _initialise(self) -> None:
        """Uniform within ±1/√(units below), as torch.nn.Linear begins."""
        given = self.options["weights_init"], self.options["biases_init"]
        if any(one is None for one in given):
            rng = np.random.default_rng(self.options["seed"])
            for weight, bias in zip(self.network.weights, self.network.biases, strict=True):
                bound = 1 / math.sqrt(len(weight))
                weight[...] = rng.uniform(-bound, bound, weight.T.shape).T
                bias[...] = rng.uniform(-bound, bound, len(bias))
        fill(self.network, *given)

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
        o, penalty, held = self.options, self._penalty(), self.held
        self.hyper, self.low_hyper = self.settings.hyper(), self.settings.hyper(self.dtype)
        size = self.network.theta.size
        self.memory = self.settings.memory(1, size - 1, self.dtype)[:, 0]
        self.t = 0
        earlier, start = self.before, self.before
        callback = o["callback"]
        chunk = max(1, int(_CHUNK_OPERATIONS / (6.0 * len(self.x) * size))) if not held else 1
        while self.epoch < o["epochs"]:
            earlier, self.before = self.before, self.network.theta.copy()
            cost = self._one_epoch() * self.scale
            if not (math.isfinite(cost) and np.isfinite(self.network.theta).all()):
                self._diverged(self.before, earlier, start)
            self.costs.append(cost)
            self.epoch += 1
            if held:
                held.look(self.network.theta.copy())
                if not held.finite:
                    self._not_valid(self.before, earlier, start)
            if bar is not None:
                bar.update()
            if callback is not None and (self.epoch % chunk == 0 or self.epoch == o["epochs"]):
                self.before = self.network.theta.copy()
                self.stopped = bool(callback(self.so_far()))
                if self.stopped:
                    break
            if held and held.over:
                break
        if held:
            self.network.theta[:] = held.best
        cost = self.network.cost(self.x, self.y, self.weight) * self.scale
        if not math.isfinite(cost):
            self._diverged(self.before, earlier, start)
        before, after = self.costs[0] + penalty, cost + self._penalty()
        if after > before + 8 * float(np.finfo(self.dtype).eps) * abs(before):
            what = "the cost plus penalty" if o["l2"] else "the cost"
            self.warning = (
                f"{what} rose from {before:.6g} to {after:.6g} in "
                f"{held.best_epoch if held else self.epoch} epochs with lr={o['lr']:g}; try a smaller lr."
            )
        elif held and not (held.over or self.stopped):
            self.warning = (
                f"the validation cost was lowest after epoch {held.best_epoch} of {self.epoch}, so "
                f"that patience={held.patience} did not end the fit; allow more epochs."
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
        # Under "mean" a batch divides by its own rows.
        mean = o["reduction"] == "mean"
        unit = self.scale * n if mean else 1.0
        span = self.batch * max(1, int(_CHUNK_OPERATIONS / (6.0 * self.batch * network.theta.size)))
        total = 0.0
        for first in range(0, n, span):
            stop = min(first + span, n)
            total += network.train(
                self.x, self.y, self.weight, order, first, stop, self.batch, unit, mean,
                o["optimizer"].rule, self.memory, o["l2"], lr, self.t, self.hyper, self.low_hyper,
            )  # fmt: skip
            self.t += -(-(stop - first) // self.batch)
        return total

    def kept(self) -> MlpFit:
        """The fit when it is interrupted: at the start of the epoch, or the best one validated."""
        self.network.theta[:] = self.before
        if self.held is None or not self.held.costs:
            return self.so_far()
        self.epoch = len(self.held.costs)
        self.network.theta[:] = self.held.best
        return self.so_far(self.network.cost(self.x, self.y, self.weight) * self.scale)

    def _penalty(self) -> float:
        if not self.options["l2"]:
            return 0.0
        squares = self.network.theta[: self.network.penalised].astype(np.float64) ** 2
        return self.options["l2"] / 2 * float(squares.sum())

    def _diverged(self, *parameters) -> NoReturn:
        self._require_finite()
        lr = self.options["lr"]
        for theta in parameters:
            self.network.theta[:] = theta
            cost = self.network.cost(self.x, self.y, self.weight) * self.scale
            if math.isfinite(cost):
                raise DivergenceError(
                    f"the cost is no longer finite after epoch {self.epoch} with lr={lr:g}; try a "
                    "smaller lr. The error's attribute `fit` holds the last finite parameters.",
                    self.so_far(cost),
                )
        raise DivergenceError(
            f"the cost overflows {self.dtype} at the start: values of x or y are too large; scale them."
        )

    def _not_valid(self, *parameters) -> NoReturn:
        """The validation cost is not finite: so are its rows, or the parameters are on their way out."""
        self._require_finite()
        cost = self.network.cost(self.x, self.y, self.weight) * self.scale
        if not math.isfinite(cost):
            self._diverged(*parameters)
        raise DivergenceError(
            f"the validation cost overflows {self.dtype} after epoch {self.epoch}; scale the values of "
            "its rows.",
            self.so_far(cost),
        )

    def _require_finite(self) -> None:
        """Whether it is the data itself that is not finite."""
        inputs.require_finite(self.given_x, "x", self.names)
        if isinstance(self.options["validation"], tuple):
            inputs.require_finite(self.held_x, "in validation, x", self.names)

    def so_far(self, cost: float | None = None) -> MlpFit:
        """The fit at the network's current parameters."""
        if cost is None:
            cost = self.costs[-1] if self.costs else math.nan
        network, held = self.network, self.held
        validated = np.array(held.costs[: self.epoch]) if held else None
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
            validation_costs=validated,
            best_epoch=None
            if validated is None or not len(validated)
            else int(np.argmin(validated)) + 1,
        )
