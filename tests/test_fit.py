"""The two fits: textbook iterates on every loop, and an honest end of every run."""

import os
import signal
import threading
import time

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastgd
from fastgd import reference
from fastgd.cpu.order import visiting_order
from fastgd.losses import LOSSES
from fastgd.sources import dense as source

JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"
CLOSE = {np.float32: dict(rtol=2e-4, atol=2e-5), np.float64: dict(rtol=1e-9, atol=1e-11)}


def made(n, d, seed=0, dtype=np.float64, logistic=False):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(dtype)
    z = x @ rng.standard_normal(d) + 0.5 + 0.3 * rng.standard_normal(n)
    return x, (z > 0).astype(int) if logistic else z.astype(dtype)


def expected(x, y, logistic, *, lr, epochs, batch_size=None, shuffle=False, seed=0, **options):
    """The reference's run of the same call."""
    loss = LOSSES["bce" if logistic else "mse"]
    rows, targets = x.astype(float).tolist(), np.asarray(y, float).tolist()
    start = [0.0] * x.shape[1]
    options = {k: v for k, v in options.items() if v is not None}
    if batch_size is None:
        return reference.batch_gd(rows, targets, start, lr=lr, epochs=epochs, loss=loss, **options)
    orders = [visiting_order(len(y), shuffle, seed, e).tolist() for e in range(epochs)]
    return reference.minibatch_gd(
        rows, targets, start, lr=lr, orders=orders, batch_size=batch_size, loss=loss, **options
    )


def assert_same(fit, coef, intercept, costs, path=None, dtype=np.float64):
    close = CLOSE[dtype]
    np.testing.assert_allclose(fit.coef, coef, **close)
    np.testing.assert_allclose(fit.intercept, intercept, **close)
    np.testing.assert_allclose(fit.costs, costs, **close)
    if path is not None:
        np.testing.assert_allclose(fit.path, path, **close)


# --- the tutorial's own numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 1])
def test_tutorial_linear(batch_size):
    """x·w with w = 1 at first, lr 0.01, 100 epochs: w, every cost, and the prediction at 4."""
    w, costs = 1.0, []
    xs, ys = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
    for _ in range(100):
        if batch_size is None:
            costs.append(sum((x * w - y) ** 2 for x, y in zip(xs, ys, strict=True)) / 3)
            w -= 0.01 * sum(2 * x * (x * w - y) for x, y in zip(xs, ys, strict=True)) / 3
        else:
            met = 0.0
            for x, y in zip(xs, ys, strict=True):
                met += (x * w - y) ** 2 / 3
                w -= 0.01 * 2 * x * (x * w - y)
            costs.append(met)
    fit = fastgd.fit_linear(
        xs, ys, lr=0.01, epochs=100, coef_init=1.0, fit_intercept=False,
        batch_size=batch_size, shuffle=False,
    )  # fmt: skip
    assert_same(fit, [w], 0.0, costs)
    assert fit.predict([4.0])[0] == pytest.approx(4 * w, rel=1e-12)
    assert fit.n_epochs == 100
    assert fit.converged
    assert costs[0] == pytest.approx(14 / 3 if batch_size is None else 4.052515, rel=1e-6)


def test_tutorial_logistic():
    """y = [0, 0, 1], BCE with reduction sum, 1000 epochs of torch's SGD."""
    model = torch.nn.Linear(1, 1).double()
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = (
        torch.tensor([[1.0], [2.0], [3.0]]).double(),
        torch.tensor([[0.0], [0.0], [1.0]]).double(),
    )
    costs = []
    for _ in range(1000):
        loss = torch.nn.functional.binary_cross_entropy(torch.sigmoid(model(x)), y, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        costs.append(loss.item())
    fit = fastgd.fit_logistic([1, 2, 3], [0, 0, 1], lr=0.01, epochs=1000, reduction="sum")
    assert_same(fit, model.weight.detach().numpy()[0], model.bias.item(), costs)
    hours = fit.predict_proba([1.0, 7.0])[:, 1]
    wanted = torch.sigmoid(model(torch.tensor([[1.0], [7.0]]).double())).detach().numpy()[:, 0]
    np.testing.assert_allclose(hours, wanted, rtol=1e-10)


# --- the same iterates on every loop -----------------------------------------------------------------


@given(
    shape=st.sampled_from([(1, 1), (2, 3), (33, 5), (7, 1), (12, 20)]),
    # A loop over batches is compiled for a dtype, a loss and whether there is an order.
    compiled_for=st.sampled_from(
        [
            (np.float64, False, False),
            (np.float64, False, "block"),
            (np.float64, True, True),
            (np.float64, True, "block"),
            (np.float32, True, True),
        ]
    ),
    order=st.sampled_from(["C", "F", "strided", "reversed"]),
    batch_size=st.sampled_from([None, 1, 4]),
    reduction=st.sampled_from(["mean", "sum"]),
    l2=st.sampled_from([0.0, 0.1]),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 5),
)
def test_same_iterates(
    shape, compiled_for, order, batch_size, reduction, l2, fit_intercept, weighted, seed
):
    (n, d), (dtype, logistic, shuffle) = shape, compiled_for
    x, y = made(n, d, seed, dtype, logistic)
    if logistic:
        y[0], y[-1] = 0, 1
        if n == 1:
            return  # one row has one label
    if batch_size is not None and batch_size > n:
        batch_size = 1
    weight = np.random.default_rng(seed).random(n) + 0.1 if weighted else None
    laid = {
        "C": np.ascontiguousarray(x),
        "F": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
        "reversed": np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    }[order]
    common = dict(
        lr=0.005, epochs=6, batch_size=batch_size, shuffle=shuffle, seed=seed, l2=l2,
        reduction=reduction, fit_intercept=fit_intercept,
    )  # fmt: skip
    fit = (fastgd.fit_logistic if logistic else fastgd.fit_linear)(
        laid, y, sample_weight=weight, keep_path=True, **common
    )
    coef, intercept, costs, path = expected(
        x, y, logistic, weight=None if weight is None else weight.tolist(), **common
    )
    assert_same(fit, coef, intercept, costs, path, dtype)
    assert fit.coef.dtype == dtype


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("logistic", [False, True])
def test_parts_and_gathering_give_the_same_iterates(monkeypatch, order, logistic):
    """Data larger than a part, epochs driven from Python, and rows gathered for stochastic loops."""
    monkeypatch.setattr(source, "PART_BYTES", 512)
    x, y = made(90, 4, logistic=logistic)
    fit_it = fastgd.fit_logistic if logistic else fastgd.fit_linear
    for batch_size in (None, 1, 8):
        options = dict(lr=0.02, epochs=3, batch_size=batch_size, shuffle=True)
        for given_x in (np.asarray(x, order=order), np.repeat(x, 2, axis=0)[::2]):
            fit = fit_it(given_x, y, **options)
            assert_same(fit, *expected(np.asarray(given_x), y, logistic, **options)[:3])
        whole = (x * 10).astype(np.int8)
        options["lr"] = 1e-4  # of ten times the size
        assert_same(fit_it(whole, y, **options), *expected(whole, y, logistic, **options)[:3])


def test_targets_of_several_columns_follow_torch():
    x, _ = made(40, 3)
    y = x @ np.random.default_rng(1).standard_normal((3, 2)) + [1.0, -2.0]
    for batch_size in (None, 1, 7):
        model = torch.nn.Linear(3, 2).double()
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        size = batch_size or 40
        for _ in range(4):
            for start in range(0, 40, size):
                rows = slice(start, start + size)
                out = model(torch.from_numpy(x[rows]))
                loss = torch.nn.functional.mse_loss(out, torch.from_numpy(y[rows]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        fit = fastgd.fit_linear(x, y, lr=0.05, epochs=4, batch_size=batch_size, shuffle=False)
        np.testing.assert_allclose(fit.coef, model.weight.detach().numpy(), rtol=1e-11)
        np.testing.assert_allclose(fit.intercept, model.bias.detach().numpy(), rtol=1e-11)
        assert fit.coef.shape == (2, 3)
        assert fit.predict(x).shape == (40, 2)


def test_statistics_and_stream_give_the_same_iterates():
    """Many epochs go over to statistics; a run stopped before the switch has streamed."""
    x, y = made(3000 if JIT_OFF else 60_000, 3)
    x += [0, 5, -3]
    many = fastgd.fit_linear(x, y, lr=0.01, epochs=1500)
    if not JIT_OFF:
        assert many.method == "statistics"
    few = fastgd.fit_linear(x, y, lr=0.01, epochs=1)
    assert few.method == "stream"
    w, b, costs = np.zeros(3), 0.0, []
    for _ in range(1500):
        r = x @ w + b - y
        costs.append(np.mean(r * r))
        w, b = w - 0.02 * (x.T @ r) / len(y), b - 0.02 * r.mean()
    assert_same(many, w, b, costs)


def test_statistics_keep_the_digits_of_a_vanishing_cost():
    n = 3000 if JIT_OFF else 60_000
    x = np.linspace(-1, 1, n)
    y = 1e6 + 3 * x
    fit = fastgd.fit_linear(x, y, lr=0.4, epochs=400)
    exact_cost = np.mean((x * fit.coef[0] + fit.intercept - y) ** 2)
    assert fit.cost < 1e-12
    assert fit.cost == pytest.approx(exact_cost, abs=1e-18)
    assert (fit.costs >= 0).all()


def test_a_callback_streams_first_and_ends_the_same():
    x, y = made(2000 if JIT_OFF else 50_000, 3)
    plain = fastgd.fit_linear(x, y, lr=0.01, epochs=300)
    seen = []
    watched = fastgd.fit_linear(x, y, lr=0.01, epochs=300, callback=lambda fit: seen.append(fit))
    np.testing.assert_allclose(watched.costs, plain.costs, rtol=1e-10)
    np.testing.assert_allclose(watched.coef, plain.coef, rtol=1e-10)
    assert seen
    assert all(isinstance(fit, fastgd.Fit) for fit in seen)


def test_same_bits_for_every_number_of_threads(monkeypatch):
    monkeypatch.setattr(source, "PART_BYTES", 1 << 12)
    for logistic in (False, True):
        x, y = made(3000, 5, logistic=logistic)
        fit_it = fastgd.fit_logistic if logistic else fastgd.fit_linear
        for options in (dict(lr=0.1, epochs=5), {}, dict(lr=0.01, epochs=2, batch_size=16)):
            fits = [fit_it(x, y, n_threads=threads, **options) for threads in (1, 2, 5)]
            for fit in fits[1:]:
                assert fit.coef.tobytes() == fits[0].coef.tobytes()
                assert fit.costs.tobytes() == fits[0].costs.tobytes()
                assert fit.intercept == fits[0].intercept


@pytest.mark.jit
@pytest.mark.parametrize(
    ("n", "d", "labels", "options"),
    [
        (3000, 300, None, dict(lr=1e-3, epochs=2, batch_size=256)),
        (700, 10, None, dict(lr=1e-3, epochs=3, batch_size=32)),
        (700, 7, 2, dict(lr=1e-2, epochs=3, batch_size=1, l2=0.1)),
        (700, 10, 2, dict(lr=1e-2, epochs=5)),
        (700, 10, 3, dict(lr=1e-2, epochs=5)),
    ],
)
def test_same_bits_whoever_looks_on(monkeypatch, n, d, labels, options):
    """Whatever cuts a fit into calls, it is the same machine code that moves the parameters."""
    x, y = made(n, d)
    fit_it = fastgd.fit_linear
    if labels:
        y, fit_it = np.digitize(y, [0.0] if labels == 2 else [-1.0, 1.0]), fastgd.fit_logistic
    alone = fit_it(x, y, n_threads=1, **options)
    ways = [
        dict(n_threads=2), dict(n_threads=3), dict(tol=1e-300), dict(callback=lambda fit: False),
        dict(keep_path=True), dict(validation=(x, y), patience=100), dict(epochs=options["epochs"]),
    ]  # fmt: skip
    for way in ways:
        if way is ways[-1]:
            monkeypatch.setattr("fastgd.solvers.work.CHUNK_NS", 1.0)
        with oracles.quiet():
            fit = fit_it(x, y, **(options | way))
        assert fit.costs.tobytes() == alone.costs.tobytes(), way
        if fit.best_epoch in (None, fit.n_epochs):
            assert fit.coef.tobytes() == alone.coef.tobytes(), way
            assert np.all(fit.intercept == alone.intercept), way
            assert fit.cost == alone.cost, way


@pytest.mark.parametrize("batch_size", [None, 1])
def test_small_problems_have_the_same_bits_for_every_number_of_threads(batch_size):
    x, y = made(20, 3)
    fits = [
        fastgd.fit_linear(x, y, lr=0.01, batch_size=batch_size, n_threads=threads)
        for threads in (None, 1, 3)
    ]
    assert len({(fit.coef.tobytes(), fit.intercept, fit.costs.tobytes()) for fit in fits}) == 1


@pytest.mark.skipif(JIT_OFF, reason="the danger is in compiled code that depends on addresses")
@pytest.mark.parametrize("order", ["C", "F"])
def test_same_bits_wherever_the_arrays_lie_in_memory(order):
    x, y = made(1500, 5, logistic=True)
    weight = np.random.default_rng(1).random(1500)
    sizes = np.random.default_rng(2).integers(1, 5000, 100)
    for options in (
        dict(lr=0.1, epochs=3), dict(lr=0.1, epochs=3, sample_weight=weight), dict(l2=0.01),
        dict(lr=0.1, epochs=2, batch_size=1), dict(lr=0.1, epochs=2, batch_size=64),
    ):  # fmt: skip
        for fit_it in (fastgd.fit_linear, fastgd.fit_logistic):
            found, held = set(), []
            for size in sizes:
                held.append(bytearray(int(size)))  # moves what is allocated next
                fit = fit_it(np.array(x, order=order), y, **options)
                found.add((fit.coef.tobytes(), fit.intercept, fit.costs.tobytes(), fit.cost))
            assert len(found) == 1


def test_the_seed_decides_the_order():
    x, y = made(50, 2)
    options = dict(lr=0.01, epochs=2, batch_size=1)
    first = fastgd.fit_linear(x, y, seed=1, **options)
    assert first.coef.tobytes() == fastgd.fit_linear(x, y, seed=1, **options).coef.tobytes()
    assert first.coef.tobytes() != fastgd.fit_linear(x, y, seed=2, **options).coef.tobytes()


def test_dtype_decides_the_precision():
    x, y = made(60, 3, dtype=np.float32)
    exact = fastgd.fit_linear(x.astype(float), y.astype(float), lr=0.1, epochs=20)
    for dtype in ("float64", np.float64):
        fit = fastgd.fit_linear(x, y, lr=0.1, epochs=20, dtype=dtype)
        assert fit.coef.dtype == np.float64
        np.testing.assert_allclose(fit.coef, exact.coef, rtol=1e-13)
    low = fastgd.fit_linear(x.astype(float), y, lr=0.1, epochs=20, dtype="float32")
    assert low.coef.dtype == np.float32
    np.testing.assert_allclose(low.coef, exact.coef, rtol=1e-4)


# --- stopping --------------------------------------------------------------------------------------


def test_tol_stops_when_the_gradient_is_small():
    x, y = made(200, 3)
    for batch_size in (None, 20):
        fit = fastgd.fit_linear(x, y, lr=0.05, epochs=5000, tol=0.03, batch_size=batch_size)
        assert fit.converged
        assert 1 < fit.n_epochs < 5000
        first = np.hypot(*map(np.linalg.norm, fastgd.mse_gradient(x, y, np.zeros(3))))
        last = np.hypot(*map(np.linalg.norm, fastgd.mse_gradient(x, y, fit.coef, fit.intercept)))
        reference_norm = first if batch_size is None else None
        if reference_norm is not None:
            assert last <= 0.03 * reference_norm
    with pytest.warns(fastgd.ConvergenceWarning, match="short of tol=1e-12 after 3 epochs"):
        fit = fastgd.fit_linear(x, y, lr=0.05, epochs=3, tol=1e-12)
    assert not fit.converged


@pytest.mark.parametrize("options", [dict(lr=1e-6), dict(lr=1e-6, batch_size=1), {}])
def test_a_callback_stops_the_fit(monkeypatch, options):
    monkeypatch.setattr("fastgd.solvers.work.CHUNK_NS", 1.0)
    x, y = made(300, 3, logistic=True)
    seen = []

    def stop_at_second(fit):
        seen.append(fit.n_epochs)
        return len(seen) == 2

    fit = fastgd.fit_logistic(x, y, callback=stop_at_second, epochs=50, **options)
    assert seen == [1, 2]
    assert fit.n_epochs == 2


def test_progress_shows_a_bar(capfd):
    x, y = made(50, 2)
    fit = fastgd.fit_linear(x, y, lr=0.01, epochs=7, progress=True)
    assert fit.n_epochs == 7
    assert "7/7" in capfd.readouterr().err


# --- no silent nonsense ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, dict(batch_size=1), dict(batch_size=9)])
def test_divergence_names_a_stable_step_and_keeps_the_last_finite_fit(options):
    x, y = made(60, 3)
    with pytest.raises(fastgd.DivergenceError, match=r"lr=50.*lr up to .* is stable") as caught:
        fastgd.fit_linear(x, y, lr=50, epochs=10_000, **options)
    error = caught.value
    assert np.isfinite(error.fit.coef).all()
    assert np.isfinite(error.fit.cost)
    assert np.isfinite(error.fit.costs).all()
    assert not error.fit.converged
    assert len(error.fit.costs) == error.fit.n_epochs
    with pytest.warns(fastgd.ConvergenceWarning, match="rose"):
        same = fastgd.fit_linear(x, y, lr=50, epochs=error.fit.n_epochs, **options)
    np.testing.assert_allclose(error.fit.coef, same.coef, rtol=1e-9)
    if options:
        assert error.fit.cost == error.fit.costs[-1]
    else:
        cost = fastgd.mse_cost(x, y, error.fit.coef, error.fit.intercept)
        assert error.fit.cost == pytest.approx(cost, rel=1e-6)
    # Stochastic updates keep a noise floor in proportion to the step: they get a smaller share.
    share = 0.1 if options else 0.9
    calm = fastgd.fit_linear(x, y, lr=share * error.stable_lr, epochs=300, **options)
    assert calm.cost < 0.5 * fastgd.mse_cost(x, y, np.zeros(3))


@pytest.mark.parametrize(
    "options",
    [
        dict(batch_size=7), dict(batch_size=1), dict(batch_size=29), dict(batch_size=7, l2=1.0),
        dict(batch_size=7, average=True), dict(batch_size=7, dtype="float32"), {}, dict(tol=1e-9),
        dict(batch_size=7, optimizer="momentum"),
        dict(batch_size=7, validation=0.3, patience=3000),
    ],
    ids=str,
)  # fmt: skip
def test_every_divergence_keeps_finite_parameters_and_their_costs(options):
    """An epoch may meet finite losses on its way to parameters whose cost is infinite."""
    for seed in range(4 if JIT_OFF else 40):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
        lr = 10.0 if seed % 2 == 0 else 10.0 ** (seed % 150)
        with pytest.raises(fastgd.DivergenceError, match="is stable on this data") as caught:
            fastgd.fit_linear(x, y, lr=lr, epochs=2000, **options)
        fit, stable = caught.value.fit, caught.value.stable_lr
        assert 0 < stable < 1
        assert np.isfinite([*fit.coef, fit.intercept, fit.cost, *fit.costs]).all()
        assert len(fit.costs) == fit.n_epochs
        if options.get("batch_size") and fit.n_epochs and not options.get("average"):
            assert fit.cost == fit.costs[-1]
        else:
            cost = fastgd.mse_cost(x, y, fit.coef, fit.intercept)
            assert fit.cost == pytest.approx(cost, rel=1e-5)
        if fit.n_epochs:
            with oracles.quiet():
                same = fastgd.fit_linear(x, y, lr=lr, epochs=fit.n_epochs, **options)
            if "validation" not in options:
                np.testing.assert_allclose(same.coef, fit.coef, rtol=1e-9)
            np.testing.assert_allclose(same.costs, fit.costs, rtol=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_stable_step_is_the_largest(reduction, fit_intercept):
    x, y = made(80, 3, seed=3)
    x[:, 1] += 4
    common = dict(reduction=reduction, fit_intercept=fit_intercept, l2=0.2)
    with pytest.raises(fastgd.DivergenceError) as caught:
        fastgd.fit_linear(x, y, lr=1e3, epochs=1000, **common)
    lr = caught.value.stable_lr
    assert fastgd.fit_linear(x, y, lr=0.999 * lr, epochs=3000, **common).converged
    with pytest.raises(fastgd.DivergenceError):
        fastgd.fit_linear(x, y, lr=1.01 * lr, epochs=60_000 if not JIT_OFF else 40_000, **common)


@pytest.mark.parametrize("epochs", [60, 5000])
@pytest.mark.parametrize(
    "options",
    [{}, dict(tol=1e-9), dict(callback=lambda fit: False)],
    ids=["plain", "tol", "callback"],
)
def test_float32_parameters_diverge_where_float32_ends(options, epochs):
    """Loops on statistics go on in float64, where the cost is finite for long."""
    x, y = made(1500, 1)
    with pytest.raises(fastgd.DivergenceError, match="is stable on this data") as caught:
        fastgd.fit_linear(x.astype(np.float32), y, lr=11.0, epochs=epochs, **options)
    fit = caught.value.fit
    assert fit.coef.dtype == np.float32
    assert np.isfinite([*fit.coef, fit.intercept, fit.cost, *fit.costs]).all()
    assert 0 < caught.value.stable_lr < 1


@pytest.mark.jit
@pytest.mark.parametrize("batch_size", [None, 1, 7])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "optimizer",
    [
        "momentum", "nesterov", fastgd.SGD(momentum=0.99), fastgd.SGD(momentum=0.99, nesterov=True),
        fastgd.SGD(momentum=0.9, dampening=0.5), fastgd.SGD(weight_decay=100.0),
    ],
    ids=["momentum", "nesterov", "heavy", "heavy-nesterov", "dampened", "decayed"],
)  # fmt: skip
def test_the_stable_step_is_one_of_the_optimizer(optimizer, reduction, batch_size):
    x, y = made(40, 3)
    options = dict(optimizer=optimizer, reduction=reduction, batch_size=batch_size, epochs=2000)
    with pytest.raises(fastgd.DivergenceError) as caught:
        fastgd.fit_linear(x, y, lr=50.0, **options)
    with oracles.quiet():
        fit = fastgd.fit_linear(x, y, lr=0.999 * caught.value.stable_lr, **options)
    assert np.isfinite(fit.cost)


def test_a_run_that_ends_higher_says_so():
    x, y = made(60, 3)
    with pytest.warns(fastgd.ConvergenceWarning, match="the cost rose from") as caught:
        fit = fastgd.fit_linear(x, y, lr=2.0, epochs=5)
    assert not fit.converged
    assert caught[0].filename == __file__


def test_nan_is_named_on_every_loop():
    x, y = made(40, 3)
    x[17, 2] = np.nan
    for options in ({}, dict(lr=0.1), dict(lr=0.1, batch_size=1), dict(lr=0.1, batch_size=8)):
        with pytest.raises(fastgd.InputError, match=r"x is nan at row 17, column 2"):
            fastgd.fit_linear(x, y, **options)
        with pytest.raises(fastgd.InputError, match=r"x is nan at row 17, column 2"):
            fastgd.fit_logistic(x, y > 0, **options)


@pytest.mark.skipif(JIT_OFF, reason="plain Python is interrupted anywhere, and is too slow here")
@pytest.mark.usefixtures("control_c")
@pytest.mark.parametrize(
    "options",
    [
        dict(lr=1e-9, epochs=10**7),
        dict(lr=1e-9, epochs=10**6, batch_size=1),
        dict(lr=1e-9, epochs=10**6, batch_size=100),
        dict(lr=1e-9, epochs=10**8, n_threads=1, callback=lambda fit: False),
    ],
)
def test_control_c_loses_nothing(options):
    x, y = made(20_000, 30, logistic=True)
    fastgd.fit_logistic(x, y, **{**options, "epochs": 1})
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.4, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        fastgd.fit_logistic(x, y, **options)
    waited = time.perf_counter() - sent[0]
    fit = caught.value.fit
    assert fit.n_epochs > 0
    assert np.isfinite(fit.coef).all()
    assert fit.coef.any()
    assert len(fit.costs) == fit.n_epochs
    assert waited < 5  # seconds where 0.2 is the aim: a loaded machine must not fail the tests
    assert fastgd.fit_logistic(x, y, lr=0.1, epochs=2).n_epochs == 2


@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_every_output_may_have_a_learning_rate_of_its_own(batch_size):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((30, 4))
    y = x @ rng.standard_normal((4, 3)) + rng.standard_normal((30, 3))
    rates = [0.001, 0.002, 0.004]
    options = {"epochs": 5, "batch_size": batch_size, "reduction": "sum", "l2": 0.1}
    together = fastgd.fit_linear(x, y, lr=rates, **options)
    for c, lr in enumerate(rates):
        alone = fastgd.fit_linear(x, y[:, c], lr=lr, **options)
        np.testing.assert_allclose(together.coef[c], alone.coef, rtol=1e-12)
        np.testing.assert_allclose(together.intercept[c], alone.intercept, rtol=1e-12)


def test_learning_rates_that_don_t_fit_are_refused():
    x, y = np.ones((4, 2)), np.ones((4, 3))
    for lr, message in (
        ([0.1, 0.2], r"lr has 2 values and y has 3 column\(s\)"),
        ([0.1, -0.2, 0.3], r"lr\[1\] is -0.2; expected a finite number above 0"),
        ([0.1, np.nan, 0.3], r"lr\[1\] is nan"),
        ([[0.1, 0.2, 0.3]], r"lr has shape \(1, 3\)"),
    ):
        with pytest.raises(fastgd.InputError, match=message):
            fastgd.fit_linear(x, y, lr=lr)


def test_learning_rates_that_diverge_are_named():
    x, y = np.arange(8.0).reshape(4, 2), np.ones((4, 2))
    with pytest.raises(fastgd.DivergenceError, match=r"with lr from 0\.001 to 1e"):
        fastgd.fit_linear(x, y, lr=[0.001, 1e100], epochs=10)
