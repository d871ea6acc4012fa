"""Whatever the caller has becomes checked arrays here; every `InputError` about data is worded here.

Data is not searched for NaN beforehand: that would be a second pass. A fit that meets a cost which
is not finite asks `require_finite` for the culprit, so clean data pays nothing.
"""

import math
import numbers
import operator
import sys
from typing import Any, NoReturn

import numpy as np

from .arguments import choice, flag, integer, nearest, number, plain, real, shown  # noqa: F401
from .errors import InputError

#: Rows looked at in one go when something has to be searched for.
_SEARCH_BYTES = 8 << 20


def as_array(value: Any, name: str) -> np.ndarray:
    """A numeric NumPy array of whatever the caller has, without a copy where there need be none.

    Raises
    ------
    InputError
        If `value` is ragged, sparse, masked, complex, text or otherwise not made of real numbers;
        the first offending element is named.
    """
    names = None
    if type(value) is not np.ndarray:
        names = column_names(value)
        value = _from_other_library(value, name)
    kind = value.dtype.kind
    if kind == "f" and value.dtype.itemsize > 8:
        return _from_longer(value, name, names)
    if kind in "fiub":
        return value
    if kind == "O":
        return _from_objects(value, name, names)
    if kind == "c":
        raise InputError(
            f"{name} is complex; take its real part, or stack real and imaginary parts."
        )
    what = {"U": "text", "T": "text", "S": "bytes", "M": "dates", "m": "time spans"}
    first = f" ({shown(plain(value.flat[0]))}{_where(0, value, names)})" if value.size else ""
    raise InputError(
        f"{name} holds {what.get(kind, str(value.dtype))}{first}; encode it as numbers first."
    )


def _is_tensor(value: Any) -> bool:
    """Whether `value` is torch's, of whatever subclass, told without importing anything."""
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def _from_other_library(value, name):
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(f"{name} is a masked array with masked entries; fill or drop them first.")
    if _is_tensor(value):
        return _from_torch(value, name)
    if type(value).__module__.partition(".")[0] == "scipy" and hasattr(value, "toarray"):
        raise InputError(f"{name} is sparse; sparse data is not in yet, pass {name}.toarray().")
    if value is None or isinstance(value, str | bytes | dict | set) or hasattr(value, "__next__"):
        raise InputError(f"{name} is {_a(value)}; pass an array or a list of numbers.")
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        without = _without_tensors(value, name)
        if without is not value:
            return _from_other_library(without, name)
        raise InputError(f"{name} can't be read as an array: {_why(error)}.") from error


def _without_tensors(value, name):
    """A list with an array for every tensor in it; the same list if there is none.

    NumPy reads tensors in lists one by one, and none that requires a gradient.
    """
    if _is_tensor(value):
        return _from_torch(value, name)
    if not isinstance(value, list | tuple):
        return value
    items = [_without_tensors(item, name) for item in value]
    return value if all(map(operator.is_, items, value)) else items


def _why(error: Exception) -> str:
    """What an error of another library says, as part of a sentence."""
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return "its rows have different lengths" if "inhomogeneous" in text else text or repr(error)


def _from_torch(value, name):
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
        value = value.float()  # bfloat16 and those of 8 bits, which NumPy does not have
    try:
        return value.resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError, ValueError) as error:
        raise InputError(f"{name} can't be read as an array: {_why(error)}.") from error


def _from_longer(value, name, names):
    """float64 of longer numbers."""
    with np.errstate(all="ignore"):
        converted = value.astype(np.float64)
    beyond = np.isinf(converted) & np.isfinite(value)
    if beyond.any():
        _beyond(name, _where(int(np.argmax(beyond)), value, names))
    return converted


def _beyond(name, where) -> NoReturn:
    raise InputError(f"{name} holds a number beyond float64{where}; scale it first.") from None


def _from_objects(value, name, names):
    """Objects are accepted when each is a real number, as pandas columns of Python numbers are."""
    for index, item in enumerate(value.flat):
        where = _where(index, value, names)
        if is_missing(item):
            raise InputError(f"{name} has no value ({item!r}){where}; drop or fill that row.")
        if not isinstance(item, numbers.Real | np.bool_):
            raise InputError(
                f"{name} holds {_a(item)} ({shown(item)}){where}; encode it as a number first."
            )
        if math.isinf(real(item)) and abs(item) < math.inf:
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


def _a(value) -> str:
    """What kind of thing a value is: 'text', 'None', 'a dict'."""
    if value is None or isinstance(value, str):
        return "None" if value is None else "text"
    return f"a {type(value).__name__}"


def _where(flat_index: int, array: np.ndarray, names: list[str] | None = None) -> str:
    """' at row 3, column 1 ('age')' for a flat index."""
    index = [int(at) for at in np.unravel_index(flat_index, array.shape)]
    if not index:
        return ""
    column = f", column {index[1]}" if len(index) > 1 else ""
    label = f" ({names[index[1]]!r})" if column and names is not None else ""
    return f" at row {index[0]}{column}{label}"


def on_gpu(value: Any) -> bool:
    """Whether `value` lies on a GPU, told without importing anything."""
    if type(value) is np.ndarray or isinstance(value, list | tuple):
        return False
    if _is_tensor(value):
        return value.is_cuda
    if hasattr(value, "__cuda_array_interface__") or getattr(value, "__cuda_ndarray__", False):
        return True
    ask = getattr(value, "__dlpack_device__", None)
    return ask is not None and int(ask()[0]) == 2


def features(x: Any, name: str = "x") -> np.ndarray:
    """x as (n, d); a one-dimensional x is one column."""
    x = as_array(x, name)
    if x.ndim == 1:
        x = x[:, None]
    check_shape(x.shape, name)
    # The strides of one row are anything, and BLAS reads them.
    return x if len(x) > 1 else x.ravel().reshape(x.shape)


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise unless it is (n, d) with a row and a column at least."""
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; expected (n,) or (n, d).")
    if shape[0] == 0:
        raise InputError(f"{name} has 0 rows; pass at least one.")
    if shape[1] == 0:
        raise InputError(f"{name} has 0 columns; pass at least one feature.")


def targets(y: Any, n: int, dtype, finite: bool = True) -> tuple[np.ndarray, bool]:
    """y as (k, n) in `dtype`, and whether it came with one dimension.

    Without `finite` it is not searched for NaN: the caller will meet it in the cost.
    """
    y = as_array(y, "y")
    if y.ndim not in (1, 2):
        raise InputError(f"y has shape {y.shape}; expected (n,) or (n, k).")
    if y.shape[0] != n:
        raise InputError(f"x has {n} rows and y has {y.shape[0]}; they must be as long.")
    if y.ndim == 2 and y.shape[1] == 0:
        raise InputError("y has 0 columns; pass at least one target.")
    flat = y.ndim == 1
    converted = _cast(y[None, :] if flat else y.T, dtype)
    if finite and not _sum_is_finite(converted):
        require_finite(y, "y")
        if not np.isfinite(converted).all():
            raise InputError(
                f"y goes up to {np.abs(y).max():.3g}, beyond {dtype}; use dtype='float64'."
            )
    return converted, flat


def one_label_a_row(y: Any) -> np.ndarray:
    """Labels of any hashable kind as an array (n,): of their own dtype, or of objects."""
    if isinstance(y, list | tuple) and any(
        isinstance(label, str) or (isinstance(label, tuple) and len(label) > 1) for label in y
    ):
        # np.asarray would make the text 'nan' of a missing label, and columns of tuples.
        y, items = np.empty(len(y), dtype=object), y
        y[:] = items
    elif type(y) is not np.ndarray:
        y = _from_other_library(y, "y")
    if y.dtype.kind == "T":
        y = y.astype(object)  # text, and what stands for a missing one
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise InputError(f"y has shape {y.shape}; fit_logistic takes one label a row, shape (n,).")
    return y


def _labels_of_rows(y: Any, n: int) -> np.ndarray:
    """One label of any hashable kind for every row, (n,), none of them missing."""
    y = one_label_a_row(y)
    if y.shape[0] != n:
        raise InputError(f"x has {n} rows and y has {y.shape[0]}; they must be as long.")
    kind = y.dtype.kind
    if kind == "c":
        raise InputError("y is complex; labels are numbers, text or booleans.")
    if kind == "f":
        if not _sum_is_finite(y):
            require_finite(y, "y")
    elif kind in "OMm":
        for row, label in enumerate(y):
            if is_missing(label):
                raise InputError(
                    f"y has no label at row {row} ({shown(label)}); drop or fill that row."
                )
        if all(isinstance(label, str) for label in y):
            y = y.astype(str)
    return y


def labels(y: Any, n: int, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Labels of any hashable kind as 0, 1, … in (1, n), and their values, sorted.

    Labels of one kind that has no order, such as members of an enum, are as they appear.
    """
    y = _labels_of_rows(y, n)
    classes = _two_numbers(y) if y.dtype.kind in "fiub" and len(y) else None
    if classes is not None:
        if y.dtype == dtype and y.flags.c_contiguous and classes[0] == 0 and classes[1] == 1:
            return y[None, :], classes
        return np.ascontiguousarray((y == classes[1])[None, :], dtype=dtype), classes
    classes, codes = _codes_of_objects(y) if y.dtype.kind == "O" else _codes(y)
    if len(classes) < 2:
        raise InputError(f"y has {len(classes)} label value(s), {listed(classes)}; two are needed.")
    return np.ascontiguousarray(codes[None, :], dtype=dtype), classes


def known_labels(y: Any, n: int, classes: np.ndarray, dtype) -> np.ndarray:
    """Labels of a fit that has these classes, as 0, 1, … in (1, n)."""
    y = _labels_of_rows(y, n)
    codes = places_among(y, classes)
    if codes.min() < 0:
        row = int(np.argmin(codes))
        label = shown(y[row : row + 1].tolist()[0])
        raise InputError(f"y is {label} at row {row}; the labels fitted are {listed(classes)}.")
    return codes[None, :].astype(dtype)


def places_among(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The place of each label of y (n,) among `classes`, −1 for one that is none of them."""
    kinds = y.dtype.kind + classes.dtype.kind
    if kinds in ("UU", "SS", "MM", "mm") or set(kinds) <= set("fiub"):
        places = np.full(len(y), -1)
        for c, label in enumerate(classes):
            places[y == label] = c
        return places
    place = {label: c for c, label in enumerate(classes.tolist())}
    try:
        return np.array([place.get(label, -1) for label in y.tolist()], dtype=np.intp)
    except TypeError as error:
        raise InputError(f"y holds labels that are no labels: {error}.") from error


def listed(classes: np.ndarray) -> str:
    """Labels in a message, the first ones where there are many."""
    listed = ", ".join(map(shown, classes[:20].tolist()))
    return listed + (", …" if len(classes) > 20 else "")


def _two_numbers(y: np.ndarray) -> np.ndarray | None:
    """The two values of y without sorting it, or None if there are not two."""
    low, high = y.min(), y.max()
    two = low != high and bool(((y == low) | (y == high)).all())
    return np.array([low, high]) if two else None


def _codes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted values of y, and the place of each entry among them."""
    if y.dtype.kind == "f" and not (whole := y == np.floor(y)).all():
        row = int(np.argmin(whole))
        if len(np.unique(y)) > 2:
            raise InputError(
                f"y is {y[row]} at row {row}, and not one of two values; labels that are numbers are "
                "whole, and targets are for fit_linear."
            )
    if y.dtype.kind in "iu" and len(y) and int(y.max()) - int(y.min()) < 4 * len(y):
        low = y.min()  # by counting: sorting a million takes 70 ms
        # Differences of 64 bits: int8 has no room for 127 − (−128), and what wraps around wraps back.
        places = np.subtract(y, low, dtype=np.intp, casting="unsafe")
        there = np.bincount(places) > 0
        return np.flatnonzero(there).astype(y.dtype) + low, (np.cumsum(there) - 1)[places]
    return np.unique(y, return_inverse=True)


def _codes_of_objects(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for objects: by their hash."""
    try:
        values = list(dict.fromkeys(y))
    except TypeError as error:
        raise InputError(f"y holds labels that are no labels: {error}.") from error
    try:
        values.sort()
    except TypeError as error:
        if len({type(value) for value in values}) > 1:
            raise InputError(f"y mixes labels that can't be compared: {error}.") from error
        values = list(dict.fromkeys(y))  # a failed sort leaves any order
    classes = np.empty(len(values), dtype=object)
    classes[:] = values
    code = {value: c for c, value in enumerate(values)}
    return classes, np.array([code[label] for label in y], dtype=np.intp)


def class_indices(y: Any, n: int, k: int, dtype) -> np.ndarray:
    """y as class indices 0 to k − 1 in (1, n)."""
    y, _ = targets(y, n, dtype)
    if len(y) != 1:
        raise InputError(f"y has {len(y)} columns; the cross-entropy takes one class index a row.")
    right = (y >= 0) & (y < k) & (y == np.floor(y))
    if not right.all():
        row = int(np.argmin(right[0]))
        raise InputError(
            f"y is {y[0, row]:g} at row {row}; expected a class index from 0 to {k - 1}, as coef has "
            f"{k} rows."
        )
    return y


def class_weights(class_weight: Any, codes, classes, weight) -> tuple[np.ndarray | None, float]:
    """The weight of every row times that of its class, in units, and the unit.

    Parameters
    ----------
    class_weight : None, "balanced" or dict
    codes : ndarray (n,)
        The classes of the rows, as indices of `classes`.
    weight : ndarray (n,) or None
        In units, as `in_units` puts them.
    """
    class_weight = plain(class_weight)
    if class_weight is None:
        return weight, 1.0
    places = codes.astype(np.intp)
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(places, weight, len(classes))
        with np.errstate(all="ignore"):
            of_class = counts.sum() / (len(classes) * counts)
        if not np.isfinite(of_class).all():
            empty = shown(classes.tolist()[int(np.argmin(counts))])
            if not counts.all():
                raise InputError(f"every row of the label {empty} has weight 0; drop these rows.")
            raise InputError(
                f"the rows of the label {empty} weigh too little beside the others to be balanced; "
                "scale their weights."
            )
    elif isinstance(class_weight, dict):
        known = classes.tolist()
        for label in class_weight:
            if label not in known:
                raise InputError(
                    f"class_weight has a weight for {shown(label)}, which is no label of y."
                )
        of_class = np.array(
            [number(class_weight.get(c, 1.0), f"class_weight[{shown(c)}]") for c in known]
        )
    else:
        raise InputError(
            f"class_weight is {shown(class_weight)}; expected None, 'balanced' or a dict."
        )
    # Fractions and powers of two apart, so that no product overflows or vanishes.
    fraction, power = np.frexp(of_class[places])
    if weight is not None:
        of_row, more = np.frexp(weight)
        fraction, power = fraction * of_row, power + more
    if not fraction.any():
        raise InputError("class_weight leaves every row a weight of zero; one must count.")
    top = power[fraction > 0].max()
    with np.errstate(all="ignore"):
        return np.ldexp(fraction, power - top), float(np.ldexp(1.0, top))


def in_units(array: Any, leave: float = 1.0) -> tuple[Any, float]:
    """The array in units of a power of two near its largest entry, and that unit; exact.

    Squares and sums of it neither overflow nor vanish. An array whose largest entry is between
    1/`leave` and `leave` stays as it is, and so does None.
    """
    if array is None:
        return None, 1.0
    largest = max(float(array.max()), -float(array.min()))
    if not 0 < largest < math.inf or 1 / leave < largest < leave:
        return array, 1.0
    unit = 2.0 ** (math.frexp(largest)[1] - 1)
    return (array, 1.0) if unit == 1 else (array / unit, unit)


def probabilities(y: Any, n: int, dtype) -> tuple[np.ndarray, bool]:
    """y as (k, n) of labels in [0, 1]."""
    y, flat = targets(y, n, dtype)
    if y.min() < 0 or y.max() > 1:
        _, row = np.unravel_index(int(np.argmax((y < 0) | (y > 1))), y.shape)
        bad = y[(y < 0) | (y > 1)][0]
        raise InputError(f"y is {bad} at row {row}; the cross-entropy takes labels in [0, 1].")
    return y, flat


def weights(sample_weight: Any, n: int, dtype) -> np.ndarray | None:
    """One non-negative weight a row, or None."""
    if sample_weight is None:
        return None
    weight = as_array(sample_weight, "sample_weight")
    if weight.shape != (n,):
        raise InputError(
            f"sample_weight has shape {weight.shape}; expected ({n},), one a row of x."
        )
    weight = _cast(weight, dtype)
    if not _sum_is_finite(weight):
        require_finite(weight, "sample_weight")
    if weight.min() < 0:
        row = int(np.argmin(weight))
        raise InputError(f"sample_weight is {weight[row]} at row {row}; weights can't be negative.")
    if not weight.any():
        raise InputError("sample_weight is zero for every row; at least one row must count.")
    return weight


def _cast(array: np.ndarray, dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=dtype)


def _sum_is_finite(array: np.ndarray) -> bool:
    """A cheap look: an overflowing sum is searched like one with NaN, and found clean."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(array.sum(dtype=np.float64))


def require_finite(array: np.ndarray, name: str, names: Any = None) -> None:
    """Raise `InputError` with row, column and value of the first entry that is not finite."""
    if array.dtype.kind != "f" or array.size == 0:
        return
    rows = max(1, _SEARCH_BYTES // max(1, array[:1].size * 8))
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        bad = ~np.isfinite(block)
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad)), bad.shape)
            column = ""
            if len(at) == 2:
                label = f" ({names[at[1]]!r})" if names is not None else ""
                column = f", column {at[1]}{label}"
            raise InputError(
                f"{name} is {block[at]} at row {start + at[0]}{column}; drop or fill that row."
            )


def column_names(x: Any) -> list[str] | None:
    """The column names of a data frame, for messages."""
    columns = getattr(x, "columns", None)
    if columns is None or callable(columns):
        return None
    return [str(name) for name in columns]


def working_dtype(x: np.ndarray, dtype: Any) -> np.dtype:
    """float32 for float32 and float16 data, else float64, unless `dtype` says which."""
    if dtype is None:
        small = x.dtype.kind == "f" and x.dtype.itemsize <= 4
        return np.dtype(np.float32 if small else np.float64)
    dtype = plain(dtype)
    name = dtype.__name__ if isinstance(dtype, type) else shown(dtype).strip("'")
    if isinstance(dtype, np.dtype):
        name = dtype.name
    if name.removeprefix("torch.") not in ("float32", "float64", "float"):
        raise InputError(f"dtype is {shown(dtype)}; choose 'float32' or 'float64'.")
    return np.dtype(name.removeprefix("torch."))


def parameters(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A starting value broadcast to `shape`, float64, finite, and the caller's own untouched."""
    if value is None:
        return np.zeros(shape)
    array = as_array(value, name)
    short = shape[1:] if shape[0] == 1 else shape
    if array.ndim == 0 and math.prod(shape) == 1:
        array = array.reshape(shape)
    if array.shape not in (shape, short):
        expected = short if short else "a number"
        raise InputError(f"{name} has shape {array.shape}; expected {expected}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} is not finite: {shown(array.tolist())}.")
    return np.array(np.broadcast_to(array, shape), dtype=np.float64)
