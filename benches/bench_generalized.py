"""Generalized and robust linear models, and margins, to their optimum: the time until it is reached."""

import pytest
import race
from generalized import POWERS, Generalized
from providers import contestants
from robust import Robust
from workloads import SMOKE

N = 5_000 if SMOKE else 500_000
FEW = 1_000 if SMOKE else 10_000
WORKLOADS = {
    work.name: work
    for work in (
        *(Generalized(model, N, 50) for model in POWERS),
        Robust("huber", N // 5, 50, 1e-7),
        Robust("quantile", FEW, 20, 1e-6),
        Robust("quantile", N // 5, 20, 1e-6),
        Robust("hinge", 2 * N // 5, 50, 1e-4, l2=1e-4),
        Robust("squared_hinge", 2 * N // 5, 50, 1e-4, l2=1e-4),
    )
}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_generalized(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(7, 3.0), table="optimum")
