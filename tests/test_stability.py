"""The largest stable step against the eigenvalues of the whole Hessian."""

import numpy as np
import pytest

from fastgd.losses import LOSSES, Loss
from fastgd.settings import Settings
from fastgd.solvers.step_size import largest_stable_lr
from fastgd.sources.dense import DenseRows


def settings(scale, l2=0.0, fit_intercept=True, row_scale=None):
    return Settings(
        lr=0.0, l2=l2, scale=scale, row_scale=row_scale or scale, fit_intercept=fit_intercept, tol=0
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e6])
def test_batch(fit_intercept, weighted, size):
    rng = np.random.default_rng(0)
    x = size * (rng.standard_normal((50, 4)) + 1)
    weight = rng.random(50) if weighted else None
    source = DenseRows(x, np.zeros((1, 50)), weight, np.float64, 1)
    ones = np.ones((50, 1)) if fit_intercept else np.zeros((50, 0))
    wide = np.hstack([x, ones])
    w = np.ones(50) if weight is None else weight
    for loss, curvature in (("mse", 2.0), ("bce", 0.25)):
        hessian = curvature * 0.02 * wide.T @ (wide * w[:, None])
        expected = 2 / (np.linalg.eigvalsh(hessian)[-1] + 0.1)
        got = largest_stable_lr(source, LOSSES[loss], settings(0.02, 0.1, fit_intercept))
        assert got == pytest.approx(expected, rel=1e-5)


def test_stochastic_takes_the_largest_row():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    source = DenseRows(x, np.zeros((1, 2)), None, np.float64, 1)
    mean = settings(0.5, row_scale=1.0)
    assert largest_stable_lr(source, LOSSES["mse"], mean, 1) == pytest.approx(2 / (2 * 26))
    assert largest_stable_lr(source, LOSSES["mse"], settings(1.0), 2) == pytest.approx(1 / 52)


def test_what_has_no_bound():
    zeros = DenseRows(np.zeros((3, 2)), np.zeros((1, 3)), None, np.float64, 1)
    assert largest_stable_lr(zeros, LOSSES["mse"], settings(1.0, fit_intercept=False)) == np.inf
    steep = Loss("steep", lambda z, y: z, lambda z, y: 1.0)
    assert largest_stable_lr(zeros, steep, settings(1.0)) is None
    holes = DenseRows(np.full((3, 2), np.nan), np.zeros((1, 3)), None, np.float64, 1)
    with np.errstate(invalid="ignore"):
        assert largest_stable_lr(holes, LOSSES["mse"], settings(1.0)) is None
