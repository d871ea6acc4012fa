"""The largest learning rate that is stable on given data.

Batch descent on a quadratic cost is stable for lr < 2/λ, λ the largest eigenvalue of the Hessian.
The Hessian of a loss with curvature at most c is bounded by c·scale·X^T W X + l2; λ of that is found
by power iteration, a fused pass each. For stochastic updates λ of a single row,
c·scale·(‖xᵢ‖² + 1), takes its place.
"""

import math
from typing import Any

import numpy as np

from ..cpu.machine.blas import one_thread
from ..formulas.updates import Optimizer
from ..losses import MSE, CoupledLoss, Loss
from ..settings import Settings
from ..sources.protocol import Source

_MOST_PASSES = 100


def largest_stable_lr(
    source: Source,
    loss: Loss | CoupledLoss,
    settings: Settings,
    batch_size: int | None = None,
) -> float | None:
    """2/λ; infinity if X is zero, None if no bound is known.

    Parameters
    ----------
    source : Source
    loss : Loss or CoupledLoss
    settings : Settings
        `l2`, `row_scale`, `fit_intercept` and the weight decay of `optimizer` are used.
    batch_size : int, optional
        None for batch descent.
    """
    if not math.isfinite(loss.curvature):
        return None
    sample = np.abs(source.sample())
    size = max(1.0, float(sample.max()))  # so that squares of large columns stay finite
    if batch_size is None:
        largest = _power_iteration(source, settings.fit_intercept, size)
    else:
        largest = source.largest_row_norm(size, settings.fit_intercept)
        # Under "sum" the rows of a batch add up; under "mean" their mean is at most the largest.
        largest *= batch_size if settings.row_scale == settings.scale else 1
    bound = loss.curvature * settings.row_scale * largest
    if not math.isfinite(bound):
        return None
    # bound·size² is the curvature; divided in two steps it cannot overflow on the way.
    slope = bound * size + (settings.l2 + settings.optimizer.weight_decay) / size
    return 2 / size / slope if slope > 0 else math.inf


def momentum_share(optimizer: Optimizer, batch_size: int | None) -> float:
    """The fraction of the stable rate that is stable with the momentum m of an optimizer; 0 if none is.

    For batch descent it is 1, and (1 + m)/(1 + 2m) with Nesterov's momentum. For stochastic updates it is
    1 − m: before a row comes again, its gradient moves the parameters 1/(1 − m) times.
    """
    if optimizer.rule.name != "momentum":
        return 1.0
    momentum: Any = optimizer
    m = float(momentum.momentum)
    if m >= 1:
        return 0.0
    if batch_size is not None:
        return 1 - m
    return (1 + m) / (1 + 2 * m) if momentum.nesterov else 1.0


@one_thread()
def _power_iteration(source: Source, fit_intercept: bool, size: float) -> float:
    """The largest eigenvalue of [x/size, 1/size]^T W [x/size, 1/size], to six digits."""
    zeros = source.with_targets(np.zeros((1, source.n)), np.float64)
    rng = np.random.default_rng(0)
    v = rng.standard_normal(source.d + 1)
    if not fit_intercept:
        v[-1] = 0
    v /= np.linalg.norm(v)
    value = 0.0
    for _ in range(_MOST_PASSES):
        # The gradient of Σ w (x·v)² is twice the matrix times v.
        totals = zeros.totals(MSE, v[None, :-1] / size, v[-1:] / size)[0, :-1] / 2
        product = totals / size
        if not fit_intercept:
            product[-1] = 0
        before, value = value, float(np.linalg.norm(product))
        if not math.isfinite(value) or value == 0:
            return value
        v = product / value
        if abs(value - before) <= 1e-7 * value:
            break
    return value
