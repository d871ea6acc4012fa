"""Threads and processes: two fits at once, a fork after a fit, a process pool."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import fastgd
from fastgd.cpu import source, threads


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
        from fastgd.cpu import source
        source.PART_BYTES = 1 << 14
        x = np.random.default_rng(0).standard_normal((4000, 6))
        print(fastgd.fit_linear(x, x[:, 0], lr=0.1, epochs=5, n_threads=3).n_epochs)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "5", "")
