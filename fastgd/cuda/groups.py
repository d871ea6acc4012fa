"""Sums over groups of threads, in a fixed order, for kernels: every thread gets the sum.

A group is a power of two of neighbouring lanes of a warp, which exchange registers, or a whole block,
whose warps meet in shared memory. Float atomics would be shorter, and differ from run to run.
"""

import functools

from .driver import cuda
from .layout import WARP

_ALL = 0xFFFFFFFF


@functools.cache
def sum_of_lanes(first: int, last: int):
    """A device function of one number: its sum over the lanes that differ in bits `first` to `last`.

    As powers of two: (1, 8) sums groups of eight neighbours, (8, 32) every eighth lane. Exchanging
    across ever larger distances gives all of them the same bits.
    """

    @cuda.jit(device=True)
    def total(value):
        distance = first
        while distance < last:
            value += cuda.shfl_xor_sync(_ALL, value, distance)
            distance *= 2
        return value

    return total


@functools.cache
def sum_of_block(threads: int):
    """A device function ``(value, memory, place)``: the sum over a block of so many threads.

    It takes threads / 32 numbers of shared `memory` from `place` on. One barrier is inside; whoever
    calls it twice in a row takes another place the second time.
    """
    warps = threads // WARP
    in_warp = sum_of_lanes(1, WARP)

    @cuda.jit(device=True)
    def total(value, memory, place):
        value = in_warp(value)
        if cuda.threadIdx.x % WARP == 0:
            memory[place + cuda.threadIdx.x // WARP] = value
        cuda.syncthreads()
        value = memory[place]
        for warp in range(1, warps):
            value += memory[place + warp]
        return value

    return total
