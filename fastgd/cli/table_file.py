"""Parquet and Arrow files as tables for the command line: rows stay on the disk, text is encoded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fastgd

from ..sources import tables
from ..sources.blocks import Blocks
from .csv_table import Table, known_columns, two_labels
from .encoding import MOST, Column, features, of_names, of_values, unknown

ENDINGS = (".parquet", ".arrow", ".feather", ".ipc")
_TEXT = ("string", "large_string", "string_view")


def is_table(file: str) -> bool:
    """Whether a file, or one of those in a folder, has an ending of these formats."""
    path = Path(file)
    if path.is_dir():
        return any(each.suffix.lower() in ENDINGS for each in path.rglob("*"))
    return path.suffix.lower() in ENDINGS


def read_table(path: str, target: str | None, without: Sequence[str], labels: bool) -> Table:
    """The target, and all other columns except those in `without`, as `read_csv` does."""
    table = _opened(path)
    target, names = known_columns(path, list(table.types), target, without)
    columns = _columns(path, table, names)
    kind = table.types[target]
    if isinstance(kind, str) and not (labels and _is_text(kind)):
        _refuse(path, target, kind, "for a target of two labels, add --logistic")
    y = tables.columns_in_memory(table, [target])[target]
    if not len(y):
        raise fastgd.InputError(f"{path} has no rows.")
    if labels:
        missing = np.array([each is None or each != each for each in y.tolist()])
        if missing.any():
            row = int(np.argmax(missing))
            raise fastgd.InputError(
                f"{path}, row {row}{_place(table, row)}, column {target!r}: the value is missing; fill "
                "it in or delete the row."
            )
        y = two_labels(path, target, y.astype(str) if isinstance(kind, str) else y)
    return Table(
        _blocks(path, table, columns, False), y, features(columns, False), target, columns, ""
    )


def read_table_to_predict(path: str, names: Sequence[str]) -> Blocks:
    """The features of a fit with these names, text being encoded with the base."""
    table = _opened(path)
    columns = of_names(names, table.types)
    for column in columns:
        if column.name not in table.types:
            raise fastgd.InputError(f"{path} has no column {column.name!r}, which the fit has.")
        kind = table.types[column.name]
        wanted = "numbers" if column.values is None else "text"
        if wanted != ("text" if _is_text(kind) else "numbers"):
            raise fastgd.InputError(
                f"{path}: the column {column.name!r} is {kind}, and was {wanted} in the fit."
            )
    return _blocks(path, table, columns, True)


def _opened(path: str) -> tables.Table:
    if not Path(path).exists():
        raise fastgd.InputError(f"There is no file {path}.")
    return tables.table_of_files(Path(path))


def _is_text(kind: Any) -> bool:
    return (
        isinstance(kind, str) and kind.removeprefix("dictionary<values=").partition(",")[0] in _TEXT
    )


def _refuse(path: str, name: str, kind: str, advice: str) -> NoReturn:
    raise fastgd.InputError(f"{path}: the column {name!r} is {kind}, and not numbers; {advice}.")


def _columns(path: str, table: tables.Table, names: list[str]) -> list[Column]:
    """The columns, with the values of those of text, found by one reading of these."""
    import pyarrow.compute

    text = [name for name in names if _is_text(table.types[name])]
    for name in names:
        kind = table.types[name]
        if isinstance(kind, str) and name not in text:
            _refuse(path, name, kind, f"to ignore this column, add --without {name!r}")
    seen: dict[str, set[str]] = {name: set() for name in text}
    row = 0
    for part in table.read(text) if text else ():
        for name in text:
            column = _decoded(part.column(name))
            if column.null_count:
                at = row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
                raise fastgd.InputError(
                    f"{path}, row {at}{_place(table, at)}, column {name!r}: the value is missing; fill "
                    "it in or delete the row."
                )
            seen[name].update(pyarrow.compute.unique(column).to_pylist())
            if len(seen[name]) > MOST:
                of_values(path, name, seen[name])
        row += len(part)
    return [of_values(path, name, seen[name]) if name in seen else Column(name) for name in names]


def _decoded(column: Any) -> Any:
    return column.dictionary_decode() if str(column.type).startswith("dictionary") else column


def _place(table: tables.Table, row: int) -> str:
    return table.place_of(row) if table.place_of else ""


def _blocks(path: str, table: tables.Table, columns: list[Column], base: bool) -> Blocks:
    """The features in blocks."""
    types = [np.dtype(bool) if c.values else table.types[c.name] for c in columns]
    dtype = np.result_type(*types)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    names = features(columns, base)
    rows = tables.rows_a_block(len(names), dtype)

    def encoded() -> Iterator[list[np.ndarray]]:
        first = 0
        for part in table.read([column.name for column in columns]):
            yield [
                feature
                for column in columns
                for feature in column.encoded(values(part, column, first), base)
            ]
            first += len(part)

    def values(part: Any, column: Column, first: int) -> np.ndarray:
        if column.values is None:
            return table.array(part, column.name)
        import pyarrow.compute

        of_text = _decoded(part.column(column.name))
        known = pyarrow.array(column.values, of_text.type)
        places = pyarrow.compute.index_in(of_text, value_set=known)
        if places.null_count:
            at = int(np.argmax(places.is_null().to_numpy(zero_copy_only=False)))
            row, value = first + at, of_text[at].as_py()
            complaint = "the value is missing." if value is None else unknown(value, column)
            raise fastgd.InputError(
                f"{path}, row {row}{_place(table, row)}, column {column.name!r}: {complaint}"
            )
        return np.asarray(places.to_numpy(zero_copy_only=False))

    def read() -> Iterator[Any]:
        return tables.in_blocks_of(rows, dtype, encoded())

    return Blocks(read, (table.n, len(names)), dtype, names, table.place_of)
