"""python -m fastgd compile: the usual kernels into the cache, ahead of their first use."""

import argparse
import concurrent.futures
import multiprocessing
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from .usual_calls import other_calls, usual_calls


def run(words: Sequence[str]) -> None:
    """Compile on all processors, with a line that counts; then say where the cache is, and its size."""
    parser = argparse.ArgumentParser(
        prog="python -m fastgd compile",
        description="Compile the usual kernels into the cache, for an image, a CI job or a class room.",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also those of every loss, optimizer, activation and dtype",
    )
    everything = parser.parse_args(words).all
    from ..compile.functions import default_threads

    names = [*usual_calls(), *(other_calls() if everything else ())]
    begun = time.perf_counter()
    # New processes, not forks: each compiles what none has stored yet, and loads the rest.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(default_threads(), context) as pool:
        waiting = [pool.submit(_call, name) for name in names]
        for done, future in enumerate(concurrent.futures.as_completed(waiting), 1):
            future.result()
            filled = 30 * done // len(names)
            bar = "#" * filled + "." * (30 - filled)
            print(f"\r[{bar}] {done} of {len(names)} calls", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    folders = _folders()
    files = [file for folder in folders for file in folder.glob("*.nbc")]
    size = sum(file.stat().st_size for file in files)
    print(f"{len(names)} calls in {time.perf_counter() - begun:.0f} s.")
    print(f"The cache has {len(files)} compiled functions, {size / 1e6:.0f} MB, in")
    for folder in folders:
        print(f"  {folder}")


def _call(name: str) -> None:
    """One call, in a process of the pool."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (usual_calls() | other_calls())[name]()


def _folders() -> list[Path]:
    """The folders of the cache: one for each folder of sources, beside them if they can be written to."""
    from ..cpu import advance
    from ..cpu.machine import team
    from ..mlp import layers

    kernels = advance.end_of_epoch, team.take, layers.through
    found = {kernel._cache.cache_path for kernel in kernels if hasattr(kernel, "_cache")}
    return sorted(Path(path) for path in found if path is not None)
