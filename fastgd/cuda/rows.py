"""Kernels over rows beside the passes: subsets, predictions, and sums and extremes of columns."""

import functools

import numba

from .driver import cuda
from .groups import sum_of_lanes
from .layout import WARP


@functools.cache
def take():
    """The kernel ``(x, first, stride, run, out)`` that copies runs of rows.

    name       dir     shape     meaning
    x          IN      (n, d)    rows of any strides and dtype
    first      IN      int       the first row
    stride     IN      int       rows from the start of a run to the next
    run        IN      int       rows of a run
    out        OUT     (m, d)    out[i] = x[first + i // run · stride + i % run]
    """

    @cuda.jit
    def take_rows(x, first, stride, run, out):
        m, d = out.shape[0], out.shape[1]
        for at in range(cuda.grid(1), m * d, cuda.gridsize(1)):
            i, j = at // d, at % d
            out[i, j] = x[first + i // run * stride + i % run, j]

    return take_rows


@functools.cache
def predictions():
    """The kernel ``(x, coef, intercept, out)``: out = x·coef[0] + intercept[0], a warp for each row.

        name       dir     shape          meaning
        out        OUT     (n,) float64   predictions of one output

    The other arguments are described in `fastgd.cuda`.
    """
    over_lanes = sum_of_lanes(1, WARP)

    @cuda.jit
    def predict(x, coef, intercept, out):
        n, d = x.shape[0], x.shape[1]
        lane = cuda.threadIdx.x % WARP
        for i in range(cuda.grid(1) // WARP, n, cuda.gridsize(1) // WARP):
            z = numba.float64(0)
            for j in range(lane, d, WARP):
                z += x[i, j] * coef[0, j]
            z = over_lanes(z)
            if lane == 0:
                out[i] = z + intercept[0]

    return predict


@functools.cache
def predictions_by_columns():
    """The kernel of `predictions` for x given as (d, n), a thread for each row."""

    @cuda.jit
    def predict(x, coef, intercept, out):
        d, n = x.shape[0], x.shape[1]
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            z = intercept[0]
            for j in range(d):
                z += x[j, i] * coef[0, j]
            out[i] = z

    return predict


@functools.cache
def column_sums():
    """The kernel ``(x, weight, center, part_rows, partials)``: weighted sums, a thread a column.

        name       dir     shape                  meaning
        partials   OUT     (parts, 2·d) float64   sums of x − center, then of its squares

    The other arguments are described in `fastgd.cuda`.
    """

    @cuda.jit
    def sums(x, weight, center, part_rows, partials):
        n, d = x.shape[0], x.shape[1]
        weighted = weight.shape[0] > 0
        for at in range(cuda.grid(1), partials.shape[0] * d, cuda.gridsize(1)):
            part, j = at // d, at % d
            total = squares = numba.float64(0)
            for i in range(part * part_rows, min(n, (part + 1) * part_rows)):
                value = x[i, j] - center[j]
                w = weight[i] if weighted else numba.float64(1)
                total += w * value
                squares += w * value * value
            partials[part, j], partials[part, d + j] = total, squares

    return sums


@functools.cache
def column_extremes():
    """The kernel ``(x, part_rows, low, high)``: extremes of columns; NaN is passed on.

        name       dir     shape                  meaning
        low        OUT     (parts, d) float64     smallest values
        high       OUT     (parts, d) float64     largest values

    The other arguments are described in `fastgd.cuda`.
    """

    @cuda.jit
    def extremes(x, part_rows, low, high):
        n, d = x.shape[0], x.shape[1]
        for at in range(cuda.grid(1), low.shape[0] * d, cuda.gridsize(1)):
            part, j = at // d, at % d
            least = most = numba.float64(x[part * part_rows, j])
            for i in range(part * part_rows, min(n, (part + 1) * part_rows)):
                value = numba.float64(x[i, j])
                if value < least or value != value:
                    least = value
                if value > most or value != value:
                    most = value
            low[part, j], high[part, j] = least, most

    return extremes
