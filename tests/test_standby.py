"""A thread that stands by: calls from many threads at once, after a pause, and after a fork."""

import os
import threading
import time

import numpy as np
import pytest
from conftest import JIT_OFF
from numpy.testing import assert_array_equal

from fastgd import activations
from fastgd.cpu import standby, threads

X = np.random.default_rng(0).standard_normal(600 if JIT_OFF else 600_000)
WANTED = {name: getattr(activations, name)(X, n_threads=1) for name in ("relu", "tanh")}


def assert_right(name, n_threads):
    assert_array_equal(getattr(activations, name)(X, n_threads=n_threads), WANTED[name])


@pytest.mark.parametrize("n_threads", [2, 3, 8])
@pytest.mark.parametrize("pause", [0.0, 0.002])
def test_calls_one_after_the_other(n_threads, pause):
    for _ in range(30):
        for name in WANTED:
            assert_right(name, n_threads)
            time.sleep(pause)


def test_calls_from_several_threads_at_once():
    failed = []

    def repeat(name):
        try:
            for _ in range(50):
                assert_right(name, 2)
        except AssertionError as error:
            failed.append(error)

    callers = [threading.Thread(target=repeat, args=(name,)) for name in [*WANTED] * 2]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failed


@pytest.mark.skipif(JIT_OFF, reason="nobody stands by without the JIT")
def test_a_call_that_was_interrupted_while_it_was_written_blocks_nobody():
    assert_right("relu", 2)
    standby._open(standby._work, standby.resting())
    assert_right("relu", 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_has_threads_of_its_own():
    assert_right("tanh", 2)
    child = os.fork()
    if child == 0:
        try:
            assert_right("tanh", 2)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not threads.elsewhere(), reason="one processor, or an unknown one")
def test_workers_keep_to_other_processors_than_the_caller():
    before, seen, both = os.sched_getaffinity(0), {}, threading.Barrier(2)

    def work(group, part):
        both.wait(timeout=60)
        seen[threading.current_thread()] = os.sched_getaffinity(0)

    threads.for_each_part(work, [range(1)] * 2, 2)
    assert seen.pop(threading.current_thread()) == before == os.sched_getaffinity(0)
    assert [len(mask) for mask in seen.values()] == [len(before) - 1]
