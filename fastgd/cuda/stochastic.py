"""Stochastic loops on a GPU, for many models at once: outputs of one x, each with its own step size.

One model alone can't fill a GPU, as an update waits for the one before; thousands can. Per-sample
updates give each model a group of lanes, with the coefficients in registers and the next row on its way
while this one is worked on; minibatches give it a block, with the pass of `row_pass`. The visiting order
is an input, and the same for all. Parameters are in the dtype of the computation, as on the CPU.
"""

import functools
from typing import Any

import numba
import numpy as np

from .._jit import leaf
from ..losses import Loss
from ..optimizers import OPTIMIZERS
from ..settings import L2, LAST, LEARN, LR, SCALE
from .driver import cuda, on
from .groups import sum_of_block, sum_of_lanes
from .layout import WARP, RowLayout, row_layout, sample_layout
from .loads import fetch
from .row_pass import row_pass

#: Losses summed in the working dtype before float64 takes over.
_MET = 256


@functools.cache
def per_sample(loss: Loss, layout: RowLayout, dtype: str, optimizer: str = "gd"):
    """The kernel of one update a row, for a grid of as many groups of `layout.lanes` as models or more.

    ``(x, y, weight, order, coef, intercept, settings, first, last, met)`` with x (n, d) in C order,
    y (k, n), weight (n,) or (0,), order (n,) or (0,) for the given one, coef (k, d), intercept (k,),
    settings laid out as in `fastgd.settings`, and met (k,) in float64, which gets the sum of the losses
    met.
    """
    vector, lanes, loads, _, threads = layout
    held, wide, met_by_warps = vector * loads, lanes > WARP, 2 * threads // WARP
    real = getattr(numba, dtype)
    load = fetch(vector)
    value, slope, step = leaf(loss.value), leaf(loss.slope), leaf(OPTIMIZERS[optimizer].step)
    over_block, over_lanes = sum_of_block(threads), sum_of_lanes(1, min(lanes, WARP))

    @cuda.jit
    def updates(x, y, weight, order, coef, intercept, settings, first, last, met):
        meeting = cuda.shared.array(met_by_warps, real)
        w = cuda.local.array(held, real)
        row = cuda.local.array(held, real)
        coming = cuda.local.array(held, real)
        k, d = coef.shape[0], coef.shape[1]
        shuffled, weighted = order.shape[0] > 0, weight.shape[0] > 0
        zero, one = coef.dtype.type(0), coef.dtype.type(1)
        lane, model = cuda.threadIdx.x % lanes, cuda.grid(1) // lanes
        c = min(model, k - 1)  # lanes without a model go along, as their warp needs them
        lr, l2, scale = settings[LR + c], settings[L2], settings[SCALE]
        learn = settings[LEARN] != zero
        b = intercept[c]
        for r in range(loads):
            for v in range(vector):
                j, e = (lane + lanes * r) * vector + v, r * vector + v
                w[e] = coef[c, j] if j < d else zero
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
                share = weight[at] if weighted else one
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
                    z = over_block(z, meeting, turn)
                    turn = threads // WARP - turn
                else:
                    z = over_lanes(z)
                z += b
                cost += share * value(z, label)
                s = scale * share * slope(z, label)
                for e in range(held):
                    w[e] = step(w[e], s * row[e] + l2 * w[e], lr)
                if learn:
                    b = step(b, s, lr)
            total += cost
        if model < k:
            for r in range(loads):
                for v in range(vector):
                    j = (lane + lanes * r) * vector + v
                    if j < d:
                        coef[c, j] = w[r * vector + v]
            if lane == 0:
                intercept[c], met[c] = b, total

    return updates


@functools.cache
def minibatch(
    loss: Loss, layout: RowLayout, dtype: str, columns: int, ordered: bool, optimizer: str = "gd"
):
    """The kernel of one update a batch, a block a model.

    As `per_sample`, with the batch size before `first`, which starts a batch. `columns` is at least d+2.
    """
    threads, real = layout.threads, getattr(numba, dtype)
    one_pass = row_pass(loss, layout, dtype, ordered=ordered)
    step = leaf(OPTIMIZERS[optimizer].step)

    @cuda.jit
    def updates(x, y, weight, order, coef, intercept, settings, batch_size, first, last, met):
        totals = cuda.shared.array(columns, real)
        k, d = coef.shape[0], coef.shape[1]
        zero, none, thread = coef.dtype.type(0), intercept[:0], cuda.threadIdx.x
        c = cuda.blockIdx.x
        while c < k:
            lr, l2, scale = settings[LR + c], settings[L2], settings[SCALE]
            learn, mean = settings[LEARN] != zero, settings[LAST] != zero
            total = numba.float64(0)
            batch = first
            while batch < last:
                stop = min(batch + batch_size, last)
                one_pass(
                    x, order, y, weight, none, coef, intercept, c, c, batch, stop, totals
                )  # fmt: skip
                cuda.syncthreads()
                share = scale / coef.dtype.type(stop - batch) if mean else scale
                for j in range(thread, d, threads):
                    coef[c, j] = step(coef[c, j], share * totals[j] + l2 * coef[c, j], lr)
                if thread == 0:
                    if learn:
                        intercept[c] = step(intercept[c], share * totals[d], lr)
                    total += totals[d + 1]
                cuda.syncthreads()
                batch = stop
            if thread == 0:
                met[c] = total
            c += cuda.gridDim.x

    return updates


class Models:
    """k models on the rows of one source, moved by stochastic updates.

    Parameters
    ----------
    source : DeviceRows
        Its y (k, n) holds the targets of each model.
    loss : Loss
    coef, intercept : ndarray (k, d), (k,)
        Where to start, in the dtype of the source.
    settings : ndarray
        As `fastgd.settings.Settings.array` lays them out, a learning rate for each model among them.
    batch_size : int
        1 for an update a row.
    """

    def __init__(self, source: Any, loss: Loss, coef, intercept, settings, batch_size: int):
        self.source, self.batch_size = source, batch_size
        dtype, x, d = source.dtype, source.x, source.d
        with on(x.number):
            self._x = source.seen
            if source.by_columns:  # an update wants a row: copied once, side by side
                self._x = x.taken(0, 1, 1, source.n, source.seen.dtype)
            self._coef, self._intercept, self._settings = (
                x.to_device(np.asarray(a, dtype)) for a in (coef, intercept, settings)
            )
            self._met = cuda.device_array(len(coef), np.float64, stream=x.stream)
        make = sample_layout if batch_size == 1 else row_layout
        self._layout = make(
            d, self._x.dtype.itemsize, dtype.itemsize, source.rows_aligned, source.threads
        )
        self._columns = 1 << (d + 1).bit_length()
        self._loss = loss

    def update(self, order, first: int = 0, last: int | None = None) -> np.ndarray:
        """Visit order[first:last], or these rows for an empty order; the losses met, (k,) float64."""
        source, x, layout = self.source, self.source.x, self._layout
        last, k, name = source.n if last is None else last, len(self._coef), source.dtype.name
        with on(x.number):
            arguments = (
                self._x, source.device_y, source.device_weight, x.to_device(order), self._coef,
                self._intercept, self._settings,
            )  # fmt: skip
            if self.batch_size == 1:
                kernel = per_sample(self._loss, layout, name)
                grid = -(-k * layout.lanes // layout.threads)
                kernel[grid, layout.threads, x.stream](*arguments, first, last, self._met)
            else:
                kernel = minibatch(self._loss, layout, name, self._columns, len(order) > 0)
                kernel[k, layout.threads, x.stream](
                    *arguments, self.batch_size, first, last, self._met
                )
            return x.to_host(self._met)

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """coef (k, d) and intercept (k,) as NumPy."""
        with on(self.source.x.number):
            return self.source.x.to_host(self._coef), self.source.x.to_host(self._intercept)
