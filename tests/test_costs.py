"""The cost functions and the forward pass, against the reference, NumPy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastgd
from fastgd import reference
from fastgd.losses import LOSSES, Loss

FUNCTIONS = {
    "mse": (fastgd.mse_cost, fastgd.mse_gradient, fastgd.mse_cost_and_gradient),
    "bce": (fastgd.bce_cost, fastgd.bce_gradient, fastgd.bce_cost_and_gradient),
}
CLOSE = {np.float32: {"rtol": 2e-5, "atol": 2e-6}, np.float64: {"rtol": 1e-12, "atol": 1e-13}}


def made(n, d, k=None, seed=0, dtype=np.float64, labels=False):
    """x, y, coef and intercept for k targets, or one-dimensional ones."""
    rng = np.random.default_rng(seed)
    outputs = () if k is None else (k,)
    x, coef = rng.standard_normal((n, d)), rng.standard_normal((*outputs, d))
    y = rng.random((n, *outputs)) if labels else rng.standard_normal((n, *outputs))
    intercept = rng.standard_normal(outputs) if outputs else 0.7
    return x.astype(dtype), y.astype(dtype), coef, intercept


def by_numpy(loss, x, y, coef, intercept, weight=None, reduction="mean"):
    """Cost and gradients with whole matrices, for k targets."""
    x, y, coef = x.astype(float), y.astype(float).reshape(len(x), -1), np.atleast_2d(coef)
    z = x @ coef.T + intercept
    w = np.ones(len(x)) if weight is None else np.asarray(weight, float)
    value = (z - y) ** 2 if loss == "mse" else np.logaddexp(0, z) - y * z
    slope = 2 * (z - y) if loss == "mse" else 1 / (1 + np.exp(-z)) - y
    scale = 1 / (w.sum() * y.shape[1]) if reduction == "mean" else 1.0
    slope = scale * w[:, None] * slope
    return scale * (w[:, None] * value).sum(), slope.T @ x, slope.sum(axis=0)


@pytest.mark.parametrize("loss", FUNCTIONS)
@given(
    shape=st.sampled_from([(1, 1), (3, 1), (33, 5), (4, 7), (50, 2)]),
    dtype=st.sampled_from([np.float32, np.float64]),
    order=st.sampled_from(["C", "F", "strided", "read-only"]),
    k=st.sampled_from([None, 1, 3]),
    reduction=st.sampled_from(["mean", "sum"]),
    weighted=st.booleans(),
    seed=st.integers(0, 9),
)
def test_all_three_agree_with_numpy(loss, shape, dtype, order, k, reduction, weighted, seed):
    x, y, coef, intercept = made(*shape, k, seed, dtype, labels=loss == "bce")
    weight = np.random.default_rng(seed).random(len(x)) + 0.1 if weighted else None
    wanted = by_numpy(loss, x, y, coef, intercept, weight, reduction)
    x = np.asfortranarray(x) if order == "F" else x
    x = np.repeat(x, 2, axis=1)[:, ::2] if order == "strided" else x
    x.flags.writeable = order != "read-only"
    options = {"sample_weight": weight, "reduction": reduction}
    cost_of, gradient_of, both_of = FUNCTIONS[loss]
    cost, by_coef, by_intercept = both_of(x, y, coef, intercept, **options)
    np.testing.assert_allclose(cost, wanted[0], **CLOSE[dtype])
    np.testing.assert_allclose(by_coef, wanted[1].reshape(coef.shape), **CLOSE[dtype])
    np.testing.assert_allclose(by_intercept, wanted[2] if k else wanted[2][0], **CLOSE[dtype])
    assert type(cost) is float
    assert by_coef.shape == coef.shape
    assert by_coef.dtype == dtype
    assert by_intercept.shape == (k,) if k else type(by_intercept) is float
    assert cost_of(x, y, coef, intercept, **options) == cost
    apart = gradient_of(x, y, coef, intercept, **options)
    assert apart[0].tobytes() == by_coef.tobytes()
    np.testing.assert_array_equal(apart[1], by_intercept)


@pytest.mark.parametrize("loss", FUNCTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_they_agree_with_the_reference(loss, reduction, weighted):
    x, y, coef, intercept = made(17, 3, labels=loss == "bce")
    weight = [i % 4 for i in range(17)] if weighted else None
    rows = (x.tolist(), y.tolist(), coef.tolist(), intercept, LOSSES[loss], weight, reduction)
    cost, by_coef, by_intercept = FUNCTIONS[loss][2](
        x, y, coef, intercept, sample_weight=weight, reduction=reduction
    )
    assert cost == pytest.approx(reference.cost(*rows), rel=1e-13)
    wanted = reference.gradient(*rows)
    np.testing.assert_allclose(by_coef, wanted[0], rtol=1e-12)
    assert by_intercept == pytest.approx(wanted[1], rel=1e-12)


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", FUNCTIONS)
def test_they_agree_with_torch(loss, reduction, k):
    x, y, coef, intercept = made(21, 4, k, labels=loss == "bce")
    w = torch.tensor(coef, requires_grad=True)
    b = torch.tensor(intercept, dtype=torch.float64, requires_grad=True)
    criterion = {"mse": torch.nn.MSELoss, "bce": torch.nn.BCEWithLogitsLoss}[loss]
    prediction = torch.tensor(x) @ (w.T if k else w) + b
    value = criterion(reduction=reduction)(prediction, torch.tensor(y))
    value.backward()
    cost, by_coef, by_intercept = FUNCTIONS[loss][2](x, y, coef, intercept, reduction=reduction)
    assert cost == pytest.approx(value.item(), rel=1e-13)
    np.testing.assert_allclose(by_coef, w.grad, rtol=1e-12)
    np.testing.assert_allclose(by_intercept, b.grad, rtol=1e-12)


def test_coef_comes_back_in_the_shape_it_was_given():
    x, y = [1, 2, 3], [2, 4, 6]
    for coef in (1.0, [1.0], [[1.0]], np.float32(1), np.array([1])):
        by_coef, _ = fastgd.mse_gradient(x, y, coef)
        assert by_coef.shape == np.shape(coef)
        assert float(by_coef.ravel()[0]) == pytest.approx(-28 / 3, rel=1e-15)
    several = np.column_stack([y, y])
    assert fastgd.mse_gradient(x, several, [[1.0], [2.0]], [0.0, 1.0])[0].shape == (2, 1)
    assert fastgd.mse_gradient(x, several, [[1.0], [2.0]])[1].shape == (2,)


def test_the_tutorials_own_numbers():
    assert fastgd.mse_cost([1, 2, 3], [2, 4, 6], 1.0) == pytest.approx(14 / 3, rel=1e-15)
    assert fastgd.mse_cost([1, 2, 3], [2, 4, 6], 1.0, reduction="sum") == 14.0
    assert fastgd.mse_cost([1, 2, 3], [2, 4, 6], 2.0) == 0.0


def test_extreme_predictions_keep_the_cross_entropy_finite():
    x, y = np.array([[1e4], [-1e4], [1e4], [-1e4]]), [1.0, 0.0, 0.0, 1.0]
    assert fastgd.bce_cost(x[:2], y[:2], [1.0]) == 0.0
    assert fastgd.bce_cost(x, y, [1.0]) == 5000.0
    by_coef, by_intercept = fastgd.bce_gradient(x, y, [1.0])
    assert (by_coef.tolist(), by_intercept) == ([5000.0], 0.0)


def test_weights_count_as_repeated_rows():
    x, y, coef, intercept = made(12, 3)
    repeats = np.arange(12) % 4
    again = fastgd.mse_cost_and_gradient(np.repeat(x, repeats, 0), np.repeat(y, repeats), coef, 0.7)
    weighted = fastgd.mse_cost_and_gradient(x, y, coef, intercept, sample_weight=repeats)
    assert weighted[0] == pytest.approx(again[0], rel=1e-13)
    np.testing.assert_allclose(weighted[1], again[1], rtol=1e-12)


@pytest.mark.parametrize("power", [-1074, -1000, -40, 40, 1000, 1023])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_does_not_depend_on_the_unit_of_the_weights(power, dtype):
    """A power of two changes no digit, as long as none of the weights vanishes."""
    x, y, coef, _ = made(12, 3, labels=True, dtype=dtype)
    weight = np.ones(12) if power == -1074 else 1 + np.arange(12) / 16
    scaled = np.ldexp(weight, power)
    classes, by_class = np.arange(12) % 3, np.stack([coef, -coef, 2 * coef])
    for both_of, target, at in (
        (fastgd.mse_cost_and_gradient, y, coef),
        (fastgd.bce_cost_and_gradient, y, coef),
        (fastgd.cross_entropy_cost_and_gradient, classes, by_class),
    ):
        wanted = both_of(x, target, at, sample_weight=weight)
        for got, one in zip(both_of(x, target, at, sample_weight=scaled), wanted, strict=True):
            np.testing.assert_array_equal(got, one)
    for loss in FUNCTIONS:
        curves = [
            fastgd.cost_curve(x, y, by_class, loss=loss, sample_weight=one)
            for one in (weight, scaled)
        ]
        np.testing.assert_array_equal(*curves)


def test_a_sum_is_that_of_the_weights_or_says_that_it_overflows():
    x, y, coef, _ = made(12, 3)
    options = {"reduction": "sum"}
    one = fastgd.mse_cost(x, y, coef, **options)
    for unit in (2.0**-1074, 2.0**1000):
        weight = np.full(12, unit)
        assert fastgd.mse_cost(x, y, coef, sample_weight=weight, **options) == one * unit
    weight = np.full(12, 1e308)
    text = "overflows float64 at .*; scale sample_weight, or use reduction='mean'\\.$"
    with pytest.raises(fastgd.DivergenceError, match=f"the cost {text}"):
        fastgd.mse_cost(x, y, coef, sample_weight=weight, **options)
    with pytest.raises(fastgd.DivergenceError, match=f"the gradient {text}"):
        fastgd.mse_gradient(x, y, coef, sample_weight=weight, **options)
    with pytest.raises(fastgd.DivergenceError, match=f"the cost {text}"):
        fastgd.cost_curve(x, y, [coef], sample_weight=weight, **options)


# --- cost_curve -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", FUNCTIONS)
def test_cost_curve_is_the_cost_at_each(loss, weighted, reduction, dtype, order):
    x, y, _, _ = made(40, 3, dtype=dtype, labels=loss == "bce")
    rng = np.random.default_rng(1)
    coefs, intercepts = rng.standard_normal((7, 3)), rng.standard_normal(7)
    options = {"reduction": reduction, "sample_weight": rng.random(40) if weighted else None}
    x = np.asarray(x, order=order)
    costs = fastgd.cost_curve(x, y, coefs, intercept=intercepts, loss=loss, **options)
    wanted = [
        FUNCTIONS[loss][0](x, y, c, b, **options) for c, b in zip(coefs, intercepts, strict=True)
    ]
    np.testing.assert_allclose(costs, wanted, **CLOSE[dtype])
    level = fastgd.cost_curve(x, y, coefs, intercept=0.5, loss=loss, **options)
    np.testing.assert_allclose(level[2], FUNCTIONS[loss][0](x, y, coefs[2], 0.5, **options), 1e-5)


def test_the_tutorials_sweep_over_w():
    sweep = np.arange(0.0, 4.1, 0.1)
    costs = fastgd.cost_curve([1, 2, 3], [2, 4, 6], sweep)
    np.testing.assert_allclose(costs, 14 / 3 * (sweep - 2) ** 2, atol=1e-14)
    assert sweep[np.argmin(costs)] == pytest.approx(2.0)


def cubed(z, y):
    d = z - y
    return d * d * d


def cubed_slope(z, y):
    d = z - y
    return type(z)(3) * d * d


def test_cost_curve_takes_a_loss_of_ones_own():
    x, y, _, _ = made(20, 2)
    coefs = np.random.default_rng(2).standard_normal((3, 2))
    own = Loss("cubed", cubed, cubed_slope)
    wanted = np.mean((x @ coefs.T - y[:, None]) ** 3, axis=0)
    np.testing.assert_allclose(fastgd.cost_curve(x, y, coefs, loss=own), wanted, rtol=1e-12)


# --- linear ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (2, 1, 4), (0,), (3, 0)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_has_torchs_shape_rule(batch, bias, dtype):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((*batch, 3)), rng.standard_normal((4, 3))
    b = rng.standard_normal(4).astype(dtype) if bias else None
    x, weight = x.astype(dtype), weight.astype(dtype)
    wanted = torch.nn.functional.linear(
        torch.tensor(x), torch.tensor(weight), None if b is None else torch.tensor(b)
    )
    out = fastgd.linear(x, weight, b)
    assert out.shape == tuple(wanted.shape)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, wanted, rtol=2e-6 if dtype == np.float32 else 1e-13)


def test_linear_takes_lists_and_tensors():
    assert fastgd.linear([1, 2], [[3, 4], [5, 6]], [1, 0]).tolist() == [12.0, 17.0]
    layer = torch.nn.Linear(2, 3)
    x = torch.randn(5, 2)
    out = fastgd.linear(x, layer.weight, layer.bias)
    np.testing.assert_allclose(out, layer(x).detach(), rtol=1e-5, atol=1e-6)


# --- errors ---------------------------------------------------------------------------------------

X, Y = np.arange(6.0).reshape(3, 2), np.array([0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fastgd.mse_cost(X, Y, [1.0]), r"coef has shape \(1,\); expected \(2,\)"),
        (lambda: fastgd.mse_cost(X, Y, 1.0), r"coef has shape \(\); expected"),
        (lambda: fastgd.mse_cost(X, Y, None), "coef is None"),
        (lambda: fastgd.mse_cost(X, Y, ["a", "b"]), "coef holds text"),
        (lambda: fastgd.mse_cost(X, Y, [np.nan, 1.0]), r"coef is not finite: \[nan, 1.0\]"),
        (lambda: fastgd.mse_cost(X, Y, [1, 2], [1, 2]), r"intercept has shape \(2,\)"),
        (lambda: fastgd.mse_cost(X, Y[:2], [1, 2]), "x has 3 rows and y has 2"),
        (lambda: fastgd.mse_cost(X[:0], Y[:0], [1, 2]), "x has 0 rows"),
        (lambda: fastgd.mse_cost(X, Y, [1, 2], reduction="none"), "reduction is 'none'"),
        (lambda: fastgd.mse_cost(X, Y, [1, 2], sample_weight=[1, -1, 1]), "-1.0 at row 1"),
        (lambda: fastgd.mse_cost(X * np.nan, Y, [1, 2]), "x is nan at row 0, column 0"),
        (lambda: fastgd.mse_cost(X + np.inf, Y, [1, 2]), "x is inf at row 0, column 0"),
        (lambda: fastgd.bce_cost(X, Y + 1, [1, 2]), r"y is 2.0 at row 1; .* \[0, 1\]"),
        (lambda: fastgd.bce_cost(X, Y - 1, [1, 2]), r"y is -1.0 at row 0; .* \[0, 1\]"),
        (lambda: fastgd.cost_curve(X, Y, [1, 2, 3]), r"coefs has shape \(3,\); expected \(m, 2\)"),
        (lambda: fastgd.cost_curve(X, Y, np.empty((0, 2))), "m at least 1"),
        (lambda: fastgd.cost_curve(X, Y, [[1, np.inf]]), "coefs is inf at row 0, column 1"),
        (lambda: fastgd.cost_curve(X, Y, [[1, 2]], loss="mae"), "loss is 'mae'; .*'mse', 'bce'"),
        (lambda: fastgd.cost_curve(X, Y, [[1, 2]], intercept=[1, 2]), "intercept has shape"),
        (lambda: fastgd.cost_curve(X, X, [[1, 2]]), "cost_curve takes one target"),
        (lambda: fastgd.cost_curve(X, Y, [[1, 2]], intercept=np.nan), "intercept is nan at row 0"),
        (lambda: fastgd.cost_curve(X, Y + 1, [[1, 2]], loss="bce"), r"labels in \[0, 1\]"),
        (lambda: fastgd.linear(X, [1, 2]), r"weight has shape \(2,\); expected \(out, in\)"),
        (lambda: fastgd.linear(X, [[1, 2, 3]]), r"x has shape \(3, 2\); weight \(1, 3\) needs"),
        (lambda: fastgd.linear(3.0, [[1]]), r"x has shape \(\)"),
        (lambda: fastgd.linear(X, [[1, 2]], [1, 2]), r"bias has shape \(2,\); expected \(1,\)"),
        (lambda: fastgd.linear("ab", [[1, 2]]), "x is text"),
    ],
)
def test_errors_are_sentences(call, text):
    with pytest.raises(fastgd.InputError, match=text):
        call()


@np.errstate(over="ignore", invalid="ignore")  # without the JIT NumPy's scalars warn
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_overflowing_cost_raises(dtype):
    huge = np.finfo(dtype).max ** 0.75
    x, y = np.array([[huge], [1.0]], dtype), np.array([1.0, 2.0], dtype)
    with pytest.raises(fastgd.DivergenceError, match=f"the cost overflows {np.dtype(dtype)}"):
        fastgd.mse_cost(x, y, [1.0])
    with pytest.raises(fastgd.DivergenceError, match=r"overflows .* at coefs\[1\]"):
        fastgd.cost_curve(x, y, [0.0, 1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_overflowing_gradient_raises_and_a_finite_part_comes_back(dtype):
    """Each function answers for what it returns."""
    limits = np.finfo(dtype)
    x, y = np.full((4, 1), limits.max / 2, dtype), np.arange(1, 5, dtype=dtype)
    text = f"^the gradient overflows {np.dtype(dtype)} at these coefficients\\.$"
    with pytest.raises(fastgd.DivergenceError, match=text):
        fastgd.mse_gradient(x, y, [0.0])
    with pytest.raises(fastgd.DivergenceError, match=text):
        fastgd.mse_cost_and_gradient(x, y, [0.0])
    assert fastgd.mse_cost(x, y, [0.0]) == 7.5
    by_coef, by_intercept = fastgd.mse_gradient([1.0], [1.0], [1e200])
    assert by_coef.tolist() == [2e200]
    assert by_intercept == 2e200
    with pytest.raises(fastgd.DivergenceError, match="the cost overflows"):
        fastgd.mse_cost_and_gradient([1.0], [1.0], [1e200])


def test_nothing_warns():
    """What overflows is told by the result, or by an error."""
    low, big = np.ones((3, 1), np.float32), np.full((3, 1), 1e200)
    for x, coef in ((low, 1e300), (big, 1e200)):
        with pytest.raises(fastgd.DivergenceError):
            fastgd.mse_cost_and_gradient(x, Y, [coef])
        with pytest.raises(fastgd.DivergenceError):
            fastgd.cost_curve(x, Y, [0.0, coef])
    assert fastgd.linear(big, [[1e200]]).tolist() == [[np.inf]] * 3
    assert np.isnan(fastgd.linear([1e308, -1e308], [[10.0, 10.0]])).all()
    assert fastgd.linear([[1e308]], [[10.0]], [-np.inf]).shape == (1, 1)
