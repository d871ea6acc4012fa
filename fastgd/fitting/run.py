"""The run of one fit: steps of its solver, with looks at the callback, the bar and the rows held out."""

import math
from typing import Any

import numpy as np

from ..cpu.machine.blas import one_thread
from ..result import Fit
from ..settings import CONVERGED, NOT_FINITE
from ..solvers.early_stopping import Validation
from . import diagnosis
from .plan import EPOCHS, plan
from .problem import Problem


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
        bar = self._bar() if self.options.progress else None
        # What overflows is found in the results and told there; NumPy's own warnings add nothing.
        with np.errstate(all="ignore"), one_thread():
            try:
                self.validation = self.problem.validation()
                self.solver = plan(self.problem)
                run = self._to_the_optimum if self.problem.automatic else self._all_epochs
                return run(bar)
            finally:
                if bar is not None:
                    bar.close()

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
                solver.put(held.best, held.epochs)
        try:
            cost = diagnosis.last_finite_cost(self.problem, solver)
        except KeyboardInterrupt:  # once more: without a pass, the last cost that is known
            return self._so_far() if solver.epoch else None
        return self._so_far(cost) if math.isfinite(cost) else None

    def _so_far(self, cost: float | None = None) -> Fit:
        return self.problem.to_fit(self.solver, cost, self.converged, self.validation)

    def _bar(self):
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                'progress=True needs tqdm: pip install "fastgd[progress]".'
            ) from error
        total = None if self.problem.automatic else self.options.epochs or EPOCHS
        return tqdm(total=total, unit="epoch")

    def _after(self, bar) -> bool:
        """Between chunks: show, ask the callback; True to stop."""
        if bar is not None:
            bar.update(self.solver.epoch - bar.n)
        callback = self.options.callback
        return callback is not None and bool(callback(self._so_far()))

    def _all_epochs(self, bar) -> Fit:
        """The epochs of a numeric learning rate."""
        problem, solver, held = self.problem, self.solver, self.validation
        epochs, status = self.options.epochs or EPOCHS, None
        penalty = problem.penalty(solver.coef)
        while solver.epoch < epochs:
            status = solver.run(min(epochs, solver.epoch + (1 if held else solver.chunk)))
            if not problem.representable(solver):
                status = NOT_FINITE
            if held and status != NOT_FINITE and solver.epoch > held.epochs:
                held.look(solver.parameters())
                if not held.finite:
                    diagnosis.validation_overflow(problem, solver, held)
            if status:
                break
            if self._after(bar):
                self.stopped = True
                break
            if held and held.over:
                break
        if status == NOT_FINITE:
            diagnosis.diverged(problem, solver, held)
        if held and held.epochs:
            solver.put(held.best, held.epochs)
        cost = solver.cost()
        if not math.isfinite(cost):
            diagnosis.diverged(problem, solver, held)
        before, after = solver.first_cost() + penalty, cost + problem.penalty(solver.coef)
        self._judge(status, before, after)
        return self._so_far(cost)

    def _judge(self, status: int | None, before: float, after: float) -> None:
        """Whether the run did what it was asked for, from the objective at its start and its end."""
        solver, held, tol = self.solver, self.validation, self.options.tol
        slack = 8 * float(np.finfo(self.problem.dtype).eps) * abs(before)
        over = held is not None and held.over
        if tol is not None and status != CONVERGED and not over:
            if not self.stopped:
                self.warning = diagnosis.short(solver.epoch, tol)
        elif not after <= before + slack:
            epochs = held.best_epoch if held else solver.epoch
            self.warning = diagnosis.risen(self.problem, solver, before, after, epochs)
        elif held and not (over or status == CONVERGED or self.stopped):
            self.warning = diagnosis.impatient(held.best_epoch, solver.epoch, held.patience)
        else:
            self.converged = not self.stopped

    def _to_the_optimum(self, bar) -> Fit:
        """The steps of lr="auto"."""
        solver = self.solver
        solver.run(lambda: self._after(bar))
        trouble = solver.trouble
        if trouble == "overflow":
            diagnosis.overflow(self.problem)
        self.converged = solver.converged
        if trouble:
            self.converged = False
            self.warning = diagnosis.no_optimum(self.problem, trouble, solver.null)
        elif not self.converged and not solver.stopped:
            self.warning = diagnosis.short(solver.epoch, self.options.tol)
        return self._so_far(solver.final_cost)
