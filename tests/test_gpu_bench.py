"""The command for GPU machines, as far as it goes without one: budget, race, table and record."""

import json
import sys

import cuda_race
import cuda_workloads
import gpu
import numpy as np
import pytest
from cuda_workloads import Goal, Work

torch = pytest.importorskip("torch")


class FakeClock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_budget_is_spent_by_the_clock_and_shared():
    clock = FakeClock()
    budget = cuda_race.Budget(60, clock)
    part = budget.part(0.25)
    assert (budget.left(), part.left()) == (60, 15)
    clock.now += 20
    assert (budget.left(), part.left()) == (40, 0)


def test_short_calls_are_timed_together():
    calls = []
    fake = cuda_race.several(lambda: calls.append(1), 1e-3, lambda call: call() or 0.06)
    assert (len(calls), fake) == (20, pytest.approx(0.003))


def textbook(work, x, y):
    x, y = (cuda_workloads.on_host(a) for a in (x, y))
    x, y = np.column_stack([x, np.ones(work.n)]), y.reshape(work.n, -1)
    w = np.zeros((work.d + 1, work.k))
    for _ in range(work.epochs):
        z = x @ w
        slope = (1 / (1 + np.exp(-z)) if work.logistic else z) - y
        w -= work.step * x.T @ slope
    return w.T


RIVALS = ("torch eager", "torch.optim.SGD")


@pytest.mark.parametrize("model", ["linear", "logistic"])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rivals_descend_as_the_textbook_does(model, k, order):
    work = Work(model, 50, 4, 6, k=k, dtype="float64", order=order)
    x, y = cuda_workloads.data(work, "cpu")
    assert x.is_contiguous() == (order == "C")
    wanted = textbook(work, x, y)
    for name in RIVALS:
        call = cuda_workloads.CONTESTANTS[name].make(work, x, y)
        for _ in range(2):  # from zero every time
            found = cuda_workloads.parameters(work, call())
            np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_a_race_on_the_host():
    """fastgd's loop can't be there, and its failure does not end the race."""
    work = Work("linear", 50, 4, 6, only=("fastgd", *RIVALS, "CuPy"), goals=cuda_workloads._EPOCH)
    measured = {"read_GBps": 10.0, "copy_GBps": 20.0}
    told = []
    result = cuda_race.hold(work, cuda_race.by_the_wall, measured, told.append, "cpu")
    assert set(result["seconds"]) == set(RIVALS)
    assert {"fastgd", "CuPy"} <= set(result["failed"]) | set(result["seconds"])
    assert result["deviation"]["torch.optim.SGD"] < 1e-5
    of = result["of_read"]["torch eager"]
    assert of == pytest.approx(2 * result["of_copy"]["torch eager"])
    assert of == pytest.approx(work.bytes / result["seconds"]["torch eager"] / 10e9)
    assert [row["met"] for row in cuda_race.figures(work, result)] == [None, None, None]
    json.dumps(result)


def test_iterates_are_compared_with_torch():
    work = Work("logistic", 60, 3, 10, dtype="float64", agreement=True)
    result = cuda_race.hold(work, cuda_race.by_the_wall, {}, print, "cpu")
    assert result["deviation"]["fastgd"] < 1e-12


RESULT = {
    "bytes": 100,
    "seconds": {"fastgd": 0.001, "torch eager": 0.0025, "torch graph": 0.004},
    "rounds": {"fastgd": 7, "torch eager": 7, "torch graph": 7},
    "GBps": {"fastgd": 2500.123456, "torch eager": 1000.0, "torch graph": 600.0},
    "of_read": {"fastgd": 0.85, "torch eager": 0.34, "torch graph": 0.2},
    "of_copy": {},
    "deviation": {"fastgd": 1e-7, "torch eager": 0.0, "torch graph": 0.0},
    "passes": {"fastgd": 51},
    "failed": {"CuPy": "cupy not installed"},
}


def test_figures_are_judged():
    goals = (
        Goal("fastgd", "of_read", 0.8),
        Goal("fastgd", "x torch eager", 3),
        Goal("fastgd", "x torch.compile", 1.3),
        Goal("fastgd", "passes", 51, at_most=True),
    )
    work = Work("linear", 10, 2, 5, goals=goals)
    found = cuda_race.figures(work, RESULT)
    assert [row["met"] for row in found] == [True, False, None, True]
    assert found[1]["found"] == pytest.approx(2.5)
    text = gpu.table_of_figures(found)
    assert "x torch eager 2.5, wanted at least 3: NOT MET" in text
    assert "passes 51, wanted at most 51: met" in text
    assert cuda_race.figures(work, {"ended": "it crashed"})[0]["met"] is None


def test_the_table_shows_everyone():
    text = gpu.table({"a work": RESULT, "another": {"skipped": "no time was left"}})
    assert "85 % of read" in text
    assert "2.50x" in text
    assert "51 passes" in text
    assert "cupy not installed" in text
    assert "no time was left" in text


def test_the_record_is_written_after_every_step(tmp_path):
    work = cuda_workloads.WORKS[4]
    path = tmp_path / "deep" / f"{gpu.slug('NVIDIA H100 80GB HBM3')}.json"
    assert path.name == "nvidia-h100-80gb-hbm3.json"
    record = gpu.Record(path, {"device": "x", "versions": {"numpy": "2"}}, {work.name: work})
    record.add()
    record.add_benches({"read_GBps": 3000.4567}, {work.name: RESULT})
    kept = json.loads(path.read_text())
    assert kept["read_GBps"] == 3000
    assert kept["workloads"][work.name]["GBps"]["fastgd"] == 2500
    assert [row["met"] for row in kept["figures"]] == [True, True, None]


def test_names_of_works_differ_and_quick_ones_are_small():
    assert len(cuda_workloads.works()) == len(cuda_workloads.WORKS)
    quick = cuda_workloads.works(quick=True).values()
    assert max(w.x_bytes for w in quick) < 1e8
    assert not any(w.goals for w in quick)


# --- processes ------------------------------------------------------------------------------------

PYTEST = """\
tests/cuda/test_a.py::test_one[float32] PASSED                           [ 25%]
tests/cuda/test_a.py::test_two[a b] FAILED                               [ 50%]
tests/cuda/test_a.py::test_three SKIPPED (there is one GPU)              [ 75%]
tests/cuda/test_a.py::test_four ERROR                                    [100%]
"""


def test_outcomes_are_counted():
    assert gpu.counted(PYTEST) == {"passed": 1, "failed": 2, "skipped": 1}
    unreadable = "ERROR collecting tests/cuda/test_a.py\nE   ImportError: no"
    assert gpu.counted(unreadable)["failed"] == 1


def test_tests_run_side_by_side_until_the_time_is_over(capfd):
    says = [sys.executable, "-c", f"print({PYTEST!r})", "-k", "half", "a"]
    hangs = [sys.executable, "-c", "import time; time.sleep(60)", "-k", "half", "b"]
    crashes = [sys.executable, "-c", "import os; os.abort()", "-k", "half", "c"]
    total = gpu.run_tests([says, hangs, crashes], {}, cuda_race.Budget(3), 3)
    assert total == {"passed": 1, "failed": 3, "skipped": 1, "unfinished": ["b (half)"]}
    assert "there is one GPU" in capfd.readouterr().out


def benches_with(monkeypatch, child, budget=60):
    monkeypatch.setattr(gpu, "child", child)
    saved = []
    names = ["good", "bad", "later"]
    found = gpu.run_benches(
        names, False, {}, cuda_race.Budget(budget), lambda *now: saved.append(now)
    )
    return found, saved


def test_a_work_that_ends_the_process_does_not_end_the_others(monkeypatch):
    def child(job, names, env, patience):
        yield {"measured": {"read_GBps": 1.0}}
        for name in names:
            if name == "bad":
                yield {"ended": "it ended with exit code -11"}
                return
            yield {"work": name, "result": {"seconds": {}}}
        yield {"ended": None}

    found, saved = benches_with(monkeypatch, child)
    assert found == {
        "good": {"seconds": {}}, "bad": {"ended": "it ended with exit code -11"},
        "later": {"seconds": {}},
    }  # fmt: skip
    assert saved[-1] == ({"read_GBps": 1.0}, found)


def test_benches_that_never_start_come_to_an_end(monkeypatch):
    def child(job, names, env, patience):
        yield {"ended": "it ended with exit code 1"}

    found, _ = benches_with(monkeypatch, child)
    assert set(found) == {"good", "bad", "later"}


def test_no_work_is_begun_without_time(monkeypatch):
    found, _ = benches_with(monkeypatch, lambda *_: pytest.fail("begun"), budget=5)
    assert all(result == {"skipped": "no time was left"} for result in found.values())


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    def child(job, options, env, patience):
        yield {"missing": "there is no driver."} if job == "info" else {"failures": 2}
        yield {"ended": None}

    monkeypatch.setattr(gpu, "child", child)
    monkeypatch.setattr(gpu, "driver_of_nvidia", lambda: [])
    assert gpu.main([]) == gpu.NO_GPU
    told = capsys.readouterr().out
    assert "there is no driver." in told
    assert "2 kernels did not compile" in told


def test_with_a_gpu_everything_is_recorded(monkeypatch, capsys, tmp_path):
    def child(job, options, env, patience):
        assert env["NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS"] == "0"
        if job == "info":
            yield {"missing": None, "device": "NVIDIA H100", "capability": "9.0"}
        else:
            assert options.pop(0) == "--quick"
            yield {"measured": {"read_GBps": 3000.0, "copy_GBps": 2800.0}}
            for name in options:
                yield {"work": name, "result": RESULT}
        yield {"ended": None}

    says = [sys.executable, "-c", f"print({PYTEST!r})", "-k", "half", "a"]
    monkeypatch.setattr(gpu, "child", child)
    monkeypatch.setattr(gpu, "commands_of_tests", lambda: [says])
    monkeypatch.setattr(gpu, "driver_of_nvidia", lambda: ["NVIDIA H100, 580.1, 80 GiB"])
    path = tmp_path / "record.json"
    assert gpu.main(["--quick", "--out", str(path)]) == 1  # as a test has failed
    kept = json.loads(path.read_text())
    assert (kept["device"], kept["driver"]) == ("NVIDIA H100", "580.1")
    assert kept["tests"] == {"passed": 1, "failed": 2, "skipped": 1, "unfinished": []}
    assert kept["workloads"].keys() == cuda_workloads.works(quick=True).keys()
    assert kept["versions"]["numpy"] == np.__version__
    assert "torch eager" in capsys.readouterr().out


def test_libnvvm_is_looked_for_where_toolkits_lie(monkeypatch):
    asked = []

    def info(env):
        asked.append(env.get("CUDA_HOME"))
        return {"missing": None if asked[-1] else "CUDA needs the compiler library libnvvm: …"}

    monkeypatch.setattr(gpu, "_info", info)
    monkeypatch.setattr(gpu.pathlib.Path, "exists", lambda self: True)
    env = {}
    assert gpu.examined(env)["missing"] is None
    assert asked == [None, "/usr/local/cuda"]
    assert env == {"CUDA_HOME": "/usr/local/cuda"}


def test_a_child_hands_results_over():
    """One that fails at once: there is no such work."""
    *_, last = gpu.child("bench", ["no such work"], gpu.environment() | {"CUDA_VISIBLE_DEVICES": ""},
                         lambda: 120.0)  # fmt: skip
    assert "exit code" in last["ended"]
