"""Conversion of labels of any kind to class indices, and of class weights to weights of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import number, plain, shown
from ..errors import InputError
from .arrays import extremes, from_other_library, is_finite, is_missing, require_finite, targets

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


def one_label_a_row(y: Any) -> np.ndarray:
    """Labels of any hashable kind as an array (n,): of their own dtype, or of objects."""
    if isinstance(y, list | tuple) and any(
        isinstance(label, str) or (isinstance(label, tuple) and len(label) > 1) for label in y
    ):
        # np.asarray would turn a missing label into the text 'nan', and tuples into columns.
        y, items = np.empty(len(y), dtype=object), y
        y[:] = items
    elif type(y) is not np.ndarray:
        y = from_other_library(y, "y")
    if y.dtype.kind == "T":
        y = y.astype(object)  # text, and marks of missing labels
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise InputError(f"y has shape {y.shape}; fit_logistic takes one label a row, shape (n,).")
    return y


def _labels_of_rows(y: Any, n: int) -> np.ndarray:
    """One label of any hashable kind for every row, (n,), none of them missing."""
    y = one_label_a_row(y)
    if y.shape[0] != n:
        raise InputError(f"x has {n} rows and y has {y.shape[0]}; they must have the same length.")
    kind = y.dtype.kind
    if kind == "c":
        raise InputError("y is complex; labels are numbers, text or booleans.")
    if kind == "f":
        if not is_finite(y):
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


def labels(y: Any, n: int, dtype: DTypeLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels of any hashable kind as 0, 1, … in (1, n), and their values, sorted.

    Labels of one kind that has no order, such as members of an enum, are as they appear.
    """
    y = _labels_of_rows(y, n)
    if y.dtype.kind in "fiub" and len(y):
        low, high = extremes(y)
        second = y == high
        if low != high and np.count_nonzero(second) + np.count_nonzero(y == low) == len(y):
            same = y.dtype == dtype and y.flags.c_contiguous and low == 0 and high == 1
            codes = (y if same else second.astype(dtype))[None, :]
            return codes, np.array([low, high], y.dtype)
    classes, codes = _codes_of_objects(y) if y.dtype.kind == "O" else _codes(y)
    if len(classes) < 2:
        raise InputError(f"y has {len(classes)} label value(s), {listed(classes)}; two are needed.")
    return np.ascontiguousarray(codes[None, :], dtype=dtype), classes


def known_labels(y: Any, n: int, classes: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Labels of a fit that has these classes, as 0, 1, … in (1, n)."""
    y = _labels_of_rows(y, n)
    codes = places_among(y, classes)
    if codes.min() < 0:
        row = int(np.argmin(codes))
        label = shown(y[row : row + 1].tolist()[0])
        raise InputError(f"y is {label} at row {row}; the labels fitted are {listed(classes)}.")
    return codes[None, :].astype(dtype)


def places_among(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The index of each label of y (n,) in `classes`, −1 for another label."""
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
        raise InputError(f"y holds values that can't be labels: {error}.") from error


def listed(classes: np.ndarray) -> str:
    """Labels as text for a message; the first ones of many."""
    listed = ", ".join(map(shown, classes[:20].tolist()))
    return listed + (", …" if len(classes) > 20 else "")


def _codes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sorted values of y, and the place of each entry among them."""
    if y.dtype.kind == "f" and not (whole := y == np.floor(y)).all():
        row = int(np.argmin(whole))
        if len(np.unique(y)) > 2:
            raise InputError(
                f"y is {y[row]} at row {row}, and y has more than two values; numeric labels must be "
                "whole numbers, and fit_linear takes targets."
            )
    if y.dtype.kind in "iu" and len(y) and int(y.max()) - int(y.min()) < 4 * len(y):
        low = y.min()  # counting: sorting a million takes 70 ms
        # Differences in 64 bits: 127 − (−128) overflows int8, and wrapped differences wrap back.
        places = np.subtract(y, low, dtype=np.intp, casting="unsafe")
        there = np.bincount(places) > 0
        return np.flatnonzero(there).astype(y.dtype) + low, (np.cumsum(there) - 1)[places]
    return np.unique(y, return_inverse=True)


def _codes_of_objects(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for objects, by hash."""
    try:
        values = list(dict.fromkeys(y))
    except TypeError as error:
        raise InputError(f"y holds values that can't be labels: {error}.") from error
    try:
        values.sort()
    except TypeError as error:
        if len({type(value) for value in values}) > 1:
            raise InputError(f"y has labels of types that can't be compared: {error}.") from error
        values = list(dict.fromkeys(y))  # a failed sort leaves an arbitrary order
    classes = np.empty(len(values), dtype=object)
    classes[:] = values
    code = {value: c for c, value in enumerate(values)}
    return classes, np.array([code[label] for label in y], dtype=np.intp)


def class_indices(y: Any, n: int, k: int, dtype: DTypeLike) -> np.ndarray:
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


def class_weights(
    class_weight: Any, codes: np.ndarray, classes: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray | None, float]:
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
                f"the rows of the label {empty} have too small a weight to be balanced; "
                "scale their weights."
            )
    elif isinstance(class_weight, dict):
        known = classes.tolist()
        for label in class_weight:
            if label not in known:
                raise InputError(
                    f"class_weight has a weight for {shown(label)}, which is not a label of y."
                )
        of_class = np.array(
            [number(class_weight.get(c, 1.0), f"class_weight[{shown(c)}]") for c in known]
        )
    else:
        raise InputError(
            f"class_weight is {shown(class_weight)}; expected None, 'balanced' or a dict."
        )
    # Fractions and powers of two are separate, so that no product overflows or underflows.
    fraction, power = np.frexp(of_class[places])
    if weight is not None:
        of_row, more = np.frexp(weight)
        fraction, power = fraction * of_row, power + more
    if not fraction.any():
        raise InputError(
            "class_weight leaves every row with weight zero; at least one must be positive."
        )
    top = power[fraction > 0].max()
    with np.errstate(all="ignore"):
        return np.ldexp(fraction, power - top), float(np.ldexp(1.0, top))
