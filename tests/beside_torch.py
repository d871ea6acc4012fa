"""Whole trajectories beside those of torch, for the tests that need a GPU."""

import numpy as np

#: What a step may add to the difference, in units of the largest coefficient.
A_STEP = {"float32": 1e-6, "float64": 1e-12}


def laid(x, order):
    return x if order == "C" else x.T.contiguous().T


def assert_follows(fit, wanted, dtype, steps=1):
    """Every iterate is torch's, but for what `steps` updates an epoch may have added until then."""
    path, intercept, costs = wanted
    assert fit.n_epochs == len(path)
    found = np.asarray(fit.path, dtype=np.float64).reshape(path.shape)
    difference = np.abs(found - path).max(axis=(1, 2))
    allowed = A_STEP[dtype] * steps * np.arange(1, len(path) + 1) * np.abs(path).max()
    assert (difference <= allowed).all(), f"off by {(difference / allowed).max():.2g} of the bound"
    np.testing.assert_allclose(
        np.atleast_1d(fit.intercept), intercept, rtol=0, atol=allowed[-1] + A_STEP[dtype]
    )
    np.testing.assert_allclose(fit.costs, costs, rtol=50 * A_STEP[dtype])
