"""Where one way of computing takes over from another: both sides give the same iterates, to rounding.

What decides is the call alone, its shapes, dtype and epochs: never a clock or the number of threads.
"""

import numpy as np
import pytest
from test_fit import made

import fastgd
from fastgd.solvers import whitened as automatic
from fastgd.sources import dense as source
from fastgd.sources import work

CLOSE = {np.float32: dict(rtol=1e-4, atol=1e-6), np.float64: dict(rtol=1e-10, atol=1e-12)}


def linear(x, y, epochs, **options):
    return fastgd.fit_linear(x, y, lr=0.05, epochs=epochs, keep_path=True, **options)


def first_epochs_on_statistics(x, y, **options):
    most = 1
    while linear(x, y, most, **options).method == "stream":
        most *= 2
    low, high = most // 2, most
    while high - low > 1:
        middle = (low + high) // 2
        if linear(x, y, middle, **options).method == "stream":
            low = middle
        else:
            high = middle
    return high


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4000, 1), (3000, 5), (2000, 30)])
def test_from_passes_to_statistics(shape, dtype):
    x, y = made(*shape, dtype=dtype)
    epochs = first_epochs_on_statistics(x, y)
    assert epochs > 1
    before, after = linear(x, y, epochs - 1), linear(x, y, epochs)
    assert (before.method, after.method) == ("stream", "statistics")
    np.testing.assert_allclose(after.path[:-1], before.path, **CLOSE[dtype])
    np.testing.assert_allclose(after.costs[:-1], before.costs, **CLOSE[dtype])
    for n_threads in (1, 2, 5):
        assert linear(x, y, epochs, n_threads=n_threads).method == "statistics"
        assert linear(x, y, epochs - 1, n_threads=n_threads).method == "stream"


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_iterates_don_t_depend_on_the_cost_model(monkeypatch, factor):
    """A machine twice as different decides elsewhere, for the same result."""
    x, y = made(3000, 5)
    epochs = first_epochs_on_statistics(x, y)
    here = [linear(x, y, e) for e in (epochs - 1, epochs)]
    moments_ns = work.moments_ns
    monkeypatch.setattr(work, "moments_ns", lambda *shape: factor * moments_ns(*shape))
    there = [linear(x, y, e) for e in (epochs - 1, epochs)]
    assert [fit.method for fit in here] != [fit.method for fit in there]
    for fit, other in zip(here, there, strict=True):
        np.testing.assert_allclose(fit.path, other.path, rtol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_that_may_stop_goes_over_in_the_middle(dtype):
    x, y = made(3000, 5, dtype=dtype)
    through = linear(x, y, 200, callback=lambda fit: False)
    assert through.method == "statistics"
    at_once = linear(x, y, 200)
    np.testing.assert_allclose(through.path, at_once.path, **CLOSE[dtype])
    np.testing.assert_allclose(through.costs, at_once.costs, **CLOSE[dtype])


def test_from_one_part_to_several(monkeypatch):
    """A run whose epochs are single calls, and one whose epochs are sums over parts."""
    x, y = made(5000, 3, logistic=True)
    whole = fastgd.fit_logistic(x, y, lr=0.5, epochs=30, keep_path=True)
    monkeypatch.setattr(source, "PART_BYTES", 1 << 14)
    parts = fastgd.fit_logistic(x, y, lr=0.5, epochs=30, keep_path=True)
    np.testing.assert_allclose(parts.path, whole.path, rtol=1e-11)
    np.testing.assert_allclose(parts.costs, whole.costs, rtol=1e-11)


def test_from_the_bound_to_a_sample():
    """One row less than a sample needs, and just enough: the optimum is the same."""
    least = automatic._LEAST_SAMPLED * automatic._ROWS_A_COLUMN * 3
    x, y = made(least, 2, logistic=True)
    x[-1] = 0.0
    weight = np.ones(least)
    weight[-1] = 0.0  # so that both have the same optimum
    sampled = fastgd.fit_logistic(x, y, l2=1e-3, sample_weight=weight)
    bound = fastgd.fit_logistic(x[:-1], y[:-1], l2=1e-3)
    assert sampled.converged
    assert bound.converged
    np.testing.assert_allclose(sampled.coef, bound.coef, rtol=1e-10)
    assert sampled.cost == pytest.approx(bound.cost, rel=1e-13)
    assert sampled.costs[0] < bound.costs[0]  # it starts from the optimum of the sample
