"""The race on a GPU: one work, all its contestants, timed by the events of the device.

    result = hold(work, clock(), measured, told=print)

An event is a mark in the queue of the device, which stamps it when everything before is done. The time
between two of them holds what the device does, and what it waits for the host in between.
"""

import contextlib
import gc
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import cuda_workloads
import race
from cuda_workloads import Work

os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")

#: At most so many rounds, and no further one after so many seconds of a contestant.
ROUNDS, SECONDS = 7, 0.5
#: What is shorter is called until this long has passed.
SHORTEST = 2e-2


class Budget:
    """Seconds from now on, of which every work takes a part while there are any left."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        return max(0.0, self._end - self._clock())

    def part(self, share: float) -> "Budget":
        """A budget of that share of what is left."""
        return Budget(share * self.left(), self._clock)


def torch_device() -> str | None:
    """Where torch draws data: None where there is no torch that sees a GPU."""
    try:
        import torch
    except ImportError:
        return None
    return "cuda" if torch.cuda.is_available() else None


def clock() -> Callable[[Callable[[], Any]], float]:
    """A function that calls and returns the seconds by the device's events."""
    from fastgd.cuda import driver

    if driver.SIMULATED:
        return by_the_wall
    if torch_device():
        import torch

        def event():
            return torch.cuda.Event(enable_timing=True)

        def seconds(start, end):
            return start.elapsed_time(end) / 1e3
    else:

        def event():
            return driver.cuda.event(timing=True)

        def seconds(start, end):
            return driver.cuda.event_elapsed_time(start, end) / 1e3

    def timed(call):
        start, end = event(), event()
        start.record()
        call()
        end.record()
        end.synchronize()
        return seconds(start, end)

    return timed


def by_the_wall(call: Callable[[], Any]) -> float:
    """The clock where there is no device: for calls that are done when they return."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def several(call: Callable[[], Any], once: float, seconds_of) -> float:
    """The seconds of one of so many calls that the clock sees more than a moment."""
    count = max(1, math.ceil(SHORTEST / max(once, 1e-7)))

    def calls():
        for _ in range(count):
            call()

    return seconds_of(calls) / count


@contextlib.contextmanager
def passes_counted():
    """A list whose only number is how often fastgd has read all of X, or as much in one launch."""
    from fastgd.solvers.on_device import DeviceDescent
    from fastgd.sources.device import DeviceRows

    count = [0]

    def counting(function, passes):
        def counted(self, *arguments, **options):
            count[0] += passes(self, *arguments)
            return function(self, *arguments, **options)

        return counted

    places: list[tuple[type, str, Callable[..., int]]] = [
        (DeviceRows, name, lambda *_: 1)
        for name in ("totals", "moments", "predictions", "extremes", "column_moments")
    ]
    # The loop's last pass is for the cost at the end.
    places.append((DeviceDescent, "_run_by_parts", lambda self, stop: stop - self.epoch + 1))
    kept = [(owner, name, owner.__dict__[name]) for owner, name, _ in places]
    for owner, name, passes in places:
        setattr(owner, name, counting(owner.__dict__[name], passes))
    try:
        yield count
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def free_bytes() -> int | None:
    """The memory of the device that is free; None if it can't be asked."""
    from fastgd.cuda import driver

    if driver.SIMULATED:
        return None
    if torch_device():
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return int(driver.cuda.current_context().get_memory_info()[0])


def hold(work: Work, seconds_of, measured: dict[str, float], told=print, device="found") -> dict:
    """Everyone runs once, to compile and to be compared with torch; then they are timed in rounds."""
    free = free_bytes() if device == "found" else None
    if free is not None and work.memory > free:
        gigabytes = f"{work.memory / 1e9:.0f} GB, and {free / 1e9:.0f} are free"
        return {"skipped": f"it takes about {gigabytes}"}
    device = torch_device() if device == "found" else device
    x, y = cuda_workloads.data(work, device)
    gc.collect()
    try:
        with warnings.catch_warnings(action="ignore"):
            if work.agreement:
                return _agreement(work, x, y, device)
            return _race(work, x, y, seconds_of, measured, told, device)
    finally:
        del x, y
        gc.collect()
        if device == "cuda":
            import torch

            torch.cuda.empty_cache()


def _agreement(work, x, y, device) -> dict:
    if device is None:
        return {"skipped": "there is no torch with CUDA to compare with"}
    return {"deviation": {"fastgd": cuda_workloads.deviation_a_step(work, x, y)}}


def _race(work, x, y, seconds_of, measured, told, device) -> dict:
    result: dict[str, Any] = {
        "bytes": work.bytes, "seconds": {}, "rounds": {}, "GBps": {}, "of_read": {}, "of_copy": {},
        "deviation": {}, "passes": {}, "failed": {},
    }  # fmt: skip
    first, calls, once = {}, {}, {}
    for name in cuda_workloads.contestants(work):
        reason = cuda_workloads.missing(name)
        if reason is None and device is None and not name.startswith("fastgd"):
            reason = "this torch sees no GPU"
        if reason:
            result["failed"][name] = reason
            continue
        try:
            told(f"  {name} …")
            call = cuda_workloads.CONTESTANTS[name].make(work, x, y)
            if name.startswith("fastgd"):
                with passes_counted() as count:
                    found = call()
                result["passes"][name] = count[0]
            else:
                found = call()
            first[name] = cuda_workloads.parameters(work, found)
            once[name] = seconds_of(call)
            calls[name] = call
        except Exception as failure:
            result["failed"][name] = f"{type(failure).__name__}: {str(failure)[:500]}"
    standard = "torch eager" if "torch eager" in first else next(iter(first), None)
    for name, found in first.items():
        result["deviation"][name] = cuda_workloads.deviation(found, first[standard])
    entrants = {
        name: lambda call=call, once=once[name]: several(call, once, seconds_of)
        for name, call in calls.items()
    }
    for name, seconds in race.rounds(entrants, ROUNDS, SECONDS).items():
        if isinstance(seconds, Exception):
            result["failed"][name] = f"{type(seconds).__name__}: {str(seconds)[:500]}"
            continue
        median = statistics.median(seconds)
        gbps = work.bytes / median / 1e9
        result["seconds"][name], result["rounds"][name] = median, len(seconds)
        result["GBps"][name] = gbps
        for kind in ("read", "copy"):
            if measured.get(f"{kind}_GBps"):
                result[f"of_{kind}"][name] = gbps / measured[f"{kind}_GBps"]
    return result


def figures(work: Work, result: dict) -> list[dict]:
    """What is wanted of a work, what was found (None if it was not measured), and whether it is met."""
    told = []
    for goal in work.goals:
        found = None
        if goal.figure.startswith("x "):
            seconds = result.get("seconds", {})
            own, other = seconds.get(goal.contestant), seconds.get(goal.figure[2:])
            if own and other:
                found = other / own
        else:
            found = result.get(goal.figure, {}).get(goal.contestant)
        met = None
        if found is not None:
            met = found <= goal.bound if goal.at_most else found >= goal.bound
        bound = f"{'at most' if goal.at_most else 'at least'} {goal.bound:g}"
        told.append(
            {
                "work": work.name, "contestant": goal.contestant, "figure": goal.figure,
                "found": found, "wanted": bound, "met": met,
            }
        )  # fmt: skip
    return told
