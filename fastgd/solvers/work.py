"""How much work makes a chunk: what a solver does between two looks at the outside world."""

#: Nanoseconds of work between two looks at the outside world.
CHUNK_NS = 100e6


class Pace:
    """How much work makes a chunk: a tenth of what a cost model says at first, then by the clock.

    Parameters
    ----------
    ns : float
        What a unit of work takes by the model.
    """

    def __init__(self, ns: float):
        self._units = CHUNK_NS / 10 / ns

    @property
    def units(self) -> int:
        """Units of work in the next chunk, 1 at least."""
        return max(1, int(self._units))

    def took(self, units: int, seconds: float) -> None:
        """Learn from a chunk; the next one is at most ten times as long."""
        self._units = min(10.0 * units, units * CHUNK_NS / max(1.0, 1e9 * seconds))
