"""Who runs in a race over gradient descent: one provider for each contestant.

A provider takes a `Workload` and returns ``(prepare, run)``. ``prepare(x, y)`` turns the data into
what the library computes on, outside the timing, except where a workload starts from lists: there
it belongs to the call. ``run(*prepared)`` does the work and returns its numbers, which the race
compares before it times anyone. To add a contestant, write one function here; to add a workload,
one line in a `bench_*.py`.

Every contestant is written as its own users would at their best: BLAS products into kept buffers,
in-place updates, compiled loops, the analytic gradient. fastgd returns the cost of every epoch
with its fit; the others are not asked for it. Only NumPy is imported here, so that a fresh process
can be timed from its first import.
"""

import contextlib
import functools
import importlib.util
import math
import shutil
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from workloads import SMOKE, THREADS, Workload, truth


class Provider(NamedTuple):
    make: Callable[..., tuple[Callable, Callable]]
    needs: str
    when: Callable[..., bool]


#: contestant -> kind of workload -> provider. The order is that of the table.
PROVIDERS: dict[str, dict[str, Provider]] = {}
#: A name to provide what results are compared with under, where that is none of the contestants.
REFERENCE = "reference"
#: Only where a workload asks for it: the tables compare loops that read X.
STATISTICS = "NumPy on X^T X"


def provides(contestant: str, *kinds: str, needs="numpy", when=lambda work: True):
    def register(make):
        entry = Provider(make, needs, when)
        PROVIDERS.setdefault(contestant, {}).update(dict.fromkeys(kinds, entry))
        return make

    return register


def contestants(work) -> list[str]:
    """Who does this work, is wanted, and is installed."""
    entries = {
        name: by_kind[work.kind]
        for name, by_kind in PROVIDERS.items()
        if name != REFERENCE and work.kind in by_kind and name in (work.only or PROVIDERS)
    }
    return [n for n, e in entries.items() if e.when(work) and importlib.util.find_spec(e.needs)]


def judge(work) -> str:
    """Whose result the others have to agree with."""
    if work.kind in PROVIDERS.get(REFERENCE, {}):
        return REFERENCE
    return STATISTICS if STATISTICS in work.only else "NumPy"  # the quick one, after many epochs


def contestant(name: str, work) -> tuple[Callable, Callable]:
    """The ``(prepare, run)`` of a contestant."""
    return PROVIDERS[name][work.kind].make(work)


def _arrays(work: Workload):
    return lambda x, y: (np.asarray(x, work.dtype), np.asarray(y, work.dtype))


@provides("fastgd", "batch", "minibatch", "per-sample", needs="fastgd")
def fastgd_fit(work):
    import fastgd

    fit = fastgd.fit_logistic if work.logistic else fastgd.fit_linear
    how = {"lr": work.lr, "epochs": work.epochs, "n_threads": work.threads or None}
    if work.batch_size:
        how |= {"batch_size": work.batch_size, "shuffle": work.shuffle, "seed": 0}

    def run(x, y):
        result = fit(x, y, **how)
        return result.coef, result.intercept

    return lambda x, y: (x, y), run


@provides("fastgd, given order", "per-sample", needs="fastgd", when=lambda w: w.shuffle == "block")
def fastgd_given_order(work):
    """What a shuffle costs: the same rows as they lie."""
    return fastgd_fit(work._replace(shuffle=False))


@provides("fastgd", "cost", needs="fastgd")
def fastgd_cost(work):
    import fastgd

    function = fastgd.bce_cost_and_gradient if work.logistic else fastgd.mse_cost_and_gradient
    coef = truth(work) / 2
    return _arrays(work), lambda x, y: function(x, y, coef, 0.1)


def _blas_threads(work: Workload):
    if not work.threads:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(work.threads, "blas")


@provides(
    "NumPy",
    "batch",
    "minibatch",
    when=lambda work: not work.threads or importlib.util.find_spec("threadpoolctl"),
)
def numpy_fit(work):
    size = work.batch_size or work.n

    def run(x, y):
        with _blas_threads(work):
            return descend(x, y)

    def descend(x, y):
        coef, intercept = np.zeros(x.shape[1:], x.dtype), x.dtype.type(0)
        buffer = np.empty(size, x.dtype)
        for epoch in range(work.epochs):
            xs, ys = work.visited(x, y, epoch)
            for start in range(0, work.n, size):
                rows, target = xs[start : start + size], ys[start : start + size]
                z = np.dot(rows, coef, out=buffer[: len(target)])
                z += intercept
                if work.logistic:
                    np.negative(z, out=z)
                    np.exp(z, out=z)
                    z += 1
                    np.reciprocal(z, out=z)
                z -= target
                step = x.dtype.type(work.step / len(target))
                coef -= step * np.dot(rows.T, z)
                intercept -= step * z.sum()
        return coef, intercept

    return _arrays(work), run


@provides(STATISTICS, "batch", when=lambda work: STATISTICS in work.only)
def numpy_statistics(work):
    """Squared error needs X only through its products: fastgd's shortcut, in NumPy."""

    def run(x, y):
        x = x.reshape(work.n, work.d)
        gram = np.empty((work.d + 1, work.d + 1), x.dtype)
        gram[:-1, :-1] = np.dot(x.T, x)
        gram[-1, :-1] = gram[:-1, -1] = np.dot(np.ones(work.n, x.dtype), x)
        gram[-1, -1] = work.n
        gram *= work.step / work.n
        by_y = np.append(np.dot(y, x), y.sum()) * x.dtype.type(work.step / work.n)
        parameters, product = np.zeros(work.d + 1, x.dtype), np.empty(work.d + 1, x.dtype)
        for _ in range(work.epochs):
            np.dot(gram, parameters, out=product)
            parameters -= product
            parameters += by_y
        return parameters[:-1].reshape(x.shape[1:]), parameters[-1]

    return _arrays(work), run


@provides("NumPy", "per-sample")
def numpy_per_sample(work):
    def run(x, y):
        x = x.reshape(work.n, work.d)
        coef, intercept = np.zeros(work.d, x.dtype), 0.0
        for epoch in range(work.epochs):
            xs, ys = work.visited(x, y, epoch)
            for row, target in zip(xs, ys.tolist(), strict=True):
                z = float(row.dot(coef)) + intercept
                slope = work.step * ((1 / (1 + math.exp(-z)) if work.logistic else z) - target)
                coef -= slope * row
                intercept -= slope
        return coef, intercept

    return _arrays(work), run


@provides("NumPy", "cost")
def numpy_cost(work):
    coef, buffers = truth(work) / 2, np.empty((3, work.n), work.dtype)

    def run(x, y):
        z, e, t = buffers
        np.dot(x, coef, out=z)
        z += 0.1
        if not work.logistic:
            z -= y
            return np.dot(z, z) / work.n, 2 / work.n * np.dot(x.T, z), 2 * z.mean()
        np.abs(z, out=e)
        np.exp(np.negative(e, out=e), out=e)  # exp(-|z|)
        cost = np.log1p(e, out=t).mean() + np.maximum(z, 0, out=t).mean() - np.dot(z, y) / work.n
        np.copyto(t, e)
        t[z >= 0] = 1
        e += 1
        t /= e
        t -= y
        return cost, np.dot(x.T, t) / work.n, t.mean()

    return _arrays(work), run


def _tensors(work: Workload):
    import torch

    return lambda x, y: tuple(torch.as_tensor(np.asarray(a, work.dtype)) for a in (x, y))


def _torch_threads(work: Workload) -> None:
    """One thread for small steps: more only wait for each other, for seconds on a busy machine."""
    import torch

    torch.set_num_threads(1 if work.toy or work.batch_size else work.threads or THREADS)


def _torch_batches(work: Workload, x, y, epoch: int):
    import torch

    if work.shuffle:
        order = torch.from_numpy(work.order(epoch))
        x, y = x[order], y[order]
    size = work.batch_size or work.n
    return zip(x.split(size), y.split(size), strict=True)


# An update takes torch 10 µs, and autograd 50, whatever d is: a row or two show that.
@provides("torch", "batch", "minibatch", needs="torch")
@provides("torch", "per-sample", needs="torch", when=lambda work: work.toy or work.d == 8)
def torch_fit(work):
    import torch

    product = torch.mul if work.d == 1 else torch.mv
    summed = torch.dot if work.d == 1 else lambda rows, z: torch.mv(rows.T, z)

    @torch.inference_mode()
    def run(x, y):
        _torch_threads(work)
        coef, intercept = x.new_zeros(x.shape[1:]), x.new_zeros(())
        buffer = x.new_empty(work.batch_size or work.n)
        for epoch in range(work.epochs):
            for rows, target in _torch_batches(work, x, y, epoch):
                m = len(target)
                z = product(rows, coef, out=buffer if m == len(buffer) else buffer[:m])
                z.add_(intercept)
                if work.logistic:
                    z.sigmoid_()
                z.sub_(target)
                coef.sub_(summed(rows, z), alpha=work.step / m)
                intercept.sub_(z.sum(), alpha=work.step / m)
        return coef.numpy(), intercept.item()

    return _tensors(work), run


@provides("torch", "cost", needs="torch")
def torch_cost(work):
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as bce

    coef = torch.as_tensor(truth(work) / 2)

    @torch.inference_mode()
    def run(x, y):
        z = torch.mv(x, coef).add_(0.1)
        if work.logistic:
            cost = bce(z, y)
            slope = z.sigmoid_().sub_(y)
        else:
            cost = torch.dot(z.sub_(y), z) / work.n
            slope = z.mul_(2)
        return cost.item(), (torch.mv(x.T, slope) / work.n).numpy(), slope.mean().item()

    return _tensors(work), run


def _torch_loss(work: Workload):
    from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

    loss = binary_cross_entropy_with_logits if work.logistic else mse_loss
    if work.d == 1:
        return lambda x, y, coef, intercept: loss(x * coef + intercept, y)
    return lambda x, y, coef, intercept: loss(x @ coef + intercept, y)


# It writes and compiles C++: two seconds a workload, and 15 for the first, which a smoke run spares.
@provides(
    "torch.compile",
    "batch",
    "minibatch",
    needs="torch",
    when=lambda work: not SMOKE and shutil.which("g++"),
)
def torch_compiled(work):
    import torch

    torch.compiler.reset()  # or the functions of other workloads count towards its limit

    # Sums of products instead of `slope @ rows` would be one loop, and take longer.
    @functools.partial(torch.compile, fullgraph=True, dynamic=False)
    def update(coef, intercept, rows, target):
        z = (rows * coef if work.d == 1 else rows @ coef) + intercept
        slope = (torch.sigmoid(z) if work.logistic else z) - target
        by_coef = torch.dot(slope, rows) if work.d == 1 else slope @ rows
        step = work.step / len(target)
        return coef - step * by_coef, intercept - step * slope.sum()

    @torch.inference_mode()
    def run(x, y):
        _torch_threads(work)
        state = x.new_zeros(x.shape[1:]), x.new_zeros(())
        for epoch in range(work.epochs):
            for rows, target in _torch_batches(work, x, y, epoch):
                state = update(*state, rows, target)
        return state[0].numpy(), state[1].item()

    return _tensors(work), run


@provides("torch autograd", "batch", "minibatch", needs="torch")
@provides("torch autograd", "per-sample", needs="torch", when=lambda work: work.toy)
def torch_autograd(work):
    import torch

    loss = _torch_loss(work)

    def run(x, y):
        _torch_threads(work)
        parameters = x.new_zeros(x.shape[1:]), x.new_zeros(())
        for p in parameters:
            p.requires_grad_()
        for epoch in range(work.epochs):
            for rows, target in _torch_batches(work, x, y, epoch):
                loss(rows, target, *parameters).backward()
                with torch.no_grad():
                    for p in parameters:
                        p.sub_(p.grad, alpha=work.lr)
                        p.grad = None
        return parameters[0].detach().numpy(), parameters[1].item()

    return _tensors(work), run


@provides("torch autograd", "cost", needs="torch")
def torch_autograd_cost(work):
    import torch

    loss = _torch_loss(work)
    coef = torch.as_tensor(truth(work) / 2).requires_grad_()
    intercept = torch.tensor(0.1, dtype=coef.dtype, requires_grad=True)

    def run(x, y):
        coef.grad = intercept.grad = None
        cost = loss(x, y, coef, intercept)
        cost.backward()
        return cost.item(), coef.grad.numpy(), intercept.grad.item()

    return _tensors(work), run


def _jax_arrays(work: Workload):
    import jax

    jax.config.update("jax_enable_x64", True)
    return lambda x, y: tuple(jax.numpy.asarray(np.asarray(a, work.dtype)) for a in (x, y))


@provides("JAX", "batch", "minibatch", "per-sample", needs="jax")
def jax_fit(work):
    import jax
    from jax import lax
    from jax import numpy as jnp

    prepare = _jax_arrays(work)
    size = work.batch_size or work.n
    full = work.n // size

    def update(state, rows, target):
        coef, intercept = state
        z = (rows * coef if rows.ndim == 1 else rows @ coef) + intercept
        slope = (jax.nn.sigmoid(z) if work.logistic else z) - target
        # Half the time of slope @ rows in float64, and no more of it in float32.
        by_coef = slope @ rows if rows.ndim == 1 else (rows * slope[:, None]).sum(0)
        step = work.step / target.size
        return coef - step * by_coef, intercept - step * slope.sum()

    def sample(state, row_and_target):
        (coef, intercept), (row, target) = state, row_and_target
        z = row @ coef + intercept
        slope = work.step * ((jax.nn.sigmoid(z) if work.logistic else z) - target)
        return (coef - slope * row, intercept - slope), None

    @jax.jit
    def fit(x, y, orders):
        if size == 1:
            x = x.reshape(work.n, work.d)

        def epoch(e, state):
            if size == work.n:
                return update(state, x, y)
            if size == 1:
                return lax.scan(
                    sample, state, (x[orders[e]], y[orders[e]]) if work.shuffle else (x, y)
                )[0]

            def batch(i, state):
                cut = functools.partial(
                    lax.dynamic_slice_in_dim, start_index=i * size, slice_size=size
                )
                return update(state, cut(x), cut(y))

            state = lax.fori_loop(0, full, batch, state)
            return update(state, x[full * size :], y[full * size :]) if work.n % size else state

        start = jnp.zeros(x.shape[1:], x.dtype), jnp.zeros((), x.dtype)
        return lax.fori_loop(0, work.epochs, epoch, start)

    def run(x, y):
        orders = np.stack([work.order(e) for e in range(work.epochs)]) if work.shuffle else None
        return tuple(np.asarray(part) for part in fit(x, y, orders))

    return prepare, run


@provides("JAX", "cost", needs="jax")
def jax_cost(work):
    import jax
    from jax import numpy as jnp

    prepare = _jax_arrays(work)

    def cost(parameters, x, y):
        z = x @ parameters[0] + parameters[1]
        return jnp.mean(jnp.logaddexp(0, z) - z * y if work.logistic else (z - y) ** 2)

    function = jax.jit(jax.value_and_grad(cost))
    at = (truth(work) / 2, np.asarray(0.1, work.dtype))

    def run(x, y):
        value, (by_coef, by_intercept) = function(at, x, y)
        return float(value), np.asarray(by_coef), float(by_intercept)

    return prepare, run


@provides("scikit-learn", "per-sample", needs="sklearn", when=lambda w: w.shuffle != "block")
def sklearn_sgd(work):
    """Its squared error has a 1/2, hence eta0 = 2·lr; shuffled, it walks an order of its own."""
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    make = functools.partial(SGDClassifier, "log_loss") if work.logistic else SGDRegressor
    model = make(
        penalty=None, learning_rate="constant", eta0=work.step, average=False, tol=None,
        max_iter=work.epochs, shuffle=work.shuffle, random_state=0,
    )  # fmt: skip

    def run(x, y):
        model.fit(x, y)
        return model.coef_, model.intercept_[0]

    arrays = _arrays(work)
    return lambda x, y: ((pair := arrays(x, y))[0].reshape(work.n, work.d), pair[1]), run


@functools.cache
def _numba_loops(logistic: bool, fastmath: bool = False):
    """The loops as anyone would write them first, compiled with a bare njit, or with its fastmath."""
    from numba import njit

    compiled = njit(fastmath=fastmath)

    @compiled
    def slope(z, y):
        one = type(y)(1)
        return one / (one + math.exp(-z)) - y if logistic else z - y

    @compiled
    def batches(x, y, coef, intercept, step, epochs, size):
        n, d = x.shape
        gradient = np.zeros_like(coef)
        for _ in range(epochs):
            for start in range(0, n, size):
                stop = min(start + size, n)
                gradient[:] = 0
                by_intercept = y.dtype.type(0)
                for i in range(start, stop):
                    z = intercept[0]
                    for j in range(d):
                        z += x[i, j] * coef[j]
                    s = slope(z, y[i])
                    for j in range(d):
                        gradient[j] += s * x[i, j]
                    by_intercept += s
                for j in range(d):
                    coef[j] -= step / (stop - start) * gradient[j]
                intercept[0] -= step / (stop - start) * by_intercept

    @compiled
    def samples(x, y, coef, intercept, step, order):
        for i in order:
            z = intercept[0]
            for j in range(x.shape[1]):
                z += x[i, j] * coef[j]
            s = step * slope(z, y[i])
            for j in range(x.shape[1]):
                coef[j] -= s * x[i, j]
            intercept[0] -= s

    @compiled
    def samples_in_order(x, y, coef, intercept, step):
        for i in range(x.shape[0]):
            z = intercept[0]
            for j in range(x.shape[1]):
                z += x[i, j] * coef[j]
            s = step * slope(z, y[i])
            for j in range(x.shape[1]):
                coef[j] -= s * x[i, j]
            intercept[0] -= s

    @compiled
    def cost_and_gradient(x, y, coef, intercept, gradient):
        cost = by_intercept = 0.0
        for i in range(x.shape[0]):
            z = intercept
            for j in range(x.shape[1]):
                z += x[i, j] * coef[j]
            s = slope(z, y[i])
            if logistic:
                cost += max(z, 0) - z * y[i] + math.log1p(math.exp(-abs(z)))
            else:
                cost += s * s
                s += s
            for j in range(x.shape[1]):
                gradient[j] += s * x[i, j]
            by_intercept += s
        return cost / x.shape[0], by_intercept / x.shape[0]

    return batches, samples, samples_in_order, cost_and_gradient


@provides("Numba loop", "batch", "minibatch", "per-sample", needs="numba")
def numba_fit(work, fastmath=False):
    batches, samples, samples_in_order, _ = _numba_loops(work.logistic, fastmath)

    def run(x, y):
        x = x.reshape(work.n, work.d)
        coef, intercept = np.zeros(work.d, x.dtype), np.zeros(1, x.dtype)
        step = x.dtype.type(work.step)
        if work.kind == "per-sample":
            for epoch in range(work.epochs):
                if work.shuffle:
                    samples(x, y, coef, intercept, step, work.order(epoch))
                else:
                    samples_in_order(x, y, coef, intercept, step)
        else:
            batches(x, y, coef, intercept, step, work.epochs, work.batch_size or work.n)
        return coef, intercept[0]

    return _arrays(work), run


@provides("Numba loop, fastmath", "minibatch", "per-sample", needs="numba")
def numba_fit_fastmath(work):
    """The same loops with `fastmath=True`, which lets NaN and infinity pass for numbers."""
    return numba_fit(work, fastmath=True)


@provides("Numba loop", "cost", needs="numba")
def numba_cost(work):
    coef = truth(work) / 2

    def run(x, y):
        gradient = np.zeros_like(coef)
        cost, by_intercept = _numba_loops(work.logistic)[-1](
            x, y, coef, y.dtype.type(0.1), gradient
        )
        return cost, gradient / work.n, by_intercept

    return _arrays(work), run


@provides("Python", "batch", "per-sample", when=lambda work: work.d == 1 and work.n <= 100_000)
def python_fit(work):
    """Lists and floats; for one feature only, as with more of them NumPy is the better Python."""
    from math import exp

    logistic = work.logistic

    def per_sample(x, y):
        coef = intercept = 0.0
        for epoch in range(work.epochs):
            if work.shuffle:
                order = work.order(epoch).tolist()
                xs, ys = [x[i] for i in order], [y[i] for i in order]
            else:
                xs, ys = x, y
            step = work.step
            for a, b in zip(xs, ys, strict=True):
                z = a * coef + intercept
                s = step * ((1 / (1 + exp(-z)) if logistic else z) - b)
                coef -= s * a
                intercept -= s
        return coef, intercept

    def batch(x, y):
        coef = intercept = 0.0
        step = work.step / work.n
        for _ in range(work.epochs):
            by_coef = by_intercept = 0.0
            for a, b in zip(x, y, strict=True):
                z = a * coef + intercept
                s = (1 / (1 + exp(-z)) if logistic else z) - b
                by_coef += s * a
                by_intercept += s
            coef -= step * by_coef
            intercept -= step * by_intercept
        return coef, intercept

    return lambda x, y: (list(x), list(y)), batch if work.kind == "batch" else per_sample
