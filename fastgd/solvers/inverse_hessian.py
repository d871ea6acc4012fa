"""L-BFGS: an approximation of the inverse Hessian by curvature pairs, times a gradient."""

from collections.abc import Sequence

import numpy as np

from ..cpu.curvature_pairs import multiply

#: A step, the change of the gradient along it, and their inner product.
Pair = tuple[np.ndarray, np.ndarray, float]


def descent_direction(gradient: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    """−H·gradient, for pairs with the oldest first; −gradient without pairs."""
    direction = -gradient.ravel()
    if pairs:
        steps, changes, inner = zip(*pairs, strict=True)
        shape = len(pairs), len(direction)
        multiply(
            np.concatenate(steps).reshape(shape), np.concatenate(changes).reshape(shape),
            np.array([inner, inner]), direction,
        )  # fmt: skip
    return direction.reshape(gradient.shape)
