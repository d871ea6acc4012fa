"""The pictures: every point where the numbers are, and a sentence where there is nothing to draw."""

import sys

import numpy as np
import pytest
from test_fit import made

import fastgd

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

X, Y = made(40, 2)
TEXT = np.where(Y > 0, "up", "down")
THREE = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]


@pytest.fixture(autouse=True)
def _no_open_figures():
    yield
    plt.close("all")


def lines(axes):
    return {line.get_label(): np.array(line.get_data()) for line in axes.lines}


def test_validation_costs_are_drawn_beside_the_others():
    fit = fastgd.fit_linear(X, Y, lr=0.05, epochs=300, validation=(X, Y / 2))
    drawn = lines(fit.plot())
    np.testing.assert_array_equal(drawn["training"], [np.arange(fit.n_epochs), fit.costs])
    np.testing.assert_array_equal(
        drawn["validation"], [np.arange(1, fit.n_epochs + 1), fit.validation_costs]
    )
    assert drawn["best epoch"][0].tolist() == [fit.best_epoch] * 2


@pytest.mark.parametrize("start", [0.0, 3.0])
def test_one_coefficient_slides_down_the_curve(start):
    """The tutorial's picture: w from 0 (or from the other side) down to 2."""
    fit = fastgd.fit_linear(
        *THREE, lr=0.02, epochs=10, fit_intercept=False, keep_path=True, coef_init=start
    )
    assert fit.start.tolist() == [start]
    axes = fit.plot_path(*THREE)
    drawn = lines(axes)
    walked = [start, *fit.path[:, 0]]
    np.testing.assert_array_equal(drawn["path"][0], walked)
    np.testing.assert_allclose(drawn["path"][1], [*fit.costs, fit.cost], rtol=1e-10)
    np.testing.assert_array_equal(drawn["start"][:, 0], drawn["path"][:, 0])
    np.testing.assert_allclose(drawn["end"][:, 0], drawn["path"][:, -1], rtol=1e-10)
    at, cost = axes.lines[0].get_data()
    np.testing.assert_allclose(cost, fastgd.cost_curve(*THREE, at), rtol=1e-10)
    assert at.min() < min(walked)
    assert at.max() > max(walked)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("coefficient", "mean squared error")


def test_two_coefficients_on_contours():
    fit = fastgd.fit_logistic(X, TEXT, lr=0.5, epochs=9, keep_path=True, coef_init=[1.0, 1.0])
    own = plt.figure().add_subplot()
    assert fit.plot_path(X, TEXT, own) is own
    drawn = lines(own)
    np.testing.assert_array_equal(drawn["path"].T, [[1.0, 1.0], *fit.path])
    np.testing.assert_array_equal(drawn["start"][:, 0], [1.0, 1.0])
    np.testing.assert_array_equal(drawn["end"][:, 0], fit.coef)
    (rings,) = own.collections
    (bar,) = set(own.figure.axes) - {own}
    assert bar.get_ylabel() == "cross-entropy"
    assert (own.get_xlabel(), own.get_ylabel()) == ("coefficient 0", "coefficient 1")
    level = rings.levels[3]
    for w in rings.get_paths()[3].vertices[::20]:  # between grid points it is interpolated
        assert fastgd.bce_cost(X, TEXT == "up", w, fit.intercept) == pytest.approx(level, rel=0.02)


def test_the_end_is_the_best_of_a_validated_fit():
    fit = fastgd.fit_linear(
        *THREE, lr=0.02, fit_intercept=False, keep_path=True, validation=([1.0], [1.0])
    )
    assert fit.best_epoch < fit.n_epochs
    drawn = lines(fit.plot_path(*THREE))
    assert drawn["end"][0, 0] == fit.coef[0] == drawn["path"][0, fit.best_epoch]


@pytest.mark.parametrize(
    "fit",
    [
        lambda: fastgd.fit_linear(X[:, 0], Y, keep_path=True),
        lambda: fastgd.fit_linear(X[:, :1], Y[:, None], lr=0.1, epochs=2, keep_path=True),
        lambda: fastgd.fit_linear(X[:, 0].astype("f4"), Y, lr=0.1, keep_path=True, batch_size=4),
        lambda: fastgd.fit_linear(X[:, 0], 0 * Y, keep_path=True),  # ends where it began
    ],
    ids=["auto", "(n, 1)", "float32", "no way to go"],
)
def test_other_fits_of_one_coefficient(fit):
    fit = fit()
    drawn = lines(fit.plot_path(X[:, 0], Y, sample_weight=np.abs(Y)))
    assert drawn["path"].shape == (2, fit.n_epochs + 1)
    cost = fastgd.mse_cost(X[:, 0], Y, fit.coef.ravel(), fit.intercept, sample_weight=np.abs(Y))
    assert drawn["end"][1, 0] == pytest.approx(cost, rel=1e-5)


def test_a_surface_without_slope():
    fit = fastgd.fit_linear(np.zeros((5, 2)), np.ones(5), lr=0.1, epochs=3, keep_path=True)
    assert "end" in lines(fit.plot_path(np.zeros((5, 2)), np.ones(5)))


def test_what_cannot_be_drawn_is_refused():
    three = np.column_stack([X, X[:, 0] ** 2])
    for fit, x, sentence in (
        (fastgd.fit_linear(X, Y), X, "this fit kept no path; fit with keep_path=True."),
        (
            fastgd.fit_linear(three, Y, keep_path=True),
            three,
            "this fit has 3 coefficients; plot_path draws the path of one or two.",
        ),
        (
            fastgd.fit_linear(X, np.column_stack([Y, Y]), keep_path=True),
            X,
            "this fit has 2 targets; plot_path draws the path of one.",
        ),
    ):
        with pytest.raises(fastgd.InputError) as caught:
            fit.plot_path(x, Y)
        assert str(caught.value) == sentence
    assert plt.get_fignums() == []


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    fit = fastgd.fit_linear(*THREE, lr=0.02, fit_intercept=False, keep_path=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (fit.plot, lambda: fit.plot_path(*THREE)):
        with pytest.raises(ImportError, match=r'pip install "fastgd\[plot\]"'):
            draw()


def test_the_costs_of_softmax_are_drawn():
    fit = fastgd.fit_logistic(X, np.arange(40) % 3, lr=0.1, epochs=3)
    axes = fit.plot()
    assert axes.get_ylabel() == "cross-entropy"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [*fit.costs, fit.cost])


def test_what_is_no_axes_is_answered_with_a_sentence():
    fit = fastgd.fit_linear(*THREE)
    with pytest.raises(fastgd.InputError, match=r"^ax is 3; expected matplotlib's axes\.$"):
        fit.plot(ax=3)
