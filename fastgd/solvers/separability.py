"""Labels that a hyperplane separates, in all rows or in some: then no finite optimum exists.

Labels are separable if a direction of the parameters raises the margin of some rows and lowers that of
none (Albert and Anderson, 1984): along it the cost falls for ever. Where it raises all margins, the
margins themselves become positive. Else the rows whose margin it raises end far on their side and lose
their curvature, and the Hessian of the other rows has no curvature along it: so it is looked for among
the directions without curvature, and confirmed by its margins.
"""

import itertools
from collections.abc import Callable

import numpy as np

from ..cpu.elementwise import probabilities
from ..losses import BCE, CROSS_ENTROPY, CoupledLoss, Loss
from ..sources.protocol import Source
from .metric import Metric
from .per_row import (
    Parameters,
    linear_predictions,
    margins_of,
    raw_predictions,
    row_curvatures,
)

#: A row with a margin above this has a curvature of at most 8e-7.
FAR = 14.0
#: Margins that fall by less than this part of the largest rise fall by rounding alone.
_ROUNDING = 1e-10
#: Columns that are tried one by one as such a direction.
_COLUMNS = 32
#: Up to this many classes every group of them is set against the others; beyond, every single class.
_GROUPED = 5


def separated(source: Source, loss: Loss | CoupledLoss, at: Parameters) -> bool:
    """Whether these parameters classify every row right without an offset: a proof of separability."""
    raw = linear_predictions(source, at)
    if not loss.coupled:
        return bool(margins_of(source, raw[0]).min() > 0)
    y, weight = source.y, source.weight
    own = np.take_along_axis(raw, y.astype(np.intp), axis=0)
    right = (raw < own).sum(axis=0) == len(raw) - 1
    counts = weight > 0 if len(weight) else slice(None)
    return bool(right[counts].all())


def group_separated(
    source: Source, at: Parameters, metric_of: Callable[[np.ndarray], Metric], fit_intercept: bool
) -> bool:
    """Whether a hyperplane separates some rows of a group of classes from the other classes.

    Parameters
    ----------
    source : Source
        y holds class indices, (1, n).
    at : (ndarray (k, d), ndarray (k,))
    metric_of : callable
        The metric of the curvatures of rows, (n,).
    fit_intercept : bool
    """
    shares, y, classes = raw_predictions(source, at), source.y[0], range(source.k)
    probabilities(CROSS_ENTROPY)(shares.T)
    coefs, intercepts = at
    sizes = range(1, len(classes) // 2 + 1 if len(classes) <= _GROUPED else 2)
    for group in (g for size in sizes for g in itertools.combinations(classes, size)):
        others = [c for c in classes if c not in group]
        sides = signed_labels(source, np.isin(y, group))
        values = np.log(shares[list(group)].sum(axis=0)) - np.log(shares[others].sum(axis=0))
        values *= sides
        if not values.max() > FAR:
            continue
        beyond = values > FAR
        near = row_curvatures(source, BCE, values, True)  # of one group against the others
        near[beyond] = 0.0
        coef = coefs[list(group)].mean(axis=0) - coefs[others].mean(axis=0)
        if near.sum() > 0:
            metric = metric_of(near)
            found = metric.whiten.shape[1] < source.d and (
                separating_direction(source, sides, metric, coef, fit_intercept) is not None
            )
        else:
            intercept = intercepts[list(group)].mean() - intercepts[others].mean()
            found = _separates(source, sides, coef, intercept)
        if found:
            return True
    return False


def signed_labels(source: Source, positive: np.ndarray) -> np.ndarray:
    """1 for these rows, −1 for the others, 0 without weight."""
    sides, weight = np.where(positive, 1.0, -1.0), source.weight
    return sides * (weight > 0) if len(weight) else sides


def separating_direction(
    source: Source, sides: np.ndarray, metric: Metric, coef: np.ndarray, fit_intercept: bool
) -> np.ndarray | None:
    """A direction (d,) without curvature that raises some margins and lowers none; None if none is found.

    Candidates are the coefficients and single columns, projected on the directions without curvature.
    """
    d = source.d
    whiten = metric.whiten / metric.scale[:, None]
    flat = np.eye(d) - whiten @ (whiten.T @ metric.hessian)
    along = flat @ (coef / metric.scale)
    columns = np.argsort(-np.abs(along))[:_COLUMNS]
    for candidate in [along, *(flat[:, j] for j in columns if flat[j, j] > 0.1)]:
        direction = candidate * metric.scale
        level = -(metric.center @ direction) * fit_intercept
        if _separates(source, sides, direction, level):
            return np.asarray(direction)
    return None


def _separates(source: Source, sides: np.ndarray, coef: np.ndarray, intercept: float) -> bool:
    """Whether this direction or its opposite raises some margins and lowers none."""
    rises = sides * source.predictions(coef[None], np.array([intercept]))
    back, ahead = -rises.min(), rises.max()
    return bool(max(back, ahead) > 0 and min(back, ahead) <= _ROUNDING * max(back, ahead))
