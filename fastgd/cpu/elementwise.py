"""A leaf applied to every number of an array: one compiled loop, in parts on several threads."""

import ctypes
import functools

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .._jit import compiled, default_threads, pointer
from ..scalars import ACTIVATIONS
from . import standby
from .vector_math import vectorised
from .vector_width import use_widest_vectors

#: Below this many numbers a second thread that has to be woken takes longer than it helps: relu of half
#: as many in float32 takes 46 to 71 µs alone, 141 with one that slept, 22 with one that stood by.
_THREADED = 1 << 19
#: Parts are multiples of this: the numbers beside whole vectors are then the same, and so the bits.
_UNIT = 1024


def _array(address, n, scalar):
    """The n numbers at an address."""
    memory = (ctypes.c_char * (n * scalar(0).itemsize)).from_address(address)
    return np.frombuffer(memory, scalar)


@intrinsic
def _as_pointer(typingctx, address, scalar):
    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(scalar.dtype)(address, scalar), codegen


@overload(_array, inline="always")
def _compiled_array(address, n, scalar):
    return lambda address, n, scalar: numba.carray(_as_pointer(address, scalar), n)


@functools.cache
def _kernel(name: str, which: str, dtype: np.dtype):
    """Compiled: out = the `which` ("value" or "slope") of an activation at x, n numbers at addresses."""
    function, scalar = vectorised(getattr(ACTIVATIONS[name], which)), dtype.type

    # Only "contract": no sum is to be reordered here, and signed zeros are to stay.
    @functools.partial(compiled, flags=frozenset({"contract"}))
    def apply(x, out):
        use_widest_vectors()
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    # By way of a call: pointers that the loop itself made of numbers could point to the tables of erf
    # too, which then was no vector code, 4 times slower.
    @compiled
    def at(x_at, out_at, n):
        apply(_array(x_at, n, scalar), _array(out_at, n, scalar))

    return at


@functools.cache
def _shared(name: str, which: str, dtype: np.dtype):
    """A pointer to the parts of one thread in `standby`'s work."""
    kernel, itemsize = _kernel(name, which, dtype), dtype.itemsize

    @compiled
    def take_parts(work):
        x_at, out_at = work[standby.ARGUMENTS], work[standby.ARGUMENTS + 1]
        n, size = work[standby.ARGUMENTS + 2], work[standby.ARGUMENTS + 3]
        part = standby.next_part(work)
        while part < work[standby.PARTS]:
            at = part * size
            kernel(x_at + at * itemsize, out_at + at * itemsize, min(size, n - at))
            standby.finish(work)
            part = standby.next_part(work)
        return 0.0

    return pointer(take_parts, standby.EXAMPLE)


def evaluated(name: str, which: str, x: np.ndarray, n_threads: int | None) -> np.ndarray:
    """A new array of the layout of x, which is contiguous, in C or F order, and float32 or float64."""
    out = np.empty_like(x)
    n, n_threads, kernel = x.size, n_threads or default_threads(), _kernel(name, which, x.dtype)
    if n < _THREADED or n_threads == 1 or not hasattr(kernel, "py_func"):
        if n:
            kernel(x.ctypes.data, out.ctypes.data, n)
        return out
    # Two parts a thread: one that was held up can be helped.
    size = -(-n // (2 * n_threads * _UNIT)) * _UNIT
    given = (x.ctypes.data, out.ctypes.data, n, size)
    standby.run(_shared(name, which, x.dtype), given, -(-n // size), n_threads)
    return out
