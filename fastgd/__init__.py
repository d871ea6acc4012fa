"""fastgd: gradient descent on linear and logistic models, as fast as the machine allows."""

from . import activations
from ._version import __version__
from .costs import (
    bce_cost,
    bce_cost_and_gradient,
    bce_gradient,
    cost_curve,
    linear,
    mse_cost,
    mse_cost_and_gradient,
    mse_gradient,
)
from .errors import ConvergenceWarning, DivergenceError, InputError
from .fit import fit_linear, fit_logistic
from .result import Fit, load

__all__ = [
    "ConvergenceWarning",
    "DivergenceError",
    "Fit",
    "InputError",
    "__version__",
    "activations",
    "bce_cost",
    "bce_cost_and_gradient",
    "bce_gradient",
    "cost_curve",
    "fit_linear",
    "fit_logistic",
    "linear",
    "load",
    "mse_cost",
    "mse_cost_and_gradient",
    "mse_gradient",
]
