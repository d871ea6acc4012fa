"""Tables with named columns as blocks: Arrow files and datasets, Polars queries."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..arguments import shown
from ..errors import InputError
from .blocks import BLOCK_BYTES, Blocks, Opened, read_ahead

#: The formats of files, by their endings.
_FORMATS = {
    ".parquet": "parquet", ".csv": "csv", ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc",
}  # fmt: skip


class _Columns(NamedTuple):
    """Which columns of a table are features, and which are y and the weights (a name, or None)."""

    features: list[str]
    dtype: np.dtype
    y: str | None
    weight: str | None


def _chosen(types: dict[str, Any], y: Any, weight: Any) -> _Columns:
    """The columns by their NumPy types; None stands for one that is no number.

    Raises
    ------
    InputError
        If a column that is needed is not there, or holds no numbers.
    """
    for name, given in (("y", y), ("sample_weight", weight)):
        if isinstance(given, str) and given not in types:
            listed = ", ".join(map(repr, list(types)[:20]))
            raise InputError(f"{name} is {shown(given)}, and the columns of x are {listed}.")
    named = [given for given in (y, weight) if isinstance(given, str)]
    features = [name for name in types if name not in named]
    if not features:
        raise InputError("x has no column but y and the weights; pass one feature at least.")
    for column, name in enumerate(features):
        if isinstance(types[name], str):
            raise InputError(
                f"column {column} ({name!r}) of x is {types[name]}; encode it as numbers, or leave it "
                "out."
            )
    dtype = np.result_type(*(types[name] for name in features))
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    own = tuple(given if isinstance(given, str) else None for given in (y, weight))
    return _Columns(features, dtype, *own)


def _rows_a_block(columns: _Columns) -> int:
    return max(1, BLOCK_BYTES // (len(columns.features) * columns.dtype.itemsize))


def _of_table(
    columns: _Columns, n: int, tables: Callable[[list[str]], Iterator[Any]], arrays: Any, y: Any,
    weight: Any, place_of: Any = None,
) -> Opened:  # fmt: skip
    """Blocks of a source of tables.

    `tables` returns an iterator of tables with the named columns, ``arrays(table, name)`` one of these.
    """
    own = [name for name in (columns.y, columns.weight) if name is not None]
    held: dict[str, list[np.ndarray]] = {name: [] for name in own}
    if own:
        for table in read_ahead(tables(own)):
            for name in own:
                held[name].append(arrays(table, name))
        n = sum(map(len, held[own[0]]))

    def read() -> Iterator[Any]:
        for table in tables(columns.features):
            block = np.empty((len(table), len(columns.features)), columns.dtype, order="F")
            for j, name in enumerate(columns.features):
                block[:, j] = arrays(table, name)
            if len(block):
                yield block

    x = Blocks(read, (n, len(columns.features)), columns.dtype, columns.features, place_of)
    together = {
        name: np.concatenate(parts) if parts else np.empty(0) for name, parts in held.items()
    }
    if y is None:
        raise InputError("y is missing; pass the name of a column of x, or an array.")
    return Opened(
        x, y if columns.y is None else together[columns.y],
        weight if columns.weight is None else together[columns.weight],
    )  # fmt: skip


# --- Arrow -------------------------------------------------------------------------------------


def is_path(x: Any) -> bool:
    """Whether x names a file: a path, or text with the ending of a known format."""
    if isinstance(x, str):
        return pathlib.PurePath(x).suffix.lower() in _FORMATS
    return isinstance(x, os.PathLike)


def of_files(paths: Any, y: Any, weight: Any) -> Opened:
    """One path or several, of Parquet, Arrow or CSV files, or of a folder of them."""
    try:
        import pyarrow.dataset
    except ImportError:
        raise InputError(
            "x names files, which needs pyarrow: pip install 'fastgd[arrow]'."
        ) from None
    several = isinstance(paths, list | tuple)
    names = [os.fspath(path) for path in (paths if several else [paths])]
    endings = {pathlib.Path(name).suffix.lower() for name in names}
    kind = _FORMATS.get(endings.pop() if len(endings) == 1 else "", "parquet")
    try:
        data = pyarrow.dataset.dataset(
            names if several else names[0], format=kind, partitioning="hive"
        )
    except (OSError, pyarrow.ArrowException, TypeError) as error:
        raise InputError(f"the files of x can't be opened: {str(error).rstrip('.')}.") from error
    return of_dataset(data, y, weight)


def _arrow_types(schema: Any) -> dict[str, Any]:
    """The NumPy type of each column, or as text that of one without numbers."""
    import pyarrow

    found: dict[str, Any] = {}
    for field in schema:
        kind = field.type
        if pyarrow.types.is_boolean(kind):
            found[field.name] = np.dtype(bool)
        elif pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
            found[field.name] = np.dtype(kind.to_pandas_dtype())
        else:
            found[field.name] = str(kind)
    return found


def _arrow_array(table: Any, name: str) -> np.ndarray:
    """A column of an Arrow table or batch as an array; what is missing is NaN."""
    column = table.column(name)
    array = column.to_numpy(zero_copy_only=False)
    if column.null_count and array.dtype.kind == "O":  # booleans
        array = column.cast("float64").to_numpy(zero_copy_only=False)
    return np.asarray(array)


class _Batch:
    """An Arrow batch that knows how many rows it has."""

    def __init__(self, batch: Any):
        self.column, self._rows = batch.column, batch.num_rows

    def __len__(self) -> int:
        return int(self._rows)


def of_dataset(data: Any, y: Any, weight: Any) -> Opened:
    """A pyarrow Dataset: its fragments one after the other, so that rows have one order."""
    columns = _chosen(_arrow_types(data.schema), y, weight)
    rows = _rows_a_block(columns)
    fragments = list(data.get_fragments())
    counts = [fragment.count_rows() for fragment in fragments]
    ends = list(itertools.accumulate(counts))

    def tables(names: list[str]) -> Iterator[Any]:
        for fragment in fragments:
            batches = fragment.to_batches(
                schema=data.schema,
                columns=names,
                batch_size=rows,
                batch_readahead=1,
                fragment_readahead=1,
            )
            yield from map(_Batch, batches)

    def place_of(row: int) -> str:
        number = int(np.searchsorted(ends, row, side="right"))
        if number >= len(fragments):
            return ""
        own = row - (ends[number - 1] if number else 0)
        return f" (row {own} of {fragments[number].path}{_row_group(fragments[number], own)})"

    return _of_table(columns, sum(counts), tables, _arrow_array, y, weight, place_of)


def _row_group(fragment: Any, row: int) -> str:
    """The row group of a row of a Parquet file, as text."""
    groups = getattr(fragment, "row_groups", None)
    if not groups:
        return ""
    ends = list(itertools.accumulate(group.num_rows for group in groups))
    return f", row group {int(np.searchsorted(ends, row, side='right'))}"


def of_parquet(file: Any, y: Any, weight: Any) -> Opened:
    """A pyarrow ParquetFile."""
    columns = _chosen(_arrow_types(file.schema_arrow), y, weight)
    rows = _rows_a_block(columns)

    def tables(names: list[str]) -> Iterator[Any]:
        return map(_Batch, file.iter_batches(batch_size=rows, columns=names))

    return _of_table(columns, file.metadata.num_rows, tables, _arrow_array, y, weight)


# --- Polars ------------------------------------------------------------------------------------


def of_query(query: Any, y: Any, weight: Any) -> Opened:
    """A Polars LazyFrame, which runs once for every reading."""
    import polars

    types = {
        name: (
            np.dtype(bool) if kind == polars.Boolean
            else np.dtype(str(kind).lower()) if kind.is_numeric() and not kind.is_decimal()
            else str(kind)
        )
        for name, kind in query.collect_schema().items()
    }  # fmt: skip
    columns = _chosen(types, y, weight)
    rows = _rows_a_block(columns)

    def tables(names: list[str]) -> Iterator[Any]:
        return iter(query.select(names).collect_batches(chunk_size=rows, maintain_order=True))

    def array(table: Any, name: str) -> np.ndarray:
        return np.asarray(table[name].to_numpy())

    n = query.select(polars.len()).collect().item()
    return _of_table(columns, n, tables, array, y, weight)
