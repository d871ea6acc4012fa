"""A thread that stands by for a moment after its work, so that the next call need not wake it.

Waking a thread takes 70 µs, as long as half of what relu does to a million numbers. So one that was woken
looks out for more, for about 0.4 ms, in compiled code that holds no lock of Python; a call that comes in
that time has it within 1 µs. Work is one compiled function of an array of integers: `run` fills in its
address and its arguments, and all who are there take parts of it by an atomic counter.
"""

import os
import threading

import numpy as np

from .._jit import call, compiled
from .atomics import LOOKS, add, look, rest, resting
from .threads import elsewhere, executor, keep_to

#: Places in the array, on cache lines of their own: the number of the work, odd while it is written;
#: the parts taken, those done, the threads that stand by, and those that are inside of work.
_NUMBER, _TAKEN, _DONE, _PRESENT, _INSIDE = range(0, 80, 16)
#: Then how many may help, the address of the function, how many parts there are, and its arguments.
_HELPERS, _FUNCTION, PARTS, ARGUMENTS, _SIZE = 80, 81, 82, 83, 96
#: Looks at the number until a thread goes to sleep: about 0.4 ms.
_WATCH = 500_000

_work = np.zeros(_SIZE, np.int64)
_busy = threading.Lock()


def _forget() -> None:
    """The threads don't survive a fork: the child starts its own."""
    global _work, _busy
    _work, _busy = np.zeros(_SIZE, np.int64), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@compiled
def _serve(work, seen):
    """Take part in every work after number `seen`, until there has been none for a while."""
    looks = 0
    while looks < _WATCH:
        looks += 1
        number = look(work, _NUMBER)
        if number == seen or number % 2 == 1:
            continue
        before = add(work, _INSIDE, 1)
        if look(work, _NUMBER) == number:  # else it is being written again
            if before < work[_HELPERS]:
                call(work[_FUNCTION], (work,))
            seen, looks = number, 0
        add(work, _INSIDE, -1)
    add(work, _PRESENT, -1)


@compiled
def _open(work, resting):
    """Keep everybody out, so that the work may be written; returns how many stand by."""
    if look(work, _NUMBER) % 2 == 0:
        add(work, _NUMBER, 1)
    looks = 0
    while look(work, _INSIDE) > 0:
        looks += 1
        if looks > LOOKS:
            rest(resting)
    return look(work, _PRESENT)


@compiled
def _count_in(work):
    """One more stands by; returns the number of the last work."""
    add(work, _PRESENT, 1)
    return look(work, _NUMBER)


@compiled
def _run(work, resting):
    """Let the others in, take part, and wait for what they have taken."""
    add(work, _NUMBER, 1)
    call(work[_FUNCTION], (work,))
    looks = 0
    while look(work, _DONE) < work[PARTS]:
        looks += 1
        if looks > LOOKS:
            rest(resting)


def _stand_by(work, seen, processors):
    keep_to(processors)
    _serve(work, seen)


def run(function: int, arguments: tuple[int, ...], parts: int, n_threads: int) -> None:
    """Do the work on up to `n_threads` threads, the caller's among them.

    `function` is a `pointer` to one of the array, which takes parts by `next_part` until there are none.
    """
    # Beside another caller's work, alone: its helpers are busy.
    own = _busy.acquire(blocking=False)
    work = _work if own else np.zeros(_SIZE, np.int64)
    try:
        present = _open(work, resting())
        helpers = min(parts, n_threads) - 1
        work[_TAKEN] = work[_DONE] = 0
        work[_HELPERS], work[_FUNCTION], work[PARTS] = helpers, function, parts
        work[ARGUMENTS : ARGUMENTS + len(arguments)] = arguments
        for _ in range(helpers - present if own else 0):
            executor(helpers).submit(_stand_by, work, _count_in(work), elsewhere())
        _run(work, resting())
    finally:
        if own:
            _busy.release()


@compiled
def next_part(work):
    """The number of the next part, or one that is too large."""
    return add(work, _TAKEN, 1)


@compiled
def finish(work):
    """One more part is done."""
    add(work, _DONE, 1)


#: The array that `pointer` is told about.
EXAMPLE = _work
