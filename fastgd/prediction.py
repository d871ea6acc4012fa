"""What a fit predicts, and how well: the same for linear models and networks."""

from typing import Any

import numpy as np

from . import inputs
from .errors import InputError


class Prediction:
    """Predictions from `raw_prediction`, (n,) or (n, k), and `classes`, None for fits on targets."""

    __slots__ = ()
    classes: Any
    loss: str

    def raw_prediction(self, x: Any) -> np.ndarray:
        """What comes before any link."""
        raise NotImplementedError

    def predict(self, x: Any) -> np.ndarray:
        """The predicted targets, or of a fit on labels the predicted labels.

        Parameters
        ----------
        x : array-like (n, d), or (n,) for one column

        Returns
        -------
        ndarray (n,) or (n, k)
        """
        raw = self.raw_prediction(x)
        if self.classes is None:
            return raw
        return self.classes[(raw > 0).astype(np.intp) if raw.ndim == 1 else raw.argmax(axis=1)]

    def predict_proba(self, x: Any) -> np.ndarray:
        """The probability of each label; for fits on labels only.

        Parameters
        ----------
        x : array-like (n, d), or (n,) for one column

        Returns
        -------
        ndarray (n, k)
            In the order of `classes`.
        """
        if self.classes is None:
            raise AttributeError(
                f"predict_proba is for fits on labels; this one has the loss {self.loss!r}."
            )
        raw = self.raw_prediction(x)
        if raw.ndim == 2:
            raw -= raw.max(axis=1, keepdims=True)
            np.exp(raw, out=raw)
            raw /= raw.sum(axis=1, keepdims=True)
            return raw
        e = np.exp(-np.abs(raw))
        small, large = e / (1 + e), 1 / (1 + e)
        right = raw >= 0
        return np.column_stack([np.where(right, small, large), np.where(right, large, small)])

    def score(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """R² = 1 − Σ(y−ŷ)²/Σ(y−ȳ)², or of a fit on labels the share of right ones.

        Parameters
        ----------
        x : array-like (n, d), or (n,) for one column
        y : array-like (n,) or (n, k)
            Targets, or labels.
        sample_weight : array-like (n,), optional

        Returns
        -------
        float
            The mean over targets where there are several.
        """
        predicted = self.predict(x)
        weight = inputs.weights(sample_weight, len(predicted), np.float64)
        if self.classes is not None:
            labels = inputs.one_label_a_row(y)
            if labels.shape != predicted.shape:
                raise InputError(f"y has shape {labels.shape}; expected {predicted.shape}.")
            if not set(self.classes.tolist()).intersection(labels.tolist()):
                known = ", ".join(map(repr, self.classes.tolist()))
                raise InputError(f"y holds none of the labels {known} that were fitted.")
            return float(np.average(labels == predicted, weights=weight))
        wanted, _ = inputs.targets(y, len(predicted), np.float64)
        got = predicted[None, :] if predicted.ndim == 1 else predicted.T
        if wanted.shape != got.shape:
            raise InputError(f"y has shape {wanted.T.shape}; expected {predicted.shape}.")
        # Squares of very large numbers would overflow: in units of a power of two, which is exact.
        unit = np.ldexp(1.0, np.frexp(max(np.abs(wanted).max(), np.abs(got).max()))[1])
        wanted, got = wanted / unit, got / unit
        mean = np.average(wanted, axis=1, weights=weight, keepdims=True)
        left = np.average((wanted - got) ** 2, axis=1, weights=weight)
        spread = np.average((wanted - mean) ** 2, axis=1, weights=weight)
        varies = wanted.min(axis=1) < wanted.max(axis=1)
        # A constant target is predicted fully or not at all, as scikit-learn has it.
        ratio = np.divide(left, spread, out=(left > 0).astype(float), where=varies)
        return float((1 - ratio).mean())
