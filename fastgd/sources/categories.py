"""Columns that hold one of some values, as columns of 0 and 1: one for each value but the first.

The first value is the base, which has 0 in all of them (treatment coding, as in R's ``model.matrix``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from ..arguments import is_value, plain, shown
from ..errors import InputError
from .blocks import Opened
from .read_ahead import read_ahead
from .shuffled import numbers_of_rows
from .tables import Table, opened_features
from .watched import tell

#: The most values of a column.
_MOST = 1000

#: The values of each column, by its name.
Categories = dict[str, tuple[Any, ...]]


def features_of_column(name: str, categories: Categories) -> list[str]:
    """The names of the features that a column becomes."""
    if name not in categories:
        return [name]
    return [f"{name}={value}" for value in categories[name][1:]]


def columns_of_features(features: Sequence[str], categories: Categories) -> list[str]:
    """The columns that become these features, in their order; at last those of a single value."""
    made = {f: name for name in categories for f in features_of_column(name, categories)}
    return list(dict.fromkeys([*(made.get(feature, feature) for feature in features), *categories]))


def categories_of(
    table: Table,
    columns: Sequence[str],
    given: Any,
    values_of: Callable[[list[str]], dict[str, list[Any]]] | None = None,
) -> Categories:
    """The values of those of these columns that hold categories.

    Parameters
    ----------
    table : Table
    columns : sequence of str
    given : dict, list of str, or None
        Names, or values by name, beside the columns of dictionary types. Values that neither are given
        nor belong to the type are found, and sorted.
    values_of : callable, optional
        The values of columns of these names; by default by one reading.

    Raises
    ------
    InputError
        If a name is none of `columns`, a value is missing or of another kind, or there are too many.
    """
    for name in given or ():
        if name not in columns:
            raise InputError(f"categories has the name {name!r}, which is no feature of x.")
    values: dict[str, Any] = dict.fromkeys(given or ())
    values |= {name: known for name, known in table.categorical.items() if name in columns}
    values |= given if isinstance(given, dict) else {}
    unknown = [name for name, known in values.items() if known is None]
    found = (values_of or partial(values_found, table))(unknown) if unknown else {}
    values |= {name: _in_order(those) for name, those in found.items()}
    for name, those in values.items():
        _require_values(name, those)
    return {name: tuple(values[name]) for name in columns if name in values}


def _require_values(name: str, values: Any) -> None:
    for value in values:
        if not is_value(value):
            raise InputError(
                f"column {name!r} of x has the value {shown(value)}, and categories are text, numbers or "
                "booleans; make text of the column, or leave it out with columns=."
            )
    if len(values) > _MOST:
        some = ", ".join(shown(value) for value in list(values)[:3])
        raise InputError(
            f"column {name!r} of x has more than {_MOST} values ({some}, …); leave it out with columns=, "
            "or group its values."
        )


def values_found(table: Table, names: list[str]) -> dict[str, list[Any]]:
    """The values that each column has, by one reading of these columns."""
    found: dict[str, dict[Any, None]] = {name: {} for name in names}
    first = size = 0
    with contextlib.closing(read_ahead(table.read(names))) as batches:
        for batch in batches:
            for name in names:
                codes, values = _coded(table, batch, name)
                size += codes.nbytes
                used = np.bincount(codes + 1, minlength=1 + len(values)) > 0
                new = [v for v, u in zip([None, *values], used, strict=True) if u]
                if any(map(_is_missing, new)):
                    missing = np.array([*map(_is_missing, values), True])
                    _refuse_missing(name, _place(table, first + int(np.argmax(missing[codes]))))
                found[name].update(dict.fromkeys(map(plain, new)))
                _require_values(name, found[name])
            first += len(codes)
            tell(first, size)
    return {name: list(values) for name, values in found.items()}


def together(names: list[str], parts: Iterable[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """The values of each column in any of these parts."""
    found: dict[str, dict[Any, None]] = {name: {} for name in names}
    for part in parts:
        for name in names:
            found[name].update(dict.fromkeys(part[name]))
            _require_values(name, found[name])
    return {name: list(values) for name, values in found.items()}


def _coded(table: Table, batch: Any, name: str) -> tuple[np.ndarray, list[Any]]:
    """As `Table.coded`."""
    try:
        return table.coded(batch, name)
    except (TypeError, NotImplementedError):
        raise InputError(
            f"column {name!r} of x is {table.types[name]}, and categories are text, numbers or booleans; "
            "leave it out with columns=."
        ) from None


def _in_order(values: Any) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _refuse_missing(name: str, at: str) -> NoReturn:
    raise InputError(
        f"column {name!r} of x has no value{at}; fill it in, or drop that row or column."
    )


def _place(table: Table, row: int, order: np.ndarray | None = None) -> str:
    """Where the row is that is read after so many others, as text; `order` is that of the parts."""
    if order is not None and table.parts:
        row = int(numbers_of_rows(table.parts(), order, row))
    return f" at row {row}{table.place_of(row) if table.place_of else ''}"


def opened_table(
    table: Table, y: Any, weight: Any, columns: Sequence[str] | None, categories: Any
) -> Opened:
    """The columns of a table as blocks, with y and weights in memory.

    Parameters
    ----------
    table : Table
    y, weight : array-like, or str
        A name is that of a column, which is then no feature.
    columns : sequence of str, optional
        The columns that are features, in their order; all others by default.
    categories : dict, list of str, or None
        As for `categories_of`.

    Raises
    ------
    InputError
        If a column that is needed is not there, or holds no numbers and no categories.
    """
    names = chosen_columns(list(table.types), y, weight, columns)
    if table.check:
        named = [given for given in (y, weight) if isinstance(given, str)]
        table.check(None if columns is None else [*names, *named])
    found = categories_of(table, names, categories)
    features = [feature for name in names for feature in features_of_column(name, found)]
    encoded = Encoded(table, found).table() if found else table
    opened = opened_features(encoded, table, y, weight, features)
    opened.x.categories = found
    return opened


def chosen_columns(
    known: Sequence[str], y: Any, weight: Any, columns: Sequence[str] | None
) -> list[str]:
    """The columns that are features, of all that are known."""
    named = {"y": y, "sample_weight": weight}
    for what, given in named.items():
        if isinstance(given, str) and given not in known:
            listed = ", ".join(map(repr, known[:20]))
            raise InputError(f"{what} is {shown(given)}, and the columns of x are {listed}.")
    others = [given for given in named.values() if isinstance(given, str)]
    if columns is None:
        return [name for name in known if name not in others]
    for name in columns:
        if name not in known:
            raise InputError(f"x has no column {name!r}, which is one of the features.")
        if name in others:
            raise InputError(f"columns has {name!r}, which is y or sample_weight.")
    return list(columns)


class Encoded:
    """A table whose columns of categories are replaced by columns of 0 and 1.

    Parameters
    ----------
    table : Table
    categories : Categories
    """

    def __init__(self, table: Table, categories: Categories):
        self._table, self._categories = table, categories
        #: The column of each feature that is one of 0 and 1, and the place of its value.
        self._made: dict[str, tuple[str, int]] = {}
        for name in categories:
            for place, feature in enumerate(features_of_column(name, categories), 1):
                if feature in table.types or feature in self._made:
                    raise InputError(
                        f"x has the column {feature!r}, and one of the values of {name!r} has that name "
                        "too; rename one of them."
                    )
                self._made[feature] = name, place
        self._places = {
            name: {value: place for place, value in enumerate(values)}
            for name, values in categories.items()
        }

    def table(self) -> Table:
        """The table with all columns, and those of 0 and 1 also."""
        made = dict.fromkeys(self._made, np.dtype(bool))
        return self._table._replace(
            types=self._table.types | made, read=self._read, array=self._array
        )

    def _read(self, names: Sequence[str], *order: np.ndarray) -> Iterator[Any]:
        others = (name for name in names if name not in self._made)
        columns = list(dict.fromkeys([*others, *self._categories]))
        first = 0
        for batch in self._table.read(columns, *order):
            places = {
                name: self._places_of(batch, name, first, *order) for name in self._categories
            }
            yield batch, places
            first += len(next(iter(places.values())))

    def _places_of(self, batch: Any, name: str, first: int, *order: np.ndarray) -> np.ndarray:
        """The place of each row's value among the categories of a column."""
        codes, values = _coded(self._table, batch, name)
        place = self._places[name].get
        # The last one is that of code −1.
        found = np.array([*(place(value, -1) for value in values), -1], np.int32)[codes]
        if len(found) and found.min() < 0:
            row = int(np.argmin(found))
            value, at = [*values, None][codes[row]], _place(self._table, first + row, *order)
            self._refuse(name, value, at)
        return found

    def _refuse(self, name: str, value: Any, at: str) -> NoReturn:
        if _is_missing(value):
            _refuse_missing(name, at)
        known = self._categories[name]
        listed = ", ".join(map(shown, known[:20])) + (", …" if len(known) > 20 else "")
        raise InputError(
            f"column {name!r} of x is {shown(value)}{at}, which is none of its categories ({listed})."
        )

    def _array(self, part: Any, name: str) -> np.ndarray:
        batch, places = part
        if name not in self._made:
            return self._table.array(batch, name)
        column, place = self._made[name]
        return np.asarray(places[column] == place)
