"""Rows to validate on: a random share of x, or rows that the caller gives."""

import math
from typing import Any

import numpy as np

from .. import inputs
from ..cpu.order import visiting_order
from ..errors import InputError
from ..sources import place
from ..sources.blocks import Blocks
from ..sources.compressed import Columns
from ..sources.readers import as_fitted, in_blocks


def split(n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those held out, a share of them rounded up, each in the given order."""
    m = math.ceil(fraction * n)
    if m >= n:
        raise InputError(f"validation={fraction:g} of {n} row(s) leaves none to train on.")
    order = visiting_order(n, True, seed, -1)  # of an epoch before the first
    return np.sort(order[m:]), np.sort(order[:m])


def given_rows(
    given: tuple[Any, ...],
    where: Any,
    device: Any,
    *,
    d: int,
    k: int,
    dtype: Any,
    classes: Any,
    loss: Any,
    feature_names: Any,
    categories: Any,
    outputs: int,
    offset: bool,
) -> tuple[tuple[Any, np.ndarray, np.ndarray | None, np.ndarray | None], place.Place]:
    """The tuple's x (n, d), y (k, n), weight and offset or None, checked against the rows to train on.

    And the place that reads them.
    """
    own: Any = None
    try:
        rows = as_fitted(given[0], given[1], (*given, None)[2], feature_names, categories)
        x: Any = rows.x
        if isinstance(x, Blocks):
            own = None if x is given[0] else x
            inputs.require_names_of(x.names, feature_names)
            if not in_blocks(given[0]):  # a frame in memory
                x = x.rows(0, len(x))
        else:
            inputs.require_names(x, feature_names)
        given = (x, *rows[1:], *given[3:])
        x, found = place.features(given[0], device)
        if found.on_gpu != where.on_gpu and not {found, where} & {place.BLOCKS, place.CHUNKS}:
            raise InputError("x lies elsewhere than the x to train on; move one of them.")
        x = x.rows if isinstance(x, Columns) else x
        n, columns = x.shape
        if columns != d:
            raise InputError(f"x has {columns} columns; the x to train on has {d}.")
        y = place.on_host(given[1], "y", where)
        if classes is None:
            y, _ = inputs.targets(y, n, dtype)
            inputs.require_domain(y, loss.targets, loss.name)
        else:
            y = inputs.known_labels(y, n, classes, dtype)
        if len(y) != k:
            raise InputError(f"y has {len(y)} column(s); the y to train on has {k}.")
        weight, own_offset = (*given[2:], None, None)[:2]
        if offset != (own_offset is not None):
            here, there = ("no", "one") if offset else ("an", "none")
            raise InputError(
                f"the rows have {here} offset, and those to train on have {there}; pass both or none."
            )
        weight = place.on_host(weight, "sample_weight", where)
        own_offset = place.on_host(own_offset, "offset", where)
        fixed = inputs.offsets(own_offset, n, outputs, dtype, of_classes=loss.coupled)
        return (x, y, inputs.weights(weight, n, np.float64), fixed), found
    except BaseException as error:
        if own is not None:
            own.close()
        if isinstance(error, InputError):
            raise InputError(f"in validation, {error}") from None
        raise
