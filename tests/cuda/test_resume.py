"""The state of a descent on the GPU: a new one goes on from it to the same bits."""

import numpy as np
import pytest

import fastgd
from fastgd.losses import LOSSES
from fastgd.settings import Settings
from fastgd.solvers.on_device import DeviceDescent, DeviceStochasticDescent
from fastgd.sources.device import DeviceRows

N, D = 20, 3


def descent(kind, start):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, D))
    y = (x.sum(axis=1) + rng.standard_normal(N) > 0).astype(float)[None]
    settings = Settings(
        lr=0.1, l2=0.1, scale=1 / N, row_scale=1 / N if kind is DeviceDescent else 1.0,
        fit_intercept=True, tol=0.0, optimizer=fastgd.Adam(),
    )  # fmt: skip
    parameters = np.full((1, D), start), np.zeros(1)
    source = DeviceRows(x, y, None, np.float64)
    if kind is DeviceDescent:
        return kind(source, LOSSES["bce"], settings, *parameters, 6, True, False)
    options = {"batch_size": 7, "shuffle": True, "seed": 3, "mean": True, "average": True}
    return kind(source, LOSSES["bce"], settings, *parameters, True, **options)


@pytest.mark.parametrize("kind", [DeviceDescent, DeviceStochasticDescent])
def test_a_run_that_paused_ends_in_the_same_bits(kind):
    whole, first, second = descent(kind, 0.1), descent(kind, 0.1), descent(kind, 5.0)
    whole.run(6)
    first.run(3)
    second.load(first.state())
    second.run(6)
    assert second.epoch == whole.epoch == 6
    for name in ("coef", "intercept", "costs", "path"):
        found, wanted = (getattr(solver, name)[:6] for solver in (second, whole))
        np.testing.assert_array_equal(found, wanted, err_msg=name)
    assert second.cost() == whole.cost()
