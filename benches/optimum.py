"""To the optimum, however one gets there: the workloads, and who enters.

Half a million rows of fifty columns that are so correlated that X has a condition number of 1000.
Least squares is judged by its coefficients. The penalised cross-entropy is judged by its objective,
which is the same for everyone: each stops at the loosest tolerance, of 1, 2 and 5 times a power of
ten, that brings it within 1e-6 of the optimum.
"""

import functools
from typing import NamedTuple

import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE, cost_at

#: How far above the optimum an objective may end, relatively. Tolerances don't suit smaller data.
EXCESS = 1e-3 if SMOKE else 1e-6
#: Largest relative error of least-squares coefficients: normal equations leave 1e-9.
ERROR = 1e-7

# Found on this very data; the check tells where one of them is no longer tight enough.
TOL = {
    "fastgd, tol": 1e-3,
    "scikit-learn newton-cholesky": 5e-4,
    "scikit-learn lbfgs": 1e-5,
    "scikit-learn-intelex": 5.0,
    "glum": 5e-3,
}


class Optimum(NamedTuple):
    """A fit to the optimum."""

    model: str
    n: int
    d: int
    condition: float = 1e3
    l2: float = 0.0
    dtype: str = "float64"

    toy = reads = False
    only = ()

    @property
    def logistic(self) -> bool:
        return self.model == "logistic"

    @property
    def kind(self) -> str:
        return "logistic optimum" if self.logistic else "least squares"

    @property
    def name(self) -> str:
        goal = f"l2 {self.l2:g}, to 1e-6 of the optimum" if self.logistic else "to the solution"
        return f"{self.model}, {self.n:,}x{self.d}, condition {self.condition:g}, {goal}"

    @property
    def brief(self) -> "Optimum":
        return self._replace(n=1000)

    def data(self):
        """Correlated columns of variance 1 on average, and a model that sees every direction."""
        rng, (x, mix) = np.random.default_rng(3), _rows(self.n, self.d, self.condition)
        z = x @ (mix @ rng.standard_normal(self.d)) * 2 / self.d**0.5 + 0.3
        if self.logistic:
            return x, (z + rng.logistic(0, 1, self.n) > 0).astype(float)
        return x, z + rng.normal(0, 0.5, self.n)

    def objective(self, x, y, coef, intercept) -> float:
        return cost_at(self, x, y, coef, intercept) + self.l2 / 2 * float(np.dot(coef, coef))

    def check(self, name, x, y, result, expected):
        coef, intercept = np.ravel(result[0]), float(np.ravel(result[1])[0])
        if self.logistic:
            best = self.objective(x, y, *expected)
            error, limit = self.objective(x, y, coef, intercept) / best - 1, EXCESS
        else:
            error = float(np.linalg.norm(coef - expected[0]) / np.linalg.norm(expected[0]))
            limit = ERROR
        assert error < limit, f"{name} is off by {error:.1e}"
        info = {"cost": cost_at(self, x, y, coef, intercept), "error": error}
        return info | ({"tol": _tol(self, name)} if self.logistic and name in TOL else {})


@functools.lru_cache(maxsize=1)
def _rows(n: int, d: int, condition: float):
    rng = np.random.default_rng(n + d)
    mix = np.linalg.qr(rng.standard_normal((d, d)))[0]
    spread = np.geomspace(1, 1 / condition, d)
    spread /= np.sqrt(np.mean(spread**2))
    return rng.standard_normal((n, d)) @ (spread[:, None] * mix.T), mix


def _as_they_are(x, y):
    return x, y


def _tol(work, name: str) -> float:
    # oneDAL compares a gradient that isn't divided by n.
    return TOL[name] * (work.n / 500_000 if name == "scikit-learn-intelex" else 1)


# --- least squares ------------------------------------------------------------------------------


def _normal_equations(x, y):
    """Centred by sums alone, which spares a copy of X."""
    n = len(x)
    mean, y_mean = np.dot(np.ones(n), x) / n, y.mean()
    gram = np.dot(x.T, x) - n * np.outer(mean, mean)
    return gram, mean, y_mean, np.dot(y, x) - n * y_mean * mean


@provides(REFERENCE, "least squares")
def exact(work):
    """Refined with residuals in extended precision, until only the rounding of the result is left."""

    def run(x, y):
        gram, mean, y_mean, by_y = _normal_equations(x, y)
        coef = np.linalg.solve(gram, by_y).astype(np.longdouble)
        for _ in range(3):
            intercept = y_mean - np.dot(mean, coef)
            by_coef, total = np.zeros(len(coef), np.longdouble), np.longdouble(0)
            for start in range(0, len(x), 10_000):
                rows = x[start : start + 10_000].astype(np.longdouble)
                residual = y[start : start + 10_000] - np.dot(rows, coef) - intercept
                by_coef += np.dot(residual, rows)
                total += residual.sum()
            coef += np.linalg.solve(gram, (by_coef - total * mean).astype(float))
        return coef.astype(float), float(y_mean - np.dot(mean, coef))

    return _as_they_are, run


@provides("fastgd", "least squares", needs="fastgd")
def fastgd_linear(work):
    import fastgd

    def run(x, y):
        fit = fastgd.fit_linear(x, y)
        return fit.coef, fit.intercept

    return _as_they_are, run


@provides("NumPy", "least squares")
def numpy_linear(work):
    def run(x, y):
        gram, mean, y_mean, by_y = _normal_equations(x, y)
        coef = np.linalg.solve(gram, by_y)
        return coef, y_mean - np.dot(mean, coef)

    return _as_they_are, run


def _model(make):
    """The (prepare, run) of what has a scikit-learn `fit`."""

    def run(x, y):
        model = make().fit(x, y)
        return model.coef_, model.intercept_

    return _as_they_are, run


@provides("scikit-learn", "least squares", needs="sklearn")
def sklearn_linear(work):
    from sklearn.linear_model import LinearRegression

    return _model(LinearRegression)


@provides("scikit-learn-intelex", "least squares", needs="sklearnex")
def sklearnex_linear(work):
    from sklearnex.linear_model import LinearRegression

    return _model(LinearRegression)


# --- logistic -----------------------------------------------------------------------------------


@provides(REFERENCE, "logistic optimum")
def newton(work):
    """Newton's method until its steps are rounding."""

    def run(x, y):
        u = np.zeros(work.d + 1)
        for _ in range(30):
            p = 1 / (1 + np.exp(-(np.dot(x, u[:-1]) + u[-1])))
            slope, curvature = (p - y) / work.n, p * (1 - p) / work.n
            weighted = x * curvature[:, None]
            hessian = np.empty((work.d + 1, work.d + 1))
            hessian[:-1, :-1] = np.dot(x.T, weighted) + work.l2 * np.eye(work.d)
            hessian[-1, :-1] = hessian[:-1, -1] = weighted.sum(axis=0)
            hessian[-1, -1] = curvature.sum()
            gradient = np.append(np.dot(slope, x) + work.l2 * u[:-1], slope.sum())
            step = np.linalg.solve(hessian, gradient)
            u -= step
            if np.abs(step).max() < 1e-10 * np.abs(u).max():
                break
        return u[:-1], u[-1]

    return _as_they_are, run


def _fastgd_logistic(work, **how):
    import fastgd

    def run(x, y):
        fit = fastgd.fit_logistic(x, y, l2=work.l2, **how)
        return fit.coef, fit.intercept

    return _as_they_are, run


@provides("fastgd", "logistic optimum", needs="fastgd")
def fastgd_default(work):
    """To rounding, as it does by itself."""
    return _fastgd_logistic(work)


@provides("fastgd, tol", "logistic optimum", needs="fastgd")
def fastgd_tol(work):
    return _fastgd_logistic(work, tol=_tol(work, "fastgd, tol"))


def _sklearn_arguments(work, name: str) -> dict:
    # Its objective is C times the sum of the losses plus |coef|²/2.
    return {"C": 1 / (work.l2 * work.n), "tol": _tol(work, name), "max_iter": 10_000}


@provides("scikit-learn newton-cholesky", "logistic optimum", needs="sklearn")
def sklearn_newton(work):
    from sklearn.linear_model import LogisticRegression

    how = _sklearn_arguments(work, "scikit-learn newton-cholesky")
    return _model(functools.partial(LogisticRegression, solver="newton-cholesky", **how))


@provides("scikit-learn lbfgs", "logistic optimum", needs="sklearn")
def sklearn_lbfgs(work):
    from sklearn.linear_model import LogisticRegression

    how = _sklearn_arguments(work, "scikit-learn lbfgs")
    return _model(functools.partial(LogisticRegression, solver="lbfgs", **how))


@provides("scikit-learn-intelex", "logistic optimum", needs="sklearnex")
def sklearnex_logistic(work):
    """Its L-BFGS; newton-cg takes several times as long."""
    from sklearnex.linear_model import LogisticRegression

    how = _sklearn_arguments(work, "scikit-learn-intelex")
    return _model(functools.partial(LogisticRegression, solver="lbfgs", **how))


@provides("glum", "logistic optimum", needs="glum")
def glum_logistic(work):
    from glum import GeneralizedLinearRegressor

    how = {"family": "binomial", "alpha": work.l2, "l1_ratio": 0, "max_iter": 1000}
    _, run = _model(
        functools.partial(GeneralizedLinearRegressor, gradient_tol=_tol(work, "glum"), **how)
    )
    return lambda x, y: (np.asfortranarray(x), y), run  # it is faster by columns
