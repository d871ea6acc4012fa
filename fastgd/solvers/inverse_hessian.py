"""L-BFGS: an approximation of the inverse Hessian by curvature pairs, times a gradient."""

from collections.abc import Sequence

import numpy as np

#: A step, the change of the gradient along it, and their inner product.
Pair = tuple[np.ndarray, np.ndarray, float]


def descent_direction(gradient: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    """−H·gradient by the two-loop recursion, for pairs with the oldest first; −gradient without pairs.

    Nocedal and Wright (2006), algorithm 7.4, with H₀ = (s·y)/(y·y) of the last pair.
    """
    direction, alphas = -gradient, []
    for step, change, inner in reversed(pairs):
        alphas.append(np.vdot(step, direction) / inner)
        direction -= alphas[-1] * change
    if pairs:
        _, change, inner = pairs[-1]
        direction *= inner / np.vdot(change, change)
    for (step, change, inner), alpha in zip(pairs, reversed(alphas), strict=True):
        direction += (alpha - np.vdot(change, direction) / inner) * step
    return direction
