"""Sums over groups of threads, in a fixed order; every thread gets the sum.

A group is a power of two of neighbouring lanes of a warp, which exchange registers, or a whole block,
whose warps exchange through shared memory. Float atomics would be shorter, but differ from run to run.
"""

import functools

from .driver import cuda
from .layout import WARP

_ALL = 0xFFFFFFFF


@functools.cache
def sum_of_lanes(first: int, last: int):
    """A device function ``(value)``: its sum over the lanes that differ in bits `first` to `last`.

    Both are powers of two: (1, 8) sums groups of eight neighbours, (8, 32) every eighth lane. The
    butterfly exchange, over ever larger distances, gives all lanes the same bits.
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
def value_of_lane(together: int):
    """A device function ``(value, number)``: `value` of that lane of each `together` neighbours."""

    @cuda.jit(device=True)
    def exchange(value, number):
        if together > 1:
            lane = cuda.threadIdx.x % WARP
            value = cuda.shfl_sync(_ALL, value, lane - lane % together + number)
        return value

    return exchange


@functools.cache
def sum_of_block(threads: int):
    """A device function ``(value, scratch, place)``: the sum of `value` over a block of threads.

        name     dir     shape     meaning
        value    IN      scalar    the number of this thread
        scratch  OUT     shared    threads / 32 numbers from `place` on
        place    IN      int       another place for the next call in a row

    It has one barrier.
    """
    warps = threads // WARP
    in_warp = sum_of_lanes(1, WARP)

    @cuda.jit(device=True)
    def total(value, scratch, place):
        value = in_warp(value)
        if cuda.threadIdx.x % WARP == 0:
            scratch[place + cuda.threadIdx.x // WARP] = value
        cuda.syncthreads()
        value = scratch[place]
        for warp in range(1, warps):
            value += scratch[place + warp]
        return value

    return total
