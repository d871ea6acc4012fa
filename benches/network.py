"""Who trains networks: minibatch descent on one hidden layer of logistic units and a softmax.

All begin at the same weights and walk the same orders, and end at the same weights; scikit-learn, which
draws its own, is held to the cost.
"""

import itertools
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from providers import provides
from workloads import SMOKE, THREADS

from fastgd.cpu.order import visiting_order

#: Largest difference of the weights, which are of order 0.1.
TOLERANCE = 1e-4
LR = 0.1


class Network(NamedTuple):
    """`epochs` epochs in batches of 64."""

    epochs: int = 1
    n: int = 200 if SMOKE else 10_000
    d: int = 784
    hidden: int = 128
    classes: int = 10
    batch_size: int = 64
    dtype: str = "float32"
    only: tuple[str, ...] = ()
    kind: str = "network"
    reads: bool = False
    toy: bool = False
    brief: None = None

    @property
    def name(self) -> str:
        plural = "s" if self.epochs > 1 else ""
        return (
            f"{self.n:,}x{self.d} {self.dtype}, {self.hidden} units, {self.classes} classes, "
            f"batches of {self.batch_size}, {self.epochs} epoch{plural}"
        )

    @property
    def bytes(self) -> int:
        return self.epochs * self.n * self.d * np.dtype(self.dtype).itemsize

    def data(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.n, self.d), dtype=np.float32)
        y = (x @ rng.standard_normal((self.d, self.classes), dtype=np.float32)).argmax(axis=1)
        return x.astype(self.dtype, copy=False), y

    def start(self):
        """Weights (out, in) and biases (out,) to begin with."""
        rng, sizes = np.random.default_rng(1), (self.d, self.hidden, self.classes)
        weights, biases = [], []
        for a, b in itertools.pairwise(sizes):
            bound = 1 / math.sqrt(a)
            weights.append(rng.uniform(-bound, bound, (b, a)).astype(self.dtype))
            biases.append(rng.uniform(-bound, bound, b).astype(self.dtype))
        return weights, biases

    def orders(self):
        return [visiting_order(self.n, True, 0, epoch) for epoch in range(self.epochs)]

    def check(self, name: str, x, y, result, expected) -> dict[str, Any]:
        (w1, w2), (b1, b2) = result
        z = 1 / (1 + np.exp(-(x @ w1.T + b1))) @ w2.T + b2
        top = z.max(axis=1)
        cost = float(
            np.mean(top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - z[range(len(y)), y])
        )
        if name == "scikit-learn":
            assert cost < 2 * math.log(self.classes), cost
        else:
            for got, wanted in zip((w1, w2, b1, b2), (*expected[0], *expected[1]), strict=True):
                error = np.abs(got - wanted).max()
                assert error < TOLERANCE, f"{name} is off by {error:.1e}"
        return {"cost": cost}


@provides("fastgd", "network", needs="fastgd")
def fastgd_network(work):
    import fastgd

    weights, biases = work.start()

    def run(x, y):
        with warnings.catch_warnings(action="ignore"):
            fit = fastgd.fit_mlp(
                x, y, hidden=work.hidden, loss="cross_entropy", lr=LR, epochs=work.epochs,
                batch_size=work.batch_size, weights_init=weights, biases_init=biases,
            )  # fmt: skip
        return fit.weights, fit.biases

    return lambda x, y: (x, y), run


@provides("NumPy", "network")
def numpy_network(work):
    """As a careful hand writes it: in place, (in, out) weights, one gather a batch."""
    weights, biases = work.start()
    orders = work.orders()

    def run(x, y):
        w1, w2 = (np.ascontiguousarray(w.T) for w in weights)
        b1, b2 = (b.copy() for b in biases)
        by_w1, by_w2 = np.empty_like(w1), np.empty_like(w2)
        for order in orders:
            for start in range(0, work.n, work.batch_size):
                batch = order[start : start + work.batch_size]
                rows, m = x[batch], len(batch)
                a = np.dot(rows, w1)
                a += b1
                np.negative(a, out=a)
                np.exp(a, out=a)
                a += 1
                np.reciprocal(a, out=a)
                z = np.dot(a, w2)
                z += b2
                z -= z.max(axis=1, keepdims=True)
                np.exp(z, out=z)
                z /= z.sum(axis=1, keepdims=True)
                z[np.arange(m), y[batch]] -= 1
                z *= LR / m
                delta = np.dot(z, w2.T)
                delta *= a
                delta *= 1 - a
                w2 -= np.dot(a.T, z, out=by_w2)
                b2 -= z.sum(axis=0)
                w1 -= np.dot(rows.T, delta, out=by_w1)
                b1 -= delta.sum(axis=0)
        return (w1.T, w2.T), (b1, b2)

    return lambda x, y: (x, y), run


@provides("torch", "network", needs="torch")
def torch_network(work):
    import torch

    torch.set_num_threads(THREADS)
    weights, biases = work.start()
    orders = [torch.from_numpy(order.astype(np.int64)) for order in work.orders()]

    def run(x, y):
        net = torch.nn.Sequential(
            torch.nn.Linear(work.d, work.hidden),
            torch.nn.Sigmoid(),
            torch.nn.Linear(work.hidden, work.classes),
        )
        layers = net[0], net[2]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, weights, biases, strict=True):
                layer.weight[...], layer.bias[...] = (
                    torch.from_numpy(weight),
                    torch.from_numpy(bias),
                )
        optimizer = torch.optim.SGD(net.parameters(), lr=LR)
        for order in orders:
            for batch in order.split(work.batch_size):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
                optimizer.step()
        with torch.no_grad():
            return [p.weight.numpy() for p in layers], [p.bias.numpy() for p in layers]

    return lambda x, y: (torch.from_numpy(x), torch.from_numpy(y)), run


@provides("JAX", "network", needs="jax")
def jax_network(work):
    """An epoch is one compiled scan over the full batches, and one step for what is left."""
    import jax
    from jax import numpy as jnp

    weights, biases = work.start()
    orders = [jnp.asarray(order) for order in work.orders()]
    full = work.n // work.batch_size * work.batch_size

    def cost(parameters, x, y):
        w1, b1, w2, b2 = parameters
        z = jax.nn.sigmoid(x @ w1 + b1) @ w2 + b2
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(y)), y])

    @jax.jit
    def epoch(parameters, order, x, y):
        def step(parameters, batch):
            by = jax.grad(cost)(parameters, x[batch], y[batch])
            return [p - LR * g for p, g in zip(parameters, by, strict=True)], None

        parameters, _ = jax.lax.scan(step, parameters, order[:full].reshape(-1, work.batch_size))
        return step(parameters, order[full:])[0] if full < work.n else parameters

    def run(x, y):
        parameters = [
            jnp.asarray(p) for w, b in zip(weights, biases, strict=True) for p in (w.T, b)
        ]
        for order in orders:
            parameters = epoch(parameters, order, x, y)
        w1, b1, w2, b2 = (np.asarray(p) for p in parameters)
        return (w1.T, w2.T), (b1, b2)

    return lambda x, y: (jnp.asarray(x), jnp.asarray(y, np.int32)), run


@provides("scikit-learn", "network", needs="sklearn")
def sklearn_network(work):
    from sklearn.neural_network import MLPClassifier

    def run(x, y):
        with warnings.catch_warnings(action="ignore"):  # it has not converged, as it should
            fit = MLPClassifier(
                (work.hidden,), activation="logistic", solver="sgd", alpha=0.0, momentum=0.0,
                batch_size=work.batch_size, learning_rate_init=LR, max_iter=work.epochs,
                random_state=0, tol=0.0,
            ).fit(x, y)  # fmt: skip
        return [w.T for w in fit.coefs_], fit.intercepts_

    return lambda x, y: (x, y), run
