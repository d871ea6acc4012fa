"""What went wrong, in sentences: costs that rose or overflowed, separable labels, dependent columns."""

import math
from typing import Any, NoReturn

import numpy as np

from ..errors import DivergenceError
from ..solvers.step_size import largest_stable_lr, momentum_share
from .problem import Problem


def overflow(problem: Problem) -> NoReturn:
    """The cost or the moments overflow before the first step."""
    problem.require_finite()
    of = "x, y or offset" if problem.options.offset is not None else "x or y"
    raise DivergenceError(
        f"the cost or its gradient overflows at the start: values of {of} are too large, "
        f"or so small that their coefficients are, for {problem.inner}; scale them."
    )


def diverged(problem: Problem, solver: Any, validation: Any = None) -> NoReturn:
    """The cost is no longer finite."""
    problem.require_finite()
    cost = last_finite_cost(problem, solver)
    if not math.isfinite(cost):
        overflow(problem)
    lr = _usable_lr(problem, solver)
    raise DivergenceError(
        f"the cost is no longer finite after epoch {solver.epoch} with {_lr_used(solver)}; "
        f"{_advice(solver, lr)} The error's attribute `fit` holds the last finite parameters.",
        problem.to_fit(solver, cost, False, validation),
        lr,
    )


def validation_overflow(problem: Problem, solver: Any, validation: Any) -> NoReturn:
    """The validation cost is not finite: so are its rows, or the parameters are on their way out."""
    problem.require_finite()
    cost = solver.cost()
    if not cost <= solver.first_cost(cost):  # on their way out
        solver.back()
        diverged(problem, solver, validation)
    raise DivergenceError(
        f"the validation cost overflows {problem.inner} after epoch {solver.epoch}; scale the "
        "values or the weights of its rows.",
        problem.to_fit(solver, cost, False, validation),
    )


def last_finite_cost(problem: Problem, solver: Any) -> float:
    """Go back to the last parameters whose cost is finite; NaN if not even the first one is."""
    cost = solver.cost()
    while not (math.isfinite(cost) and problem.representable(solver)):
        if not solver.back():
            return math.nan
        cost = solver.cost()
    return cost


def risen(problem: Problem, solver: Any, before: float, after: float, epochs: int) -> str:
    """The objective is above that at the start."""
    what = "the cost plus penalty" if problem.options.l1 or problem.options.l2 else "the cost"
    return (
        f"{what} rose from {before:.6g} to {after:.6g} in {epochs} epochs with {_lr_used(solver)}; "
        f"{_advice(solver, _usable_lr(problem, solver))}"
    )


def short(epochs: int, tol: float | None, measure: str = "gradient") -> str:
    """The gradient, or what else tells how far the optimum is, is larger than asked for."""
    goal = "rounding" if tol is None else f"tol={tol}"
    return f"the {measure} is short of {goal} after {epochs} epochs; allow more epochs."


def impatient(best_epoch: int, epochs: int, patience: int) -> str:
    """Epochs ended before patience did."""
    return (
        f"the validation cost was lowest after epoch {best_epoch} of {epochs}, so "
        f"that patience={patience} did not end the fit; allow more epochs."
    )


def no_optimum(problem: Problem, trouble: str, null: Any) -> str:
    """Labels are separable, or columns dependent; `null` (d,) says by how much each column is."""
    if trouble == "separable":
        apart = "planes part some of them" if problem.loss.coupled else "a plane parts them"
        return (
            f"the labels are separable: {apart} without error, so that no finite optimum exists and the "
            "coefficients would grow without end; add l2."
        )
    if trouble == "unbounded":
        return (
            "the cost has no finite optimum: it falls for ever as the predictions of some rows grow, as "
            "where all targets of a group are 0; add l2, or drop the columns that single them out."
        )
    weight = np.asarray(null)
    which = np.flatnonzero(weight > 1e-6 * weight.max())
    shown = ", ".join(_column(problem, j) for j in which[:8]) + (", …" if len(which) > 8 else "")
    if trouble == "flat":
        return (
            f"the labels are separable along column(s) {shown}: the cost has no finite optimum "
            "there; add l2, or drop them."
        )
    return (
        f"columns {shown} are linearly dependent to the accuracy of X^T X; the coefficients are "
        "the smallest, in scaled coordinates, of the many that fit equally well. Drop columns, "
        "centre them, or add l2."
    )


def _column(problem: Problem, column: int) -> str:
    names = problem.names
    return f"{column} ({names[column]!r})" if names else str(int(column))


def _lr_used(solver: Any) -> str:
    lr = solver.settings.lr
    return f"lr={lr:g}" if np.ndim(lr) == 0 else f"lr from {lr.min():g} to {lr.max():g}"


def _advice(solver: Any, lr: float | None) -> str:
    if solver.settings.optimizer.joint:
        return "line_search_fn='strong_wolfe' finds a step by itself."
    if lr is None and not math.isfinite(solver.loss.curvature):
        return "scale the columns, or lower lr."
    if lr is None:
        return "scale the columns, or use lr='auto'."
    return f"lr up to {lr:.6g} is stable on this data, and lr='auto' finds a step by itself."


def _usable_lr(problem: Problem, solver: Any) -> float | None:
    """A stable learning rate worth naming; it costs up to a hundred passes to find."""
    settings = solver.settings
    if settings.optimizer.joint:
        return None  # steps of its own length
    lr = largest_stable_lr(solver.source, solver.loss, settings, problem.batch)
    if lr is not None:
        lr *= momentum_share(settings.optimizer, problem.batch)
    return lr if lr is not None and 0 < lr < math.inf else None
