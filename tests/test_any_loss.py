"""Every loss, also one of your own, goes through every loop, option and way out of a fit."""

import io
import math
import pickle
import time

import numpy as np
import oracles
import pytest
import torch

import fastgd
from fastgd import reference
from fastgd.cpu import elementwise
from fastgd.cpu import order as orders
from fastgd.losses import (
    LABELS,
    CoupledLoss,
    EpsilonInsensitive,
    Huber,
    Loss,
    NegativeBinomial,
    Quantile,
    SquaredEpsilonInsensitive,
    Tweedie,
)
from fastgd.optimizers import OPTIMIZERS

N, D = 60, 3


def pinball(z, y, p):
    r = y - z
    return p * r if r > 0 else (p - 1) * r


def pinball_slope(z, y, p):
    T = type(z)
    return -p if z < y else (T(1) - p if z > y else T(0))


def log_cosh(z, y):
    r = abs(z - y)
    return r + math.log1p(math.exp(-2 * r)) - math.log(2)


def log_cosh_slope(z, y):
    return math.tanh(z - y)


LOSSES = {
    "huber": Huber(),
    "a small delta": Huber(0.2),
    "poisson": fastgd.losses.POISSON,
    "own, with a parameter": Loss("pinball", pinball, pinball_slope, p=0.7),
    "own": Loss("log cosh", log_cosh, log_cosh_slope, 1.0, link=math.tanh),
}
#: How rows are visited.
LOOPS = {
    "batch": {},
    "minibatch": {"batch_size": 16},
    "shuffled minibatch, float32": {"batch_size": 16, "dtype": "float32"},
    "per sample": {"batch_size": 1, "shuffle": "block"},
    "batch, columns": {"order": "F"},
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
#: Losses whose leaves have tests of their own, each in one of the loops, which are the same for all.
OTHERS = {
    "quantile": (Quantile(0.7), "batch"),
    "epsilon_insensitive": (EpsilonInsensitive(0.5), "batch, columns"),
    "squared_epsilon_insensitive": (SquaredEpsilonInsensitive(0.5), "minibatch"),
    "hinge": (fastgd.losses.HINGE, "minibatch"),
    "squared_hinge": (fastgd.losses.SQUARED_HINGE, "shuffled minibatch, float32"),
    "modified_huber": (fastgd.losses.MODIFIED_HUBER, "batch"),
    "gamma": (fastgd.losses.GAMMA, "per sample"),
    "tweedie": (Tweedie(1.3), "shuffled minibatch, float32"),
    "negative_binomial": (NegativeBinomial(0.4), "per sample"),
}
#: A loop of batches takes 12 s to compile: in float32 for those of a parameter alone.
LOSS_AND_LOOP = {
    f"{name}, {loop}": (loss, loop)
    for name, loss in LOSSES.items()
    for loop in LOOPS
    if ("float32" not in loop or loss.name == "huber")
    and (loop, loss.name) != ("per sample", "pinball")
} | {f"{name}, {loop}": (loss, loop) for name, (loss, loop) in OTHERS.items()}
#: Those with curvature.
SECOND = {name: loss for name, loss in fastgd.losses.LOSSES.items() if loss.smooth}


def data(loss, n=N, seed=0):
    name = loss.name if loss.name in fastgd.losses.LOSSES else "mse"
    x, y, weight, *_ = oracles.problem(n, D, name, seed=seed)
    return x * 0.5, y, weight


def visits(shuffle, epochs):
    if not shuffle:
        return [list(range(N))] * epochs
    return [orders.visiting_order(N, shuffle, 0, epoch).tolist() for epoch in range(epochs)]


@pytest.mark.parametrize(("loss", "loop"), LOSS_AND_LOOP.values(), ids=LOSS_AND_LOOP)
@pytest.mark.parametrize("penalty", [{}, {"l2": 0.3}, {"l1": 0.05}], ids=["plain", "l2", "l1"])
def test_every_loop_is_the_textbook_s(loss, loop, penalty):
    x, y, weight = data(loss)
    options = {"lr": 0.05, "epochs": 4, "shuffle": True} | LOOPS[loop] | penalty
    laid = np.asarray(x, order=options.pop("order", "C"))
    with oracles.quiet():
        fit = fastgd.fit(laid, y, loss, sample_weight=weight, keep_path=True, **options)
    batch = options.get("batch_size")
    given = x.tolist(), y.tolist(), [0.0] * D, 0.0
    shared = {"lr": 0.05, "loss": loss, "weight": weight.tolist(), **penalty}
    if batch is None:
        coef, intercept, costs, path = reference.batch_gd(*given, epochs=4, **shared)
    else:
        shared |= {"orders": visits(options["shuffle"], 4), "batch_size": batch}
        coef, intercept, costs, path = reference.minibatch_gd(*given, **shared)
    close = {"rtol": 2e-4, "atol": 1e-5} if fit.coef.dtype == np.float32 else {"rtol": 1e-10}
    np.testing.assert_allclose(fit.coef, coef, **close)
    np.testing.assert_allclose(fit.intercept, intercept, **close)
    np.testing.assert_allclose(fit.costs, costs, **close)
    np.testing.assert_allclose(fit.path, path, **close)
    final = costs[-1]  # what the updates of the last epoch saw
    if batch is None:
        final = reference.cost(x.tolist(), y.tolist(), fit.coef, fit.intercept, loss, weight)
    assert fit.cost == pytest.approx(final, rel=1e-5 if close["rtol"] > 1e-5 else 1e-11)
    assert fit.loss == loss.name


@pytest.mark.parametrize("name", ["huber", "poisson"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_is_torch_s(name, optimizer):
    loss = fastgd.losses.LOSSES[name]
    x, y, _ = data(loss)
    with oracles.quiet():
        fit = fastgd.fit(x, y, name, lr=0.05, epochs=3, optimizer=optimizer)
    coef = torch.zeros(D, dtype=torch.float64, requires_grad=True)
    intercept = torch.zeros((), dtype=torch.float64, requires_grad=True)
    make, options = oracles.OPTIMIZERS[optimizer]
    steps = make([coef, intercept], lr=0.05, **options)
    of_torch = oracles.MODULES[name]()

    def closure():
        steps.zero_grad()
        cost = of_torch(torch.tensor(x) @ coef + intercept, torch.tensor(y))
        cost.backward()
        return cost

    for _ in range(3):
        steps.step(closure)
    np.testing.assert_allclose(fit.coef, coef.detach(), rtol=1e-7)  # ASGD keeps a rate in float32
    np.testing.assert_allclose(fit.intercept, intercept.detach(), rtol=1e-7)


def test_every_loop_is_shown():
    assert {*OTHERS} | {"mse", "bce", "huber", "poisson", "cross_entropy"} == {
        *fastgd.losses.LOSSES
    }
    assert {loop for _, loop in OTHERS.values()} == {*LOOPS}


@every_loss
@pytest.mark.parametrize("k", [1, 2])
def test_validation_and_several_targets(loss, k):
    x, y, _ = data(loss, 90)
    y = np.stack([y, y[::-1]], axis=1)[:, :k]
    given = {"lr": 0.05, "epochs": 30, "patience": 30}
    with oracles.quiet():
        fit = fastgd.fit(x[:N], y[:N], loss, validation=(x[N:], y[N:]), **given)
    best = int(np.argmin(fit.validation_costs))
    assert fit.best_epoch == best + 1
    wanted = np.mean([
        reference.cost(x[N:].tolist(), y[N:, c].tolist(), fit.coef[c], fit.intercept[c], loss)
        for c in range(k)
    ])  # fmt: skip
    assert fit.validation_costs[best] == pytest.approx(wanted, rel=1e-11)


@every_loss
def test_what_comes_out_of_a_fit(loss):
    x, y, weight = data(loss)
    fit = fastgd.fit(x, y, loss, lr=0.05, epochs=20)
    raw = x @ fit.coef + fit.intercept
    wanted = np.array([loss.link(z) for z in raw.tolist()])
    np.testing.assert_allclose(fit.raw_prediction(x), raw, rtol=1e-14)
    np.testing.assert_allclose(fit.predict(x), wanted, rtol=1e-14)
    mean = np.average(y, weights=weight)
    left = np.average((y - wanted) ** 2, weights=weight)
    spread = np.average((y - mean) ** 2, weights=weight)
    if loss.perfect is None:  # else test_deviance
        assert fit.score(x, y, weight) == pytest.approx(1 - left / spread, rel=1e-10)
    with pytest.raises(AttributeError, match="predict_proba is for fits on labels"):
        fit.predict_proba(x)
    if fit.link != math.tanh:
        file = io.BytesIO()
        fit.save(file)
        file.seek(0)
        loaded = fastgd.load(file)
        assert (loaded.loss, loaded.link) == (fit.loss, fit.link)
        np.testing.assert_array_equal(loaded.predict(x), fit.predict(x))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fit)).predict(x), fit.predict(x))
    assert loss.name in repr(fit)
    curve = fastgd.cost_curve(x, y, [fit.coef], intercept=fit.intercept, loss=loss)
    assert curve[0] == pytest.approx(fit.cost, rel=1e-12)


@pytest.mark.parametrize("name", ["hinge", "modified_huber"])
def test_what_comes_out_of_a_fit_of_margins(name):
    x, y, weight = data(OTHERS[name][0])
    labels = np.where(y > 0, "yes", "no")
    fit = fastgd.fit(x, labels, name, lr=0.05, epochs=20)
    raw = x @ fit.coef + fit.intercept
    assert fit.predict(x).tolist() == np.where(raw > 0, "yes", "no").tolist()
    right = np.average((raw > 0) == (y > 0), weights=weight)
    assert fit.score(x, labels, weight) == pytest.approx(right, rel=1e-12)
    file = io.BytesIO()
    fit.save(file)
    file.seek(0)
    loaded = fastgd.load(file)
    assert (loaded.loss, loaded.link) == (fit.loss, fit.link)
    assert loaded.predict(x).tolist() == fit.predict(x).tolist()
    if name == "hinge":
        with pytest.raises(AttributeError, match="the loss 'hinge' has no probabilities"):
            loaded.predict_proba(x)
    else:
        share = np.clip((raw + 1) / 2, 0, 1)
        np.testing.assert_allclose(loaded.predict_proba(x)[:, 1], share, rtol=1e-14)
        np.testing.assert_allclose(loaded.predict_proba(x).sum(axis=1), 1, rtol=1e-14)
    curve = fastgd.cost_curve(x, y, [fit.coef], intercept=fit.intercept, loss=name)
    assert curve[0] == pytest.approx(fit.cost, rel=1e-12)
    with pytest.raises(fastgd.InputError, match=f"y has 3 labels; the loss '{name}' takes two"):
        fastgd.fit(x, np.arange(N) % 3, name, lr=0.1)


def test_a_link_of_your_own_is_kept_by_no_file():
    x, y, _ = data(LOSSES["own"])
    fit = fastgd.fit(x, y, LOSSES["own"], lr=0.1, epochs=1)
    with pytest.raises(fastgd.InputError, match="the link of the loss 'log cosh' is a function"):
        fit.save(io.BytesIO())


@pytest.mark.parametrize(
    ("loss", "of_margins"),
    [(loss, False) for loss in SECOND.values()]
    + [(loss, True) for loss in SECOND.values() if loss.targets == LABELS],
    ids=lambda part: getattr(part, "name", part),
)
def test_curvatures_of_rows(monkeypatch, loss, of_margins):
    """Weighted second derivatives, in parts; at a label of 1 where margins are given."""
    if loss.coupled:
        raw = np.random.default_rng(0).standard_normal((20, 4)) * 3
        wanted = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
        elementwise.probabilities(loss)(raw)
        np.testing.assert_allclose(raw, wanted, rtol=1e-13)
        return
    monkeypatch.setattr(elementwise, "_PART", 16)
    _, y, weight = data(loss)
    z = np.linspace(-3, 3, N)
    labels = np.ones(N) if of_margins else y
    second = [loss.second(a, b, *loss.parameters) for a, b in zip(z, labels, strict=True)]
    for given, factor in ((weight, weight), (weight[:0], 1.0)):
        found = z.copy()
        elementwise.curvatures(loss, found, y, given, of_margins, 2)
        np.testing.assert_allclose(found, second * np.asarray(factor), rtol=1e-13)


@pytest.mark.jit
def test_another_parameter_compiles_nothing():
    from numba.core import event

    x, y, _ = data(Huber())
    assert Huber(0.5).formula == Huber(1.5).formula
    for options in ({}, {"batch_size": 16}, {"batch_size": 1}):
        fits, compiled = [], event.RecordingListener()
        fits.append(fastgd.fit(x, y, Huber(0.5), lr=0.1, epochs=5, **options))
        with event.install_listener("numba:compile", compiled):
            fits.append(fastgd.fit(x, y, Huber(1.5), lr=0.1, epochs=5, **options))
        assert not compiled.buffer
        assert fits[0].coef.tolist() != fits[1].coef.tolist()
    for one, other, batch_size in (
        (Quantile(0.1), Quantile(0.9), 16),
        (EpsilonInsensitive(0.1), EpsilonInsensitive(0.4), None),
        (SquaredEpsilonInsensitive(0.1), SquaredEpsilonInsensitive(0.4), None),
        (Tweedie(1.5), Tweedie(2.5), None),
        (NegativeBinomial(0.1), NegativeBinomial(2.0), 16),
    ):
        assert one.formula == other.formula
        x, y, _ = data(one)
        y += 0.1 * (one.name == "tweedie")  # for both powers
        first = fastgd.fit(x, y, one, lr=0.1, epochs=5, batch_size=batch_size)
        with event.install_listener("numba:compile", compiled):
            second = fastgd.fit(x, y, other, lr=0.1, epochs=5, batch_size=batch_size)
        assert not compiled.buffer
        assert first.coef.tolist() != second.coef.tolist()
    odd = time.time_ns() / 1e30  # in no cache
    other = Loss("other", lambda z, y: (z - y) ** 2 + odd, lambda z, y: 2 * (z - y))
    with event.install_listener("numba:compile", compiled):
        fastgd.fit(x, y, other, lr=0.01, epochs=1)
    assert compiled.buffer  # the listener does hear


@pytest.mark.parametrize("loss", ["huber", LOSSES["own"]], ids=["huber", "own"])
def test_auto_finds_the_optimum_of_a_bounded_curvature(loss):
    x, y, _ = data(LOSSES["own"])
    x = x * [1.0, 1e4, 1e-3] + [0.0, 1e5, 0.0]
    fit = fastgd.fit(x, y, loss, l2=0.0)
    assert fit.converged
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    slow = fastgd.fit(z, y, loss, lr=0.5, epochs=20_000)
    assert fit.cost == pytest.approx(slow.cost, rel=1e-10)


def test_a_step_is_refused_where_no_bound_is_known():
    for options in ({"optimizer": "gd"}, {"batch_size": 2}):
        with pytest.raises(
            fastgd.InputError, match="needs a bound of the second derivative, and the loss"
        ):
            fastgd.fit([1, 2, 3], [1, 2, 3], "poisson", **options)
    fit = fastgd.fit([1, 2, 3], [1, 2, 3], "poisson", optimizer="adam")  # has a step of its own
    assert fit.lrs[0] == 1e-3


def test_a_bound_is_asked_for_where_the_slope_has_jumps():
    for name in ("quantile", "epsilon_insensitive", "hinge"):
        for options in ({"optimizer": "gd"}, {"batch_size": 2}):
            with pytest.raises(
                fastgd.InputError, match=f"lr='auto' needs .* the loss '{name}' has none"
            ):
                fastgd.fit([1, 2, 3], [0, 1, 0], name, **options)


def test_targets_outside_of_the_domain_are_named():
    for loss in ("gamma", Tweedie(2), Tweedie(3)):
        with pytest.raises(fastgd.InputError, match=r"y is 0 at row 1; .* takes numbers above 0"):
            fastgd.fit([1, 2, 3], [1, 0, -1], loss, lr=0.1)
    for loss in ("negative_binomial", Tweedie(1), Tweedie(1.5)):
        with pytest.raises(fastgd.InputError, match=r"y is -1 at row 2; .* takes numbers from 0"):
            fastgd.fit([1, 2, 3], [1, 0, -1], loss, lr=0.1)
    assert fastgd.fit([1, 2, 3], [1, 0, -1], Tweedie(0), lr=0.01, epochs=2).n_epochs == 2
    with pytest.raises(fastgd.InputError, match="y is -1 at row 2; the loss 'poisson' takes"):
        fastgd.fit([1, 2, 3], [1, 2, -1], "poisson", lr=0.1)
    y = [[1, 2], [3, -4]]
    with pytest.raises(fastgd.InputError, match="y is -4 at row 1, column 1"):
        fastgd.fit([1, 2], y, "poisson", lr=0.1)
    with pytest.raises(fastgd.InputError, match="in validation, y is -1 at row 0"):
        fastgd.fit([1, 2], [1, 2], "poisson", lr=0.1, validation=([1], [-1]))
    positive = Loss("own", log_cosh, log_cosh_slope, targets="positive")
    with pytest.raises(fastgd.InputError, match="y is 0 at row 0; the loss 'own' takes"):
        fastgd.fit([1, 2], [0, 2], positive, lr=0.1)
    with pytest.raises(fastgd.InputError, match="y is nan at row 1"):
        fastgd.fit([1, 2], [1, math.nan], "poisson", lr=0.1)


def hinge(z, y):
    T = type(z)
    m = (z if y > T(0.5) else -z) - T(1)
    return -m if m < T(0) else T(0)


def hinge_slope(z, y):
    T = type(z)
    side = T(1) if y > T(0.5) else T(-1)
    return -side if side * z < T(1) else T(0)


def test_a_loss_of_labels_of_your_own():
    loss = Loss("hinge", hinge, hinge_slope, link=None, targets=LABELS)
    x, y, _ = data(LOSSES["own"])
    names = np.where(x @ [1.0, -1.0, 0.5] > 0.1, "yes", "no")
    fit = fastgd.fit(x, names, loss, lr=0.1, epochs=200, class_weight="balanced")
    assert fit.classes.tolist() == ["no", "yes"]
    assert fit.score(x, names) > 0.9
    with pytest.raises(AttributeError, match="the loss 'hinge' has no probabilities"):
        fit.predict_proba(x)
    three = np.where(y > 0, names, "other")
    with pytest.raises(fastgd.InputError, match="y has 3 labels; the loss 'hinge' takes two"):
        fastgd.fit(x, three, loss, lr=0.1)
    with pytest.raises(fastgd.InputError, match="class_weight is for labels"):
        fastgd.fit(x, y, "huber", lr=0.1, class_weight="balanced")


def test_a_coupled_loss_of_your_own():
    """Its curvature and its probabilities are not those of softmax, unless it says so."""
    softmax = fastgd.losses.CROSS_ENTROPY
    x, y, _ = data(LOSSES["own"])
    three = np.digitize(y, [-1.0, 1.0])
    for link in (None, lambda z, top, rest: z):
        own = CoupledLoss("own", softmax.add, softmax.value, softmax.slope, 0.5, link)
        fit = fastgd.fit(x, three, own, lr=0.1)
        wanted = fastgd.fit(x, three, "cross_entropy", lr=0.1)
        np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-12)
        with pytest.raises(AttributeError, match="the loss 'own' has no probabilities"):
            fit.predict_proba(x)
        for options in ({}, {"l1": 0.1}):
            with pytest.raises(fastgd.InputError, match="lr='auto' knows the curvature of softmax"):
                fastgd.fit(x, three, own, **options)


def test_the_named_fits_are_cases_of_fit():
    x, y, weight = data(LOSSES["own"])
    labels = (y > 0).astype(int)
    for options in ({}, {"lr": 0.1}, {"lr": 0.1, "batch_size": 8, "sample_weight": weight}):
        for named, general in (
            (fastgd.fit_linear(x, y, **options), fastgd.fit(x, y, **options)),
            (fastgd.fit_linear(x, y, **options), fastgd.fit(x, y, "mse", **options)),
            (fastgd.fit_logistic(x, labels, **options), fastgd.fit(x, labels, "bce", **options)),
        ):
            assert named.coef.tobytes() == general.coef.tobytes()
            assert named.intercept == general.intercept
    two = fastgd.fit(x, labels, "cross_entropy", l2=0.1)
    assert two.coef.shape == (2, D)
    one = fastgd.fit_logistic(
        x, labels, l2=0.05
    )  # half of the penalty of two rows that are opposite
    np.testing.assert_allclose(two.predict_proba(x), one.predict_proba(x), rtol=1e-7)


def test_auto_of_labels_without_a_second_derivative():
    """The logistic loss written by hand: the bound of its curvature stands for the second derivative."""
    bce = fastgd.losses.LOSSES["bce"]
    own = Loss(
        "own logistic", bce.value, bce.slope, 0.25, targets="labels", open_ended=True, link=bce.link
    )
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.logistic(size=600) > 0).astype(int)
    found, wanted = fastgd.fit(x, y, own), fastgd.fit_logistic(x, y)
    assert found.converged
    np.testing.assert_allclose(found.coef, wanted.coef, rtol=1e-6)
