"""NumPy's BLAS on one thread, for as long as products are small or run on threads of our own.

OpenBLAS's threads wait by spinning. For a batch of 64 rows times 784×128 two of them took 70 µs on
idle processors where one takes 97, and on busy ones 8,000: the one that spins keeps the processor
from the one that it waits for. An epoch of 45 ms became one of 2 to 7 seconds.
"""

import contextlib
import ctypes
import functools
import threading

import numpy as np

#: As NumPy's wheels name it, and as others do.
_NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "openblas_{}_num_threads64_",
    "openblas_{}_num_threads",
)

_lock = threading.Lock()
_inside, _before = 0, 0


@functools.cache
def _controls():
    """OpenBLAS's functions that get and set the number of threads, or None for another BLAS."""
    with contextlib.suppress(OSError, AttributeError):
        # A handle of the module that is linked to BLAS finds the symbols of BLAS too.
        library = ctypes.CDLL(np.linalg._umath_linalg.__file__)
        for name in _NAMES:
            if hasattr(library, name.format("set")):
                get, put = (getattr(library, name.format(what)) for what in ("get", "set"))
                get.restype, put.argtypes, put.restype = ctypes.c_int, [ctypes.c_int], None
                return get, put
    return None


@contextlib.contextmanager
def one_thread():
    """OpenBLAS on one thread, in the whole process; another BLAS stays as it is."""
    global _inside, _before
    controls = _controls()
    if controls is None:
        yield
        return
    get, put = controls
    with _lock:
        if _inside == 0:
            _before = get()
            put(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                put(_before)
