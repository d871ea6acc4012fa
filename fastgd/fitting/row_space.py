"""Fewer rows than columns, and an l2 penalty: the fit in the space that the rows span.

The gradient of the cost is a sum of rows, so with l2 the optimal coefficients are one too (the representer
theorem: Kimeldorf and Wahba, 1970; of rows less their mean where there is an intercept, since residuals
then sum to zero). With an orthonormal basis Q of that space, coef = Q·v, the rows are X·Q, and the penalty
is the same: n coefficients v in place of d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..cpu.machine.blas import one_thread
from ..inputs import is_finite


class RowSpace(NamedTuple):
    """The space of the rows of x about a centre.

    Attributes
    ----------
    rows : ndarray (n, n)
        The rows about the centre, in the basis.
    basis : ndarray (d, n)
        Orthonormal columns Q.
    center : ndarray (d,)
        The mean of the rows with an intercept, else zeros.
    """

    rows: np.ndarray
    basis: np.ndarray
    center: np.ndarray

    def inside(self, coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (k, d) in the basis, (k, n), and intercepts about the centre, both (k, ·)."""
        return coef @ self.basis, intercept + coef @ self.center

    def outside(self, coef: np.ndarray) -> np.ndarray:
        """Coefficients (…, n) in the basis as those of the columns, (…, d)."""
        return coef @ self.basis.T


def row_space(x: np.ndarray, fit_intercept: bool) -> RowSpace | None:
    """The space of the rows of x (n, d) with n < d; None if its numbers are not finite or too large."""
    with one_thread():
        # Of columns, which LAPACK's factorisation then has as it wants them.
        columns = x.T.astype(np.float64)
        center = columns.mean(axis=1) if fit_intercept else np.zeros(len(columns))
        columns -= center[:, None]
        if not is_finite(columns):
            return None
        basis, triangle = np.linalg.qr(columns)
        rows = triangle.T.copy()
    return RowSpace(rows, basis, center) if is_finite(rows) else None


def spans_fewer(x: Any, most: int) -> bool:
    """Whether x is a matrix in memory whose rows are fewer than its columns and than `most`."""
    return isinstance(x, np.ndarray) and x.shape[0] < x.shape[1] and x.shape[0] <= most
