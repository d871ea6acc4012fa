"""Who descends with another loss: batch epochs over dense rows."""

from typing import Any, NamedTuple

import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE


def _margins(xp, z, y, slope):
    """The slope in z of a loss of the margin, from its slope in the margin: of labels of 0 and 1."""
    side = 2 * y - 1
    return side * slope(side * z)


def _negative_binomial(xp, z, y):
    mean = xp.exp(z)
    return (mean - y) / (1 + mean)


def _excess(xp, z, y):
    """How far the residual is beyond ±0.1."""
    r = z - y
    return r - xp.clip(r, -0.1, 0.1)


#: Loss → its slope of (z, y), for NumPy and for torch's tensors alike.
SLOPES: dict[str, Any] = {
    "huber": lambda xp, z, y: xp.clip(z - y, -1.35, 1.35),
    "quantile": lambda xp, z, y: 0.5 * xp.sign(z - y),
    "epsilon_insensitive": lambda xp, z, y: xp.sign(_excess(xp, z, y)),
    "squared_epsilon_insensitive": lambda xp, z, y: 2 * _excess(xp, z, y),
    "hinge": lambda xp, z, y: _margins(xp, z, y, lambda m: -1.0 * (m <= 1)),
    "squared_hinge": lambda xp, z, y: _margins(xp, z, y, lambda m: 2 * xp.clip(m - 1, None, 0)),
    "modified_huber": lambda xp, z, y: _margins(xp, z, y, lambda m: 2 * xp.clip(m - 1, -2, 0)),
    "poisson": lambda xp, z, y: xp.exp(z) - y,
    "gamma": lambda xp, z, y: 1 - y * xp.exp(-z),
    "tweedie": lambda xp, z, y: xp.exp(z / 2) - y * xp.exp(-z / 2),
    "negative_binomial": _negative_binomial,
}
#: Losses whose targets are not any numbers → targets from raw predictions.
TARGETS: dict[str, Any] = {
    **dict.fromkeys(
        ("hinge", "squared_hinge", "modified_huber"), lambda rng, z: z > rng.logistic(size=len(z))
    ),
    "poisson": lambda rng, z: rng.poisson(np.exp(z)),
    "negative_binomial": lambda rng, z: rng.poisson(np.exp(z) * rng.gamma(1.0, size=len(z))),
    "gamma": lambda rng, z: np.exp(z) * rng.gamma(1.0, size=len(z)) + 1e-6,
    "tweedie": lambda rng, z: rng.poisson(np.exp(z)) * rng.gamma(1.0, size=len(z)),
}


class Losses(NamedTuple):
    """Batch descent with a loss on standard normal rows."""

    loss: str
    dtype: str = "float32"
    n: int = 10_000 if SMOKE else 1_000_000
    d: int = 32
    epochs: int = 20
    lr: float = 0.1
    only: tuple[str, ...] = ()
    kind: str = "loss"
    reads: bool = True
    toy: bool = False
    brief: None = None

    @property
    def name(self) -> str:
        return f"{self.loss}, {self.n:,}x{self.d} {self.dtype}, batch, {self.epochs} epochs"

    @property
    def bytes(self) -> int:
        return self.epochs * self.n * self.d * np.dtype(self.dtype).itemsize

    def data(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.n, self.d), dtype=np.float32).astype(self.dtype, copy=False)
        z = x @ (rng.standard_normal(self.d) / 10).astype(self.dtype)
        of_loss = TARGETS.get(self.loss, lambda rng, z: z + rng.standard_t(2, self.n))
        return x, of_loss(rng, z).astype(self.dtype)

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        found, wanted = (np.append(*map(np.float64, pair)) for pair in (result, expected))
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert error < (2e-3 if self.dtype == "float32" else 1e-8), f"{name} is off by {error:.1e}"
        return {}


@provides("fastgd", "loss", needs="fastgd")
def fastgd_loss(work):
    import fastgd

    def run(x, y):
        fit = fastgd.fit(x, y, work.loss, lr=work.lr, epochs=work.epochs)
        return fit.coef, fit.intercept

    return lambda x, y: (x, y), run


@provides(REFERENCE, "loss")
@provides("NumPy", "loss")
def numpy_loss(work):
    slope = SLOPES[work.loss]

    def run(x, y):
        coef, intercept, scale = np.zeros(work.d, x.dtype), x.dtype.type(0), work.lr / len(x)
        for _ in range(work.epochs):
            slopes = slope(np, x @ coef + intercept, y)
            coef -= scale * (slopes @ x)
            intercept -= scale * slopes.sum()
        return coef, intercept

    return lambda x, y: (x, y), run


@provides("torch", "loss", needs="torch")
def torch_loss(work):
    import torch

    slope = SLOPES[work.loss]

    def run(x, y):
        coef, intercept, scale = x.new_zeros(work.d), x.new_zeros(()), work.lr / len(x)
        with torch.no_grad():
            for _ in range(work.epochs):
                slopes = slope(torch, torch.addmv(intercept, x, coef), y)
                coef -= scale * (slopes @ x)
                intercept -= scale * slopes.sum()
        return coef.numpy(), intercept.item()

    return lambda x, y: (torch.from_numpy(x), torch.from_numpy(y)), run
