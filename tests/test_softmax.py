"""More than two labels: from the loss of a row up to fits, against torch and scikit-learn."""

import enum
import math
import warnings

import mpmath
import numpy as np
import oracles
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

import fastgd
from fastgd import reference
from fastgd.cpu import dense
from fastgd.cpu.machine.vector_math import vectorised
from fastgd.cpu.order import visiting_order
from fastgd.losses import CROSS_ENTROPY
from fastgd.optimizers import OPTIMIZERS
from fastgd.sources.dense import DenseRows

FAR = [
    [0.0, 0.0, 0.0],
    [1.0, -2.0, 0.5],
    [1e4, -1e4, 0.0],
    [-1e4, -1e4, -1e4],
    [40.0, 0.0, -745.0],
    [3.0, 3.0, -3.0],
    [1e4, 1e4 - 1, 1e4 - 2],
]


def made(n, d, k, seed=0, dtype=np.float64):
    """x (n, d), classes (n,), weights (n,), coef (k, d) and intercept (k,)."""
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((n, d)).astype(dtype), (rng.random(n) + 0.1).astype(dtype)
    y = np.concatenate([np.arange(k), rng.integers(0, k, max(0, n - k))])[:n]
    coef = (rng.standard_normal((k, d)) / math.sqrt(d)).astype(dtype)
    return x, y, weight, coef, rng.standard_normal(k).astype(dtype)


def folded(z):
    top, rest = z[0], type(z[0])(0)
    for one in z[1:]:
        top, rest = CROSS_ENTROPY.add(top, rest, one)
    return top, rest


def torch_totals(x, y, coef, intercept, weight=None):
    """Summed cost and gradients by autograd in float64."""
    coef, intercept = oracles.tensor(coef, True), oracles.tensor(intercept, True)
    twin = oracles.COUPLED[CROSS_ENTROPY.name]
    losses = twin(oracles.tensor(x) @ coef.T + intercept, torch.tensor(y), reduction="none")
    cost = (losses if weight is None else losses * oracles.tensor(weight)).sum()
    gradients = torch.autograd.grad(cost, (coef, intercept))
    return cost.item(), *(g.numpy() for g in gradients)


# --- the loss of a row -------------------------------------------------------------------------------


@pytest.mark.parametrize("z", FAR)
def test_the_loss_follows_torch_and_is_exact(z):
    top, rest = folded(z)
    for right in range(3):
        raw = oracles.tensor([z], requires_grad=True)
        twin = functional.cross_entropy(raw, torch.tensor([right]))
        slopes = torch.autograd.grad(twin, raw)[0][0].numpy()
        value = CROSS_ENTROPY.value(z[right], top, rest)
        ours = [CROSS_ENTROPY.slope(one, float(c == right), top, rest) for c, one in enumerate(z)]
        np.testing.assert_allclose(value, twin.item(), rtol=1e-14, atol=2e-16)
        np.testing.assert_allclose(ours, slopes, rtol=1e-13, atol=4e-16)
        with mpmath.workprec(60_000):
            total = mpmath.fsum(mpmath.exp(mpmath.mpf(one) - mpmath.mpf(z[right])) for one in z)
            assert value == pytest.approx(float(mpmath.log(total)), rel=4e-16)


def test_a_small_loss_keeps_its_digits():
    z = [-20.0, 30.0, -10.0]
    exact = math.exp(-50) + math.exp(-40)
    assert CROSS_ENTROPY.value(30.0, *folded(z)) == pytest.approx(exact, rel=1e-15)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_nan_and_infinity_are_passed_on(order):
    for bad in (math.nan, math.inf):
        z = [[1.0, bad, 2.0][i] for i in order]
        assert not math.isfinite(CROSS_ENTROPY.value(1.0, *folded(z)))


@pytest.mark.jit
def test_compiled_code_stays_in_its_dtype(check_compiled):
    value, slope = vectorised(CROSS_ENTROPY.value), vectorised(CROSS_ENTROPY.slope)
    add = vectorised(CROSS_ENTROPY.add)
    check_compiled(lambda z, a, b: value(z, a, b), CROSS_ENTROPY.value, 0.7, 1.5, 0.5)
    check_compiled(lambda z, h, a, b: slope(z, h, a, b), CROSS_ENTROPY.slope, 0.7, 1.0, 1.5, 0.5)
    for place in (0, 1):
        check_compiled(
            lambda a, b, z, place=place: add(a, b, z)[place],
            lambda a, b, z, place=place: CROSS_ENTROPY.add(a, b, z)[place],
            0.5, 0.25, 0.75,
        )  # fmt: skip


@pytest.mark.parametrize("k", [2, 3, 10])
def test_the_curvature_is_a_bound(k):
    rng = np.random.default_rng(k)
    for size in (0.0, 1.0, 5.0):
        p = np.exp(size * rng.standard_normal(k))
        p /= p.sum()
        hessian = np.diag(p) - np.outer(p, p)
        assert np.linalg.eigvalsh(hessian)[-1] <= CROSS_ENTROPY.curvature + 1e-12


# --- cost and gradient -------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_reference_follows_autograd(weighted, reduction):
    x, y, weight, coef, intercept = made(9, 4, 3)
    weight = weight if weighted else None
    given = (x.tolist(), y.tolist(), coef.tolist(), intercept.tolist())
    options = {"weight": None if weight is None else weight.tolist(), "reduction": reduction}
    wanted = torch_totals(x, y, coef, intercept, weight)
    unit = 1.0 if reduction == "sum" else 1 / (9 if weight is None else weight.sum())
    assert reference.softmax_cost(*given, **options) == pytest.approx(unit * wanted[0])
    for ours, theirs in zip(reference.softmax_gradient(*given, **options), wanted[1:], strict=True):
        np.testing.assert_allclose(ours, unit * theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(4, 1, 4), (33, 5, 3), (6, 20, 5), (700, 3, 10), (300, 100, 7), (9, 2, 2)]
)
def test_a_pass_agrees_with_torch(n, d, k, order, weighted, dtype, close):
    x, y, weight, coef, intercept = made(n, d, k, dtype=dtype)
    x = np.repeat(x, 2, axis=1)[:, ::2] if order == "strided" else np.asarray(x, order=order)
    weight = weight if weighted else None
    source = DenseRows(x, y[None].astype(dtype), weight, dtype, 2, k)
    cost, by_coef, by_intercept = torch_totals(x, y, coef, intercept, weight)
    totals = source.totals(CROSS_ENTROPY, coef, intercept)
    close(totals[:, -1].sum(), cost)
    close(totals[:, :-2], by_coef, atol=1e-6 * n if dtype == np.float32 else 1e-12)
    close(totals[:, -2], by_intercept, atol=1e-6 * n if dtype == np.float32 else 1e-12)
    alone = source.totals(CROSS_ENTROPY, coef, intercept, slopes_too=False)
    close(alone[:, -1].sum(), cost)
    center = x.mean(axis=0).astype(np.float64)
    low = coef.astype(np.float64), intercept + coef.astype(np.float64) @ center
    centred = source.totals(CROSS_ENTROPY, *low, center=center)
    close(centred[:, -1].sum(), cost)


@pytest.mark.parametrize("by_columns", [False, True])
def test_kernels_add_to_their_totals(by_columns):
    x, y, weight, coef, intercept = made(10, 3, 4)
    seen = np.ascontiguousarray(x.T) if by_columns else x
    given = [oracles.read_only(a) for a in (seen, y[None].astype(float), weight, np.empty((0, 1)))]
    totals = np.ones((4, 5))
    one = dense.Pass(CROSS_ENTROPY, by_columns, True, False, *given, coef)
    for first, last in ((0, 4), (4, 10)):
        one.add(None, coef, intercept, first, last, 0, totals)
    cost, by_coef, _ = torch_totals(x, y, coef, intercept, weight)
    assert (totals[:, -1] - 1).sum() == pytest.approx(cost)
    np.testing.assert_allclose(totals[:, :3] - 1, by_coef, atol=1e-12)


def test_the_same_bits_for_every_number_of_threads():
    x, y, weight, coef, intercept = made(200_000, 8, 4)
    sources = [DenseRows(x, y[None].astype(float), weight, np.float64, t, 4) for t in (1, 2, 3)]
    totals = {s.totals(CROSS_ENTROPY, coef, intercept).tobytes() for s in sources}
    assert len(totals) == 1


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_functions_at_the_door(weighted, reduction, dtype, close):
    x, y, weight, coef, intercept = made(40, 3, 5, dtype=dtype)
    weight = weight if weighted else None
    options = {"sample_weight": weight, "reduction": reduction}
    wanted = torch_totals(x, y, coef, intercept, weight)
    unit = 1.0 if reduction == "sum" else 1 / (40 if weight is None else weight.sum(dtype=float))
    got = fastgd.cross_entropy_cost_and_gradient(x, y, coef, intercept, **options)
    for ours, theirs in zip(got, wanted, strict=True):
        close(ours, unit * theirs, atol=1e-4 * unit * 40 if dtype == np.float32 else 1e-12)
    assert got[0] == fastgd.cross_entropy_cost(x, y, coef, intercept, **options)
    both = fastgd.cross_entropy_gradient(x, y, coef, intercept, **options)
    assert [g.tobytes() for g in both] == [g.tobytes() for g in got[1:]]
    assert both[0].shape == (5, 3)
    assert both[1].shape == (5,)


@pytest.mark.parametrize(
    ("y", "coef", "text"),
    [
        ([0, 1, 3], np.zeros((3, 1)), "y is 3 at row 2; expected a class index from 0 to 2"),
        ([0, 0.5, 1], np.zeros((3, 1)), "y is 0.5 at row 1"),
        ([0, 1, 2], np.zeros(3), r"coef has shape \(3,\); expected \(k, 1\)"),
        ([[0, 1], [1, 1], [0, 0]], np.zeros((3, 1)), "y has 2 columns"),
        ([0, math.nan, 2], np.zeros((3, 1)), "y is nan at row 1"),
    ],
)
def test_bad_classes_are_answered_with_a_sentence(y, coef, text):
    with pytest.raises(fastgd.InputError, match=text):
        fastgd.cross_entropy_cost([1, 2, 3], y, coef)


# --- trajectories ------------------------------------------------------------------------------------


def torch_walk(x, y, coef, intercept, *, orders, batch_size, optimizer, lr, l2, weight):
    """The loop of torch.optim, as `oracles.trajectory`: coef, intercept, costs."""
    x, y, n = oracles.tensor(x), torch.tensor(y), len(y)
    weight = torch.ones(n, dtype=torch.float64) if weight is None else oracles.tensor(weight)
    weight = weight * n / weight.sum()
    coef, intercept = oracles.tensor(coef, True), oracles.tensor(intercept, True)
    kind, options = oracles.OPTIMIZERS[optimizer]
    groups = [{"params": [coef], "weight_decay": l2}, {"params": [intercept]}]
    rule, costs = kind(groups, lr=lr, **options), []
    for order in orders:
        met = 0.0
        for rows in torch.as_tensor(np.array(order), dtype=torch.int64).split(batch_size or n):
            losses = functional.cross_entropy(
                x[rows] @ coef.T + intercept, y[rows], reduction="none"
            )
            total = (losses * weight[rows]).sum()
            met += total.item()
            rule.zero_grad()
            (total / len(rows)).backward()
            rule.step()
        costs.append(met / n)
    return coef.detach().numpy(), intercept.detach().numpy(), costs


@pytest.mark.parametrize(
    ("optimizer", "batch_size"),
    [("gd", None), ("adam", None), ("nesterov", None), ("gd", 1), ("adam", 1), ("gd", 8)],
)
def test_fits_walk_with_torch_and_the_reference(batch_size, optimizer, weighted):
    x, y, weight, coef, intercept = made(37, 4, 3)
    weight = weight if weighted else None
    n_epochs, lr, l2 = 4, 0.05, 0.1
    orders = [
        range(37) if batch_size is None else visiting_order(37, True, 0, e) for e in range(n_epochs)
    ]
    fit = fastgd.fit_logistic(
        x, y, lr=lr, epochs=n_epochs, batch_size=batch_size, optimizer=optimizer, l2=l2,
        coef_init=coef, intercept_init=intercept, sample_weight=weight,
    )  # fmt: skip
    wanted = torch_walk(
        x, y, coef, intercept, orders=orders, batch_size=batch_size, optimizer=optimizer, lr=lr,
        l2=l2, weight=weight,
    )  # fmt: skip
    for ours, theirs in zip((fit.coef, fit.intercept, fit.costs), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    textbook = reference.softmax_gd(
        x.tolist(), y.tolist(), coef.tolist(), intercept.tolist(),
        orders=[list(map(int, order)) for order in orders], batch_size=batch_size, lr=lr, l2=l2,
        optimizer=OPTIMIZERS[optimizer], weight=None if weight is None else weight.tolist(),
    )  # fmt: skip
    for ours, theirs in zip((fit.coef, fit.intercept, fit.costs), textbook, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_float32_l1_averages_and_paths(order):
    x, y, *_ = made(200, 6, 4, dtype=np.float32)
    x = np.asarray(x, order=order)
    fit = fastgd.fit_logistic(x, y, lr=0.1, epochs=50, l1=0.05, keep_path=True)
    start = (np.zeros((4, 6)).tolist(), [0.0] * 4)
    coef, intercept, costs, path = reference.softmax_gd(
        x.tolist(), y.tolist(), *start, orders=[range(200)] * 50, lr=0.1, l1=0.05
    )
    np.testing.assert_allclose(fit.coef, coef, atol=2e-5)
    np.testing.assert_allclose(fit.intercept, intercept, atol=2e-5)
    np.testing.assert_allclose(fit.costs, costs, rtol=1e-5)
    np.testing.assert_allclose(fit.path, path, atol=2e-5)
    assert (fit.coef == 0).any()
    assert fit.coef.dtype == fit.intercept.dtype == np.float32
    mean = fastgd.fit_logistic(x, y, lr=0.1, epochs=2, batch_size=200 // 4, average=True)
    assert mean.coef.shape == (4, 6)


def test_too_large_a_step_is_named():
    x, y, *_ = made(60, 4, 3)
    with pytest.raises(fastgd.DivergenceError) as caught:
        fastgd.fit_logistic(x * 1e160, y, lr=1e200, epochs=50)
    assert caught.value.fit.n_epochs == 0
    assert caught.value.fit.cost == pytest.approx(math.log(3))
    assert not caught.value.fit.coef.any()
    assert 0 < caught.value.stable_lr < 1e-300
    with pytest.warns(fastgd.ConvergenceWarning, match="lr up to"):
        fastgd.fit_logistic(x, y, lr=1e3, epochs=20, l2=1e-3)


# --- the optimum -------------------------------------------------------------------------------------


def scikit(x, y, l2, **options):
    """scikit-learn's optimum of the same objective: C counts the summed losses."""
    weight = options.pop("sample_weight", None)
    mass = len(x) if weight is None else weight.sum()
    model = LogisticRegression(
        C=1 / (mass * l2), solver="newton-cholesky", tol=1e-13, max_iter=1000, **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its line search ends in rounding
        return model.fit(x, y, weight)


@pytest.mark.jit  # hundreds of passes over the digits
@pytest.mark.parametrize("load", [load_iris, load_digits], ids=["iris", "digits"])
def test_auto_finds_scikit_learns_optimum(load):
    x, y = load(return_X_y=True)
    fit, model = fastgd.fit_logistic(x, y, l2=0.1), scikit(x, y, 0.1)
    assert fit.converged
    np.testing.assert_allclose(fit.coef, model.coef_, atol=1e-6)
    np.testing.assert_allclose(fit.predict_proba(x), model.predict_proba(x), atol=1e-7)
    assert (fit.predict(x) == model.predict(x)).all()
    assert fit.score(x, y) == model.score(x, y)
    cost = functional.cross_entropy(oracles.tensor(fit.raw_prediction(x)), torch.tensor(y)).item()
    assert fit.cost == pytest.approx(cost, rel=1e-12)


def test_auto_without_penalty_starts_anywhere():
    x, y, weight, coef, intercept = made(3000, 5, 4)
    y = (x @ coef.T + intercept + np.random.default_rng(3).gumbel(size=(3000, 4))).argmax(axis=1)
    fit = fastgd.fit_logistic(x * [1e6, 1, 1, 1, 1e-6] + 3, y, sample_weight=weight)
    again = fastgd.fit_logistic(
        x * [1e6, 1, 1, 1, 1e-6] + 3, y, sample_weight=weight, coef_init=fit.coef,
        intercept_init=fit.intercept,
    )  # fmt: skip
    assert fit.converged
    assert again.cost == pytest.approx(fit.cost, rel=1e-12)
    by_coef, _ = fastgd.cross_entropy_gradient(
        x, y, fit.coef * [1e6, 1, 1, 1, 1e-6], fit.intercept + 3 * fit.coef.sum(axis=1),
        sample_weight=weight,
    )  # fmt: skip
    assert np.abs(by_coef).max() < 1e-9
    np.testing.assert_allclose(fit.coef.sum(axis=0) * [1e6, 1, 1, 1, 1e-6], 0, atol=1e-9)


@pytest.mark.parametrize("load", [load_iris, load_digits], ids=["one class apart", "all apart"])
def test_what_is_separable_is_told(load):
    x, y = load(return_X_y=True)
    with pytest.warns(fastgd.ConvergenceWarning, match=r"the labels are separable: .* add l2"):
        fit = fastgd.fit_logistic(x, y)
    assert not fit.converged
    assert np.isfinite(fit.coef).all()


@pytest.mark.parametrize("optimizer", ["gd", "adam"])
@pytest.mark.parametrize("batch_size", [None, 32])
def test_auto_with_an_optimizer_descends(optimizer, batch_size):
    x, y = load_iris(return_X_y=True)
    fit = fastgd.fit_logistic(x, y, optimizer=optimizer, epochs=100, batch_size=batch_size)
    assert fit.converged
    assert fit.cost < 0.9 * math.log(3)


# --- labels and weights ------------------------------------------------------------------------------


class Kind(enum.Enum):
    ONE, TWO, THREE = 1, 2, 3


LABELS = {
    "text": ["b", "a", "c"],
    "numbers": [7, -3, 10**9],
    "floats": [2.0, 1.0, 300.0],
    "tuples": [("b", 1), ("a", 2), ("b", 2)],
    "enum": [Kind.TWO, Kind.ONE, Kind.THREE],
    "dates": list(np.array(["2024", "2023", "2025"], "M8[Y]")),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind(kind):
    x, codes, *_ = made(60, 3, 3)
    y = [LABELS[kind][c] for c in codes]
    fit = fastgd.fit_logistic(x, y, l2=0.1)
    classes = list(fit.classes)
    assert classes == (LABELS[kind] if kind == "enum" else sorted(LABELS[kind]))
    wanted = fastgd.fit_logistic(x, [classes.index(label) for label in y], l2=0.1)
    assert fit.coef.tobytes() == wanted.coef.tobytes()
    assert set(fit.predict(x).tolist()) <= set(np.array(fit.classes).tolist())
    assert fit.score(x, y) == wanted.score(x, wanted.classes[[classes.index(v) for v in y]])
    pair = [label for label in y if label != classes[2]]
    two = fastgd.fit_logistic(x[[label != classes[2] for label in y]], pair, l2=0.1)
    assert list(two.classes) == classes[:2]
    assert two.coef.shape == (3,)


def test_missing_and_mixed_labels():
    for bad, text in ((None, "no label at row 1"), (1, "can't be compared")):
        with pytest.raises(fastgd.InputError, match=text):
            fastgd.fit_logistic([1, 2, 3, 4], ["a", bad, "b", "c"])


def test_probabilities_far_out_and_files(tmp_path):
    x, y = load_iris(return_X_y=True)
    fit = fastgd.fit_logistic(x, np.array(["s", "ve", "vi"])[y], l2=1e-3)
    fit.save(tmp_path / "fit.npz")
    again = fastgd.load(tmp_path / "fit.npz")
    assert again.predict_proba(x).tobytes() == fit.predict_proba(x).tobytes()
    assert again.predict(x).tolist() == fit.predict(x).tolist()
    assert again.loss == fit.loss == "cross_entropy"
    far = fit.predict_proba(x * 1e5)
    assert np.isfinite(far).all()
    np.testing.assert_allclose(far.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("class_weight", ["balanced", "dict"])
def test_class_weights_are_scikit_learns(class_weight, k, weighted):
    x, y = load_iris(return_X_y=True)
    x, y = x[20:], y[20:]
    x, y = (x[y < 2], y[y < 2]) if k == 2 else (x, y)
    weight = np.linspace(0.5, 2, len(y)) if weighted else None
    given = class_weight if class_weight == "balanced" else {0: 3.0, 1: 0.25}
    fit = fastgd.fit_logistic(x, y, l2=0.1, class_weight=given, sample_weight=weight)
    by_class = np.array([3.0, 0.25, 1.0])
    if class_weight == "balanced":
        counts = np.bincount(y, weight)
        by_class = counts.sum() / (k * counts)
    mass = (by_class[y] * (1 if weight is None else weight)).sum()
    scale = mass / (len(y) if weight is None else weight.sum())
    model = scikit(x, y, 0.1 * scale, class_weight=given, sample_weight=weight)
    np.testing.assert_allclose(np.atleast_2d(fit.coef), model.coef_, atol=1e-7)


@pytest.mark.parametrize(
    ("class_weight", "text"),
    [
        ({"d": 1.0}, "class_weight has a weight for 'd', which is not a label of y"),
        ({"a": -1.0}, r"class_weight\['a'\] is -1.0"),
        ("even", "class_weight is 'even'; expected None, 'balanced' or a dict"),
        ({"a": 0, "b": 0, "c": 0}, "leaves every row with weight zero"),
    ],
)
@pytest.mark.parametrize("lr", ["auto", 0.1])
def test_bad_class_weights_are_answered_with_a_sentence(class_weight, text, lr):
    with pytest.raises(fastgd.InputError, match=text):
        fastgd.fit_logistic([1, 2, 3, 4], ["a", "b", "c", "a"], lr=lr, class_weight=class_weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_cost_at_the_start_of_batches_needs_no_row(weighted):
    x, y, weight, _, intercept = made(40, 3, 3)
    weight = weight if weighted else None
    start = fastgd.cross_entropy_cost(x, y, np.zeros((3, 3)), intercept, sample_weight=weight)
    with pytest.warns(fastgd.ConvergenceWarning, match=f"the cost rose from {start:.6g} to"):
        fastgd.fit_logistic(
            x, y, lr=50.0, epochs=1, batch_size=4, intercept_init=intercept, sample_weight=weight
        )


@pytest.mark.jit
@pytest.mark.parametrize(("l1", "l2"), [(0.02, 0.0), (0.05, 0.01), (0.2, 0.0)])
def test_l1_to_the_optimum_is_that_of_saga(l1, l2):
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    fit = fastgd.fit_logistic(x, y, l1=l1, l2=l2)
    with warnings.catch_warnings(action="ignore"):  # its parameters' names change with its versions
        rival = LogisticRegression(
            penalty="elasticnet", l1_ratio=l1 / (l1 + l2), C=1 / ((l1 + l2) * len(y)), solver="saga",
            tol=1e-12, max_iter=100_000,
        ).fit(x, y)  # fmt: skip
    assert fit.converged
    np.testing.assert_allclose(fit.coef, rival.coef_, atol=2e-6)
    np.testing.assert_array_equal(fit.coef == 0, rival.coef_ == 0)


@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_l1_without_an_intercept(l2):
    x, y, *_ = made(60, 3, 3)
    fit = fastgd.fit_logistic(x, y, l1=0.02, l2=l2, fit_intercept=False)
    slope, _ = fastgd.cross_entropy_gradient(x, y, fit.coef, np.zeros(3))
    slope += l2 * fit.coef
    assert fit.converged
    assert not fit.intercept.any()
    kept = fit.coef != 0
    np.testing.assert_allclose(slope[kept], -0.02 * np.sign(fit.coef[kept]), atol=1e-9)
    assert (np.abs(slope[~kept]) <= 0.02).all()


@pytest.mark.jit
@pytest.mark.parametrize("far", [0.8e6, 1e6, 1.25e6])
def test_directions_that_the_curvature_at_hand_loses(far):
    """Beside a column of ones it keeps few digits of the other column, and less with rare classes."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((222, 1)) + far
    y = (3 * (x - far) * np.arange(4) + rng.gumbel(size=(222, 4))).argmax(axis=1)
    fit = fastgd.fit_logistic(np.column_stack([x, np.ones(222)]), y, fit_intercept=False)
    assert fit.converged
    assert fit.cost == pytest.approx(fastgd.fit_logistic(x, y).cost, rel=1e-9)
