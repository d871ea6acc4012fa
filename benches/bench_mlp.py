"""Back-propagation: one hidden layer, a softmax, batches of 64."""

import network  # noqa: F401 - who enters there
import pytest
import race
from network import Network
from providers import contestants

WORKLOADS = {work.name: work for work in (Network(1), Network(5))}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_mlp(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, table="networks", limits=(9, 3.0))
