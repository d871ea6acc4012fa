"""Batch descent with the losses that `bench_batch` leaves out."""

import loss  # noqa: F401 - who enters there
import pytest
import race
from loss import SLOPES, Losses
from providers import contestants

from fastgd.losses import LOSSES

WORKLOADS = {
    work.name: work
    for work in (*map(Losses, SLOPES), *(Losses(name, "float64") for name in ("huber", "poisson")))
}


def test_every_loss_has_a_bench():
    """The first two are those of `bench_batch`, the third that of `bench_softmax`."""
    assert {"mse", "bce", "cross_entropy"} | SLOPES.keys() == LOSSES.keys()


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_losses(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, table="losses")
