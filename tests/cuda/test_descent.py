"""Many epochs in one launch, against the reference and the loop of the CPU."""

import numpy as np
import oracles
import pytest

from fastgd import reference
from fastgd.losses import LOSSES
from fastgd.settings import CONVERGED, NOT_FINITE, RUNNING, Settings
from fastgd.solvers.batch import BatchDescent
from fastgd.solvers.on_device import DeviceDescent
from fastgd.sources.dense import DenseRows
from fastgd.sources.device import DeviceRows


def descent_of(
    problem, loss_name, epochs, kind=DeviceDescent, *, lr=0.1, l2=0.0, tol=0.0, learn=True,
    by_columns=False, mean=True,
):  # fmt: skip
    x, y, weight, coef, intercept = problem
    rows = DeviceRows if kind is DeviceDescent else DenseRows
    mass = len(y) * (len(x) if weight is None else weight.sum(dtype=float))
    scale = 1 / mass if mean else 1.0
    settings = Settings(lr=lr, l2=l2, scale=scale, row_scale=scale, fit_intercept=learn, tol=tol)
    source = rows(np.asfortranarray(x) if by_columns else x, y, weight, x.dtype, 1)
    descent = kind(
        source, LOSSES[loss_name], settings, coef.astype(float), intercept.astype(float), epochs,
        True, False,
    )  # fmt: skip
    descent._switch = epochs  # no statistics
    return descent


def problem_of(n, d, loss_name, k=1, weighted=False, dtype=np.float64):
    x, y, weight, coef, intercept = oracles.problem(n, d, loss_name, dtype=dtype)
    y = np.stack([np.roll(y, c) for c in range(k)])
    coef = np.stack([coef * (-1) ** c for c in range(k)])
    return x, y, weight if weighted else None, coef, np.full(k, intercept)


@pytest.mark.parametrize("by_columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("options", [{}, {"l2": 0.2}, {"learn": False}], ids=str)
def test_the_loop_is_batch_descent(loss_name, dtype, close, by_columns, options):
    x, y, weight, coef, intercept = problem = problem_of(70, 2, loss_name, 1, True, dtype)
    descent = descent_of(problem, loss_name, 4, by_columns=by_columns, **options)
    assert descent.run(1) == RUNNING
    assert descent.run(4) == RUNNING
    options = {"fit_intercept" if name == "learn" else name: v for name, v in options.items()}
    w, b, costs, path = reference.batch_gd(
        x.tolist(), y[0].tolist(), coef[0].tolist(), float(intercept[0]), lr=0.1, epochs=4,
        loss=LOSSES[loss_name], weight=weight.tolist(), **options,
    )  # fmt: skip
    close(descent.coef[0], w)
    close(descent.intercept[0], b)
    close(descent.costs[:4], costs)
    close(descent.path[:4, 0], path)
    final = reference.cost(
        x.tolist(), y[0].tolist(), w, b, LOSSES[loss_name], weight.tolist()
    )  # fmt: skip
    close(descent._state[1], final)


def both(problem, loss_name, epochs, stop, **options):
    runs = [
        descent_of(problem, loss_name, epochs, kind, **options)
        for kind in (DeviceDescent, BatchDescent)
    ]
    return runs, [run.run(stop) for run in runs]


def assert_alike(runs, rtol=1e-10):
    found, wanted = runs
    assert found.epoch == wanted.epoch
    for name in ("coef", "intercept", "past"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=rtol)
    reached = slice(0, found.epoch)
    np.testing.assert_allclose(found.costs[reached], wanted.costs[reached], rtol=rtol)
    np.testing.assert_allclose(found.path[reached], wanted.path[reached], rtol=rtol)


def test_several_outputs(loss_name):
    runs, statuses = both(problem_of(33, 3, loss_name, 3), loss_name, 3, 3)
    assert statuses == [RUNNING, RUNNING]
    assert_alike(runs)


def test_it_stops_at_a_small_gradient():
    runs, statuses = both(problem_of(33, 2, "mse"), "mse", 50, 50, tol=0.05)
    assert statuses == [CONVERGED, CONVERGED]
    assert 2 < runs[0].epoch < 50
    assert_alike(runs)


@pytest.mark.filterwarnings("ignore:.*(invalid value|overflow):RuntimeWarning")
def test_it_goes_back_to_the_last_finite_cost():
    problem = problem_of(33, 2, "mse", dtype=np.float32)
    runs, statuses = both(problem, "mse", 60, 60, lr=1e6)
    assert statuses == [NOT_FINITE, NOT_FINITE]
    assert 1 < runs[0].epoch < 20
    assert np.isfinite(runs[0].costs[: runs[0].epoch]).all()
    assert_alike(runs, rtol=1e-3)


def test_chunks_end_where_one_call_ends():
    """All state is in the caller's arrays: calls that follow each other give the same bits."""
    problem = problem_of(33, 2, "bce", dtype=np.float32)
    whole, parts = (descent_of(problem, "bce", 5) for _ in range(2))
    whole.run(5)
    for stop in (1, 2, 5):
        parts.run(stop)
    np.testing.assert_array_equal(parts.coef, whole.coef)
    np.testing.assert_array_equal(parts.costs[:5], whole.costs[:5])
    assert parts.cost() == whole.cost()


def test_its_chunks_are_longer_than_those_of_a_core():
    """But none takes minutes, as millions of epochs of 33 rows would: they are barriers only."""
    small = problem_of(33, 2, "bce")
    found, wanted = (descent_of(small, "bce", 5, kind) for kind in (DeviceDescent, BatchDescent))
    assert found.chunk == 2_000 < wanted.chunk
    large = problem_of(5_000, 500, "bce")
    found, wanted = (descent_of(large, "bce", 5, kind) for kind in (DeviceDescent, BatchDescent))
    assert found.chunk // 100 == wanted.chunk
