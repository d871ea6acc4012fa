"""Ctrl-C between any two steps of Python: parameters, costs and the number of epochs belong together."""

import os
import signal
import sys

import numpy as np
import oracles
import pytest
from scipy.sparse import csr_array

import fastgd
from fastgd.cpu import advance, dense, statistics, stochastic
from fastgd.fitting import run as run_module
from fastgd.solvers import metric, work
from fastgd.solvers.stochastic import StochasticDescent
from fastgd.sources import dense as source
from fastgd.sources import sparse as sparse_source

R = np.random.default_rng(0)
X = R.standard_normal((60, 3))
Z = X @ [1.0, -2.0, 0.5] + R.logistic(size=60)
X_VAL, Y_VAL = X[:20] + 0.1, Z[:20]

linear, logistic = fastgd.fit_linear, fastgd.fit_logistic
VALIDATED = {"validation": (X_VAL, Y_VAL), "patience": 100}

#: One way to run each loop; dtype keeps small data out of the fast lane.
LOOPS = {
    "compiled": (linear, Z, {"lr": 0.01}),
    "tol": (linear, Z, {"lr": 0.01, "tol": 1e-300}),
    "validation": (linear, Z, {"lr": 0.01, **VALIDATED}),
    "parts": (linear, Z, {"lr": 0.01, "optimizer": "adam"}),
    "statistics": (linear, Z, {"lr": 0.01, "epochs": 2000}),
    "softmax": (logistic, np.digitize(Z, [-1, 1]), {"lr": 0.01}),
    "per-sample": (logistic, Z > 0, {"lr": 0.01, "batch_size": 1}),
    "minibatch": (linear, Z, {"lr": 0.01, "batch_size": 7, "shuffle": "block"}),
    "minibatch, average": (linear, Z, {"lr": 0.01, "batch_size": 7, "average": True}),
    "minibatch, validation": (linear, Z, {"lr": 0.01, "batch_size": 7, **VALIDATED}),
    "spans": (linear, Z, {"lr": 0.01, "batch_size": 7, "optimizer": "adam"}),
    "gathered": (linear, Z, {"lr": 0.01, "batch_size": 7}),
    "lbfgs": (logistic, Z > 0, {"optimizer": fastgd.LBFGS(max_iter=3), "lr": 0.5}),
    "auto": (logistic, Z > 0, {}),
    "auto, l1": (logistic, Z > 0, {"l1": 0.01}),
    "sparse, batch": (logistic, Z > 0, {"lr": 0.01}),
    "sparse, per-sample": (logistic, Z > 0, {"lr": 0.01, "batch_size": 1, "l2": 0.1}),
    "sparse, dual": (logistic, Z > 0, {"l2": 0.1}),
}  # fmt: skip
#: Loops that are no kernel's.
OF_PYTHON = ("lbfgs", "auto", "auto, l1", "sparse, dual")
#: What cuts a loop up into chunks, spans or parts, or makes it take that way.
SHORT = {
    "sparse, batch": (sparse_source, "PART_BYTES", 512), "sparse, dual": (metric, "FULL_METRIC", 2),
    "spans": (work, "CHUNK_NS", 1.0), "gathered": (work, "CHUNK_NS", 1.0),
    "parts": (source, "PART_BYTES", 512),
}  # fmt: skip
#: Where a signal may come; kernels are single steps.
FILES = tuple(
    os.path.join("fastgd", *name.split("/"))
    for name in (
        "fitting/run.py", "fitting/problem.py", "fitting/diagnosis.py", "solvers/protocol.py",
        "solvers/automatic.py", "solvers/batch.py", "solvers/stochastic.py", "solvers/early_stopping.py",
        "solvers/whitened.py", "solvers/proximal.py", "solvers/lbfgs.py", "solvers/dual.py",
    )
)  # fmt: skip
POINTS = 25

every_loop = pytest.mark.parametrize("loop", LOOPS)


def run(loop, **more):
    fit, y, options = LOOPS[loop]
    x = np.asfortranarray(X) if loop == "gathered" else X
    x = csr_array(X) if "sparse" in loop else x
    with oracles.quiet():
        return fit(x, y, **({"epochs": 6, "dtype": "float64", "keep_path": True} | options | more))


def assert_of_one_moment(loop, fit):
    """The fit is that of a call which was not interrupted, bit for bit."""
    assert np.isfinite(fit.cost)
    assert len(fit.costs) == len(fit.path) == fit.n_epochs
    if fit.n_epochs == 0:  # the end of the last span
        assert loop in ("spans", "gathered", "lbfgs")
        assert fit.coef.any()
        cost = fastgd.bce_cost if loop == "lbfgs" else fastgd.mse_cost
        assert fit.cost == pytest.approx(cost(X, LOOPS[loop][1], fit.coef, fit.intercept))
        return
    whole = run(loop, epochs=fit.n_epochs)
    for name in ("coef", "intercept", "costs", "path", "validation_costs", "best_epoch"):
        np.testing.assert_array_equal(getattr(fit, name), getattr(whole, name), err_msg=name)
    assert fit.n_epochs == whole.n_epochs
    assert fit.cost == pytest.approx(whole.cost, rel=1e-12)


class Signal:
    """An interrupt before one of the opcodes of `FILES` from the plan of a fit on, and its descent."""

    def __init__(self, monkeypatch, at):
        self.at, self.seen, self.descent, self.moved = at, 0, None, None
        plan = run_module.plan

        def planned(problem):
            self.descent = plan(problem)
            return self.descent

        monkeypatch.setattr(run_module, "plan", planned)

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and self.descent is not None:
            self.seen += 1
            if self.seen == self.at:
                self.moved = self.descent.moved
                raise KeyboardInterrupt
        return self

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)


@every_loop
def test_a_signal_before_any_opcode(monkeypatch, loop):
    if loop in SHORT:
        monkeypatch.setattr(*SHORT[loop])
    run(loop)  # compiles
    with monkeypatch.context() as patch, Signal(patch, 0) as signals:
        run(loop)
    points = np.random.default_rng(len(loop)).integers(1, signals.seen + 1, POINTS).tolist()
    for at in points:
        with (
            monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught,
            Signal(patch, at) as interrupted,
        ):  # fmt: skip
            run(loop)
        assert (caught.value.fit is not None) == interrupted.moved, at
        if interrupted.moved:
            assert_of_one_moment(loop, caught.value.fit)


@pytest.mark.jit
@pytest.mark.parametrize("loop", ["compiled", "statistics", "softmax", "per-sample", "minibatch"])
def test_a_signal_at_any_moment(loop):
    """Of a fit that goes on for ever. A timer of our own: the caller may ignore SIGINT."""
    fit, y, options = LOOPS[loop]
    options = {**options, "lr": 1e-9, "dtype": "float64"}
    run(loop)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for delay in np.random.default_rng(1).uniform(0.01, 0.1, 6):
            found = None
            while found is None:  # until it comes after the first update
                signal.setitimer(signal.ITIMER_REAL, delay)
                with pytest.raises(KeyboardInterrupt) as caught:
                    fit(X, y, **{**options, "epochs": 10**9})
                found, delay = caught.value.fit, 2 * delay
            again = fit(X, y, **{**options, "epochs": found.n_epochs})
            np.testing.assert_array_equal(found.coef, again.coef)
            np.testing.assert_array_equal(found.costs, again.costs)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop not in OF_PYTHON])
def test_a_signal_right_after_a_kernel(monkeypatch, loop):
    """The step that a signal handler follows most often: a kernel returns, and Python goes on."""
    if loop in SHORT:
        monkeypatch.setattr(*SHORT[loop])
    raised = []

    def after(kernel):
        def and_then(*arguments):
            status = kernel(*arguments)
            if status == advance.RUNNING and len(raised) < 1:
                raised.append(kernel)
                raise KeyboardInterrupt
            return status

        return and_then

    for module, name in (
        (dense, "batch_epochs"), (statistics, "statistics_epochs"), (advance, "end_of_epoch"),
        (stochastic, "stochastic_epochs"), (StochasticDescent, "_end_of_epoch"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, after(getattr(module, name)))
    with pytest.raises(KeyboardInterrupt) as caught:
        run(loop)
    assert len(raised) == 1
    assert caught.value.fit.n_epochs > 0
    assert_of_one_moment(loop, caught.value.fit)
