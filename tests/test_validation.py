"""Early stopping: the plain rule on the textbook's iterates, and the best parameters returned."""

import os

import numpy as np
import pytest
from test_fit import made

import fastgd
from fastgd import reference
from fastgd.cpu.order import visiting_order
from fastgd.fitting.held_out import split
from fastgd.fitting.options import Options
from fastgd.fitting.problem import Problem
from fastgd.fitting.run import Run
from fastgd.losses import LOSSES, MSE
from fastgd.sources import dense as source

JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"
X, Y = made(36, 12, seed=3)
X_VAL, Y_VAL = made(20, 12, seed=4)  # of another plane: it is soon left behind
WEIGHT, WEIGHT_VAL = np.random.default_rng(0).random((2, 36)) + 0.1
WEIGHT_VAL = WEIGHT_VAL[:20]
LOOPS = {
    "batch": {"lr": 0.02},
    "per-sample": {"lr": 0.002, "batch_size": 1},
    "given order": {"lr": 0.002, "batch_size": 1, "shuffle": False},
    "minibatch": {"lr": 0.01, "batch_size": 8, "shuffle": "block"},
}
VARIANTS = {
    "plain": {},
    "l2": {"l2": 0.3},
    "l1": {"l1": 0.05},
    "sum": {"reduction": "sum"},
    "adam": {"optimizer": "adam"},
    "weights": {"sample_weight": WEIGHT},
    "schedule": {"schedule": fastgd.schedules.StepLR(3)},
}


def fit_of(logistic):
    return fastgd.fit_logistic if logistic else fastgd.fit_linear


def plain_walk(logistic, *, epochs, patience, lr, batch_size=None, shuffle=True, sample_weight=None,
               optimizer=None, weight_val=None, **rest):  # fmt: skip
    """Epochs run, the best of them, its parameters and all validation costs, in plain Python."""
    loss = LOSSES["bce" if logistic else "mse"]
    y, y_val = (Y > 0, Y_VAL > 0) if logistic else (Y, Y_VAL)
    rows, targets = X.tolist(), y.astype(float).tolist()
    rest |= {"lr": lr, "loss": loss, "weight": sample_weight}
    if optimizer is not None:
        rest["optimizer"] = fastgd.Adam()
    costs, lowest, best = [], np.inf, None
    while len(costs) < epochs and (best is None or len(costs) - best[0] < patience):
        e = len(costs) + 1  # from the start each time: slow and obvious
        if batch_size is None:
            walked = reference.batch_gd(rows, targets, [0.0] * 12, epochs=e, **rest)
        else:
            orders = [visiting_order(len(y), shuffle, 0, i).tolist() for i in range(e)]
            walked = reference.minibatch_gd(
                rows, targets, [0.0] * 12, orders=orders, batch_size=batch_size, **rest
            )
        coef, intercept = walked[:2]
        costs.append(
            reference.cost(
                X_VAL.tolist(), y_val.astype(float).tolist(), coef, intercept, loss, weight_val,
                rest.get("reduction", "mean"),
            )
        )  # fmt: skip
        if costs[-1] < lowest:
            lowest, best = costs[-1], (e, coef, intercept)
    return len(costs), best, costs


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")  # some rise, some end early
def test_the_rule_is_that_of_a_plain_walk(loop, variant, logistic):
    given = LOOPS[loop] | VARIANTS[variant]
    if variant == "sum":
        given["lr"] = given["lr"] / 36
    y, y_val = (Y > 0, Y_VAL > 0) if logistic else (Y, Y_VAL)
    rows, weight_val = (X_VAL, y_val), None
    if variant == "weights":
        rows, weight_val = (X_VAL, y_val, WEIGHT_VAL), WEIGHT_VAL.tolist()
    fit = fit_of(logistic)(X, y, epochs=25, validation=rows, patience=3, keep_path=True, **given)
    n_epochs, (best, coef, intercept), costs = plain_walk(
        logistic, epochs=25, patience=3, weight_val=weight_val, **given
    )
    assert (fit.n_epochs, fit.best_epoch) == (n_epochs, best)
    np.testing.assert_allclose(fit.validation_costs, costs, rtol=1e-10)
    np.testing.assert_allclose(fit.coef, coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.intercept, intercept, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(fit.path[best - 1], fit.coef)
    assert len(fit.costs) == len(fit.path) == len(fit.lrs) == n_epochs
    cost = fastgd.bce_cost if logistic else fastgd.mse_cost
    reduction = given.get("reduction", "mean")
    own = cost(
        X, y, fit.coef, fit.intercept, reduction=reduction, sample_weight=given.get("sample_weight")
    )
    assert fit.cost == pytest.approx(own if loop == "batch" else fit.costs[best - 1], rel=1e-10)
    if fit.converged:
        assert n_epochs - best == 3


@pytest.mark.parametrize("patience", [1, 2, 7])
@pytest.mark.parametrize("loop", [{}, {"batch_size": 1}, {"batch_size": 2}])
def test_patience_is_exact(patience, loop):
    """w goes 0, 0.4, 0.72, 0.976, 1.18, … to 2; the rows held out would have it at 1."""
    x = np.ones(4)  # four rows alike: an epoch of any loop is powers of one factor
    steps = 1 if not loop else 4 // loop["batch_size"]
    lr = (1 - 0.8 ** (1 / steps)) / 2
    fit = fastgd.fit_linear(
        x, 2 * x, lr=lr, fit_intercept=False, epochs=1000, validation=([1.0, 3.0], [1.0, 3.0]),
        patience=patience, **loop,
    )  # fmt: skip
    assert (fit.best_epoch, fit.n_epochs) == (3, 3 + patience)
    assert fit.coef[0] == pytest.approx(0.976, rel=1e-12)
    assert fit.converged
    np.testing.assert_allclose(
        fit.validation_costs, 5 * (1 - 2 * 0.8 ** np.arange(1, 4 + patience)) ** 2, rtol=1e-10
    )


def test_equal_costs_are_no_improvement():
    fit = fastgd.fit_linear(
        [1.0, 2.0], [1.0, 2.0], lr=0.1, validation=([0.0], [5.0]), patience=4, fit_intercept=False
    )
    assert (fit.best_epoch, fit.n_epochs, fit.converged) == (1, 5, True)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("parts", [False, True])
def test_the_result_is_a_fit_of_so_many_epochs(loop, parts, monkeypatch):
    if parts:
        monkeypatch.setattr(source, "PART_BYTES", 512)
    fit = fastgd.fit_linear(X, Y, epochs=60, validation=(X_VAL, Y_VAL), **LOOPS[loop])
    same = fastgd.fit_linear(X, Y, epochs=fit.best_epoch, **LOOPS[loop])
    np.testing.assert_allclose(fit.coef, same.coef, rtol=1e-13)
    assert fit.cost == pytest.approx(same.cost, rel=1e-13)
    assert fit.method == same.method


def test_on_statistics():
    n = 2000 if JIT_OFF else 60_000
    x, y = made(n, 3)
    fit = fastgd.fit_linear(x, y, lr=0.05, epochs=400, validation=(x[:500], y[:500]))
    assert JIT_OFF or fit.method == "statistics"
    costs = [fastgd.mse_cost(x[:500], y[:500], fit.coef, fit.intercept)]
    np.testing.assert_allclose(fit.validation_costs.min(), costs[0], rtol=1e-12)


def test_averages_are_what_is_looked_at_and_kept():
    options = {"lr": 0.01, "batch_size": 4, "average": True}
    with pytest.warns(fastgd.ConvergenceWarning, match="patience=8 did not end"):
        fit = fastgd.fit_linear(
            X, Y, epochs=8, validation=(X_VAL, Y_VAL + X_VAL[:, 0]), patience=8, **options
        )
    for e in (1, 4, 8):
        averaged = fastgd.fit_linear(X, Y, epochs=e, **options)
        cost = fastgd.mse_cost(X_VAL, Y_VAL + X_VAL[:, 0], averaged.coef, averaged.intercept)
        assert fit.validation_costs[e - 1] == pytest.approx(cost, rel=1e-12)
    best = fastgd.fit_linear(X, Y, epochs=fit.best_epoch, **options)
    assert fit.coef.tobytes() == best.coef.tobytes()


def test_the_average_is_over_every_update():
    w, walked, x, y = 0.0, [], [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
    for _ in range(4):
        for a, b in zip(x, y, strict=True):
            w -= 0.01 * 2 * a * (a * w - b)
            walked.append(w)
    means = [np.mean(walked[: 3 * e]) for e in range(1, 5)]
    fit = fastgd.fit_linear(
        x, y, lr=0.01, epochs=4, batch_size=1, average=True, fit_intercept=False, shuffle=False,
        validation=([1.0], [means[1]]), patience=2,
    )  # fmt: skip
    np.testing.assert_allclose(fit.validation_costs, (means - means[1]) ** 2, atol=1e-14)
    assert (fit.best_epoch, fit.coef[0]) == (2, pytest.approx(means[1], rel=1e-12))


@pytest.mark.parametrize("loop", LOOPS)
def test_several_targets(loop):
    y, y_val = np.column_stack([Y, -(Y**2)]), np.column_stack([Y_VAL, -(Y_VAL**2)])
    fit = fastgd.fit_linear(X, y, epochs=200, validation=(X_VAL, y_val), **LOOPS[loop])
    assert fit.converged
    cost = fastgd.mse_cost(X_VAL, y_val, fit.coef, fit.intercept)
    assert fit.validation_costs[fit.best_epoch - 1] == pytest.approx(cost, rel=1e-12)
    assert fit.validation_costs.min() == fit.validation_costs[fit.best_epoch - 1]


def test_float32_and_other_layouts_of_the_rows():
    x, x_val = X.astype("f4"), X_VAL.astype("f4")
    one = fastgd.fit_linear(x, Y, lr=0.02, epochs=99, validation=(x_val, Y_VAL))
    assert one.coef.dtype == np.float32
    for rows in (np.asfortranarray(x_val), np.repeat(x_val, 2, axis=1)[:, ::2], x_val.tolist()):
        other = fastgd.fit_linear(x, Y, lr=0.02, epochs=99, validation=(rows, Y_VAL.tolist()))
        np.testing.assert_allclose(other.validation_costs, one.validation_costs, rtol=1e-5)


# --- a fraction -----------------------------------------------------------------------------------


def test_the_split_is_drawn_with_the_seed():
    for n, fraction, m in ((10, 0.1, 1), (10, 0.25, 3), (101, 0.5, 51), (2, 0.01, 1)):
        kept, held = split(n, fraction, 0)
        assert len(held) == m
        assert sorted([*kept, *held]) == list(range(n))
        for rows in (kept, held):
            assert (np.diff(rows) > 0).all()
    same, other = split(1000, 0.2, 7), split(1000, 0.2, 8)
    np.testing.assert_array_equal(split(1000, 0.2, 7)[1], same[1])
    assert 0 < len(set(same[1]) & set(other[1])) < 100  # of 200, 40 by chance
    often = np.bincount(np.concatenate([split(20, 0.25, seed)[1] for seed in range(2000)]))
    assert (abs(often - 500) < 100).all()  # 5 standard deviations


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_a_fraction_is_the_fit_on_the_other_rows(loop, logistic):
    kept, held = split(36, 0.3, 5)
    y = np.where(Y > 0, "up", "down") if logistic else Y
    options = LOOPS[loop] | {"seed": 5, "epochs": 40, "patience": 2}
    fit = fit_of(logistic)(X, y, sample_weight=WEIGHT, validation=0.3, **options)
    parts = fit_of(logistic)(
        X[kept],
        y[kept],
        sample_weight=WEIGHT[kept],
        validation=(X[held], y[held], WEIGHT[held]),
        **options,
    )
    for name in ("coef", "costs", "validation_costs"):
        assert getattr(fit, name).tobytes() == getattr(parts, name).tobytes()
    assert fit.intercept == parts.intercept
    again = fit_of(logistic)(X, y, sample_weight=WEIGHT, validation=0.3, n_threads=1, **options)
    assert again.validation_costs.tobytes() == fit.validation_costs.tobytes()
    assert again.coef.tobytes() == fit.coef.tobytes()


def test_rows_that_are_given_are_not_copied(monkeypatch):
    whole = fastgd.fit_linear.__kwdefaults__ | {"lr": 0.1, "validation": (X_VAL, Y_VAL)}
    problem = Problem(MSE, X, Y, Options(**whole))
    sources, made_of = [], problem._source_of
    monkeypatch.setattr(
        problem, "_source_of", lambda *rows: sources.append(made_of(*rows)) or sources[-1]
    )
    run = Run(problem)
    run.result()
    assert np.shares_memory(sources[0].x, X_VAL)
    assert np.shares_memory(run.solver.source.x, X)
    assert np.shares_memory(run.solver.source.y, Y)


# --- together with the rest -----------------------------------------------------------------------


def test_a_callback_sees_every_epoch_and_may_stop():
    seen = []

    def stop_at_sixth(fit):
        seen.append((fit.n_epochs, len(fit.validation_costs), fit.best_epoch, fit.coef.copy()))
        return len(seen) == 6

    given = {"lr": 0.02, "epochs": 500, "validation": (X_VAL, Y_VAL), "patience": 100}
    fit = fastgd.fit_linear(X, Y, callback=stop_at_sixth, **given)
    assert [s[:2] for s in seen] == [(e, e) for e in range(1, 7)]
    assert fit.n_epochs == 6
    assert not fit.converged
    assert fit.best_epoch == seen[-1][2] < 6
    np.testing.assert_array_equal(fit.coef, seen[fit.best_epoch - 1][3])


@pytest.mark.parametrize("loop", LOOPS)
def test_control_c_keeps_the_best(loop):
    seen = []

    def interrupt(fit):
        seen.append(fit.coef)
        if len(seen) == 12:
            raise KeyboardInterrupt

    given = {"epochs": 500, "validation": (X_VAL, Y_VAL), "patience": 100, "keep_path": True}
    with pytest.raises(KeyboardInterrupt) as caught:
        fastgd.fit_linear(X, Y, callback=interrupt, **given, **LOOPS[loop])
    fit = caught.value.fit
    assert fit.n_epochs == 12
    assert fit.best_epoch < 12
    assert not fit.converged
    np.testing.assert_array_equal(fit.coef, fit.path[fit.best_epoch - 1])
    cost = fastgd.mse_cost(X, Y, fit.coef, fit.intercept)
    wanted = cost if loop == "batch" else fit.costs[fit.best_epoch - 1]
    assert fit.cost == pytest.approx(wanted, rel=1e-12)


def test_control_c_while_the_rows_are_looked_at(monkeypatch):
    from fastgd.solvers.early_stopping import Validation

    look = Validation.look

    def interrupted(self, parameters):
        if len(self.costs) == 3:
            raise KeyboardInterrupt
        look(self, parameters)

    monkeypatch.setattr(Validation, "look", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fastgd.fit_linear(X, Y, lr=0.02, validation=(X_VAL, Y_VAL))
    fit = caught.value.fit
    assert fit.n_epochs == len(fit.costs) == len(fit.validation_costs) == 3


def test_tol_ends_it_too():
    for loop in ({"lr": 0.02}, {"lr": 0.01, "batch_size": 8}):
        given = {"epochs": 5000, "validation": (X, Y), "patience": 5000, "tol": 0.2}
        fit = fastgd.fit_linear(X, Y, **given, **loop)
        assert fit.converged
        assert fit.n_epochs == len(fit.validation_costs) < 5000
    with pytest.warns(fastgd.ConvergenceWarning, match="short of tol"):
        fastgd.fit_linear(X, Y, **(given | {"tol": 1e-9, "epochs": 4}), lr=0.02)


def test_epochs_that_end_before_patience_say_so():
    sentence = (
        "lowest after epoch 4 of 4, so that patience=5 did not end the fit; allow more epochs"
    )
    with pytest.warns(fastgd.ConvergenceWarning, match=sentence):
        fit = fastgd.fit_linear(X, Y, lr=1e-4, epochs=4, validation=(X, Y))
    assert not fit.converged


def test_a_step_that_climbs_says_so():
    with pytest.warns(fastgd.ConvergenceWarning, match="the cost rose from .* in 2 epochs"):
        fit = fastgd.fit_linear(X, Y, lr=0.9, epochs=100, validation=(X_VAL, Y_VAL), patience=3)
    assert (fit.best_epoch, fit.n_epochs, fit.converged) == (2, 5, False)


def test_auto_with_batches_or_an_optimizer():
    for given in ({"batch_size": 4}, {"optimizer": "momentum"}):
        fit = fastgd.fit_linear(X, Y, epochs=300, validation=(X_VAL, Y_VAL), **given)
        assert fit.converged


def test_small_problems_are_validated_too():
    fit = fastgd.fit_linear([1, 2, 3, 4], [2, 4, 6, 9], lr=0.01, epochs=200, validation=0.25)
    assert fit.validation_costs.shape == (fit.n_epochs,)
    plain = fastgd.fit_linear([1, 2, 3], [2, 4, 6], lr=0.01)
    assert plain.validation_costs is plain.best_epoch is None


# --- errors ---------------------------------------------------------------------------------------

WANTED = (
    "pass a fraction of the rows above 0 and below 1, or a tuple (x, y), (x, y, sample_weight) or "
    "(x, y, sample_weight, offset)."
)
NAN_X, NAN_Y = X_VAL.copy(), Y_VAL.copy()
NAN_X[7, 2] = NAN_Y[4] = np.nan
ERRORS = {
    "fraction 0": ({"validation": 0}, f"validation is 0; {WANTED}"),
    "fraction 1.5": ({"validation": 1.5}, f"validation is 1.5; {WANTED}"),
    "fraction NaN": ({"validation": np.nan}, f"validation is nan; {WANTED}"),
    "True": ({"validation": True}, f"validation is True; {WANTED}"),
    "a list": ({"validation": [X_VAL, Y_VAL]}, f"validation is a list; {WANTED}"),
    "one part": ({"validation": (X_VAL,)}, f"validation has 1 part(s); {WANTED}"),
    "all rows": ({"validation": 0.99}, "validation=0.99 of 36 row(s) leaves none to train on."),
    "fewer columns": (
        {"validation": (X_VAL[:, :3], Y_VAL)},
        "in validation, x has 3 columns; the x to train on has 12.",
    ),
    "fewer rows of y": (
        {"validation": (X_VAL, Y_VAL[:5])},
        "in validation, x has 20 rows and y has 5; they must have the same length.",
    ),
    "more targets": (
        {"validation": (X_VAL, np.ones((20, 2)))},
        "in validation, y has 2 column(s); the y to train on has 1.",
    ),
    "weights": (
        {"validation": (X_VAL, Y_VAL, [1.0])},
        "in validation, sample_weight has shape (1,); expected (20,), one a row of x.",
    ),
    "no weight on one side": (
        {"validation": 0.5, "sample_weight": np.eye(36)[3]},
        "sample_weight is zero for every row on one side of the validation split; choose another seed, "
        "or pass the rows to validate on.",
    ),
    "NaN in x": (
        {"validation": (NAN_X, Y_VAL)},
        "in validation, x is nan at row 7, column 2; drop or fill that row.",
    ),
    "NaN in y": (
        {"validation": (X_VAL, NAN_Y)},
        "in validation, y is nan at row 4; drop or fill that row.",
    ),
    "patience 0": ({"validation": 0.2, "patience": 0}, "patience is 0; expected at least 1."),
    "patience alone": ({"patience": 0}, "patience is 0; expected at least 1."),
    "patience 1.5": ({"patience": 1.5}, "patience is 1.5; expected a whole number."),
    "auto": (
        {"validation": 0.2, "lr": "auto"},
        "validation looks after every epoch, and lr='auto' takes steps of another kind; pass lr as a "
        "number, an optimizer, or a batch_size below the number of rows.",
    ),
    "batch_size": (
        {"validation": 0.5, "batch_size": 20},
        "batch_size is 20, x has 18 rows to train on; None takes all rows at once.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_sentences(case):
    given, sentence = ERRORS[case]
    with pytest.raises(fastgd.InputError) as caught:
        fastgd.fit_linear(X, Y, **({"lr": 0.02} | given))
    assert str(caught.value) == sentence


def test_rows_of_a_nan_keep_their_numbers():
    """A fraction takes copies; the message names the caller's row, wherever it went."""
    for at in range(0, 36, 5):
        x = X.copy()
        x[at, 1] = np.nan
        with pytest.raises(fastgd.InputError, match=f"^x is nan at row {at}, column 1;"):
            fastgd.fit_linear(x, Y, lr=0.02, validation=0.3)


def test_labels_of_the_rows():
    text = np.where(Y > 0, "up", "down")
    known = {"lr": 0.1, "epochs": 200}
    fit = fastgd.fit_logistic(X, text, validation=(X_VAL, ["up"] * 20), **known)  # one will do
    assert fit.best_epoch is not None
    for labels, shown in (
        (["up"] * 19 + ["left"], "'left' at row 19"),
        (np.ones(20), "1.0 at row 0"),
    ):
        with pytest.raises(
            fastgd.InputError,
            match=f"^in validation, y is {shown}; the labels fitted are 'down', 'up'",
        ):
            fastgd.fit_logistic(X, text, validation=(X_VAL, labels), **known)
    with pytest.raises(fastgd.InputError, match="in validation, y has no label at row 0"):
        fastgd.fit_logistic(X, text, validation=(X_VAL, [None] * 20), **known)


@pytest.mark.parametrize("loop", LOOPS)
def test_divergence_is_told_as_ever(loop):
    given = LOOPS[loop] | {"lr": 1e10, "epochs": 1000}
    with pytest.raises(fastgd.DivergenceError, match=r"lr=1e\+10.*lr up to") as caught:
        fastgd.fit_linear(X, Y, validation=(X_VAL, Y_VAL), patience=1000, **given)
    fit = caught.value.fit
    assert np.isfinite(fit.coef).all()
    assert len(fit.validation_costs) == fit.n_epochs >= fit.best_epoch


def test_a_validation_cost_that_overflows():
    with pytest.raises(
        fastgd.DivergenceError, match="the validation cost overflows float64 after"
    ) as e:
        fastgd.fit_linear(X, Y, lr=0.02, validation=(X_VAL * 1e160, Y_VAL))
    assert e.value.fit.n_epochs == 1
