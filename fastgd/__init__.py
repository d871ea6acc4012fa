"""fastgd: gradient descent on linear and logistic models, as fast as the machine allows."""

from . import activations, schedules
from ._version import __version__
from .costs import (
    bce_cost,
    bce_cost_and_gradient,
    bce_gradient,
    cost_curve,
    cross_entropy_cost,
    cross_entropy_cost_and_gradient,
    cross_entropy_gradient,
    linear,
    mse_cost,
    mse_cost_and_gradient,
    mse_gradient,
)
from .errors import ConvergenceWarning, DivergenceError, InputError
from .fit import fit_linear, fit_logistic
from .mlp import fit_mlp, mlp_cost_and_gradient
from .mlp_result import MlpFit
from .optimizers import ASGD, LBFGS, SGD, Adagrad, Adam, Adamax, AdamW, RMSprop, Rprop
from .result import Fit, load

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ConvergenceWarning",
    "DivergenceError",
    "Fit",
    "InputError",
    "MlpFit",
    "RMSprop",
    "Rprop",
    "__version__",
    "activations",
    "bce_cost",
    "bce_cost_and_gradient",
    "bce_gradient",
    "cost_curve",
    "cross_entropy_cost",
    "cross_entropy_cost_and_gradient",
    "cross_entropy_gradient",
    "fit_linear",
    "fit_logistic",
    "fit_mlp",
    "linear",
    "load",
    "mlp_cost_and_gradient",
    "mse_cost",
    "mse_cost_and_gradient",
    "mse_gradient",
    "schedules",
]
