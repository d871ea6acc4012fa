"""`offset` on a GPU as on the CPU: in every pass, loop and layout."""

import numpy as np
import oracles
import pytest

import fastgd
from fastgd.cuda import driver
from fastgd.sources import streamed

#: Columns that fit into registers, and such as take tiles.
FEW, MANY = 3, 70
LOOPS = {
    "batch": {"epochs": 3},
    "tol": {"epochs": 3, "tol": 1e-9},
    "per sample": {"epochs": 2, "batch_size": 1},
    "minibatch": {"epochs": 2, "batch_size": 7, "optimizer": "adam"},
}


def made(d, k=1, n=33):
    """x (n, d), labels (n,) of k + 1 kinds and an offset (n,), or (n, k + 1) for more than two."""
    x, noise, *_ = oracles.problem(n, d)
    y = np.digitize(x[:, 0] + noise, np.linspace(-0.5, 0.5, k))
    shape = (n,) if k == 1 else (n, k + 1)
    return x, y, np.random.default_rng(4).normal(size=shape)


def both(x, y, offset, **options):
    """The fit there, and that here."""
    there = driver.cuda.to_device(x)
    return [fastgd.fit_logistic(rows, y, offset=offset, **options) for rows in (there, x)]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("d", [FEW, MANY])
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")  # three epochs are few
def test_two_labels(d, order, loop):
    x, y, offset = made(d)
    x = np.asarray(x, order=order)
    found, wanted = both(x, y, offset, lr=0.1, **LOOPS[loop])
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.costs, wanted.costs, rtol=1e-9)


@pytest.mark.parametrize("loop", ["batch", "minibatch"])
def test_softmax(loop):
    x, y, offset = made(FEW, 2)
    found, wanted = both(x, y, offset, lr=0.1, **LOOPS[loop])
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.costs, wanted.costs, rtol=1e-9)


@pytest.mark.parametrize("of_each", [False, True])
@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_several_outputs(batch_size, of_each):
    x, _, offset = made(FEW)
    y = np.floor(np.exp(np.column_stack([offset, -offset])))
    given = np.column_stack([offset, 2 * offset]) if of_each else offset
    options = {"lr": 0.05, "epochs": 2, "batch_size": batch_size, "offset": given}
    there = driver.cuda.to_device(x)
    found, wanted = (fastgd.fit(rows, y, "poisson", **options) for rows in (there, x))
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chunks", [False, True])
def test_to_the_optimum(chunks, monkeypatch):
    x, y, offset = made(FEW)
    if chunks:
        monkeypatch.setattr(streamed, "fits", lambda size: False)
        monkeypatch.setattr(streamed, "_CHUNK_BYTES", 8 * FEW * 8)
    found, wanted = (
        fastgd.fit_logistic(x, y, offset=offset, l2=0.1, device=device)
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-7)


def test_predictions():
    x, y, offset = made(FEW)
    fit = fastgd.fit_logistic(x, y, lr=0.1, epochs=2)
    there = fit.predict_proba(driver.cuda.to_device(x), driver.cuda.to_device(offset))
    np.testing.assert_allclose(there, fit.predict_proba(x, offset), rtol=1e-9)
