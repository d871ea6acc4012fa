"""The race: all contestants of a workload, round by round, in one process and on the same data.

pytest-benchmark times one callable after the other, and a machine changes its speed in between. So
the first test of a workload holds the whole race, and each test reports its contestant's rounds
through pytest-benchmark's timer option: a clock that shows recorded durations.
"""

import functools
import gc
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from providers import contestant, contestants, judge
from workloads import SMOKE, THREADS

#: At most this many rounds, and no further one for a contestant that has spent this many seconds.
ROUNDS, BUDGET = (1, 0.0) if SMOKE else (9, 0.5)
#: What is shorter is called until this long has passed: the first call after a pause finds its data and
#: its threads asleep.
SHORTEST = 2e-3 if SMOKE else 2e-2
#: Seconds of a run that need no second one, if it has been compiled before; and if it has not.
ENOUGH, MORE_THAN_ENOUGH = 2.0, 20.0
#: Seconds that BLAS's threads go on spinning after a large product, on a processor of the next one's.
SPINNING = 0.12
#: The bytes whose reading tells the machine's bandwidth: more than a processor's share of a cache.
READ_BYTES = 4 << 20 if SMOKE else 512 << 20

_now = 0.0


def recorded() -> float:
    """The clock that pytest-benchmark reads."""
    return _now


def _pass(duration: float) -> None:
    global _now
    _now += duration


def rounds(entrants: dict[str, Callable[[], float]], n_rounds=ROUNDS, budget=BUDGET, pause=0.005):
    """Seconds of every entrant by round, or the exception that ended its race.

    An entrant returns its own time. Who starts rotates. The pause is for the one before to end.
    """
    seconds: dict[str, list[float] | Exception] = {name: [] for name in entrants}
    names = list(entrants)
    for number in range(n_rounds):
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            past = seconds[name]
            if isinstance(past, Exception) or (past and sum(past) > budget):
                continue
            time.sleep(pause)
            try:
                past.append(entrants[name]())
            except Exception as failure:
                seconds[name] = failure
    return seconds


def replay(benchmark, group: str, name: str, seconds: list[float] | Exception, **info) -> None:
    """Report rounds held before as a benchmark's own."""

    def next_round():
        if isinstance(seconds, Exception):
            raise seconds
        _pass(next(durations))

    durations = iter([] if isinstance(seconds, Exception) else seconds)
    benchmark.group = group
    benchmark.extra_info.update(contestant=name, threads=THREADS, **info)
    benchmark.pedantic(next_round, rounds=len(seconds) if isinstance(seconds, list) else 1)


def _timed(call: Callable[[], object]) -> float:
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SHORTEST:
        call()
        calls += 1
    return elapsed / calls


@functools.cache
def _reader() -> Callable[[], float]:
    """Times one read of a large array by all processors; returns the seconds."""
    from numba import njit

    # A bare sum in any order: the fastest way to touch every number.
    @njit(fastmath=True, nogil=True)
    def total(numbers):
        s = 0.0
        for x in numbers:
            s += x
        return s

    parts = np.array_split(np.ones(READ_BYTES // 8), THREADS)
    pool = ThreadPoolExecutor(THREADS)

    def read() -> float:
        start = time.perf_counter()
        assert sum(pool.map(total, parts)) == READ_BYTES // 8
        return time.perf_counter() - start

    read()
    return read


def _entrant(name: str, work, x, y) -> Callable[[], object]:
    prepare, run = contestant(name, work)
    if work.toy:
        return lambda: run(*prepare(x, y))
    prepared = prepare(x, y)
    return lambda: run(*prepared)


def _first(name: str, work, x, y) -> tuple[Callable[[], object], object, float]:
    """A contestant's call, and the result and the seconds of the first one."""
    with warnings.catch_warnings():
        if not name.startswith("fastgd"):
            warnings.simplefilter("ignore")  # deprecations inside other libraries
        if brief := work.brief:
            _entrant(name, brief, x[: brief.n], y[: brief.n])()
        call = _entrant(name, work, x, y)
        start = time.perf_counter()
        return call, call(), time.perf_counter() - start


class Race(NamedTuple):
    seconds: dict[str, list[float] | Exception]  # or the failure
    told: dict[str, dict]  # what the checks say about the results
    read_gbps: float | None


@functools.lru_cache(maxsize=1)
def _race(work, n_rounds: int, budget: float) -> Race:
    """Everyone runs once, to compile and to agree with the judge; then they are timed in rounds.

    If the first run is brief, the second one checks; and where that takes longer than ENOUGH, its
    time stands, as no one is to wait for another. So does that of a first one that compiles little.
    """
    gc.collect()
    x, y = work.data()
    told: dict[str, dict] = {}
    entrants: dict[str, Callable[[], float]] = {}
    seconds: dict[str, list[float] | Exception] = {}
    others = [name for name in contestants(work) if name != judge(work)]
    standard = _first(judge(work), work, x, y)
    runs = {judge(work): lambda: standard}
    runs |= {name: functools.partial(_first, name, work, x, y) for name in others}
    for name in contestants(work):
        try:
            call, result, took = runs[name]()
            told[name] = work.check(name, x, y, result, standard[1])
            if took > (ENOUGH if work.brief else MORE_THAN_ENOUGH):
                seconds[name] = [took]
            else:
                entrants[name] = functools.partial(_timed, call)
        except Exception as failure:  # its own test fails; the others run on
            seconds[name] = failure
    if work.reads:
        entrants["a read"] = _reader()
    gc.disable()
    try:
        with warnings.catch_warnings(action="ignore"):  # the first runs have shown them
            multiplies = work.reads or work.kind in ("network", "estimator network", "softmax")
            pause = SPINNING if multiplies and not SMOKE else 0.005
            seconds |= rounds(entrants, n_rounds, budget, pause)
    finally:
        gc.enable()
    read = seconds.pop("a read", None)
    return Race(seconds, told, READ_BYTES / min(read) / 1e9 if read else None)


def run(benchmark, work, name: str, *, limits=(ROUNDS, BUDGET), group="", **info) -> None:
    """Hold the race of a workload, once, and report one contestant's rounds.

    The `limits` are the most rounds and the seconds after which there is no further one.
    """
    race = _race(work, *((ROUNDS, BUDGET) if SMOKE else limits))
    seconds = race.seconds[name]
    info |= {"dtype": work.dtype} | race.told.get(name, {})
    if race.read_gbps and isinstance(seconds, list):
        gbps = work.bytes / statistics.median(seconds) / 1e9
        info |= {"bytes": work.bytes, "GBps": gbps}
        info |= {"read_GBps": race.read_gbps, "of_read": gbps / race.read_gbps}
    replay(benchmark, group or work.name, name, seconds, **info)
