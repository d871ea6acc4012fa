"""Lasso, generalized and robust linear models, fastgd's and scikit-learn's own: who enters.

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
EXCESS = {"QuantileRegressor": 1e-7}


class Penalised(NamedTuple):
    """A fit with the defaults of an estimator but for these parameters.

    Attributes
    ----------
    n : int
        0 for the rows of the text corpus, with the logarithm of their length as target.
    parameters : tuple of pairs
    condition : float
        That of the columns: 1 if they are not correlated.
    """

    model: str
    n: int
    d: int = 0
    parameters: tuple[tuple[str, Any], ...] = ()
    condition: float = 10.0

    kind, dtype = "GLM estimator", "float64"
    toy = reads = logistic = False
    only = ()
    brief = None

    @property
    def name(self) -> str:
        shape = f"{self.n:,}x{self.d}, condition {self.condition:g}" if self.n else "text"
        given = ", ".join(f"{name} {value}" for name, value in self.parameters)
        return f"{self.model}, {shape}, {given or 'defaults'}"

    def data(self):
        rng = np.random.default_rng(0)
        if not self.n:
            x = corpus.load().x
            signs = rng.standard_normal(x.shape[1]) * (rng.random(x.shape[1]) < 0.01)
            return x, x @ signs + 0.1 * rng.standard_normal(x.shape[0])
        n = self.n // (100 if SMOKE else 1)
        x, mix = _rows(n, self.d, self.condition)
        z = x @ (mix @ rng.standard_normal(self.d)) / self.d**0.5
        mean = np.exp(z + 0.3)
        if self.model == "PoissonRegressor":
            return x, rng.poisson(mean).astype(float)
        if self.model in ("GammaRegressor", "TweedieRegressor"):
            return x, mean * rng.gamma(2, 0.5, n)
        return x, z + rng.standard_t(3, n)

    def check(self, name, x, y, result, expected):
        ours, theirs = (self._objective(x, y, model) for model in (result, expected))
        excess = ours - theirs
        assert excess <= EXCESS.get(self.model, 1e-9) * abs(theirs), f"{name} is {excess:.1e} above"
        return {"excess": excess}

    def _objective(self, x, y, model) -> float:
        z, w = x @ model.coef_ + model.intercept_, model.coef_
        if hasattr(model, "_base_loss"):
            return float(model._base_loss(y_true=y, raw_prediction=z) + model.alpha / 2 * w @ w)
        r = y - z
        if self.model == "HuberRegressor":
            u, e = np.abs(r) / model.scale_, model.epsilon
            loss = np.where(u <= e, u * u, 2 * e * u - e * e)
            return float(model.scale_ * (1 + loss).sum() + model.alpha * w @ w)
        if self.model == "QuantileRegressor":
            loss = np.where(r > 0, model.quantile * r, (model.quantile - 1) * r)
            return float(loss.mean() + model.alpha * np.abs(w).sum())
        penalty = model.l1_ratio * np.abs(w).sum() + (1 - model.l1_ratio) / 2 * w @ w
        return float(r @ r / (2 * len(y)) + model.alpha * penalty)


def _fit(home: Any, work: Penalised):
    make = functools.partial(getattr(home, work.model), **dict(work.parameters))

    def run(x, y):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that an iterate of scikit-learn's is not yet the optimum
            return make().fit(x, y)

    return lambda x, y: (x, y), run


@provides("fastgd", "GLM estimator", needs="fastgd")
def fastgd_estimator(work):
    from fastgd import linear_model

    return _fit(linear_model, work)


@provides(REFERENCE, "GLM estimator", needs="sklearn")
@provides("scikit-learn", "GLM estimator", needs="sklearn")
def sklearn_estimator(work):
    from sklearn import linear_model

    return _fit(linear_model, work)
