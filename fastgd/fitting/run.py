"""The run of one fit: steps of its solver, with looks at the callback, the bar and the rows held out."""

import math
from typing import Any

import numpy as np

from ..result import Fit
from ..settings import CONVERGED, NOT_FINITE, RUNNING
from ..solvers.early_stopping import Validation, resumed
from ..solvers.state import State
from . import diagnosis
from .checkpoint import Checkpoint
from .plan import plan
from .problem import Problem
from .progress import EpochBar

#: The relative rounding error of each dtype.
_EPS = {np.dtype(kind): float(np.finfo(kind).eps) for kind in (np.float32, np.float64)}


class Run:
    """One fit, from its problem to the result.

    Attributes
    ----------
    warning : str
        What the caller is to be warned of, or "".
    """

    def __init__(self, problem: Problem):
        self.problem, self.options = problem, problem.options
        self.converged = False  # until the end says otherwise
        self.stopped = False
        self.warning = ""
        self.validation: Validation | None = None
        self.solver: Any = None

    def result(self) -> Fit:
        """Run, and return what the outside sees."""
        bar: Any = self.problem.bar
        if bar is None and self.options.progress:
            bar = EpochBar(None if self.problem.automatic else self.problem.epochs)
        # What overflows is found in the results and told there; NumPy's own warnings add nothing.
        with np.errstate(all="ignore"):
            try:
                self.validation = self.problem.validation()
                self.solver = plan(self.problem)
                self._penalty_before = self.problem.penalty(self.solver.coef)
                if self.options.resume is not None:
                    self._resume(self.options.resume.state)
                status = self._run(bar)
                state = self._state() if status != NOT_FINITE else None
                end = self._end_at_optimum if self.problem.automatic else self._end_of_epochs
                found = self._so_far(end(status), state)
                if self.options.checkpoint is not None:
                    found.save(self.options.checkpoint)
                return found
            finally:
                if bar is not None:
                    bar.close()

    def _run(self, bar: Any) -> int:
        """All epochs, or as many as the solver, the callback or patience let there be; the status."""
        problem, solver, held = self.problem, self.solver, self.validation
        epochs, status = problem.epochs, RUNNING
        path = self.options.checkpoint
        checkpoint = None if path is None else Checkpoint(path)

        def after_step() -> bool:
            if not problem.representable(solver):
                return True
            if self.validation is not None:
                self._look()
            if bar is not None:
                bar.after_epoch(solver.epoch)
            if checkpoint is not None:
                checkpoint.after_step(lambda: self._so_far(state=self._state()))
            callback = self.options.callback
            if callback is not None and callback(self._so_far(state=self._state())):
                self.stopped = True
            return self.stopped

        while status == RUNNING and not (held and held.over):
            status = solver.run(min(epochs, solver.epoch + 1) if held else epochs, after_step)
            if solver.epoch >= epochs:
                break
        if not problem.representable(solver):
            return NOT_FINITE
        if held is not None and status != NOT_FINITE:
            self._look()  # an epoch that ended the run itself
        return status

    def _look(self) -> None:
        """Record the validation cost of a new epoch."""
        held, solver = self.validation, self.solver
        if held is None or solver.epoch <= held.epochs:
            return
        held.look(solver.parameters())
        if not held.finite:
            diagnosis.validation_overflow(self.problem, solver, held)

    def _end_of_epochs(self, status: int) -> float:
        """The cost that the epochs of a numeric learning rate ended with, and what to say of it."""
        problem, solver, held = self.problem, self.solver, self.validation
        if status == NOT_FINITE:
            diagnosis.diverged(problem, solver, held)
        if held and held.epochs:
            solver.put(held.best, held.epochs, held.best_epoch)
        cost = solver.cost()
        if not math.isfinite(cost):
            diagnosis.diverged(problem, solver, held)
        after = cost + problem.penalty(solver.coef)
        first = solver.first_cost(after - self._penalty_before)
        before = first + self._penalty_before
        self._judge(status, before, after, self._slack(before) + solver.noise * abs(first))
        return cost

    def _end_at_optimum(self, status: int) -> float:
        """The cost that lr="auto" ended with, and what to say of it."""
        solver = self.solver
        if status == NOT_FINITE:
            diagnosis.overflow(self.problem)
        self.converged = status == CONVERGED and solver.trouble is None
        if solver.trouble:
            self.warning = diagnosis.no_optimum(self.problem, solver.trouble, solver.null)
        elif not self.converged and not self.stopped:
            self.warning = diagnosis.short(solver.epoch, self.options.tol, solver.measure)
        return solver.final_cost

    def kept(self) -> Fit | None:
        """The fit so far when it is interrupted: with validation, the best of its epochs.

        None before the first update, and where no cost is finite.
        """
        held, solver = self.validation, self.solver
        if solver is None or not solver.moved:
            return None
        if held is not None:
            if solver.epoch and not held.epochs:
                held.look(solver.parameters())
            if held.best is not None:
                solver.put(held.best, held.epochs, held.best_epoch)
        try:
            cost = diagnosis.last_finite_cost(self.problem, solver)
        except KeyboardInterrupt:  # once more: without a pass, the last cost that is known
            return self.last_known()
        return self._so_far(cost) if math.isfinite(cost) else None

    def last_known(self) -> Fit | None:
        """The fit so far without another reading of x; None before the first epoch has ended."""
        solver = self.solver
        return self._so_far() if solver is not None and solver.epoch else None

    def _so_far(self, cost: float | None = None, state: State | None = None) -> Fit:
        return self.problem.to_fit(self.solver, cost, self.converged, self.validation, state)

    def _state(self) -> State | None:
        """What a later fit can go on from, where this one may be stopped, or was."""
        o = self.options
        if o.callback is None and o.resume is None and o.checkpoint is None:
            return None
        state = self.solver.state()
        return state if self.validation is None else state | self.validation.state()

    def _resume(self, state: State) -> None:
        """Go on from the state of the fit that the caller resumes."""
        self.solver.load(resumed(state, self.validation))

    def _slack(self, before: float) -> float:
        """What rounding may add to an objective."""
        return 8 * _EPS[self.problem.dtype] * abs(before)

    def _judge(self, status: int, before: float, after: float, slack: float) -> None:
        """Whether the run did what it was asked for, from the objective at its start and its end."""
        solver, held, tol = self.solver, self.validation, self.options.tol
        over = held is not None and held.over
        if tol is not None and status != CONVERGED and not over:
            if not self.stopped:
                self.warning = diagnosis.short(solver.epoch, tol)
        elif not (after <= before or after <= before + slack):
            epochs = held.best_epoch if held else solver.epoch
            self.warning = diagnosis.risen(self.problem, solver, before, after, epochs)
        elif held and not (over or status == CONVERGED or self.stopped):
            self.warning = diagnosis.impatient(held.best_epoch, solver.epoch, held.patience)
        else:
            self.converged = not self.stopped
