"""What pytest-benchmark is told: the clock of the race, and the versions of all contestants."""

import importlib.metadata
import pathlib

import pytest
from race import recorded
from workloads import THREADS

VERSIONED = (
    "fastgd",
    "numpy",
    "numba",
    "torch",
    "jax",
    "scikit-learn",
    "scikit-learn-intelex",
    "glum",
    "scipy",
    "liblinear-multicore",
    "snapml",
    "cyanure",
    "skglm",
    "celer",
    "vowpalwabbit",
    "numba-cuda",
    "cupy",
)


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU")


def pytest_collection_modifyitems(items):
    here = pathlib.Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.benchmark(timer=recorded))
            item.add_marker(pytest.mark.timeout(0))  # a race takes what it takes


def pytest_benchmark_update_machine_info(config, machine_info):
    versions = {}
    for name in VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine_info |= {"versions": versions, "threads": THREADS}
