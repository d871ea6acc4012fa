"""What scikit-learn's networks minimise, and the steps of their optimizers.

A leaf: no numba, no numpy. Constants are written ``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes
float32 kernels compute in float64.
"""

import math

from .margins import binary_cross_entropy
from .softmax import cross_entropy
from .updates import Rule


def half_squared_error(z, y):
    """(z − y)²/2."""
    T = type(z)
    r = z - y
    return T(0.5) * (r * r)


def residual(z, y):
    """z − y."""
    return z - y


def half_poisson_deviance(z, y):
    """y·log(y/exp(z)) − y + exp(z), half the deviance of a count with mean exp(z)."""
    T = type(z)
    return math.exp(z) + (y * (math.log(y) - z) - y if y != T(0) else T(0))


def clipped(epsilon):
    """The cross-entropy of two labels, and of classes, of probabilities clipped to ε and 1 − ε."""
    least, most = -math.log1p(-epsilon), -math.log(epsilon)

    def of_labels(z, y):
        T = type(z)
        loss = binary_cross_entropy(z, y)
        return T(least) if loss < T(least) else (T(most) if loss > T(most) else loss)

    def of_classes(z, top, rest):
        T = type(z)
        loss = cross_entropy(z, top, rest)
        return T(least) if loss < T(least) else (T(most) if loss > T(most) else loss)

    return of_labels, of_classes


def _lr(lr, t, p):
    return lr, 0.0, 0.0


def _velocity_step(theta, g, u, v, w, p, a, b, c):
    T = type(theta)
    a = p[0] * a - u * g
    return theta + (p[0] * a - u * g if p[1] != T(0) else a), a, b, c


def adam_rate(lr, t, beta_1, beta_2):
    """The step of update t, which counts from 1, of Adam in the form of the end of its section 2.

    ε is then added to the root of the second moment with its bias, and not to that without.
    """
    return lr * math.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)


def _adam_scales(lr, t, p):
    return adam_rate(lr, t, p[0], p[2]), 0.0, 0.0


def _adam_step(theta, g, u, v, w, p, a, b, c):
    a = p[0] * a + p[1] * g
    b = p[2] * b + p[3] * (g * g)
    return theta - u * a / (math.sqrt(b) + p[4]), a, b, c


#: Momentum whose buffer a is a velocity, with the learning rates of its steps in it. p holds the
#: momentum, and whether it is Nesterov's.
VELOCITY = Rule("sgd", _lr, _velocity_step, 1)
#: Adam (Kingma and Ba, 2014). p holds β₁, 1 − β₁, β₂, 1 − β₂ and ε.
ADAM = Rule("adam", _adam_scales, _adam_step, 2)
