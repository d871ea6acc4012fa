"""What a visit of rows returns: arrays and addresses for the kernels of stochastic loops."""

from typing import Any, NamedTuple

import numpy as np

from ..cpu import dense, stochastic


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that kernels see as read-only, so that one compilation serves both kinds."""
    view = array.view()
    view.setflags(write=False)
    return view


class DenseVisit(NamedTuple):
    """Dense rows for the kernels of stochastic loops.

    All arrays but `order` are read-only.

    Attributes
    ----------
    x : ndarray (m, d)
        In C order, float32 or float64.
    y : ndarray (k, m)
    weight : ndarray (m,) or (0,)
    offset : ndarray (k, m), (1, m) or (0, 1)
    order : ndarray (m,) or (0,)
    first, last : int
        The rows to visit have the numbers from `first` to `last` − 1.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    order: np.ndarray
    first: int
    last: int

    @property
    def rows_at(self) -> int:
        """The address of the rows."""
        return self.x.ctypes.data

    def direct_updates(self, loss: Any) -> int:
        """The address of the loop for plain gradient descent."""
        updates = stochastic.per_sample(loss.formula, self.x.shape[1] == 1)
        return stochastic.address_of_updates(updates, self.order.dtype, self.x.dtype, self.y.dtype)

    def direct_scratch(self, loss: Any, batch_size: int, outputs: int) -> dense.Scratch:
        """The scratch of that loop."""
        return stochastic.scratch(self.y.dtype)

    def batch_pass(self, loss: Any, coef: np.ndarray, parts: int) -> tuple[int, int, dense.Scratch]:
        """The addresses of a pass over a part of a batch and of `dense.gather` or 0, and the scratch."""
        dtype, order = coef.dtype, self.order.dtype
        copied = len(self.order) > 0 or self.x.dtype != dtype
        scratch = dense.scratch(loss, self.x, self.y, coef, False, copied, parts)
        one_pass = dense.address_of_pass(False, len(coef) > 1, order, dtype, dtype)
        gather = dense.address_of_gather(order, self.x.dtype, dtype) if copied else 0
        return one_pass, gather, scratch


def gathered(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    offset: np.ndarray,
    order: np.ndarray,
    first: int,
    last: int,
) -> DenseVisit:
    """A visit of copies, in the dtype of y: rows order[first:last] of x (n, d), y (k, n) and others."""
    rows: Any = order[first:last] if len(order) else slice(first, last)
    x = np.array(x[rows], dtype=y.dtype, order="C")
    y, weight, offset = (taken(a, rows) for a in (y, weight, offset))
    return DenseVisit(
        read_only(x), read_only(y), read_only(weight), read_only(offset), order[:0], 0, last - first
    )


def taken(samples: np.ndarray, rows: Any) -> np.ndarray:
    """These rows of targets (k, n), offsets (k, n) or weights (n,); all of what is empty."""
    return np.ascontiguousarray(samples[..., rows]) if samples.size else samples
