"""What solvers ask of rows: the protocol of a source, and of a visit of its rows."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from ..cpu.dense import Scratch
from ..formulas.updates import Rule
from .work import Kind


class Samples(Protocol):
    """What belongs to rows beside x; read-only arrays."""

    @property
    def y(self) -> np.ndarray: ...

    @property
    def weight(self) -> np.ndarray: ...

    @property
    def offset(self) -> np.ndarray: ...


class Visit(Samples, Protocol):
    """Rows for the kernels of stochastic loops: number i is row ``order[i]``, or i without an order.

    Attributes
    ----------
    x : ndarray
        Read-only rows in C order, or an array without rows that has their type.
    rows_at : int
        The address of the rows.
    y, weight, offset : ndarray (k, m), (m,) or (0,), (k, m), (1, m) or (0, 1)
        Read-only samples of the rows.
    order : ndarray (m,) or (0,)
    first, last : int
        The rows to visit have the numbers from `first` to `last` − 1.
    """

    @property
    def x(self) -> np.ndarray: ...

    @property
    def rows_at(self) -> int: ...

    @property
    def order(self) -> np.ndarray: ...

    @property
    def first(self) -> int: ...

    @property
    def last(self) -> int: ...

    def direct_updates(self, loss: Any) -> int:
        """The address of the loop for plain gradient descent."""
        ...

    def direct_scratch(self, loss: Any, batch_size: int, outputs: int) -> Scratch:
        """The scratch of that loop."""
        ...

    def batch_pass(self, loss: Any, coef: np.ndarray, parts: int) -> tuple[int, int, Scratch]:
        """The addresses of a pass over a part of a batch and of what copies its rows, and the scratch."""
        ...


class Source(Samples, Protocol):
    """Rows x (n, d) with targets and weights: sums over them, and nothing about how they are stored.

    Solvers call these members only, and every array they return is NumPy's, on the host. Parameters come
    as arrays coef (k, d) and intercept (k,) in `dtype`, and in float64 beside a `center`.

    Attributes
    ----------
    n, d, k : int
        Rows, columns, outputs.
    dtype : numpy dtype
        float32 or float64: what passes compute in.
    widest_square : float
        With more columns the inverse of a square matrix of them takes longer than many passes.
    shifts_rows : bool
        Whether sums about a centre are sums of x − centre, and keep the digits of a small difference.
    n_threads : int
        How many threads a solver may use for work of its own on visited rows.
    y : ndarray (k, n)
        Targets in `dtype`, read-only and in C order; (1, n) class indices where a loss couples outputs.
    weight : ndarray (n,) or (0,)
        In `dtype` and read-only; empty where every row has weight 1.
    offset : ndarray (k, n), (1, n) or (0, 1)
        Fixed parts of the raw predictions of each output, or of all; in `dtype` and read-only.

    Methods
    -------
    totals(loss, coef, intercept, center, slopes_too)
        Summed gradient and cost: one pass.
    costs(loss, coefs, intercepts)
        Summed costs at many parameters: one pass.
    moments(center, scale, y_center, weight)
        Second moments of the centred and scaled columns.
    column_moments(centred, center)
        Weighted mean and variance of every column.
    extremes()
        Smallest and largest value of every column.
    middle()
        A value near the mean of every column.
    sample(rows)
        Some rows.
    few_predictions(coef)
        Products of few rows and coefficients.
    subset(every, together)
        A source of some rows.
    with_targets(y, dtype)
        The same rows with other targets.
    only(output)
        The same rows with the targets of one output.
    predictions(coef, intercept)
        Raw predictions of one output.
    per_row(make, *of), look(see, *numbers)
        Numbers per row that stay where the rows are, and what is to be known of them.
    largest_row_norm(size, fit_intercept)
        The largest weighted squared norm of a row.
    batch_epochs(loss, rule, arrays, stop, with_cost)
        Many epochs of batch descent in one call, or None.
    rows_at_once(), direct_rows(loss, batch_size), order(shuffle, seed, epoch), visit(order, first, last)
        Rows in any order, for stochastic loops.
    block_order
        What shuffle="block" adds to the name of a method.
    columns
        A source of the same rows that picks columns, or None.
    dual_epoch
        An epoch of dual coordinate ascent, or None.
    work(kind, outputs)
        What a pass costs, counted from shapes.
    """

    n: int
    d: int
    k: int
    dtype: np.dtype

    @property
    def widest_square(self) -> float: ...

    @property
    def shifts_rows(self) -> bool: ...

    @property
    def n_threads(self) -> int: ...

    def totals(
        self,
        loss: Any,
        coef: np.ndarray,
        intercept: np.ndarray,
        center: np.ndarray | None = None,
        slopes_too: bool = True,
    ) -> np.ndarray:
        """Summed gradient, intercept gradient and cost, (k, d+2) float64, at the given parameters.

        With a `center` (d,) the rows are x − center, and the sums are computed in float64. Without
        `slopes_too` the gradients are zero, and the pass takes less time.
        """
        ...

    def costs(self, loss: Any, coefs: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        """The summed cost, (m,) float64, at each of coefs (m, d), intercepts (m,); one output."""
        ...

    def moments(
        self,
        center: np.ndarray,
        scale: np.ndarray,
        y_center: np.ndarray,
        weight: Any = None,
    ) -> np.ndarray:
        """Z^T Z for rows sqrt(weight)·[1, (x − center)·scale, y − y_center], symmetric float64.

        `y_center` (m,) says how many targets take part. `weight`, (n,) or what `per_row` returned,
        replaces that of the source.
        """
        ...

    def per_row(self, make: Callable[..., np.ndarray], *of: Any) -> Any:
        """Numbers per row, where the rows are: ``make(rows, *of)`` with rows in memory, a source.

        The last axis of the array is that of rows. `of` are results of this method, over which `make`
        may write. Where rows are read again in every pass, the result only stands for the array, which
        is made again, part by part, in the pass of whoever is given it.
        """
        ...

    def look(self, see: Callable[..., Any], *numbers: Any) -> Iterable[Any]:
        """``see(rows, *numbers)`` of each part of the rows that is in memory as one, in order.

        `numbers` are results of `per_row`.
        """
        ...

    def column_moments(
        self, centred: bool, center: np.ndarray | None = None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Total weight, and the weighted mean and variance (about zero if not centred) of columns.

        For many columns, where a square matrix is too much. `center` is a value near every mean.
        """
        ...

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of every column."""
        ...

    def middle(self) -> np.ndarray:
        """A value near the mean of every column, (d,) float64; zero where rows are not centred."""
        ...

    def sample(self, rows: int = 256) -> np.ndarray:
        """Evenly spaced rows, float64, about so many if there is room: enough for a scale."""
        ...

    def few_predictions(self, coef: np.ndarray) -> np.ndarray:
        """x·coef^T for coef (k, d) and few rows, (n, k) float64; no kernel is compiled for it."""
        ...

    def subset(self, every: int, together: int = 64) -> "tuple[Source, float]":
        """One row in so many, in runs of rows that lie together, and its share of the weight."""
        ...

    def with_targets(self, y: np.ndarray, dtype: Any) -> "Source":
        """The same rows and weights with targets y (k, n), without offset, in `dtype`: no copy."""
        ...

    def only(self, output: int) -> "Source":
        """The same rows, weights and offset with the targets of one output; no row is copied."""
        ...

    def predictions(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """x·coef + intercept, without offset, (n,) float64: coef (1, d), intercept (1,)."""
        ...

    def largest_row_norm(self, size: float, fit_intercept: bool) -> float:
        """The largest weight·‖[x, 1]/size‖² of a row, without the 1 if no intercept is fitted."""
        ...

    def batch_epochs(
        self,
        loss: Any,
        rule: Rule,
        arrays: tuple[np.ndarray, ...],
        stop: int,
        with_cost: bool,
    ) -> int | None:
        """The epochs of batch descent up to number `stop` in one call, and their status.

        None where the source has no such loop: then the solver calls `totals` every epoch. `arrays` are
        the arguments of `fastgd.cpu.advance.end_of_epoch` from `coef` on, which this changes. `with_cost`
        asks for a pass at the end, for the cost there.
        """
        ...

    def rows_at_once(self) -> int | None:
        """The most rows that one visit copies; None where visits copy none, and may be of all rows.

        A batch is visited whole, even if it has more rows.

        Raises
        ------
        InputError
            Where rows can't be visited in any order.
        """
        ...

    def direct_rows(self, loss: Any, batch_size: int) -> int | None:
        """The rows after which calls of the loop for plain gradient descent may be split, if it has one.

        That loop changes the parameters row by row or batch by batch, without a gradient of its own.
        """
        ...

    @property
    def block_order(self) -> str:
        """What shuffle="block" adds to the name of a method; "" where that is the usual order."""
        ...

    def order(self, shuffle: bool | str, seed: int, epoch: int) -> Any:
        """The order in which an epoch visits the rows, as `visit` takes it: ndarray (n,) or (0,).

        Where not every row can be had at any time it is another object.

        Raises
        ------
        InputError
            Where rows can't be visited in this order.
        """
        ...

    def visit(self, order: Any, first: int, last: int) -> Visit:
        """Arrays that hold the rows order[first:last], or those from `first` to `last` if it is empty."""
        ...

    @property
    def columns(self) -> "ColumnSource | None":
        """A source of the same rows that picks columns; None where they can't be had.

        Where x came in columns, a pass for one output reads those and makes no rows.
        """
        ...

    @property
    def dual_epoch(self) -> Callable[..., np.ndarray] | None:
        """An epoch of dual coordinate ascent; None where a source has no loop for it.

        ``(loss, order, factor, center, level, slopes, coef)`` takes a step for every row in the order: it
        finds the slope of the row's loss, changes `slopes` (n,) by it, and coef (1, d) by
        −factor·weight·change·(x − center). It returns the sum of weighted second derivatives. For softmax
        slopes are (n, k), and coef is (k, d).
        """
        ...

    def work(self, kind: Kind, outputs: int | None = None) -> float:
        """Nanoseconds of one thread for a pass or for the moments, with `k` or so many outputs."""
        ...


class ColumnSource(Source, Protocol):
    """A source that picks columns."""

    def pick(self, which: np.ndarray) -> tuple[np.ndarray, ...]:
        """Some columns, by numbers (m,) in order; the arrays are read-only, and may be a copy.

        Where the entries of each begin (m,) and end (m,), and the rows and the values of entries.
        """
        ...
