"""The length of a chunk: the work of a solver between two checks for signals and callbacks."""

#: Nanoseconds of work between two checks for signals and callbacks.
CHUNK_NS = 100e6


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
