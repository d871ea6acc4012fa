"""Stochastic loops on a GPU, for many models at once: outputs of one x, each with its own step size.

One model can't fill a GPU, as each update waits for the one before; thousands can. Per-sample updates
give each model a group of lanes, with the coefficients in registers and the next row prefetched.
Minibatches give each model a block, with the pass of `row_pass`. The visiting order is an input, the
same for all models. Parameters are in the dtype of the computation, as on the CPU. For a coupled loss
the outputs are one model, and one block has it.
"""

import functools
from typing import Any

import numba
import numpy as np

from ..compile.functions import leaf, with_parameter
from ..formulas.updates import RULES, Rule, gd
from ..losses import CoupledLoss, Loss
from ..settings import L1, L2, LAST, LEARN, SCALE, P
from .coupled_updates import coupled_minibatch
from .driver import configured, cuda, on
from .groups import sum_of_block, sum_of_lanes
from .layout import MOST_COLUMNS, WARP, RowLayout, coupled_layout, row_layout, sample_layout
from .loads import fetch
from .row_pass import row_pass
from .step import parameter_step

#: Losses summed in the working dtype before they go to float64.
_MET = 256


@functools.cache
def per_sample(loss: Loss, layout: RowLayout, dtype: str):
    """The kernel of one update a row, for plain gradient descent.

    A group of `layout.lanes` threads has a model.

    ``(x, y, weight, offset, order, coef, intercept, settings, rates, first, last, losses)``

        name       dir     shape     meaning
        coef       IN OUT  (k, d)    coefficients
        intercept  IN OUT  (k,)      intercepts
        rates      IN      (k,)      learning rates

    The other arguments are described in `fastgd.cuda`. The grid has at least a group for each model.
    """
    vector, lanes, loads, _, threads = layout
    held, wide, block_entries = vector * loads, lanes > WARP, 2 * threads // WARP
    real = getattr(numba, dtype)
    load = fetch(vector)
    value, slope = with_parameter(leaf(loss.value)), with_parameter(leaf(loss.slope))
    step = leaf(gd)
    over_block, over_lanes = sum_of_block(threads), sum_of_lanes(1, min(lanes, WARP))

    @cuda.jit
    def updates(x, y, weight, offset, order, coef, intercept, settings, rates, first, last, losses):
        block_sums = cuda.shared.array(block_entries, real)
        w = cuda.local.array(held, real)
        row = cuda.local.array(held, real)
        coming = cuda.local.array(held, real)
        k, d = coef.shape[0], coef.shape[1]
        shuffled, weighted = order.shape[0] > 0, weight.shape[0] > 0
        zero, one = coef.dtype.type(0), coef.dtype.type(1)
        lane, model = cuda.threadIdx.x % lanes, cuda.grid(1) // lanes
        # Lanes without a model run too, as their warp needs them, but touch no parameters: those of
        # the last model may already be updated.
        c, mine = min(model, k - 1), model < k
        fixed, common = offset.shape[0] > 0, offset.shape[0] == 1
        lr, l2, scale, p = rates[c], settings[L2], settings[SCALE], settings[P]
        learn = settings[LEARN] != zero
        b = intercept[c] if mine else zero
        for r in range(loads):
            for v in range(vector):
                j, e = (lane + lanes * r) * vector + v, r * vector + v
                w[e] = coef[c, j] if mine and j < d else zero
                coming[e] = zero
        at = order[first] if shuffled and first < last else first
        for r in range(loads):
            j = (lane + lanes * r) * vector
            if j < d and first < last:
                load(x, at * d + j, coming, r * vector)
        total, turn = numba.float64(0), 0
        for start in range(first, last, _MET):
            cost = zero
            for i in range(start, min(start + _MET, last)):
                label = y[c, at]
                of_row = offset[0 if common else c, at] if fixed else zero
                row_weight = weight[at] if weighted else one
                for e in range(held):
                    row[e] = coming[e]
                if i + 1 < last:
                    at = order[i + 1] if shuffled else i + 1
                    for r in range(loads):
                        j = (lane + lanes * r) * vector
                        if j < d:
                            load(x, at * d + j, coming, r * vector)
                z = zero
                for e in range(held):
                    z += row[e] * w[e]
                if wide:
                    z = over_block(z, block_sums, turn)
                    turn = threads // WARP - turn
                else:
                    z = over_lanes(z)
                z += b + of_row
                cost += row_weight * value(z, label, p)
                s = scale * row_weight * slope(z, label, p)
                for e in range(held):
                    w[e] = step(w[e], s * row[e] + l2 * w[e], lr)
                if learn:
                    b = step(b, s, lr)
            total += cost
        cuda.syncthreads()  # every lane has read the intercept
        if mine:
            for r in range(loads):
                for v in range(vector):
                    j = (lane + lanes * r) * vector + v
                    if j < d:
                        coef[c, j] = w[r * vector + v]
            if lane == 0:
                intercept[c], losses[c] = b, total

    return updates


@functools.cache
def minibatch(
    loss: Loss, layout: RowLayout, dtype: str, columns: int, ordered: bool,
    rule: Rule = RULES["gd"], averaging: bool = False,
):  # fmt: skip
    """The kernel of one update a batch; a block has a model.

    ``(x, y, weight, offset, order, coef, intercept, settings, rates, hyper, low_hyper, memory,
    updates_before, mean, batch_size, first, last, losses)``

        name            dir     shape              meaning
        low_hyper       IN      (HYPER,)           `hyper` in the dtype of the computation
        updates_before  IN      float              number of updates before
        mean            IN OUT  (k, d+1) float64   mean of the parameters, if `averaging`
        batch_size      IN      int                rows in a batch
        first           IN      int                the start of a batch

    The other arguments are those of `per_sample`. `columns`, at least d+2, is the size of the shared
    sums.
    """
    threads, real = layout.threads, getattr(numba, dtype)
    one_pass = row_pass(loss, layout, dtype, ordered=ordered)
    scales, move = leaf(rule.scales), parameter_step(rule, averaging)

    @cuda.jit
    def updates(
        x, y, weight, offset, order, coef, intercept, settings, rates, hyper, low_hyper, memory,
        updates_before, mean, batch_size, first, last, losses,
    ):  # fmt: skip
        totals = cuda.shared.array(columns, real)
        k, d = coef.shape[0], coef.shape[1]
        zero, none, thread = coef.dtype.type(0), intercept[:0], cuda.threadIdx.x
        l1, l2, scale = settings[L1], settings[L2], settings[SCALE]
        learn, by_rows = settings[LEARN] != zero, settings[LAST] != zero
        c = cuda.blockIdx.x
        while c < k:
            lr, t = rates[c], updates_before
            total = numba.float64(0)
            batch = first
            while batch < last:
                stop = min(batch + batch_size, last)
                one_pass(
                    x, order, y, weight, offset, settings[P], none, coef, intercept, c, c, batch, stop,
                    totals,
                )  # fmt: skip
                cuda.syncthreads()
                factor = scale / coef.dtype.type(stop - batch) if by_rows else scale
                t += 1.0
                u64, v64, w64 = scales(numba.float64(lr), t, hyper)
                u, v, w = real(u64), real(v64), real(w64)
                for j in range(thread, d + 1, threads):
                    move(
                        c, j, factor * totals[j], lr, u, v, w, t, l1, l2, learn, low_hyper, coef,
                        intercept, memory, mean,
                    )  # fmt: skip
                if thread == 0:
                    total += totals[d + 1]
                cuda.syncthreads()
                batch = stop
            if thread == 0:
                losses[c] = total
            c += cuda.gridDim.x

    return updates


class Models:
    """k models on the rows of one source, or one of k coupled outputs, moved by stochastic updates.

    Parameters
    ----------
    source : DeviceRows
        Its y (k, n) holds the targets of each model, or (1, n) the index of the right output.
    loss : Loss or CoupledLoss
    coef, intercept : ndarray (k, d), (k,)
        The start, in the dtype of the source.
    settings : Settings
        With one learning rate, or one for each model.
    batch_size : int
        1 for an update a row.
    divide : bool, default=True
        Whether a batch of m rows divides by m.
    epoch, updates : int, default=0
        Their number so far: learning rates and optimizers may depend on it.
    memory : ndarray (SLOTS, k, d+1), optional
        Optimizer state.
    mean : ndarray (k, d+1), optional
        The mean of the parameters after each update so far.
    """

    def __init__(
        self, source: Any, loss: Loss | CoupledLoss, coef, intercept, settings, batch_size: int, *,
        divide=True, epoch: int = 0, updates: int = 0, memory=None, mean=None,
    ):  # fmt: skip
        self.source, self.batch_size, self.updates = source, batch_size, updates
        dtype, x, (k, d) = source.dtype, source.x, coef.shape
        self._coupled = loss.coupled
        plain = settings.plain and settings.schedule is None
        self._plain = batch_size == 1 and plain and mean is None and not self._coupled
        self._averages, self._rule = mean is not None, settings.optimizer.rule
        memory = settings.memory(k, d, dtype) if memory is None else memory
        with on(x.number):
            self._x = source.seen
            if source.by_columns:  # an update wants a row: copied once, side by side
                self._x = x.taken(0, 1, 1, source.n, source.seen.dtype)
            self._coef, self._intercept, self._memory = (
                x.to_device(np.asarray(a, dtype)) for a in (coef, intercept, memory)
            )
            self._mean = x.to_device(np.zeros((1, 1)) if mean is None else mean)
            self._settings = tuple(
                map(
                    x.to_device,
                    (
                        settings.array(dtype, float(divide), loss.p),
                        settings.rates(k, epoch, epoch + 1, dtype)[0],
                        *([] if self._plain else [settings.hyper(), settings.hyper(dtype)]),
                    ),
                )
            )
            self._losses = cuda.device_array(1 if self._coupled else k, np.float64, stream=x.stream)
            if self._coupled:
                self._totals = cuda.device_array((k, d + 2), dtype, stream=x.stream)
        self._layout: Any
        if self._coupled:
            self._layout = coupled_layout(d, k, False, source.threads)
        else:
            make = sample_layout if self._plain else row_layout
            self._layout = make(
                d, self._x.dtype.itemsize, dtype.itemsize, source.rows_aligned, source.threads
            )
        # Few kernels for all d, and none with more than the 48 KiB that a block may share.
        self._columns = min(1 << (d + 1).bit_length(), MOST_COLUMNS + 2)
        self._loss: Any = loss.formula

    def update(self, order, first: int = 0, last: int | None = None) -> np.ndarray:
        """Visit order[first:last], or these rows for an empty order; returns `losses`."""
        source, x, layout = self.source, self.source.x, self._layout
        last, k, name = source.n if last is None else last, len(self._coef), source.dtype.name
        with on(x.number):
            arguments = (
                self._x, source.device_y, source.device_weight, source.device_offset, x.to_device(order),
                self._coef, self._intercept, *self._settings,
            )  # fmt: skip
            if self._plain:
                kernel = per_sample(self._loss, layout, name)
                grid = -(-k * layout.lanes // layout.threads)
                configured(kernel, grid, layout.threads, x.stream)(
                    *arguments, first, last, self._losses
                )
            else:
                arguments = (
                    *arguments, self._memory, float(self.updates), self._mean, self.batch_size, first,
                    last, self._losses,
                )  # fmt: skip
                way = len(order) > 0, self._rule, self._averages
                if self._coupled:
                    kernel = coupled_minibatch(self._loss, layout, name, *way)
                    configured(kernel, 1, layout.threads, x.stream)(*arguments, self._totals)
                else:
                    kernel = minibatch(self._loss, layout, name, self._columns, *way)
                    configured(kernel, k, layout.threads, x.stream)(*arguments)
            self.updates += -(-(last - first) // self.batch_size)
            return x.to_host(self._losses)

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """coef (k, d) and intercept (k,) as NumPy."""
        with on(self.source.x.number):
            return self.source.x.to_host(self._coef), self.source.x.to_host(self._intercept)

    def memory(self) -> np.ndarray:
        """The optimizer state, as NumPy."""
        with on(self.source.x.number):
            return self.source.x.to_host(self._memory)

    def mean(self, otherwise: np.ndarray) -> np.ndarray:
        """The mean of the parameters, as NumPy, or `otherwise` where none is kept."""
        if not self._averages:
            return otherwise
        with on(self.source.x.number):
            return self.source.x.to_host(self._mean)
