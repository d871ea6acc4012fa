"""How a pass reads x: as it is or centred, its rows as they lie or in an order."""

from ..compile.functions import compiled


def _plain(x, center, i, j):
    return x[i, j]


def _centred(x, center, i, j):
    return x[i, j] - center[j]


def _given(order, at):
    return at


def _ordered(order, at):
    return order[at]


def element_of(centred: bool):
    """Compiled ``(x, center, i, j)``: the number that a pass computes with."""
    return compiled(_centred if centred else _plain)


def row_of(ordered: bool):
    """Compiled ``(order, at)``: the row of x that comes at a place of the walk."""
    return compiled(_ordered if ordered else _given)
