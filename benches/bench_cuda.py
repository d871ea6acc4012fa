"""Batch gradient descent on a GPU against torch, CuPy and cuML, timed by the device's events.

`python -m benches.gpu` runs the same works without pytest, each in its share of the time.
"""

import functools

import cuda_race
import cuda_workloads
import pytest
import race
from workloads import SMOKE

WORKS = cuda_workloads.works(quick=SMOKE)

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]


@functools.cache
def _missing() -> str | None:
    from fastgd.cuda import driver

    return "this is the simulator" if driver.SIMULATED else driver.missing()


@functools.cache
def _clock_and_bandwidths():
    import cuda_bandwidth

    seconds_of = cuda_race.clock()
    return seconds_of, cuda_bandwidth.measured(seconds_of)


@functools.lru_cache(maxsize=1)
def _held(name: str) -> dict:
    seconds_of, measured = _clock_and_bandwidths()
    return cuda_race.hold(WORKS[name], seconds_of, measured) | measured


@pytest.mark.parametrize(
    ("work", "contestant"),
    [(n, c) for n, w in WORKS.items() for c in cuda_workloads.contestants(w)],
)
def test_cuda(benchmark, work, contestant):
    if _missing():
        pytest.skip(f"needs a GPU: {_missing()}")
    held = _held(work)
    if reason := held.get("skipped") or cuda_workloads.missing(contestant):
        pytest.skip(reason)
    failed = held.get("failed", {}).get(contestant)
    if failed and "sees no GPU" in failed:
        pytest.skip(failed)
    info = {
        key: held[key][contestant]
        for key in ("GBps", "of_read", "of_copy", "deviation", "passes")
        if contestant in held.get(key, {})
    }
    info |= {key: held[key] for key in ("bytes", "read_GBps", "copy_GBps") if key in held}
    info |= {"dtype": WORKS[work].dtype, "table": "cuda"}
    if WORKS[work].agreement:
        assert not failed, failed
        bounds = [goal.bound for goal in WORKS[work].goals if goal.contestant == contestant]
        assert all(info["deviation"] <= bound for bound in bounds), info["deviation"]
        pytest.skip(f"not timed: iterates are {info['deviation']:.1e} a step from torch's")
    seconds = RuntimeError(failed) if failed else [held["seconds"][contestant]]
    race.replay(benchmark, f"CUDA, {work}", contestant, seconds, **info)
