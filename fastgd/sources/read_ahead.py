"""Reading ahead: the next item of an iterator is taken by another thread while one is in use."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from ..errors import BlockError, InputError

#: Seconds between two looks for Ctrl-C: Polars installs a handler that does not end a longer wait.
_PROMPT = 0.1


def read_ahead(items: Iterator[Any], stop: Callable[[], None] | None = None) -> Generator[Any]:
    """The items of an iterator, the next of which is taken by another thread while one is in use.

    `stop` is called where no further item is wanted, also on Ctrl-C: then the one that is being taken is
    waited for.

    Raises
    ------
    BlockError
        If the iterator fails, with what it said.
    """
    with ThreadPoolExecutor(1, "fastgd-reader") as reader:
        try:
            yield from _taken(items, reader)
        finally:
            if stop is not None:
                stop()


def _taken(items: Iterator[Any], reader: ThreadPoolExecutor) -> Generator[Any]:
    end = object()
    ahead = reader.submit(next, items, end)
    while True:
        while not ahead.done():
            wait([ahead], _PROMPT)
        try:
            item = ahead.result()
        except (InputError, BlockError):
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}".strip().rstrip(".")
            raise BlockError(f"{what}.") from error
        if item is end:
            return
        ahead = reader.submit(next, items, end)
        yield item
