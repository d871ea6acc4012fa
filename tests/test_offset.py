"""`offset`, the known part of a raw prediction: in every loss, loop, layout and solver."""

import numpy as np
import oracles
import pytest

import fastgd
from fastgd import InputError, reference
from fastgd.fitting.held_out import split
from fastgd.losses import CROSS_ENTROPY, LOSSES
from fastgd.sources.dense import DenseRows

PLAIN = [name for name, loss in LOSSES.items() if not loss.coupled]


def made(loss_name, n=40, d=3, seed=0):
    """x (n, d), y (n,) and an offset (n,) that matters."""
    x, y, _, _, _ = oracles.problem(n, d, loss_name, seed=seed)
    return x, y, np.linspace(-0.8, 1.1, n)[np.random.default_rng(5).permutation(n)]


def walked(x, y, offset, loss, batch_size, epochs=3, lr=0.02):
    """The reference's coefficients, intercept and costs, rows in the given order."""
    orders = [list(range(len(y)))] * epochs
    return reference.minibatch_gd(
        x.tolist(), y.tolist(), [0.0] * x.shape[1], orders=orders, lr=lr, loss=loss,
        batch_size=batch_size or len(y), offset=offset.tolist(),
    )  # fmt: skip


#: A loop of single rows is compiled for its loss: three of them do.
LOSS_AND_BATCH = [
    (name, size)
    for name in PLAIN
    for size in (None, 7, 1)
    if size != 1 or name in ("mse", "bce", "poisson")
]


@pytest.mark.parametrize(("name", "batch_size"), LOSS_AND_BATCH)
def test_the_iterates_of_every_loss_are_those_of_the_reference(name, batch_size):
    x, y, offset = made(name)
    coef, intercept, costs, _ = walked(x, y, offset, LOSSES[name], batch_size)
    fit = fastgd.fit(
        x, y, name, offset=offset, lr=0.02, epochs=3, batch_size=batch_size, shuffle=False
    )
    np.testing.assert_allclose(fit.coef, coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.intercept, intercept, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.costs, costs, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [None, 1, 7])
@pytest.mark.parametrize(
    "lay",
    [np.asfortranarray, lambda x: x[:, ::-1][:, ::-1], lambda x: x.astype(np.float32)],
    ids=["F", "strided", "float32"],
)
def test_layouts_and_dtypes(lay, batch_size):
    x, y, offset = made("bce", 300, 4)
    x = x.astype(np.float32).astype(float)
    coef, _, costs, _ = walked(x, y, offset, LOSSES["bce"], batch_size)
    fit = fastgd.fit_logistic(
        lay(x), y, offset=offset, lr=0.02, epochs=3, batch_size=batch_size, shuffle=False
    )
    tolerance = 1e-4 if fit.coef.dtype == np.float32 else 1e-9
    np.testing.assert_allclose(fit.coef, coef, rtol=tolerance, atol=1e-6 * tolerance / 1e-9)
    np.testing.assert_allclose(fit.costs, costs, rtol=tolerance)


@pytest.mark.parametrize("batch_size", [None, 1, 7])
@pytest.mark.parametrize("of_each", [False, True])
@pytest.mark.parametrize("name", ["mse", "poisson"])
def test_several_outputs(name, of_each, batch_size):
    x, y, offset = made(name)
    y = np.column_stack([y, y[::-1]])
    offset = np.column_stack([offset, -offset]) if of_each else offset
    fit = fastgd.fit(
        x, y, name, offset=offset, lr=0.02, epochs=3, batch_size=batch_size, shuffle=False
    )
    for c in range(2):
        own = offset[:, c] if of_each else offset
        factor = 2 if batch_size is None else 1  # batch descent: the mean is over both outputs
        wanted = walked(x, y[:, c], own, LOSSES[name], batch_size, lr=0.02 / factor)[0]
        if batch_size is None:
            np.testing.assert_allclose(fit.coef[c], wanted, rtol=1e-9)
        else:
            lr = 0.01  # a batch divides by its entries too
            wanted = walked(x, y[:, c], own, LOSSES[name], batch_size, lr=lr)[0]
            np.testing.assert_allclose(fit.coef[c], wanted, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_softmax(batch_size):
    x, _, _ = made("mse")
    y = np.digitize(x[:, 0], [-0.5, 0.5]).astype(float)
    offset = np.random.default_rng(1).normal(size=(len(y), 3))
    given = [[0.0] * 3] * 3, [0.0] * 3
    coef, _, costs, _ = reference.softmax_gd(
        x.tolist(), y.astype(int).tolist(), *given, orders=[list(range(len(y)))] * 3, lr=0.1,
        batch_size=batch_size, offset=offset.tolist(),
    )  # fmt: skip
    options = {"lr": 0.1, "epochs": 3, "batch_size": batch_size, "shuffle": False}
    fit = fastgd.fit_logistic(x, y, offset=offset, **options)
    np.testing.assert_allclose(fit.coef, coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.costs, costs, rtol=1e-9)


# --- to the optimum ----------------------------------------------------------------------------------


def slopes_at(fit, x, y, loss, offset, weight=None):
    """The gradient of the mean cost at a fit, by the reference."""
    by_coef, by_intercept = reference.gradient(
        x.tolist(),
        y.tolist(),
        fit.coef.tolist(),
        fit.intercept,
        loss,
        weight,
        offset=offset.tolist(),
    )
    return np.array([*by_coef, by_intercept])


SMOOTH = [name for name in PLAIN if LOSSES[name].smooth]


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_is_zero_at_the_optimum(name):
    x, y, offset = made(name, 60)
    fit = fastgd.fit(x, y, name, offset=offset, l2=0.1)
    slopes = slopes_at(fit, x, y, LOSSES[name], offset)
    slopes[:-1] += 0.1 * fit.coef
    assert fit.converged
    np.testing.assert_allclose(slopes, 0, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"l1": 0.02}, {"l2": 0.1}], ids=str)
@pytest.mark.parametrize("name", ["quantile", "epsilon_insensitive"])
def test_residuals_with_kinks(name, options):
    x, y, offset = made(name, 60)
    fit = fastgd.fit(x, y, name, offset=offset, **options)
    wanted = fastgd.fit(x, y - offset, name, **options)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.cost, wanted.cost, rtol=1e-12)


def test_margins_with_a_kink():
    x, y, offset = made("hinge", 60)
    fit = fastgd.fit(x, y, "hinge", offset=offset, l2=0.1)

    def objective(coef, intercept):
        margins = (2 * y - 1) * (x @ coef + intercept + offset)
        return np.maximum(0, 1 - margins).mean() + 0.05 * coef @ coef

    assert fit.converged
    best, rng = objective(fit.coef, fit.intercept), np.random.default_rng(0)
    for size in (1e-2, 1e-4):
        for *move, level in size * rng.normal(size=(50, 4)):
            assert objective(fit.coef + move, fit.intercept + level) > best


@pytest.mark.parametrize("name", ["mse", "bce", "poisson"])
def test_the_optimum_from_a_sample_of_many_rows(name):
    """Rows of a sample have their own offset."""
    x, y, _ = made(name, 20_000, 2)
    offset = np.random.default_rng(2).normal(size=len(y))
    fit = fastgd.fit(x, y, name, offset=offset)
    assert np.abs(slopes_at(fit, x, y, LOSSES[name], offset)).max() < 1e-9
    assert fit.n_epochs < 15


@pytest.mark.parametrize("name", ["mse", "bce", "poisson"])
def test_l1_keeps_the_conditions_of_its_optimum(name):
    x, y, offset = made(name, 60, 5)
    fit = fastgd.fit(x, y, name, offset=offset, l1=0.05)
    slopes = slopes_at(fit, x, y, LOSSES[name], offset)
    of_coef, zero = slopes[:-1], fit.coef == 0
    np.testing.assert_allclose(of_coef[~zero], -0.05 * np.sign(fit.coef[~zero]), atol=1e-6)
    assert (np.abs(of_coef[zero]) <= 0.05 + 1e-6).all()
    assert abs(slopes[-1]) < 1e-6


@pytest.mark.parametrize("l1", [0.0, 0.02])
def test_softmax_to_its_optimum(l1):
    x, _, _ = made("mse", 80)
    y = np.digitize(x[:, 0] + np.sin(7 * x[:, 1]), [-0.5, 0.5])
    offset = np.random.default_rng(1).normal(size=(len(y), 3))
    fit = fastgd.fit_logistic(x, y, offset=offset, l1=l1)
    at = x.tolist(), y.tolist(), fit.coef.tolist(), fit.intercept.tolist()
    by_coef, by_intercept = reference.softmax_gradient(*at, offset=offset.tolist())
    by_coef, zero = np.array(by_coef), fit.coef == 0
    np.testing.assert_allclose(by_coef[~zero], -l1 * np.sign(fit.coef[~zero]), atol=1e-6)
    np.testing.assert_allclose(by_intercept, 0, atol=1e-6)


def test_an_exposure_is_a_weight_of_a_rate():
    """Poisson: exp(z + o) − y·z is e^o·(exp(z) − y·e^−o·z)."""
    x, y, offset = made("poisson")
    fit = fastgd.fit(x, y, "poisson", offset=offset)
    of_rates = fastgd.fit(x, y * np.exp(-offset), "poisson", sample_weight=np.exp(offset))
    np.testing.assert_allclose(fit.coef, of_rates.coef, rtol=1e-8)
    np.testing.assert_allclose(fit.intercept, of_rates.intercept, rtol=1e-8)


def test_a_fit_is_the_offset_of_the_next():
    x, y, _ = made("bce", 200)
    first = fastgd.fit_logistic(x, y)
    rest = fastgd.fit_logistic(x, y, offset=first.raw_prediction(x))
    np.testing.assert_allclose(rest.coef, 0, atol=1e-8)


def test_labels_that_only_the_offset_separates_have_an_optimum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 2)), np.arange(100) % 2
    offset = 60.0 * (2 * y - 1)
    fit = fastgd.fit_logistic(x, y, offset=offset)  # warns of nothing
    assert fit.converged


@pytest.mark.parametrize("options", [{"optimizer": "lbfgs"}, {"optimizer": "adam"}], ids=str)
def test_optimizers_see_it(options):
    x, y, offset = made("bce", 100)
    fit = fastgd.fit_logistic(x, y, offset=offset, epochs=2000, **options)
    assert np.abs(slopes_at(fit, x, y, LOSSES["bce"], offset)).max() < 1e-3


def test_the_same_bits_for_every_number_of_threads():
    x, y, offset = (np.concatenate([a] * 500) for a in made("bce", 1000, 4))
    options = {"offset": offset, "lr": 0.5, "epochs": 3}
    one, two = (fastgd.fit_logistic(x, y, n_threads=t, **options) for t in (1, 2))
    assert one.coef.tobytes() == two.coef.tobytes()


def test_a_part_of_the_rows_and_one_output_have_their_own():
    x, y, offset = made("bce")
    offsets = np.stack([offset, -offset])
    source = DenseRows(x, np.stack([y, y]), None, np.float64, 1, offset=offsets)
    part, _ = source.subset(2, together=1)
    np.testing.assert_array_equal(part.offset, offsets[:, ::2])
    np.testing.assert_array_equal(source.only(1).offset, offsets[1:])
    np.testing.assert_array_equal(source.only(1).subset(2, together=1)[0].offset, offsets[1:, ::2])
    assert not source.with_targets(source.y, np.float64).offset.size


# --- rows held out, predictions ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mse", "bce"])
@pytest.mark.filterwarnings("ignore:the validation cost was lowest")
def test_rows_held_out_have_their_own(name):
    x, y, offset = made(name, 50)
    options = {"lr": 0.05, "epochs": 6, "patience": 1}
    held = x[30:], 1 - y[30:], None, offset[30:]  # which gets worse at once
    fit = fastgd.fit(x[:30], y[:30], name, offset=offset[:30], validation=held, **options)
    at = held[0].tolist(), held[1].tolist(), fit.coef.tolist(), fit.intercept
    wanted = reference.cost(*at, LOSSES[name], offset=offset[30:].tolist())
    assert fit.validation_costs[fit.best_epoch - 1] == pytest.approx(wanted)


@pytest.mark.filterwarnings("ignore:the validation cost was lowest")
def test_a_share_held_out_is_that_of_the_tuple():
    x, y, offset = made("bce", 50)
    options = {"lr": 0.05, "epochs": 4}
    drawn = fastgd.fit(x, y, "bce", offset=offset, validation=0.2, **options)
    trained, others = split(50, 0.2, 0)
    held = x[others], y[others], None, offset[others]
    x, y, offset = x[trained], y[trained], offset[trained]
    given = fastgd.fit(x, y, "bce", offset=offset, validation=held, **options)
    np.testing.assert_allclose(drawn.validation_costs, given.validation_costs, rtol=1e-12)
    np.testing.assert_allclose(drawn.coef, given.coef, rtol=1e-12)


def test_predictions_take_it():
    x, y, offset = made("poisson")
    fit = fastgd.fit(x, y, "poisson", offset=offset)
    raw = x @ fit.coef + fit.intercept
    np.testing.assert_allclose(fit.predict(x), np.exp(raw))
    np.testing.assert_allclose(fit.predict(x, offset), np.exp(raw + offset))
    np.testing.assert_allclose(fit.raw_prediction(x, list(offset)), raw + offset)
    y = np.exp(raw + offset)
    assert fit.score(x, y, offset=offset) == pytest.approx(1)
    assert fit.score(x, y) < 0.9
    one = fit.predict(x[:1], [offset[0]])
    np.testing.assert_allclose(one, np.exp(raw[:1] + offset[:1]))


def test_probabilities_take_it():
    x, y, offset = made("bce")
    fit = fastgd.fit_logistic(x, y, offset=offset)
    raw = x @ fit.coef + fit.intercept + offset
    np.testing.assert_allclose(fit.predict_proba(x, offset)[:, 1], 1 / (1 + np.exp(-raw)))
    np.testing.assert_array_equal(fit.predict(x, offset), (raw > 0).astype(y.dtype))


def test_residuals_of_a_line_through_known_parts():
    x = np.arange(5.0)
    fit = fastgd.fit_linear(x, 2 * x + 1 + x**2, offset=x**2)
    np.testing.assert_allclose([fit.coef[0], fit.intercept], [2, 1])
    np.testing.assert_allclose(fit.predict([5.0], [25.0]), [36])


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (np.zeros(3), r"offset has shape \(3,\); expected \(40,\), one number a row of x\."),
        (1.0, r"offset has shape \(\)"),
        (np.zeros((40, 2)), r"offset has shape \(40, 2\)"),
        (["a"] * 40, "offset"),
        ([0.0] * 39 + [np.nan], "offset is nan at row 39"),
        ([0.0] * 39 + [np.inf], "offset is inf at row 39"),
    ],
    ids=["short", "number", "wide", "text", "nan", "inf"],
)
@pytest.mark.parametrize("options", [{}, {"lr": 0.1}, {"lr": 0.1, "batch_size": 1}], ids=str)
def test_what_can_not_be_an_offset(offset, message, options):
    x, y, _ = made("bce")
    with pytest.raises(InputError, match=message):
        fastgd.fit_logistic(x, y, offset=offset, **options)


def test_one_number_a_row_says_nothing_of_classes():
    x, y, offset = made("mse")
    with pytest.raises(
        InputError, match=r"moves all 3 classes alike .* one for each class, \(40, 3\)"
    ):
        fastgd.fit_logistic(x, np.arange(40) % 3, offset=offset)
    with pytest.raises(InputError, match="offset"):
        fastgd.fit(x, y > 0, CROSS_ENTROPY, offset=offset)


def test_rows_held_out_need_one_too():
    x, y, offset = made("mse")
    given = {"lr": 0.1, "epochs": 2}
    with pytest.raises(InputError, match="in validation, the rows have no offset"):
        fastgd.fit_linear(x, y, offset=offset, validation=(x, y), **given)
    with pytest.raises(InputError, match="in validation, the rows have an offset"):
        fastgd.fit_linear(x, y, validation=(x, y, None, offset), **given)


def test_what_can_not_be_the_offset_of_a_prediction():
    x, y, offset = made("mse")
    fit = fastgd.fit_linear(x, y, offset=offset)
    with pytest.raises(InputError, match=r"offset has shape \(39,\); expected \(40,\)"):
        fit.predict(x, offset[1:])
    with pytest.raises(InputError, match="offset is nan at row 0"):
        fit.predict(x[:1], [np.nan])
