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

import numpy as np

N, D, CLASSES, EPOCHS = 5_000, 10, 3, 5


def calls() -> dict[str, Callable[[], Any]]:
    """The calls by name, on data of 5,000 x 10 in float64 unless they say otherwise."""
    import fastgd

    generator = np.random.default_rng(0)
    x = generator.normal(size=(N, D))
    noise = generator.normal(size=N)
    y = x @ generator.normal(size=D) + 0.1 * noise
    labels = (x @ np.linspace(-1, 1, D) + noise > 0).astype(float)
    classes = generator.integers(0, CLASSES, N)
    x32, y32, by_columns = x.astype(np.float32), y.astype(np.float32), np.asfortranarray(x)
    weight = generator.uniform(0.5, 1.5, N)
    linear, logistic = fastgd.fit_linear, fastgd.fit_logistic
    steps: dict[str, Any] = {"lr": 0.01, "epochs": EPOCHS}
    batches = steps | {"batch_size": 32}
    return {
        "fit_linear default": lambda: linear(x, y),
        "fit_linear lr": lambda: linear(x, y, **steps),
        "fit_linear per-sample": lambda: linear(x, y, batch_size=1, **steps),
        "fit_linear batches": lambda: linear(x, y, **batches),
        "fit_linear batches, adam": lambda: linear(x, y, optimizer="adam", **batches),
        "fit_linear adam": lambda: linear(x, y, optimizer="adam", **steps),
        "fit_linear momentum": lambda: linear(x, y, optimizer="momentum", **steps),
        "fit_linear lbfgs": lambda: linear(x, y, optimizer="lbfgs", epochs=EPOCHS),
        "fit_linear l1": lambda: linear(x, y, l1=0.01),
        "fit_linear float32": lambda: linear(x32, y32),
        "fit_linear F order": lambda: linear(by_columns, y),
        "fit_linear weights": lambda: linear(x, y, sample_weight=weight),
        "predict": lambda: linear(x, y).predict(x),
        "fit_logistic default": lambda: logistic(x, labels),
        "fit_logistic lr": lambda: logistic(x, labels, **steps),
        "fit_logistic per-sample": lambda: logistic(x, labels, batch_size=1, **steps),
        "fit_logistic batches, adam": lambda: logistic(x, labels, optimizer="adam", **batches),
        "softmax default": lambda: logistic(x, classes),
        "softmax batches": lambda: logistic(x, classes, **batches),
        "fit_mlp": lambda: fastgd.fit_mlp(x, y, hidden=(16,), **steps),
        "fit_mlp adam, tanh": lambda: fastgd.fit_mlp(
            x, y, hidden=(16,), activation="tanh", optimizer="adam", **steps
        ),
        "mse_cost": lambda: fastgd.mse_cost(x, y, np.zeros(D), 0.0),
        "cost_curve": lambda: fastgd.cost_curve(x[:, 0], y, np.linspace(0, 4, 41)),
        "activations.tanh": lambda: fastgd.activations.tanh(x),
    }


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
                for name in given.names or calls():
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
    found = calls()
    import numba  # noqa: F401

    print(f"{time.process_time() - start:7.2f} s       imports")
    for name in given.names or found:
        measure(name, found[name], given.functions, time.process_time())
    print(f"{time.process_time():7.2f} s       in all")


if __name__ == "__main__":
    main()
