"""Coordinate descent on a quadratic with an absolute-value penalty, over its matrix."""

import numpy as np

from ..compile.functions import compiled, leaf
from ..formulas.updates import soft

_shrink = leaf(soft)


@compiled
def sweep(hessian, theta, slope, thresholds, sweeps, tolerance):
    """Up to so many cyclic sweeps over θ, in place; returns how many were done.

    Lowers  ½·θ^T H θ + b^T θ + Σ thresholds·|θ|,  where `slope` is H θ + b and kept so. Between two
    sweeps over all coordinates come sweeps over those that are not zero, until they move by less than
    `tolerance`, measured by √H of the coordinate. One of no curvature is left at zero.
    """
    d = theta.shape[0]
    everything = True
    for done in range(sweeps):
        largest = 0.0
        for j in range(d):
            before, curvature = theta[j], hessian[j, j]
            if before == 0.0 and (not everything or abs(slope[j]) <= thresholds[j]):
                continue
            after = 0.0
            if curvature > 0.0:
                after = _shrink(before - slope[j] / curvature, thresholds[j] / curvature)
            move = after - before
            if move == 0.0:
                continue
            theta[j] = after
            for i in range(d):
                slope[i] += move * hessian[j, i]
            largest = max(largest, abs(move) * np.sqrt(curvature))
        if largest <= tolerance:
            if everything:
                return done + 1
            everything = True
        else:
            everything = False
    return sweeps


@compiled
def substitute(lower, x):
    """x ← (L·L^T)⁻¹·x, in place, for a lower triangular L."""
    m = x.shape[0]
    for i in range(m):
        for j in range(i):
            x[i] -= lower[i, j] * x[j]
        x[i] /= lower[i, i]
    for i in range(m - 1, -1, -1):
        x[i] /= lower[i, i]
        for j in range(i):
            x[j] -= lower[i, j] * x[i]
