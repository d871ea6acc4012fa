"""Activations for arrays: every function in ulp over the whole range, every kind of array."""

import inspect
import warnings
from pathlib import Path

import mpmath
import numpy as np
import oracles
import pytest
from conftest import JIT_OFF

from fastgd import InputError, activations
from fastgd.cpu import elementwise
from fastgd.formulas.activations import ACTIVATIONS

every_name = pytest.mark.parametrize("name", ACTIVATIONS)
each_dtype = pytest.mark.parametrize("scalar", [np.float32, np.float64])
both = pytest.mark.parametrize("which", ["value", "slope"])

#: Where something changes: a polynomial's range, saturation, underflow, the squares' overflow.
TURNS = [
    0.3465735902799726, 0.41421356237309503, 2.414213562373095, 0.2637, 1.5369, 3.83, 3.93, 4.35, 4.42,
    5.9, 6.0, 6.77, 8.66, 9.01, 10.0, 11.0, 11.5, 16.0, 19.1, 22.0, 30.7, 32.0, 55.6, 66.0, 87.34, 88.7,
    103.3, 104.0, 372.0, 451.0, 474.3, 512.0, 708.4, 745.1, 2.0**30, 2.0**60, 1.8e19, 2.3e22, 1.3e154,
]  # fmt: skip


def called(name, which, x, **options):
    if which == "value":
        return getattr(activations, name)(x, **options)
    return activations.derivative(name, x, **options)


def points(scalar, count):
    """Every exponent and both signs, where the functions are steep, and the steps around each turn."""
    unsigned = np.dtype(f"u{scalar(0).itemsize}")
    step = np.iinfo(unsigned).max // count
    bits = (np.arange(count, dtype=unsigned) * unsigned.type(step)).view(scalar)
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        near = np.array(TURNS, dtype=scalar)
    near = near[np.isfinite(near)]
    steps = np.concatenate([near + k * np.spacing(near) for k in (-1, 0, 1, 2)])
    widths = np.array([0.3, 3, 30, 300], dtype=scalar)
    inside = (rng.standard_normal((count // 2, 4)) * widths).astype(scalar).ravel()
    x = np.concatenate([bits, inside, steps, -steps])
    return x[np.isfinite(x)]


@every_name
def test_every_activation_is_a_documented_function(name):
    function = getattr(activations, name)
    assert list(inspect.signature(function).parameters) == ["x", "n_threads"]
    text = inspect.getdoc(function)
    assert f"fastgd.activations.{name}(" in text
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n---" in text
    assert name in inspect.getdoc(activations.derivative)


def test_the_module_has_every_activation_and_nothing_else():
    assert sorted([*ACTIVATIONS, "derivative", "MOST_ULP"]) == sorted(activations.__all__)
    assert list(ACTIVATIONS) == list(activations.MOST_ULP) == list(oracles.EXACT)
    assert list(ACTIVATIONS) == list(oracles.ACTIVATIONS)


def test_the_guide_has_their_errors():
    text = (Path(__file__).parent.parent / "fastgd" / "GUIDE.md").read_text(encoding="utf-8")
    for name, (value32, value64, slope32, slope64) in activations.MOST_ULP.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert line.endswith(f"| {value32}, {value64} | {slope32}, {slope64} |")


def test_every_activation_is_raced():
    benches = Path(__file__).parent.parent / "benches"
    if not (benches / "activation.py").is_file():
        pytest.skip("the benches are not here")
    import activation
    import providers

    for name in ACTIVATIONS:
        work = activation.Elementwise(name, "float64")
        assert {"fastgd", "NumPy", "torch"} <= set(providers.contestants(work))


@each_dtype
@both
@every_name
def test_errors_in_ulp(name, which, scalar):
    """No result is farther from the exact one than the table of the module says."""
    x = points(scalar, 150 if JIT_OFF else 800)
    got = called(name, which, x)
    assert got.dtype == scalar
    exact = oracles.EXACT[name][which == "slope"]
    limits = np.finfo(scalar)
    tiny = float(limits.smallest_subnormal)
    worst = 0.0
    for at, value in zip(x.tolist(), got.tolist(), strict=True):
        wanted = exact(at)
        place = mpmath.mpf(2) ** (mpmath.frexp(wanted)[1] - limits.nmant - 1) if wanted else 0
        with mpmath.workprec(140):
            worst = max(worst, float(abs(value - wanted) / max(place, tiny)))
    bound = activations.MOST_ULP[name][2 * (which == "slope") + (scalar is np.float64)]
    assert worst <= bound


@each_dtype
@every_name
def test_special_numbers(name, scalar):
    """As the leaf has them: NaN, infinities, both zeros, denormal numbers and the largest."""
    limits = np.finfo(scalar)
    tiny = limits.smallest_subnormal
    x = np.array(
        [np.nan, np.inf, -np.inf, 0, -0.0, tiny, -3 * tiny, limits.max, limits.min], scalar
    )
    for which in ("value", "slope"):
        # More than a vector of them, so that both the vector loop and what follows it are met.
        got = called(name, which, np.tile(x, 15)).reshape(15, -1)
        leaf = getattr(ACTIVATIONS[name], which)
        wanted = np.array([leaf(float(at)) for at in x])
        assert np.isnan(wanted[0])
        for row in got:
            np.testing.assert_allclose(row, wanted, rtol=2 * limits.eps, atol=tiny)
        if name != "relu":
            np.testing.assert_array_equal(np.signbit(got[0, 1:]), np.signbit(wanted[1:]))


@each_dtype
def test_saturation_is_exact(scalar):
    x = np.linspace(25, 60, 101).astype(scalar)
    for name in ("tanh", "erf", "gudermannian"):
        np.testing.assert_array_equal(called(name, "value", x), np.ones_like(x))
        assert np.abs(called(name, "value", np.linspace(-30, 30, 10_001).astype(scalar))).max() == 1


@both
@every_name
def test_the_bits_are_the_same_for_every_number_of_threads(name, which, monkeypatch):
    n = 3001 if JIT_OFF else 200_001
    for scalar in (np.float32, np.float64):
        x = (np.random.default_rng(1).standard_normal(n) * 4).astype(scalar)
        whole = called(name, which, x, n_threads=1)
        with monkeypatch.context() as patch:
            patch.setattr(elementwise, "_THREADED", 1000)
            patch.setattr(elementwise, "_PART", 1024)
            for n_threads in (1, 2, 3, 10**9):
                parts = called(name, which, x, n_threads=n_threads)
                np.testing.assert_array_equal(parts.view(np.uint8), whole.view(np.uint8))


@both
def test_every_layout_gives_the_same(which):
    x = np.random.default_rng(2).standard_normal((6, 7, 5))
    wanted = called("tanh", which, x)
    read_only = oracles.read_only(x)
    for seen in (read_only, np.asfortranarray(x), x.transpose(1, 0, 2), x[::-1, ::2], x[:, :, 1]):
        expected = wanted
        if seen.shape == (7, 6, 5):
            expected = wanted.transpose(1, 0, 2)
        elif seen.shape == (6, 4, 5):
            expected = wanted[::-1, ::2]
        elif seen.ndim == 2:
            expected = wanted[:, :, 1]
        before = seen.copy()
        got = called("tanh", which, seen)
        assert got.shape == seen.shape
        assert got.flags.writeable
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(seen, before)
    assert called("tanh", which, np.asfortranarray(x)).flags.f_contiguous


@every_name
def test_other_types_of_numbers(name):
    leaf = ACTIVATIONS[name].value
    for x in (2, 2.0, np.float64(2), np.array(2.0), True):
        got = getattr(activations, name)(x)
        assert isinstance(got, np.float64)
        assert got == pytest.approx(leaf(float(x)), rel=1e-15)
    assert isinstance(getattr(activations, name)(np.float32(2)), np.float32)
    for x in (
        [-1, 0, 2],
        (-1.0, 0.0, 2.0),
        np.array([-1, 0, 2], np.int8),
        np.array([-1.0, 0, 2], ">f8"),
    ):
        got = getattr(activations, name)(x)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, [leaf(float(at)) for at in x], rtol=1e-15)
    half = getattr(activations, name)(np.array([-1, 0, 2], np.float16))
    assert half.dtype == np.float32
    assert getattr(activations, name)(np.empty((0, 3), np.float32)).shape == (0, 3)
    assert getattr(activations, name)([]).shape == (0,)


def test_other_libraries():
    import pandas as pd
    import torch

    for x in (pd.Series([0.0, 1.0]), torch.tensor([0.0, 1.0], dtype=torch.float64)):
        np.testing.assert_allclose(activations.softsign(x), [0, 0.5])


def test_what_is_refused():
    with pytest.raises(InputError, match="did you mean 'tanh'"):
        activations.derivative("tahn", [1.0])
    with pytest.raises(InputError, match="x holds text"):
        activations.tanh(["a"])
    with pytest.raises(InputError, match="complex"):
        activations.tanh([1j])
    with pytest.raises(InputError, match="n_threads is 0"):
        activations.tanh([1.0], n_threads=0)


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ACTIVATIONS:
            for which in ("value", "slope"):
                called(name, which, np.array([1e308, -1e308, np.inf, np.nan]))
