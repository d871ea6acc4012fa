"""Gradient descent with a given learning rate on a GPU, in chunks of one launch each."""

from typing import Any

import numpy as np

from ..cpu.descent import BatchDescent, StochasticDescent
from ..cpu.order import empty_order, visiting_order
from ..errors import InputError
from . import loop
from .driver import cooperative_blocks, cuda, on
from .layout import WARP, rows_of_part
from .stochastic import Models
from .streamed import StreamedRows

#: A GPU reads a hundred times faster than the core that `pass_ns` counts for.
_FASTER = 100


class DeviceDescent(BatchDescent):
    """`BatchDescent` over `DeviceRows`: the epochs of a chunk stay on the GPU.

    Statistics, where they pay, are built there and followed on the host.
    """

    @property
    def chunk(self) -> int:
        """Epochs in 100 ms."""
        if self._switch <= self.epoch or isinstance(self.source, StreamedRows):
            return super().chunk
        return super().chunk * _FASTER

    def _run_by_parts(self, stop: int) -> int:
        """The epochs up to `stop` as one launch."""
        if isinstance(self.source, StreamedRows):  # an epoch is many copies
            return super()._run_by_parts(stop)
        source: Any = self.source  # DeviceRows
        epochs = stop - self.epoch
        x, (k, d) = source.x, self.coef.shape
        layout = source.layout(source.dtype)
        part_rows = rows_of_part(source.n, layout)
        parts, columns = -(-source.n // part_rows), k * (d + 2)
        width = min(WARP, layout.threads, 1 << (columns - 1).bit_length())
        kernel = loop.descend(self.loss, layout, source.dtype.name, width)
        with on(x.number):
            low, low_intercept, coef, intercept, previous, settings, state = map(
                x.to_device,
                (
                    self._low(self.coef), self._low(self.intercept), self.coef, self.intercept,
                    self.previous, self._array, self._state,
                ),
            )  # fmt: skip
            costs, outcome = x.to_device(np.empty(epochs)), x.to_device(np.zeros(2, np.int64))
            path = x.to_device(np.empty((epochs if self.keep_path else 0, k, d)))
            partials = cuda.device_array((parts, k, d + 2), source.dtype, stream=x.stream)
            totals = cuda.device_array(columns, np.float64, stream=x.stream)
            arguments = (
                source.seen, source.device_y, source.device_weight, low, low_intercept, coef,
                intercept, previous, settings, state, costs, path, outcome, partials,
                partials.reshape(parts, columns), totals.reshape(k, d + 2), totals, part_rows, epochs,
            )  # fmt: skip
            most = cooperative_blocks(kernel, layout.threads, arguments)
            kernel[min(most, parts * k), layout.threads, x.stream](*arguments)
            status, done = x.to_host(outcome).tolist()
            after = self.epoch + done
            reached = after + (status == loop.CONVERGED)  # whose cost is known without an update
            self.costs[self.epoch : reached] = x.to_host(costs)[: reached - self.epoch]
            if self.keep_path:
                self.path[self.epoch : after] = x.to_host(path)[:done]
            for own, array in (
                (self.coef, coef), (self.intercept, intercept), (self.previous, previous),
                (self._state, state),
            ):  # fmt: skip
                own[:] = x.to_host(array)
        self.epoch = after
        return int(status)


class DeviceStochasticDescent(StochasticDescent):
    """`StochasticDescent` over `DeviceRows`: an epoch is one launch, and every output a group of threads.

    The visiting order is drawn on the host, as on the CPU, so that the updates are the same.
    """

    def __init__(self, source, *arguments, **options):
        if isinstance(source, StreamedRows):
            raise InputError(
                "x does not fit into the GPU's memory, and batch_size asks for its rows in any order; "
                "leave device out, or pass float32."
            )
        super().__init__(source, *arguments, **options)

    def _one_epoch(self) -> float:
        source: Any = self.source  # DeviceRows
        order = empty_order(source.n, self.shuffle)
        if self.shuffle:
            order = visiting_order(source.n, self.shuffle, self.seed, self.epoch)
        mean = None if self.batch_size == 1 else float(self.mean)
        settings = self.settings.array(len(self.coef), source.dtype, mean)
        models = Models(
            source, self.loss, self._low(self.coef), self._low(self.intercept), settings,
            self.batch_size,
        )  # fmt: skip
        met = models.update(order)
        self.coef[:], self.intercept[:] = models.parameters()
        return float(met.sum()) * self.settings.scale
