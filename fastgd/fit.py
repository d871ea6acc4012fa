"""The two fits: check the input, plan, run in chunks, and tell the truth about the result."""

import math
import warnings
from typing import Any

import numpy as np

from . import inputs
from .errors import ConvergenceWarning, DivergenceError, InputError
from .losses import LOSSES, Loss
from .optimizers import OPTIMIZERS, PLANNED
from .result import Fit

_EPOCHS = 100
#: With lr="auto", passes after which a batch fit gives up.
_AUTO_EPOCHS = 1000
#: With lr="auto" and a batch size, how far below the largest stable step to stay.
_STOCHASTIC_MARGIN = 20


def fit_linear(
    x: Any,
    y: Any,
    *,
    fit_intercept: bool = True,
    lr: float | str = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    seed: int = 0,
    optimizer: str | None = None,
    tol: float | None = None,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: Any = None,
    coef_init: Any = None,
    intercept_init: Any = None,
    keep_path: bool = False,
    dtype: Any = None,
    device: str | None = None,
    n_threads: int | None = None,
    callback: Any = None,
    progress: bool = False,
) -> Fit:
    """Least squares by gradient descent.

    Minimises ``cost + l2/2·‖coef‖²`` with ``cost = mean((x·coef + intercept − y)²)``: no factor 1/2,
    gradient ``2/n·X^T r``, as in torch's MSELoss. With k targets the mean is over all n·k entries.

    Parameters
    ----------
    x : array-like (n, d), or (n,) for one column
        Features: NumPy (any strides, read-only, memory-mapped), lists, pandas, Polars, PyArrow or
        torch on the CPU. Read where it is; only what is not float32 or float64 is converted, by block
        if it is large.
    y : array-like (n,) or (n, k)
        Targets.
    fit_intercept : bool, default=True
        Learn the bias b. It is never penalised.
    lr : float or "auto", default="auto"
        A number: that constant step, plain and unscaled; every iterate is the textbook's. "auto": a
        step that provably descends, computed from the data, until the gradient is at the rounding of
        the data; columns are centred and scaled internally.
    epochs : int, optional
        With a numeric `lr` exactly this many passes (default 100); with "auto" a cap (default 1000).
    batch_size : int, optional
        None: all rows in every update. 1: an update for every row. k: for every k rows, the last
        batch of an epoch being smaller; under "mean" a batch divides by its own size.
    shuffle : bool or "block", default=True
        Visiting order when `batch_size` is smaller than n: a fresh uniform permutation each epoch,
        a cheaper local one ("block": windows of 512 rows in random order, shuffled within), or the
        given order (False).
    seed : int, default=0
        Seed of the visiting order.
    optimizer : {"gd"}, optional
        The step. Others are planned.
    tol : float, optional
        Stop when the gradient norm is below `tol` times that at the start (with "auto" both are taken
        in whitened coordinates). Default: run all epochs, or to rounding with "auto".
    reduction : {"mean", "sum"}, default="mean"
        Whether the cost is the mean or the sum of the losses.
    l1, l2 : float, default=0.0
        Penalties; `l1` is planned.
    sample_weight : array-like (n,), optional
        Non-negative. "mean" divides by their sum; stochastic updates use weights scaled to mean 1.
    coef_init, intercept_init : array-like, optional
        Where to start; zeros by default.
    keep_path : bool, default=False
        Keep the coefficients after every epoch in `Fit.path`.
    dtype : {"float32", "float64"}, optional
        What to compute in. By default float32 for float32 and float16 data, else float64. "auto"
        always sums in float64.
    device : {"cpu"}, optional
        CUDA is planned.
    n_threads : int, optional
        Default: the processors this process may use. The result is the same, bit for bit.
    callback : callable, optional
        Called with the `Fit` so far about every 100 ms; a true return value stops the fit.
    progress : bool, default=False
        Show a tqdm bar.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the data or an argument can't be used.
    DivergenceError
        If the cost stops being finite; names a stable learning rate and carries the last finite fit.
    KeyboardInterrupt
        On Ctrl-C, with the fit so far in its attribute `fit`.

    Warns
    -----
    ConvergenceWarning
        If the run ended above where it began, short of its tolerance, or on dependent columns.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6])
    >>> round(float(fit.coef[0]), 9)
    2.0
    >>> fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.01, epochs=100, fit_intercept=False)
    >>> float(fit.costs[0]), fit.n_epochs
    (18.666666666666668, 100)
    """
    options = dict(locals())  # every argument by its name
    return _fit(LOSSES["mse"], options.pop("x"), options.pop("y"), options)


def fit_logistic(
    x: Any,
    y: Any,
    *,
    fit_intercept: bool = True,
    lr: float | str = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    seed: int = 0,
    optimizer: str | None = None,
    tol: float | None = None,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: Any = None,
    coef_init: Any = None,
    intercept_init: Any = None,
    keep_path: bool = False,
    dtype: Any = None,
    device: str | None = None,
    n_threads: int | None = None,
    callback: Any = None,
    progress: bool = False,
) -> Fit:
    """Logistic regression by gradient descent, for two label values of any kind.

    Minimises ``cost + l2/2·‖coef‖²`` with the cross-entropy
    ``cost = mean(log(1 + exp(z)) − y·z)``, ``z = x·coef + intercept``, y = 1 for the second of the
    sorted labels. Its gradient is ``1/n·X^T (σ(z) − y)``, as in torch's BCEWithLogitsLoss.

    Parameters
    ----------
    x : array-like (n, d), or (n,) for one column
    y : array-like (n,)
        Labels: exactly two values, of text, numbers or booleans.
    fit_intercept, lr, epochs, batch_size, shuffle, seed, optimizer, tol, reduction, l1, l2, \
sample_weight, coef_init, intercept_init, keep_path, dtype, device, n_threads, callback, progress
        As in `fit_linear`.

    Returns
    -------
    Fit
        With `classes`, and `predict` returning labels.

    Raises
    ------
    InputError, DivergenceError, KeyboardInterrupt
        As in `fit_linear`.

    Warns
    -----
    ConvergenceWarning
        As in `fit_linear`, and where the labels are separable, so that no finite optimum exists.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit_logistic([1, 2, 3, 4, 5, 6], ["no", "no", "yes", "no", "yes", "yes"])
    >>> fit.predict([0, 7]).tolist()
    ['no', 'yes']
    """
    options = dict(locals())  # every argument by its name
    return _fit(LOSSES["bce"], options.pop("x"), options.pop("y"), options)


def _fit(loss: Loss, x, y, options) -> Fit:
    _check_options(options)
    run = _Run(loss, x, y, options)
    fit = run.result()
    if run.warning:
        warnings.warn(run.warning, ConvergenceWarning, stacklevel=3)
    return fit


def _check_options(o: dict[str, Any]) -> None:
    """Check and normalise the keyword arguments in place."""
    lr = o["lr"]
    if lr != "auto" if isinstance(lr, str) else True:
        if isinstance(lr, str):
            raise InputError(f"lr is {lr!r}; pass a number or 'auto'.")
        o["lr"] = inputs.number(lr, "lr", strict=True)
    if o["epochs"] is not None:
        o["epochs"] = inputs.integer(o["epochs"], "epochs", low=1)
    if o["batch_size"] is not None:
        o["batch_size"] = inputs.integer(o["batch_size"], "batch_size", low=1)
    if o["tol"] is not None:
        o["tol"] = inputs.number(o["tol"], "tol")
    o["seed"] = inputs.integer(o["seed"], "seed", low=0)
    inputs.choice(o["shuffle"], "shuffle", (True, False, "block"))
    inputs.choice(o["reduction"], "reduction", ("mean", "sum"))
    for name in ("fit_intercept", "keep_path", "progress"):
        o[name] = inputs.flag(o[name], name)
    o["l1"], o["l2"] = inputs.number(o["l1"], "l1"), inputs.number(o["l2"], "l2")
    if o["l1"] > 0:
        raise InputError("l1 is not in yet; use l2, or leave it at 0.")
    if o["optimizer"] is not None:
        name = o["optimizer"]
        if name in PLANNED:
            raise InputError(f"optimizer {name!r} is not in yet; choose 'gd'.")
        if name not in OPTIMIZERS:
            every = (*OPTIMIZERS, *PLANNED)
            raise InputError(f"optimizer is {name!r}; {inputs.suggestion(name, every)}")
    device = o["device"]
    if device is not None and device != "cpu":
        if str(device).startswith("cuda"):
            raise InputError("device='cuda' is not in yet; leave it out to fit on the CPU.")
        raise InputError(f"device is {device!r}; {inputs.suggestion(device, ('cpu', 'cuda'))}")
    if o["n_threads"] is not None:
        o["n_threads"] = inputs.integer(o["n_threads"], "n_threads", low=1)
    if o["callback"] is not None and not callable(o["callback"]):
        raise InputError(f"callback is {o['callback']!r}; expected a function of one argument.")


class _Run:
    """One fit, from checked options to the result."""

    def __init__(self, loss: Loss, x, y, options: dict[str, Any]):
        from ._jit import default_threads

        self.loss, self.options = loss, options
        self.names = inputs.column_names(x)
        self.x = inputs.features(x)
        n, d = self.x.shape
        self.dtype = inputs.working_dtype(self.x, options["dtype"])
        self.automatic = options["lr"] == "auto"
        batch = options["batch_size"]
        if batch is not None and batch > n:
            raise InputError(f"batch_size is {batch}, x has {n} rows; None takes all rows at once.")
        self.batch = None if batch == n else batch
        inner = np.dtype(np.float64) if self.automatic and self.batch is None else self.dtype
        self.classes = None
        if loss.name == "bce":
            self.y, self.classes = inputs.binary_labels(y, n, inner)
            self.flat = True
        else:
            self.y, self.flat = inputs.targets(y, n, inner)
        self.weight = inputs.weights(options["sample_weight"], n, inner)
        self.k = len(self.y)
        self.coef = inputs.parameters(options["coef_init"], (self.k, d), "coef_init")
        self.intercept = inputs.parameters(options["intercept_init"], (self.k,), "intercept_init")
        if not options["fit_intercept"] and self.intercept.any():
            raise InputError("intercept_init needs fit_intercept=True.")
        self.inner = inner
        self.n_threads = options["n_threads"] or default_threads()
        self.y_center = np.zeros(self.k)
        self.converged = True
        self.stopped = False
        self.warning = ""

    # --- the plan --------------------------------------------------------------------------------

    def _settings(self):
        from .cpu.descent import Settings

        o, n = self.options, self.x.shape[0]
        mass = n if self.weight is None else float(self.weight.sum(dtype=np.float64))
        mean = o["reduction"] == "mean"
        scale = 1 / (mass * self.k) if mean else 1.0
        # A batch of m rows divides by m itself, so that its weights need a mean of 1.
        row_scale = n * scale if mean and self.batch is not None else scale
        return Settings(
            lr=0.0 if self.automatic else o["lr"],
            l2=o["l2"],
            scale=scale,
            row_scale=row_scale,
            fit_intercept=o["fit_intercept"],
            tol=o["tol"] or 0.0,
        )

    def _plan(self):
        from .automatic import AutomaticDescent
        from .cpu.descent import BatchDescent, StochasticDescent
        from .cpu.source import DenseRows

        o, settings = self.options, self._settings()
        keep = o["keep_path"]
        y = self.y
        if self.automatic and self.batch is None:
            if self.loss.name == "mse" and o["fit_intercept"]:
                # A target far from zero would cost digits in every residual.
                self.y_center = np.average(y, axis=1, weights=self.weight)
                y = y - self.y_center[:, None]
            self.source = DenseRows(self.x, y, self.weight, self.inner, self.n_threads)
            return AutomaticDescent(
                self.source,
                self.loss,
                settings,
                self.coef,
                self.intercept - self.y_center,
                o["epochs"] or _AUTO_EPOCHS,
                keep,
            )
        self.source = DenseRows(self.x, y, self.weight, self.inner, self.n_threads)
        epochs = o["epochs"] or _EPOCHS
        if self.batch is None:
            may_stop = o["tol"] is not None or o["callback"] is not None
            return BatchDescent(
                self.source, self.loss, settings, self.coef, self.intercept, epochs, keep, may_stop
            )
        if self.automatic:
            # A constant step keeps a noise floor in proportion to it: stay well below the limit.
            settings.lr = (self._stable_lr(settings) or 0.0) / _STOCHASTIC_MARGIN
            if not settings.lr > 0:
                self._overflow()
        return StochasticDescent(
            self.source,
            self.loss,
            settings,
            self.coef,
            self.intercept,
            epochs,
            keep,
            batch_size=self.batch,
            shuffle=o["shuffle"],
            seed=o["seed"],
            mean=o["reduction"] == "mean",
        )

    def _stable_lr(self, settings) -> float | None:
        from .stability import largest_stable_lr

        return largest_stable_lr(self.source, self.loss, settings, self.batch)

    # --- running ---------------------------------------------------------------------------------

    def result(self) -> Fit:
        """Run, and return what the outside sees."""
        self.descent = self._plan()
        bar = self._bar() if self.options["progress"] else None
        try:
            if self.automatic and self.batch is None:
                return self._run_automatic(bar)
            return self._run_chunks(bar)
        except KeyboardInterrupt as stop:
            stop.fit = self._so_far()  # type: ignore[attr-defined]
            raise
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
        automatic = self.automatic and self.batch is None
        return tqdm(total=None if automatic else self.options["epochs"] or _EPOCHS, unit="epoch")

    def _after(self, bar) -> bool:
        """Between chunks: show, ask the callback; True to stop."""
        if bar is not None:
            bar.update(self.descent.epoch - bar.n)
        callback = self.options["callback"]
        return callback is not None and bool(callback(self._so_far()))

    def _run_chunks(self, bar) -> Fit:
        from .cpu.dense import CONVERGED, NOT_FINITE

        descent, tol = self.descent, self.options["tol"]
        epochs, status = len(descent.costs), None
        before = self._penalty()
        while descent.epoch < epochs:
            status = descent.run(min(epochs, descent.epoch + descent.chunk))
            if status:
                break
            if self._after(bar):
                self.stopped = True
                break
        cost = descent.cost() if status != NOT_FINITE else math.nan
        if not math.isfinite(cost):
            if status != NOT_FINITE:
                descent.restore()
                descent.epoch = max(0, descent.epoch - 1)
            self._diverged()
        if tol is not None and status != CONVERGED:
            self._warn_short(epochs, tol)
        elif descent.epoch and cost + self._penalty() > float(descent.costs[0]) + before:
            self._warn(
                f"the cost rose from {descent.costs[0]:.6g} to {cost:.6g} in {descent.epoch} epochs "
                f"with lr={self.options['lr']}; {self._advice()}"
            )
        return self._so_far(cost)

    def _run_automatic(self, bar) -> Fit:
        descent = self.descent
        descent.run(lambda: self._after(bar))
        trouble = descent.trouble
        if trouble == "overflow":
            self._overflow()
        self.converged = descent.converged
        if trouble in ("dependent", "flat", "separable"):
            self._warn(self._trouble_sentence(trouble, descent))
        elif not self.converged and not descent.stopped:
            self._warn_short(descent.epoch, self.options["tol"])
        return self._so_far(descent.final_cost)

    # --- telling the truth -----------------------------------------------------------------------

    def _penalty(self) -> float:
        return self.options["l2"] / 2 * float((self.descent.coef**2).sum())

    def _warn(self, message: str) -> None:
        self.converged, self.warning = False, message

    def _warn_short(self, epochs: int, tol: float | None) -> None:
        self.converged = False
        goal = "rounding" if tol is None else f"tol={tol}"
        if not self.stopped:
            self._warn(f"the gradient is short of {goal} after {epochs} epochs; allow more epochs.")

    def _advice(self) -> str:
        lr = self._stable_lr(self.descent.settings)
        if lr is None or not lr > 0:
            return "scale the columns, or use lr='auto'."
        return f"lr up to {lr:.6g} is stable on this data, and lr='auto' finds a step by itself."

    def _diverged(self) -> None:
        inputs.require_finite(self.x, "x", self.names)
        descent = self.descent
        self.converged = False
        lr = self._stable_lr(descent.settings)
        raise DivergenceError(
            f"the cost is no longer finite after epoch {descent.epoch} with lr={descent.settings.lr:g}; "
            f"{self._advice()} The error's attribute `fit` holds the last finite parameters.",
            self._so_far(descent.cost()),
            lr,
        )

    def _overflow(self) -> None:
        """The cost or the moments overflow before the first step."""
        inputs.require_finite(self.x, "x", self.names)
        self.converged = False
        raise DivergenceError(
            "the cost or its gradient overflows float64 at the start: values of x or y are too large, "
            "or so small that their coefficients are; scale them.",
            self._so_far(math.nan) if hasattr(self, "descent") else None,
        )

    def _trouble_sentence(self, trouble: str, descent) -> str:
        if trouble == "separable":
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
            f"columns {shown} are linearly dependent to rounding; the coefficients returned are the "
            "smallest, in scaled coordinates, of the many that fit equally well. Drop columns or "
            "add l2."
        )

    def _name(self, column: int) -> str:
        return f"{column} ({self.names[column]!r})" if self.names else str(int(column))

    def _so_far(self, cost: float | None = None) -> Fit:
        """The fit at the descent's current parameters."""
        descent, epoch = self.descent, self.descent.epoch
        costs = descent.costs[:epoch].copy()
        if cost is None:
            cost = float(costs[-1]) if epoch else math.nan
        coef = descent.coef.astype(self.dtype)
        intercept = descent.intercept + self.y_center
        path = descent.path[:epoch].astype(self.dtype) if self.options["keep_path"] else None
        if self.flat:
            coef, path = coef[0], path[:, 0] if path is not None else None
        return Fit(
            coef=coef,
            intercept=float(intercept[0]) if self.flat else intercept.astype(self.dtype),
            costs=costs,
            cost=float(cost),
            n_epochs=epoch,
            converged=self.converged,
            method=descent.method,
            path=path,
            classes=self.classes,
            loss=self.loss.name,
            flat=self.flat,
        )
