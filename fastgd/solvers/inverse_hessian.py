"""L-BFGS: an approximation of the inverse Hessian by curvature pairs, times a gradient."""

from collections.abc import Sequence

import numpy as np

from ..cpu.curvature_pairs import moved_product, multiply

#: A step, the change of the gradient along it, and their inner product.
Pair = tuple[np.ndarray, np.ndarray, float]


#: Longer vectors are not copied into one array, which takes twice as long as the rest.
_LONG = 1 << 14


def descent_direction(gradient: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    """−H·gradient, for pairs with the oldest first; −gradient without pairs."""
    direction = -gradient.ravel()
    if pairs and len(direction) > _LONG:
        _multiply_long(pairs, direction)
    elif pairs:
        steps, changes, inner = zip(*pairs, strict=True)
        shape = len(pairs), len(direction)
        multiply(
            np.concatenate(steps).reshape(shape), np.concatenate(changes).reshape(shape),
            np.array([inner, inner]), direction,
        )  # fmt: skip
    return direction.reshape(gradient.shape)


def _multiply_long(pairs: Sequence[Pair], vector: np.ndarray) -> None:
    """The vector becomes H·vector, as of `fastgd.cpu.curvature_pairs.multiply`."""
    flat = [(step.ravel(), change.ravel(), inner) for step, change, inner in pairs]
    factors: list[float] = []
    factor, along = 0.0, vector
    for step, change, inner in reversed(flat):
        product = moved_product(vector, factor, along, step)
        factors.append(product / inner)
        factor, along = -factors[-1], change
    _, last_change, last_inner = flat[-1]
    square = float(last_change @ last_change)
    moved_product(vector, factor, along, along)
    vector *= last_inner / square
    factor, along = 0.0, vector
    for (step, change, inner), alpha in zip(flat, reversed(factors), strict=True):
        product = moved_product(vector, factor, along, change)
        factor, along = alpha - product / inner, step
    moved_product(vector, factor, along, along)
