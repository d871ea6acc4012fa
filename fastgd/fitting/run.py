"""One fit: plan, run in chunks, and tell the truth about the result."""

import math
from typing import Any, NoReturn

import numpy as np

from .. import inputs
from ..compile.functions import default_threads
from ..cpu.machine.blas import one_thread
from ..errors import DivergenceError, InputError
from ..formulas.updates import GD
from ..losses import CROSS_ENTROPY, Coupled, Loss
from ..result import Fit
from ..settings import CONVERGED, NOT_FINITE, Settings
from ..solvers.batch import BatchDescent
from ..solvers.early_stopping import Validation
from ..solvers.step_size import largest_stable_lr, momentum_share
from ..solvers.stochastic import StochasticDescent
from ..solvers.whitened import AutomaticDescent
from ..sources import place
from .held_out import given_rows, split

_EPOCHS = 100
#: With lr="auto", passes after which a batch fit gives up.
_AUTO_EPOCHS = 1000
#: With lr="auto" and a batch size, how far below the largest stable step to stay.
_STOCHASTIC_MARGIN = 20
#: With reduction="sum", how far weights stay from the ends of the dtype.
_ROOM = 1e18


def _solvers(where: place.Place) -> tuple[Any, Any]:
    """The batch and the stochastic solver for rows at a place."""
    if where.on_gpu:
        from ..solvers.on_device import DeviceDescent, DeviceStochasticDescent

        return DeviceDescent, DeviceStochasticDescent
    return BatchDescent, StochasticDescent


class Run:
    """One fit, from checked options to the result."""

    def __init__(self, loss: Loss, x, y, options: dict[str, Any]):
        self.loss: Loss | Coupled = loss
        self.options = options
        self.names = inputs.column_names(x)
        self.x, self.place = place.features(x, options["device"])
        y = place.on_host(y, "y", self.place)
        self.given_x, rows = self.x, len(self.x)
        n, d = self.x.shape
        held_out = options["validation"]
        trained = None
        if isinstance(held_out, float):
            if not isinstance(self.x, np.ndarray):
                raise InputError("x is on a GPU; pass validation as a tuple (x, y) of rows there.")
            trained, others = split(n, held_out, options["seed"])
            n = len(trained)
        self.dtype = inputs.working_dtype(self.x, options["dtype"])
        batch = options["batch_size"]
        if batch is not None and batch > n:
            more = " to train on" if held_out is not None else ""
            raise InputError(
                f"batch_size is {batch}, x has {n} rows{more}; None takes all rows at once."
            )
        self.batch = None if batch == n else batch
        lr = options["lr"]
        self.automatic = isinstance(lr, str) and self.batch is None and options["optimizer"] is None
        inner = np.dtype(np.float64) if self.automatic else self.dtype
        if self.automatic and held_out is not None:
            raise InputError(
                "validation looks after every epoch, and lr='auto' takes steps of another kind; pass "
                "lr as a number, an optimizer, or a batch_size below the number of rows."
            )
        self.classes: Any = None
        if loss.name == "bce":
            self.y, self.classes = inputs.labels(y, rows, inner)
            self.flat = len(self.classes) == 2
            if not self.flat:
                self.loss = CROSS_ENTROPY
        else:
            self.y, self.flat = inputs.targets(y, rows, inner, finite=False)
            self.given_y = y
        weight = place.on_host(options["sample_weight"], "sample_weight", self.place)
        weight, self.unit = inputs.in_units(inputs.weights(weight, rows, np.float64))
        if self.classes is not None:
            weight, unit = inputs.class_weights(
                options["class_weight"], self.y[0], self.classes, weight
            )
            self.unit *= unit
        self.coupled = isinstance(self.loss, Coupled)
        self.k = len(self.classes) if self.coupled else len(self.y)
        self.held_out: Any = None
        if trained is not None:
            self.held_out = self._taken(others, weight)
            self.x, self.y, weight = self._taken(trained, weight)
        elif held_out is not None:
            like = {"d": d, "k": len(self.y), "dtype": inner, "classes": self.classes}
            self.held_out = given_rows(held_out, self.place, options, like)
        self.weight, unit = inputs.in_units(weight)
        self.weight_unit = self.unit * unit
        if isinstance(lr, np.ndarray) and lr.shape != (self.k,):
            raise InputError(
                f"lr has {len(lr)} values and y has {self.k} column(s); pass one number, or one for "
                "each column."
            )
        self.coef = inputs.parameters(options["coef_init"], (self.k, d), "coef_init")
        self.intercept = inputs.parameters(options["intercept_init"], (self.k,), "intercept_init")
        if not options["fit_intercept"] and self.intercept.any():
            raise InputError("intercept_init needs fit_intercept=True.")
        self.start = self.coef.copy()
        self.inner = inner
        self.n_threads = options["n_threads"] or default_threads()
        self.y_center, self.y_unit = np.zeros(self.k), 1.0
        self.converged = False  # until the end says otherwise
        self.stopped = False
        self.warning = ""
        self.validation: Validation | None = None

    def _taken(self, which, weight):
        """A copy of these rows of x, y and the weights."""
        if weight is not None:
            weight = weight[which]
            if not weight.any():
                raise InputError(
                    "sample_weight is zero for every row on one side of the validation split; choose "
                    "another seed, or pass the rows to validate on."
                )
        return self.x[which], self.y[:, which], weight

    # --- the plan --------------------------------------------------------------------------------

    def _settings(self):
        o, n = self.options, self.x.shape[0]
        mass = n if self.weight is None else float(self.weight.sum(dtype=np.float64))
        mean = o["reduction"] == "mean"
        # The mean of k targets is over all entries, that of k classes over rows.
        entries = mass if self.coupled else mass * self.k
        scale = 1 / entries if mean else self.weight_unit
        limits = np.finfo(self.inner)
        if not (mean or limits.tiny * _ROOM < scale < limits.max / _ROOM):
            raise InputError(
                f"the weights go up to {scale:.3g}, which leaves a sum in {self.inner} no room; scale "
                "sample_weight or class_weight, or use reduction='mean'."
            )
        # A batch of m rows divides by m itself, so that its weights need a mean of 1.
        row_scale = n * scale if mean and self.batch is not None else scale
        return Settings(
            lr=0.0 if isinstance(o["lr"], str) else o["lr"],
            l1=o["l1"],
            l2=o["l2"],
            scale=scale,
            row_scale=row_scale,
            fit_intercept=o["fit_intercept"],
            tol=o["tol"] or 0.0,
            optimizer=o["optimizer"] or GD,
            schedule=o["schedule"],
        )

    def _validation(self) -> Validation | None:
        """The rows held out, where they are read."""
        if self.held_out is None:
            return None
        x, y, weight = self.held_out
        weight, scale = inputs.in_units(weight)
        if isinstance(self.options["validation"], float):
            scale *= self.unit
        if self.options["reduction"] == "mean":
            mass = len(x) if weight is None else float(weight.sum(dtype=np.float64))
            scale = 1 / (mass if self.coupled else mass * self.k)
        source = self._source_of(x, y, weight)

        def cost_of(parameters):
            low = parameters.astype(source.dtype)
            coef, intercept = low[:, :-1].copy(), low[:, -1].copy()
            totals = source.totals(self.loss, coef, intercept, slopes_too=False)
            return scale * float(totals[:, -1].sum())

        return Validation(cost_of, self.options["patience"])

    def _plan(self):
        o, settings = self.options, self._settings()
        keep = o["keep_path"]
        y = self.y
        if self.automatic:
            if self.loss.name == "mse":
                y = self._centred_targets()
            self.source = self._source_of(self.x, y, self.weight)
            settings.l1 /= self.y_unit
            return self._automatic_descent(bool(settings.l1))(
                self.source,
                self.loss,
                settings,
                self.coef / self.y_unit,
                self._automatic_start(),
                o["epochs"] or _AUTO_EPOCHS,
                keep,
            )
        self.source = self._source_of(self.x, y, self.weight)
        if isinstance(o["lr"], str):
            settings.lr = self._safe_lr(settings)
        if settings.optimizer.joint:
            from ..solvers.lbfgs import LBFGSDescent

            return LBFGSDescent(self.source, self.loss, settings, self.coef, self.intercept, keep)
        batch, stochastic = _solvers(self.place)
        if self.batch is None:
            epochs = o["epochs"] or _EPOCHS
            may_stop = any(o[name] is not None for name in ("tol", "callback", "validation"))
            return batch(
                self.source, self.loss, settings, self.coef, self.intercept, epochs, keep, may_stop
            )
        return stochastic(
            self.source,
            self.loss,
            settings,
            self.coef,
            self.intercept,
            keep,
            batch_size=self.batch,
            shuffle=o["shuffle"],
            seed=o["seed"],
            mean=o["reduction"] == "mean",
            average=o["average"],
        )

    def _automatic_descent(self, l1: bool):
        if l1:
            from ..solvers.proximal import ProximalDescent

            return ProximalDescent
        if self.coupled:
            from ..solvers.joint import CoupledDescent

            return CoupledDescent
        return AutomaticDescent

    def _source_of(self, x, y, weight):
        """Rows where they are read."""
        outputs = {"k": self.k} if self.coupled else {}
        return self.place.rows(x, y, weight, self.inner, self.n_threads, **outputs)

    def _safe_lr(self, settings) -> float:
        """The learning rate of lr="auto" for an optimizer that takes one."""
        if settings.optimizer.joint or settings.optimizer.rule.name not in (
            "gd",
            "momentum",
            "asgd",
        ):
            return settings.optimizer.lr
        stable = largest_stable_lr(self.source, self.loss, settings, self.batch)
        if stable is None or not stable > 0:
            self._overflow()
        if self.batch is None:
            return min(1e6, stable / 2)
        # A constant step keeps a noise floor in proportion to it: stay well below the limit.
        return min(1.0, stable / _STOCHASTIC_MARGIN)

    def _centred_targets(self) -> np.ndarray:
        """y without its mean and in units of its size.

        A target far from zero would cost digits in every residual, and squares of very small or
        large ones underflow or overflow.
        """
        y = self.y
        if self.options["fit_intercept"]:
            # The mean need only be near; one that overflows is 0, and the units below take over.
            mean = (
                y.mean(axis=1)
                if self.weight is None
                else np.einsum("kn,n->k", y, self.weight) / self.weight.sum()
            )
            self.y_center = np.where(np.isfinite(mean), mean, 0.0)
            y = y - self.y_center[:, None]
        y, self.y_unit = inputs.in_units(y, leave=1e10)
        return y

    def _automatic_start(self) -> np.ndarray:
        """The intercept to start from, for centred targets: their mean, unless the caller says."""
        if self.options["intercept_init"] is None and self.loss.name == "mse":
            return np.zeros(self.k)
        return (self.intercept - self.y_center) / self.y_unit

    # --- running ---------------------------------------------------------------------------------

    def result(self) -> Fit:
        """Run, and return what the outside sees."""
        # What overflows is found in the results and told there; NumPy's own warnings add nothing.
        with np.errstate(all="ignore"), one_thread():
            return self._result()

    def _result(self) -> Fit:
        bar = self._bar() if self.options["progress"] else None
        try:
            self.validation = self._validation()
            self.descent = self._plan()
            if self.automatic:
                return self._run_automatic(bar)
            return self._run_chunks(bar)
        finally:
            if bar is not None:
                bar.close()

    def _bar(self):
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                'progress=True needs tqdm: pip install "fastgd[progress]".'
            ) from error
        total = None if self.automatic else self.options["epochs"] or _EPOCHS
        return tqdm(total=total, unit="epoch")

    def _after(self, bar) -> bool:
        """Between chunks: show, ask the callback; True to stop."""
        if bar is not None:
            bar.update(self.descent.epoch - bar.n)
        callback = self.options["callback"]
        return callback is not None and bool(callback(self.so_far()))

    def _run_chunks(self, bar) -> Fit:
        descent, tol = self.descent, self.options["tol"]
        epochs, status = self.options["epochs"] or _EPOCHS, None
        penalty, held = self._penalty(), self.validation
        while descent.epoch < epochs:
            status = descent.run(min(epochs, descent.epoch + (1 if held else descent.chunk)))
            if not self._representable():
                status = NOT_FINITE
            if held and status != NOT_FINITE and descent.epoch > held.epochs:
                held.look(descent.parameters())
                if not held.finite:
                    self._not_valid()
            if status:
                break
            if self._after(bar):
                self.stopped = True
                break
            if held and held.over:
                break
        if status == NOT_FINITE:
            self._diverged()
        if held and held.epochs:
            descent.put(held.best, held.epochs)
        cost = descent.cost()
        if not math.isfinite(cost):
            self._diverged()
        before = descent.first_cost() + penalty
        after, taken = cost + self._penalty(), held.best_epoch if held else descent.epoch
        slack = 8 * float(np.finfo(self.dtype).eps) * abs(before)
        over = held is not None and held.over
        if tol is not None and status != CONVERGED and not over:
            self._warn_short(descent.epoch, tol)
        elif not after <= before + slack:
            what = "the cost plus penalty" if self._penalised() else "the cost"
            self._warn(
                f"{what} rose from {before:.6g} to {after:.6g} in {taken} epochs "
                f"with {self._lr_used()}; {self._advice(self._usable_lr())}"
            )
        elif held and not (over or status == CONVERGED or self.stopped):
            self._warn(
                f"the validation cost was lowest after epoch {held.best_epoch} of {descent.epoch}, so "
                f"that patience={held.patience} did not end the fit; allow more epochs."
            )
        else:
            self.converged = not self.stopped
        return self.so_far(cost)

    def kept(self) -> Fit | None:
        """The fit so far when it is interrupted: with validation, the best of its epochs.

        None before the first update, and where no cost is finite.
        """
        held, descent = self.validation, getattr(self, "descent", None)
        if descent is None or not descent.moved:
            return None
        if held is not None:
            if descent.epoch and not held.epochs:
                held.look(descent.parameters())
            if held.best is not None:
                descent.put(held.best, held.epochs)
        try:
            cost = self._last_finite_cost()
        except KeyboardInterrupt:  # once more: without a pass, the last cost that is known
            return self.so_far() if descent.epoch else None
        return self.so_far(cost) if math.isfinite(cost) else None

    def _last_finite_cost(self) -> float:
        """Go back to the last parameters whose cost is finite; NaN if not even the first one is."""
        cost = self.descent.cost()
        while not (math.isfinite(cost) and self._representable()):
            if not self.descent.back():
                return math.nan
            cost = self.descent.cost()
        return cost

    def _representable(self) -> bool:
        """Whether the parameters, float64 in some loops, are finite numbers of the result's dtype."""
        largest = np.finfo(self.dtype).max
        moved = self.descent.coef * self.y_unit, self.descent.intercept
        return all((np.abs(values) <= largest).all() for values in moved)

    def _run_automatic(self, bar) -> Fit:
        descent = self.descent
        descent.run(descent.epochs, lambda: self._after(bar))
        trouble = descent.trouble
        if trouble == "overflow":
            self._overflow()
        self.converged = descent.converged
        if trouble in ("dependent", "flat", "separable"):
            self._warn(self._trouble_sentence(trouble, descent))
        elif not self.converged and not descent.stopped:
            self._warn_short(descent.epoch, self.options["tol"])
        return self.so_far(descent.final_cost)

    # --- telling the truth -----------------------------------------------------------------------

    def _penalty(self) -> float:
        l1, l2, coef = self.options["l1"], self.options["l2"], self.descent.coef
        penalty = l1 * float(np.abs(coef).sum()) if l1 else 0.0
        return penalty + (l2 / 2 * float((coef**2).sum()) if l2 else 0.0)

    def _penalised(self) -> bool:
        return bool(self.options["l1"] or self.options["l2"])

    def _warn(self, message: str) -> None:
        self.converged, self.warning = False, message

    def _warn_short(self, epochs: int, tol: float | None) -> None:
        goal = "rounding" if tol is None else f"tol={tol}"
        if not self.stopped:
            self._warn(f"the gradient is short of {goal} after {epochs} epochs; allow more epochs.")

    def _advice(self, lr: float | None) -> str:
        if self.descent.settings.optimizer.joint:
            return "line_search_fn='strong_wolfe' finds a step by itself."
        if lr is None:
            return "scale the columns, or use lr='auto'."
        return f"lr up to {lr:.6g} is stable on this data, and lr='auto' finds a step by itself."

    def _lr_used(self) -> str:
        lr = self.descent.settings.lr
        return f"lr={lr:g}" if np.ndim(lr) == 0 else f"lr from {lr.min():g} to {lr.max():g}"

    def _usable_lr(self) -> float | None:
        """A stable learning rate worth naming; it costs up to a hundred passes to find."""
        settings = self.descent.settings
        if settings.optimizer.joint:
            return None  # steps of its own length
        lr = largest_stable_lr(self.source, self.loss, settings, self.batch)
        if lr is not None:
            lr *= momentum_share(settings.optimizer, self.batch)
        return lr if lr is not None and 0 < lr < math.inf else None

    def _diverged(self) -> NoReturn:
        self._require_finite()
        cost = self._last_finite_cost()
        if not math.isfinite(cost):
            self._overflow()
        lr, descent = self._usable_lr(), self.descent
        raise DivergenceError(
            f"the cost is no longer finite after epoch {descent.epoch} with {self._lr_used()}; "
            f"{self._advice(lr)} The error's attribute `fit` holds the last finite parameters.",
            self.so_far(cost),
            lr,
        )

    def _not_valid(self) -> NoReturn:
        """The validation cost is not finite: so are its rows, or the parameters are on their way out."""
        self._require_finite()
        descent = self.descent
        cost = descent.cost()
        if not cost <= descent.first_cost():  # on their way out
            descent.back()
            self._diverged()
        raise DivergenceError(
            f"the validation cost overflows {self.inner} after epoch {descent.epoch}; scale the "
            "values or the weights of its rows.",
            self.so_far(cost),
        )

    def _require_finite(self) -> None:
        """Whether it is the data itself that is not finite."""
        inputs.require_finite(self.given_x, "x", self.names)
        if isinstance(self.options["validation"], tuple):
            inputs.require_finite(self.held_out[0], "in validation, x", self.names)
        if self.classes is None:  # labels were looked at one by one
            inputs.targets(self.given_y, len(self.given_x), self.inner)

    def _overflow(self) -> NoReturn:
        """The cost or the moments overflow before the first step."""
        self._require_finite()
        raise DivergenceError(
            "the cost or its gradient overflows at the start: values of x or y are too large, "
            f"or so small that their coefficients are, for {self.inner}; scale them."
        )

    def _trouble_sentence(self, trouble: str, descent) -> str:
        if trouble == "separable":
            if self.coupled:
                return (
                    "the labels are separable: planes part some of them without error, so that no "
                    "finite optimum exists and the coefficients would grow without end; add l2."
                )
            return (
                "the labels are separable: a plane parts them without error, so that no finite "
                "optimum exists and the coefficients would grow without end; add l2."
            )
        weight = np.asarray(descent.null)
        which = np.flatnonzero(weight > 1e-6 * weight.max())
        shown = ", ".join(self._name(j) for j in which[:8]) + (", …" if len(which) > 8 else "")
        if trouble == "flat":
            return (
                f"the labels are separable along column(s) {shown}: the cost has no finite optimum "
                "there; add l2, or drop them."
            )
        return (
            f"columns {shown} are linearly dependent to the accuracy of X^T X; the coefficients are "
            "the smallest, in scaled coordinates, of the many that fit equally well. Drop columns, "
            "centre them, or add l2."
        )

    def _name(self, column: int) -> str:
        return f"{column} ({self.names[column]!r})" if self.names else str(int(column))

    def so_far(self, cost: float | None = None) -> Fit:
        """The fit at the descent's current parameters."""
        descent, epoch, unit = self.descent, self.descent.epoch, self.y_unit
        costs = descent.costs[:epoch] * unit * unit
        if cost is None:
            cost = float(descent.costs[epoch - 1]) if epoch else math.nan
        cost = cost * unit * unit
        coef = (descent.coef * unit).astype(self.dtype)
        intercept = descent.intercept * unit + self.y_center
        path = start = None
        if self.options["keep_path"]:
            path = (descent.path[:epoch] * unit).astype(self.dtype)
            start = self.start.astype(self.dtype)
        finite = all(np.isfinite(part).all() for part in (coef, intercept.astype(self.dtype)))
        # Costs of lr="auto" are those of y in units: in those of the caller they may overflow.
        if not finite or not cost < math.inf or (self.automatic and not np.isfinite(costs).all()):
            raise DivergenceError(
                f"the result overflows {self.dtype}; scale x and y"
                + (", or use dtype='float64'." if self.dtype == np.float32 else ".")
            )
        if self.flat:
            coef, path = coef[0], path[:, 0] if path is not None else None
            start = start[0] if start is not None else None
        return Fit(
            coef=coef,
            intercept=float(intercept[0]) if self.flat else intercept.astype(self.dtype),
            costs=costs,
            cost=float(cost),
            n_epochs=epoch,
            converged=self.converged,
            method=descent.method,
            path=path,
            start=start,
            classes=None if self.classes is None else self.classes.copy(),
            loss=self.loss.name,
            **self._history(epoch),
        )

    def _history(self, epoch: int) -> dict[str, Any]:
        """Learning rates and gradient norms, where the way taken has them."""
        if self.automatic:
            return {}
        validated = {}
        if self.validation is not None:
            costs = np.array(self.validation.costs[:epoch])
            best = int(np.argmin(costs)) + 1 if len(costs) else 0
            validated = {"validation_costs": costs, "best_epoch": best}
        rates = self.descent.settings.rates(self.k, 0, epoch)
        if len(rates) != epoch:
            rates = np.repeat(rates, epoch, axis=0)
        norms = self.descent.norms[:epoch] * self.y_unit**2 if self.batch is None else None
        return {
            "lrs": rates[:, 0] if np.ndim(self.descent.settings.lr) == 0 else rates,
            "gradient_norms": norms,
            **validated,
        }
