"""Fewer rows than columns, and an l2 penalty: the fit in the space that the rows span.

The gradient of the cost is a sum of rows, so with l2 the optimal coefficients are one too: of rows less
their mean where there is an intercept, since slopes then sum to zero (the representer theorem, Kimeldorf
and Wahba, 1970). With an orthonormal basis Q of that space, coef = Q·v, the rows are X·Q, and the penalty
is the same: as many coefficients v as there are rows, in place of d.
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
    rows : ndarray (n, r)
        The rows about the centre, in the basis.
    basis : ndarray (d, r)
        Orthonormal columns Q.
    center : ndarray (d,)
        The mean of the rows with an intercept, else zeros.
    """

    rows: np.ndarray
    basis: np.ndarray
    center: np.ndarray

    def inside(self, coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (k, d) in the basis, (k, r), and intercepts about the centre, both (k, ·)."""
        return coef @ self.basis, intercept + coef @ self.center

    def outside(self, coef: np.ndarray) -> np.ndarray:
        """Coefficients (…, r) in the basis as those of the columns, (…, d)."""
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
        if not fit_intercept:
            basis, triangle = np.linalg.qr(columns)
            rows = triangle.T.copy()
        else:  # rows about their mean sum to zero: the others say what the last is
            basis, triangle = np.linalg.qr(columns[:, :-1])
            rows = np.vstack([triangle.T, -triangle.sum(axis=1)])
    return RowSpace(rows, basis, center) if is_finite(rows) else None


def spans_fewer(x: Any, most: int) -> bool:
    """Whether x is a matrix in memory with fewer rows than columns, and with 2 to `most` rows."""
    return isinstance(x, np.ndarray) and 1 < x.shape[0] < x.shape[1] and x.shape[0] <= most
