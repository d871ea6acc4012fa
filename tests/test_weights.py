"""Weights of any size: what divides by their sum doesn't depend on their unit."""

import numpy as np
import oracles
import pytest

import fastgd
from fastgd import inputs

X = np.random.default_rng(0).standard_normal((40, 2))
NOISE = np.random.default_rng(1).standard_normal(40)
Y = X @ [1.0, 2.0] + NOISE
LABELS = (Y + NOISE > 0).astype(int)
CLASSES = np.digitize(Y, [-1.0, 1.0])
#: Of one size each, so that none of them vanishes beside the others.
WEIGHT = 1 + np.arange(40) / 64
POWERS = [-1000, -200, 200, 1023]
EXTREME = [5e-324, 1e-320, 1e308]

FITS = {
    "auto": lambda w, **o: fastgd.fit_linear(X, Y, sample_weight=w, **o),
    "batch": lambda w, **o: fastgd.fit_linear(X, Y, sample_weight=w, lr=0.01, epochs=9, **o),
    "minibatch": lambda w, **o: fastgd.fit_linear(
        X, Y, sample_weight=w, lr=0.01, epochs=3, batch_size=8, **o
    ),
    "logistic": lambda w, **o: fastgd.fit_logistic(X, LABELS, sample_weight=w, l2=0.1, **o),
    "softmax": lambda w, **o: fastgd.fit_logistic(
        X, CLASSES, sample_weight=w, l2=0.1, class_weight="balanced", **o
    ),
    "validation": lambda w, **o: fastgd.fit_logistic(
        X, LABELS, sample_weight=w, lr=0.1, epochs=9, validation=0.25, class_weight={0: 3}, **o
    ),
    "rows to validate on": lambda w, **o: fastgd.fit_linear(
        X, Y, lr=0.1, epochs=9, validation=(X, Y) if w is None else (X, Y, w), **o
    ),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("power", POWERS)
def test_a_mean_does_not_depend_on_the_unit_of_the_weights(name, power):
    with oracles.quiet():
        wanted, fit = FITS[name](WEIGHT), FITS[name](np.ldexp(WEIGHT, power))
    assert fit.coef.tobytes() == wanted.coef.tobytes()
    assert fit.costs.tobytes() == wanted.costs.tobytes()
    assert fit.cost == wanted.cost
    if wanted.validation_costs is not None:
        assert fit.validation_costs.tobytes() == wanted.validation_costs.tobytes()
    y = Y if wanted.classes is None else (LABELS if len(wanted.classes) == 2 else CLASSES)
    assert fit.score(X, y, np.ldexp(WEIGHT, power)) == wanted.score(X, y, WEIGHT)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("weight", EXTREME)
def test_one_weight_for_all_rows_is_none(name, weight):
    with oracles.quiet():
        wanted, fit = FITS[name](None), FITS[name](np.full(40, weight))
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-11)
    assert fit.cost == pytest.approx(wanted.cost, rel=1e-13)


@pytest.mark.parametrize("lr", ["auto", 0.01])
@pytest.mark.parametrize("weight", EXTREME)
def test_a_sum_has_room_or_says_so(weight, lr):
    text = r"^the weights go up to .*e[+-]\d+, which leaves a sum in float64 no room; scale .*\.$"
    with pytest.raises(fastgd.InputError, match=text):
        fastgd.fit_linear(X, Y, sample_weight=np.full(40, weight), reduction="sum", lr=lr)


@pytest.mark.parametrize("power", [-900, 900])
def test_a_sum_with_room_has_the_same_optimum(power):
    wanted = fastgd.fit_linear(X, Y, sample_weight=WEIGHT, reduction="sum")
    fit = fastgd.fit_linear(X, Y, sample_weight=np.ldexp(WEIGHT, power), reduction="sum")
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-13)
    assert fit.cost == pytest.approx(np.ldexp(wanted.cost, power), rel=1e-13)


@pytest.mark.parametrize("weight", [*EXTREME, 1e-200, 1e200])
def test_products_of_weights_neither_overflow_nor_vanish(weight):
    both = {0: weight, 1: weight / 2 if weight > 1 else 2 * weight}
    ratio = both[1] / both[0]
    with oracles.quiet():
        wanted = fastgd.fit_logistic(X, LABELS, class_weight={0: 1.0, 1: ratio}, l2=0.1)
        fit = fastgd.fit_logistic(
            X, LABELS, class_weight=both, sample_weight=np.full(40, weight), l2=0.1
        )
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-11)


def test_balanced_weights_of_extreme_rows():
    codes, classes = np.array([0, 0, 1]), np.array(["a", "b"])
    weight, unit = inputs.class_weights("balanced", codes, classes, np.array([2e-300, 2e-300, 1.0]))
    np.testing.assert_allclose(weight * unit, [0.25, 0.25, 0.5], rtol=1e-15)
    with pytest.raises(
        fastgd.InputError, match="the label 'a' have too small a weight to be balanced"
    ):
        inputs.class_weights("balanced", codes, classes, np.array([1e-320, 1e-320, 1.0]))


@pytest.mark.parametrize("largest", [5e-324, 1e-320, 1e-310, 0.3, 1.0, 1.5, 1e308, 1.79e308])
def test_units_are_exact(largest):
    given = np.array([0.0, largest / 2, -largest])
    array, unit = inputs.in_units(given)
    assert 1 <= np.abs(array).max() < 2
    assert np.frexp(unit)[0] == 0.5
    np.testing.assert_array_equal(array * unit, given)
    assert inputs.in_units(given, leave=1e10)[1] == (1.0 if 1e-10 < largest < 1e10 else unit)
    assert inputs.in_units(None) == (None, 1.0)


# --- scores ---------------------------------------------------------------------------------------


def line(coef):
    """A fit that predicts coef·x."""
    coef = np.array(coef, dtype=float)
    intercept = np.zeros(len(coef)) if coef.ndim == 2 else 0.0
    return fastgd.Fit(
        coef=coef, intercept=intercept, costs=np.zeros(1), cost=0.0, n_epochs=1, converged=True,
        method="stream",
    )  # fmt: skip


def test_scores_of_targets_at_the_ends_of_float64():
    x = np.array([1.0, -1.0, 1.0, 0.5])
    for size in (1.7e308, 1e200, 1.0, 1e-200, 1e-300):
        y = size * np.array([1.0, -1.0, 1.0, -1.0])
        # ŷ − y is 1.5·size in one row, and Σ(y − ȳ)² is 4·size².
        assert line([size]).score(x, y) == pytest.approx(1 - 2.25 / 4, rel=1e-14)
        assert line([size]).score(x[:3], y[:3]) == 1.0


def test_each_target_has_its_own_unit():
    x = np.array([1.0, 2.0, 3.0])
    y = np.column_stack([1e200 * x, 1e-200 * np.array([1.0, 2.0, 4.0])])
    # The first is met, the second has Σ(y − ŷ)² = 1 and Σ(y − ȳ)² = 14/3.
    assert line([[1e200], [1e-200]]).score(x, y) == pytest.approx(1 - 3 / 14 / 2, rel=1e-14)


def test_rows_without_weight_do_not_count():
    x, y, weight = [1.0, 2.0, 4.0], [1e300, 2.0, 3.0], [0.0, 1.0, 1.0]
    assert line([1.0]).score(x, y, weight) == line([1.0]).score(x[1:], y[1:]) == -1.0
    assert line([1.0]).score(x, [1e300, 2.0, 2.0], weight) == 0.0


def test_a_score_beyond_float64_says_so():
    with pytest.raises(
        fastgd.DivergenceError, match=r"^the score is below the numbers of float64: .*\.$"
    ):
        line([1e300]).score([1.0, 2.0], [1e-300, 3e-300])


@np.errstate(over="ignore")  # without the JIT NumPy's scalars warn
def test_probabilities_of_far_predictions_are_zeros_and_ones():
    fit = line([[1.7e308], [-1.7e308]])
    fit.classes = np.array([0, 1])
    assert fit.predict_proba([1.0, -1.0]).tolist() == [[1.0, 0.0], [0.0, 1.0]]


# --- results that overflow in the caller's units --------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "dtype"),
    [
        ([[1.5]], [[7e202]], np.float32),  # an intercept
        ([[1.0, 0.5]], [1e251], np.float64),  # the costs on the way to none at all
    ],
)
def test_no_part_of_a_result_overflows(x, y, dtype):
    options = {"fit_intercept": dtype is np.float32, "dtype": dtype}
    with pytest.raises(
        fastgd.DivergenceError, match=f"^the result overflows {np.dtype(dtype)}; scale x and y"
    ):
        fastgd.fit_linear(x, y, **options)
