"""Some rows of x in blocks, without a copy of them: every reading picks them out of the blocks of x."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from .blocks import Blocks
from .dask import Chunks, SelectedChunks
from .shuffled import numbers_of_rows


def selected(x: Blocks, which: np.ndarray) -> Blocks:
    """The rows of x with these numbers (m,), which increase."""
    kept = np.zeros(len(x), bool)
    kept[which] = True
    return SelectedChunks(x, kept) if isinstance(x, Chunks) else Selected(x, kept)


class Selected(Blocks):
    """Rows of x.

    Parameters
    ----------
    x : Blocks
    kept : ndarray (n,) of bool
    """

    def __init__(self, x: Blocks, kept: np.ndarray):
        self._x, self._kept = x, kept
        shape = int(kept.sum()), x.shape[1]
        super().__init__(self._blocks, shape, x.dtype, x.names, row_bytes=x.row_bytes)

    def _blocks(self) -> Iterator[Any]:
        return (block for _, block in self.read())

    def read(self, parts: np.ndarray | None = None) -> Generator[tuple[int, Any]]:
        """As of x, whose errors name its rows."""
        first = 0
        with contextlib.closing(self._x.read(parts)) as blocks:
            for before, block in blocks:
                rows: Any = slice(before, before + block.shape[0])
                if parts is not None:
                    rows = numbers_of_rows(
                        self._x.part_sizes, parts, np.arange(rows.start, rows.stop)
                    )
                own = np.flatnonzero(self._kept[rows])
                if len(own):
                    yield first, block[own]
                    first += len(own)

    @functools.cached_property
    def part_sizes(self) -> Sequence[int]:
        """The number of rows of each part of x that are kept."""
        ends = np.cumsum(self._x.part_sizes)
        return np.diff(np.append(0, np.cumsum(self._kept)[ends - 1])).tolist()

    def _tell(self, rows: int) -> None:
        """As rows of x."""
        self._x._tell(rows * len(self._x) // len(self))

    def require_order(self, shuffle: bool | str) -> None:
        """Raise `InputError` where updates can't visit the rows in this order."""
        self._x.require_order(shuffle)
