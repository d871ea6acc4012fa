"""What the estimators share: the way from checked data to a fit, and to scikit-learn's own object."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    assert_all_finite,
    check_consistent_length,
    validate_data,
)

from ..errors import InputError
from ..fit import fit as general_fit
from ..fit import fitted
from ..result import Fit
from ..sources.blocks import Blocks
from ..sources.readers import in_blocks
from .rows import open_rows, predicted

#: The formats that are read without a conversion.
SPARSE = ("csr", "csc")


class Estimator:
    """A mixin before an estimator of scikit-learn, which provides all but `fit`.

    Attributes
    ----------
    fit_ : Fit
        All that fastgd knows of the fit: costs, how it converged, `plot`, `save`.
    """

    fit_: Any
    coef_: Any
    intercept_: Any
    #: Attributes of a fit that scikit-learn's own objects don't have.
    _own: ClassVar[tuple[str, ...]] = ("fit_",)

    def to_sklearn(self) -> Any:
        """The genuine scikit-learn estimator with the same parameters, and the same fit if there is one.

        It needs no fastgd to predict, and converters that go by the class, such as skl2onnx, take it.

        Examples
        --------
        >>> from fastgd.linear_model import LinearRegression
        >>> model = LinearRegression().fit([[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0])
        >>> type(model.to_sklearn()).__module__
        'sklearn.linear_model._base'
        """
        genuine = self._genuine()
        made = genuine(**_parameters_of(genuine, self))
        kept = {name: value for name, value in vars(self).items() if name not in self._own}
        vars(made).update(copy.deepcopy(kept))  # `partial_fit` may write in place
        return made

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """The estimator with the parameters of scikit-learn's own, and its fit if there is one.

        Raises
        ------
        InputError
            If the model is of another class.
        """
        genuine = cls._genuine()
        if type(model) is not genuine:
            raise InputError(
                f"model is of the class {type(model).__name__}; {cls.__name__}.from_sklearn takes "
                f"{genuine.__module__.split('._')[0]}.{genuine.__name__}."
            )
        made = cls(**_parameters_of(genuine, model))
        vars(made).update(copy.deepcopy(vars(model)))
        return made

    @classmethod
    def _genuine(cls) -> Any:
        """scikit-learn's class of this name."""
        return next(base for base in cls.__mro__ if base.__module__.startswith("sklearn."))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.array_api_support = False
        return tags

    # --- predictions, of rows in blocks too ----------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """The predicted targets, or labels.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks, as `fastgd.fit` takes them.

        Returns
        -------
        ndarray (n,) or (n, k)
            Of a dask array or data frame it is a dask array, which is computed when it is asked for.
        """
        return predicted(self, "predict", super().predict, X)  # type: ignore[misc]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """How well the model predicts, as in scikit-learn: R², D², or the share of right labels.

        Parameters
        ----------
        X : array-like or sparse (n, d)
            Or rows in blocks, as `fastgd.fit` takes them.
        y : array-like (n,) or (n, k)
            Of rows in blocks also the name of a column, or None where it comes with them.
        sample_weight : array-like (n,), optional
            Of rows in blocks also the name of a column.

        Returns
        -------
        float
        """
        with open_rows(X, y, sample_weight, self) as rows:
            return float(super().score(*rows))  # type: ignore[misc]

    # --- the way to a fit ----------------------------------------------------------------------------

    def _read(self, X: Any, y: Any, sample_weight: Any, **how: Any) -> tuple[Any, Any, Any]:
        """X, y and the weights as arrays, checked by scikit-learn, X but for NaN and without a copy.

        The fit finds what is not finite in its cost. X may be `Blocks`. Keyword arguments are those of
        `validate_data`.
        """
        if isinstance(X, Blocks):
            y = self._read_beside(X, y, **how)
        else:
            require_in_memory(self, X)
            how = {"accept_sparse": SPARSE, "ensure_all_finite": False} | how
            X, y = validate_data(self, X, y, **how)
            if X.dtype.kind == "f" and X.dtype.itemsize not in (4, 8):
                X = X.astype(np.float64)
        if sample_weight is not None:
            dtype = X.dtype if X.dtype.kind == "f" else np.float64
            sample_weight = _check_sample_weight(sample_weight, X, dtype=dtype)
        return X, y, sample_weight

    def _read_beside(
        self, X: Blocks, y: Any, multi_output: bool = False, y_numeric: bool = False, **_: Any
    ) -> Any:
        """y as an array, checked by scikit-learn; sets what `validate_data` keeps of X."""
        y = _check_y(y, multi_output=multi_output, y_numeric=y_numeric, estimator=self)
        check_consistent_length(X, y)
        if X.dtype.kind != "f" or X.dtype.itemsize not in (4, 8):
            X.dtype = np.dtype(np.float64)  # what is computed in
        self.n_features_in_ = X.shape[1]
        self.__dict__.pop("feature_names_in_", None)
        if X.names is not None:
            self.feature_names_in_ = np.array(X.names, dtype=object)
        return y

    def _solve(self, loss: Any, X: Any, y: Any, **options: Any) -> Any:
        """The run of the fit, which is kept in `fit_`; in scikit-learn's words where it refuses data.

        Keyword arguments are those of `fastgd.fit`.
        """
        ended: list[Any] = []
        try:
            found = fitted(loss, defaults() | options | {"x": X, "y": y}, ended.append)
        except InputError:
            if not isinstance(X, Blocks):
                assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
            raise
        names = getattr(self, "feature_names_in_", None)
        found.feature_names = None if names is None else tuple(names)
        self.fit_ = found
        return ended[0]

    def _warn(self, run: Any) -> None:
        """Say in scikit-learn's way that a run did not converge."""
        if run.warning:
            text = f"{type(self).__name__} did not converge: {run.warning}"
            warnings.warn(text, ConvergenceWarning, stacklevel=5)


def at_least_one(fit: Fit) -> int:
    """The epochs of a fit as scikit-learn counts iterations."""
    return max(1, fit.n_epochs)


def intercept_of(fit: Fit) -> Any:
    """The intercept of a fit as a number or array of NumPy, in the dtype of the coefficients."""
    return np.asarray(fit.intercept, dtype=fit.coef.dtype)[()]


def start_at(coef: Any, intercept: Any, fit_intercept: bool) -> dict[str, Any]:
    """The arguments of a fit that starts at these parameters."""
    start = {"coef_init": coef}
    return start | ({"intercept_init": intercept} if fit_intercept else {})


def threads(n_jobs: int | None) -> int | None:
    """`n_threads` for scikit-learn's `n_jobs`: None, and all below zero, are all processors."""
    return n_jobs if n_jobs is not None and n_jobs > 0 else None


def refuse(estimator: Any, what: str, instead: str) -> NoReturn:
    """Raise NotImplementedError for what a parameter asks for."""
    raise NotImplementedError(f"{type(estimator).__name__} of fastgd doesn't do {what}; {instead}.")


def require_in_memory(estimator: Any, X: Any) -> None:
    """Refuse rows in blocks."""
    if in_blocks(X):
        refuse(
            estimator, "rows in blocks here",
            "give one block after the other to partial_fit, each an array or a sparse matrix",
        )  # fmt: skip


@functools.cache
def defaults() -> dict[str, Any]:
    """The default of every argument of `fastgd.fit` but x, y and the loss."""
    arguments = inspect.signature(general_fit).parameters
    return {n: p.default for n, p in arguments.items() if n not in ("x", "y", "loss")}


def _parameters_of(kind: Any, model: Any) -> dict[str, Any]:
    """The values that a model has for the parameters of a class."""
    return {name: getattr(model, name) for name in kind._get_param_names()}
