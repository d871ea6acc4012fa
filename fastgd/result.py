"""`Fit`: what a fit found, what it can predict, and how to keep it."""

from typing import Any

import numpy as np

from . import archive, inputs
from .errors import InputError
from .losses import LINKS, link_of, parameter_of
from .predictor import Prediction, lazily, with_offset

_NATIVE = (np.dtype(np.float64), np.dtype(np.float32))
#: Bytes of converted rows held at a time when x is not float32 or float64.
_BLOCK_BYTES = 4 << 20


class Fit(Prediction):
    """The result of `fit_linear` or `fit_logistic`; NumPy on the host.

    Attributes
    ----------
    coef : ndarray (d,) or (k, d)
        Coefficients in the units of the caller's columns; (k, d) where y was (n, k), or held k > 2
        labels.
    intercept : float or ndarray (k,)
        The bias b; 0.0 without one.
    costs : ndarray (n_epochs,)
        ``costs[e]`` is the cost that the updates of epoch e saw, without penalty: that before the update,
        or with a `batch_size` the mean of the losses of all rows, each before the update of its batch.
    cost : float
        The cost at `coef` and `intercept`, without penalty. With a `batch_size` no pass is made for it:
        it is ``costs[-1]``, or that of an earlier epoch where `coef` is of one (after `validation`, or a
        divergence), and ``mse_cost(x, y, fit.coef, fit.intercept)`` is the cost at the coefficients. With
        `average`, whose coefficients no update saw, it is the cost at them.
    n_epochs : int
        Passes over the data that ended in an update.
    converged : bool
        With `tol` (or ``lr="auto"``): the tolerance was met. With `validation`: patience ended the fit.
        Otherwise: all epochs ran. And the objective ended no higher than it began; with a `batch_size`,
        no more than a tenth of the cost higher, as random updates may.
    method : str
        Which way was taken: "stream", "statistics", "per-sample", "minibatch", "lbfgs",
        "lbfgs-statistics", "whitened", "whitened-lbfgs", "diagonal-lbfgs" or "newton-lbfgs"; with l1
        "proximal-newton" or "proximal-accelerated"; for losses with kinks "interior-point"; for many
        sparse columns "dual", "dual-diagonal-lbfgs" where L-BFGS went on, or "working-sets" with l1. With
        "(shuffle by blocks)" the order of updates was the "block" order of rows in blocks. Of
        estimators also "lstsq" (SciPy's) and "moments" (`partial_fit`).
    lrs : ndarray (n_epochs,) or (n_epochs, k), or None
        The learning rate of every epoch; None where steps are scaled by the data.
    gradient_norms : ndarray (n_epochs,) or None
        Batch descent: the norm of the objective's gradient before every update.
    path : ndarray (n_epochs, d) or (n_epochs, k, d), or None
        With ``keep_path=True``, the coefficients after every epoch.
    start : ndarray (d,) or (k, d), or None
        With ``keep_path=True``, the coefficients before the first epoch.
    validation_costs : ndarray (n_epochs,) or None
        With `validation`, the cost of the rows held out after every epoch, without penalty.
    best_epoch : int or None
        With `validation`, after how many epochs that cost was lowest: `coef` and `intercept` are those
        of then, ``validation_costs[best_epoch - 1]`` is their cost, and `n_epochs` are all that ran.
    classes : ndarray (k,) or None
        Logistic: the labels. Of two, the second is the one whose probability is σ(x·coef + intercept);
        more have the probabilities softmax(x·coef^T + intercept).
    loss : str
        The name of the loss.
    p : float
        The parameter of the loss: delta, q, epsilon, power or alpha; 0.0 of a loss without one.
    link : str, callable or None
        The inverse link that `predict` applies to raw predictions, or `predict_proba` where y held
        labels: "identity", "logistic", "exponential", "softmax", or the function of a loss of your own.
    state : dict of ndarray, or None
        The solver's, from which ``fit(…, resume=this_fit)`` goes on; kept where the call had a
        `callback`.
    feature_names : tuple of str, or None
        The names of x's columns, where x was a data frame. A prediction or score of a frame with other
        names, or with the same in another order, raises InputError; data without names is taken as it is.
        As in scikit-learn, names are kept only where they are text, a mix of text and other types is
        refused, and a name may occur twice.
    categories : dict, or None
        The values of each column that the fit took as columns of 0 and 1, by its name; the features are
        named "column=value", for all values but the first. Predictions of frames and tables with these
        columns encode them in the same way, and refuse other values.

    Examples
    --------
    >>> import fastgd
    >>> fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6])
    >>> fit.predict(4).round(9), fit.predict([4, 5]).round(9)
    (array([8.]), array([ 8., 10.]))
    """

    __slots__ = (
        "best_epoch",
        "categories",
        "classes",
        "coef",
        "converged",
        "cost",
        "costs",
        "feature_names",
        "gradient_norms",
        "intercept",
        "link",
        "loss",
        "lrs",
        "method",
        "n_epochs",
        "p",
        "path",
        "start",
        "state",
        "validation_costs",
    )

    def __init__(
        self,
        *,
        coef: Any,
        intercept: Any,
        costs: Any,
        cost: Any,
        n_epochs: Any,
        converged: Any,
        method: Any,
        path: Any = None,
        classes: Any = None,
        loss: str = "mse",
        link: Any = None,
        lrs: Any = None,
        gradient_norms: Any = None,
        start: Any = None,
        validation_costs: Any = None,
        best_epoch: Any = None,
        feature_names: Any = None,
        state: Any = None,
        p: float = 0.0,
        categories: Any = None,
    ) -> None:
        self.coef, self.costs, self.cost = coef, costs, cost
        self.intercept = intercept
        self.n_epochs, self.converged, self.method = n_epochs, converged, method
        self.path, self.classes, self.loss, self.p = path, classes, loss, p
        self.link = link_of(loss) if link is None else link
        self.lrs, self.gradient_norms = lrs, gradient_norms
        self.start, self.validation_costs, self.best_epoch = start, validation_costs, best_epoch
        self.state, self.categories = state, categories
        self.feature_names = None if feature_names is None else tuple(map(str, feature_names))

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        return (
            f"Fit({self.loss}, coef {self.coef.shape}, cost {self.cost:.6g}, "
            f"{self.n_epochs} epochs, {self.method}, {state})"
        )

    def raw_prediction(self, x: Any, offset: Any = None) -> np.ndarray:
        """x·coef + intercept + offset.

        Parameters
        ----------
        x : array-like or sparse (n, d); for one column also (n,), or a number, which is one row
            On the host, or on a GPU, where the work is then done; or rows in blocks, as in `fit`.
        offset : array-like (n,) or (n, k), optional
            The known part of each raw prediction, as in `fit`; none by default, whatever the
            fit had.

        Returns
        -------
        ndarray (n,), or (n, k) for k targets or more than two labels
            On the host.

        Raises
        ------
        InputError
            If x has another number of columns than the fit, or other names of columns, or holds NaN or
            infinity; or offset has another shape.
        """
        if inputs.is_dask(x):
            return lazily(self.raw_prediction, x, offset, self.categories)
        if inputs.on_gpu(x):
            from .sources import place

            raw = with_offset(place.predictions(x, self.coef, self.intercept), offset)
            if not np.isfinite(raw).all():
                row = int(np.argwhere(~np.isfinite(raw))[0][0])
                raise InputError(
                    f"the prediction of row {row} is not finite; look at that row of x."
                )
            return raw
        from .sources import place, readers

        d = self.coef.shape[-1]
        if self.feature_names is not None:
            x = readers.as_fitted(x, None, None, self.feature_names, self.categories).x
        if readers.in_blocks(x):
            given = x = readers.rows_to_predict(x, d, self.feature_names)
            product = _product_of_blocks
        elif inputs.is_sparse(x):
            from .sources import compressed

            given, x = x, compressed.rows_to_predict(x, d, self.feature_names)
            product = _sparse_product
        else:
            given, x = x, inputs.rows_to_predict(x, d, self.feature_names)
            product = _product
        with np.errstate(all="ignore"):
            raw = product(x, self.coef)
            raw = with_offset(raw + self.intercept, offset)
        if not inputs.is_finite(raw):
            place.require_finite(x, "x", inputs.column_names(given))
            row = int(np.argwhere(~np.isfinite(raw))[0][0])
            raise InputError(f"the prediction overflows {raw.dtype} at row {row}; x is too large.")
        return raw

    def _with_targets(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
        from .sources.categories import columns_of_features
        from .sources.readers import as_fitted

        names, categories = self.feature_names, self.categories or {}
        if inputs.is_dask(x):  # whose predictions are computed where its chunks are
            y, weight = (x[one] if isinstance(one, str) else one for one in (y, weight))
            return x if names is None else x[columns_of_features(names, categories)], y, weight
        return as_fitted(x, y, weight, names, categories)

    def sparsify(self) -> Any:
        """The coefficients that are not 0, as a sparse array.

        The fit keeps its dense `coef`; scikit-learn's method of this name replaces that of its estimator.
        With d columns and m coefficients that are not 0, it takes 12·m bytes, and `coef` takes 8·d.

        Returns
        -------
        scipy.sparse.csr_array (1, d) or (k, d)
            In the dtype of `coef`; it may be multiplied with sparse rows, as in ``x @ fit.sparsify().T``.

        Raises
        ------
        ImportError
            If SciPy is not installed: ``pip install scipy``.

        Examples
        --------
        >>> import fastgd
        >>> x = [[0, 1, 5], [1, 0, 3], [0, 1, 1], [1, 1, 2], [1, 0, 4]]
        >>> fit = fastgd.fit_linear(x, [3, 0, 3, 3, 0], l1=0.1)
        >>> coef = fit.sparsify()
        >>> coef.shape, coef.indices
        ((1, 3), array([1], dtype=int32))
        """
        try:
            from scipy.sparse import csr_array
        except ImportError as error:
            raise ImportError("sparsify needs SciPy: pip install scipy.") from error
        return csr_array(np.atleast_2d(self.coef))

    def plot(self, ax: Any = None) -> Any:
        """Draw the cost over the epochs, and with validation that of the rows held out.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed: ``pip install "fastgd[plot]"``.
        """
        from . import plots

        return plots.draw_costs(self, ax)

    def plot_path(self, x: Any, y: Any, ax: Any = None, *, sample_weight: Any = None) -> Any:
        """Draw the path of the coefficients over the cost surface, for a fit with ``keep_path=True``.

        With one coefficient the cost is a curve, and the path's points slide down it; with two it is
        drawn as contours. The intercept stays at that of the fit, so that the surface is the cost of the
        coefficients alone: where an intercept was learned too, points before the end lie at the cost that
        they have with the last one. Without penalty, and always the mean.

        Parameters
        ----------
        x : array-like (n, d), or (n,) for one column
            The rows to take the cost of, as a rule those of the fit; d is 1 or 2.
        y : array-like (n,)
            Targets, or labels.
        ax : matplotlib.axes.Axes, optional
            Where to draw; new ones by default.
        sample_weight : array-like (n,), optional

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        InputError
            If the fit kept no path, or has more than two coefficients or one target, or if x has other
            names of columns.
        ImportError
            If matplotlib is not installed: ``pip install "fastgd[plot]"``.
        """
        from . import plots

        inputs.require_names(x, self.feature_names)
        return plots.draw_path(self, x, y, ax, sample_weight)

    def save(self, path: Any) -> None:
        """Write the fit to a file without pickles; `fastgd.load` reads it.

        Parameters
        ----------
        path : path, or binary file object
            Where to write; .npz is NumPy's ending for such files. The file at a path is replaced when
            the new one is complete on the disk, so that a failure leaves the old one as it was. Of
            coefficients most of which are 0, the others are written.

        Raises
        ------
        InputError
            If the labels are Python objects that no file format keeps (text, numbers and booleans
            are kept), or the link is a function of yours, or an attribute was set to what no fit has.
        OSError
            If the file can't be written.
        """
        if callable(self.link):
            raise InputError(
                f"the link of the loss {self.loss!r} is a function, which no file keeps; use one of "
                f"{', '.join(LINKS)}, or pickle the fit."
            )
        values = {name: getattr(self, name) for name in self.__slots__ if name != "state"}
        values["categories"] = archive.as_text(self.categories, self.feature_names)
        archive.save(path, values, _table, self.state or {})


def _product(x: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """x·coefᵀ."""
    if x.dtype in _NATIVE:
        return x.dot(coef.T)  # `@` takes twice the time for one row
    # Block by block, so that a large integer x is not copied whole.
    raw = np.empty((len(x), *coef.shape[:-1]), dtype=coef.dtype)
    rows = max(1, _BLOCK_BYTES // (8 * x.shape[1]))
    for start in range(0, len(x), rows):
        block = x[start : start + rows].astype(coef.dtype)
        raw[start : start + rows] = block @ coef.T
    return raw


def _sparse_product(x: Any, coef: np.ndarray) -> np.ndarray:
    """The same for a CSR matrix: SciPy's sum over a row does not depend on other rows."""
    raw = x @ coef.T
    return raw if x.dtype in _NATIVE else raw.astype(coef.dtype, copy=False)


def _product_of_blocks(x: Any, coef: np.ndarray) -> np.ndarray:
    """The same for blocks of rows; several threads of BLAS cost more than the product of one."""
    from .cpu.machine.blas import one_thread

    dtype = np.result_type(x.dtype, coef) if x.dtype in _NATIVE else coef.dtype
    raw = np.empty((len(x), *coef.shape[:-1]), dtype)
    with one_thread():
        for first, block in x.read():
            product = _sparse_product if inputs.is_sparse(block) else _product
            raw[first : first + block.shape[0]] = product(block, coef)
    return raw


def _table(arrays: archive.Arrays) -> archive.Table:
    """What the attributes are, for coefficients of this shape."""
    *outputs, d = archive.shape(arrays, "coef")[-2:] or (1,)
    k = outputs[0] if outputs else 1
    every = archive.of_every_fit(arrays, k if outputs else 2)
    epochs = every["costs"].shape
    coef = archive.Member(archive.REAL, (*outputs, d), finite=True)
    history = every["costs"]._replace(optional=True)
    return {
        **every,
        "coef": coef,
        "intercept": coef._replace(shape=tuple(outputs)),
        "start": coef._replace(optional=True),
        "path": history._replace(shape=(*epochs, *outputs, d)),
        "lrs": history._replace(or_shape=(*epochs, k)),
        "gradient_norms": history,
        "p": archive.Member(archive.REAL, finite=True),
        "link": archive.Member(archive.TEXT, optional=True, among=tuple(LINKS)),
        "feature_names": archive.Member(archive.TEXT, (d,), optional=True),
        "categories": archive.Member(archive.TEXT, optional=True),
    }


def load(path: Any) -> Any:
    """The fit that `Fit.save` or `MlpFit.save` wrote.

    Parameters
    ----------
    path : path, or binary file object
        A file object is read from where it stands to its end.

    Returns
    -------
    Fit or MlpFit

    Raises
    ------
    InputError
        If the file is not one that they wrote, was damaged since, or is of a later version of fastgd.
        Nothing is ever unpickled or decompressed; zeros that the file left out take at most 512 MB.
    OSError
        If there is no such file, or it can't be read.

    Examples
    --------
    >>> import os, tempfile, fastgd
    >>> path = os.path.join(tempfile.mkdtemp(), "fit.npz")
    >>> fastgd.fit_linear([1, 2, 3], [2, 4, 6]).save(path)
    >>> fastgd.load(path).converged
    True
    """
    return archive.load(path, _fit_of)


def _fit_of(arrays: archive.Arrays) -> Any:
    if "n_layers" in arrays:
        from .mlp import result as mlp_result

        return mlp_result.fit_of(arrays)
    # Files of before have no link and no parameter: they are those of the loss. Nor have they categories.
    p = np.array(parameter_of(str(arrays["loss"])) if "loss" in arrays else 0.0)
    arrays, state = archive.split_state({"link": None, "p": p, "categories": None, **arrays})
    attributes = archive.attributes(arrays, _table(arrays))
    of_text, features = archive.of_text, attributes["feature_names"]
    attributes["categories"] = of_text(attributes["categories"], features)
    return Fit(**attributes, state=state)
