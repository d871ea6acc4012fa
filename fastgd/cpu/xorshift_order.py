"""The order in which scikit-learn's SGD visits rows: Fisher and Yates with a xorshift generator.

Every epoch shuffles the order of the one before with the same random numbers, so that the order of epoch
e is the e-th power of one permutation. Here the permutation is computed once, and an epoch looks up each
place in it: 1 to 2 ns a row, where shuffling takes 10.
"""

import numpy as np

from ..compile.functions import kernel, piece

_13, _17, _5 = np.uint32(13), np.uint32(17), np.uint32(5)
#: The generator returns 31 bits.
_MASK = np.uint32(0x7FFFFFFF)


@kernel
def fill_permutation(permutation, seed):
    """Fill `permutation` with the order of the first epoch.

    name         dir  shape        meaning
    permutation  OUT  (n,) int32   the rows 0 … n−1 in the order of their visits
    seed         IN   uint32       the generator's seed; 0 stands for 1
    """
    n = permutation.shape[0]
    for i in range(n):
        permutation[i] = i
    state = seed if seed != np.uint32(0) else np.uint32(1)
    for i in range(n - 1):
        state = np.uint32(state ^ np.uint32(state << _13))
        state = np.uint32(state ^ np.uint32(state >> _17))
        state = np.uint32(state ^ np.uint32(state << _5))
        j = i + np.int64(np.uint32(state & _MASK) % np.uint32(n - i))
        row = permutation[i]
        permutation[i] = permutation[j]
        permutation[j] = row


@piece
def next_order(order, permutation, skipped, visited):
    """Go on to the order of the next epoch; returns the number of rows to visit.

    name         dir     shape              meaning
    order        IN OUT  (n,) int32         0 … n−1 before the first epoch
    permutation  IN      (n,) or (0,)       of `fill_permutation`; (0,): the rows as they lie
    skipped      IN      (n,) or (0,) bool  the rows not to visit; (0,): none
    visited      OUT     (n,) int32         with `skipped`: the others, in their order
    """
    n = order.shape[0]
    if permutation.shape[0] > 0:
        for i in range(n):
            order[i] = permutation[order[i]]
    if skipped.shape[0] == 0:
        return float(n)
    count = 0
    for i in range(n):
        if not skipped[order[i]]:
            visited[count] = order[i]
            count += 1
    return float(count)
