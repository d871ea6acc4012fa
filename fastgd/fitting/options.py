"""The keyword arguments of the fits, checked; every `InputError` about an option is worded here."""

import functools
import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import inputs
from ..arguments import plain, real, shown
from ..errors import InputError
from ..formulas.updates import Optimizer

#: The orders of visit, and the reductions.
_ORDERS, _REDUCTIONS = (True, False, "block"), ("mean", "sum")


class Options:
    """The keyword arguments of a fit, checked and made plain; as the fits document them.

    Raises
    ------
    InputError
        For the first one that can't be used.
    """

    lr: Any  # "auto", a float, or ndarray (k,)
    epochs: int | None
    batch_size: int | None
    shuffle: bool | str
    seed: int
    optimizer: Optimizer | None
    schedule: Any
    average: bool = False
    tol: float | None = None
    reduction: str
    l1: float = 0.0
    l2: float
    fit_intercept: bool = True
    sample_weight: Any
    offset: Any = None
    class_weight: Any = None
    coef_init: Any = None
    intercept_init: Any = None
    keep_path: bool = False
    dtype: Any
    device: str | None = None
    n_threads: int | None
    callback: Callable[[Any], Any] | None
    progress: bool
    validation: Any  # None, a float, or a tuple
    resume: Any = None
    patience: int

    def __init__(self, **given: Any):
        o = self
        o.__dict__ = given  # which belongs to this call
        o.lr = _learning_rate(o.lr)
        for name in ("epochs", "batch_size", "n_threads"):
            if given[name] is not None:
                given[name] = inputs.integer(given[name], name, low=1)
        if o.tol is not None:
            o.tol = inputs.number(o.tol, "tol", strict=True)
        o.seed = inputs.integer(o.seed, "seed", low=0, high=math.inf)
        o.shuffle = inputs.choice(o.shuffle, "shuffle", _ORDERS)
        o.reduction = inputs.choice(o.reduction, "reduction", _REDUCTIONS)
        for name in ("fit_intercept", "keep_path", "progress", "average"):
            given[name] = inputs.flag(getattr(o, name), name)
        o.l1, o.l2 = inputs.number(o.l1, "l1"), inputs.number(o.l2, "l2")
        o.validation = _validation(o.validation)
        o.patience = inputs.integer(o.patience, "patience", low=1)
        o.optimizer = _optimizer(o.optimizer)
        o.schedule = _schedule(o.schedule, o.lr, o.optimizer)
        _check_together(o)
        o.device = _device(o.device)
        if o.callback is not None and not callable(o.callback):
            raise InputError(
                f"callback is {shown(o.callback)}; expected a function of one argument."
            )
        if o.resume is not None and getattr(o.resume, "state", None) is None:
            raise InputError(
                "resume is no fit with a state: pass the fit that the callback of a call like this one "
                "stopped, or was given."
            )

    @property
    def automatic(self) -> bool:
        """Whether the data provides the step, unless a batch size does not let it."""
        return isinstance(self.lr, str) and self.optimizer is None


def _learning_rate(lr: Any) -> Any:
    """The value "auto", one number, or an array with one for each output."""
    lr = plain(lr)
    if type(lr) is float:
        return inputs.number(lr, "lr", strict=True)
    if isinstance(lr, str):
        if lr != "auto":
            raise InputError(f"lr is {shown(lr)}; pass a number or 'auto'.")
        return lr
    if not (isinstance(lr, list | tuple) or getattr(lr, "ndim", 0) == 1):
        return inputs.number(lr, "lr", strict=True)
    rates = inputs.as_array(lr, "lr").astype(np.float64)
    if rates.ndim != 1:
        raise InputError(f"lr has shape {rates.shape}; pass one number, or one for each output.")
    for c, rate in enumerate(rates.tolist()):
        inputs.number(rate, f"lr[{c}]", strict=True)
    return rates


def _validation(given: Any) -> Any:
    """A fraction of the rows, or a tuple of rows."""
    if given is None:
        return None
    if isinstance(given, tuple) and len(given) in (2, 3, 4):
        return given
    wanted = (
        "a fraction of the rows above 0 and below 1, or a tuple (x, y), (x, y, sample_weight) or (x, y, "
        "sample_weight, offset)"
    )
    if isinstance(given, tuple):
        raise InputError(f"validation has {len(given)} part(s); pass {wanted}.")
    given = plain(given)
    fraction = None if isinstance(given, bool) else real(given)
    if fraction is None or not 0 < fraction < 1:
        simple = isinstance(given, bool | str | numbers.Real)
        what = shown(given) if simple else f"a {type(given).__name__}"
        raise InputError(f"validation is {what}; pass {wanted}.")
    return fraction


@functools.cache
def _known_optimizers() -> dict[str, Optimizer]:
    """Those that have a name; 7 ms to import, and most fits need none."""
    from ..optimizers import OPTIMIZERS

    return OPTIMIZERS


def _optimizer(given: Any) -> Optimizer | None:
    """The optimizer that a name stands for; None is left to the fit."""
    given = plain(given)
    if given is None or isinstance(given, Optimizer):
        return given
    known = _known_optimizers()
    if isinstance(given, str) and given in known:
        return known[given]
    if isinstance(given, type) and issubclass(given, Optimizer):
        raise InputError(f"optimizer is the class {given.__name__}; pass {given.__name__}().")
    if isinstance(given, str) and given.lower() == "sgd":
        raise InputError(
            f"optimizer is {shown(given)}; choose 'gd', with batch_size for stochastic steps."
        )
    near = inputs.nearest(given, tuple(known))
    raise InputError(
        f"optimizer is {shown(given)}; {near}choose from {', '.join(map(repr, known))}, or pass an "
        "object such as fastgd.Adam()."
    )


def _schedule(given: Any, lr: Any, optimizer: Optimizer | None) -> Any:
    """The schedule, a plain function of the epoch made into one."""
    if given is None:
        return None
    if isinstance(lr, str) and optimizer is None:
        raise InputError("schedule needs a learning rate to begin with; pass lr as a number.")
    if callable(getattr(given, "rate", None)) and not isinstance(given, type):
        return given
    if callable(given) and not isinstance(given, type):
        from ..schedules import LambdaLR

        return LambdaLR(given)
    raise InputError(
        f"schedule is {shown(given)}; pass a function of the epoch, or one of fastgd.schedules, such as "
        "StepLR(30)."
    )


def _check_together(o: Options) -> None:
    """What each may be alone, but not with the other."""
    optimizer = o.optimizer
    plain = optimizer is None or not (
        optimizer.joint or optimizer.rule.slots or optimizer.weight_decay
    )
    if o.l1 > 0 and not plain:
        raise InputError(
            "l1 takes proximal steps of plain descent; leave optimizer out, or use l2."
        )
    joint = optimizer is not None and optimizer.joint
    if joint and o.batch_size is not None:
        raise InputError("'lbfgs' looks at all rows in every step; leave batch_size out.")
    if joint and isinstance(o.lr, np.ndarray):
        raise InputError("'lbfgs' takes one step for all outputs together; pass one lr.")
    if o.average and o.batch_size is None:
        raise InputError("average is for stochastic updates; pass batch_size.")


def _device(device: Any) -> str | None:
    """None, "cpu", "cuda" or "cuda:1", of a name or of torch.device."""
    device = plain(device)
    if device is None:
        return None
    named = shown(device).strip("'") if isinstance(device, numbers.Number) else str(device)
    if named not in ("cpu", "cuda") and not re.fullmatch(r"cuda:\d+", named):
        raise InputError(f"device is {shown(device)}; choose from 'cpu', 'cuda'.")
    return named
