"""Losses with a parameter, with another link, and of your own: on a GPU as on the CPU."""

import numpy as np
import pytest

import fastgd
from fastgd.cuda import driver
from fastgd.losses import POISSON, Huber, Loss

cuda = driver.cuda


def expectile(z, y, p):
    T = type(z)
    r = z - y
    return (p if r < T(0) else T(1) - p) * r * r


def expectile_slope(z, y, p):
    T = type(z)
    r = z - y
    return T(2) * (p if r < T(0) else T(1) - p) * r


LOSSES = {
    "huber": Huber(0.3),
    "poisson": POISSON,
    "own": Loss("expectile", expectile, expectile_slope, 2.0, p=0.8),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 1}, {"batch_size": 7, "optimizer": "adam"}, {"order": "F", "l2": 0.1}],
    ids=["batch", "per sample", "minibatch", "columns"],
)
def test_the_fit_is_the_one_on_the_cpu(loss, options):
    rng = np.random.default_rng(0)
    x = np.asarray(rng.standard_normal((20, 2)), order=options.get("order", "C"))
    y = rng.poisson(1.5, 20).astype(float)
    given = {"lr": 0.05, "epochs": 2} | {k: v for k, v in options.items() if k != "order"}
    found = fastgd.fit(cuda.to_device(x), cuda.to_device(y), loss, **given)
    wanted = fastgd.fit(x, y, loss, **given)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-9)
    np.testing.assert_allclose(found.costs, wanted.costs, rtol=1e-9)
    np.testing.assert_allclose(found.predict(x), wanted.predict(x), rtol=1e-9)
