"""scikit-learn's estimators of linear models, with its names, parameters and attributes, but faster."""

import importlib
from typing import Any

#: The module of each estimator.
_HOMES = {"SGDClassifier": "sgd", "SGDRegressor": "sgd"}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
