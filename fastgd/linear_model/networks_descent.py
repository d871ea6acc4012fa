"""A network's updates in the order that scikit-learn gives, and its objective, by compiled passes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

from ..formulas.log_links import poisson_slope
from ..formulas.margins import binary_cross_entropy_slope
from ..formulas.networks import (
    ADAM,
    VELOCITY,
    adam_rate,
    clipped,
    half_poisson_deviance,
    half_squared_error,
    residual,
)
from ..formulas.softmax import cross_entropy_slope, log_sum_exp_step
from ..formulas.updates import HYPER
from ..losses import CoupledLoss, Loss
from ..mlp.network import BLOCK, Passes, blocks_of, end_of_block
from ..mlp.run import network_for, rows_of

#: Operations of one compiled call, about 70 ms; after it Ctrl-C takes effect.
_SPAN = 2_000_000_000


@functools.cache
def _loss(activation: str, dtype: np.dtype) -> Any:
    """The loss below this activation of the last layer.

    scikit-learn clips probabilities before it takes their logarithm, and slopes are of the loss without.
    """
    of_labels, of_classes = clipped(float(np.finfo(dtype).eps))
    if activation == "softmax":
        return CoupledLoss(
            "clipped_cross_entropy", log_sum_exp_step, of_classes, cross_entropy_slope
        )
    return {
        "identity": Loss("half_squared_error", half_squared_error, residual),
        "exp": Loss("half_poisson_deviance", half_poisson_deviance, poisson_slope),
        "logistic": Loss("clipped_bce", of_labels, binary_cross_entropy_slope),
    }[activation]


class Descent:
    """A network at the parameters of an estimator, with the rows that it is fitted to.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        With `coefs_` and `intercepts_`, where the network begins.
    X : ndarray or sparse matrix (n, d)
        Read where it is.
    y : ndarray (n, k)
        Targets, or for a softmax a column for each class.
    weight : ndarray (n,) or None
    dtype : dtype
        Of the computation.
    batch : int
        Rows of a batch.
    """

    def __init__(self, estimator: Any, X: Any, y: np.ndarray, weight: Any, dtype: Any, batch: int):
        coefs, intercepts = estimator.coefs_, estimator.intercepts_
        k, dtype = len(intercepts[-1]), np.dtype(dtype)
        if y.shape[1] != k:
            raise ValueError(f"y has {y.shape[1]} output(s), but the network has {k}.")
        activation = estimator.out_activation_
        loss = _loss(activation, dtype)
        X, _ = rows_of(X, dtype.name)
        self.weight = None if weight is None else np.asarray(weight, np.float64)
        #: The outputs that a mean is taken over: of squared errors it is, while their slopes are added.
        self.outputs = k if activation == "identity" else 1
        self.alpha, self.evaluations = float(estimator.alpha), 0
        sizes = [len(one) for one in intercepts]
        most = min(batch, BLOCK)
        self.network = network_for(X, sizes, estimator.activation, loss, dtype, most=most)
        _fill(self.parameters(self.network.theta), [*coefs, *intercepts])
        targets = y.argmax(axis=1)[:, np.newaxis] if loss.coupled else y
        ones = np.ones(len(y), dtype)
        self.passes = Passes(self.network, X, targets, ones if weight is None else weight)

    def parameters(self, flat: np.ndarray) -> list[np.ndarray]:
        """All weights and then all intercepts in a flat array, in the shapes that scikit-learn has."""
        weights, intercepts = self.network.views(flat)
        return [*weights, *intercepts]

    def objective(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss of all rows and the penalty, and the gradient, in float64."""
        network, n = self.network, self.passes.n
        network.theta[:] = theta
        self.evaluations += 1
        factor = 1 / (n if self.weight is None else self.weight.sum())
        penalised = theta[: network.penalised]
        loss = self.passes.train(self.passes.given_order, 0, n, n, factor, False) / self.outputs
        gradient = network.gradient.astype(np.float64)
        gradient[: network.penalised] += self.alpha * factor * penalised
        return factor * (loss + self.alpha / 2 * float(penalised @ penalised)), gradient


class Steps(Descent):
    """The same with an optimizer of scikit-learn, whose state is that of the network while it is used."""

    def __init__(self, estimator: Any, X: Any, y: np.ndarray, weight: Any, batch: int):
        super().__init__(estimator, X, y, weight, estimator.coefs_[0].dtype, batch)
        self.batch = batch
        self.optimizer = optimizer = estimator._optimizer
        self.adam = isinstance(optimizer, AdamOptimizer)
        self.slots = ("ms", "vs") if self.adam else ("velocities",)
        size, self.hyper = self.network.size, np.zeros(HYPER)
        for slot, name in enumerate(self.slots):
            places = self.parameters(self.network.memory[slot * size : (slot + 1) * size])
            _fill(places, getattr(optimizer, name))
            setattr(optimizer, name, places)
        if self.adam:
            first, second = optimizer.beta_1, optimizer.beta_2
            self.hyper[:5] = first, 1 - first, second, 1 - second, optimizer.epsilon
        else:
            self.hyper[:2] = optimizer.momentum, optimizer.nesterov
        self.low_hyper = self.hyper.astype(self.network.dtype)

    def epoch(self, order: np.ndarray) -> float:
        """An update for each batch of these rows; returns the mean of their objectives before them."""
        optimizer, n, adam, batch = self.optimizer, len(order), self.adam, self.batch
        begins = np.arange(0, n, batch)
        rows = np.minimum(batch, n - begins).astype(np.float64)
        sums = rows if self.weight is None else np.add.reduceat(self.weight[order], begins)
        if not sums.all():
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        rule, lr = (
            (ADAM, optimizer.learning_rate_init) if adam else (VELOCITY, optimizer.learning_rate)
        )
        before = optimizer.t if adam else 0
        first, total, size = 0, 0.0, self.network.size
        while first < n:
            stop = end_of_block(first + max(1, _SPAN // (6 * size)), batch, n)
            blocks, parts = blocks_of(first, stop, batch, n, BLOCK, 1.0, True, size)
            blocks = blocks.copy()
            numbers = blocks["t"].astype(np.intp) - 1
            blocks["factor"] = blocks["penalty"] = 1 / sums[numbers]
            blocks["counts"], blocks["squares"] = (rows / sums)[numbers], self.outputs
            total = self.passes.train_blocks(
                order, (blocks, parts), rule, self.alpha, lr, before, self.hyper, self.low_hyper
            )
            if adam:
                optimizer.t = before + stop // batch if stop < n else before + len(begins)
            first = stop
        if adam:
            optimizer.learning_rate = adam_rate(lr, optimizer.t, optimizer.beta_1, optimizer.beta_2)
        return total / self.outputs / n

    def end(self) -> list[np.ndarray]:
        """The parameters, and the state of the optimizer, in arrays of their own."""
        size, network = self.network.size, self.network
        for slot, name in enumerate(self.slots):
            state = network.memory[slot * size : (slot + 1) * size]
            setattr(self.optimizer, name, self.parameters(state.copy()))
        return self.parameters(network.theta.copy())


def _fill(places: list[np.ndarray], arrays: list[Any]) -> None:
    for place, array in zip(places, arrays, strict=True):
        place[...] = array
