"""Reading ahead: the next item of an iterator is taken by another thread while one is in use."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import BlockError, InputError


def read_ahead(items: Iterator[Any]) -> Generator[Any]:
    """The items of an iterator, the next of which is taken by another thread while one is in use.

    Raises
    ------
    BlockError
        If the iterator fails, with what it said.
    """
    end = object()
    with ThreadPoolExecutor(1, "fastgd-reader") as reader:
        ahead = reader.submit(next, items, end)
        while True:
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
