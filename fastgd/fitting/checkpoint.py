"""The fit so far in a file, written between the steps of a run."""

import time
from collections.abc import Callable
from typing import Any

#: The least seconds between two files, and how many times what one took to write.
_SECONDS, _TIMES = 1.0, 20.0


class Checkpoint:
    """Writes the fit so far to a path, about once a second, and less often where that takes long."""

    def __init__(self, path: Any):
        self._path, self._next = path, time.monotonic()

    def after_step(self, fit_so_far: Callable[[], Any]) -> None:
        """Write the fit, if it is time to; the file is replaced when the new one is complete."""
        begun = time.monotonic()
        if begun >= self._next:
            fit_so_far().save(self._path)
            ended = time.monotonic()
            self._next = ended + max(_SECONDS, _TIMES * (ended - begun))
