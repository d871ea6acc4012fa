"""Coordinate descent on a quadratic with an absolute-value penalty, over its matrix."""

import numpy as np

from ..compile.functions import kernel, leaf
from ..formulas.updates import soft

_shrink = leaf(soft)


@kernel
def sweep(hessian, theta, slope, thresholds, sweeps, tolerance):
    """Up to `sweeps` cyclic sweeps of coordinate descent over θ; returns how many were done.

    It lowers ½·θ^T H θ + b^T θ + Σ thresholds·|θ|. Between two sweeps over all coordinates it sweeps
    over those that are not zero, until they move by less than `tolerance` times √H of the coordinate. A
    coordinate without curvature stays at zero.

        name        dir     shape    meaning
        hessian     IN      (d, d)   H
        theta       IN OUT  (d,)     θ
        slope       IN OUT  (d,)     H θ + b
        thresholds  IN      (d,)     weights of the absolute values
        sweeps      IN      int      largest number of sweeps
        tolerance   IN      float    smallest move that goes on
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


@kernel
def substitute(lower, x):
    """Solve L·L^T·z = x in place, for a lower triangular L.

    name   dir     shape    meaning
    lower  IN      (m, m)   L
    x      IN OUT  (m,)     the right-hand side becomes z
    """
    m = x.shape[0]
    for i in range(m):
        for j in range(i):
            x[i] -= lower[i, j] * x[j]
        x[i] /= lower[i, i]
    for i in range(m - 1, -1, -1):
        x[i] /= lower[i, i]
        for j in range(i):
            x[j] -= lower[i, j] * x[i]
