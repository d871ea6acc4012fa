"""One cost and gradient of a million rows."""

import pytest
import race
from providers import Workload, contestants, workloads

WORKLOADS = workloads(
    *(
        Workload(model, 1_000_000, 32, dtype)
        for dtype in ("float32", "float64")
        for model in ("linear", "logistic")
    ),
)


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_cost_and_gradient(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant)
