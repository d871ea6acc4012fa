"""Rows that lie on the host because a GPU has no room for them: they pass through it in chunks.

While the GPU computes on one chunk, the host copies the next to page-locked memory, and the GPU's copy
engine from there. A pass takes as long as the slower of the two copies; computing takes a hundredth of
that.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from ..cuda.driver import SIMULATED, cuda, fits
from ..errors import InputError
from ..losses import CoupledLoss, Loss
from .dense import DenseRows
from .device import DeviceMatrix, DeviceRows

#: Bytes of a chunk: 3 ms of copying, a hundred times what a launch costs.
_CHUNK_BYTES = 64 << 20


def device_rows(
    x: Any, y: Any, weight: Any, dtype: DTypeLike, n_threads: int | None = 1, k: int | None = None,
    offset: Any = None,
) -> "DeviceRows | StreamedRows":  # fmt: skip
    """`DeviceRows`, or `StreamedRows` for x on the host that the GPU can't hold.

    The choice depends on the size of the GPU's memory and not on how much of it is free, as the two sum
    in different orders and so differ in the last bits.
    """
    if isinstance(x, np.ndarray) and not fits(x.size * np.dtype(dtype).itemsize):
        return StreamedRows(x, y, weight, dtype, n_threads, k, offset)
    return DeviceRows(x, y, weight, dtype, n_threads, k, offset)


class StreamedRows(DenseRows):
    """`DenseRows` whose passes run on a GPU, a chunk of rows at a time.

    Methods that read few rows, or each column once, run on the host, where the rows are.
    """

    #: Whether a launch can run whole epochs: no, as an epoch copies every chunk.
    launches_epochs: Literal[False] = False

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None,
        dtype: DTypeLike,
        n_threads: int | None = 1,
        k: int | None = None,
        offset: np.ndarray | None = None,
    ):
        super().__init__(x, y, weight, dtype, n_threads, k, offset)
        self.converts, self.by_rows = True, None  # nothing is for the kernels of the CPU
        rows = min(self.n, max(1, _CHUNK_BYTES // (self.d * self.dtype.itemsize)))
        self._starts = range(0, self.n, rows)
        shape = (rows, self.d)
        self._host = [cuda.pinned_array(shape, self.dtype) for _ in range(2)]
        self._device = [cuda.device_array(shape, self.dtype) for _ in range(2)]
        # Not the default stream, which would wait for the copy of the next chunk.
        self._copies, self._work = cuda.stream(), cuda.stream()

    def _chunks(self, weight: np.ndarray | None = None) -> Iterator[DeviceRows]:
        """The chunks as sources on the GPU, each good until the next one is asked for."""
        weight = self.weight if weight is None else weight
        arrived = self._send(0)
        for number in range(len(self._starts)):
            matrix, there = arrived
            if number + 1 < len(self._starts):
                arrived = self._send(number + 1)
            if not SIMULATED:
                there.wait(self._work)
            first = self._starts[number]
            rows = slice(first, first + len(matrix))
            own = weight[rows] if len(weight) else None
            y, offset = self.y[:, rows], self.offset[:, rows]
            yield DeviceRows(matrix, y, own, self.dtype, 1, self.k, offset)

    def _send(self, number: int) -> tuple[DeviceMatrix, Any]:
        """Start the copy of a chunk; the chunk, and an event for its arrival."""
        first, half = self._starts[number], number % 2
        block = self.x[first : first + self._starts.step]
        host, device = self._host[half][: len(block)], self._device[half][: len(block)]
        np.copyto(host, block, casting="same_kind" if block.dtype.kind == "f" else "unsafe")
        device.copy_to_device(host, stream=self._copies)
        matrix = DeviceMatrix(device)
        matrix.stream = self._work
        event = None
        if not SIMULATED:
            event = cuda.event(timing=False)
            event.record(self._copies)
        return matrix, event

    def totals(
        self,
        loss: Loss | CoupledLoss,
        coef: np.ndarray,
        intercept: np.ndarray,
        center: np.ndarray | None = None,
        slopes_too: bool = True,
    ) -> np.ndarray:
        return _sum(
            rows.totals(loss, coef, intercept, center, slopes_too) for rows in self._chunks()
        )

    def costs(self, loss: Loss, coefs: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        return _sum(rows.costs(loss, coefs, intercepts) for rows in self._chunks())

    def moments(
        self,
        center: np.ndarray,
        scale: np.ndarray,
        y_center: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> np.ndarray:
        chunks = self._chunks(weight=weight)
        return _sum(rows.moments(center, scale, y_center) for rows in chunks)

    def predictions(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        chunks = self._chunks()
        return np.concatenate([rows.predictions(coef, intercept) for rows in chunks])

    def rows_at_once(self) -> int | None:
        """Refused: rows in any order would be as many copies."""
        raise InputError(
            "x does not fit into the GPU's memory, and batch_size asks for its rows in any order; "
            "leave device out, or pass float32."
        )


def _sum(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of the parts, in their order."""
    *_, total = itertools.accumulate(parts)
    return total
