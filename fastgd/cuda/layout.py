"""The layout of a block of threads over rows and columns: a function of shapes and dtypes alone.

So is the cut of the rows into parts, each summed by one block and added up in order. The bits don't
depend on the size of the grid.
"""

from typing import NamedTuple

#: Threads in a block: eight blocks fill a multiprocessor where registers allow.
THREADS = 256
#: Lanes of a warp, which exchange registers.
WARP = 32
#: A mask for divisions in 32 bits. A division in 64 bits is a function call, and so is the length of a
#: `range` with an unknown step; calls fix registers, and kernels run out of them.
INT32 = (1 << 31) - 1
#: Bytes of a row, of the coefficients and of the gradient, each, that a thread holds in registers.
#: Three times 32 float32 and addresses are 127 registers on an H100, two blocks a multiprocessor, and
#: 142 with the exponentials of `bce`: one block.
_HELD_BYTES = 128
#: Loads in flight of a thread, if rows are short.
_IN_FLIGHT = 16
#: Rows that a thread sums in the working dtype before the sums go to float64.
SUMMED = 256
#: Parts that keep every multiprocessor busy: 31 for each of the 132 of an H100, so that the last ones to
#: end wait for few. With 2048 10,000,000x32 takes 1.15 times as long on an H200.
PARTS = 4096
#: Threads in a block for a coupled loss, and the classes and columns of its tiles. A thread has four or
#: more classes of a row, and of a column, so that there is one load of shared memory a product.
_COUPLED_THREADS, _CLASSES, _COLUMNS = 128, 32, 32
#: Parts for a coupled loss, and the entries of all their gradients: 128 MiB of float32.
_COUPLED_PARTS, _ENTRIES = 1024, 1 << 25
#: The largest number of columns.
MOST_COLUMNS = THREADS * _HELD_BYTES // 8


class RowLayout(NamedTuple):
    """Rows in C order: `lanes` threads share a row, each with `loads` loads of `vector` elements.

    Neighbouring lanes take neighbouring elements. `rows` rows of each group of lanes, a power of two, are
    loaded before the first is used. Where lanes == threads a whole block works on one row.
    """

    vector: int
    lanes: int
    loads: int
    rows: int
    threads: int

    @property
    def at_once(self) -> int:
        """Rows that a block holds at a time."""
        return self.threads // self.lanes * self.rows

    @property
    def held(self) -> int:
        """Numbers that a thread holds: rows, coefficients and gradient."""
        return self.vector * self.loads * (self.rows + 2)


class ColumnLayout(NamedTuple):
    """Rows in F order: neighbouring threads take neighbouring rows.

    With `tile` 0 a thread takes `vector` rows, with all their `columns`, into registers. Else a block
    works on `tile` rows, a group of threads for each part of the columns, and sums the gradients of
    up to `columns` columns in shared memory.
    """

    vector: int
    tile: int
    columns: int
    threads: int

    @property
    def at_once(self) -> int:
        """Rows that a block holds at a time."""
        return self.tile or self.threads * self.vector

    @property
    def held(self) -> int:
        """Numbers that a thread holds: rows and gradient."""
        return 0 if self.tile else self.columns * (self.vector + 1)


class CoupledLayout(NamedTuple):
    """Rows in any order, for a coupled loss: a block takes `rows` rows at a time.

    It has `columns` of their columns, a power of two, and the raw predictions of `classes` of their
    classes in shared memory.
    """

    rows: int
    classes: int
    columns: int
    by_columns: bool
    threads: int

    @property
    def at_once(self) -> int:
        """Rows that a block holds at a time."""
        return self.rows

    @property
    def held(self) -> int:
        """Numbers that a thread holds: sums of its classes for a row, and for a column."""
        return 2 * self.classes * self.rows // self.threads


def row_layout(d: int, x_bytes: int, bytes_: int, aligned: bool, threads=THREADS) -> RowLayout:
    """The layout for d columns of `x_bytes` each, computed on in `bytes_`; `aligned` to 16 bytes."""
    vector = 16 // x_bytes
    if not aligned or d % vector:
        vector = 1
    wide = -(-d // vector)
    lanes = min(WARP, _power_of_two(wide))
    if -(-wide // lanes) * vector > _HELD_BYTES // bytes_:
        lanes = threads
    loads = -(-wide // lanes)
    rows = 1 if lanes > WARP else min(4, max(1, _IN_FLIGHT // _power_of_two(loads * vector)))
    return RowLayout(vector, lanes, loads, rows, threads)


def sample_layout(d: int, x_bytes: int, bytes_: int, aligned: bool, threads=THREADS) -> RowLayout:
    """The layout for an update a row: blocks of two warps, or as many as have the registers.

    Small blocks spread few models over many multiprocessors.
    """
    narrow = min(2 * WARP, threads)
    layout = row_layout(d, x_bytes, bytes_, aligned, narrow)
    while narrow < threads and layout.loads * layout.vector * bytes_ > _HELD_BYTES:
        narrow *= 2
        layout = row_layout(d, x_bytes, bytes_, aligned, narrow)
    return layout


def column_layout(d: int, x_bytes: int, bytes_: int, aligned: bool, threads=THREADS):
    """The same for columns; `aligned` if every column begins at a multiple of 16 bytes."""
    if d * bytes_ <= _HELD_BYTES:
        vector = 16 // x_bytes if aligned and d * bytes_ <= _HELD_BYTES // 2 else 1
        return ColumnLayout(vector, 0, d, threads)
    # What a block reads for the predictions it reads again for the gradient, from the first-level
    # cache if it fits: 64 KiB. Eight rows are one sector of float32.
    tile = WARP if d * x_bytes * WARP <= 1 << 16 else 8
    return ColumnLayout(1, tile, max(64, _power_of_two(d)), threads)


def coupled_layout(d: int, k: int, by_columns: bool, threads=THREADS) -> CoupledLayout:
    """The layout for d columns and k classes: a warp has every fourth class of its 32 rows.

    Few rows a block: the rows of all blocks are read again for the gradient, and should then still be in
    the second-level cache.
    """
    classes, threads = min(_CLASSES, -(-k // 4) * 4), min(threads, _COUPLED_THREADS)
    return CoupledLayout(WARP, classes, min(_COLUMNS, _power_of_two(d)), by_columns, threads)


def rows_of_coupled_part(n: int, d: int, k: int, layout: CoupledLayout) -> int:
    """The number of rows of a part, if each part has a gradient (k, d+2) in global memory."""
    parts = max(1, min(_COUPLED_PARTS, _ENTRIES // (k * (d + 2))))
    return -(-n // (parts * layout.rows)) * layout.rows


def rows_of_part(n: int, layout: RowLayout | ColumnLayout) -> int:
    """The number of rows of a part."""
    at_once = layout.at_once
    most = SUMMED * (at_once // layout.rows if isinstance(layout, RowLayout) else at_once)
    wanted = min(most, -(-n // PARTS))
    return max(1, -(-wanted // at_once)) * at_once


def registers(layout: RowLayout | ColumnLayout | CoupledLayout, bytes_: int) -> int:
    """The registers of a thread in a loop of epochs: four blocks of 256 threads a multiprocessor, or two.

    Without a limit the arguments of the loop take up to 250, one block. With it they wait in local memory
    during a pass: on an H200 10,000,000x32 float32 1.8 times, 1,000,000x1024 1.2 times as fast. A float64
    takes two registers, and the exponential of one a dozen of them.
    """
    return 64 if bytes_ == 4 and layout.held <= 32 else 128


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()
