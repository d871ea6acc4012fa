"""Rows of blocks in a random order: the parts of x in random order, and rows shuffled in windows.

A part is what can be read without the others: a row group, a file, an array of a list; all of x where
it can only be read from its beginning. An epoch reads the parts one after the other, and once. Rows that
come one after the other make a window, of so many as fit into bounded memory, and are visited in random
order. While one window is in use, the next is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cpu.order import order_of_windows
from .compressed import as_dense
from .read_ahead import read_ahead


class PartsOrder(NamedTuple):
    """The order of one epoch: a permutation of all rows.

    Attributes
    ----------
    sizes : sequence of int
        The rows of each part.
    parts : ndarray (m,)
        The numbers of the parts, in the order in which they are read.
    places : ndarray (n,)
        The places of the rows, among those read, in the order in which they are visited.
    window : int
        The rows of a window.
    """

    sizes: Sequence[int]
    parts: np.ndarray
    places: np.ndarray
    window: int

    def rows(self, first: int, last: int) -> np.ndarray:
        """The numbers in x of the rows that are visited as number `first` to `last` − 1."""
        return numbers_of_rows(self.sizes, self.parts, self.places[first:last])


def parts_order(sizes: Sequence[int], window: int, seed: int, epoch: int) -> PartsOrder:
    """The order of an epoch over parts of so many rows; it depends on its arguments alone."""
    return PartsOrder(sizes, *order_of_windows(len(sizes), sum(sizes), window, seed, epoch), window)


def numbers_of_rows(sizes: Sequence[int], parts: np.ndarray, places: Any) -> Any:
    """The numbers in x of rows at places of the reading that takes the parts in this order."""
    rows = np.asarray(sizes, np.int64)
    starts, ends = np.cumsum(rows) - rows, np.cumsum(rows[parts])
    read = np.searchsorted(ends, places, side="right")
    before = starts[parts] - (ends - rows[parts])
    return places + before[np.minimum(read, len(parts) - 1)]


class Shuffled:
    """The rows of one epoch, in its order.

    Parameters
    ----------
    x : Blocks
    order : PartsOrder
    """

    def __init__(self, x: Any, order: PartsOrder):
        self.order = order
        self._blocks, self._over = x.read(order.parts), False
        self._windows = read_ahead(self._read(), self._stop)
        self._number = -1  # of the window in use
        self._window: list[Any] = []  # its pieces

    def goes_on(self, order: PartsOrder | None, first: int) -> bool:
        """Whether rows from number `first` on, in this order, can be had without another reading."""
        return order is self.order and first // order.window >= self._number

    def rows(self, first: int, last: int, dtype: Any) -> np.ndarray:
        """The rows that are visited as number `first` to `last` − 1, as an array in C order."""
        window, found = self.order.window, []
        for number in range(first // window, (last - 1) // window + 1):
            self._go_to(number)
            start = number * window
            own = slice(max(first, start), min(last, start + window))
            found.append(_picked(self._window, self.order.places[own] - start, dtype))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _go_to(self, number: int) -> None:
        while self._number < number:
            self._window = []
            self._window = next(self._windows)
            self._number += 1

    def _read(self) -> Generator[list[Any]]:
        """The windows, by another thread; each is a list of pieces, and the last one is shorter."""
        pieces: list[Any] = []
        rows, filled = self.order.window, 0
        for _, block in self._blocks:
            start, m = 0, block.shape[0]
            while start < m and not self._over:
                stop = min(m, start + rows - filled)
                pieces.append(_copy(block[start:stop]))
                start, filled = stop, filled + stop - start
                if filled == rows:
                    yield pieces
                    pieces, filled = [], 0
            if self._over:
                return
        if pieces:
            yield pieces

    def _stop(self) -> None:
        self._over = True

    def close(self) -> None:
        """End the reading."""
        self._windows.close()
        self._blocks.close()
        self._window = []


def _copy(rows: Any) -> Any:
    """A copy of rows of a block, which may be overwritten; dense ones row by row."""
    return np.array(rows, order="C") if isinstance(rows, np.ndarray) else rows.copy()


def _picked(pieces: list[Any], places: np.ndarray, dtype: Any) -> np.ndarray:
    """The rows at these places of a window, as an array in C order."""
    if len(pieces) == 1:
        return as_dense(pieces[0][places], dtype)
    picked = np.empty((len(places), pieces[0].shape[1]), dtype)
    ends = list(itertools.accumulate(piece.shape[0] for piece in pieces))
    of_piece = np.searchsorted(ends, places, side="right")
    for number, piece in enumerate(pieces):
        own = np.flatnonzero(of_piece == number)
        start = ends[number] - piece.shape[0]
        picked[own] = as_dense(piece[places[own] - start], dtype)
    return picked
