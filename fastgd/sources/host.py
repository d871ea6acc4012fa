"""What sources of rows in the memory of the host share: samples, parts of rows, and threads for them."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from ..compile.functions import default_threads
from ..cpu.machine.pool import for_each_part
from ..cpu.order import order_of_epoch
from .in_memory import InMemory
from .visit import read_only, taken

#: Bytes of X in a part: 0.2 ms of reading, 100 times the call, and a prompt Ctrl-C.
PART_BYTES = 4 << 20
#: The dtypes that kernels read.
NATIVE = (np.dtype(np.float64), np.dtype(np.float32))
#: No weights, and no offset, in each dtype.
_NOTHING = {dtype: read_only(np.empty(0, dtype)) for dtype in NATIVE}
_NO_OFFSET = {dtype: read_only(np.empty((0, 1), dtype)) for dtype in NATIVE}


class HostRows(InMemory):
    """x (n, d) of any kind with y (k, n), weight and offset.

    Parameters
    ----------
    x : ndarray or sparse matrix (n, d)
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

    x: Any
    #: Rows of a part, and how many parts there are.
    part_rows: int
    n_parts: int

    def __init__(
        self, x: Any, y: Any, weight: Any, dtype: Any, n_threads: int | None, k: int | None = None,
        offset: Any = None,
    ) -> None:  # fmt: skip
        self.dtype = dtype = np.dtype(dtype)
        self._n_threads, self.x = n_threads, x
        self.n, self.d = x.shape
        self.k = k or y.shape[0]
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

    @property
    def n_threads(self) -> int:
        """How many threads share the parts."""
        return self._n_threads or default_threads()

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

    # --- parts -------------------------------------------------------------------------------------

    def _make_parts(self, rows: int) -> None:
        """Parts of so many rows."""
        self.part_rows = rows = max(1, rows)
        self.n_parts = -(-self.n // rows) or 1

    def _bounds(self, part: int) -> tuple[int, int]:
        return part * self.part_rows, min(self.n, (part + 1) * self.part_rows)

    def _for_each_part(self, work: Callable[[int, int], None], n_groups: int) -> None:
        """Call ``work(group, part)`` for all parts, in so many groups; a single one needs no thread."""
        if self.n_parts == 1:
            work(0, 0)
        else:
            self._share(work, groups_of(self.n_parts, n_groups))

    def _share(self, work: Callable[[int, int], None], groups: list[range]) -> None:
        """Call ``work(group, part)`` for the parts of these groups, which threads share."""
        for_each_part(work, groups, self.n_threads)

    # --- loops of updates --------------------------------------------------------------------------

    #: What `shuffle="block"` adds to the name of a method, where it isn't the usual order.
    block_order = ""

    def order(self, shuffle: bool | str, seed: int, epoch: int) -> Any:
        """The order of an epoch, as `visit` takes it."""
        return order_of_epoch(self.n, shuffle, seed, epoch)

    # --- other sources of these rows ---------------------------------------------------------------

    def _of(self, x: Any, samples: tuple[Any, ...]) -> Self:
        """A source of some rows x, with the other arguments of the constructor."""
        return type(self)(x, *samples)

    def subset(self, every: int, together: int = 64) -> tuple[Self, float]:
        """One row in so many, in runs of rows that lie together, and its share of the weight."""
        starts = np.arange(0, self.n, every * together)
        rows = (starts[:, None] + np.arange(together)).ravel()
        rows = rows[rows < self.n]
        share = len(rows) / self.n
        if len(self.weight):
            of_all = self.weight.sum(dtype=np.float64)
            share = float(self.weight[rows].sum(dtype=np.float64) / of_all)
        weight = self.weight[rows] if len(self.weight) else None
        y, offset = self.y[:, rows], taken(self.offset, rows)
        samples = y, weight, self.dtype, self._n_threads, self.k, offset
        return self._of(self.x[rows], samples), share

    def with_targets(self, y: np.ndarray, dtype: Any) -> Self:
        """The same rows and weights, without offset, with targets y (k, n), in `dtype`."""
        return type(self)(self.x, y, self.weight, dtype, self._n_threads)

    def only(self, output: int) -> Self:
        """The same rows, weights and offset with the targets of one output."""
        own = slice(output, output + 1)
        offset = self.offset[own] if len(self.offset) > 1 else self.offset
        return type(self)(self.x, self.y[own], self.weight, self.dtype, self._n_threads, 1, offset)


def groups_of(n_parts: int, n_groups: int) -> list[range]:
    """So many groups of parts that lie together, or as many as there are parts."""
    n_groups = min(n_parts, n_groups)
    bounds = [n_parts * g // n_groups for g in range(n_groups + 1)]
    return [range(a, b) for a, b in itertools.pairwise(bounds)]


def ordered_sum(parts: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Their sum, which takes the place of the first one."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


def with_lower_half(square: np.ndarray) -> np.ndarray:
    """A square matrix whose part above the diagonal is mirrored below it, in place."""
    np.copyto(square, square.T, where=_below_diagonal(len(square)))
    return square


@functools.lru_cache(maxsize=4)
def _below_diagonal(wide: int) -> np.ndarray:
    """Where a square matrix is below its diagonal; it takes ten times as long as a use of it."""
    return np.tri(wide, k=-1, dtype=bool)
