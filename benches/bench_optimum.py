"""Fits to the solution, or near enough: no epochs are counted, only the time until it is reached."""

import pytest
import race
from optimum import Optimum
from providers import contestants
from workloads import SMOKE

N = 5_000 if SMOKE else 500_000
WORKLOADS = {w.name: w for w in (Optimum("linear", N, 50), Optimum("logistic", N, 50, l2=1e-4))}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_optimum(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(7, 3.0), table="optimum")
