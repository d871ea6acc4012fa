"""Sparse data: what it is, and where its entries are; neither SciPy nor pandas is imported."""

import sys
from typing import Any

import numpy as np

from .frames import OWN


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse matrix or array of SciPy, or a pandas frame with a sparse column."""
    kind = type(x)
    if kind is np.ndarray or kind in OWN:
        return False
    scipy = sys.modules.get("scipy.sparse")
    if scipy is not None and scipy.issparse(x):
        return True
    return is_sparse_frame(x)


def is_sparse_frame(x: Any) -> bool:
    """Whether x is a pandas frame with a sparse column."""
    pandas = sys.modules.get("pandas")
    frames: Any = getattr(pandas, "DataFrame", ())  # not there yet while pandas is imported
    if not isinstance(x, frames):
        return False
    return any(hasattr(dtype, "fill_value") for dtype in set(x.dtypes))


def is_compressed(x: Any) -> bool:
    """Whether x has compressed rows: `data`, `indices` and `indptr`."""
    return hasattr(x, "indptr")


def place(x: Any, entry: int) -> tuple[int, int]:
    """The row and the column of an entry of a CSR matrix, which is one of its `data`."""
    row = int(np.searchsorted(x.indptr, entry, side="right")) - 1
    return row, int(x.indices[entry])
