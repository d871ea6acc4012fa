"""Batch gradient descent: every epoch sees all rows, starting from three points in lists."""

import pytest
import race
from providers import contestants
from workloads import Workload, workloads

WORKLOADS = workloads(
    Workload("linear", 3, epochs=100, lr=0.01, toy=True),
    *(Workload("linear", 1_000_000, 1, dtype, 100) for dtype in ("float32", "float64")),
    *(
        Workload(model, 1_000_000, 32, dtype, 30, lr)
        for dtype in ("float32", "float64")
        for model, lr in (("linear", 0.1), ("logistic", 0.5))
    ),
    Workload("linear", 100_000, 1000, "float32", 20),
    Workload("logistic", 100_000, 1000, "float32", 20, 0.5),
    # A thousand would keep the two that come next busy for a minute and a half.
    *(
        Workload("linear", 1_000_000, 32, dtype, 300, only=("fastgd", "NumPy", "torch"))
        for dtype in ("float32", "float64")
    ),
)


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_batch(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant)
