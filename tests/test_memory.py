"""What a fit takes above its inputs: under 5 % of X on every path, and X itself may be on a disk."""

import functools
import os
import subprocess
import sys
import textwrap

import memory
import numpy as np
import pytest
import scipy.sparse as sp

import fastgd

N, D = 600_000, 32
_logistic = functools.partial(fastgd.fit_logistic, lr=0.5, epochs=2)
_sgd = functools.partial(fastgd.fit_logistic, lr=0.003, epochs=1)

PATHS = {
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


@functools.cache
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, D))
    return x, (x[:, 0] + rng.logistic(0, 1, N) > 0).astype(float)


@pytest.mark.jit
@pytest.mark.parametrize("path", PATHS)
def test_under_five_percent_of_x(path):
    x, y = data()
    if path.endswith("F"):
        x = np.asfortranarray(x)
    PATHS[path](x, y)  # compiled, and the pool of threads started
    assert memory.peak(lambda: PATHS[path](x, y)) < 0.05 * x.nbytes


WIDE = 1 << 14
_sparse_auto = functools.partial(fastgd.fit_logistic, l2=1e-4)
_working_sets = functools.partial(fastgd.fit_logistic, l1=1e-3)


def _cost(x, y):
    return fastgd.bce_cost_and_gradient(x, y, np.zeros(x.shape[1]))


#: Columns, and the vectors of d and of n numbers that a path takes above 5 % of sparse rows: sums of the
#: groups of parts; pairs of L-BFGS; slopes, norms and order of dual ascent; what CSC saves is rows.
SPARSE_PATHS = {
    "batch": (_logistic, WIDE, 24, 3),
    "per-sample": (functools.partial(_sgd, batch_size=1, l2=1e-4), WIDE, 12, 3),
    "auto": (_sparse_auto, WIDE, 34, 0),
    "auto, fewer columns": (_sparse_auto, WIDE // 4, 10, 5),
    "cost": (_cost, WIDE, 18, 0),
    "predict": (lambda x, y: _fit_of_ones(WIDE).predict(x), WIDE, 2, 3),
    "l1, CSC": (_working_sets, WIDE, 16, 5),
    "l1, CSC, fewer columns": (_working_sets, WIDE // 4, 10, 4),
    "cost, CSC": (_cost, WIDE, 18, 0),
    "predict, CSC": (lambda x, y: _fit_of_ones(WIDE).predict(x), WIDE, 2, 3),
}


def _fit_of_ones(d):
    history = {"costs": np.ones(1), "cost": 1.0, "n_epochs": 1, "converged": True, "method": ""}
    return fastgd.Fit(coef=np.ones(d), intercept=0.5, **history)


@functools.cache
def sparse_data(n, d, entries):
    """Rows of so many entries each, most of them in few columns."""
    rng = np.random.default_rng(0)
    columns = (d ** rng.random((n, entries))).astype(np.int32) % d
    x = sp.csr_array((n, d))
    x.data, x.indices = rng.random(columns.size), columns.ravel()
    x.indptr = np.arange(0, columns.size + 1, entries, dtype=np.int32)
    x.sum_duplicates()
    return x, (np.asarray(x.sum(axis=1)).ravel() + rng.logistic(size=n) > 20).astype(float)


@pytest.mark.jit
@pytest.mark.parametrize("path", SPARSE_PATHS)
def test_under_five_percent_of_sparse_rows_beside_vectors(path):
    fit, d, of_d, of_n = SPARSE_PATHS[path]
    x, y = sparse_data(60_000, d, 45)
    n, x = x.shape[0], x.tocsc() if "CSC" in path else x
    fit(x, y)  # compiled, and the pool of threads started
    size = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes
    assert memory.peak(lambda: fit(x, y)) < 0.05 * size + 8 * (of_d * d + of_n * n)


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.parametrize("path", ["batch", "per-sample"])
def test_16_million_columns(path):
    """A few vectors of them, and no square."""
    x, y = sparse_data(2_000, 1 << 24, 30)
    fit, d = SPARSE_PATHS[path][0], x.shape[1]
    found = fit(x, y)
    assert found.coef.shape == (d,)
    assert np.count_nonzero(found.coef) <= len(np.unique(x.indices))
    assert memory.peak(lambda: fit(x, y)) < 14 * 8 * d


ON_DISK = """
    import resource, sys
    import numpy as np
    import fastgd

    x = np.load(sys.argv[1], mmap_mode="r")
    y = (np.arange(len(x)) % 3 == 0).astype(np.float32)
    for batch_size in (None, 256):  # all is compiled or loaded before memory is short
        rows = np.zeros((200_000, 8), np.float32)
        fastgd.fit_logistic(rows, y[:200_000], lr=0.1, epochs=1, batch_size=batch_size)
    del rows
    held = int(next(line.split()[1] for line in open("/proc/self/status") if "VmData" in line)) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (held + (32 << 20),) * 2)
    try:
        np.array(x)
    except MemoryError:
        print("x does not fit")
    fit = fastgd.fit_logistic(x, y, lr=0.1, epochs=2)
    print(fit.n_epochs)
    fit = fastgd.fit_logistic(x, y, lr=0.1, epochs=1, batch_size=256)
    print(fit.n_epochs)
"""


@pytest.mark.jit
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the limit is Linux's")
def test_x_on_a_disk_may_be_larger_than_memory(tmp_path):
    """128 MB in a file, and a process that may allocate 32."""
    path = tmp_path / "x.npy"
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1_000_000, 32))
    for start in range(0, len(x), 100_000):
        x[start : start + 100_000] = np.random.default_rng(start).standard_normal((100_000, 32))
    x.flush()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ON_DISK), str(path)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["x does not fit", "2", "1"]
