"""`MlpFit`: what `fit_mlp` found, what it can predict, and how to keep it."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import inputs
from .errors import InputError
from .prediction import Prediction

#: Rows that go through the layers together in a prediction.
_BLOCK = 1024
_SAVED = (
    "costs", "cost", "n_epochs", "converged", "method", "classes", "loss", "activation", "lrs", "flat",
    "validation_costs", "best_epoch",
)  # fmt: skip


class MlpFit(Prediction):
    """The result of `fit_mlp`; NumPy on the host.

    Attributes
    ----------
    weights : tuple of ndarray (out, in)
        One a layer, as ``weight`` of torch.nn.Linear.
    biases : tuple of ndarray (out,)
    costs : ndarray (n_epochs,)
        The mean (or sum) of the losses that each epoch met before its updates; without penalty.
    cost : float
        The cost of all rows at `weights` and `biases`, without penalty.
    n_epochs : int
        Passes over the data that ended in an update.
    converged : bool
        All epochs ran, and the objective ended no higher than the first epoch met it.
    method : str
        The rule of the updates: "gd", "adam", …
    classes : ndarray (k,) or None
        The labels, where `loss` is "bce" or "cross_entropy".
    loss, activation : str
    lrs : ndarray (n_epochs,)
        The learning rate of every epoch.
    validation_costs : ndarray (n_epochs,) or None
        With `validation`: the cost of those rows after every epoch.
    best_epoch : int or None
        The epoch, counted from 1, after which it was lowest: `weights` and `biases` are from there.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit_mlp([0, 1, 2, 3], [0, 1, 4, 9], hidden=8, epochs=5)
    >>> [w.shape for w in fit.weights], fit.predict([1, 2]).shape
    ([(8, 1), (1, 8)], (2,))
    """

    __slots__ = ("biases", "weights", *_SAVED)

    def __init__(
        self, *, weights, biases, costs, cost, n_epochs, converged, method, classes, loss, activation,
        lrs, flat, validation_costs=None, best_epoch=None,
    ):  # fmt: skip
        self.weights, self.biases = tuple(weights), tuple(biases)
        self.costs, self.cost, self.n_epochs = costs, cost, n_epochs
        self.converged, self.method, self.classes = converged, method, classes
        self.loss, self.activation, self.lrs, self.flat = loss, activation, lrs, flat
        self.validation_costs, self.best_epoch = validation_costs, best_epoch

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        sizes = "-".join(str(size) for size in (self.weights[0].shape[1], *map(len, self.biases)))
        return (
            f"MlpFit({self.loss}, {sizes} {self.activation}, cost {self.cost:.6g}, "
            f"{self.n_epochs} epochs, {self.method}, {state})"
        )

    def raw_prediction(self, x: Any) -> np.ndarray:
        """The last layer's output: targets, or the logits of labels.

        Parameters
        ----------
        x : array-like (n, d), or (n,) for one column

        Returns
        -------
        ndarray (n,), or (n, k) for k outputs

        Raises
        ------
        InputError
            If x has another number of columns than the fit, or holds NaN or infinity.
        """
        from .cpu.elementwise import evaluated

        names = inputs.column_names(x)
        x = inputs.features(x)
        dtype, d = self.weights[0].dtype, self.weights[0].shape[1]
        if x.shape[1] != d:
            raise InputError(f"x has {x.shape[1]} columns; this fit has {d}.")
        raw = np.empty((len(x), len(self.biases[-1])), dtype)
        last = len(self.weights) - 1
        with np.errstate(all="ignore"):
            for start in range(0, len(x), _BLOCK):
                a = x[start : start + _BLOCK].astype(dtype, copy=False)
                for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                    z = a @ weight.T
                    z += bias
                    a = z if layer == last else evaluated(self.activation, "value", z, 1)
                raw[start : start + _BLOCK] = a
        if not np.isfinite(raw).all():
            inputs.require_finite(x, "x", names)
            row = int(np.argwhere(~np.isfinite(raw))[0][0])
            raise InputError(f"the prediction overflows {dtype} at row {row}; x is too large.")
        inputs.require_finite(x, "x", names)  # an infinity may end as a finite activation
        return raw[:, 0] if self.flat else raw

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fit to a file without pickles; `fastgd.load` reads it.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        InputError
            If the labels are Python objects that no file format keeps.
        """
        if self.classes is not None and self.classes.dtype.hasobject:
            raise InputError("the labels are Python objects; fit on text or numbers to save.")
        values: dict[str, Any] = {"n_layers": len(self.weights)}
        for name in _SAVED:
            value = getattr(self, name)
            values[name] = np.empty(0, dtype="V1") if value is None else value
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values[f"weight_{layer}"], values[f"bias_{layer}"] = weight, bias
        with open(path, "wb") as file:
            np.savez(file, **values)


def from_file(file: Mapping[str, np.ndarray]) -> MlpFit:
    """The fit in an open file that `MlpFit.save` wrote."""
    values: dict[str, Any] = {name: file[name] for name in _SAVED}
    for name, value in values.items():
        if value.dtype.kind == "V":
            values[name] = None
        elif value.ndim == 0:
            values[name] = value.item()
    layers = range(int(file["n_layers"]))
    return MlpFit(
        weights=[file[f"weight_{layer}"] for layer in layers],
        biases=[file[f"bias_{layer}"] for layer in layers],
        **values,
    )
