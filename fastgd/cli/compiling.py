"""Say that kernels are compiled, where a person waits for them at a terminal."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Print a line when the first kernel in the block is compiled; nothing if all come from the cache."""
    from numba.core import event

    class Listener(event.Listener):
        silent = True

        def on_start(self, event: Any) -> None:
            if self.silent:
                print("   (compiling for this processor, once: later runs load it)\n", flush=True)
                self.silent = False

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield
