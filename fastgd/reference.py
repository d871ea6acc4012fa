"""The textbook loops over Python lists: the specification of everything else in fastgd.

Slow and obvious on purpose. `x` is a list of rows, `y` a list of numbers, `coef` a list, and every
function returns new lists. The compiled paths are tested against these, and these against torch.

The objective is  scale · Σᵢ weightᵢ · loss(zᵢ, yᵢ)  +  l2/2 · ‖coef‖²,  with zᵢ = xᵢ·coef + intercept;
for the mean, scale = 1/Σ weight, for the sum, scale = 1.
"""

from .losses import LOSSES, Loss
from .optimizers import gd

MSE = LOSSES["mse"]


def predict(x, coef, intercept=0.0):
    """zᵢ = xᵢ·coef + intercept, for every row."""
    return [sum(a * b for a, b in zip(row, coef, strict=True)) + intercept for row in x]


def _weights(y, weight):
    return [1.0] * len(y) if weight is None else weight


def cost(x, y, coef, intercept=0.0, loss: Loss = MSE, weight=None, reduction="mean"):
    """The weighted mean (or sum) of the losses, without the penalty."""
    weight = _weights(y, weight)
    total = sum(
        w * loss.value(z, t) for w, z, t in zip(weight, predict(x, coef, intercept), y, strict=True)
    )
    return total / sum(weight) if reduction == "mean" else total


def gradient(x, y, coef, intercept=0.0, loss: Loss = MSE, weight=None, reduction="mean"):
    """The gradient of `cost`: a list for the coefficients, and a number for the intercept."""
    weight = _weights(y, weight)
    slopes = [
        w * loss.slope(z, t) for w, z, t in zip(weight, predict(x, coef, intercept), y, strict=True)
    ]
    by_coef = [sum(s * row[j] for s, row in zip(slopes, x, strict=True)) for j in range(len(coef))]
    by_intercept = sum(slopes)
    if reduction == "mean":
        by_coef = [g / sum(weight) for g in by_coef]
        by_intercept = by_intercept / sum(weight)
    return by_coef, by_intercept


def _step(coef, intercept, by_coef, by_intercept, lr, l2, fit_intercept, step):
    coef = [step(c, g + l2 * c, lr) for c, g in zip(coef, by_coef, strict=True)]
    return coef, step(intercept, by_intercept, lr) if fit_intercept else intercept


def batch_gd(
    x,
    y,
    coef,
    intercept=0.0,
    *,
    lr,
    epochs,
    loss: Loss = MSE,
    weight=None,
    reduction="mean",
    l2=0.0,
    fit_intercept=True,
    step=gd,
):
    """Batch gradient descent. costs[e] is the cost before the update of epoch e."""
    costs, path = [], []
    for _ in range(epochs):
        costs.append(cost(x, y, coef, intercept, loss, weight, reduction))
        by_coef, by_intercept = gradient(x, y, coef, intercept, loss, weight, reduction)
        coef, intercept = _step(coef, intercept, by_coef, by_intercept, lr, l2, fit_intercept, step)
        path.append(coef)
    return coef, intercept, costs, path


def minibatch_gd(
    x,
    y,
    coef,
    intercept=0.0,
    *,
    lr,
    orders,
    batch_size,
    loss: Loss = MSE,
    weight=None,
    reduction="mean",
    l2=0.0,
    fit_intercept=True,
    step=gd,
):
    """Minibatch gradient descent, one epoch for each visiting order in `orders`.

    The last batch of an epoch may be smaller. Under "mean" the weights are scaled to mean 1 over all
    rows, and a batch of m rows divides by m, so that a batch of all rows is `batch_gd`.
    costs[e] is the mean (or sum) of the losses met before each update.
    """
    weight = _weights(y, weight)
    mean = reduction == "mean"
    if mean:
        weight = [w * len(y) / sum(weight) for w in weight]
    costs, path = [], []
    for order in orders:
        met = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            rows, targets = [x[i] for i in batch], [y[i] for i in batch]
            weights = [weight[i] for i in batch]
            met += cost(rows, targets, coef, intercept, loss, weights, "sum")
            by_coef, by_intercept = gradient(rows, targets, coef, intercept, loss, weights, "sum")
            if mean:
                by_coef = [g / len(batch) for g in by_coef]
                by_intercept = by_intercept / len(batch)
            coef, intercept = _step(
                coef, intercept, by_coef, by_intercept, lr, l2, fit_intercept, step
            )
        costs.append(met / len(order) if mean else met)
        path.append(coef)
    return coef, intercept, costs, path


def per_sample_sgd(x, y, coef, intercept=0.0, *, lr, orders, loss: Loss = MSE, **options):
    """Stochastic gradient descent with one update a row: `minibatch_gd` with batches of one."""
    return minibatch_gd(
        x, y, coef, intercept, lr=lr, orders=orders, batch_size=1, loss=loss, **options
    )
