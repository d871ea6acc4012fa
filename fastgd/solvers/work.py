"""The cost model: how long passes, moments and epochs take, and how much work makes a chunk.

Nanoseconds by one thread, on a 3 GHz Xeon with AVX-512. Only ratios decide, and a wrong decision costs at
most the difference of the two ways near the point where they are even: on a machine where the ratio is
twice another, less than a factor of 2.
"""

#: Nanoseconds of work between two looks at the outside world.
CHUNK_NS = 100e6


def pass_ns(n: int, d: int, k: int, itemsize: int) -> float:
    """What one fused pass takes: 12 GB/s of X, 2 ns a row and output beside it.

    Measured a row: 22 to 26 (32 columns of float64), 10 to 13 (of float32), 1.2 to 3.5 (one column).
    """
    return n * (0.08 * d * itemsize + k * (2 + 0.1 * d))


def moments_ns(n: int, d: int, k: int) -> float:
    """What the moments take: 1 ns to lay out an entry, 25 products a ns, 50 µs to set up.

    Measured a row: 0.7 (one column), 63 (32), 120 (50), 4,500 (500).
    """
    wide = 1 + d + k
    return 5e4 + n * (wide + wide * wide / 50)


class Pace:
    """How much work makes a chunk: a tenth of what a cost model says at first, then by the clock.

    Parameters
    ----------
    ns : float
        What a unit of work takes by the model.
    """

    def __init__(self, ns: float):
        self._units = CHUNK_NS / 10 / ns

    @property
    def units(self) -> int:
        """Units of work in the next chunk, 1 at least."""
        return max(1, int(self._units))

    def took(self, units: int, seconds: float) -> None:
        """Learn from a chunk; the next one is at most ten times as long."""
        self._units = min(10.0 * units, units * CHUNK_NS / max(1.0, 1e9 * seconds))
