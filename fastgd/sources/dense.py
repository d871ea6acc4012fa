"""A gradient source: dense rows in memory, read where they are, in fixed parts on several threads.

Kernels read float32 and float64 in C or F order. Anything else (other strides, integers, float16,
foreign byte order) is converted: at once where it is small, else a part at a time, so that a large X
is never copied whole.
"""

import functools
import itertools
from typing import Any

import numpy as np

from ..compile.functions import default_threads
from ..cpu import advance, dense, statistics
from ..cpu.block_losses import block_losses
from ..cpu.machine.pool import for_each_part
from ..formulas.updates import Rule
from ..losses import Loss
from .protocol import Visit, gathered, read_only, taken
from .row_norm import largest_row_norm
from .work import Kind, dense_work

#: Bytes of X in a part: 0.2 ms of reading, 100 times the call, and a prompt Ctrl-C. And predictions,
#: as short rows and those of many outputs take more arithmetic than reading.
PART_BYTES, _PART_PREDICTIONS = 4 << 20, 1 << 17
#: Sums kept apart until the end. Fixed, so that the result is the same for every number of threads.
_GROUPS = 32
#: The same for moment matrices: at most this many entries in all.
_MOMENT_ENTRIES = 1 << 21

_FLOAT64 = np.dtype(np.float64)
_NATIVE = (np.dtype(np.float64), np.dtype(np.float32))
#: No weights, and no offset, in each dtype.
_NOTHING = {dtype: read_only(np.empty(0, dtype)) for dtype in _NATIVE}
_NO_OFFSET = {dtype: read_only(np.empty((0, 1), dtype)) for dtype in _NATIVE}


def _groups(n_parts: int, n_groups: int) -> list[range]:
    n_groups = min(n_parts, n_groups)
    bounds = [n_parts * g // n_groups for g in range(n_groups + 1)]
    return [range(a, b) for a, b in itertools.pairwise(bounds)]


class DenseRows:
    """x (n, d), y (k, n), weight and offset as a source of costs, gradients and moments.

    Parameters
    ----------
    x : ndarray (n, d)
        Any real dtype, any strides.
    y : ndarray (k, n)
        Contiguous, float32 or float64; (1, n) class indices where a loss couples the outputs.
    weight : ndarray (n,) or (0,), or None
    dtype : numpy dtype
        float32 or float64: what sums inside a block are computed in.
    n_threads : int or None
        None: the processors that this process may use.
    k : int, optional
        The number of outputs, if it is not that of the rows of y.
    offset : ndarray (k, n) or (1, n), optional
        Fixed parts of the raw predictions.
    """

    def __init__(
        self, x, y, weight, dtype, n_threads: int | None, k: int | None = None, offset=None
    ):
        n, d = x.shape
        self.dtype = dtype = np.dtype(dtype)
        self._n_threads = n_threads
        flags, item = x.flags, x.itemsize
        along, across = flags.c_contiguous, flags.f_contiguous
        native = x.dtype in _NATIVE and flags.aligned
        # Whether the kernels can't read x as it lies.
        converts = not ((along or across) and native and item <= dtype.itemsize)
        if converts and x.size * dtype.itemsize <= PART_BYTES:
            x, converts = np.array(x, dtype=dtype, order="C"), False
            item, along, across = dtype.itemsize, True, x.flags.f_contiguous
        self.converts = converts
        # A single column is a row of numbers: by columns its loop runs over them.
        self.by_columns = not converts and across and (d == 1 or n > 1)
        self.x, seen = x, read_only(x)
        self.seen = seen.T if self.by_columns else seen
        #: x row by row, where it can be read so.
        self.by_rows = seen if along and not converts else None
        self.y = read_only(np.ascontiguousarray(y, dtype=dtype))
        if weight is None:
            self.weight = _NOTHING[dtype]
        else:
            self.weight = read_only(np.ascontiguousarray(weight, dtype=dtype))
        if offset is None:
            self.offset = _NO_OFFSET[dtype]
        else:
            self.offset = read_only(np.ascontiguousarray(offset, dtype=dtype))
        self._in_other_dtype: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        #: Passes that no thread uses, by what they compute.
        self._passes: dict[Any, list[dense.Pass]] = {}
        # What is converted is held twice: a quarter of the bytes, which a second-level cache holds.
        rows = PART_BYTES // (d * (4 * dtype.itemsize if converts else item)) or 1
        self.n, self.d, self.k = n, d, k or y.shape[0]
        self.part_rows = rows = min(rows, _PART_PREDICTIONS // self.k or 1)
        self.n_parts = -(-n // rows) or 1

    @property
    def n_threads(self) -> int:
        """How many threads share the parts."""
        return self._n_threads or default_threads()

    def _bounds(self, part: int) -> tuple[int, int]:
        return part * self.part_rows, min(self.n, (part + 1) * self.part_rows)

    def _rows_of(self, part: int) -> tuple[np.ndarray, int, int, int]:
        """An array with the rows of a part, its first and last row there, and row 0's place in y."""
        first, last = self._bounds(part)
        if not self.converts:
            return self.seen, first, last, 0
        block = read_only(np.array(self.x[first:last], dtype=self.dtype, order="C"))
        return block, 0, last - first, first

    def _for_each_part(self, work, n_groups: int = _GROUPS) -> None:
        """Call ``work(group, part)`` for all parts, in so many groups; a single one needs no thread."""
        if self.n_parts == 1:
            work(0, 0)
        else:
            for_each_part(work, _groups(self.n_parts, n_groups), self.n_threads)

    def totals(self, loss: Any, coef, intercept, center=None, slopes_too=True) -> np.ndarray:
        """Summed gradient, intercept gradient and cost, (k, d+2) float64, at the given parameters.

        The loss is a `Loss` or a `CoupledLoss`. With a `center` the pass sees x − center and computes in
        the dtype of `coef`. Without `slopes_too` it finds the cost alone, in less time.
        """
        return _ordered_sum(self._totals(loss, coef, intercept, center, slopes_too))

    def _totals(self, loss, coef, intercept, center, slopes_too: bool) -> np.ndarray:
        """The totals of each group of parts, (groups, outputs, d+2)."""
        k, centred = len(coef), center is not None
        into = np.zeros((min(_GROUPS, self.n_parts), k, self.d + 2))
        center = read_only(center) if centred else None
        what = loss, self.by_columns, slopes_too, centred
        free = self._passes.setdefault((what, k, coef.dtype), [])

        def on_part(group: int, part: int) -> None:
            x, first, last, shift = self._rows_of(part)
            try:
                one = free.pop()
            except IndexError:
                one = dense.Pass(*what, x, *self._samples(coef.dtype), coef)
            one.add(center, coef, intercept, first, last, shift, into[group])
            if not self.converts:  # else it is of this block
                free.append(one)

        self._for_each_part(on_part, len(into))
        return into

    def _samples(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets, weights and offset in a dtype."""
        if dtype == self.dtype:
            return self.y, self.weight, self.offset
        if self._in_other_dtype is None:
            self._in_other_dtype = (
                read_only(self.y.astype(dtype)),
                read_only(self.weight.astype(dtype)),
                read_only(self.offset.astype(dtype)),
            )
        return self._in_other_dtype

    def costs(self, loss: Loss, coefs, intercepts) -> np.ndarray:
        """The summed cost at each of the parameters coefs (m, d), intercepts (m,); y is (1, n)."""
        return _ordered_sum(self._totals(loss, coefs, intercepts, None, False))[:, -1]

    def moments(self, center, scale, y_center, weight=None) -> np.ndarray:
        """Z^T Z for rows sqrt(weight)·[1, (x − center)·scale, y − y_center], symmetric float64."""
        wide = 1 + self.d + len(y_center)
        padded = -(-wide // 4) * 4
        n_groups = max(1, min(8, self.n_parts, _MOMENT_ENTRIES // padded**2))
        into = np.zeros((n_groups, padded, padded))
        weight = self.weight if weight is None else read_only(weight)

        def on_part(group: int, part: int) -> None:
            x, first, last, shift = self._rows_of(part)
            statistics.add_moments(
                self.by_columns, x, self.y, weight, center, scale, y_center, first, last, shift,
                into[group],
            )  # fmt: skip

        self._for_each_part(on_part, n_groups)
        moments = _ordered_sum(into)[:wide, :wide].copy()
        np.copyto(moments, moments.T, where=_below_diagonal(wide))
        return moments

    def predictions(self, coef, intercept) -> np.ndarray:
        """x·coef + intercept, without offset, (n,) float64: coef (1, d), intercept (1,)."""
        out = np.empty(self.n)
        kernel = dense.predictions(self.by_columns)

        def on_part(group: int, part: int) -> None:
            x, first, last, shift = self._rows_of(part)
            kernel(x, coef, intercept, first, last, shift, out)

        self._for_each_part(on_part)
        return out

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of every column."""
        low, high = np.full((2, self.n_parts, self.d), np.nan)

        def find(block, first, last):
            part = first // self.part_rows
            low[part], high[part] = block.min(axis=0), block.max(axis=0)

        self._for_each_part(self._blocks(find))
        return low.min(axis=0), high.max(axis=0)

    def column_moments(self, centred: bool, center=None):
        """Total weight, and the weighted mean and variance (about zero if not centred) of columns.

        For many columns, where a square matrix is too much. `center` is a value near every mean, by
        default the mean of a sample.
        """
        if center is None:
            center = self.sample().mean(axis=0) if centred else np.zeros(self.d)
        sums = np.zeros((min(_GROUPS, self.n_parts), 2, self.d))
        weight = self.weight.astype(np.float64) if len(self.weight) else np.ones(self.n)

        def work(group: int, part: int) -> None:
            first, last = self._bounds(part)
            block = self.x[first:last].astype(np.float64) - center
            sums[group, 0] += weight[first:last] @ block
            np.square(block, out=block)
            sums[group, 1] += weight[first:last] @ block

        self._for_each_part(work)
        mass = float(weight.sum())
        mean, second = _ordered_sum(sums) / mass
        if centred:
            second = second - mean**2
        return mass, center + mean, second

    def _blocks(self, work):
        def on_part(group: int, part: int) -> None:
            first, last = self._bounds(part)
            work(np.asarray(self.x[first:last], dtype=np.float64), first, last)

        return on_part

    def subset(self, every: int, together: int = 64) -> tuple["DenseRows", float]:
        """One row in so many, in runs of rows that lie together, and its share of the weight."""
        starts = np.arange(0, self.n, every * together)
        rows = (starts[:, None] + np.arange(together)).ravel()
        rows = rows[rows < self.n]
        x = self.x[rows]
        if x.dtype not in _NATIVE or not x.flags.c_contiguous:
            x = np.ascontiguousarray(x, dtype=self.dtype)
        weight, share = None, len(rows) / self.n
        if len(self.weight):
            weight = self.weight[rows]
            share = float(weight.sum(dtype=np.float64) / self.weight.sum(dtype=np.float64))
        y, offset = self.y[:, rows], taken(self.offset, rows)
        return DenseRows(x, y, weight, self.dtype, self._n_threads, self.k, offset), share

    def with_targets(self, y, dtype) -> "DenseRows":
        """The same rows and weights, without offset, with targets y (k, n), in `dtype`."""
        return type(self)(self.x, y, self.weight, dtype, self._n_threads)

    def only(self, output: int) -> "DenseRows":
        """The same rows, weights and offset with the targets of one output."""
        own = slice(output, output + 1)
        offset = self.offset[own] if len(self.offset) > 1 else self.offset
        return type(self)(self.x, self.y[own], self.weight, self.dtype, self._n_threads, 1, offset)

    def sample(self, rows: int = 256) -> np.ndarray:
        """Evenly spaced rows, float64: enough for a centre and a scale."""
        return np.array(self.x[:: max(1, self.n // rows)], dtype=np.float64)

    def largest_row_norm(self, size: float, fit_intercept: bool) -> float:
        """The largest weight·‖[x, 1]/size‖² of a row, without the 1 if no intercept is fitted."""
        return largest_row_norm(self.x, self.weight, size, fit_intercept)

    def batch_epochs(self, loss, rule, arrays, stop: int, with_cost: bool) -> int | None:
        """Epochs of batch descent in one kernel, where one thread does a pass; else None."""
        if self.n_parts > 1 or self.converts:
            return None
        x, y, order = self.seen, self.y, dense.GIVEN_ORDER
        k, targets = len(arrays[0]), len(y)
        kernels, gathers, rows, copied, size = _ways(
            loss.formula, rule, self.by_columns, k, targets, self.n, self.d, x.dtype, self.dtype
        )
        rows_at = 0
        if gathers:
            x, rows_at = dense.unknown((0, self.d), self.dtype), x.ctypes.data
        return dense.batch_epochs(
            *kernels, x, rows_at, order, y, self.weight, self.offset, np.zeros(size, self.dtype), rows,
            copied, np.empty((1, k, self.d + 2)), *arrays, stop, with_cost,
        )  # fmt: skip

    def rows_at_once(self) -> int | None:
        """None where rows are read in place; else a part of them is copied in C order at a time."""
        if self.by_rows is not None:
            return None
        return max(1, PART_BYTES // 8 // (self.d * self.dtype.itemsize))

    def visit(self, order, first: int, last: int) -> Visit:
        """Arrays that hold the rows order[first:last], or those from `first` to `last` if it is empty."""
        if self.by_rows is not None:
            return Visit(self.by_rows, self.y, self.weight, self.offset, order, first, last)
        return gathered(self.x, self.y, self.weight, self.offset, order, first, last)

    def work(self, kind: Kind, outputs: int | None = None) -> float:
        """Nanoseconds of one thread for a pass or for the moments, with `k` or so many outputs."""
        k = self.k if outputs is None else outputs
        return dense_work(kind, self.n, self.d, k, self.x.dtype.itemsize)


@functools.lru_cache(maxsize=256)
def _ways(
    loss: Any, rule: Rule, by_columns: bool, k: int, targets: int, n: int, d: int, x_dtype: np.dtype,
    dtype: np.dtype,
) -> tuple[tuple[int, ...], bool, int, int, int]:  # fmt: skip
    """What `batch_epochs` runs on n rows: addresses, whether rows are copied, and its sizes."""
    order = dense.GIVEN_ORDER.dtype
    rows = dense.rows_of_block(loss, d, x_dtype.itemsize, n, by_columns)
    gathers = not by_columns and x_dtype != dtype
    copied = rows if gathers else 0
    kernels = (
        dense.address_of_pass(by_columns, k > 1, order, dtype if gathers else x_dtype, dtype),
        block_losses(loss, True, dtype), advance.address_of_end(),
        advance.address_of_step(rule, _FLOAT64),
        dense.address_of_gather(order, x_dtype, dtype) if gathers else 0,
    )  # fmt: skip
    return kernels, gathers, rows, copied, dense.size_of_numbers(k, d, targets, rows, copied)


@functools.lru_cache(maxsize=4)
def _below_diagonal(wide: int) -> np.ndarray:
    """Where a square matrix is below its diagonal; it takes ten times as long as a use of it."""
    return np.tri(wide, k=-1, dtype=bool)


def _ordered_sum(parts: np.ndarray) -> np.ndarray:
    """Their sum, which takes the place of the first one."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
