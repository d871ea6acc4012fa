"""With an l1 penalty, to the optimum: no epochs are counted, only the time until it is reached."""

import pytest
import race
from providers import contestants
from sparse_rows import Sparse
from workloads import SMOKE

N = 5_000 if SMOKE else 100_000
WORKLOADS = {w.name: w for w in (Sparse("linear", N, 200), Sparse("logistic", N, 200))}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_sparse(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(7, 3.0), table="optimum")
