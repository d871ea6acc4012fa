"""Gradient descent with a given learning rate on a GPU, in chunks of one launch each."""

import time

import numpy as np

from ..cuda import dense, loop
from ..cuda.driver import configured, cooperative_blocks, cuda, on
from ..cuda.stochastic import Models
from ..losses import CoupledLoss, Loss
from ..settings import EPOCHS, Settings
from ..sources.device import DeviceRows
from ..sources.streamed import StreamedRows
from .batch import BatchDescent
from .stochastic import StochasticDescent
from .work import Pace

#: A GPU reads a hundred times faster than the core that `pass_ns` counts for.
_FASTER = 100
#: Three barriers of the grid: the least time of an epoch.
_BARRIERS_NS = 5e3


class DeviceDescent(BatchDescent):
    """`BatchDescent` on a GPU: one launch runs a chunk of epochs, if the source lets it.

    Statistics, where they pay, are built on the GPU; descent on them is on the host.
    """

    source: DeviceRows | StreamedRows

    def __init__(
        self,
        source: DeviceRows | StreamedRows,
        loss: Loss | CoupledLoss,
        settings: Settings,
        coef: np.ndarray,
        intercept: np.ndarray,
        epochs: int,
        keep_path: bool,
        may_stop: bool,
    ):
        super().__init__(source, loss, settings, coef, intercept, epochs, keep_path, may_stop)
        if source.launches_epochs:
            self._pace = Pace(max(self._one_pass / _FASTER, _BARRIERS_NS))

    def _run_by_parts(self, stop: int) -> int:
        """The epochs up to `stop` as one launch, or a pass each."""
        source = self.source
        if not source.launches_epochs:
            return super()._run_by_parts(stop)
        before = self.epoch
        epochs = stop - before
        x, (k, d) = source.x, self.coef.shape
        layout, part_rows = source.cut(self.loss, source.dtype)
        parts, columns = -(-source.n // part_rows), k * (d + 2)
        width, _ = dense.adders(columns, layout.threads)
        kernel = loop.batch_epochs(
            self.loss.formula, layout, source.dtype.name, width, self.settings.optimizer.rule
        )
        with on(x.number):
            rates = self._rates if len(self._rates) == 1 else self._rates[before:stop]
            low, low_intercept, coef, intercept, previous, settings, rates, hyper, memory, state = map(
                x.to_device,
                (
                    self._low(self.coef), self._low(self.intercept), self.coef, self.intercept,
                    self.past[0], self._array, rates, self._hyper, self._memory, self._state,
                ),
            )  # fmt: skip
            costs, norms = x.to_device(np.empty(epochs)), x.to_device(np.empty(epochs))
            outcome = x.to_device(np.zeros(2, np.int64))
            path = x.to_device(np.empty((epochs if self.keep_path else 0, k, d)))
            partials = cuda.device_array((parts, k, d + 2), source.dtype, stream=x.stream)
            totals = cuda.device_array(columns, np.float64, stream=x.stream)
            arguments = (
                source.seen, source.device_y, source.device_weight, source.device_offset, low,
                low_intercept, coef, intercept, previous, settings, rates, hyper, memory, state, costs,
                norms, path, outcome, partials, partials.reshape(parts, columns),
                totals.reshape(k, d + 2), totals, part_rows, before, epochs,
            )  # fmt: skip
            kernel = kernel.specialize(*arguments)
            blocks = min(
                cooperative_blocks(kernel, layout.threads),
                parts * dense.blocks_of_part(self.loss, k),
            )
            configured(kernel, blocks, layout.threads, x.stream)(*arguments)
            status, done = x.to_host(outcome).tolist()
            after = before + done
            reached = after + (status == loop.CONVERGED)  # whose cost is known without an update
            for own, array in ((self.costs, costs), (self.norms, norms)):
                own[before:reached] = x.to_host(array)[: reached - before]
            if self.keep_path:
                self.path[before:after] = x.to_host(path)[:done]
            self._memory[:] = x.to_host(memory)
            coef, intercept, past, state = map(x.to_host, (coef, intercept, previous, state))
        state[EPOCHS] = after
        vars(self).update(coef=coef, intercept=intercept, past=past[None], _state=state)
        return int(status)


class DeviceStochasticDescent(StochasticDescent):
    """`StochasticDescent` on a GPU: an epoch is one launch, and every output a group of threads.

    The visiting order is drawn on the host, as on the CPU, so that the updates are the same.
    """

    source: DeviceRows

    def _one_epoch(self) -> int:
        source = self.source
        begun = time.perf_counter()
        order = source.order(self.shuffle, self.seed, self.epoch)
        models = Models(
            source, self.loss, self._moving, self._moving_intercept, self.settings, self.batch_size,
            divide=self.mean, epoch=self.epoch, memory=self._memory,
            updates=self.epoch * -(-source.n // self.batch_size),
            mean=self._mean if len(self._mean) else None,
        )  # fmt: skip
        loss_sums = np.zeros((len(self.coef), 2))
        loss_sums[0, 1] = models.update(order).sum()
        self._moving[:], self._moving_intercept[:] = models.parameters()
        self._memory[:], self._mean[:] = models.memory(), models.mean(self._mean)
        self._pace.took(source.n, time.perf_counter() - begun)
        return self._end_of_epoch(loss_sums)
