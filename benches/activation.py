"""Who computes activations: values or derivatives of an array, into a new one.

NumPy and torch get each formula as their users would write it: in place where there are several
steps, torch's own function where it has one, and derivatives from the output where that is shorter.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from providers import provides
from workloads import SMOKE, THREADS

#: Largest difference of the results: rounding, where values are of order 1.
TOLERANCE = {"float32": 2e-6, "float64": 5e-15}
HALF_PI, ROOT = math.pi / 2, math.sqrt(math.pi) / 2


class Elementwise(NamedTuple):
    """An activation, or its derivative, at normal numbers of standard deviation 2."""

    activation: str
    dtype: str
    derivative: bool = False
    n: int = 10_000 if SMOKE else 1_000_000
    only: tuple[str, ...] = ()
    kind: str = "activation"
    reads: bool = False
    toy: bool = False
    brief: None = None

    @property
    def name(self) -> str:
        what = f"derivative of {self.activation}" if self.derivative else self.activation
        return f"{what}, {self.n:,} {self.dtype}"

    @property
    def bytes(self) -> int:
        """Read once and written once."""
        return 2 * self.n * np.dtype(self.dtype).itemsize

    def data(self) -> tuple[Any, Any]:
        x = np.random.default_rng(0).standard_normal(self.n) * 2
        return x.astype(self.dtype), None

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        error = np.abs(np.asarray(result, np.float64) - np.asarray(expected, np.float64)).max()
        assert error < TOLERANCE[self.dtype], f"{name} is off by {error:.1e}"
        return {}


@provides("fastgd", "activation", needs="fastgd")
def fastgd_activation(work):
    from fastgd import activations

    function = getattr(activations, work.activation)
    if work.derivative:
        return lambda x, y: (x,), lambda x: activations.derivative(work.activation, x)
    return lambda x, y: (x,), function


def _numpy_logistic(x):
    out = np.negative(x)
    np.exp(out, out=out)
    out += 1
    return np.reciprocal(out, out=out)


def _numpy_algebraic(x):
    out = np.square(x)
    out += 1
    np.sqrt(out, out=out)
    return np.divide(x, out, out=out)


def _numpy_softsign(x):
    out = np.abs(x)
    out += 1
    return np.divide(x, out, out=out)


def _numpy_gudermannian(x):
    out = np.multiply(x, HALF_PI / 2)
    np.tanh(out, out=out)
    np.arctan(out, out=out)
    out *= 2 / HALF_PI
    return out


def _numpy_arctan(x):
    out = np.multiply(x, HALF_PI)
    np.arctan(out, out=out)
    out /= HALF_PI
    return out


def _numpy_erf(x):
    from scipy.special import erf

    out = np.multiply(x, ROOT)
    return erf(out, out=out)


def _numpy_logistic_slope(x):
    s = _numpy_logistic(x)
    return np.subtract(s, np.square(s), out=s)


def _numpy_tanh_slope(x):
    out = np.tanh(x)
    np.square(out, out=out)
    return np.subtract(1, out, out=out)


def _numpy_softsign_slope(x):
    out = np.abs(x)
    out += 1
    np.square(out, out=out)
    return np.reciprocal(out, out=out)


NUMPY = {
    "logistic": (_numpy_logistic, _numpy_logistic_slope),
    "tanh": (np.tanh, _numpy_tanh_slope),
    "erf": (_numpy_erf, None),
    "gudermannian": (_numpy_gudermannian, None),
    "algebraic": (_numpy_algebraic, None),
    "arctan": (_numpy_arctan, None),
    "softsign": (_numpy_softsign, _numpy_softsign_slope),
    "relu": (lambda x: np.maximum(x, 0), None),
    "identity": (np.copy, None),
}


@provides("NumPy", "activation", when=lambda work: NUMPY[work.activation][work.derivative])
def numpy_activation(work):
    return lambda x, y: (x,), NUMPY[work.activation][work.derivative]


def _torch_formulas():
    import torch

    def logistic_slope(x):
        s = torch.sigmoid(x)
        return s.sub_(s * s)

    return {
        "logistic": (torch.sigmoid, logistic_slope),
        "tanh": (torch.tanh, lambda x: torch.tanh(x).square_().neg_().add_(1)),
        "erf": (lambda x: torch.mul(x, ROOT).erf_(), None),
        "gudermannian": (
            lambda x: torch.mul(x, HALF_PI / 2).tanh_().atan_().mul_(2 / HALF_PI),
            None,
        ),
        "algebraic": (lambda x: torch.square(x).add_(1).rsqrt_().mul_(x), None),
        "arctan": (lambda x: torch.mul(x, HALF_PI).atan_().div_(HALF_PI), None),
        "softsign": (
            torch.nn.functional.softsign,
            lambda x: torch.abs(x).add_(1).square_().reciprocal_(),
        ),
        "relu": (torch.relu, None),
        "identity": (torch.clone, None),
    }


@provides("torch", "activation", needs="torch")
def torch_activation(work):
    import torch

    function = torch.inference_mode()(_torch_formulas()[work.activation][work.derivative])
    torch.set_num_threads(THREADS)
    return lambda x, y: (torch.from_numpy(x),), function


@provides("JAX", "activation", needs="jax")
def jax_activation(work):
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", True)
    function = {
        "logistic": jax.nn.sigmoid,
        "tanh": jnp.tanh,
        "erf": lambda x: jax.scipy.special.erf(ROOT * x),
        "gudermannian": lambda x: 2 / HALF_PI * jnp.arctan(jnp.tanh(HALF_PI / 2 * x)),
        "algebraic": lambda x: x * jax.lax.rsqrt(1 + x * x),
        "arctan": lambda x: jnp.arctan(HALF_PI * x) / HALF_PI,
        "softsign": jax.nn.soft_sign,
        "relu": jax.nn.relu,
        "identity": jnp.copy,
    }[work.activation]
    if work.derivative:
        value = function
        function = lambda x: jax.vjp(value, x)[1](jnp.ones_like(x))[0]  # noqa: E731
    compiled = jax.jit(function)
    return lambda x, y: (jnp.asarray(x),), lambda x: compiled(x).block_until_ready()
