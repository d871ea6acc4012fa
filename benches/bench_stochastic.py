"""Stochastic gradient descent: an update a row, in given or shuffled order, or one every 256."""

import pytest
import race
from providers import contestants
from workloads import Workload, workloads

WORKLOADS = workloads(
    Workload("linear", 3, epochs=100, lr=0.01, batch_size=1, toy=True),
    *(
        Workload(model, 500_000, d, "float64", 1, 0.1 / (d + 1), 1, shuffle)
        for d in (1, 8, 32, 128)
        for model in ("linear", "logistic")
        for shuffle in (False, True)
    ),
    Workload("logistic", 200_000, 100, "float32", 3, 0.1, 256),
)
#: The cheaper shuffle beside none: what it costs.
BLOCKS = workloads(
    *(
        Workload(
            "linear", 500_000, d, "float64", 1, 0.1 / (d + 1), 1, "block",
            only=("fastgd", "fastgd, given order"),
        )
        for d in (1, 8, 32, 128)
    ),
)  # fmt: skip


def _entries(rows):
    return [(name, c) for name, work in rows.items() for c in contestants(work)]


@pytest.mark.parametrize(("workload", "contestant"), _entries(WORKLOADS))
def test_stochastic(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant)


@pytest.mark.parametrize(("workload", "contestant"), _entries(BLOCKS))
def test_block_shuffle(benchmark, workload, contestant):
    race.run(benchmark, BLOCKS[workload], contestant, table="orders")
