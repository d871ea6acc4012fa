"""Reading a CSV file into numbers; every error names the row and the column."""

import csv
import difflib
import io
import itertools
import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..errors import InputError
from ..sources.categories import Categories, columns_of_features, features_of_column

MISSING = {"", "?", "na", "n/a", "nan", "null"}

#: The most values of a column of text.
_MOST = 100


class Table(NamedTuple):
    """Features, target, names, the values of columns of text, and how Python reads the same.

    `loadtxt` has the arguments of ``numpy.loadtxt``, or is empty where a column is text.
    """

    x: Any
    y: np.ndarray
    features: list[str]
    target: str
    categories: Categories
    loadtxt: str


def read_csv(
    path: str | Path, target: str | None, *, without: Sequence[str] = (), labels: bool = False
) -> Table:
    """Read the column `target`, and as features all other columns except those in `without`.

    The file is UTF-8 text with the column names in its first row, separated by commas, semicolons
    or tabs. With `labels`, the target holds two labels of any kind, otherwise numbers. A column whose
    first value is text is encoded, one feature for each value but the first. Rows are counted as an
    editor counts lines, the names being row 1. Raises InputError.
    """
    file = _Rows(path)
    target, names = known_columns(path, file.header, target, without)
    t, places = file.header.index(target), [file.header.index(name) for name in names]
    numbers = array("d")
    targets: list[Any] = []
    seen: dict[int, dict[str, int]] | None = None
    for row in file.rows():
        if seen is None:
            seen = {j: {} for j in places if _is_text(row[j])}
        answer: Any = row[t].strip() if labels else _number(row[t])
        if answer is None or (labels and answer.casefold() in MISSING):
            file.refuse(t, _complaint(row[t].strip(), target, True))
        for j in places:
            if j in seen:
                text = row[j].strip()
                if not _is_text(text):
                    file.refuse(j, _complaint(text, file.header[j], False, True))
                numbers.append(seen[j].setdefault(text, len(seen[j])))
                refuse_many(path, file.header[j], seen[j])
            else:
                numbers.append(_required(file, row, j))
        targets.append(answer)
    if not targets:
        raise InputError(f"{path} has column names, but no rows below them.")

    y = two_labels(path, target, _as_numbers(targets)) if labels else np.array(targets)
    x = np.frombuffer(numbers).reshape(len(targets), len(places))
    x = x.copy() if seen else x
    categories: Categories = {}
    for place, j in enumerate(places):
        if seen and j in seen:
            values = categories[file.header[j]] = tuple(sorted(seen[j]))
            order = np.array([values.index(text) for text in seen[j]], float)
            x[:, place] = order[x[:, place].astype(int)]
    loadtxt = "" if seen else _loadtxt(file, [*places, t], y, len(targets))
    features = [f for name in names for f in features_of_column(name, categories)]
    return Table(_encoded(x, names, categories), y, features, target, categories, loadtxt)


def read_csv_to_predict(
    path: str | Path, features: Sequence[str], categories: Categories
) -> np.ndarray:
    """The features of a fit with these names, text being encoded as in `read_csv`."""
    file = _Rows(path)
    columns = columns_of_features(features, categories)
    for name in columns:
        if name not in file.header:
            raise InputError(f"{path} has no column {name!r}, which is one of the features.")
    places = [file.header.index(name) for name in columns]
    known = {
        name: {text: place for place, text in enumerate(values)}
        for name, values in categories.items()
    }
    numbers = array("d")
    for row in file.rows():
        for name, j in zip(columns, places, strict=True):
            if name not in known:
                numbers.append(_required(file, row, j))
                continue
            text = row[j].strip()
            if text.casefold() in MISSING:
                file.refuse(j, _complaint(text, name, False))
            if text not in known[name]:
                listed = ", ".join(map(repr, categories[name][:10]))
                file.refuse(j, f"{text!r} is none of its categories ({listed}).")
            numbers.append(known[name][text])
    if not numbers:
        raise InputError(f"{path} has column names, but no rows below them.")
    return _encoded(np.frombuffer(numbers).reshape(-1, len(columns)), columns, categories)


def _encoded(x: np.ndarray, columns: Sequence[str], categories: Categories) -> np.ndarray:
    """x with places among the values of columns of text as columns of 0 and 1."""
    if not categories:
        return x
    parts = []
    for name, column in zip(columns, x.T, strict=True):
        values = categories.get(name)
        parts += [column] if values is None else [column == i for i in range(1, len(values))]
    return np.column_stack(parts).astype(float, copy=False)


def refuse_many(path: str | Path, name: str, values: Collection[str]) -> None:
    """Raise where a column of text has too many values."""
    if len(values) > _MOST:
        some = ", ".join(map(repr, itertools.islice(values, 2)))
        raise InputError(
            f"{path}: the column {name!r} is text of more than {_MOST} values, such as {some}; to ignore "
            f"this column, add --without {name!r}."
        )


class _Rows:
    """The rows of a CSV file, each as long as the header; where the reader is, for messages."""

    def __init__(self, path: str | Path):
        self.path, self.text = path, _text(path)
        self.delimiter = _delimiter(self.text)
        # newline="" leaves line ends to the csv module; strict finds a quote that is never closed.
        lines = io.StringIO(self.text, newline="")
        self._reader = csv.reader(
            lines, delimiter=self.delimiter, skipinitialspace=True, strict=True
        )
        self._rows = (row for row in self._reader if len(row) > 1 or "".join(row).strip())
        self.header = [name.strip() for name in self._next() or []]
        self.skiprows = self._reader.line_num

    def _next(self) -> list[str] | None:
        try:
            return next(self._rows, None)
        except csv.Error as error:
            raise InputError(
                f"{self.path}, row {self._reader.line_num}: not readable as CSV: {error}."
            ) from None

    def rows(self) -> Iterator[list[str]]:
        """All rows below the header."""
        while (row := self._next()) is not None:
            if len(row) != len(self.header):
                raise InputError(
                    f"{self.path}, row {self._reader.line_num}: the number of values is {len(row)}, but "
                    f"the first row names {len(self.header)} columns."
                )
            yield row

    def refuse(self, column: int, complaint: str) -> NoReturn:
        """Raise InputError for a value of the last row."""
        where = f"{self.path}, row {self._reader.line_num}, column {self.header[column]!r}"
        raise InputError(f"{where}: {complaint}")


def _required(file: _Rows, row: list[str], column: int) -> float:
    number = _number(row[column])
    if number is None:
        file.refuse(column, _complaint(row[column].strip(), file.header[column], False))
    return number


def _loadtxt(file: _Rows, places: list[int], y: np.ndarray, n: int) -> str:
    """The arguments with which ``numpy.loadtxt`` reads these columns, the target being the last."""
    words, text, t = y.dtype.kind == "U", file.text, places[-1]
    loadtxt = [f"delimiter={file.delimiter!r}, skiprows={file.skiprows}, usecols={tuple(places)}"]
    loadtxt += ["quotechar='\"'"] if '"' in text else []
    loadtxt += ["comments=None"] if "#" in text else []
    loadtxt += ["encoding='utf-8'"] if words or not text.isascii() else []
    blanks_at_end = text.rstrip("\r\n").endswith((" ", "\t"))
    loadtxt += [f"max_rows={n}"] if blanks_at_end else []
    loadtxt += ["ndmin=2"] if n == 1 else []
    loadtxt += ["dtype=str"] if words else []
    loadtxt += [f"converters={{{t}: str.strip}}"] if words and " " in text else []
    return ", ".join(loadtxt)


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


def known_columns(
    path: str | Path, header: list[str], target: str | None, without: Sequence[str]
) -> tuple[str, list[str]]:
    """The target, and the names of the feature columns, after a check of the names."""
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
    columns = [name for name in header if name not in (target, *without)]
    if not columns:
        raise InputError(
            f"{path} has no column besides the target {target!r} to predict it from (columns are "
            "separated by commas, semicolons or tabs)."
        )
    for name in columns:
        if not name:
            raise InputError(
                f"{path}: column {header.index(name) + 1} has no name; name it, or ignore it with "
                "--without ''."
            )
    return target, columns


def _number(text: str) -> float | None:
    """The finite number that the text is, or None; with underscores, as in 2_000, it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _is_text(text: str) -> bool:
    """Whether a value is neither missing nor anything like a number."""
    if text.strip().casefold() in MISSING:
        return False
    try:
        float(text.replace(",", "."))
    except ValueError:
        return True
    return False


def _complaint(text: str, column: str, is_target: bool, in_text: bool = False) -> str:
    """What is wrong with the text of a value, and what to do."""
    if text.casefold() in MISSING:
        shown = f" ({text!r})" if text else ""
        return f"the value is missing{shown}; fill it in or delete the row."
    if in_text:
        return f"{text!r} is like a number, and the values above it are text; make them the same."
    if _number(text.replace(",", ".")) is not None:
        advice = "write decimals with a point and thousands without a separator"
    elif is_target:
        advice = "for a target of two labels, add --logistic"
    else:
        advice = f"to ignore this column, add --without {column!r}"
    return f"{text!r} is not a finite number; {advice}."


def _as_numbers(labels: list[str]) -> np.ndarray:
    """The labels, as numbers if all of them are numbers."""
    numbers = [_number(label) for label in labels]
    return np.array(labels if None in numbers else numbers)


def two_labels(path: str | Path, target: str, y: np.ndarray) -> np.ndarray:
    """The labels, after a check that there are two."""
    values = np.unique(y).tolist()
    if len(values) != 2:
        shown = ", ".join(map(repr, values[:5])) + (", …" if len(values) > 5 else "")
        raise InputError(
            f"{path}: with --logistic the column {target!r} must hold two different values, but it "
            f"holds {len(values)}: {shown}."
        )
    return y
