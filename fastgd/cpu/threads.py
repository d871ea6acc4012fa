"""Serial kernels that release the GIL, driven by a plain thread pool.

Numba's own threading layers abort when two Python threads enter them, or kill a forked child; a
thread pool does neither. Which rows belong to which part is fixed by the data, never by the number of
threads, so the sums come out the same, bit for bit.
"""

import collections
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_lock = threading.Lock()


def _forget_pool() -> None:
    """The threads of a pool don't survive a fork: the child starts its own."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def executor(workers: int) -> ThreadPoolExecutor:
    """The pool, of at least so many threads."""
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < workers:
            # An outgrown pool is left to the fits that still use it, and ends with them.
            _pool, _pool_size = ThreadPoolExecutor(workers, "fastgd"), workers
        return _pool


_processor: Callable[[], int] | None
try:
    _processor = ctypes.CDLL(None).sched_getcpu
except (AttributeError, TypeError, OSError):  # not Linux
    _processor = None


def elsewhere() -> set[int]:
    """The processors that this thread may use but for the one it runs on; none if that isn't known."""
    return os.sched_getaffinity(0) - {_processor()} if _processor else set()


def keep_to(processors: set[int]) -> None:
    """Let this thread, one of the pool, run on these processors only.

    A woken thread may stay for milliseconds beside the one that woke it, while another processor stands
    idle: relu of a million numbers took 290 µs then, and 156 on two processors. It keeps to them until
    its caller has moved to one of them: to change them takes 100 µs.
    """
    if processors and not os.sched_getaffinity(0) <= processors:
        os.sched_setaffinity(0, processors)


def for_each_part(
    work: Callable[[int, int], None], groups: Sequence[range], n_threads: int
) -> None:
    """Call ``work(group, part)`` for every part of every group, on up to `n_threads` threads.

    The parts of a group run in their order on one thread, so a group may own an accumulator; a thread
    that is done takes the next group. An exception, KeyboardInterrupt included, stops every thread
    after the part it is at.
    """
    workers = max(0, min(n_threads, len(groups)) - 1)
    stop = threading.Event()
    waiting = collections.deque(range(len(groups)))

    def share() -> None:
        try:
            while waiting:
                try:
                    group = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                for part in groups[group]:
                    if stop.is_set():
                        return
                    work(group, part)
        except BaseException:
            stop.set()
            raise

    if workers < 1:
        share()
        return
    pool, processors = executor(workers), elsewhere()

    def help_out() -> None:
        keep_to(processors)
        share()

    futures = [pool.submit(help_out) for _ in range(workers)]
    try:
        share()
        for future in futures:
            # One that has not woken up yet has nothing left to do: 70 µs that nobody waits for.
            if not future.cancel():
                future.result()
    finally:
        stop.set()
        for future in futures:
            if not future.cancel():
                future.exception()
