"""scikit-learn's linear models over fastgd's fits: same names, parameters, attributes and results.

``from fastgd.linear_model import LogisticRegression`` in place of that from `sklearn.linear_model`.
"""

import importlib
from typing import Any

#: Where each estimator is; scikit-learn comes with the first that is asked for.
_HOMES = {
    "ElasticNet": "lasso",
    "GammaRegressor": "generalized",
    "HuberRegressor": "robust",
    "Lasso": "lasso",
    "LinearRegression": "least_squares",
    "LogisticRegression": "logistic",
    "MLPClassifier": "networks",
    "MLPRegressor": "networks",
    "PoissonRegressor": "generalized",
    "QuantileRegressor": "robust",
    "Ridge": "least_squares",
    "SGDClassifier": "sgd",
    "SGDRegressor": "sgd",
    "TweedieRegressor": "generalized",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ImportError(f"{name} needs scikit-learn: pip install 'fastgd[sklearn]'.") from None
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
