"""What is to be fitted: rows, targets, loss, start, rows held out, and the units they are in."""

import math
from typing import Any

import numpy as np

from .. import inputs
from ..errors import DivergenceError, InputError
from ..formulas.updates import GD
from ..losses import CLASSES, LABELS, named_link
from ..result import Fit
from ..settings import Settings
from ..solvers.early_stopping import Validation
from ..sources import place
from ..sources.blocks import Blocks
from ..sources.protocol import Source
from ..sources.readers import (
    chosen_of_frame,
    comes_once,
    holds_categories,
    in_blocks,
    opened,
)
from ..sources.selected import selected
from ..sources.watched import watched_by
from .held_out import given_rows, split
from .once import read_once
from .options import Options
from .progress import ReadingBar
from .row_space import RowSpace, row_space

#: Epochs where the caller names none: with a numeric `lr`, and the most with lr="auto".
_EPOCHS, _AUTO_EPOCHS = 100, 1000
#: With reduction="sum", how far weights stay from the ends of the dtype.
_ROOM = 1e18
_FLOAT64 = np.dtype(np.float64)


class Problem:
    """One fit, read and checked; and its result.

    Parameters
    ----------
    loss : Loss or CoupledLoss
    x, y : as the caller has them
    options : Options

    Attributes
    ----------
    loss : Loss or CoupledLoss
        The one for these labels, where y has labels.
    x, y : (n, d), (k, n)
        The rows to train on; class indices (1, n) for a coupled loss.
    coef, intercept : ndarray (k, d), (k,)
        Where to start, in the units of the caller.
    dtype, inner : numpy dtype
        That of the result, and what is computed in.
    y_center, y_unit : ndarray (k,) or 0.0, float
        What `centre_targets` took from y, and then divided it by.
    row_space : RowSpace or None
        The space that `reduce_to_rows` has brought x and coef to.
    """

    x: Any = None
    y: np.ndarray
    k: int
    flat: bool
    classes: np.ndarray | None = None
    names: list[str] | None = None
    feature_names: tuple[str, ...] | None = None
    categories: dict[str, tuple[Any, ...]] | None = None
    held_out: Any = None
    start: np.ndarray | None = None
    y_center: np.ndarray | float = 0.0
    y_unit = 1.0
    row_space: RowSpace | None = None
    #: Of the readings of x, if they are to be shown.
    bar: ReadingBar | None = None

    def __init__(self, loss: Any, x: Any, y: Any, options: Options):
        self.loss, self.options = loss, options
        #: Rows in blocks that are let go of at the end, and those that the caller goes on with.
        self._opened: Blocks | None = None
        self._callers = x if isinstance(x, Blocks) else None
        try:
            self._read(*self._open(x, y))
        except BaseException:
            self.close()
            raise
        if self.bar is not None:
            n = None if self._opened is None else len(self._opened)
            self.bar.begin(n, None if self.automatic else self.epochs)

    def _open(self, x: Any, y: Any) -> tuple[Any, Any]:
        """x and y as they can be read; blocks that can be read once are few rows from here on."""
        options = self.options
        weight, chosen = options.sample_weight, (options.columns, options.categories)
        once = comes_once(x)
        if once or in_blocks(x):
            self.bar = ReadingBar() if options.progress else None
            with watched_by(None if self.bar is None else self.bar.read):
                if once:
                    return read_once(x, y, self.loss, options)
                x, y, options.sample_weight = opened(x, y, weight, *chosen)
            self._opened = x
            self._name(x)
            if y is None:
                raise InputError(
                    "y is missing; pass an array, the name of a column of x, or blocks (x, y)."
                )
        elif any(chosen) or isinstance(y, str) or isinstance(weight, str) or holds_categories(x):
            x, y, options.sample_weight = chosen_of_frame(x, y, weight, *chosen)
            self._name(x)
            x = x.rows(0, len(x))
        elif (names := inputs.column_names(x)) is not None:
            self.names, self.feature_names = names, inputs.feature_names(x)
        return x, y

    def _name(self, x: Blocks) -> None:
        """Keep the names of the columns of a table."""
        self.names = x.names
        self.feature_names = None if x.names is None else tuple(x.names)
        self.categories = x.categories or None

    def _read(self, x: Any, y: Any) -> None:
        """Set what the rows, the targets and the options say together."""
        loss, options = self.loss, self.options
        if options.resume is not None:
            inputs.require_names_of(self.feature_names, options.resume.feature_names)
        self.x, self.place = place.features(x, options.device)
        self.held_place = self.place
        self.given_x, self.given_y = self.x, place.on_host(y, "y", self.place)
        rows, d = self.x.shape
        n = rows
        held_out = options.validation
        trained = others = None
        if isinstance(held_out, float):
            if self.place.on_gpu and not isinstance(self.x, np.ndarray):
                raise InputError("x is on a GPU; pass validation as a tuple (x, y) of rows there.")
            trained, others = split(n, held_out, options.seed)
            n = len(trained)
        self.dtype = inputs.working_dtype(self.x, options.dtype)
        batch = options.batch_size
        if batch is not None and batch > n:
            more = " to train on" if held_out is not None else ""
            raise InputError(
                f"batch_size is {batch}, x has {n} rows{more}; None takes all rows at once."
            )
        self.batch = None if batch == n else batch
        if self.batch is not None and isinstance(self.x, Blocks):
            self.x.require_order(options.shuffle)
        #: Whether the data provides the step.
        self.automatic = options.automatic and self.batch is None
        if self.automatic and held_out is not None:
            raise InputError(
                "validation looks after every epoch, and lr='auto' takes steps of another kind; pass "
                "lr as a number, an optimizer, or a batch_size below the number of rows."
            )
        self.epochs = options.epochs or (_AUTO_EPOCHS if self.automatic else _EPOCHS)
        self.inner = _FLOAT64 if self.automatic else self.dtype
        self._read_targets(rows)
        weight, self.unit = options.sample_weight, 1.0
        if weight is not None:
            weight = place.on_host(weight, "sample_weight", self.place)
            weight, self.unit = inputs.in_units(inputs.weights(weight, rows, np.float64))
        if options.class_weight is not None:
            if self.classes is None:
                raise InputError(f"class_weight is for labels; the loss {loss.name!r} has none.")
            weight, unit = inputs.class_weights(
                options.class_weight, self.y[0], self.classes, weight
            )
            self.unit *= unit
        offset = place.on_host(options.offset, "offset", self.place)
        of_classes = self.loss.coupled
        self.offset = inputs.offsets(offset, rows, self.k, self.inner, of_classes=of_classes)
        if trained is not None:
            self.held_out = self._taken(others, weight)
            self.x, self.y, weight, self.offset = self._taken(trained, weight)
        elif held_out is not None:
            self.held_out, self.held_place = given_rows(
                held_out, self.place, options.device, d=d, k=len(self.y), dtype=self.inner,
                classes=self.classes, loss=self.loss, feature_names=self.feature_names,
                categories=self.categories,
                outputs=self.k, offset=self.offset is not None,
            )  # fmt: skip
        if self.loss.quadratic and self.offset is not None:
            # The residual is the same, and second moments know of no offset.
            self.y, self.offset = self.y - self.offset, None
            if self.held_out is not None:
                x_held, y_held, weight_held, offset_held = self.held_out
                self.held_out = x_held, y_held - offset_held, weight_held, None
        # Weights are rescaled again only if class weights or a split changed them.
        unit = 1.0
        if options.class_weight is not None or trained is not None:
            weight, unit = inputs.in_units(weight)
        self.weight, self.weight_unit = weight, self.unit * unit
        if isinstance(options.lr, np.ndarray) and options.lr.shape != (self.k,):
            raise InputError(
                f"lr has {len(options.lr)} values and y has {self.k} column(s); pass one number, or one "
                "for each column."
            )
        self.coef = inputs.parameters(options.coef_init, (self.k, d), "coef_init")
        self.intercept = inputs.parameters(options.intercept_init, (self.k,), "intercept_init")
        given = options.intercept_init is not None and not options.fit_intercept
        if given and self.intercept.any():
            raise InputError("intercept_init needs fit_intercept=True.")
        if options.keep_path:
            self.start = self.coef.copy()

    def _read_targets(self, rows: int) -> None:
        """Set y (k, n), `classes` or None, the number k of outputs, and whether there is one in a row.

        Two labels have one output; more have one each, of the loss that couples them.
        """
        if self.loss.targets not in (LABELS, CLASSES):
            self.y, self.flat = inputs.targets(self.given_y, rows, self.inner, finite=False)
            inputs.require_domain(self.y, self.loss.targets, self.loss.name)
            self.k = len(self.y)
            return
        self.y, self.classes = inputs.labels(self.given_y, rows, self.inner)
        # All labels have been looked at: the column of a table needs memory no more.
        self.given_y = None
        k = len(self.classes)
        if not self.loss.coupled and k > 2:
            if self.loss.for_classes is None:
                raise InputError(f"y has {k} labels; the loss {self.loss.name!r} takes two.")
            self.loss = self.loss.for_classes
        self.flat = not self.loss.coupled
        self.k = 1 if self.flat else k

    def _taken(self, which: Any, weight: np.ndarray | None) -> tuple[Any, np.ndarray, Any, Any]:
        """A copy of these rows of x, y, the weights and the offset; x in blocks is not copied."""
        if weight is not None:
            weight = weight[which]
            if not weight.any():
                raise InputError(
                    "sample_weight is zero for every row on one side of the validation split; choose "
                    "another seed, or pass the rows to validate on."
                )
        offset = None if self.offset is None else self.offset[:, which]
        x = selected(self.x, which) if isinstance(self.x, Blocks) else self.x[which]
        return x, self.y[:, which], weight, offset

    # --- what a solver is made of ------------------------------------------------------------------

    @property
    def _entries_a_row(self) -> int:
        """The mean of k targets is over all entries, that of k classes over rows."""
        return 1 if self.loss.coupled else self.k

    def settings(self) -> Settings:
        """What an epoch needs to know beside the data."""
        o, n = self.options, self.x.shape[0]
        mass = n if self.weight is None else float(np.add.reduce(self.weight, dtype=_FLOAT64))
        mean = o.reduction == "mean"
        scale = 1 / (mass * self._entries_a_row) if mean else self.weight_unit
        if not mean:
            limits = np.finfo(self.inner)
            if not limits.tiny * _ROOM < scale < limits.max / _ROOM:
                raise InputError(
                    f"the weights go up to {scale:.3g}, which leaves a sum in {self.inner} no room; "
                    "scale sample_weight or class_weight, or use reduction='mean'."
                )
        # A batch of m rows divides by m itself, so that its weights need a mean of 1.
        row_scale = n * scale if mean and self.batch is not None else scale
        return Settings(
            lr=0.0 if isinstance(o.lr, str) else o.lr, l1=o.l1, l2=o.l2, scale=scale,
            row_scale=row_scale, fit_intercept=o.fit_intercept, tol=o.tol or 0.0,
            optimizer=o.optimizer or GD, schedule=o.schedule,
        )  # fmt: skip

    def source(self) -> Source:
        """The rows to train on, where they are read."""
        return self._source_of(self.place, self.x, self.y, self.weight, self.offset)

    def _source_of(self, where: Any, x: Any, y: np.ndarray, weight: Any, offset: Any) -> Source:
        return where.rows(x, y, weight, self.inner, self.options.n_threads, self.k, offset)

    def validation(self) -> Validation | None:
        """The cost of the rows held out."""
        if self.held_out is None:
            return None
        x, y, weight, offset = self.held_out
        weight, scale = inputs.in_units(weight)
        if isinstance(self.options.validation, float):
            scale *= self.unit
        if self.options.reduction == "mean":
            mass = x.shape[0] if weight is None else float(weight.sum(dtype=np.float64))
            scale = 1 / (mass * self._entries_a_row)
        source = self._source_of(self.held_place, x, y, weight, offset)

        def cost_of(parameters: np.ndarray) -> float:
            low = parameters.astype(source.dtype)
            coef, intercept = low[:, :-1].copy(), low[:, -1].copy()
            totals = source.totals(self.loss, coef, intercept, slopes_too=False)
            return scale * float(totals[:, -1].sum())

        return Validation(cost_of, self.options.patience)

    def centre_targets(self) -> None:
        """Take the mean from y, and bring it to units of its size.

        A target far from zero would cost digits in every residual, and squares of very small or
        large ones underflow or overflow.
        """
        y = self.y
        if self.options.fit_intercept:
            # The mean need only be near; one that overflows is 0, and the units below take over.
            mean = (
                np.add.reduce(y, axis=1) / y.shape[1]  # as y.mean(axis=1), in a third of the time
                if self.weight is None
                else np.einsum("kn,n->k", y, self.weight) / self.weight.sum()
            )
            self.y_center = (
                mean if inputs.is_finite(mean) else np.where(np.isfinite(mean), mean, 0.0)
            )
            y = y - self.y_center[:, None]
        self.y, self.y_unit = inputs.in_units(y, leave=1e10)

    def reduce_to_rows(self) -> None:
        """Bring x and coef to the space of the rows, of which there are fewer than columns."""
        self.row_space = row_space(self.x, self.options.fit_intercept)
        if self.row_space is not None:
            self.x = self.row_space.rows
            self.coef, self.intercept = self.row_space.inside(self.coef, self.intercept)

    def close(self) -> None:
        """Let go of what the rows hold outside this process."""
        held_out = () if self.held_out is None else self.held_out[:1]
        for x in (self.x, *held_out, self._opened):
            if isinstance(x, Blocks) and x is not self._callers:
                x.close()
        if self.bar is not None:
            self.bar.close()

    # --- its result --------------------------------------------------------------------------------

    def require_finite(self) -> None:
        """Raise InputError if x, y or the rows to validate on are not finite."""
        place.require_finite(self.given_x, "x", self.names)
        if isinstance(self.options.validation, tuple):
            place.require_finite(self.held_out[0], "in validation, x", self.names)
        if self.classes is None:  # labels were looked at one by one
            inputs.targets(self.given_y, self.given_x.shape[0], self.inner)

    def representable(self, solver: Any) -> bool:
        """Whether the parameters, float64 in some loops, are finite numbers of the result's dtype."""
        if self.dtype == _FLOAT64 or self.automatic:
            return True  # else the cost, or the result of lr="auto", says so
        largest = float(np.finfo(self.dtype).max)
        ends = (*inputs.extremes(solver.coef), *inputs.extremes(solver.intercept))
        return all(-largest <= end <= largest for end in ends)

    def penalty(self, coef: np.ndarray) -> float:
        """l1·‖coef‖₁ + l2/2·‖coef‖²."""
        l1, l2 = self.options.l1, self.options.l2
        penalty = l1 * float(np.abs(coef).sum()) if l1 else 0.0
        return penalty + (l2 / 2 * float(np.add.reduce(coef * coef, axis=None)) if l2 else 0.0)

    def to_fit(
        self,
        solver: Any,
        cost: float | None,
        converged: bool,
        validation: Validation | None = None,
        state: dict[str, np.ndarray] | None = None,
    ) -> Fit:
        """The fit at the solver's parameters; without a cost that of its last epoch."""
        epoch, unit, dtype = solver.epoch, self.y_unit, self.dtype
        costs = solver.costs[:epoch]
        if cost is None:
            cost = costs.item(epoch - 1) if epoch else math.nan
        costs, cost = _times(costs, unit, unit), cost * unit * unit
        coef, path = _times(solver.coef, unit), None
        intercept = _times(solver.intercept, unit)
        if self.automatic:
            intercept += self.y_center
        if self.start is not None:
            path = _times(solver.path[:epoch], unit)
        if self.row_space is not None:
            coef = self.row_space.outside(coef)
            intercept -= coef @ self.row_space.center
            path = None if path is None else self.row_space.outside(path)
        coef = coef.astype(dtype, copy=False)
        path = None if path is None else path.astype(dtype, copy=False)
        start = None if self.start is None else self.start.astype(dtype)
        low = intercept.astype(dtype, copy=False)
        finite = inputs.is_finite(coef) and inputs.is_finite(low.item() if self.flat else low)
        # Costs of lr="auto" are those of y in units: in those of the caller they may overflow.
        if (
            not finite
            or not cost < math.inf
            or (self.automatic and len(costs) and not inputs.is_finite(costs))
        ):
            raise DivergenceError(
                f"the result overflows {self.dtype}; scale x and y"
                + (", or use dtype='float64'." if self.dtype == np.float32 else ".")
            )
        if self.flat:
            coef, path = coef[0], path[:, 0] if path is not None else None
            start = start[0] if start is not None else None
        return Fit(
            coef=coef,
            intercept=intercept.item(0) if self.flat else low,
            costs=costs,
            cost=cost,
            n_epochs=epoch,
            converged=converged,
            method=solver.method,
            path=path,
            start=start,
            classes=None if self.classes is None else self.classes.copy(),
            loss=self.loss.name,
            p=self.loss.p,
            link=named_link(self.loss.link),
            feature_names=self.feature_names,
            categories=self.categories,
            state=state,
            **self._history(solver, epoch, validation),
        )

    def _history(self, solver: Any, epoch: int, validation: Validation | None) -> dict[str, Any]:
        """Learning rates and gradient norms, where the solver has them."""
        if self.automatic:
            return {}
        validated: dict[str, Any] = {}
        if validation is not None:
            costs = np.array(validation.costs[:epoch])
            best = int(np.argmin(costs)) + 1 if len(costs) else 0
            validated = {"validation_costs": costs, "best_epoch": best}
        settings = solver.settings
        several = isinstance(settings.lr, np.ndarray)
        lrs = np.empty((epoch, self.k) if several else epoch)
        if settings.schedule is None:
            lrs[...] = settings.lr
        else:
            rates = settings.rates(self.k, 0, epoch)
            lrs[...] = rates if several else rates[:, 0]
        norms = solver.norms[:epoch].copy() if self.batch is None else None
        return {"lrs": lrs, "gradient_norms": norms, **validated}


def _times(array: np.ndarray, unit: float, again: float = 1.0) -> np.ndarray:
    """A copy of an array of the solver in the units of the caller."""
    return array.copy() if unit == 1 else array * unit * again
