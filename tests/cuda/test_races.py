"""Kernels with every access recorded: what only a GPU's timing would bring to light."""

import numpy as np
import oracles
import pytest

from fastgd.cuda import driver
from fastgd.cuda.driver import cuda
from fastgd.cuda.stochastic import Models
from fastgd.losses import CROSS_ENTROPY, LOSSES
from fastgd.settings import RUNNING, Settings
from fastgd.solvers.on_device import DeviceDescent
from fastgd.sources.device import DeviceRows

if driver.SIMULATED:
    from simulator import RaceError, watched

pytestmark = pytest.mark.skipif(not driver.SIMULATED, reason="a GPU does not record accesses")

by_layout = pytest.mark.parametrize("by_columns", [False, True], ids=["rows", "columns"])
#: Blocks of two warps, which also have to meet each other.
THREADS = 64


@pytest.fixture(autouse=True)
def _two_warps(monkeypatch):
    monkeypatch.setattr(DeviceRows, "threads", THREADS)


def source_of(n, d, k=1, by_columns=False, dtype=np.float64):
    x, y, weight, *_ = oracles.problem(n, d, "bce", dtype=dtype)
    y = np.stack([np.roll(y, c) for c in range(k)])
    return DeviceRows(np.asfortranarray(x) if by_columns else x, y, weight, dtype)


def coupled_source_of(n, d, k, by_columns=False, dtype=np.float64):
    x, _, weight, *_ = oracles.problem(n, d, "bce", dtype=dtype)
    y = np.arange(n)[None] * 7 % k
    return DeviceRows(np.asfortranarray(x) if by_columns else x, y, weight, dtype, k=k)


def one_block(kernel, blocks, threads, stream):
    """The launch, and one block does the work of all: its memory is used again and again."""
    return kernel[1, threads, stream]


def settings_of(lr, l2, scale, tol=0.0):
    return Settings(lr=lr, l2=l2, scale=scale, row_scale=scale, fit_intercept=True, tol=tol)


# --- what would be found -----------------------------------------------------------------------------


@pytest.mark.parametrize("barrier", [False, True])
def test_a_missing_barrier_is_found(barrier):
    @cuda.jit
    def turned_round(x, out):
        shared = cuda.shared.array(THREADS, np.float64)
        shared[cuda.threadIdx.x] = x[cuda.threadIdx.x]
        if barrier:
            cuda.syncthreads()
        out[cuda.threadIdx.x] = shared[THREADS - 1 - cuda.threadIdx.x]

    x, out = np.arange(THREADS, dtype=float), np.empty(THREADS)
    with watched():
        if barrier:
            turned_round[1, THREADS](x, out)
            np.testing.assert_array_equal(out, x[::-1])
        else:
            with pytest.raises(RaceError):
                turned_round[1, THREADS](x, out)


@pytest.mark.parametrize("whole", ["block", "grid"])
def test_blocks_meet_at_barriers_of_the_grid_only(whole):
    @cuda.jit
    def neighbours(out):
        out[cuda.blockIdx.x] = cuda.blockIdx.x
        if whole == "grid":
            cuda.cg.this_grid().sync()
        else:
            cuda.syncthreads()
        out[2 + cuda.blockIdx.x] = out[1 - cuda.blockIdx.x]

    out = np.empty(4)
    with watched():
        if whole == "grid":
            neighbours[2, 1](out)
            np.testing.assert_array_equal(out, [0, 1, 1, 0])
        else:
            with pytest.raises(RaceError):
                neighbours[2, 1](out)


def test_lanes_that_never_meet_are_found():
    @cuda.jit
    def half_of_a_warp(out):
        if cuda.threadIdx.x < 16:
            out[cuda.threadIdx.x] = cuda.shfl_xor_sync(0xFFFFFFFF, 1.0, 1)

    @cuda.jit
    def two_barriers(out):
        if cuda.threadIdx.x < 32:
            cuda.syncthreads()
        else:
            cuda.syncthreads()

    for kernel in (half_of_a_warp, two_barriers):
        with pytest.raises(RuntimeError, match="64 lanes wait for ever"):
            kernel[1, THREADS](np.empty(THREADS))


# --- what is not there -------------------------------------------------------------------------------


@by_layout
@pytest.mark.parametrize("d", [1, 3, 40, 600])
@pytest.mark.parametrize("slopes_too", [True, False])
def test_passes(d, by_columns, slopes_too, monkeypatch):
    """Two outputs, with and without slopes, in every kind of layout, all parts by one block."""
    source = source_of(70 if d < 100 else 10, d, 2, by_columns)
    center = np.full(d, 0.5)
    coef, intercept = np.full((2, d), 0.1), np.zeros(2)
    plain = source.totals(LOSSES["bce"], coef, intercept, center, slopes_too)
    monkeypatch.setattr("fastgd.sources.device.configured", one_block)
    with watched():
        found = source.totals(LOSSES["bce"], coef, intercept, center, slopes_too)
    np.testing.assert_array_equal(found, plain)


@by_layout
@pytest.mark.parametrize(("n", "d", "k"), [(150, 3, 3), (70, 40, 10), (70, 40, 40)])
@pytest.mark.parametrize("slopes_too", [True, False])
def test_coupled_passes(n, d, k, by_columns, slopes_too, monkeypatch):
    """One tile of columns and several, a tile of classes and two, all parts by one block."""
    source, start = coupled_source_of(n, d, k, by_columns), np.full((k, d), 0.1)
    at = CROSS_ENTROPY, start, np.arange(k) / k, np.full(d, 0.5), slopes_too
    plain = source.totals(*at)
    monkeypatch.setattr(
        "fastgd.sources.device.rows_of_coupled_part", lambda n, d, k, lay: 2 * lay.rows
    )
    monkeypatch.setattr("fastgd.sources.device.configured", one_block)
    with watched():
        found = source.totals(*at)
    np.testing.assert_allclose(found, plain, rtol=1e-11, atol=1e-11)


@by_layout
def test_what_looks_over_columns(by_columns, monkeypatch):
    monkeypatch.setattr("fastgd.cuda.statistics._BLOCKS", 12)  # parts of more than one round
    monkeypatch.setattr("fastgd.sources.device.configured", one_block)
    source = source_of(150, 17, 2, by_columns)
    with watched():
        source.moments(np.zeros(17), np.ones(17), np.zeros(2))
        source.column_moments(True)
        source.extremes()
        source.predictions(np.ones((1, 17)), np.zeros(1))


@by_layout
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("tol", [0.0, 0.9])
def test_many_epochs(blocks, by_columns, tol, monkeypatch):
    """Blocks that meet three times an epoch: as many bits as with one block, which needs no grid."""
    n, d, lr = (40, 40, 0.5) if by_columns else (6, 600, 0.1)

    def run():
        source = source_of(n, d, 2, by_columns)
        settings = settings_of(lr, 0.1, 1 / (2 * n), tol)
        descent = DeviceDescent(
            source, LOSSES["bce"], settings, np.zeros((2, d)), np.zeros(2), 4, True, False
        )
        return descent, descent.run(4)

    monkeypatch.setattr("fastgd.solvers.on_device.cooperative_blocks", lambda *_: 1)
    wanted, status = run()
    assert (status == RUNNING) == (tol == 0.0)
    monkeypatch.setattr("fastgd.solvers.on_device.cooperative_blocks", lambda *_: blocks)
    with watched():
        found, same = run()
    assert (found.epoch, same) == (wanted.epoch, status)
    np.testing.assert_array_equal(found.coef, wanted.coef)
    reached = slice(0, found.epoch)
    np.testing.assert_array_equal(found.path[reached], wanted.path[reached])
    np.testing.assert_array_equal(found._state, wanted._state)


@by_layout
def test_many_epochs_of_coupled_outputs(by_columns, monkeypatch):
    def run(blocks):
        monkeypatch.setattr("fastgd.solvers.on_device.cooperative_blocks", lambda *_: blocks)
        source, settings = coupled_source_of(150, 5, 3, by_columns), settings_of(0.5, 0.1, 1 / 150)
        start = np.zeros((3, 5)), np.zeros(3)
        descent = DeviceDescent(source, CROSS_ENTROPY, settings, *start, 4, True, False)
        assert descent.run(4) == RUNNING
        return descent

    wanted = run(1)
    with watched():
        found = run(3)
    np.testing.assert_array_equal(found.path[:4], wanted.path[:4])
    np.testing.assert_array_equal(found._state, wanted._state)


@pytest.mark.filterwarnings("ignore:.*(invalid value|overflow):RuntimeWarning")
def test_a_cost_that_is_not_finite(monkeypatch):
    monkeypatch.setattr("fastgd.solvers.on_device.cooperative_blocks", lambda *_: 2)
    settings = settings_of(1e200, 0.0, 1.0)
    descent = DeviceDescent(
        source_of(300, 3), LOSSES["mse"], settings, np.zeros((1, 3)), np.zeros(1), 9, True, False
    )
    descent._switch = 9  # no statistics
    with watched():
        assert descent.run(9) != RUNNING
    assert np.isfinite(descent.coef).all()


@pytest.mark.parametrize(("d", "k", "batch_size"), [(3, 3, 1), (3, 3, 70), (40, 40, 70)])
def test_updates_of_coupled_outputs(d, k, batch_size):
    n = 10 if batch_size == 1 else 80
    source, settings = coupled_source_of(n, d, k), settings_of(0.01, 0.1, 1.0)
    models = Models(
        source, CROSS_ENTROPY, np.zeros((k, d)), np.zeros(k), settings, batch_size,
        mean=np.zeros((k, d + 1)),
    )  # fmt: skip
    with watched():
        models.update(np.random.default_rng(0).permutation(n).astype(np.int32))
        models.update(np.empty(0, np.int32))


@pytest.mark.parametrize(("d", "batch_size"), [(1, 1), (3, 1), (600, 1), (1, 7), (3, 7), (600, 7)])
def test_stochastic_updates(d, batch_size):
    source = source_of(20 if d < 100 else 5, d, 5, dtype=np.float32)
    settings = settings_of(0.01, 0.1, 1.0)
    models = Models(source, LOSSES["bce"], np.zeros((5, d)), np.zeros(5), settings, batch_size)
    order = np.random.default_rng(0).permutation(source.n).astype(np.int32)
    with watched():
        models.update(order)
        models.update(order[:0])
