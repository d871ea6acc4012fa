"""Atomic counters for compiled loops, and a back-off that leaves the processor to other threads."""

import ctypes
import functools
import os
import threading
import time

import numba
from llvmlite import ir
from numba import types

from ...compile.functions import instructions

#: For the functions in plain Python; reentrant, as a signal handler may fit.
_lock = threading.RLock()


def _forget_lock() -> None:
    """A forked child gets a lock that no thread of its parent holds."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)

#: Reads of a counter before a thread backs off, about 20 µs: more than one thread lags behind another.
#: With ten times as many a phase took up to 1.3 ms beside other processes, with these 0.3. None in plain
#: Python, where a spinning thread holds up the others.
SPINS = 0 if numba.config.DISABLE_JIT else 50_000  # type: ignore[attr-defined]
#: Microseconds of one back-off.
_BACKOFF = 50


@functools.cache
def backoff_address() -> int:
    """The address of the system's function that `back_off` calls.

    It sleeps. Repeated yields are slower: with two other processes on two processors, on Linux 6.18, an
    epoch of a network took 2 s with them and 0.1 with sleeps.
    """
    windows = os.name == "nt"  # its function looks at no argument
    library = ctypes.WinDLL("kernel32") if windows else ctypes.CDLL(None)  # type: ignore[attr-defined]
    function = library.SwitchToThread if windows else library.usleep
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address
    return address


def add(array, i, n):
    """Add n to array[i] atomically; returns the value before."""
    with _lock:
        array[i] += n
        return array[i] - n


def load(array, i):
    """The atomic load of array[i]; it sees all writes that came before the last `add`."""
    return array[i]


def back_off(address):
    """Leave the processor to other threads for about 50 µs."""
    time.sleep(0)


def _pointer_to(context, builder, array_type, array, i):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [i])


@instructions(add)
def _add(typingctx, array, i, n):
    def codegen(context, builder, signature, arguments):
        pointer = _pointer_to(context, builder, signature.args[0], *arguments[:2])
        return builder.atomic_rmw("add", pointer, arguments[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), codegen


@instructions(load)
def _load(typingctx, array, i):
    def codegen(context, builder, signature, arguments):
        pointer = _pointer_to(context, builder, signature.args[0], *arguments)
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(array, types.int64), codegen


@instructions(back_off)
def _back_off(typingctx, address):
    def codegen(context, builder, signature, arguments):
        number = ir.IntType(32)
        kind = ir.FunctionType(number, [number])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(function, [ir.Constant(number, _BACKOFF)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
