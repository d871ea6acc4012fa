"""`MlpFit`: the result of `fit_mlp`, its predictions, and its file."""

from typing import Any

import numpy as np

from .. import archive, inputs
from ..errors import InputError
from ..formulas.activations import ACTIVATIONS
from ..losses import link_of
from ..predictor import Prediction, with_offset

#: Rows that go through the layers together in a prediction.
_BLOCK = 1024
_SAVED = (
    "costs", "cost", "n_epochs", "converged", "method", "classes", "loss", "activation", "lrs", "flat",
    "validation_costs", "best_epoch", "feature_names",
)  # fmt: skip


class MlpFit(Prediction):
    """The result of `fit_mlp`; NumPy on the host.

    Attributes
    ----------
    weights : tuple of ndarray (out, in)
        One a layer, as ``weight`` of torch.nn.Linear.
    biases : tuple of ndarray (out,)
    costs : ndarray (n_epochs,)
        The mean (or sum) of the losses of each epoch, each before its update; without penalty.
    cost : float
        The cost of all rows at `weights` and `biases`, without penalty.
    n_epochs : int
        Passes over the data that ended in an update.
    converged : bool
        All epochs ran, and the objective ended no higher than in the first epoch.
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
    feature_names : tuple of str, or None
        The names of x's columns, as `Fit` keeps and checks them.
    state : dict of ndarray, or None
        That from which ``fit_mlp(…, resume=this_fit)`` goes on; kept where the call had a `callback`,
        `checkpoint` or `resume`.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit_mlp([0, 1, 2, 3], [0, 1, 4, 9], hidden=8, epochs=5)
    >>> [w.shape for w in fit.weights], fit.predict([1, 2]).shape
    ([(8, 1), (1, 8)], (2,))
    """

    __slots__ = ("biases", "state", "weights", *_SAVED)

    def __init__(
        self, *, weights: Any, biases: Any, costs: np.ndarray, cost: float, n_epochs: int,
        converged: bool, method: str, classes: np.ndarray | None, loss: str, activation: str,
        lrs: np.ndarray, flat: bool,
        validation_costs: np.ndarray | None = None, best_epoch: int | None = None,
        feature_names: Any = None, state: Any = None,
    ) -> None:  # fmt: skip
        self.weights, self.biases = tuple(weights), tuple(biases)
        self.costs, self.cost, self.n_epochs = costs, cost, n_epochs
        self.converged, self.method, self.classes = converged, method, classes
        self.loss, self.activation, self.lrs, self.flat = loss, activation, lrs, flat
        self.validation_costs, self.best_epoch = validation_costs, best_epoch
        self.state = state
        self.feature_names = None if feature_names is None else tuple(map(str, feature_names))

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        sizes = "-".join(str(size) for size in (self.weights[0].shape[1], *map(len, self.biases)))
        return (
            f"MlpFit({self.loss}, {sizes} {self.activation}, cost {self.cost:.6g}, "
            f"{self.n_epochs} epochs, {self.method}, {state})"
        )

    @property
    def link(self) -> Any:
        """The inverse link that `predict` or `predict_proba` applies, by name."""
        return link_of(self.loss)

    def raw_prediction(self, x: Any, offset: Any = None) -> np.ndarray:
        """The last layer's output: targets, or the logits of labels.

        Parameters
        ----------
        x : array-like or sparse (n, d); for one column also (n,), or a number, which is one row
        offset : array-like (n,) or (n, k), optional
            Added to it.

        Returns
        -------
        ndarray (n,), or (n, k) for k outputs

        Raises
        ------
        InputError
            If x has another number of columns than the fit, or other names of columns, or holds NaN or
            infinity.
        """
        from ..compile.functions import default_threads
        from ..cpu.elementwise import evaluated
        from ..cpu.machine.blas import one_thread
        from ..cpu.machine.pool import for_each_part

        dtype = self.weights[0].dtype
        names = inputs.column_names(x)
        d = self.weights[0].shape[1]
        if inputs.is_sparse(x):
            from ..sources import compressed

            x = compressed.rows_to_predict(x, d, self.feature_names)
            x = x.rows if isinstance(x, compressed.Columns) else x
        else:
            x = inputs.rows_to_predict(x, d, self.feature_names)
        n = x.shape[0]
        raw = np.empty((n, len(self.biases[-1])), dtype)
        last, value = len(self.weights) - 1, ACTIVATIONS[self.activation].value

        def forward(group: int, part: int) -> None:
            rows = slice(part * _BLOCK, (part + 1) * _BLOCK)
            a = x[rows].astype(dtype, copy=False)
            for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                z = a @ weight.T
                z += bias
                a = z if layer == last else evaluated(value, z, 1)
            raw[rows] = a

        blocks = [range(i, i + 1) for i in range(-(-n // _BLOCK))]
        with np.errstate(all="ignore"), one_thread():
            for_each_part(forward, blocks, default_threads())
        if not np.isfinite(raw).all():
            inputs.require_finite(x, "x", names)
            row = int(np.argwhere(~np.isfinite(raw))[0][0])
            raise InputError(f"the prediction overflows {dtype} at row {row}; x is too large.")
        inputs.require_finite(x, "x", names)  # an infinity may give a finite activation
        return with_offset(raw[:, 0] if self.flat else raw, offset)

    def save(self, path: Any) -> None:
        """Write the fit to a file without pickles; `fastgd.load` reads it.

        Parameters
        ----------
        path : path, or binary file object
            As `Fit.save` takes it.

        Raises
        ------
        InputError
            If the labels are Python objects that no file format keeps, or an attribute was set to
            what no fit has.
        OSError
            If the file can't be written.
        """
        values = {name: getattr(self, name) for name in _SAVED}
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values |= {f"weight_{layer}": weight, f"bias_{layer}": bias}
        archive.save(path, {"n_layers": len(self.weights), **values}, _table, self.state or {})


def _table(arrays: archive.Arrays) -> archive.Table:
    """The members of a file, for weights and biases of these shapes."""
    layers = range(max(1, sum(name.startswith("weight_") for name in arrays)))
    first = np.asarray(arrays.get("weight_0"))
    sizes = [archive.shape(arrays, "weight_0")[-1:]]
    sizes += [archive.shape(arrays, f"bias_{layer}")[:1] for layer in layers]
    outputs = sizes[-1] or (1,)
    parameters = archive.Member(
        tuple(t for t in archive.REAL if t is first.dtype.type), finite=True
    )
    every = archive.of_every_fit(arrays, max(2, *outputs))
    # A single column of outputs is the labels' own, or as y was given.
    flat = {outputs == (1,)} | (set() if every["classes"].types else {False})
    return {
        **every,
        "n_layers": archive.Member(archive.INTEGER, among=(len(layers),)),
        "activation": every["loss"]._replace(among=ACTIVATIONS),
        "flat": archive.Member(archive.FLAG, among=flat),
        "feature_names": archive.Member(archive.TEXT, sizes[0], optional=True),
        **{f"weight_{n}": parameters._replace(shape=sizes[n + 1] + sizes[n]) for n in layers},
        **{f"bias_{n}": parameters._replace(shape=sizes[n + 1]) for n in layers},
    }


def fit_of(arrays: archive.Arrays) -> MlpFit:
    """The fit whose file holds these arrays."""
    arrays, state = archive.split_state(arrays)
    values = archive.attributes(arrays, _table(arrays))
    layers = range(values.pop("n_layers"))
    weights, biases = ([values.pop(f"{kind}_{n}") for n in layers] for kind in ("weight", "bias"))
    return MlpFit(weights=weights, biases=biases, state=state, **values)
