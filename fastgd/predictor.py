"""What a fit predicts, and how well: the same for linear models and networks."""

import math
from typing import Any

import numpy as np

from . import inputs
from .errors import DivergenceError, InputError
from .formulas.activations import identity
from .losses import CROSS_ENTROPY, LINKS, link_of, named_link, parameter_of, with_parameter_of


class Prediction:
    """Predictions from `raw_prediction`, (n,) or (n, k), the inverse link, and `classes` or None."""

    __slots__: tuple[str, ...] = ()
    classes: Any
    loss: str
    #: A name in `LINKS`, a function, or None.
    link: Any
    #: The parameter of the loss.
    p: float = 0.0
    #: The values of the columns that were encoded, by name.
    categories: dict[str, tuple[Any, ...]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The attributes: pickle's protocols 0 and 1, and skops, know no slots."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: Any) -> None:
        """Those of pickles without `__getstate__` come as (None, attributes), some of today's missing."""
        if isinstance(state, tuple):
            state = state[1]
        for name in self.__slots__:
            setattr(self, name, state.get(name))
        if "link" in self.__slots__ and self.link is None:
            self.link = link_of(self.loss)
        if "p" in self.__slots__ and self.p is None:
            self.p = parameter_of(self.loss)

    def raw_prediction(self, x: Any, offset: Any = None) -> np.ndarray:
        """What comes before any link."""
        raise NotImplementedError

    def predict(self, x: Any, offset: Any = None) -> np.ndarray:
        """The predicted targets, or of a fit on labels the predicted labels.

        Targets are the inverse link of the raw prediction: itself for most losses, exp(z) for "poisson",
        "gamma" and others of counts and positive numbers.

        Parameters
        ----------
        x : array-like or sparse (n, d); for one column also (n,), or a number, which is one row
        offset : array-like (n,) or (n, k), optional
            The known part of each raw prediction; none by default, also where the fit had one. For x of
            Dask it may be of Dask too, with as many chunks where their rows are not known, as in a frame.

        Returns
        -------
        ndarray (n,) or (n, k)
            Of a dask array or data frame it is a dask array, which is computed when it is asked for.
        """
        if inputs.is_dask(x):
            return lazily(self.predict, x, offset, self.categories)
        raw = self.raw_prediction(x, offset)
        return self._linked(raw) if self.classes is None else self.classes[_places(raw)]

    def predict_proba(self, x: Any, offset: Any = None) -> np.ndarray:
        """The probability of each label; for fits on labels only.

        Parameters
        ----------
        x : array-like or sparse (n, d); for one column also (n,), or a number, which is one row
        offset : array-like (n,) or (n, k), optional
            The known part of each raw prediction; none by default, also where the fit had one.

        Returns
        -------
        ndarray (n, k)
            In the order of `classes`.
        """
        if self.classes is None:
            raise AttributeError(
                f"predict_proba is for fits on labels; this one has the loss {self.loss!r}."
            )
        if inputs.is_dask(x):
            return lazily(self.predict_proba, x, offset, self.categories)
        raw = self.raw_prediction(x, offset)
        # A coupled link needs more of its loss than a fit keeps, but for softmax.
        if self.link is None or (raw.ndim == 2 and callable(self.link)):
            raise AttributeError(f"the loss {self.loss!r} has no probabilities.")
        if raw.ndim == 2:
            from .cpu.elementwise import probabilities

            probabilities(CROSS_ENTROPY)(raw)
            return raw
        # 1 − link(z) would lose the digits of a small one.
        return np.column_stack([self._linked(-raw), self._linked(raw)])

    def _linked(self, raw: np.ndarray) -> np.ndarray:
        """The inverse link of raw predictions of one output each; infinite where it overflows."""
        link = LINKS.get(self.link, self.link)
        if link is identity:
            return raw
        from .cpu.elementwise import evaluated

        with np.errstate(all="ignore"):  # without the JIT these are NumPy's numbers
            return evaluated(link, np.ascontiguousarray(raw), None)

    def score(self, x: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """How well the fit predicts: R², D², or of a fit on labels the share of right ones.

        D² = 1 − deviance/(that of the best constant) for the losses of counts and positive numbers, and
        for "quantile"; it is R² = 1 − Σ(y−ŷ)²/Σ(y−ȳ)² for "mse". The other losses, and yours, have R².

        Parameters
        ----------
        x : array-like or sparse (n, d), or (n,) for one column
        y : array-like (n,) or (n, k)
            Targets, or labels; the name of a column where x is a table in blocks, and None where they
            come with the blocks.
        sample_weight : array-like (n,), optional
        offset : array-like (n,) or (n, k), optional
            As in `predict`; the best constant is one beside it.

        Returns
        -------
        float
            The mean over targets where there are several.

        Raises
        ------
        InputError
            If x or y can't be used.
        DivergenceError
            If the score is below the numbers of float64.

        See Also
        --------
        deviance

        References
        ----------
        Hastie, Tibshirani and Wainwright (2015), Statistical Learning with Sparsity, equation 3.11.
        Koenker and Machado (1999), Goodness of fit and related inference processes, JASA 94.

        Examples
        --------
        >>> import fastgd
        >>> x, y = [0, 1, 2, 3], [1, 2, 8, 20]
        >>> round(fastgd.fit(x, y, loss="poisson").score(x, y), 3)
        0.992
        """
        x, y, sample_weight = self._with_targets(x, y, sample_weight)
        raw = np.asarray(self.raw_prediction(x, offset))
        if self.classes is not None:
            places = self._places_of(y, len(raw))
            if places.max() < 0:
                known = inputs.listed(self.classes)
                raise InputError(f"y holds none of the labels {known} that were fitted.")
            weight, _ = inputs.in_units(inputs.weights(sample_weight, len(raw), np.float64))
            return float(np.average(places == _places(raw), weights=weight))
        loss = self._known_loss()
        explains = loss is not None and loss.perfect is not None and not loss.quadratic
        rows = _Rows(raw if explains else self._linked(raw), y, sample_weight, offset)
        with np.errstate(all="ignore"):
            if explains:
                from .deviance import explained

                inputs.require_domain(rows.y, loss.targets, loss.name)
                scores = explained(loss, rows.got, rows.y, rows.weight, rows.offset)
            else:
                pairs = zip(rows.y, rows.got, strict=True)
                scores = np.array([_determination(y, got, rows.weight) for y, got in pairs])
            score = float(np.mean(scores))
        if not math.isfinite(score):
            raise DivergenceError(
                "the score is below the numbers of float64: the predictions are far from y; look at the "
                "units of x and y."
            )
        return score

    def deviance(self, x: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """2·Σ weight·(loss − least loss at y), twice the log likelihood ratio to a perfect fit.

        For "mse" it is Σ weight·(y−ŷ)². Over several targets it is summed.

        Parameters
        ----------
        x : array-like or sparse (n, d), or (n,) for one column
        y : array-like (n,) or (n, k)
            Targets, or labels; the name of a column where x is a table in blocks, and None where they
            come with the blocks.
        sample_weight : array-like (n,), optional
        offset : array-like (n,) or (n, k), optional
            As in `predict`.

        Returns
        -------
        float

        Raises
        ------
        AttributeError
            If the loss has none: that of a margin, of ε, "huber", or one of yours.
        InputError
            If x or y can't be used.
        DivergenceError
            If it overflows.

        References
        ----------
        McCullagh and Nelder (1989), Generalized Linear Models, section 2.3.

        Examples
        --------
        >>> import fastgd
        >>> x, y = [0, 1, 2, 3], [1, 2, 8, 20]
        >>> round(fastgd.fit(x, y, loss="poisson").deviance(x, y), 3)
        0.229
        """
        from .deviance import deviance, has_deviance

        loss = self._known_loss()
        if loss is None or not has_deviance(loss):
            raise AttributeError(f"the loss {self.loss!r} has no deviance.")
        x, y, sample_weight = self._with_targets(x, y, sample_weight)
        raw = np.asarray(self.raw_prediction(x, offset))
        if self.classes is not None:
            places = self._places_of(y, len(raw))
            if places.min() < 0:
                row, known = int(np.argmin(places)), inputs.listed(self.classes)
                raise InputError(f"y at row {row} is none of the labels {known} that were fitted.")
            y = places.astype(np.float64)
        rows = _Rows(raw, y, sample_weight, None, bool(loss.coupled))
        inputs.require_domain(rows.y, loss.targets, loss.name)
        with np.errstate(all="ignore"):
            found = rows.unit * deviance(loss, rows.got, rows.y, rows.weight)
        if not math.isfinite(found):
            raise DivergenceError(
                "the deviance overflows float64: the predictions are far from y; look at the units of x."
            )
        return found

    def _with_targets(self, x: Any, y: Any, weight: Any) -> tuple[Any, Any, Any]:
        """x, y and weights, where x is a table and y the name of a column."""
        return x, y, weight

    def _known_loss(self) -> Any:
        """The loss of this name and parameter; None where it is one of the caller's own."""
        loss = with_parameter_of(self.loss, self.p)
        return loss if loss is not None and named_link(loss.link) == self.link else None

    def _places_of(self, y: Any, n: int) -> np.ndarray:
        """The place of each label of y among the classes, −1 where it is none of them."""
        labels = inputs.one_label_a_row(y)
        if labels.shape != (n,):
            raise InputError(f"y has shape {labels.shape}; expected {(n,)}.")
        return inputs.places_among(labels, self.classes)


class _Rows:
    """Targets and weights beside predictions, (k, n) float64, of the rows whose weight is not 0."""

    def __init__(self, got: np.ndarray, y: Any, weight: Any, offset: Any, coupled: bool = False):
        n, shape = len(got), got.shape
        got = np.atleast_2d(got.T).astype(np.float64, copy=False)
        weight, self.unit = inputs.in_units(inputs.weights(weight, n, np.float64))
        wanted, _ = inputs.targets(y, n, np.float64)
        if not coupled and wanted.shape != got.shape:
            raise InputError(f"y has shape {wanted.T.shape}; expected {shape}.")
        offset = inputs.offsets(offset, n, len(got), np.float64)
        counted = slice(None) if weight is None else weight > 0
        self.y, self.got = wanted[:, counted], got[:, counted]
        self.weight = np.ones(n) if weight is None else weight[counted]
        self.offset = None if offset is None else offset[:, counted]


def lazily(predict: Any, x: Any, offset: Any, categories: Any) -> Any:
    """A dask array of the predictions for each chunk of a dask array or data frame."""
    from .sources.dask_predictions import lazily

    return lazily(predict, x, offset, categories)


def with_offset(raw: np.ndarray, offset: Any) -> np.ndarray:
    """Raw predictions (n,) or (n, k) with their known parts."""
    k = 1 if raw.ndim == 1 else raw.shape[1]
    fixed = inputs.offsets(offset, len(raw), k, raw.dtype)
    if fixed is None:
        return raw
    return np.asarray(raw + (fixed[0] if raw.ndim == 1 else fixed.T))


def _places(raw: np.ndarray) -> np.ndarray:
    """The place of each row's label among the classes."""
    return (raw > 0).astype(np.intp) if raw.ndim == 1 else raw.argmax(axis=1)


def _determination(wanted: np.ndarray, got: np.ndarray, weight: np.ndarray) -> float:
    """R² of one target, −inf where it overflows; the weights are in units."""
    if wanted.min() == wanted.max():
        # A constant target is predicted fully or not at all, as scikit-learn has it.
        return 1.0 - float((got != wanted).any())
    _, unit = inputs.in_units(np.array([wanted, got]))
    left, of_left = _sum_of_squares(wanted / unit - got / unit, weight)
    wanted, own = inputs.in_units(wanted)
    spread, of_spread = _sum_of_squares(wanted - np.average(wanted, weights=weight), weight)
    # Powers of two, whose quotients are exact: only the last product can overflow.
    relative = (unit / own) * (of_left / of_spread)
    return 1.0 - left / spread * relative * relative


def _sum_of_squares(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Σ weight·values² in units of a power of two squared, and that power."""
    values, unit = inputs.in_units(values * np.sqrt(weight))
    return float(values @ values), unit
