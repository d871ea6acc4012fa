"""Columns of text as columns of 0 and 1, one for each value, named "sex=male".

The first value, in sorted order, is the base: a fit leaves its column out, and gets it back with the
coefficient 0, so that the names of a saved fit tell every value.
"""

import copy
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastgd

#: The most values of a column.
MOST = 100


class Column(NamedTuple):
    """A column of a table, and its values where it is text."""

    name: str
    values: tuple[str, ...] | None = None

    def features(self, base: bool) -> list[str]:
        """The names of its features, with the base or without."""
        if self.values is None:
            return [self.name]
        return [f"{self.name}={value}" for value in self.values[0 if base else 1 :]]

    def encoded(self, values: np.ndarray, base: bool) -> list[np.ndarray]:
        """Its features, of numbers or of places among its values."""
        if self.values is None:
            return [values]
        return [values == place for place in range(0 if base else 1, len(self.values))]


def features(columns: Sequence[Column], base: bool) -> list[str]:
    """The names of all features."""
    return [name for column in columns for name in column.features(base)]


def with_base(fit: fastgd.Fit, columns: Sequence[Column]) -> fastgd.Fit:
    """A copy of a fit with the coefficient 0 of every base."""
    fit = copy.copy(fit)
    left_out = features(columns, base=False)
    fit.feature_names = tuple(features(columns, base=True))
    given = dict(zip(left_out, fit.coef, strict=True))
    fit.coef = np.array([given.get(name, 0.0) for name in fit.feature_names], fit.coef.dtype)
    return fit


def of_values(where: str, name: str, values: Iterable[str]) -> Column:
    """A column of text with these values.

    Raises
    ------
    InputError
        If there are too many, or the name has the sign that separates it from a value.
    """
    values = sorted(values)
    advice = f"to ignore this column, add --without {name!r}."
    if len(values) > MOST:
        raise fastgd.InputError(
            f"{where}: the column {name!r} is text of more than {MOST} values, such as {values[0]!r} and "
            f"{values[1]!r}; {advice}"
        )
    if "=" in name:
        raise fastgd.InputError(
            f"{where}: the column {name!r} is text, and its name has a '='; rename it, or {advice}"
        )
    return Column(name, tuple(values))


def of_names(names: Sequence[str], known: Collection[str]) -> list[Column]:
    """The columns of a fit with these names of features; `known` are those of the table to read."""
    found: dict[str, list[str] | None] = {}
    for name in names:
        column, sign, value = name.partition("=")
        if name in known or not sign:
            found[name] = None
        else:
            found[column] = [*(found.get(column) or []), value]
    return [Column(name, None if of is None else tuple(of)) for name, of in found.items()]


def unknown(value: Any, column: Column) -> str:
    """What is wrong with a value that the fit has not seen."""
    assert column.values is not None
    listed = ", ".join(map(repr, column.values[:10])) + (", …" if len(column.values) > 10 else "")
    return f"{value!r} is none of the values that were fitted ({listed})."
