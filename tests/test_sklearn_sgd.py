"""SGDClassifier and SGDRegressor beside scikit-learn's own, and beside plain Python."""

import pathlib
import pickle
import re

import numpy as np
import pytest
import scipy.sparse
import sgd_twin
from conftest import JIT_OFF
from sklearn import linear_model as genuine
from sklearn.base import clone
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastgd
from fastgd import linear_model
from fastgd.linear_model.sgd_losses import loss_of

FOR_LABELS = ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron")
FOR_NUMBERS = ("squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive")
PENALTIES = ("l2", "l1", "elasticnet", None)
SCHEDULES = ("constant", "optimal", "invscaling", "adaptive")
KINDS = {"dense": np.asarray, "sparse": scipy.sparse.csr_array}
#: What rounding may cost. Step sizes are such that it stays rounding.
CLOSE = {"rtol": 1e-9, "atol": 1e-11}

_random = np.random.default_rng(0)
N, D = 157, 7
X = 0.5 * _random.standard_normal((N, D))
X[_random.random((N, D)) < 0.4] = 0
X[[5, 70, 71]] = 0
NUMBERS = X @ _random.standard_normal(D) + 0.3 * _random.standard_normal(N)
TWO, THREE = np.where(NUMBERS > 0, "yes", "no"), np.digitize(NUMBERS, [-0.5, 0.5])
WEIGHT = _random.random(N) + 0.5
COMMON = {"alpha": 0.1, "eta0": 0.05, "random_state": 3, "tol": None, "max_iter": 4}


def both(name, x, y, sample_weight=None, **named):
    """scikit-learn's estimator and fastgd's after the same fit."""
    made = [getattr(home, name)(**(COMMON | named)) for home in (genuine, linear_model)]
    return [model.fit(x, y, sample_weight=sample_weight) for model in made]


def assert_same(theirs, ours, **close):
    close = CLOSE | close
    np.testing.assert_allclose(ours.coef_, theirs.coef_, **close)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, **close)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.coef_.dtype == theirs.coef_.dtype
    assert ours.intercept_.shape == theirs.intercept_.shape
    if not ours.average:  # means have float32 in scikit-learn's classifier of two classes
        assert ours.intercept_.dtype == theirs.intercept_.dtype
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)


def seed_of(random_state, regression=False):
    """The seed of the order of rows that an estimator draws for two classes, or for numbers."""
    random = np.random.RandomState(random_state)
    if not regression:
        random.randint(1, 2**31 - 1)
    return random.randint(2**31 - 1)


def twin(model, x, y, seed, sparse=False, **named):
    """The result of plain Python with the parameters of an estimator."""
    dense = x.toarray() if sparse else x
    options = {
        "penalty": model.penalty, "alpha": model.alpha, "l1_ratio": model.l1_ratio,
        "schedule": model.learning_rate, "eta0": model.eta0, "power_t": model.power_t,
        "fit_intercept": model.fit_intercept, "intercept_decay": 0.01 if sparse else 1.0,
        "max_iter": model.max_iter, "tol": model.tol, "patience": model.n_iter_no_change,
        "average": int(model.average),
        "touched": (lambda i: np.flatnonzero(dense[i])) if sparse else None,
    }  # fmt: skip
    loss = loss_of(model.loss, model.epsilon)
    return sgd_twin.descend(dense, y, np.ones(len(y)), loss, seed, **(options | named))


def labels(model, y):
    return np.where(y == "yes", 1.0, 0.0 if model.loss == "log_loss" else -1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("average", [False, True, 200], ids=["last", "mean", "late_mean"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", FOR_LABELS + FOR_NUMBERS)
def test_iterates_of_labels(loss, classes, weighted, penalty, schedule, average, kind):
    theirs, ours = both(
        "SGDClassifier", KINDS[kind](X), TWO if classes == 2 else THREE, WEIGHT if weighted else None,
        loss=loss, penalty=penalty, learning_rate=schedule, average=average,
    )  # fmt: skip
    assert_same(theirs, ours)
    assert (ours.classes_ == theirs.classes_).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("average", [False, True, 200], ids=["last", "mean", "late_mean"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", FOR_NUMBERS)
def test_iterates_of_numbers(loss, weighted, penalty, schedule, average, kind):
    theirs, ours = both(
        "SGDRegressor", KINDS[kind](X), NUMBERS, WEIGHT if weighted else None, loss=loss,
        penalty=penalty, learning_rate=schedule, average=average,
    )  # fmt: skip
    assert_same(theirs, ours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("schedule", ["pa1", "pa2"])
def test_passive_aggressive_steps(schedule, penalty, kind):
    same = {
        "penalty": penalty, "learning_rate": schedule, "eta0": 0.5, "average": True, "alpha": 1e-3,
    }  # fmt: skip
    assert_same(*both("SGDClassifier", KINDS[kind](X), THREE, WEIGHT, loss="hinge", **same))
    # Steps of an intercept are no projections: they would make more of rounding.
    options = {"loss": "epsilon_insensitive", "max_iter": 20, "fit_intercept": False}
    assert_same(*both("SGDRegressor", KINDS[kind](X), NUMBERS, **(same | options)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("average", [False, True], ids=["last", "mean"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["hinge", "log_loss", "squared_error", "huber"])
def test_end_of_dense_runs(loss, penalty, schedule, average):
    options = {
        "loss": loss, "penalty": penalty, "learning_rate": schedule, "average": average,
        "tol": 1e-3, "max_iter": 300, "alpha": 0.01, "eta0": 0.02,
    }  # fmt: skip
    theirs, ours = both("SGDClassifier", 0.3 * X, THREE, **options)
    assert_same(theirs, ours, rtol=1e-7)
    if loss in FOR_NUMBERS:
        assert_same(*both("SGDRegressor", 0.3 * X, NUMBERS, **options), rtol=1e-7)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("average", [False, True, 200], ids=["last", "mean", "late_mean"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("loss", ["hinge", "log_loss", "squared_error"])
def test_plain_python(loss, schedule, penalty, average, kind):
    data = KINDS[kind](X)
    named = {
        "loss": loss, "penalty": penalty, "learning_rate": schedule, "average": average, "tol": 1e-3,
        "max_iter": 40, "alpha": 0.01, "eta0": 0.02,
    }  # fmt: skip
    model = linear_model.SGDClassifier(**(COMMON | named)).fit(data, TWO)
    found = twin(model, data, labels(model, TWO), seed_of(3), sparse=kind == "sparse")
    coef, intercept, n_iter, costs = found
    np.testing.assert_allclose(model.coef_[0], coef, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.intercept_[0], intercept, rtol=1e-7, atol=1e-9)
    assert model.n_iter_ == n_iter
    np.testing.assert_allclose(model.costs_, costs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["hinge", "log_loss", "squared_hinge"])
def test_early_stopping_of_labels(loss, penalty, kind):
    data = KINDS[kind](X)
    named = {"early_stopping": True, "validation_fraction": 0.2, "tol": 1e-3, "max_iter": 100}
    model = linear_model.SGDClassifier(**(COMMON | named | {"loss": loss, "penalty": penalty}))
    model.fit(data, TWO)
    y = labels(model, TWO)
    splitter = StratifiedShuffleSplit(test_size=0.2, random_state=3)
    _, held_out = next(splitter.split(X, y))

    def score(coef, intercept):
        return np.mean((X[held_out] @ coef + intercept > 0) == (TWO[held_out] == "yes"))

    coef, intercept, n_iter, costs = twin(
        model,
        data,
        y,
        seed_of(3),
        sparse=kind == "sparse",
        skipped=set(held_out.tolist()),
        score=score,
    )
    np.testing.assert_allclose(model.coef_[0], coef, **CLOSE)
    np.testing.assert_allclose(model.intercept_[0], intercept, **CLOSE)
    np.testing.assert_allclose(model.costs_, costs, **CLOSE)
    assert model.n_iter_ == n_iter


@pytest.mark.parametrize("penalty", ["l2", None])
def test_early_stopping_of_numbers(penalty):
    named = {"early_stopping": True, "tol": 1e-4, "max_iter": 100, "learning_rate": "adaptive"}
    model = linear_model.SGDRegressor(**(COMMON | named | {"penalty": penalty})).fit(X, NUMBERS)
    _, held_out = next(ShuffleSplit(test_size=0.1, random_state=3).split(X))

    def score(coef, intercept):
        r = NUMBERS[held_out] - (X[held_out] @ coef + intercept)
        return 1 - r @ r / np.sum((NUMBERS[held_out] - NUMBERS[held_out].mean()) ** 2)

    skipped, seed = set(held_out.tolist()), seed_of(3, regression=True)
    coef, _, n_iter, _ = twin(model, X, NUMBERS, seed, skipped=skipped, score=score)
    np.testing.assert_allclose(model.coef_, coef, **CLOSE)
    assert model.n_iter_ == n_iter


@pytest.mark.parametrize("loss", ["hinge", "squared_error"])
def test_early_stopping_as_in_scikit_learn_where_it_has_no_fault(loss):
    named = {"early_stopping": True, "tol": 1e-3, "max_iter": 100, "penalty": "l1", "loss": loss}
    assert_same(*both("SGDClassifier", X, THREE, WEIGHT, **named))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("task", "average"),
    [("two", False), ("three", False), ("numbers", False), ("numbers", True), ("numbers", 200)],
)
def test_partial_fits(task, average, schedule, penalty, kind):
    named = COMMON | {"learning_rate": schedule, "penalty": penalty, "average": average}
    name = "SGDRegressor" if task == "numbers" else "SGDClassifier"
    theirs, ours = (getattr(home, name)(**named) for home in (genuine, linear_model))
    y = {"two": TWO, "three": THREE, "numbers": NUMBERS}[task]
    first = {} if task == "numbers" else {"classes": np.unique(y)}
    for begin, end in ((0, 50), (50, 51), (51, 157), (0, 157)):
        for model in (theirs, ours):
            model.partial_fit(KINDS[kind](X[begin:end]), y[begin:end], **first)
        first = {}
    assert_same(theirs, ours)
    assert ours.costs_.shape == ((3, 4) if task == "three" else (4,))
    for model in (theirs, ours):
        model.fit(KINDS[kind](X), y)
    assert_same(theirs, ours)
    assert ours.costs_.shape[-1] == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_partial_fits_of_classifiers_with_a_mean_are_those_of_a_regressor(penalty, kind):
    named = COMMON | {
        "average": True,
        "penalty": penalty,
        "shuffle": False,
        "loss": "squared_error",
    }
    named["learning_rate"] = "constant"
    two, three = (linear_model.SGDClassifier(**named) for _ in range(2))
    numbers = [genuine.SGDRegressor(**named) for _ in range(4)]
    for begin, end in ((0, 50), (50, 51), (51, 157)):
        x = KINDS[kind](X[begin:end])
        two.partial_fit(x, TWO[begin:end], classes=["no", "yes"])
        three.partial_fit(x, THREE[begin:end], classes=[0, 1, 2])
        numbers[0].partial_fit(x, np.where(TWO[begin:end] == "yes", 1.0, -1.0))
        for label, model in enumerate(numbers[1:]):
            model.partial_fit(x, np.where(THREE[begin:end] == label, 1.0, -1.0))
    coef = np.array([model.coef_ for model in numbers])
    intercept = np.array([model.intercept_[0] for model in numbers])
    np.testing.assert_allclose(np.vstack((two.coef_, three.coef_)), coef, **CLOSE)
    np.testing.assert_allclose(np.append(two.intercept_, three.intercept_), intercept, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("average", [False, True], ids=["last", "mean"])
def test_single_precision(loss, penalty, average, kind):
    named = {"loss": loss, "penalty": penalty, "average": average, "learning_rate": "invscaling"}
    data = KINDS[kind](X.astype(np.float32))
    theirs, ours = both("SGDClassifier", data, THREE, **named)
    assert_same(theirs, ours, rtol=2e-4, atol=2e-5)
    assert ours.coef_.dtype == np.float32
    assert_same(*both("SGDClassifier", data, TWO, **named), rtol=2e-4, atol=2e-5)
    if loss in FOR_NUMBERS:
        theirs, ours = both("SGDRegressor", data, NUMBERS, **named)
        assert_same(theirs, ours, rtol=2e-4, atol=2e-5)
        assert ours.predict(data).dtype == theirs.predict(data).dtype


OPTIONS = {
    "no intercept": {"fit_intercept": False},
    "given order": {"shuffle": False},
    "other seed": {"random_state": 12},
    "balanced": {"class_weight": "balanced"},
    "weights of classes": {"class_weight": {0: 3.0, 2: 0.5}},
    "elastic": {"penalty": "elasticnet", "l1_ratio": 0.0},
    "elastic without l1_ratio": {"penalty": "l2", "l1_ratio": None},
    "no strength": {"alpha": 0.0, "learning_rate": "constant"},
    "shrunk to zero": {"alpha": 30.0, "learning_rate": "constant"},
    "shrunk far": {"alpha": 3.0, "penalty": "elasticnet", "learning_rate": "constant"},
    "shrunk far, mean": {"alpha": 3.0, "learning_rate": "constant", "average": True},
    "shrunk far, l1, mean": {
        "alpha": 3.0, "penalty": "elasticnet", "learning_rate": "constant", "average": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", OPTIONS.values(), ids=OPTIONS)
def test_options(named, kind):
    # A mean of coefficients that shrink fast is a difference of large numbers, also in scikit-learn.
    close = {"rtol": 1e-5, "atol": 1e-7} if named.get("average") else CLOSE
    assert_same(*both("SGDClassifier", KINDS[kind](X), THREE, **named), **close)


def test_a_generator_goes_on_as_in_scikit_learn():
    made = []
    for home in (genuine, linear_model):
        random = np.random.RandomState(5)
        named = COMMON | {
            "random_state": random,
            "early_stopping": True,
            "penalty": None,
            "tol": 0.01,
        }
        model = home.SGDClassifier(**(named | {"max_iter": 50}))
        made.append([model.fit(X, y).coef_ for y in (TWO, THREE)] + [random.randint(1000)])
    for theirs, ours in zip(*made, strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
def test_starts(name):
    y = NUMBERS if name == "SGDRegressor" else THREE
    shape = (D,) if name == "SGDRegressor" else (3, D)
    coef, intercept = np.full(shape, 0.5), np.full(shape[:-1] or 1, -0.25)
    theirs, ours = (
        getattr(home, name)(**COMMON, warm_start=True).fit(
            X, y, coef_init=coef.copy(), intercept_init=intercept.copy()
        )
        for home in (genuine, linear_model)
    )
    assert_same(theirs, ours)
    assert_same(theirs.fit(X, y), ours.fit(X, y))  # warm
    kept = coef.copy()
    getattr(linear_model, name)(**COMMON).fit(X, y, coef_init=coef, intercept_init=intercept)
    assert (coef == kept).all()


def test_layouts_have_the_same_bits():
    model = linear_model.SGDClassifier(**COMMON)
    wide = np.full((2 * N, 3 * D), np.nan)
    wide[::2, 1::3] = X
    expected = clone(model).fit(X, THREE).coef_
    read_only = X.copy()
    read_only.flags.writeable = False
    for x in (np.asfortranarray(X), wide[::2, 1::3], X.tolist(), read_only):
        assert (clone(model).fit(x, THREE).coef_ == expected).all()
    sparse = scipy.sparse.csr_array(X)
    expected = clone(model).fit(sparse, THREE).coef_
    for x in (sparse.tocsc(), sparse.tocoo(), scipy.sparse.csr_matrix(X), sparse.tolil()):
        assert (clone(model).fit(x, THREE).coef_ == expected).all()


def test_threads_have_the_same_bits():
    one, two = (linear_model.SGDClassifier(**COMMON, n_jobs=n).fit(X, THREE) for n in (1, 2))
    assert (one.coef_ == two.coef_).all()


@pytest.mark.parametrize("penalty", ["l2", None])
def test_sparse_rows_as_dense_rows_with_the_same_intercept(penalty):
    named = COMMON | {"penalty": penalty, "tol": 1e-3, "max_iter": 300, "alpha": 0.01}
    dense = linear_model.SGDClassifier(**named).fit(X, THREE)
    sparse = linear_model.SGDClassifier(**named, intercept_decay=1.0)
    assert_same(dense, sparse.fit(scipy.sparse.csr_array(X), THREE))
    assert_same(sparse, linear_model.SGDClassifier(**named, intercept_decay=1).fit(X, THREE))
    held = linear_model.SGDClassifier(**named, intercept_decay=0.0).fit(X, THREE)
    assert (held.intercept_ == 0).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("schedule", ["constant", "optimal", "pa1"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_messages_of_epochs_have_the_objective(penalty, schedule, capsys):
    named = COMMON | {"penalty": penalty, "learning_rate": schedule, "tol": 1e-9, "verbose": 1}
    printed = []
    for home, kind in ((genuine, "dense"), (linear_model, "dense"), (linear_model, "sparse")):
        model = home.SGDClassifier(**named)
        if kind == "sparse":
            model.set_params(intercept_decay=1.0)
        model.fit(KINDS[kind](2 * X), TWO)
        lines = [line for line in capsys.readouterr().out.splitlines() if "Objective" in line]
        printed.append([[float(n) for n in re.findall(r": (-?[0-9.]+)", line)] for line in lines])
    theirs, dense, sparse = map(np.array, printed)
    assert theirs.shape == (4, 6)
    # The norm, the first number, is in scikit-learn that before the l1 penalty.
    np.testing.assert_allclose(dense[:, 1:], theirs[:, 1:], atol=2e-6)
    if penalty in ("l2", None):  # an l1 penalty brings other columns up to date in sparse rows
        np.testing.assert_allclose(sparse, theirs, atol=2e-6)


def test_predictions():
    theirs, ours = both("SGDClassifier", X, THREE, loss="log_loss")
    assert (ours.predict(X) == theirs.predict(X)).all()
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        np.testing.assert_allclose(getattr(ours, method)(X), getattr(theirs, method)(X), **CLOSE)
    assert ours.score(X, THREE) == theirs.score(X, THREE)
    assert (ours.sparsify().predict(X) == theirs.predict(X)).all()
    theirs, ours = both("SGDRegressor", X, NUMBERS)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), **CLOSE)


def test_costs_are_the_mean_losses_met():
    model = linear_model.SGDClassifier(**COMMON, loss="log_loss", shuffle=False, penalty=None)
    model.set_params(learning_rate="constant", eta0=0.0001, max_iter=2).fit(X, TWO)
    assert model.costs_.shape == (2,)
    assert model.costs_[0] == pytest.approx(np.log(2), rel=1e-2)
    assert model.costs_[1] < model.costs_[0]
    model.partial_fit(X, TWO)
    assert model.costs_.shape == (3,)
    ends = linear_model.SGDClassifier(random_state=0, tol=0.01, max_iter=500).fit(X, THREE)
    lengths = np.isfinite(ends.costs_).sum(axis=1)
    assert ends.costs_.shape == (3, ends.n_iter_)
    assert lengths.max() == ends.n_iter_ > lengths.min()


@pytest.mark.parametrize("loss", [*FOR_LABELS, "huber", "squared_error"])
@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
def test_fit_of_labels(y, loss, tmp_path):
    model = linear_model.SGDClassifier(**COMMON, loss=loss).fit(X, y)
    fit = model.fit_
    fit.save(tmp_path / "fit.npz")
    for one in (fit, fastgd.load(tmp_path / "fit.npz"), pickle.loads(pickle.dumps(fit))):
        assert (one.predict(X) == model.predict(X)).all()
        assert one.score(X, y) == model.score(X, y)
        if y is TWO and loss in ("log_loss", "modified_huber"):
            np.testing.assert_allclose(one.predict_proba(X), model.predict_proba(X), **CLOSE)
        else:  # one class against the rest: no softmax
            with pytest.raises(AttributeError, match="no probabilities"):
                one.predict_proba(X)
    assert (fit.method, fit.n_epochs, fit.converged) == ("per-sample", 4, True)
    mean = model.costs_ if y is TWO else model.costs_.mean(axis=0)
    np.testing.assert_allclose(fit.costs, mean)
    assert fit.cost == fit.costs[-1]
    fit.coef[:] = 0
    assert model.coef_.any()


@pytest.mark.parametrize("loss", FOR_NUMBERS)
def test_fit_of_numbers(loss):
    model = linear_model.SGDRegressor(**COMMON, loss=loss, epsilon=0.3).fit(X, NUMBERS)
    fit = model.fit_
    np.testing.assert_allclose(fit.predict(X), model.predict(X), **CLOSE)
    assert fit.score(X, NUMBERS) == pytest.approx(model.score(X, NUMBERS))
    square = loss == "squared_error"
    assert (fit.loss, fit.p) == (("half squared error", 0.0) if square else (loss, 0.3))
    assert (fit.costs == model.costs_).all()
    assert isinstance(fit.intercept, float)
    assert fit.coef.shape == (D,)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_a_fit_knows_of_a_run():
    model = linear_model.SGDClassifier(random_state=0, tol=0.01, max_iter=500).fit(X, THREE)
    lengths, last = np.isfinite(model.costs_).sum(axis=1), model.costs_[:, -1]
    ended = [row[length - 1] for row, length in zip(model.costs_, lengths, strict=True)]
    assert model.fit_.cost == pytest.approx(np.mean(ended))
    assert np.isnan(last).any()
    assert model.fit_.converged
    assert not model.set_params(max_iter=2).fit(X, THREE).fit_.converged
    assert model.set_params(tol=None).fit(X, THREE).fit_.converged
    assert model.partial_fit(X, THREE).fit_.n_epochs == 3
    theirs = model.to_sklearn()
    assert not {"fit_", "_stopped", "_method"} & vars(theirs).keys()
    back = linear_model.SGDClassifier.from_sklearn(theirs)
    assert not hasattr(back, "fit_")
    assert not hasattr(linear_model.SGDRegressor(), "fit_")
    assert (model.sparsify().fit_.predict(X) == theirs.predict(X)).all()


def batches(y, slope, sample_weight, size, epochs, alpha, eta0, power_t=0.0):
    """The parameters after plain updates for so many rows each, with an l2 penalty."""
    coef, intercept, weight = np.zeros(D), 0.0, sample_weight / sample_weight.mean()
    for epoch in range(epochs):
        step = eta0 / (epoch + 1) ** power_t
        for start in range(0, N, size):
            rows = slice(start, start + size)
            slopes = weight[rows] * slope(X[rows] @ coef + intercept, y[rows])
            coef = coef - step * (slopes @ X[rows] / len(slopes) + alpha * coef)
            intercept -= step * slopes.mean()
    return coef, intercept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", ["constant", "invscaling"])
def test_batches(schedule, kind):
    options = {
        "batch_size": 16, "learning_rate": schedule, "shuffle": False, "alpha": 0.1, "eta0": 0.05,
        "tol": None, "max_iter": 4, "power_t": 0.5,
    }  # fmt: skip
    same = {"size": 16, "epochs": 4, "alpha": 0.1, "eta0": 0.05}
    same["power_t"] = 0.5 if schedule == "invscaling" else 0.0
    model = linear_model.SGDRegressor(**options).fit(KINDS[kind](X), NUMBERS, sample_weight=WEIGHT)
    coef, intercept = batches(NUMBERS, lambda z, y: z - y, WEIGHT, **same)
    np.testing.assert_allclose(model.coef_, coef, **CLOSE)
    np.testing.assert_allclose(model.intercept_, [intercept], **CLOSE)
    assert (model.n_iter_, model.fit_.method) == (4, "minibatch")
    model = linear_model.SGDClassifier(**options, loss="log_loss", class_weight={1: 3.0})
    model.fit(KINDS[kind](X), THREE)
    for c in range(3):
        weight = np.where(
            (c == 1) & (THREE == 1), 3.0, 1.0
        )  # only of its own label, as scikit-learn
        is_label = (c == THREE).astype(float)
        coef, intercept = batches(is_label, lambda z, y: 1 / (1 + np.exp(-z)) - y, weight, **same)
        np.testing.assert_allclose(model.coef_[c], coef, **CLOSE)
        np.testing.assert_allclose(model.intercept_[c], intercept, **CLOSE)
    assert (model.fit_.predict(X) == model.predict(X)).all()


def test_optimizers_are_those_of_the_general_fit():
    model = linear_model.SGDRegressor(
        "huber", epsilon=0.3, optimizer="adam", batch_size=8, alpha=0.1,
        learning_rate="constant", eta0=0.05, tol=None, max_iter=3, random_state=3,
    ).fit(X, NUMBERS)  # fmt: skip
    fit = fastgd.fit(
        X, NUMBERS, fastgd.losses.Huber(0.3), lr=0.05, epochs=3, batch_size=8, optimizer="adam",
        l2=0.1, seed=seed_of(3, regression=True),
    )  # fmt: skip
    np.testing.assert_allclose(model.coef_, fit.coef, **CLOSE)
    np.testing.assert_allclose(model.costs_, fit.costs)
    # All rows in an update: the order is no matter.
    options = {"optimizer": fastgd.Adam(), "learning_rate": "constant", "eta0": 0.1, "tol": None}
    model = linear_model.SGDClassifier("squared_hinge", **options, max_iter=50).fit(X, TWO)
    fit = fastgd.fit(X, TWO, "squared_hinge", lr=0.1, epochs=50, optimizer="adam", l2=1e-4)
    np.testing.assert_allclose(model.coef_[0], fit.coef, **CLOSE)
    assert clone(model).get_params()["optimizer"] is not None


@pytest.mark.filterwarnings("ignore:Maximum number of iteration")
@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_end_of_batches(penalty):
    options = {
        "batch_size": 16, "learning_rate": "constant", "eta0": 0.05, "alpha": 0.1, "penalty": penalty,
        "random_state": 0,
    }  # fmt: skip
    model = linear_model.SGDRegressor(**options, max_iter=200, tol=1e-3).fit(X, NUMBERS)
    least, idle = np.inf, 0
    for epochs, cost in enumerate(model.costs_, 1):
        each = linear_model.SGDRegressor(**options, max_iter=epochs, tol=None).fit(X, NUMBERS)
        size = np.abs(each.coef_).sum() if penalty == "l1" else (each.coef_**2).sum() / 2
        objective = cost + 0.1 * size
        idle, least = idle + 1 if objective > least - 1e-3 else 0, min(least, objective)
        assert (idle >= 5) == (epochs == model.n_iter_)
    np.testing.assert_allclose(each.coef_, model.coef_, rtol=1e-12)
    assert model.fit_.converged
    assert 5 < model.n_iter_ < 200
    assert not model.set_params(max_iter=3).fit(X, NUMBERS).fit_.converged


@pytest.mark.parametrize(
    "named",
    [
        {"learning_rate": "optimal"}, {"learning_rate": "adaptive"}, {"early_stopping": True},
        {"average": True}, {"verbose": 1}, {"intercept_decay": 0.5}, {"penalty": "l1"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
def test_what_batches_do_not_do(name, named):
    options = {"learning_rate": "constant", "optimizer": "adam"} | named
    with pytest.raises(NotImplementedError, match=next(iter(named))):
        getattr(linear_model, name)(**options).fit(X, THREE)


def test_partial_fit_by_batches():
    options = {"batch_size": 16, "learning_rate": "constant", "tol": None}
    whole = linear_model.SGDRegressor(**options, max_iter=3, shuffle=False).fit(X, NUMBERS)
    parts = clone(whole)
    for _ in range(3):
        parts.partial_fit(X, NUMBERS)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-12)
    assert parts.costs_.shape == (3,)
    warm = clone(whole).set_params(warm_start=True, max_iter=1)
    for _ in range(3):
        warm.fit(X, NUMBERS)
    np.testing.assert_allclose(warm.coef_, whole.coef_, rtol=1e-12)
    model, yes = linear_model.SGDClassifier(**options), TWO == "yes"
    model.partial_fit(X[yes], TWO[yes], classes=["no", "yes"])  # of one label
    assert (model.predict(X) == "yes").mean() > 0.9


@pytest.mark.parametrize("named", [{"optimizer": "adam"}, {"learning_rate": "invscaling"}], ids=str)
def test_partial_fits_that_would_forget_are_refused(named):
    options = {"learning_rate": "constant", "batch_size": 16, "tol": None, "max_iter": 2} | named
    new = linear_model.SGDRegressor(**options)
    begun = linear_model.SGDRegressor().partial_fit(X, NUMBERS).set_params(**options)
    for model in (new, begun, clone(new).fit(X, NUMBERS)):
        with pytest.raises(NotImplementedError, match="partial_fit"):
            model.partial_fit(X, NUMBERS)


@pytest.mark.jit  # plain Python warns of overflow
def test_divergence_of_batches_is_an_error_of_scikit_learn_too():
    model = linear_model.SGDRegressor(batch_size=4, learning_rate="constant", eta0=1e3, tol=None)
    with pytest.raises(fastgd.DivergenceError, match="pass an eta0 below") as caught:
        model.fit(X, NUMBERS)
    assert isinstance(caught.value, ValueError)
    assert np.isfinite(model.set_params(eta0=caught.value.stable_lr).fit(X, NUMBERS).coef_).all()


@pytest.mark.jit  # plain Python warns of overflow
@pytest.mark.parametrize("kind", KINDS)
def test_divergence_names_a_stable_step(kind):
    data = KINDS[kind](1e200 * X)
    model = linear_model.SGDRegressor(learning_rate="constant", eta0=10.0, random_state=0)
    with pytest.raises(fastgd.DivergenceError, match="overflow occurred at epoch #1") as caught:
        model.fit(data, NUMBERS)
    assert isinstance(caught.value, ValueError)
    assert caught.value.stable_lr is None  # the squared norms of such rows are infinite
    data = KINDS[kind](1e150 * X)
    with pytest.raises(fastgd.DivergenceError, match="an eta0 below") as caught:
        model.set_params(alpha=0.0).fit(data, NUMBERS)
    stable = clone(model).set_params(eta0=caught.value.stable_lr, tol=None, max_iter=20)
    stable.fit(data, NUMBERS)
    assert np.isfinite(stable.coef_).all()
    assert stable.costs_[-1] < np.mean(NUMBERS**2)


def test_sparse_arrays_that_do_not_fit_together_are_refused():
    bad = scipy.sparse.csr_array(X)
    bad.indices[3] = D
    with pytest.raises(ValueError, match="indices must be <"):
        linear_model.SGDClassifier().fit(bad, TWO)


def test_exchange_with_scikit_learn():
    for average in (False, True):
        ours = linear_model.SGDClassifier(**COMMON, average=average, intercept_decay=1.0).fit(
            X, THREE
        )
        theirs = ours.to_sklearn()
        assert type(theirs) is genuine.SGDClassifier
        assert (theirs.predict(X) == ours.predict(X)).all()
        back = linear_model.SGDClassifier.from_sklearn(theirs)
        assert (back.predict(X) == ours.predict(X)).all()
        assert back.partial_fit(X, THREE).costs_.shape == (3, 1)
    model = linear_model.SGDRegressor(**COMMON, average=True).fit(X, NUMBERS)
    assert_same(model.to_sklearn().partial_fit(X, NUMBERS), model.partial_fit(X, NUMBERS))


def test_messages_of_an_epoch(capsys):
    linear_model.SGDClassifier(**COMMON, verbose=1).fit(X, TWO)
    printed = capsys.readouterr().out
    assert printed.count("-- Epoch") == 4
    assert f"T: {4 * N}, Avg. loss: " in printed


def test_lazy_import():
    source = pathlib.Path(fastgd.__file__).with_name("__init__.py").read_text(encoding="utf-8")
    assert "linear_model" not in source


WEIGHTS_DIFFER = "A row with weight 2 is one update, and two rows are two."


BATCHES = {"batch_size": 8, "learning_rate": "constant", "eta0": 0.001, "max_iter": 20}


@pytest.mark.slow
@parametrize_with_checks(
    [
        linear_model.SGDClassifier(max_iter=5),
        linear_model.SGDRegressor(max_iter=5),
        linear_model.SGDClassifier(**BATCHES),
        linear_model.SGDRegressor(**BATCHES),
    ],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS_DIFFER,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS_DIFFER,
    },
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.skipif(JIT_OFF, reason="tests the estimators, not their kernels")
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)
