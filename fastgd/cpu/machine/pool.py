"""Serial kernels that release the GIL, driven by plain threads.

Numba's own threading layers abort when two Python threads enter them, or kill a forked child; plain
threads do neither. Which rows belong to which part is fixed by the data, never by the number of threads,
so the sums come out the same, bit for bit.

The helper threads take calls from a queue whose `put` holds no lock of Python, so a signal handler may
fit in the middle of another fit. They are low-level threads: to start one takes no lock either, and
nothing waits for them when the interpreter ends. The caller does whatever no helper has begun. So fewer
helpers than wanted, or none, make a call slower and nothing else.
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

#: At most so many threads for each processor, whatever `n_threads` says.
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
    """Make the calls of a queue, for ever."""
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
        del future, function  # nothing is kept alive while the thread waits


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
    after the part it is at. Helpers treat floating-point errors as the caller's `np.errstate` says.
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
    # A signal handler that interrupted a compilation holds the compiler, which a helper may need.
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
            # A helper that has not woken up yet has nothing left to do: 70 µs that nobody waits for.
            if not future.cancel():
                future.result()
    finally:
        stop.set()
        for future in futures:
            if not future.cancel():
                future.exception()
