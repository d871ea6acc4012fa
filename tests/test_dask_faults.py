"""Dask workers that die, stop or restart in the middle of a fit, and Ctrl-C: same bits, or a sentence."""

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest

pytest.importorskip("distributed")

import dask
import dask.array as da
from dask.delayed import delayed
from dask_chunks import ROWS, D, chunk, set_share_at_which_to_pause, too_large
from distributed import Client, LocalCluster

import fastgd
from fastgd import BlockError
from fastgd.sources import dask as source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CHUNKS = 6
N = ROWS * CHUNKS


def rows():
    parts = [da.from_delayed(delayed(chunk)(i), (ROWS, D), float) for i in range(CHUNKS)]
    return da.concatenate(parts)


IN_MEMORY = np.concatenate([chunk(number) for number in range(CHUNKS)])
LABELS = IN_MEMORY @ np.linspace(-1, 1, D) + np.random.default_rng(9).standard_normal(N) > 0
EPOCHS = 30


@pytest.fixture
def cluster():
    """Two processes of one thread each, which are started again when they are killed."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="1GB", dashboard_address=":0"
    ) as started:
        yield started


@pytest.fixture
def client(cluster):
    """A client on which nothing is left at the end."""
    with Client(cluster) as connected:
        connected.wait_for_workers(2, timeout=90)
        yield connected
        end = time.monotonic() + 5
        while connected.futures and time.monotonic() < end:
            time.sleep(0.01)
        assert not connected.futures


def fit_with(fault, after=3, epochs=EPOCHS):
    """A fit of many passes; `fault` runs in a thread of its own once some of them are done."""
    begun = time.monotonic()
    threads = []

    def callback(fit):
        if fit.n_epochs >= after and not threads:
            threads.append(threading.Timer(0.01, fault))
            threads[0].start()

    try:
        return fastgd.fit_logistic(rows(), LABELS, lr=0.5, epochs=epochs, callback=callback)
    finally:
        took = time.monotonic() - begun
        for thread in threads:
            thread.join()
        assert took < 60


@pytest.fixture(scope="module")
def wanted():
    """The same chunks in this process."""
    with dask.config.set(scheduler="threads"):
        return fit_with(lambda: None)


def pids(client):
    return sorted(client.run(os.getpid).values())


@contextlib.contextmanager
def slowed_down(pid):
    """A process that runs a tenth of the time."""
    over = threading.Event()

    def stop_and_go():
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.18)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_worker_slow_by_a_factor_of_ten(client, wanted):
    fit_with(lambda: None)  # loads the kernels at full speed
    with slowed_down(pids(client)[0]):
        assert fit_with(lambda: None).coef.tobytes() == wanted.coef.tobytes()


@pytest.mark.parametrize("how_many", [1, 2])
def test_killed_workers(client, wanted, how_many):
    doomed = pids(client)[:how_many]

    killed = []

    def kill():
        killed.append(time.monotonic())
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)

    found = fit_with(kill)
    assert time.monotonic() > killed[0] + 0.3  # others took over
    assert found.coef.tobytes() == wanted.coef.tobytes()
    assert found.costs.tobytes() == wanted.costs.tobytes()


def test_workers_that_are_restarted(client, wanted):
    """Their data is let go; so it ends with what there is so far."""
    with pytest.raises(BlockError, match="can't be computed") as caught:
        fit_with(client.restart, epochs=400)
    assert 3 <= caught.value.fit.n_epochs < 400
    done = caught.value.fit.n_epochs
    np.testing.assert_array_equal(caught.value.fit.costs[:EPOCHS], wanted.costs[:done])


def test_a_worker_without_memory(client):
    part = da.from_delayed(delayed(too_large)(0), (ROWS, D), float)
    begun = time.monotonic()
    with pytest.raises(BlockError, match="can't be computed: KilledWorker"):
        fastgd.fit_logistic(part, LABELS[:ROWS])
    assert time.monotonic() < begun + 60


def test_workers_that_pause_for_want_of_memory(client, wanted, monkeypatch):
    monkeypatch.setattr(source, "_PATIENCE", 2.0)
    try:
        with pytest.raises(
            BlockError, match="no worker for 2 seconds that takes tasks, of 2;"
        ) as caught:
            fit_with(lambda: client.run(set_share_at_which_to_pause, 0.01), epochs=400)
    finally:
        client.run(set_share_at_which_to_pause, 0.8)
    assert 3 <= caught.value.fit.n_epochs < 400


def test_ctrl_c(client, wanted):
    with pytest.raises(KeyboardInterrupt) as caught:
        fit_with(lambda: os.kill(os.getpid(), signal.SIGINT), epochs=400)
    done = caught.value.fit.n_epochs
    assert 3 <= done < 400
    np.testing.assert_array_equal(caught.value.fit.costs[:EPOCHS], wanted.costs[:done])
    assert fastgd.fit_logistic(rows(), LABELS, lr=0.5, epochs=2).n_epochs == 2


def test_no_worker_is_left(client, wanted, monkeypatch):
    monkeypatch.setattr(source, "_PATIENCE", 2.0)
    with pytest.raises(
        BlockError, match="no worker for 2 seconds that takes tasks, of 0;"
    ) as caught:
        fit_with(lambda: client.cluster.scale(0), epochs=400)
    assert 3 <= caught.value.fit.n_epochs < 400
