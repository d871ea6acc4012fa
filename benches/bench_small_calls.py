"""Calls on a few numbers: what a fit, a cost or a prediction takes beside its arithmetic."""

import pytest
import race
from providers import contestants
from small import FITS, Small

SIZES = ((20, 2), (500, 10))
MODELS = ("linear", "logistic")
WORKLOADS = {
    work.name: work
    for work in (
        *(Small("small fit", what=what) for what in FITS),
        *(Small("small optimum", model, *size) for model in MODELS for size in SIZES),
        *(Small("small cost", model, *size) for model in MODELS for size in SIZES),
        Small("one row", "linear", 20, 2),
    )
}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_small_calls(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, table="small")
