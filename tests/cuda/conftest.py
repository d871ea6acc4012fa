"""Kernels run here in numba's simulator, as Python, or on a GPU if there is one.

    NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda

`simulator.py` beside this file stands in for most of what numba has. It is slow: blocks of 32 threads,
and few of them.

This folder must not become a package: its name would hide the `cuda` of NVIDIA's Python libraries.
"""

import os
import pathlib
import sys

import pytest

# Read when numba is imported: the grids here are small, and warnings are errors.
os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")

from fastgd.cuda import driver

HERE = pathlib.Path(__file__).parent


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU, where the simulator does not do")
    config.addinivalue_line("markers", "ptx: needs numba-cuda's compiler, and no GPU")


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marks
def pytest_collection_modifyitems(items):
    missing = driver.missing()
    for item in items:
        if HERE not in item.path.parents or item.get_closest_marker("ptx"):
            continue
        if driver.SIMULATED and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU, and this is the simulator"))
        elif missing is not None:
            item.add_marker(pytest.mark.skip(reason=f"no GPU and no simulator: {missing}"))
        elif not driver.SIMULATED:  # on a GPU all these kernels run there
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.filterwarnings("ignore:.*(Grid size|low occupancy)"))


if driver.SIMULATED:
    sys.path.insert(0, str(HERE))
    import simulator

    simulator.install()


@pytest.fixture(scope="session")
def threads():
    """Threads in a block: one warp, as the simulator's time is short."""
    return 32


@pytest.fixture(autouse=True)
def _small_blocks(threads, monkeypatch):
    if driver.SIMULATED:
        from fastgd.sources.device import DeviceRows

        monkeypatch.setattr(DeviceRows, "threads", threads)
