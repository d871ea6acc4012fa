"""Who descends with another loss: batch epochs over dense rows."""

from typing import Any, NamedTuple

import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE

#: Loss → its slope for NumPy, and the same for torch tensors, of (z, y).
SLOPES: dict[str, Any] = {
    "huber": (
        lambda np, z, y: np.clip(z - y, -1.35, 1.35),
        lambda torch, z, y: torch.clamp(z - y, -1.35, 1.35),
    ),
    "poisson": (
        lambda np, z, y: np.exp(z) - y,
        lambda torch, z, y: torch.exp(z) - y,
    ),
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
        y = rng.poisson(np.exp(z)) if self.loss == "poisson" else z + rng.standard_t(2, self.n)
        return x, y.astype(self.dtype)

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
    slope, _ = SLOPES[work.loss]

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

    _, slope = SLOPES[work.loss]

    def run(x, y):
        coef, intercept, scale = x.new_zeros(work.d), x.new_zeros(()), work.lr / len(x)
        with torch.no_grad():
            for _ in range(work.epochs):
                slopes = slope(torch, torch.addmv(intercept, x, coef), y)
                coef -= scale * (slopes @ x)
                intercept -= scale * slopes.sum()
        return coef.numpy(), intercept.item()

    return lambda x, y: (torch.from_numpy(x), torch.from_numpy(y)), run
