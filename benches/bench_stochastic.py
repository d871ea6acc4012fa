"""Stochastic gradient descent: an update a row, in given or shuffled order, or one every 256."""

import pytest
import race
from providers import Workload, contestants, workloads

WORKLOADS = workloads(
    Workload("linear", 3, epochs=100, lr=0.01, batch_size=1, toy=True),
    *(
        Workload(model, 100_000, d, "float64", 1, 0.1 / (d + 1), 1, shuffle)
        for d in (1, 8, 32, 128)
        for model in ("linear", "logistic")
        for shuffle in (False, True)
    ),
    Workload("logistic", 200_000, 100, "float32", 3, 0.1, 256),
)


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_stochastic(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant)
