"""What is raced over: workloads of gradient descent, their data, and when results agree."""

import functools
import math
import os
from typing import Any, NamedTuple

import numpy as np

#: With FASTGD_BENCH_SMOKE=1 everything runs once, on a hundredth of the rows.
SMOKE = os.environ.get("FASTGD_BENCH_SMOKE", "") not in ("", "0")

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

#: Largest relative difference of the results. A plain loop over 10⁶ float32 loses most.
TOLERANCE = {"float32": 2e-3, "float64": 1e-8}
#: Bytes of X, over all epochs, from which a run is too long to be repeated.
LONG = 16e9


class Workload(NamedTuple):
    """A piece of work that all contestants do alike: gradient descent, or costs at given points."""

    model: str  # "linear" or "logistic"
    n: int
    d: int = 1
    dtype: str = "float64"
    epochs: int = 0  # 0: one cost and gradient, or costs at several points
    lr: float = 0.1
    batch_size: int | None = None
    shuffle: bool | str = False
    toy: bool = False  # three points, in lists, and the whole call is timed
    points: int = 0  # the cost at that many coefficients
    threads: int = 0  # 0: as many as there are
    only: tuple[str, ...] = ()  # the contestants, if not all who can do it

    @property
    def kind(self) -> str:
        if self.epochs == 0:
            return "cost curve" if self.points else "cost"
        return {None: "batch", 1: "per-sample"}.get(self.batch_size, "minibatch")

    @property
    def name(self) -> str:
        order = {False: "SGD in given order", True: "shuffled SGD", "block": "block-shuffled SGD"}
        what = {
            "cost": "cost and gradient",
            "cost curve": f"cost at {self.points:,} coefficients",
            "per-sample": order[self.shuffle],
            "minibatch": f"batches of {self.batch_size}",
        }.get(self.kind, self.kind)
        shape = "3 points" if self.toy else f"{self.n:,}x{self.d} {self.dtype}"
        epochs = {0: "", 1: ", 1 epoch"}.get(self.epochs, f", {self.epochs:,} epochs")
        threads = {0: "", 1: ", 1 thread"}.get(self.threads, f", {self.threads} threads")
        return f"{self.model}, {shape}, {what}{epochs}{threads}"

    @property
    def bytes(self) -> int:
        """What one read of X an epoch amounts to; contestants may move more, or less."""
        return max(1, self.epochs) * self.n * self.d * np.dtype(self.dtype).itemsize

    @property
    def reads(self) -> bool:
        """Whether the bandwidth of reading X bounds it: not where latency or arithmetic does."""
        return self.kind in ("batch", "minibatch", "cost") and not self.toy

    @property
    def brief(self) -> "Workload | None":
        """If one run takes seconds: a short one of the same kind, which compiles as much."""
        if self.points:
            return self._replace(points=2)
        return self._replace(epochs=1) if self.bytes > LONG else None

    @property
    def logistic(self) -> bool:
        return self.model == "logistic"

    @property
    def step(self) -> float:
        """lr times the 2 of the squared error's slope."""
        return self.lr * (1.0 if self.logistic else 2.0)

    def order(self, epoch: int) -> np.ndarray:
        """The visiting order of an epoch, the same for everyone who takes one."""
        from fastgd.cpu.order import visiting_order

        return visiting_order(self.n, self.shuffle, 0, epoch)

    def visited(self, x, y, epoch: int):
        """x and y in the order of an epoch: as they are, or gathered."""
        if not self.shuffle:
            return x, y
        order = self.order(epoch)
        return x[order], y[order]

    def data(self) -> tuple[Any, Any]:
        """Standard normal rows, (n,) for d = 1, and targets of a noisy true model, seeds fixed."""
        if self.toy:
            return [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
        x, rng = _rows(self.n, self.d, self.dtype), np.random.default_rng(1)
        z = np.dot(x, truth(self)) + 0.3
        noisy = z + (rng.logistic(0, 1, self.n) if self.logistic else rng.normal(0, 0.5, self.n))
        return x, (noisy > 0 if self.logistic else noisy).astype(self.dtype)

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        """What is to be told about a result, the final cost, after it was found to agree."""
        info = {} if self.points else {"cost": self._cost(x, y, result)}
        if self.shuffle and name in ("scikit-learn", "fastgd, given order"):
            cost, reference = info["cost"], self._cost(x, y, expected)  # another order
            # The last rows alone may double it; a model of the mean has five times as much.
            assert 0.5 < cost / reference < 2, f"{name}: cost {cost}, not {reference}"
        else:
            ours, theirs = _numbers(result), _numbers(expected)
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
            assert error < TOLERANCE[self.dtype], f"{name} is off by {error:.1e}: {result}"
        return info

    def _cost(self, x, y, result) -> float:
        return float(result[0]) if self.kind == "cost" else cost_at(self, x, y, *result)


def workloads(*rows: Workload) -> dict[str, Workload]:
    """By name; a hundredth of the rows in a smoke run."""
    return {row.name: row for row in map(smoked, rows)}


def smoked(row: Workload) -> Workload:
    """The workload as it is run: in a smoke run of little."""
    if not SMOKE or row.toy:
        return row
    return row._replace(n=max(10, row.n // 100), points=row.points // 100)


@functools.lru_cache(maxsize=1)
def _rows(n: int, d: int, dtype: str) -> np.ndarray:
    x = np.random.default_rng(n + d).standard_normal((n, d), dtype=np.float32)
    return (x[:, 0] if d == 1 else x).astype(dtype, copy=False)


def truth(work: Workload) -> np.ndarray:
    """The true coefficients, with |coef| about 1; `cost` workloads look at half of them."""
    coef = np.random.default_rng(2).standard_normal(work.d) / math.sqrt(work.d) + 0.1
    return (coef[0] if work.d == 1 else coef).astype(work.dtype)


def cost_at(work, x, y, coef, intercept) -> float:
    """The mean cost, in float64."""
    z = np.dot(np.asarray(x), np.asarray(coef).reshape(np.shape(x)[1:])) + float(intercept)
    z, y = np.asarray(z, np.float64), np.asarray(y, np.float64)
    return float(np.mean(np.logaddexp(0, z) - z * y if work.logistic else (z - y) ** 2))


def _numbers(result) -> np.ndarray:
    return np.concatenate([np.ravel(part).astype(float) for part in result])
