"""Losses with a parameter, with another link, and of your own: on a GPU as on the CPU."""

import numpy as np
import pytest

import fastgd
from fastgd.cuda import driver
from fastgd.losses import (
    EpsilonInsensitive,
    Huber,
    Loss,
    NegativeBinomial,
    Quantile,
    SquaredEpsilonInsensitive,
    Tweedie,
)

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
    "poisson": fastgd.losses.POISSON,
    "own": Loss("expectile", expectile, expectile_slope, 2.0, p=0.8),
}
LOOPS = {
    "batch": {},
    "per sample": {"batch_size": 1},
    "minibatch": {"batch_size": 7, "optimizer": "adam"},
    "columns": {"order": "F", "l2": 0.1},
}
#: Losses whose leaves have tests of their own, each in one of the loops, which are the same for all.
OTHERS = {
    "quantile": (Quantile(0.7), "batch"),
    "epsilon_insensitive": (EpsilonInsensitive(0.5), "columns"),
    "squared_epsilon_insensitive": (SquaredEpsilonInsensitive(0.5), "minibatch"),
    "hinge": (fastgd.losses.HINGE, "batch"),
    "squared_hinge": (fastgd.losses.SQUARED_HINGE, "columns"),
    "modified_huber": (fastgd.losses.MODIFIED_HUBER, "batch"),
    "gamma": (fastgd.losses.GAMMA, "per sample"),
    "tweedie": (Tweedie(1.3), "batch"),
    "negative_binomial": (NegativeBinomial(0.4), "per sample"),
}
LOSS_AND_LOOP = {
    f"{name}, {loop}": (loss, loop) for name, loss in LOSSES.items() for loop in LOOPS
} | {f"{name}, {loop}": (loss, loop) for name, (loss, loop) in OTHERS.items()}


def test_every_loss_is_there():
    assert {*OTHERS, *LOSSES} - {"own"} == {*fastgd.losses.LOSSES} - {"mse", "bce", "cross_entropy"}


@pytest.mark.parametrize(("loss", "loop"), LOSS_AND_LOOP.values(), ids=LOSS_AND_LOOP)
def test_the_fit_is_the_one_on_the_cpu(loss, loop):
    rng = np.random.default_rng(0)
    options = {"lr": 0.05, "epochs": 2} | LOOPS[loop]
    x = np.asarray(rng.standard_normal((20, 2)), order=options.pop("order", "C"))
    y = rng.poisson(1.5, 20).astype(float) + 0.5 * (loss.targets == "positive")
    y = np.minimum(y, 1) if loss.targets == "labels" else y
    found = fastgd.fit(cuda.to_device(x), cuda.to_device(y), loss, **options)
    wanted = fastgd.fit(x, y, loss, **options)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-9)
    np.testing.assert_allclose(found.costs, wanted.costs, rtol=1e-9)
    np.testing.assert_allclose(found.predict(x), wanted.predict(x), rtol=1e-9)
