"""Sparse rows of text: an epoch of SGD, the optima with l2 and l1, softmax, and the cost and gradient."""

import corpus
import pytest
import race
from providers import contestants
from text import Text
from workloads import SMOKE

pytest.importorskip("sklearn", reason="it hashes the text, and finds the optima to compare with")
SOURCES = ("corpus", "zipf") if corpus.place().exists() and not SMOKE else ("zipf",)
WORKLOADS = {
    work.name: work
    for source in SOURCES
    for work in (
        Text("cost", source),
        Text("SGD", source),
        *(Text("logistic", source, to) for to in (1e-3, 1e-6)),
        Text("logistic", source, 1e-6, intercept=True),
        *(Text("l1 logistic", source, 1e-4, share) for share in (0.05, 0.01)),
        Text("least squares", source, 1e-6),
        Text("softmax", source, 1e-3),
    )
}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_text(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(5, 3.0), table="text")
