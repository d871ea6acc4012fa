"""Cost and gradient over dense rows on a GPU, in two steps whose order is fixed.

Rows are cut into parts. One block sums a part in the working dtype, for every output the gradient of the
d coefficients, that of the intercept, and the cost; `add_up` then sums the parts in float64. Both depend
on the data alone: the same call gives the same bits on every run and every GPU.

Blocks of one part and different outputs run side by side: X comes from memory once, and to the other
outputs from the second-level cache. The sweep over coefficients is the same pass with one target. For a
coupled loss one block has all outputs.
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
#: Blocks among which the columns are spread. A thread adds its parts one after the other, 0.4 µs each.
_ADDING_BLOCKS = 128


def block_pass(
    loss: Any, layout: RowLayout | ColumnLayout, dtype: str, slopes_too=True, centred=False
):
    """The device function of `row_pass` or `column_pass`, by the kind of layout.

    Your own kernel can call it, by all threads of a block of `layout.threads`.

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


def blocks_of_part(loss: Loss | CoupledLoss, k: int) -> int:
    """The number of blocks that work on each part."""
    return 1 if loss.coupled else k


@functools.cache
def part_pass(
    loss: Loss | CoupledLoss, layout: RowLayout | ColumnLayout | CoupledLayout, dtype: str,
    slopes_too=True, centred=False,
):  # fmt: skip
    """A device function that fills the sums of one part, and of one output unless the loss is coupled.

    ``(x, y, weight, offset, p, center, coef, intercept, block, part_rows, partials)``

        name       dir     shape     meaning
        block      IN      int       part·k + output; the part for a coupled loss

    The other arguments are those of `accumulate`.
    """
    if loss.coupled:
        assert isinstance(layout, CoupledLayout)
        of_all = coupled_pass(loss, layout, dtype, slopes_too, centred)

        @cuda.jit(device=True)
        def all_outputs(
            x, y, weight, offset, p, center, coef, intercept, block, part_rows, partials
        ):
            first = block * part_rows
            last = min(first + part_rows, y.shape[1])
            of_all(
                x, weight, y, weight, offset, p, center, coef, intercept, first, last, partials[block]
            )  # fmt: skip

        return all_outputs

    assert not isinstance(layout, CoupledLayout)
    one_pass = block_pass(loss, layout, dtype, slopes_too, centred)

    @cuda.jit(device=True)
    def one_output(x, y, weight, offset, p, center, coef, intercept, block, part_rows, partials):
        k = partials.shape[1]
        part = (block & INT32) // (k & INT32)
        c = block - part * k
        first = part * part_rows
        last = min(first + part_rows, y.shape[1])
        target = c if y.shape[0] > 1 else 0
        one_pass(
            x, weight, y, weight, offset, p, center, coef, intercept, c, target, first, last,
            partials[part, c],
        )  # fmt: skip

    return one_output


@functools.cache
def accumulate(
    loss: Loss | CoupledLoss, layout: RowLayout | ColumnLayout | CoupledLayout, dtype: str,
    slopes_too=True, centred=False,
):  # fmt: skip
    """The kernel that fills `partials`, for a grid of any size.

    ``(x, y, weight, offset, p, center, coef, intercept, part_rows, partials)``, described in
    `fastgd.cuda`; x is (n, d), or (d, n) for a layout by columns, in C order, and y (1, n) if all outputs
    have one target.
    """
    add_part = part_pass(loss, layout, dtype, slopes_too, centred)
    coupled = loss.coupled

    @cuda.jit
    def fill_partials(x, y, weight, offset, p, center, coef, intercept, part_rows, partials):
        blocks = partials.shape[0] * (1 if coupled else partials.shape[1])
        block = cuda.blockIdx.x
        while block < blocks:
            add_part(x, y, weight, offset, p, center, coef, intercept, block, part_rows, partials)
            cuda.syncthreads()
            block += cuda.gridDim.x

    return fill_partials


@functools.cache
def sums_of_columns(width: int, threads: int):
    """A device function that sums `width` columns of `partials` in float64.

    ``(partials, column, last, totals, scratch)``. Each thread sums every (threads / width)-th part, then
    the block sums over its threads.

        name      dir     shape               meaning
        partials  IN      (parts, columns)    sums of each part
        column    IN      int                 the first column to sum
        last      IN      int                 the end of the columns
        totals    OUT     (columns,)          the sums
        scratch   OUT     (threads,)          shared float64 scratch
    """
    lines = threads // width

    @cuda.jit(device=True)
    def sums(partials, column, last, totals, scratch):
        thread = cuda.threadIdx.x
        j, line = column + thread % width, thread // width
        total = numba.float64(0)
        if j < last:
            for part in range(line, partials.shape[0], lines):
                total += partials[part, j]
        scratch[thread] = total
        half = lines // 2
        while half > 0:
            cuda.syncthreads()
            if line < half:
                scratch[thread] += scratch[thread + half * width]
            half //= 2
        if line == 0 and j < last:
            totals[j] = scratch[thread]
        cuda.syncthreads()

    return sums


def adders(columns: int, threads: int = _ADDERS) -> tuple[int, int]:
    """The number of columns that a block of `add_up` takes side by side, and its number of threads."""
    width = -(-columns // _ADDING_BLOCKS)
    return min(WARP, 1 << (width - 1).bit_length(), threads), threads


@functools.cache
def add_up(width: int, threads: int):
    """The kernel ``(partials, totals)`` that sums the columns of partials (parts, columns) in float64.

        name      dir     shape               meaning
        partials  IN      (parts, columns)    sums of each part
        totals    OUT     (columns,)          the sums

    Block number i takes `width` columns from i·width on.
    """
    sums = sums_of_columns(width, threads)

    @cuda.jit
    def fill_totals(partials, totals):
        scratch = cuda.shared.array(threads, numba.float64)
        columns = partials.shape[1]
        column = cuda.blockIdx.x * width
        while column < columns:
            sums(partials, column, columns, totals, scratch)
            column += cuda.gridDim.x * width

    return fill_totals
