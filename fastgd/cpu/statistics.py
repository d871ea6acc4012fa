"""Sufficient statistics: all that squared error needs of X, in one pass.

The moment matrix is Z^T Z for the rows z = sqrt(weight)·[1, (x − center)·scale, y − y_center]. It is
symmetric, (1+d+k) squared, float64, and additive over parts, machines and folds.
"""

import functools
import math

import numpy as np

from ..compile.functions import call, kernel, piece, pointer
from ..settings import COST, EPOCHS, RUNNING, SCALE, STALE
from .machine.vector_width import use_widest_vectors

#: Rows of Z in a block. Four of its columns stay in the first-level cache while the others are read.
_BLOCK = 256
#: Without padding the rows of Z would compete for two of the cache's 64 sets: 2.4 and not 0.6 ns to write
#: an entry at d=50, where memory alone allows 0.6.
_PAD = 8

#: `statistics_epochs` stops for a new pass once the cost is below this fraction of the anchor's: the
#: anchor's 16 digits then still give ten of the cost.
STALE_SHARE = 1e-6


@piece
def _add_products(z, m, moments):
    """moments += z·z^T over the first m entries of each row of z, upper triangle by 4×4 tiles.

    Sixteen running sums a tile make two loads serve eight products; the sums over m vectorise.
    """
    use_widest_vectors()
    wide = z.shape[0]
    tiles = wide // 4
    for p in range(tiles):
        i = 4 * p
        for q in range(p, tiles):
            j = 4 * q
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = 0.0
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = 0.0
            for r in range(m):
                a0, a1, a2, a3 = z[i, r], z[i + 1, r], z[i + 2, r], z[i + 3, r]
                b0, b1, b2, b3 = z[j, r], z[j + 1, r], z[j + 2, r], z[j + 3, r]
                s00 += a0 * b0
                s01 += a0 * b1
                s02 += a0 * b2
                s03 += a0 * b3
                s10 += a1 * b0
                s11 += a1 * b1
                s12 += a1 * b2
                s13 += a1 * b3
                s20 += a2 * b0
                s21 += a2 * b1
                s22 += a2 * b2
                s23 += a2 * b3
                s30 += a3 * b0
                s31 += a3 * b1
                s32 += a3 * b2
                s33 += a3 * b3
            moments[i, j] += s00
            moments[i, j + 1] += s01
            moments[i, j + 2] += s02
            moments[i, j + 3] += s03
            moments[i + 1, j] += s10
            moments[i + 1, j + 1] += s11
            moments[i + 1, j + 2] += s12
            moments[i + 1, j + 3] += s13
            moments[i + 2, j] += s20
            moments[i + 2, j + 1] += s21
            moments[i + 2, j + 2] += s22
            moments[i + 2, j + 3] += s23
            moments[i + 3, j] += s30
            moments[i + 3, j + 1] += s31
            moments[i + 3, j + 2] += s32
            moments[i + 3, j + 3] += s33
    return 0.0


@kernel
def _moments_of_two(xt, y, center, scale, y_center, first, last, shift, moments):
    """The pass for one column, xt (1, n), and one target: 0.4 ns a row where the tiles take 1.5."""
    use_widest_vectors()
    by_x = by_y = squares_x = products = squares_y = 0.0
    for i in range(first, last):
        a, b = (xt[0, i] - center[0]) * scale[0], y[0, i + shift] - y_center[0]
        by_x += a
        by_y += b
        squares_x += a * a
        products += a * b
        squares_y += b * b
    moments[0, 0] += last - first
    moments[0, 1] += by_x
    moments[0, 2] += by_y
    moments[1, 1] += squares_x
    moments[1, 2] += products
    moments[2, 2] += squares_y


@functools.cache
def _moments_pass(by_columns: bool):
    """The compiled pass of `add_moments`.

    ``(add_products, z, x, y, weight, center, scale, y_center, first, last, shift, moments)``

        name          dir   shape            meaning
        add_products  IN    int              address of `_add_products`
        z             OUT   (w, …) float64   a block of rows of Z; zeros at first

    The other arguments are those of `add_moments`.
    """

    @kernel
    def one_pass(
        add_products, z, x, y, weight, center, scale, y_center, first, last, shift, moments
    ):
        d, k = center.shape[0], y_center.shape[0]
        for start in range(first, last, _BLOCK):
            m = min(_BLOCK, last - start)
            for i in range(m):
                z[0, i] = 1.0
            if weight.shape[0] > 0:
                for i in range(m):
                    z[0, i] = math.sqrt(np.float64(weight[start + shift + i]))
            if by_columns:
                for j in range(d):
                    for i in range(m):
                        z[1 + j, i] = (x[j, start + i] - center[j]) * scale[j] * z[0, i]
            else:
                for i in range(m):
                    for j in range(d):
                        z[1 + j, i] = (x[start + i, j] - center[j]) * scale[j] * z[0, i]
            for c in range(k):
                for i in range(m):
                    z[1 + d + c, i] = (y[c, start + shift + i] - y_center[c]) * z[0, i]
            call(add_products, z, m, moments)

    return one_pass


@functools.cache
def _address_of_products() -> int:
    return pointer(_add_products, np.empty((1, 1)), 0, np.empty((1, 1)))


def add_moments(
    by_columns: bool,
    x,
    y,
    weight,
    center,
    scale,
    y_center,
    first: int,
    last: int,
    shift: int,
    moments,
) -> None:
    """Add the rows `first` to `last` to the upper triangle of the moment matrix.

        name        dir     shape            meaning
        center      IN      (d,) float64     subtracted from the columns of x
        scale       IN      (d,) float64     multiplies the centred columns
        y_center    IN      (k,) float64     subtracted from the targets
        moments     IN OUT  (w, w) float64   w ≥ 1+d+k is a multiple of 4; what is beyond 1+d+k stays zero

    The other arguments are described in `fastgd.cpu`; x is (d, n) if `by_columns`.
    """
    if by_columns and len(center) == len(y_center) == 1 and not len(weight):
        _moments_of_two(x, y, center, scale, y_center, first, last, shift, moments)
        return
    z = np.zeros((len(moments), _BLOCK + _PAD))
    _moments_pass(by_columns)(
        _address_of_products(),
        z,
        x,
        y,
        weight,
        center,
        scale,
        y_center,
        first,
        last,
        shift,
        moments,
    )


@kernel
def totals_at(anchor, anchor_coef, anchor_intercept, second, center, coef, intercept, totals):
    """Fill `totals` for squared error at (coef, intercept); returns the summed cost.

    With r the residuals at the anchor, A = [x − center, 1], S = A^T A and m the move from the anchor:
    cost = r^T r + (2A^T r + S m)^T m, gradient = 2A^T r + 2S m, then back from x − center to x.

        name              dir     shape        meaning (all in float64)
        anchor            IN      (k, d+2)     totals of a pass at the anchor
        anchor_coef       IN      (k, d)       coefficients of the anchor
        anchor_intercept  IN      (k,)         intercepts of the anchor
        second            IN      (d+1, d+1)   S
        center            IN      (d,)         center of the columns in S
        totals            OUT     (k+1, d+2)   totals at (coef, intercept), and a row of scratch
    """
    k, d = coef.shape
    move = totals[k]
    summed = 0.0
    for c in range(k):
        move[d] = intercept[c] - anchor_intercept[c]
        for j in range(d):
            move[j] = coef[c, j] - anchor_coef[c, j]
            move[d] += center[j] * move[j]
        cost = anchor[c, d + 1]
        for i in range(d, -1, -1):
            moved = 0.0
            for j in range(d + 1):
                moved += second[i, j] * move[j]
            slope = anchor[c, i] - center[i] * anchor[c, d] if i < d else anchor[c, d]
            cost += (slope + moved) * move[i]
            totals[c, i] = slope + 2.0 * moved
            if i < d:
                totals[c, i] += center[i] * totals[c, d]
        totals[c, d + 1] = cost
        summed += cost
    return summed


@kernel
def statistics_epochs(
    totals_at, end_of_epoch, step, anchor, anchor_coef, anchor_intercept, second, center, totals, coef,
    intercept, previous, settings, rates, hyper, memory, state, costs, norms, path, last_epoch,
):  # fmt: skip
    """Epochs on statistics: each costs d² and not n·d, with the same iterates; returns the status.

    STALE asks for a new anchor: differences to an anchor, and a new anchor once the cost is far below
    it, keep the digits that the size of y would cancel. The loop goes on from the epoch in `state`, and
    leaves the cost at the last parameters there.

        name          dir     shape           meaning
        totals_at     IN      int             address of `totals_at`
        totals        OUT     (1, k+1, d+2)   totals of an epoch, and a row of scratch

    The arguments from `anchor` to `center` are those of `totals_at`, the others those of
    `dense.batch_epochs`.
    """
    k, d = coef.shape
    stale, sums = 0.0, totals[0]
    for c in range(k):
        stale += STALE_SHARE * anchor[c, d + 1]
    for epoch in range(int(state[EPOCHS]), last_epoch + 1):
        cost = call(
            totals_at, anchor, anchor_coef, anchor_intercept, second, center, coef, intercept, sums
        )
        if cost < stale:
            state[COST] = math.nan
            return STALE
        state[COST] = settings[SCALE] * cost
        if epoch == last_epoch:
            break
        status = call(
            end_of_epoch, step, totals, coef, intercept, previous, settings, rates, hyper, memory,
            state, costs, norms, path,
        )  # fmt: skip
        if status != RUNNING:
            return int(status)
    return RUNNING


@functools.cache
def address_of_totals() -> int:
    """The address of `totals_at`."""
    one, two = np.empty(1), np.empty((1, 1))
    return pointer(totals_at, two, two, one, two, one, two, one, two)
