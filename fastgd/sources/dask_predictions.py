"""Predictions of dask arrays and data frames, which compute nothing until they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import inputs
from ..errors import InputError


def lazily(
    predict: Callable[..., np.ndarray],
    x: Any,
    offset: Any = None,
    categories: dict[str, tuple[Any, ...]] | None = None,
) -> Any:
    """``predict(chunk)`` of the chunks of x as a dask array (n,) or (n, k).

    Parameters
    ----------
    predict : callable
        Of an array or a data frame; and of the offset of its rows, where there is one.
    x : dask array or frame
    offset : array-like (n,) or (n, k), optional
        In memory or of Dask, with as many chunks as x has where the rows of a chunk are not known.
    categories : dict, optional
        The values that columns of a frame may have.

    Raises
    ------
    InputError
        If `predict` can't take such columns, or the offset can't be cut where x is.
    """
    if type(x).__name__ == "Array":
        return _of_array(predict, x, offset)
    x = x.to_frame() if type(x).__name__ == "Series" else x
    beside, axes = [], ()
    if offset is not None:
        from dask.dataframe import from_dask_array

        offset = _in_chunks(offset, (np.nan,) * x.npartitions)
        beside, axes = [from_dask_array(offset)], offset.shape[1:]
    first = {name: values[0] for name, values in (categories or {}).items() if name in x.columns}
    like = _like(predict, x._meta_nonempty.assign(**first), bool(beside), axes)
    return x.map_partitions(
        _predicted, *beside, predict=predict, none=like, meta=like, align_dataframes=False
    )


def _of_array(predict: Callable[..., np.ndarray], x: Any, offset: Any) -> Any:
    from dask.array import blockwise

    x = x[:, None] if x.ndim == 1 else x.rechunk({1: -1})
    beside, axes = [], ()
    if offset is not None:
        offset = _in_chunks(offset, x.chunks[0])
        beside, axes = [offset, "nk"[: offset.ndim]], offset.shape[1:]
    like = _like(predict, np.zeros((1, x.shape[1])), bool(beside), axes)
    return blockwise(
        _predicted, "no"[: like.ndim], x, "nd", *beside, predict=predict, none=like, meta=like,
        dtype=like.dtype, new_axes=dict(zip("o", like.shape[1:], strict=False)), concatenate=True,
        align_arrays=False,
    )  # fmt: skip


def _like(predict: Any, rows: Any, with_offset: bool, axes: tuple[int, ...]) -> np.ndarray:
    """An array of no rows, as predictions are of rows like these and an offset with such further axes."""
    offset = [np.zeros((len(rows), *axes))] if with_offset else []
    return np.asarray(predict(rows, *offset))[:0]


def _predicted(
    rows: Any, *offset: Any, predict: Any, none: np.ndarray, partition_info: Any = None
) -> np.ndarray:
    """The predictions of a chunk; Dask tells which one of a frame it is."""
    if not rows.shape[0]:
        return none
    try:
        return np.asarray(predict(rows, *offset))
    except InputError as error:
        if not partition_info:
            raise
        raise InputError(f"in chunk {partition_info['number']}, {error}") from None


def _in_chunks(offset: Any, sizes: tuple[float, ...]) -> Any:
    """The offset as a dask array with chunks of these sizes, NaN where they are unknown."""
    from dask.array import from_array

    known = not np.isnan(sizes).any()
    if not inputs.is_dask(offset):
        offset = inputs.as_array(offset, "offset")
        if not known:
            raise InputError(
                "the rows of the chunks of x are not known, so that offset can't be cut where x is; pass "
                "it as a dask array or series with as many chunks."
            )
        offset = from_array(offset, chunks=-1)
    elif type(offset).__name__ in ("Series", "DataFrame"):
        offset = offset.to_dask_array()
    elif type(offset).__name__ != "Array":
        raise InputError(
            f"offset is a {type(offset).__name__} of Dask; pass a dask array or series."
        )
    rows = offset.shape[0] if offset.ndim else 0
    if offset.ndim not in (1, 2) or (known and not np.isnan(rows) and rows != sum(sizes)):
        expected = f"({sum(sizes)},)" if known else "(n,)"
        raise InputError(
            f"offset has shape {offset.shape}; expected {expected}, one number a row of x."
        )
    if known and not np.isnan(rows):
        return offset.rechunk((sizes, -1)[: offset.ndim])
    if offset.numblocks[0] != len(sizes):
        raise InputError(
            f"offset has {offset.numblocks[0]} chunk(s) and x has {len(sizes)}, and the rows of a chunk "
            "are not known; pass one with as many."
        )
    return offset.rechunk({1: -1}) if offset.ndim == 2 else offset
