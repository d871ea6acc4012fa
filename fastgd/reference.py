"""The textbook loops over Python lists: the specification of everything else in fastgd.

Slow and simple on purpose. `x` is a list of rows, `y` a list of numbers, `coef` a list, and every
function returns new lists. The compiled paths are tested against these, and these against torch.

The objective is  scale · Σᵢ weightᵢ · loss(zᵢ, yᵢ)  +  l1·‖coef‖₁  +  l2/2·‖coef‖²,  with
zᵢ = xᵢ·coef + intercept + offsetᵢ; for the mean, scale = 1/Σ weight, for the sum, scale = 1.
"""

from typing import Any

from .formulas.activations import Activation
from .formulas.updates import GD, Optimizer, soft
from .losses import CROSS_ENTROPY, MSE, Loss


def predict(x, coef, intercept=0.0, offset=None):
    """zᵢ = xᵢ·coef + intercept + offsetᵢ, for every row."""
    offset = _offset(x, offset)
    return [
        sum(a * b for a, b in zip(row, coef, strict=True)) + intercept + o
        for row, o in zip(x, offset, strict=True)
    ]


def _offset(x, offset):
    return [0.0] * len(x) if offset is None else offset


def _weights(y, weight):
    return [1.0] * len(y) if weight is None else weight


def cost(x, y, coef, intercept=0.0, loss: Loss = MSE, weight=None, reduction="mean", offset=None):
    """The weighted mean (or sum) of the losses, without the penalty."""
    weight = _weights(y, weight)
    total = sum(
        w * loss.value(z, t, *loss.parameters)
        for w, z, t in zip(weight, predict(x, coef, intercept, offset), y, strict=True)
    )
    return total / sum(weight) if reduction == "mean" else total


def gradient(
    x, y, coef, intercept=0.0, loss: Loss = MSE, weight=None, reduction="mean", offset=None
):
    """The gradient of `cost`: a list for the coefficients, and a number for the intercept."""
    weight = _weights(y, weight)
    slopes = [
        w * loss.slope(z, t, *loss.parameters)
        for w, z, t in zip(weight, predict(x, coef, intercept, offset), y, strict=True)
    ]
    by_coef = [sum(s * row[j] for s, row in zip(slopes, x, strict=True)) for j in range(len(coef))]
    by_intercept = sum(slopes)
    if reduction == "mean":
        by_coef = [g / sum(weight) for g in by_coef]
        by_intercept = by_intercept / sum(weight)
    return by_coef, by_intercept


class Walk:
    """The updates of a run: an optimizer, its state for each parameter, and the learning rates.

    `schedule` has a method ``rate(lr, epoch)``; None keeps lr constant.
    """

    def __init__(self, d, *, lr, optimizer: Optimizer = GD, schedule=None, l1=0.0, l2=0.0,
                 fit_intercept=True):  # fmt: skip
        self.lr, self.schedule, self.rule = lr, schedule, optimizer.rule
        self.hyper = (*optimizer.hyper(), *[0.0] * 7)[:7]
        self.l1, self.l2, self.fit_intercept, self.t = l1, l2, fit_intercept, 0.0
        self.memory = [optimizer.start(self.rate(0))] * (d + 1)

    def rate(self, epoch):
        """The learning rate of an epoch."""
        return self.lr if self.schedule is None else self.schedule.rate(self.lr, epoch)

    def step(self, epoch, coef, intercept, by_coef, by_intercept):
        """The next parameters."""
        self.t += 1.0
        lr = self.rate(epoch)
        scales = self.rule.scales(lr, self.t, self.hyper)

        def move(j, theta, g):
            theta, *self.memory[j] = self.rule.step(theta, g, *scales, self.hyper, *self.memory[j])
            return theta

        gradient = [g + self.l2 * w for g, w in zip(by_coef, coef, strict=True)]
        coef = [move(j, w, g) for j, (w, g) in enumerate(zip(coef, gradient, strict=True))]
        if self.l1:
            coef = [soft(w, lr * self.l1) for w in coef]
        return coef, move(-1, intercept, by_intercept) if self.fit_intercept else intercept


def batch_gd(
    x,
    y,
    coef,
    intercept=0.0,
    *,
    epochs,
    loss: Loss = MSE,
    weight=None,
    reduction="mean",
    offset=None,
    **options,
):
    """Batch gradient descent, with the options of `Walk`. costs[e] is the cost before update e."""
    costs, path = [], []
    walk = Walk(len(coef), **options)
    for epoch in range(epochs):
        costs.append(cost(x, y, coef, intercept, loss, weight, reduction, offset))
        by_coef, by_intercept = gradient(x, y, coef, intercept, loss, weight, reduction, offset)
        coef, intercept = walk.step(epoch, coef, intercept, by_coef, by_intercept)
        path.append(coef)
    return coef, intercept, costs, path


def minibatch_gd(
    x,
    y,
    coef,
    intercept=0.0,
    *,
    orders,
    batch_size,
    loss: Loss = MSE,
    weight=None,
    reduction="mean",
    offset=None,
    **options,
):
    """Minibatch gradient descent, one epoch for each visiting order in `orders`, with those of `Walk`.

    The last batch of an epoch may be smaller. Under "mean" the weights are scaled to mean 1 over all
    rows, and a batch of m rows divides by m, so that a batch of all rows is `batch_gd`.
    costs[e] is the mean (or sum) of the losses of epoch e, each before its update.
    """
    weight, offset = _weights(y, weight), _offset(x, offset)
    mean = reduction == "mean"
    if mean:
        weight = [w * len(y) / sum(weight) for w in weight]
    costs, path = [], []
    walk = Walk(len(coef), **options)
    for epoch, order in enumerate(orders):
        summed = 0.0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            rows, targets = [x[i] for i in batch], [y[i] for i in batch]
            weights, fixed = [weight[i] for i in batch], [offset[i] for i in batch]
            at = rows, targets, coef, intercept, loss, weights, "sum", fixed
            summed += cost(*at)
            by_coef, by_intercept = gradient(*at)
            if mean:
                by_coef = [g / len(batch) for g in by_coef]
                by_intercept = by_intercept / len(batch)
            coef, intercept = walk.step(epoch, coef, intercept, by_coef, by_intercept)
        costs.append(summed / len(order) if mean else summed)
        path.append(coef)
    return coef, intercept, costs, path


def per_sample_sgd(x, y, coef, intercept=0.0, *, lr, orders, loss: Loss = MSE, **options):
    """Stochastic gradient descent with one update a row: `minibatch_gd` with batches of one."""
    return minibatch_gd(
        x, y, coef, intercept, lr=lr, orders=orders, batch_size=1, loss=loss, **options
    )


def _layers(x, weights, biases, activation):
    """For every row the z of each layer and the a that goes into it; the last z is the prediction."""
    walks = []
    for row in x:
        zs, inputs = [], [row]
        for weight, bias in zip(weights, biases, strict=True):
            zs.append([
                sum(w * a for w, a in zip(line, inputs[-1], strict=True)) + b
                for line, b in zip(weight, bias, strict=True)
            ])  # fmt: skip
            inputs.append([activation.value(z) for z in zs[-1]])
        walks.append((zs, inputs))
    return walks


def _row_of_predictions(loss, z, label):
    """The loss of k coupled predictions where `label` is the right one, and its slope in each."""
    top, rest = z[0], 0.0
    for one in z[1:]:
        top, rest = loss.add(top, rest, one)
    slopes = [loss.slope(one, float(c == label), top, rest) for c, one in enumerate(z)]
    return loss.value(z[label], top, rest), slopes


def mlp_cost_and_gradient(
    x, y, weights, biases, activation: Activation, loss: Any = MSE, reduction="mean"
):
    """The cost of a network by back-propagation, and the gradients by weights and biases.

    Weights are lists of (out, in); y is a list of lists of targets, or of labels for a loss that
    couples the outputs.
    """
    by_weights = [[[0.0] * len(line) for line in weight] for weight in weights]
    by_biases = [[0.0] * len(bias) for bias in biases]
    entries = len(x) * (1 if loss.coupled else len(biases[-1]))
    factor = 1 / entries if reduction == "mean" else 1.0
    total = 0.0
    for (zs, inputs), target in zip(_layers(x, weights, biases, activation), y, strict=True):
        if loss.coupled:
            value, delta = _row_of_predictions(loss, zs[-1], target)
            total += value
        else:
            pairs = list(zip(zs[-1], target, strict=True))
            total += sum(loss.value(z, t, *loss.parameters) for z, t in pairs)
            delta = [loss.slope(z, t, *loss.parameters) for z, t in pairs]
        for layer in range(len(weights) - 1, -1, -1):
            for i, d in enumerate(delta):
                by_biases[layer][i] += factor * d
                for j, a in enumerate(inputs[layer]):
                    by_weights[layer][i][j] += factor * d * a
            if layer:
                delta = [
                    activation.slope(zs[layer - 1][j])
                    * sum(d * line[j] for d, line in zip(delta, weights[layer], strict=True))
                    for j in range(len(inputs[layer]))
                ]
    return factor * total, by_weights, by_biases


# Softmax: y holds class indices, coef a row and intercept a number for every class, and offset a list of
# k numbers for every row.


def _rows_of_predictions(x, coef, intercept, offset):
    """For every row its k raw predictions, and the two numbers of `CROSS_ENTROPY.add`."""
    offset = [[0.0] * len(coef)] * len(x) if offset is None else offset
    offsets = zip(*offset, strict=True)  # one list for each output
    outputs = [predict(x, w, b, list(o)) for w, b, o in zip(coef, intercept, offsets, strict=True)]
    for z in zip(*outputs, strict=True):
        top, rest = z[0], 0.0
        for one in z[1:]:
            top, rest = CROSS_ENTROPY.add(top, rest, one)
        yield z, top, rest


def softmax_cost(x, y, coef, intercept, weight=None, reduction="mean", offset=None):
    """The weighted mean (or sum) of the cross-entropies of k classes, without the penalty."""
    weight = _weights(y, weight)
    rows = zip(_rows_of_predictions(x, coef, intercept, offset), y, weight, strict=True)
    total = sum(w * CROSS_ENTROPY.value(z[t], top, rest) for (z, top, rest), t, w in rows)
    return total / sum(weight) if reduction == "mean" else total


def softmax_gradient(x, y, coef, intercept, weight=None, reduction="mean", offset=None):
    """The gradient of `softmax_cost`: a list for every class, and a number for every class."""
    weight = _weights(y, weight)
    unit = 1 / sum(weight) if reduction == "mean" else 1.0
    by_coef, by_intercept = [[0.0] * len(w) for w in coef], [0.0] * len(coef)
    rows = zip(x, _rows_of_predictions(x, coef, intercept, offset), y, weight, strict=True)
    for row, (z, top, rest), t, w in rows:
        for c, one in enumerate(z):
            s = unit * w * CROSS_ENTROPY.slope(one, float(c == t), top, rest)
            by_coef[c] = [g + s * a for g, a in zip(by_coef[c], row, strict=True)]
            by_intercept[c] += s
    return by_coef, by_intercept


def softmax_gd(
    x, y, coef, intercept, *, orders, batch_size=None, weight=None, reduction="mean", offset=None,
    **options,
):  # fmt: skip
    """`minibatch_gd` for k classes; without a `batch_size` all rows make a batch."""
    weight = _weights(y, weight)
    mean = reduction == "mean"
    if mean:
        weight = [w * len(y) / sum(weight) for w in weight]
    costs, path = [], []
    walks = [Walk(len(w), **options) for w in coef]
    for epoch, order in enumerate(orders):
        summed = 0.0
        for start in range(0, len(order), batch_size or len(order)):
            batch = order[start : start + (batch_size or len(order))]
            rows, classes = [x[i] for i in batch], [y[i] for i in batch]
            weights = [weight[i] for i in batch]
            fixed = None if offset is None else [offset[i] for i in batch]
            at = rows, classes, coef, intercept, weights, "sum", fixed
            summed += softmax_cost(*at)
            by_coef, by_intercept = softmax_gradient(*at)
            unit = 1 / len(batch) if mean else 1.0
            moved = [
                walk.step(epoch, w, b, [unit * g for g in by_w], unit * by_b)
                for walk, w, b, by_w, by_b in zip(
                    walks, coef, intercept, by_coef, by_intercept, strict=True
                )
            ]
            coef, intercept = [w for w, _ in moved], [b for _, b in moved]
        costs.append(summed / len(order) if mean else summed)
        path.append(coef)
    return coef, intercept, costs, path
