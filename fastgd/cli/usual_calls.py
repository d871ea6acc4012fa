"""The usual calls of a first session: what `python -m fastgd compile` compiles, and a bench measures."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import fastgd

N, D, CLASSES, EPOCHS = 5_000, 10, 3, 5
#: The columns of sparse rows.
WIDE = 4_096


def usual_calls() -> dict[str, Callable[[], Any]]:
    """The calls by name, on data of 5,000 x 10 in float64 unless they say otherwise."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(N, D))
    noise = generator.normal(size=N)
    y = x @ generator.normal(size=D) + 0.1 * noise
    labels = (x @ np.linspace(-1, 1, D) + noise > 0).astype(float)
    classes = generator.integers(0, CLASSES, N)
    x32, y32, by_columns = x.astype(np.float32), y.astype(np.float32), np.asfortranarray(x)
    weight = generator.uniform(0.5, 1.5, N)
    linear, logistic = fastgd.fit_linear, fastgd.fit_logistic
    steps: dict[str, Any] = {"lr": 0.01, "epochs": EPOCHS}
    batches = steps | {"batch_size": 32}
    return {
        "fit_linear default": lambda: linear(x, y),
        "fit_linear lr": lambda: linear(x, y, **steps),
        "fit_linear per-sample": lambda: linear(x, y, batch_size=1, **steps),
        "fit_linear batches": lambda: linear(x, y, **batches),
        "fit_linear batches, adam": lambda: linear(x, y, optimizer="adam", **batches),
        "fit_linear adam": lambda: linear(x, y, optimizer="adam", **steps),
        "fit_linear momentum": lambda: linear(x, y, optimizer="momentum", **steps),
        "fit_linear lbfgs": lambda: linear(x, y, optimizer="lbfgs", epochs=EPOCHS),
        "fit_linear l1": lambda: linear(x, y, l1=0.01),
        "fit_linear float32": lambda: linear(x32, y32),
        "fit_linear F order": lambda: linear(by_columns, y),
        "fit_linear weights": lambda: linear(x, y, sample_weight=weight),
        "predict": lambda: linear(x, y).predict(x),
        "fit_logistic default": lambda: logistic(x, labels),
        "fit_logistic lr": lambda: logistic(x, labels, **steps),
        "fit_logistic per-sample": lambda: logistic(x, labels, batch_size=1, **steps),
        "fit_logistic batches, adam": lambda: logistic(x, labels, optimizer="adam", **batches),
        "softmax default": lambda: logistic(x, classes),
        "softmax batches": lambda: logistic(x, classes, **batches),
        "fit_mlp": lambda: fastgd.fit_mlp(x, y, hidden=(16,), **steps),
        "fit_mlp adam, tanh": lambda: fastgd.fit_mlp(
            x, y, hidden=(16,), activation="tanh", optimizer="adam", **steps
        ),
        "mse_cost": lambda: fastgd.mse_cost(x, y, np.zeros(D), 0.0),
        "cost_curve": lambda: fastgd.cost_curve(x[:, 0], y, np.linspace(0, 4, 41)),
        "activations.tanh": lambda: fastgd.activations.tanh(x),
        **_sparse_calls(),
    }


def _sparse_calls() -> dict[str, Callable[[], Any]]:
    """Those on sparse rows of many columns; none without SciPy, which makes such rows."""
    try:
        from scipy.sparse import csr_array
    except ImportError:
        return {}
    generator = np.random.default_rng(0)
    columns, values = generator.integers(0, WIDE, (N, D)), generator.normal(size=(N, D))
    x = csr_array((values.ravel(), columns.ravel(), np.arange(0, N * D + 1, D)), shape=(N, WIDE))
    x.sum_duplicates()
    labels = x @ generator.normal(size=WIDE) > 0
    logistic = fastgd.fit_logistic
    steps: dict[str, Any] = {"lr": 0.01, "epochs": EPOCHS}
    return {
        "sparse, lr": lambda: logistic(x, labels, **steps),
        "sparse, per-sample": lambda: logistic(x, labels, batch_size=1, **steps),
        "sparse, l2": lambda: logistic(x, labels, l2=1e-3),
        "sparse, l1": lambda: logistic(x, labels, l1=1e-3),
    }


def other_calls() -> dict[str, Callable[[], Any]]:
    """The calls by name for the other losses, optimizers, activations and dtypes."""
    from ..formulas.activations import ACTIVATIONS
    from ..losses import LABELS, LOSSES, POSITIVE
    from ..optimizers import OPTIMIZERS

    generator = np.random.default_rng(0)
    x = generator.normal(size=(N, D))
    y = generator.integers(0, CLASSES, N).astype(float)
    steps: dict[str, Any] = {"lr": 0.001, "epochs": EPOCHS}
    linear, network = fastgd.fit_linear, fastgd.fit_mlp

    def fits(loss: str, dtype: Any, order: Any) -> None:
        rows = np.asarray(x, dtype=dtype, order=order)
        targets = {LABELS: y > 0, POSITIVE: y + 1}.get(LOSSES[loss].targets, y)
        for batch_size in (None, 32, 1):
            fastgd.fit(rows, targets, loss, batch_size=batch_size, **steps)

    found: dict[str, Callable[[], Any]] = {}
    for loss in LOSSES:
        for dtype in (np.float64, np.float32):
            for order in ("C", "F"):
                name = f"{loss}, {np.dtype(dtype)}, {order} order"
                found[name] = functools.partial(fits, loss, dtype, order)
    for name in OPTIMIZERS:
        found[name] = functools.partial(linear, x, y, optimizer=name, **steps)
    for name in ACTIVATIONS:
        found[name] = functools.partial(network, x, y, hidden=(16,), activation=name, **steps)
    return found
