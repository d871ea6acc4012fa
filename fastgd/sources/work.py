"""The cost model of sources: how long a pass over the rows and their moments take.

Nanoseconds by one thread, on a 3 GHz Xeon with AVX-512. Only ratios decide, and a wrong decision costs at
most the difference of the two ways near the point where they are even: on a machine where the ratio is
twice another, less than a factor of 2.
"""

from typing import Literal

#: What a source can be asked the time of.
Kind = Literal["pass", "moments"]


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


def dense_work(kind: Kind, n: int, d: int, k: int, itemsize: int) -> float:
    """The time of a kind of work on n dense rows of d numbers."""
    return pass_ns(n, d, k, itemsize) if kind == "pass" else moments_ns(n, d, k)
