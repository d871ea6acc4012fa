"""Blocks that can be read once: few rows that have the same squared error as all of them.

Let W be the weight of all rows, x̄ and ȳ their weighted means, and R the triangle of a QR decomposition of
the rows √w·[1, x, y]. Below the first row of R, and without its first column, stand m rows [r, q], and

    Σ w·(x·β + b − y)² = W·(x̄·β + b − ȳ)² + Σ (r·β − q)²    for all β and b.

The 2m rows x̄ ± c·r with the targets ȳ ± c·q, the weight W/2m each, and c² = m/W have the same sum: what
is linear in c cancels. So they have the same cost and the same gradient, with an intercept or without.
R is updated block by block, with Householder reflections (Golub and Van Loan, 2013, section 5.2): columns
of any size keep their digits, as X^T X would not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import inputs
from ..cpu.machine.blas import one_thread
from ..errors import BlockError, DivergenceError, InputError
from .compressed import as_dense
from .read_ahead import read_ahead
from .readers import as_block, bytes_of
from .watched import tell

#: Bytes of rows that are taken into the triangle together: what a second-level cache holds.
_BYTES = 1 << 18
#: The most columns: a square of them is in memory.
_WIDEST = 2048


class Summary(NamedTuple):
    """Few rows in the place of all.

    Attributes
    ----------
    x, y, weight : ndarray (m, d), (m,) or (m, k), (m,)
    dtype : numpy dtype
        That of the blocks of x.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    dtype: np.dtype


class Triangle:
    """The triangle of a QR decomposition of the rows √w·[1, x, y] so far.

    Parameters
    ----------
    center : ndarray (d+k,)
        A value near the means, which is taken from [x, y]: a mean far from 0 would cost digits, and
        columns of one value would not be that.
    """

    def __init__(self, center: np.ndarray):
        self.center, wide = center, 1 + len(center)
        self._rows = np.empty((max(4 * wide, _BYTES // (8 * wide)), wide))
        #: The rows in use: the triangle at first, then those to add.
        self._used = 0

    def add(self, rows: np.ndarray, root: np.ndarray | None) -> None:
        """Add rows [x, y] (m, d+k), with the roots of their weights (m,), if they have any."""
        first = 0
        while first < len(rows):
            last = min(len(rows), first + len(self._rows) - self._used)
            to = self._rows[self._used : self._used + last - first]
            to[:, 0] = 1.0
            np.subtract(rows[first:last], self.center, out=to[:, 1:])
            if root is not None:
                to *= root[first:last, None]
            self._used, first = self._used + last - first, last
            if self._used == len(self._rows):
                self._reduce()

    def _reduce(self) -> None:
        with one_thread():
            triangle = np.linalg.qr(self._rows[: self._used], mode="r")
        self._used = len(triangle)
        self._rows[: self._used] = triangle

    def rows(self) -> tuple[np.ndarray, float]:
        """The 2m rows [x, y], and the weight of each."""
        self._reduce()
        triangle = self._rows[: self._used]
        root, apart = triangle[0, 0], triangle[1:, 1:]
        mean = self.center + triangle[0, 1:] / root
        apart = apart * (np.sqrt(len(apart)) / abs(root))
        both = np.concatenate([mean + apart, mean - apart]) if len(apart) else mean[None]
        return both, float(root * root / len(both))


def summary(pieces: Iterator[Any], y: Any, weight: Any) -> Summary:
    """Few rows with the squared error of all, whatever the coefficients, from one reading.

    Parameters
    ----------
    pieces : iterator
        Of blocks x, (x, y) or (x, y, weight).
    y, weight : array-like, optional
        Of all rows, where the blocks have none.

    Raises
    ------
    InputError
        If blocks don't fit together, or hold what is no finite number; it names the block and the row.
    BlockError
        If the reading fails.
    DivergenceError
        If squares of the numbers overflow.
    """
    reader = _Reader(y, weight)
    # What overflows is found in the result and told there; NumPy's own warnings add nothing.
    with np.errstate(all="ignore"), contextlib.closing(read_ahead(pieces)) as blocks:
        while True:
            try:
                piece = next(blocks, None)
            except BlockError as error:
                raise BlockError(f"block {reader.number} of x can't be read: {error}") from error
            if piece is None:
                return reader.summary()
            try:
                reader.take(piece)
            except InputError as error:
                raise InputError(f"in block {reader.number}, {error}") from None
            tell(reader.n, reader.size)


class _Reader:
    """The blocks so far: what they are, and their triangle."""

    def __init__(self, y: Any, weight: Any):
        #: The blocks, rows and bytes of x so far.
        self.number = self.n = self.size = 0
        self._given = {"y": y, "sample_weight": weight}
        self._of_all = {
            name: None if given is None else inputs.as_array(given, name)
            for name, given in self._given.items()
        }
        self._kind: tuple[Any, ...] = ()
        self._dtypes: set[np.dtype] = set()
        self._triangle: Triangle | None = None

    def take(self, piece: Any) -> None:
        """Add a block."""
        block, *others = piece if isinstance(piece, tuple) else (piece,)
        x = as_block(block, "x")
        inputs.require_finite(x, "x")
        m, d = x.shape
        found = dict(zip(self._given, others, strict=False))
        y, flat = inputs.targets(self._own("y", found, m), m, np.float64)
        weight = self._weights(found, m)
        kind = d, len(y), flat, tuple(found)
        if not self._kind:
            self._kind = kind
            if d > _WIDEST:
                raise InputError(
                    f"x has {d} columns, and blocks that can be read once may have {_WIDEST}; pass the "
                    "function that makes them."
                )
        if kind != self._kind:
            raise InputError(
                f"x has {d} columns, {len(y)} of targets and {len(found)} arrays beside it, and block 0 "
                f"has {self._kind[0]}, {self._kind[1]} and {len(self._kind[3])}."
            )
        self._dtypes.add(x.dtype)
        self._add(x, y, weight)
        self.n, self.number = self.n + m, self.number + 1
        self.size += bytes_of(x)

    def _own(self, name: str, found: dict[str, Any], m: int) -> Any:
        """The targets or weights of a block, or their part of those of all rows."""
        of_all = self._of_all[name]
        if name in found:
            if of_all is not None:
                raise InputError(f"x comes with {name} of its own; pass {name}=None.")
            return found[name]
        if of_all is None:
            if name == "y":
                raise InputError("y is missing; pass an array, or blocks (x, y).")
            return None
        return of_all[self.n : self.n + m]

    def _weights(self, found: dict[str, Any], m: int) -> np.ndarray | None:
        given = self._own("sample_weight", found, m)
        if given is None:
            return None
        weight = inputs.as_array(given, "sample_weight")
        if weight.shape == (m,) and not weight.any():
            return np.zeros(m)
        return inputs.weights(weight, m, np.float64)

    def _add(self, x: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        step = max(1, _BYTES // (8 * (x.shape[1] + len(y))))
        for first in range(0, x.shape[0], step):
            own = slice(first, first + step)
            rows, root = np.hstack([as_dense(x[own]), y[:, own].T]), None
            if weight is not None:
                kept = weight[own] > 0
                rows, root = rows[kept], np.sqrt(weight[own][kept])
            if len(rows):
                if self._triangle is None:
                    self._triangle = Triangle(rows.mean(axis=0))
                self._triangle.add(rows, root)

    def summary(self) -> Summary:
        """Few rows in the place of all."""
        if not self.number:
            raise InputError("x gave no block; pass one at least.")
        for name, of_all in self._of_all.items():
            if of_all is not None and len(of_all) != self.n:
                raise InputError(
                    f"x has {self.n} rows and {name} has {len(of_all)}; they must have the same length."
                )
        if self._triangle is None:
            raise InputError("sample_weight is zero for every row; at least one must be positive.")
        rows, weight = self._triangle.rows()
        if not (inputs.is_finite(rows) and 0 < weight < np.inf):
            raise DivergenceError(
                "sums of squares overflow: values of x or y, or weights, are too large; scale them."
            )
        d, flat = self._kind[0], self._kind[2]
        y = np.ascontiguousarray(rows[:, d] if flat else rows[:, d:])
        return Summary(
            np.ascontiguousarray(rows[:, :d]),
            y,
            np.full(len(rows), weight),
            np.result_type(*self._dtypes),
        )
