"""The bar of a fit: its epochs, or the rows of the present reading of x where that is in blocks."""

from __future__ import annotations

import time
from typing import Any

#: The least seconds between two looks of a bar of rows.
_SECONDS = 0.1


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError('progress=True needs tqdm: pip install "fastgd[progress]".') from error
    return tqdm


class EpochBar:
    """The epochs so far.

    Parameters
    ----------
    epochs : int or None
        How many there will be, if that is known.
    """

    def __init__(self, epochs: int | None):
        self._bar = _tqdm()(total=epochs, unit="epoch")

    def after_epoch(self, epoch: int) -> None:
        """Show the number of epochs so far."""
        self._bar.update(epoch - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


class ReadingBar:
    """The rows and bytes of x that the present reading has seen, and the number of its epoch.

    At first it shows a reading that finds out what x is, whose rows are not known yet.
    """

    _OPENING = "{desc}: {n_fmt} rows{postfix} [{elapsed}]"
    _READING = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows{postfix} [{elapsed}]"

    def __init__(self) -> None:
        self._bar = _tqdm()(unit_scale=True, bar_format=self._OPENING, desc="opening x")
        self._epochs: int | None = None
        self._next = 0.0
        self._rows = self._bytes = 0

    def begin(self, n: int | None, epochs: int | None) -> None:
        """Show readings of n rows and so many epochs from now on; None: x has been read for good."""
        self._bar.total, self._epochs = n or self._rows, epochs
        self._bar.bar_format = self._READING
        if n is not None:
            self._rows = self._bytes = 0
        self.after_epoch(0)

    def read(self, rows: int, size: int) -> None:
        """Show that the present reading has seen so many rows and bytes."""
        self._rows, self._bytes = rows, size
        if time.monotonic() >= self._next:
            self._show()

    def after_epoch(self, epoch: int) -> None:
        """Show the number of the next epoch, or of the last one."""
        number = epoch + 1 if self._epochs is None else min(epoch + 1, self._epochs)
        of_all = "" if self._epochs is None else f" of {self._epochs}"
        self._bar.set_description_str(f"epoch {number}{of_all}", refresh=False)
        self.read(self._rows, self._bytes)

    def _show(self) -> None:
        bar = self._bar
        bar.n = self._rows
        bar.set_postfix_str(bar.format_sizeof(self._bytes, "B"), refresh=False)
        bar.refresh()
        self._next = time.monotonic() + _SECONDS

    def close(self) -> None:
        """End the bar."""
        if not self._bar.disable:
            self._show()
        self._bar.close()
