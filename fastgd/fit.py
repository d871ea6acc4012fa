"""The fits, as they are called."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

from .errors import BlockError, ConvergenceWarning
from .losses import BCE, MSE, CoupledLoss, Loss, chosen
from .result import Fit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, DTypeLike

    from .formulas.updates import Optimizer


def fit(
    x: ArrayLike,
    y: ArrayLike | str | None = None,
    loss: str | Loss | CoupledLoss = "mse",
    *,
    fit_intercept: bool = True,
    lr: float | ArrayLike = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    seed: int = 0,
    optimizer: str | Optimizer | None = None,
    schedule: Callable[[int], float] | Any = None,
    average: bool = False,
    tol: float | None = None,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    class_weight: dict[Any, float] | str | None = None,
    coef_init: ArrayLike | None = None,
    intercept_init: ArrayLike | None = None,
    keep_path: bool = False,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    n_threads: int | None = None,
    callback: Callable[[Fit], Any] | None = None,
    progress: bool = False,
    validation: float | tuple[ArrayLike, ...] | None = None,
    patience: int = 5,
    resume: Fit | str | PathLike[str] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
) -> Fit:
    """A linear model of any loss by gradient descent.

    Minimises ``cost + l1·‖coef‖₁ + l2/2·‖coef‖²``, with ``cost = mean(loss(z, y))`` and the raw
    prediction ``z = x·coef + intercept + offset``. With k targets the mean is over all n·k entries.

    Parameters
    ----------
    x : array-like or sparse (n, d), or (n,) for one column
        Features: NumPy (any strides, read-only, memory-mapped), lists, pandas, Polars, PyArrow, torch,
        or any array on a GPU; or sparse rows: any matrix or array of SciPy, CSR being read as it is. Read
        where it is; only what is not float32 or float64 is converted, by block if it is large. Rows that
        are not in memory are read block by block in every pass: a pyarrow Dataset or ParquetFile, a
        Polars LazyFrame, the path of a Parquet, Arrow or CSV file or of a folder of Parquet files, a
        list of such paths or of arrays, or a function that returns an iterator of blocks x, (x, y) or
        (x, y, weight), the same at every call. Squared error takes such an iterator itself, a generator
        or zip(xs, ys), and reads it once: from then on few rows of the same cost stand for all.
    y : array-like (n,) or (n, k), or str
        Targets; for losses of labels (n,) labels of any kind. The name of a column, where x is a data
        frame or a table, whose other columns are the features. None where the blocks have theirs.
    loss : str or Loss, default="mse"
        A name or an object of `fastgd.losses`, or a `Loss` of two plain functions. For numbers: "mse"
        (z − y)², "huber" or ``Huber(delta=1.35)``, "quantile" or ``Quantile(q=0.9)``,
        "epsilon_insensitive" and "squared_epsilon_insensitive". For counts, with the mean exp(z):
        "poisson" exp(z) − y·z, "negative_binomial"; for positive numbers "gamma", "tweedie" (for zeros
        too). For two labels: "hinge", "squared_hinge", "modified_huber" and "bce", which for more labels
        is softmax; "cross_entropy" is that with coefficients for every label.
    fit_intercept : bool, default=True
        Learn the bias b. It is never penalised.
    lr : float, array-like (k,), or "auto", default="auto"
        A number: that constant step, plain and unscaled; every iterate is the textbook's. An array: one
        for each target, k models in one reading of x. "auto": a step that provably descends, computed
        from the data, until the gradient is at the rounding of the data; columns are centred and scaled
        internally. Where the second derivative has no bound, as that of "poisson", the step is Newton's
        with a line search. Where the slope jumps, as that of "quantile", "hinge" and
        "epsilon_insensitive", steps are those of an interior point method, to a duality gap of 1e-9 of
        the objective, for up to 2048 columns of x. Both take columns of y one after the other. Many
        sparse columns have dual coordinate ascent with `l2`, and working sets of columns with `l1`.
    epochs : int, optional
        With a numeric `lr` exactly this many passes (default 100); with "auto" a cap (default 1000).
    batch_size : int, optional
        None: all rows in every update. 1: an update for every row. k: for every k rows, the last
        batch of an epoch being smaller; under "mean" a batch divides by its own size. With a batch size
        `Fit.cost` is the mean of the losses that the updates of the last epoch met, each before its
        update: the fit makes no further pass over x for it.
    shuffle : bool or "block", default=True
        Visiting order when `batch_size` is smaller than n: a fresh uniform permutation each epoch,
        a cheaper local one ("block": windows of 512 rows in random order, shuffled within), or the
        given order (False). Rows in blocks have no uniform permutation, so True is refused. Their "block"
        order reads x once an epoch: its parts (row groups, files, arrays of a list; all of x for what is
        read from its beginning, as a function or a LazyFrame) in a fresh random order, and the rows of
        each 32 MB that follow each other there shuffled in memory.
    seed : int, default=0
        Seed of the visiting order.
    optimizer : str or object, optional
        "gd", "momentum" (0.9), "nesterov" (0.9), "adagrad", "adam", "adamw", "adamax", "asgd", "lbfgs",
        "rmsprop" or "rprop", step for step torch's, or an object with parameters of its own, such as
        ``fastgd.Adam(betas=(0.9, 0.99))``. Default: "gd" with a numeric `lr`, else the fastest that
        converges. With an optimizer, lr="auto" is half the largest stable step of "gd" (a twentieth in
        stochastic updates), which does for momentum and "asgd" too, and torch's default of the others. An
        epoch of "lbfgs" is one call of torch's `step`, with up to 25 passes.
    schedule : object or callable, optional
        How `lr` changes from epoch to epoch: one of `fastgd.schedules` (ConstantLR, StepLR,
        ExponentialLR, CosineAnnealingLR, LinearLR, InverseScaling), or a function of the epoch that gives
        what to multiply `lr` with.
    average : bool, default=False
        Stochastic: the result is the mean of the parameters after every update (Polyak and Juditsky,
        1992).
    tol : float, optional
        Above 0: stop when the gradient norm is below `tol` times that at the start ("auto": both
        in whitened coordinates; for a loss with jumps in its slope, when the duality gap is below `tol`
        times the objective). Default: run all epochs, or to rounding with "auto".
    reduction : {"mean", "sum"}, default="mean"
        Whether the cost is the mean or the sum of the losses.
    l1, l2 : float, default=0.0
        Penalties: the objective is cost + l1·‖coef‖₁ + l2/2·‖coef‖². With a numeric
        `lr`, `l1` is taken in proximal steps; with "auto" every step solves a penalised quadratic. Either
        way a coefficient of zero is exactly that.
    sample_weight : array-like (n,), optional
        Non-negative. "mean" divides by their sum; stochastic updates use weights scaled to mean 1.
    offset : array-like (n,) or (n, k), optional
        A part of the raw prediction that is known: for "poisson" the log of the exposure of a row. One
        number a row, or one for each output too. Give that of other rows to `Fit.predict`.
    class_weight : dict or "balanced", optional
        For labels: what the weights of a label's rows are multiplied with: a dict of labels, 1 for those
        not in it, or "balanced", n/(k·n_label), every label as much as the others, as in scikit-learn.
    coef_init, intercept_init : array-like, optional
        Where to start; zeros by default.
    keep_path : bool, default=False
        Keep the coefficients after every epoch in `Fit.path`: those that move, also with `average`.
    dtype : {"float32", "float64"}, optional
        What to compute in. By default float32 for float32 and float16 data, else float64. "auto"
        always sums in float64.
    device : {"cpu", "cuda", "cuda:1", …}, optional
        Default: where x lies. "cuda" moves data on the host to the first GPU, in chunks if it has no
        room for all of it; arrays on a GPU (torch, CuPy, JAX, numba, …) are read where they lie, on the
        caller's current stream.
    n_threads : int, optional
        Default: the processors this process may use. The result is the same, bit for bit.
    callback : callable, optional
        ``callback(fit: Fit) -> bool | None``, called with the fit so far about every 100 ms (with
        `validation` after every epoch); a true return value stops the fit.
    progress : bool, default=False
        Show a tqdm bar of the epochs. Where x is in blocks or in chunks of Dask, it shows the epoch, and
        the rows and bytes that the present reading has seen.
    validation : float, (x, y), (x, y, sample_weight) or (x, y, sample_weight, offset), optional
        Early stopping: the cost of rows that no update sees is taken after every epoch (in
        `Fit.validation_costs`, without penalty), and the fit returns the parameters for which it was
        lowest. A fraction between 0 and 1 holds out that share of the rows, rounded up, drawn with `seed`
        alone, not by label; it copies the rows, those to train on too. Rows in blocks are not copied, and
        an epoch then reads x twice. A tuple is read where it is. Needs epochs that are passes: a numeric
        `lr`, an `optimizer` or a `batch_size`. With `average` it is the averaged parameters that are
        looked at and returned.
    patience : int, default=5
        With `validation`: stop after so many epochs in a row without a lower cost.
    resume : Fit or path, optional
        Go on from a fit that the callback of the same call stopped, or was given, also after `Fit.save`
        and `load`, or from the file of a `checkpoint`: with the same data and options the bits are those
        of a fit that was not stopped. `epochs` counts from the first one on.
    checkpoint : path, optional
        A file that the fit so far is written to, about every second and at the end, with the state that
        `resume` needs. The file is replaced when the new one is complete, so that a process that is
        killed leaves a whole one. `fastgd.load` reads it.
    columns : list of str, optional
        Where x has named columns: those that are features, in this order. By default all but `y` and
        the weights. Others are not read, and may differ between files.
    categories : list of str, or dict of lists, optional
        Where x has named columns: those of text, integers or booleans that become columns of 0 and 1,
        one for each value but the first, named "column=value". A dict gives the values, in their order;
        those of a list are found by one reading, and sorted. Columns of dictionary types (Arrow's
        dictionary, Polars' Categorical and Enum, pandas' category) are always encoded; where the type
        has values, by these in its order, also those that no row has. At most 1000 values.
        `Fit.categories` keeps the values, and predictions encode by it; another value, or none, raises.

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
        On Ctrl-C, with the fit so far in its attribute `fit`: that of a call with ``epochs`` equal to its
        `n_epochs`, with `validation` the best of those. In the first stochastic epoch `n_epochs` is 0,
        and the parameters are those after the last batches. None before the first update.

    Warns
    -----
    ConvergenceWarning
        If the run ended above where it began (by more than a tenth with a `batch_size`), short of its
        tolerance or of `patience`, on dependent columns, or on labels that a plane separates.

    See Also
    --------
    fit_linear : Least squares, the default loss.
    fit_logistic : Logistic regression, loss="bce".
    fit_mlp : Networks.

    References
    ----------
    Nocedal and Wright (2006), Numerical Optimization. Polyak and Juditsky (1992), Acceleration of
    stochastic approximation by averaging, SIAM J. Control Optim. 30. Böhning and Lindsay (1988),
    Monotonicity of quadratic-approximation algorithms, Ann. Inst. Statist. Math. 40.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit([0, 1, 2, 3], [1, 2, 8, 20], loss="poisson", lr=0.01, epochs=5000)
    >>> fit.predict([4.0]).round(1)
    array([57.5])
    """
    options = dict(locals())  # every argument by its name
    return _fit(chosen(loss), options)


def fit_linear(
    x: ArrayLike,
    y: ArrayLike | str | None = None,
    *,
    fit_intercept: bool = True,
    lr: float | ArrayLike = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    seed: int = 0,
    optimizer: str | Optimizer | None = None,
    schedule: Callable[[int], float] | Any = None,
    average: bool = False,
    tol: float | None = None,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    coef_init: ArrayLike | None = None,
    intercept_init: ArrayLike | None = None,
    keep_path: bool = False,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    n_threads: int | None = None,
    callback: Callable[[Fit], Any] | None = None,
    progress: bool = False,
    validation: float | tuple[ArrayLike, ...] | None = None,
    patience: int = 5,
    resume: Fit | str | PathLike[str] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
) -> Fit:
    """Least squares by gradient descent: `fit` with loss="mse".

    Minimises ``cost + l1·‖coef‖₁ + l2/2·‖coef‖²``, with ``cost = mean((x·coef + intercept − y)²)``: no
    factor 1/2, gradient ``2/n·X^T r``, as in torch's MSELoss.

    Parameters
    ----------
    x : array-like or sparse (n, d), or (n,) for one column
    y : array-like (n,) or (n, k)
    fit_intercept, lr, epochs, batch_size, shuffle, seed, optimizer, schedule, average, tol, reduction, \
l1, l2, sample_weight, offset, coef_init, intercept_init, keep_path, dtype, device, n_threads, callback, \
progress, validation, patience, resume, checkpoint, columns, categories
        As in `fit`.

    Returns
    -------
    Fit

    Raises
    ------
    InputError, DivergenceError, KeyboardInterrupt
        As in `fit`.

    Warns
    -----
    ConvergenceWarning
        As in `fit`.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6])
    >>> round(float(fit.coef[0]), 9)
    2.0
    >>> fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.01, epochs=100, fit_intercept=False)
    >>> round(float(fit.costs[0]), 6), fit.n_epochs
    (18.666667, 100)
    """
    options = dict(locals())  # every argument by its name
    return _fit(MSE, options)


def fit_logistic(
    x: ArrayLike,
    y: ArrayLike | str | None = None,
    *,
    fit_intercept: bool = True,
    lr: float | ArrayLike = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    shuffle: bool | str = True,
    seed: int = 0,
    optimizer: str | Optimizer | None = None,
    schedule: Callable[[int], float] | Any = None,
    average: bool = False,
    tol: float | None = None,
    reduction: str = "mean",
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    class_weight: dict[Any, float] | str | None = None,
    coef_init: ArrayLike | None = None,
    intercept_init: ArrayLike | None = None,
    keep_path: bool = False,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    n_threads: int | None = None,
    callback: Callable[[Fit], Any] | None = None,
    progress: bool = False,
    validation: float | tuple[ArrayLike, ...] | None = None,
    patience: int = 5,
    resume: Fit | str | PathLike[str] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] | Mapping[str, Sequence[Any]] | None = None,
) -> Fit:
    """Logistic regression by gradient descent, for two labels of any kind, or more (softmax).

    Minimises ``cost + l1·‖coef‖₁ + l2/2·‖coef‖²`` with the cross-entropy
    ``cost = mean(log(1 + exp(z)) − y·z)``, ``z = x·coef + intercept``, y = 1 for the second of the
    sorted labels. Its gradient is ``1/n·X^T (σ(z) − y)``, as in torch's BCEWithLogitsLoss.

    More than two labels have a row of coefficients each, z = x·coef^T + intercept is (n, k), and the
    cost is ``mean(log(Σ exp(z_c)) − z_y)``, with the gradient ``1/n·(softmax(z) − onehot(y))^T X``, as
    in torch's CrossEntropyLoss. Without `l2` the same vector may be added to all rows of coef: it is the
    one nearest to `coef_init`.

    Parameters
    ----------
    x : array-like or sparse (n, d), or (n,) for one column
    y : array-like (n,)
        Labels: two values or more, of text, numbers, booleans, or anything hashable.
    fit_intercept, lr, epochs, batch_size, shuffle, seed, optimizer, schedule, average, tol, reduction, \
l1, l2, sample_weight, offset, class_weight, coef_init, intercept_init, keep_path, dtype, device, \
n_threads, callback, progress, validation, patience, resume, checkpoint, columns, categories
        As in `fit`.

    Returns
    -------
    Fit
        With `classes`, and `predict` returning labels.

    Raises
    ------
    InputError, DivergenceError, KeyboardInterrupt
        As in `fit`.

    Warns
    -----
    ConvergenceWarning
        As in `fit`, and where the labels are separable, so that no finite optimum exists.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit_logistic([1, 2, 3, 4, 5, 6], ["no", "no", "yes", "no", "yes", "yes"])
    >>> fit.predict([0, 7]).tolist()
    ['no', 'yes']
    >>> fit = fastgd.fit_logistic([1, 2, 3, 4, 5, 6], ["a", "b", "a", "c", "b", "c"], l2=0.01)
    >>> fit.coef.shape, fit.predict([0, 7]).tolist()
    ((3, 1), ['a', 'c'])
    """
    options = dict(locals())  # every argument by its name
    return _fit(BCE, options)


@functools.cache
def _parts() -> tuple[Any, Any, Any]:
    """What a fit is made of; Numba comes with it, 0.3 s that only a fit should cost."""
    from .fitting.options import Options
    from .fitting.problem import Problem
    from .fitting.run import Run

    return Options, Problem, Run


def _fit(loss: Loss | CoupledLoss, given: dict[str, Any]) -> Fit:
    """The fit with the arguments of a call; a warning points at the line of that call."""
    given.pop("loss", None)
    return fitted(loss, given, _warn)


def _warn(run: Any) -> None:
    if run.warning:
        warnings.warn(run.warning, ConvergenceWarning, stacklevel=5)


def fitted(loss: Loss | CoupledLoss, given: dict[str, Any], at_end: Callable[[Any], None]) -> Fit:
    """The fit with all arguments of `fit` but the loss, for callers that warn in their own way.

    Parameters
    ----------
    loss : Loss
    given : dict
        The arguments by name; x and y are taken out.
    at_end : callable
        Is called with the run, once it has ended, and before its result is returned.
    """
    x, y = given.pop("x"), given.pop("y")
    run: Any = None
    found: Fit | None = None
    try:
        make_options, make_problem, make_run = _parts()
        run = make_run(make_problem(loss, x, y, make_options(**given)))
        found = run.result()
        at_end(run)
        run.problem.close()
    except BaseException as stop:  # no `finally`, in which Ctrl-C would find no fit
        if isinstance(stop, KeyboardInterrupt):
            kept = run.kept() if run and found is None else found
            stop.fit = kept  # type: ignore[attr-defined]
        elif isinstance(stop, BlockError):
            stop.fit = run.last_known() if run else None
        if run is not None:
            run.problem.close()
        raise
    assert found is not None
    return found
