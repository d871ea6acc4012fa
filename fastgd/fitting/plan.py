"""Which solver fits a problem, over which source; decided from shapes and options, never by a clock."""

import functools
import math
from typing import Any

from ..errors import InputError
from ..losses import CLASSES, LABELS
from ..settings import Settings
from ..solvers.metric import FULL_METRIC, is_full
from ..solvers.step_size import largest_stable_lr
from ..sources.protocol import Source
from .constant import constant_prediction
from .diagnosis import overflow
from .problem import Problem
from .row_space import spans_fewer

#: With lr="auto" and a batch size, how far below the largest stable step to stay.
_STOCHASTIC_MARGIN = 20


def plan(problem: Problem) -> Any:
    """The solver of a problem, at its start."""
    o, settings = problem.options, problem.settings()
    if problem.automatic:
        return _automatic(problem, settings)
    source = problem.source()
    if isinstance(o.lr, str):
        settings.lr = _safe_lr(problem, source, settings)
    start = source, problem.loss, settings, problem.coef, problem.intercept
    if settings.optimizer.joint:
        from ..solvers.lbfgs import LBFGSDescent

        return LBFGSDescent(*start, o.keep_path)
    descent = _numeric(problem.place.on_gpu, problem.batch is None)
    if problem.batch is None:
        may_stop = not (o.tol is None and o.callback is None and o.validation is None)
        return descent(*start, problem.epochs, o.keep_path, may_stop)
    return descent(
        *start, o.keep_path, batch_size=problem.batch, shuffle=o.shuffle, seed=o.seed,
        mean=o.reduction == "mean", average=o.average,
    )  # fmt: skip


@functools.cache
def _numeric(on_gpu: bool, all_rows: bool) -> Any:
    """The solver of a given learning rate where the rows are read; it is imported for its first fit."""
    if on_gpu:
        from ..solvers.on_device import DeviceDescent, DeviceStochasticDescent

        return DeviceDescent if all_rows else DeviceStochasticDescent
    if all_rows:
        from ..solvers.batch import BatchDescent

        return BatchDescent
    from ..solvers.stochastic import StochasticDescent

    return StochasticDescent


def _automatic(problem: Problem, settings: Settings) -> Any:
    """The solver of lr="auto": its metric bounds the curvature."""
    loss = problem.loss
    if not loss.smooth and loss.kinks is None:
        raise InputError(
            f"lr='auto' needs a loss whose slope has no jumps, or one that names its `kinks`; that of "
            f"the loss {loss.name!r} jumps. Pass lr as a number."
        )
    if loss.coupled and not math.isfinite(loss.curvature):
        raise _unbounded(loss)
    if loss.coupled and (loss.link is None or not loss.open_ended):
        raise InputError(
            f"lr='auto' knows the curvature of softmax, and not that of the loss {loss.name!r}; pass lr "
            "as a number."
        )
    if loss.quadratic:
        problem.centre_targets()
        if problem.options.intercept_init is None:  # the mean, which is 0 of centred targets
            problem.intercept = problem.intercept + problem.y_center
    elif loss.targets not in (LABELS, CLASSES) and _starts_at_zero(problem):
        problem.intercept = constant_prediction(loss, problem.y, problem.weight, problem.offset)
    settings.l1 /= problem.y_unit
    if problem.options.l2 > 0 == problem.options.l1 and spans_fewer(problem.x, FULL_METRIC):
        problem.reduce_to_rows()
    source = problem.source()
    if problem.options.l1 and _by_columns(problem, source):
        source = source.columns or source
    return _automatic_solver(problem, source)(
        source, loss, settings, problem.coef / problem.y_unit if problem.coef.any() else problem.coef,
        (problem.intercept - problem.y_center) / problem.y_unit, problem.epochs,
        problem.options.keep_path,
    )  # fmt: skip


def _starts_at_zero(problem: Problem) -> bool:
    """Whether the caller leaves the intercept, and so the start, to the fit."""
    o = problem.options
    return o.fit_intercept and o.intercept_init is None and not problem.coef.any()


def _automatic_solver(problem: Problem, source: Source) -> Any:
    loss = problem.loss
    penalised = loss.kinks is not None or (problem.options.l1 and not _by_columns(problem, source))
    if penalised and source.d > FULL_METRIC and not math.isfinite(loss.curvature):
        of_l1 = " with l1" if loss.kinks is None else ""
        raise InputError(
            f"lr='auto'{of_l1} takes up to {FULL_METRIC} columns with the loss {loss.name!r}, and x has "
            f"{source.d}; pass lr as a number."
        )
    if problem.loss.kinks is not None:
        from ..solvers.interior import InteriorDescent

        return _for_outputs(InteriorDescent, problem)
    if problem.options.l1 and _by_columns(problem, source):
        from ..solvers.columns import ColumnDescent

        return _one_by_one(ColumnDescent, problem)
    if problem.options.l1:
        from ..solvers.proximal import ProximalDescent

        return _for_outputs(ProximalDescent, problem)
    if _has_dual(problem, source):
        from ..solvers.dual import DualDescent

        return _one_by_one(DualDescent, problem)
    if problem.loss.coupled:
        from ..solvers.joint import CoupledDescent

        return CoupledDescent
    if not math.isfinite(problem.loss.curvature):
        from ..solvers.curved import CurvedDescent

        return _for_outputs(CurvedDescent, problem)
    from ..solvers.whitened import AutomaticDescent

    return AutomaticDescent


def _by_columns(problem: Problem, source: Source) -> bool:
    """Whether many sparse columns call for coordinate descent over some of them."""
    wide = source.columns is not None and not is_full(source)
    return wide and not problem.loss.coupled


def _has_dual(problem: Problem, source: Source) -> bool:
    """Whether a start at zero, an l2 penalty and many columns call for dual coordinate ascent."""
    wide = source.dual_epoch is not None and not is_full(source)
    known = problem.loss.coupled or problem.loss.second is not None
    return wide and known and problem.options.l2 > 0 and not problem.coef.any()


def _for_outputs(kind: Any, problem: Problem) -> Any:
    """The solver, or one that takes output after output where there is no bound that all share."""
    return kind if math.isfinite(problem.loss.curvature) else _one_by_one(kind, problem)


def _one_by_one(kind: Any, problem: Problem) -> Any:
    """The solver, or one that takes output after output where there are several that are not coupled."""
    if problem.loss.coupled or problem.k == 1:
        return kind
    from ..solvers.one_by_one import OneByOne

    return functools.partial(OneByOne, kind)


def _unbounded(loss: Any) -> InputError:
    return InputError(
        f"lr='auto' needs a bound of the second derivative, and the loss {loss.name!r} has none; pass lr "
        "as a number."
    )


def _safe_lr(problem: Problem, source: Source, settings: Settings) -> float:
    """The learning rate of lr="auto" for an optimizer that takes one."""
    optimizer, batch = settings.optimizer, problem.batch
    if optimizer.joint or optimizer.rule.name not in ("gd", "momentum", "asgd"):
        return optimizer.lr
    if not math.isfinite(problem.loss.curvature):
        raise _unbounded(problem.loss)
    stable = largest_stable_lr(source, problem.loss, settings, batch)
    if stable is None or not stable > 0:
        overflow(problem)
    if batch is None:
        return min(1e6, stable / 2)
    # A constant step keeps a noise floor in proportion to it: stay well below the limit.
    return min(1.0, stable / _STOCHASTIC_MARGIN)
