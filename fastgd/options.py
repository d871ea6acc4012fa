"""The keyword arguments of the fits, checked; every `InputError` about an option is worded here."""

import re
from typing import Any

import numpy as np

from . import inputs
from .errors import InputError
from .optimizers import OPTIMIZERS, PLANNED


def checked(o: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a fit, checked and made plain.

    Raises
    ------
    InputError
        For the first one that can't be used.
    """
    o = dict(o)
    o["lr"] = _learning_rate(o["lr"])
    for name in ("epochs", "batch_size", "n_threads"):
        if o[name] is not None:
            o[name] = inputs.integer(o[name], name, low=1)
    if o["tol"] is not None:
        o["tol"] = inputs.number(o["tol"], "tol", strict=True)
    o["seed"] = inputs.integer(o["seed"], "seed", low=0)
    if o["shuffle"] != "block":
        inputs.choice(o["shuffle"], "shuffle", (True, False, "block"))
        o["shuffle"] = bool(o["shuffle"])
    inputs.choice(o["reduction"], "reduction", ("mean", "sum"))
    for name in ("fit_intercept", "keep_path", "progress"):
        o[name] = inputs.flag(o[name], name)
    o["l1"], o["l2"] = inputs.number(o["l1"], "l1"), inputs.number(o["l2"], "l2")
    if o["l1"] > 0:
        raise InputError("l1 is not in yet; use l2, or leave it at 0.")
    _check_optimizer(o["optimizer"])
    _check_device(o["device"])
    if o["callback"] is not None and not callable(o["callback"]):
        raise InputError(f"callback is {o['callback']!r}; expected a function of one argument.")
    return o


def _learning_rate(lr: Any) -> Any:
    """ "auto", one number, or an array with one for each output."""
    if isinstance(lr, str):
        if lr != "auto":
            raise InputError(f"lr is {lr!r}; pass a number or 'auto'.")
        return lr
    if not (isinstance(lr, list | tuple) or getattr(lr, "ndim", 0) == 1):
        return inputs.number(lr, "lr", strict=True)
    rates = inputs.as_array(lr, "lr").astype(np.float64)
    if rates.ndim != 1:
        raise InputError(f"lr has shape {rates.shape}; pass one number, or one for each output.")
    for c, rate in enumerate(rates.tolist()):
        inputs.number(rate, f"lr[{c}]", strict=True)
    return rates


def _check_optimizer(name: Any) -> None:
    if name is None or (isinstance(name, str) and name in OPTIMIZERS):
        return
    if isinstance(name, str) and name in PLANNED:
        raise InputError(f"optimizer {name!r} is not in yet; choose 'gd'.")
    if isinstance(name, str) and name.lower() == "sgd":
        raise InputError(
            f"optimizer is {name!r}; choose 'gd', with batch_size for stochastic steps."
        )
    near = inputs.nearest(name, (*OPTIMIZERS, *PLANNED))
    raise InputError(
        f"optimizer is {name!r}; {near}choose from {', '.join(map(repr, OPTIMIZERS))} "
        f"({', '.join(PLANNED)} are not in yet)."
    )


def _check_device(device: Any) -> None:
    named = "cpu" if device is None else str(device)
    if named not in ("cpu", "cuda") and not re.fullmatch(r"cuda:\d+", named):
        raise InputError(f"device is {device!r}; choose from 'cpu', 'cuda'.")
