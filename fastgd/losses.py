"""Losses as plain Python functions of one row, and what solvers and predictions need to know of them.

The raw prediction is z = x·coef + intercept, before any link. ``value(z, y)`` is the loss of one row,
``slope(z, y)`` its derivative in z, ``second(z, y)`` its second derivative. Sums, means, gradients and
loops are the same for every loss and stand elsewhere, once. A leaf: no numba, no numpy.

The functions stand in `fastgd.formulas`. A loss is added here, with its twin in `tests/oracles.py`: all
else asks for the traits below, never for a name or a class.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .arguments import choice, number, plain, shown
from .errors import InputError
from .formulas.activations import identity, logistic
from .formulas.log_links import (
    exponential,
    gamma,
    gamma_second,
    gamma_slope,
    logarithm,
    negative_binomial,
    negative_binomial_second,
    negative_binomial_slope,
    poisson,
    poisson_second,
    poisson_slope,
    tweedie,
    tweedie_second,
    tweedie_slope,
)
from .formulas.margins import (
    binary_cross_entropy,
    binary_cross_entropy_second,
    binary_cross_entropy_slope,
    certain,
    clipped_probability,
    hinge,
    hinge_kinks,
    hinge_slope,
    modified_huber,
    modified_huber_second,
    modified_huber_slope,
    squared_hinge,
    squared_hinge_second,
    squared_hinge_slope,
)
from .formulas.residuals import (
    epsilon_insensitive,
    epsilon_insensitive_kinks,
    epsilon_insensitive_slope,
    huber,
    huber_second,
    huber_slope,
    quantile,
    quantile_kinks,
    quantile_slope,
    squared_epsilon_insensitive,
    squared_epsilon_insensitive_second,
    squared_epsilon_insensitive_slope,
    squared_error,
    squared_error_second,
    squared_error_slope,
)
from .formulas.softmax import cross_entropy, cross_entropy_slope, log_sum_exp_step, softmax

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
    smooth : bool, default=True
        Whether the slope has no jumps. Where it has, as at the kink of "quantile", no second derivative
        says how far to step.
    kinks : callable, optional
        For a loss that is a line between its kinks: ``kinks(y)``, or with ``p``, returns the slope left
        of them all, and the place and the jump of the slope of each, from left to right. y is an array;
        the numbers are arrays like it, or scalars. ``lr="auto"`` takes a loss with jumps if it has this.
    perfect : callable, optional
        ``perfect(y)``: the raw prediction with the least loss. With it a fit has a `deviance`, and its
        `score` is the part of that which it explains.

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
    smooth: bool = True
    kinks: Callable[..., Any] | None = None
    perfect: Callable[[Any], Any] | None = None

    @property
    def coupled(self) -> bool:
        """Whether the loss of a row depends on more than one raw prediction."""
        return False

    @property
    def formula(self) -> "Loss":
        """The same loss with p = 0, and the targets of any p: what kernels are compiled for."""
        return self._replace(p=0.0, targets=REAL) if self.p else self

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
    targets, quadratic, p, open_ended, second, smooth, kinks, for_classes, parameters
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
    smooth: bool = True
    kinks: None = None
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
MSE = Loss(
    "mse", squared_error, squared_error_slope, 2.0, squared_error_second, quadratic=True,
    perfect=identity,
)  # fmt: skip
BCE = Loss(
    "bce", binary_cross_entropy, binary_cross_entropy_slope, 0.25, binary_cross_entropy_second,
    link=logistic, targets=LABELS, for_classes=CROSS_ENTROPY, open_ended=True,
    perfect=certain,
)  # fmt: skip
POISSON = Loss(
    "poisson", poisson, poisson_slope, math.inf, poisson_second, link=exponential, targets=COUNTS,
    perfect=logarithm,
)  # fmt: skip
GAMMA = Loss(
    "gamma", gamma, gamma_slope, math.inf, gamma_second, link=exponential, targets=POSITIVE,
    perfect=logarithm,
)  # fmt: skip
HINGE = Loss(
    "hinge", hinge, hinge_slope, link=None, targets=LABELS, smooth=False, kinks=hinge_kinks
)
SQUARED_HINGE = Loss(
    "squared_hinge", squared_hinge, squared_hinge_slope, 2.0, squared_hinge_second, link=None,
    targets=LABELS,
)  # fmt: skip
#: Zhang, T. (2004), Statistical behavior and consistency of classification methods. Ann. Stat. 32.
MODIFIED_HUBER = Loss(
    "modified_huber", modified_huber, modified_huber_slope, 2.0, modified_huber_second,
    link=clipped_probability, targets=LABELS,
)  # fmt: skip


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


def Quantile(q: float = 0.5) -> Loss:  # noqa: N802
    """The pinball loss: q·(y − z) where y > z, else (1 − q)·(z − y); z is the q-quantile of y.

    Parameters
    ----------
    q : float, default=0.5
        The quantile, between 0 and 1; 0.5 is the median.

    Returns
    -------
    Loss

    Raises
    ------
    InputError
        If `q` is not a number between 0 and 1.

    References
    ----------
    Koenker, R. and Bassett, G. (1978), Regression quantiles. Econometrica 46.

    Examples
    --------
    >>> import fastgd
    >>> from fastgd.losses import Quantile
    >>> x, y = [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 6.0, 80.0]
    >>> fit = fastgd.fit(x, y, loss=Quantile(0.5))
    >>> round(float(fit.coef[0]), 6)
    2.0
    """
    q = number(q, "q of Quantile", strict=True)
    if q >= 1:
        raise InputError(f"q of Quantile is {q:g}; pass a number between 0 and 1.")
    return Loss(
        "quantile", quantile, quantile_slope, p=q, smooth=False, kinks=quantile_kinks, perfect=identity,
    )  # fmt: skip


def EpsilonInsensitive(epsilon: float = 0.1) -> Loss:  # noqa: N802
    """max(0, |z − y| − ε): residuals up to ε cost nothing, as in support vector regression.

    Parameters
    ----------
    epsilon : float, default=0.1
        The largest residual that costs nothing, in units of y; 0 or more.

    Returns
    -------
    Loss

    Raises
    ------
    InputError
        If `epsilon` is not a finite number from 0 up.

    References
    ----------
    Drucker, H. et al. (1997), Support vector regression machines. NIPS 9.

    Examples
    --------
    >>> import fastgd
    >>> from fastgd.losses import EpsilonInsensitive
    >>> x, y = [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0, 6.0, 80.0]
    >>> fit = fastgd.fit(x, y, loss=EpsilonInsensitive(0.2))
    >>> bool(abs(fit.coef[0] - 2) < 0.2)
    True
    """
    return Loss(
        "epsilon_insensitive", epsilon_insensitive, epsilon_insensitive_slope,
        p=number(epsilon, "epsilon of EpsilonInsensitive"), smooth=False, kinks=epsilon_insensitive_kinks,
    )  # fmt: skip


def SquaredEpsilonInsensitive(epsilon: float = 0.1) -> Loss:  # noqa: N802
    """max(0, |z − y| − ε)², the square of `EpsilonInsensitive`.

    Parameters
    ----------
    epsilon : float, default=0.1
        The largest residual that costs nothing, in units of y; 0 or more.

    Returns
    -------
    Loss

    Raises
    ------
    InputError
        If `epsilon` is not a finite number from 0 up.

    References
    ----------
    Ho, C.-H. and Lin, C.-J. (2012), Large-scale linear support vector regression. JMLR 13.

    Examples
    --------
    >>> import fastgd
    >>> from fastgd.losses import SquaredEpsilonInsensitive
    >>> fit = fastgd.fit([0.0, 1.0, 2.0], [0.1, 2.0, 3.9], loss=SquaredEpsilonInsensitive(0.2))
    >>> fit.cost
    0.0
    """
    return Loss(
        "squared_epsilon_insensitive", squared_epsilon_insensitive, squared_epsilon_insensitive_slope,
        2.0, squared_epsilon_insensitive_second,
        p=number(epsilon, "epsilon of SquaredEpsilonInsensitive"),
    )  # fmt: skip


def Tweedie(power: float = 1.5) -> Loss:  # noqa: N802
    """exp((2 − p)·z)/(2 − p) − y·exp((1 − p)·z)/(1 − p), half the Tweedie deviance with the mean exp(z).

    Parameters
    ----------
    power : float, default=1.5
        p: the variance of y is proportional to mean^p. 0 is normal, 1 Poisson, between 1 and 2 a sum of
        gamma variables as many as a Poisson variable says (claims), 2 gamma, 3 inverse Gaussian. Convex
        from 1 to 2.

    Returns
    -------
    Loss

    Raises
    ------
    InputError
        If `power` is not a finite number, or is between 0 and 1, where no such variable exists.

    References
    ----------
    Jørgensen, B. (1987), Exponential dispersion models. J. R. Stat. Soc. B 49.

    Examples
    --------
    >>> import fastgd
    >>> from fastgd.losses import Tweedie
    >>> fit = fastgd.fit([0, 1, 2, 3], [0, 2, 8, 20], loss=Tweedie(1.5), lr=0.05, epochs=5000)
    >>> fit.predict([3.0]).round()
    array([24.])
    """
    power = number(power, "power of Tweedie", low=-100.0)
    if 0 < power < 1:
        raise InputError(f"power of Tweedie is {power:g}; pass 0 or less, or 1 or more.")
    targets = REAL if power <= 0 else COUNTS if power < 2 else POSITIVE
    return Loss(
        "tweedie", tweedie, tweedie_slope, math.inf, tweedie_second, link=exponential, targets=targets,
        p=power, perfect=logarithm,
    )  # fmt: skip


def NegativeBinomial(alpha: float = 1.0) -> Loss:  # noqa: N802
    """(y + 1/α)·log(1 + α·exp(z)) − y·z, for counts that vary more than Poisson's.

    Parameters
    ----------
    alpha : float, default=1.0
        The variance of y is mean + alpha·mean²; above 0.

    Returns
    -------
    Loss

    Raises
    ------
    InputError
        If `alpha` is not a finite number above 0.

    References
    ----------
    Cameron, A. C. and Trivedi, P. K. (2013), Regression Analysis of Count Data, section 3.3 (NB2).

    Examples
    --------
    >>> import fastgd
    >>> from fastgd.losses import NegativeBinomial
    >>> fit = fastgd.fit([0, 1, 2, 3], [1, 2, 8, 20], loss=NegativeBinomial(0.5), lr=0.1, epochs=2000)
    >>> fit.predict([0.0]).round(1)
    array([0.9])
    """
    return Loss(
        "negative_binomial", negative_binomial, negative_binomial_slope, math.inf,
        negative_binomial_second, link=exponential, targets=COUNTS,
        p=number(alpha, "alpha of NegativeBinomial", strict=True), perfect=logarithm,
    )  # fmt: skip


#: The losses by the names that the fits take.
LOSSES: dict[str, Any] = {
    loss.name: loss
    for loss in (
        MSE, BCE, CROSS_ENTROPY, Huber(), Quantile(), EpsilonInsensitive(), SquaredEpsilonInsensitive(),
        HINGE, SQUARED_HINGE, MODIFIED_HUBER, POISSON, GAMMA, Tweedie(), NegativeBinomial(),
    )
}  # fmt: skip
#: The functions that make a loss of a parameter.
FACTORIES = (
    Huber,
    Quantile,
    EpsilonInsensitive,
    SquaredEpsilonInsensitive,
    Tweedie,
    NegativeBinomial,
)

#: The inverse links that a saved fit can name.
LINKS = {
    "identity": identity, "logistic": logistic, "exponential": exponential, "softmax": softmax,
    "clipped_probability": clipped_probability,
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


def with_parameter_of(name: str, p: float) -> Any:
    """The loss of this name with the parameter p; None if there is no such loss."""
    makers = {of().name: of for of in FACTORIES}
    return makers[name](p) if name in makers else LOSSES.get(name)


def parameter_of(name: str) -> float:
    """The usual p of the loss of this name; 0.0 if there is no such loss."""
    return LOSSES[name].p if name in LOSSES else 0.0


def chosen(loss: Any) -> Any:
    """The loss that a name stands for, or the one given.

    Raises
    ------
    InputError
        If it is neither a name in `LOSSES` nor a `Loss`.
    """
    if isinstance(loss, Loss | CoupledLoss):
        return loss
    if loss in FACTORIES:
        raise InputError(f"loss is the function {loss.__name__}; call it: {loss.__name__}().")
    if isinstance(plain(loss), str):
        return LOSSES[choice(loss, "loss", tuple(LOSSES))]
    raise InputError(
        f"loss is {shown(loss)}; pass a name, one of fastgd.losses, or a Loss of two functions."
    )
