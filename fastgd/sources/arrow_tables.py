"""Parquet, Arrow and CSV files, and datasets of pyarrow, as tables."""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import BlockError, InputError
from .read_ahead import read_ahead
from .tables import ROWS, Table

#: Row groups of more bytes are decoded one after the other.
_GROUP_BYTES = 256 << 20
#: The formats of files, by their endings.
_FORMATS = {
    ".parquet": "parquet", ".csv": "csv", ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc",
}  # fmt: skip


def is_path(x: Any) -> bool:
    """Whether x names a file: a path, or text with the ending of a known format or of what is there."""
    if isinstance(x, str):
        return pathlib.PurePath(x).suffix.lower() in _FORMATS or os.path.exists(x)
    return isinstance(x, os.PathLike)


def table_of_files(paths: Any) -> Table:
    """One path or several, of Parquet, Arrow or CSV files, or of a folder of them."""
    try:
        import pyarrow.dataset
    except ImportError:
        raise InputError(
            "x names files, which needs pyarrow: pip install 'fastgd[arrow]'."
        ) from None
    several = isinstance(paths, list | tuple)
    names = [os.fspath(path) for path in (paths if several else [paths])]
    files = [name for one in names for name in _files_of(one)]
    endings = {pathlib.Path(name).suffix.lower() for name in files}
    if len(endings) > 1:
        raise InputError(
            f"the files of x have several endings ({', '.join(sorted(endings))}); pass those of one."
        )
    kind: Any = _FORMATS.get(endings.pop(), "parquet")
    try:
        if kind == "csv":
            kind = pyarrow.dataset.CsvFileFormat(convert_options=_csv_options())
        data = pyarrow.dataset.dataset(
            names if several else names[0], format=kind, partitioning="hive"
        )
    except (OSError, pyarrow.ArrowException, TypeError) as error:
        raise InputError(f"the files of x can't be opened: {str(error).rstrip('.')}.") from error
    return table_of_dataset(data, every_column=True)


def _csv_options() -> Any:
    """Fields of text may be missing, as numbers may: by default Arrow makes empty text of them."""
    import pyarrow.csv

    return pyarrow.csv.ConvertOptions(strings_can_be_null=True)


def _files_of(name: str) -> Iterator[str]:
    """The file of this name, or the files of a folder but those that Arrow leaves out."""
    if not os.path.isdir(name):
        if "://" not in name and not os.path.exists(name):
            raise InputError(f"x names {name!r}, which is not there.")
        yield name
        return
    empty = True
    for folder, folders, files in os.walk(name):
        folders[:] = [each for each in folders if not each.startswith((".", "_"))]
        for each in files:
            if not each.startswith((".", "_")):
                empty = False
                yield os.path.join(folder, each)
    if empty:
        raise InputError(f"x names the folder {name!r}, which has no file.")


def _arrow_types(schema: Any) -> dict[str, Any]:
    """The NumPy type of each column, or as text that of one without numbers."""
    import pyarrow

    found: dict[str, Any] = {}
    for field in schema:
        kind = field.type
        if field.name in found:
            raise InputError(f"x has several columns named {field.name!r}; rename them.")
        if pyarrow.types.is_boolean(kind):
            found[field.name] = np.dtype(bool)
        elif pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
            found[field.name] = np.dtype(kind.to_pandas_dtype())
        else:
            found[field.name] = str(kind)
    return found


def _arrow_array(part: Any, name: str) -> np.ndarray:
    """A column of an Arrow table or batch as an array; what is missing is NaN."""
    column = part.column(name)
    if str(column.type).startswith("dictionary"):
        column = column.dictionary_decode()
    if column.null_count and str(column.type) == "bool":
        column = column.cast("float64")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _arrow_coded(part: Any, name: str) -> tuple[np.ndarray, list[Any]]:
    """The codes of a column of an Arrow batch, and their values; −1 is missing."""
    column = part.column(name).dictionary_encode()
    indices = column.indices.cast("int32")  # Polars writes unsigned ones
    return indices.fill_null(-1).to_numpy(zero_copy_only=False), column.dictionary.to_pylist()


def _arrow_dictionaries(schema: Any) -> dict[str, Any]:
    """The columns of dictionary types, whose values a file may have or not."""
    return {field.name: None for field in schema if str(field.type).startswith("dictionary")}


class _Part:
    """An Arrow batch that knows how many rows it has."""

    def __init__(self, batch: Any):
        self.column, self._rows = batch.column, batch.num_rows

    def __len__(self) -> int:
        return int(self._rows)


def table_of_dataset(data: Any, every_column: bool = False) -> Table:
    """A pyarrow Dataset: its fragments one after the other, so that rows have one order.

    With `every_column`, where no columns are chosen, a fragment may have none that the first one has not.
    """
    import pyarrow
    import pyarrow.dataset as ds

    types = _arrow_types(data.schema)
    try:
        fragments = list(data.get_fragments())
    except ValueError as error:
        raise InputError(
            "x is a Dataset with a filter or a projection, and files are read whole; pass a Polars "
            "LazyFrame that has them, or a function that returns blocks."
        ) from error
    counts, types_of = [], []
    for fragment in fragments:
        try:
            counts.append(fragment.count_rows())
            types_of.append(_arrow_types(fragment.physical_schema))
        except (OSError, pyarrow.ArrowException) as error:
            where = getattr(fragment, "path", "")
            raise InputError(f"{where} of x can't be read: {str(error).rstrip('.')}.") from error
    ends = list(itertools.accumulate(counts))

    @functools.cache
    def pieces() -> list[tuple[Any, int]]:
        """What can be read without the rest, and its rows: row groups, or whole fragments."""
        whole = zip(fragments, counts, strict=True)
        return [piece for fragment, rows in whole for piece in _row_groups(fragment, rows)]

    def scanned(number: int, names: list[str]) -> Iterator[_Part]:
        # One scan for each: Arrow reads ahead of a slow reader by up to a gigabyte of a scan.
        fragment = pieces()[number][0]
        batches = fragment.to_batches(
            schema=data.schema,
            columns=names,
            batch_size=ROWS,
            batch_readahead=1,
            fragment_readahead=1,
            fragment_scan_options=_scan_options(fragment),
            # Arrow's threads crash the process where a reading of IPC is ended early.
            use_threads=not isinstance(getattr(fragment, "format", None), ds.IpcFileFormat),
        )
        try:
            yield from map(_Part, batches)
        except (OSError, pyarrow.ArrowException) as error:  # a block may begin in another file
            where = getattr(fragment, "path", "")
            raise BlockError(f"{where}: {str(error).rstrip('.')}.") from error

    def read(names: list[str], order: Sequence[int] | None = None) -> Iterator[_Part]:
        numbers = range(len(pieces())) if order is None else order
        scans = (scanned(number, names) for number in numbers)
        row_bytes = sum(getattr(types[name], "itemsize", 8) for name in names)
        most = max((rows for _, rows in pieces()), default=0) * row_bytes
        if any(hasattr(fragment, "row_groups") for fragment in fragments) and most < _GROUP_BYTES:
            # Arrow decodes a row group as a whole: the next one meanwhile.
            return itertools.chain.from_iterable(read_ahead(map(list, scans)))
        return itertools.chain.from_iterable(scans)

    def place_of(row: int) -> str:
        number = int(np.searchsorted(ends, row, side="right"))
        if number >= len(fragments):
            return ""
        fragment = fragments[number]
        own = row - (ends[number - 1] if number else 0)
        return f" (row {own} of {getattr(fragment, 'path', '')}{_row_group(fragment, own)})"

    def parts() -> list[int]:
        return [rows for _, rows in pieces()]

    def check(names: Sequence[str] | None) -> None:
        wanted = types if names is None else {name: types[name] for name in names}
        for fragment, found in zip(fragments, types_of, strict=True):
            _require_columns_of(fragment, found, wanted)
            more = [name for name in found if name not in types]
            if every_column and names is None and more:
                where = getattr(fragment, "path", "")
                raise InputError(
                    f"{where} has the column {more[0]!r}, which the first file of x has not; choose "
                    "columns with columns=."
                )

    dictionaries = _arrow_dictionaries(data.schema)
    return Table(
        types, sum(counts), read, _arrow_array, _arrow_coded, dictionaries, place_of, parts, check
    )


def _row_groups(fragment: Any, m: int) -> list[tuple[Any, int]]:
    """The row groups of a Parquet file and their rows, or another file and its m rows."""
    if not hasattr(fragment, "split_by_row_group"):
        return [(fragment, m)]
    rows = [group.num_rows for group in fragment.row_groups]
    return list(zip(fragment.split_by_row_group(), rows, strict=True))


def _scan_options(fragment: Any) -> Any:
    """Those that leave out the copy of a row group's bytes, where the disk is near; half the memory."""
    import pyarrow.dataset

    if getattr(fragment, "filesystem", None) is None or fragment.filesystem.type_name != "local":
        return None
    if fragment.format.default_extname != "parquet":
        return None
    return pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=False)


def _require_columns_of(fragment: Any, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise unless a file has these columns, of numbers where the first one has numbers."""
    import pyarrow.dataset

    where = getattr(fragment, "path", "a fragment")
    of_folder = pyarrow.dataset.get_partition_keys(fragment.partition_expression)
    for name, kind in wanted.items():
        if name in of_folder:
            continue
        if name not in found:
            raise InputError(f"{where} has no column {name!r}, which other files of x have.")
        if isinstance(kind, str) != isinstance(found[name], str):
            raise InputError(
                f"column {name!r} of {where} is {found[name]}, and {kind} in other files of x; make "
                "them the same."
            )


def _row_group(fragment: Any, row: int) -> str:
    """The row group of a row of a Parquet file, as text."""
    try:
        groups = getattr(fragment, "row_groups", None)
    except OSError:  # the file is not there any more
        return ""
    if not groups:
        return ""
    ends = list(itertools.accumulate(group.num_rows for group in groups))
    return f", row group {int(np.searchsorted(ends, row, side='right'))}"


def table_of_parquet(file: Any) -> Table:
    """A pyarrow ParquetFile."""
    groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    ends = list(itertools.accumulate(groups))

    def read(names: list[str], order: Sequence[int] = range(len(groups))) -> Iterator[Any]:
        batches = file.iter_batches(batch_size=ROWS, columns=names, row_groups=list(order))
        return map(_Part, batches)

    def place_of(row: int) -> str:
        return f" (row group {int(np.searchsorted(ends, row, side='right'))} of the file)"

    types = _arrow_types(file.schema_arrow)
    return Table(
        types, sum(groups), read, _arrow_array, _arrow_coded, _arrow_dictionaries(file.schema_arrow),
        place_of, lambda: groups,
    )  # fmt: skip
