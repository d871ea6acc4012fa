"""`fit_mlp`: a network of dense layers, fitted by back-propagation."""

import warnings
from typing import Any

import numpy as np

from .. import inputs
from ..errors import ConvergenceWarning, DivergenceError, InputError
from ..formulas.activations import ACTIVATIONS
from ..losses import LABELS
from .options import MlpOptions, loss_of
from .result import MlpFit


def fit_mlp(
    x: Any,
    y: Any,
    *,
    hidden: Any = (128,),
    activation: str = "logistic",
    loss: str = "mse",
    lr: Any = "auto",
    epochs: int = 100,
    batch_size: int | None = 64,
    shuffle: bool | str = True,
    seed: int = 0,
    optimizer: Any = None,
    schedule: Any = None,
    reduction: str = "mean",
    l2: float = 0.0,
    sample_weight: Any = None,
    weights_init: Any = None,
    biases_init: Any = None,
    dtype: Any = None,
    n_threads: int | None = None,
    callback: Any = None,
    progress: bool = False,
    validation: Any = None,
    patience: int = 5,
    resume: Any = None,
    checkpoint: Any = None,
) -> MlpFit:
    """A multi-layer perceptron by back-propagation.

    ŷ = W₂·σ(W₁·x + b₁) + b₂, with any number of hidden layers. Minimises cost + l2/2·Σ‖W‖²; with δ the
    slope of the loss at ŷ, the gradients are ∂W₂ = δ·aᵀ and ∂b₂ = δ, and below δ₁ = σ′(z₁)·W₂ᵀδ
    (Rumelhart, Hinton and Williams, 1986).

    Parameters
    ----------
    x : array-like or sparse (n, d), or (n,) for one column
        Read where it is if it is float32 or float64.
    y : array-like (n,) or (n, k)
        Targets, or (n,) labels of any kind for "bce" (two values) and "cross_entropy".
    hidden : int or sequence of int, default=(128,)
        Units of each hidden layer; () is a linear model.
    activation : str, default="logistic"
        σ: "logistic", "tanh", "erf", "gudermannian", "algebraic", "arctan", "softsign", "relu" or
        "identity", those of `fastgd.activations`.
    loss : {"mse", "bce", "cross_entropy"}, default="mse"
        Squared error, binary cross-entropy of one output, or that of the softmax of k outputs; as
        torch's MSELoss, BCEWithLogitsLoss and CrossEntropyLoss.
    lr : float or "auto", default="auto"
        The step. "auto": torch's default for the optimizer, 0.001 for "adam".
    epochs : int, default=100
    batch_size : int or None, default=64
        Rows of an update, all of them if there are fewer or with None. The last batch of an epoch may
        be smaller; under "mean" it divides by its own size.
    shuffle : bool or "block", default=True
        The visiting order, as in `fit_linear`.
    seed : int, default=0
        Seed of the visiting order and of the initial parameters.
    optimizer : str or object, optional
        As in `fit_linear`, without "lbfgs". Default: "gd" with a numeric `lr`, else "adam".
    schedule : object or callable, optional
        As in `fit_linear`.
    reduction : {"mean", "sum"}, default="mean"
    l2 : float, default=0.0
        The penalty of the weights; biases have none.
    sample_weight : array-like (n,), optional
        Non-negative. Under "mean" they are scaled to a mean of 1.
    weights_init : sequence of array-like (out, in), optional
    biases_init : sequence of array-like (out,), optional
        Where to start; by default uniform within ±1/√in, as torch.nn.Linear.
    dtype : {"float32", "float64"}, optional
        The dtype of the computation. By default float32 for float32 and float16 data, else float64.
    n_threads : int, optional
        Default: the processors this process may use. Two share a batch of 64 rows, one more every
        further 64, unless it takes microseconds. NumPy's OpenBLAS runs on one thread during the
        fit, so that the result is the same, bit for bit.
    callback : callable, optional
        Called with the `MlpFit` so far about every 100 ms (with `validation` after every epoch), its
        `cost` the last of `costs`; a true return value stops the fit.
    progress : bool, default=False
        Show a tqdm bar.
    validation : float, (x, y) or (x, y, sample_weight), optional
        Early stopping, as in `fit_linear`: the cost of rows that no update sees, and the parameters for
        which it was lowest. A fraction is held out, drawn with `seed`; a tuple is read where it is.
    patience : int, default=5
        With `validation`: stop after so many epochs in a row without a lower cost.
    resume : MlpFit or path, optional
        Go on from a fit that has a `state`, or its file: one that a `callback` of a call with the same
        data and arguments was given, or stopped. The result has the bits of a fit that ran at once, with
        more `epochs` too.
    checkpoint : path, optional
        Write the fit so far to this file at the end of an epoch, about once a second, and less often
        where that takes long, and the result at the end; `resume` goes on from it, also after the
        process was killed. A file that is there is replaced.

    Returns
    -------
    MlpFit

    Raises
    ------
    InputError
        If the data or an argument can't be used.
    DivergenceError
        If the cost stops being finite; carries the last finite fit, or none if the start has none.
    KeyboardInterrupt
        On Ctrl-C, with a fit in its attribute `fit`: that of a call with as many epochs as have ended.
        Within the first epoch, the parameters after its last updates, with ``n_epochs=0``; None before
        the first update. Its `cost` is estimated from a sample where all rows take more than 0.2 s.

    Warns
    -----
    ConvergenceWarning
        If the objective rose, or the epochs ended before `patience` did.

    Examples
    --------
    >>> import fastgd
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], ["same", "not", "not", "same"]
    >>> fit = fastgd.fit_mlp(x, y, hidden=8, activation="tanh", loss="cross_entropy", lr=1.0)
    >>> fit.predict(x).tolist()
    ['same', 'not', 'not', 'same']
    """
    given = dict(locals())  # all arguments by name
    x, y = given.pop("x"), given.pop("y")
    options = MlpOptions(**given)
    from .run import MlpRun  # imports Numba

    run: Any = None
    fit: Any = None
    # Overflows are found in the results and reported there; NumPy's warnings add nothing.
    with np.errstate(all="ignore"):
        try:
            run = MlpRun(x, y, options)
            fit = run.result()
            if run.warning:
                warnings.warn(run.warning, ConvergenceWarning, stacklevel=2)
        except KeyboardInterrupt as stop:
            stop.fit = run.kept() if run and fit is None else fit  # type: ignore[attr-defined]
            raise
    return fit


def mlp_cost_and_gradient(
    x: Any,
    y: Any,
    weights: Any,
    biases: Any,
    *,
    activation: str = "logistic",
    loss: str = "mse",
    reduction: str = "mean",
) -> tuple[float, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """The cost of a network and its gradient, by back-propagation.

    With a₀ = x, zₗ = aₗ₋₁·Wₗᵀ + bₗ and aₗ = σ(zₗ), the last one without σ: ∂Wₗ = δₗᵀ·aₗ₋₁, ∂bₗ = Σδₗ,
    δₗ₋₁ = σ′(zₗ₋₁)·(δₗ·Wₗ), from δ = slope of the loss (Rumelhart, Hinton and Williams, 1986).

    Parameters
    ----------
    x : array-like or sparse (n, d), or (n,) for one column
    y : array-like (n,) or (n, k)
        Targets; labels in [0, 1] for "bce"; (n,) indices of classes for "cross_entropy".
    weights : sequence of array-like (out, in)
        One a layer, as ``weight`` of torch.nn.Linear.
    biases : sequence of array-like (out,)
    activation : str, default="logistic"
        Of the hidden layers, as in `fit_mlp`.
    loss : {"mse", "bce", "cross_entropy"}, default="mse"
    reduction : {"mean", "sum"}, default="mean"

    Returns
    -------
    cost : float
    weight_gradients : tuple of ndarray (out, in)
    bias_gradients : tuple of ndarray (out,)

    Raises
    ------
    InputError
        If an argument can't be used.
    DivergenceError
        If the cost or the gradient overflows.

    Examples
    --------
    >>> import fastgd
    >>> cost, (by_weight,), (by_bias,) = fastgd.mlp_cost_and_gradient([1, 2], [1, 3], [[[1]]], [[0]])
    >>> cost, by_weight.tolist(), by_bias.tolist()
    (0.5, [[-2.0]], [-1.0])
    """
    activation = inputs.choice(activation, "activation", tuple(ACTIVATIONS))
    chosen = loss_of(loss)
    reduction = inputs.choice(reduction, "reduction", ("mean", "sum"))
    from . import run as mlp_run
    from .network import Passes

    names = inputs.column_names(x)
    x, dtype = mlp_run.rows_of(x, None)
    n, d = x.shape
    if not isinstance(weights, list | tuple) or not weights:
        raise InputError("weights is not a list of arrays; expected one (out, in) a layer.")
    shapes = [inputs.as_array(w, f"weights[{i}]").shape for i, w in enumerate(weights)]
    for layer, shape in enumerate(shapes):
        if len(shape) != 2 or 0 in shape:
            raise InputError(f"weights[{layer}] has shape {shape}; expected (out, in).")
    sizes = [d, *(shape[0] for shape in shapes)]
    network = mlp_run.network_for(x, sizes[1:], activation, chosen, dtype)
    with np.errstate(all="ignore"):
        mlp_run.fill(network, weights, biases)
    if chosen.coupled:
        targets = _indices(y, n, sizes[-1])
    else:
        read = inputs.probabilities if chosen.targets == LABELS else inputs.targets
        targets = np.ascontiguousarray(read(y, n, dtype)[0].T)
        if targets.shape[1] != sizes[-1]:
            raise InputError(f"y has {targets.shape[1]} column(s), the last layer {sizes[-1]}.")
    scale = 1 / targets.size if reduction == "mean" else 1.0
    with np.errstate(all="ignore"):
        passes = Passes(network, x, targets, np.ones(n, dtype))
        cost = scale * passes.train(passes.given_order, 0, n, n, scale, False)
    if not (np.isfinite(cost) and np.isfinite(network.gradient).all()):
        inputs.require_finite(x, "x", names)
        what = "gradient" if np.isfinite(cost) else "cost"
        raise DivergenceError(f"the {what} overflows {dtype} at these parameters.")
    by_weights, by_biases = network.views(network.gradient)
    return cost, tuple(g.T.copy() for g in by_weights), tuple(g.copy() for g in by_biases)


def _indices(y: Any, n: int, k: int) -> np.ndarray:
    """Indices of classes as (n, 1)."""
    y = inputs.as_array(y, "y")
    if y.shape not in ((n,), (n, 1)):
        raise InputError(f"y has shape {y.shape}; expected ({n},), the index of each row's class.")
    y = y.reshape(n, 1)
    right = (y >= 0) & (y < k) & (y == np.floor(y))
    if not right.all():
        row = int(right.argmin())
        raise InputError(f"y is {y[row, 0]} at row {row}; classes are 0 to {k - 1}.")
    return y.astype(np.int64)
