"""Softmax in the curvature of all classes: that curvature, and what ill-conditioned data needs it for."""

import csv
from importlib.resources import files

import numpy as np
import pytest
import torch
from torch.nn import functional

import fastgd
from fastgd.losses import CROSS_ENTROPY
from fastgd.solvers import joint, proximal
from fastgd.solvers.metric import full_metric
from fastgd.sources.dense import DenseRows


def penguins():
    """In millimetres and grams, with four groups to tell apart."""
    with (files("fastgd") / "datasets" / "penguins.csv").open() as lines:
        rows = list(csv.reader(lines))[1:]
    x = np.array([[float(v) for v in row[:4]] for row in rows])
    return x, 2 * np.array([row[4] == "male" for row in rows]) + (x[:, 0] > 200)


def made(kind, n=150, d=5, k=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    if kind == "correlated":
        x = 0.1 * x + rng.standard_normal((n, 1))
    y = (x @ rng.standard_normal((d, k)) + rng.gumbel(size=(n, k))).argmax(axis=1)
    y[:k] = range(k)
    if kind == "raw":
        x = x * np.logspace(-3, 3, d) + np.logspace(2, -1, d)
    return x, y


def slopes(fit, x, y, weight=None, l2=0.0):
    """The gradient of cost and l2, and the sizes of what it is summed from, in extended precision."""
    x, weight = x.astype(np.longdouble), np.ones(len(x)) if weight is None else weight
    z = x @ fit.coef.T.astype(np.longdouble) + fit.intercept
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p *= weight[:, None] / weight.sum()
    return p.T @ x + l2 * fit.coef, np.abs(p).T @ np.abs(x), p.sum(axis=0)


def violation(fit, x, y, l1, l2=0.0, weight=None, fit_intercept=True):
    """How far the smallest slope is from zero, relatively to what makes it up."""
    by_coef, size, by_intercept = slopes(fit, x, y, weight, l2)
    at_zero = np.maximum(np.abs(by_coef) - l1, 0)
    slope = np.where(fit.coef == 0, at_zero, by_coef + l1 * np.sign(fit.coef))
    by_column = np.abs(slope).max(axis=0) / size.max(axis=0)
    return max(by_column.max(), np.abs(by_intercept).max() * fit_intercept)


@pytest.mark.parametrize("l1", [1e-3, 1e-2])
def test_l1_in_raw_units(l1):
    x, y = penguins()
    fit = fastgd.fit_logistic(x, y, l1=l1)
    assert fit.converged
    assert fit.method == "proximal-newton"
    assert fit.n_epochs < 30
    assert violation(fit, x, y, l1) < 1e-12


@pytest.mark.parametrize("kind", ["plain", "correlated", "raw"])
@pytest.mark.parametrize(("l1", "l2"), [(1e-2, 0.0), (1e-3, 0.0), (1e-3, 1e-2)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_l1_meets_the_conditions_of_an_optimum(kind, l1, l2, fit_intercept):
    x, y = made(kind)
    weight = np.random.default_rng(1).random(len(x)) + 0.1
    options = {"l1": l1, "l2": l2, "fit_intercept": fit_intercept}
    fit = fastgd.fit_logistic(x, y, sample_weight=weight, keep_path=True, **options)
    assert fit.converged
    assert violation(fit, x, y, weight=weight, **options) < 1e-11
    np.testing.assert_array_equal(fit.path[-1], fit.coef)


def test_l1_without_the_joint_curvature_ends_at_the_same_optimum(monkeypatch):
    x, y = made("plain", k=3)  # of an even number half may move up and half down
    near = fastgd.fit_logistic(x, y, l1=1e-2)
    monkeypatch.setattr(proximal, "is_joint", lambda source: False)
    fit = fastgd.fit_logistic(x, y, l1=1e-2)
    assert fit.method == "proximal-accelerated"
    assert fit.converged
    np.testing.assert_allclose(fit.coef, near.coef, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_nine_rows_of_far_columns_with_l2(seed):
    rng, y = np.random.default_rng(seed), np.arange(9) % 3
    far = np.array([1e2, 1e3, 1e5, 1e7])
    x = rng.standard_normal((9, 4)) * [1e-3, 1, 1e3, 1e5]
    fit = fastgd.fit_logistic(x + far, y, l2=1e-3)
    near = fastgd.fit_logistic(x, y, l2=1e-3)
    assert fit.converged
    assert near.converged
    assert violation(near, x, y, 0.0, l2=1e-3) < 1e-9
    assert fit.cost == pytest.approx(near.cost, rel=1e-7)


def test_badly_scaled_columns_take_few_passes():
    x, y = made("raw", n=2000, d=6, k=5)
    fit = fastgd.fit_logistic(x, y)
    assert fit.converged
    assert fit.n_epochs < 30
    assert violation(fit, x, y, 0.0) < 1e-11


def test_the_coefficients_stay_nearest_to_the_start():
    x, y = made("plain")
    start = np.random.default_rng(2).standard_normal((4, 5))
    fit = fastgd.fit_logistic(x, y, coef_init=start)
    np.testing.assert_allclose(fit.coef.sum(axis=0), start.sum(axis=0), atol=1e-12)
    zero = fastgd.fit_logistic(x, y)
    apart = fit.coef - fit.coef.mean(axis=0)
    np.testing.assert_allclose(apart, zero.coef, rtol=1e-9, atol=1e-11)
    shrunk = fastgd.fit_logistic(x, y, coef_init=start, l2=1e-3)
    np.testing.assert_allclose(shrunk.coef.sum(axis=0), 0, atol=1e-9)


def objective(fit, l2=1e-2):
    return fit.cost + l2 / 2 * float((fit.coef**2).sum())


@pytest.mark.parametrize("tol", [1e-3, 1e-7])
def test_tol_is_relative_to_the_start(tol):
    x, y = penguins()
    rough, fine = fastgd.fit_logistic(x, y, l2=1e-2, tol=tol), fastgd.fit_logistic(x, y, l2=1e-2)
    assert rough.converged
    assert rough.n_epochs < fine.n_epochs
    assert objective(fine) <= objective(rough) + 1e-12


def test_powers_without_intercept():
    rng, t = np.random.default_rng(1), np.linspace(0, 20, 120)
    x = np.column_stack([((1950.0 + np.arange(120)) / 1000) ** p for p in range(4)])
    y = np.digitize(np.sin(t) + rng.standard_normal(120), [-0.5, 0.5])
    fit = fastgd.fit_logistic(x, y, fit_intercept=False)
    assert fit.converged
    assert violation(fit, x, y, 0.0, fit_intercept=False) < 1e-10


# --- the curvature -----------------------------------------------------------------------------------


def curvature(x, y, weight, coef, intercept, l2):
    """The second derivatives of the summed cost and l2 by autograd, (k, 1+d, k, 1+d)."""
    x, y, weight = torch.tensor(x), torch.tensor(y), torch.tensor(weight)

    def cost(both):
        losses = functional.cross_entropy(x @ both[:, 1:].T + both[:, 0], y, reduction="none")
        return (weight * losses).sum() + l2 / 2 * (both[:, 1:] ** 2).sum()

    both = torch.tensor(np.column_stack([intercept, coef]))
    return torch.autograd.functional.hessian(cost, both).numpy()


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_it_is_that_of_autograd(l2):
    x, y = made("plain", n=40, d=3, k=4)
    rng = np.random.default_rng(5)
    weight, coef, intercept = rng.random(40), rng.standard_normal((4, 3)), rng.standard_normal(4)
    source = DenseRows(x, y[None].astype(float), weight, np.float64, 1, 4)
    bound = full_metric(source, 0.5, l2, True)
    hessian = joint.joint_hessian(CROSS_ENTROPY, source, 1.0, l2, (coef, intercept), bound)
    level = intercept + coef @ bound.center
    wanted = curvature(x - bound.center, y, weight, coef, level, l2)
    unit = np.append(1.0, bound.scale)
    wanted *= unit[:, None, None] * unit
    np.testing.assert_allclose(hessian, wanted, atol=1e-13)
    full = hessian.reshape(16, 16)
    metric = joint.JointMetric(bound, hessian, common=l2 > 0)
    assert metric.whiten.shape == (16, 15 if l2 else 12)
    inner = metric.whiten.T @ full @ metric.whiten
    np.testing.assert_allclose(inner, np.eye(len(inner)), atol=1e-12)
    move, level_move = metric.to_parameters(np.ones(len(inner)))
    assert metric.norm(move, level_move) == pytest.approx(np.sqrt(len(inner)))
    assert level_move.sum() == pytest.approx(0, abs=1e-12)
    follows = joint.PenalisedMetric(bound, hessian)
    assert follows.norm(move, level_move) == pytest.approx(np.sqrt(len(inner)))
    slope = rng.standard_normal(4)
    slope -= slope.mean()
    best = follows.level_step(move, slope)
    at_best = slope + full.reshape(4, 4, 4, 4)[:, 0, :, 0] @ best
    at_best += follows.mixed @ (move / bound.scale).ravel()
    np.testing.assert_allclose(at_best, 0, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_contrasts_are_orthonormal_and_sum_to_zero(k):
    columns = joint.contrasts(k)
    np.testing.assert_allclose(columns.T @ columns, np.eye(k - 1), atol=1e-15)
    np.testing.assert_allclose(columns.sum(axis=0), 0, atol=1e-15)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["plain", "correlated", "raw"])
def test_each_class_alone_ends_at_the_same_optimum(kind, fit_intercept, monkeypatch):
    x, y = made(kind)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    given = dict(l2=1e-6, sample_weight=weight, fit_intercept=fit_intercept)
    expected = fastgd.fit_logistic(x, y, **given)
    monkeypatch.setattr(joint, "is_joint", lambda source: False)
    seen, made_metric = [], joint.ClassMetric
    monkeypatch.setattr(joint, "ClassMetric", lambda *of: seen.append(of) or made_metric(*of))
    found = fastgd.fit_logistic(x, y, **given)
    assert seen
    assert found.converged
    assert found.cost == pytest.approx(expected.cost, rel=1e-9)
    # What is common to all classes has the curvature of l2 alone.
    apart = [(fit.coef - fit.coef.mean(axis=0)) * x.std(axis=0) for fit in (found, expected)]
    np.testing.assert_allclose(*apart, rtol=1e-5, atol=1e-6)
    stopped = fastgd.fit_logistic(x, y, **given, callback=lambda fit: fit.n_epochs == 9)
    resumed = fastgd.fit_logistic(x, y, **given, resume=stopped)
    assert np.array_equal(resumed.coef, found.coef)


def test_the_hessians_of_classes_are_blocks_of_that_of_all():
    x, y = made("raw")
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    source = DenseRows(x, y[None].astype(float), weight, np.float64, 1, 4)
    bound = full_metric(source, 0.5, 0.3, True)
    rng = np.random.default_rng(2)
    at = rng.standard_normal((4, x.shape[1])) / x.std(axis=0), rng.standard_normal(4)
    how = CROSS_ENTROPY, source, 0.01, 0.3, at, bound
    alone, together = joint.class_hessians(*how), joint.joint_hessian(*how)
    for c in range(4):
        np.testing.assert_allclose(alone[c], together[c, :, c], rtol=1e-12, atol=1e-15)
    metric = joint.ClassMetric(bound, alone)
    u = np.random.default_rng(3).standard_normal((4, 6))
    coef, level = metric.to_parameters(u)
    np.testing.assert_allclose(coef.sum(axis=0), 0, atol=1e-12)
    slopes = np.random.default_rng(4).standard_normal((4, 6))
    by_u = metric.to_gradient(slopes[:, :-1], slopes[:, -1])
    assert np.vdot(by_u, u) == pytest.approx(np.vdot(slopes[:, :-1], coef) + slopes[:, -1] @ level)
