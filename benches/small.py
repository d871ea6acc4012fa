"""Who does small calls: where the time is that of the call, and not of the arithmetic."""

import math
from typing import Any, NamedTuple

import numpy as np
from providers import REFERENCE, fastgd_cost, numpy_cost, provides

LR, EPOCHS = 0.01, 100
#: What is asked for in fits of three points: keyword arguments.
FITS: dict[str, dict[str, Any]] = {
    "no option": {},
    "coef_init": {"coef_init": 1.0},
    "sample_weight": {"sample_weight": [1.0, 2.0, 1.0]},
    "keep_path": {"keep_path": True},
    "l2": {"l2": 0.1},
    "float32": {"dtype": "float32"},
    "a schedule": {"schedule": lambda epoch: 1 / (1 + epoch)},
    "adam": {"optimizer": "adam"},
    "batches of 1": {"batch_size": 1, "shuffle": False},
    "batches of 2": {"batch_size": 2, "shuffle": False},
}


class Small(NamedTuple):
    """A call on a few numbers.

    The kind is "small fit" (three points in lists, of a key of `FITS`), "small optimum", "small cost" or
    "one row" (a prediction).
    """

    kind: str
    model: str = "linear"
    n: int = 3
    d: int = 1
    what: str = ""
    dtype: str = "float64"
    reads: bool = False
    brief: None = None
    points: int = 0
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        if self.kind == "small fit":
            return f"{self.model}, 3 points, {EPOCHS} epochs, {self.what}"
        kinds = {
            "small optimum": "to the optimum",
            "small cost": "cost and gradient",
            "one row": "one row predicted",
        }
        return f"{self.model}, {self.n}x{self.d}, {kinds[self.kind]}"

    @property
    def toy(self) -> bool:
        return self.kind == "small fit"

    @property
    def logistic(self) -> bool:
        return self.model == "logistic"

    @property
    def l2(self) -> float:
        return 0.1 if self.logistic else 0.0

    def data(self) -> tuple[Any, Any]:
        if self.toy:
            return [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.n, self.d))
        z = x @ np.ones(self.d) + rng.standard_normal(self.n)
        return x, (z > 0).astype(float) if self.logistic else z

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        found, wanted = (
            np.concatenate([np.ravel(part).astype(float) for part in numbers])
            for numbers in (result, expected)
        )
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        allowed = 1e-3 if self.what == "float32" or self.kind == "small optimum" else 1e-8
        assert error < allowed, f"{name} is off by {error:.1e}: {result}, not {expected}"
        return {}


def _as_it_is(x, y):
    return x, y


# --- fits of three points -------------------------------------------------------------------------


@provides("fastgd", "small fit", needs="fastgd")
def fastgd_small(work):
    import fastgd

    options = FITS[work.what]

    def run(x, y):
        fit = fastgd.fit_linear(x, y, lr=LR, epochs=EPOCHS, **options)
        return fit.coef, fit.intercept

    return _as_it_is, run


@provides(REFERENCE, "small fit")
@provides("Python loop", "small fit")
def python_small(work):
    """The textbook's loop with what the options ask for, and no more."""
    loops = {
        "adam": _adam, "sample_weight": _weighted, "l2": _penalised, "a schedule": _scheduled,
        "keep_path": _with_path, "batches of 1": _by_row, "batches of 2": _by_two,
    }  # fmt: skip
    start = float(FITS[work.what].get("coef_init", 0.0))
    loop = loops.get(work.what, _plain)
    return _as_it_is, lambda x, y: loop(x, y, start)


def _plain(x, y, w):
    b, step = 0.0, 2 * LR / len(x)
    for _ in range(EPOCHS):
        by_w = by_b = 0.0
        for a, t in zip(x, y, strict=True):
            r = w * a + b - t
            by_w += r * a
            by_b += r
        w -= step * by_w
        b -= step * by_b
    return w, b


def _with_path(x, y, w):
    b, step, path = 0.0, 2 * LR / len(x), []
    for _ in range(EPOCHS):
        by_w = by_b = 0.0
        for a, t in zip(x, y, strict=True):
            r = w * a + b - t
            by_w += r * a
            by_b += r
        w -= step * by_w
        b -= step * by_b
        path.append(w)
    return w, b


def _weighted(x, y, w):
    weights = FITS["sample_weight"]["sample_weight"]
    b, step = 0.0, 2 * LR / sum(weights)
    for _ in range(EPOCHS):
        by_w = by_b = 0.0
        for a, t, m in zip(x, y, weights, strict=True):
            r = m * (w * a + b - t)
            by_w += r * a
            by_b += r
        w -= step * by_w
        b -= step * by_b
    return w, b


def _penalised(x, y, w):
    b, step, l2 = 0.0, 2 * LR / len(x), LR * FITS["l2"]["l2"]
    for _ in range(EPOCHS):
        by_w = by_b = 0.0
        for a, t in zip(x, y, strict=True):
            r = w * a + b - t
            by_w += r * a
            by_b += r
        w -= step * by_w + l2 * w
        b -= step * by_b
    return w, b


def _scheduled(x, y, w):
    b, rate = 0.0, FITS["a schedule"]["schedule"]
    for epoch in range(EPOCHS):
        by_w = by_b = 0.0
        for a, t in zip(x, y, strict=True):
            r = w * a + b - t
            by_w += r * a
            by_b += r
        step = 2 * LR * rate(epoch) / len(x)
        w -= step * by_w
        b -= step * by_b
    return w, b


def _by_row(x, y, w):
    b = 0.0
    for _ in range(EPOCHS):
        for a, t in zip(x, y, strict=True):
            r = 2 * LR * (w * a + b - t)
            w -= r * a
            b -= r
    return w, b


def _by_two(x, y, w):
    b = 0.0
    for _ in range(EPOCHS):
        for first in range(0, len(x), 2):
            rows, targets = x[first : first + 2], y[first : first + 2]
            by_w = by_b = 0.0
            for a, t in zip(rows, targets, strict=True):
                r = w * a + b - t
                by_w += r * a
                by_b += r
            step = 2 * LR / len(rows)
            w -= step * by_w
            b -= step * by_b
    return w, b


def _adam(x, y, w):
    b = mean_w = mean_b = square_w = square_b = 0.0
    for epoch in range(1, EPOCHS + 1):
        by_w = by_b = 0.0
        for a, t in zip(x, y, strict=True):
            r = w * a + b - t
            by_w += r * a
            by_b += r
        by_w *= 2 / len(x)
        by_b *= 2 / len(x)
        mean_w += 0.1 * (by_w - mean_w)
        mean_b += 0.1 * (by_b - mean_b)
        square_w += 0.001 * (by_w * by_w - square_w)
        square_b += 0.001 * (by_b * by_b - square_b)
        step, root = LR / (1 - 0.9**epoch), math.sqrt(1 - 0.999**epoch)
        w -= step * mean_w / (math.sqrt(square_w) / root + 1e-8)
        b -= step * mean_b / (math.sqrt(square_b) / root + 1e-8)
    return w, b


# --- costs, optima and predictions of arrays ------------------------------------------------------

provides("fastgd", "small cost", needs="fastgd")(fastgd_cost)
provides("NumPy", "small cost")(numpy_cost)


@provides("fastgd", "small optimum", needs="fastgd")
def fastgd_optimum(work):
    import fastgd

    fit = fastgd.fit_logistic if work.logistic else fastgd.fit_linear

    def run(x, y):
        found = fit(x, y, l2=work.l2)
        return found.coef, found.intercept

    return _as_it_is, run


@provides("NumPy", "small optimum")
def numpy_optimum(work):
    """Least squares by QR, and Newton's method."""

    def run(x, y):
        a = np.column_stack([x, np.ones(work.n)])
        if not work.logistic:
            *coef, intercept = np.linalg.lstsq(a, y, rcond=None)[0]
            return coef, intercept
        theta, penalty = np.zeros(work.d + 1), np.append(np.full(work.d, work.l2), 0.0)
        for _ in range(20):
            p = 1 / (1 + np.exp(-(a @ theta)))
            gradient = a.T @ (p - y) / work.n + penalty * theta
            hessian = (a.T * (p * (1 - p))) @ a / work.n + np.diag(penalty)
            step = np.linalg.solve(hessian, gradient)
            theta -= step
            if np.abs(step).max() < 1e-8:
                break
        return theta[:-1], theta[-1]

    return _as_it_is, run


@provides("scikit-learn", "small optimum", needs="sklearn")
def sklearn_optimum(work):
    from sklearn.linear_model import LinearRegression, LogisticRegression

    def run(x, y):
        if work.logistic:
            model = LogisticRegression(C=1 / (work.l2 * work.n), tol=1e-6).fit(x, y)
            return model.coef_[0], model.intercept_[0]
        model = LinearRegression().fit(x, y)
        return model.coef_, model.intercept_

    return _as_it_is, run


@provides("fastgd", "one row", needs="fastgd")
def fastgd_one_row(work):
    import fastgd

    fit = fastgd.fit_linear(*work.data())
    return lambda x, y: (x[:1],), lambda row: (fit.predict(row),)


@provides("NumPy", "one row")
def numpy_one_row(work):
    coef, intercept = numpy_optimum(work)[1](*work.data())
    coef = np.array(coef)
    return lambda x, y: (x[:1],), lambda row: (row @ coef + intercept,)


@provides("scikit-learn", "one row", needs="sklearn")
def sklearn_one_row(work):
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(*work.data())
    return lambda x, y: (x[:1],), lambda row: (model.predict(row),)
