"""Threads that go through the same phases together, inside compiled loops.

A phase is cut into parts, numbered through all phases. A thread takes the next number, spin-waits until
all parts of the phases before are finished, does its part, and counts it. No thread waits for one that
has not started: the others do its parts, and one thread alone does all of them. Waking a thread from
Python takes 70 µs; here a phase begins less than 1 µs after the one before.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...compile.functions import default_threads, piece
from .atomics import SPINS, add, back_off, load
from .pool import for_each_part

#: Most parts of a phase.
PARTS = 8
#: Places of the two counters, on cache lines of their own, and the size of their array.
_TAKEN, _DONE, SIZE = 0, 16, 32
#: More parts than any team has.
_ALL = 1 << 60


def counters() -> np.ndarray:
    """The counters of a new team."""
    return np.zeros(SIZE, np.int64)


@piece
def take(team):
    """Take the next part; returns its number."""
    return add(team, _TAKEN, 1)


@piece
def finish(team):
    """Count one more part as done."""
    add(team, _DONE, 1)


@piece
def wait_for(team, n, backoff):
    """Spin-wait until n parts are done; `backoff` is `atomics.backoff_address()`."""
    spins = 0
    while load(team, _DONE) < n:
        spins += 1
        if spins > SPINS:
            back_off(backoff)


def run(kernel: Callable, team: np.ndarray, arguments: tuple[Any, ...], n_threads: int) -> None:
    """Call ``kernel(*arguments)``, with `team` among the arguments, on up to `n_threads` threads.

    Members spin-wait, so there are no more of them than processors. If one fails, all parts count as
    taken and done: the others end after their present part.
    """

    def member(group: int, part: int) -> None:
        try:
            kernel(*arguments)
        except BaseException:
            add(team, _TAKEN, _ALL)
            add(team, _DONE, _ALL)
            raise

    members = min(n_threads, default_threads())
    for_each_part(member, [range(1)] * members, members)
