"""SGDClassifier and SGDRegressor beside scikit-learn's own, with equal iterates: all of `fit`."""

import corpus
import pytest
import race
from providers import contestants
from sgd_estimators import Estimator
from workloads import SMOKE

pytest.importorskip("sklearn", reason="fastgd's estimators are scikit-learn's")
FIVE = (("tol", None), ("max_iter", 5))
# The first steps of the default schedule are so long that a smooth loss makes more of rounding.
LOG_LOSS = (("loss", "log_loss"), ("learning_rate", "constant"))
L1 = (("penalty", "l1"),)
MEAN = (("average", True),)
TEXT = corpus.place().exists() and not SMOKE
ROWS = (
    Estimator("SGDRegressor", "random", FIVE, 1_000_000),
    *(Estimator("SGDClassifier", "random", more + FIVE, 1_000_000) for more in ((), LOG_LOSS)),
    Estimator("SGDClassifier", "random", LOG_LOSS + FIVE, 1_000_000, dtype="float32"),
    *(Estimator("SGDClassifier", "random", more + FIVE, 200_000) for more in (L1, MEAN)),
    Estimator("SGDClassifier", "random", (), 200_000),
    Estimator("SGDClassifier", "random", (), 500, 10),
    *(Estimator("SGDClassifier", data, LOG_LOSS + FIVE) for data in ("digits", "MNIST")),
    *(Estimator("SGDClassifier", "text", more + FIVE) for more in ((), LOG_LOSS, L1, MEAN) if TEXT),
)
WORKLOADS = {work.name: work for work in ROWS}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_sgd_estimators(benchmark, workload, contestant):
    race.run(benchmark, WORKLOADS[workload], contestant, limits=(5, 6.0), table="estimators")
