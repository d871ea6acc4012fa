"""The exceptions and warnings of fastgd."""

from typing import Any


class InputError(ValueError):
    """The data or an argument can't be used; the message says what, where and what to do."""


class DivergenceError(ArithmeticError):
    """The cost stopped being finite.

    Attributes
    ----------
    fit : Fit or None
        The last parameters with a finite cost, and the costs so far; None if the cost at the start is not
        finite.
    stable_lr : float or None
        A learning rate that is stable on this data, if one is known.
    """

    def __init__(self, message: str, fit: Any = None, stable_lr: float | None = None):
        super().__init__(message)
        self.fit = fit
        self.stable_lr = stable_lr


class BlockError(RuntimeError):
    """A block of x can't be read, or is another than at first; the message says where.

    Attributes
    ----------
    fit : Fit or None
        The fit so far; None before the first update.
    """

    fit: Any = None


class ConvergenceWarning(UserWarning):
    """The fit ended, but did not converge; `Fit.converged` is False."""
