"""The race: all contestants of a workload, round by round, in one process and on the same data.

pytest-benchmark times one callable after the other, and a machine changes its speed in between. So
the first test of a workload holds the whole race, and each test reports its contestant's rounds
through pytest-benchmark's timer option: a clock that shows recorded durations.
"""

import functools
import gc
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from providers import SMOKE, THREADS, Workload, contestant, contestants, cost_at, data

#: At most this many rounds, and no further one for a contestant that has spent this many seconds.
ROUNDS, BUDGET = (1, 0.0) if SMOKE else (9, 0.5)
#: What is too short to time alone is called until this long has passed.
SHORTEST = 2e-3
#: Largest relative difference of the results. A plain loop over 10⁶ float32 loses most.
TOLERANCE = {"float32": 2e-3, "float64": 1e-8}
#: The bytes whose reading tells the machine's bandwidth: more than a processor's share of a cache.
READ_BYTES = 4 << 20 if SMOKE else 512 << 20

_now = 0.0


def recorded() -> float:
    """The clock that pytest-benchmark reads."""
    return _now


def _pass(duration: float) -> None:
    global _now
    _now += duration


def rounds(entrants: dict[str, Callable[[], float]], n_rounds=ROUNDS, budget=BUDGET):
    """Seconds of every entrant by round, or the exception that ended its race.

    An entrant returns its own time. Who starts rotates.
    """
    seconds: dict[str, list[float] | Exception] = {name: [] for name in entrants}
    names = list(entrants)
    for number in range(n_rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            past = seconds[name]
            if isinstance(past, Exception) or (past and sum(past) > budget):
                continue
            time.sleep(0.005)  # worker threads of the one before go on spinning for a while
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


def _numbers(result) -> np.ndarray:
    return np.concatenate([np.ravel(part).astype(float) for part in result])


def _entrant(name: str, work: Workload, x, y) -> Callable[[], object]:
    prepare, run = contestant(name, work)
    if work.toy:
        return lambda: run(*prepare(x, y))
    prepared = prepare(x, y)
    return lambda: run(*prepared)


def _check(name: str, work: Workload, x, y, result, expected) -> float:
    """The final cost, after the results were found to agree."""
    cost = float(result[0]) if work.kind == "cost" else cost_at(work, x, y, *result)
    if name == "scikit-learn" and work.shuffle:  # another order: only the cost is alike
        reference = cost_at(work, x, y, *expected)
        assert abs(cost - reference) < 0.2 * reference, f"{name}: cost {cost}, not {reference}"
    else:
        ours, theirs = _numbers(result), _numbers(expected)
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert error < TOLERANCE[work.dtype], f"{name} differs from NumPy by {error:.1e}: {result}"
    return cost


@functools.lru_cache(maxsize=1)
def _race(work: Workload):
    """Everyone runs once, to compile and to agree with NumPy; then they are timed in rounds.

    Returns the seconds (or the failure) and the final cost by contestant, and the bandwidth read.
    """
    gc.collect()
    x, y = data(work)
    expected = _entrant("NumPy", work, x, y)()
    costs: dict[str, float] = {}
    entrants: dict[str, Callable[[], float]] = {}
    failures: dict[str, Exception] = {}
    for name in contestants(work):
        try:
            call = _entrant(name, work, x, y)
            costs[name] = _check(name, work, x, y, call(), expected)
            entrants[name] = functools.partial(_timed, call)
        except Exception as failure:  # its own test fails; the others run on
            failures[name] = failure
    if not work.toy and work.kind != "per-sample":  # those are bound by an update's latency
        entrants["a read"] = _reader()
    gc.disable()
    try:
        seconds = rounds(entrants)
    finally:
        gc.enable()
    read = seconds.pop("a read", None)
    return seconds | failures, costs, READ_BYTES / statistics.median(read) / 1e9 if read else None


def run(benchmark, work: Workload, name: str) -> None:
    """Hold the race of a workload, once, and report one contestant's rounds."""
    seconds, costs, read_gbps = _race(work)
    info = {"dtype": work.dtype, "cost": costs.get(name)}
    if read_gbps and isinstance(seconds[name], list):
        gbps = work.bytes / statistics.median(seconds[name]) / 1e9
        info |= {"bytes": work.bytes, "GBps": gbps}
        info |= {"read_GBps": read_gbps, "of_read": gbps / read_gbps}
    replay(benchmark, work.name, name, seconds[name], **info)
