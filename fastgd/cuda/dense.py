"""Cost and gradient over dense rows on a GPU, in two steps whose order is fixed.

Rows are cut into parts, each summed by one block in the working dtype: `partials` (parts, k, d+2) holds
for every output the gradient of the d coefficients, that of the intercept, and the cost. `add_up` then
sums the parts in float64. Both are a function of the data alone, so that the same call gives the same
bits on every run and every GPU.

Blocks of one part and different outputs run side by side, so that X comes from memory once and to the
other outputs from the second-level cache. The sweep over coefficients is the same pass with one target.
Where a loss couples the outputs, one block has them all.
"""

import functools
from typing import Any

import numba

from ..losses import CoupledLoss, Loss
from .column_pass import column_pass
from .coupled import coupled_pass
from .driver import cuda
from .layout import INT32, WARP, ColumnLayout, CoupledLayout, RowLayout
from .row_pass import row_pass

#: Threads that add up partials: so many columns, side by side, times so many parts.
_ADDERS = 512


def block_pass(
    loss: Any, layout: RowLayout | ColumnLayout, dtype: str, slopes_too=True, centred=False
):
    """The device function of `row_pass` or `column_pass`, as the layout says.

    It can be called from a kernel of your own, by all threads of a block of `layout.threads`.

    Examples
    --------
    >>> from fastgd.cuda import dense, layout
    >>> from fastgd.losses import LOSSES
    >>> rows = layout.row_layout(8, x_bytes=4, bytes_=4, aligned=True)
    >>> gradient_of_rows = dense.block_pass(LOSSES["mse"], rows, "float32")
    """
    if isinstance(layout, RowLayout):
        return row_pass(loss, layout, dtype, slopes_too, centred)
    return column_pass(loss, layout, dtype, slopes_too, centred)


def shares_of(loss: Loss | CoupledLoss, k: int) -> int:
    """How many blocks each part takes."""
    return 1 if loss.coupled else k


@functools.cache
def share_of_part(
    loss: Loss | CoupledLoss, layout: RowLayout | ColumnLayout | CoupledLayout, dtype: str,
    slopes_too=True, centred=False,
):  # fmt: skip
    """A device function: what block number `block` of so many shares does for `partials`.

    ``(x, y, weight, p, center, coef, intercept, block, part_rows, partials)``, as for `accumulate`.
    """
    if loss.coupled:
        assert isinstance(layout, CoupledLayout)
        of_all = coupled_pass(loss, layout, dtype, slopes_too, centred)

        @cuda.jit(device=True)
        def all_outputs(x, y, weight, p, center, coef, intercept, block, part_rows, partials):
            first = block * part_rows
            last = min(first + part_rows, y.shape[1])
            of_all(
                x, weight, y, weight, p, center, coef, intercept, first, last, partials[block]
            )  # fmt: skip

        return all_outputs

    assert not isinstance(layout, CoupledLayout)
    one_pass = block_pass(loss, layout, dtype, slopes_too, centred)

    @cuda.jit(device=True)
    def one_output(x, y, weight, p, center, coef, intercept, block, part_rows, partials):
        k = partials.shape[1]
        part = (block & INT32) // (k & INT32)
        c = block - part * k
        first = part * part_rows
        last = min(first + part_rows, y.shape[1])
        target = c if y.shape[0] > 1 else 0
        one_pass(
            x, weight, y, weight, p, center, coef, intercept, c, target, first, last, partials[part, c]
        )  # fmt: skip

    return one_output


@functools.cache
def accumulate(
    loss: Loss | CoupledLoss, layout: RowLayout | ColumnLayout | CoupledLayout, dtype: str,
    slopes_too=True, centred=False,
):  # fmt: skip
    """The kernel that fills `partials`, for a grid of any size.

    ``(x, y, weight, p, center, coef, intercept, part_rows, partials)`` with x (n, d), or (d, n) for a
    layout by columns, in C order; y (k, n), or (1, n) for one target of all outputs; weight (n,) or
    (0,); p of the loss; center (d,) or (0,); coef (k, d), intercept (k,) and partials of `dtype`.
    """
    share = share_of_part(loss, layout, dtype, slopes_too, centred)
    coupled = loss.coupled

    @cuda.jit
    def fill_partials(x, y, weight, p, center, coef, intercept, part_rows, partials):
        blocks = partials.shape[0] * (1 if coupled else partials.shape[1])
        block = cuda.blockIdx.x
        while block < blocks:
            share(x, y, weight, p, center, coef, intercept, block, part_rows, partials)
            cuda.syncthreads()
            block += cuda.gridDim.x

    return fill_partials


@functools.cache
def sums_of_columns(width: int, threads: int):
    """A device function ``(partials, column, last, totals, memory)``: totals[column] and after.

    It sums `width` columns of partials (parts, columns) in float64, as far as column `last`: each
    thread every so many parts, then over threads.
    """
    lines = threads // width

    @cuda.jit(device=True)
    def sums(partials, column, last, totals, memory):
        thread = cuda.threadIdx.x
        j, line = column + thread % width, thread // width
        total = numba.float64(0)
        if j < last:
            for part in range(line, partials.shape[0], lines):
                total += partials[part, j]
        memory[thread] = total
        half = lines // 2
        while half > 0:
            cuda.syncthreads()
            if line < half:
                memory[thread] += memory[thread + half * width]
            half //= 2
        if line == 0 and j < last:
            totals[j] = memory[thread]
        cuda.syncthreads()

    return sums


def adders(columns: int, threads: int = _ADDERS) -> tuple[int, int]:
    """How many columns a block of `add_up` takes side by side, and how many threads it has."""
    return min(WARP, 1 << (columns - 1).bit_length(), threads), threads


@functools.cache
def add_up(width: int, threads: int):
    """The kernel ``(partials, totals)``: float64 sums of the columns of partials (parts, columns).

    Block number i takes `width` columns from i·width on, of the grid of as many blocks as that takes.
    """
    sums = sums_of_columns(width, threads)

    @cuda.jit
    def fill_totals(partials, totals):
        memory = cuda.shared.array(threads, numba.float64)
        columns = partials.shape[1]
        column = cuda.blockIdx.x * width
        while column < columns:
            sums(partials, column, columns, totals, memory)
            column += cuda.gridDim.x * width

    return fill_totals
