"""Lasso, generalized and robust linear models beside scikit-learn's own: all of `fit`."""

import corpus
import pytest
import race
from glm_estimators import Penalised
from providers import contestants
from workloads import SMOKE

pytest.importorskip("sklearn", reason="fastgd's estimators are scikit-learn's")
N = 100_000
WEAK, STRONG = (("alpha", 0.001),), (("alpha", 0.1),)
TEXT = corpus.place().exists() and not SMOKE
ROWS = (
    *(Penalised("Lasso", n, d, alpha) for n, d in ((N, 32), (N, 300)) for alpha in (WEAK, STRONG)),
    Penalised("Lasso", N, 32, WEAK, 1.0),
    Penalised("Lasso", 1_000_000, 32, WEAK),
    Penalised("ElasticNet", N, 32, WEAK),
    Penalised("ElasticNet", 500, 10, WEAK),
    *(Penalised("Lasso", 0, parameters=(("alpha", alpha),)) for alpha in (1e-5, 1e-4) if TEXT),
    *(
        Penalised(model, n, d, WEAK, condition)
        for model in ("PoissonRegressor", "GammaRegressor")
        for n, d, condition in ((N, 32, 10.0), (N, 32, 1.0), (1_000_000, 32, 10.0), (N, 300, 10.0))
    ),
    Penalised("TweedieRegressor", N, 32, (*WEAK, ("power", 1.5))),
    *(Penalised("HuberRegressor", N, d) for d in (32, 300)),
    Penalised("HuberRegressor", N, 32, condition=1.0),
    Penalised("QuantileRegressor", N // 10, 10, WEAK),
)
WORKLOADS = {work.name: work for work in ROWS}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_glm_estimators(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(5, 6.0), table="estimators")
