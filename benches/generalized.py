"""Generalized linear models with a log link and an l2 penalty, to their optimum: who enters.

Correlated columns as in `optimum`. Each contestant stops at the loosest tolerance, of 1, 2 and 5 times a
power of ten, that brings its objective within 1e-8 of the optimum, relatively; fastgd at its own.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from optimum import _as_they_are, _model, _rows
from providers import REFERENCE, provides
from workloads import SMOKE

#: How far above the optimum an objective may end. Tolerances don't suit smaller data.
EXCESS = 1e-3 if SMOKE else 1e-8
#: The power of the mean that the variance is proportional to.
POWERS = {"poisson": 1.0, "gamma": 2.0, "tweedie": 1.5}
TOL = {"scikit-learn newton-cholesky": 1e-3, "scikit-learn lbfgs": 2e-5, "glum": 1e-3}


class Generalized(NamedTuple):
    """A fit to the optimum."""

    model: str
    n: int
    d: int
    condition: float = 10.0
    l2: float = 1e-4
    dtype: str = "float64"

    kind = "generalized"
    toy = reads = logistic = False
    only = ()

    @property
    def name(self) -> str:
        shape = f"{self.n:,}x{self.d}, condition {self.condition:g}"
        return f"{self.model}, {shape}, l2 {self.l2:g}, to 1e-8 of the optimum"

    @property
    def brief(self) -> "Generalized":
        return self._replace(n=1000)

    def data(self):
        rng, (x, mix) = np.random.default_rng(3), _rows(self.n, self.d, self.condition)
        mean = np.exp(x @ (mix @ rng.standard_normal(self.d)) / self.d**0.5 + 0.3)
        if self.model == "poisson":
            return x, rng.poisson(mean).astype(float)
        y = mean * rng.gamma(2, 0.5, self.n)
        return x, np.where(rng.random(self.n) < 0.3, 0.0, y) if self.model == "tweedie" else y

    def objective(self, x, y, coef, intercept) -> float:
        z, p = x @ coef + intercept, POWERS[self.model]
        of_mean = z if p == 2 else np.exp((2 - p) * z) / (2 - p)
        of_target = y * z if p == 1 else y * np.exp((1 - p) * z) / (1 - p)
        return float(np.mean(of_mean - of_target)) + self.l2 / 2 * float(coef @ coef)

    def check(self, name, x, y, result, expected):
        found, best = (self.objective(x, y, np.ravel(c), float(b)) for c, b in (result, expected))
        error = (found - best) / abs(best)
        assert error < EXCESS, f"{name} is off by {error:.1e}"
        return {"cost": found, "error": error} | ({"tol": TOL[name]} if name in TOL else {})


@provides(REFERENCE, "generalized")
def newton(work):
    """Newton's method from the constant of the mean, until its steps are rounding."""
    p = POWERS[work.model]

    def run(x, y):
        u = np.append(np.zeros(work.d), math.log(y.mean()))
        for _ in range(50):
            z = x @ u[:-1] + u[-1]
            of_mean, of_target = np.exp((2 - p) * z), y * np.exp((1 - p) * z)
            slope = (of_mean - of_target) / work.n
            curvature = ((2 - p) * of_mean + (p - 1) * of_target) / work.n
            weighted = x * curvature[:, None]
            hessian = np.empty((work.d + 1, work.d + 1))
            hessian[:-1, :-1] = x.T @ weighted + work.l2 * np.eye(work.d)
            hessian[-1, :-1] = hessian[:-1, -1] = weighted.sum(axis=0)
            hessian[-1, -1] = curvature.sum()
            gradient = np.append(slope @ x + work.l2 * u[:-1], slope.sum())
            step = np.linalg.solve(hessian, gradient)
            u -= step
            if np.abs(step).max() < 1e-10 * np.abs(u).max():
                break
        return u[:-1], u[-1]

    return _as_they_are, run


@provides("fastgd", "generalized", needs="fastgd")
def fastgd_generalized(work):
    import fastgd

    def run(x, y):
        fit = fastgd.fit(x, y, work.model, l2=work.l2)
        return fit.coef, fit.intercept

    return _as_they_are, run


def _sklearn(work, solver):
    from sklearn.linear_model import TweedieRegressor

    how = {"power": POWERS[work.model], "link": "log", "alpha": work.l2, "max_iter": 10_000}
    tol = TOL[f"scikit-learn {solver}"]
    return _model(functools.partial(TweedieRegressor, solver=solver, tol=tol, **how))


@provides("scikit-learn newton-cholesky", "generalized", needs="sklearn")
def sklearn_newton(work):
    return _sklearn(work, "newton-cholesky")


@provides("scikit-learn lbfgs", "generalized", needs="sklearn")
def sklearn_lbfgs(work):
    return _sklearn(work, "lbfgs")


@provides("glum", "generalized", needs="glum")
def glum_generalized(work):
    from glum import GeneralizedLinearRegressor, TweedieDistribution

    how = {"link": "log", "alpha": work.l2, "l1_ratio": 0, "max_iter": 1000}
    family = TweedieDistribution(POWERS[work.model])
    make = functools.partial(
        GeneralizedLinearRegressor, family=family, gradient_tol=TOL["glum"], **how
    )
    return lambda x, y: (np.asfortranarray(x), y), _model(make)[1]  # it is faster by columns
