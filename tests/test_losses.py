"""Losses: values and slopes against torch, exact numbers and finite differences, up to ±1e4."""

import itertools
import math
import re

import mpmath
import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastgd import losses
from fastgd.compile.functions import kernel, with_parameter
from fastgd.cpu.machine.vector_math import vectorised
from fastgd.errors import InputError
from fastgd.losses import Loss

#: The losses of one raw prediction.
LOSSES = {name: loss for name, loss in losses.LOSSES.items() if not loss.coupled}

Z = [-1e4, -745.0, -40.0, -1.5, -1.0, -1e-9, 0.0, 1e-9, 0.5, 17.0, 40.0, 745.0, 1e4]
#: Targets by their kind, and those that one loss takes besides.
Y = {
    losses.REAL: [-1e4, -2.0, 0.0, 0.3, 1e4], losses.LABELS: [0.0, 1.0],
    losses.COUNTS: [0.0, 1.0, 3.0, 1e4], losses.POSITIVE: [1e-9, 1.0, 3.7, 1e4],
}  # fmt: skip
MORE = {"bce": [0.3]}
#: The losses by name, and with other parameters; powers whose products with Z are exact.
CASES = LOSSES | {
    f"{loss.name} {loss.p:g}": loss
    for loss in (
        losses.Quantile(0.9), losses.EpsilonInsensitive(0.0), losses.SquaredEpsilonInsensitive(2.0),
        losses.Tweedie(-1), losses.Tweedie(0), losses.Tweedie(1), losses.Tweedie(1.25),
        losses.Tweedie(2), losses.Tweedie(3), losses.NegativeBinomial(1e-6),
        losses.NegativeBinomial(0.25), losses.NegativeBinomial(30),
    )
}  # fmt: skip


def log_1_and_exp(z):
    return mpmath.log1p(mpmath.exp(z))


def margin(z, y):
    return z if y > 0 else -z


def side(y):
    return 1 if y > 0 else -1


def power(z, p):
    """The integral of exp((p − 1)·z) over exp(z), without a constant."""
    return mpmath.exp(p * z) / p if p else z


def cut(z, low, high):
    return min(max(z, low), high)


def insensitive(z, y, p):
    return max(abs(z - y) - p, 0)


#: Value and slope of (z, y, p).
EXACT = {
    "mse": (lambda z, y, p: (z - y) ** 2, lambda z, y, p: 2 * (z - y)),
    "bce": (
        lambda z, y, p: y * log_1_and_exp(-z) + (1 - y) * log_1_and_exp(z),
        lambda z, y, p: 1 / (1 + mpmath.exp(-z)) - y,
    ),
    "huber": (
        lambda z, y, p: (z - y) ** 2 / 2 if abs(z - y) <= p else p * (abs(z - y) - p / 2),
        lambda z, y, p: cut(z - y, -p, p),
    ),
    "quantile": (
        lambda z, y, p: max(p * (y - z), (1 - p) * (z - y)),
        lambda z, y, p: (z > y) * (1 - p) - (z < y) * p,
    ),
    "epsilon_insensitive": (
        insensitive, lambda z, y, p: (insensitive(z, y, p) > 0) * mpmath.sign(z - y)
    ),
    "squared_epsilon_insensitive": (
        lambda z, y, p: insensitive(z, y, p) ** 2,
        lambda z, y, p: 2 * insensitive(z, y, p) * mpmath.sign(z - y),
    ),
    "hinge": (
        lambda z, y, p: max(1 - margin(z, y), 0), lambda z, y, p: -side(y) * (margin(z, y) <= 1)
    ),
    "squared_hinge": (
        lambda z, y, p: max(1 - margin(z, y), 0) ** 2,
        lambda z, y, p: -2 * side(y) * max(1 - margin(z, y), 0),
    ),
    "modified_huber": (
        lambda z, y, p: max(1 - margin(z, y), 0) ** 2 if margin(z, y) >= -1 else -4 * margin(z, y),
        lambda z, y, p: -2 * side(y) * cut(1 - margin(z, y), 0, 2),
    ),
    "poisson": (lambda z, y, p: mpmath.exp(z) - y * z, lambda z, y, p: mpmath.exp(z) - y),
    "gamma": (lambda z, y, p: z + y * mpmath.exp(-z), lambda z, y, p: 1 - y * mpmath.exp(-z)),
    "tweedie": (
        lambda z, y, p: power(z, 2 - p) - y * power(z, 1 - p),
        lambda z, y, p: mpmath.exp((2 - p) * z) - y * mpmath.exp((1 - p) * z),
    ),
    "negative_binomial": (
        lambda z, y, p: (y + 1 / p) * log_1_and_exp(z + mpmath.log(p)) - y * z,
        lambda z, y, p: (mpmath.exp(z) - y) / (1 + p * mpmath.exp(z)),
    ),
}  # fmt: skip
#: What a value rounds relative to: the larger of its two parts, where they have opposite signs.
PARTS = {
    "huber": lambda z, y, p: p * max(abs(z - y), p),
    "bce": lambda z, y, p: abs(z * y) * (y not in (0, 1)),
    "epsilon_insensitive": lambda z, y, p: max(abs(z - y), p),
    "squared_epsilon_insensitive": lambda z, y, p: max(abs(z - y), p) ** 2,
    "poisson": lambda z, y, p: abs(z * y),
    "gamma": lambda z, y, p: abs(z),
    "tweedie": lambda z, y, p: abs(power(z, 2 - p)),
    "negative_binomial": lambda z, y, p: abs(z * y),
}

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_case = pytest.mark.parametrize("loss", CASES.values(), ids=CASES)
SMOOTH = {name: loss for name, loss in LOSSES.items() if loss.second is not None}


def grid(loss):
    """All pairs at which the loss is a number of float64."""
    exact, p = EXACT[loss.name][0], mpmath.mpf(loss.p)
    pairs = itertools.product(Z, [*Y[loss.targets], *MORE.get(loss.name, [])])
    return np.array([(z, y) for z, y in pairs if abs(exact(mpmath.mpf(z), y, p)) < 1e300]).T


def target(loss, share):
    """A target of the loss, of a number from 0 to 1."""
    if loss.targets == losses.LABELS and loss.name not in MORE:
        return float(share > 0.5)
    return share + 0.01 * (loss.targets == losses.POSITIVE)


def is_near_a_corner(loss, z, y, h):
    """Whether the slope has a jump or a corner within h."""
    if loss.targets == losses.LABELS:
        corners = [-1.0, 1.0]
    elif loss.name == "quantile":
        corners = [y]
    else:
        corners = [y - loss.p, y + loss.p] if "exp" not in loss.link.__name__ else []
    return any(abs(z - corner) <= h for corner in corners)


def value(loss, z, y):
    return loss.value(z, y, *loss.parameters)


def slope(loss, z, y):
    return loss.slope(z, y, *loss.parameters)


def test_every_loss_has_a_torch_twin():
    assert LOSSES.keys() == oracles.LOSSES.keys() == oracles.MODULES.keys()
    assert all(name == loss.name for name, loss in LOSSES.items())


@every_loss
def test_value_and_slope_follow_torch(loss):
    z, y = grid(loss)

    def twin(z):
        return oracles.LOSSES[loss.name](z, oracles.tensor(y), reduction="none")

    values = [value(loss, *pair) for pair in zip(z, y, strict=True)]
    # torch rounds a small loss and a small slope as if they were 1: absolute there.
    np.testing.assert_allclose(values, twin(oracles.tensor(z)), rtol=1e-14, atol=2e-16)
    slopes = [slope(loss, *pair) for pair in zip(z, y, strict=True)]
    np.testing.assert_allclose(slopes, oracles.slope(twin, z), rtol=1e-14, atol=2e-16)


@every_case
def test_value_and_slope_are_exact_to_rounding(loss):
    """Nothing overflows, and no digit of a small loss is lost beside a large label or exponential."""
    exact_value, exact_slope = EXACT[loss.name]
    with mpmath.workprec(300):
        for z, y in grid(loss).T.tolist():
            at = mpmath.mpf(z), mpmath.mpf(y), mpmath.mpf(loss.p)
            scale = 4e-16 * float(PARTS.get(loss.name, lambda *at: 0.0)(*at))
            scale += 1e-318  # below, numbers have few digits
            wanted = float(exact_value(*at)), float(exact_slope(*at))
            assert value(loss, z, y) == pytest.approx(wanted[0], rel=1e-15, abs=scale), (z, y)
            assert slope(loss, z, y) == pytest.approx(wanted[1], rel=1e-15, abs=2e-16), (z, y)


@every_loss
@given(z=st.floats(-40, 40), share=st.floats(0, 1))
def test_slope_is_the_finite_difference(loss, z, share):
    h, y = 1e-5, target(loss, share)
    difference = (value(loss, z + h, y) - value(loss, z - h, y)) / (2 * h)
    assume(loss.quadratic or not is_near_a_corner(loss, z, y, h))
    scale = 1e-8 * max(1.0, abs(value(loss, z, y)))
    assert slope(loss, z, y) == pytest.approx(difference, rel=1e-8, abs=scale)


@pytest.mark.parametrize("loss", SMOOTH.values(), ids=SMOOTH)
@given(z=st.floats(-9, 9), share=st.floats(0, 1))
def test_second_is_the_slope_of_the_slope(loss, z, share):
    h, y = 1e-5, target(loss, share)
    assume(loss.quadratic or not is_near_a_corner(loss, z, y, h))
    difference = (slope(loss, z + h, y) - slope(loss, z - h, y)) / (2 * h)
    found = loss.second(z, y, *loss.parameters)
    assert found == pytest.approx(difference, rel=1e-6, abs=1e-9 * max(1.0, abs(found)))
    assert 0 <= found <= loss.curvature


KINKED = {name: loss for name, loss in LOSSES.items() if loss.kinks is not None}


def test_the_losses_with_jumps_in_the_slope_have_kinks_and_no_second_derivative():
    assert {n for n, loss in LOSSES.items() if not loss.smooth} == KINKED.keys()
    assert LOSSES.keys() - SMOOTH.keys() == KINKED.keys()


@pytest.mark.parametrize("loss", KINKED.values(), ids=KINKED)
@given(z=st.floats(-9, 9), share=st.floats(0, 1))
def test_kinks_make_the_loss(loss, z, share):
    y = target(loss, share)
    low, kinks = loss.kinks(y, *loss.parameters)
    first = kinks[0][0]
    found = value(loss, first, y) + low * (z - first)
    found += sum(jump * max(0.0, z - place) for place, jump in kinks)
    assert found == pytest.approx(value(loss, z, y), rel=1e-12, abs=1e-14)
    assert [place for place, _ in kinks] == sorted(place for place, _ in kinks)


@pytest.mark.parametrize("loss", SMOOTH.values(), ids=SMOOTH)
def test_curvature_is_the_largest_second_derivative(loss):
    largest = max(
        loss.second(z, target(loss, share), *loss.parameters)
        for share in (0.0, 0.3, 1.0)
        for z in np.linspace(-9, 9, 91)
    )
    if math.isinf(loss.curvature):
        far = [(700.0, 1.0), (-700.0, 1.0), (0.0, 1e300)]
        assert max(loss.second(*at, *loss.parameters) for at in far) > 1e150
    else:
        assert largest == pytest.approx(loss.curvature, rel=1e-6)


@every_loss
@given(z=st.floats(-600, 600), share=st.floats(0, 1))
def test_a_loss_is_convex_and_finite(loss, z, share):
    y = target(loss, share)
    assert math.isfinite(value(loss, z, y))
    middle = value(loss, z / 2, y)
    ends = value(loss, z, y), value(loss, 0.0, y)
    assert middle <= sum(ends) / 2 + 1e-12 * max(map(abs, ends))


@every_loss
def test_the_link_is_that_of_the_optimum(loss):
    """There the slope is 0 for the target, or on average for labels of this probability."""
    if loss.link is None:
        assert loss.name in ("hinge", "squared_hinge")
        return
    for y in (0.2, 0.7):
        if loss.link is losses.logistic:
            z = math.log(y / (1 - y))
        elif loss.link is losses.clipped_probability:
            z = 2 * y - 1
        else:
            z = math.log(y) if loss.link is losses.exponential else y
        at_optimum = slope(loss, z, y)
        if loss.targets == losses.LABELS:
            at_optimum = y * slope(loss, z, 1.0) + (1 - y) * slope(loss, z, 0.0)
        assert at_optimum == pytest.approx(0, abs=1e-15)
        assert loss.link(z) == pytest.approx(y, rel=1e-15)


def test_slopes_at_kinks():
    """A subgradient that is as good as any, and 0 for a residual of 0."""
    for q in (0.1, 0.5, 0.9):
        assert slope(losses.Quantile(q), 2.0, 2.0) == 0
        assert slope(losses.Quantile(q), 3.0, 2.0) == 1 - q
        assert slope(losses.Quantile(q), 1.0, 2.0) == -q
    for loss in (losses.EpsilonInsensitive(0.5), losses.SquaredEpsilonInsensitive(0.5)):
        assert [slope(loss, z, 2.0) for z in (1.5, 1.7, 2.0, 2.5)] == [0, 0, 0, 0]
    assert slope(losses.EpsilonInsensitive(0.0), 2.0, 2.0) == 0
    assert [slope(losses.HINGE, z, y) for z, y in ((1.0, 1.0), (-1.0, 0.0))] == [-1, 1]
    for loss in (losses.SQUARED_HINGE, losses.MODIFIED_HUBER):
        assert [slope(loss, z, y) for z, y in ((1.0, 1.0), (-1.0, 0.0))] == [0, 0]
    assert [slope(losses.MODIFIED_HUBER, -z, 1.0) for z in (1.0, 2.0)] == [-4, -4]
    probabilities = [losses.clipped_probability(z) for z in (-3.0, -1.0, 0.5, 1.0, 3.0)]
    assert probabilities == [0, 0, 0.75, 1, 1]
    assert math.isnan(losses.clipped_probability(math.nan))


def test_powers_of_tweedie_with_a_name():
    """0 is half a square of exp(z) − y, 1 Poisson, 2 gamma and 3 inverse Gaussian, but for terms in y."""
    half_deviance = {
        0: lambda m, y: (m - y) ** 2 / 2, 3: lambda m, y: (m - y) ** 2 / (2 * m * m * y)
    }  # fmt: skip
    for z, y in itertools.product((-2.0, 0.3, 5.0), (0.5, 4.0)):
        for p, of_mean in half_deviance.items():
            rise = of_mean(math.exp(z), y) - of_mean(1.0, y)
            found = value(losses.Tweedie(p), z, y) - value(losses.Tweedie(p), 0.0, y)
            assert found == pytest.approx(rise, rel=1e-12, abs=1e-14)
        for p, named in ((1, losses.POISSON), (2, losses.GAMMA)):
            for function in ("value", "slope", "second"):
                found = getattr(losses.Tweedie(p), function)(z, y, float(p))
                assert found == pytest.approx(getattr(named, function)(z, y), rel=1e-15)
            for function in (value, slope):  # another power near by: but for a constant
                near = losses.Tweedie(p + 1e-6)
                rise = function(near, z, y) - function(near, 0.0, y)
                wanted = function(named, z, y) - function(named, 0.0, y)
                assert rise == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_targets_of_tweedie_follow_the_power():
    wanted = {-1: "real", 0: "real", 1: "counts", 1.9: "counts", 2: "positive", 3: "positive"}
    assert {p: losses.Tweedie(p).targets for p in wanted} == wanted
    assert len({losses.Tweedie(p).formula for p in wanted}) == 1


def test_a_small_alpha_is_poisson_s():
    for z, y in itertools.product((-3.0, 0.0, 4.0), (0.0, 2.0, 50.0)):
        for function in (value, slope):
            found = function(losses.NegativeBinomial(1e-12), z, y)
            assert found == pytest.approx(function(losses.POISSON, z, y), rel=1e-8)


def test_cross_entropy_far_out():
    bce = LOSSES["bce"]
    assert (bce.value(1e4, 0.0), bce.value(-1e4, 1.0)) == (1e4, 1e4)
    assert (bce.value(1e4, 1.0), bce.value(-1e4, 0.0)) == (0.0, 0.0)
    assert (bce.slope(1e4, 0.0), bce.slope(-1e4, 1.0)) == (1.0, -1.0)
    assert (bce.slope(1e4, 1.0), bce.slope(-1e4, 0.0)) == (0.0, 0.0)
    assert bce.value(-40.0, 0.0) == pytest.approx(math.exp(-40), rel=1e-15)
    assert bce.value(40.0, 1.0) == pytest.approx(math.exp(-40), rel=1e-15)


@every_loss
def test_nan_and_infinity_are_passed_on(loss):
    """The divergence check rests on them."""
    assert math.isnan(value(loss, math.nan, 1.0))
    assert math.isnan(slope(loss, math.nan, 1.0))
    assert not math.isfinite(value(loss, math.inf, 0.0))


@pytest.mark.jit
@every_loss
def test_compiled_code_stays_in_its_dtype(loss):
    """The vectorised twins agree; one bare 1.0 would make float32 kernels compute in float64."""
    dtype = np.float32
    leaves = loss.value, loss.slope, loss.second or loss.slope
    first, other, last = (with_parameter(vectorised(leaf)) for leaf in leaves)
    compiled = kernel(lambda z, y, p: first(z, y, p) + other(z, y, p) + last(z, y, p))
    for z, share in itertools.product((-1.7, 0.6, 3.2), (0.25, 1.0)):
        at = [float(dtype(number)) for number in (z, target(loss, share), loss.p)]
        parts = [with_parameter(leaf)(*at) for leaf in leaves]
        close = 8 * float(np.finfo(dtype).eps) * max(1.0, *map(abs, parts))
        assert compiled(*map(dtype, at)) == pytest.approx(sum(parts), rel=0, abs=close)
    (overload,) = compiled.overloads.values()
    assert str(overload.signature.return_type) == dtype.__name__


def test_a_loss_of_your_own():
    quartic = Loss("quartic", lambda z, y: (z - y) ** 4, lambda z, y: 4 * (z - y) ** 3)
    assert (quartic.curvature, quartic.second, quartic.parameters) == (math.inf, None, ())
    assert (quartic.targets, quartic.link(2.0), quartic.coupled) == ("real", 2.0, False)
    assert (quartic.value(3, 1), quartic.slope(3, 1)) == (16, 32)


def test_a_parameter_is_no_part_of_the_formula():
    one, other = losses.Huber(1.0), losses.Huber(2.0)
    assert one != other
    assert one.formula == other.formula
    assert (one.parameters, losses.MSE.parameters) == ((1.0,), ())
    assert losses.CROSS_ENTROPY.formula is losses.CROSS_ENTROPY


@pytest.mark.parametrize(
    ("make", "name", "out"),
    [
        (losses.Huber, "delta of Huber", [0, -1]),
        (losses.Quantile, "q of Quantile", [0, 1, 1.5, -0.5]),
        (losses.EpsilonInsensitive, "epsilon of EpsilonInsensitive", [-1]),
        (losses.SquaredEpsilonInsensitive, "epsilon of SquaredEpsilonInsensitive", [-1e-9]),
        (losses.Tweedie, "power of Tweedie", [0.5, 1e-9, 0.999, -1e3]),
        (losses.NegativeBinomial, "alpha of NegativeBinomial", [0, -1]),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_the_parameter_is_a_number_in_its_range(make, name, out):
    assert make in losses.FACTORIES
    for wrong in (*out, math.nan, math.inf, "1", None, True):
        with pytest.raises(InputError, match=f"{name} is"):
            make(wrong)
    assert make(np.float32(1.5) if make is not losses.Quantile else np.float32(0.5)).p in (0.5, 1.5)


def test_every_factory_makes_a_named_loss():
    assert {make().name for make in losses.FACTORIES} <= LOSSES.keys()
    for make in losses.FACTORIES:
        assert LOSSES[make().name] == make()


def test_a_loss_is_chosen_by_name_or_object():
    assert losses.chosen("huber") == losses.Huber()
    own = Loss("own", lambda z, y: z, lambda z, y: 1.0)
    assert losses.chosen(own) is own
    for wrong, text in (
        ("hubert", "did you mean 'huber'"), (3, "loss is 3; pass a name"), (None, "loss is None"),
        (losses.Huber, "call it: Huber()"), (math.exp, "pass a name"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(text)):
            losses.chosen(wrong)
