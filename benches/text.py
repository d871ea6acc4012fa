"""Sparse rows: text as a matrix of hashed words, and what linear models do with it; who enters.

The documents are functions and classes (`corpus`) where that was made, and artificial ones everywhere:
words drawn by Zipf's law, rows of length 1. There is no intercept, which liblinear and others penalise,
but in the one row for those who don't. Who minimises stops at the loosest tolerance, of 1, 2 and 5
times a power of ten, that brings the objective as near to the optimum as the workload asks; fastgd at
its own where none is given. Turning the rows into another library's own format is not timed.
"""

import functools
import math
from typing import Any, NamedTuple

import corpus
import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE, THREADS

#: Packages on one side of the two labels, nearly half of the documents.
NUMERICAL = ("torch", "numba", "scipy", "statsmodels", "numpy", "sklearn")
CLASSES = 20
#: How far the objective after an epoch of SGD may be off: VW computes in float32, and scikit-learn
#: shuffles in its own way.
SGD_ERROR = {"VW": 1e-3, "scikit-learn SGDClassifier": 0.05}

# By work, how near to the optimum, strength and whether there is an intercept: found on the corpus. The
# check tells where one of them is no longer tight enough. Who is not named takes over a minute, or never
# comes as near.
TOL = {
    ("logistic", 1e-3, 1.0, False): {
        "fastgd, tol": 2e-2,
        "liblinear-multicore": 2e-2,
        "liblinear dual": 5.0,
        "scikit-learn lbfgs": 5e-5,
        "scikit-learn newton-cg": 2e-4,
        "scikit-learn liblinear": 1e-2,
        "scikit-learn saga": 2e-2,
        "snapml": 5e-2,
        "cyanure": 0.5,
    },
    ("logistic", 1e-6, 1.0, False): {
        "fastgd, tol": 5e-4,
        "liblinear-multicore": 1e-3,
        "liblinear dual": 2.0,
        "scikit-learn lbfgs": 1e-6,
        "scikit-learn newton-cg": 2e-6,
        "scikit-learn liblinear": 2e-3,
        "scikit-learn saga": 2e-3,
        "snapml": 1e-4,
        "cyanure": 1e-2,
    },
    ("logistic", 1e-6, 1.0, True): {
        "fastgd, tol": 2e-4,
        "scikit-learn lbfgs": 1e-6,
        "scikit-learn newton-cg": 2e-6,
        "scikit-learn saga": 2e-3,
        "cyanure": 1e-3,
    },
    ("l1 logistic", 1e-4, 0.05, False): {
        "fastgd, tol": 1e-2,
        "fastgd, CSC, tol": 1e-2,
        "liblinear-multicore": 2e-2,
        "scikit-learn liblinear": 2e-2,
        "scikit-learn saga": 1e-2,
        "snapml": 1e-2,
        "cyanure": 1e-2,
        "celer": 2e-2,
        "skglm": 5e-4,
    },
    ("l1 logistic", 1e-4, 0.01, False): {
        "fastgd, tol": 5e-3,
        "fastgd, CSC, tol": 5e-3,
        "liblinear-multicore": 5e-3,
        "scikit-learn liblinear": 1e-2,
        "scikit-learn saga": 5e-3,
        "snapml": 2e-3,
        "cyanure": 1e-2,
        "celer": 1e-2,
        "skglm": 5e-5,
    },
    ("least squares", 1e-6, 2.0, False): {
        "fastgd, tol": 2e-4,
        "scikit-learn sparse_cg": 2e-5,
        "scikit-learn lsqr": 5e-6,
        "scikit-learn sag": 1e-3,
    },
    ("softmax", 1e-3, 1.0, False): {
        "fastgd, tol": 2e-2,
        "scikit-learn lbfgs": 1e-4,
        "scikit-learn saga": 5e-2,
    },
}


class Text(NamedTuple):
    """Work on sparse rows.

    Attributes
    ----------
    work : str
        "SGD", "logistic", "l1 logistic", "least squares", "softmax" or "cost".
    excess : float
        How far above the optimum an objective may end, relatively; 0 where nothing is minimised.
    strength : float
        l2 times n, and for l1 the share of the l1 that leaves no coefficient.
    """

    work: str
    source: str = "corpus"
    excess: float = 0.0
    strength: float = 1.0
    intercept: bool = False
    lr: float = 0.5
    dtype: str = "float64"
    only: tuple[str, ...] = ()

    toy = reads = False
    brief = None

    @property
    def kind(self) -> str:
        return f"text {self.work}"

    @property
    def classes(self) -> bool:
        return self.work == "softmax"

    @property
    def name(self) -> str:
        penalty = {"l1 logistic": f"l1 {self.strength:g} of the largest", "cost": ""}
        how = [
            {"SGD": "a shuffled epoch of logistic SGD", "cost": "cost and gradient"}.get(
                self.work, self.work
            ),
            penalty.get(self.work, f"l2 {self.strength:g}/n"),
            "with an intercept" if self.intercept else "",
            "a quarter of the rows" if self.classes and self.source == "corpus" else "",
            f"to {self.excess:.0e} of the optimum".replace("e-0", "e-") if self.excess else "",
        ]
        return f"text, {self.source}, " + ", ".join(part for part in how if part)

    @property
    def limit(self) -> float:
        """Tolerances don't suit smaller data."""
        return max(self.excess, 1e-2) if SMOKE else self.excess

    @property
    def tols(self) -> dict[str, float]:
        """The tolerances of those who minimise this in time."""
        return TOL.get((self.work, self.excess, self.strength, self.intercept), {})

    def data(self) -> tuple[Any, Any]:
        x, label = rows(self.source, CLASSES if self.classes else 2)
        if self.source == "zipf":
            return x, label if self.classes else label.astype(float)
        if not self.classes:
            return x, np.isin(label, NUMERICAL).astype(float)
        classes = most_frequent(label)
        kept = np.flatnonzero(classes >= 0)[::4]  # of all rows it would take everyone minutes
        return x[kept], classes[kept]

    def l2(self, y) -> float:
        return 0.0 if self.work == "l1 logistic" else self.strength / len(y)

    def l1(self, x, y) -> float:
        """A share of the largest slope where all coefficients are zero."""
        if self.work != "l1 logistic":
            return 0.0
        return self.strength * float(np.abs(x.T @ (y - 0.5)).max()) / len(y)

    def losses(self, z, y) -> tuple[float, np.ndarray]:
        """The mean loss at raw predictions (n, k), and its slopes (n, k)."""
        if self.work == "least squares":
            error = z - y[:, None]
            return float(np.mean(error**2)), 2 * error / len(y)
        if self.classes:
            z = z - z.max(axis=1, keepdims=True)
            share, place = np.exp(z), (np.arange(len(y)), y)
            total = share.sum(axis=1, keepdims=True)
            cost = float(np.mean(np.log(total[:, 0]) - z[place]))
            share /= total
            share[place] -= 1
            return cost, share / len(y)
        e = np.exp(-np.abs(z))
        cost = float(np.mean(np.log1p(e) + np.maximum(z, 0) - z * y[:, None]))
        return cost, (np.where(z >= 0, 1, e) / (1 + e) - y[:, None]) / len(y)

    def objective(self, x, y, coef, intercept) -> float:
        coef = np.asarray(coef, float).reshape(-1, x.shape[1])
        cost, _ = self.losses(x @ coef.T + np.ravel(intercept), y)
        return cost + self.l2(y) / 2 * np.vdot(coef, coef) + self.l1(x, y) * np.abs(coef).sum()

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        if self.work == "cost":
            pairs = zip(result, expected, strict=True)
            error = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
            assert error < 1e-10, f"{name} is off by {error:.1e}"
            return {"cost": float(result[0])}
        found, best = (float(self.objective(x, y, *pair)) for pair in (result, expected))
        error, limit = found / best - 1, self.limit
        if self.work == "SGD":  # the objective after an epoch in the same order, or in another one
            error, limit = abs(error), SGD_ERROR.get(name, 1e-6)
        assert error < limit, f"{name} is off by {error:.1e}"
        info = {"cost": found, "error": error, "n": len(y), "nonzeros": int(x.nnz)}
        if self.l1(x, y):
            info["coefficients"] = int(np.count_nonzero(result[0]))
        return info | ({"tol": self.tols[name]} if name in self.tols else {})


# --- the data -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def rows(source: str, classes: int = 2) -> tuple[Any, np.ndarray]:
    """The matrix, and a label of each row: the name of its package, or a number."""
    if source == "corpus":
        kept = corpus.load()
        return kept.x, kept.names[kept.package]
    return zipf(*((5_000, 2**12) if SMOKE else (200_000, 2**18)), classes)


def most_frequent(label: np.ndarray) -> np.ndarray:
    """The place of each row's label among the most frequent ones, or -1."""
    names, place, count = np.unique(label, return_inverse=True, return_counts=True)
    number = np.full(len(names), -1)
    number[np.argsort(-count, kind="stable")[:CLASSES]] = np.arange(CLASSES)
    return number[place]


def zipf(
    n: int, d: int, classes: int = 2, words: float = 40.0, exponent: float = 1.05, seed: int = 0
):
    """Artificial documents: a row's words by Zipf's law, hashed into columns; and noisy labels.

    Parameters
    ----------
    words : float
        The mean of a row's length, which varies like that of real documents.

    Returns
    -------
    x : csr_matrix of shape (n, d)
        Counts with the hash's signs, each row of length 1.
    label : ndarray of shape (n,)
        0 or 1, or a class, by random coefficients of the columns and noise.
    """
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    vocabulary = 2 * d  # so that columns collide, as hashed words do
    chance = np.arange(1, vocabulary + 1) ** -exponent
    lengths = 1 + rng.poisson(rng.gamma(1.5, words / 1.5, n))
    ends = np.append(0, np.cumsum(lengths))
    drawn = np.searchsorted(np.cumsum(chance / chance.sum()), rng.random(ends[-1]))
    np.minimum(drawn, vocabulary - 1, out=drawn)
    column, sign = rng.integers(0, d, vocabulary), rng.choice([-1.0, 1.0], vocabulary)
    x = csr_matrix((sign[drawn], column[drawn].astype(np.int32), ends.astype(np.int32)), (n, d))
    x.sum_duplicates()
    x.eliminate_zeros()
    length = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)).ravel())
    x.data /= np.repeat(np.where(length > 0, length, 1), np.diff(x.indptr))
    z = 6 * (x @ rng.standard_normal((d, classes - 1 if classes == 2 else classes)))
    if classes == 2:
        return x, (z[:, 0] + rng.logistic(0, 1, n) > 0).astype(int)
    return x, (z + rng.gumbel(size=z.shape)).argmax(axis=1)


def _as_they_are(x, y):
    return x, y


# --- an epoch of stochastic gradient descent -------------------------------------------------------


def _order(n: int) -> np.ndarray:
    """The order of rows that all take who can be given one."""
    from fastgd.cpu.order import visiting_order

    return visiting_order(n, True, 0, 0)


@functools.cache
def _numba_loop():
    """What anyone writes in ten lines: the l2 penalty on a common scale of all coefficients."""
    from numba import njit

    @njit
    def epoch(data, indices, indptr, y, order, coef, lr, l2):
        scale = 1.0
        for i in order:
            z = 0.0
            for k in range(indptr[i], indptr[i + 1]):
                z += data[k] * coef[indices[k]]
            step = lr * (1 / (1 + math.exp(-scale * z)) - y[i])
            scale *= 1 - lr * l2
            for k in range(indptr[i], indptr[i + 1]):
                coef[indices[k]] -= step / scale * data[k]
        return scale

    return epoch


@provides(REFERENCE, "text SGD", needs="numba")
@provides("Numba loop", "text SGD", needs="numba")
def numba_sgd(work):
    epoch = _numba_loop()

    def run(x, y, order):
        coef = np.zeros(x.shape[1])
        coef *= epoch(x.data, x.indices, x.indptr, y, order, coef, work.lr, work.l2(y))
        return coef, 0.0

    return lambda x, y: (x, y, _order(len(y))), run


@provides("fastgd", "text SGD", needs="fastgd")
def fastgd_sgd(work):
    import fastgd

    def run(x, y):
        fit = fastgd.fit_logistic(
            x, y, l2=work.l2(y), lr=work.lr, epochs=1, batch_size=1, shuffle=True, seed=0,
            fit_intercept=False,
        )  # fmt: skip
        return fit.coef, fit.intercept

    return _as_they_are, run


@provides("scikit-learn SGDClassifier", "text SGD", needs="sklearn")
def sklearn_sgd(work):
    """It walks an order of its own."""
    from sklearn.linear_model import SGDClassifier

    def run(x, y):
        model = SGDClassifier(
            "log_loss", alpha=work.l2(y), learning_rate="constant", eta0=work.lr, max_iter=1,
            tol=None, fit_intercept=False, random_state=0,
        ).fit(x, y)  # fmt: skip
        return model.coef_, 0.0

    return _as_they_are, run


class _Weights:
    """VW's coefficients, read one by one when they are compared, not while it is timed."""

    def __init__(self, model, d: int, scale: float):
        self.model, self.d, self.scale = model, d, scale

    def __array__(self, dtype=None, copy=None):
        weights = map(self.model.get_weight, range(self.d))  # without the common scale of l2
        return self.scale * np.fromiter(weights, dtype or float, self.d)


@provides("VW", "text SGD", needs="vowpalwabbit")
def vw_sgd(work):
    """One pass over its own cache file, which holds the rows in the common order."""
    import atexit
    import shutil
    import tempfile
    from pathlib import Path

    from vowpalwabbit import Workspace

    def prepare(x, y):
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = Path(folder) / "rows.vw"
        with path.open("w") as out:
            for i in _order(len(y)).tolist():
                row = slice(x.indptr[i], x.indptr[i + 1])
                pairs = zip(x.indices[row].tolist(), x.data[row].tolist(), strict=True)
                out.write(f"{2 * y[i] - 1:g} |" + "".join(f" {j}:{v!r}" for j, v in pairs) + "\n")
        bits = x.shape[1].bit_length() - 1
        how = f"--quiet --noconstant -b {bits} --loss_function logistic --sgd --power_t 0 "
        how += f"-l {work.lr} --l2 {work.l2(y)!r} -d {path} --cache_file {path}.cache"
        Workspace(how).finish()  # makes the cache file
        return how, x.shape[1], (1 - work.lr * work.l2(y)) ** len(y)

    def run(how, d, scale):
        return _Weights(Workspace(how), d, scale), 0.0

    return prepare, run


# --- to the optimum -----------------------------------------------------------------------------------

KINDS = tuple(f"text {work}" for work in ("logistic", "l1 logistic", "least squares", "softmax"))


def minimises(name: str, *kinds: str, needs: str):
    """Provide a contestant for the work that it has a tolerance for."""
    return provides(name, *kinds, needs=needs, when=lambda work: name in work.tols)


# --- to the optimum of two labels -------------------------------------------------------------------


@provides(REFERENCE, "text l1 logistic", needs="sklearn")
def exact_l1(work):
    """Newton's method in coordinates."""
    return _sklearn(work, "liblinear", 1e-5)


@provides(REFERENCE, "text logistic", "text least squares", "text softmax", needs="scipy")
def certified(work):
    """L-BFGS in scaled coordinates, until the gradient says how little is left.

    The objective is at most ``|gradient|^2 / (2 l2)`` above its optimum, as l2 bounds its curvature.
    """

    def run(x, y):
        from scipy.optimize import minimize

        d, l2 = x.shape[1], work.l2(y)
        curvature = {"least squares": 2.0, "softmax": 0.5}.get(work.work, 0.25)
        squares = np.asarray(x.multiply(x).mean(axis=0)).ravel()
        scale = 1 / np.sqrt(np.append(curvature * squares + l2, curvature))  # the intercept's: last
        by_columns, left = x.T.tocsr(), [math.inf]

        def objective(u):
            u = u.reshape(-1, d + 1) * scale
            coef, intercept = u[:, :d], u[:, d] * work.intercept
            cost, slope = work.losses(x @ coef.T + intercept, y)
            by_coef = (by_columns @ slope).T + l2 * coef
            value = cost + l2 / 2 * np.vdot(coef, coef)
            left[0] = np.vdot(by_coef, by_coef) / (2 * l2) / value
            gradient = np.column_stack([by_coef, slope.sum(axis=0) * work.intercept])
            return value, (gradient * scale).ravel()

        def is_enough(_):
            if left[0] < work.limit / 100:
                raise StopIteration

        how = {"maxcor": 10, "maxiter": 10_000, "maxfun": 10_000, "ftol": 0, "gtol": 0}
        start = np.zeros((CLASSES if work.classes else 1) * (d + 1))
        u = minimize(objective, start, (), "L-BFGS-B", True, callback=is_enough, options=how).x
        assert left[0] < work.limit / 50, f"The judge is off by up to {left[0]:.1e}"
        u = u.reshape(-1, d + 1) * scale
        return u[:, :d], u[:, d] * work.intercept

    return _as_they_are, run


def _fastgd(work, **how):
    import fastgd

    fit_it = fastgd.fit_linear if work.work == "least squares" else fastgd.fit_logistic

    def prepare(x, y):
        penalty = {"l2": work.l2(y), "l1": work.l1(x, y)}
        return x, y, penalty | {"fit_intercept": work.intercept} | how

    def run(x, y, how):
        fit = fit_it(x, y, **how)
        return fit.coef, fit.intercept

    return prepare, run


@provides("fastgd", *KINDS, needs="fastgd")
def fastgd_default(work):
    """To rounding, as it does by itself."""
    return _fastgd(work)


@minimises("fastgd, tol", *KINDS, needs="fastgd")
def fastgd_tol(work):
    return _fastgd(work, tol=work.tols["fastgd, tol"])


@minimises("fastgd, CSC, tol", "text l1 logistic", needs="fastgd")
def fastgd_by_columns(work):
    """On a matrix in columns, as skglm and celer are given."""
    prepare, run = _fastgd(work, tol=work.tols["fastgd, CSC, tol"])
    return lambda x, y: prepare(x.tocsc(), y), run


def _liblinear(work, solver: int, tol: float):
    """It divides nothing by n; its threads serve the Newton method and the l1 penalty."""
    from liblinear.liblinearutil import parameter, problem, train

    def prepare(x, y):
        c = 1 / ((work.l1(x, y) or work.l2(y)) * len(y))
        threads = "" if solver == 7 else f"-m {THREADS}"
        options = f"-s {solver} -c {c!r} -e {tol!r} {threads} -q"
        return problem(2 * y - 1, x), options, x.shape[1]

    def run(data, options, d):
        model = train(data, parameter(options))
        coef = np.zeros(d)
        known = np.ctypeslib.as_array(model.w, (model.nr_feature,))
        coef[: len(known)] = known * model.label[0]  # the label that came first is its positive one
        return coef, 0.0

    return prepare, run


@minimises("liblinear-multicore", "text logistic", needs="liblinear")
def liblinear_newton(work):
    return _liblinear(work, 0, work.tols["liblinear-multicore"])


@minimises("liblinear dual", "text logistic", needs="liblinear")
def liblinear_dual(work):
    return _liblinear(work, 7, work.tols["liblinear dual"])


@minimises("liblinear-multicore", "text l1 logistic", needs="liblinear")
def liblinear_l1(work):
    return _liblinear(work, 6, work.tols["liblinear-multicore"])


def _model(make, by_columns=False, labels=(0, 1)):
    """The (prepare, run) of what has a scikit-learn `fit`; ``make(x, y)`` gives the model."""

    def prepare(x, y):
        model = make(x, y)
        return x.tocsc() if by_columns else x, np.where(y > 0, labels[1], labels[0]), model

    def run(x, y, model):
        model.fit(x, y)
        return model.coef_, getattr(model, "intercept_", 0.0) if model.fit_intercept else 0.0

    return prepare, run


def _sklearn(work, solver: str, tol: float):
    from sklearn.linear_model import LogisticRegression

    def make(x, y):
        l1 = work.l1(x, y)
        return LogisticRegression(
            C=1 / ((l1 or work.l2(y)) * len(y)), l1_ratio=1.0 if l1 else 0.0, solver=solver, tol=tol,
            fit_intercept=work.intercept, max_iter=10_000, random_state=0,
        )  # fmt: skip

    return _model(make)


def _provides_sklearn(solver: str, *kinds: str):
    name = f"scikit-learn {solver}"
    minimises(name, *kinds, needs="sklearn")(lambda work: _sklearn(work, solver, work.tols[name]))


_provides_sklearn("lbfgs", "text logistic")
_provides_sklearn("newton-cg", "text logistic")
_provides_sklearn("liblinear", "text logistic", "text l1 logistic")
_provides_sklearn("saga", "text logistic", "text l1 logistic")


@minimises("snapml", "text logistic", "text l1 logistic", needs="snapml")
def snapml_logistic(work):
    """Dual coordinate descent for l2, primal for l1."""
    from snapml import LogisticRegression

    def make(x, y):
        l1 = work.l1(x, y)
        return LogisticRegression(
            regularizer=(l1 or work.l2(y)) * len(y), penalty="l1" if l1 else "l2", dual=not l1,
            tol=work.tols["snapml"], n_jobs=THREADS, max_iter=3000, fit_intercept=False,
            random_state=0,
        )  # fmt: skip

    return _model(make, labels=(-1, 1))


@minimises("cyanure", "text logistic", "text l1 logistic", needs="cyanure")
def cyanure_logistic(work):
    from cyanure.estimators import Classifier

    def make(x, y):
        l1 = work.l1(x, y)
        return Classifier(
            loss="logistic", penalty="l1" if l1 else "l2", lambda_1=l1 or work.l2(y),
            tol=work.tols["cyanure"], fit_intercept=work.intercept, verbose=False,
            n_threads=THREADS, max_iter=2000,
        )  # fmt: skip

    return _model(make, labels=(-1, 1))


@minimises("skglm", "text l1 logistic", needs="skglm")
def skglm_l1(work):
    from skglm import SparseLogisticRegression

    def make(x, y):
        return SparseLogisticRegression(
            alpha=work.l1(x, y), tol=work.tols["skglm"], fit_intercept=False
        )

    return _model(make, by_columns=True)


@minimises("celer", "text l1 logistic", needs="celer")
def celer_l1(work):
    from celer import LogisticRegression

    def make(x, y):
        return LogisticRegression(C=1 / (work.l1(x, y) * len(y)), tol=work.tols["celer"])

    return _model(make, by_columns=True, labels=(-1, 1))


# --- least squares, softmax, cost and gradient -------------------------------------------------------


def _provides_ridge(solver: str):
    """Its squared error has no 1/n, and its penalty no 1/2."""
    name = f"scikit-learn {solver}"

    @minimises(name, "text least squares", needs="sklearn")
    def ridge(work):
        from sklearn.linear_model import Ridge

        def make(x, y):
            return Ridge(
                work.l2(y) * len(y) / 2, solver=solver, tol=work.tols[name], fit_intercept=False,
                max_iter=10_000, random_state=0,
            )  # fmt: skip

        return _model(make)


for _solver in ("sparse_cg", "lsqr", "sag"):
    _provides_ridge(_solver)


def _softmax(work, solver: str, tol: float):
    prepare, run = _sklearn(work, solver, tol)

    def as_numbers(x, y):
        return x, y, prepare(x, y)[2]

    return as_numbers, run


@minimises("scikit-learn lbfgs", "text softmax", needs="sklearn")
def softmax_lbfgs(work):
    return _softmax(work, "lbfgs", work.tols["scikit-learn lbfgs"])


@minimises("scikit-learn saga", "text softmax", needs="sklearn")
def softmax_saga(work):
    return _softmax(work, "saga", work.tols["scikit-learn saga"])


def _point(d: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(d)


@provides("SciPy", "text cost", needs="scipy")
@provides(REFERENCE, "text cost", needs="scipy")
def scipy_cost(work):
    """Two products and what is between them, as many write it."""

    def run(x, y, coef, by_columns):
        z = x @ coef
        e = np.exp(-np.abs(z))
        cost = (np.log1p(e) + np.maximum(z, 0) - z * y).mean()
        slope = (np.where(z >= 0, 1.0, e) / (1 + e) - y) / len(y)
        return cost, by_columns @ slope, slope.sum()

    return lambda x, y: (x, y, _point(x.shape[1]), x.T), run


@provides("fastgd", "text cost", needs="fastgd")
def fastgd_cost(work):
    import fastgd

    def run(x, y, coef):
        return fastgd.bce_cost_and_gradient(x, y, coef, 0.0)

    return lambda x, y: (x, y, _point(x.shape[1])), run
