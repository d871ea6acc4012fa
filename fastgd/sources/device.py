"""A gradient source: dense rows in the memory of a GPU, read where they are.

Its methods are those of `fastgd.sources.protocol.Source`, with NumPy arrays for parameters and sums, so
that the solvers for the CPU run on a GPU too.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from ..compile.functions import default_threads
from ..cpu import stochastic
from ..cpu.order import order_of_epoch
from ..cuda import dense, rows, statistics
from ..cuda.driver import (
    SIMULATED,
    as_column,
    configured,
    cuda,
    current_stream,
    device_array,
    device_number,
    is_aligned,
    is_device_array,
    on,
    to_device,
    transposed,
)
from ..cuda.layout import (
    MOST_COLUMNS,
    THREADS,
    column_layout,
    coupled_layout,
    row_layout,
    rows_of_coupled_part,
    rows_of_part,
)
from ..errors import InputError
from ..formulas.updates import Rule
from ..losses import CoupledLoss, Loss
from .in_memory import InMemory
from .row_norm import largest_row_norm
from .visit import DenseVisit, gathered, taken
from .work import Kind, dense_work

_NATIVE = (np.dtype(np.float32), np.dtype(np.float64))
#: Blocks of a kernel in which each thread takes several items.
_BLOCKS = 2048


class DeviceMatrix:
    """x (n, d) on a GPU; a slice of it is a NumPy copy of those rows.

    Parameters
    ----------
    x : array on a GPU (n, d) or (n,), of any library
        Not copied.

    Attributes
    ----------
    flat : bool
        Whether it came with one dimension.
    """

    def __init__(self, x: Any):
        self.number = device_number(x)
        with on(self.number):
            self.stream = current_stream(x)
            self.array = device_array(x)
            self.flat = self.array.ndim == 1
            if self.flat:
                self.array = as_column(self.array)
        self.shape, self.dtype = tuple(self.array.shape), np.dtype(self.array.dtype)
        self.ndim, self.size = self.array.ndim, int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, wanted: slice) -> np.ndarray:
        first, stop, step = wanted.indices(len(self))
        with on(self.number):
            taken = self.taken(first, max(step, 1), 1, len(range(first, stop, step)), self.dtype)
            return self.to_host(taken)

    def taken(self, first: int, stride: int, run: int, m: int, dtype: DTypeLike) -> Any:
        """m rows on the GPU, in C order: `run` rows that lie together every `stride` rows."""
        out = cuda.device_array((m, self.shape[1]), dtype, stream=self.stream)
        if m:
            self.launch(rows.take(), m * self.shape[1], self.array, first, stride, run, out)
        return out

    def launch(self, kernel: Any, work: int, *arguments: Any, threads: int | None = None) -> None:
        """Run a kernel that loops over `work` items, a thread each."""
        threads = threads or (32 if SIMULATED else THREADS)
        blocks = 2 if SIMULATED else _BLOCKS
        blocks = max(1, min(blocks, -(-work // threads)))
        configured(kernel, blocks, threads, self.stream)(*arguments)

    def to_host(self, array: Any) -> np.ndarray:
        """A NumPy copy, once the work before it is done."""
        host: np.ndarray = array.copy_to_host(stream=self.stream)
        if not SIMULATED:
            self.stream.synchronize()
        return host

    def to_device(self, array: np.ndarray) -> Any:
        """A small array on the GPU."""
        return to_device(np.ascontiguousarray(array), stream=self.stream)


class DeviceRows(InMemory):
    """x (n, d), y (k, n) and weight (n,) or (0,) on a GPU, as a source of costs, gradients and moments.

    Parameters
    ----------
    x : DeviceMatrix, array on a GPU, or ndarray (n, d)
        float32 or float64 in C or F order is read where it is; anything else is converted, once.
        What lies on the host is moved.
    y : ndarray or array on a GPU (k, n)
        Or (1, n) class indices where a loss couples the outputs.
    weight : ndarray or array on a GPU (n,), or None
    dtype : numpy dtype
        float32 or float64: what sums inside a part are computed in.
    n_threads : int or None
        Unused; all sources take the same arguments.
    k : int, optional
        The number of outputs, if it is not that of the rows of y.
    offset : ndarray (k, n) or (1, n), optional
        Fixed parts of the raw predictions.
    """

    #: Threads in a block of the pass.
    threads = THREADS
    #: Whether a launch can run whole epochs, as all rows are in the memory of the GPU.
    launches_epochs: Literal[True] = True
    widest_square = math.inf
    columns = dual_epoch = None
    shifts_rows = True

    def __init__(
        self,
        x: Any,
        y: Any,
        weight: Any,
        dtype: DTypeLike,
        n_threads: int | None = 1,
        k: int | None = None,
        offset: Any = None,
    ):
        self.dtype: np.dtype = np.dtype(dtype)
        self.n_threads = n_threads or default_threads()
        if not isinstance(x, DeviceMatrix):
            x = DeviceMatrix(x if is_device_array(x) else self._moved(x))
        self.x: DeviceMatrix = x
        self.n, self.d = int(x.shape[0]), int(x.shape[1])
        if self.d > MOST_COLUMNS:
            raise InputError(
                f"x has {self.d} columns; on CUDA {MOST_COLUMNS} are the most. Use the CPU."
            )
        with on(x.number):
            self._read(x)
            self.device_y = self._contiguous(y)
            self.device_weight = self._contiguous(np.empty(0) if weight is None else weight)
            self.device_offset = self._contiguous(np.empty((0, 1)) if offset is None else offset)
        self.k = k or self.device_y.shape[0]
        self._host: dict[str, np.ndarray] = {}
        vector = 16 // self.seen.dtype.itemsize
        # A column of x, and a target in y, begin where the one before ends.
        several = max(self.device_y.shape[0], self.device_offset.shape[0]) > 1
        whole = self.n % vector == 0 or (self.d == 1 and not several)
        of_rows = self.device_y, self.device_weight, self.device_offset
        aligned = all(map(is_aligned, (self.seen, *of_rows)))
        self._aligned = aligned and (whole or not self.by_columns)
        #: Whether rows in C order can be read 16 bytes at a time, given the right number of columns.
        self.rows_aligned = aligned

    def _moved(self, x: np.ndarray) -> Any:
        contiguous = x.flags.c_contiguous or x.flags.f_contiguous
        if x.dtype not in _NATIVE or x.itemsize > self.dtype.itemsize or not contiguous:
            x = np.array(x, dtype=self.dtype, order="C")
        return to_device(x)

    def _read(self, x: DeviceMatrix) -> None:
        """Set `seen`, x as the kernels read it, and `by_columns`."""
        array = x.array
        in_rows, in_columns = array.flags["C_CONTIGUOUS"], array.flags["F_CONTIGUOUS"]
        if x.dtype not in _NATIVE or x.dtype.itemsize > self.dtype.itemsize:
            in_rows = in_columns = False
        # A single column is a row of numbers: by columns its loop runs over them.
        self.by_columns = bool(in_columns and (self.d == 1 or self.n > 1))
        if self.by_columns:
            self.seen = transposed(array)
        elif in_rows:
            self.seen = array
        else:
            self.seen = x.taken(0, 1, 1, self.n, self.dtype)

    def _contiguous(self, array: Any) -> Any:
        """y or weight on the GPU, in C order and in `dtype`."""
        if not is_device_array(array):
            return self.x.to_device(np.asarray(array, dtype=self.dtype))
        array = device_array(array)
        if array.dtype == self.dtype and array.flags["C_CONTIGUOUS"]:
            return array
        matrix = array if array.ndim == 2 else transposed(as_column(array))
        out = cuda.device_array(matrix.shape, self.dtype, stream=self.x.stream)
        self.x.launch(rows.take(), out.size, matrix, 0, 1, 1, out)
        return out if array.ndim == 2 else out.reshape(-1)

    @property
    def y(self) -> np.ndarray:
        """The targets (k, n) on the host, copied when first asked for."""
        return self._on_host("y", self.device_y)

    @property
    def weight(self) -> np.ndarray:
        """The weights (n,), or (0,), on the host, copied when first asked for."""
        return self._on_host("weight", self.device_weight)

    @property
    def offset(self) -> np.ndarray:
        """The offset (k, n), (1, n) or (0, 1) on the host, copied when first asked for."""
        return self._on_host("offset", self.device_offset)

    def _on_host(self, name: str, array: Any) -> np.ndarray:
        if name not in self._host:
            with on(self.x.number):
                self._host[name] = self.x.to_host(array)
        return self._host[name]

    def cut(self, loss: Loss | CoupledLoss, dtype: np.dtype) -> tuple[Any, int]:
        """How blocks lie over x when they compute in `dtype`, and the rows of a part."""
        if loss.coupled:
            coupled = coupled_layout(self.d, self.k, self.by_columns, self.threads)
            return coupled, rows_of_coupled_part(self.n, self.d, self.k, coupled)
        make: Any = column_layout if self.by_columns else row_layout
        layout = make(
            self.d, self.seen.dtype.itemsize, dtype.itemsize, self._aligned, self.threads
        )  # fmt: skip
        return layout, rows_of_part(self.n, layout)

    def totals(
        self,
        loss: Loss | CoupledLoss,
        coef: np.ndarray,
        intercept: np.ndarray,
        center: np.ndarray | None = None,
        slopes_too: bool = True,
    ) -> np.ndarray:
        """Summed gradient, intercept gradient and cost, (k, d+2) float64, at the given parameters.

        With a `center` the pass sees x − center and computes in the dtype of `coef`. Without
        `slopes_too` it finds the cost alone.
        """
        (layout, part_rows), x = self.cut(loss, coef.dtype), self.x
        parts, k, columns = -(-self.n // part_rows), len(coef), self.d + 2
        kernel = dense.accumulate(
            loss.formula, layout, coef.dtype.name, slopes_too, center is not None
        )  # fmt: skip
        center = np.empty(0, coef.dtype) if center is None else center.astype(coef.dtype)
        with on(x.number):
            partials = cuda.device_array((parts, k, columns), coef.dtype, stream=x.stream)
            blocks = parts * dense.blocks_of_part(loss, k)
            configured(kernel, blocks, layout.threads, x.stream)(
                self.seen, self.device_y, self.device_weight, self.device_offset, coef.dtype.type(loss.p),
                *map(x.to_device, (center, coef, intercept)), part_rows, partials,
            )  # fmt: skip
            totals = self._added(partials.reshape(parts, k * columns)).reshape(k, columns)
        if not slopes_too:
            totals[:, : self.d + 1] = 0
        return totals

    def costs(self, loss: Loss, coefs: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        """The summed cost at each of the parameters coefs (m, d), intercepts (m,); y is (1, n)."""
        return self.totals(loss, coefs, intercepts, slopes_too=False)[:, -1].copy()

    def _added(self, partials: Any) -> np.ndarray:
        """The sums of the columns of partials (parts, columns), in float64 and in order."""
        x, columns = self.x, partials.shape[1]
        width, threads = dense.adders(columns, *([32] if SIMULATED else []))
        totals = cuda.device_array(columns, np.float64, stream=x.stream)
        kernel = dense.add_up(width, threads)
        configured(kernel, -(-columns // width), threads, x.stream)(partials, totals)
        return x.to_host(totals)

    def moments(
        self,
        center: np.ndarray,
        scale: np.ndarray,
        y_center: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> np.ndarray:
        """Z^T Z for rows sqrt(weight)·[1, (x − center)·scale, y − y_center], symmetric float64."""
        x, wide = self.x, 1 + self.d + len(y_center)
        side = 8 if SIMULATED else statistics.SIDE
        pairs, parts, part_rows = statistics.shape_of(self.n, wide, side)
        with on(x.number):
            weight = self.device_weight if weight is None else x.to_device(weight)
            partials = cuda.device_array((parts, pairs, side, side), np.float64, stream=x.stream)
            kernel = statistics.moments_kernel(side)
            configured(kernel, parts * pairs, (side // 4) ** 2, x.stream)(
                transposed(self.seen) if self.by_columns else self.seen, self.device_y, weight,
                *map(x.to_device, (center, scale, y_center)), part_rows, partials,
            )  # fmt: skip
            tiles = self._added(partials.reshape(parts, pairs * side * side))
        strips = -(-wide // side)
        full = np.zeros((strips, side, strips, side))
        above = zip(*np.triu_indices(strips), strict=True)
        for (p, q), tile in zip(above, tiles.reshape(pairs, side, side), strict=True):
            full[p, :, q] = tile
        upper = np.triu(full.reshape(strips * side, -1)[:wide, :wide])
        return upper + np.triu(upper, 1).T

    def predictions(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """x·coef + intercept, without offset, (n,) float64: coef (1, d), intercept (1,)."""
        x = self.x
        kernel = rows.predictions_by_columns() if self.by_columns else rows.predictions()
        work = self.n if self.by_columns else self.n * 32
        with on(x.number):
            out = cuda.device_array(self.n, np.float64, stream=x.stream)
            x.launch(kernel, work, self.seen, *map(x.to_device, (coef, intercept)), out)
            return x.to_host(out)

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value of every column."""
        x, (parts, part_rows) = self.x, self._parts_of_columns()
        with on(x.number):
            low, high = (cuda.device_array((parts, self.d), np.float64) for _ in range(2))
            x.launch(rows.column_extremes(), parts * self.d, x.array, part_rows, low, high)
            return x.to_host(low).min(axis=0), x.to_host(high).max(axis=0)

    def column_moments(
        self, centred: bool, center: np.ndarray | None = None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Total weight, and the weighted mean and variance (about zero if not centred) of columns.

        For many columns, where a square matrix is too much. `center` is a value near every mean, by
        default the mean of a sample.
        """
        x, (parts, part_rows) = self.x, self._parts_of_columns()
        if center is None:
            center = self.middle() if centred else np.zeros(self.d)
        with on(x.number):
            partials = cuda.device_array((parts, 2 * self.d), np.float64, stream=x.stream)
            x.launch(
                rows.column_sums(), parts * self.d,
                x.array, self.device_weight, x.to_device(center), part_rows, partials,
            )  # fmt: skip
            sums = self._added(partials).reshape(2, self.d)
        mass = float(self.weight.sum(dtype=np.float64)) if len(self.weight) else float(self.n)
        mean, second = sums / mass
        if centred:
            second = second - mean**2
        return mass, center + mean, second

    def _parts_of_columns(self) -> tuple[int, int]:
        part_rows = max(64, -(-self.n // 256))
        return -(-self.n // part_rows), part_rows

    def subset(self, every: int, together: int = 64) -> tuple["DeviceRows", float]:
        """One row in so many, in runs of rows that lie together, and its share of the weight."""
        x, stride = self.x, every * together
        starts = np.arange(0, self.n, stride)
        chosen = (starts[:, None] + np.arange(together)).ravel()
        chosen = chosen[chosen < self.n]
        with on(x.number):
            dtype = self.seen.dtype
            matrix = DeviceMatrix(x.taken(0, stride, together, len(chosen), dtype))
            matrix.number, matrix.stream = x.number, x.stream
        weight, share = None, len(chosen) / self.n
        if len(self.weight):
            weight = self.weight[chosen]
            share = float(weight.sum(dtype=np.float64) / self.weight.sum(dtype=np.float64))
        y = np.ascontiguousarray(self.y[:, chosen])
        offset = taken(self.offset, chosen)
        return type(self)(matrix, y, weight, self.dtype, self.n_threads, self.k, offset), share

    def middle(self) -> np.ndarray:
        """The mean of every column over a sample of rows."""
        return np.asarray(self.sample().mean(axis=0))

    def few_predictions(self, coef: np.ndarray) -> np.ndarray:
        """x·coef^T for coef (k, d) and few rows, (n, k) float64."""
        return np.add.reduce(self.sample(self.n)[:, None, :] * coef, axis=2)

    def sample(self, rows: int = 256) -> np.ndarray:
        """Evenly spaced rows, float64: enough for a centre and a scale."""
        return self.x[:: max(1, self.n // rows)].astype(np.float64)

    def with_targets(self, y: np.ndarray, dtype: DTypeLike) -> "DeviceRows":
        """The same rows and weights, without offset, with targets y (k, n), in `dtype`."""
        return type(self)(self.x, y, self.weight, dtype, self.n_threads)

    def only(self, output: int) -> "DeviceRows":
        """The same rows, weights and offset with the targets of one output."""
        own = slice(output, output + 1)
        offset = self.offset[own] if len(self.offset) > 1 else self.offset
        return type(self)(self.x, self.y[own], self.weight, self.dtype, self.n_threads, 1, offset)

    def largest_row_norm(self, size: float, fit_intercept: bool) -> float:
        """The largest weight·‖[x, 1]/size‖² of a row, without the 1 if no intercept is fitted."""
        return largest_row_norm(self.x, self.weight, size, fit_intercept)

    def batch_epochs(
        self,
        loss: Loss | CoupledLoss,
        rule: Rule,
        arrays: tuple[np.ndarray, ...],
        stop: int,
        with_cost: bool,
    ) -> int | None:
        """None: the loop on the GPU is that of `fastgd.solvers.on_device`."""
        return None

    def rows_at_once(self) -> int | None:
        """All rows: the first visit copies them to the host."""
        return self.n

    #: As of `HostRows`.
    block_order = ""

    def order(self, shuffle: bool | str, seed: int, epoch: int) -> np.ndarray:
        """The order of an epoch."""
        return order_of_epoch(self.n, shuffle, seed, epoch)

    def direct_rows(self, loss: Any, batch_size: int) -> int | None:
        """As of `DenseRows`: the loop runs on the host."""
        return stochastic.BLOCK if batch_size == 1 and not loss.coupled else None

    def visit(self, order: np.ndarray, first: int, last: int) -> DenseVisit:
        """Copies on the host of the rows order[first:last], or from `first` to `last` if it is empty."""
        seen = self._on_host("x", self.seen)
        x = seen.T if self.by_columns else seen
        return gathered(x, self.y, self.weight, self.offset, order, first, last)

    def work(self, kind: Kind, outputs: int | None = None) -> float:
        """Nanoseconds of one thread of a CPU, so that solvers decide as they do there."""
        k = self.k if outputs is None else outputs
        return dense_work(kind, self.n, self.d, k, self.x.dtype.itemsize)
