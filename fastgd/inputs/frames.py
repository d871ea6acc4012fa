"""The names of columns, for data that has them."""

from typing import Any


def column_names(x: Any) -> list[str] | None:
    """The column names of a data frame, for messages."""
    columns = getattr(x, "columns", None)
    if columns is None or callable(columns):
        return None
    return [str(name) for name in columns]
