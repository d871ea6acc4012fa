"""Gradient descent with a given learning rate on a GPU, in chunks of one launch each."""

from typing import Any

import numpy as np

from ..cpu.descent import CHUNK_NS, BatchDescent, StochasticDescent
from ..cpu.order import empty_order, visiting_order
from ..errors import InputError
from . import dense, loop
from .driver import configured, cooperative_blocks, cuda, on
from .layout import WARP
from .stochastic import Models
from .streamed import StreamedRows

#: A GPU reads a hundred times faster than the core that `pass_ns` counts for.
_FASTER = 100
#: Three barriers of the grid, below which no epoch comes.
_BARRIERS_NS = 5e3


class DeviceDescent(BatchDescent):
    """`BatchDescent` over `DeviceRows`: the epochs of a chunk stay on the GPU.

    Statistics, where they pay, are built there and followed on the host.
    """

    @property
    def chunk(self) -> int:
        """Epochs in 100 ms."""
        if self._switch <= self.epoch or isinstance(self.source, StreamedRows):
            return super().chunk
        return max(1, int(CHUNK_NS / max(self._one_pass / _FASTER, _BARRIERS_NS)))

    def _run_by_parts(self, stop: int) -> int:
        """The epochs up to `stop` as one launch."""
        if isinstance(self.source, StreamedRows):  # an epoch is many copies
            return super()._run_by_parts(stop)
        source: Any = self.source  # DeviceRows
        epochs = stop - self.epoch
        x, (k, d) = source.x, self.coef.shape
        layout, part_rows = source.cut(self.loss, source.dtype)
        parts, columns = -(-source.n // part_rows), k * (d + 2)
        width = min(WARP, layout.threads, 1 << (columns - 1).bit_length())
        kernel = loop.descend(
            self.loss, layout, source.dtype.name, width, self.settings.optimizer.rule
        )
        with on(x.number):
            rates = self._rates if len(self._rates) == 1 else self._rates[self.epoch : stop]
            low, low_intercept, coef, intercept, previous, settings, rates, hyper, memory, state = map(
                x.to_device,
                (
                    self._low(self.coef), self._low(self.intercept), self.coef, self.intercept,
                    self.previous, self._array, rates, self._hyper, self._memory, self._state,
                ),
            )  # fmt: skip
            costs, norms = x.to_device(np.empty(epochs)), x.to_device(np.empty(epochs))
            outcome = x.to_device(np.zeros(2, np.int64))
            path = x.to_device(np.empty((epochs if self.keep_path else 0, k, d)))
            partials = cuda.device_array((parts, k, d + 2), source.dtype, stream=x.stream)
            totals = cuda.device_array(columns, np.float64, stream=x.stream)
            arguments = (
                source.seen, source.device_y, source.device_weight, low, low_intercept, coef,
                intercept, previous, settings, rates, hyper, memory, state, costs, norms, path, outcome,
                partials, partials.reshape(parts, columns), totals.reshape(k, d + 2), totals, part_rows,
                self.epoch, epochs,
            )  # fmt: skip
            kernel = kernel.specialize(*arguments)
            blocks = min(
                cooperative_blocks(kernel, layout.threads), parts * dense.shares_of(self.loss, k)
            )
            configured(kernel, blocks, layout.threads, x.stream)(*arguments)
            status, done = x.to_host(outcome).tolist()
            after = self.epoch + done
            reached = after + (status == loop.CONVERGED)  # whose cost is known without an update
            for own, array in ((self.costs, costs), (self.norms, norms)):
                own[self.epoch : reached] = x.to_host(array)[: reached - self.epoch]
            if self.keep_path:
                self.path[self.epoch : after] = x.to_host(path)[:done]
            for own, array in (
                (self.coef, coef), (self.intercept, intercept), (self.previous, previous),
                (self._state, state), (self._memory, memory),
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
        models = Models(
            source, self.loss, self._low(self.coef), self._low(self.intercept), self.settings,
            self.batch_size, divide=self.mean, epoch=self.epoch, memory=self._memory,
            updates=int(self._clock[0]), mean=self._mean if self.average else None,
        )  # fmt: skip
        met = models.update(order)
        self.coef[:], self.intercept[:] = models.parameters()
        self._memory[:], self._mean[:] = models.memory(), models.mean(self._mean)
        self._clock[0] = models.updates
        return float(met.sum()) * self.settings.scale
