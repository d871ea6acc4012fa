"""To the optimum with an l1 penalty: the workloads, and who enters.

Two hundred columns, each correlated with its neighbours, of which twenty matter; l1 is a twentieth of
what would leave none. Everyone is judged by the objective, and stops at the loosest tolerance, of 1, 2
and 5 times a power of ten, that brings it within 1e-6 of the optimum.
"""

import functools
from typing import NamedTuple

import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE, cost_at

#: How far above the optimum an objective may end, relatively. Tolerances don't suit smaller data.
EXCESS = 1e-3 if SMOKE else 1e-6

# Found on this very data; the check tells where one of them is no longer tight enough.
TOL = {
    ("linear", "scikit-learn"): 5e-2,
    ("linear", "skglm"): 2e-2,
    ("logistic", "fastgd, tol"): 5e-4,
    ("logistic", "scikit-learn saga"): 1e-3,
    ("logistic", "skglm"): 2e-3,
}


class Sparse(NamedTuple):
    """A fit to the optimum of the cost with an l1 penalty."""

    model: str
    n: int
    d: int
    share: float = 0.05
    dtype: str = "float64"

    toy = reads = False
    only = ()
    brief = None  # some compile more once there are rows enough: the first run is for all of them

    @property
    def logistic(self) -> bool:
        return self.model == "logistic"

    @property
    def kind(self) -> str:
        return "logistic with l1" if self.logistic else "least squares with l1"

    @property
    def name(self) -> str:
        return f"{self.model}, {self.n:,}x{self.d}, l1, to 1e-6 of the optimum"

    def data(self):
        rng, x = np.random.default_rng(4), _rows(self.n, self.d)
        z = np.dot(x[:, ::10], rng.standard_normal(len(range(0, self.d, 10)))) / 2 + 0.3
        if self.logistic:
            return x, (z + rng.logistic(0, 1, self.n) > 0).astype(float)
        return x, z + rng.normal(0, 1, self.n)

    def l1(self, x, y) -> float:
        """A share of the largest slope where all coefficients are zero."""
        slope = np.dot(y - y.mean(), x) / len(y)
        return self.share * float(np.abs(slope).max()) * (1 if self.logistic else 2)

    def objective(self, x, y, coef, intercept) -> float:
        return cost_at(self, x, y, coef, intercept) + self.l1(x, y) * float(np.abs(coef).sum())

    def check(self, name, x, y, result, expected):
        coef, intercept = np.ravel(result[0]), float(np.ravel(result[1])[0])
        best = self.objective(x, y, *expected)
        error = self.objective(x, y, coef, intercept) / best - 1
        assert error < EXCESS, f"{name} is off by {error:.1e}"
        info = {"cost": cost_at(self, x, y, coef, intercept), "error": max(error, 0.0)}
        tol = TOL.get((self.model, name))
        return info if tol is None else info | {"tol": tol}


@functools.lru_cache(maxsize=1)
def _rows(n: int, d: int):
    rng = np.random.default_rng(n + d)
    x = rng.standard_normal((n, d))
    for j in range(1, d):
        x[:, j] = 0.6 * x[:, j - 1] + 0.8 * x[:, j]
    return x


def _as_they_are(x, y):
    return x, y


@provides(REFERENCE, "least squares with l1", "logistic with l1")
def accelerated(work):
    """Accelerated proximal descent, started anew where it turns, until its steps are rounding."""

    def run(x, y):
        l1, n = work.l1(x, y), len(y)
        rows = np.column_stack([x, np.ones(n)])
        gram = np.dot(rows.T, rows) / n
        step = 1 / (np.linalg.eigvalsh(gram)[-1] * (0.25 if work.logistic else 2))
        u = at = np.zeros(work.d + 1)
        thresholds = np.append(np.full(work.d, l1 * step), 0)
        momentum, by_y = 1.0, np.dot(y, rows) / n
        for _ in range(3000):
            if work.logistic:
                slope = np.dot(1 / (1 + np.exp(-np.dot(rows, at))) - y, rows) / n
            else:
                slope = 2 * (np.dot(gram, at) - by_y)
            ahead = at - step * slope
            new = np.sign(ahead) * np.maximum(np.abs(ahead) - thresholds, 0)
            turned = np.dot(at - new, new - u) > 0
            after = 1.0 if turned else (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            at = new + (0 if turned else (momentum - 1) / after) * (new - u)
            moved, u, momentum = np.abs(new - u).max(), new, after
            if moved < 1e-9 * np.abs(u).max():
                break
        return u[:-1], u[-1]

    return _as_they_are, run


def _fastgd(work, **how):
    import fastgd

    fit_it = fastgd.fit_logistic if work.logistic else fastgd.fit_linear

    def prepare(x, y):
        return x, y, work.l1(x, y)

    def run(x, y, l1):
        fit = fit_it(x, y, l1=l1, **how)
        return fit.coef, fit.intercept

    return prepare, run


@provides("fastgd", "least squares with l1", "logistic with l1", needs="fastgd")
def fastgd_default(work):
    """To rounding, as it does by itself."""
    return _fastgd(work)


@provides("fastgd, tol", "logistic with l1", needs="fastgd")
def fastgd_tol(work):
    return _fastgd(work, tol=TOL[work.model, "fastgd, tol"])


def _model(work, make, *, by_columns=False):
    """The (prepare, run) of what has a scikit-learn `fit`; ``make(l1)`` gives the model."""

    def prepare(x, y):
        return np.asfortranarray(x) if by_columns else x, y, make(work.l1(x, y))

    def run(x, y, model):
        model.fit(x, y)
        return model.coef_, model.intercept_

    return prepare, run


@provides("scikit-learn", "least squares with l1", needs="sklearn")
def sklearn_lasso(work):
    """The faster of its two ways, on X^T X; and by columns, as it copies rows into those."""
    from sklearn.linear_model import Lasso

    tol = TOL["linear", "scikit-learn"]
    return _model(work, lambda l1: Lasso(l1 / 2, precompute=True, tol=tol), by_columns=True)


@provides("scikit-learn saga", "logistic with l1", needs="sklearn")
def sklearn_saga(work):
    from sklearn.linear_model import LogisticRegression

    tol = TOL["logistic", "scikit-learn saga"]
    how = {"penalty": "l1", "solver": "saga", "tol": tol, "max_iter": 10_000, "random_state": 0}
    return _model(work, lambda l1: LogisticRegression(C=1 / (l1 * work.n), **how))


@provides("skglm", "least squares with l1", "logistic with l1", needs="skglm")
def skglm_model(work):
    import skglm

    tol = TOL[work.model, "skglm"]
    if work.logistic:
        return _model(
            work, lambda l1: skglm.SparseLogisticRegression(alpha=l1, tol=tol), by_columns=True
        )
    return _model(work, lambda l1: skglm.Lasso(alpha=l1 / 2, tol=tol), by_columns=True)
