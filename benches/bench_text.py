"""Sparse rows of text: an epoch of SGD, the optima with l2 and l1, softmax, and the cost and gradient."""

import corpus
import pytest
import race
from providers import contestants
from text import Text
from workloads import SMOKE

pytest.importorskip("sklearn", reason="it hashes the text, and finds the optima to compare with")
#: Real text where it was made; then the artificial one only for what stops at no tolerance.
SOURCE = "corpus" if corpus.place().exists() and not SMOKE else "zipf"
ROWS = (
    *(Text(work, source) for source in dict.fromkeys((SOURCE, "zipf")) for work in ("cost", "SGD")),
    *(Text("logistic", SOURCE, to) for to in (1e-3, 1e-6)),
    Text("logistic", SOURCE, 1e-6, intercept=True),
    *(Text("l1 logistic", SOURCE, 1e-4, share) for share in (0.05, 0.01)),
    Text("least squares", SOURCE, 1e-6, 2.0),  # the strength of scikit-learn's default
    Text("softmax", SOURCE, 1e-3),
)
WORKLOADS = {work.name: work for work in ROWS}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_text(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(5, 3.0), table="text")
