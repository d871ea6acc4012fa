"""Generalized linear models to their optimum: the time until it is reached."""

import pytest
import race
from generalized import POWERS, Generalized
from providers import contestants
from workloads import SMOKE

N = 5_000 if SMOKE else 500_000
WORKLOADS = {work.name: work for work in (Generalized(model, N, 50) for model in POWERS)}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_generalized(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(7, 3.0), table="optimum")
