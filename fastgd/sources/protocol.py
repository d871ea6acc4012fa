"""What solvers ask of rows: the protocol of a source, and what a visit of its rows returns."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from ..formulas.updates import Rule
from .work import Kind


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that kernels see as read-only, so that one compilation serves both kinds."""
    view = array.view()
    view.setflags(write=False)
    return view


class Visit(NamedTuple):
    """Rows for the kernels of stochastic loops: number i is row ``order[i]``, or i if that is empty.

    All arrays but `order` are read-only.

    Attributes
    ----------
    x : ndarray (m, d)
        In C order, float32 or float64.
    y : ndarray (k, m)
    weight : ndarray (m,) or (0,)
    offset : ndarray (k, m), (1, m) or (0, 1)
    order : ndarray (m,) or (0,)
    first, last : int
        The rows to visit have the numbers from `first` to `last` − 1.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    order: np.ndarray
    first: int
    last: int


def gathered(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    offset: np.ndarray,
    order: np.ndarray,
    first: int,
    last: int,
) -> Visit:
    """A visit of copies, in the dtype of y: rows order[first:last] of x (n, d), y (k, n) and others."""
    rows: Any = order[first:last] if len(order) else slice(first, last)
    x = np.array(x[rows], dtype=y.dtype, order="C")
    y, weight, offset = (taken(a, rows) for a in (y, weight, offset))
    return Visit(
        read_only(x), read_only(y), read_only(weight), read_only(offset), order[:0], 0, last - first
    )


def taken(samples: np.ndarray, rows: Any) -> np.ndarray:
    """These rows of targets (k, n), offsets (k, n) or weights (n,); all of what is empty."""
    return np.ascontiguousarray(samples[..., rows]) if samples.size else samples


class Source(Protocol):
    """Rows x (n, d) with targets and weights: sums over them, and nothing about how they are stored.

    Solvers call these members only, and every array they return is NumPy's, on the host. Parameters come
    as arrays coef (k, d) and intercept (k,) in `dtype`, and in float64 beside a `center`.

    Attributes
    ----------
    n, d, k : int
        Rows, columns, outputs.
    dtype : numpy dtype
        float32 or float64: what passes compute in.
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
    sample(rows)
        Some rows.
    subset(every, together)
        A source of some rows.
    with_targets(y, dtype)
        The same rows with other targets.
    only(output)
        The same rows with the targets of one output.
    predictions(coef, intercept)
        Raw predictions of one output.
    largest_row_norm(size, fit_intercept)
        The largest weighted squared norm of a row.
    batch_epochs(loss, rule, arrays, stop, with_cost)
        Many epochs of batch descent in one call, or None.
    rows_at_once(), visit(order, first, last)
        Rows in any order, for stochastic loops.
    work(kind, outputs)
        What a pass costs, counted from shapes.
    """

    n: int
    d: int
    k: int
    dtype: np.dtype

    @property
    def n_threads(self) -> int: ...

    @property
    def y(self) -> np.ndarray: ...

    @property
    def weight(self) -> np.ndarray: ...

    @property
    def offset(self) -> np.ndarray: ...

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
        weight: np.ndarray | None = None,
    ) -> np.ndarray:
        """Z^T Z for rows sqrt(weight)·[1, (x − center)·scale, y − y_center], symmetric float64.

        `y_center` (m,) says how many targets take part. `weight` (n,) replaces that of the source.
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

    def sample(self, rows: int = 256) -> np.ndarray:
        """About so many evenly spaced rows, float64: enough for a centre and a scale."""
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

    def visit(self, order: np.ndarray, first: int, last: int) -> Visit:
        """Arrays that hold the rows order[first:last], or those from `first` to `last` if it is empty."""
        ...

    def work(self, kind: Kind, outputs: int | None = None) -> float:
        """Nanoseconds of one thread for a pass or for the moments, with `k` or so many outputs."""
        ...
