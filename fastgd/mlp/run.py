"""One fit of `fit_mlp`: its data, its epochs, and the diagnosis of the result."""

import contextlib
import functools
import math
import time
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from .. import inputs
from ..compile.functions import default_threads
from ..cpu.order import visiting_order
from ..errors import DivergenceError, InputError
from ..fitting.checkpoint import Checkpoint
from ..fitting.held_out import given_rows, split
from ..losses import CLASSES, LABELS
from ..settings import Settings
from ..solvers.early_stopping import Validation, resumed
from ..solvers.state import State, checked
from ..sources.compressed import compressed, is_sparse
from ..sources.place import BLOCKS, HOST, SPARSE
from .network import Network, Passes, end_of_block
from .options import MlpOptions
from .result import MlpFit

EPOCHS = 100
#: Seconds between two calls of the callback.
_CALLBACK = 0.1
#: Seconds of one compiled call, after which Ctrl-C takes effect.
_SPAN = 0.07
#: Spans of training whose rows a cost may take after Ctrl-C: about 0.2 s for a forward pass.
_LAST_SPANS = 8
#: Upper bounds of the seconds of an update and of an operation, for the first span; others are measured.
_SLOW_UPDATE, _SLOW_OPERATION = 50e-6, 5e-9


def rows_of(x: Any, dtype: Any) -> tuple[Any, np.dtype]:
    """x as the kernels read it and what to compute in.

    It is float32 or float64, in any strides or in compressed rows.
    """
    sparse = is_sparse(x)
    x = compressed(x) if sparse else inputs.features(x)
    working = inputs.working_dtype(x, dtype)
    native = x.dtype.newbyteorder("=")
    x = x.astype(native if native in (np.float32, np.float64) else working, copy=False)
    if sparse:
        return x, working
    x = x[:]
    x.flags.writeable = False  # the same compiled code for read-only arrays
    return x, working


def network_for(
    x: Any, sizes: list[int], activation: str, loss: Any, dtype: DTypeLike,
    n_threads: int | None = None, **more: Any,
) -> Network:  # fmt: skip
    """A network of zeros for rows x (n, d), with units `sizes` above them and the head of this loss."""
    sparse = not isinstance(x, np.ndarray)
    sizes = [x.shape[1], *sizes]
    return Network(sizes, activation, loss, dtype, n_threads or default_threads(), sparse, **more)


def fill(network: Network, weights: Any, biases: Any) -> None:
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
            if not np.isfinite(place).all():
                raise InputError(
                    f"{name}[{layer}] goes up to {np.abs(array).max():.3g}, beyond {place.dtype}; use "
                    "dtype='float64'."
                )


class _Moment(NamedTuple):
    """The parameters after so many epochs, and those of the result: with validation the best so far."""

    epoch: int
    theta: np.ndarray
    best: np.ndarray


class MlpRun:
    """One fit, from checked options to the result."""

    def __init__(self, x: Any, y: Any, options: MlpOptions):
        self.options, o = options, options
        self.names, self.feature_names = inputs.column_names(x), inputs.feature_names(x)
        if o.resume is not None:
            inputs.require_names_of(self.feature_names, o.resume.feature_names)
        self.x, self.dtype = rows_of(x, o.dtype)
        self.given_x = self.x
        n = self.x.shape[0]
        self.classes, self.flat, outputs = None, False, 0
        # The kind of targets.
        self.kind = np.dtype(np.int64) if o.loss.coupled else self.dtype
        if o.loss.targets not in (LABELS, CLASSES):
            y, self.flat = inputs.targets(y, n, self.dtype)
            outputs = len(y)
        else:
            y, self.classes = inputs.labels(y, n, self.kind)
            outputs = len(self.classes) if o.loss.coupled else 1
            self.flat = not o.loss.coupled
            if self.flat and len(self.classes) > 2:
                raise InputError(
                    f"y has {len(self.classes)} label values; 'bce' takes two, 'cross_entropy' more."
                )
        self.y = np.ascontiguousarray(y.T)
        weight = inputs.weights(o.sample_weight, n, np.float64)
        #: The factor of a row's loss in the cost.
        self.factor = 1.0 if o.loss.coupled else 1 / outputs
        self.held: Validation | None = None
        self.network = network_for(
            self.x, [*o.hidden, outputs], o.activation, o.loss, self.dtype, o.n_threads
        )
        if o.validation is not None:
            weight = self._hold_out(weight)
        n = self.x.shape[0]
        weight, self.scale = self._weight_and_scale(weight, n)
        self.passes = Passes(self.network, self.x, self.y, weight)
        self.batch = min(n, o.batch_size or n)
        self._initialise()
        self.settings = Settings(
            lr=o.lr, l2=o.l2, scale=1.0, row_scale=1.0, fit_intercept=True, tol=0.0,
            optimizer=o.optimizer, schedule=o.schedule,
        )  # fmt: skip
        #: Of every epoch; a moment has the number of those that are known.
        self.costs: list[float] = []
        self.lrs: list[float] = []
        self.converged, self.stopped, self.warning = False, False, ""
        theta = self.network.theta.copy()
        #: The last moment, the one before, and the start. A signal may come between any two steps: one
        #: assignment sets them all, so that a result is of one moment.
        self.moments = (_Moment(0, theta, theta),) * 3
        #: Rows of one compiled call.
        operations = 6 * self.batch * theta.size
        self.span = self.batch * _SPAN / (_SLOW_UPDATE + _SLOW_OPERATION * operations)

    def _weight_and_scale(self, weight: np.ndarray | None, n: int) -> tuple[np.ndarray, float]:
        """The weights for kernels, and the factor from summed losses to the cost."""
        mean = self.options.reduction == "mean"
        weight, unit = inputs.in_units(weight)
        if weight is None:
            weight = np.ones(n)
        elif mean:
            weight = weight * (n / weight.sum())
        return weight.astype(self.dtype), self.factor / n if mean else unit

    def _hold_out(self, weight: Any) -> Any:
        """Set the validation rows: those that are given, or some of x, y and the weights."""
        o = self.options
        if isinstance(o.validation, float):
            trained, others = split(self.x.shape[0], o.validation, o.seed)
            x, y = self.x[others], self.y[others]
            self.x, self.y = rows_of(self.x[trained], self.dtype)[0], self.y[trained]
            held: Any = None
            if weight is not None:
                held, weight = weight[others], weight[trained]
            if weight is not None and not (held.any() and weight.any()):
                raise InputError(
                    "sample_weight is zero for every row on one side of the validation split; choose "
                    "another seed, or pass the rows to validate on."
                )
        else:
            (_, d), (_, k) = self.x.shape, self.y.shape
            (x, y, held, _), found = given_rows(
                o.validation,
                SPARSE if is_sparse(self.x) else HOST,
                None,
                d=d,
                k=k,
                dtype=self.kind,
                classes=self.classes,
                loss=o.loss,
                feature_names=self.feature_names,
                categories=None,
                outputs=k,
                offset=False,
            )
            if found is BLOCKS:
                raise InputError("in validation, x is in blocks, which networks don't read.")
            y = np.ascontiguousarray(y.T)
        self.held_x = rows_of(x, self.dtype)[0]
        stored = self.held_x.data if is_sparse(self.held_x) else self.held_x
        if not np.isfinite(stored).all():  # an infinity may give a finite activation
            self._require_finite()
        held, scale = self._weight_and_scale(held, x.shape[0])
        passes = Passes(self.network, self.held_x, y, held)

        def cost_of(theta: np.ndarray) -> float:
            self.network.theta[:] = theta
            return scale * passes.cost()

        self.held = Validation(cost_of, o.patience)
        return weight

    def _initialise(self) -> None:
        """Set the initial parameters: uniform within ±1/√(units below), as torch.nn.Linear."""
        given = self.options.weights_init, self.options.biases_init
        if any(one is None for one in given):
            rng = np.random.default_rng(self.options.seed)
            for weight, bias in zip(self.network.weights, self.network.biases, strict=True):
                bound = 1 / math.sqrt(len(weight))
                weight[...] = rng.uniform(-bound, bound, weight.T.shape).T
                bias[...] = rng.uniform(-bound, bound, len(bias))
        fill(self.network, *given)

    def result(self) -> MlpFit:
        """Run, and return the result."""
        with self._bar() as bar:
            found = self._run(bar)
        if self.options.checkpoint is not None:
            found.save(self.options.checkpoint)
        return found

    def _bar(self) -> Any:
        if not self.options.progress:
            return contextlib.nullcontext()
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                'progress=True needs tqdm: pip install "fastgd[progress]".'
            ) from error
        return tqdm(total=self.options.epochs, unit="epoch")

    def _run(self, bar: Any) -> MlpFit:
        o, held = self.options, self.held
        self.hyper, self.low_hyper = self.settings.hyper(), self.settings.hyper(self.dtype)
        memory = self.settings.memory(1, self.network.size - 1, self.dtype)
        self.network.memory[: memory.size] = memory.ravel()
        self._memory = self.network.memory[: memory.size]
        before, asked = self._penalty(), time.perf_counter()
        if o.resume is not None:
            self._resume(o.resume.state)
        checkpoint = None if o.checkpoint is None else Checkpoint(o.checkpoint)
        epoch, theta, best = self.moments[0]
        while epoch < o.epochs and not (self.stopped or (held and held.over)):
            self.costs.append(self._one_epoch(epoch))
            epoch, theta = epoch + 1, self.network.theta.copy()
            if held:
                held.look(theta)
                if not held.finite:
                    self._not_valid(held)
            best = held.best if held else theta
            self._now(epoch, theta, best)
            if bar is not None:
                bar.update(epoch - bar.n)
            if checkpoint is not None:
                checkpoint.after_step(functools.partial(self._paused, theta))
            if o.callback is not None and (
                held or epoch == o.epochs or time.perf_counter() - asked >= _CALLBACK
            ):
                self.stopped = bool(o.callback(self._paused(theta)))
                asked = time.perf_counter()
        state = self._state(theta)
        cost = self._cost(best)
        if not math.isfinite(cost):
            self._diverged()
        before, after = self.costs[0] + before, cost + self._penalty()
        if after > before + 8 * float(np.finfo(self.dtype).eps) * abs(before):
            what = "the cost plus penalty" if o.l2 else "the cost"
            self.warning = (
                f"{what} rose from {before:.6g} to {after:.6g} in "
                f"{held.best_epoch if held else epoch} epochs with lr={o.lr:g}; try a smaller lr."
            )
        elif held and not (held.over or self.stopped):
            self.warning = (
                f"the validation cost was lowest after epoch {held.best_epoch} of {epoch}, so "
                f"that patience={held.patience} did not end the fit; allow more epochs."
            )
        self.converged = not (self.warning or self.stopped)
        return self.so_far(epoch, best, cost, state)

    def _paused(self, theta: np.ndarray) -> MlpFit:
        """The fit after the epochs so far, which can be resumed; its cost is that of the last epoch."""
        return self.so_far(len(self.costs), theta, self.costs[-1], self._state(theta))

    def _state(self, theta: np.ndarray) -> State | None:
        """What a later fit can go on from, where this one may be stopped, or was; after an epoch."""
        o = self.options
        if o.callback is None and o.resume is None and o.checkpoint is None:
            return None
        return self._arrays(theta) | ({} if self.held is None else self.held.state())

    def _arrays(self, theta: np.ndarray) -> State:
        """The state of the network, without that of the validation."""
        o, network = self.options, self.network
        kind = f"network of {o.activation} and {o.loss.name} by {o.optimizer.rule.name}"
        return {
            "solver": np.array(kind),
            "shape": np.array([self.x.shape[0], *network.sizes]),
            "theta": theta.copy(),
            "memory": self._memory.copy(),
            "costs": np.array(self.costs, np.float64),
            "lrs": np.array(self.lrs, np.float64),
        }

    def _resume(self, state: State) -> None:
        """Go on from the state of the fit that the caller resumes."""
        own = checked(resumed(state, self.held), self._arrays(self.network.theta), ("costs", "lrs"))
        theta = own["theta"]
        self.network.theta[:], self._memory[:] = theta, own["memory"]
        self.costs, self.lrs = own["costs"].tolist(), own["lrs"].tolist()
        self._now(len(self.costs), theta, self.held.best if self.held else theta)

    def _one_epoch(self, epoch: int) -> float:
        """All updates of an epoch; returns its cost, each loss before its update."""
        o, network, n, batch = self.options, self.network, self.x.shape[0], self.batch
        lr = float(self.settings.rates(1, epoch, epoch + 1)[0, 0])
        self.lrs.append(lr)
        order = self.passes.given_order
        if o.shuffle and batch < n:
            order = visiting_order(n, o.shuffle, o.seed, epoch).astype(np.int64)
        # Under "mean" a batch divides by its own rows.
        mean = o.reduction == "mean"
        unit = self.scale * n if mean else self.scale
        first, batches = 0, -(-n // batch)
        while first < n:
            stop, begun = (
                end_of_block(first + max(1, int(self.span)), batch, n),
                time.perf_counter(),
            )
            losses = self.passes.train(
                order, first, stop, batch, unit, mean, o.optimizer.rule, o.l2, lr,
                epoch * batches, self.hyper, self.low_hyper,
            )  # fmt: skip
            self._measured(stop - first, stop < n, time.perf_counter() - begun)
            cost = losses * self.scale
            if not (math.isfinite(cost) and np.isfinite(network.theta).all()):
                self._diverged()
            if epoch == 0 and min(batch, n) <= stop:
                theta = network.theta.copy()
                self._now(0, theta, theta)
            first = stop
        return cost

    def _measured(self, rows: int, full: bool, seconds: float) -> None:
        """Set the rows of the next span, to take `_SPAN`; an epoch's last one may be too short."""
        if full or seconds > _SPAN:
            self.span = min(10 * self.span, rows * _SPAN / max(seconds, 1e-9))

    def _now(self, epoch: int, theta: np.ndarray, best: np.ndarray) -> None:
        self.moments = (_Moment(epoch, theta, best), *self.moments[::2])

    def kept(self) -> MlpFit | None:
        """The fit when it is interrupted: that of a call with as many epochs as have ended.

        Within the first epoch, the parameters after its last updates; None if there were none.
        """
        moment = self.moments[0]
        if moment is self.moments[2]:
            return None
        try:
            return self._last_finite(math.ceil(self.x.shape[0] / max(1, _LAST_SPANS * self.span)))
        except KeyboardInterrupt:  # a second Ctrl-C: the last known cost
            if not moment.epoch:
                return None
            return self.so_far(moment.epoch, moment.best, self.costs[moment.epoch - 1])

    def _last_finite(self, step: int = 1) -> MlpFit | None:
        """The fit at the last moment at which cost and penalty are finite; the cost as `_cost` has it."""
        for moment in self.moments:
            cost = self._cost(moment.best, step)
            if math.isfinite(cost):
                return self.so_far(moment.epoch, moment.best, cost)
        return None

    def _cost(self, theta: np.ndarray, step: int = 1) -> float:
        """The cost at these parameters, from every `step`-th row; infinite if the penalty is."""
        self.network.theta[:] = theta
        n = self.x.shape[0]
        order = self.passes.given_order[::step].copy() if step > 1 else None
        cost = self.passes.cost(order) * self.scale * (1 if order is None else n / len(order))
        return cost if math.isfinite(self._penalty()) else math.inf

    def _penalty(self) -> float:
        if not self.options.l2:
            return 0.0
        squares = self.network.theta[: self.network.penalised].astype(np.float64) ** 2
        return self.options.l2 / 2 * float(squares.sum())

    def _diverged(self, what: str = "cost") -> NoReturn:
        self._require_finite()
        fit = self._last_finite()
        if fit is None:
            o, values = self.options, ["x", "y"]
            if o.sample_weight is not None and o.reduction == "sum":
                values.append("sample_weight")
            values += [
                name for name in ("weights_init", "biases_init") if getattr(o, name) is not None
            ]
            values += ["l2"] * (o.l2 > 0)
            raise DivergenceError(
                f"the cost overflows {self.dtype} at the start: values of "
                f"{', '.join(values[:-1])} or {values[-1]} are too large; scale them."
            )
        raise DivergenceError(
            f"the {what} is no longer finite after epoch {fit.n_epochs} with "
            f"lr={self.options.lr:g}; try a smaller lr. The error's attribute `fit` holds the last "
            "finite parameters.",
            fit,
        )

    def _not_valid(self, held: Validation) -> NoReturn:
        """Raise because the validation cost is not finite: because of its rows, or of the updates."""
        if math.isfinite(held.cost_of(self.moments[2].theta)):
            self._diverged("validation cost")
        raise DivergenceError(
            f"the validation cost overflows {self.dtype} at the start; scale the values of its rows.",
            self._last_finite(),
        )

    def _require_finite(self) -> None:
        """Whether it is the data itself that is not finite."""
        inputs.require_finite(self.given_x, "x", self.names)
        if isinstance(self.options.validation, tuple):
            inputs.require_finite(self.held_x, "in validation, x", self.names)

    def so_far(
        self, epoch: int, theta: np.ndarray, cost: float, state: State | None = None
    ) -> MlpFit:
        """The fit after so many epochs, with these parameters."""
        held = self.held
        validated = np.array(held.costs[:epoch]) if held else None
        weights, biases = self.network.views(theta)
        return MlpFit(
            weights=[w.T.copy() for w in weights],
            biases=[b.copy() for b in biases],
            costs=np.array(self.costs[:epoch]),
            cost=float(cost),
            n_epochs=epoch,
            converged=self.converged,
            method=self.options.optimizer.rule.name,
            classes=None if self.classes is None else self.classes.copy(),
            loss=self.options.loss.name,
            activation=self.options.activation,
            lrs=np.array(self.lrs[:epoch]),
            flat=self.flat,
            feature_names=self.feature_names,
            state=state,
            validation_costs=validated,
            best_epoch=None
            if validated is None or not len(validated)
            else int(np.argmin(validated)) + 1,
        )
