"""Data frames: their column names, and their columns as arrays; no library of frames is imported."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError

#: Classes (or their base classes) whose rows are not in memory, or in groups, and what to pass instead.
_WITHOUT_ROWS = {
    "polars.LazyFrame": "a query that has not run; pass {}.collect()",
    "polars.LazyGroupBy": "a query that has not run; aggregate it, and pass .collect() of that",
    "polars.Expr": "an expression without rows; pass frame.select({})",
    "polars.GroupBy": "groups of rows; aggregate them first, as {}.mean() does",
    "polars.RollingGroupBy": "groups of rows; aggregate them first, with {}.agg(…)",
    "polars.DynamicGroupBy": "groups of rows; aggregate them first, with {}.agg(…)",
    "pyarrow.Dataset": "not in memory; pass {}.to_table()",
    "pyarrow.Scanner": "not in memory; pass {}.to_table()",
    "pyarrow.ParquetDataset": "not in memory; pass {}.read()",
    "pyarrow.ParquetFile": "not in memory; pass {}.read()",
    "pyarrow.RecordBatchReader": "not in memory; pass {}.read_all()",
    "pyarrow.TableGroupBy": "groups of rows; aggregate them first, with {}.aggregate(…)",
    "pandas.BaseGroupBy": "groups of rows; aggregate them first, as {}.mean() does",
    "pandas.BaseWindow": "windows of rows; aggregate them first, as {}.mean() does",
    "pandas.TextFileReader": "not in memory; pass pandas.concat({})",
}
#: Python's own types of data.
OWN = (list, tuple, float, int)
#: Types of data without names of columns.
_WITHOUT_NAMES = (np.ndarray, *OWN)


@functools.lru_cache(maxsize=256)
def _library_names(kind: Any) -> dict[str, None]:
    """The names of a class and its base classes, such as "pandas.DataFrame"."""
    bases = [(base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__]
    return dict.fromkeys(f"{library}.{name}" for library, name in bases)


def is_dask(x: Any) -> bool:
    """Whether x is a collection of Dask, whose rows are computed in chunks; nothing is imported."""
    return type(x).__module__.partition(".")[0].startswith("dask") and hasattr(x, "__dask_graph__")


def why_without_rows(x: Any, name: str) -> str | None:
    """Why an object of a library has no rows, and what to pass instead; None if it has."""
    for known in _library_names(x.__class__):
        if known in _WITHOUT_ROWS:
            what = f"{known.partition('.')[0]}.{type(x).__name__}"
            return f"{name} is a {what}, {_WITHOUT_ROWS[known].format(name)}."
    return None


def column_names(x: Any) -> list[str] | None:
    """The column names of a data frame, for messages."""
    if type(x) in _WITHOUT_NAMES:
        return None
    columns = _columns(x)
    return None if columns is None else [str(name) for name in columns]


def _columns(x: Any) -> list[Any] | None:
    """The names of the columns, of whatever type, or None."""
    if type(x) in _WITHOUT_NAMES or why_without_rows(x, "x"):  # a query's columns may run it
        return None
    columns = getattr(x, "column_names", None)  # of pyarrow, whose `columns` are the data
    if columns is None:
        columns = getattr(x, "columns", None)
    return None if columns is None or callable(columns) else list(columns)


def feature_names(x: Any) -> tuple[str, ...] | None:
    """The column names of a data frame, for a fit to keep: None unless they are text.

    Raises
    ------
    InputError
        If some names are text and others are not: scikit-learn refuses them too.
    """
    columns = _columns(x)
    if not columns:
        return None
    others = {type(name).__name__ for name in columns if not isinstance(name, str)}
    if not others:
        return tuple(map(str, columns))
    if any(isinstance(name, str) for name in columns):
        raise InputError(
            f"x has column names of text and of other types ({', '.join(sorted(others))}); make all of "
            "them text."
        )
    return None


def require_names(x: Any, fitted: tuple[str, ...] | None) -> None:
    """Raise unless x has the column names of a fit in the same order, or x or the fit has none.

    The number of columns is not checked here.
    """
    if fitted is not None:
        require_names_of(feature_names(x), fitted)


def require_names_of(given: Sequence[str] | None, fitted: tuple[str, ...] | None) -> None:
    """The same for the names of x, or None."""
    if fitted is None or given is None or len(given) != len(fitted):
        return
    for column, (name, wanted) in enumerate(zip(given, fitted, strict=True)):
        if name != wanted:
            same = sorted(given) == sorted(fitted)
            raise InputError(
                f"column {column} of x is {name!r}, and that of the fit is {wanted!r}; "
                + ("pass the columns in the order of" if same else "pass the columns named in")
                + " the fit's feature_names."
            )


def columns_of_mixed_frame(x: Any) -> list[np.ndarray] | None:
    """The columns of a pandas frame whose dtypes differ or are pandas' own; None for other values.

    `np.asarray` makes objects of such a frame if one of its columns is not of NumPy's integers or floats.
    Converting these one by one took 8 s for 100,000×10; by column it takes 7 ms.
    """
    if "pandas.DataFrame" not in _library_names(x.__class__):
        return None
    dtypes = set(x.dtypes)
    if len(dtypes) < 2 and all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return None
    return [column_of(x.iloc[:, j]) for j in range(x.shape[1])]


def entries_of_sparse(series: Any) -> tuple[np.ndarray, np.ndarray, Any] | None:
    """The rows and the values that a sparse column of a pandas frame stores, and the value of the others.

    That is None where there are no others. None where the column is not a sparse one of numbers.
    """
    array = series.array
    index = getattr(array, "sp_index", None)
    if index is None or array.sp_values.dtype.kind not in "fiub":
        return None
    rows = index.to_int_index().indices
    return rows, array.sp_values, array.fill_value if len(rows) < len(array) else None


def column_of(series: Any) -> np.ndarray:
    """A column of a pandas frame; missing values are NaN where the others are numbers or booleans."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype) or dtype.kind not in "iufb":
        return np.asarray(series)
    if series.hasnans:
        return series.to_numpy(np.float64, na_value=np.nan)
    return series.to_numpy(getattr(dtype, "numpy_dtype", None))
