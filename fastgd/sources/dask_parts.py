"""Dask arrays and data frames as parts that become blocks; but for categories nothing is computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import inputs
from ..errors import InputError
from .categories import (
    Categories,
    Encoded,
    categories_of,
    chosen_columns,
    features_of_column,
    together,
    values_found,
)
from .frames import table_of_frame
from .tables import dtype_of, in_memory


class Parts(NamedTuple):
    """The parts of x, Delayed objects that become blocks, and what goes with them.

    Attributes
    ----------
    parts : list of Delayed
    rows : tuple of int, or None
        The rows of each part, where they are known.
    d : int
    dtype : numpy dtype
    names : list of str or None
    y, weight : as the caller has them, or columns of x
    categories : dict
        As for `Blocks`.
    """

    parts: list[Any]
    rows: tuple[int, ...] | None
    d: int
    dtype: np.dtype
    names: list[str] | None
    y: Any
    weight: Any
    categories: Categories


def parts_of(x: Any, y: Any, weight: Any, columns: Any, categories: Any) -> Parts:
    """The parts of a dask array, series or data frame; errors and arguments as in `dask.of_dask`."""
    kind = type(x).__name__
    meta = getattr(x, "_meta", None)
    if inputs.on_gpu(meta) or type(meta).__module__.partition(".")[0] in ("cupy", "cudf"):
        raise chunks_on_gpu()
    if kind == "Array":
        if columns or categories:
            raise InputError("x is a dask array, which has no columns to choose by name.")
        return _of_array(x, y, weight)
    if kind in ("Series", "DataFrame"):
        x = x.to_frame() if kind == "Series" else x
        return _of_frame(x, y, weight, columns, categories)
    raise InputError(f"x is a {kind} of Dask; pass a dask array or a dask data frame.")


def _of_array(x: Any, y: Any, weight: Any) -> Parts:
    if x.ndim not in (1, 2):
        raise InputError(f"x has shape {x.shape}; pass rows of numbers, (n, d).")
    for name, given in (("y", y), ("sample_weight", weight)):
        if isinstance(given, str):
            raise InputError(f"{name} is {given!r}, and x is a dask array, which has no columns.")
    x = x[:, None] if x.ndim == 1 else x
    if x.dtype.kind not in "fiub":
        raise InputError(f"x is a dask array of {x.dtype}; pass real numbers.")
    if 0 in x.shape:
        inputs.check_shape(x.shape, "x")
    if len(x.chunks[1]) > 1:
        x = x.rechunk({1: -1})
    rows = x.chunks[0] if all(isinstance(m, int) for m in x.chunks[0]) else None
    parts = x.to_delayed().ravel().tolist()
    return Parts(parts, rows, x.shape[1], x.dtype, None, y, weight, {})


def _of_frame(x: Any, y: Any, weight: Any, columns: Any, categories: Any) -> Parts:
    from dask.delayed import delayed

    table = table_of_frame(x._meta)
    names = chosen_columns(list(table.types), y, weight, columns)
    if y is None:
        raise InputError("y is missing; pass the name of a column of x, or an array.")
    known = {
        name: v if v is not None and x[name].cat.known else None
        for name, v in table.categorical.items()
    }
    table = table._replace(categorical=known)
    found = categories_of(table, names, categories, lambda those: _values(x, those))
    features = [feature for name in names for feature in features_of_column(name, found)]
    table = Encoded(table, found).table() if found else table
    dtype = dtype_of(table.types, features)
    to_array = delayed(_array_of, pure=False)
    parts = [
        to_array(part, number, features, found, dtype)
        for number, part in enumerate(x[names].to_delayed())
    ]
    named = all(isinstance(name, str) for name in names)
    return Parts(
        parts, None, len(features), dtype, features if named else None,
        x[y] if isinstance(y, str) else y, x[weight] if isinstance(weight, str) else weight, found,
    )  # fmt: skip


def _values(x: Any, names: list[str]) -> dict[str, list[Any]]:
    """The values that each of these columns of a data frame has."""
    from dask.base import compute
    from dask.delayed import delayed

    look = delayed(_values_of, pure=False)
    parts = [look(part, number, names) for number, part in enumerate(x[names].to_delayed())]
    return together(names, compute(*parts))


def chunks_on_gpu() -> InputError:
    """What is said of chunks on GPUs."""
    return InputError(
        "the chunks of x are on GPUs, and Dask's workers read them on the CPU only; pass "
        "x.map_blocks(cupy.asnumpy)."
    )


# --- what runs on workers ---------------------------------------------------------------------


def _values_of(frame: Any, number: int, names: list[str]) -> dict[str, list[Any]]:
    """The values that columns have in a part of a data frame."""
    return values_found(table_of_frame(frame, f" of chunk {number}"), names)


def _array_of(
    frame: Any, number: int, features: list[str], categories: Any, dtype: Any
) -> np.ndarray:
    """A part of a data frame as an array."""
    table = table_of_frame(frame, f" of chunk {number}")
    encoded = Encoded(table, categories).table() if categories else table
    return np.ascontiguousarray(in_memory(encoded, features, dtype))
