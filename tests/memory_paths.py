"""Calls whose memory is measured, and the measurement, in a process that has done nothing else before.

In one that has run hundreds of tests the allocator's heap is in pieces: what a call takes of them again
after they were given back is counted with the call's own, 1.5 MB and more.
"""

import functools

import memory
import numpy as np
import scipy.sparse as sp

import fastgd

N, D = 600_000, 32
_logistic = functools.partial(fastgd.fit_logistic, lr=0.5, epochs=2)
_sgd = functools.partial(fastgd.fit_logistic, lr=0.003, epochs=1)

DENSE_PATHS = {
    "linear, pass": functools.partial(fastgd.fit_linear, lr=0.1, epochs=1),
    "linear, statistics": functools.partial(fastgd.fit_linear, lr=0.1, epochs=100),
    "logistic": _logistic,
    "logistic, F": _logistic,
    "per-sample": functools.partial(_sgd, batch_size=1),
    "per-sample, F": functools.partial(_sgd, batch_size=1),
    "minibatch": functools.partial(_sgd, batch_size=256),
    "linear, auto": fastgd.fit_linear,
    "logistic, auto": fastgd.fit_logistic,
    "cost": lambda x, y: fastgd.bce_cost_and_gradient(x, y, np.zeros(D)),
    "cost curve": lambda x, y: fastgd.cost_curve(x, y, np.ones((50, D))),
}

WIDE = 1 << 14
_sparse_auto = functools.partial(fastgd.fit_logistic, l2=1e-4)
_working_sets = functools.partial(fastgd.fit_logistic, l1=1e-3, tol=1e-6)


def _cost(x, y):
    return fastgd.bce_cost_and_gradient(x, y, np.zeros(x.shape[1]))


def _predict(x, y):
    history = {"costs": np.ones(1), "cost": 1.0, "n_epochs": 1, "converged": True, "method": ""}
    return fastgd.Fit(coef=np.ones(x.shape[1]), intercept=0.5, **history).predict(x)


#: Columns, and the vectors of d and of n numbers that a path takes above 5 % of sparse rows: sums of the
#: groups of parts; pairs of L-BFGS; slopes, norms and order of dual ascent; what CSC saves is rows.
SPARSE_PATHS = {
    "batch": (_logistic, WIDE, 24, 3),
    "per-sample": (functools.partial(_sgd, batch_size=1, l2=1e-4), WIDE, 12, 3),
    "auto": (_sparse_auto, WIDE, 34, 0),
    "auto, fewer columns": (_sparse_auto, WIDE // 4, 10, 5),
    "cost": (_cost, WIDE, 18, 0),
    "predict": (_predict, WIDE, 2, 3),
    "l1, CSC": (_working_sets, WIDE, 16, 5),
    "l1, CSC, fewer columns": (_working_sets, WIDE // 4, 10, 4),
    "cost, CSC": (_cost, WIDE, 18, 0),
    "predict, CSC": (_predict, WIDE, 2, 3),
}


@functools.cache
def _dense():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, D))
    return x, (x[:, 0] + rng.logistic(0, 1, N) > 0).astype(float)


@functools.cache
def sparse(n, d, entries):
    """Rows of so many entries each, most of them in few columns."""
    rng = np.random.default_rng(0)
    columns = (d ** rng.random((n, entries))).astype(np.int32) % d
    x = sp.csr_array((n, d))
    x.data, x.indices = rng.random(columns.size), columns.ravel()
    x.indptr = np.arange(0, columns.size + 1, entries, dtype=np.int32)
    x.sum_duplicates()
    return x, (np.asarray(x.sum(axis=1)).ravel() + rng.logistic(size=n) > 20).astype(float)


def dense_peak(path):
    """Bytes that the call takes, and those of x."""
    x, y = _dense()
    if path.endswith("F"):
        x = np.asfortranarray(x)
    DENSE_PATHS[path](x, y)  # compiled, and the pool of threads started
    return memory.peak(lambda: DENSE_PATHS[path](x, y)), x.nbytes


def sparse_peak(path):
    """Bytes that the call takes, those of the entries, and those of the vectors it may take."""
    fit, d, of_d, of_n = SPARSE_PATHS[path]
    x, y = sparse(60_000, d, 45)
    n, x = x.shape[0], x.tocsc() if "CSC" in path else x
    fit(x, y)  # compiled, and the pool of threads started
    size = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    return memory.peak(lambda: fit(x, y)), size, 8 * (of_d * d + of_n * n)


def peak_of_16_million_columns(path):
    """Bytes that the call takes, and those of a vector; a fit's coefficients are checked too."""
    x, y = sparse(2_000, 1 << 24, 30)
    fit, d = SPARSE_PATHS[path][0], x.shape[1]
    found = fit(x, y)
    assert found.coef.shape == (d,)
    assert np.count_nonzero(found.coef) <= len(np.unique(x.indices))
    return memory.peak(lambda: fit(x, y)), 8 * d
