"""The squared error at many coefficients, from the moments: one pass over X, however many there are."""

import numpy as np

from ..losses import Loss
from ..sources.protocol import Source
from .moments import centred_moments

#: Costs below this part of that at zero have lost six digits by cancellation: they need a nearer anchor.
_LOST = 1e-6


def pays(source: Source, loss: Loss, m: int) -> bool:
    """Whether the moments cost less than the sums of m losses a row: 0.5 ns each and 0.1 a column."""
    sums = m * source.n * (0.5 + 0.1 * source.d)
    return loss.quadratic and source.work("moments", 1) < sums


def squared_costs(
    source: Source, loss: Loss, coefs: np.ndarray, intercepts: np.ndarray
) -> np.ndarray:
    """The summed squared error at each of coefs (m, d), intercepts (m,).

    With A = [1, x − center], S = A^T A, v the parameters of A and a those of an anchor, the cost is
    cost(a) + gradient(a)·(v − a) + (v − a)^T S (v − a). The anchor is zero; where the smallest cost is
    far below that of zero, it is the coefficient with the smallest, for one more pass.
    """
    d = source.d
    # Targets are centred, as digits are lost of those far from zero.
    y_center = np.array([source.y[0, :: len(source.y[0]) // 256 + 1].mean()])
    moments, center = centred_moments(source, y_center)
    second, by_y, cost = moments[: d + 1, : d + 1], moments[d + 1, : d + 1], moments[d + 1, d + 1]
    v = np.column_stack([intercepts + coefs @ center - y_center, coefs])
    costs = cost - 2 * (v @ by_y) + np.einsum("ij,ij->i", v @ second, v)
    best = int(np.argmin(costs))
    if not costs[best] < _LOST * cost:
        return costs
    at = (
        coefs[best : best + 1].astype(source.dtype),
        intercepts[best : best + 1].astype(source.dtype),
    )
    totals = source.totals(loss, *at)[0]
    gradient = np.concatenate([totals[d : d + 1], totals[:d] - center * totals[d]])
    move = v - v[best]
    return totals[d + 1] + move @ gradient + np.einsum("ij,ij->i", move @ second, move)
