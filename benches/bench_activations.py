"""Activations and derivatives of a million numbers, from an array to a new one."""

import activation  # noqa: F401 - who enters there
import pytest
import race
from activation import Elementwise
from providers import contestants

from fastgd.formulas.activations import ACTIVATIONS

WORKLOADS = {
    work.name: work
    for work in (
        *(Elementwise(name, dtype) for dtype in ("float32", "float64") for name in ACTIVATIONS),
        *(
            Elementwise(name, dtype, derivative=True)
            for dtype in ("float32", "float64")
            for name in ("logistic", "tanh", "softsign")
        ),
    )
}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_activation(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, table="activations")
