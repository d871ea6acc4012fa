"""fastgd: gradient descent on linear and logistic models, as fast as the machine allows."""

from typing import TYPE_CHECKING

from . import losses
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
from .errors import BlockError, ConvergenceWarning, DivergenceError, InputError
from .fit import fit, fit_linear, fit_logistic
from .result import Fit, load

if TYPE_CHECKING:
    from . import activations, schedules
    from .mlp.fit import fit_mlp, mlp_cost_and_gradient
    from .mlp.result import MlpFit
    from .optimizers import ASGD, LBFGS, SGD, Adagrad, Adam, Adamax, AdamW, RMSprop, Rprop

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "BlockError",
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
    "fit",
    "fit_linear",
    "fit_logistic",
    "fit_mlp",
    "linear",
    "load",
    "losses",
    "mlp_cost_and_gradient",
    "mse_cost",
    "mse_cost_and_gradient",
    "mse_gradient",
    "schedules",
]

#: What is imported when it is first asked for, and where it is: 15 ms that most programs need not wait.
_LATER = {
    "activations": "",
    "schedules": "",
    "fit_mlp": "mlp.fit",
    "mlp_cost_and_gradient": "mlp.fit",
    "MlpFit": "mlp.result",
} | dict.fromkeys(
    ("ASGD", "LBFGS", "SGD", "Adagrad", "Adam", "AdamW", "Adamax", "RMSprop", "Rprop"), "optimizers"
)


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f".{_LATER[name] or name}", __name__)
    value = getattr(module, name) if _LATER[name] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_LATER]
