"""How much memory a call takes while it runs, above what was there before it."""

import contextlib
import ctypes
import gc
import mmap
import pathlib
import threading
import time
import tracemalloc
from collections.abc import Callable

#: Seconds between two looks; what lives shorter in NumPy's arrays is seen by tracemalloc.
INTERVAL = 5e-4
_STATM = pathlib.Path("/proc/self/statm")
#: Linux tells what a process holds. Elsewhere only NumPy's arrays are counted.
KNOWN = _STATM.exists()


def _anonymous() -> int:
    """Resident bytes that are no file's: memory-mapped data doesn't count."""
    if not KNOWN:
        return 0
    _, resident, shared, *_ = map(int, _STATM.read_bytes().split())
    return (resident - shared) * mmap.PAGESIZE


#: A parameter of glibc's `mallopt`, and its value: from so many bytes an array is a mapping of its own,
#: which goes back with it. By itself the allocator raises this with what it has seen, and then keeps some
#: arrays or not, as what came between decides.
_MMAP_THRESHOLD, _OWN_MAPPING = -3, 1 << 16


def _trim() -> None:
    """Give back what the allocator keeps, or a call would find its memory already there."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)
        libc.malloc_trim(0)


def _resident_peak(call: Callable[[], object]) -> int:
    _trim()
    before = peak = _anonymous()
    done = threading.Event()

    def look():
        nonlocal peak
        while not done.is_set():
            peak = max(peak, _anonymous())
            time.sleep(INTERVAL)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        result = call()
        peak = max(peak, _anonymous())
        del result
    finally:
        done.set()
        watcher.join()
    return peak - before


def _traced_peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak(call: Callable[[], object]) -> int:
    """Bytes at most above those before; the larger of what the process and what Python holds.

    Compiled code allocates past Python, and the process is only looked at now and then: each sees
    what the other may miss.
    """
    return max(_resident_peak(call), _traced_peak(call))
