"""Faults around a fit: interrupts, forks, no threads, signals, kills, each in a process of its own.

A process gets the time that it may need on a busy machine with a cold cache. One that waits for ever is
ended with all that it started, and the test fails.
"""

import io
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import fastgd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.jit,
    pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX"),
]

LIMIT = 300

DATA = """
    import os, signal, sys, threading, time, warnings
    import numpy as np
    import fastgd

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 30))
    y = x @ rng.standard_normal(30) + rng.standard_normal(600)
    labels, three = y > 0, np.digitize(y, [-2, 2])
    held = x[:60], y[:60]
    wide = rng.standard_normal((50_000, 30))
    wide_y = wide[:, 0] + rng.standard_normal(50_000)

    def parameters(fit):
        if isinstance(fit, fastgd.Fit):
            return fit.coef.tobytes() + np.asarray(fit.intercept).tobytes()
        return b"".join(array.tobytes() for array in (*fit.weights, *fit.biases))
"""


def output(code, *arguments, **environment):
    """What a process prints that runs the code after `DATA`."""
    code = textwrap.dedent(DATA) + textwrap.dedent(code)
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=LIMIT)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, err) == (0, ""), err
    return out


# --- Ctrl-C ---------------------------------------------------------------------------------------

#: Fits that run for seconds, so that an interrupt meets them.
ENDLESS = {
    "statistics": "fastgd.fit_linear(x, y, lr=1e-3, epochs=epochs)",
    "statistics with momentum": (
        "fastgd.fit_linear(x, y, optimizer=fastgd.SGD(momentum=0.9), lr=1e-4, epochs=epochs)"
    ),
    "three points": (
        "fastgd.fit_linear(x[:3, :1], y[:3], optimizer=fastgd.Adam(), lr=1e-9, epochs=epochs)"
    ),
    "batch": "fastgd.fit_logistic(x, labels, lr=1e-3, epochs=epochs)",
    "softmax": "fastgd.fit_logistic(x, three, lr=1e-3, epochs=epochs)",
    "per sample": "fastgd.fit_linear(x, y, lr=1e-6, batch_size=1, epochs=epochs)",
    "per sample, softmax": "fastgd.fit_logistic(x, three, lr=1e-6, batch_size=1, epochs=epochs)",
    "minibatch": "fastgd.fit_linear(x, y, lr=1e-5, batch_size=7, epochs=epochs)",
    "minibatch, Adam": (
        "fastgd.fit_logistic(x, labels, optimizer=fastgd.Adam(), lr=1e-5, batch_size=50,"
        " epochs=epochs)"
    ),
    "validated": (
        "fastgd.fit_linear(x, y, lr=1e-5, batch_size=7, validation=held, patience=10**9,"
        " epochs=epochs)"
    ),
    "network": "fastgd.fit_mlp(x, y, hidden=8, batch_size=100, lr=1e-5, epochs=epochs)",
    "network, validated": (
        "fastgd.fit_mlp(x, y, hidden=8, batch_size=100, lr=1e-5, validation=held,"
        " patience=10**9, epochs=epochs)"
    ),
}

INTERRUPTS = """
    import random

    fit_of = eval("lambda epochs: " + sys.argv[1])
    # Compiled, with a callback that stops it: fewer epochs may take another way.
    eval(sys.argv[1].replace("epochs=epochs", "epochs=10**7, callback=lambda fit: True"))
    delays, rounds, before = random.Random(sys.argv[1]), 0, 0
    while rounds < 6:
        at = []

        def interrupt():
            at.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(0.1 + 0.1 * delays.random(), interrupt)
        timer.start()
        try:
            fit_of(10**7)
            sys.exit("no interrupt")
        except KeyboardInterrupt as stop:
            late, fit = time.perf_counter() - at[0], getattr(stop, "fit", None)
        timer.join()
        if fit is None:  # before the first update, on a busy machine or while a kernel is compiled
            before += 1
            if before > 10:
                sys.exit("no fit")
            continue
        rounds += 1
        counts = [fit.n_epochs, len(fit.costs)]
        counts += [len(a) for a in (fit.lrs, fit.validation_costs) if a is not None]
        if len(set(counts)) > 1:
            sys.exit(f"counts differ: {counts}")
        if fit.n_epochs:
            again = fit_of(fit.n_epochs)
            same = parameters(fit) == parameters(again), np.array_equal(fit.costs, again.costs)
            if same != (True, True):
                sys.exit(f"not of epoch {fit.n_epochs}: same parameters, costs: {same}")
        if late > 5:
            sys.exit(f"{late} s late")
    print("right")
"""


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_interrupt_at_any_moment_leaves_the_state_of_an_epoch(kind):
    assert output(INTERRUPTS, ENDLESS[kind]) == "right\n"


def test_an_interrupt_ends_plain_python_on_two_threads():
    code = """
        x = rng.standard_normal((600, 200))

        def fit_of(epochs):
            return fastgd.fit_mlp(x, y, hidden=32, n_threads=2, lr=1e-5, epochs=epochs)

        fit_of(1)
        for delay in (1.0, 1.13, 1.27, 1.41):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                fit_of(10**6)
            except KeyboardInterrupt as stop:
                print(stop.fit.n_epochs == len(stop.fit.costs))
    """
    assert output(code, NUMBA_DISABLE_JIT="1") == "True\n" * 4


# --- forks ----------------------------------------------------------------------------------------

FORKS = """
    def fit():
        return parameters({fit})

    wanted, over = fit(), threading.Event()

    def go_on():
        while not over.is_set():
            fit()

    def ended(child):
        "How a child ends; None if it does not."
        for _ in range(3000):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return status
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    thread = threading.Thread(target=go_on)
    thread.start()
    found = []
    try:
        while len(found) < 15 and None not in found:
            time.sleep(0.003 * len(found))
            child = os.fork()
            if child == 0:
                os._exit(0 if fit() == wanted else 1)
            found.append(ended(child))
    finally:
        over.set()
        thread.join()
    print(set(found))
"""


@pytest.mark.parametrize(
    "fit",
    [
        "fastgd.fit_mlp(x, y, hidden=8, epochs=2, n_threads=2)",
        "fastgd.fit_linear(wide, wide_y, lr=0.1, epochs=3, n_threads=2)",
        "fastgd.fit_logistic(wide, wide_y > 0, lr=0.1, epochs=1, batch_size=5000, n_threads=2)",
    ],
)
def test_a_child_forked_while_a_thread_fits_fits_too(fit):
    assert output(FORKS.replace("{fit}", fit)) == "{0}\n"


# --- no threads -----------------------------------------------------------------------------------

MANY = """
    import hashlib

    if "without" in sys.argv:
        def refuse(*arguments, **options):
            raise RuntimeError("can't start new thread")

        threading.Thread.start = refuse
    batch, net = dict(lr=0.1, epochs=2), dict(hidden=32, lr=0.01, epochs=1)
    fits = [
        fastgd.fit_linear(wide, wide_y, n_threads=2),
        fastgd.fit_linear(wide, wide_y, n_threads=2, **batch),
        fastgd.fit_linear(wide, wide_y, n_threads=2, l1=0.1),
        fastgd.fit_linear(wide, wide_y, n_threads=2, batch_size=5000, **batch),
        fastgd.fit_linear(wide, wide_y, n_threads=2, optimizer=fastgd.LBFGS(), epochs=2),
        fastgd.fit_logistic(wide, wide_y > 0, n_threads=2),
        fastgd.fit_logistic(wide, wide_y > 0, n_threads=2, **batch),
        fastgd.fit_logistic(wide, np.digitize(wide_y, [-1, 1]), n_threads=2, **batch),
        fastgd.fit_mlp(wide, wide_y, n_threads=2, batch_size=2000, **net),
        fastgd.fit_mlp(wide[:2000], wide_y[:2000], n_threads=2, batch_size=50, **net),
    ]
    for fit in fits:
        print(fit.method, hashlib.sha256(parameters(fit)).hexdigest())
    print(fastgd.mse_cost_and_gradient(wide, wide_y, np.ones(30))[0])
    print(hashlib.sha256(fastgd.activations.tanh(np.tile(wide_y, 40))).hexdigest())
"""


def test_without_threads_all_runs_on_the_callers():
    assert output(MANY, "without") == output(MANY)


def test_a_fit_while_the_interpreter_ends():
    code = """
        import atexit

        def fit():
            return parameters(fastgd.fit_linear(wide, wide_y, lr=0.1, epochs=3, n_threads=2))

        first = fit()
        atexit.register(lambda: print(fit() == first))
    """
    assert output(code) == "True\n"


# --- signals --------------------------------------------------------------------------------------


def test_a_fit_in_a_signal_handler_beside_one_in_the_program():
    code = """
        long = rng.standard_normal(300_000)

        def fit(epochs):
            given = dict(lr=0.1, epochs=epochs, n_threads=2)
            return parameters(fastgd.fit_logistic(long, long > 0.1, **given))

        one, five, found = fit(1), fit(5), []

        def handler(number, frame):
            found.append(fit(1) == one)
            if len(found) < 300:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + 1e-5 * len(found))

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while len(found) < 300:
            assert fit(5) == five
        print(set(found))
    """
    assert output(code) == "{True}\n"


# --- kills ----------------------------------------------------------------------------------------


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    fits = [
        fastgd.Fit(
            coef=np.full(size, 1.0), intercept=0.0, costs=np.ones(2), cost=1.0, n_epochs=2,
            converged=True, method="stream",
        )
        for size in (10, 200_000)
    ]  # fmt: skip
    whole = []
    for fit in fits:
        file = io.BytesIO()
        fit.save(file)
        whole.append(file.getvalue())
    path = tmp_path / "fit.npz"
    fits[0].save(path)
    delays = random.Random(0)
    for _ in range(30):
        child = os.fork()
        if child == 0:
            try:
                for number in range(10_000):
                    fits[number % 2].save(path)
            finally:
                os._exit(1)
        time.sleep(0.005 + 0.03 * delays.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert path.read_bytes() in whole
    assert len(os.listdir(tmp_path)) <= 31  # what a killed process was writing
