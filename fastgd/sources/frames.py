"""A pandas frame as a table: rows in memory, with columns that are to be chosen or encoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import column_of
from .tables import Table


def table_of_frame(frame: Any, where: str = "") -> Table:
    """A pandas frame, in one batch; `where` tells what part of a larger frame it is.

    Raises
    ------
    InputError
        If a name of its columns occurs twice.
    """
    if not frame.columns.is_unique:
        name = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"x has several columns named {name!r}; rename them.")

    def read(names: list[str]) -> Iterator[Any]:
        yield frame[list(names)]

    def array(batch: Any, name: str) -> np.ndarray:
        return np.asarray(column_of(batch[name]))

    def coded(batch: Any, name: str) -> tuple[np.ndarray, list[Any]]:
        import pandas

        codes, values = pandas.factorize(batch[name])
        return codes, values.tolist()

    types = {name: type_of_column(dtype) for name, dtype in frame.dtypes.items()}
    categorical = {
        name: dtype.categories.tolist() if dtype.name == "category" else None
        for name, dtype in frame.dtypes.items()
        if dtype.name == "category" or dtype.name.startswith("dictionary")  # the latter is Arrow's
    }
    return Table(types, len(frame), read, array, coded, categorical, lambda row: where)


def type_of_column(dtype: Any) -> Any:
    """The NumPy dtype of a column of pandas, or as text that of one without numbers."""
    if hasattr(dtype, "fill_value"):  # sparse
        dtype = dtype.subtype
    if dtype.kind not in "fiub" or dtype.name == "category":
        return str(dtype)
    if isinstance(dtype, np.dtype):
        return dtype
    return np.dtype(getattr(dtype, "numpy_dtype", np.float64))
