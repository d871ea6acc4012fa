"""What fastgd raises and warns with."""

from typing import Any


class InputError(ValueError):
    """The data or an argument can't be used; the message says what, where and what to do."""


class DivergenceError(ArithmeticError):
    """The cost stopped being finite.

    Attributes
    ----------
    fit : Fit or None
        The last parameters whose cost was finite, with the costs up to there; None where not even the
        cost at the start is.
    stable_lr : float or None
        A learning rate that is stable on this data, where one is known.
    """

    def __init__(self, message: str, fit: Any = None, stable_lr: float | None = None):
        super().__init__(message)
        self.fit = fit
        self.stable_lr = stable_lr


class ConvergenceWarning(UserWarning):
    """The fit came back, but not where it was asked to go; `Fit.converged` is False."""
