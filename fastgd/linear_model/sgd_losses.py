"""The losses of scikit-learn's SGD: fastgd's, a squared error that is halved, and the perceptron's."""

from __future__ import annotations

from typing import Any

from ..losses import (
    BCE,
    HINGE,
    MODIFIED_HUBER,
    SQUARED_HINGE,
    EpsilonInsensitive,
    Huber,
    Loss,
    SquaredEpsilonInsensitive,
)


def half_squared_error(z: Any, y: Any) -> Any:
    """(z − y)²/2."""
    T = type(z)
    r = z - y
    return T(0.5) * r * r


def half_squared_error_slope(z: Any, y: Any) -> Any:
    """z − y."""
    return z - y


def perceptron(z: Any, y: Any) -> Any:
    """max(0, −m) with the margin m: z for y > 0, else −z."""
    T = type(z)
    m = z if y > T(0) else -z
    return -m if m < T(0) else T(0) * z


def perceptron_slope(z: Any, y: Any) -> Any:
    """−1 for y > 0 and 1 for others where m ≤ 0, else 0."""
    T = type(z)
    side = T(1) if y > T(0) else T(-1)
    return -side if side * z <= T(0) else T(0) * z


#: By scikit-learn's names. Labels are 0 and 1 for "log_loss", and −1 and 1 for the others.
_LOSSES: dict[str, Loss] = {
    "hinge": HINGE,
    "squared_hinge": SQUARED_HINGE,
    "perceptron": Loss("perceptron", perceptron, perceptron_slope, smooth=False),
    "log_loss": BCE,
    "modified_huber": MODIFIED_HUBER,
    "squared_error": Loss("half squared error", half_squared_error, half_squared_error_slope, 1.0),
    "huber": Huber(),
    "epsilon_insensitive": EpsilonInsensitive(),
    "squared_epsilon_insensitive": SquaredEpsilonInsensitive(),
}


def loss_of(name: str, epsilon: float) -> Loss:
    """The loss of a name; `epsilon` is the parameter of those that have one."""
    loss = _LOSSES[name]
    return loss._replace(p=float(epsilon)) if loss.parameters else loss
