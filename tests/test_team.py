"""Threads that go through phases together: every part once, and no phase before the last is done."""

import threading

import numpy as np
import pytest

from fastgd.compile.functions import kernel
from fastgd.cpu.machine import team
from fastgd.cpu.machine.atomics import backoff_address


@kernel
def walk(members, backoff, phases, parts, table, late):
    """Part p of a phase adds to its place what all parts wrote in the phase before."""
    begun = 0
    mine = team.take(members)
    for phase in range(1, phases + 1):
        while mine < begun + parts:
            part = mine - begun
            team.wait_for(members, begun, backoff)
            total = 0
            for other in range(parts):
                total += table[phase - 1, other]
            if part == late:  # let the others wait
                for _ in range(1000):
                    total += table[0, 0] - table[0, 0]
            table[phase, part] += total + part
            team.finish(members)
            mine = team.take(members)
        begun += parts


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("late", [-1, 0, 2])
def test_every_part_runs_once_after_all_of_the_phase_before(n_threads, late):
    phases, parts = 12, 3
    wanted = np.zeros((phases + 1, parts), np.int64)
    wanted[0] = 1
    for phase in range(1, phases + 1):
        wanted[phase] = wanted[phase - 1].sum() + np.arange(parts)
    for _ in range(20):
        table = np.zeros_like(wanted)
        table[0] = 1
        given = team.counters(), backoff_address(), phases, parts, table, late
        threads = [threading.Thread(target=walk, args=given) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(table, wanted)


@kernel
def take(members):
    return team.take(members)


@kernel
def wait_for(members, n, backoff):
    team.wait_for(members, n, backoff)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("on_the_caller", [True, False])
def test_a_member_that_fails_frees_those_that_wait_for_it(monkeypatch, error, on_the_caller):
    monkeypatch.setattr(team, "default_threads", lambda: 2)
    members, caller = team.counters(), threading.current_thread()
    both, ended = threading.Barrier(2), []

    def member(members, backoff):
        both.wait(timeout=60)
        if (threading.current_thread() is caller) == on_the_caller:
            assert take(members) >= 0
            raise error
        wait_for(members, 1, backoff)
        ended.append(take(members))

    with pytest.raises(error):
        team.run(member, members, (members, backoff_address()), 2)
    assert len(ended) == 1
    assert ended[0] > 1 << 40  # nothing is left to do


def test_never_more_members_than_processors(monkeypatch):
    monkeypatch.setattr(team, "default_threads", lambda: 1)
    called = []
    team.run(lambda *given: called.append(given), team.counters(), (1, 2), 8)
    assert called == [(1, 2)]
