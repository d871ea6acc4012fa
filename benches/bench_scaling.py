"""Scaling curves: how the time grows with the rows, the columns, the epochs and the threads.

Few rounds for each point. `plots.py` draws them.
"""

import pytest
import race
from providers import STATISTICS, contestants
from workloads import SMOKE, THREADS, Workload, smoked

LIMITS = (3, 0.5)
#: Numbers in X where the rows become fewer as the columns become more.
SIZE = 32_000_000
BATCH = ("fastgd", "NumPy", "torch")
BY_SAMPLE = ("fastgd", "Numba loop", "scikit-learn")
ROWS = tuple(10**power for power in range(2, 8))
COLUMNS = (1, 64) if SMOKE else (1, 4, 16, 64, 256, 1024, 4096)
EPOCHS = (1, 10, 100, 1_000, 10_000)
#: Powers of two, and all that there are.
POOLS = sorted({2**p for p in range(THREADS.bit_length())} | {THREADS})


def _epochs(epochs: int) -> Workload:
    # A hundred read X for half a second.
    by_passes = BATCH if epochs <= 100 else ("fastgd",)
    return Workload("linear", 100_000, 32, "float64", epochs, only=(*by_passes, STATISTICS))


#: (axis, panel) -> place on the axis -> workload
CURVES = {
    ("n", "logistic, batch, 30 epochs"): {
        n: Workload("logistic", n, 32, "float32", 30, 0.5, only=BATCH) for n in ROWS
    },
    ("n", "linear, batch, 30 epochs"): {
        n: Workload("linear", n, 32, "float32", 30, only=BATCH) for n in ROWS
    },
    ("n", "linear, per-sample SGD, 1 epoch"): {
        n: Workload("linear", n, 32, "float64", 1, 0.1 / 33, 1, only=BY_SAMPLE) for n in ROWS[:-1]
    },
    ("d", "logistic, batch, 10 epochs"): {
        d: Workload("logistic", SIZE // d, d, "float32", 10, 0.5, only=BATCH) for d in COLUMNS
    },
    ("d", "linear, batch, 10 epochs"): {
        d: Workload("linear", SIZE // d, d, "float32", 10, only=BATCH) for d in COLUMNS
    },
    ("epochs", "linear, batch"): {epochs: _epochs(epochs) for epochs in EPOCHS},
    ("threads", "logistic, batch, 30 epochs"): {
        t: Workload("logistic", 1_000_000, 32, "float32", 30, 0.5, threads=t, only=BATCH)
        for t in POOLS
    },
}  # fmt: skip


def _points():
    """Points that share their rows next to each other, as only the last rows are kept."""
    points = [
        (axis, at, panel, smoked(work))
        for (axis, panel), curve in CURVES.items()
        for at, work in curve.items()
        if not SMOKE or at in (min(curve), max(curve))
    ]
    return sorted(points, key=lambda point: (point[0], point[1]))


@pytest.mark.parametrize(
    ("axis", "at", "panel", "workload", "contestant"),
    [
        pytest.param(axis, at, panel, work, c, id=f"{axis} {at}, {panel}, {c}")
        for axis, at, panel, work in _points()
        for c in contestants(work)
    ],
)
def test_scaling(benchmark, axis, at, panel, workload, contestant):
    group = f"scaling with {axis}, {panel}, {at}"
    told = {"table": "scaling", "axis": axis, "at": at, "panel": panel, "shape": workload.name}
    race.run(benchmark, workload, contestant, limits=LIMITS, group=group, **told)
