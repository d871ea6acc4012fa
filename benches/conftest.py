"""What pytest-benchmark is told: the clock of the race, and the versions of all contestants."""

import importlib.metadata
import pathlib

import pytest
from providers import THREADS
from race import recorded


def pytest_collection_modifyitems(items):
    here = pathlib.Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.benchmark(timer=recorded))


def pytest_benchmark_update_machine_info(config, machine_info):
    versions = {}
    for name in ("fastgd", "numpy", "numba", "torch", "jax", "scikit-learn"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine_info |= {"versions": versions, "threads": THREADS}
