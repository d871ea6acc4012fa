"""Optimizers as plain Python functions: the step of one parameter.

A leaf: no numba, no numpy. Every loop on every backend calls the same step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Optimizer(NamedTuple):
    """A rule that turns a parameter and its gradient into the next parameter."""

    name: str
    step: Callable[[Any, Any, Any], Any]


def gd(parameter, gradient, lr):
    """Gradient descent: θ ← θ − lr·∂cost/∂θ."""
    return parameter - lr * gradient


OPTIMIZERS = {optimizer.name: optimizer for optimizer in (Optimizer("gd", gd),)}

#: Names that the design knows and that no step exists for yet.
PLANNED = ("adagrad", "adam", "adamax", "asgd", "lbfgs", "momentum", "nesterov", "rmsprop", "rprop")
