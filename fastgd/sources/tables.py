"""Tables with named columns, which are read in batches, as blocks of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import BlockError, InputError
from .blocks import BLOCK_BYTES, Blocks, Opened
from .read_ahead import read_ahead
from .watched import tell

#: The rows of a batch.
ROWS = 1 << 16


class Table(NamedTuple):
    """Named columns that are read in parts.

    Parameters
    ----------
    types : dict
        The NumPy type of each column, or as text that of one without numbers.
    n : int
        The number of rows.
    read : callable
        ``read(names)`` is an iterator of batches with these columns; with parts, ``read(names, order)``
        is one that takes the parts in this order.
    array : callable
        ``array(batch, name)`` is a column of a batch as an array; what is missing is NaN.
    coded : callable
        ``coded(batch, name)`` are the codes of a column of a batch, −1 for what is missing, and the list
        of values that they stand for.
    categorical : dict
        The columns of dictionary types, with their values, or None where these are not known.
    place_of, parts : callable, optional
        As for `Blocks`.
    check : callable, optional
        ``check(names)`` raises `InputError` where the files of x have not all of these columns alike, or
        for None all columns.
    """

    types: dict[str, Any]
    n: int
    read: Callable[..., Iterator[Any]]
    array: Callable[[Any, str], np.ndarray]
    coded: Callable[[Any, str], tuple[np.ndarray, list[Any]]]
    categorical: dict[str, Any]
    place_of: Callable[[int], str] | None = None
    parts: Callable[[], Sequence[int]] | None = None
    check: Callable[[Sequence[str] | None], None] | None = None


def opened_features(
    table: Table, beside: Table, y: Any, weight: Any, features: list[str]
) -> Opened:
    """These columns of a table as blocks, with y and weights in memory, columns of `beside` or arrays.

    Raises
    ------
    InputError
        If a feature holds no numbers, or there is none.
    """
    dtype = dtype_of(table.types, features)
    named = [given for given in (y, weight) if isinstance(given, str)]
    rows = rows_a_block(len(features), dtype)
    held = columns_in_memory(beside, named) if named else {}
    n = len(held[named[0]]) if named else table.n

    def read(*order: np.ndarray) -> Iterator[Any]:
        batches = table.read(features, *order)
        return in_blocks_of(
            rows, dtype, ([table.array(batch, name) for name in features] for batch in batches)
        )

    x = Blocks(read, (n, len(features)), dtype, features, table.place_of, table.parts)
    y, weight = (held[given] if isinstance(given, str) else given for given in (y, weight))
    return Opened(x, y, weight)


def dtype_of(types: dict[str, Any], features: list[str]) -> np.dtype:
    """The common dtype of features; errors as in `opened_features`."""
    if not features:
        raise InputError(
            "x has no feature: no column but y and the weights, or categories of one value alone; pass "
            "one at least."
        )
    for column, name in enumerate(features):
        if isinstance(types[name], str):
            raise InputError(
                f"column {column} ({name!r}) of x is {types[name]}; name it in categories= to have "
                "columns of 0 and 1, or leave it out with columns=."
            )
    dtype = np.result_type(*(types[name] for name in features))
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def in_memory(table: Table, features: list[str], dtype: Any) -> np.ndarray:
    """These columns of a table as one array (n, d), in F order."""
    out, first = np.empty((table.n, len(features)), dtype, order="F"), 0
    for batch in table.read(features):
        columns = [table.array(batch, name) for name in features]
        for j, column in enumerate(columns):
            out[first : first + len(column), j] = column
        first += len(columns[0])
    return out


def rows_a_block(d: int, dtype: np.dtype) -> int:
    """The rows of a block of d columns."""
    return max(1, BLOCK_BYTES // (d * dtype.itemsize))


def columns_in_memory(table: Table, names: list[str]) -> dict[str, np.ndarray]:
    """Whole columns of a table, by one reading."""
    held: dict[str, list[np.ndarray]] = {name: [] for name in names}
    rows = size = 0
    try:
        for part in read_ahead(table.read(names)):
            for name in names:
                held[name].append(table.array(part, name))
                size += held[name][-1].nbytes
            rows += len(part)
            tell(rows, size)
    except BlockError as error:
        raise BlockError(f"{', '.join(map(repr, names))} can't be read: {error}") from error
    return {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in held.items()}


def in_blocks_of(
    rows: int, dtype: np.dtype, parts: Iterable[list[np.ndarray]]
) -> Iterator[np.ndarray]:
    """The columns of parts of any length, as blocks (rows, d) in F order, the last one shorter.

    A block is overwritten by the second one after it: new memory took a third of the time.
    """
    both: list[np.ndarray] = []
    number = filled = 0
    for columns in parts:
        start, length = 0, len(columns[0])
        while start < length:
            if number == len(both) < 2:
                both.append(np.empty((rows, len(columns)), dtype, order="F"))
            block = both[number % 2]
            stop = min(length, start + rows - filled)
            own = slice(filled, filled + stop - start)
            for j, column in enumerate(columns):
                block[own, j] = column[start:stop]
            start, filled = stop, own.stop
            if filled == rows:
                yield block
                number, filled = number + 1, 0
    if filled:
        yield np.asfortranarray(both[number % 2][:filled])
