"""The moments of a source about the mean, and the totals that they contain."""

import numpy as np

from ..sources.protocol import Source


def off_center(square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Which columns have a mean so far from their centre that their moments lose digits.

    `square` is that of the distance.
    """
    return square > 1e4 * variance


def centred_moments(source: Source, y_center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The moments of the columns in their own units, and their centre.

    The centre is the mean of a sample of rows. If the mean of all rows is far from it, because of far
    rows or rows without weight, it is the mean of all rows.
    """
    center, ones, d = source.middle(), np.ones(source.d), source.d
    moments = source.moments(center, ones, y_center)
    mean, second = moments[0, 1 : d + 1], np.diagonal(moments)[1 : d + 1]
    mean, second = mean / moments[0, 0], second / moments[0, 0]
    rounding = np.finfo(float).eps * np.abs(center)
    apart = off_center(mean**2, second - mean**2) & (np.abs(mean) > 16 * rounding)
    if source.shifts_rows and apart.any():
        center = center + mean
        moments = source.moments(center, ones, y_center)
    return moments, center


def totals_at_zero(
    moments: np.ndarray, d: int, scale: np.ndarray | float, shift: np.ndarray | float
) -> np.ndarray:
    """The totals of squared error where all parameters are zero, from the moments.

    They are those of x − center − `shift`, with the center and the scale of the moments.
    """
    sums, by_x = moments[d + 1 :, 0], moments[d + 1 :, 1 : d + 1] / scale
    totals = np.empty((len(sums), d + 2))
    totals[:, :d] = -2 * (by_x - sums[:, None] * shift)
    totals[:, d] = -2 * sums
    totals[:, d + 1] = moments.diagonal()[d + 1 :]
    return totals
