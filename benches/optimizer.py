"""Who walks with an optimizer: minibatches of a logistic model, with torch's own implementations."""

import importlib.util
from typing import Any, NamedTuple

import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE, cost_at

from fastgd.optimizers import OPTIMIZERS

#: float32 sums in another order, after hundreds of updates that divide by small numbers.
TOLERANCE = 5e-3
#: torch's class and what the name stands for.
TORCH = {
    "gd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adagrad": ("Adagrad", {}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "adamax": ("Adamax", {}),
    "asgd": ("ASGD", {}),
    "lbfgs": ("LBFGS", {"line_search_fn": "strong_wolfe"}),
    "rmsprop": ("RMSprop", {}),
    "rprop": ("Rprop", {}),
}
FUSED = ("gd", "momentum", "nesterov", "adagrad", "adam", "adamw")


class Walk(NamedTuple):
    """An optimizer on standard normal rows, in batches, or on all rows where it needs them."""

    optimizer: str
    n: int = 2_000 if SMOKE else 50_000
    d: int = 100
    dtype: str = "float32"
    epochs: int = 2
    lr: float = 0.01
    batch_size: int = 256
    only: tuple[str, ...] = ()
    kind: str = "optimizer"
    reads: bool = False
    toy: bool = False
    brief: None = None
    logistic: bool = True

    @property
    def name(self) -> str:
        how = "all rows" if self.optimizer == "lbfgs" else f"batches of {self.batch_size}"
        shape = f"{self.n:,}x{self.d} {self.dtype}"
        return f"{self.optimizer}, logistic, {shape}, {how}, {self.epochs} epochs"

    @property
    def size(self) -> int:
        return self.n if self.optimizer == "lbfgs" else self.batch_size

    def data(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.n, self.d), dtype=np.float32)
        z = x @ (rng.standard_normal(self.d) / 10) + rng.logistic(0, 1, self.n)
        return x, (z > 0).astype(np.float32)

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        found, wanted = (np.append(*map(np.float64, pair)) for pair in (result, expected))
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        # Steps of a sign, or of curvatures from differences, follow the last bits of a gradient.
        loose = 40 if self.optimizer in ("rprop", "lbfgs") else 1
        assert error < loose * TOLERANCE, f"{name} is off by {error:.1e}"
        return {"cost": cost_at(self, x, y, *result)}


@provides("fastgd", "optimizer", needs="fastgd")
def fastgd_walk(work):
    import fastgd

    optimizer: Any = OPTIMIZERS[work.optimizer]
    how = {"lr": work.lr, "batch_size": work.batch_size, "shuffle": False}
    if work.optimizer == "lbfgs":
        optimizer, how = fastgd.LBFGS(line_search_fn="strong_wolfe"), {"lr": 1.0}

    def run(x, y):
        fit = fastgd.fit_logistic(x, y, epochs=work.epochs, optimizer=optimizer, **how)
        return fit.coef, fit.intercept

    return lambda x, y: (x, y), run


def _torch(work, **implementation):
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as bce

    kind, options = TORCH[work.optimizer]
    make = getattr(torch.optim, kind)
    lr = 1.0 if work.optimizer == "lbfgs" else work.lr

    def run(x, y):
        torch.set_num_threads(1)  # a batch is too little for two
        coef, intercept = (
            torch.zeros(work.d, requires_grad=True),
            torch.zeros(1, requires_grad=True),
        )
        rule = make([coef, intercept], lr=lr, **options, **implementation)
        for _ in range(work.epochs):
            for rows, target in zip(x.split(work.size), y.split(work.size), strict=True):

                def closure(rows=rows, target=target):
                    rule.zero_grad()
                    loss = bce(rows @ coef + intercept, target)
                    loss.backward()
                    return loss

                rule.step(closure)
        return coef.detach().numpy(), intercept.item()

    return lambda x, y: (torch.from_numpy(x), torch.from_numpy(y)), run


def _has(option: str):
    def can(work) -> bool:
        if not importlib.util.find_spec("torch") or work.optimizer == "lbfgs":
            return False
        return option != "fused" or work.optimizer in FUSED

    return can


@provides(REFERENCE, "optimizer", needs="torch")
@provides("torch", "optimizer", needs="torch")
def torch_eager(work):
    return _torch(work, **({} if work.optimizer == "lbfgs" else {"foreach": False}))


@provides("torch foreach", "optimizer", needs="torch", when=_has("foreach"))
def torch_foreach(work):
    return _torch(work, foreach=True)


@provides("torch fused", "optimizer", needs="torch", when=_has("fused"))
def torch_fused(work):
    return _torch(work, fused=True)
