"""A source of rows that are read block by block in every pass: from files, queries, or a function.

A block is dense or sparse rows in memory, and a source of its own; the sums over all rows are those of
the blocks, added in their order. While one block is worked on, the next is read. Targets, weights and
offsets are in memory. Other numbers per row, such as the curvatures of a Hessian, are made again of each
block in the pass that needs them.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any, NamedTuple

import numpy as np

from ..cpu.order import order_of_epoch
from ..errors import BlockError, InputError
from ..inputs import is_finite, require_finite
from .compressed import as_dense, compressed, is_sparse
from .dense import DenseRows
from .host import HostRows
from .read_ahead import read_ahead
from .shuffled import PartsOrder, Shuffled, numbers_of_rows, parts_order
from .sparse import SparseRows
from .visit import DenseVisit, read_only, taken
from .watched import watcher
from .work import Kind, dense_work

#: Bytes of x in a block: ten times what a pass takes to begin, and so few that a cache holds them.
BLOCK_BYTES = 8 << 20
#: The most bytes of the rows that `subset` copies, and those of a visit.
_SUBSET_BYTES, _VISIT_BYTES = 256 << 20, 4 << 20
#: The bytes of x in a window of rows that are shuffled; two are held, one of which is being read.
_WINDOW_BYTES = 32 << 20


#: The order of a copy of rows.
_GIVEN = order_of_epoch(0, False, 0, 0)


class Blocks:
    """x (n, d) in blocks that are read again at every call of `read`.

    Parameters
    ----------
    opened : callable
        Returns an iterator over the blocks, arrays or sparse matrices (m, d), the same at every call. A
        block may be overwritten once the second one after it is asked for. Where there are `parts`, it
        takes their order (m,) as an argument too, and reads them in it.
    shape : tuple (n, d)
    dtype : numpy dtype
    names : list of str, optional
        The names of the columns.
    place_of : callable, optional
        Where row number i is, as text for messages: ``" (row 3 of file a.parquet)"``.
    parts : callable, optional
        Returns the number of rows of each part that can be read without the others.
    row_bytes : float, optional
        The bytes of a row in memory, if the rows are sparse.

    Attributes
    ----------
    watch : callable or None
        Is told how far a reading is; see `watched`.
    """

    ndim = 2

    def __init__(
        self,
        opened: Callable[..., Iterator[Any]],
        shape: tuple[int, int],
        dtype: Any,
        names: list[str] | None = None,
        place_of: Callable[[int], str] | None = None,
        parts: Callable[[], Sequence[int]] | None = None,
        row_bytes: float | None = None,
    ):
        self._opened, self.shape, self.dtype = opened, shape, np.dtype(dtype)
        #: The values of the columns that names such as "sex=male" come from.
        self.categories: dict[str, tuple[Any, ...]] = {}
        self.names, self._place_of = names, place_of or (lambda row: "")
        self._parts, self.row_bytes = parts, row_bytes or shape[1] * self.dtype.itemsize
        self.watch = watcher()
        self._sample: np.ndarray | None = None
        self._shuffled: Shuffled | None = None
        self._ahead: Generator[tuple[int, Any]] | None = None
        self._held: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, parts: np.ndarray | None = None) -> Generator[tuple[int, Any]]:
        """The blocks, each with the number of rows read before it; the next is read meanwhile.

        A block is good until the next one is asked for. `parts` (m,) are the numbers of the parts in the
        order in which they are read, by default the given one; a block may hold rows of several.

        Raises
        ------
        BlockError
            If reading fails, or gives other rows than before.
        """
        (n, d), first = self.shape, 0
        opened = self._opened(parts) if parts is not None and self._parts else self._opened()
        with contextlib.closing(read_ahead(opened)) as blocks:
            while first < n:
                try:
                    block = next(blocks, None)
                except BlockError as error:
                    where = f"at {self._named(first, parts)}"
                    raise BlockError(f"x can't be read {where}: {error}") from error
                if block is None or block.shape[1] != d or first + block.shape[0] > n:
                    end = "ends" if block is None else f"has a block of shape {block.shape}"
                    raise BlockError(
                        f"x {end} at {self._named(first, parts)}, and was found to have {n} rows and {d} "
                        "columns; its blocks must be the same at every reading."
                    )
                if parts is None and first == 0:
                    self._tell(0)
                yield first, block
                first += block.shape[0]
                if parts is None:  # else `shuffled` tells it, as this is another thread
                    self._tell(first)

    def _tell(self, rows: int) -> None:
        """Tell who watches that the present reading has seen so many rows."""
        if self.watch is not None:
            self.watch(rows, int(rows * self.row_bytes))

    def _named(self, first: int, parts: np.ndarray | None) -> str:
        """The row that is read after so many others, and its place."""
        row = first if parts is None else numbers_of_rows(self.part_sizes, parts, first)
        return f"row {row}{self._place_of(row)}"

    # --- loops of updates --------------------------------------------------------------------------

    @functools.cached_property
    def part_sizes(self) -> Sequence[int]:
        """The number of rows of each part that can be read without the others."""
        return self._parts() if self._parts else [len(self)]

    def require_order(self, shuffle: bool | str) -> None:
        """Raise `InputError` where updates can't visit the rows in this order."""
        if shuffle is True:
            raise InputError(
                "x is read in blocks, and its rows can't be visited in an order that is uniform over all "
                "of them, which is the default shuffle=True; pass shuffle='block' for parts of x in "
                "random order whose rows are shuffled in memory, or shuffle=False for the given order."
            )

    def order(self, seed: int, epoch: int) -> PartsOrder:
        """The order of an epoch with shuffle="block"."""
        window = max(1, int(_WINDOW_BYTES // self.row_bytes))
        order = parts_order(self.part_sizes, window, seed, epoch)
        if len(order.places) != len(self):
            raise BlockError(
                f"x has {len(order.places)} rows now, and had {len(self)} at first; its blocks must be "
                "the same at every reading."
            )
        return order

    def shuffled(self, order: PartsOrder, first: int, last: int, dtype: Any) -> np.ndarray:
        """The rows that are visited as number `first` to `last` − 1; an epoch is one reading."""
        if self._shuffled is None or not self._shuffled.goes_on(order, first):
            self.close()
            self._shuffled = Shuffled(self, order)
        rows = self._shuffled.rows(first, last, dtype)
        self._tell(last)
        if last >= len(self):
            self.close()
        return rows

    def close(self) -> None:
        """Let go of what is held outside this process, after a fit: the readers of updates."""
        for reader in (self._ahead, self._shuffled):
            if reader is not None:
                reader.close()
        self._ahead = self._held = self._shuffled = None

    def joined(self, work: Callable[[Any], np.ndarray]) -> np.ndarray:
        """The arrays ``work(block)`` of the blocks, one after the other."""
        with contextlib.closing(self.read()) as blocks:
            return np.concatenate([work(block) for _, block in blocks])

    def __matmul__(self, coef: np.ndarray) -> np.ndarray:
        """x @ coef."""
        return self.joined(methodcaller("__matmul__", coef))

    def sample(self) -> np.ndarray:
        """Rows of the first block, float64, evenly spaced."""
        if self._sample is None:
            blocks = self.read()
            _, block = next(blocks)
            blocks.close()
            self._sample = sample_of(block)
        return self._sample

    def rows(self, first: int, last: int) -> np.ndarray:
        """Rows `first` to `last` − 1 as an array; reading goes on where the last call ended."""
        if first == last:
            return np.empty((0, self.shape[1]), self.dtype)
        if self._held is None or first < self._held[0]:
            self._ahead = self.read()
            self._held = next(self._ahead)
        parts, ahead = [], self._ahead
        assert ahead is not None
        while first < last:
            begin, block = self._held
            end = begin + block.shape[0]
            if first < end:
                parts.append(as_dense(block[first - begin : last - begin], self.dtype))
                first = min(last, end)
            if first < last:
                self._held = next(ahead)
        self._tell(last)
        if last >= len(self):
            self.close()
        return np.concatenate(parts)

    def require_finite(self, name: str) -> None:
        """Raise `InputError` with row, column, value and place of the first entry that is not finite."""
        for first, block in self.read():
            self._refuse(not_finite(block, name, self.names), first)

    def _refuse(self, found: tuple[int, str] | None, first: int) -> None:
        """Raise what `not_finite` found in the block that begins at row `first`."""
        if found is not None:
            row, said = found
            whole = f"at row {first + row}{self._place_of(first + row)}"
            raise InputError(said.replace(f"at row {row}", whole, 1))


class Opened(NamedTuple):
    """x in blocks, and the targets and weights that came with it or that the caller gave."""

    x: Blocks
    y: Any
    weight: Any


@dataclass(frozen=True)
class PerRow:
    """Numbers per row that are made of the rows of each block while it is worked on.

    Attributes
    ----------
    make : callable
        Takes the rows, a source, and what each of `of` returns for them.
    of : tuple of PerRow
    """

    make: Callable[..., Any]
    of: tuple[PerRow, ...]

    def __call__(self, rows: Any) -> Any:
        return self.make(rows, *(numbers(rows) for numbers in self.of))


class BlockRows(HostRows):
    """x in `Blocks`, y (k, n), weight and offset as a source; the parameters are those of `HostRows`."""

    widest_square = math.inf
    columns = dual_epoch = None
    shifts_rows = True
    block_order = " (shuffle by blocks)"

    x: Blocks

    def _each(self) -> Iterator[tuple[slice, Any]]:
        """The rows of each block, and a source of them."""
        for first, block in self.x.read():
            own = slice(first, first + block.shape[0])
            yield own, self._of_block(block, own)

    def _of_block(self, block: Any, own: slice) -> Any:
        weight = self.weight[own] if len(self.weight) else None
        offset = self.offset[:, own] if len(self.offset) else None
        samples = self.y[:, own], weight, self.dtype, self._n_threads, self.k, offset
        return source_of_block(block, *samples)

    def _results(
        self, work: Callable[..., Any], per_row: np.ndarray | None = None
    ) -> Iterator[tuple[slice, Any]]:
        """The rows of each block and ``work(source)``, or with its own part of `per_row` (n,) also."""
        for own, rows in self._each():
            yield own, work(rows) if per_row is None else work(rows, per_row[own])

    # --- one pass ----------------------------------------------------------------------------------

    def totals(
        self, loss: Any, coef: Any, intercept: Any, center: Any = None, slopes_too: bool = True
    ) -> np.ndarray:
        """The sum of the blocks' totals."""
        total = np.zeros((self.k, self.d + 2))
        work = methodcaller("totals", loss, coef, intercept, center, slopes_too)
        for _, of_block in self._results(work):
            total += of_block
        return total

    def costs(self, loss: Any, coefs: Any, intercepts: Any) -> np.ndarray:
        """The sum of the blocks' costs."""
        work = methodcaller("costs", loss, coefs, intercepts)
        return np.asarray(sum(of_block for _, of_block in self._results(work)))

    def predictions(self, coef: Any, intercept: Any) -> np.ndarray:
        """x·coef + intercept, without offset, (n,) float64."""
        out = np.empty(self.n)
        for own, of_block in self._results(methodcaller("predictions", coef, intercept)):
            out[own] = of_block
        return out

    # --- moments -----------------------------------------------------------------------------------

    def moments(self, center: Any, scale: Any, y_center: Any, weight: Any = None) -> np.ndarray:
        """The sum of the blocks' moments."""
        wide = 1 + self.d + len(y_center)
        total = np.zeros((wide, wide))
        made = weight if isinstance(weight, PerRow) else None
        work = partial(_moments, center, scale, y_center, made)
        for _, of_block in self._results(work, None if made else weight):
            total += of_block
        return total

    def per_row(self, make: Callable[..., np.ndarray], *of: Any) -> PerRow:
        """What makes the numbers of each block."""
        return PerRow(make, of)

    def look(self, see: Callable[..., Any], *numbers: Any) -> Iterator[Any]:
        """``see(rows, *numbers)`` of each block."""
        for _, found in self._results(PerRow(see, numbers)):
            yield found

    def column_moments(
        self, centred: bool, center: Any = None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Total weight, and the weighted mean and variance of every column (Chan and others, 1983)."""
        mass, mean, squares = 0.0, np.zeros(self.d), np.zeros(self.d)
        for _, found in self._results(methodcaller("column_moments", centred, center)):
            of_block, its_mean, variance = found
            if not of_block > 0:
                continue
            mass, before = mass + of_block, mass
            apart = its_mean - mean
            mean = mean + apart * (of_block / mass)
            squares += of_block * variance
            if centred:
                squares += apart * apart * (before * of_block / mass)
        return mass, mean, squares / mass

    # --- looks at the rows -------------------------------------------------------------------------

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of every column."""
        low, high = np.full(self.d, np.inf), np.full(self.d, -np.inf)
        for _, of_block in self._results(methodcaller("extremes")):
            low, high = np.minimum(low, of_block[0]), np.maximum(high, of_block[1])
        return low, high

    def middle(self) -> np.ndarray:
        """The mean of rows of the first block."""
        return np.asarray(self.x.sample().mean(axis=0))

    def sample(self, rows: int = 256) -> np.ndarray:
        """Rows of the first block."""
        return self.x.sample()

    def few_predictions(self, coef: np.ndarray) -> np.ndarray:
        """x·coef^T, (n, k) float64."""
        return np.concatenate(
            [found for _, found in self._results(methodcaller("few_predictions", coef))]
        )

    def largest_row_norm(self, size: float, fit_intercept: bool) -> float:
        """The largest weight·‖[x, 1]/size‖² of a row."""
        work = methodcaller("largest_row_norm", size, fit_intercept)
        return float(max(of_block for _, of_block in self._results(work)))

    def subset(self, every: int, together: int = 64) -> tuple[Any, float]:
        """One row in so many, or fewer of very many, in memory, and its share of the weight."""
        every = max(every, -(-self.n * self.d * self.dtype.itemsize // _SUBSET_BYTES))
        kept = np.resize(np.arange(every * together) < together, self.n)
        which = np.flatnonzero(kept)
        share = len(which) / self.n
        weight = offset = None
        if len(self.weight):
            weight = self.weight[which]
            of_all = self.weight.sum(dtype=np.float64)
            share = float(weight.sum(dtype=np.float64) / of_all)
        if len(self.offset):
            offset = self.offset[:, which]
        x, filled = np.empty((len(which), self.d), self.dtype), 0
        for _, rows in self._results(_rows_kept, kept):
            x[filled : filled + len(rows)] = rows
            filled += len(rows)
        samples = self.y[:, which], weight, self.dtype, self._n_threads, self.k, offset
        return DenseRows(x, *samples), share

    # --- loops of updates --------------------------------------------------------------------------

    def batch_epochs(self, *arguments: Any) -> None:
        """None: an epoch is a call of `totals`."""

    def rows_at_once(self) -> int:
        """The rows that a visit copies."""
        return max(1, _VISIT_BYTES // (self.d * self.dtype.itemsize))

    def direct_rows(self, loss: Any, batch_size: int) -> int | None:
        """As dense rows in memory."""
        return DenseRows.direct_rows(self, loss, batch_size)  # type: ignore[arg-type]

    def order(self, shuffle: bool | str, seed: int, epoch: int) -> Any:
        """A `PartsOrder` with "block"; `InputError` with True."""
        self.x.require_order(shuffle)
        return self.x.order(seed, epoch) if shuffle else order_of_epoch(self.n, False, seed, epoch)

    def visit(self, order: Any, first: int, last: int) -> DenseVisit:
        """A copy of rows in the given order, or in one of `order`."""
        if isinstance(order, PartsOrder):
            own: Any = order.rows(first, last)
            x = self.x.shuffled(order, first, last, self.dtype)
        else:
            own = slice(first, last)
            x = np.ascontiguousarray(self.x.rows(first, last), dtype=self.dtype)
        y, weight, offset = (read_only(taken(a, own)) for a in (self.y, self.weight, self.offset))
        return DenseVisit(read_only(x), y, weight, offset, _GIVEN, 0, last - first)

    def work(self, kind: Kind, outputs: int | None = None) -> float:
        """As dense rows; a pass reads them from a file, which takes some three times as long."""
        k = self.k if outputs is None else outputs
        dense = dense_work(kind, self.n, self.d, k, self.x.dtype.itemsize)
        return dense + 2 * dense_work("pass", self.n, self.d, k, self.x.dtype.itemsize)


def sample_of(block: Any) -> np.ndarray:
    """Rows of a block, evenly spaced, float64."""
    return as_dense(block[:: max(1, block.shape[0] // 256)])


def source_of_block(block: Any, *samples: Any) -> Any:
    """A source of a block, with the other arguments of `HostRows`."""
    if is_sparse(block):
        return SparseRows(compressed(block), *samples)
    return DenseRows(block, *samples)


def not_finite(block: Any, name: str, names: list[str] | None) -> tuple[int, str] | None:
    """The row of the first entry of a block that is not finite, and what is to be said of it."""
    numbers = block.data if is_sparse(block) else block
    if numbers.dtype.kind != "f" or is_finite(numbers):
        return None
    try:
        require_finite(block, name, names)
    except InputError as error:
        return int(np.argmin(np.isfinite(as_dense(block)).all(axis=1))), str(error)
    return None


def _moments(
    center: Any, scale: Any, y_center: Any, made: PerRow | None, rows: Any, weight: Any = None
) -> Any:
    return rows.moments(center, scale, y_center, made(rows) if made else weight)


def _rows_kept(rows: Any, kept: np.ndarray) -> np.ndarray:
    """Some rows of a source, in the dtype that it computes in."""
    return as_dense(rows.x[np.flatnonzero(kept)], rows.dtype)
