"""The largest norm of a row of X, which bounds the curvature of a stochastic update."""

from typing import Any

import numpy as np

#: Bytes in float64 of the rows that are read at a time.
_BLOCK_BYTES = 4 << 20


def largest_row_norm(x: Any, weight: np.ndarray, size: float, fit_intercept: bool) -> float:
    """The largest weighted squared norm of a row of [x/size, 1/size].

    x (n, d) is anything whose slices are NumPy arrays, `weight` (n,) or (0,).
    """
    largest, (n, d) = 0.0, x.shape
    rows = max(1, _BLOCK_BYTES // (8 * d))
    for start in range(0, n, rows):
        block = x[start : start + rows].astype(np.float64) / size
        norms = np.einsum("ij,ij->i", block, block) + (fit_intercept / size) / size
        if len(weight):
            norms *= weight[start : start + rows].astype(np.float64)
        largest = max(largest, float(norms.max()))
    return largest
