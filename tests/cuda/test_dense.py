"""The fused pass on a GPU against the reference."""

import numpy as np
import oracles
import pytest

from fastgd import reference
from fastgd.cuda import dense, layout
from fastgd.cuda.driver import cuda
from fastgd.losses import LOSSES, Loss

both_layouts = pytest.mark.parametrize("by_columns", [False, True], ids=["rows", "columns"])


def several(n, d, k, loss_name, weighted=False, dtype=np.float64, seed=0):
    """A problem as the kernels take it: y (k, n), weight (n,) or (0,), coef (k, d), intercept (k,)."""
    x, y, weight, coef, intercept = oracles.problem(n, d, loss_name, seed=seed, dtype=dtype)
    y = np.stack([np.roll(y, c) for c in range(k)])
    coef = np.stack([coef * (-1) ** c for c in range(k)])
    intercept = np.array([intercept + c for c in range(k)], dtype=dtype)
    return x, y, weight if weighted else np.empty(0, dtype), coef, intercept


def expected_totals(x, y, weight, coef, intercept, loss):
    """Row c: the summed gradient, that of the intercept, and the summed cost of output c."""
    totals = []
    for c in range(len(coef)):
        target = y[c if len(y) > 1 else 0].tolist()
        at = (
            x.tolist(),
            target,
            coef[c].tolist(),
            float(intercept[c]),
            loss,
            weight.tolist() or None,
        )
        by_coef, by_intercept = reference.gradient(*at, "sum")
        totals.append([*by_coef, by_intercept, reference.cost(*at, "sum")])
    return np.array(totals)


def one_pass(
    x, y, weight, coef, intercept, loss, threads, by_columns=False, center=None,
    slopes_too=True, aligned=True, part_rows=None, blocks=None,
):  # fmt: skip
    """The totals (k, d+2) by both kernels, as DeviceRows launches them."""
    (k, d), n = coef.shape, y.shape[1]
    if by_columns and (d > 1 or k > 1):
        aligned = aligned and n * x.itemsize % 16 == 0  # where the next column begins
    make = layout.column_layout if by_columns else layout.row_layout
    lay = make(d, x.itemsize, coef.itemsize, aligned, threads)
    part_rows = part_rows or layout.rows_of_part(n, lay)
    parts = -(-n // part_rows)
    kernel = dense.accumulate(loss, lay, coef.dtype.name, slopes_too, center is not None)
    partials = cuda.to_device(np.full((parts, k, d + 2), np.nan, coef.dtype))
    x = np.ascontiguousarray(x.T if by_columns else x)
    center = np.empty(0, coef.dtype) if center is None else center.astype(coef.dtype)
    given = x, y, weight, np.empty((0, 1), coef.dtype), center, coef, intercept
    x, y, weight, no_offset, *others = map(cuda.to_device, given)
    p = coef.dtype.type(loss.p)
    kernel[blocks or parts * k, threads](x, y, weight, no_offset, p, *others, part_rows, partials)
    totals = cuda.to_device(np.full(k * (d + 2), np.nan))
    width, adders = dense.adders(k * (d + 2), threads)
    dense.add_up(width, adders)[2, adders](partials.reshape(parts, k * (d + 2)), totals)
    return totals.copy_to_host().reshape(k, d + 2)


@both_layouts
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (33, 5), (70, 1)], ids=str)
def test_totals_are_those_of_the_reference(
    shape, dtype, close, loss_name, weighted, by_columns, threads
):
    problem = several(*shape, 1, loss_name, weighted, dtype)
    found = one_pass(*problem, LOSSES[loss_name], threads, by_columns)
    close(found / shape[0], expected_totals(*problem, LOSSES[loss_name]) / shape[0])


@pytest.mark.parametrize("d", [2, 3, 31, 32, 33, 64, 100, 130, 140, 257, 600])
@both_layouts
def test_every_number_of_lanes_and_loads(d, by_columns, dtype, close):
    """From a thread a row to a block a row; columns in registers, and tiles of 32 and 8 rows."""
    threads = 64
    problem = several(5, d, 1, "bce", True, dtype)
    for aligned in (True, False):
        if aligned and by_columns:
            continue  # five rows are not a multiple of 16 bytes
        found = one_pass(*problem, LOSSES["bce"], threads, by_columns, aligned=aligned)
        close(found / 5, expected_totals(*problem, LOSSES["bce"]) / 5)


def test_the_layouts_are_what_the_test_above_thinks():
    lanes = [layout.row_layout(d, 8, 8, True, 64).lanes for d in (2, 3, 64, 600)]
    assert lanes == [1, 4, 32, 64]
    tiles = [layout.column_layout(d, 8, 8, False, 64).tile for d in (2, 33, 600)]
    assert tiles == [0, 32, 8]


@both_layouts
def test_several_outputs_and_parts(by_columns, loss_name, weighted, threads):
    """Two blocks take turns at six parts of three outputs; two parts end in half a block of rows."""
    problem = several(150, 3, 3, loss_name, weighted)
    at_once = 32
    found = one_pass(
        *problem, LOSSES[loss_name], threads, by_columns, part_rows=at_once, blocks=2, aligned=False
    )
    wanted = expected_totals(*problem, LOSSES[loss_name])
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@both_layouts
def test_the_grid_does_not_change_a_bit(by_columns, threads):
    problem = several(300, 3, 2, "bce", True, np.float32)
    options = {"part_rows": 64, "by_columns": by_columns, "aligned": False}
    found = [one_pass(*problem, LOSSES["bce"], threads, blocks=b, **options) for b in (1, 2)]
    np.testing.assert_array_equal(*found)


@both_layouts
@pytest.mark.parametrize("d", [3, 40])
def test_a_centred_pass_sees_x_minus_center(d, loss_name, by_columns, threads):
    x, *rest = several(40, d, 1, loss_name, True)
    center = np.linspace(-3, 100, d)
    found = one_pass(x + center, *rest, LOSSES[loss_name], threads, by_columns, center)
    wanted = expected_totals(x, *rest, LOSSES[loss_name])
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@both_layouts
@pytest.mark.parametrize("d", [3, 40])
def test_float32_rows_can_be_computed_on_in_float64(d, by_columns, threads):
    """Unlike in float32 itself, the totals are then exact to 1e-11."""
    x, y, weight, coef, intercept = several(40, d, 1, "mse", True)
    x = x.astype(np.float32)
    found = one_pass(x, y, weight, coef, intercept, LOSSES["mse"], threads, by_columns)
    wanted = expected_totals(x.astype(float), y, weight, coef, intercept, LOSSES["mse"])
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@both_layouts
@pytest.mark.parametrize("d", [1, 3])
def test_many_costs_of_one_target(d, by_columns, loss_name, weighted, threads):
    x, y, weight, coef, _ = several(70, d, 1, loss_name, weighted)
    coefs = np.concatenate([coef, -coef, 0 * coef])
    problem = x, y, weight, coefs, np.array([0.3, -1.0, 0.0])
    found = one_pass(*problem, LOSSES[loss_name], threads, by_columns, slopes_too=False)
    wanted = expected_totals(*problem, LOSSES[loss_name])
    np.testing.assert_allclose(found[:, -1], wanted[:, -1], rtol=1e-12)


def test_more_columns_of_partials_than_blocks_side_by_side(threads):
    partials = np.random.default_rng(0).standard_normal((11, 150)).astype(np.float32)
    totals = cuda.to_device(np.empty(150))
    width, adders = dense.adders(150, threads)
    dense.add_up(width, adders)[2, adders](cuda.to_device(partials), totals)
    wanted = partials.astype(float).sum(axis=0)
    np.testing.assert_allclose(totals.copy_to_host(), wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.filterwarnings("ignore:.*(invalid value|overflow):RuntimeWarning")
def test_nan_and_infinity_are_passed_on(threads):
    for bad in (np.nan, np.inf):
        problem = several(40, 5, 1, "mse")
        problem[0][17, 2] = bad
        found = one_pass(*problem, LOSSES["mse"], threads)
        assert not np.isfinite(found).any()


# --- from a kernel of the caller's own, with a loss of the caller's own -------------------------------


def huber(z, y):
    r = abs(z - y)
    T = type(z)
    return r * r if r < T(1) else r + r - T(1)


def huber_slope(z, y):
    T = type(z)
    r = z - y
    return max(T(-2), min(T(2), r + r))


def test_from_a_kernel_of_your_own(threads):
    """Batch descent in one block: the pass is a device function."""
    n, d, epochs = 40, 3, 4
    lay = layout.row_layout(d, 8, 8, True, threads)
    loss = Loss("huber", huber, huber_slope, 2.0)
    pass_of_block = dense.block_pass(loss, lay, "float64")
    lr = 0.1

    @cuda.jit
    def descend(x, y, none, no_offset, coef, intercept, totals, costs):
        for epoch in range(costs.shape[0]):
            pass_of_block(
                x, none, y, none, no_offset, 0.0, none, coef, intercept, 0, 0, 0, n, totals
            )
            cuda.syncthreads()
            if cuda.threadIdx.x < d:
                coef[0, cuda.threadIdx.x] -= lr * totals[cuda.threadIdx.x] / n
            if cuda.threadIdx.x == d:
                intercept[0] -= lr * totals[d] / n
                costs[epoch] = totals[d + 1] / n
            cuda.syncthreads()

    x, y, weight, start, level = several(n, d, 1, "mse")
    arrays = [
        cuda.to_device(a) for a in (x, y, weight, np.empty((0, 1)), start.copy(), level.copy())
    ]
    totals, costs = cuda.to_device(np.empty(d + 2)), cuda.to_device(np.empty(epochs))
    descend[1, threads](*arrays, totals, costs)
    w, b, wanted, _ = reference.batch_gd(
        x.tolist(),
        y[0].tolist(),
        start[0].tolist(),
        float(level[0]),
        lr=lr,
        epochs=epochs,
        loss=loss,
    )
    np.testing.assert_allclose(costs.copy_to_host(), wanted, rtol=1e-12)
    np.testing.assert_allclose(arrays[-2].copy_to_host()[0], w, rtol=1e-12)
    np.testing.assert_allclose(arrays[-1].copy_to_host()[0], b, rtol=1e-12)
