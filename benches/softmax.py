"""Who fits more than two labels: gradient descent on the cross-entropy of ten classes, and its optimum.

NumPy and torch work on labels that were made into one-hot rows beforehand, which saves them a step of
every update; fastgd gets the labels.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from providers import REFERENCE, provides
from workloads import SMOKE, THREADS, TOLERANCE


class Softmax(NamedTuple):
    """Rows like images of digits, the label that of the largest of k noisy true predictions."""

    n: int
    d: int
    k: int = 10
    dtype: str = "float32"
    epochs: int = 0  # 0: down to the optimum, with this l2
    batch_size: int | None = None
    lr: float = 0.01
    l2: float = 1e-2
    only: tuple[str, ...] = ()
    reads: bool = False  # with ten classes it is arithmetic that takes the time
    toy: bool = False
    brief: None = None

    @property
    def kind(self) -> str:
        return "softmax" if self.epochs else "softmax optimum"

    @property
    def name(self) -> str:
        how = f"batches of {self.batch_size}" if self.batch_size else "batch"
        what = f"{how}, {self.epochs} epochs" if self.epochs else f"optimum, l2={self.l2:g}"
        return f"softmax, {self.n:,}x{self.d}, {self.k} classes, {self.dtype}, {what}"

    @property
    def step(self) -> float:
        return self.lr

    def data(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.random((self.n, self.d), dtype=np.float32).astype(self.dtype)
        z = np.dot(x - 0.5, rng.standard_normal((self.d, self.k)))
        return x, (z + z.std() * rng.gumbel(size=z.shape) / 2).argmax(axis=1)

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        size = np.abs(expected[0]).max()
        error = max(np.abs(np.asarray(a) - b).max() for a, b in zip(result, expected, strict=True))
        limit = TOLERANCE[self.dtype] if self.epochs else 1e-3  # what a solver calls converged
        assert error < limit * size, f"{name} is off by {error / size:.1e}"
        return {}


def workloads() -> dict[str, Softmax]:
    """By name; a tenth of the rows in a smoke run."""
    digits = Softmax(500 if SMOKE else 5000, 784)
    rows = [
        digits._replace(dtype=dtype, epochs=epochs, batch_size=batch_size)
        for dtype in ("float32", "float64")
        for epochs, batch_size in ((3, 64), (20, None))
    ]
    rows.append(Softmax(2_000 if SMOKE else 100_000, 32, 5, "float64"))
    return {row.name: row for row in rows}


@provides("fastgd", "softmax", "softmax optimum", needs="fastgd")
def fastgd_softmax(work):
    import fastgd

    how: dict[str, Any] = {"l2": work.l2}
    if work.epochs:
        how = {"lr": work.lr, "epochs": work.epochs, "batch_size": work.batch_size}

    def run(x, y):
        fit = fastgd.fit_logistic(x, y, shuffle=False, **how)
        return fit.coef, fit.intercept

    return lambda x, y: (x, y), run


@provides("NumPy", "softmax")
def numpy_softmax(work):
    size = work.batch_size or work.n

    def run(x, hot):
        coef, intercept = np.zeros((work.k, work.d), x.dtype), np.zeros(work.k, x.dtype)
        for _ in range(work.epochs):
            for start in range(0, work.n, size):
                rows, target = x[start : start + size], hot[start : start + size]
                z = np.dot(rows, coef.T)
                z += intercept
                z -= z.max(axis=1, keepdims=True)
                np.exp(z, out=z)
                z /= z.sum(axis=1, keepdims=True)
                z -= target
                step = x.dtype.type(work.step / len(rows))
                coef -= step * np.dot(z.T, rows)
                intercept -= step * z.sum(axis=0)
        return coef, intercept

    return lambda x, y: (x, np.eye(work.k, dtype=work.dtype)[y]), run


@provides("torch", "softmax", needs="torch")
def torch_softmax(work):
    import torch

    size = work.batch_size or work.n

    @torch.inference_mode()
    def run(x, hot):
        torch.set_num_threads(1 if work.batch_size else THREADS)
        coef, intercept = x.new_zeros(work.k, work.d), x.new_zeros(work.k)
        for _ in range(work.epochs):
            for rows, target in zip(x.split(size), hot.split(size), strict=True):
                slope = torch.softmax(torch.addmm(intercept, rows, coef.T), 1).sub_(target)
                step = -work.step / len(rows)
                coef.addmm_(slope.T, rows, alpha=step)
                intercept.add_(slope.sum(0), alpha=step)
        return coef.numpy(), intercept.numpy()

    def prepare(x, y):
        hot = torch.nn.functional.one_hot(torch.as_tensor(y), work.k)
        return torch.as_tensor(x), hot.to(getattr(torch, work.dtype))

    return prepare, run


@provides("torch autograd", "softmax", needs="torch")
def torch_softmax_autograd(work):
    """The loop of a tutorial: nn.Linear, CrossEntropyLoss, optim.SGD."""
    import torch

    size = work.batch_size or work.n

    def run(x, y):
        torch.set_num_threads(1 if work.batch_size else THREADS)
        model = torch.nn.Linear(work.d, work.k, dtype=x.dtype)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        loss, rule = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=work.lr)
        for _ in range(work.epochs):
            for rows, target in zip(x.split(size), y.split(size), strict=True):
                rule.zero_grad()
                loss(model(rows), target).backward()
                rule.step()
        return model.weight.detach().numpy(), model.bias.detach().numpy()

    return lambda x, y: (torch.as_tensor(x), torch.as_tensor(y)), run


def _sklearn(work, solver: str, tol: float):
    from sklearn.linear_model import LogisticRegression

    make = functools.partial(
        LogisticRegression, C=1 / (work.l2 * work.n), solver=solver, tol=tol, max_iter=1000
    )

    def run(x, y):
        model = make().fit(x, y)
        return model.coef_, model.intercept_

    return lambda x, y: (x, y), run


@provides(REFERENCE, "softmax optimum", needs="sklearn")
@provides("scikit-learn newton-cholesky", "softmax optimum", needs="sklearn")
def sklearn_newton(work):
    return _sklearn(work, "newton-cholesky", 1e-8)


@provides("scikit-learn lbfgs", "softmax optimum", needs="sklearn")
def sklearn_lbfgs(work):
    return _sklearn(work, "lbfgs", 1e-6)
