"""Estimators of linear models beside scikit-learn's own: all of `fit`."""

import corpus
import pytest
import race
from estimators import Linear
from providers import contestants
from workloads import SMOKE

pytest.importorskip("sklearn", reason="fastgd's estimators are scikit-learn's")
N = 100_000
WEAK, STRONG = (("alpha", 0.001),), (("alpha", 0.1),)
TEXT = corpus.place().exists() and not SMOKE
SIZES = ((20, 2), (500, 10), (5_000, 20), (N, 32), (1_000_000, 32), (100, 1_000))
ROWS = (
    *(
        Linear(model, n, d, (), condition)
        for model in ("LinearRegression", "Ridge", "LogisticRegression")
        for n, d in SIZES
        for condition in ((10.0, 1.0) if n == N else (10.0,))
    ),
    Linear("LogisticRegression", N, 32, (("max_iter", 1000),), classes=5),
    *(Linear("Lasso", n, d, alpha) for n, d in ((N, 32), (N, 300)) for alpha in (WEAK, STRONG)),
    Linear("Lasso", N, 32, WEAK, 1.0),
    Linear("Lasso", 1_000_000, 32, WEAK),
    Linear("ElasticNet", N, 32, WEAK),
    Linear("ElasticNet", 500, 10, WEAK),
    *(Linear("Lasso", 0, parameters=(("alpha", alpha),)) for alpha in (1e-5, 1e-4) if TEXT),
    *(
        Linear(model, n, d, WEAK, condition)
        for model in ("PoissonRegressor", "GammaRegressor")
        for n, d, condition in ((N, 32, 10.0), (N, 32, 1.0), (1_000_000, 32, 10.0), (N, 300, 10.0))
    ),
    Linear("TweedieRegressor", N, 32, (*WEAK, ("power", 1.5))),
    *(Linear("HuberRegressor", N, d) for d in (32, 300)),
    Linear("HuberRegressor", N, 32, condition=1.0),
    Linear("QuantileRegressor", N // 10, 10, WEAK),
)
WORKLOADS = {work.name: work for work in ROWS}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_estimators(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(5, 6.0), table="estimators")
