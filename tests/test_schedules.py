"""Schedules against torch.optim.lr_scheduler, by themselves and in whole fits; and averages."""

import math

import numpy as np
import oracles
import pytest
import torch
from torch.optim import lr_scheduler

import fastgd
from fastgd import reference, schedules
from fastgd.losses import LOSSES
from fastgd.solvers import work

#: Ours, and torch's arguments after the optimizer.
TWINS = {
    "ConstantLR": [((), ()), ((0.2, 30), (0.2, 30)), ((1.0, 1), (1.0, 1))],
    "StepLR": [((30,), (30,)), ((1, 0.97), (1, 0.97)), ((7, 0.5), (7, 0.5))],
    "ExponentialLR": [((0.95,), (0.95,)), ((1.01,), (1.01,))],
    "CosineAnnealingLR": [((200,), (200,)), ((50, 0.01), (50, 0.01)), ((7,), (7,))],
    "LinearLR": [((), ()), ((0.1, 1.0, 40), (0.1, 1.0, 40)), ((1.0, 0.0, 150), (1.0, 0.0, 150))],
    "LambdaLR": [((lambda e: 0.9**e + 0.1,),) * 2, ((lambda e: 1 / (1 + e // 10),),) * 2],
}
CASES = {
    f"{name}-{i}": (name, *pair) for name, grid in TWINS.items() for i, pair in enumerate(grid)
}
every_case = pytest.mark.parametrize(("name", "ours", "theirs"), CASES.values(), ids=CASES)


def torch_rates(name, arguments, lr, epochs):
    rule = torch.optim.SGD([oracles.tensor([0.0], True)], lr=lr)
    scheduler = getattr(lr_scheduler, name)(rule, *arguments)
    rates = []
    for _ in range(epochs):
        rates.append(rule.param_groups[0]["lr"])
        rule.step()
        scheduler.step()
    return rates


def test_every_schedule_has_a_twin():
    assert schedules.SCHEDULES.keys() == TWINS.keys() | {"InverseScaling"}


@every_case
def test_200_epochs_follow_torch(name, ours, theirs):
    """torch multiplies from epoch to epoch, and its cosine cancels near eta_min: 1e-12 of lr."""
    schedule = schedules.SCHEDULES[name](*ours)
    rates = [schedule.rate(0.3, epoch) for epoch in range(200)]
    np.testing.assert_allclose(rates, torch_rates(name, theirs, 0.3, 200), rtol=1e-12, atol=3e-13)


GRID = (
    [("ConstantLR", (factor, total)) for factor in (0.3, 1.0) for total in (0, 1, 4, 5.0, 40)]
    + [("StepLR", (size, gamma)) for size in (1, 3, 40) for gamma in (0.0, 0.5, 1.0, 1.2)]
    + [("ExponentialLR", (gamma,)) for gamma in (0.0, 0.5, 1.0, 1.2)]
    + [("CosineAnnealingLR", (t, eta)) for t in (1, 2, 7, 29) for eta in (0.0, 0.1)]
    + [("LinearLR", (a, b, t)) for a in (0.1, 1.0) for b in (0.0, 1.0) for t in (1, 4, 40)]
)


@pytest.mark.parametrize(("name", "arguments"), GRID)
def test_every_parameter_means_what_it_means_in_torch(name, arguments):
    schedule = schedules.SCHEDULES[name](*arguments)
    rates = [schedule.rate(0.3, epoch) for epoch in range(30)]
    np.testing.assert_allclose(rates, torch_rates(name, arguments, 0.3, 30), rtol=1e-13, atol=1e-15)


def test_a_power_beyond_float64_is_a_rate_of_zero_or_infinity():
    assert schedules.InverseScaling(400.0).rate(0.3, 9) == 0.0
    assert schedules.ExponentialLR(10).rate(0.3, 400) == math.inf
    assert schedules.StepLR(np.int64(1), np.float32(10)).rate(0.3, 400) == math.inf
    rates = fit(schedule=schedules.InverseScaling(400.0)).lrs
    assert rates.tolist() == [0.01, *[0.01 / (e + 1) ** 400.0 for e in range(1, 5)], 0.0]


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_inverse_scaling_follows_its_formula(power):
    """scikit-learn's "invscaling" is eta0/t^power with t the number of updates, here of epochs."""
    schedule = schedules.InverseScaling(power)
    for epoch in range(200):
        assert schedule.rate(0.3, epoch) == pytest.approx(0.3 / (epoch + 1) ** power, rel=1e-15)
    twin = schedules.LambdaLR(lambda epoch: (epoch + 1) ** -power)
    assert twin.rate(0.3, 99) == pytest.approx(schedule.rate(0.3, 99), rel=1e-14)


def test_inverse_scaling_of_batches_of_all_rows_is_scikit_learn_s():
    """With one row an epoch is an update: then the two are the same."""
    from sklearn.linear_model import SGDRegressor

    rival = SGDRegressor(
        penalty=None, learning_rate="invscaling", eta0=0.05, power_t=0.5, shuffle=False, max_iter=30,
        tol=None, average=False,
    ).fit([[1.5, -0.5]], [2.0])  # fmt: skip
    # There the loss is halved.
    fit = fastgd.fit_linear(
        [[1.5, -0.5]], [2.0], lr=0.025, epochs=30, schedule=schedules.InverseScaling(0.5)
    )
    np.testing.assert_allclose(fit.coef, rival.coef_, rtol=1e-12)
    assert fit.intercept == pytest.approx(rival.intercept_[0], rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.StepLR(0), "step_size of StepLR is 0; expected a number from 1 up"),
        (lambda: schedules.StepLR(3, -1), "gamma of StepLR is -1; expected a number from 0 up"),
        (lambda: schedules.ExponentialLR(math.nan), "gamma of ExponentialLR is nan"),
        (lambda: schedules.ExponentialLR(True), "gamma of ExponentialLR is True"),
        (lambda: schedules.CosineAnnealingLR(0), "T_max of CosineAnnealingLR is 0"),
        (lambda: schedules.LinearLR(total_iters=0), "total_iters of LinearLR is 0"),
        (lambda: schedules.ConstantLR("a"), "factor of ConstantLR is 'a'"),
        (lambda: schedules.ConstantLR(0.5, 2.5), "total_iters of ConstantLR is 2.5; expected an integer"),
        (lambda: schedules.StepLR(2.5), "step_size of StepLR is 2.5; expected an integer"),
        (lambda: schedules.StepLR(10**400), "step_size of StepLR is 10+…0+; expected a number from 1"),
        (lambda: schedules.InverseScaling(10**400), "power of InverseScaling is 10+…0+; expected"),
        (lambda: schedules.LambdaLR(0.5), "lr_lambda of LambdaLR is 0.5; expected a function"),
        (lambda: schedules.LambdaLR("x"), "lr_lambda of LambdaLR is 'x'; expected a function"),
        (lambda: fit(schedule=schedules.ExponentialLR(10.0), lr=1e-300, epochs=700),
         "the schedule ExponentialLR gives lr=inf for epoch 309; expected a finite number"),
        (lambda: fit(schedule=schedules.StepLR(2, 10), lr=1e-300, epochs=700, batch_size=30),
         "the schedule StepLR gives lr=inf for epoch 618; expected a finite number"),
        (lambda: schedules.InverseScaling(math.inf), "power of InverseScaling is inf"),
        (lambda: fit(schedule=lambda e: -1.0), "the schedule LambdaLR gives lr=-0.01 for epoch 0"),
        (lambda: fit(schedule=lambda e: math.nan), "the schedule LambdaLR gives lr=nan for epoch 0"),
        (lambda: fit(schedule=lambda e: 1.0 if e < 4 else -1.0), "gives lr=-0.01 for epoch 4"),
        (lambda: fit(schedule=schedules.StepLR), "schedule is <class"),
        (lambda: fit(schedule="step"), "schedule is 'step'; pass a function"),
        (lambda: fit(schedule=schedules.StepLR(3), lr="auto"), "pass lr as a number"),
    ],
)  # fmt: skip
def test_odd_schedules_are_answered_with_a_sentence(make, message):
    with pytest.raises(fastgd.InputError, match=message):
        make()


def fit(**options):
    x, y, *_ = oracles.problem(30, 3, "mse")
    return fastgd.fit_linear(x, y, **({"lr": 0.01, "epochs": 6} | options))


def torch_fit(x, y, loss, name, arguments, lr, epochs, size):
    """SGD with momentum and a scheduler, as every torch user writes it."""
    coef, intercept = oracles.tensor(np.zeros(x.shape[1]), True), oracles.tensor(0.0, True)
    rule = torch.optim.SGD([coef, intercept], lr=lr, momentum=0.5)
    scheduler = getattr(lr_scheduler, name)(rule, *arguments)
    x, y, path = oracles.tensor(x), oracles.tensor(y), []
    for _ in range(epochs):
        for rows in torch.arange(len(y)).split(size or len(y)):
            rule.zero_grad()
            oracles.LOSSES[loss](x[rows] @ coef + intercept, y[rows]).backward()
            rule.step()
        scheduler.step()
        path.append(coef.detach().numpy().copy())
    return np.array(path), intercept.item()


@every_case
@pytest.mark.parametrize(
    ("batch_size", "loss_name"), [(None, "mse"), (None, "bce"), (7, "mse"), (1, "mse")]
)
def test_whole_fits_follow_torch(name, ours, theirs, batch_size, loss_name, monkeypatch):
    """At once, and in chunks of one epoch; squared error in batch goes over statistics."""
    x, y, *_ = oracles.problem(30, 3, loss_name)
    fit_it = fastgd.fit_logistic if loss_name == "bce" else fastgd.fit_linear
    schedule, sizes = schedules.SCHEDULES[name](*ours), {"lr": 0.02, "epochs": 12}
    options = {
        "optimizer": fastgd.SGD(momentum=0.5), "schedule": schedule, "batch_size": batch_size,
        "shuffle": False, "keep_path": True, **sizes,
    }  # fmt: skip
    with oracles.quiet():
        found = fit_it(x, y, **options)
        monkeypatch.setattr(work, "CHUNK_NS", 1.0)
        parts = fit_it(x, y, **options, callback=lambda so_far: False)
    path, intercept = torch_fit(x, y, loss_name, name, theirs, **sizes, size=batch_size)
    for one in (found, parts):
        np.testing.assert_allclose(one.path, path, rtol=1e-9, atol=1e-12)
        assert one.intercept == pytest.approx(intercept, rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(one.lrs, torch_rates(name, theirs, 0.02, 12), rtol=1e-12)


@pytest.mark.parametrize(
    ("batch_size", "loss_name"), [(None, "mse"), (None, "bce"), (5, "mse"), (1, "bce")]
)
def test_plain_descent_with_a_schedule_is_the_textbook_s(batch_size, loss_name):
    """A function of the epoch will do; one lr for every output has rates for every output."""
    x, y, _, coef, intercept = oracles.problem(20, 3, loss_name)
    schedule = schedules.LambdaLR(lambda epoch: 1 / (1 + epoch))
    where = {"coef": coef.tolist(), "intercept": intercept, "loss": LOSSES[loss_name]}
    options = {"lr": 0.1, "schedule": schedule, "l2": 0.1}
    fit_it = fastgd.fit_logistic if loss_name == "bce" else fastgd.fit_linear
    with oracles.quiet():
        found = fit_it(
            x, y, lr=0.1, l2=0.1, schedule=lambda epoch: 1 / (1 + epoch), epochs=8, keep_path=True,
            batch_size=batch_size, shuffle=False, coef_init=coef, intercept_init=intercept,
        )  # fmt: skip
    if batch_size is None:
        wanted = reference.batch_gd(x.tolist(), y.tolist(), **where, epochs=8, **options)
    else:
        wanted = reference.minibatch_gd(
            x.tolist(),
            y.tolist(),
            **where,
            orders=[range(20)] * 8,
            batch_size=batch_size,
            **options,
        )
    np.testing.assert_allclose(found.path, wanted[3], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found.lrs, [0.1 / (1 + e) for e in range(8)], rtol=1e-15)


def test_rates_of_several_outputs():
    x, y, *_ = oracles.problem(30, 3, "mse")
    both = np.column_stack([y, 2 * y])
    found = fastgd.fit_linear(
        x, both, lr=[0.01, 0.02], epochs=5, schedule=schedules.ExponentialLR(0.5)
    )
    wanted = np.array([0.01, 0.02]) * 0.5 ** np.arange(5)[:, None]
    np.testing.assert_allclose(found.lrs, wanted, rtol=1e-15)
    for c in range(2):
        one = fastgd.fit_linear(
            x, both[:, c], lr=0.005 * (c + 1), epochs=5, schedule=schedules.ExponentialLR(0.5)
        )
        np.testing.assert_allclose(found.coef[c], one.coef, rtol=1e-10)
    constant = fastgd.fit_linear(x, y, lr=0.01, epochs=5, keep_path=True)
    assert constant.lrs == pytest.approx([0.01] * 5)


# --- average -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(("optimizer", "loss_name"), [("gd", "mse"), ("adam", "bce")])
@pytest.mark.parametrize("chunked", [False, True])
def test_average_is_the_mean_over_updates(batch_size, optimizer, chunked, loss_name, monkeypatch):
    """The textbook's updates, one batch a call, and a plain mean over what comes after each."""
    x, y, _, coef, intercept = oracles.problem(20, 3, loss_name)
    fit_it = fastgd.fit_logistic if loss_name == "bce" else fastgd.fit_linear
    if chunked:
        monkeypatch.setattr(work, "CHUNK_NS", 1.0)
    rule = fastgd.optimizers.OPTIMIZERS[optimizer]
    with oracles.quiet():
        found = fit_it(
            x, y, lr=0.05, epochs=3, batch_size=batch_size, shuffle=False, average=True, l1=0.01 *
            (optimizer == "gd"), optimizer=optimizer, coef_init=coef, intercept_init=intercept,
            schedule=schedules.StepLR(2), keep_path=True,
        )  # fmt: skip
    walk = reference.Walk(
        3, lr=0.05, optimizer=rule, schedule=schedules.StepLR(2), l1=0.01 * (optimizer == "gd")
    )
    w, b, seen = coef.tolist(), intercept, []
    for epoch in range(3):
        for start in range(0, 20, batch_size):
            rows = slice(start, start + batch_size)
            slopes = reference.gradient(x[rows].tolist(), y[rows].tolist(), w, b, LOSSES[loss_name])
            w, b = walk.step(epoch, w, b, *slopes)
            seen.append([*w, b])
    mean = np.mean(seen, axis=0)
    np.testing.assert_allclose([*found.coef, found.intercept], mean, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found.path[-1], w, rtol=1e-10, atol=1e-13)
    assert found.cost == pytest.approx(
        reference.cost(x.tolist(), y.tolist(), mean[:3], mean[3], LOSSES[loss_name]), rel=1e-10
    )


def test_average_needs_updates_to_average():
    with pytest.raises(fastgd.InputError, match="average is for stochastic updates"):
        fit(average=True)
