"""A gradient source: sparse rows in memory, compressed (CSR), read where they are.

Nothing is centred: the rows x − center have the predictions x·w + (b − center·w) and the gradient
X^T r − center·Σr, so that entries that are zero cost nothing.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..cpu import advance, columns, dense, dual, sparse, sparse_updates, stochastic
from ..cpu.block_losses import block_losses, block_scratch
from ..formulas.updates import Rule
from ..losses import Loss
from .compressed import Columns
from .host import NATIVE, PART_BYTES, HostRows, groups_of, ordered_sum, with_lower_half
from .visit import read_only, taken
from .work import Kind, inverse_ns

_FLOAT64 = np.dtype(np.float64)
#: Groups of parts have sums of their own, so that the result is the same for every number of threads.
#: Adding them up should take little beside the entries, and little room.
_GROUPS, _ENTRIES_A_SUM, _SUMS_SHARE = 32, 8, 0.05
#: Entries of the matrices of moments of all groups.
_MOMENT_ENTRIES = 1 << 23
#: Parts of an epoch that one call visits, about 50 ms.
_PROMPT_PARTS = 64
#: The most ranges of rows whose columns are copied at the same time.
_RANGES = 4
#: The most numbers of a sample, which is dense.
_SAMPLE = 1 << 20


class SparseVisit(NamedTuple):
    """Sparse rows for the kernels of stochastic loops; as `Visit`, with a header in place of x."""

    header: sparse.Header
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    order: np.ndarray
    first: int
    last: int

    @property
    def x(self) -> np.ndarray:
        """An array without rows, for its type."""
        return dense.unknown((0, 1), self.y.dtype)

    @property
    def rows_at(self) -> int:
        """The address of the rows."""
        return self.header.address

    def direct_updates(self, loss: Any) -> int:
        """The address of the loop for plain gradient descent."""
        dtype = self.y.dtype
        if loss.coupled:
            updates = sparse_updates.coupled_updates(*self.header.dtypes)
        else:
            updates = sparse_updates.updates(loss.formula, *self.header.dtypes)
        return stochastic.address_of_updates(updates, self.order.dtype, dtype, dtype)

    def direct_scratch(self, loss: Any, batch_size: int, outputs: int) -> dense.Scratch:
        """The scratch of that loop."""
        return sparse_updates.scratch(batch_size, outputs if loss.coupled else 1, self.y.dtype)

    def batch_pass(self, loss: Any, coef: np.ndarray, parts: int) -> tuple[int, int, dense.Scratch]:
        """The addresses of a pass over a part of a batch and of `dense.gather`, and the scratch."""
        (k, d), dtype = coef.shape, coef.dtype
        rows, targets = sparse.rows_of_block(self.y.shape[1], self.header.entries), len(self.y)
        scratch = dense.Scratch(
            np.empty((parts, 0, d), dtype),
            np.empty((parts, targets, rows), dtype),
            block_scratch(parts, k, rows, dtype),
            np.empty((parts, 0, d), dtype),
        )
        one_pass = sparse.address_of_pass(*self.header.dtypes, self.order.dtype, dtype)
        return one_pass, 0, scratch


class SparseRows(HostRows):
    """x (n, d), y (k, n), weight and offset as a source of costs, gradients and moments.

    x is a matrix or array of SciPy in compressed rows (CSR), sorted and without duplicates, or `Columns`,
    as `rows_or_columns` gives it; the other parameters are those of `HostRows`.
    """

    def __init__(
        self, x: Any, y: Any, weight: Any, dtype: Any, n_threads: int | None, k: int | None = None,
        offset: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(x, y, weight, dtype, n_threads, k, offset)
        self.entries = int(x.nnz)
        stored = x.arrays if isinstance(x, Columns) else (x.data, x.indices, x.indptr)
        of_data, of_index = stored[0].dtype, stored[1].dtype
        native = of_data in NATIVE and of_data.itemsize <= self.dtype.itemsize
        #: Whether few entries are converted at once, and whether kernels read all in place.
        self._converts = not native and self.entries * self.dtype.itemsize <= PART_BYTES
        self._native = native or self._converts
        if self._converts:
            of_data = self.dtype
        of_entry = (
            of_data.itemsize if self._native else 4 * self.dtype.itemsize
        ) + of_index.itemsize
        self._bytes = self.entries * (of_data.itemsize + of_index.itemsize)
        self._make_parts(PART_BYTES // 4 * self.n // (of_entry * max(self.entries, 1)))

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Data, indices and indptr of rows; they are made here where x came in columns."""
        data = self.x.data
        return data.astype(self.dtype) if self._converts else data, self.x.indices, self.x.indptr

    @functools.cached_property
    def _header(self) -> sparse.Header | None:
        """The rows for kernels; None where they are converted a part at a time."""
        return sparse.Header(*self._arrays) if self._native else None

    @functools.cached_property
    def _dtypes(self) -> tuple[np.dtype, np.dtype]:
        """The dtypes of entries and indices that kernels read."""
        data, indices, _ = self._arrays
        return data.dtype if self._native else self.dtype, indices.dtype

    shifts_rows = False

    @functools.cached_property
    def widest_square(self) -> float:
        """More columns than there are, if a square matrix is inverted in the time of 100 passes."""
        return self.d + 1 if inverse_ns(self.d) < 1e8 + 100 * self.work("pass") else self.d - 1

    def _rows_of(self, part: int) -> tuple[sparse.Header, int, int, int]:
        """A header with the rows of a part, its first and last row there, and row 0's place in y."""
        first, last = self._bounds(part)
        if self._header is not None:
            return self._header, first, last, 0
        data, indices, indptr = self._arrays
        own = indptr[first : last + 1]
        entries = slice(int(own[0]), int(own[-1]))
        header = sparse.Header(data[entries].astype(self.dtype), indices[entries], own - own[0])
        return header, 0, last - first, first

    def _groups(self, numbers: int) -> int:
        """How many groups of parts have sums of their own, of so many numbers for each column."""
        by_time = self.entries // (_ENTRIES_A_SUM * self.d)
        by_room = int(_SUMS_SHARE * self._bytes / (8 * self.d * numbers))
        return min(self.n_parts, _GROUPS, max(2, min(by_time, by_room)))

    def totals(
        self, loss: Any, coef: np.ndarray, intercept: np.ndarray, center: Any = None,
        slopes_too: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """Summed gradient, intercept gradient and cost, (k, d+2) float64, at the given parameters.

        With a `center` they are those of the rows x − center. Without `slopes_too` the gradients are
        zero, and the pass takes less time.
        """
        if center is not None:
            intercept = intercept - coef @ center
        totals = self._totals(loss, coef, intercept, slopes_too)
        if center is not None and slopes_too:
            totals[:, : self.d] -= totals[:, self.d, None] * center
        return totals

    def _totals(self, loss: Any, coef: Any, intercept: Any, slopes_too: bool) -> np.ndarray:
        (k, d), dtype = coef.shape, coef.dtype
        y, weight, offset = self._samples(dtype)
        losses, p = block_losses(loss.formula, slopes_too, dtype), dtype.type(loss.p)
        rows = sparse.rows_of_block(self.n, self.entries)
        sums = d if slopes_too else 0
        n_groups = self._groups(k) if slopes_too else min(self.n_parts, _GROUPS)
        if k == 1:
            one_pass = sparse.rows_pass(*self._dtypes)
            into = [np.zeros((1, sums + 2)) for _ in range(n_groups)]  # all but one are let go
            none, two = weight[:0], coef[:0]

            def on_part(group: int, part: int) -> None:
                header, first, last, shift = self._rows_of(part)
                one_pass(
                    self._no_rows(dtype), header.address, dense.GIVEN_ORDER, y, weight, offset, p, none,
                    coef, intercept, first, last, shift, losses, slopes_too, 0, two, two,
                    block_scratch(None, 1, rows, dtype), two, into[group],
                )  # fmt: skip

            self._for_each_part(on_part, n_groups)
            found = ordered_sum(into)
        else:
            outputs_pass = sparse.outputs_pass(*self._dtypes)
            by_column, ends = np.zeros((n_groups, sums, k)), np.zeros((n_groups, k, 2))
            together = np.ascontiguousarray(coef.T)

            def on_part_of_outputs(group: int, part: int) -> None:
                header, first, last, shift = self._rows_of(part)
                outputs_pass(
                    header.address, y, weight, offset, p, together, intercept, first, last, shift, losses,
                    slopes_too, block_scratch(None, k, rows, dtype), np.empty(k, dtype),
                    by_column[group], ends[group],
                )  # fmt: skip

            self._for_each_part(on_part_of_outputs, n_groups)
            found = np.concatenate([ordered_sum(by_column).T, ordered_sum(ends)], axis=1)
        if slopes_too:
            return found
        totals = np.zeros((k, d + 2))
        totals[:, d + 1] = found[:, 1]
        return totals

    @staticmethod
    def _no_rows(dtype: np.dtype) -> np.ndarray:
        """What stands for x where a kernel reads a header."""
        return dense.unknown((0, 1), dtype)

    def costs(self, loss: Loss, coefs: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        """The summed cost at each of the parameters coefs (m, d), intercepts (m,); y is (1, n)."""
        return self._totals(loss, coefs, intercepts, False)[:, -1]

    def moments(
        self, center: np.ndarray, scale: np.ndarray, y_center: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Z^T Z for rows sqrt(weight)·[1, (x − center)·scale, y − y_center], symmetric float64."""
        wide = 1 + self.d + len(y_center)
        n_groups = max(1, min(8, self.n_parts, _MOMENT_ENTRIES // wide**2))
        into = np.zeros((n_groups, wide, wide))
        weight = self.weight if weight is None else weight
        add = sparse.add_moments(*self._dtypes)

        def on_part(group: int, part: int) -> None:
            header, first, last, shift = self._rows_of(part)
            add(header.address, self.y, weight, scale, y_center, first, last, shift, into[group])

        self._for_each_part(on_part, n_groups)
        moments = with_lower_half(ordered_sum(into))
        if center.any():
            # From the sums about zero, A = Σ w z z^T and s = Σ w z, to those about c.
            own, c = slice(1, self.d + 1), center * scale
            mass, sums = moments[0, 0], moments[0].copy()
            shift_of = np.zeros(wide)
            shift_of[own] = c
            moments -= np.outer(sums, shift_of) + np.outer(shift_of, sums)
            moments += mass * np.outer(shift_of, shift_of)
        return moments

    def predictions(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """x·coef + intercept, without offset, (n,) float64: coef (1, d), intercept (1,)."""
        out, predict = np.empty(self.n), sparse.predictions(*self._dtypes)

        def on_part(group: int, part: int) -> None:
            header, first, last, shift = self._rows_of(part)
            predict(header.address, coef, intercept, first, last, shift, out)

        self._for_each_part(on_part, _GROUPS)
        return out

    def column_moments(
        self, centred: bool, center: np.ndarray | None = None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Total weight, and the weighted mean and variance (about zero if not centred) of columns."""
        n_groups = self._groups(2)
        into, add = np.zeros((n_groups, 2, self.d)), sparse.add_columns(*self._dtypes)

        def on_part(group: int, part: int) -> None:
            header, first, last, shift = self._rows_of(part)
            add(header.address, self.weight, first, last, shift, into[group])

        self._for_each_part(on_part, n_groups)
        mass = float(self.weight.sum(dtype=np.float64)) if len(self.weight) else float(self.n)
        mean, second = ordered_sum(into)
        mean, second = mean / mass, second / mass
        return mass, mean, np.maximum(second - mean**2, 0.0) if centred else second

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of every column, of which zero is one if it has a gap."""
        data, indices, _ = self._arrays
        low, high = np.full(self.d, np.inf), np.full(self.d, -np.inf)
        stored = np.zeros(self.d, np.int64)
        for start in range(0, self.entries, _SAMPLE):
            own = slice(start, min(start + _SAMPLE, self.entries))
            values, columns = data[own].astype(np.float64), indices[own]
            np.minimum.at(low, columns, values)
            np.maximum.at(high, columns, values)
            stored += np.bincount(columns, minlength=self.d)
        gap = stored < self.n
        return np.where(gap, np.minimum(low, 0.0), low), np.where(gap, np.maximum(high, 0.0), high)

    def middle(self) -> np.ndarray:
        """Zero: sums are about zero, and a nearer centre would not save digits."""
        return np.zeros(self.d)

    def sample(self, rows: int = 256) -> np.ndarray:
        """Evenly spaced rows, dense in float64, about so many if there is room."""
        rows = max(1, min(rows, _SAMPLE // self.d))
        return np.asarray(self.x[:: max(1, self.n // rows)].toarray(), np.float64)

    def few_predictions(self, coef: np.ndarray) -> np.ndarray:
        """x·coef^T for coef (k, d) and few rows, (n, k) float64; no kernel is compiled for it."""
        return np.asarray(self.x @ coef.T, np.float64)

    def _squared_norms(self, unit: float) -> np.ndarray:
        """The squared norms of the rows times `unit`, (n,) float64."""
        out, find = np.empty(self.n), dual.squared_norms(*self._dtypes)

        def on_part(group: int, part: int) -> None:
            header, first, last, shift = self._rows_of(part)
            find(header.address, unit, first, last, shift, out)

        self._for_each_part(on_part, _GROUPS)
        return out

    def largest_row_norm(self, size: float, fit_intercept: bool) -> float:
        """The largest weight·‖[x, 1]/size‖² of a row, without the 1 if no intercept is fitted."""
        norms = self._squared_norms(1 / size) + (fit_intercept / size) / size
        return float((norms * self.weight if len(self.weight) else norms).max())

    @functools.cached_property
    def _column_sizes(self) -> np.ndarray:
        """The number of entries of every column in each of a few ranges of rows, (ranges, d)."""
        ranges, dtype = (
            min(self.n_threads, self.n, _RANGES),
            np.int32 if self.n < 1 << 31 else np.int64,
        )
        sizes, count = np.zeros((ranges, self.d), dtype), columns.count_entries(*self._dtypes)
        assert self._header is not None
        header = self._header
        self._share(
            lambda group, part: count(header.address, *self._range(part, ranges), sizes[part]),
            groups_of(ranges, ranges),
        )
        return sizes

    def _range(self, part: int, ranges: int) -> tuple[int, int]:
        return self.n * part // ranges, self.n * (part + 1) // ranges

    @property
    def columns(self) -> "SparseRows | None":
        """A source of the same rows that picks columns; None where entries are converted."""
        if not self._native:
            return None
        if not isinstance(self.x, Columns):
            return self
        from .columns import SparseColumns

        samples = self.y, self.weight if len(self.weight) else None, self.dtype, self._n_threads
        return SparseColumns(self.x, *samples, self.k, self.offset if len(self.offset) else None)

    def pick(self, which: np.ndarray) -> tuple[np.ndarray, ...]:
        """Some columns (m,): where each begins and ends, and rows and values; here a copy of them."""
        assert self._header is not None
        address, sizes = self._header.address, self._column_sizes[:, which]
        edges, ranges = np.append(0, np.cumsum(sizes.sum(axis=0))), len(sizes)
        places = np.full(self.d, -1, np.int32)
        places[which] = np.arange(len(which))
        rows = np.empty(edges[-1], np.uint32 if self.n < 1 << 32 else np.uint64)
        values = np.empty(edges[-1], self._dtypes[0])
        fill = columns.fill_columns(*self._dtypes)
        begin_of = edges[:-1] + np.cumsum(sizes, axis=0, dtype=np.int64) - sizes
        self._share(
            lambda group, part: fill(
                address, *self._range(part, ranges), places, begin_of[part], rows, values
            ),
            groups_of(ranges, ranges),
        )
        begins, ends, rows, values = map(read_only, (edges[:-1], edges[1:], rows, values))
        return begins, ends, rows, values

    @property
    def dual_epoch(self) -> Callable[..., np.ndarray] | None:
        """An epoch of dual coordinate ascent, by one thread; None where entries are converted."""
        return functools.partial(self._dual_epoch, []) if self._native else None

    def _about(self, center: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """A centre, x·centre or (0,) for 0, and the squared norms of x − centre and of the centre."""
        along, norms, square = np.empty(0), self._squared_norms(1.0), float(center @ center)
        if square > 0:
            along = self.predictions(center[None], np.zeros(1))
            for first in range(0, self.n, _SAMPLE):
                own = slice(first, first + _SAMPLE)
                norms[own] -= 2 * along[own]
            norms += square
            np.maximum(norms, 0.0, out=norms)
        return center, along, norms, square

    def _dual_epoch(
        self, about: list[Any], loss: Any, order: np.ndarray, factor: float, center: np.ndarray,
        level: Any, slopes: np.ndarray, coef: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """An epoch; `about` keeps what `_about` found for the epoch before."""
        assert self._header is not None
        if not about or not np.array_equal(center, about[0]):
            about[:] = self._about(center)
        _, along, norms, square = about
        k, level = len(coef), np.ravel(np.asarray(level, np.float64))
        moved, seconds = np.array([np.zeros(k), coef @ center]), np.zeros(k)
        rows = self._header.address, order, self.y, self.weight, self.offset
        together, numbers = coef, np.empty((6, k))
        if loss.coupled:
            together = np.ascontiguousarray(coef.T)
            coupled = dual.coupled_epoch(loss.formula, *self._dtypes)
        else:
            centred = np.array([square, 0.0, moved[1, 0]])
            steps = dual.epoch(loss.formula, *self._dtypes)
        for first in range(0, self.n, _PROMPT_PARTS * self.part_rows):
            last = min(self.n, first + _PROMPT_PARTS * self.part_rows)
            if loss.coupled:
                coupled(
                    *rows, factor, norms, along, square, moved, level, slopes, together, numbers, seconds,
                    first, last,
                )  # fmt: skip
            else:
                seconds += steps(
                    *rows, float(loss.p), factor, norms, along, centred, level[0], slopes, coef, first,
                    last,
                )  # fmt: skip
        if loss.coupled:
            coef[:] = together.T
        else:
            moved[0] = centred[1]
        if square > 0:
            coef -= np.outer(moved[0], center)
        return seconds

    def batch_epochs(
        self, loss: Any, rule: Rule, arrays: tuple[np.ndarray, ...], stop: int, with_cost: bool
    ) -> int | None:
        """Epochs of batch descent in one kernel, where one thread does a pass; else None."""
        if self.n_parts > 1 or self._header is None:
            return None
        (k, d), targets, order = arrays[0].shape, len(self.y), dense.GIVEN_ORDER
        rows = sparse.rows_of_block(self.n, self.entries)
        kernels = (
            sparse.address_of_pass(*self._dtypes, order.dtype, self.dtype),
            block_losses(loss.formula, True, self.dtype), advance.address_of_end(),
            advance.address_of_step(rule, _FLOAT64), 0,
        )  # fmt: skip
        numbers = np.zeros(dense.size_of_numbers(k, d, targets, rows, 0), self.dtype)
        return dense.batch_epochs(
            *kernels, self._no_rows(self.dtype), self._header.address, order, self.y, self.weight,
            self.offset, numbers, rows, 0, np.empty((1, k, d + 2)), *arrays, stop, with_cost,
        )  # fmt: skip

    def rows_at_once(self) -> int | None:
        """None where rows are read in place; else a part of them is converted at a time."""
        return None if self._native else self.part_rows

    def direct_rows(self, loss: Any, batch_size: int) -> int | None:
        """A multiple of the rows after which coefficients are brought up to date."""
        return int(sparse_updates.window(self.n, self.d, self.entries, batch_size))

    def visit(self, order: np.ndarray, first: int, last: int) -> SparseVisit:
        """The rows order[first:last], or those from `first` to `last` if it is empty."""
        if self._header is not None:
            return SparseVisit(self._header, self.y, self.weight, self.offset, order, first, last)
        rows: Any = order[first:last] if len(order) else slice(first, last)
        x = self.x[rows]
        own = x.data.astype(self.dtype), *(a.astype(self._dtypes[1]) for a in (x.indices, x.indptr))
        y, weight, offset = (taken(a, rows) for a in (self.y, self.weight, self.offset))
        return SparseVisit(sparse.Header(*own), y, weight, offset, order[:0], 0, last - first)

    def work(self, kind: Kind, outputs: int | None = None) -> float:
        """Nanoseconds of one thread for a pass or for the moments, with `k` or so many outputs."""
        k, n, entries = self.k if outputs is None else outputs, self.n, self.entries
        if kind == "pass":
            return n * (4 + 2 * k) + entries * (2 + k) + 2.0 * k * self.d
        wide = 1 + self.d + k
        return 5e4 + 2.0 * wide * wide + n * k + entries * (1 + k + entries / (2 * max(n, 1)))
