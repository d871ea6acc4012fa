"""Cost, gradient and both together, the sweep over coefficients, and the linear forward pass."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from . import inputs
from .errors import DivergenceError, InputError
from .losses import BCE, CROSS_ENTROPY, LABELS, MSE, CoupledLoss, Loss, chosen

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SHARED = """
    Parameters
    ----------
    x : array-like or sparse (n, d), or (n,) for one column
        Read where it is, in one pass.
    y : array-like (n,) or (n, k)
        {y}
    coef : array-like (d,) or (k, d), or a number where x has one column
    intercept : float or array-like (k,), default=0.0
    sample_weight : array-like (n,), optional
        Non-negative weights; the mean divides by their sum.
    reduction : {{"mean", "sum"}}, default="mean"
        With k targets the mean is over all n·k entries.

    Returns
    -------
    {returns}

    Raises
    ------
    InputError
        If shapes don't match, or the data holds anything but finite real numbers.
    DivergenceError
        If the result overflows.

    Examples
    --------
    >>> import fastgd
    >>> {example}
"""


def _documented(
    returns: str, example: str, y: str = "Targets."
) -> Callable[[_Function], _Function]:
    def add(function: _Function) -> _Function:
        shared = _SHARED.format(returns=returns, example=example, y=y)
        function.__doc__ = f"{function.__doc__}{shared}"
        return function

    return add


@functools.cache
def _place() -> Any:
    """What makes a source of rows; Numba comes with it, 0.3 s that no import should cost."""
    from .sources import place

    return place


#: The results of `_evaluate` that a function returns, and their name in the message of an overflow.
_COST, _GRADIENT, _BOTH = slice(0, 1), slice(1, 3), slice(0, 3)


def _evaluate(
    loss: Loss | CoupledLoss, x: Any, y: Any, coef: Any, intercept: Any, sample_weight: Any,
    reduction: Any, parts: slice,
) -> Any:  # fmt: skip
    """The `parts` of: the cost, the gradient of coef in its shape, and that of the intercepts."""
    place = _place()
    reduction = inputs.choice(reduction, "reduction", ("mean", "sum"))
    given_x = x
    x, where = place.features(x, None)
    y = given_y = place.on_host(y, "y", where)
    n, d = x.shape
    dtype = inputs.working_dtype(x, None)
    coef = inputs.as_array(coef, "coef")
    given = coef.shape
    k = None
    if loss.coupled:
        if coef.ndim != 2 or len(coef) < 2:
            raise InputError(
                f"coef has shape {given}; expected (k, {d}), a row for each of k classes."
            )
        k = len(coef)
        y = inputs.class_indices(y, n, k, dtype)
    elif loss.targets == LABELS:
        y, _ = inputs.probabilities(y, n, dtype)
    else:
        y, _ = inputs.targets(y, n, dtype, finite=False)
    entries = 1 if k else len(y)  # of the mean, in a row
    k = k or len(y)
    weight, unit = sample_weight, 1.0
    if weight is not None:
        weight = place.on_host(weight, "sample_weight", where)
        weight, unit = inputs.in_units(inputs.weights(weight, n, np.float64))
    low = inputs.parameters(coef, (k, d), "coef", finite=False, copy=False)
    level = inputs.parameters(intercept, (k,), "intercept", for_all=True, finite=False)
    source = where.rows(x, y, weight, dtype, None, k)
    source = source.columns or source  # no rows are made of columns for a single pass
    with np.errstate(all="ignore"):
        if dtype != np.float64:
            low, level = low.astype(dtype), level.astype(dtype)
        totals = source.totals(loss, low, level)
        totals *= _scale(reduction, weight, unit, n, entries)
        single = given != (k, d) or (k == 1 and len(given) < 2)
        found: Any = (
            sum(totals[:, d + 1].tolist()),
            np.ascontiguousarray(totals[:, :d], dtype=dtype).reshape(given),
            totals.item(0, d) if single else totals[:, d].astype(dtype),
        )[parts]
    if inputs.is_finite(totals) and math.isfinite(found[0] if parts.start == 0 else 0.0):
        return found
    # Parameters that are not finite have no finite cost.
    inputs.parameters(coef, (k, d), "coef")
    inputs.parameters(intercept, (k,), "intercept", for_all=True)
    if not all(map(inputs.is_finite, found)):
        inputs.require_finite(x, "x", inputs.column_names(given_x))
        inputs.targets(given_y, n, dtype)
        what = "gradient" if parts is _GRADIENT or np.isfinite(found[0]) else "cost"
        message = f"the {what} overflows {dtype} at these coefficients"
        with np.errstate(all="ignore"):
            in_units = source.totals(loss, low, level)
        if np.isfinite(in_units).all() and unit > 1:
            raise DivergenceError(f"{message}; scale sample_weight, or use reduction='mean'.")
        raise DivergenceError(f"{message}.")
    return found


def _scale(reduction: str, weight: Any, unit: float, n: int, entries: int) -> float:
    """The factor from the sum of losses, weighted in units, to the cost; a mean is over n·entries."""
    if reduction == "sum":
        return unit
    return 1 / (entries * (n if weight is None else float(weight.sum())))


@_documented("float", "fastgd.mse_cost([1, 2, 3], [2, 4, 6], 1.0)\n    4.666666666666667")
def mse_cost(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> float:
    """The mean squared error ``mean((x·coef + intercept − y)²)``."""
    return _evaluate(MSE, x, y, coef, intercept, sample_weight, reduction, _COST)[0]


@_documented(
    "(ndarray shaped as coef, float or ndarray (k,))\n        The gradient of coef and of intercept.",
    "fastgd.mse_gradient([1, 2, 3], [2, 4, 6], [1.0])\n    (array([-9.33333333]), -4.0)",
)
def mse_gradient(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> tuple[Any, Any]:
    """The gradient of `mse_cost`: ``2/n·X^T r`` and ``2/n·Σr`` with r = x·coef + intercept − y."""
    return _evaluate(MSE, x, y, coef, intercept, sample_weight, reduction, _GRADIENT)


@_documented(
    "(float, ndarray shaped as coef, float or ndarray (k,))",
    "fastgd.mse_cost_and_gradient([1, 2, 3], [2, 4, 6], [2.0])\n    (0.0, array([0.]), 0.0)",
)
def mse_cost_and_gradient(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> tuple[float, Any, Any]:
    """`mse_cost` and `mse_gradient` in one pass over the data."""
    return _evaluate(MSE, x, y, coef, intercept, sample_weight, reduction, _BOTH)


_LABELS = "Labels in [0, 1]."


@_documented("float", "fastgd.bce_cost([1, 2], [0, 1], 0.0)\n    0.6931471805599453", _LABELS)
def bce_cost(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> float:
    """The cross-entropy ``mean(log(1 + exp(z)) − y·z)`` on the raw prediction z = x·coef + intercept.

    It is computed as ``max(z, 0) − z·y + log(1 + exp(−|z|))``, which never overflows.
    """
    return _evaluate(BCE, x, y, coef, intercept, sample_weight, reduction, _COST)[0]


@_documented(
    "(ndarray shaped as coef, float or ndarray (k,))\n        The gradient of coef and of intercept.",
    "fastgd.bce_gradient([1, 2], [0, 1], [0.0])\n    (array([-0.25]), 0.0)",
    _LABELS,
)
def bce_gradient(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> tuple[Any, Any]:
    """The gradient of `bce_cost`: ``1/n·X^T (σ(z) − y)`` and ``1/n·Σ(σ(z) − y)``."""
    return _evaluate(BCE, x, y, coef, intercept, sample_weight, reduction, _GRADIENT)


@_documented(
    "(float, ndarray shaped as coef, float or ndarray (k,))",
    "fastgd.bce_cost_and_gradient([1, 2], [0, 1], [0.0])"
    "\n    (0.6931471805599453, array([-0.25]), 0.0)",
    _LABELS,
)
def bce_cost_and_gradient(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> tuple[float, Any, Any]:
    """`bce_cost` and `bce_gradient` in one pass over the data."""
    return _evaluate(BCE, x, y, coef, intercept, sample_weight, reduction, _BOTH)


_CLASSES = "Class indices from 0 to k − 1, shape (n,); coef has a row for each class."


@_documented(
    "float",
    "fastgd.cross_entropy_cost([1, 2, 3], [0, 1, 2], [[0], [0], [0]])\n    1.09861228867",
    _CLASSES,
)
def cross_entropy_cost(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> float:
    """The cross-entropy ``mean(log(Σ exp(z_c)) − z_y)`` of k classes on z = x·coef^T + intercept.

    The largest z is subtracted first, so that it never overflows. As torch's CrossEntropyLoss.
    """
    return _evaluate(CROSS_ENTROPY, x, y, coef, intercept, sample_weight, reduction, _COST)[0]


@_documented(
    "(ndarray shaped as coef, ndarray (k,))\n        The gradient of coef and of intercept.",
    "fastgd.cross_entropy_gradient([1, 2], [0, 1], [[0], [0]])"
    "\n    (array([[ 0.25],\n           [-0.25]]), array([0., 0.]))",
    _CLASSES,
)
def cross_entropy_gradient(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> tuple[Any, Any]:
    """The gradient of `cross_entropy_cost`: ``1/n·(softmax(z) − onehot(y))^T X``."""
    return _evaluate(CROSS_ENTROPY, x, y, coef, intercept, sample_weight, reduction, _GRADIENT)


@_documented(
    "(float, ndarray shaped as coef, ndarray (k,))",
    "fastgd.cross_entropy_cost_and_gradient([1, 2], [0, 1], [[0], [0]])"
    "\n    (0.6931471805599453, array([[ 0.25],\n           [-0.25]]), array([0., 0.]))",
    _CLASSES,
)
def cross_entropy_cost_and_gradient(
    x: Any,
    y: Any,
    coef: Any,
    intercept: Any = 0.0,
    *,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> tuple[float, Any, Any]:
    """`cross_entropy_cost` and `cross_entropy_gradient` in one pass over the data."""
    return _evaluate(CROSS_ENTROPY, x, y, coef, intercept, sample_weight, reduction, _BOTH)


def cost_curve(
    x: Any,
    y: Any,
    coefs: Any,
    *,
    intercept: Any = 0.0,
    loss: str | Loss = "mse",
    sample_weight: Any = None,
    reduction: str = "mean",
) -> np.ndarray:
    """The cost at many coefficients in one pass over the data: the tutorial's sweep over w.

    Parameters
    ----------
    x : array-like or sparse (n, d), or (n,) for one column
    y : array-like (n,)
    coefs : array-like (m, d), or (m,) where x has one column
    intercept : float or array-like (m,), default=0.0
        The same for all, or one for each.
    loss : str or Loss, default="mse"
        A name or an object of `fastgd.losses`, or a `Loss` of your own.
    sample_weight, reduction
        As in `mse_cost`.

    Returns
    -------
    ndarray (m,)

    Raises
    ------
    InputError, DivergenceError
        As in `mse_cost`.

    Examples
    --------
    >>> import fastgd
    >>> fastgd.cost_curve([1, 2, 3], [2, 4, 6], [0, 1, 2, 3, 4])
    array([18.66666667,  4.66666667,  0.        ,  4.66666667, 18.66666667])
    """
    from .solvers import curve

    place = _place()
    of_row = chosen(loss)
    if of_row.coupled:
        raise InputError(f"the loss {of_row.name!r} takes a row of coefficients for each class.")
    reduction = inputs.choice(reduction, "reduction", ("mean", "sum"))
    names = inputs.column_names(x)
    x, where = place.features(x, None)
    y = place.on_host(y, "y", where)
    sample_weight = place.on_host(sample_weight, "sample_weight", where)
    n, d = x.shape
    dtype = inputs.working_dtype(x, None)
    check = inputs.probabilities if of_row.targets == LABELS else inputs.targets
    y, flat = check(y, n, dtype)
    if not flat and len(y) > 1:
        raise InputError(f"y has shape {(n, len(y))}; cost_curve takes one target, shape (n,).")
    weight, unit = inputs.in_units(inputs.weights(sample_weight, n, np.float64))
    coefs = inputs.as_array(coefs, "coefs")
    if coefs.ndim == 1 and d == 1:
        coefs = coefs[:, None]
    if coefs.ndim != 2 or coefs.shape[1] != d or len(coefs) == 0:
        raise InputError(f"coefs has shape {coefs.shape}; expected (m, {d}), m at least 1.")
    m = len(coefs)
    inputs.require_finite(coefs, "coefs")
    level = inputs.as_array(intercept, "intercept")
    if level.shape not in ((), (m,)):
        raise InputError(f"intercept has shape {level.shape}; expected a number or ({m},).")
    inputs.require_finite(np.atleast_1d(level), "intercept")
    source = where.rows(x, y, weight, dtype, None)
    levels = np.broadcast_to(level, (m,)).astype(np.float64)
    costs = np.full(m, np.nan)
    with np.errstate(all="ignore"):
        if curve.pays(source, of_row, m):
            costs = curve.squared_costs(source, of_row, coefs.astype(np.float64), levels)
        if not np.isfinite(costs).all():
            costs = source.costs(of_row, coefs.astype(dtype), levels.astype(dtype))
        in_units, costs = costs, costs * _scale(reduction, weight, unit, n, 1)
    if not np.isfinite(costs).all():
        inputs.require_finite(x, "x", names)
        at = int(np.argmin(np.isfinite(costs)))
        advice = (
            "; scale sample_weight, or use reduction='mean'" if np.isfinite(in_units[at]) else ""
        )
        raise DivergenceError(f"the cost overflows {dtype} at coefs[{at}]{advice}.")
    return costs


def linear(x: Any, weight: Any, bias: Any = None) -> np.ndarray:
    """The forward pass ``x·weight^T + bias``, with the shape rule of torch.nn.Linear.

    NaN and infinity propagate, and an overflow is infinite, as in torch and without a warning.

    Parameters
    ----------
    x : array-like (..., in)
    weight : array-like (out, in)
    bias : array-like (out,), optional

    Returns
    -------
    ndarray (..., out)

    Raises
    ------
    InputError
        If the shapes don't match.

    Examples
    --------
    >>> import fastgd
    >>> fastgd.linear([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [0.5, 0.0])
    array([[11.5, 17. ]])
    """
    x, weight = inputs.as_array(x, "x"), inputs.as_array(weight, "weight")
    if weight.ndim != 2:
        raise InputError(f"weight has shape {weight.shape}; expected (out, in).")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise InputError(
            f"x has shape {x.shape}; weight {weight.shape} needs (..., {weight.shape[1]})."
        )
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    if bias is not None:
        bias = inputs.as_array(bias, "bias")
        if bias.shape != (weight.shape[0],):
            raise InputError(f"bias has shape {bias.shape}; expected ({weight.shape[0]},).")
    with np.errstate(all="ignore"):
        out = x @ weight.T
        return out if bias is None else out + bias
