"""The first fit of a fresh process, imports and compiling included, and `import fastgd` alone.

A process counts from its first statement to its first result. In the cold rounds fastgd's cache of
compiled kernels is an empty folder each time; in the warm ones it is a folder that one process has
filled. The other contestants keep no such cache and do the same in both.
"""

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
from conftest import rounds
from providers import SMOKE, Workload, contestants

FITS = {
    "linear, 3 points": Workload("linear", 3, epochs=100, lr=0.01, toy=True),
    "logistic, 10,000 × 8": Workload("logistic", 10_000, 8, epochs=100),
}
IMPORTS = {"fastgd": "fastgd", "torch": "torch", "JAX": "jax", "Numba loop": "numba"}

FIT = """import time; start = time.perf_counter()
from providers import Workload, contestant, data
work = Workload{fields}
prepare, run = contestant({name!r}, work)
run(*prepare(*data(work)))
print(time.perf_counter() - start)"""
IMPORT = """import numpy, time; start = time.perf_counter()
import {module}
print(time.perf_counter() - start)"""


def _process(code: str, cache: str) -> float:
    """The seconds that a fresh process prints."""
    paths = [pathlib.Path(__file__).parent]
    if (package := importlib.util.find_spec("fastgd")) and package.origin:
        paths.append(pathlib.Path(package.origin).parent.parent)
    env = os.environ | {"NUMBA_CACHE_DIR": cache, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def _cold(code: str) -> float:
    with tempfile.TemporaryDirectory() as cache:
        return _process(code, cache)


@functools.cache
def _first_fits(fit: str, cache: str) -> dict[str, list[float]]:
    work = FITS[fit]
    codes = {name: FIT.format(fields=tuple(work), name=name) for name in contestants(work)}
    n_rounds = 1 if SMOKE else 3
    if cache == "cold":
        return rounds({n: functools.partial(_cold, c) for n, c in codes.items()}, n_rounds, 10)
    with tempfile.TemporaryDirectory() as folder:
        _process(codes["fastgd"], folder)
        entrants = {n: functools.partial(_process, c, folder) for n, c in codes.items()}
        return rounds(entrants, n_rounds, 10)


@functools.cache
def _imports() -> dict[str, list[float]]:
    return rounds(
        {name: functools.partial(_cold, IMPORT.format(module=IMPORTS[name])) for name in _present()},
        1 if SMOKE else 5,
        10,
    )


def _present() -> list[str]:
    return [name for name, module in IMPORTS.items() if importlib.util.find_spec(module)]


@pytest.mark.parametrize(
    ("fit", "cache", "contestant"),
    [(f, cache, name) for f, w in FITS.items() for cache in ("cold", "warm") for name in contestants(w)],
)
def test_first_fit(race_of_processes, fit, cache, contestant):
    group = f"first fit of a process, {fit}, {cache} cache"
    race_of_processes(group, contestant, functools.partial(_first_fits, fit, cache))


@pytest.mark.parametrize("contestant", _present())
def test_import(race_of_processes, contestant):
    race_of_processes("import, above NumPy's", contestant, _imports)
