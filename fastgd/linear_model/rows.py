"""Rows in blocks (files, queries, functions, Dask) in scikit-learn's methods, whose rows are arrays."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

from sklearn.utils.validation import check_is_fitted

from ..errors import InputError
from ..inputs import is_dask
from ..sources.blocks import Blocks
from ..sources.categories import columns_of_features
from ..sources.dask_predictions import lazily
from ..sources.readers import as_fitted, in_blocks, rows_to_predict


@contextlib.contextmanager
def open_rows(X: Any, y: Any, sample_weight: Any, model: Any = None) -> Iterator[tuple[Any, ...]]:
    """X, y and the weights; of rows in blocks, X is `Blocks` and the others are in memory.

    With a model, X has the columns that it was fitted to.
    """
    if isinstance(X, Blocks) or not in_blocks(X):
        yield X, y, sample_weight
        return
    rows = as_fitted(X, y, sample_weight, *(None, None) if model is None else columns_of(model))
    try:
        if rows.y is None:
            raise InputError(
                "y is missing; pass an array, the name of a column of X, or blocks (x, y)."
            )
        yield rows
    finally:
        rows.x.close()


def over_blocks(fit: Callable[..., Any]) -> Callable[..., Any]:
    """A `fit` that is called with `Blocks` for rows in blocks."""

    @functools.wraps(fit)
    def fit_rows(
        self: Any, X: Any, y: Any, sample_weight: Any = None, *others: Any, **named: Any
    ) -> Any:
        with open_rows(X, y, sample_weight) as rows:
            return fit(self, *rows, *others, **named)

    return fit_rows


def predicted(model: Any, method: str, in_memory: Callable[[Any], Any], X: Any) -> Any:
    """``in_memory(X)``, which is scikit-learn's method of this name; of blocks that of one after another.

    Of a collection of Dask it is a dask array, which computes nothing yet.
    """
    names, categories = columns_of(model)
    if categories and not is_dask(X):  # a frame in memory may have columns to be encoded
        X = as_fitted(X, None, None, names, categories).x
    if not in_blocks(X):
        return in_memory(X)
    check_is_fitted(model)
    if is_dask(X):
        if names is not None and hasattr(X, "columns"):
            X = X[columns_of_features(names, categories or {})]
        return lazily(getattr(model, method), X, None, categories)
    blocks = rows_to_predict(X, model.n_features_in_, names, categories)
    unnamed = copy.copy(model)
    vars(unnamed).pop("feature_names_in_", None)  # blocks have none
    try:
        return blocks.joined(getattr(unnamed, method))
    except ValueError:
        blocks.require_finite("X")
        raise


def columns_of(model: Any) -> tuple[tuple[str, ...] | None, Any]:
    """The names of the features that a model was fitted to, and the categories they come from."""
    names = getattr(model, "feature_names_in_", None)
    categories = getattr(getattr(model, "fit_", None), "categories", None)
    return None if names is None else tuple(names), categories
