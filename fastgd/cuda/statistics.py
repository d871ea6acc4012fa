"""Sufficient statistics on a GPU: the moment matrix of `fastgd.cpu.statistics` in one pass.

A block multiplies two strips of `side` columns of the rows z = sqrt(weight)·[1, (x − center)·scale, y −
y_center] with each other, over one part of the rows, in float64. The epochs on the (d+1)² matrix run on
the CPU: the state is small and stays in the cache of one core.
"""

import functools
import math

import numba

from .driver import cuda
from .layout import INT32

#: Columns of a strip: a thread's 4×4 sums make eight loads from shared memory serve 16 products.
SIDE = 64
#: Rows of both strips in shared memory at a time: 16 KiB.
_DEEP = 16
#: Entries of partial matrices: 32 MiB.
_ENTRIES = 1 << 22
#: Blocks that keep a GPU busy.
_BLOCKS = 1024


def shape_of(n: int, wide: int, side: int = SIDE) -> tuple[int, int, int]:
    """Pairs of strips, parts of the rows and rows of a part, for a matrix `wide` columns wide."""
    strips = -(-wide // side)
    pairs = strips * (strips + 1) // 2
    parts = max(1, min(-(-_BLOCKS // pairs), _ENTRIES // (pairs * side * side), -(-n // _DEEP)))
    part_rows = -(-n // (parts * _DEEP)) * _DEEP
    return pairs, -(-n // part_rows), part_rows


@functools.cache
def moments_kernel(side: int = SIDE):
    """The kernel that fills `partials` with products of strips, for blocks of (side / 4)² threads.

    ``(x, y, weight, center, scale, y_center, part_rows, partials)``

        name       dir     shape                        meaning
        x          IN      (n, d)                       rows in any order
        center     IN      (d,) float64                 subtracted from the columns of x
        scale      IN      (d,) float64                 multiplies the centred columns
        y_center   IN      (k,) float64                 subtracted from the targets
        partials   OUT     (parts, pairs, side, side)   products; pair p is that of strips (i, j), i ≤ j,
                                                        counted by rows of the upper triangle

    The other arguments are described in `fastgd.cuda`.
    """
    across, deep = side // 4, _DEEP
    threads = across * across

    @cuda.jit(device=True)
    def element(x, y, center, scale, y_center, root, i, column):
        d, k = center.shape[0], y_center.shape[0]
        z = numba.float64(0)
        if column == 0:
            z = root
        elif column <= d:
            z = (x[i, column - 1] - center[column - 1]) * scale[column - 1] * root
        elif column <= d + k:
            z = (y[column - d - 1, i] - y_center[column - d - 1]) * root
        return z

    @cuda.jit
    def moments(x, y, weight, center, scale, y_center, part_rows, partials):
        left = cuda.shared.array((deep, side), numba.float64)
        right = cuda.shared.array((deep, side), numba.float64)
        sums = cuda.local.array(16, numba.float64)
        n = x.shape[0]
        wide = 1 + center.shape[0] + y_center.shape[0]
        strips = (wide + side - 1) // side
        parts, pairs = partials.shape[0], partials.shape[1]
        thread = cuda.threadIdx.x
        row, column = thread // across, thread % across
        block = cuda.blockIdx.x
        while block < parts * pairs:
            part = (block & INT32) // (pairs & INT32)
            pair = block - part * pairs
            p, q = 0, pair
            while q >= strips - p:
                q -= strips - p
                p += 1
            q += p
            for e in range(16):
                sums[e] = 0
            last = min(n, (part + 1) * part_rows)
            for start in range(part * part_rows, last, deep):
                cuda.syncthreads()
                for at in range(thread, deep * side, threads):
                    r, j = at // side, at % side
                    i = start + r
                    a = b = numba.float64(0)
                    if i < last:
                        root = numba.float64(1)
                        if weight.shape[0] > 0:
                            root = math.sqrt(numba.float64(weight[i]))
                        a = element(x, y, center, scale, y_center, root, i, p * side + j)
                        b = a
                        if p != q:
                            b = element(x, y, center, scale, y_center, root, i, q * side + j)
                    left[r, j], right[r, j] = a, b
                cuda.syncthreads()
                for r in range(deep):
                    for u in range(4):
                        for v in range(4):
                            sums[4 * u + v] += (
                                left[r, row + across * u] * right[r, column + across * v]
                            )
            for u in range(4):
                for v in range(4):
                    partials[part, pair, row + across * u, column + across * v] = sums[4 * u + v]
            block += cuda.gridDim.x

    return moments
