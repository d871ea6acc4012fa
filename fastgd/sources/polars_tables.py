"""Queries and frames of Polars as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from .tables import ROWS, Table


def table_of_query(query: Any) -> Table:
    """A Polars LazyFrame, which runs once for every reading."""
    import polars

    if not hasattr(query, "collect_batches"):
        raise InputError(
            f"x is a polars.LazyFrame, and Polars {polars.__version__} can't run a query in batches: "
            "pip install 'polars>=1.34', or pass x.collect()."
        )
    schema = query.collect_schema()
    types = {
        name: (
            np.dtype(bool) if kind == polars.Boolean
            else np.dtype(str(kind).lower()) if kind.is_numeric() and not kind.is_decimal()
            else str(kind)
        )
        for name, kind in schema.items()
    }  # fmt: skip
    categorical = {
        name: kind.categories.to_list() if isinstance(kind, polars.Enum) else None
        for name, kind in schema.items()
        if isinstance(kind, polars.Enum | polars.Categorical)
    }

    def read(names: list[str]) -> Iterator[Any]:
        return iter(query.select(names).collect_batches(chunk_size=ROWS, maintain_order=True))

    def array(batch: Any, name: str) -> np.ndarray:
        return np.asarray(batch[name].to_numpy())

    def coded(batch: Any, name: str) -> tuple[np.ndarray, list[Any]]:
        column = batch[name]
        if column.dtype.is_nested():
            raise TypeError(column.dtype)
        values = column.drop_nulls().unique()
        places = polars.Series(range(len(values)), dtype=polars.Int32)
        known = values
        if name in categorical:
            column, known = column.to_physical(), values.to_physical()
        codes = column.replace_strict(known, places, default=-1, return_dtype=polars.Int32)
        return codes.to_numpy(), values.to_list()

    n = query.select(polars.len()).collect().item()
    return Table(types, n, read, array, coded, categorical)
