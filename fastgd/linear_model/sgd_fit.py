"""The `Fit` of a model by SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse

from ..losses import LABELS
from ..result import Fit
from .sgd_losses import loss_of


def fit_of(model: Any) -> Fit:
    """What an estimator has found, in arrays of its own.

    A loss that fastgd has for such targets has its name and parameter. For more than two classes, and of
    numbers or the perceptron's for two, it is "one-vs-rest" with that name: such a fit has labels to
    predict, but neither probabilities nor a deviance.

    Parameters
    ----------
    model : SGDClassifier or SGDRegressor

    Raises
    ------
    AttributeError
        If the model is not fitted, or by scikit-learn.
    """
    if not hasattr(model, "costs_"):
        raise AttributeError("fit_ is of models that fastgd has fitted; call fit first.")
    coef = model.coef_.toarray() if issparse(model.coef_) else np.array(model.coef_)
    intercept = np.array(model.intercept_, coef.dtype)
    costs = _mean_costs(model.costs_) if model.costs_.ndim > 1 else model.costs_.copy()
    loss, classes = loss_of(model.loss, model.epsilon), getattr(model, "classes_", None)
    name = loss.name
    if classes is not None and (len(classes) > 2 or loss.targets != LABELS):
        name = f"one-vs-rest {name}"
    one = len(intercept) == 1
    return Fit(
        coef=coef.ravel() if one else coef, intercept=float(intercept[0]) if one else intercept,
        costs=costs, cost=float(costs[-1]), n_epochs=len(costs), method=model._method,
        # As of other random updates: the cost may end a tenth higher.
        converged=bool((model.tol is None or model._stopped) and costs[-1] <= 1.1 * costs[0]),
        loss=name, p=loss.p, link=None if classes is not None else "identity",
        classes=None if classes is None else classes.copy(),
        feature_names=getattr(model, "feature_names_in_", None),
    )  # fmt: skip


def _mean_costs(costs: np.ndarray) -> np.ndarray:
    """The mean over classes (k, n_epochs) of the costs of each epoch, of a class at its end its last."""
    known = np.where(np.isnan(costs), 0, np.arange(costs.shape[1]))
    last = np.maximum.accumulate(known, axis=1)
    return np.asarray(np.take_along_axis(costs, last, axis=1).mean(axis=0))
