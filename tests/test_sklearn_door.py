"""What people do with scikit-learn's estimators, with those of fastgd in their place."""

import io
import pathlib
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn import linear_model as genuine
from sklearn import neural_network
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastgd
from fastgd import datasets, linear_model
from fastgd.linear_model import LinearRegression, LogisticRegression, Ridge

ESTIMATORS = [LinearRegression, Ridge, LogisticRegression]
#: All others, with what makes their fits short.
OTHERS = {
    "Lasso": {}, "ElasticNet": {"alpha": 0.1}, "PoissonRegressor": {"max_iter": 1000},
    "GammaRegressor": {"max_iter": 1000}, "TweedieRegressor": {"power": 1.5, "max_iter": 1000},
    "HuberRegressor": {"max_iter": 1000, "alpha": 1.0}, "QuantileRegressor": {"alpha": 0.01},
    "SGDRegressor": {"max_iter": 5, "tol": None, "random_state": 0, "eta0": 1e-3},
    "SGDClassifier": {"max_iter": 5, "tol": None, "random_state": 0},
    "MLPRegressor": {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (5,)},
    "MLPClassifier": {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (5,)},
}  # fmt: skip


@pytest.fixture(scope="module")
def penguins():
    path = pathlib.Path(datasets.__file__).with_name("penguins.csv")
    frame = pd.read_csv(path)
    frame["size"] = np.where(frame["body_mass_g"] > 4200, "large", "small")
    frame.loc[3, "bill_depth_mm"] = np.nan
    return frame


@pytest.fixture(scope="module")
def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(x), y


def fitted(kind):
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    return kind().fit(x, y > 140 if kind is LogisticRegression else y), x


# --- the same models --------------------------------------------------------------------------------


def columns(numbers):
    names = ["flipper_length_mm", "bill_length_mm", "bill_depth_mm"]
    return ColumnTransformer(
        [("numbers", make_pipeline(SimpleImputer(), numbers), names), ("size", OneHotEncoder(), ["size"])]
    )  # fmt: skip


def test_pipeline_of_a_frame(penguins):
    models = [
        make_pipeline(columns(StandardScaler()), home.LogisticRegression(tol=1e-8, C=10.0))
        for home in (linear_model, genuine)
    ]
    ours, theirs = (model.fit(penguins, penguins["sex"]) for model in models)
    np.testing.assert_allclose(
        ours.predict_proba(penguins), theirs.predict_proba(penguins), atol=1e-6
    )
    assert ours.score(penguins, penguins["sex"]) == theirs.score(penguins, penguins["sex"])


def test_pipeline_of_raw_columns_needs_no_scaling(penguins):
    model = make_pipeline(
        columns("passthrough"), LogisticRegression(C=np.inf, max_iter=1000, tol=1e-6)
    )
    with pytest.warns(ConvergenceWarning, match="dependent"):
        model.fit(penguins, penguins["sex"])
    # `size` has a column for each value, and with the intercept they are dependent.
    assert model.score(penguins, penguins["sex"]) > 0.85


def test_singular_values_of_weighted_rows():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((4_000, 3)), rng.uniform(0, 5, 4_000)
    found, wanted = (
        home.LinearRegression().fit(x, x[:, 0], weight) for home in (linear_model, genuine)
    )
    assert found.fit_.method != "lstsq"
    np.testing.assert_allclose(found.singular_, wanted.singular_, rtol=1e-9)


def test_grid_search_in_two_processes(cancer):
    found = [
        GridSearchCV(home.LogisticRegression(tol=1e-8, max_iter=1000), {"C": [0.01, 0.1, 1.0]}, n_jobs=2)
        .fit(*cancer)
        for home in (linear_model, genuine)
    ]  # fmt: skip
    ours, theirs = found
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-12
    )


def test_cross_validation_with_weights(cancer):
    x, y = cancer
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    scores = [
        cross_val_score(home.Ridge(), x, y, params={"sample_weight": weight})
        for home in (linear_model, genuine)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-9)


@pytest.mark.parametrize("home", [linear_model, genuine])
def test_metadata_routing(home, cancer):
    x, y = cancer
    weight = np.where(y == 1, 5.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = home.LogisticRegression().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=False)
        weighted = cross_validate(
            model, x, y, params={"sample_weight": weight}, return_estimator=True
        )
    plain = cross_validate(home.LogisticRegression(), x, y, return_estimator=True)
    ends = [result["estimator"][0].intercept_ for result in (weighted, plain)]
    assert abs(ends[0] - ends[1]) > 0.1


def test_calibration_and_one_against_the_rest(cancer):
    x, y = (array[:400] for array in load_digits(return_X_y=True))
    for wrap in (CalibratedClassifierCV, OneVsRestClassifier):
        ours, theirs = (
            wrap(home.LogisticRegression(C=0.01, tol=1e-7, max_iter=1000)).fit(x / 16, y)
            for home in (linear_model, genuine)
        )
        np.testing.assert_allclose(
            ours.predict_proba(x / 16), theirs.predict_proba(x / 16), atol=1e-4
        )


def test_inspection_selection_and_transformed_targets(cancer):
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    models = [home.Ridge(alpha=0.1).fit(x, y) for home in (linear_model, genuine)]
    importances = [permutation_importance(m, x, y, random_state=0).importances for m in models]
    np.testing.assert_allclose(*importances, rtol=1e-7)
    kept = [
        SelectFromModel(home.Ridge()).fit(x, y).get_support() for home in (linear_model, genuine)
    ]
    assert kept[0].tolist() == kept[1].tolist()
    logs = [
        TransformedTargetRegressor(home.LinearRegression(), func=np.log, inverse_func=np.exp)
        for home in (linear_model, genuine)
    ]
    np.testing.assert_allclose(*(m.fit(x, y).predict(x) for m in logs), rtol=1e-9)


def test_set_output_and_names(penguins):
    scaled = StandardScaler().set_output(transform="pandas")
    frame = penguins[["flipper_length_mm", "bill_length_mm"]]
    model = make_pipeline(scaled, LogisticRegression()).fit(frame, penguins["sex"])
    assert model[-1].feature_names_in_.tolist() == ["flipper_length_mm", "bill_length_mm"]
    assert model[-1].fit_.feature_names == ("flipper_length_mm", "bill_length_mm")
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(model[0].transform(frame)[["bill_length_mm", "flipper_length_mm"]])


# --- what an estimator is ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_fit_is_there(kind):
    model, x = fitted(kind)
    assert isinstance(model.fit_, fastgd.Fit)
    raw = model.decision_function(x) if is_classifier(model) else model.predict(x)
    of_fit = model.fit_.predict(x)
    if is_classifier(model):
        assert (model.predict(x) == of_fit).all()
        np.testing.assert_allclose(model.fit_.predict_proba(x)[:, 1], 1 / (1 + np.exp(-raw)))
    else:
        assert is_regressor(model)
        np.testing.assert_allclose(raw, of_fit, rtol=1e-9)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_pickle_joblib_and_clone(kind):
    model, x = fitted(kind)
    kept = io.BytesIO()
    joblib.dump(model, kept)
    kept.seek(0)
    for copied in (pickle.loads(pickle.dumps(model)), joblib.load(kept)):
        assert np.array_equal(copied.predict(x), model.predict(x))
        assert np.array_equal(copied.fit_.coef, model.fit_.coef)
    with pytest.raises(NotFittedError):
        clone(model).predict(x)
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_parameters_are_those_of_scikit_learn(kind):
    own = getattr(genuine, kind.__name__)
    assert list(kind().get_params()) == list(own().get_params())
    assert kind().get_params() == own().get_params()
    assert repr(kind()) == repr(own())


# --- to scikit-learn's own objects and back -----------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_to_scikit_learn_and_back(kind):
    model, x = fitted(kind)
    own = model.to_sklearn()
    assert type(own) is getattr(genuine, kind.__name__)
    assert not hasattr(own, "fit_")
    assert own.get_params() == model.get_params()
    assert np.array_equal(own.predict(x), model.predict(x))
    assert own.feature_names_in_.tolist() == list(x.columns)
    back = kind.from_sklearn(own)
    assert np.array_equal(back.predict(x), model.predict(x))
    with pytest.raises(fastgd.InputError, match="takes sklearn"):
        kind.from_sklearn(model)
    with pytest.raises(NotFittedError):
        kind().to_sklearn().predict(x)


def test_what_is_sent_to_a_server_needs_no_fastgd(tmp_path):
    model, x = fitted(LogisticRegression)
    (tmp_path / "model").write_bytes(pickle.dumps((model.to_sklearn(), x, model.predict(x))))
    code = (
        "import pickle, sys; model, x, expected = pickle.load(open('model', 'rb'));"
        "assert (model.predict(x) == expected).all(); assert 'fastgd' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=100)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.filterwarnings("ignore")  # of onnx and skl2onnx
def test_onnx(kind):
    onnx = pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    model, x = fitted(kind)
    low = x.to_numpy(np.float32)
    converted = onnx.to_onnx(
        model.to_sklearn(), low[:1], options={"zipmap": False} if is_classifier(model) else None
    )
    found = runtime.InferenceSession(converted.SerializeToString()).run(None, {"X": low})[-1]
    expected = model.predict_proba(x) if is_classifier(model) else model.predict(x)[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_skops_trusts_it(kind, tmp_path):
    skops = pytest.importorskip("skops.io")
    model, x = fitted(kind)
    skops.dump(model.to_sklearn(), tmp_path / "model.skops")
    assert skops.get_untrusted_types(file=tmp_path / "model.skops") == []
    assert np.array_equal(skops.load(tmp_path / "model.skops").predict(x), model.predict(x))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore")  # of onnx and skl2onnx, and of fits cut short
def test_every_other_estimator_is_kept_and_sent(name, tmp_path):
    kind, own = (
        getattr(linear_model, name),
        (getattr(genuine, name, None) or getattr(neural_network, name)),
    )
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    x = x * 20
    model = kind(**OTHERS[name])
    y = y > 140 if is_classifier(model) else y
    model.fit(x, y)
    copied = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copied.predict(x), model.predict(x))
    sent = model.to_sklearn()
    assert type(sent) is own
    assert not hasattr(sent, "fit_")
    assert np.array_equal(sent.predict(x), model.predict(x))
    assert np.array_equal(kind.from_sklearn(sent).predict(x), model.predict(x))
    onnx, runtime = pytest.importorskip("skl2onnx"), pytest.importorskip("onnxruntime")
    low = x.to_numpy(np.float32)
    options = {"zipmap": False} if is_classifier(model) else None
    converted = onnx.to_onnx(sent, low[:1], options=options).SerializeToString()
    found = runtime.InferenceSession(converted).run(None, {"X": low})
    if is_classifier(model):
        assert (found[0] == model.predict(x)).mean() > 0.995
    else:
        np.testing.assert_allclose(found[0].ravel(), model.predict(x), rtol=2e-5, atol=2e-5)


# --- errors, and what is not done ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LinearRegression, Ridge])
def test_positive_is_refused(kind):
    with pytest.raises(NotImplementedError, match="positive=True"):
        kind(positive=True).fit([[1.0], [2.0]], [1.0, 2.0])


def test_importing_fastgd_imports_no_scikit_learn():
    code = (
        "import sys, fastgd, fastgd.linear_model; assert 'sklearn' not in sys.modules;"
        "fastgd.linear_model.Ridge; assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_without_scikit_learn_a_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(linear_model.__dict__, "Lasso", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'fastgd\[sklearn\]'"):
        linear_model.Lasso  # noqa: B018
    with pytest.raises(AttributeError, match="Lassso"):
        linear_model.Lassso  # noqa: B018


@pytest.mark.parametrize("made", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_what_is_not_finite_is_refused_in_scikit_learns_words(kind, bad, made, cancer):
    x, y = cancer[0].copy(), cancer[1]
    x[7, 2] = bad
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        kind().fit(made(x), y)


def test_logistic_regression_says_what_did_not_converge(cancer):
    x, y = cancer
    with pytest.warns(ConvergenceWarning, match="LogisticRegression did not converge") as told:
        LogisticRegression(max_iter=1).fit(x, y)
    assert told[0].filename == __file__
    with pytest.warns(ConvergenceWarning, match="separable"):
        LogisticRegression(C=np.inf, max_iter=1000).fit(x[:30], y[:30])


def test_liblinear_penalises_the_intercept(cancer):
    x, y = cancer
    for scaling in (1.0, 10.0):
        how = dict(solver="liblinear", intercept_scaling=scaling, tol=1e-10, max_iter=10_000)
        ours, theirs = (
            home.LogisticRegression(**how).fit(x, y) for home in (linear_model, genuine)
        )
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-5)


def test_warm_start_takes_fewer_epochs(cancer):
    model = LogisticRegression(warm_start=True, tol=1e-8).fit(*cancer)
    first = model.n_iter_[0]
    assert model.set_params(C=0.9).fit(*cancer).n_iter_[0] < first


# --- data of all kinds --------------------------------------------------------------------------------

KINDS = {
    "int8": lambda x: (x * 20).astype(np.int8),
    "bool": lambda x: x > 0,
    "float16": lambda x: x.astype(np.float16),
    "float32": lambda x: x.astype(np.float32),
    "longdouble": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f8"),
    "objects": lambda x: x.astype(object),
    "by columns": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1][:, ::-1],
    "constant column": lambda x: np.column_stack([x, np.full(len(x), 0.1)]),
    "one row": lambda x: x[:1],
    "frame": lambda x: pd.DataFrame(x, columns=list("abcd")),
    "csc": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_array,
}


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("data", KINDS)
def test_data_of_all_kinds(kind, data):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    y = x @ [1.0, 2.0, 3.0, 4.0] + rng.normal(size=60)
    x = KINDS[data](x)
    if hasattr(x, "flags"):
        x.flags.writeable = False
    y, how = y[: x.shape[0]], {}
    if kind is LogisticRegression:
        if data == "one row":
            with pytest.raises(ValueError, match="at least 2 classes"):
                kind().fit(x, y > 0)
            return
        y, how = np.where(y > 0, "b", "a"), {"tol": 1e-9, "max_iter": 1000}
    ours, theirs = (
        getattr(home, kind.__name__)(**how).fit(x, y) for home in (linear_model, genuine)
    )
    # Of float16 scikit-learn's LinearRegression gives float16, and of float32 lbfgs stops early.
    close = {"float16": 1e-2, "float32": 1e-3}.get(data, 1e-5)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=close, atol=close / 10)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=close, atol=close / 10)
    if data != "float16":
        assert ours.coef_.dtype == theirs.coef_.dtype
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)


@pytest.mark.parametrize("alpha", [0.3, 7.0, (0.3, 7.0)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ridge_of_few_entries(alpha, fit_intercept):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)) + 3
    y, weight = x @ rng.normal(size=(4, 2)) + rng.normal(size=(60, 2)), rng.uniform(0, 2, 60)
    how = {"alpha": alpha, "fit_intercept": fit_intercept}
    ours, theirs = (home.Ridge(**how).fit(x, y, weight) for home in (linear_model, genuine))
    assert ours.solver_ == "lstsq"
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)
