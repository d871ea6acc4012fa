"""The order in which stochastic loops visit the rows.

A fresh uniform permutation an epoch by Fisher and Yates, or the cheaper "block" order: windows of
adjacent rows in random order, and the rows within a window shuffled, as a shuffle buffer does. The
random numbers are splitmix64 (Steele, Lea, Flood 2014) on a counter, so that an epoch's order depends
on (seed, epoch) alone and can be drawn again on any machine.
"""

import numpy as np

from .._jit import compiled

#: Rows in a window of the "block" order.
_WINDOW = 512

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@compiled
def _mixed(counter):
    z = counter
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


@compiled
def _shuffle(order, first, last, state):
    """Fisher and Yates on order[first:last]; returns the counter after the numbers used.

    A number below m is the high half of m times a 32-bit number: its bias is below m/2^32.
    """
    for i in range(last - first - 1, 0, -1):
        state += _GOLDEN
        draw = _mixed(state) >> np.uint64(32)
        j = np.int64((draw * np.uint64(i + 1)) >> np.uint64(32))
        order[first + i], order[first + j] = order[first + j], order[first + i]
    return state


@compiled
def _block_order(order, windows, window, state):
    state = _shuffle(windows, 0, windows.shape[0], state)
    n = order.shape[0]
    at = 0
    for index in range(windows.shape[0]):
        start = windows[index] * window
        stop = min(start + window, n)
        for row in range(start, stop):
            order[at + row - start] = row
        state = _shuffle(order, at, at + stop - start, state)
        at += stop - start
    return state


def visiting_order(n: int, shuffle: bool | str, seed: int, epoch: int) -> np.ndarray:
    """The rows 0 … n−1 in the order in which epoch number `epoch` visits them.

    Parameters
    ----------
    n : int
        Number of rows.
    shuffle : bool or "block"
        As in `fastgd.fit_linear`.
    seed, epoch : int
        Which order; each epoch has its own.

    Returns
    -------
    ndarray of int32, or of int64 from 2³¹ rows on
    """
    order = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    if shuffle is False or n < 2:
        return order
    mask = 2**64 - 1
    mixed = (seed * 0xD1342543DE82EF95 + epoch * 0x2545F4914F6CDD1D + 1) & mask
    state = np.uint64(mixed ^ (mixed >> 29))
    with np.errstate(over="ignore"):
        if shuffle == "block":
            _block_order(order, np.arange(-(-n // _WINDOW)), _WINDOW, state)
        else:
            _shuffle(order, 0, n, state)
    return order
