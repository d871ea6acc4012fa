"""`Fit`: predictions, scores, the picture, and a file that gives the same fit back."""

import copy
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score

import fastgd

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3 + 0.5 * RNG.standard_normal(30)
TWO = np.column_stack([Y, 1e3 * Y**2])
UP = np.median(Y) < Y
TEXT = np.where(UP, "up", "down")
WEIGHT = RNG.random(30) + 0.1

FITS = {
    "linear": lambda: fastgd.fit_linear(X, Y),
    "linear float32": lambda: fastgd.fit_linear(X.astype("f4"), Y, lr=0.1, epochs=5),
    "without intercept": lambda: fastgd.fit_linear(X, Y, fit_intercept=False),
    "two targets": lambda: fastgd.fit_linear(X, TWO, lr=0.01, epochs=4, keep_path=True),
    "one target of shape (n, 1)": lambda: fastgd.fit_linear(X, Y[:, None]),
    "one column": lambda: fastgd.fit_linear(X[:, 0], Y, lr=0.01, epochs=4),
    "minibatch with path": lambda: fastgd.fit_linear(
        X, Y, lr=0.01, epochs=3, batch_size=8, keep_path=True
    ),
    "validated": lambda: fastgd.fit_linear(
        X, Y, lr=0.1, epochs=400, batch_size=8, validation=(X, Y)
    ),
    "no epoch": lambda: fastgd.fit_linear(X, np.zeros(30)),
    "logistic on text": lambda: fastgd.fit_logistic(X, TEXT, l2=0.1),
    "logistic on objects of text": lambda: fastgd.fit_logistic(X, TEXT.astype(object), l2=0.1),
    "logistic on bytes": lambda: fastgd.fit_logistic(X, TEXT.astype(bytes), l2=0.1),
    "logistic on bool": lambda: fastgd.fit_logistic(X, UP, l2=0.1),
    "logistic on int8": lambda: fastgd.fit_logistic(X, UP.astype(np.int8), l2=0.1),
    "logistic on floats": lambda: fastgd.fit_logistic(X, UP + 0.5, lr=0.1, epochs=3),
    "logistic on dates": lambda: fastgd.fit_logistic(
        X, np.where(UP, np.datetime64("2023-01-01"), np.datetime64("2024-01-01")), l2=0.1
    ),
}
ATTRIBUTES = (
    "coef", "intercept", "costs", "cost", "n_epochs", "converged", "method", "path", "classes",
    "lrs", "gradient_norms", "start", "validation_costs", "best_epoch", "feature_names",
)  # fmt: skip


def assert_same_fit(one, other):
    assert type(one) is type(other) is fastgd.Fit
    for name in ATTRIBUTES:
        ours, theirs = getattr(one, name), getattr(other, name)
        assert type(ours) is type(theirs), name
        assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None), name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    x = X[:, : one.coef.shape[-1]]
    np.testing.assert_array_equal(one.predict(x), other.predict(x))
    assert repr(one) == repr(other)


# --- what a fit holds -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", FITS)
def test_types_and_shapes(case):
    fit = FITS[case]()
    assert isinstance(fit.coef, np.ndarray)
    k = fit.coef.shape[:-1]
    assert fit.coef.dtype == (np.float32 if "float32" in case else np.float64)
    assert type(fit.intercept) is float if not k else fit.intercept.shape == k
    assert (type(fit.cost), type(fit.n_epochs), type(fit.converged)) == (float, int, bool)
    assert fit.costs.shape == (fit.n_epochs,)
    if "path" in case or "two" in case:
        assert fit.path.shape == (fit.n_epochs, *fit.coef.shape)
        np.testing.assert_array_equal(fit.path[-1], fit.coef)
    else:
        assert fit.path is None
    assert (fit.classes is not None) == ("logistic" in case)
    if "without" in case:
        assert fit.intercept == 0.0
    x = X[:, : fit.coef.shape[-1]]
    assert fit.predict(x).shape == (30, *k)


def test_repr_says_what_happened():
    fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.01, epochs=7)
    assert repr(fit) == f"Fit(mse, coef (1,), cost {fit.cost:.6g}, 7 epochs, stream, converged)"
    with pytest.warns(fastgd.ConvergenceWarning):
        fit = fastgd.fit_logistic([1, 2, 3, 4], [0, 0, 1, 1])
    assert repr(fit).startswith("Fit(bce, coef (1,), cost ")
    assert repr(fit).endswith(", not converged)")


@pytest.mark.parametrize("case", FITS)
def test_cost_is_that_of_the_coefficients_returned(case):
    fit = FITS[case]()
    if fit.method == "minibatch":  # no pass was made for it
        assert fit.cost == fit.costs[(fit.best_epoch or fit.n_epochs) - 1]
        return
    x = X[:, : fit.coef.shape[-1]]
    if fit.classes is not None:
        labels = UP if "dates" not in case else ~UP
        assert fit.cost == pytest.approx(fastgd.bce_cost(x, labels, fit.coef, fit.intercept))
        return
    y = np.zeros(30) if case == "no epoch" else TWO if "two" in case else Y
    tolerance = 1e-5 if "float32" in case else 1e-10
    cost = fastgd.mse_cost(x, y, fit.coef, fit.intercept)
    assert fit.cost == pytest.approx(cost, rel=tolerance, abs=1e-300)


# --- predictions ----------------------------------------------------------------------------------


def test_predict_is_the_linear_form():
    fit = FITS["two targets"]()
    np.testing.assert_allclose(fit.predict(X), X @ fit.coef.T + fit.intercept, rtol=1e-12)
    np.testing.assert_array_equal(fit.predict(X), fit.raw_prediction(X))
    one = FITS["one column"]()
    assert one.predict([4.0]).tolist() == one.predict([[4.0]]).tolist()


def network(y=Y):
    loss = "mse" if y.dtype.kind == "f" else "bce"
    return fastgd.fit_mlp(X[:, 0], y, hidden=4, epochs=2, lr=0.01, loss=loss)


@pytest.mark.parametrize("four", [4, 4.0, np.float32(4), np.array(4), torch.tensor(4.0)])
def test_a_number_is_one_row_of_one_column(four):
    for fit in (FITS["one column"](), network()):
        assert fit.predict(four).shape == fit.raw_prediction(four).shape == (1,)
        np.testing.assert_array_equal(fit.predict(four), fit.predict([4.0]))
        np.testing.assert_array_equal(fit.raw_prediction(four), fit.raw_prediction([4.0]))
    for fit in (fastgd.fit_logistic(X[:, 0], UP, l2=0.1), network(UP)):
        np.testing.assert_array_equal(fit.predict_proba(four), fit.predict_proba([4.0]))
        np.testing.assert_array_equal(fit.predict(four), fit.predict([4.0]))
    many = fastgd.fit_linear(X[:, 0], TWO, lr=0.01, epochs=4)
    assert many.predict(four).shape == (1, 2)
    with pytest.raises(fastgd.InputError, match="x is nan at row 0, column 0"):
        fit.predict(np.nan)


@pytest.mark.parametrize(
    ("kind", "passes"),
    [(np.array, "x[None]"), (torch.tensor, "x[None]"), (list, "[x]"), (pd.Series, "[x]")],
)
def test_one_row_of_one_dimension_says_how_to_pass_it(kind, passes):
    x = kind([1.0, 2.0, 3.0])
    for fit in (FITS["linear"](), fastgd.fit_mlp(X, Y, hidden=4, epochs=1, lr=0.01)):
        with pytest.raises(fastgd.InputError) as caught:
            fit.predict(x)
        assert str(caught.value) == (
            "x has shape (3,), which is 3 rows of one column; this fit has 3 columns. For one row "
            f"pass {passes}."
        )
        assert fit.predict(eval(passes)).shape == (1,)


def test_predict_converts_large_integers_by_block(monkeypatch):
    monkeypatch.setattr("fastgd.result._BLOCK_BYTES", 100)
    fit = FITS["linear"]()
    whole = np.arange(90).reshape(30, 3)
    np.testing.assert_allclose(fit.predict(whole), fit.predict(whole.astype(float)), rtol=1e-14)


def test_predict_keeps_float32():
    fit = FITS["linear float32"]()
    assert fit.predict(X.astype("f4")).dtype == np.float32
    assert fit.predict(X).dtype == np.float64


def test_probabilities_are_those_of_the_logistic_function():
    fit = FITS["logistic on text"]()
    p = fit.predict_proba(X)
    z = X @ fit.coef + fit.intercept
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)
    assert fit.classes.tolist() == ["down", "up"]
    np.testing.assert_array_equal(fit.predict(X), fit.classes[(p[:, 1] > 0.5).astype(int)])


def test_probabilities_far_out_keep_their_digits():
    fit = FITS["logistic on bool"]()
    far = fit.coef / (fit.coef @ fit.coef)  # moves the raw prediction by one
    p = fit.predict_proba(np.outer([-700.0, 700.0, 1e6], far))
    assert p[0, 1] == pytest.approx(np.exp(-700 + fit.intercept), rel=1e-9, abs=0)
    assert p[1, 0] == pytest.approx(np.exp(-700 - fit.intercept), rel=1e-9, abs=0)
    assert p[2].tolist() == [0.0, 1.0]


def test_predict_on_bad_rows():
    fit = FITS["linear"]()
    with pytest.raises(fastgd.InputError, match="x has 2 columns; this fit has 3"):
        fit.predict(X[:, :2])
    with pytest.raises(fastgd.InputError, match="x has 1 columns; this fit has 3"):
        fit.predict([1.0, 2.0])
    with pytest.raises(fastgd.InputError, match=r"x has shape \(\); expected \(n,\) or \(n, d\)"):
        fit.predict(4)
    with pytest.raises(fastgd.InputError, match="x holds text"):
        fit.predict([["a", "b", "c"]])
    for value in (np.nan, np.inf):
        x = X.copy()
        x[7, 2] = value
        with pytest.raises(fastgd.InputError, match=f"x is {value} at row 7, column 2"):
            fit.predict(x)
    with pytest.raises(fastgd.InputError, match="the prediction overflows float64 at row 0"):
        fit.predict(np.sign(fit.coef)[None, :] * 1.7e308)
    with pytest.raises(AttributeError, match="predict_proba is for fits on labels"):
        fit.predict_proba(X)


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(
    "case", ["linear", "two targets", "one column", "one target of shape (n, 1)"]
)
def test_score_is_scikit_learns_r2(case, weight):
    fit = FITS[case]()
    x, y = X[:, : fit.coef.shape[-1]], TWO if case == "two targets" else Y
    wanted = r2_score(y, fit.predict(x), sample_weight=weight)
    assert fit.score(x, y, sample_weight=weight) == pytest.approx(wanted, rel=1e-12)


def test_score_of_a_constant_target():
    fit = fastgd.fit_linear(X, Y)
    assert fit.score(X, np.full(30, 2.0)) == r2_score(np.full(30, 2.0), fit.predict(X)) == 0.0
    flat = fastgd.fit_linear(X, np.zeros(30))
    assert flat.score(X, np.zeros(30)) == r2_score(np.zeros(30), np.zeros(30)) == 1.0


def test_score_of_very_large_and_small_targets():
    fit = fastgd.fit_linear(X, Y)
    for unit in (2.0**900, 2.0**-900):
        scaled = copy.deepcopy(fit)
        scaled.coef, scaled.intercept = fit.coef * unit, fit.intercept * unit
        assert scaled.score(X, Y * unit) == pytest.approx(fit.score(X, Y), rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(
    ("case", "labels"),
    [
        ("logistic on text", TEXT),
        ("logistic on text", TEXT.tolist()),
        ("logistic on text", TEXT[:, None]),
        ("logistic on bool", UP),
        ("logistic on floats", UP + 0.5),
    ],
)
def test_score_is_scikit_learns_accuracy(case, labels, weight):
    fit = FITS[case]()
    said, true = fit.predict(X).astype(str), np.ravel(labels).astype(str)
    wanted = accuracy_score(true, said, sample_weight=weight)
    assert fit.score(X, labels, weight) == pytest.approx(wanted, rel=1e-12)
    assert 0.5 < wanted < 1


def test_score_on_bad_input():
    fit, classifier = FITS["linear"](), FITS["logistic on text"]()
    with pytest.raises(fastgd.InputError, match="x has 30 rows and y has 5"):
        fit.score(X, Y[:5])
    with pytest.raises(fastgd.InputError, match=r"y has shape \(30, 2\); expected \(30,\)"):
        fit.score(X, TWO)
    with pytest.raises(fastgd.InputError, match=r"y has shape \(5,\); expected \(30,\)"):
        classifier.score(X, TEXT[:5])
    with pytest.raises(fastgd.InputError, match="y holds none of the labels 'down', 'up'"):
        classifier.score(X, UP)
    with pytest.raises(fastgd.InputError, match="sample_weight has shape"):
        classifier.score(X, TEXT, sample_weight=WEIGHT[:3])


# --- the picture ----------------------------------------------------------------------------------


def test_the_plot_names_every_loss():
    pytest.importorskip("matplotlib").use("Agg")
    fit = fastgd.fit([1, 2, 3], [1, 2, 3], loss="huber", lr=0.1, epochs=3)
    assert fit.plot().get_ylabel() == "cost (huber)"


def test_plot_draws_the_costs():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fit = FITS["one column"]()
    axes = fit.plot()
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_ydata(), [*fit.costs, fit.cost])
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "mean squared error"
    own = plt.figure().add_subplot()
    assert FITS["logistic on text"]().plot(own) is own
    assert own.get_ylabel() == "cross-entropy"
    plt.close("all")


def test_plot_without_matplotlib_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "fastgd\[plot\]"'):
        FITS["linear"]().plot()


# --- files, pickles, copies -----------------------------------------------------------------------


@pytest.mark.parametrize("case", FITS)
def test_save_and_load_give_the_same_fit(case, tmp_path):
    fit = FITS[case]()
    for path in (tmp_path / "fit.npz", str(tmp_path / "a fit without suffix")):
        fit.save(path)
        assert_same_fit(fastgd.load(path), fit)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a fit without suffix", "fit.npz"]


@pytest.mark.parametrize(
    "again", [lambda f: pickle.loads(pickle.dumps(f)), copy.copy, copy.deepcopy]
)
@pytest.mark.parametrize("case", FITS)
def test_pickles_and_copies_are_the_same_fit(case, again):
    fit = FITS[case]()
    assert_same_fit(again(fit), fit)


def assert_same_network(one, other):
    assert type(one) is type(other) is fastgd.MlpFit
    assert repr(one) == repr(other)
    np.testing.assert_array_equal(one.predict(X[:, 0]), other.predict(X[:, 0]))
    assert one.costs.tobytes() == other.costs.tobytes()
    assert one.best_epoch is other.best_epoch is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle(protocol):
    fit, net = FITS["two targets"](), network()
    assert_same_fit(pickle.loads(pickle.dumps(fit, protocol)), fit)
    assert_same_network(pickle.loads(pickle.dumps(net, protocol)), net)


def test_copies_of_a_network_are_the_same():
    net = network()
    assert_same_network(copy.copy(net), net)
    deep = copy.deepcopy(net)
    assert_same_network(deep, net)
    assert not np.shares_memory(deep.weights[0], net.weights[0])


@pytest.mark.parametrize("missing", [(), ("best_epoch",)])
def test_pickles_of_slots_still_load(missing):
    """Protocol 2 and later kept slots as (None, attributes) before there was `__getstate__`."""
    for fit, same in ((FITS["linear"](), assert_same_fit), (network(), assert_same_network)):
        state = {name: v for name, v in fit.__getstate__().items() if name not in missing}
        again = type(fit).__new__(type(fit))
        again.__setstate__((None, state))
        same(again, fit)


def test_save_refuses_labels_that_no_file_keeps(tmp_path):
    labels = np.array([10**30, 10**31] * 15, dtype=object)
    fit = fastgd.fit_logistic(X, labels, l2=0.1)
    with pytest.raises(fastgd.InputError, match="the labels are Python objects"):
        fit.save(tmp_path / "fit.npz")
    assert not (tmp_path / "fit.npz").exists()


class Trap:
    """An object whose unpickling would be noticed."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def foreign_files(folder):
    """Files that `Fit.save` did not write, by name."""
    fit = FITS["logistic on text"]()
    fit.save(folder / "good")
    good = (folder / "good").read_bytes()
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_text("coef,intercept\n1,2\n")
    (folder / "truncated").write_bytes(good[: len(good) // 2])
    (folder / "damaged").write_bytes(good[:60] + b"!!!!" + good[64:])
    (folder / "pickle").write_bytes(pickle.dumps(Trap()))
    with open(folder / "npy", "wb") as file:
        np.save(file, np.ones(3))
    with open(folder / "other npz", "wb") as file:
        np.savez(file, coef=np.ones(3), intercept=0.0)
    with np.load(folder / "good") as saved:
        members = dict(saved)
    members["coef"] = np.array([Trap()], dtype=object)
    with open(folder / "objects inside", "wb") as file:
        np.savez(file, **members)
    with zipfile.ZipFile(folder / "zip", "w") as file:
        file.writestr("coef.npy", b"nothing")
    return [p for p in sorted(folder.iterdir()) if p.name != "good"]


def test_load_refuses_what_save_did_not_write(tmp_path):
    for path in foreign_files(tmp_path):
        with pytest.raises(fastgd.InputError, match=r"is not a saved fit") as caught:
            fastgd.load(path)
        assert str(path) in str(caught.value), path.name
    with pytest.raises(FileNotFoundError):
        fastgd.load(tmp_path / "nowhere")
    with pytest.raises((OSError, fastgd.InputError), match=str(tmp_path)):
        fastgd.load(tmp_path)
