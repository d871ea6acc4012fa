"""Rows that are not in memory, as blocks: files, queries, and functions that yield blocks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..arguments import shown
from ..errors import InputError
from ..inputs import check_shape, column_names, is_dask, require_columns, require_names_of
from .arrow_tables import is_path, table_of_dataset, table_of_files, table_of_parquet
from .blocks import BLOCK_BYTES, Blocks, Opened, sample_of
from .categories import Categories, columns_of_features, opened_table
from .compressed import compressed, is_sparse
from .dask import of_dask
from .frames import table_of_frame
from .polars_tables import table_of_query
from .read_ahead import read_ahead
from .tables import Table
from .watched import tell


def in_blocks(x: Any) -> bool:
    """Whether x has its rows in blocks, and `opened` takes it."""
    if type(x) is np.ndarray:
        return False
    if isinstance(x, Blocks) or is_dask(x) or _is_list_of_arrays(x):
        return True
    return _table_maker(x) is not None or _is_function(x)


def opened(
    x: Any, y: Any, weight: Any, columns: Sequence[str] | None = None, categories: Any = None
) -> Opened:
    """x in blocks, with y and weights in memory.

    Parameters
    ----------
    x : Blocks, pyarrow Dataset or ParquetFile, Polars LazyFrame, path, list, callable, or dask array or \
frame
        See `fastgd.fit`.
    y, weight : array-like, or str
        A name is that of a column of x, which is then no feature. None where the blocks have their own,
        or none is needed.
    columns : sequence of str, optional
        Of a table, the columns that are features, in their order; all others by default.
    categories : dict or list of str, optional
        Of a table, columns that become columns of 0 and 1; see `categories.categories_of`.

    Raises
    ------
    InputError
        If x can't be read as numbers in blocks.
    """
    if isinstance(x, Blocks):
        return Opened(x, y, weight)
    if is_dask(x):
        return of_dask(x, y, weight, columns, categories)
    make = _table_maker(x)
    if make is not None:
        return opened_table(make(x), y, weight, columns, categories)
    require_no_names(y, weight, columns, categories)
    if isinstance(x, list | tuple):
        entries = tuple(x)  # of this call, whatever becomes of the list
        return _of_pieces(lambda: iter(entries), y, weight, entries)
    return _of_pieces(_calls(x), y, weight)


def require_no_names(y: Any, weight: Any, columns: Any, categories: Any) -> None:
    """Raise where an argument names columns, of an x that has no names."""
    for what, given in (("y", y), ("sample_weight", weight)):
        if isinstance(given, str):
            raise InputError(
                f"{what} is {shown(given)}, and x has no named columns; pass an array."
            )
    for what, given in (("columns", columns), ("categories", categories)):
        if given:
            raise InputError(f"{what} is {shown(given)}, and x has no named columns.")


def rows_to_predict(
    x: Any, d: int, fitted_names: tuple[str, ...] | None, categories: Categories | None = None
) -> Blocks:
    """x in blocks for a fit of d columns; of a table, the columns that the fit has by their names."""
    blocks = as_fitted(x, None, None, fitted_names, categories).x
    require_names_of(blocks.names, fitted_names)
    require_columns(blocks, d)
    check_shape(blocks.shape, "x")
    return blocks


def chosen_of_frame(
    x: Any, y: Any, weight: Any, columns: Sequence[str] | None, categories: Any
) -> Opened:
    """As `opened`, for a frame in memory.

    Raises
    ------
    InputError
        If x has no named columns, or one of them can't be used.
    """
    library = type(x).__module__.partition(".")[0]
    if library == "pandas" and hasattr(x, "columns"):
        return opened_table(table_of_frame(x), y, weight, columns, categories)
    if library == "polars" and hasattr(x, "lazy"):
        return opened_table(table_of_query(x.lazy()), y, weight, columns, categories)
    if library == "pyarrow" and hasattr(x, "schema"):
        import pyarrow.dataset

        data = pyarrow.dataset.dataset(x)
        table = table_of_dataset(data)._replace(place_of=None)
        return opened_table(table, y, weight, columns, categories)
    require_no_names(y, weight, columns, categories)
    return Opened(x, y, weight)


def holds_categories(x: Any) -> bool:
    """Whether x is a frame in memory with a column of a dictionary type."""
    library = type(x).__module__.partition(".")[0]
    if library == "pandas" and hasattr(x, "columns"):
        kinds: Any = x.dtypes
    elif library in ("polars", "pyarrow") and hasattr(x, "schema"):
        kinds = getattr(x.schema, "types", None) or x.dtypes
    else:
        return False
    return any(str(kind).lower().startswith(("categor", "enum", "dictionary")) for kind in kinds)


def as_fitted(
    x: Any, y: Any, weight: Any, fitted_names: tuple[str, ...] | None, categories: Any
) -> Opened:
    """x with the columns of a fit, and the targets that y names; arrays are as they are.

    The columns of a frame in memory are taken by their names if it has more than the fit, or those before
    they were encoded.
    """
    named = _table_maker(x) is not None or (is_dask(x) and hasattr(x, "columns"))
    names = column_names(x) or ()
    wanted = fitted_names or names
    more = len(names) > len(wanted) and set(names).issuperset(wanted)
    other = names and (categories or more)
    by_name = isinstance(y, str) or isinstance(weight, str)
    if not (named or by_name or (other and tuple(names) != fitted_names)):
        return opened(x, y, weight) if in_blocks(x) else Opened(x, y, weight)
    columns = None if fitted_names is None else columns_of_features(fitted_names, categories or {})
    return (opened if named else chosen_of_frame)(x, y, weight, columns, categories)


def _is_list_of_arrays(x: Any) -> bool:
    if not isinstance(x, list | tuple) or not x:
        return False
    return (isinstance(x[0], np.ndarray) and x[0].ndim == 2) or is_sparse(x[0])


def _table_maker(x: Any) -> Callable[[Any], Table] | None:
    """The function that makes a table of x; no library is imported for it."""
    if is_path(x) or (isinstance(x, list | tuple) and x and is_path(x[0])):
        return table_of_files
    library = type(x).__module__.partition(".")[0]
    if library == "pyarrow":
        kinds = {kind.__name__ for kind in type(x).__mro__}
        if "Dataset" in kinds:
            return table_of_dataset
        if "ParquetFile" in kinds:
            return table_of_parquet
    if library == "polars" and type(x).__name__ == "LazyFrame":
        return table_of_query
    return None


def comes_once(x: Any) -> bool:
    """Whether x is a generator or another iterator of Python, whose blocks can't be had again."""
    return isinstance(x, Iterator) and type(x).__module__ in ("builtins", "itertools")


def can_be_read_once(x: Any, why: str) -> InputError:
    """What is said where that is too little."""
    return InputError(
        f"x is a {type(x).__name__}, whose blocks can be read once, and {why}; pass the function that "
        "makes it, as in fit(make_blocks, None)."
    )


def _is_function(x: Any) -> bool:
    if comes_once(x):
        raise can_be_read_once(x, "they are needed again")
    return inspect.isfunction(x) or inspect.ismethod(x) or isinstance(x, functools.partial)


# --- functions and lists of arrays ------------------------------------------------------------


def _calls(make: Any) -> Callable[[], Iterator[Any]]:
    """The calls of a function that returns an iterator of blocks x, (x, y) or (x, y, weight)."""

    def pieces() -> Iterator[Any]:
        made = make()
        try:
            return iter(made)
        except TypeError:
            raise InputError(
                f"the function passed as x returned a {type(made).__name__}; it must return an iterator "
                "of blocks x, (x, y) or (x, y, weight), the same at every call."
            ) from None

    return pieces


def _of_pieces(
    pieces: Callable[[], Iterator[Any]], y: Any, weight: Any, entries: Sequence[Any] | None = None
) -> Opened:
    """Blocks of arrays, found out by one reading of all; `entries` are the blocks, if they are a list."""
    n, d, dtypes, first, size = 0, None, set(), None, 0
    found: tuple[list[Any], list[Any]] = ([], [])
    for number, piece in enumerate(read_ahead(pieces())):
        block, *others = piece if isinstance(piece, tuple) else (piece,)
        block = as_block(block, f"block {number}")
        if d is not None and block.shape[1] != d:
            raise InputError(f"block {number} has {block.shape[1]} columns, and block 0 has {d}.")
        d, n = block.shape[1], n + block.shape[0]
        dtypes.add(block.dtype)
        size += bytes_of(block)
        first = sample_of(block) if first is None else first
        for kept, other in zip(found, others, strict=False):
            if len(other) != block.shape[0]:
                raise InputError(
                    f"block {number} has {block.shape[0]} rows, and {len(other)} targets or weights."
                )
            kept.append(np.array(other))
        tell(n, size)
    if d is None:
        raise InputError("x gave no block; pass one at least.")

    def read(order: Sequence[int] | None = None) -> Iterator[Any]:
        if entries is not None and order is not None:
            for number, rows in map(parts().__getitem__, order):
                yield as_block(_cut(entries[number], rows), f"block {number}")
            return
        for number, piece in enumerate(pieces()):
            yield as_block(piece[0] if isinstance(piece, tuple) else piece, f"block {number}")

    @functools.cache
    def parts() -> list[tuple[int, range]]:
        return _parts_of(entries or (), max(1, int(BLOCK_BYTES * n / size)))

    made = Blocks(
        read, (n, d), np.result_type(*dtypes), row_bytes=size / n,
        parts=None if entries is None else lambda: [len(rows) for _, rows in parts()],
    )  # fmt: skip
    made._sample = first
    y = _together(found[0], y, "y")
    weight = _together(found[1], weight, "sample_weight")
    return Opened(made, y, weight)


def _parts_of(entries: Sequence[Any], most: int) -> list[tuple[int, range]]:
    """The numbers of arrays and some of their rows, at most so many where these can be cut out."""
    parts = []
    for number, entry in enumerate(entries):
        m = entry.shape[0]
        step = most if _can_be_cut(entry) else m
        parts += [(number, range(start, min(m, start + step))) for start in range(0, m, step)]
    return parts


def _can_be_cut(entry: Any) -> bool:
    """Whether rows can be taken from an array or a matrix in no more time than they need."""
    return isinstance(entry, np.ndarray) or getattr(entry, "format", None) == "csr"


def _cut(entry: Any, rows: range) -> Any:
    return entry[rows.start : rows.stop] if _can_be_cut(entry) else entry


def bytes_of(block: Any) -> int:
    """The bytes of a block in memory."""
    arrays = (block.data, block.indices, block.indptr) if is_sparse(block) else (block,)
    return sum(array.nbytes for array in arrays)


def as_block(block: Any, name: str) -> Any:
    """A block as rows of numbers: an array or a CSR matrix (m, d)."""
    if is_sparse(block):
        return compressed(block, name)
    block = np.asarray(block)
    if block.ndim == 1:
        block = block[:, None]
    if block.ndim != 2 or 0 in block.shape or block.dtype.kind not in "fiub":
        raise InputError(
            f"{name} has shape {block.shape} and dtype {block.dtype}; pass rows of numbers, (m, d)."
        )
    return block


def _together(found: list[Any], given: Any, name: str) -> Any:
    """What the blocks had, or the caller gave."""
    if not found:
        if isinstance(given, list | tuple) and given and isinstance(given[0], np.ndarray):
            return np.concatenate(given)
        return given
    if given is not None:
        raise InputError(f"the blocks of x have their own {name}; pass {name}=None.")
    return np.concatenate(found)
