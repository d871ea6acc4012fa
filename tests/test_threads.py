"""Threads and processes: two fits at once, a fork after a fit, a process pool."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from conftest import JIT_OFF

import fastgd
from fastgd.compile.functions import default_threads
from fastgd.cpu.machine import pool as threads
from fastgd.mlp import network
from fastgd.solvers import stochastic as stochastic_solver
from fastgd.sources import dense as source

MOMENTUM = fastgd.SGD(momentum=0.9)


def assert_prints(code, wanted):
    """A fresh interpreter runs the code without a word but this."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, wanted, "")


def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 6))
    return x, x @ np.arange(1.0, 7.0) + rng.standard_normal(4000)


def test_every_part_is_done_once_and_groups_keep_their_order():
    groups = [range(0, 3), range(3, 4), range(4, 9)]
    for n_threads in (1, 2, 5):
        done = []
        threads.for_each_part(lambda *at, to=done: to.append(at), groups, n_threads)
        assert sorted(part for _, part in done) == list(range(9))
        for index, group in enumerate(groups):
            assert [part for g, part in done if g == index] == list(group)


def test_an_error_in_one_thread_stops_the_others():
    done = []

    def work(group, part):
        if group == 1:
            raise ZeroDivisionError("in a worker")
        time.sleep(1e-3)
        done.append(part)

    with pytest.raises(ZeroDivisionError, match="in a worker"):
        threads.for_each_part(work, [range(0, 1000), range(1000, 1001)], 2)
    assert len(done) < 1000
    after = []
    threads.for_each_part(lambda group, part: after.append(part), [range(0, 4)] * 2, 2)
    assert len(after) == 8


def test_two_python_threads_fit_at_once(monkeypatch):
    monkeypatch.setattr(source, "PART_BYTES", 1 << 14)
    x, y = data()
    alone = [fastgd.fit_linear(x, y, lr=0.05, epochs=30), fastgd.fit_logistic(x, y > 0, l2=0.1)]
    together: list = [[], [], [], []]

    def fit(index):
        for _ in range(3):
            together[index] += [
                fastgd.fit_linear(x, y, lr=0.05, epochs=30),
                fastgd.fit_logistic(x, y > 0, l2=0.1),
            ]

    workers = [threading.Thread(target=fit, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for fits in together:
        for index, one in enumerate(fits):
            assert one.coef.tobytes() == alone[index % 2].coef.tobytes()


def fit_in_a_child(seed):
    x, y = data()
    return fastgd.fit_linear(x, y, lr=0.05, epochs=20, n_threads=2).coef.tobytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_processes_after_a_fit(monkeypatch):
    monkeypatch.setattr(source, "PART_BYTES", 1 << 14)
    here = fit_in_a_child(0)
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(fit_in_a_child, range(4))) == [here] * 4


def test_a_pool_of_fresh_processes(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(
        textwrap.dedent("""
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            import fastgd

            def fit(seed):
                return float(fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.01, epochs=9).coef[0])

            if __name__ == "__main__":
                here = fit(0)
                with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
                    print(list(pool.map(fit, range(3))) == [here] * 3)
        """)
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_the_interpreter_ends_cleanly_after_a_threaded_fit():
    code = """
        import numpy as np, fastgd
        from fastgd.sources import dense as source
        source.PART_BYTES = 1 << 14
        x = np.random.default_rng(0).standard_normal((4000, 6))
        print(fastgd.fit_linear(x, x[:, 0], lr=0.1, epochs=5, n_threads=3).n_epochs)
    """
    assert_prints(code, "5")


def all_kinds_of_fits():
    """The bits of a fit by every loop that shares its work among threads."""
    x, y = data()
    found = [
        fastgd.fit_linear(x, y, n_threads=2),
        fastgd.fit_linear(x, y, lr=0.05, epochs=3, n_threads=2),
        fastgd.fit_logistic(x, y > 0, lr=0.05, epochs=3, n_threads=2),
        fastgd.fit_logistic(x, y > 0, l2=0.1, n_threads=2),
        fastgd.fit_linear(
            x, y, lr=0.01, epochs=2, batch_size=1024, optimizer=MOMENTUM, n_threads=2
        ),
    ]
    network = fastgd.fit_mlp(x, y, hidden=16, lr=0.01, epochs=2, batch_size=1024, n_threads=2)
    return [fit.coef.tobytes() for fit in found] + [w.tobytes() for w in network.weights]


def no_thread(*given):
    raise RuntimeError("can't start new thread")


def refused(*given):
    raise PermissionError("Operation not permitted")


@pytest.fixture
def many_parts(monkeypatch):
    """Data of few rows in parts for several threads, and team loops that take two."""
    monkeypatch.setattr(source, "PART_BYTES", 1 << 14)
    monkeypatch.setattr(network, "_THREADED", 0)
    monkeypatch.setattr(stochastic_solver, "_SHARED_NS", 0)
    threads._forget_helpers()


@pytest.mark.usefixtures("many_parts")
def test_where_no_thread_can_be_started_the_caller_does_all(monkeypatch):
    wanted = all_kinds_of_fits()
    threads._forget_helpers()
    monkeypatch.setattr("_thread.start_new_thread", no_thread)
    assert all_kinds_of_fits() == wanted
    assert threads._helpers == []


@pytest.mark.usefixtures("many_parts")
def test_no_fit_changes_which_processors_a_thread_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    all_kinds_of_fits()
    fastgd.activations.relu(np.zeros(1 << 21 if not JIT_OFF else 8), n_threads=2)


@pytest.mark.usefixtures("many_parts")
def test_never_more_threads_than_parts_or_than_a_few_for_each_processor():
    threads.for_each_part(lambda group, part: None, [range(1)] * 3, 10**9)
    assert len(threads._helpers) == 2
    threads.for_each_part(lambda group, part: None, [range(1)] * 10_000, 10**9)
    assert len(threads._helpers) == threads._MOST * default_threads() - 1


def test_a_fit_at_exit():
    code = """
        import atexit
        import numpy as np, fastgd
        from fastgd.sources import dense as source
        source.PART_BYTES = 1 << 14
        x = np.random.default_rng(0).standard_normal((4000, 6))
        fit = lambda: fastgd.fit_linear(x, x[:, 0], lr=0.1, epochs=5, n_threads=3)
        wanted = fit().coef.tobytes()
        atexit.register(lambda: print(fit().coef.tobytes() == wanted))
        import concurrent.futures.thread
    """
    assert_prints(code, "True")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_work_in_a_signal_handler_waits_for_nothing_of_what_it_interrupts():
    code = """
        import random, signal
        from fastgd.cpu.machine import pool as threads
        fits = 0
        def work():
            threads.for_each_part(lambda group, part: None, [range(2)] * 4, 4)
        def handler(*given):
            global fits
            work()
            fits += 1
            if fits < 500:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
        signal.signal(signal.SIGALRM, handler)
        handler()
        while fits < 500:
            work()
        print("done")
    """
    assert_prints(code, "done")


@pytest.mark.usefixtures("many_parts")
def test_helpers_treat_floating_point_errors_as_the_caller_does():
    seen, both = [], threading.Barrier(2)

    def work(group, part):
        both.wait(timeout=60)
        seen.append(np.geterr())

    with np.errstate(all="raise", under="print"):
        wanted = np.geterr()
        threads.for_each_part(work, [range(1)] * 2, 2)
    assert seen == [wanted] * 2


@pytest.mark.usefixtures("many_parts")
def test_a_value_beyond_float32_is_a_sentence_on_every_thread():
    x, y = data()
    x[:, 1] = 1e300
    for _ in range(10):
        with pytest.raises(fastgd.DivergenceError, match="overflow"):
            fastgd.fit_linear(x, y, lr=0.01, epochs=2, dtype="float32", n_threads=2)
