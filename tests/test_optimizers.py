"""Optimizers: every step against torch.optim with the same gradients, and whole fits side by side."""

import dataclasses
import itertools
import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastgd
from fastgd import optimizers, reference
from fastgd.compile.functions import leaf
from fastgd.formulas.updates import RULES, l1_slope, soft
from fastgd.optimizers import OPTIMIZERS
from fastgd.solvers import penalty

ELEMENTWISE = {name: o for name, o in OPTIMIZERS.items() if name != "lbfgs"}
every_optimizer = pytest.mark.parametrize("optimizer", ELEMENTWISE.values(), ids=ELEMENTWISE)
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
numbers = st.floats(-1e6, 1e6)

#: Options beside the defaults, of every optimizer.
GRID = {
    "SGD": [
        {"momentum": m, "dampening": damp, "nesterov": nesterov, "weight_decay": decay}
        for m, damp, nesterov, decay in itertools.product((0.5, 0.9), (0, 0.3), (False, True), (0, 0.1))
        if not (nesterov and damp)
    ] + [{"weight_decay": 0.1}],
    "Adagrad": [
        {"lr_decay": 0.1}, {"weight_decay": 0.1}, {"initial_accumulator_value": 0.5, "eps": 1e-3},
    ],
    "Adam": [
        {"betas": betas, "eps": eps, "amsgrad": amsgrad, "weight_decay": decay}
        for betas, eps, amsgrad, decay in itertools.product(
            ((0.9, 0.999), (0.5, 0.9), (0.0, 0.5)), (1e-8, 1e-2), (False, True), (0, 0.1)
        )
    ],
    "AdamW": [{"amsgrad": True}, {"weight_decay": 0.3, "betas": (0.8, 0.9)}, {"weight_decay": 0}],
    "Adamax": [{"betas": (0.5, 0.9), "eps": 1e-3}, {"weight_decay": 0.1}],
    "ASGD": [{"lambd": 0.1, "alpha": 0.5}, {"t0": 3}, {"weight_decay": 0.1, "t0": 0}],
    "RMSprop": [
        {"alpha": alpha, "momentum": m, "centered": centered, "weight_decay": decay}
        for alpha, m, centered, decay in itertools.product((0.5, 0.99), (0, 0.9), (False, True), (0, 0.1))
    ],
    "Rprop": [{"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.5)}],
}  # fmt: skip
OBJECTS = {
    f"{kind} {options}": getattr(fastgd, kind)(**options)
    for kind, grid in GRID.items()
    for options in ({}, *grid)
}
every_object = pytest.mark.parametrize("optimizer", OBJECTS.values(), ids=OBJECTS)
#: Whole fits see the defaults, and the first and the last options of every kind. Options are numbers to a
#: loop: it is compiled for a rule and a loss.
FITTED = ELEMENTWISE | {
    f"{kind} {options}": OBJECTS[f"{kind} {options}"]
    for kind, grid in GRID.items()
    for options in (grid[0], grid[-1])
}


@pytest.fixture(autouse=True)
def _float64():
    """torch.optim.ASGD keeps its eta in torch's default dtype: float32 would be 6e-8 off."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def twin_of(optimizer, parameters, lr):
    """torch's optimizer of the same name, with the same options."""
    options = dataclasses.asdict(optimizer)
    for name in ("betas", "etas", "step_sizes"):
        if name in options:
            options[name] = tuple(options[name])
    return getattr(torch.optim, type(optimizer).__name__)(parameters, lr=lr, foreach=False, **{
        name: value for name, value in options.items()
        if not (name == "weight_decay" and type(optimizer).__name__ == "Rprop")
    })  # fmt: skip


def test_every_optimizer_has_a_torch_twin():
    assert OPTIMIZERS.keys() == oracles.OPTIMIZERS.keys()
    assert {type(o).__name__ for o in ELEMENTWISE.values()} == GRID.keys()
    assert {o.rule.name for o in OBJECTS.values()} == RULES.keys()
    for name, optimizer in OPTIMIZERS.items():
        kind, options = oracles.OPTIMIZERS[name]
        twin = kind([oracles.tensor([0.0], requires_grad=True)], **options)
        assert type(optimizer).__name__ == kind.__name__
        for option, value in dataclasses.asdict(optimizer).items():
            if option in twin.defaults and value is not None:
                assert twin.defaults[option] == pytest.approx(value), option
        if not options:
            assert twin.defaults["lr"] == optimizer.lr


@every_object
def test_200_steps_follow_torch(optimizer):
    """To 1e-12 a step: each begins where torch's ended, so that nothing is hidden by a sum."""
    rng = np.random.default_rng(1)
    theta = rng.standard_normal(4)
    twin = oracles.tensor(theta, requires_grad=True)
    rule, lr = twin_of(optimizer, [twin], 0.05), 0.05
    walk = reference.Walk(3, lr=lr, optimizer=optimizer)
    scale = 10.0 ** rng.uniform(-3, 3, 4)
    for step in range(200):
        gradient = rng.standard_normal(4) * scale * (1 if step % 7 else 0)
        before = twin.detach().numpy().copy()
        twin.grad = oracles.tensor(gradient)
        rule.step()
        coef, intercept = walk.step(
            step, before[:3].tolist(), float(before[3]), gradient[:3].tolist(), float(gradient[3])
        )
        np.testing.assert_allclose(
            [*coef, intercept], twin.detach().numpy(), rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize("optimizer", FITTED.values(), ids=FITTED)
@pytest.mark.parametrize(
    ("batch_size", "loss_name"), [(None, "bce"), (None, "mse"), (1, "mse"), (8, "mse")]
)
def test_fits_are_torch_s(optimizer, batch_size, loss_name):
    """Whole trajectories, on rows, on statistics (squared error, batch) and in minibatches."""
    x, y, *_ = oracles.problem(24, 3, loss_name)
    fit = fastgd.fit_logistic if loss_name == "bce" else fastgd.fit_linear
    options = {"lr": 0.02, "epochs": 4 if batch_size else 30, "keep_path": True, "shuffle": False}
    with oracles.quiet():
        found = fit(x, y, optimizer=optimizer, batch_size=batch_size, **options)
    path, intercept = torch_path(optimizer, x, y, loss_name, batch_size, **options)
    # Where a gradient is 0 but for rounding, its sign and its square root are rounding too.
    np.testing.assert_allclose(found.path, path, rtol=1e-9, atol=1e-11)
    assert found.intercept == pytest.approx(intercept, rel=1e-9, abs=1e-11)


def torch_path(optimizer, x, y, loss, batch_size, *, lr, epochs, schedule=None, **_):
    coef, intercept = oracles.tensor(np.zeros(x.shape[1]), True), oracles.tensor(0.0, True)
    rule = twin_of(optimizer, [coef, intercept], lr)
    scheduler = schedule and schedule(rule)
    x, y, path = oracles.tensor(x), oracles.tensor(y), []
    size = batch_size or len(y)
    for _ in range(epochs):
        for start in range(0, len(y), size):
            rows = slice(start, start + size)
            rule.zero_grad()
            oracles.LOSSES[loss](x[rows] @ coef + intercept, y[rows]).backward()
            rule.step()
        if scheduler:
            scheduler.step()
        path.append(coef.detach().numpy().copy())
    return np.array(path), intercept.item()


@pytest.mark.parametrize("dtype", ["float32"])
@pytest.mark.parametrize("optimizer", ["gd", "adam"])
def test_float32_minibatches_stay_near(optimizer, dtype):
    x, y, *_ = oracles.problem(64, 5, "bce")
    options = {"lr": 0.01, "epochs": 5, "batch_size": 8, "optimizer": optimizer}
    with oracles.quiet():
        low, high = (
            fastgd.fit_logistic(x, y, dtype=kind, **options) for kind in (dtype, "float64")
        )
    assert low.coef.dtype == np.float32
    np.testing.assert_allclose(low.coef, high.coef, rtol=2e-4, atol=2e-5)


@every_optimizer
def test_chunks_go_on_where_they_stopped(optimizer, monkeypatch):
    """What an optimizer remembers outlives a chunk: one epoch at a time gives the same bits."""
    from fastgd.solvers import work

    x, y, *_ = oracles.problem(40, 3, "bce")
    for fit_it, batch_size in ((fastgd.fit_logistic, None), (fastgd.fit_linear, 8)):
        options = {"lr": 0.02, "epochs": 9, "batch_size": batch_size, "optimizer": optimizer}
        options["shuffle"] = False
        with oracles.quiet():
            whole = fit_it(x, y, **options)
            monkeypatch.setattr(work, "CHUNK_NS", 1.0)
            parts = fit_it(x, y, **options, callback=lambda fit: False)
            monkeypatch.undo()
        np.testing.assert_array_equal(whole.coef, parts.coef)
        np.testing.assert_array_equal(whole.costs, parts.costs)


@every_optimizer
def test_several_outputs_are_several_fits(optimizer):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    for batch_size in (None, 5):
        options = {
            "epochs": 6,
            "batch_size": batch_size,
            "reduction": "sum",
            "optimizer": optimizer,
            "shuffle": False,
        }
        with oracles.quiet():
            both = fastgd.fit_linear(x, y, lr=[0.001, 0.002], **options)
            each = [fastgd.fit_linear(x, y[:, c], lr=0.001 * (c + 1), **options) for c in range(2)]
        np.testing.assert_allclose(both.coef, [fit.coef for fit in each], rtol=1e-10, atol=1e-13)


# --- leaves ------------------------------------------------------------------------------------------


@given(theta=numbers, threshold=st.floats(0, 1e6))
def test_soft_is_the_proximal_step(theta, threshold):
    assert soft(theta, threshold) == math.copysign(max(abs(theta) - threshold, 0), theta)


@given(theta=st.sampled_from([0.0, 2.5, -1e-3]), g=numbers, l1=st.floats(0, 1e3))
def test_the_penalty_on_arrays_is_that_of_the_leaves(theta, g, l1):
    at = np.array([theta]), np.array([g])
    assert penalty.l1_slope(*at, l1).tolist() == [l1_slope(theta, g, l1)]
    assert penalty.soft(at[1], l1).tolist() == [soft(g, l1)]


@given(g=numbers, l1=st.floats(0, 1e3))
def test_the_slope_with_l1_is_the_smallest(g, l1):
    assert l1_slope(1.0, g, l1) == g + l1
    assert l1_slope(-1.0, g, l1) == g - l1
    assert abs(l1_slope(0.0, g, l1)) == max(abs(g) - l1, 0)


@pytest.mark.jit
@every_rule
def test_compiled_code_stays_in_its_dtype(rule, check_compiled):
    plain = leaf(rule.step)
    check_compiled(
        lambda theta, g, u, a, b: plain(theta, g, u, u, u, (u, u, u, u, u, u, u), a, b, b)[0],
        lambda theta, g, u, a, b: rule.step(theta, g, u, u, u, (u,) * 7, a, b, b)[0],
        1.0, 0.5, 0.1, 0.2, 0.3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastgd.Adam(betas=(0.9, 1.0)), "both are below 1"),
        (lambda: fastgd.Adam(betas=0.9), "expected two numbers"),
        (lambda: fastgd.Adam(betas=(0.9, "x")), "both are 0 or more"),
        (lambda: fastgd.Adam(eps=-1), "eps of Adam is -1; expected a number from 0 up"),
        (lambda: fastgd.SGD(momentum=math.nan), "momentum of SGD is nan"),
        (lambda: fastgd.SGD(nesterov=True), "nesterov needs a momentum above 0"),
        (lambda: fastgd.RMSprop(alpha=1.0), "alpha of RMSprop is 1.0; expected a number from 0 to below"),
        (lambda: fastgd.Rprop(etas=(1.2, 0.5)), "0 < first < 1 < second"),
        (lambda: fastgd.LBFGS(line_search_fn="armijo"), "choose None or 'strong_wolfe'"),
        (lambda: fastgd.LBFGS(weight_decay=0.1), "LBFGS has no weight_decay"),
        (lambda: fastgd.Adagrad(lr_decay=True), "lr_decay of Adagrad is True"),
        (lambda: fastgd.SGD(nesterov=None), "nesterov of SGD is None; expected True or False"),
        (lambda: fastgd.AdamW(amsgrad=""), "amsgrad of AdamW is ''; expected True or False"),
        (lambda: fastgd.RMSprop(centered=1), "centered of RMSprop is 1; expected True or False"),
        (lambda: fastgd.Adam(eps=10**400), "eps of Adam is 10+…0+; expected a number from 0 up"),
        (lambda: fastgd.Adam(betas=(10**400, 0.9)), "both are 0 or more"),
        (lambda: fastgd.Adam(betas=np.ones((2, 2))), "expected two numbers"),
    ],
)  # fmt: skip
def test_odd_parameters_are_answered_with_a_sentence(make, message):
    with pytest.raises(fastgd.InputError, match=message):
        make()


def test_scalars_and_arrays_of_numpy_are_parameters():
    given = fastgd.Adam(betas=np.array([0.5, 0.75]), eps=np.float32(0.5), amsgrad=np.bool_(True))
    assert given == fastgd.Adam(betas=(0.5, 0.75), eps=0.5, amsgrad=True)
    assert hash(given) == hash(fastgd.Adam(betas=(0.5, 0.75), eps=0.5, amsgrad=True))
    assert fastgd.LBFGS(max_iter=1000.0) == fastgd.LBFGS(max_iter=np.int64(1000))


def test_names_and_objects_are_the_same():
    x, y, *_ = oracles.problem(20, 2, "mse")
    by_name = fastgd.fit_linear(x, y, lr=0.01, epochs=5, optimizer="adam")
    by_object = fastgd.fit_linear(x, y, lr=0.01, epochs=5, optimizer=fastgd.Adam())
    np.testing.assert_array_equal(by_name.coef, by_object.coef)
    assert optimizers.OPTIMIZERS["adam"] == fastgd.Adam()


@pytest.mark.parametrize("name", [*ELEMENTWISE])
def test_lr_auto_with_an_optimizer_descends(name):
    x, y, *_ = oracles.problem(200, 3, "mse")
    fit = fastgd.fit_linear(x * 10, y, optimizer=name)
    assert fit.costs[0] > fit.cost
    assert fit.n_epochs == 100
    if name not in ("gd", "momentum", "nesterov", "asgd"):
        assert fit.lrs[0] == OPTIMIZERS[name].lr
