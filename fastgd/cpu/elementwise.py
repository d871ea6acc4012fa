"""A leaf applied to every number of an array: one compiled loop, in parts on several threads."""

import ctypes
import functools

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from ..compile.functions import compiled, default_threads
from ..formulas.activations import ACTIVATIONS
from .machine.pool import for_each_part
from .machine.vector_math import vectorised
from .machine.vector_width import use_widest_vectors

#: Below this many numbers a second thread is no help: it takes 70 µs to wake up, and may stay for a
#: millisecond beside the one that woke it. tanh of half as many took 752 µs alone and 917 with two.
_THREADED = 1 << 21
#: Numbers in a part, the same for every number of threads, as are the bits of those beside whole vectors.
_PART = 1 << 17


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


def evaluated(name: str, which: str, x: np.ndarray, n_threads: int | None) -> np.ndarray:
    """A new array of the layout of x, which is contiguous, in C or F order, and float32 or float64."""
    out = np.empty_like(x)
    n, kernel = x.size, _kernel(name, which, x.dtype)
    x_at, out_at = x.ctypes.data, out.ctypes.data

    def apply(group: int, part: int) -> None:
        first, stop = part * _PART, min(n, (part + 1) * _PART)
        at = first * x.itemsize
        kernel(x_at + at, out_at + at, stop - first)

    parts = -(-n // _PART)
    n_threads = (n_threads or default_threads()) if n >= _THREADED else 1
    for_each_part(apply, [range(i, i + 1) for i in range(parts)], n_threads)
    return out
