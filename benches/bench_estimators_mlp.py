"""scikit-learn's networks: MLPClassifier and MLPRegressor beside fastgd's of the same names."""

import estimator_networks  # noqa: F401 - who enters there
import pytest
import race
from estimator_networks import EstimatorNetwork
from providers import contestants

WORKLOADS = {
    work.name: work
    for work in (
        EstimatorNetwork("digits"),
        EstimatorNetwork("digits", batch_size=32),
        EstimatorNetwork("digits", batch_size=1797),
        EstimatorNetwork("digits", solver="sgd", activation="logistic"),
        EstimatorNetwork("digits", solver="lbfgs", epochs=50),
        EstimatorNetwork("digits", early_stopping=True),
        EstimatorNetwork("digits", targets=True, hidden=(64, 32), activation="tanh"),
        EstimatorNetwork("MNIST"),
        EstimatorNetwork("MNIST", dtype="float32"),
        EstimatorNetwork("MNIST", batch_size=32),
        EstimatorNetwork("MNIST", batch_size=5000),
        EstimatorNetwork("MNIST", solver="sgd", activation="logistic", batch_size=64),
        EstimatorNetwork("MNIST", hidden=(512, 256), epochs=3),
        EstimatorNetwork("MNIST", solver="lbfgs", epochs=20),
    )
}


@pytest.mark.parametrize(
    ("workload", "contestant"), [(n, c) for n, w in WORKLOADS.items() for c in contestants(w)]
)
def test_estimator(benchmark, workload, contestant):
    race.run(
        benchmark,
        WORKLOADS[workload],
        contestant,
        limits=(7, 6.0),
        table="estimators",
    )
