"""Small problems in a hurry: the plain loops of a few numbers, without planning.

Three points and a hundred epochs are a microsecond of arithmetic; planning a fit for any data, on
several threads, in chunks that a callback may stop, takes fifty. So what is small and plain runs here
as one compiled call. Whatever is not, an option that was set, an array of another kind, a cost that
rose or is not finite, is left to `run`, which does it all again and says what there is to say.
"""

import math
import operator
from typing import Any

import numpy as np

from .. import inputs
from ..cpu.order import KINDS, seed_number
from ..cpu.small import descend
from ..errors import InputError
from ..losses import Loss
from ..result import Fit

#: At most so many numbers in x, and so many in all epochs together: 2 ms, so that Ctrl-C is prompt.
_MOST_NUMBERS, _MOST_WORK = 1024, 1_000_000

#: Options that must have been left alone, and the objects that are then in their place.
_LEFT_ALONE = (
    "optimizer", "schedule", "average", "tol", "reduction", "l1", "sample_weight", "coef_init",
    "intercept_init", "keep_path", "dtype", "device", "callback", "progress", "validation", "patience",
)  # fmt: skip
_SEED_0 = seed_number(0)
_chosen = operator.itemgetter(*_LEFT_ALONE)


def attempt(loss: Loss, x: Any, y: Any, options: dict[str, Any], defaults: dict) -> Fit | None:
    """The fit, or None where the problem is not small and plain."""
    lr, epochs, batch_size = options["lr"], options["epochs"], options["batch_size"]
    shuffle, seed, l2 = options["shuffle"], options["seed"], options["l2"]
    learn, n_threads = options["fit_intercept"], options["n_threads"]
    if not (
        (type(lr) is float or type(lr) is int)
        and 0 < lr < 1e300
        and all(map(operator.is_, _chosen(options), _chosen(defaults)))
        and (epochs is None or (type(epochs) is int and epochs > 0))
        and (batch_size is None or (type(batch_size) is int and batch_size == 1))
        and (shuffle is True or shuffle is False)
        and (type(seed) is int and seed >= 0)
        and (type(l2) is float and 0 <= l2 < 1e300)
        and (learn is True or learn is False)
        and (n_threads is None or (type(n_threads) is int and n_threads > 0))
    ):
        return None
    epochs = epochs or 100
    x = _numbers(x)
    if (
        x is None
        or x.ndim not in (1, 2)
        or not 0 < x.size <= min(_MOST_NUMBERS, _MOST_WORK // epochs)
    ):
        return None
    if x.ndim == 1:
        x = x.reshape(-1, 1)
    n, d = x.shape
    classes = None
    if loss.name == "bce":
        if options.get("class_weight") is not None:
            return None
        try:
            labels, classes = inputs.labels(y, n, np.float64)
        except InputError:
            return None
        if len(classes) > 2:
            return None
        y = labels[0]
    else:
        y = _numbers(y)
        if y is None or y.shape != (n,):
            return None
    by_row = batch_size is not None and n > 1
    kind, number = 0, _SEED_0
    if by_row and shuffle:
        kind, number = KINDS.index(shuffle), seed_number(seed)
    coef, costs = np.zeros(d), np.empty(epochs)
    with np.errstate(over="ignore", invalid="ignore"):  # without the JIT these are NumPy's numbers
        intercept, before, cost = descend(loss, by_row)(
            x, y, coef, costs, float(lr), l2, learn, kind, number
        )
    after = cost + l2 / 2 * sum(w * w for w in coef.tolist()) if l2 else cost
    if not after <= before * (1 + 8 * 2.0**-52) < math.inf:  # it rose, or is not finite
        return None
    return Fit(
        coef=coef,
        intercept=float(intercept),
        costs=costs,
        cost=float(cost),
        n_epochs=epochs,
        converged=True,
        method="per-sample" if by_row else "stream",
        classes=classes,
        loss=loss.name,
    )


def _numbers(values: Any) -> np.ndarray | None:
    """A float64 copy of a list or array of integers or of float64, else None."""
    if type(values) is list:
        try:
            values = np.array(values)
        except (ValueError, TypeError, OverflowError, RuntimeError):
            return None
        if values.dtype == np.float64:
            return values
    elif type(values) is not np.ndarray or values.size > _MOST_NUMBERS:
        return None
    kind = values.dtype.kind
    if (kind == "f" and values.itemsize == 8) or kind == "i":
        return np.array(values, dtype=np.float64, order="C")
    return None
