"""A gradient source: dense rows in memory, read where they are, in fixed parts on several threads.

Kernels read float32 and float64 in C or F order. Anything else (other strides, integers, float16,
foreign byte order) is converted: at once where it is small, else a part at a time, so that a large X
is never copied whole.
"""

import functools
import math
from typing import Any

import numpy as np

from ..cpu import advance, dense, statistics, stochastic
from ..cpu.block_losses import block_losses
from ..formulas.updates import Rule
from ..losses import Loss
from .host import NATIVE, PART_BYTES, HostRows, ordered_sum, with_lower_half
from .row_norm import largest_row_norm
from .visit import DenseVisit, gathered, read_only
from .work import Kind, dense_work

#: The most predictions of a part: short rows and many outputs take more arithmetic than reading.
_PART_PREDICTIONS = 1 << 17
#: Sums kept apart until the end. Fixed, so that the result is the same for every number of threads.
_GROUPS = 32
#: The same for moment matrices: at most this many entries in all.
_MOMENT_ENTRIES = 1 << 21

_FLOAT64 = np.dtype(np.float64)


class DenseRows(HostRows):
    """x (n, d), y (k, n), weight and offset as a source of costs, gradients and moments.

    x has any real dtype and any strides; the other parameters are those of `HostRows`.
    """

    widest_square = math.inf
    columns = dual_epoch = None
    shifts_rows = True

    def __init__(
        self, x, y, weight, dtype, n_threads: int | None, k: int | None = None, offset=None
    ):
        dtype = np.dtype(dtype)
        flags, item = x.flags, x.itemsize
        along, across = flags.c_contiguous, flags.f_contiguous
        native = x.dtype in NATIVE and flags.aligned
        # Whether the kernels can't read x as it lies.
        converts = not ((along or across) and native and item <= dtype.itemsize)
        if converts and x.size * dtype.itemsize <= PART_BYTES:
            x, converts = np.array(x, dtype=dtype, order="C"), False
            item, along, across = dtype.itemsize, True, x.flags.f_contiguous
        self.converts, (n, d) = converts, x.shape
        # A single column is a row of numbers: by columns its loop runs over them.
        self.by_columns = not converts and across and (d == 1 or n > 1)
        super().__init__(x, y, weight, dtype, n_threads, k, offset)
        seen = read_only(x)
        self.seen = seen.T if self.by_columns else seen
        #: x row by row, where it can be read so.
        self.by_rows = seen if along and not converts else None
        #: Passes that no thread uses, by what they compute.
        self._passes: dict[Any, list[dense.Pass]] = {}
        # What is converted is held twice: a quarter of the bytes, which a second-level cache holds.
        rows = PART_BYTES // (d * (4 * dtype.itemsize if converts else item))
        self._make_parts(min(rows, _PART_PREDICTIONS // self.k))

    def _rows_of(self, part: int) -> tuple[np.ndarray, int, int, int]:
        """An array with the rows of a part, its first and last row there, and row 0's place in y."""
        first, last = self._bounds(part)
        if not self.converts:
            return self.seen, first, last, 0
        block = read_only(np.array(self.x[first:last], dtype=self.dtype, order="C"))
        return block, 0, last - first, first

    def totals(self, loss: Any, coef, intercept, center=None, slopes_too=True) -> np.ndarray:
        """Summed gradient, intercept gradient and cost, (k, d+2) float64, at the given parameters.

        The loss is a `Loss` or a `CoupledLoss`. With a `center` the pass sees x − center and computes in
        the dtype of `coef`. Without `slopes_too` it finds the cost alone, in less time.
        """
        return ordered_sum(self._totals(loss, coef, intercept, center, slopes_too))

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

    def costs(self, loss: Loss, coefs, intercepts) -> np.ndarray:
        """The summed cost at each of the parameters coefs (m, d), intercepts (m,); y is (1, n)."""
        return ordered_sum(self._totals(loss, coefs, intercepts, None, False))[:, -1]

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
        moments = ordered_sum(into)[:wide, :wide].copy()
        return with_lower_half(moments)

    def predictions(self, coef, intercept) -> np.ndarray:
        """x·coef + intercept, without offset, (n,) float64: coef (1, d), intercept (1,)."""
        out = np.empty(self.n)
        kernel = dense.predictions(self.by_columns)

        def on_part(group: int, part: int) -> None:
            x, first, last, shift = self._rows_of(part)
            kernel(x, coef, intercept, first, last, shift, out)

        self._for_each_part(on_part, _GROUPS)
        return out

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of every column."""
        low, high = np.full((2, self.n_parts, self.d), np.nan)

        def find(block, first, last):
            part = first // self.part_rows
            low[part], high[part] = block.min(axis=0), block.max(axis=0)

        self._for_each_part(self._blocks(find), _GROUPS)
        return low.min(axis=0), high.max(axis=0)

    def column_moments(self, centred: bool, center=None):
        """Total weight, and the weighted mean and variance (about zero if not centred) of columns.

        For many columns, where a square matrix is too much. `center` is a value near every mean, by
        default the mean of a sample.
        """
        if center is None:
            center = self.middle() if centred else np.zeros(self.d)
        sums = np.zeros((min(_GROUPS, self.n_parts), 2, self.d))
        weight = self.weight.astype(np.float64) if len(self.weight) else np.ones(self.n)

        def work(group: int, part: int) -> None:
            first, last = self._bounds(part)
            block = self.x[first:last].astype(np.float64) - center
            sums[group, 0] += weight[first:last] @ block
            np.square(block, out=block)
            sums[group, 1] += weight[first:last] @ block

        self._for_each_part(work, _GROUPS)
        mass = float(weight.sum())
        mean, second = ordered_sum(sums) / mass
        if centred:
            second = second - mean**2
        return mass, center + mean, second

    def _blocks(self, work):
        def on_part(group: int, part: int) -> None:
            first, last = self._bounds(part)
            work(np.asarray(self.x[first:last], dtype=np.float64), first, last)

        return on_part

    def _of(self, x, samples) -> "DenseRows":
        if x.dtype not in NATIVE or not x.flags.c_contiguous:
            x = np.ascontiguousarray(x, dtype=self.dtype)
        return DenseRows(x, *samples)

    def middle(self) -> np.ndarray:
        """The mean of every column over a sample of rows."""
        return self.sample().mean(axis=0)

    def few_predictions(self, coef) -> np.ndarray:
        """x·coef^T for coef (k, d) and few rows, (n, k) float64; no kernel is compiled for it."""
        # Not a product of BLAS, whose first one takes 32 MB for its buffers.
        return np.add.reduce(self.sample(self.n)[:, None, :] * coef, axis=2)

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

    def direct_rows(self, loss: Any, batch_size: int) -> int | None:
        """The loop of one update a row is for outputs that don't see each other."""
        return stochastic.BLOCK if batch_size == 1 and not loss.coupled else None

    def visit(self, order, first: int, last: int) -> DenseVisit:
        """Arrays that hold the rows order[first:last], or those from `first` to `last` if it is empty."""
        if self.by_rows is not None:
            return DenseVisit(self.by_rows, self.y, self.weight, self.offset, order, first, last)
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
