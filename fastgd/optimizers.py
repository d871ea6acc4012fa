"""Optimizers that carry their parameters, for the fits' argument `optimizer`.

Each names its rule in `fastgd.formulas.updates`; names and defaults are torch's
(torch.optim, version 2.13).
`weight_decay` adds weight_decay·θ to the gradient of every parameter, the intercept among them, as torch
does; the fits' `l2` leaves the intercept alone.
"""

import math
from dataclasses import dataclass
from typing import Any

from .arguments import keep_flags, keep_numbers, plain, real, shown
from .errors import InputError
from .formulas.updates import RULES, Optimizer, Rule


def _keep_pair(optimizer: Optimizer, name: str) -> None:
    """Check a field of two numbers, and make it a tuple of floats."""
    kind, pair = type(optimizer).__name__, getattr(optimizer, name)
    if not (isinstance(pair, tuple | list) or getattr(pair, "ndim", 0) == 1) or len(pair) != 2:
        raise InputError(f"{name} of {kind} is {shown(pair)}; expected two numbers.")
    values = tuple(map(real, pair))
    if not all(value is not None and 0 <= value < math.inf for value in values):
        raise InputError(f"{name} of {kind} is {shown(pair)}; both are 0 or more.")
    object.__setattr__(optimizer, name, values)


def _keep_betas(optimizer: Any) -> None:
    _keep_pair(optimizer, "betas")
    if not max(optimizer.betas) < 1:
        raise InputError(
            f"betas of {type(optimizer).__name__} are {optimizer.betas}; both are below 1."
        )


@dataclass(frozen=True)
class SGD(Optimizer):
    """θ ← θ − lr·d, with d the gradient, or its running sum: a ← momentum·a + (1 − dampening)·g.

    As torch.optim.SGD (Sutskever et al., 2013): the first a is g, and Nesterov's d is g + momentum·a.

    Parameters
    ----------
    weight_decay, momentum, dampening : float, default=0.0
    nesterov : bool, default=False

    Examples
    --------
    >>> import fastgd
    >>> nesterov = fastgd.SGD(momentum=0.9, nesterov=True)
    >>> fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.01, optimizer=nesterov)
    """

    weight_decay: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        keep_numbers(self, "weight_decay", "momentum", "dampening")
        keep_flags(self, "nesterov")
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise InputError("nesterov needs a momentum above 0 and no dampening.")

    @property
    def rule(self) -> Rule:
        return RULES["momentum" if self.momentum else "gd"]

    def hyper(self) -> tuple[float, ...]:
        return (self.weight_decay, self.momentum, 1 - self.dampening, float(self.nesterov))


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """a ← a + g², θ ← θ − lr/(1 + (t−1)·lr_decay)·g/(√a + eps).

    As torch.optim.Adagrad (Duchi, Hazan and Singer, 2011).

    Parameters
    ----------
    weight_decay, lr_decay, initial_accumulator_value : float, default=0.0
    eps : float, default=1e-10
    """

    weight_decay: float = 0.0
    lr_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    lr = 1e-2

    def __post_init__(self) -> None:
        keep_numbers(self, "weight_decay", "lr_decay", "initial_accumulator_value", "eps")

    @property
    def rule(self) -> Rule:
        return RULES["adagrad"]

    def hyper(self) -> tuple[float, ...]:
        return (self.weight_decay, self.lr_decay, self.eps)

    def start(self, lr: float) -> tuple[float, float, float]:
        return (float(self.initial_accumulator_value), 0.0, 0.0)


@dataclass(frozen=True)
class Adam(Optimizer):
    """θ ← θ − lr·â/(√b̂ + eps), with running means a of g and b of g², â and b̂ corrected for bias.

    As torch.optim.Adam (Kingma and Ba, 2015; amsgrad: Reddi, Kale and Kumar, 2018).

    Parameters
    ----------
    weight_decay : float, default=0.0
    betas : (float, float), default=(0.9, 0.999)
    eps : float, default=1e-8
    amsgrad : bool, default=False
        Divide by the largest b̂ so far.

    Examples
    --------
    >>> import fastgd
    >>> adam = fastgd.Adam(betas=(0.9, 0.99))
    >>> fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.1, optimizer=adam)
    """

    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    amsgrad: bool = False

    def __post_init__(self) -> None:
        keep_numbers(self, "weight_decay", "eps")
        _keep_betas(self)
        keep_flags(self, "amsgrad")

    @property
    def rule(self) -> Rule:
        return RULES["adam"]

    def hyper(self) -> tuple[float, ...]:
        first, second = self.betas
        return (
            self.weight_decay, 1 - first, second, 1 - second, self.eps, float(self.amsgrad), first,
        )  # fmt: skip


@dataclass(frozen=True)
class AdamW(Adam):
    """`Adam`, with θ ← (1 − lr·weight_decay)·θ before the step in place of a term of the gradient.

    As torch.optim.AdamW (Loshchilov and Hutter, 2019).

    Parameters
    ----------
    weight_decay : float, default=0.01
    betas : (float, float), default=(0.9, 0.999)
    eps : float, default=1e-8
    amsgrad : bool, default=False
    """

    weight_decay: float = 1e-2

    @property
    def rule(self) -> Rule:
        return RULES["adamw"]


@dataclass(frozen=True)
class Adamax(Optimizer):
    """θ ← θ − lr/(1 − β₁ᵗ)·a/b, with a the running mean of g and b ← max(β₂·b, |g| + eps).

    As torch.optim.Adamax (Kingma and Ba, 2015).

    Parameters
    ----------
    weight_decay : float, default=0.0
    betas : (float, float), default=(0.9, 0.999)
    eps : float, default=1e-8
    """

    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    lr = 2e-3

    def __post_init__(self) -> None:
        keep_numbers(self, "weight_decay", "eps")
        _keep_betas(self)

    @property
    def rule(self) -> Rule:
        return RULES["adamax"]

    def hyper(self) -> tuple[float, ...]:
        first, second = self.betas
        return (self.weight_decay, 1 - first, second, 1 - second, self.eps, 0.0, first)


@dataclass(frozen=True)
class ASGD(Optimizer):
    """θ ← (1 − lambd·η)·θ − η·g with η = lr/(1 + lambd·lr·t)^alpha; it averages θ from step t0 on.

    As torch.optim.ASGD (Polyak and Juditsky, 1992). The parameters of the fit are θ, as in torch; the
    fits' own `average` gives the mean.

    Parameters
    ----------
    weight_decay : float, default=0.0
    lambd : float, default=1e-4
    alpha : float, default=0.75
    t0 : float, default=1e6
    """

    weight_decay: float = 0.0
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    lr = 1e-2

    def __post_init__(self) -> None:
        keep_numbers(self, "weight_decay", "lambd", "alpha", "t0")

    @property
    def rule(self) -> Rule:
        return RULES["asgd"]

    def hyper(self) -> tuple[float, ...]:
        return (self.weight_decay, self.lambd, self.alpha, self.t0)

    def start(self, lr: float) -> tuple[float, float, float]:
        return (0.0, lr, 0.0)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """θ ← θ − lr·c, with c ← momentum·c + g/(√a + eps) and a the running mean of g².

    As torch.optim.RMSprop (Hinton, 2012); centered: √(a − b²), b the running mean of g (Graves, 2013).

    Parameters
    ----------
    weight_decay, momentum : float, default=0.0
    alpha : float, default=0.99
    eps : float, default=1e-8
    centered : bool, default=False
    """

    weight_decay: float = 0.0
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    lr = 1e-2

    def __post_init__(self) -> None:
        keep_numbers(self, "weight_decay", "eps", "momentum")
        keep_numbers(self, "alpha", below=1)
        keep_flags(self, "centered")

    @property
    def rule(self) -> Rule:
        return RULES["rmsprop"]

    def hyper(self) -> tuple[float, ...]:
        return (
            self.weight_decay, self.alpha, 1 - self.alpha, self.eps, self.momentum,
            float(self.centered),
        )  # fmt: skip


@dataclass(frozen=True)
class Rprop(Optimizer):
    """θ ← θ − sign(g)·b, where b grows while the sign of g stays, and shrinks where it changes.

    As torch.optim.Rprop (Riedmiller and Braun, 1993): where it changes, the step is skipped.

    Parameters
    ----------
    etas : (float, float), default=(0.5, 1.2)
        The factors of b where the sign changes, and where it stays.
    step_sizes : (float, float), default=(1e-6, 50)
        The smallest and the largest b; the first one is lr.
    """

    weight_decay: float = 0.0
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    lr = 1e-2

    def __post_init__(self) -> None:
        keep_numbers(self, "weight_decay")
        _keep_pair(self, "etas")
        _keep_pair(self, "step_sizes")
        small, large = self.etas
        if not 0 < small < 1 < large:
            raise InputError(
                f"etas of Rprop are {(small, large)}; expected 0 < first < 1 < second."
            )

    @property
    def rule(self) -> Rule:
        return RULES["rprop"]

    def hyper(self) -> tuple[float, ...]:
        return (self.weight_decay, *self.etas, *self.step_sizes)

    def start(self, lr: float) -> tuple[float, float, float]:
        return (0.0, lr, 0.0)


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS with up to `max_iter` steps an epoch, on all rows.

    As torch.optim.LBFGS (Liu and Nocedal, 1989): without a line search a step is lr times the
    direction (the first one at most lr/‖g‖₁); "strong_wolfe" searches along it.

    Parameters
    ----------
    max_iter : int, default=20
        Steps of one epoch.
    max_eval : int, optional
        Passes of one epoch; default 5/4·max_iter.
    tolerance_grad : float, default=1e-7
    tolerance_change : float, default=1e-9
    history_size : int, default=100
    line_search_fn : {"strong_wolfe"}, optional
    """

    weight_decay: float = 0.0
    max_iter: int = 20
    max_eval: int | None = None
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    history_size: int = 100
    line_search_fn: str | None = None
    lr = 1.0
    joint = True

    def __post_init__(self) -> None:
        keep_numbers(self, "max_iter", "history_size", low=1, whole=True)
        keep_numbers(self, "weight_decay", "tolerance_grad", "tolerance_change")
        if self.max_eval is not None:
            keep_numbers(self, "max_eval", low=1, whole=True)
        if self.weight_decay:
            raise InputError("LBFGS has no weight_decay, as in torch; use l2.")
        search = plain(self.line_search_fn)
        if not (search is None or (isinstance(search, str) and search == "strong_wolfe")):
            raise InputError(f"line_search_fn is {shown(search)}; choose None or 'strong_wolfe'.")
        object.__setattr__(self, "line_search_fn", search)

    @property
    def rule(self) -> Rule:
        raise AttributeError(
            "LBFGS updates all parameters together; it has no rule for a single one."
        )


#: The optimizers by the names that the fits take.
OPTIMIZERS: dict[str, Optimizer] = {
    "gd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adagrad": Adagrad(),
    "adam": Adam(),
    "adamw": AdamW(),
    "adamax": Adamax(),
    "asgd": ASGD(),
    "lbfgs": LBFGS(),
    "rmsprop": RMSprop(),
    "rprop": Rprop(),
}
