"""Losses of the residual r = z − y, for targets that are numbers.

A leaf: no numba, no numpy. The value, the slope in z and the second derivative of each loss. Constants
are written ``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes float32 kernels compute in float64.
"""


def squared_error(z, y):
    """(z − y)²."""
    r = z - y
    return r * r


def squared_error_slope(z, y):
    """2·(z − y)."""
    r = z - y
    return r + r


def squared_error_second(z, y):
    """2."""
    T = type(z)
    return T(2)


def product(z, y):
    """y·z, whose gradient in the coefficients is X^T y."""
    return y * z


def product_slope(z, y):
    """y."""
    return y


def huber(z, y, p):
    """r²/2 where |r| ≤ δ, else δ·(|r| − δ/2), with r = z − y and δ = p."""
    T = type(z)
    r = abs(z - y)
    return T(0.5) * r * r if r <= p else p * (r - T(0.5) * p)


def huber_slope(z, y, p):
    """z − y, cut at ±δ; and NaN of NaN."""
    r = z - y
    return p if r > p else (-p if r < -p else r)


def huber_second(z, y, p):
    """1 where |z − y| ≤ δ, else 0."""
    T = type(z)
    return T(1) if abs(z - y) <= p else T(0)


def quantile(z, y, p):
    """q·(y − z) where y > z, else (1 − q)·(z − y), with q = p: the pinball loss of the quantile q."""
    T = type(z)
    r = z - y
    return (T(1) - p) * r if r > T(0) else -p * r


def quantile_slope(z, y, p):
    """1 − q where z > y, −q where z < y, and 0 at the kink; NaN of NaN."""
    T = type(z)
    r = z - y
    return T(1) - p if r > T(0) else (-p if r < T(0) else r)


def quantile_kinks(y, p):
    """The slope −q left of the kink at y, with a jump of 1."""
    return -p, ((y, 1.0),)


def epsilon_insensitive(z, y, p):
    """max(0, |z − y| − ε), with ε = p."""
    T = type(z)
    r = abs(z - y) - p
    return T(0) if r < T(0) else r


def epsilon_insensitive_slope(z, y, p):
    """The sign of z − y where |z − y| > ε, else 0; NaN of NaN."""
    T = type(z)
    r = z - y
    return T(1) if r > p else (T(-1) if r < -p else T(0) * r)


def epsilon_insensitive_kinks(y, p):
    """The slope −1 left of the kinks at y − ε and y + ε, with a jump of 1 at each."""
    return -1.0, ((y - p, 1.0), (y + p, 1.0))


def squared_epsilon_insensitive(z, y, p):
    """max(0, |z − y| − ε)², with ε = p."""
    T = type(z)
    r = abs(z - y) - p
    return T(0) if r < T(0) else r * r


def squared_epsilon_insensitive_slope(z, y, p):
    """2·(|z − y| − ε)·sign(z − y) where |z − y| > ε, else 0; NaN of NaN."""
    T = type(z)
    r = z - y
    return T(2) * (r - p) if r > p else (T(2) * (r + p) if r < -p else T(0) * r)


def squared_epsilon_insensitive_second(z, y, p):
    """2 where |z − y| > ε, else 0."""
    T = type(z)
    return T(2) if abs(z - y) > p else T(0)
