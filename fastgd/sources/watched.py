"""Who is told how far a reading of x is, from the first one on, which finds out what x is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

#: Is called with the number of rows, and of bytes, that the present reading has seen so far.
Watch = Callable[[int, int], None]

_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextlib.contextmanager
def watched_by(watch: Watch | None) -> Iterator[None]:
    """The context in which x is opened: its readings are told to `watch`, then and later."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


def watcher() -> Watch | None:
    """Who is to be told of readings of an x that is opened here."""
    return _WATCH.get()


def tell(rows: int, size: int) -> None:
    """Tell of a reading that finds out what x is."""
    watch = watcher()
    if watch is not None:
        watch(rows, size)
