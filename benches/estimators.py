"""Estimators of linear models, fastgd's and scikit-learn's own: who enters.

Both have their default tolerance; where fastgd's end is higher than scikit-learn's, the row fails.
"""

import functools
import warnings
from typing import Any, NamedTuple

import corpus
import numpy as np
from optimum import _rows
from providers import REFERENCE, provides
from workloads import SMOKE

#: By how much of itself an objective may be above scikit-learn's.
EXCESS = {"QuantileRegressor": 1e-7, "LogisticRegression": 1e-6}


class Linear(NamedTuple):
    """A fit with the defaults of an estimator but for these parameters.

    Attributes
    ----------
    n : int
        0 for the rows of the text corpus, with the logarithm of their length as target.
    parameters : tuple of pairs
    condition : float
        That of the columns: 1 if they are not correlated.
    classes : int
        How many labels y has.
    """

    model: str
    n: int
    d: int = 0
    parameters: tuple[tuple[str, Any], ...] = ()
    condition: float = 10.0
    classes: int = 2

    kind, dtype = "linear estimator", "float64"
    toy = reads = logistic = False
    only = ()
    brief = None

    @property
    def name(self) -> str:
        shape = f"{self.n:,}x{self.d}, condition {self.condition:g}" if self.n else "text"
        given = ", ".join(f"{name} {value}" for name, value in self.parameters)
        classes = f", {self.classes} classes" if self.classes > 2 else ""
        return f"{self.model}, {shape}{classes}, {given or 'defaults'}"

    def data(self):
        rng = np.random.default_rng(0)
        if not self.n:
            x = corpus.load().x
            signs = rng.standard_normal(x.shape[1]) * (rng.random(x.shape[1]) < 0.01)
            return x, x @ signs + 0.1 * rng.standard_normal(x.shape[0])
        n = max(20, self.n // (100 if SMOKE else 1))
        x, mix = _rows(n, self.d, self.condition)
        z = x @ (mix @ rng.standard_normal(self.d)) / self.d**0.5
        mean = np.exp(z + 0.3)
        if self.model == "PoissonRegressor":
            return x, rng.poisson(mean).astype(float)
        if self.model in ("GammaRegressor", "TweedieRegressor"):
            return x, mean * rng.gamma(2, 0.5, n)
        if self.model == "LogisticRegression":
            of_class = z[:, None] * np.linspace(-1, 1, self.classes)
            return x, (2 * of_class + rng.gumbel(size=of_class.shape)).argmax(axis=1)
        return x, z + rng.standard_t(3, n)

    def check(self, name, x, y, result, expected):
        ours, theirs = (self._objective(x, y, model) for model in (result, expected))
        excess = ours - theirs
        assert excess <= EXCESS.get(self.model, 1e-9) * abs(theirs), f"{name} is {excess:.1e} above"
        return {"excess": excess}

    def _objective(self, x, y, model) -> float:
        w = model.coef_
        if self.model == "LogisticRegression":
            return _softmax_objective(x, y, model)
        z = x @ w + model.intercept_
        if hasattr(model, "_base_loss"):
            return float(model._base_loss(y_true=y, raw_prediction=z) + model.alpha / 2 * w @ w)
        r = y - z
        if self.model in ("LinearRegression", "Ridge"):
            return float(r @ r + getattr(model, "alpha", 0.0) * w @ w)
        if self.model == "HuberRegressor":
            u, e = np.abs(r) / model.scale_, model.epsilon
            loss = np.where(u <= e, u * u, 2 * e * u - e * e)
            return float(model.scale_ * (1 + loss).sum() + model.alpha * w @ w)
        if self.model == "QuantileRegressor":
            loss = np.where(r > 0, model.quantile * r, (model.quantile - 1) * r)
            return float(loss.mean() + model.alpha * np.abs(w).sum())
        penalty = model.l1_ratio * np.abs(w).sum() + (1 - model.l1_ratio) / 2 * w @ w
        return float(r @ r / (2 * len(y)) + model.alpha * penalty)


def _softmax_objective(x, y, model) -> float:
    """C·Σ loss + ‖coef‖²/2."""
    z = x @ model.coef_.T + model.intercept_
    if z.shape[1] == 1:
        z = np.column_stack([np.zeros(len(z)), z])
    top = z.max(axis=1)
    loss = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[np.arange(len(y)), y]
    return float(model.C * loss.sum() + (model.coef_**2).sum() / 2)


def _fit(home: Any, work: Linear):
    make = functools.partial(getattr(home, work.model), **dict(work.parameters))

    def run(x, y):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that an iterate of scikit-learn's is not yet the optimum
            return make().fit(x, y)

    return lambda x, y: (x, y), run


@provides("fastgd", "linear estimator", needs="fastgd")
def fastgd_estimator(work):
    from fastgd import linear_model

    return _fit(linear_model, work)


@provides(REFERENCE, "linear estimator", needs="sklearn")
@provides("scikit-learn", "linear estimator", needs="sklearn")
def sklearn_estimator(work):
    from sklearn import linear_model

    return _fit(linear_model, work)
