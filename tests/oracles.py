"""What the tests trust: torch twins of every leaf, gradients by autograd, trajectories by torch.optim.

Nothing here imports fastgd. A new loss, activation or optimizer needs one line in a table below.
"""

import contextlib
import functools
import math
import warnings

import mpmath
import numpy as np
import torch
from torch.nn import functional

ACTIVATIONS = {
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": lambda z: torch.erf(math.sqrt(math.pi) / 2 * z),
    "gudermannian": lambda z: 4 / math.pi * torch.atan(torch.tanh(math.pi / 4 * z)),
    # Not z/√(1+z²), which is 0 or NaN where z² overflows.
    "algebraic": lambda z: torch.sin(torch.atan(z)),
    "arctan": lambda z: 2 / math.pi * torch.atan(math.pi / 2 * z),
    "softsign": functional.softsign,
    "relu": torch.relu,
    "identity": lambda z: z,
}


def _reduced(losses):
    """A function of z and y, elementwise, with torch's argument `reduction`."""

    def loss(z, y, reduction="mean"):
        values = losses(z, y)
        return values if reduction == "none" else getattr(values, reduction)()

    return loss


def _margin(z, y):
    return torch.where(y > 0, z, -z)


def _hinge(z, y, **options):
    m = _margin(z, y)
    return functional.hinge_embedding_loss(m, -torch.ones_like(m), margin=1.0, **options)


def _modified_huber(z, y):
    m = _margin(z, y)
    return torch.where(m < -1, -4 * m, torch.clamp_min(1 - m, 0) ** 2)


def _tweedie(z, y):
    """Of the power 1.5; a target of 0 takes away what may overflow."""
    return 2 * torch.exp(z / 2) + 2 * y * torch.exp(torch.where(y == 0, 0.0, -z / 2))


def _negative_binomial(z, y, alpha=1.0):
    """Without the terms in y alone that `torch.distributions.NegativeBinomial` has."""
    logits = z + math.log(alpha)
    return -(functional.logsigmoid(-logits) / alpha + y * functional.logsigmoid(logits))


LOSSES = {
    "mse": functional.mse_loss,
    "bce": functional.binary_cross_entropy_with_logits,
    "huber": lambda z, y, **options: functional.huber_loss(z, y, delta=1.35, **options),
    # torch's slope at the kink is the mean of both sides.
    "quantile": _reduced(lambda z, y: torch.maximum(0.5 * (y - z), -0.5 * (y - z))),
    "epsilon_insensitive": _reduced(lambda z, y: functional.relu(torch.abs(z - y) - 0.1)),
    "squared_epsilon_insensitive": _reduced(
        lambda z, y: functional.relu(torch.abs(z - y) - 0.1) ** 2
    ),
    "hinge": _hinge,
    "squared_hinge": _reduced(lambda z, y: _hinge(z, y, reduction="none") ** 2),
    "modified_huber": _reduced(_modified_huber),
    "poisson": lambda z, y, **options: functional.poisson_nll_loss(z, y, full=False, **options),
    "gamma": _reduced(lambda z, y: z + y * torch.exp(-z)),
    "tweedie": _reduced(_tweedie),
    "negative_binomial": _reduced(_negative_binomial),
}
#: Losses of all raw predictions of a row together, and of the index of the right one.
COUPLED = {"cross_entropy": functional.cross_entropy}
#: torch's modules, and for losses that it hasn't as one the function with its options.
MODULES = {name: functools.partial(functools.partial, loss) for name, loss in LOSSES.items()} | {
    "mse": torch.nn.MSELoss,
    "bce": torch.nn.BCEWithLogitsLoss,
    "huber": lambda **options: torch.nn.HuberLoss(delta=1.35, **options),
    "poisson": lambda **options: torch.nn.PoissonNLLLoss(full=False, **options),
}
#: Losses whose targets are not any numbers.
OF_LABELS = {"bce", "hinge", "squared_hinge", "modified_huber"}
OF_COUNTS = {"poisson", "negative_binomial"}
#: torch's class, and the options that the name stands for.
OPTIMIZERS: dict = {
    "gd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "adamax": (torch.optim.Adamax, {}),
    "asgd": (torch.optim.ASGD, {}),
    "lbfgs": (torch.optim.LBFGS, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "rprop": (torch.optim.Rprop, {}),
}


@contextlib.contextmanager
def quiet():
    """Where a fit may end above its start, as a few epochs of an odd optimizer do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _exact(function):
    """With 140 bits and at most 1e5 of exponent, where the exponentials are 0 in any format."""

    def at(z):
        with mpmath.workprec(140):
            return mpmath.mpf(function(mpmath.mpf(z)))

    return at


def _exponential(z, rate=1):
    return mpmath.exp(-rate * min(abs(z), 1e5))


def _logistic(z):
    e = _exponential(z)
    return (1 if z >= 0 else e) / (1 + e)


#: Value and derivative with mpmath.
EXACT = {
    name: (_exact(value), _exact(slope))
    for name, value, slope in (
        ("logistic", _logistic, lambda z: _exponential(z) / (1 + _exponential(z)) ** 2),
        ("tanh", mpmath.tanh, lambda z: 4 / (_exponential(z) + 1 / _exponential(z)) ** 2),
        (
            "erf",
            lambda z: mpmath.erf(mpmath.sqrt(mpmath.pi) / 2 * z),
            lambda z: mpmath.exp(-mpmath.pi / 4 * min(abs(z), 1e3) ** 2),
        ),
        (
            "gudermannian",
            lambda z: 4 / mpmath.pi * mpmath.atan(mpmath.tanh(mpmath.pi / 4 * z)),
            lambda z: 2 / (_exponential(z, mpmath.pi / 2) + 1 / _exponential(z, mpmath.pi / 2)),
        ),
        (
            "algebraic",
            lambda z: z / mpmath.sqrt(1 + z * z),
            lambda z: 1 / (mpmath.sqrt(1 + z * z) * (1 + z * z)),
        ),
        (
            "arctan",
            lambda z: 2 / mpmath.pi * mpmath.atan(mpmath.pi / 2 * z),
            lambda z: 1 / (1 + (mpmath.pi / 2 * z) ** 2),
        ),
        ("softsign", lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
        ("relu", lambda z: max(z, 0), lambda z: int(z > 0)),
        ("identity", lambda z: z, lambda z: 1),
    )
}


def problem(n, d, loss="mse", *, seed=0, dtype=np.float64):
    """Random x (n, d), y (n,), positive weights (n,), coef (d,) and an intercept, fit for the loss."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(dtype)
    y = rng.standard_normal(n) * 2
    if loss in OF_LABELS:
        y = rng.integers(0, 2, n)
    elif loss in OF_COUNTS:
        y = rng.poisson(1.5, n)
    elif loss == "gamma":
        y = rng.gamma(2.0, size=n)
    elif loss == "tweedie":
        y = rng.poisson(1.5, n) * rng.gamma(2.0, size=n)
    weight = rng.random(n) + 0.1
    coef = rng.standard_normal(d) / np.sqrt(d)
    return x, y.astype(dtype), weight.astype(dtype), coef.astype(dtype), float(dtype(0.3))


def tensor(value, requires_grad=False):
    return torch.tensor(np.array(value, dtype=np.float64), requires_grad=requires_grad)


def slope(function, z):
    """The derivative of an elementwise function at every z, by autograd."""
    z = tensor(z, requires_grad=True)
    return torch.autograd.grad(function(z).sum(), z)[0].numpy()


def _cost(x, y, coef, intercept, loss, weight, reduction):
    losses = LOSSES[loss](x @ coef + intercept, y, reduction="none")
    if weight is not None:
        losses = losses * weight
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / (len(y) if weight is None else weight.sum())


def cost_and_gradient(x, y, coef, intercept=0.0, loss="mse", weight=None, reduction="mean"):
    """The cost, and by autograd its gradient in coef and in the intercept."""
    coef, intercept = tensor(coef, True), tensor(intercept, True)
    weight = None if weight is None else tensor(weight)
    cost = _cost(tensor(x), tensor(y), coef, intercept, loss, weight, reduction)
    by_coef, by_intercept = torch.autograd.grad(cost, (coef, intercept))
    return cost.item(), by_coef.numpy(), by_intercept.item()


def trajectory(
    x,
    y,
    coef,
    intercept=0.0,
    *,
    lr,
    orders,
    batch_size=None,
    loss="mse",
    weight=None,
    reduction="mean",
    l2=0.0,
    fit_intercept=True,
    optimizer="gd",
):
    """torch.optim over one visiting order an epoch: coef, intercept, costs and the path.

    Weights are scaled to mean 1 under "mean", where a batch divides by its number of rows; `l2` is
    the weight_decay of the coefficients alone. costs[e] is the mean (or sum) of the losses before
    each update of epoch e.
    """
    x, y, n = tensor(x), tensor(y), len(y)
    coef, intercept = tensor(coef, True), tensor(intercept, fit_intercept)
    weight = torch.ones(n, dtype=torch.float64) if weight is None else tensor(weight)
    if reduction == "mean":
        weight = weight * n / weight.sum()
    groups = [{"params": [coef], "weight_decay": l2}]
    if fit_intercept:
        groups.append({"params": [intercept], "weight_decay": 0.0})
    kind, options = OPTIMIZERS[optimizer]
    rule = kind(groups, lr=lr, **options)
    costs, path = [], []
    for order in orders:
        summed = 0.0
        for rows in torch.as_tensor(np.array(order), dtype=torch.int64).split(batch_size or n):
            total = _cost(x[rows], y[rows], coef, intercept, loss, weight[rows], "sum")
            summed += total.item()
            rule.zero_grad()
            (total / len(rows) if reduction == "mean" else total).backward()
            rule.step()
        costs.append(summed / n if reduction == "mean" else summed)
        path.append(coef.detach().numpy().copy())
    return path[-1], intercept.item(), costs, path


def module_trajectory(
    x, y, coef, intercept=0.0, *, lr, orders, batch_size=None, loss="mse", reduction="mean", l2=0.0
):
    """The loop that every torch user writes: nn.Linear, a loss module, SGD with weight_decay.

    There weight_decay takes the bias along, so `l2` goes without one. Returns coef, intercept and
    the loss of every batch.
    """
    model = torch.nn.Linear(np.shape(x)[1], 1, bias=not l2).double()
    with torch.no_grad():
        model.weight[:] = tensor(coef)
        if not l2:
            model.bias[:] = intercept
    x, y = tensor(x), tensor(y)[:, None]
    criterion = MODULES[loss](reduction=reduction)
    rule = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=l2)
    losses = []
    for order in orders:
        for rows in torch.as_tensor(np.array(order), dtype=torch.int64).split(batch_size or len(y)):
            rule.zero_grad()
            value = criterion(model(x[rows]), y[rows])
            value.backward()
            rule.step()
            losses.append(value.item())
    bias = 0.0 if model.bias is None else model.bias.item()
    return model.weight.detach().numpy()[0], bias, losses


def read_only(array):
    """As the kernels get all that they only read."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
