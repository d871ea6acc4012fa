"""The inverse Hessian of L-BFGS, times a vector."""

from ..compile.functions import kernel


@kernel
def multiply(steps, changes, inner, vector):
    """The vector becomes H·vector by the two-loop recursion, for pairs with the oldest first.

    Nocedal and Wright (2006), algorithm 7.4, with H₀ = (s·y)/(y·y) of the last pair.

        name        dir     shape            meaning
        steps       IN      (pairs, size)    s, the steps
        changes     IN      (pairs, size)    y, the changes of the gradient along them
        inner       IN OUT  (2, pairs)       s·y, and scratch
        vector      IN OUT  (size,)
    """
    pairs, size = steps.shape
    products, alphas = inner[0], inner[1]
    for i in range(pairs - 1, -1, -1):
        step, change, along = steps[i], changes[i], 0.0
        for j in range(size):
            along += step[j] * vector[j]
        alphas[i] = along / products[i]
        for j in range(size):
            vector[j] -= alphas[i] * change[j]
    square = 0.0
    for j in range(size):
        square += changes[pairs - 1, j] * changes[pairs - 1, j]
    for j in range(size):
        vector[j] *= products[pairs - 1] / square
    for i in range(pairs):
        step, change, along = steps[i], changes[i], 0.0
        for j in range(size):
            along += change[j] * vector[j]
        for j in range(size):
            vector[j] += (alphas[i] - along / products[i]) * step[j]


@kernel
def moved_product(vector, factor, along, other):
    """The vector becomes vector + factor·along, all (size,); returns its inner product with `other`."""
    product = 0.0
    for j in range(vector.shape[0]):
        vector[j] += factor * along[j]
        product += vector[j] * other[j]
    return product
