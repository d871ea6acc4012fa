"""Every optimizer, two epochs of minibatches; L-BFGS on all rows."""

import optimizer  # noqa: F401 - who enters there
import pytest
import race
from optimizer import TORCH, Walk
from providers import contestants

from fastgd.optimizers import OPTIMIZERS

WORKLOADS = {work.name: work for work in map(Walk, OPTIMIZERS)}


def test_every_optimizer_has_a_rival():
    assert TORCH.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_optimizer(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, table="optimizers")
