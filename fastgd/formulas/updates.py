"""Optimizers as plain Python functions: the step of one parameter, as torch.optim takes it.

A leaf: no numba, no numpy. Every loop on every backend calls the same two functions of a `Rule`:

    scales(lr, t, p)                        -> (u, v, w)         once an update, t = 1, 2, …
    step(theta, g, u, v, w, p, a, b, c)     -> (theta, a, b, c)  once a parameter

`p` holds the parameters of the optimizer, weight decay first, and a, b and c are its state for one
parameter. The formulas are torch's (torch.optim, version 2.13). The classes in `fastgd.optimizers` name a
rule and its parameters; they are separate because they take 7 ms to import and most fits need none.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

#: Number of an optimizer's parameters, and of its state variables for each parameter of the model.
HYPER, SLOTS = 7, 3


class Rule(NamedTuple):
    """The functions of an optimizer.

    Parameters
    ----------
    name : str
    scales : callable
        ``scales(lr, t, p)``: u, v, w, three numbers of update number t, which counts from 1.
    step : callable
        ``step(theta, g, u, v, w, p, a, b, c)``: θ, a, b, c after the update; g is the gradient, and a, b
        and c are the state of θ. p holds the parameters of the optimizer: `Optimizer.hyper` of its class
        in `fastgd.optimizers`.
    slots : int
        How many of a, b and c it uses; 0: kernels keep no state.
    """

    name: str
    scales: Callable[..., Any]
    step: Callable[..., Any]
    slots: int


def gd(parameter, gradient, lr):
    """Gradient descent: θ ← θ − lr·∂cost/∂θ."""
    return parameter - lr * gradient


def soft(theta, threshold):
    """The proximal step of threshold·|θ|: towards 0, and not beyond."""
    T = type(theta)
    return theta - threshold if theta > threshold else (
        theta + threshold if theta < -threshold else T(0)
    )  # fmt: skip


def l1_slope(theta, g, l1):
    """The smallest slope of cost + l1·|θ| at θ, where g is that of the cost; 0 at the optimum."""
    T = type(theta)
    at_zero = g - l1 if g > l1 else (g + l1 if g < -l1 else T(0))
    return g + l1 if theta > T(0) else (g - l1 if theta < T(0) else at_zero)


def _constant(lr, t, p):
    return lr, 0.0, 0.0


def _gd_step(theta, g, u, v, w, p, a, b, c):
    return theta - u * (g + p[0] * theta), a, b, c


def _momentum_scales(lr, t, p):
    return lr, (1.0 if t == 1.0 else 0.0), 0.0


def _momentum_step(theta, g, u, v, w, p, a, b, c):
    T = type(theta)
    g = g + p[0] * theta
    a = g if v != T(0) else p[1] * a + p[2] * g
    return theta - u * (g + p[1] * a if p[3] != T(0) else a), a, b, c


def _adagrad_scales(lr, t, p):
    return lr / (1.0 + (t - 1.0) * p[1]), 0.0, 0.0


def _adagrad_step(theta, g, u, v, w, p, a, b, c):
    g = g + p[0] * theta
    a = a + g * g
    return theta - u * (g / (math.sqrt(a) + p[2])), a, b, c


def _adam_scales(lr, t, p):
    return lr / (1.0 - p[6] ** t), math.sqrt(1.0 - p[2] ** t), 1.0 - lr * p[0]


def _adam_step(theta, g, u, v, w, p, a, b, c):
    T = type(theta)
    g = g + p[0] * theta
    a = a + p[1] * (g - a)
    b = p[2] * b + p[3] * g * g
    c = (b if b > c else c) if p[5] != T(0) else b
    return theta - u * (a / (math.sqrt(c) / v + p[4])), a, b, c


def _adamw_step(theta, g, u, v, w, p, a, b, c):
    T = type(theta)
    a = a + p[1] * (g - a)
    b = p[2] * b + p[3] * g * g
    c = (b if b > c else c) if p[5] != T(0) else b
    return w * theta - u * (a / (math.sqrt(c) / v + p[4])), a, b, c


def _adamax_scales(lr, t, p):
    return lr / (1.0 - p[6] ** t), 0.0, 0.0


def _adamax_step(theta, g, u, v, w, p, a, b, c):
    g = g + p[0] * theta
    a = a + p[1] * (g - a)
    size, before = abs(g) + p[4], p[2] * b
    b = size if size > before else before
    return theta - u * (a / b), a, b, c


def _asgd_scales(lr, t, p):
    waited = t - 1.0 - p[3]
    return lr / (1.0 + p[1] * lr * t) ** p[2], (1.0 / waited if waited > 1.0 else 1.0), 0.0


def _asgd_step(theta, g, u, v, w, p, a, b, c):
    T = type(theta)
    g = g + p[0] * theta
    theta = theta * (T(1) - p[1] * b) - b * g
    a = theta if v == T(1) else a + v * (theta - a)
    return theta, a, u, c


def _rmsprop_step(theta, g, u, v, w, p, a, b, c):
    T = type(theta)
    g = g + p[0] * theta
    a = p[1] * a + p[2] * g * g
    b = b + p[2] * (g - b) if p[5] != T(0) else b
    variance = a - b * b  # rounding makes it negative for a constant gradient
    c = p[4] * c + g / (math.sqrt(variance if variance > T(0) else T(0)) + p[3])
    return theta - u * c, a, b, c


def _rprop_step(theta, g, u, v, w, p, a, b, c):
    T = type(theta)
    g = g + p[0] * theta
    agree = g * a
    b = b * (p[2] if agree > T(0) else (p[1] if agree < T(0) else T(1)))
    b = p[3] if b < p[3] else (p[4] if b > p[4] else b)
    a = T(0) if agree < T(0) else g
    return theta - (b if a > T(0) else (-b if a < T(0) else T(0))), a, b, c


RULES = {
    rule.name: rule
    for rule in (
        Rule("gd", _constant, _gd_step, 0),
        Rule("momentum", _momentum_scales, _momentum_step, 1),
        Rule("adagrad", _adagrad_scales, _adagrad_step, 1),
        Rule("adam", _adam_scales, _adam_step, 3),
        Rule("adamw", _adam_scales, _adamw_step, 3),
        Rule("adamax", _adamax_scales, _adamax_step, 2),
        Rule("asgd", _asgd_scales, _asgd_step, 2),
        Rule("rmsprop", _constant, _rmsprop_step, 3),
        Rule("rprop", _constant, _rprop_step, 2),
    )
}


class Optimizer:
    """The base class of optimizers: plain gradient descent.

    The learning rate is the fit's own argument.
    """

    #: Times θ is added to the gradient of every parameter, the intercept among them, as torch does; the
    #: fits' `l2` leaves the intercept alone.
    weight_decay: float = 0.0
    #: The default learning rate of torch.
    lr: ClassVar[float] = 1e-3
    #: Whether it updates all parameters together, and so has no rule for a single one.
    joint: ClassVar[bool] = False

    @property
    def rule(self) -> Rule:
        """The functions of this optimizer."""
        return RULES["gd"]

    def hyper(self) -> tuple[float, ...]:
        """The parameters as the functions take them."""
        return (self.weight_decay,)

    def start(self, lr: float) -> tuple[float, float, float]:
        """The initial state (a, b, c) of a parameter."""
        return (0.0, 0.0, 0.0)


#: Plain gradient descent.
GD = Optimizer()
