"""The usual calls of a first session, and what each compiles.

``python -m benches.session`` runs them one after another in one process with an empty cache;
``python -m benches.session --alone`` each in a process and a cache of its own, import included. With
``--functions`` every compiled function stands below its call, with its seconds. Seconds are those of
the processor, which a busy machine changes little.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from fastgd.cli.usual_calls import usual_calls


class Compiled:
    """The functions that Numba compiles while it is open: names and seconds, outermost first."""

    def __init__(self) -> None:
        self.functions: list[tuple[str, float]] = []

    def __enter__(self) -> "Compiled":
        from numba.core import event

        functions, started = self.functions, []

        class Listener(event.Listener):
            def on_start(self, found):
                started.append((len(functions), time.process_time()))
                function = found.data["dispatcher"].py_func
                functions.append((f"{function.__module__}.{function.__qualname__}", 0.0))

            def on_end(self, found):
                at, begin = started.pop()
                functions[at] = functions[at][0], time.process_time() - begin

        self._context = event.install_listener("numba:compile", Listener())
        self._context.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self._context.__exit__(*about)


def measure(name: str, call: Callable[[], Any], functions: bool, start: float) -> None:
    """Print the seconds since `start` that a call takes, and what it compiles."""
    with Compiled() as compiled:
        call()
    print(f"{time.process_time() - start:7.2f} s  {len(compiled.functions):3d}  {name}", flush=True)
    if functions:
        for function, seconds in compiled.functions:
            print(f"             {seconds:6.2f}  {function}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="calls (all if none is named)")
    parser.add_argument("--alone", action="store_true", help="each in a process of its own")
    parser.add_argument("--functions", action="store_true", help="what is compiled, with seconds")
    parser.add_argument("--warm", action="store_true", help="keep the cache that is there")
    given = parser.parse_args()
    if "FASTGD_SESSION" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            env = os.environ | {"FASTGD_SESSION": "1"}
            if not given.warm:
                env["NUMBA_CACHE_DIR"] = folder
            if given.alone:
                flags = ["--functions"] * given.functions
                for name in given.names or usual_calls():
                    with tempfile.TemporaryDirectory() as own:
                        if not given.warm:
                            env["NUMBA_CACHE_DIR"] = own
                        command = [sys.executable, "-m", "benches.session", "--warm", *flags, name]
                        subprocess.run(command, env=env, check=True)
            else:
                subprocess.run(
                    [sys.executable, "-m", "benches.session", *sys.argv[1:]], env=env, check=True
                )
        return
    start = time.process_time()
    found = usual_calls()
    import numba  # noqa: F401

    print(f"{time.process_time() - start:7.2f} s       imports")
    for name in given.names or found:
        measure(name, found[name], given.functions, time.process_time())
    print(f"{time.process_time():7.2f} s       in all")


if __name__ == "__main__":
    main()
