"""What a fit needs above its inputs: for every path the peak, as a share of X; and X on a disk."""

import functools
import tempfile
import time
from pathlib import Path

import memory
import numpy as np
import pytest
from race import replay
from workloads import SMOKE

import fastgd

N, D = (20_000, 32) if SMOKE else (1_000_000, 32)
#: Bytes of X in a file.
FILE = 32 << 20 if SMOKE else 2 << 30
#: Above an X of megabytes all else is large.
SHARE = 100.0 if SMOKE else 1.0

_logistic = functools.partial(fastgd.fit_logistic, lr=0.5, epochs=3)
_sgd = functools.partial(fastgd.fit_logistic, lr=0.003, epochs=1)

PATHS = {
    "linear, batch by a pass": functools.partial(fastgd.fit_linear, lr=0.1, epochs=1),
    "linear, batch on X^T X": functools.partial(fastgd.fit_linear, lr=0.1, epochs=100),
    "logistic, batch": _logistic,
    "logistic, batch, F order": _logistic,
    "logistic, batch, int16": _logistic,
    "logistic, per-sample, shuffled": functools.partial(_sgd, batch_size=1),
    "logistic, per-sample, block-shuffled": functools.partial(_sgd, batch_size=1, shuffle="block"),
    "logistic, per-sample, shuffled, F order": functools.partial(_sgd, batch_size=1),
    "logistic, batches of 256, shuffled": functools.partial(_sgd, batch_size=256),
    "linear, auto": fastgd.fit_linear,
    "logistic, auto": fastgd.fit_logistic,
    "linear, cost and gradient": lambda x, y: fastgd.mse_cost_and_gradient(x, y, np.zeros(D)),
    "logistic, cost and gradient": lambda x, y: fastgd.bce_cost_and_gradient(x, y, np.zeros(D)),
    "linear, cost at 10 coefficients": lambda x, y: fastgd.cost_curve(x, y, np.ones((10, D))),
}


@functools.lru_cache(maxsize=1)
def _rows(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "int16":
        return rng.integers(-3, 4, (N, D)).astype(np.int16)
    x = rng.standard_normal((N, D))
    return np.asfortranarray(x) if kind == "F order" else x


@functools.lru_cache(maxsize=1)
def _targets(kind: str, logistic: bool) -> np.ndarray:
    noise = np.random.default_rng(1).logistic(0, 1, N)
    noisy = np.dot(_rows(kind), np.linspace(-1, 1, D)) + noise
    return (noisy > 0).astype(float) if logistic else noisy


@pytest.mark.parametrize("path", PATHS)
def test_memory(benchmark, path):
    kind = next((kind for kind in ("F order", "int16") if path.endswith(kind)), "C order")
    x = _rows(kind)
    call = functools.partial(PATHS[path], x, _targets(kind, path.startswith("logistic")))
    call()  # compiles, and starts the threads
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    _report(benchmark, f"{path}, {N:,}x{D}", "fastgd", seconds, memory.peak(call), x.nbytes)


def _report(benchmark, what: str, name: str, seconds: float, peak: int, size: int) -> None:
    assert peak < SHARE * size, (
        f"{what}: {peak:,} bytes above the {size:,} of X, as if it was copied"
    )
    info = {"table": "memory", "memory": peak, "x_bytes": size, "of_x": peak / size}
    replay(benchmark, f"memory, {what}", name, [seconds], **info)


# --- X in a file --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mapped():
    """Rows that repeat after a million, and their labels."""
    n = FILE // (4 * D)
    rng = np.random.default_rng(0)
    block = rng.standard_normal((min(n, 1_000_000), D), dtype=np.float32)
    labels = block @ np.linspace(-1, 1, D, dtype=np.float32) + rng.logistic(0, 1, len(block)) > 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, D))
        for start in range(0, n, len(block)):
            x[start : start + len(block)] = block[: n - start]
        x.flush()
        del x
        x = np.load(path, mmap_mode="r")
        yield x, np.resize(labels, n).astype(np.float32)
        del x


def _numpy_by_blocks(x, y, rows=65_536):
    coef, intercept = np.zeros(D, np.float32), np.float32(0)
    for _ in range(2):
        by_coef, by_intercept = np.zeros(D), 0.0
        for start in range(0, len(x), rows):
            block, target = x[start : start + rows], y[start : start + rows]
            z = np.dot(block, coef)
            z += intercept
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)
            z -= target
            by_coef += np.dot(z, block)
            by_intercept += z.sum(dtype=float)
        coef -= (0.5 / len(x) * by_coef).astype(np.float32)
        intercept -= np.float32(0.5 / len(x) * by_intercept)
    return coef, intercept


def _fastgd(x, y):
    fit = fastgd.fit_logistic(x, y, lr=0.5, epochs=2)
    return fit.coef, fit.intercept


@pytest.mark.parametrize("contestant", ["fastgd", "NumPy by blocks"])
def test_memory_mapped(benchmark, mapped, contestant):
    x, y = mapped
    call = functools.partial({"fastgd": _fastgd}.get(contestant, _numpy_by_blocks), x, y)
    coef, _ = call()
    assert np.allclose(coef, _numpy_by_blocks(x, y)[0], rtol=2e-3, atol=1e-5)
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    what = f"logistic, batch, 2 epochs, {len(x):,}x{D} float32, memory-mapped"
    _report(benchmark, what, contestant, seconds, memory.peak(call), x.nbytes)
