"""The first fit of a fresh process, imports and compiling included, and `import fastgd` alone.

A process counts from its first statement to its first result. With a cold cache fastgd finds an
empty folder for its compiled kernels, with a warm one the folder that a process before has filled.
The other contestants keep no such cache: their rounds stand beside both.
"""

import functools
import importlib.util
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
from providers import contestants
from race import replay, rounds
from workloads import SMOKE, Workload

ROUNDS = 1 if SMOKE else 3
FITS = {"linear, 3 points": Workload("linear", 3, epochs=100, lr=0.01, toy=True)}
if not SMOKE:
    FITS["logistic, 10,000x8"] = Workload("logistic", 10_000, 8, epochs=100)
MODULES = {"fastgd": "fastgd", "torch": "torch", "JAX": "jax", "Numba loop": "numba"}
IMPORTS = {name: m for name, m in MODULES.items() if importlib.util.find_spec(m)}

FIT = """import time; start = time.perf_counter()
from providers import contestant
from workloads import Workload
work = Workload{fields}
prepare, run = contestant({name!r}, work)
run(*prepare(*work.data()))
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
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def _cold(code: str) -> float:
    with tempfile.TemporaryDirectory() as cache:
        return _process(code, cache)


def _entering(work: Workload) -> list[str]:
    same = ("torch autograd", "torch.compile")  # the first takes as torch does, the second minutes
    return [name for name in contestants(work) if name not in same]


@functools.cache
def _first_fits(fit: str) -> dict[str, list[float]]:
    """One race for both caches: fastgd enters it twice."""
    work = FITS[fit]
    codes = {name: FIT.format(fields=tuple(work), name=name) for name in _entering(work)}
    with tempfile.TemporaryDirectory() as warm:
        entrants = {name: functools.partial(_process, code, warm) for name, code in codes.items()}
        rounds({"fill the cache": entrants["fastgd"]}, 1)
        entrants["fastgd, cold"] = functools.partial(_cold, codes["fastgd"])
        return rounds(entrants, ROUNDS, math.inf)


@functools.cache
def _imports() -> dict[str, list[float]]:
    codes = {name: IMPORT.format(module=module) for name, module in IMPORTS.items()}
    return rounds({n: functools.partial(_cold, c) for n, c in codes.items()}, ROUNDS, math.inf)


@pytest.mark.parametrize(
    ("fit", "cache", "contestant"),
    [(f, cache, c) for f, w in FITS.items() for cache in ("cold", "warm") for c in _entering(w)],
)
def test_first_fit(benchmark, fit, cache, contestant):
    cold = contestant == "fastgd" and cache == "cold"
    seconds = _first_fits(fit)["fastgd, cold" if cold else contestant]
    replay(benchmark, f"first fit of a process, {fit}, {cache} cache", contestant, seconds)


@pytest.mark.parametrize("contestant", IMPORTS)
def test_import(benchmark, contestant):
    replay(benchmark, "import, above NumPy's", contestant, _imports()[contestant])
