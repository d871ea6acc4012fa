"""Threads that go through the same phases together, inside compiled loops.

A phase is cut into parts, and the parts of all phases are numbered in a row. A thread takes the next
number, waits until the phases before are finished, does the part, and counts it. So nobody waits for a
thread that has not begun: a late one finds its parts done, and one thread alone does all of them. Waking
a thread from Python takes 70 µs; here the next phase begins less than 1 µs after the last.
"""

import numpy as np

from .._jit import compiled
from .atomics import LOOKS, add, look, rest

#: Most parts of a phase.
PARTS = 8
#: Places of the two counters, on cache lines of their own, and room for both.
_TAKEN, _DONE, SIZE = 0, 16, 32


def counters() -> np.ndarray:
    """Of a team that begins."""
    return np.zeros(SIZE, np.int64)


@compiled
def take(team):
    """The number of the next part."""
    return add(team, _TAKEN, 1)


@compiled
def finish(team):
    """One more part is done."""
    add(team, _DONE, 1)


@compiled
def wait_for(team, n, resting):
    """Wait until n parts are done; `resting` is that of `atomics`."""
    looks = 0
    while look(team, _DONE) < n:
        looks += 1
        if looks > LOOKS:
            rest(resting)
