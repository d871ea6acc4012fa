"""Labels that a hyperplane separates, in all rows or in some: then no finite optimum exists.

Labels are separable if a direction of the parameters raises the margin of some rows and lowers that of
none (Albert and Anderson, 1984): along it the cost falls for ever. Where it raises all margins, the
margins themselves become positive. Else the rows whose margin it raises end far on their side and lose
their curvature, and the Hessian of the other rows has no curvature along it: so it is looked for among
the directions without curvature, and confirmed by its margins.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

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
#: The rows of a part for each column.
_ROWS_A_COLUMN = 100


def separated(source: Source, loss: Loss | CoupledLoss, at: Parameters) -> bool:
    """Whether these parameters classify every row right without an offset: a proof of separability."""
    return all(source.look(partial(_are_right, loss, at)))


def _are_right(loss: Loss | CoupledLoss, at: Parameters, rows: Source) -> bool:
    """Whether these parameters classify all rows in memory right."""
    raw = linear_predictions(rows, at)
    if not loss.coupled:
        return bool(margins_of(rows, raw[0]).min() > 0)
    y, weight = rows.y, rows.weight
    own = np.take_along_axis(raw, y.astype(np.intp), axis=0)
    right = (raw < own).sum(axis=0) == len(raw) - 1
    counts = weight > 0 if len(weight) else slice(None)
    return bool(right[counts].all())


def group_separated(
    source: Source,
    at: Parameters,
    metric_of: Callable[[Source, np.ndarray], Metric],
    fit_intercept: bool,
) -> bool:
    """Whether a hyperplane separates some rows of a group of classes from the other classes.

    Parameters
    ----------
    source : Source
        y holds class indices, (1, n).
    at : (ndarray (k, d), ndarray (k,))
    metric_of : callable
        The metric of the curvatures (n,) of the rows of a source.
    fit_intercept : bool
    """
    classes = range(source.k)
    sizes = range(1, len(classes) // 2 + 1 if len(classes) <= _GROUPED else 2)
    groups = [g for size in sizes for g in itertools.combinations(classes, size)]
    every = source.n // (_ROWS_A_COLUMN * source.d)
    if every > 1:  # where some rows have curvature in all directions, so have all rows
        some = source.subset(every)[0]
        shares = _shares(some, at)
        groups = [g for g in groups if not _is_curved(some, metric_of, _near(some, shares, g)[1])]
        if not groups:
            return False
    shares = _shares(source, at)
    for group in groups:
        sides, near, far = _near(source, shares, group)
        if not far:
            continue
        mine = np.isin(classes, group)
        coef, intercept = (p[mine].mean(axis=0) - p[~mine].mean(axis=0) for p in at)
        if near.sum() > 0:
            metric = metric_of(source, near)
            found = metric.whiten.shape[1] < source.d and (
                separating_direction(source, sides, metric, coef, fit_intercept) is not None
            )
        else:
            found = _separates(source, sides, coef, intercept)
        if found:
            return True
    return False


def _shares(source: Source, at: Parameters) -> np.ndarray:
    """The probabilities of the classes, (k, n)."""
    shares = raw_predictions(source, at)
    probabilities(CROSS_ENTROPY)(shares.T)
    return shares


def _near(source: Source, shares: np.ndarray, group: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """The sides of the labels of a group against the others, their curvature, and whether a row is far.

    Rows that are far on their side have a curvature of 0.
    """
    mine = np.isin(range(source.k), group)
    sides = signed_labels(source, np.isin(source.y[0], group))
    margins = np.log(shares[mine].sum(axis=0)) - np.log(shares[~mine].sum(axis=0))
    margins *= sides
    beyond = margins > FAR
    near = row_curvatures(source, BCE, margins, True)
    near[beyond] = 0.0
    return sides, near, bool(beyond.any())


def _is_curved(source: Source, metric_of: Any, near: np.ndarray) -> bool:
    """Whether rows with these curvatures have some in all directions."""
    return near.sum() > 0 and metric_of(source, near).whiten.shape[1] == source.d


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
