"""Checks of one argument: a number, a whole number, a name, True or False.

A leaf: no numba, no numpy. A NumPy scalar, and an array or a tensor without dimensions, counts as the
Python object that it holds.
"""

import math
from numbers import Integral, Real
from typing import Any

from .errors import InputError

#: The largest whole number: that of an index.
_MOST = 2**63 - 1
#: Types without dimensions and masks: most arguments.
_PLAIN = frozenset((str, bool, int, float, type(None)))
#: The longest `repr` that a message shows in full.
_LONGEST = 120


def plain(value: Any) -> Any:
    """A NumPy scalar, or an array or a tensor without dimensions, as the Python object it holds."""
    if type(value) in _PLAIN or getattr(value, "ndim", None) != 0 or getattr(value, "mask", False):
        return value
    try:
        return value.item()
    except Exception:  # no item, or an unreadable one, as of a tensor without data
        return value


def is_value(value: Any) -> bool:
    """Whether a value can be one of a column of categories: text, a number or a boolean, and not NaN."""
    return isinstance(value, str | int | float) and value == value


def shown(value: Any) -> str:
    """The text of a value in a message: its `repr` in one line, cut if long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # as for an integer of thousands of digits
        return f"an unprintable {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 40]}…{text[-20:]}"


def real(value: Any) -> float | None:
    """A real number as a float, infinite beyond its range; None for other values."""
    if type(value) is float:
        return value
    value = plain(value)
    if not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def number(value: Any, name: str, *, low: float = 0.0, strict: bool = False) -> float:
    """A finite real number, at least (or, when `strict`, above) `low`."""
    if type(value) is float and (low < value if strict else low <= value) and value < math.inf:
        return value
    value = plain(value)
    converted = None if isinstance(value, bool) else real(value)
    if converted is None:
        raise InputError(f"{name} is {shown(value)}; expected a number.")
    if not math.isfinite(converted) or converted < low or (strict and converted == low):
        bound = "above" if strict else "at least"
        raise InputError(f"{name} is {shown(value)}; expected a finite number {bound} {low:g}.")
    return converted


def integer(value: Any, name: str, *, low: int, high: float = _MOST) -> int:
    """A whole number, from `low` to `high`."""
    if type(value) is int and low <= value <= high:
        return value
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} is {shown(value)}; expected a whole number.")
    whole = int(value)
    if not low <= whole <= high:
        bound = f"at least {low}" if whole < low else f"at most {high}"
        raise InputError(f"{name} is {shown(value)}; expected {bound}.")
    return whole


def choice(value: Any, name: str, allowed: tuple[Any, ...]) -> Any:
    """One of `allowed`; for another value the message suggests the nearest name."""
    value = plain(value)
    for option in allowed:
        if type(value) is type(option) and value == option:
            return value
    options = ", ".join(repr(option) for option in allowed)
    raise InputError(f"{name} is {shown(value)}; {nearest(value, allowed)}choose from {options}.")


def nearest(value: Any, allowed: tuple[Any, ...]) -> str:
    """The text "did you mean 'gd'? " for a name close to one of `allowed`, else ""."""
    names = [option for option in allowed if isinstance(option, str)]
    import difflib  # 2 ms, only after a mistake

    near = difflib.get_close_matches(value.lower(), names, 1) if isinstance(value, str) else []
    return f"did you mean {near[0]!r}? " if near else ""


def flag(value: Any, name: str) -> bool:
    """True or False."""
    if value is True or value is False:
        return value
    value = plain(value)
    if isinstance(value, bool):
        return value
    raise InputError(f"{name} is {shown(value)}; expected True or False.")


def keep_numbers(
    owner: Any, *names: str, low: float = 0.0, below: float = math.inf, whole: bool = False
) -> None:
    """Check the numbers in these fields of a frozen dataclass, and make them floats, or ints if whole."""
    for name in names:
        value = plain(getattr(owner, name))
        converted = None if isinstance(value, bool) else real(value)
        what = f"{name} of {type(owner).__name__} is {shown(value)}"
        if converted is None or not low <= converted < below:
            bound = f"from {low:g} up" if below == math.inf else f"from {low:g} to below {below:g}"
            raise InputError(f"{what}; expected a number {bound}.")
        if whole and converted != math.floor(converted):
            raise InputError(f"{what}; expected an integer.")
        object.__setattr__(owner, name, int(converted) if whole else converted)


def keep_flags(owner: Any, *names: str) -> None:
    """The same for fields that are True or False."""
    for name in names:
        value = flag(getattr(owner, name), f"{name} of {type(owner).__name__}")
        object.__setattr__(owner, name, value)
