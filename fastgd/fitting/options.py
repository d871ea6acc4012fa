"""The keyword arguments of the fits, checked; every `InputError` about an option is worded here."""

import functools
import math
import numbers
import operator
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import inputs
from ..arguments import is_value, plain, real, shown
from ..errors import InputError
from ..formulas.updates import Optimizer
from ..result import load

#: The orders of visit, and the reductions.
_ORDERS, _REDUCTIONS = (True, False, "block"), ("mean", "sum")
#: The options that are one value each, whatever the data and the other options are.
_SINGLE = (
    "lr", "epochs", "batch_size", "n_threads", "tol", "seed", "shuffle", "reduction", "fit_intercept",
    "keep_path", "progress", "average", "l1", "l2",
)  # fmt: skip
_values_of = operator.itemgetter(*_SINGLE)
#: Types whose values don't change, and are equal only if they mean the same.
_PLAIN = frozenset((str, bool, int, float, type(None)))


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
    average: bool
    tol: float | None
    reduction: str
    l1: float
    l2: float
    fit_intercept: bool
    sample_weight: Any
    offset: Any = None
    class_weight: Any = None
    coef_init: Any = None
    intercept_init: Any = None
    keep_path: bool
    dtype: Any
    device: str | None = None
    n_threads: int | None
    callback: Callable[[Any], Any] | None
    progress: bool
    validation: Any  # None, a float, or a tuple
    resume: Any = None
    checkpoint: Any = None
    columns: list[str] | None = None
    categories: Any = None
    patience: int

    def __init__(self, **given: Any):
        o = self
        o.__dict__ = given  # which belongs to this call
        single = _values_of(given)
        check = _remembered if _PLAIN.issuperset(map(type, single)) else _checked
        given.update(check(*single))
        if o.validation is not None:
            o.validation = _validation(o.validation)
        o.patience = inputs.integer(o.patience, "patience", low=1)
        if o.optimizer is not None:
            o.optimizer = _optimizer(o.optimizer)
        if o.schedule is not None:
            o.schedule = _schedule(o.schedule, o.lr, o.optimizer)
        _check_together(o)
        if o.device is not None:
            o.device = _device(o.device)
        if o.columns is not None:
            o.columns = _names(o.columns, "columns")
            if not o.columns:
                raise InputError("columns is empty; pass one name at least.")
        if o.categories is not None:
            o.categories = _categories(o.categories)
        if o.callback is not None and not callable(o.callback):
            raise InputError(
                f"callback is {shown(o.callback)}; expected a function of one argument."
            )
        if o.checkpoint is not None and not isinstance(o.checkpoint, str | os.PathLike):
            raise InputError(f"checkpoint is {shown(o.checkpoint)}; pass the path of a file.")
        if isinstance(o.resume, str | os.PathLike):
            o.resume = load(o.resume)
        if o.resume is not None and getattr(o.resume, "state", None) is None:
            raise InputError(
                "resume is no fit with a state: pass the fit that the callback of a call like this one "
                "stopped, or was given."
            )

    @property
    def automatic(self) -> bool:
        """Whether the data provides the step, unless a batch size does not let it."""
        return isinstance(self.lr, str) and self.optimizer is None


def _listed(given: Any) -> list[Any] | None:
    """The entries of a list, or of an array, an index or a series of a library; None of other values."""
    several = hasattr(given, "__len__") and hasattr(given, "__getitem__")
    return [plain(one) for one in given] if several and not isinstance(given, str) else None


def _names(given: Any, name: str) -> list[str]:
    """Names of columns, each of which occurs once."""
    names = _listed(given)
    if names is None or not all(isinstance(one, str) for one in names):
        raise InputError(f"{name} is {shown(given)}; pass a list of names of columns.")
    for place, one in enumerate(names):
        if one in names[:place]:
            raise InputError(f"{name} has {one!r} twice.")
    return names


def _categories(given: Any) -> Any:
    """Names of columns, or a dict of their values."""
    names = _names(given, "categories")
    if not isinstance(given, dict):
        return names
    values = {name: _listed(given[name]) for name in names}
    for name, several in values.items():
        if not several or not all(map(is_value, several)) or len(set(several)) < len(several):
            raise InputError(
                f"categories of {name!r} are {shown(given[name])}; pass a list of different values, of "
                "text, numbers or booleans."
            )
    return values


def _checked(
    lr: Any, epochs: Any, batch_size: Any, n_threads: Any, tol: Any, seed: Any, shuffle: Any,
    reduction: Any, fit_intercept: Any, keep_path: Any, progress: Any, average: Any, l1: Any, l2: Any,
) -> dict[str, Any]:  # fmt: skip
    """The options of `_SINGLE`, made plain."""
    lr = _learning_rate(lr)
    counts = {"epochs": epochs, "batch_size": batch_size, "n_threads": n_threads}
    for name, value in counts.items():
        if value is not None:
            counts[name] = inputs.integer(value, name, low=1)
    return {
        "lr": lr,
        **counts,
        "tol": None if tol is None else inputs.number(tol, "tol", strict=True),
        "seed": inputs.integer(seed, "seed", low=0, high=math.inf),
        "shuffle": inputs.choice(shuffle, "shuffle", _ORDERS),
        "reduction": inputs.choice(reduction, "reduction", _REDUCTIONS),
        "fit_intercept": inputs.flag(fit_intercept, "fit_intercept"),
        "keep_path": inputs.flag(keep_path, "keep_path"),
        "progress": inputs.flag(progress, "progress"),
        "average": inputs.flag(average, "average"),
        "l1": inputs.number(l1, "l1"),
        "l2": inputs.number(l2, "l2"),
    }


#: The same for plain values, which need one check.
_remembered = functools.lru_cache(maxsize=256, typed=True)(_checked)


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
    if o.optimizer is not None:
        _check_optimizer(o, o.optimizer)
    if o.average and o.batch_size is None:
        raise InputError("average is for stochastic updates; pass batch_size.")


def _check_optimizer(o: Options, optimizer: Optimizer) -> None:
    joint = optimizer.joint
    if o.l1 > 0 and (joint or optimizer.rule.slots or optimizer.weight_decay):
        raise InputError(
            "l1 takes proximal steps of plain descent; leave optimizer out, or use l2."
        )
    if joint and o.batch_size is not None:
        raise InputError("'lbfgs' looks at all rows in every step; leave batch_size out.")
    if joint and isinstance(o.lr, np.ndarray):
        raise InputError("'lbfgs' takes one step for all outputs together; pass one lr.")


def _device(device: Any) -> str | None:
    """None, "cpu", "cuda" or "cuda:1", of a name or of torch.device."""
    device = plain(device)
    if device is None:
        return None
    named = shown(device).strip("'") if isinstance(device, numbers.Number) else str(device)
    if named not in ("cpu", "cuda") and not re.fullmatch(r"cuda:\d+", named):
        raise InputError(f"device is {shown(device)}; choose from 'cpu', 'cuda'.")
    return named
