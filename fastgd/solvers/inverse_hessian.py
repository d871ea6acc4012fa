"""L-BFGS: an approximation of the inverse Hessian by curvature pairs, times a gradient."""

from collections.abc import Sequence

import numpy as np

#: A step, the change of the gradient along it, and their inner product.
Pair = tuple[np.ndarray, np.ndarray, float]


def descent_direction(gradient: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    """−H·gradient by the two-loop recursion, for pairs with the oldest first; −gradient without pairs.

    Nocedal and Wright (2006), algorithm 7.4, with H₀ = (s·y)/(y·y) of the last pair.
    """
    # Flat vectors: their method `dot` takes a third of the time of `np.vdot`.
    flat = [(step.ravel(), change.ravel(), inner) for step, change, inner in pairs]
    direction, alphas = -gradient.ravel(), []
    for step, change, inner in reversed(flat):
        alphas.append(step.dot(direction) / inner)
        direction -= alphas[-1] * change
    if flat:
        _, change, inner = flat[-1]
        direction *= inner / change.dot(change)
    for (step, change, inner), alpha in zip(flat, reversed(alphas), strict=True):
        direction += (alpha - change.dot(direction) / inner) * step
    return direction.reshape(gradient.shape)
