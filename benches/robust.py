"""Quantile and robust regression, and classifiers with margins, to their optimum: who enters.

Each contestant stops at the loosest tolerance, of 1, 2 and 5 times a power of ten, that brings its
objective within the work's excess of the optimum, relatively; "fastgd" at its own. HuberRegressor also
estimates the scale; its epsilon is the one at which its optimum is that of the others' fixed δ. RLM takes
the same δ and no other scale.
"""

import functools
from typing import NamedTuple

import numpy as np
from optimum import _as_they_are, _model, _rows
from providers import REFERENCE, provides
from workloads import SMOKE

#: The δ of Huber's loss.
DELTA = 1.5
#: The tolerances of contestants by model; they don't suit smaller data.
TOL = {
    "quantile": {"fastgd, tol": 1e-3, "statsmodels": 2e-4},
    "hinge": {"fastgd, tol": 0.1, "LinearSVC": 0.2},
    "squared_hinge": {"fastgd, tol": 0.01, "LinearSVC": 5e-3},
    "huber": {"fastgd, tol": 5e-4, "HuberRegressor": 1e-3, "statsmodels": 1e-3},
}


class Robust(NamedTuple):
    """A fit to the optimum."""

    model: str
    n: int
    d: int
    excess: float
    l2: float = 0.0
    dtype: str = "float64"

    kind = "robust"
    toy = reads = logistic = False
    only = ()

    @property
    def name(self) -> str:
        penalty = f", l2 {self.l2:g}" if self.l2 else ""
        goal = f"to {self.excess:.0e} of the optimum".replace("e-0", "e-")
        return f"{self.model}, {self.n:,}x{self.d}{penalty}, {goal}"

    @property
    def brief(self) -> "Robust":
        return self._replace(n=1000)

    @property
    def labels(self) -> bool:
        return "hinge" in self.model

    @property
    def loss(self):
        from fastgd.losses import LOSSES, Huber, Quantile

        return {"quantile": Quantile(0.9), "huber": Huber(DELTA)}.get(self.model) or LOSSES[
            self.model
        ]

    def tol(self, name: str) -> float:
        return TOL[self.model][name]

    def data(self):
        """Labels have no intercept, which LinearSVC would penalise."""
        rng, (x, mix) = np.random.default_rng(3), _rows(self.n, self.d, 10.0)
        z = x @ (mix @ rng.standard_normal(self.d)) * 2 / self.d**0.5
        if self.labels:
            return x, (z + rng.logistic(0, 1, self.n) > 0).astype(float)
        return x, z + 0.3 + rng.standard_t(2, self.n)

    def rows(self, z, y, width=0.0):
        """Value, slope and second derivative of every row, with kinks of this width."""
        r = z - y if not self.labels else 1 - (2 * y - 1) * z
        if self.model == "huber":
            slope = np.clip(r, -DELTA, DELTA)
            return slope * (r - slope / 2), slope, (np.abs(r) < DELTA) * 1.0
        if self.model == "squared_hinge":
            short = np.maximum(r, 0)
            return short**2, 2 * short * (1 - 2 * y), 2.0 * (r > 0)
        root = np.maximum(np.sqrt(r * r + width * width), 1e-100)
        slope, second = r / root / 2, width**2 / root**3 / 2
        if self.model == "hinge":
            return (r + root) / 2, (0.5 + slope) * (1 - 2 * y), second
        return root / 2 - 0.4 * r, slope - 0.4, second

    def objective(self, x, y, coef, intercept) -> float:
        value, _, _ = self.rows(x @ coef + intercept, y)
        return float(value.mean()) + self.l2 / 2 * float(coef @ coef)

    def check(self, name, x, y, result, expected):
        found, best = (self.objective(x, y, np.ravel(c), float(b)) for c, b in (result, expected))
        error = (found - best) / abs(best)
        assert error < (1e-2 if SMOKE else self.excess), f"{name} is off by {error:.1e}"
        told = {"tol": self.tol(name)} if name in TOL[self.model] else {}
        return {"cost": found, "error": error} | told


@provides(REFERENCE, "robust")
def smoothed_newton(work):
    """Newton's method with kinks that grow narrow, the wide ones on a part of many rows."""
    kinked, part = work.model in ("quantile", "hinge"), slice(None, None, work.n // 10_000 or 1)
    widths = np.geomspace(1, work.excess**0.5 / 10, 7) if kinked else [0.0]
    penalty = np.append(np.full(work.d, work.l2), [] if work.labels else [0.0])

    def descend(a, y, u, width):
        def objective(u):
            return work.rows(a @ u, y, width)[0].mean() + penalty @ (u * u) / 2

        for _ in range(30):
            _, slope, second = work.rows(a @ u, y, width)
            gradient = slope @ a / len(a) + penalty * u
            hessian = a.T @ (a * second[:, None]) / len(a) + np.diag(penalty)
            step, length, before = np.linalg.solve(hessian, gradient), 1.0, objective(u)
            decrease = float(step @ gradient)
            while objective(u - length * step) > before - 1e-4 * length * decrease:
                length /= 2
                if length < 1e-6:
                    return u
            u = u - length * step
            if decrease < 1e-3 * work.excess * before:
                break
        return u

    def run(x, y):
        a = x if work.labels else np.column_stack([x, np.ones(len(x))])
        u = np.linalg.lstsq(a[part], (2 * y - 1 if work.labels else y)[part], rcond=None)[0]
        for width in widths[:-2]:
            u = descend(a[part], y[part], u, width)
        for width in widths[-2:]:
            u = descend(a, y, u, width)
        return u[: work.d], (0.0 if work.labels else u[-1])

    return _as_they_are, run


def _fastgd(work, **options):
    import fastgd

    def run(x, y):
        how = {"l2": work.l2, "fit_intercept": not work.labels}
        fit = fastgd.fit(x, y, work.loss, **how, **options)
        return fit.coef, fit.intercept

    return _as_they_are, run


@provides("fastgd", "robust", needs="fastgd")
def fastgd_robust(work):
    return _fastgd(work)


@provides("fastgd, tol", "robust", needs="fastgd")
def fastgd_tol(work):
    return _fastgd(work, tol=work.tol("fastgd, tol"))


@provides(
    "QuantileRegressor", "robust", needs="sklearn",
    when=lambda work: work.model == "quantile" and work.n <= 10_000,  # else it takes minutes
)  # fmt: skip
def sklearn_quantile(work):
    from sklearn.linear_model import QuantileRegressor

    return _model(functools.partial(QuantileRegressor, quantile=0.9, alpha=0, solver="highs"))


@provides("LinearSVC", "robust", needs="sklearn", when=lambda work: work.labels)
def sklearn_svc(work):
    from sklearn.svm import LinearSVC

    how = {"tol": work.tol("LinearSVC"), "max_iter": 3000, "random_state": 0}
    how |= {"C": 1 / (work.n * work.l2), "dual": work.model == "hinge"}
    return _model(functools.partial(LinearSVC, loss=work.model, fit_intercept=False, **how))


@provides("HuberRegressor", "robust", needs="sklearn", when=lambda work: work.model == "huber")
def sklearn_huber(work):
    from sklearn.linear_model import HuberRegressor

    def prepare(x, y):
        coef, intercept = smoothed_newton(work)[1](x, y)
        r = x @ coef + intercept - y
        # At its optimum the derivative in the scale is 0, which gives the scale where ε·scale = δ.
        scale = np.sqrt(np.mean(np.minimum(r * r, DELTA**2)))
        tol = work.tol("HuberRegressor")
        make = functools.partial(
            HuberRegressor, epsilon=DELTA / scale, alpha=0, tol=tol, max_iter=1000
        )
        return _model(make)[1], x, y

    return prepare, lambda run, x, y: run(x, y)


@provides(
    "statsmodels", "robust", needs="statsmodels",
    when=lambda work: work.model in ("quantile", "huber"),
)  # fmt: skip
def statsmodels_robust(work):
    import statsmodels.api as sm

    tol = work.tol("statsmodels")

    def run(x, y):
        a = sm.add_constant(x, prepend=False)
        if work.model == "quantile":
            found = sm.QuantReg(y, a).fit(q=0.9, p_tol=tol, max_iter=1000)
        else:
            model = sm.RLM(y, a, M=sm.robust.norms.HuberT(t=DELTA))
            found = model.fit(start_scale=1.0, update_scale=False, tol=tol, conv="coefs", cov="H3")
        return found.params[:-1], found.params[-1]

    return _as_they_are, run
