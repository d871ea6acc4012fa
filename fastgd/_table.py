"""Reading a CSV file into numbers; every complaint names the row and the column."""

import csv
import difflib
import io
import itertools
import math
from array import array
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import InputError

MISSING = {"", "?", "na", "n/a", "nan", "null"}


class Table(NamedTuple):
    """A target column, and the feature columns beside it.

    ``loadtxt`` holds the keyword arguments with which ``numpy.loadtxt`` reads the same rows from the
    same file: the features in their order, and the target as the last column.
    """

    x: np.ndarray
    y: np.ndarray
    features: list[str]
    target: str
    loadtxt: dict


def read_csv(path, target, *, without=(), labels=False) -> Table:
    """Read the column `target` and all other columns, except those in `without`, as numbers.

    Parameters
    ----------
    path : path-like
        A UTF-8 file whose first row holds the column names, separated by commas, semicolons or tabs.
    target : str
        The name of the column to predict.
    without : sequence of str
        The names of columns to ignore.
    labels : bool, default=False
        Whether the target holds two labels, of any kind, instead of numbers.

    Raises
    ------
    InputError
        If the file can't be read as a table; the message is one sentence that says where and why.
    """
    text = _text(path)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True, strict=True
    )
    try:
        header = next(([name.strip() for name in row] for row in reader if not _blank(row)), None)
        if header is None:
            raise InputError(f"{path} is empty.")
        skiprows = reader.line_num
        t, columns = _columns(path, header, target, without)
        numbers, targets = array("d"), []
        for row in reader:
            if _blank(row):
                continue
            n = reader.line_num
            if len(row) != len(header):
                raise InputError(
                    f"{path}, row {n}: {_count(len(row), 'value')}, but the first row names "
                    f"{_count(len(header), 'column')}."
                )
            for j in columns:
                where = f"{path}, row {n}, column {header[j]!r}"
                numbers.append(_number(row[j], where, f"ignore the column with --without {header[j]!r}"))
            where = f"{path}, row {n}, column {target!r}"
            targets.append(
                _present(row[t], where)
                if labels
                else _number(row[t], where, "for a target of two labels, add --logistic")
            )
    except csv.Error as error:
        raise InputError(f"{path}, row {reader.line_num}: not readable as CSV ({error}).") from None
    if not targets:
        raise InputError(f"{path} has column names, but no rows below them.")

    y = _labels(path, target, targets) if labels else np.array(targets)
    loadtxt = {"delimiter": reader.dialect.delimiter, "skiprows": skiprows, "usecols": [*columns, t]}
    if '"' in text:
        loadtxt["quotechar"] = '"'
    if "#" in text:
        loadtxt["comments"] = None
    if not text.isascii():
        loadtxt["encoding"] = "utf-8"
    if y.dtype.kind == "U":
        loadtxt["dtype"] = str
    x = np.frombuffer(numbers).reshape(len(targets), len(columns))
    return Table(x, y, [header[j] for j in columns], target, loadtxt)


def _text(path) -> str:
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a CSV file.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, row {row}: not UTF-8 text (byte 0x{raw[error.start]:02x}); save the file as "
            "CSV in UTF-8."
        ) from None


def _delimiter(text) -> str:
    sample = "".join(itertools.islice(io.StringIO(text), 20))
    try:
        return csv.Sniffer().sniff(sample, ",;\t").delimiter
    except csv.Error:
        return ","


def _blank(row) -> bool:
    return len(row) < 2 and not "".join(row).strip()


def _count(n, noun) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _columns(path, header, target, without):
    """The index of the target, and those of the features."""
    name, times = Counter(header).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path} has {times} columns named {name!r}; rename them.")
    for name in (target, *without):
        if name not in header:
            by_folded = {known.casefold(): known for known in header}
            near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
            hint = f" (did you mean {by_folded[near[0]]!r}?)" if near else ""
            listed = ", ".join(map(repr, header[:20])) + (", …" if len(header) > 20 else "")
            raise InputError(f"{path} has no column {name!r}{hint}; its columns are {listed}.")
    if target in without:
        raise InputError(f"The column {target!r} can't be both the target and ignored.")
    columns = [j for j, name in enumerate(header) if name not in (target, *without)]
    if not columns:
        raise InputError(
            f"{path} has no column besides the target {target!r} to predict it from (columns are "
            "separated by commas, semicolons or tabs)."
        )
    unnamed = [j + 1 for j in columns if not header[j]]
    if unnamed:
        raise InputError(
            f"{path}: column {unnamed[0]} has no name in its first row; name it, or ignore it with "
            "--without ''."
        )
    return header.index(target), columns


def _present(text, where) -> str:
    text = text.strip()
    if text.casefold() in MISSING:
        shown = f" ({text!r})" if text else ""
        raise InputError(f"{where}: the value is missing{shown}; fill it in or delete the row.")
    return text


def _float(text):
    """The finite number that `text` is, or None. Python reads 2_000 as one; in a table it is a name."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _number(text, where, otherwise) -> float:
    value = _float(text)
    if value is None:
        text = _present(text, where)
        if _float(text.replace(",", ".")) is not None:
            otherwise = "write decimals with a point"
        raise InputError(f"{where}: {text!r} is not a finite number; {otherwise}.")
    return value


def _labels(path, target, labels):
    """The labels as numbers where all of them are, else as text; there must be two."""
    numbers = [_float(label) for label in labels]
    y = np.array(labels if None in numbers else numbers)
    values = np.unique(y).tolist()
    if len(values) != 2:
        shown = ", ".join(map(repr, values[:5])) + (", …" if len(values) > 5 else "")
        raise InputError(
            f"{path}: with --logistic the column {target!r} must hold two different values, but it "
            f"holds {len(values)}: {shown}."
        )
    return y
