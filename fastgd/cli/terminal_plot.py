"""A curve drawn with characters."""

from collections.abc import Sequence
from math import log10


def curve(values: Sequence[float], width: int = 62, height: int = 12) -> tuple[str, bool]:
    """Draw `values` against 0 … len(values) − 1 in at most 80 columns of plain ASCII.

    The vertical scale is logarithmic where all values are positive and they span a factor of ten.

    Returns
    -------
    text : str
        The lines of the drawing.
    log : bool
        Whether the scale is logarithmic.
    """
    low, high = float(min(values)), float(max(values))
    log = low > 0 and high / low > 10

    def level(value: float) -> int:
        if high == low:
            return 0
        part = log10(value / low) / log10(high / low) if log else (value - low) / (high - low)
        return round(part * (height - 1))

    last = len(values) - 1
    levels = [level(values[round(c * last / (width - 1))]) for c in range(width)]
    rows = [[" "] * width for _ in range(height)]
    for c, here in enumerate(levels):
        before = levels[c - 1] if c else here
        # A steep fall or rise is drawn as a vertical stroke, so that the curve has no holes.
        for between in range(min(here, before) + 1, max(here, before)):
            rows[between][c] = "|"
        rows[here][c] = "*"

    lines = []
    for r in reversed(range(height)):
        label = f"{high:.4g}" if r == height - 1 else f"{low:.4g}" if r == 0 else ""
        lines.append(f"{label:>12} |{''.join(rows[r]).rstrip()}")
    lines.append(" " * 13 + "+" + "-" * width)
    lines.append(" " * 14 + "0" + "epoch".center(width - 1 - len(str(last))) + str(last))
    return "\n".join(lines), log
