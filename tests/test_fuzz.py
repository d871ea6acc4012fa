"""Seeded random calls of every public function, held to one rule.

A call gives finite numbers of the right shape, or raises one of fastgd's errors with a sentence. It lets
no warning through but `ConvergenceWarning`, changes none of its arguments, and does the same again when
it is called again. To look for more: ``FASTGD_FUZZ=5000 pytest tests/test_fuzz.py``, that many seeds a
function from `FASTGD_FUZZ_FROM` on.
"""

import os
import re
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import JIT_OFF

import fastgd
from fastgd import activations, inputs, schedules
from fastgd.optimizers import OPTIMIZERS

FIRST, SEEDS = int(os.environ.get("FASTGD_FUZZ_FROM", 0)), int(os.environ.get("FASTGD_FUZZ", 0))
COSTS = [
    f"{loss}_{what}"
    for loss in ("mse", "bce", "cross_entropy")
    for what in ("cost", "gradient", "cost_and_gradient")
]
SIGNS = np.array([-1.0, 1.0])
#: What is no data, and no value of any option.
JUNK = [
    None, "junk", b"junk", 3, -1, 0, 2.5, np.nan, np.inf, 10**400, 1j, True, {}, {1, 2}, [], [[]], (),
    [[1], [1, 2]], "nan", np.array(["a", "b"]), np.array([1 + 1j]), np.datetime64("NaT"),
    np.array([1, 2], "M8[s]"), np.zeros((2, 0)), np.zeros((2, 2, 2)), np.ma.masked, pd.NA, range(3),
    np.array(None), torch.ones(2, 2, device="meta"), torch.ones(3).to_sparse(), [None, 1.0], ["1", "2"],
    np.str_("auto"), np.array("mean"), np.array(3), np.float32(0.5), np.array([1.0, -1.0]), -(10**30),
    np.longdouble("1e4000"), 5e-324, 1e308, np.array([(1, 2.0)], "i4,f8"),
]  # fmt: skip


# --- what a call is made of -----------------------------------------------------------------------


class Draw:
    """Random ingredients; `odd` is how often one of them is none that the call can use."""

    def __init__(self, *seed):
        self.rng = np.random.default_rng(seed)
        self.odd = self.of(0.0, 0.0, 0.0, 0.03, 0.15)

    def of(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def often(self, share=0.5):
        return self.rng.random() < share

    def shape(self):
        return int(self.rng.integers(1, 9)), int(self.rng.integers(1, 4))

    def scale(self):
        """As a rule 1, else anything that float64 has."""
        return 1.0 if self.often(0.7) else 10.0 ** self.rng.uniform(-323, 308)

    def numbers(self, *shape):
        """An array of anything between ordinary and hostile, in a container of some kind."""
        if self.often(self.odd):
            return self.of(*JUNK)
        values = self.rng.standard_normal(shape) * self.scale()
        if self.often(0.2):
            values = np.round(values)
        if values.ndim > 1 and self.often(0.1):
            values[:, 0] = self.of(0.0, 1.0, 1e300, values[0, 0])
        if self.often(self.odd) and values.size:
            values.flat[self.rng.integers(values.size)] = self.of(np.nan, np.inf, -np.inf, 1e308)
        return self.contained(values)

    def contained(self, values):
        kind = self.of(*["float64"] * 4, *CONTAINERS)
        return CONTAINERS[kind](values)

    def targets(self, n):
        k = self.of(None, None, 1, 2)
        return self.numbers(n, *([] if k is None else [k])), k

    def labels(self, n, k=2):
        if self.often(self.odd):
            return self.of(*JUNK)
        codes = self.rng.integers(0, k, n)
        codes[: min(n, k)] = np.arange(k)[:n]
        values = self.of(
            [0, 1, 2], [0, 1, 2], [-1, 1, 3], ["a", "b", "c"], [0.0, 1.0, 2.0], [b"a", b"b", b"c"],
            [(0, 1), (1, 2), (2, 3)], [True, False, 2], [10**30, 10**31, 10**32], ["1", "2", None],
            list(np.array([-128, 0, 127], np.int8)), list(np.array([1, 2, 3], "m8[s]")),
            list(np.array(["2020", "2021", "NaT"], "M8[Y]")), [1, "a", 2.5], [0.5, 1.5, 2.5],
        )  # fmt: skip
        return self.of(list, np.asarray, pd.Series)([values[code] for code in codes])

    def weight(self, n):
        if self.often(0.5):
            return None
        if self.often(self.odd):
            return self.of(*JUNK)
        values = self.rng.integers(0, 3, n) if self.often(0.3) else self.rng.random(n)
        return self.contained(values * self.of(1.0, 1.0, self.scale(), 1e308, 5e-324, 1e-320))

    def options(self, **choices):
        """Some of these options, each one of its values, or seldom junk."""
        drawn = {}
        for name, values in choices.items():
            if self.often(0.25):
                drawn[name] = self.of(*JUNK) if self.often(self.odd) else self.of(*values)
        return drawn


class Tensor(torch.Tensor):
    """A tensor of another library."""


CONTAINERS = {
    "float64": np.asarray,
    "float32": lambda v: v.astype(np.float32),
    "list": lambda v: v.tolist(),
    "Fortran": np.asfortranarray,
    "reversed": lambda v: v[::-1] if v.ndim else v,
    "float16": lambda v: v.astype(np.float16),
    "longdouble": lambda v: v.astype(np.longdouble) * 10,
    "int64": lambda v: np.clip(v, -1e15, 1e15).astype(np.int64),
    "bool": lambda v: v > 0,
    "objects": lambda v: v.astype(object),
    "big-endian": lambda v: v.astype(">f8"),
    "tensor": lambda v: torch.tensor(v, requires_grad=True),
    "subclass": lambda v: torch.tensor(v).as_subclass(Tensor),
    "negative": lambda v: torch.tensor(v * 1j).conj().imag,
    "list of tensors": lambda v: list(torch.tensor(v, requires_grad=True)) if v.ndim else v,
    "frame": lambda v: pd.DataFrame(v) if v.ndim == 2 else v,
    "read-only": lambda v: np.frombuffer(v.tobytes()).reshape(v.shape),
}


# --- the calls: each gives a function without arguments, its arguments, and a check of the result -------


def fit_options(draw):
    """Options of all fits that go together, as a rule; what is odd comes instead of any of them."""
    lr = (0.1, 1e-3, np.float32(0.01), draw.scale())
    way = draw.of({}, {"lr": draw.of(*lr)}, {"lr": draw.of(*lr), "batch_size": draw.of(1, 4)})
    options = way | draw.options(
        epochs=(1, 2, 7, np.int64(3)),
        shuffle=(True, False, "block", np.True_),
        seed=(0, 7, 2**70),
        reduction=("mean", "sum", np.str_("sum")),
        l2=(0.1, 0, 1e-300, 1e300, draw.scale()),
        dtype=("float32", np.float64, torch.float32),
        n_threads=(1, 2),
        patience=(1, 100),
    )
    if way:
        options |= draw.options(
            optimizer=("gd", np.array("adam"), fastgd.Rprop()),
            schedule=(
                schedules.ExponentialLR(2.0), schedules.StepLR(2), lambda epoch: 10.0**epoch,
                schedules.InverseScaling(300.0), schedules.ConstantLR(0.5, 0),
            ),
            validation=(0.3, 0.5, np.float32(0.5)),
        )  # fmt: skip
    return (
        options
        | draw.options(
            **dict.fromkeys(options, ("sgd", [0.1], "int8", np.array([True, False]), "gpu", -1))
        )
        if draw.often(draw.odd)
        else options
    )


def linear_options(draw, d):
    options = fit_options(draw) | draw.options(
        fit_intercept=(True, False),
        tol=(1e-6, 1.0, 1e-300),
        l1=(0.1, 1e-300, 1e300, draw.scale()),
        coef_init=(np.ones(d), draw.numbers(d)),
        intercept_init=(1.0, [0.5], 1e300),
        keep_path=(True, False),
        device=("cpu", torch.device("cpu")),
        callback=(lambda fit: None, lambda fit: True),
    )
    if "batch_size" in options:
        options |= draw.options(average=(True, False))
    elif "lr" in options and draw.often(0.1):
        options["optimizer"] = draw.of("lbfgs", fastgd.LBFGS(max_iter=3.0))
    return options


def check_fit(d, fit):
    assert fit.coef.shape[-1] in (d, 1)  # 1 where a number or junk of one column came as x
    assert np.shape(fit.intercept) == fit.coef.shape[:-1]
    for history in (fit.costs, fit.lrs, fit.gradient_norms, fit.validation_costs, fit.path):
        assert history is None or len(history) == fit.n_epochs


def fit_linear(draw):
    n, d = draw.shape()
    y, _ = draw.targets(n)
    options = linear_options(draw, d) | {"sample_weight": draw.weight(n)}
    return fastgd.fit_linear, [draw.numbers(n, d), y], options, partial(check_fit, d)


def fit(draw):
    """The losses that the named fits don't have; of counts as often as not."""
    n, d = draw.shape()
    loss = draw.of("huber", "poisson", fastgd.losses.Huber(draw.scale()), "mse", *JUNK[:1])
    y = draw.of(np.arange(n) % 3.0, draw.targets(n)[0])
    options = linear_options(draw, d) | {"sample_weight": draw.weight(n)}
    return fastgd.fit, [draw.numbers(n, d), y, loss], options, partial(check_fit, d)


def fit_logistic(draw):
    n, d = draw.shape()
    class_weight = draw.options(
        class_weight=("balanced", {0: 2.0}, {0: 1e308, 1: 5e-324}, {"a": 0})
    )
    options = linear_options(draw, d) | {"sample_weight": draw.weight(n)} | class_weight
    return (
        fastgd.fit_logistic,
        [draw.numbers(n, d), draw.labels(n, draw.of(2, 2, 3))],
        options,
        None,
    )


def fit_mlp(draw):
    n, d = draw.shape()
    loss = draw.of("mse", "bce", "cross_entropy")
    y = draw.targets(n)[0] if loss == "mse" else draw.labels(n, 3 if loss == "cross_entropy" else 2)
    options = fit_options(draw) | draw.options(
        activation=("tanh", "relu", np.str_("tanh")),
        hidden=(3, (2,), [2, 2], np.int8(3)),
    )
    options = {"hidden": 2, "epochs": 3, "loss": loss} | options
    return (
        fastgd.fit_mlp,
        [draw.numbers(n, d), y],
        options | {"sample_weight": draw.weight(n)},
        None,
    )


def cost(draw):
    name = draw.of(*COSTS)
    n, d = draw.shape()
    options = draw.options(reduction=("mean", "sum", np.array("sum"))) | {
        "sample_weight": draw.weight(n)
    }
    if name.startswith("cross"):
        y, k = draw.contained(draw.rng.integers(0, 2, n).astype(float)), 2
    elif name.startswith("bce"):
        y, k = draw.contained(draw.rng.integers(0, 2, n).astype(float)), None
    else:
        y, k = draw.targets(n)
    shape = () if k is None else (k,)
    coef = draw.numbers(*shape, d)
    intercept = draw.of(0.0, draw.scale(), draw.numbers(*shape))

    def check(result):
        parts = result if isinstance(result, tuple) else (result,)
        if "gradient" in name:
            assert np.shape(parts[-2]) == inputs.as_array(coef, "coef").shape
        if name.endswith("cost"):
            assert type(result) is float

    return getattr(fastgd, name), [draw.numbers(n, d), y, coef, intercept], options, check


def cost_curve(draw):
    n, d = draw.shape()
    loss = draw.of("mse", "bce")
    y = draw.numbers(n) if loss == "mse" else draw.contained(draw.rng.random(n))
    options = draw.options(
        reduction=("mean", "sum"), intercept=(0.5, [1.0, 2.0, 3.0], 1e300), loss=(loss, np.str_(loss))
    ) | {"sample_weight": draw.weight(n)}  # fmt: skip
    return fastgd.cost_curve, [draw.numbers(n, d), y, draw.numbers(3, d)], options, None


def linear(draw):
    n, d = draw.shape()
    bias = draw.of(None, draw.numbers(2))
    x = draw.numbers(*draw.of((n, d), (d,), (2, n, d)))
    return fastgd.linear, [x, draw.numbers(2, d), bias], {}, None


def activation(draw):
    x = draw.numbers(*draw.of((), (5,), draw.shape()))
    name = draw.of(*activations.MOST_ULP)
    options = draw.options(n_threads=(1, 2))
    if draw.often():
        return activations.derivative, [name, x], options, None
    return getattr(activations, name), [x], options, None


def mlp_cost_and_gradient(draw):
    n, d = draw.shape()
    weights, biases = [draw.numbers(2, d), draw.numbers(2, 2)], [draw.numbers(2), draw.numbers(2)]
    loss = draw.of("mse", "bce", "cross_entropy")
    y = draw.rng.integers(0, 2, (n,) if loss == "cross_entropy" else (n, 2))
    y = draw.contained(y.astype(float))
    options = draw.options(activation=("tanh", "relu"), reduction=("mean", "sum"))
    return (
        fastgd.mlp_cost_and_gradient, [draw.numbers(n, d), y, weights, biases],
        {"loss": loss} | options, None,
    )  # fmt: skip


def some_fit(draw, d):
    k = draw.of(None, None, 2, 3)
    labelled = draw.often()
    shape = (d,) if k is None or (labelled and k == 2) else (k, d)
    dtype = draw.of(np.float64, np.float32)
    coef = np.clip(draw.rng.standard_normal(shape) * draw.scale(), *np.finfo(dtype).max * SIGNS)
    classes = np.array([["a", "b", "c"], [0, 1, 2]][draw.of(0, 1)])[: k or 2] if labelled else None
    loss = "mse" if not labelled else ("bce" if len(shape) == 1 else "cross_entropy")
    return fastgd.Fit(
        coef=coef.astype(dtype), intercept=draw.of(0.0, 1.0) if len(shape) == 1
        else np.zeros(k), costs=np.array([2.0]), cost=1.0, n_epochs=1, converged=True, method="stream",
        classes=classes, loss=loss,
    )  # fmt: skip


def prediction(draw):
    n, d = draw.shape()
    fit, name = some_fit(draw, d), draw.of("predict", "predict_proba", "raw_prediction", "score")
    arguments = [draw.numbers(n, d + 1 if draw.often(draw.odd) else d)]
    if name == "score":
        k = fit.coef.shape[:-1]
        y = draw.numbers(n, *k) if fit.classes is None else draw.labels(n, len(fit.classes))
        arguments += [y, draw.weight(n)]
    return getattr(fit, name), arguments, {}, None


def round_trip(draw):
    def there_and_back(fit):
        with tempfile.TemporaryDirectory() as folder:
            fit.save(Path(folder) / "fit.npz")
            return fastgd.load(Path(folder) / "fit.npz")

    return there_and_back, [some_fit(draw, 2)], {}, None


def plot(draw):
    def drawn(fit, **options):
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt

        axes = fit.plot(**options)
        label = axes.get_ylabel()
        plt.close("all")
        return len(label)

    return drawn, [some_fit(draw, 2)], draw.options(ax=(None,)), None


def constructor(draw):
    kind = draw.of(*{type(o) for o in OPTIMIZERS.values()}, *schedules.SCHEDULES.values())
    fields = {
        name: (0, 1, 0.5, np.float32(0.5), np.int8(2), True, (0.9, 0.99), np.array([0.5, 1.5]))
        for name in kind.__dataclass_fields__
    }

    def made(**options):
        thing = kind(**options)
        if isinstance(thing, schedules.LambdaLR):
            return 0
        if hasattr(thing, "rate"):
            return [thing.rate(0.1, epoch) for epoch in (0, 1, 9)]
        return [hash(thing)]

    required = {
        name: 0.5
        for name, field in kind.__dataclass_fields__.items()
        if name in ("step_size", "gamma", "T_max", "lr_lambda")
    }
    return made, [], required | draw.options(**fields), None


CALLS = [
    fit, fit_linear, fit_logistic, fit_mlp, cost, cost_curve, linear, activation, mlp_cost_and_gradient,
    prediction, round_trip, plot, constructor,
]  # fmt: skip
#: What passes NaN and infinity on, as NumPy's own functions do.
OPEN = (linear, activation, constructor)


# --- the rule -------------------------------------------------------------------------------------


def state(value: Any) -> Any:
    """Whatever a value holds, so that two of them can be compared."""
    if isinstance(value, torch.Tensor):
        if value.device.type == "meta" or value.is_sparse:
            return str(value.shape)
        return state(value.detach().resolve_neg().numpy())
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        content = array.tolist() if array.dtype.hasobject else array.tobytes()
        return array.shape, str(array.dtype), repr(content)
    if isinstance(value, pd.Series | pd.DataFrame):
        return state(value.to_numpy())
    if isinstance(value, list | tuple):
        return [state(item) for item in value]
    if isinstance(value, dict):
        return {str(key): state(item) for key, item in value.items()}
    if hasattr(value, "__slots__") and hasattr(value, "predict"):
        return {name: state(getattr(value, name)) for name in type(value).__slots__}
    if isinstance(value, int) and abs(value) > 2**64:
        return hex(value)
    return repr(value)


def finite(value: Any) -> bool:
    """Whether all numbers in a value are."""
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    if hasattr(value, "__slots__") and hasattr(value, "predict"):
        names = {"coef", "intercept", "cost", "costs", "weights", "biases", "path", "lrs"}
        return all(finite(getattr(value, name, None)) for name in names)
    if isinstance(value, float | np.ndarray | np.generic):
        array = np.asarray(value)
        return array.dtype.kind != "f" or bool(np.isfinite(array).all())
    return True


ERRORS = (fastgd.InputError, fastgd.DivergenceError, ImportError)


def answer(function, arguments, options, check, is_open) -> Any:
    """What a call does, held to the rule."""
    before = state(arguments), state(options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result: Any = function(*arguments, **options)
        except Exception as error:
            result = error
    for warning in caught:
        assert issubclass(warning.category, fastgd.ConvergenceWarning), warning.message
        assert is_sentence(str(warning.message))
    assert (state(arguments), state(options)) == before, "an argument was changed"
    if isinstance(result, Exception):
        own = isinstance(result, ERRORS) or (
            isinstance(result, AttributeError) and "predict_proba is for fits" in str(result)
        )
        if not own:
            raise AssertionError("an error of another library") from result
        assert is_sentence(str(result)), str(result)
        kept = getattr(result, "fit", None)
        assert kept is None or finite(
            [getattr(kept, n, 0.0) for n in ("coef", "intercept", "weights")]
        )
        return type(result), str(result)
    assert is_open or finite(result), result
    if check is not None:
        check(result)
    return state(result)


def is_sentence(text: str) -> bool:
    """One line, with an end, and no object's address."""
    return re.fullmatch(r"[^\s].*\.", text) is not None and "Traceback" not in text


def hold(make, seed: int) -> None:
    """Draw a call and make it twice."""
    answers = []
    for _ in range(2):
        with np.errstate(all="ignore"):
            call = make(Draw(CALLS.index(make), seed))
        answers.append(answer(*call, is_open=make in OPEN))
    first, second = answers
    assert first == second, "the second call did something else"


@pytest.mark.parametrize("make", CALLS, ids=lambda make: make.__name__)
def test_every_call_answers(make):
    count = SEEDS or (10 if JIT_OFF else 25)
    failed = []
    for seed in range(FIRST, FIRST + count):
        try:
            hold(make, seed)
        except AssertionError as error:
            cause = f" ({error.__cause__!r})" if error.__cause__ else ""
            failed.append(f"seed {seed}: {str(error).partition(chr(10))[0]}{cause}")
    assert not failed, "\n".join([f"{len(failed)} of {count}", *failed[:20]])


def test_the_calls_reach_every_public_function():
    """A new public function comes with a call."""
    reached = {make.__name__ for make in CALLS} | set(COSTS)
    functions = {n for n in fastgd.__all__ if type(getattr(fastgd, n)) is type(hold)}
    assert functions - {"load"} <= reached
