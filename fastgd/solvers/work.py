"""A chunk, the work of a solver between two checks for signals and callbacks: its length and threads."""

import time

#: Nanoseconds of work between two checks for signals and callbacks.
CHUNK_NS = 100e6
#: The share of a time that a chunk by another number of threads leaves of it: it is tried again one day.
_FADING = 0.98


def end_of_chunk() -> float:
    """When a chunk that begins now is over, by the clock `time.perf_counter`."""
    return time.perf_counter() + CHUNK_NS / 1e9


class Pace:
    """The number of units of work in a chunk: at first a tenth of a cost model's, then measured.

    Parameters
    ----------
    ns : float
        Nanoseconds of a unit of work by the model.
    """

    def __init__(self, ns: float):
        self._units = CHUNK_NS / 10 / ns

    @property
    def units(self) -> int:
        """Units of work in the next chunk, 1 at least."""
        return max(1, int(self._units))

    def took(self, units: int, seconds: float) -> None:
        """Adapt to the time of a chunk; the next one is at most ten times as long."""
        self._units = min(10.0 * units, units * CHUNK_NS / max(1.0, 1e9 * seconds))


class Members:
    """The number of threads in a team: one or all, whichever took less time of late.

    A team waits for its slowest thread at every update. On idle processors two threads take half the time
    of one; beside other processes they may take ten times as long. The results have the same bits.

    Parameters
    ----------
    most : int
        The number of threads that may work together.
    """

    def __init__(self, most: int):
        self._seconds = dict.fromkeys((1, most), 0.0)  # a unit of work; 0: not tried yet
        self._last = most

    @property
    def best(self) -> int:
        """The number of threads for the next chunk."""
        return min(self._seconds, key=self._seconds.__getitem__)

    @property
    def on_trial(self) -> bool:
        """Whether the chunk before had another number of threads: the next one should be short."""
        return self.best != self._last

    def took(self, members: int, units: int, seconds: float) -> None:
        """Adapt to the time of a chunk by so many threads."""
        for number in self._seconds:
            self._seconds[number] *= _FADING
        self._seconds[members], self._last = seconds / units, members
