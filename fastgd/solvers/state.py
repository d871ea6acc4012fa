"""The state of a solver as a flat dict of arrays, which `numpy.savez` keeps as it is."""

from collections.abc import Iterable, Sequence
from typing import Any, get_origin

import numpy as np

from ..errors import InputError

State = dict[str, np.ndarray]

_ADVICE = "load it into a solver of the same kind, data and settings."


def checked(state: State, own: State, growing: tuple[str, ...]) -> State:
    """Copies of the arrays of a state that fits a solver whose own state is `own`.

    Arrays named in `growing` may have another length than the solver's own.

    Raises
    ------
    InputError
        If the state is that of another solver, of other rows, or of other shapes.
    """
    _require(state, ("solver", "shape"))
    for name in ("solver", "shape"):
        given, mine = np.asarray(state[name]).tolist(), own[name].tolist()
        if given != mine:
            raise InputError(
                f"the state is of {name} {given!r}, and this solver of {mine!r}; {_ADVICE}"
            )
    _require(state, own)
    for name, mine in own.items():
        given, first = np.asarray(state[name]), 1 if name in growing else 0
        same = given.dtype.kind == mine.dtype.kind == "U" or given.dtype == mine.dtype
        if not (same and given.ndim == mine.ndim and given.shape[first:] == mine.shape[first:]):
            raise InputError(
                f"{name!r} in the state is {_described(given)}, and in this solver "
                f"{_described(mine)}; {_ADVICE}"
            )
    return {name: np.array(array) for name, array in state.items()}


def _require(state: State, names: Iterable[str]) -> None:
    for name in names:
        if name not in state:
            raise InputError(
                f"the state has no {name!r}; pass what `state()` of a solver returned."
            )


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"


def optional(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """An array with a new first axis of length 1, or of length 0 if it is None."""
    return np.empty((0, *shape)) if array is None else np.array(array)[None]


def number_or_array(array: np.ndarray) -> Any:
    """The array, or its number if it has no axes."""
    return array.item() if array.ndim == 0 else array


def flattened(name: str, value: Any) -> State:
    """The fields of nested named tuples as arrays; those that are None are left out."""
    if value is None:
        return {}
    if not hasattr(value, "_fields"):
        return {name: np.array(value)}
    arrays: State = {}
    for field, part in zip(value._fields, value, strict=True):
        arrays |= flattened(f"{name}.{field}", part)
    return arrays


def restored(name: str, kind: Any, state: State) -> Any:
    """The value that `flattened` made arrays of; None if the state has none of them.

    `kind` is its type: a named tuple, whose fields are found by its annotations, or any other.
    """
    if hasattr(kind, "_fields"):
        if not any(key.startswith(f"{name}.") for key in state):
            return None
        fields = kind.__annotations__.items()
        return kind(*(restored(f"{name}.{field}", part, state) for field, part in fields))
    if name not in state:
        return None
    return list(state[name]) if get_origin(kind) is Sequence else number_or_array(state[name])
