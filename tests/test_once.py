"""Blocks that can be read once: the fit of squared error is that of all rows, from one reading."""

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastgd
from fastgd.sources import once

N, D = 700, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)) * [1, 5, 0.2, 1] + [0, 3, 0, 0]
Y = X @ [1.0, -0.3, 2.0, 0.5] + 0.5 + RNG.standard_normal(N)
W = RNG.integers(0, 4, N).astype(float)
NO_OPTIMUM = pytest.mark.filterwarnings("ignore:columns")


def blocks(x, y, weight=None, size=64):
    """A generator, with blocks of so many rows."""
    for first in range(0, len(x), size):
        own = slice(first, first + size)
        yield (x[own], y[own]) if weight is None else (x[own], y[own], weight[own])


def equal(found, wanted, rtol=1e-11):
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=rtol, atol=1e-14)
    np.testing.assert_allclose(found.intercept, wanted.intercept, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(found.cost, wanted.cost, rtol=rtol, atol=1e-25)
    assert found.converged == wanted.converged


LOOPS = {
    "auto": {}, "textbook": {"lr": 0.01, "epochs": 7, "keep_path": True},
    "many epochs": {"lr": 0.01, "epochs": 500, "keep_path": True},
    "adam": {"lr": 0.1, "epochs": 50, "optimizer": "adam", "keep_path": True},
    "lbfgs": {"lr": 1.0, "epochs": 5, "optimizer": "lbfgs"},
    "step of the data": {"optimizer": "momentum"},
    "l1": {"l1": 0.1}, "l2": {"l2": 0.1}, "proximal": {"l1": 0.1, "lr": 0.01},
    "sum": {"reduction": "sum"},
    "sum, textbook": {"lr": 1e-5, "reduction": "sum", "epochs": 20, "l2": 3.0},
    "tol": {"lr": 0.01, "tol": 0.1}, "no intercept": {"fit_intercept": False},
    "no intercept, textbook": {"fit_intercept": False, "lr": 0.01},
    "start": {"coef_init": [1, 2, 3, 4], "intercept_init": 3, "lr": 0.01},
    "schedule": {"lr": 0.02, "schedule": fastgd.schedules.StepLR(5)},
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loop", LOOPS)
def test_every_loop_is_as_of_all_rows(loop, weighted):
    weight, options = W if weighted else None, LOOPS[loop]
    found = fastgd.fit_linear(blocks(X, Y, weight), **options)
    wanted = fastgd.fit_linear(X, Y, sample_weight=weight, **options)
    equal(found, wanted)
    if "lr" in options:
        np.testing.assert_allclose(found.costs, wanted.costs, rtol=1e-11)
    if options.get("keep_path"):
        np.testing.assert_allclose(found.path, wanted.path, rtol=1e-10, atol=1e-13)
    again = fastgd.fit_linear(blocks(X, Y, weight), **options)
    assert again.coef.tobytes() == found.coef.tobytes()


SHAPES = {
    "one column": (X[:, :1], Y), "one axis": (X[:, 0], Y), "two targets": (X, np.column_stack([Y, Y**2])),
    "one target of two axes": (X, Y[:, None]), "as many rows as columns": (X[:4], Y[:4]),
    "one row more than columns": (X[:5], Y[:5]), "one row more": (X[:6], Y[:6]),
    "one row": (X[:1], Y[:1]),
    "equal rows": (np.repeat(X[:1], 9, axis=0), np.repeat(Y[:1], 9)),
    "constant columns": (X * [1, 0, 1, 0] + [0, 3.3, 0, 1e8], Y),
    "constant targets": (X, np.full(N, 2.5)),
    "zeros": (X * 0, Y), "sizes": (X * [1e-8, 1, 1e8, 1e3], Y * 1e5),
    "tiny": (X * 1e-150, Y * 1e-150), "large": (X * 1e140, Y * 1e140),
    "integers": (np.round(X * 10).astype(np.int16), np.round(Y).astype(int)), "bool": (X > 0, Y > 0),
    "dependent": (np.column_stack([X, X[:, 0] + X[:, 1]]), Y),
}  # fmt: skip


@NO_OPTIMUM
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_sizes(shape, fit_intercept):
    (x, y), options = SHAPES[shape], {"fit_intercept": fit_intercept}
    found, wanted = fastgd.fit_linear(blocks(x, y), **options), fastgd.fit_linear(x, y, **options)
    equal(found, wanted, 1e-9)
    assert found.coef.shape == wanted.coef.shape
    size = np.abs(y).max() ** 2
    assert abs(found.cost - wanted.cost) <= 1e-11 * wanted.cost + 1e-24 * size
    with_l2 = fastgd.fit_linear(blocks(x, y), l2=0.1, **options)
    equal(with_l2, fastgd.fit_linear(x, y, l2=0.1, **options), 1e-9)


def test_fewer_rows_than_columns():
    x, y = RNG.standard_normal((5, 8)), RNG.standard_normal(5)
    equal(fastgd.fit_linear(blocks(x, y), l2=0.1), fastgd.fit_linear(x, y, l2=0.1))
    equal(fastgd.fit_linear(blocks(x, y), lr=0.01), fastgd.fit_linear(x, y, lr=0.01))


def test_means_far_from_zero_keep_their_digits():
    """To the rounding of the means, in units of what the columns vary by; the cost to its own."""
    y = np.tile(Y, 30) + RNG.standard_normal(30 * N)
    x = np.tile(X, (30, 1)) + np.array([0, 1e6, 0, -1e7])
    found, wanted = fastgd.fit_linear(blocks(x, y)), fastgd.fit_linear(x, y)
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-8)
    np.testing.assert_allclose(found.cost, wanted.cost, rtol=1e-13)


@pytest.mark.parametrize("value", [0.1, 1e-300, -1e300, 1e17 / 3])
def test_constant_columns_stay_constant(value):
    """Also where the mean of their numbers is rounded."""
    x, y = np.column_stack([X, np.full(N, value)]), np.full(N, value)
    found = once.summary(blocks(x, y, np.where(W > 1, 0.3, 0.0), 49), None, None)
    assert set(found.x[:, -1]) == set(found.y) == {value}
    assert found.weight.sum() == pytest.approx(0.3 * (W > 1).sum())


def test_weights_of_any_size():
    for weight in (W * 1e-200, W * 1e200, np.where(W > 1, 1e-9, 1e9), (W.max() == W).astype(float)):
        found = fastgd.fit_linear(blocks(X, Y, weight))
        equal(found, fastgd.fit_linear(X, Y, sample_weight=weight), 1e-10)
    whole = np.repeat(X, W.astype(int), axis=0), np.repeat(Y, W.astype(int))
    found = fastgd.fit_linear(blocks(X, Y, W), lr=1e-6, reduction="sum", epochs=9)
    equal(found, fastgd.fit_linear(*whole, lr=1e-6, reduction="sum", epochs=9))


@pytest.mark.parametrize("size", [1, 3, 699, 10_000])
def test_blocks_of_any_size(size, monkeypatch):
    monkeypatch.setattr(once, "_BYTES", 40 * 6 * 8)  # the triangle is taken after 40 rows
    equal(fastgd.fit_linear(blocks(X, Y, W, size)), fastgd.fit_linear(X, Y, sample_weight=W))


def test_kinds_of_blocks():
    wanted = fastgd.fit_linear(X, Y)
    parts = [X[:300], X[300:]]
    for x, y in (
        (zip(parts, [Y[:300], Y[300:]], strict=True), None), (iter(parts), Y),
        (map(np.asarray, parts), Y),
        ((csr_array(part) for part in parts), Y), (itertools.chain(parts), Y.tolist()),
        (iter([np.asfortranarray(X)]), Y), (((x, y.tolist()) for x, y in blocks(X, Y)), None),
    ):  # fmt: skip
        equal(fastgd.fit_linear(x, y), wanted)
    equal(
        fastgd.fit_linear(iter(parts), Y, sample_weight=W), fastgd.fit_linear(X, Y, sample_weight=W)
    )
    single = X.astype(np.float32), Y.astype(np.float32)
    for options in ({}, {"lr": 0.01}):
        found, wanted = (
            fastgd.fit_linear(blocks(*single), **options),
            fastgd.fit_linear(*single, **options),
        )
        assert found.coef.dtype == np.float32
        np.testing.assert_allclose(found.coef, wanted.coef, rtol=2e-5)


def test_it_is_read_once_and_ahead():
    read = []

    def counted():
        for block in blocks(X, Y):
            read.append(len(block[0]))
            yield block

    fastgd.fit_linear(counted(), lr=0.01)
    assert sum(read) == N


def test_what_goes_with_it():
    held = X[:100] + 0.1, Y[:100]
    options = {"lr": 0.01, "epochs": 30, "validation": held, "patience": 30}
    with pytest.warns(fastgd.ConvergenceWarning, match="lowest after epoch 30"):
        found = fastgd.fit_linear(blocks(X, Y), **options)
    with pytest.warns(fastgd.ConvergenceWarning):
        wanted = fastgd.fit_linear(X, Y, **options)
    np.testing.assert_allclose(found.validation_costs, wanted.validation_costs, rtol=1e-11)
    short = fastgd.fit_linear(blocks(X, Y), lr=0.01, callback=lambda fit: True)
    rest = fastgd.fit_linear(blocks(X, Y), lr=0.01, resume=short)
    assert rest.coef.tobytes() == fastgd.fit_linear(blocks(X, Y), lr=0.01).coef.tobytes()
    with pytest.raises(fastgd.DivergenceError) as caught:
        fastgd.fit_linear(blocks(X, Y), lr=100.0, epochs=2_000)
    with pytest.raises(fastgd.DivergenceError) as wanted:
        fastgd.fit_linear(X, Y, lr=100.0, epochs=2_000)
    assert caught.value.stable_lr == pytest.approx(wanted.value.stable_lr, rel=1e-5)


# --- what is refused ----------------------------------------------------------------------------------


def refused(match, x, y=None, call=fastgd.fit_linear, **options):
    with pytest.raises(fastgd.InputError, match=match) as caught:
        call(x, y, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"loss": "huber"}, "the loss 'huber' needs them in every step"),
        ({"batch_size": 2, "lr": 0.1}, "updates with a batch_size need them"),
        ({"validation": 0.2, "lr": 0.1}, "a share for validation needs them"),
        ({"offset": np.ones(N)}, "offset belongs to rows"),
    ],
)
def test_what_needs_more_than_one_reading(options, what):
    x = blocks(X, Y)
    said = refused(what, x, call=fastgd.fit, **options)
    assert said.startswith("x is a generator, whose blocks can be read once, and ")
    assert said.endswith("pass the function that makes it, as in fit(make_blocks, None).")
    assert len(next(x)[0]) == 64  # nothing was read


def test_other_calls():
    fit = fastgd.fit_linear(X, Y)
    refused("x is a generator", blocks(X, Y), call=fastgd.fit_logistic)
    refused("x is a generator", blocks(X, Y), call=lambda x, y: fit.predict(x))
    refused("x is a generator", blocks(X, Y), Y, call=fit.score)
    refused("in validation, x is a generator", X, Y, lr=0.1, validation=(blocks(X, Y), None))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sparse", [False, True])
def test_what_is_not_finite_is_named(value, sparse):
    x = X.copy()
    x[130, 2] = value
    made = ((csr_array(a), b) if sparse else (a, b) for a, b in blocks(x, Y))
    refused(f"in block 2, x is {value} at row 2, column 2; drop or fill that row", made)
    y = Y.copy()
    y[130] = value
    refused(f"in block 2, y is {value} at row 2", blocks(X, y))
    refused(
        f"in block 2, sample_weight is {value} at row 2", blocks(X, Y, np.where(y == Y, 1.0, y))
    )


def test_what_does_not_fit_together():
    refused("x gave no block", iter([]))
    refused("in block 0, y is missing", iter([X]))
    refused("in block 0, x comes with y of its own; pass y=None", blocks(X, Y), Y)
    refused("y is 'price', and x has no named columns", blocks(X, Y), "price")
    refused("in block 0, x has 64 rows and y has 63", ((a, b[1:]) for a, b in blocks(X, Y)))
    refused("in block 1, x has 3 columns, .* block 0 has 4", iter([(X, Y), (X[:, :3], Y)]))
    refused("in block 1, .* 2 of targets", iter([(X, Y), (X, np.column_stack([Y, Y]))]))
    refused("in block 1, y is missing", iter([(X, Y), X]))
    refused("x has 700 rows and y has 701", iter([X]), np.append(Y, 1.0))
    refused("in block 1, x has 400 rows and y has 399", iter([X[:300], X[300:]]), Y[:-1])
    refused("in block 0, x has shape", iter([(X[None], Y)]))
    refused("in block 0, x has shape .* dtype object", iter([(np.array([["a"]], object), [1])]))
    refused("in block 0, x has shape .* dtype int64", (value for value in range(6)), np.ones(6))
    refused(
        "in block 1, sample_weight is -1.0 at row 0",
        blocks(X, Y, np.where(np.arange(N) == 64, -1, W)),
    )
    refused("sample_weight is zero for every row", blocks(X, Y, 0 * W))
    refused("in block 0, sample_weight has shape", ((a, b, [1.0]) for a, b in blocks(X, Y)))
    refused("x has 2049 columns", iter([(np.ones((2, 2049)), np.ones(2))]))


def test_readings_that_fail():
    def failing():
        yield from blocks(X[:128], Y[:128])
        raise OSError("the disk is gone")

    with pytest.raises(
        fastgd.BlockError, match="block 2 of x can't be read: OSError: the disk is gone"
    ):
        fastgd.fit_linear(failing())
    with pytest.raises(fastgd.DivergenceError, match="too large; scale them"):
        fastgd.fit_linear(blocks(X * 1e306, Y))
