"""One cost and gradient of a million rows, and the cost at a thousand coefficients."""

import cost_curve  # noqa: F401 - who enters there
import pytest
import race
from providers import contestants
from workloads import Workload, workloads

WORKLOADS = workloads(
    *(
        Workload(model, 1_000_000, 32, dtype)
        for dtype in ("float32", "float64")
        for model in ("linear", "logistic")
    ),
    *(Workload(model, 1_000_000, points=1000) for model in ("linear", "logistic")),
)


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_cost(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant)
