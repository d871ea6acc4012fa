"""What a fit takes above its inputs: under 5 % of X on every path, and X itself may be on a disk."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import textwrap

import memory_paths
import numpy as np
import pytest


@pytest.fixture(scope="module")
def process():
    """A process that measures, and does nothing else."""
    start = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=start) as executor:
        yield executor


@pytest.mark.jit
@pytest.mark.parametrize("path", memory_paths.DENSE_PATHS)
def test_under_five_percent_of_x(process, path):
    peak, size = process.submit(memory_paths.dense_peak, path).result()
    assert 0 < peak < 0.05 * size


@pytest.mark.jit
@pytest.mark.parametrize("path", memory_paths.SPARSE_PATHS)
def test_under_five_percent_of_sparse_rows_beside_vectors(process, path):
    peak, size, vectors = process.submit(memory_paths.sparse_peak, path).result()
    assert 0 < peak < 0.05 * size + vectors


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.parametrize("path", ["batch", "per-sample"])
def test_16_million_columns(process, path):
    """A few vectors of them, and no square."""
    peak, vector = process.submit(memory_paths.peak_of_16_million_columns, path).result()
    assert 0 < peak < 14 * vector


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
