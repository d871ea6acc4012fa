"""Kernels run here in numba's simulator, a Python thread for each of CUDA, or on a GPU if there is one.

The simulator is switched on by NUMBA_ENABLE_CUDASIM=1 before numba is imported; `tests/test_cuda.py`
does so in a process of its own. It knows no exchange between lanes and mixes up device functions of
several modules; both are mended here. It is slow: blocks of 64 threads, and few of them.

This folder must not become a package: its name would hide the `cuda` of NVIDIA's Python libraries.
"""

import contextlib
import os
import pathlib
import sys
import threading

import numpy as np
import pytest

# Read when numba is imported: the grids here are small, and warnings are errors.
os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")

from fastgd.cuda import driver

WARP = 32
#: Seconds after which lanes that never meet are an error and not a slow machine.
_PATIENCE = 300
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


class _Warp:
    """The lanes of a simulated warp: they meet twice for every exchange."""

    def __init__(self, lanes):
        self.values, self.barrier = [None] * lanes, threading.Barrier(lanes)

    def exchanged(self, value, lane, other):
        self.values[lane] = value
        self.barrier.wait(_PATIENCE)
        found = self.values[other] if other < len(self.values) else value
        self.barrier.wait(_PATIENCE)
        return found


_lock = threading.Lock()


def _shfl_xor_sync(module, mask, value, distance):
    thread = threading.current_thread()
    number, lane = divmod(thread.thread_id, WARP)
    with _lock:
        warps = thread._manager.__dict__.setdefault("_warps", {})
        if number not in warps:
            lanes = int(np.prod(thread._manager._block_dim)) - WARP * number
            warps[number] = _Warp(min(WARP, lanes))
    return warps[number].exchanged(value, lane, lane ^ distance)


@contextlib.contextmanager
def _swapped_everywhere(function, fake):
    """Put the simulator's `cuda` into every module with kernels, once for a launch.

    As it comes, each call of a device function of another module swaps it in and, when the first
    thread returns, out again under the feet of the others.
    """
    real = driver.cuda
    scopes = [function.__globals__]
    scopes += [vars(m) for name, m in sys.modules.items() if name.startswith("fastgd.cuda.")]
    places = [(s, name) for s in scopes for name, value in s.items() if value is real]
    for scope, name in places:
        scope[name] = fake
    try:
        yield
    finally:
        for scope, name in places:
            scope[name] = real


if driver.SIMULATED:
    from numba.cuda.simulator import kernel, kernelapi

    # The thread that waits for a block polls. At Python's own 5 ms between switches everything takes
    # ten times as long.
    sys.setswitchinterval(2e-5)
    kernelapi.FakeCUDAModule.shfl_xor_sync = _shfl_xor_sync
    kernel.swapped_cuda_module = _swapped_everywhere
    _launch = kernel.FakeCUDAKernel.__call__

    def _call(self, *arguments):
        return self.fn(*arguments) if self._device else _launch(self, *arguments)

    kernel.FakeCUDAKernel.__call__ = _call


@pytest.fixture(scope="session")
def threads():
    """Threads in a block: one warp, as the simulator's time is short."""
    return 32


@pytest.fixture(autouse=True)
def _small_blocks(threads, monkeypatch):
    if driver.SIMULATED:
        from fastgd.cuda.source import DeviceRows

        monkeypatch.setattr(DeviceRows, "threads", threads)
