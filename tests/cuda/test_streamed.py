"""Rows that pass through a GPU in chunks, against the same rows on the CPU."""

import numpy as np
import oracles
import pytest

import fastgd
from fastgd.losses import LOSSES
from fastgd.sources import streamed
from fastgd.sources.dense import DenseRows


@pytest.fixture(autouse=True)
def _no_room(monkeypatch):
    """Every x is too large, and goes through in chunks of eight rows of three columns of float64."""
    monkeypatch.setattr(streamed, "fits", lambda size: False)
    monkeypatch.setattr(streamed, "_CHUNK_BYTES", 8 * 3 * 8)


@pytest.mark.parametrize("kind", ["F", np.int8], ids=str)
def test_sums_over_chunks_are_those_over_rows(kind):
    x, y, weight, coef, intercept = oracles.problem(17, 3, "bce", dtype=np.float64)
    x = np.asfortranarray(x) if kind == "F" else (x * 10).astype(kind)
    coef, intercept, y = coef[None], np.array([intercept]), y[None]
    there = streamed.device_rows(x, y, weight, np.float64)
    here = DenseRows(x, y, weight, np.float64, 1)
    assert type(there) is streamed.StreamedRows
    assert len(there._starts) == 3
    close = {"rtol": 1e-12, "atol": 1e-12}
    for slopes_too in (True, False):
        for center in (None, np.ones(3)):
            arguments = LOSSES["bce"], coef, intercept, center, slopes_too
            found, wanted = there.totals(*arguments), here.totals(*arguments)
            np.testing.assert_allclose(found[:, -1:], wanted[:, -1:], **close)
            if slopes_too:
                np.testing.assert_allclose(found, wanted, **close)
    for name, arguments in (
        ("costs", (LOSSES["bce"], np.tile(coef, (2, 1)), np.array([0.0, 1.0]))),
        ("moments", (np.ones(3), np.full(3, 0.5), np.zeros(1))),
        ("moments", (np.ones(3), np.ones(3), np.zeros(1), np.linspace(1, 2, 17))),
        ("predictions", (coef, intercept)),
        ("sample", ()),
    ):
        found, wanted = getattr(there, name)(*arguments), getattr(here, name)(*arguments)
        np.testing.assert_allclose(found, wanted, **close, err_msg=name)


@pytest.mark.parametrize("options", [{"lr": 0.1, "epochs": 3, "tol": 1e-9}, {}], ids=str)
@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")  # three epochs are few
def test_a_fit_is_the_one_on_the_cpu(options, logistic):
    x, y, *_ = oracles.problem(17, 3, "bce", dtype=np.float64)
    fit = fastgd.fit_logistic if logistic else fastgd.fit_linear
    found = fit(x, y > 0.5, device="cuda", l2=0.1, **options)
    wanted = fit(x, y > 0.5, l2=0.1, **options)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-9)
    np.testing.assert_allclose(found.cost, wanted.cost, rtol=1e-9)


def test_single_rows_are_not_fetched_one_by_one():
    x, y, *_ = oracles.problem(21, 3, "mse", dtype=np.float64)
    with pytest.raises(fastgd.InputError, match="does not fit into the GPU's memory"):
        fastgd.fit_linear(x, y, device="cuda", batch_size=5, lr=0.01)
