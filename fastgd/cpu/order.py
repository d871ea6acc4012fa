"""The order in which stochastic loops visit the rows.

Each epoch has a fresh uniform permutation (Fisher and Yates), or the cheaper "block" order: windows of
adjacent rows in random order, with the rows of a window shuffled, as a shuffle buffer does. The random
numbers are splitmix64 (Steele, Lea, Flood 2014) on a counter: the order of an epoch depends on (seed,
epoch) alone, on every machine.
"""

import functools

import numpy as np

from ..compile.functions import kernel, piece, pointer

#: What `shuffle` may be.
KINDS = (False, True, "block")
#: Rows in a window of the "block" order.
_WINDOW = 512

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@piece
def _mixed(counter):
    z = counter
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


@piece
def _fill_shuffled(order, start, state):
    """Fill `order` with `start`, `start` + 1, … in random order; returns the counter after.

    Fisher and Yates, inside out: every row takes the place of one before it, or its own. A number below
    m is the high half of m times a 32-bit number: its bias is below m/2^32.
    """
    for i in range(order.shape[0]):
        state += _GOLDEN
        draw = _mixed(state) >> np.uint64(32)
        j = np.int64((draw * np.uint64(i + 1)) >> np.uint64(32))
        order[i] = order[j]
        order[j] = start + i
    return state


@kernel
def fill_order(order, kind, seed, epoch):
    """Fill `order` with the rows in the order in which epoch number `epoch` visits them.

    name    dir   shape        meaning
    order   OUT   (n,) int     the rows
    kind    IN    int          index into KINDS, above 0
    seed    IN    uint64       `seed_number` of the order's seed
    epoch   IN    int          number of the epoch, from 0
    """
    n = order.shape[0]
    rows = max(n, 1) if kind == 1 else _WINDOW
    state = _mixed(seed + _GOLDEN * np.uint64(epoch + 1))
    # The order of the windows is at the end, which the rows of the windows before don't reach.
    first = n - (n + rows - 1) // rows
    if kind != 1:
        state = _fill_shuffled(order[first:n], 0, state)
    elif n > 0:
        order[first] = 0
    at = 0
    for index in range(first, n):
        start = np.int64(order[index]) * rows
        stop = at + min(rows, n - start)
        state = _fill_shuffled(order[at:stop], start, state)
        at = stop
    return 0.0


@kernel
def fill_windows(parts, places, rows, seed, epoch):
    """Fill two orders: of parts, and of rows that are shuffled within windows.

    name    dir   shape        meaning
    parts   OUT   (m,) int     the parts in random order
    places  OUT   (n,) int     0 … n−1, shuffled within each `rows` that follow each other
    rows    IN    int          rows of a window
    seed    IN    uint64       `seed_number` of the order's seed
    epoch   IN    int          number of the epoch, from 0
    """
    state = _mixed(seed + _GOLDEN * np.uint64(epoch + 1))
    state = _fill_shuffled(parts, 0, state)
    for start in range(0, places.shape[0], rows):
        state = _fill_shuffled(places[start : start + rows], start, state)
    return 0.0


def empty_order(n: int, shuffle: bool | str) -> np.ndarray:
    """An empty array for an order of n rows, int32 below 2³¹ rows; (0,) for the given order."""
    return np.empty(n if shuffle else 0, dtype=np.int32 if n < 2**31 else np.int64)


def seed_number(seed: int) -> np.uint64:
    """A seed of any size as the 64 bits that `fill_order` takes."""
    number = 0
    while seed:
        number ^= seed % 2**64
        seed >>= 64
    return np.uint64(number)


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
    ndarray (n,) of int32, or of int64 from 2³¹ rows on
    """
    if not shuffle:
        return np.arange(n, dtype=empty_order(n, shuffle).dtype)
    order = empty_order(n, shuffle)
    with np.errstate(over="ignore"):  # the generator wraps around, as it should
        fill_order(order, KINDS.index(shuffle), seed_number(seed), epoch)
    return order


def order_of_windows(
    m: int, n: int, rows: int, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers 0 … m−1 in random order, and 0 … n−1 shuffled in windows of so many rows.

    The first are the parts of rows, in the order in which they are read, and the second the places of
    the rows that are read, in the order in which they are visited.
    """
    parts, places = np.empty(m, np.int64), empty_order(n, "block")
    with np.errstate(over="ignore"):  # the generator wraps around, as it should
        fill_windows(parts, places, rows, seed_number(seed), epoch)
    return parts, places


def order_of_epoch(n: int, shuffle: bool | str, seed: int, epoch: int) -> np.ndarray:
    """As `visiting_order`, but empty for the given order, as the loops take it."""
    return visiting_order(n, shuffle, seed, epoch) if shuffle else empty_order(n, shuffle)


@functools.cache
def address_of_fill(dtype: np.dtype) -> int:
    """The address of `fill_order` for orders of a dtype."""
    return pointer(fill_order, np.empty(0, dtype), 0, np.uint64(0), 0)
