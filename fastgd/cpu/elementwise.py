"""A leaf applied to every number of an array: one compiled loop, in parts on several threads."""

import functools

import numpy as np

from .._jit import compiled, default_threads
from ..scalars import ACTIVATIONS
from .threads import for_each_part
from .vector_math import vectorised
from .vector_width import use_widest_vectors

#: Below this many numbers a second thread, which takes 70 µs to wake up, gains nothing.
_THREADED = 1 << 18
#: Parts are multiples of this: the numbers beside whole vectors are then the same, and so the bits.
_UNIT = 1024


@functools.cache
def _kernel(name: str, which: str):
    """Compiled: out = the `which` ("value" or "slope") of an activation at x, both one-dimensional."""
    function = vectorised(getattr(ACTIVATIONS[name], which))

    # Only "contract": no sum is to be reordered here, and signed zeros are to stay.
    @functools.partial(compiled, flags=frozenset({"contract"}))
    def apply(x, out):
        use_widest_vectors()
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    return apply


def evaluated(name: str, which: str, x: np.ndarray, n_threads: int | None) -> np.ndarray:
    """A new array of the layout of x, which is contiguous, in C or F order, and float32 or float64."""
    out = np.empty_like(x)
    kernel, into = _kernel(name, which), out.ravel(order="K")
    flat = x.ravel(order="K")[:]
    flat.flags.writeable = False  # one compilation, also for arrays that are read-only
    n, n_threads = len(flat), n_threads or default_threads()
    if n < _THREADED or n_threads == 1:
        kernel(flat, into)
        return out
    # Two parts a thread: each takes the GIL once, and a thread that was held up can be helped.
    size = -(-n // (2 * n_threads * _UNIT)) * _UNIT

    def work(group: int, part: int) -> None:
        at = slice(part * size, (part + 1) * size)
        kernel(flat[at], into[at])

    for_each_part(work, [range(i, i + 1) for i in range(-(-n // size))], n_threads)
    return out
