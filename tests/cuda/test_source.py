"""Rows on a GPU give the numbers of rows on the host, to the same descents."""

import numpy as np
import oracles
import pytest

from fastgd.cuda import driver
from fastgd.errors import InputError
from fastgd.losses import LOSSES
from fastgd.settings import Settings
from fastgd.solvers.batch import BatchDescent
from fastgd.solvers.interior import InteriorDescent
from fastgd.solvers.step_size import largest_stable_lr
from fastgd.solvers.whitened import AutomaticDescent
from fastgd.sources.dense import DenseRows
from fastgd.sources.device import DeviceMatrix, DeviceRows

CLOSE = {"rtol": 1e-11, "atol": 1e-11}

LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "float32 F": lambda x: np.asfortranarray(x.astype(np.float32)),
    "int8": lambda x: x.astype(np.int8),
}
every_layout = pytest.mark.parametrize("lay", LAYOUTS.values(), ids=LAYOUTS)
#: On the host, to be moved; or on the GPU already.
everywhere = pytest.mark.parametrize("move", [False, True], ids=["host", "device"])


def whole_numbers(n, d, k=1):
    """x that every dtype can hold, y (k, n) and parameters."""
    _, y, weight, coef, intercept = oracles.problem(n, d, "bce")
    x = np.random.default_rng(1).integers(0, 9, (n, d)).astype(float)
    y = np.stack([np.roll(y, c) for c in range(k)])
    return x, y, weight, np.stack([coef] * k), np.full(k, intercept)


def to_device(x):
    """As the library of the caller has it on the GPU; a view that is not contiguous stays one."""
    if driver.SIMULATED:
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        return FakeCUDAArray(x)
    if not (x.flags.c_contiguous or x.flags.f_contiguous):
        return driver.cuda.to_device(x[::-1, ::-1].copy())[::-1, ::-1]
    return driver.cuda.to_device(x)


@every_layout
@everywhere
def test_every_layout_gives_the_numbers_of_the_cpu(lay, move):
    x, y, weight, coef, intercept = whole_numbers(20, 3, 2)
    weight = weight if move else None
    laid = lay(x)
    given = (to_device(laid), to_device(y)) if move else (laid, y)
    found, wanted = (
        DeviceRows(*given, weight, np.float64, 1),
        DenseRows(laid, y, weight, np.float64, 1),
    )
    assert (found.n, found.d, found.k, found.dtype) == (20, 3, 2, np.float64)
    for loss in (LOSSES[name] for name in ("mse", "bce", "huber", "poisson")):
        np.testing.assert_allclose(
            found.totals(loss, coef, intercept), wanted.totals(loss, coef, intercept), **CLOSE
        )
    center, scale, y_center = x.mean(axis=0), np.array([0.5, 2.0, 1.0]), np.array([0.3, 0.1])
    at = center, scale, y_center
    np.testing.assert_allclose(found.moments(*at), wanted.moments(*at), **CLOSE)
    at = coef[:1], intercept[:1]
    np.testing.assert_allclose(found.predictions(*at), wanted.predictions(*at), **CLOSE)
    np.testing.assert_array_equal(found.extremes(), wanted.extremes())
    np.testing.assert_array_equal(found.sample(), wanted.sample())
    np.testing.assert_array_equal(found.y, wanted.y)
    np.testing.assert_array_equal(found.weight, wanted.weight)
    for centred in (True, False):
        for a, b in zip(found.column_moments(centred), wanted.column_moments(centred), strict=True):
            np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray])
def test_a_subset_is_that_of_the_cpu(lay, weighted):
    x, y, weight, coef, intercept = whole_numbers(45, 3)
    weight = weight if weighted else None
    sources = [Rows(lay(x), y, weight, np.float64, 1) for Rows in (DeviceRows, DenseRows)]
    (found, share), (wanted, wanted_share) = (rows.subset(3, 4) for rows in sources)
    assert (found.n, share) == (wanted.n, pytest.approx(wanted_share))
    at = LOSSES["mse"], coef, intercept
    np.testing.assert_allclose(found.totals(*at), wanted.totals(*at), **CLOSE)


@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray])
def test_visited_rows_and_other_targets_are_those_of_the_cpu(lay, weighted):
    x, y, weight, coef, intercept = whole_numbers(20, 3)
    sources = [
        Rows(lay(x), y, weight if weighted else None, np.float64, 1)
        for Rows in (DeviceRows, DenseRows)
    ]
    for order in (np.empty(0, np.int32), np.random.default_rng(0).permutation(20)):
        rows = []
        for visit in (source.visit(order, 4, 9) for source in sources):
            chosen = visit.order if len(visit.order) else np.arange(len(visit.x))
            chosen = chosen[visit.first : visit.last]
            rows.append((visit.x[chosen], visit.y[:, chosen]))
            if weighted:
                rows[-1] += (visit.weight[chosen],)
        for found, wanted in zip(*rows, strict=True):
            np.testing.assert_array_equal(found, wanted)
    others = [source.with_targets(1 - y, np.float64) for source in sources]
    found, wanted = (other.totals(LOSSES["mse"], coef, intercept) for other in others)
    np.testing.assert_allclose(found, wanted, **CLOSE)
    assert sources[0].work("pass") == sources[1].work("pass")


@pytest.mark.parametrize("d", [1, 3])
def test_costs_at_many_coefficients(d):
    x, y, weight, coef, _ = whole_numbers(45, d)
    coefs, levels = np.concatenate([coef, -coef, 0 * coef]), np.array([0.1, 0.2, 0.3])
    found, wanted = (
        Rows(x, y, weight, np.float64, 1).costs(LOSSES["bce"], coefs, levels)
        for Rows in (DeviceRows, DenseRows)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_moments_of_several_strips():
    """19 columns are three strips in the simulator, and 40 rows three parts."""
    x, y, weight, *_ = whole_numbers(40, 17)
    at = x.mean(axis=0), np.linspace(0.5, 2, 17), np.array([0.3])
    found, wanted = (
        Rows(x, y, weight, np.float64, 1).moments(*at) for Rows in (DeviceRows, DenseRows)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(found, found.T)


def test_rows_come_to_the_host_as_numpy():
    x = whole_numbers(45, 3)[0].astype(np.float32)
    matrix = DeviceMatrix(to_device(np.asfortranarray(x)))
    assert (matrix.shape, matrix.dtype, len(matrix), matrix.size) == ((45, 3), x.dtype, 45, 135)
    for wanted in (slice(None), slice(3, 9), slice(None, None, 7), slice(40, 60), slice(9, 3)):
        got = matrix[wanted]
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, x[wanted])


def test_one_column_of_a_table():
    """A vector whose elements don't lie side by side."""
    table = whole_numbers(45, 3)[0]
    column = to_device(table)[:, 1]
    matrix = DeviceMatrix(column)
    assert matrix.shape == (45, 1)
    np.testing.assert_array_equal(matrix[:], table[:, 1:2])


def test_too_many_columns():
    with pytest.raises(InputError, match="4097 columns; on CUDA 4096"):
        DeviceRows(np.zeros((1, 4097)), np.zeros((1, 1)), None, np.float64, 1)


def settings(**options):
    options = {"lr": 0.01, "l2": 0.1, "fit_intercept": True, "tol": 0.0} | options
    return Settings(scale=1 / 45, row_scale=1 / 45, **options)


@pytest.mark.parametrize("tol", [0.0, 0.5])
def test_batch_descent_runs_on_it(loss_name, tol, dtype, close):
    x, y, weight, *_ = whole_numbers(45, 3)
    runs = []
    for rows in (DeviceRows, DenseRows):
        source = rows(x.astype(dtype), y, weight, dtype, 1)
        descent = BatchDescent(
            source, LOSSES[loss_name], settings(tol=tol), np.zeros((1, 3)), np.zeros(1), 5, True,
            True,
        )  # fmt: skip
        status = descent.run(5)
        runs.append((status, descent.epoch, descent.coef, descent.costs, descent.cost()))
        runs[-1][3][descent.epoch :] = 0  # not reached, not set
    assert runs[0][:2] == runs[1][:2]
    for found, wanted in zip(runs[0][2:], runs[1][2:], strict=True):
        close(found, wanted)


def test_statistics_are_built_from_it():
    """Squared error for many epochs: the moments come from the GPU, the epochs are the CPU's."""
    x, y, weight, *_ = whole_numbers(45, 3)
    runs = []
    for rows in (DeviceRows, DenseRows):
        descent = BatchDescent(
            rows(x, y, weight, np.float64, 1), LOSSES["mse"], settings(lr=0.001),
            np.zeros((1, 3)), np.zeros(1), 300, False, False,
        )  # fmt: skip
        descent._switch = 0
        descent.run(300)
        assert descent.method == "statistics"
        runs.append(descent.coef)
    np.testing.assert_allclose(*runs, rtol=1e-9)


def test_automatic_descent_runs_on_it(loss_name, weighted):
    x, y, weight, *_ = whole_numbers(45, 3)
    x = x.astype(np.float32)
    runs = []
    for rows in (DeviceRows, DenseRows):
        source = rows(x, y, weight if weighted else None, np.float64, 1)
        descent = AutomaticDescent(
            source, LOSSES[loss_name], settings(), np.zeros((1, 3)), np.zeros(1), 100, False
        )
        descent.run(100)
        assert descent.converged
        runs.append(np.append(descent.coef, descent.intercept))
    np.testing.assert_allclose(*runs, rtol=1e-8)


@pytest.mark.parametrize("l1", [0.0, 0.01])
def test_a_loss_with_kinks_runs_on_it(l1):
    x, y, weight, *_ = whole_numbers(45, 3)
    runs = []
    for rows in (DeviceRows, DenseRows):
        source = rows(x, y, weight, np.float64, 1)
        how = settings()
        how.l1 = l1
        descent = InteriorDescent(
            source, LOSSES["quantile"], how, np.zeros((1, 3)), np.zeros(1), 100, False
        )
        descent.run(100)
        assert descent.converged
        runs.append(np.append(descent.coef, descent.intercept))
    np.testing.assert_allclose(*runs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_the_largest_stable_step(batch_size):
    x, y, weight, *_ = whole_numbers(45, 3)
    found, wanted = (
        largest_stable_lr(Rows(x, y, weight, np.float64, 1), LOSSES["mse"], settings(), batch_size)
        for Rows in (DeviceRows, DenseRows)
    )
    assert found == pytest.approx(wanted, rel=1e-6)
