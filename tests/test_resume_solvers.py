"""The state of a solver: a new one goes on from it to the same bits, whatever the loop."""

import io

import every_solver
import numpy as np
import pytest
from every_solver import SOLVERS

import fastgd
from fastgd.settings import RUNNING, STOPPED
from fastgd.solvers.automatic import AutomaticSolver
from fastgd.sources.dense import DenseRows

#: Rows in C order are visited in place, others are gathered.
LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "strided": lambda x: x[::-1][::-1]}
#: Solvers that ask their source for more than passes.
BY_LAYOUT = [name for name in SOLVERS if "batch" in name or "per-sample" in name]


@pytest.fixture(autouse=True)
def _quiet():
    """Fits ignore what overflows, too: without the JIT these are NumPy's numbers."""
    with np.errstate(all="ignore"):
        yield


def saved(state):
    """The state as `numpy.load` returns it."""
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file) as arrays:  # without pickle
        return dict(arrays)


class Problem:
    """Solvers of a case, all made alike."""

    def __init__(self, name, monkeypatch, lay=np.ascontiguousarray):
        self.case = SOLVERS[name]
        for patch in self.case.patches:
            monkeypatch.setattr(*patch)
        x, y, self.weight, k = every_solver.problem(self.case.loss, self.case.n)
        self.source = DenseRows(lay(x), y, self.weight, np.float64, 1, k)

    def solver(self, start=0.1):
        return self.case.make(self.source, self.weight, start)


def assert_same(found, wanted):
    assert found.epoch == wanted.epoch
    assert found.method == wanted.method
    for name in ("coef", "intercept"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    for name in ("costs", "path"):
        a, b = (getattr(solver, name)[: wanted.epoch] for solver in (found, wanted))
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert found.cost() == wanted.cost()


def epochs_of(solver):
    """Run to the end; the epochs, and the status."""
    status = every_solver.finish(solver)
    return solver.epoch, status


@pytest.mark.parametrize(
    ("name", "lay"),
    [(name, lay) for name in SOLVERS for lay in (LAYOUTS if name in BY_LAYOUT else ["C"])],
)
def test_a_run_that_paused_ends_in_the_same_bits(name, lay, monkeypatch):
    problem = Problem(name, monkeypatch, LAYOUTS[lay])
    whole = problem.solver()
    epochs, status = epochs_of(whole)
    assert epochs > 0
    for pause in range(epochs + 1):
        first = problem.solver()
        first.run(pause)
        assert first.epoch == pause
        state = saved(first.state())
        second = problem.solver(start=-30.0)
        second.load(state)
        assert second.epoch == pause
        np.testing.assert_array_equal(second.parameters(), first.parameters())
        found_epochs, found_status = epochs_of(second)
        assert (found_epochs, found_status) == (epochs, status), pause
        assert_same(second, whole)
        epochs_of(first)  # the solver that paused goes on, too
        assert_same(first, whole)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_that_a_callback_stopped_goes_on(name, monkeypatch):
    problem = Problem(name, monkeypatch)
    whole, asked = problem.solver(), []
    epochs, status = epochs_of(whole)
    first, watched = problem.solver(), problem.solver()
    if not isinstance(first, AutomaticSolver):
        monkeypatch.setattr(type(first), "chunk", 1)
    until = every_solver.last_epoch(first)
    watched.run(until, lambda: asked.append(watched.epoch))
    # Who ends in the middle of a chunk has nothing to ask.
    assert asked in (list(range(1, epochs + 1)), list(range(1, epochs)))
    assert_same(watched, whole)
    stop = max(1, epochs // 2)
    assert first.run(until, lambda: first.epoch == stop) == STOPPED
    assert first.epoch == stop
    second = problem.solver(start=-30.0)
    second.load(saved(first.state()))
    assert epochs_of(second) == (epochs, status)
    assert_same(second, whole)


@pytest.mark.parametrize(
    "name", ["whitened, curvature at hand", "whitened, from a sample", "joint", "accelerated"]
)
def test_lr_auto_goes_on_from_its_last_step_after_an_interrupt(name, monkeypatch):
    problem = Problem(name, monkeypatch)
    whole, first = problem.solver(), problem.solver()
    epochs, status = epochs_of(whole)
    totals = DenseRows.totals

    def interrupted(*arguments, **options):
        if first.epoch == epochs // 2:
            raise KeyboardInterrupt
        return totals(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(DenseRows, "totals", interrupted)
        with pytest.raises(KeyboardInterrupt):
            epochs_of(first)
    second = problem.solver(start=-30.0)
    second.load(saved(first.state()))
    assert second.epoch == epochs // 2
    assert epochs_of(second) == (epochs, status)
    assert_same(second, whole)


@pytest.mark.parametrize("name", ["batch", "minibatch", "lbfgs"])
def test_the_way_back_is_kept(name, monkeypatch):
    problem = Problem(name, monkeypatch)
    first, second = problem.solver(), problem.solver(start=-30.0)
    first.run(4)
    first.back()
    second.load(saved(first.state()))
    going = True
    while going:
        assert second.moved == first.moved
        going = first.back()
        assert second.back() == going
        assert second.epoch == first.epoch
        np.testing.assert_array_equal(second.parameters(), first.parameters())


def test_a_state_is_a_copy(monkeypatch):
    """Neither the solver that gave it nor the one that took it changes it."""
    problem = Problem("minibatch, adam, schedule", monkeypatch)
    first, second = problem.solver(), problem.solver()
    first.run(3)
    state = first.state()
    before = {name: array.copy() for name, array in state.items()}
    first.run(6)
    second.load(state)
    second.run(6)
    for name, array in state.items():
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert_same(second, first)


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("minibatch", "batch", "solver 'StochasticDescent', and this solver of 'BatchDescent'"),
        ("whitened", "proximal", "solver 'AutomaticDescent', and this solver of 'ProximalDescent'"),
        ("batch, adam", "batch", r"shape \[90, 3, 2\], and this solver of \[90, 3, 1\]"),
        ("batch, adam", "batch, tol", r"'memory' in the state .* \(3, 2, 4\), and .* \(0, 2, 4\)"),
        ("minibatch, average", "minibatch", r"'mean' in the state .* \(2, 4\), and .* \(0, 4\)"),
    ],
)
def test_a_state_of_another_solver_is_refused(name, other, message, monkeypatch):
    first, second = Problem(name, monkeypatch).solver(), Problem(other, monkeypatch).solver()
    first.run(2)
    before = second.parameters()
    with pytest.raises(fastgd.InputError, match=message):
        second.load(first.state())
    np.testing.assert_array_equal(second.parameters(), before)
    assert second.epoch == 0


def test_a_state_of_other_rows_is_refused(monkeypatch):
    first = Problem("batch", monkeypatch).solver()
    problem = Problem("batch", monkeypatch)
    fewer, _ = problem.source.subset(1, 64)
    problem.source = DenseRows(fewer.x[:50], fewer.y[:, :50], problem.weight[:50], np.float64, 1)
    with pytest.raises(fastgd.InputError, match=r"of shape \[90, 3, 1\], and this solver of \[50"):
        problem.solver().load(first.state())


@pytest.mark.parametrize(
    "name", ["batch", "minibatch, average", "lbfgs", "whitened, logistic", "proximal, softmax"]
)
def test_parameters_put_back_have_their_cost(name, monkeypatch):
    problem = Problem(name, monkeypatch)
    first, second = problem.solver(), problem.solver()
    first.run(2)
    wanted, parameters = first.cost(), first.parameters()
    every_solver.finish(first)
    for solver in (first, second):
        solver.put(parameters, 2)
        assert solver.epoch == 2
        np.testing.assert_array_equal(solver.parameters(), parameters)
        assert solver.cost() == pytest.approx(wanted, rel=1e-13)


def test_the_status_of_a_pause(monkeypatch):
    solver = Problem("whitened, logistic", monkeypatch).solver()
    assert solver.run(1) == RUNNING
    assert solver.epoch == 1
    assert solver.run(1) == RUNNING
    assert solver.epoch == 1
