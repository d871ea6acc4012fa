"""Losses as plain Python functions of one row, and what solvers and predictions need to know of them.

The raw prediction is z = x·coef + intercept, before any link. ``value(z, y)`` is the loss of one row,
``slope(z, y)`` its derivative in z, ``second(z, y)`` its second derivative. Sums, means, gradients and
loops are the same for every loss and stand elsewhere, once. A leaf: no numba, no numpy.

A loss is added here, with its twin in `tests/oracles.py`: all else asks for the traits below, never for a
name or a class.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .arguments import choice, number, plain, shown
from .errors import InputError
from .formulas.activations import identity, logistic

#: Kinds of targets: any number, numbers from 0 up, numbers above 0, two labels (0 and 1 in kernels), and
#: labels of any number (class indices in kernels).
REAL, COUNTS, POSITIVE, LABELS, CLASSES = "real", "counts", "positive", "labels", "classes"


def takes_parameter(function: Any) -> bool:
    """Whether a function of a loss takes the parameter p as its third argument."""
    plain = getattr(function, "py_func", function)  # of one that is compiled already
    return plain.__code__.co_argcount > 2


class Loss(NamedTuple):
    """A loss of one raw prediction z and one target y.

    Parameters
    ----------
    name : str
        The name in messages, and in `Fit.loss`.
    value, slope : callable
        ``value(z, y)`` and its derivative ``slope(z, y)`` in z, or both with a third argument ``p``:
        scalar functions made of assignments, ``math``, comparisons and one return, so that they compile
        as they stand. Constants are written ``T(1)`` with ``T = type(z)``: a bare ``1.0`` makes float32
        kernels compute in float64.
    curvature : float, default=inf
        A bound of the second derivative in z, over all z and y. It gives the stable learning rate, and
        the step of ``lr="auto"``.
    second : callable, optional
        ``second(z, y)``, or with ``p``: the second derivative.
    link : callable, default=identity
        The inverse link: ``Fit.predict`` returns ``link(z)``. For labels the probability of the second
        one, with ``link(−z) = 1 − link(z)``; None where the loss has no probabilities.
    targets : {"real", "counts", "positive", "labels", "classes"}, default="real"
        What y may hold: any number, numbers from 0 up, numbers above 0, two labels, several labels.
    quadratic : bool, default=False
        Whether the loss is (z − y)², so that second moments replace passes over x.
    p : float, default=0.0
        A parameter that kernels take at run time: another value compiles nothing.
    for_classes : CoupledLoss, optional
        The loss that takes the place of this one where y has more than two labels.
    open_ended : bool, default=False
        Whether the loss falls for ever as z goes to the side of its label, with a slope of at most 1 and
        the second derivative of the logistic loss: labels that a plane separates then have no finite
        optimum.

    Examples
    --------
    >>> from fastgd.losses import Loss
    >>> half_square = Loss("half square", lambda z, y: (z - y) * (z - y) / 2, lambda z, y: z - y, 1.0)
    >>> half_square.slope(3.0, 1.0)
    2.0
    """

    name: str
    value: Callable[..., Any]
    slope: Callable[..., Any]
    curvature: float = math.inf
    second: Callable[..., Any] | None = None
    link: Callable[[Any], Any] | None = identity
    targets: str = REAL
    quadratic: bool = False
    p: float = 0.0
    for_classes: Any = None
    open_ended: bool = False

    @property
    def coupled(self) -> bool:
        """Whether the loss of a row depends on more than one raw prediction."""
        return False

    @property
    def formula(self) -> "Loss":
        """The same loss with p = 0: what kernels are compiled for."""
        return self._replace(p=0.0) if self.p else self

    @property
    def parameters(self) -> tuple[float, ...]:
        """The arguments of `value`, `slope` and `second` after z and y: p, or nothing."""
        return (self.p,) if takes_parameter(self.value) else ()


class CoupledLoss(NamedTuple):
    """A loss of the k raw predictions of a row, and of the index of the right one.

    One loop over the predictions keeps two numbers of a row, `top` and `rest`; value and slope need no
    more of the others. So a loop over rows in each step is a loop over numbers that lie together.

    Parameters
    ----------
    name : str
        The name in messages, and in `Fit.loss`.
    add : callable
        ``add(top, rest, z)``: the two numbers with one prediction more; they begin as z of the first
        class, and 0.
    value : callable
        ``value(z, top, rest)``: the loss, z that of the right class.
    slope : callable
        ``slope(z, hit, top, rest)``: its derivative in z of any class, hit 1 for the right one, else 0.
    curvature : float, default=inf
        A bound of the largest eigenvalue of the second derivatives, for every k.
    link : callable, optional
        ``link(z, top, rest)``: the probability of a class.
    targets, quadratic, p, open_ended, second, for_classes, parameters
        As in `Loss`, but that `targets` is "classes" by default.
    """

    name: str
    add: Callable[[Any, Any, Any], Any]
    value: Callable[[Any, Any, Any], Any]
    slope: Callable[[Any, Any, Any, Any], Any]
    curvature: float = math.inf
    link: Callable[[Any, Any, Any], Any] | None = None
    targets: str = CLASSES
    quadratic: bool = False
    p: float = 0.0
    open_ended: bool = False

    second: None = None
    for_classes: None = None
    parameters: tuple[float, ...] = ()

    @property
    def coupled(self) -> bool:
        """Whether the loss of a row depends on more than one raw prediction."""
        return True

    @property
    def formula(self) -> "CoupledLoss":
        """What kernels are compiled for."""
        return self


# --- squared error --------------------------------------------------------------------------------


def squared_error(z, y):
    """(z − y)²."""
    r = z - y
    return r * r


def squared_error_slope(z, y):
    """2·(z − y)."""
    r = z - y
    return r + r


def squared_error_second(z, y):
    """2."""
    T = type(z)
    return T(2)


# --- logistic loss --------------------------------------------------------------------------------


def log1p_exp(z):
    """log(1 + exp(−|z|))."""
    return math.log1p(math.exp(-abs(z)))


def binary_cross_entropy(z, y):
    """−y·log σ(z) − (1−y)·log(1−σ(z)) = max(z, 0) − z·y + log(1 + exp(−|z|)), for y in [0, 1].

    The last form neither overflows nor cancels, for any z.
    """
    T = type(z)
    return (z if z > T(0) else T(0)) - z * y + log1p_exp(z)


def binary_cross_entropy_slope(z, y):
    """σ(z) − y."""
    return logistic(z) - y


def binary_cross_entropy_second(z, y):
    """σ(z)·(1 − σ(z)) = e/(1+e)² with e = exp(−|z|)."""
    T = type(z)
    e = math.exp(-abs(z))
    return e / ((T(1) + e) * (T(1) + e))


# --- softmax --------------------------------------------------------------------------------------


def log_sum_exp_step(top, rest, z):
    """The largest z so far, and the sum of exp(z − top) over all others, with one z more.

    One exponential, never of more than 0; and the largest one's own 1 stays out of the sum, where it
    would take the digits of the others.
    """
    T = type(z)
    e = math.exp(-abs(z - top))
    return (z, (rest + T(1)) * e) if z > top else (top, rest + e)


def cross_entropy(z, top, rest):
    """log Σ exp(z_c) − z = (top − z) + log(1 + rest)."""
    return (top - z) + math.log1p(rest)


def softmax(z, top, rest):
    """exp(z)/Σ exp(z_c)."""
    T = type(z)
    return math.exp(z - top) / (T(1) + rest)


def cross_entropy_slope(z, hit, top, rest):
    """exp(z)/Σ exp(z_c) − hit."""
    return softmax(z, top, rest) - hit


# --- Huber's loss ---------------------------------------------------------------------------------


def huber(z, y, p):
    """r²/2 where |r| ≤ δ, else δ·(|r| − δ/2), with r = z − y and δ = p."""
    T = type(z)
    r = abs(z - y)
    return T(0.5) * r * r if r <= p else p * (r - T(0.5) * p)


def huber_slope(z, y, p):
    """z − y, cut at ±δ; and NaN of NaN."""
    r = z - y
    return p if r > p else (-p if r < -p else r)


def huber_second(z, y, p):
    """1 where |z − y| ≤ δ, else 0."""
    T = type(z)
    return T(1) if abs(z - y) <= p else T(0)


# --- Poisson --------------------------------------------------------------------------------------


def exponential(z):
    """exp(z), the inverse of the logarithmic link."""
    return math.exp(z)


def poisson(z, y):
    """exp(z) − y·z, the negative log likelihood of a count with mean exp(z), without log(y!)."""
    return math.exp(z) - y * z


def poisson_slope(z, y):
    """exp(z) − y."""
    return math.exp(z) - y


def poisson_second(z, y):
    """exp(z)."""
    return math.exp(z)


#: Softmax regression. Its second derivatives diag(p) − p·p^T are at most (1 − 1·1^T/k)/2 (Böhning, 1992).
CROSS_ENTROPY = CoupledLoss(
    "cross_entropy",
    log_sum_exp_step,
    cross_entropy,
    cross_entropy_slope,
    0.5,
    softmax,
    open_ended=True,
)
MSE = Loss("mse", squared_error, squared_error_slope, 2.0, squared_error_second, quadratic=True)
BCE = Loss(
    "bce", binary_cross_entropy, binary_cross_entropy_slope, 0.25, binary_cross_entropy_second,
    link=logistic, targets=LABELS, for_classes=CROSS_ENTROPY, open_ended=True,
)  # fmt: skip
POISSON = Loss(
    "poisson", poisson, poisson_slope, math.inf, poisson_second, link=exponential, targets=COUNTS
)


def Huber(delta: float = 1.35) -> Loss:  # noqa: N802
    """Huber's loss: r²/2 for residuals r up to `delta`, and δ·(|r| − δ/2) beyond, as torch's HuberLoss.

    Parameters
    ----------
    delta : float, default=1.35
        Where the loss goes over from a square to a line, in units of y; above 0.

    Returns
    -------
    Loss

    Raises
    ------
    InputError
        If `delta` is not a finite number above 0.

    References
    ----------
    Huber, P. J. (1964), Robust estimation of a location parameter. Annals of Mathematical Statistics 35.

    Examples
    --------
    >>> import fastgd
    >>> from fastgd.losses import Huber
    >>> x, y = [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 6.0, 80.0]
    >>> fit = fastgd.fit(x, y, loss=Huber(delta=0.5), lr=0.1, epochs=2000)
    >>> round(float(fit.coef[0]), 2)
    2.25
    """
    return Loss(
        "huber", huber, huber_slope, 1.0, huber_second,
        p=number(delta, "delta of Huber", strict=True),
    )  # fmt: skip


#: The losses by the names that the fits take.
LOSSES: dict[str, Any] = {loss.name: loss for loss in (MSE, BCE, CROSS_ENTROPY, Huber(), POISSON)}

#: The inverse links that a saved fit can name.
LINKS = {
    "identity": identity, "logistic": logistic, "exponential": exponential, "softmax": softmax,
}  # fmt: skip


def named_link(link: Any) -> Any:
    """The name in `LINKS` of an inverse link; a function that is not there stays what it is."""
    for name, known in LINKS.items():
        if known is link:
            return name
    return link


def link_of(name: str) -> Any:
    """The inverse link of the loss of this name, as `named_link`; None if there is no such loss."""
    return named_link(LOSSES[name].link) if name in LOSSES else None


def chosen(loss: Any) -> Any:
    """The loss that a name stands for, or the one given.

    Raises
    ------
    InputError
        If it is neither a name in `LOSSES` nor a `Loss`.
    """
    if isinstance(loss, Loss | CoupledLoss):
        return loss
    if loss is Huber:
        raise InputError("loss is the function Huber; pass Huber(), or Huber(delta=…).")
    if isinstance(plain(loss), str):
        return LOSSES[choice(loss, "loss", tuple(LOSSES))]
    raise InputError(
        f"loss is {shown(loss)}; pass a name, one of fastgd.losses, or a Loss of two functions."
    )
