"""What a fit predicts, and how well: the same for linear models and networks."""

import math
from typing import Any

import numpy as np

from . import inputs
from .errors import DivergenceError, InputError
from .formulas.activations import identity
from .losses import CROSS_ENTROPY, LINKS, link_of


class Prediction:
    """Predictions from `raw_prediction`, (n,) or (n, k), the inverse link, and `classes` or None."""

    __slots__: tuple[str, ...] = ()
    classes: Any
    loss: str
    #: A name in `LINKS`, a function, or None.
    link: Any

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

    def raw_prediction(self, x: Any, offset: Any = None) -> np.ndarray:
        """What comes before any link."""
        raise NotImplementedError

    def predict(self, x: Any, offset: Any = None) -> np.ndarray:
        """The predicted targets, or of a fit on labels the predicted labels.

        Targets are the inverse link of the raw prediction: itself for most losses, exp(z) for "poisson",
        "gamma" and others of counts and positive numbers.

        Parameters
        ----------
        x : array-like (n, d); for one column also (n,), or a number, which is one row
        offset : array-like (n,) or (n, k), optional
            The known part of each raw prediction; none by default, also where the fit had one.

        Returns
        -------
        ndarray (n,) or (n, k)
        """
        raw = self.raw_prediction(x, offset)
        return self._linked(raw) if self.classes is None else self.classes[_places(raw)]

    def predict_proba(self, x: Any, offset: Any = None) -> np.ndarray:
        """The probability of each label; for fits on labels only.

        Parameters
        ----------
        x : array-like (n, d); for one column also (n,), or a number, which is one row
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
        """R² = 1 − Σ(y−ŷ)²/Σ(y−ȳ)², or of a fit on labels the share of right ones.

        Parameters
        ----------
        x : array-like (n, d), or (n,) for one column
        y : array-like (n,) or (n, k)
            Targets, or labels.
        sample_weight : array-like (n,), optional
        offset : array-like (n,) or (n, k), optional
            As in `predict`.

        Returns
        -------
        float
            The mean over targets where there are several.

        Raises
        ------
        InputError
            If x or y can't be used.
        DivergenceError
            If R² is below the numbers of float64.
        """
        raw = self.raw_prediction(x, offset)
        weight, _ = inputs.in_units(inputs.weights(sample_weight, len(raw), np.float64))
        if self.classes is not None:
            labels = inputs.one_label_a_row(y)
            if labels.shape != raw.shape[:1]:
                raise InputError(f"y has shape {labels.shape}; expected {raw.shape[:1]}.")
            places = inputs.places_among(labels, self.classes)
            if places.max() < 0:
                known = inputs.listed(self.classes)
                raise InputError(f"y holds none of the labels {known} that were fitted.")
            return float(np.average(places == _places(raw), weights=weight))
        wanted, _ = inputs.targets(y, len(raw), np.float64)
        raw = self._linked(raw)
        got = raw[None, :] if raw.ndim == 1 else raw.T
        if wanted.shape != got.shape:
            raise InputError(f"y has shape {wanted.T.shape}; expected {raw.shape}.")
        counted = slice(None) if weight is None else weight > 0
        weight = np.ones(len(raw)) if weight is None else weight[counted]
        with np.errstate(all="ignore"):
            scores = [
                _determination(of_y[counted], of_x[counted], weight)
                for of_y, of_x in zip(wanted, got.astype(np.float64), strict=True)
            ]
            score = float(np.mean(scores))
        if not math.isfinite(score):
            raise DivergenceError(
                "R² is below the numbers of float64: the predictions are far from y; look at the "
                "units of x and y."
            )
        return score


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
