"""The cost model of sources: the time of a pass over the rows and of their moments.

Nanoseconds of one thread, on a 3 GHz Xeon with AVX-512. Decisions depend on ratios only. A wrong one is
made near the point where both ways take the same time: on a machine where the ratio is twice as large, it
costs less than a factor of 2.
"""

from typing import Literal

#: The kinds of work whose time a source can tell.
Kind = Literal["pass", "moments"]


def pass_ns(n: int, d: int, k: int, itemsize: int) -> float:
    """The time of one fused pass: 12 GB/s of X, and 2 ns per row and output.

    Measured per row: 22 to 26 (32 columns of float64), 10 to 13 (of float32), 1.2 to 3.5 (one column).
    """
    return n * (0.08 * d * itemsize + k * (2 + 0.1 * d))


def moments_ns(n: int, d: int, k: int) -> float:
    """The time of the moments: 1 ns to lay out an entry, 25 products per ns, 50 µs to set up.

    Measured per row: 0.7 (one column), 63 (32), 120 (50), 4,500 (500).
    """
    wide = 1 + d + k
    return 5e4 + n * (wide + wide * wide / 50)


def dense_work(kind: Kind, n: int, d: int, k: int, itemsize: int) -> float:
    """The time of a kind of work on n dense rows of d numbers."""
    return pass_ns(n, d, k, itemsize) if kind == "pass" else moments_ns(n, d, k)


def inverse_ns(d: int) -> float:
    """The time to factor and invert a square matrix of d columns: 20 operations a nanosecond."""
    return 0.1 * d**3
