"""Parquet and Arrow files as tables for the command line: rows stay on the disk, text is encoded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import fastgd

from ..sources.arrow_tables import table_of_files
from ..sources.categories import opened_table
from .csv_table import Table, known_columns, refuse_many, two_labels

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
    table = table_of_files(existing(path))
    target, names = known_columns(path, list(table.types), target, without)
    for name in names:
        kind = table.types[name]
        if isinstance(kind, str) and not _is_text(kind):
            _refuse(path, name, kind, f"to ignore this column, add --without {name!r}")
    kind = table.types[target]
    if isinstance(kind, str) and not (labels and _is_text(kind)):
        _refuse(path, target, kind, "for a target of two labels, add --logistic")
    if not table.n:
        raise fastgd.InputError(f"{path} has no rows.")
    text = [name for name in names if isinstance(table.types[name], str)]
    x, y, _ = opened_table(table, target, None, names if without else None, text)
    for name, values in x.categories.items():
        refuse_many(path, name, values)
    if labels:
        missing = np.array([each is None or each != each for each in y.tolist()])
        if missing.any():
            row = int(np.argmax(missing))
            place = table.place_of(row) if table.place_of else ""
            raise fastgd.InputError(
                f"{path}, row {row}{place}, column {target!r}: the value is missing; fill it in or "
                "delete the row."
            )
        y = two_labels(path, target, y.astype(str) if isinstance(kind, str) else y)
    return Table(x, y, list(x.names or ()), target, x.categories, "")


def existing(path: str) -> Path:
    """The path of a file that is there."""
    if not Path(path).exists():
        raise fastgd.InputError(f"There is no file {path}.")
    return Path(path)


def _is_text(kind: Any) -> bool:
    return (
        isinstance(kind, str) and kind.removeprefix("dictionary<values=").partition(",")[0] in _TEXT
    )


def _refuse(path: str, name: str, kind: str, advice: str) -> NoReturn:
    raise fastgd.InputError(f"{path}: the column {name!r} is {kind}, and not numbers; {advice}.")
