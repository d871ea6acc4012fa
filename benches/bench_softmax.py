"""Ten classes of images: minibatches, batch descent, and down to the optimum."""

import pytest
import race
import softmax
from providers import contestants

WORKLOADS = softmax.workloads()


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_softmax(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, table="softmax")
