"""Serial kernels that release the GIL, driven by plain threads.

Numba's own threading layers abort when two Python threads enter them, or kill a forked child; plain
threads do neither. The data alone fixes the rows of each part, not the number of threads: the sums are
the same, bit for bit.

The helper threads take calls from a queue whose `put` holds no lock of Python, so that a signal handler
may fit during another fit. They are low-level threads: starting one takes no lock either, and the
interpreter doesn't wait for them at its end. The caller does all parts that no helper has begun: too few
helpers make a call slower, but never block it.
"""

import _thread
import collections
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from ...compile.functions import compiles, default_threads

#: The largest number of threads for each processor, whatever `n_threads` is.
_MOST = 4

_calls: queue.SimpleQueue = queue.SimpleQueue()
_helpers: list[int] = []


def _forget_helpers() -> None:
    """Threads don't survive a fork: the child starts its own."""
    global _calls, _helpers
    _calls, _helpers = queue.SimpleQueue(), []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


def _help(calls: queue.SimpleQueue) -> None:
    """Run the calls of a queue, in an endless loop."""
    while True:
        future, function, settings = calls.get()
        if future.set_running_or_notify_cancel():
            try:
                with np.errstate(**settings):
                    function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
        del future, function  # so that a waiting thread keeps nothing alive


def _helpers_up_to(wanted: int) -> int:
    """How many of the wanted helpers there are, after starting those that are missing."""
    while len(_helpers) < wanted:
        try:
            _helpers.append(_thread.start_new_thread(_help, (_calls,)))
        except RuntimeError:  # the system allows no more, or the interpreter is about to end
            break
    return min(wanted, len(_helpers))


def for_each_part(
    work: Callable[[int, int], None], groups: Sequence[range], n_threads: int
) -> None:
    """Call ``work(group, part)`` for every part of every group, on up to `n_threads` threads.

    The parts of a group run in their order on one thread, so a group may own an accumulator; a thread
    that is done takes the next group. An exception, KeyboardInterrupt included, stops every thread
    after its present part. Helpers treat floating-point errors as the caller's `np.errstate` says.
    """
    stop = threading.Event()
    waiting = collections.deque(range(len(groups)))

    def take_groups() -> None:
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

    helpers = min(n_threads, len(groups), _MOST * default_threads()) - 1
    # A signal handler during a compilation holds the compiler's lock, which a helper may need.
    if helpers < 1 or compiles():
        take_groups()
        return
    futures: list[Future] = []
    settings = np.geterr()
    try:
        for _ in range(_helpers_up_to(helpers)):
            futures.append(Future())
            _calls.put((futures[-1], take_groups, settings))
        take_groups()
        for future in futures:
            # A helper that has not woken up yet has nothing left to do: cancel it, which saves 70 µs.
            if not future.cancel():
                future.result()
    finally:
        stop.set()
        for future in futures:
            if not future.cancel():
                future.exception()
