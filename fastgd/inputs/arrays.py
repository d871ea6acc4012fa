"""Conversion of data to checked arrays of numbers.

Data is not searched for NaN first: that would be a second pass. If a cost is not finite, the fit calls
`require_finite`, which names the entry; clean data costs nothing.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import operator
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..arguments import plain, real, shown
from ..errors import InputError
from .frames import (
    OWN,
    column_names,
    column_of,
    columns_of_mixed_frame,
    entries_of_sparse,
    require_names,
    why_without_rows,
)
from .sparse import is_compressed, is_sparse_frame, place

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
#: Dtypes of numbers that stay as they are.
_PLAIN = frozenset(map(np.dtype, "?bBhHiIlLqQefd"))
#: Rows of a block, where an entry is searched for.
_SEARCH_BYTES = 8 << 20
#: Types of what lies on the host without another look.
_ON_HOST = (np.ndarray, *OWN, type(None))
#: Classes of real numbers among objects.
_REAL: Any = (numbers.Real, np.bool_)


def as_array(value: Any, name: str) -> np.ndarray:
    """Data of any kind as a numeric NumPy array, without a copy where possible.

    Raises
    ------
    InputError
        If `value` is ragged, sparse, masked, complex, text or otherwise not made of real numbers;
        the first offending element is named.
    """
    kind = type(value)
    if kind is np.ndarray or kind in OWN:
        array = value if kind is np.ndarray else _converted(value, name)
        return array if array.dtype in _PLAIN else _numbers(array, name, None)
    names = column_names(value)
    columns = columns_of_mixed_frame(value)
    if columns is None:
        return _numbers(from_other_library(value, name), name, names)
    arrays = [_numbers(column, name, names, j) for j, column in enumerate(columns)]
    dtype = np.result_type(*{array.dtype for array in arrays})
    table = np.empty((len(value), len(arrays)), dtype, order="F")
    for j, array in enumerate(arrays):
        table[:, j] = array
    return table


def _numbers(value: np.ndarray, name: str, names: Any, column: int | None = None) -> np.ndarray:
    """Real numbers of an array: of x as a whole, or of one of its columns."""
    kind = value.dtype.kind
    if kind == "f" and value.itemsize > 8:
        return _from_longer(value, name, names, column)
    if kind in "fiub":
        return value
    if kind == "O":
        return _from_objects(value, name, names, column)
    if kind == "c":
        raise InputError(
            f"{name} is complex; take its real part, or stack real and imaginary parts."
        )
    what = {"U": "text", "T": "text", "S": "bytes", "M": "dates", "m": "time spans"}
    first = ""
    if value.size:
        item = value.flat[0]
        if kind in "Mm" and isinstance(
            plain(item), int
        ):  # nanoseconds, which Python's dates don't have
            item = item.astype(f"{kind}8[us]")
        first = f" ({shown(plain(item))}{_where(0, value, names, column)})"
    raise InputError(
        f"{name} holds {what.get(kind, str(value.dtype))}{first}; encode it as numbers first."
    )


def _is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor of torch, or of a subclass; nothing is imported."""
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def from_other_library(value: Any, name: str) -> np.ndarray:
    """The array that NumPy or torch makes of a value."""
    if type(value) in OWN:
        return _converted(value, name)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(f"{name} is a masked array with masked entries; fill or drop them first.")
    if _is_tensor(value):
        return _from_torch(value, name)
    if type(value).__module__.partition(".")[0] == "scipy" and hasattr(value, "toarray"):
        raise InputError(f"{name} is sparse; pass {name}.toarray().")
    if why := why_without_rows(value, name):
        raise InputError(why)
    if value is None or isinstance(value, str | bytes | dict | set) or hasattr(value, "__next__"):
        raise InputError(f"{name} is {_a(value)}; pass an array or a list of numbers.")
    return _converted(value, name)


def _converted(value: Any, name: str) -> np.ndarray:
    """The array that NumPy makes of a value."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        without = _without_tensors(value, name)
        if without is not value:
            return from_other_library(without, name)
        raise InputError(f"{name} can't be read as an array: {_why(error)}.") from error


def _without_tensors(value: Any, name: str) -> Any:
    """A list with an array for every tensor in it; the same list if there is none.

    NumPy converts tensors in lists one by one, and refuses those that require a gradient.
    """
    if _is_tensor(value):
        return _from_torch(value, name)
    if not isinstance(value, list | tuple):
        return value
    items = [_without_tensors(item, name) for item in value]
    return value if all(map(operator.is_, items, value)) else items


def _why(error: Exception) -> str:
    """The message of an error of another library, as part of a sentence."""
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return "its rows have different lengths" if "inhomogeneous" in text else text or repr(error)


def _from_torch(value: Any, name: str) -> np.ndarray:
    if value.device.type == "cuda":
        raise InputError(f"{name} is on {value.device}; pass {name}.cpu().")
    if value.device.type != "cpu" or str(value.layout) != "torch.strided":
        raise InputError(
            f"{name} is a {value.layout} tensor on {value.device}; pass a dense CPU one."
        )
    value = value.detach()
    if (
        value.is_floating_point()
        and value.element_size() < 4
        and str(value.dtype) != "torch.float16"
    ):
        value = value.float()  # bfloat16 and types of 8 bits, which NumPy does not have
    try:
        return value.resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError, ValueError) as error:
        raise InputError(f"{name} can't be read as an array: {_why(error)}.") from error


def _from_longer(value: np.ndarray, name: str, names: Any, column: int | None) -> np.ndarray:
    """Numbers of a wider type as float64."""
    with np.errstate(all="ignore"):
        converted = value.astype(np.float64)
    beyond = np.isinf(converted) & np.isfinite(value)
    if beyond.any():
        _beyond(name, _where(int(np.argmax(beyond)), value, names, column))
    return converted


def _beyond(name: str, where: str) -> NoReturn:
    raise InputError(f"{name} holds a number beyond float64{where}; scale it first.") from None


def _from_objects(value: np.ndarray, name: str, names: Any, column: int | None) -> np.ndarray:
    """Objects as float64: each must be a real number, as in pandas columns of Python numbers."""
    if all(issubclass(kind, _REAL) for kind in set(map(type, value.flat))):
        with contextlib.suppress(OverflowError), np.errstate(over="ignore"):
            converted = value.astype(np.float64)
            if np.isfinite(converted).all():
                return converted
    for index, item in enumerate(value.flat):  # 60 times as slow, but finds the entry
        where = _where(index, value, names, column)
        if is_missing(item):
            raise InputError(f"{name} has no value ({item!r}){where}; drop or fill that row.")
        if not isinstance(item, _REAL):
            raise InputError(
                f"{name} holds {_a(item)} ({shown(item)}){where}; encode it as a number first."
            )
        if math.isinf(real(item) or 0.0) and abs(item) < math.inf:
            _beyond(name, where)
    return value.astype(np.float64)


def is_missing(item: Any) -> bool:
    """None, NaN, NaT or pandas' NA."""
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return True
    try:
        return bool(item != item)
    except (TypeError, ValueError, ArithmeticError):  # an array, a signaling NaN
        return False


def _a(value: Any) -> str:
    """The type of a value in words: 'text', 'None', 'a dict'."""
    if value is None or isinstance(value, str):
        return "None" if value is None else "text"
    return f"a {type(value).__name__}"


def _where(flat_index: int, array: np.ndarray, names: Any = None, column: int | None = None) -> str:
    """' at row 3, column 1 ('age')' for a flat index; `array` may be one column of x."""
    index = [int(at) for at in np.unravel_index(flat_index, array.shape)]
    if column is not None:
        index.append(column)
    if not index:
        return ""
    place = f", column {index[1]}" if len(index) > 1 else ""
    label = f" ({names[index[1]]!r})" if place and names is not None else ""
    return f" at row {index[0]}{place}{label}"


def on_gpu(value: Any) -> bool:
    """Whether `value` is on a GPU; nothing is imported."""
    if type(value) in _ON_HOST:
        return False
    if _is_tensor(value):
        return value.is_cuda
    if hasattr(value, "__cuda_array_interface__") or getattr(value, "__cuda_ndarray__", False):
        return True
    ask = getattr(value, "__dlpack_device__", None)
    return ask is not None and int(ask()[0]) == 2


def features(x: Any, name: str = "x") -> np.ndarray:
    """x as (n, d), where it may not be sparse; a one-dimensional x is one column."""
    if is_sparse_frame(x):
        raise InputError(
            f"{name} has sparse columns; make them dense with {name}.sparse.to_dense()."
        )
    return _rows(as_array(x, name), name)


def entries_of_column(
    series: Any, name: str, names: list[str], column: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the values of a column of a pandas frame that may not be 0; it may be sparse."""
    stored = entries_of_sparse(series)
    if stored is not None:
        rows, values, left_out = stored
        if left_out is not None and not left_out == 0:
            raise InputError(
                f"column {column} ({names[column]!r}) of {name} leaves out {shown(plain(left_out))}, and "
                "sparse columns can leave out 0 only; convert it with "
                f".astype(pandas.SparseDtype({str(values.dtype)!r}, 0))."
            )
        return rows, _numbers(values, name, names, column)
    values = _numbers(column_of(series), name, names, column)
    rows = np.flatnonzero(values)
    return rows, values[rows]


def _rows(x: np.ndarray, name: str) -> np.ndarray:
    if x.ndim == 1:
        x = x[:, None]
    shape = x.shape
    if len(shape) != 2 or 0 in shape:
        check_shape(shape, name)
    # The strides of a single row are arbitrary, and BLAS reads them.
    return x if shape[0] > 1 else x.ravel().reshape(shape)


def rows_to_predict(x: Any, d: int, fitted_names: tuple[str, ...] | None) -> np.ndarray:
    """x as (m, d) for a fit of d columns, a number being one row of one column."""
    if fitted_names is not None:
        require_names(x, fitted_names)
    array = as_array(x, "x")
    if array.ndim == 0 and d == 1:
        array = array.reshape(1, 1)
    if array.shape == (d,) and d > 1:
        one_row = "x[None]" if isinstance(x, np.ndarray) or _is_tensor(x) else "[x]"
        refuse_one_axis(d, one_row)
    array = _rows(array, "x")
    require_columns(array, d)
    return array


def refuse_one_axis(d: int, one_row: str) -> NoReturn:
    """Say that data of one axis, as long as a row, is no row."""
    raise InputError(
        f"x has shape ({d},), which is {d} rows of one column; this fit has {d} columns. For one "
        f"row pass {one_row}."
    )


def require_columns(x: Any, d: int) -> None:
    """Raise unless x has the d columns of a fit."""
    if x.shape[1] != d:
        raise InputError(f"x has {x.shape[1]} columns; this fit has {d}.")


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise unless it is (n, d) with a row and a column at least."""
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; expected (n,) or (n, d).")
    if shape[0] == 0:
        raise InputError(f"{name} has 0 rows; pass at least one.")
    if shape[1] == 0:
        raise InputError(f"{name} has 0 columns; pass at least one feature.")


def targets(y: Any, n: int, dtype: DTypeLike, finite: bool = True) -> tuple[np.ndarray, bool]:
    """y as (k, n) in `dtype`, and whether it came with one dimension.

    Without `finite` it is not searched for NaN: the caller finds that in the cost.
    """
    y = as_array(y, "y")
    shape = y.shape
    flat = len(shape) == 1
    if not flat and len(shape) != 2:
        raise InputError(f"y has shape {shape}; expected (n,) or (n, k).")
    if shape[0] != n:
        raise InputError(f"x has {n} rows and y has {shape[0]}; they must have the same length.")
    if not flat and shape[1] == 0:
        raise InputError("y has 0 columns; pass at least one target.")
    converted = _cast(y[None, :] if flat else y.T, dtype)
    if finite and not is_finite(converted):
        require_finite(y, "y")
        if not np.isfinite(converted).all():
            raise InputError(
                f"y goes up to {np.abs(y).max():.3g}, beyond {dtype}; use dtype='float64'."
            )
    return converted, flat


def in_units(array: Any, leave: float = 1.0) -> tuple[Any, float]:
    """The array divided by a power of two near its largest entry, and that unit; exact.

    Its squares and sums neither overflow nor underflow. An array whose largest entry is between
    1/`leave` and `leave` stays as it is, and so does None.
    """
    if array is None:
        return None, 1.0
    low, high = extremes(array)
    largest = max(high, -low)
    if not 0 < largest < math.inf or 1 / leave < largest < leave:
        return array, 1.0
    unit = 2.0 ** (math.frexp(largest)[1] - 1)
    return (array, 1.0) if unit == 1 else (array / unit, unit)


def require_domain(y: np.ndarray, domain: str, loss: str) -> None:
    """Refuse targets (k, n) outside the domain of a loss: "counts" are at least 0, "positive" above 0.

    NaN is accepted: the cost shows it.
    """
    if domain not in ("counts", "positive"):
        return
    outside = y < 0 if domain == "counts" else y <= 0
    if outside.any():
        column, row = divmod(int(np.flatnonzero(outside)[0]), y.shape[1])
        where = f"row {row}" + (f", column {column}" if len(y) > 1 else "")
        bound = "from 0 up" if domain == "counts" else "above 0"
        raise InputError(
            f"y is {y[column, row]:g} at {where}; the loss {loss!r} takes numbers {bound}."
        )


def probabilities(y: Any, n: int, dtype: DTypeLike) -> tuple[np.ndarray, bool]:
    """y as (k, n) of labels in [0, 1]."""
    y, flat = targets(y, n, dtype)
    low, high = extremes(y)
    if low < 0 or high > 1:
        _, row = np.unravel_index(int(np.argmax((y < 0) | (y > 1))), y.shape)
        bad = y[(y < 0) | (y > 1)][0]
        raise InputError(f"y is {bad} at row {row}; the cross-entropy takes labels in [0, 1].")
    return y, flat


def weights(sample_weight: Any, n: int, dtype: DTypeLike) -> np.ndarray | None:
    """One non-negative weight a row, or None."""
    if sample_weight is None:
        return None
    weight = as_array(sample_weight, "sample_weight")
    if weight.shape != (n,):
        raise InputError(
            f"sample_weight has shape {weight.shape}; expected ({n},), one a row of x."
        )
    weight = _cast(weight, dtype)
    low, high = extremes(weight)
    if not (low >= 0 and high < math.inf):
        require_finite(weight, "sample_weight")
        row = int(np.argmin(weight))
        raise InputError(f"sample_weight is {weight[row]} at row {row}; weights can't be negative.")
    if high == 0:
        raise InputError("sample_weight is zero for every row; at least one must be positive.")
    return weight


def offsets(
    offset: Any, n: int, k: int, dtype: DTypeLike, *, of_classes: bool = False
) -> np.ndarray | None:
    """Fixed parts of the raw predictions, (1, n) of one for all outputs or (k, n), or None.

    Those of a fit `of_classes` are (k, n).
    """
    if offset is None:
        return None
    array = as_array(offset, "offset")
    if array.shape not in ((n,), (n, k)):
        more = f", or ({n}, {k}), one for each output too" if k > 1 else ""
        raise InputError(
            f"offset has shape {array.shape}; expected ({n},), one number a row of x{more}."
        )
    if of_classes and array.ndim == 1:
        raise InputError(
            f"offset has one number a row, which moves all {k} classes alike and changes no "
            f"probability; pass one for each class, ({n}, {k})."
        )
    require_finite(array, "offset")
    return _cast(array[None] if array.ndim == 1 else array.T, dtype)


def _cast(array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=dtype)


def extremes(array: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest entry, NaN if one is: `argmin` takes a fourth of the time of `min`."""
    return array.item(array.argmin()), array.item(array.argmax())


def is_finite(array: np.ndarray | float) -> bool:
    """Whether no entry is NaN or infinite."""
    if isinstance(array, float):
        return math.isfinite(array)
    low, high = extremes(array)
    return -math.inf < low and high < math.inf


def require_finite(array: Any, name: str, names: Any = None) -> None:
    """Raise `InputError` with row, column and value of the first entry that is not finite.

    The array may be a CSR matrix.
    """
    if array.dtype.kind != "f" or array.size == 0:
        return
    if is_compressed(array):
        _require_finite_entries(array, name, names)
        return
    rows = max(1, _SEARCH_BYTES // max(1, array[:1].size * 8))
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        bad = ~np.isfinite(block)
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad)), bad.shape)
            _not_finite(block[at], name, names, start + at[0], *at[1:])


def _require_finite_entries(x: Any, name: str, names: Any) -> None:
    """The same for the entries of a CSR matrix."""
    size = _SEARCH_BYTES // 8
    for start in range(0, len(x.data), size):
        block = x.data[start : start + size]
        bad = ~np.isfinite(block)
        if bad.any():
            entry = int(np.argmax(bad))
            _not_finite(block[entry], name, names, *place(x, start + entry))


def _not_finite(value: Any, name: str, names: Any, row: Any, at: Any = None) -> NoReturn:
    column = "" if at is None else f", column {at}"
    if at is not None and names is not None:
        column += f" ({names[at]!r})"
    raise InputError(f"{name} is {value} at row {row}{column}; drop or fill that row.")


def working_dtype(x: Any, dtype: Any) -> np.dtype:
    """The dtype of the computation: `dtype`, or float32 for float32 and float16 data, else float64."""
    if dtype is None:
        return _FLOAT32 if x.dtype.kind == "f" and x.dtype.itemsize <= 4 else _FLOAT64
    dtype = plain(dtype)
    name = dtype.__name__ if isinstance(dtype, type) else shown(dtype).strip("'")
    if isinstance(dtype, np.dtype):
        name = dtype.name
    if name.removeprefix("torch.") not in ("float32", "float64", "float"):
        raise InputError(f"dtype is {shown(dtype)}; choose 'float32' or 'float64'.")
    return np.dtype(name.removeprefix("torch."))


def parameters(
    value: Any, shape: tuple[int, ...], name: str, *, for_all: bool = False, finite: bool = True,
    copy: bool = True,
) -> np.ndarray:  # fmt: skip
    """A value broadcast to `shape`, float64, finite, and a copy; a number may stand `for_all`.

    Without `finite` it is not searched for NaN: the caller finds that in the cost. Without `copy` it may
    be the caller's memory, which is only read, where kernels take it as it is.
    """
    if value is None:
        return np.zeros(shape)
    single = type(value) is float
    array: Any = value if single else as_array(value, name)
    found = () if single else array.shape
    if found != shape and not (found == () and (for_all or shape in ((1,), (1, 1)))):
        short = shape[1:] if shape[0] == 1 else shape
        if found != short:
            expected = short if short else "a number"
            raise InputError(f"{name} has shape {found}; expected {expected}.")
    if finite and not is_finite(array):
        raise InputError(f"{name} is not finite: {shown(np.asarray(array).tolist())}.")
    if not copy and found and array.dtype == np.float64 and array.flags.carray:
        return np.asarray(array.reshape(shape))
    result = np.empty(shape)
    result[...] = array
    return result
