"""How a pass reads x: plain or centred, in the given order or another."""

from ..compile.functions import inlined


def _plain(x, center, i, j):
    return x[i, j]


def _centred(x, center, i, j):
    return x[i, j] - center[j]


def _given(order, at):
    return at


def _ordered(order, at):
    return order[at]


def element_of(centred: bool):
    """The compiled ``(x, center, i, j)``: x[i, j], or x[i, j] − center[j] if `centred`."""
    return inlined(_centred if centred else _plain)


def row_of(ordered: bool):
    """The compiled ``(order, at)``: the row of x at place `at`, order[at] if `ordered`."""
    return inlined(_ordered if ordered else _given)
