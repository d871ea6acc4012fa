"""`Fit.feature_names`: the columns of a frame are those of the fit, by name and order."""

import copy
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastgd

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3
UP = np.median(Y) < Y
NAMES = ["size", "age", "rooms"]
FRAME = pd.DataFrame(X, columns=NAMES)
SWAPPED = FRAME[["age", "size", "rooms"]]
RENAMED = FRAME.rename(columns={"rooms": "floors"})

FITS = {
    "linear": lambda x: fastgd.fit_linear(x, Y),
    "numeric lr": lambda x: fastgd.fit_linear(x, Y, lr=0.1, epochs=5),
    "per-sample": lambda x: fastgd.fit_linear(x, Y, lr=0.01, epochs=2, batch_size=1),
    "logistic": lambda x: fastgd.fit_logistic(x, UP, l2=0.1),
    "network": lambda x: fastgd.fit_mlp(x, UP, hidden=3, epochs=2, loss="bce"),
}
each_fit = pytest.mark.parametrize("case", FITS)

ORDER = (
    "column 0 of x is 'age', and that of the fit is 'size'; pass the columns in the order of the fit's "
    "feature_names."
)
OTHERS = (
    "column 2 of x is 'floors', and that of the fit is 'rooms'; pass the columns named in the fit's "
    "feature_names."
)


def says(text):
    return pytest.raises(fastgd.InputError, match=f"^{re.escape(text)}$")


@each_fit
def test_names_of_a_frame_are_kept(case):
    fit = FITS[case](FRAME)
    assert fit.feature_names == tuple(NAMES)
    assert all(type(name) is str for name in fit.feature_names)
    for again in (copy.deepcopy(fit), pickle.loads(pickle.dumps(fit))):
        assert again.feature_names == tuple(NAMES)


@each_fit
def test_names_are_in_the_file(case, tmp_path):
    fit = FITS[case](FRAME)
    fit.save(tmp_path / "fit.npz")
    again = fastgd.load(tmp_path / "fit.npz")
    assert again.feature_names == tuple(NAMES)
    assert all(type(name) is str for name in again.feature_names)
    with says(ORDER):
        again.predict(SWAPPED)


@each_fit
def test_other_names_and_another_order_are_refused(case):
    fit = FITS[case](FRAME)
    calls = [
        fit.predict,
        fit.raw_prediction,
        lambda x: fit.score(x, Y if fit.classes is None else UP),
    ]
    if fit.classes is not None:
        calls.append(fit.predict_proba)
    for call in calls:
        call(FRAME)
        with says(ORDER):
            call(SWAPPED)
        with says(OTHERS):
            call(RENAMED)
        with says(ORDER):
            call(pl.DataFrame({name: SWAPPED[name].to_numpy() for name in SWAPPED}))


@each_fit
def test_data_without_names_is_taken(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named, plain = FITS[case](FRAME), FITS[case](X)
        assert plain.feature_names is None
        wanted = plain.raw_prediction(X)
        unnamed = pd.DataFrame(X)
        for x in (
            FRAME,
            X,
            X.tolist(),
            unnamed,
            pl.DataFrame({n: FRAME[n].to_numpy() for n in NAMES}),
        ):
            np.testing.assert_allclose(named.raw_prediction(x), wanted, rtol=1e-6)
        for x in (FRAME, RENAMED, unnamed):
            np.testing.assert_allclose(plain.raw_prediction(x), wanted, rtol=1e-12)


def test_names_of_pyarrow():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({name: FRAME[name].to_numpy() for name in NAMES})
    fit = fastgd.fit_linear(table, Y)
    assert fit.feature_names == tuple(NAMES)
    np.testing.assert_allclose(fit.predict(FRAME), fit.predict(table), rtol=1e-12)
    with says(ORDER):
        fit.predict(table.select(["age", "size", "rooms"]))


@pytest.mark.parametrize("names", [[0, 1, 2], [("a", 1), ("a", 2), ("b", 1)], [1.5, 2.5, None]])
def test_names_that_are_not_text_are_not_kept(names):
    x = pd.DataFrame(X)
    x.columns = pd.Index(names, tupleize_cols=False)
    fit = fastgd.fit_linear(x, Y)
    assert fit.feature_names is None
    fit.predict(FRAME)


def test_names_of_text_and_other_types_are_refused():
    mixed = FRAME.rename(columns={"age": 7})
    text = "x has column names of text and of other types (int); make all of them text."
    with says(text):
        fastgd.fit_linear(mixed, Y)
    with says(text):
        FITS["linear"](FRAME).predict(mixed)
    FITS["linear"](X).predict(mixed)


def test_a_name_may_occur_twice():
    twice = FRAME.set_axis(["size", "age", "age"], axis=1)
    fit = fastgd.fit_linear(twice, Y)
    assert fit.feature_names == ("size", "age", "age")
    np.testing.assert_allclose(fit.predict(twice), fit.predict(X), rtol=1e-12)
    with says(
        "column 2 of x is 'rooms', and that of the fit is 'age'; pass the columns named in the fit's "
        "feature_names."
    ):
        fit.predict(FRAME)


def test_another_number_of_columns_is_told_first():
    with says("x has 2 columns; this fit has 3."):
        FITS["linear"](FRAME).predict(FRAME[["age", "size"]])


@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")  # two epochs end before patience
@pytest.mark.parametrize("fit", [fastgd.fit_linear, fastgd.fit_mlp])
def test_rows_held_out_have_the_same_names(fit):
    options = {"lr": 0.01, "epochs": 2, "patience": 5}
    kept = fit(FRAME, Y, validation=(FRAME, Y), **options)
    assert kept.feature_names == tuple(NAMES)
    with says(f"in validation, {ORDER}"):
        fit(FRAME, Y, validation=(SWAPPED, Y), **options)
    fit(FRAME, Y, validation=(X, Y), **options)
    fit(X, Y, validation=(SWAPPED, Y), **options)


@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_a_callback_sees_the_names():
    seen = []
    fastgd.fit_linear(
        FRAME, Y, lr=0.01, epochs=2, validation=(X, Y), callback=lambda so_far: seen.append(so_far)
    )
    assert {so_far.feature_names for so_far in seen} == {tuple(NAMES)}


def test_the_rows_of_a_path_have_the_names_of_the_fit():
    pytest.importorskip("matplotlib").use("Agg")
    two = FRAME[["size", "age"]]
    fit = fastgd.fit_linear(two, Y, lr=0.1, epochs=3, keep_path=True)
    fit.plot_path(two, Y)
    with says(ORDER):
        fit.plot_path(two[["age", "size"]], Y)
