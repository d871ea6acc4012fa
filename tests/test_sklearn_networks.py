"""MLPClassifier and MLPRegressor beside scikit-learn's: the same numbers after the same updates."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastgd
from fastgd.linear_model import MLPClassifier, MLPRegressor, networks_descent
from fastgd.linear_model.networks_descent import Steps

#: The epochs of most tests are few.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D = 230, 7
X = np.random.default_rng(0).standard_normal((N, D))
RAW = X @ np.random.default_rng(1).standard_normal((D, 3)) + np.sin(3 * X[:, :3])
#: Names of kinds of targets, with y and what else the estimator is told.
TARGETS = {
    "two labels": (np.where(RAW[:, 0] > 0, "yes", "no"), {}),
    "classes": (np.array(["a", "b", "c"])[RAW.argmax(axis=1)], {}),
    "several labels": ((RAW > 0).astype(int), {}),
    "one target": (RAW[:, 0], {}),
    "targets": (RAW, {}),
    "counts": (np.floor(np.exp(RAW[:, :2] / 4)), {"loss": "poisson"}),
}
LABELS = ("two labels", "classes", "several labels")
WEIGHTS = np.random.default_rng(2).uniform(0.0, 2.0, N)
#: Attributes that say how a fit went, where it has them.
HISTORY = (
    "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "n_layers_", "n_outputs_", "out_activation_", "_no_improvement_count",
)  # fmt: skip


def pair(targets, **options):
    """fastgd's estimator and scikit-learn's, and y."""
    y, more = TARGETS[targets]
    name = "MLPClassifier" if targets in LABELS else "MLPRegressor"
    options = {"hidden_layer_sizes": (9, 5), "random_state": 0, "max_iter": 6} | more | options
    ours = MLPClassifier if targets in LABELS else MLPRegressor
    return ours(**options), getattr(neural_network, name)(**options), y


def assert_same(ours, theirs, atol=1e-10, of_history=1e-9):
    """Parameters, history and the state of the optimizer."""
    for name in ("coefs_", "intercepts_"):
        assert len(getattr(ours, name)) == len(getattr(theirs, name))
        for got, wanted in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
            assert_allclose(got, wanted, atol=atol, rtol=atol)
    for name in HISTORY:
        assert hasattr(ours, name) == hasattr(theirs, name), name
        wanted = getattr(theirs, name, None)
        if wanted is None or isinstance(wanted, str | int):
            assert getattr(ours, name, None) == wanted, name
        else:
            assert_allclose(getattr(ours, name), wanted, rtol=of_history, err_msg=name)
    assert hasattr(ours, "_optimizer") == hasattr(theirs, "_optimizer")
    if hasattr(ours, "_optimizer"):
        ours, theirs = vars(ours._optimizer), vars(theirs._optimizer)
        assert ours.keys() == theirs.keys()
        for name, wanted in theirs.items():
            if isinstance(wanted, list):
                for one, other in zip(ours[name], wanted, strict=True):
                    assert_allclose(one, other, atol=atol, rtol=1e-6)
            else:
                assert ours[name] == wanted or abs(ours[name] - wanted) < 1e-12


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("batch_size", ["auto", 1, 33, 500])
@pytest.mark.parametrize("rows", ["c", "f", "csr", "csc", "float32"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 1e-4, 1.0])
def test_iterates(solver, activation, targets, batch_size, rows, weighted, alpha):
    """The same ones, whatever the rows are kept in."""
    x = {
        "c": lambda: X, "f": lambda: np.asfortranarray(X), "float32": lambda: X.astype(np.float32),
        "csr": lambda: scipy.sparse.csr_array(X * (X > 0)),
        "csc": lambda: scipy.sparse.csc_matrix(X * (X > 0)),
    }[rows]()  # fmt: skip
    ours, theirs, y = pair(
        targets, solver=solver, activation=activation, batch_size=batch_size, alpha=alpha,
        learning_rate_init=0.003,
    )  # fmt: skip
    weight = WEIGHTS if weighted else None
    with warnings.catch_warnings(action="ignore"):  # that a batch has no more rows than there are
        ours.fit(x, y, weight)
        theirs.fit(x, y, weight)
    single = rows == "float32" and solver != "lbfgs"
    # Iterations of L-BFGS multiply rounding errors.
    loose = 2e-4 if single else 1e-6 if solver == "lbfgs" else 1e-10
    assert_same(ours, theirs, loose, 1e-4 if single else 1e-6 if solver == "lbfgs" else 1e-9)
    assert_allclose(
        *(
            (m.predict_proba if targets in LABELS else m.predict)(x).astype(float)
            for m in (ours, theirs)
        ),
        atol=100 * loose,
    )


@pytest.mark.parametrize("batch_size", [130, 512, 700, 1100])
@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("hidden", [(), (300,), (4, 4, 4)])
def test_batches_of_several_blocks(batch_size, layout, hidden):
    x = np.random.default_rng(3).standard_normal((1100, 12))
    y, options = x[:, 0] * x[:, 1], {"batch_size": batch_size, "max_iter": 3, "random_state": 1}
    options |= {"hidden_layer_sizes": hidden}
    ours, theirs = MLPRegressor(**options), neural_network.MLPRegressor(**options)
    assert_same(ours.fit(layout(x), y), theirs.fit(layout(x), y))


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("nesterov", [False, True])
def test_schedules_of_sgd(schedule, momentum, nesterov):
    """Also where the learning rate changes between epochs."""
    ours, theirs, y = pair(
        "classes", solver="sgd", learning_rate=schedule, momentum=momentum, max_iter=25,
        nesterovs_momentum=nesterov, learning_rate_init=0.02, tol=0.05, n_iter_no_change=2,
    )  # fmt: skip
    assert_same(ours.fit(X, y), theirs.fit(X, y))


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_end_of_a_fit(targets, early_stopping, weighted):
    """The same rule, in the same epoch."""
    ours, theirs, y = pair(
        targets, max_iter=200, early_stopping=early_stopping, tol=1e-2, n_iter_no_change=3,
        learning_rate_init=0.01, validation_fraction=0.2,
    )  # fmt: skip
    weight = WEIGHTS if weighted else None
    assert_same(ours.fit(X, y, weight), theirs.fit(X, y, weight), 1e-8, 1e-8)
    assert ours.n_iter_ < 200


def test_given_order():
    ours, theirs, y = pair("classes", shuffle=False)
    assert_same(ours.fit(X, y), theirs.fit(X, y))
    shuffled, *_ = pair("classes")
    assert np.abs(shuffled.fit(X, y).coefs_[0] - ours.coefs_[0]).max() > 1e-6


@pytest.mark.parametrize("targets", ["two labels", "classes", "several labels"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_of_certain_predictions_are_clipped(targets, dtype):
    """As in scikit-learn, whose 1 − p has fewer digits; the gradient is not of the clipped loss."""
    x = (200 * X).astype(dtype)
    ours, theirs, y = pair(targets, activation="identity", max_iter=2, learning_rate_init=0.1)
    assert_same(ours.fit(x, y), theirs.fit(x, y), 1e-4, 2e-3 if dtype == np.float32 else 1e-4)
    assert ours.loss_curve_[0] > 3


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("targets", TARGETS)
def test_partial_fits(solver, targets):
    """After a fit too, through a pickle, and with another number of rows."""
    ours, theirs, y = pair(targets, solver=solver, learning_rate="invscaling")
    classes = {}
    if targets in LABELS:
        classes = {"classes": [0, 1, 2] if y.ndim > 1 else np.unique(y)}
    for rows in (slice(0, 50), slice(50, 51), slice(60, 200)):
        for model in (ours, theirs):
            model.partial_fit(X[rows], y[rows], **classes)
        ours, classes = pickle.loads(pickle.dumps(ours)), {}
        assert_same(ours, theirs)
    for model in (ours, theirs):
        model.fit(X, y).partial_fit(X, y, sample_weight=WEIGHTS)
    assert_same(ours, theirs)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("targets", ["classes", "targets"])
def test_warm_start(solver, targets):
    ours, theirs, y = pair(targets, solver=solver, warm_start=True)
    for _ in range(3):
        loose = {"atol": 1e-6, "of_history": 1e-6} if solver == "lbfgs" else {}
        assert_same(ours.fit(X, y), theirs.fit(X, y), **loose)
    first, *_ = pair(targets, solver=solver)
    assert ours.loss_ < first.fit(X, y).loss_


def test_another_dtype_in_a_later_call():
    """The network keeps that of its first rows."""
    ours, theirs, y = pair("one target")
    for x in (X.astype(np.float32), X):
        assert_same(ours.partial_fit(x, y), theirs.partial_fit(x, y), 1e-5, 1e-5)
    assert ours.coefs_[0].dtype == np.float32


@pytest.mark.parametrize("early_stopping", [False, True])
def test_messages(capsys, early_stopping):
    ours, theirs, y = pair(
        "classes", solver="sgd", learning_rate="adaptive", verbose=True, max_iter=60, tol=1.0,
        n_iter_no_change=1, early_stopping=early_stopping,
    )  # fmt: skip
    ours.fit(X, y)
    got = capsys.readouterr().out
    theirs.fit(X, y)
    assert got == capsys.readouterr().out
    assert got.count("Setting learning rate") > 1


def test_warnings_point_at_the_call():
    ours, _, y = pair("classes", batch_size=1000, max_iter=2)
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        ours.fit(X, y)
    assert [one.category for one in met] == [UserWarning, ConvergenceWarning]
    assert "clipped" in str(met[0].message)
    assert "Maximum iterations (2)" in str(met[1].message)
    assert {one.filename for one in met} == {__file__}


def test_refusals():
    y = TARGETS["classes"][0]
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPRegressor(solver="sgd", learning_rate_init=1e9, random_state=0).fit(X, RAW)
    with pytest.raises(ValueError, match="y has 3 output"):
        MLPRegressor().partial_fit(X, RAW[:, 0]).partial_fit(X, RAW)
    weight = np.r_[np.zeros(20), np.ones(N - 20)]
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero"):
        MLPClassifier(batch_size=10, shuffle=False).fit(X, y, weight)
    with pytest.raises(ValueError, match="does not support early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(X, y, classes=np.unique(y))
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")


def test_a_fit_that_diverges_ends_there():
    """scikit-learn makes all epochs, to raise the same error."""
    calls, original = [], Steps.epoch

    def epoch(self, *arguments):
        calls.append(1)
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steps, "epoch", epoch)
        with pytest.raises(ValueError, match="non-finite"):
            MLPRegressor(solver="sgd", learning_rate_init=1e9, max_iter=100).fit(X, RAW)
    assert len(calls) < 10


@pytest.mark.parametrize("early_stopping", [False, True])
def test_interruption(monkeypatch, early_stopping):
    """The fit is that of the epochs that ended."""
    ours, whole, y = pair("classes", early_stopping=early_stopping, max_iter=9)
    original = Steps.epoch

    def epoch(self, *arguments):
        if self.optimizer.t >= 4:
            raise KeyboardInterrupt
        return original(self, *arguments)

    whole.set_params(max_iter=2).fit(X, y)
    monkeypatch.setattr(Steps, "epoch", epoch)
    with pytest.warns(UserWarning, match="interrupted by user"):
        ours.fit(X, y)
    assert_same(ours, whole)


def test_spans_change_no_bit(monkeypatch):
    """Compiled calls end between blocks, so that Ctrl-C takes effect."""
    x = np.random.default_rng(4).standard_normal((1500, 3))
    for options in ({"batch_size": 50}, {"batch_size": 1200}):
        options |= {"random_state": 0, "max_iter": 3}
        whole = MLPRegressor(**options).fit(x, x[:, 0])
        with monkeypatch.context() as patch:
            patch.setattr(networks_descent, "_SPAN", 500_000)
            parts = MLPRegressor(**options).fit(x, x[:, 0])
        for one, other in zip(parts.coefs_, whole.coefs_, strict=True):
            assert_array_equal(one, other)
        assert parts._optimizer.t == whole._optimizer.t
        assert_allclose(parts.loss_curve_, whole.loss_curve_, rtol=1e-14)


def test_a_fit_owns_its_arrays():
    """Neither the scratch of a fit nor X stays in memory, and a pickle has the parameters alone."""
    ours, theirs, y = pair("classes")
    ours.fit(X, y)
    theirs.fit(X, y)
    assert abs(len(pickle.dumps(ours)) - len(pickle.dumps(theirs))) < 2000
    size = sum(one.size for one in [*ours.coefs_, *ours.intercepts_])
    assert all(one.base.size == size for one in [*ours.coefs_, *ours._optimizer.ms])


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("targets", ["two labels", "counts"])
def test_scikit_learns_own_object(solver, targets):
    """It predicts the same, goes on in the same way, and shares no memory with ours."""
    ours, theirs, y = pair(targets, solver=solver)
    genuine = ours.fit(X, y).to_sklearn()
    assert type(genuine) is type(theirs)
    assert_same(genuine, theirs.fit(X, y))
    assert_array_equal(genuine.predict(X), ours.predict(X))
    before = ours.coefs_[0].copy()
    assert_same(genuine.partial_fit(X, y), theirs.partial_fit(X, y))
    assert_array_equal(ours.coefs_[0], before)
    again = type(ours).from_sklearn(genuine)
    assert_same(again.partial_fit(X, y), theirs.partial_fit(X, y))
    assert np.abs(genuine.coefs_[0] - again.coefs_[0]).max() > 1e-6


@pytest.mark.parametrize("targets", [t for t in TARGETS if t != "several labels"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_fit(tmp_path, targets, solver):
    ours, _, y = pair(targets, solver=solver)
    assert not hasattr(ours, "fit_")
    fit = ours.fit(X, y).fit_
    assert isinstance(fit, fastgd.MlpFit)
    got, wanted = fit.predict(X), ours.predict(X)
    if targets in LABELS:
        assert_array_equal(got, wanted)
        assert_allclose(fit.predict_proba(X), ours.predict_proba(X), atol=1e-12)
    else:
        assert_allclose(got, wanted, rtol=1e-9)
    assert fit.costs[-1] == ours.loss_
    fit.save(tmp_path / "network.npz")
    assert_array_equal(fastgd.load(tmp_path / "network.npz").predict(X), got)


@pytest.mark.parametrize(
    ("options", "ended"),
    [
        ({"max_iter": 3}, False),
        ({"max_iter": 500, "tol": 0.1}, True),
        ({"max_iter": 3, "solver": "lbfgs"}, False),
        ({"max_iter": 3000, "solver": "lbfgs", "max_fun": 5}, False),
        ({"max_iter": 500, "solver": "lbfgs", "tol": 1e-2}, True),
    ],
)
def test_whether_a_fit_converged(options, ended):
    ours, _, y = pair("classes", **options)
    assert ours.fit(X, y).fit_.converged is ended
    genuine = ours.to_sklearn()
    assert not hasattr(genuine, "_ended")
    assert not MLPClassifier.from_sklearn(genuine).fit_.converged  # unknown


@pytest.mark.parametrize("options", [{"early_stopping": True}, {"solver": "lbfgs", "tol": 1e-6}])
def test_threads_change_no_bit(monkeypatch, options):
    from fastgd.mlp import run

    x = np.random.default_rng(5).standard_normal((1200, 90))
    options |= {"random_state": 0, "max_iter": 8, "hidden_layer_sizes": (70, 30), "batch_size": 300}
    found = []
    for threads in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(run, "default_threads", lambda n=threads: n)
            found.append(MLPRegressor(**options).fit(x, np.sin(x[:, 0])))
    assert_array_equal(found[0].coefs_[0], found[1].coefs_[0])
    assert found[0].loss_ == found[1].loss_


def test_several_labels_have_no_fit():
    ours, _, y = pair("several labels")
    with pytest.raises(AttributeError, match="one label of two or more classes"):
        _ = ours.fit(X, y).fit_


def test_pipelines_and_searches():
    y = TARGETS["classes"][0]
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__activation": ["relu", "tanh"]}
    found = []
    for kind in (MLPClassifier, neural_network.MLPClassifier):
        pipeline = make_pipeline(StandardScaler(), kind(5, max_iter=20, random_state=0))
        found.append(GridSearchCV(pipeline, grid, cv=3).fit(X, y))
    assert found[0].best_params_ == found[1].best_params_
    ours, theirs = (one.cv_results_["mean_test_score"] for one in found)
    assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.slow
@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_of_scikit_learn(estimator, check):
    check(estimator)
