"""Reading a CSV file into numbers; every error names the row and the column."""

import csv
import difflib
import io
import itertools
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError

MISSING = {"", "?", "na", "n/a", "nan", "null"}


class Table(NamedTuple):
    """Features, target, names, and the arguments with which ``numpy.loadtxt`` reads the same."""

    x: np.ndarray
    y: np.ndarray
    features: list[str]
    target: str
    loadtxt: str


def read_csv(
    path: str | Path, target: str | None, *, without: Sequence[str] = (), labels: bool = False
) -> Table:
    """Read the column `target`, and as features all other columns except those in `without`.

    The file is UTF-8 text with the column names in its first row, separated by commas, semicolons
    or tabs. With `labels`, the target holds two labels of any kind, otherwise numbers. Rows are
    counted as an editor counts lines, the names being row 1. Raises InputError.
    """
    text = _text(path)
    delimiter = _delimiter(text)
    # newline="" leaves line ends to the csv module; strict finds a quote that is never closed.
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    features = array("d")
    targets: list[Any] = []
    try:
        rows = (row for row in reader if len(row) > 1 or "".join(row).strip())
        header = [name.strip() for name in next(rows, [])]
        skiprows = reader.line_num
        target, columns = _features(path, header, target, without)
        t = header.index(target)
        for row in rows:
            if len(row) != len(header):
                raise InputError(
                    f"{path}, row {reader.line_num}: the number of values is {len(row)}, but the "
                    f"first row names {len(header)} columns."
                )
            values: list[Any] = [_number(row[j]) for j in columns]
            answer: Any = row[t].strip() if labels else _number(row[t])
            if None in values or answer is None or (labels and answer.casefold() in MISSING):
                bad = columns[values.index(None)] if None in values else t
                where = f"{path}, row {reader.line_num}, column {header[bad]!r}"
                raise InputError(f"{where}: {_complaint(row[bad].strip(), header[bad], bad == t)}")
            features.extend(values)
            targets.append(answer)
    except csv.Error as error:
        raise InputError(f"{path}, row {reader.line_num}: not readable as CSV: {error}.") from None
    if not targets:
        raise InputError(f"{path} has column names, but no rows below them.")

    y = _two_labels(path, target, targets) if labels else np.array(targets)
    words = y.dtype.kind == "U"
    loadtxt = [f"{delimiter=}, {skiprows=}, usecols={(*columns, t)}"]
    loadtxt += ["quotechar='\"'"] if '"' in text else []
    loadtxt += ["comments=None"] if "#" in text else []
    loadtxt += ["encoding='utf-8'"] if words or not text.isascii() else []
    blanks_at_end = text.rstrip("\r\n").endswith((" ", "\t"))
    loadtxt += [f"max_rows={len(targets)}"] if blanks_at_end else []
    loadtxt += ["ndmin=2"] if len(targets) == 1 else []
    loadtxt += ["dtype=str"] if words else []
    loadtxt += [f"converters={{{t}: str.strip}}"] if words and " " in text else []
    x = np.frombuffer(features).reshape(len(targets), len(columns))
    return Table(x, y, [header[j] for j in columns], target, ", ".join(loadtxt))


def _text(path: str | Path) -> str:
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except OSError as error:
        reason = "it is a folder" if Path(path).is_dir() else error.strerror
        raise InputError(f"{path} can't be read: {reason}.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, row {row}: not UTF-8 text (byte 0x{raw[error.start]:02x}); save the file as "
            "CSV in UTF-8."
        ) from None
    if not text.strip():
        raise InputError(f"{path} is empty.")
    return text


def _delimiter(text: str) -> str:
    try:
        sample = "".join(itertools.islice(io.StringIO(text), 20))
        return csv.Sniffer().sniff(sample, ",;\t").delimiter
    except csv.Error:
        return ","


def _features(
    path: str | Path, header: list[str], target: str | None, without: Sequence[str]
) -> tuple[str, list[int]]:
    """The target, and the indices of the feature columns, after a check of the names."""
    name, times = Counter(header).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path} has {times} columns named {name!r}; rename them.")
    listed = ", ".join(map(repr, header[:20])) + (", …" if len(header) > 20 else "")
    if target is None:
        raise InputError(f"Say with --target which column of {path} to predict: {listed}.")
    for name in (target, *without):
        if name not in header:
            folded = {known.casefold(): known for known in header}
            near = difflib.get_close_matches(name.casefold(), folded, n=1)
            hint = f" (did you mean {folded[near[0]]!r}?)" if near else ""
            raise InputError(f"{path} has no column {name!r}{hint}; its columns are {listed}.")
    if target in without:
        raise InputError(f"The column {target!r} can't be both the target and ignored.")
    columns = [j for j, name in enumerate(header) if name not in (target, *without)]
    if not columns:
        raise InputError(
            f"{path} has no column besides the target {target!r} to predict it from (columns are "
            "separated by commas, semicolons or tabs)."
        )
    for j in columns:
        if not header[j]:
            raise InputError(
                f"{path}: column {j + 1} has no name; name it, or ignore it with --without ''."
            )
    return target, columns


def _number(text: str) -> float | None:
    """The finite number that the text is, or None; with underscores, as in 2_000, it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _complaint(text: str, column: str, is_target: bool) -> str:
    """What is wrong with the text of a value, and what to do."""
    if text.casefold() in MISSING:
        shown = f" ({text!r})" if text else ""
        return f"the value is missing{shown}; fill it in or delete the row."
    if _number(text.replace(",", ".")) is not None:
        advice = "write decimals with a point and thousands without a separator"
    elif is_target:
        advice = "for a target of two labels, add --logistic"
    else:
        advice = f"to ignore this column, add --without {column!r}"
    return f"{text!r} is not a finite number; {advice}."


def _two_labels(path: str | Path, target: str, labels: list[str]) -> np.ndarray:
    """The labels, as numbers if all of them are numbers."""
    numbers = [_number(label) for label in labels]
    y = np.array(labels if None in numbers else numbers)
    values = np.unique(y).tolist()
    if len(values) != 2:
        shown = ", ".join(map(repr, values[:5])) + (", …" if len(values) > 5 else "")
        raise InputError(
            f"{path}: with --logistic the column {target!r} must hold two different values, but it "
            f"holds {len(values)}: {shown}."
        )
    return y
