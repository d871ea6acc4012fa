"""Rows that are not in memory, as blocks: files, queries, and functions that yield blocks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import inputs
from ..errors import InputError
from .blocks import Blocks, Opened, read_ahead
from .compressed import is_sparse
from .dask import of_dask
from .tables import is_path, of_dataset, of_files, of_parquet, of_query


def in_blocks(x: Any) -> bool:
    """Whether x has its rows in blocks, and `opened` takes it."""
    if type(x) is np.ndarray:
        return False
    return isinstance(x, Blocks) or _is_list_of_blocks(x) or _reader_of(x) is not None


def opened(x: Any, y: Any, weight: Any) -> Opened:
    """x in blocks, with y and weights in memory.

    Parameters
    ----------
    x : Blocks, pyarrow Dataset or ParquetFile, Polars LazyFrame, path, list, callable, or dask array or \
frame
        See `fastgd.fit`.
    y, weight : array-like, or str
        A name is that of a column of x, which is then no feature.

    Raises
    ------
    InputError
        If x can't be read as numbers in blocks.
    """
    if isinstance(x, Blocks):
        return Opened(x, y, weight)
    if _is_list_of_blocks(x):
        if is_path(x[0]):
            return of_files(x, y, weight)
        return _of_pieces(lambda: iter(x), x, y, weight)
    reader = _reader_of(x)
    assert reader is not None
    return reader(x, y, weight)


def _is_list_of_blocks(x: Any) -> bool:
    if not isinstance(x, list | tuple) or not x:
        return False
    if is_path(x[0]):
        return True
    return (isinstance(x[0], np.ndarray) and x[0].ndim == 2) or is_sparse(x[0])


def _reader_of(x: Any) -> Callable[[Any, Any, Any], Opened] | None:
    """The function that opens x; no library is imported for it."""
    if is_path(x):
        return of_files
    if inputs.is_dask(x):
        return of_dask
    if inspect.isgenerator(x):
        raise InputError(
            "x is a generator, which gives its blocks once, and a fit reads them several times; pass the "
            "function that makes it, as in fit(make_blocks, None), or give the blocks to "
            "fastgd.linear_model.LinearRegression().partial_fit."
        )
    if inspect.isfunction(x) or inspect.ismethod(x) or type(x).__name__ == "partial":
        return _of_function
    library = type(x).__module__.partition(".")[0]
    if library == "pyarrow" and "pyarrow" in sys.modules:
        kinds = {kind.__name__ for kind in type(x).__mro__}
        if "Dataset" in kinds:
            return of_dataset
        if "ParquetFile" in kinds:
            return of_parquet
    if library == "polars" and type(x).__name__ == "LazyFrame":
        return of_query
    return None


# --- functions and lists of arrays ------------------------------------------------------------


def _of_function(make: Any, y: Any, weight: Any) -> Opened:
    """A function without arguments that returns an iterator of x, (x, y) or (x, y, weight)."""

    def pieces() -> Iterator[Any]:
        made = make()
        try:
            return iter(made)
        except TypeError:
            raise InputError(
                f"the function passed as x returned a {type(made).__name__}; it must return an iterator "
                "of blocks x, (x, y) or (x, y, weight), the same at every call."
            ) from None

    return _of_pieces(pieces, make, y, weight)


def _of_pieces(pieces: Callable[[], Iterator[Any]], x: Any, y: Any, weight: Any) -> Opened:
    """Blocks of arrays, found out by one reading of all."""
    n, d, dtypes, first = 0, None, set(), None
    found: tuple[list[Any], list[Any]] = ([], [])
    for number, piece in enumerate(read_ahead(pieces())):
        block, *others = piece if isinstance(piece, tuple) else (piece,)
        block = _as_block(block, number)
        if d is not None and block.shape[1] != d:
            raise InputError(f"block {number} has {block.shape[1]} columns, and block 0 has {d}.")
        d, n = block.shape[1], n + block.shape[0]
        dtypes.add(block.dtype)
        first = _sample_of(block) if first is None else first
        for kept, other in zip(found, others, strict=False):
            if len(other) != block.shape[0]:
                raise InputError(
                    f"block {number} has {block.shape[0]} rows, and {len(other)} targets or weights."
                )
            kept.append(np.array(other))
    if d is None:
        raise InputError("x gave no block; pass one at least.")

    def read() -> Iterator[Any]:
        for number, piece in enumerate(pieces()):
            yield _as_block(piece[0] if isinstance(piece, tuple) else piece, number)

    made = Blocks(read, (n, d), np.result_type(*dtypes))
    made._sample = first
    y = _together(found[0], y, "y")
    weight = _together(found[1], weight, "sample_weight", needed=False)
    return Opened(made, y, weight)


def _as_block(block: Any, number: int) -> Any:
    """A block as rows of numbers: an array or a sparse matrix (m, d)."""
    if is_sparse(block):
        return block
    block = np.asarray(block)
    if block.ndim == 1:
        block = block[:, None]
    if block.ndim != 2 or 0 in block.shape or block.dtype.kind not in "fiub":
        raise InputError(
            f"block {number} has shape {block.shape} and dtype {block.dtype}; pass rows of numbers, "
            "(m, d)."
        )
    return block


def _sample_of(block: Any) -> np.ndarray:
    rows = block[:: max(1, block.shape[0] // 256)]
    return np.asarray(rows.toarray() if is_sparse(rows) else rows, dtype=np.float64)


def _together(found: list[Any], given: Any, name: str, needed: bool = True) -> Any:
    """What the blocks had, or the caller gave."""
    if not found:
        if isinstance(given, list | tuple) and given and isinstance(given[0], np.ndarray):
            return np.concatenate(given)
        if given is None and needed:
            raise InputError(f"{name} is missing: the blocks of x have none; pass {name}.")
        return given
    if given is not None:
        raise InputError(f"the blocks of x have their own {name}; pass {name}=None.")
    return np.concatenate(found)
