"""Separable labels: parameters that prove it, directions without curvature, and groups of classes."""

import numpy as np
import pytest

from fastgd.losses import BCE, CROSS_ENTROPY
from fastgd.solvers.metric import full_metric
from fastgd.solvers.per_row import margins_at, raw_predictions, row_curvatures
from fastgd.solvers.separability import (
    FAR,
    group_separated,
    separated,
    separating_direction,
    signed_labels,
)
from fastgd.sources.dense import DenseRows

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 2))
#: Right in every row, and wrong in every second one.
RIGHT = X[:, 0] > 0
MIXED = RIGHT ^ (np.arange(60) % 2 > 0)


def rows(y, weight=None, k=1, x=X):
    return DenseRows(x, np.array([y], float), weight, np.float64, 1, k)


def along(direction, level=0.0):
    """Parameters of one output that grow along a direction."""
    return np.array([direction], float), np.array([level])


def test_margins_are_positive_where_the_label_is_right():
    weight = np.where(np.arange(60) < 5, 0.0, 2.0)
    found = margins_at(rows(MIXED, weight), along([1.0, 0.0]))
    wanted = np.where(MIXED, X[:, 0], -X[:, 0])
    np.testing.assert_allclose(found[5:], wanted[5:], rtol=1e-14)
    assert (found[:5] == 1).all()


def test_two_labels_are_separated_where_every_row_of_weight_is_right():
    at = along([1.0, 0.0])
    assert separated(rows(RIGHT), BCE, at)
    assert not separated(rows(MIXED), BCE, at)
    assert not separated(rows(RIGHT), BCE, along([-1.0, 0.0]))
    assert separated(rows(MIXED, (MIXED == RIGHT).astype(float)), BCE, at)


def test_classes_are_separated_where_every_row_of_weight_is_right():
    at = RNG.standard_normal((3, 2)), RNG.standard_normal(3)
    best = (X @ at[0].T + at[1]).argmax(axis=1)
    wrong = np.where(np.arange(60) < 5, (best + 1) % 3, best)
    assert separated(rows(best, k=3), CROSS_ENTROPY, at)
    assert not separated(rows(wrong, k=3), CROSS_ENTROPY, at)
    assert separated(rows(wrong, (np.arange(60) >= 5).astype(float), k=3), CROSS_ENTROPY, at)
    np.testing.assert_allclose(
        raw_predictions(rows(best, k=3), at), at[0] @ X.T + at[1][:, None], rtol=1e-12
    )


@pytest.mark.parametrize("clean", [True, False])
def test_a_direction_is_found_that_lowers_no_margin(clean):
    """The second column is zero in most rows; in the others its sign is the label, or not in one row."""
    x = np.column_stack([X[:, 0], np.where(np.arange(60) < 40, 0.0, X[:, 1])])
    y = np.where(x[:, 1] == 0, MIXED, x[:, 1] > 0)
    if not clean:
        y[-1] = not y[-1]
    source, at = rows(y, x=x), along([0.1, 1e4])
    margins = margins_at(source, at)
    beyond = np.abs(margins) > FAR
    near = row_curvatures(source, BCE, margins, True)
    near[beyond] = 0.0
    metric = full_metric(source, 1.0, 0.0, True, near)
    assert metric.whiten.shape[1] == 1  # no curvature along the second column
    sides = signed_labels(source, y == 1)
    direction = separating_direction(source, sides, metric, at[0][0], True)
    if clean:
        assert direction is not None
        assert abs(direction[0]) <= 1e-9 * abs(direction[1])
    else:
        assert direction is None


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("undecided", [0, 20])
def test_a_group_of_classes_is_set_against_the_others(clean, undecided):
    """Classes 0 and 1 are on one side of the first column, 2 and 3 on the other; or not in one row.

    Rows where the column is zero are on neither side.
    """
    column = np.where(RIGHT, 1.0, -1.0) * (1 + np.abs(X[:, 0]))
    column[:undecided] = 0.0
    y = RNG.integers(0, 4, 60)
    y[undecided:] = (2 * RIGHT + y % 2)[undecided:]
    if not clean:
        y[-1] = (y[-1] + 2) % 4
    source = rows(y, k=4, x=np.column_stack([column, X[:, 1]]))
    coef = np.array([[-100.0, 0.0], [-100.0, 0.0], [100.0, 0.0], [100.0, 0.0]])
    found = group_separated(
        source,
        (coef, np.zeros(4)),
        lambda some, near: full_metric(some, 1.0, 0.0, True, near),
        True,
    )
    assert found is clean


@pytest.mark.parametrize("parted", [False, True])
def test_many_rows_are_tried_by_a_part_first(parted, monkeypatch):
    """A part with curvature in all directions ends the search without a metric of all rows."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3000, 2)), rng.integers(0, 3, 3000)
    x[:, 0] += 60 * (y == 2) - 30  # the third class is parted from the others
    if not parted:
        y[::5] = rng.integers(0, 3, 600)
    source, seen = rows(y, k=3, x=x), []
    coef = np.array([[-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])

    def metric_of(some, near):
        seen.append(some.n)
        return full_metric(some, 1.0, 0.0, True, near)

    assert group_separated(source, (coef, np.zeros(3)), metric_of, True) is parted
    assert max(seen) < 3000
