"""Activations for arrays: nine functions and their derivatives, compiled, vectorised and threaded.

Each takes what NumPy takes and returns a new array of the same shape: float32 for float32 and float16,
float64 for everything else, a number for a number. NaN stays NaN, infinities become the limits. Tanh to
softsign are scaled to a slope of 1 at zero and the limits ±1. The largest errors, in units of the
last place over the whole range, derivatives included, are in `MOST_ULP`; the tests hold every function
to mpmath. The formulas, one number at a time, are in `fastgd.formulas.activations`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from . import inputs
from .formulas.activations import ACTIVATIONS

__all__ = [
    "MOST_ULP",
    "algebraic",
    "arctan",
    "derivative",
    "erf",
    "gudermannian",
    "identity",
    "logistic",
    "relu",
    "softsign",
    "tanh",
]

#: The largest error in ulp: of the value in float32 and float64, of the derivative in both.
MOST_ULP = {
    "logistic": (2.5, 2.5, 4.5, 4.5),
    "tanh": (3.0, 3.0, 4.5, 4.5),
    "erf": (4.0, 2.5, 3.5, 3.5),
    "gudermannian": (4.5, 4.5, 4.0, 4.0),
    "algebraic": (2.0, 2.0, 4.0, 4.0),
    "arctan": (3.0, 3.0, 4.5, 4.5),
    "softsign": (2.0, 2.0, 4.0, 4.0),
    "relu": (0.0, 0.0, 0.0, 0.0),
    "identity": (0.0, 0.0, 0.0, 0.0),
}

_SHARED = """
    Parameters
    ----------
    x : array-like
        Real numbers, of any shape.
    n_threads : int, optional
        As many as there are processors if not given. The bits are the same for every number.

    Returns
    -------
    ndarray, or a number where x is one

    Raises
    ------
    InputError
        If x does not hold real numbers.

    Examples
    --------
    >>> import fastgd
    >>> fastgd.activations.{example}
"""


_Function = TypeVar("_Function", bound=Callable[..., Any])


def _documented(example: str) -> Callable[[_Function], _Function]:
    def add(function: _Function) -> _Function:
        function.__doc__ = f"{function.__doc__}{_SHARED.format(example=example)}"
        return function

    return add


def _evaluated(name: str, which: str, x: Any, n_threads: int | None) -> Any:
    from .cpu.elementwise import evaluated

    if n_threads is not None:
        n_threads = inputs.integer(n_threads, "n_threads", low=1)
    x = inputs.as_array(x, "x")
    x = x.astype(inputs.working_dtype(x, None), copy=False)
    if not (x.flags.c_contiguous or x.flags.f_contiguous):
        x = x.copy()
    with np.errstate(all="ignore"):
        out = evaluated(getattr(ACTIVATIONS[name], which), x, n_threads)
    return out if out.ndim else out[()]


@_documented("logistic([-1.0, 0.0, 1.0])\n    array([0.26894142, 0.5       , 0.73105858])")
def logistic(x: Any, *, n_threads: int | None = None) -> Any:
    """The logistic function 1/(1 + exp(−x)), from 0 to 1 (Verhulst, 1838)."""
    return _evaluated("logistic", "value", x, n_threads)


@_documented("tanh([-1.0, 0.0, 1.0])\n    array([-0.76159416,  0.        ,  0.76159416])")
def tanh(x: Any, *, n_threads: int | None = None) -> Any:
    """The hyperbolic tangent (exp(x) − exp(−x))/(exp(x) + exp(−x)), from −1 to 1."""
    return _evaluated("tanh", "value", x, n_threads)


@_documented("erf([-1.0, 0.0, 1.0])\n    array([-0.78990859,  0.        ,  0.78990859])")
def erf(x: Any, *, n_threads: int | None = None) -> Any:
    """The error function of √π/2·x, from −1 to 1: twice the normal probability of [0, √(π/2)·x]."""
    return _evaluated("erf", "value", x, n_threads)


@_documented("gudermannian([-1.0, 0.0, 1.0])\n    array([-0.73903623,  0.        ,  0.73903623])")
def gudermannian(x: Any, *, n_threads: int | None = None) -> Any:
    """The Gudermannian 2/π·gd(π/2·x) with gd(u) = ∫₀ᵘ dt/cosh t, from −1 to 1 (DLMF 4.23.39)."""
    return _evaluated("gudermannian", "value", x, n_threads)


@_documented("algebraic([-1.0, 0.0, 1.0])\n    array([-0.70710678,  0.        ,  0.70710678])")
def algebraic(x: Any, *, n_threads: int | None = None) -> Any:
    """The algebraic sigmoid x/√(1 + x²), from −1 to 1: the sine of the arc tangent."""
    return _evaluated("algebraic", "value", x, n_threads)


@_documented("arctan([-1.0, 0.0, 1.0])\n    array([-0.63909293,  0.        ,  0.63909293])")
def arctan(x: Any, *, n_threads: int | None = None) -> Any:
    """The arc tangent 2/π·arctan(π/2·x), from −1 to 1."""
    return _evaluated("arctan", "value", x, n_threads)


@_documented("softsign([-1.0, 0.0, 1.0])\n    array([-0.5,  0. ,  0.5])")
def softsign(x: Any, *, n_threads: int | None = None) -> Any:
    """The softsign x/(1 + |x|), from −1 to 1 (Turian, Bergstra and Bengio, 2009)."""
    return _evaluated("softsign", "value", x, n_threads)


@_documented("relu([-1.0, 0.0, 1.0])\n    array([0., 0., 1.])")
def relu(x: Any, *, n_threads: int | None = None) -> Any:
    """The rectifier max(x, 0), from 0 to infinity (Nair and Hinton, 2010)."""
    return _evaluated("relu", "value", x, n_threads)


@_documented("identity([-1.0, 0.0, 1.0])\n    array([-1.,  0.,  1.])")
def identity(x: Any, *, n_threads: int | None = None) -> Any:
    """The identity x, as a new array."""
    return _evaluated("identity", "value", x, n_threads)


def derivative(activation: str, x: Any, *, n_threads: int | None = None) -> np.ndarray:
    """The derivative of an activation at every number of x.

    ============  ========================
    activation    derivative
    ============  ========================
    logistic      exp(−x)/(1 + exp(−x))²
    tanh          1 − tanh²(x)
    erf           exp(−π/4·x²)
    gudermannian  1/cosh(π/2·x)
    algebraic     (1 + x²)^(−3/2)
    arctan        1/(1 + (π/2·x)²)
    softsign      1/(1 + |x|)²
    relu          1 for x > 0, else 0
    identity      1
    ============  ========================

    No formula subtracts nearly equal numbers: each keeps its digits until it underflows.

    Parameters
    ----------
    activation : str
        The name of a function of this module.
    x : array-like
        Real numbers, of any shape.
    n_threads : int, optional
        As many as there are processors if not given. The bits are the same for every number.

    Returns
    -------
    ndarray, or a number where x is one

    Raises
    ------
    InputError
        If there is no such activation, or x does not hold real numbers.

    Examples
    --------
    >>> import fastgd
    >>> fastgd.activations.derivative("tanh", [0.0, 1.0])
    array([1.        , 0.41997434])
    """
    name = inputs.choice(activation, "activation", tuple(ACTIVATIONS))
    return _evaluated(name, "slope", x, n_threads)
