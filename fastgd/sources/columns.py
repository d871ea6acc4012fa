"""A gradient source: sparse rows whose matrix is in compressed columns (CSC), read where they are.

A pass over rows is a sum over columns too: predictions add up the columns whose coefficients are not
zero, and the slope of a coefficient is the product of its column and the slopes of the rows.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..cpu import columns
from ..cpu.block_losses import block_losses, block_scratch
from .host import groups_of, ordered_sum
from .sparse import SparseRows
from .visit import read_only

#: Entries of a part, about 2 ms, and rows whose losses are taken together.
_PART, _ROWS = 1 << 19, 256
#: Vectors of predictions that are added up at most, and for each the entries a row that pay for it.
_GROUPS, _ENTRIES_A_SUM = 4, 8
_UNSIGNED = {4: np.dtype(np.uint32), 8: np.dtype(np.uint64)}


class SparseColumns(SparseRows):
    """`SparseRows` of `Columns`, of which no pass makes rows but those of losses that couple outputs."""

    @functools.cached_property
    def _compressed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where each column begins and ends, and the rows and the values of entries."""
        data, indices, indptr = self.x.arrays
        data = data.astype(self.dtype) if self._converts else data
        edges = indptr.astype(np.int64, copy=False)
        rows = indices.view(_UNSIGNED[indices.itemsize])
        begins, ends, rows, values = map(read_only, (edges[:-1], edges[1:], rows, data))
        return begins, ends, rows, values

    @property
    def columns(self) -> SparseRows:
        """Itself."""
        return self

    def pick(self, which: np.ndarray) -> tuple[np.ndarray, ...]:
        """Some columns (m,): where each begins and ends, and rows and values; no entry is copied."""
        begins, ends, rows, values = self._compressed
        return read_only(begins[which]), read_only(ends[which]), rows, values

    def _for_columns(
        self, begins: np.ndarray, ends: np.ndarray, work: Callable[[int, slice], None], n_groups: int = 0
    ) -> None:  # fmt: skip
        """Call ``work(group, columns)`` for slices of columns with about as many entries each."""
        sums = np.cumsum(ends - begins)
        parts = 1 + int(sums[-1]) // _PART if len(sums) else 1
        edges = np.searchsorted(sums, np.arange(1, parts) * _PART).tolist()
        bounds = [0, *edges, len(sums)]
        self._share(
            lambda group, part: work(group, slice(bounds[part], bounds[part + 1])),
            groups_of(parts, n_groups or parts),
        )

    def _raw(self, coef: np.ndarray, intercept: Any) -> np.ndarray:
        """x·coef + intercept (n,) for coef (d,), in its dtype."""
        used = np.flatnonzero(coef)
        begins, ends, rows, values = self.pick(used)
        own = coef[used]
        n_groups = int((ends - begins).sum()) // (_ENTRIES_A_SUM * self.n)
        into = [np.zeros(self.n, coef.dtype) for _ in range(max(1, min(_GROUPS, n_groups)))]
        into[0].fill(intercept)

        def add(group: int, at: slice) -> None:
            columns.add_products(begins[at], ends[at], rows, values, own[at], into[group])

        self._for_columns(begins, ends, add, len(into))
        return ordered_sum(into)

    def _by_column(self, kernel: Any, of_rows: np.ndarray) -> np.ndarray:
        """What a kernel finds for every column, with a number for each row."""
        begins, ends, rows, values = self._compressed
        out = np.empty(self.d)

        def find(group: int, at: slice) -> None:
            kernel(begins[at], ends[at], rows, values, of_rows, out[at])

        self._for_columns(begins, ends, find)
        return out

    def _totals(self, loss: Any, coef: Any, intercept: Any, slopes_too: bool) -> np.ndarray:
        if loss.coupled:
            return super()._totals(loss, coef, intercept, slopes_too)
        (k, d), dtype = coef.shape, coef.dtype
        y, weight, offset = self._samples(dtype)
        losses, p = block_losses(loss.formula, slopes_too, dtype), dtype.type(loss.p)
        scratch, totals = block_scratch(None, 1, _ROWS, dtype), np.zeros((k, d + 2))
        for c in range(k):
            z, own = self._raw(coef[c], intercept[c]), min(c, len(y) - 1)
            if len(offset):
                z += offset[min(c, len(offset) - 1)]
            at = totals[c : c + 1, d:]
            columns.losses_at(losses, z, y[own : own + 1], weight, p, scratch, z, at)
            if slopes_too:
                totals[c, :d] = self._by_column(columns.products, z)
        return totals

    def predictions(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """x·coef + intercept, without offset, (n,) float64: coef (1, d), intercept (1,)."""
        return self._raw(coef[0], intercept[0])

    def column_moments(
        self, centred: bool, center: np.ndarray | None = None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Total weight, and the weighted mean and variance (about zero if not centred) of columns."""
        weight = self.weight.astype(np.float64) if len(self.weight) else np.ones(self.n)
        mass = float(weight.sum())
        mean = self._by_column(columns.products, weight) / mass
        second = self._by_column(columns.curvatures, weight) / mass
        return mass, mean, np.maximum(second - mean**2, 0.0) if centred else second
