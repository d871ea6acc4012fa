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
from providers import SMOKE, Workload, contestants
from race import Outcome, replay, rounds

FITS = {"linear, 3 points": Workload("linear", 3, epochs=100, lr=0.01, toy=True)}
if not SMOKE:
    FITS["logistic, 10,000x8"] = Workload("logistic", 10_000, 8, epochs=100)
IMPORTS = {
    name: module
    for name, module in (
        ("fastgd", "fastgd"),
        ("torch", "torch"),
        ("JAX", "jax"),
        ("Numba loop", "numba"),
    )
    if importlib.util.find_spec(module)
}

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
    codes = {name: IMPORT.format(module=module) for name, module in IMPORTS.items()}
    return rounds({n: functools.partial(_cold, c) for n, c in codes.items()}, 1 if SMOKE else 5, 10)


@pytest.mark.parametrize(
    ("fit", "cache", "contestant"),
    [(f, cache, c) for f, w in FITS.items() for cache in ("cold", "warm") for c in contestants(w)],
)
def test_first_fit(benchmark, fit, cache, contestant):
    seconds = _first_fits(fit, cache)[contestant]
    replay(benchmark, f"first fit of a process, {fit}, {cache} cache", contestant, Outcome(seconds))


@pytest.mark.parametrize("contestant", IMPORTS)
def test_import(benchmark, contestant):
    replay(benchmark, "import, above NumPy's", contestant, Outcome(_imports()[contestant]))
