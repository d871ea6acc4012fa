"""Compiled loops that apply a leaf to every number of an array, or to every row."""

import functools

import numpy as np

from ..compile.functions import default_threads, kernel, leaf, with_parameter
from ..losses import CoupledLoss, Loss
from .machine.pool import for_each_part
from .machine.vector_math import vectorised
from .machine.vector_width import use_widest_vectors

#: Below this many numbers a second thread doesn't help: it takes 70 µs to wake up, and may use the
#: processor of the first one for a millisecond. tanh of half as many took 752 µs alone and 917 with two.
_THREADED = 1 << 21
#: Numbers in a part; the same for every number of threads, so that the bits of scalar remainders are too.
_PART = 1 << 17


@functools.cache
def _kernel(leaf):
    """The compiled ``(x, out)``: out (n,) = a leaf at x (n,)."""
    function = vectorised(leaf)

    # Only "contract": no sum is to be reordered here, and signed zeros are to stay.
    @functools.partial(kernel, flags=frozenset({"contract"}))
    def apply(x, out):
        use_widest_vectors()
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    return apply


def evaluated(leaf, x: np.ndarray, n_threads: int | None) -> np.ndarray:
    """A function of one number at every number of x, in a new array of its layout.

    x is contiguous, in C or F order, and float32 or float64.
    """
    out = np.empty_like(x)
    n, kernel = x.size, _kernel(leaf)
    given, result = x.ravel("K"), out.ravel("K")  # in the order of the memory
    given.flags.writeable = False  # the same compiled code for read-only arrays

    def apply(group: int, part: int) -> None:
        first, stop = part * _PART, min(n, (part + 1) * _PART)
        kernel(given[first:stop], result[first:stop])

    parts = -(-n // _PART)
    n_threads = (n_threads or default_threads()) if n >= _THREADED else 1
    for_each_part(apply, [range(i, i + 1) for i in range(parts)], n_threads)
    return out


@functools.cache
def probabilities(loss: CoupledLoss):
    """The compiled ``(raw)``: raw predictions (n, k) of a coupled loss become probabilities in place."""
    add, link = vectorised(loss.add), vectorised(loss.link)

    @kernel
    def apply(raw):
        n, k = raw.shape[0], raw.shape[1]
        for i in range(n):
            top, rest = raw[i, 0], raw.dtype.type(0)
            for c in range(1, k):
                top, rest = add(top, rest, raw[i, c])
            for c in range(k):
                raw[i, c] = link(raw[i, c], top, rest)

    return apply


def difference_of_slopes(slope):
    """A second derivative for a loss that has none: the central difference of its slope, at least 0."""
    slope = with_parameter(leaf(slope))

    def second(z, y, p):
        h = 6e-6 * max(1.0, abs(z))
        return max(0.0, (slope(z + h, y, p) - slope(z - h, y, p)) / (2 * h))

    return second


@functools.cache
def _curvatures(loss: Loss, of_margins: bool):
    """Compiled: z[first:last] become weighted second derivatives at targets y, or at labels of 1."""
    second = with_parameter(vectorised(loss.second or difference_of_slopes(loss.slope)))

    @kernel
    def apply(z, y, weight, p, first, last):
        use_widest_vectors()
        one = z.dtype.type(1)
        for i in range(first, last):
            z[i] = second(z[i], one if of_margins else y[i], p)
        if weight.shape[0] > 0:
            for i in range(first, last):
                z[i] *= weight[i]

    return apply


def curvatures(
    loss: Loss, z: np.ndarray, y: np.ndarray, weight: np.ndarray, of_margins: bool, n_threads: int
) -> None:
    """Replace raw predictions z (n,) by the weighted second derivatives of the loss, in place.

    y (n,) holds the targets and weight (n,) or (0,) the weights, in the dtype of z. With `of_margins` z
    is positive on the side of the label, and y is not read.
    """
    n, kernel, p = len(z), _curvatures(loss.formula, of_margins), z.dtype.type(loss.p)

    def apply(group: int, part: int) -> None:
        kernel(z, y, weight, p, part * _PART, min(n, (part + 1) * _PART))

    for_each_part(apply, [range(i, i + 1) for i in range(-(-n // _PART))], n_threads)
