"""A fit that its callback stopped goes on, from a file too, as if it had not been stopped."""

import io

import numpy as np
import pytest

import fastgd
from fastgd.solvers import work

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3 + RNG.standard_normal(80)
LABELS = (Y > 0).astype(int)
THREE = np.digitize(Y, [-0.5, 0.8])
COUNTS = RNG.poisson(np.exp(0.3 * X[:, 0] + 0.5))
#: Columns whose refinements take three steps.
NEAR = np.column_stack([X[:, 0], X[:, 0] + 1e-6 * X[:, 1], X[:, 2]]) * [1.0, 1e4, 1e-4]
HELD = (RNG.standard_normal((20, 3)), RNG.standard_normal(20))

LOOPS = {
    "batch": (Y, "mse", {"lr": 0.1}),
    "batch, float32, Adam": (Y, "mse", {"lr": 0.1, "optimizer": "adam", "dtype": "float32"}),
    "statistics": (Y, "mse", {"lr": 0.1, "epochs": 4000}),
    "poisson, l1, schedule": (
        COUNTS, "poisson",
        {"lr": 0.1, "l1": 0.05, "schedule": fastgd.schedules.StepLR(3)},
    ),
    "per sample": (LABELS, "bce", {"lr": 0.1, "batch_size": 1}),
    "minibatch, momentum": (Y, "huber", {"lr": 0.1, "batch_size": 7, "optimizer": "momentum"}),
    "minibatch, average": (Y, "mse", {"lr": 0.1, "batch_size": 7, "average": True}),
    "softmax, minibatch": (THREE, "bce", {"lr": 0.1, "batch_size": 16}),
    "lbfgs": (LABELS, "bce", {"lr": 0.1, "optimizer": "lbfgs"}),
    "validation": (Y, "mse", {"lr": 0.1, "validation": HELD, "patience": 50}),
    "validation, per sample": (Y, "mse", {"lr": 0.1, "validation": 0.3, "patience": 50, "batch_size": 1}),
    "auto": (LABELS, "bce", {"l2": 1e-6}),
    "auto, softmax": (THREE, "bce", {"l2": 1e-6}),
    "auto, l1": (LABELS, "bce", {"l1": 0.01}),
    "auto, columns all but collinear": (Y, "mse", {}),
}  # fmt: skip
every_loop = pytest.mark.parametrize("loop", LOOPS)


def stop_after(calls):
    """A callback that stops at its call of this number."""
    left = iter(range(calls - 1))
    return lambda fit: next(left, None) is None


def go_on(fit):
    return False


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(work, "CHUNK_NS", 1.0)


def run(loop, **more):
    y, loss, options = LOOPS[loop]
    x = NEAR if "collinear" in loop else X
    return fastgd.fit(x, y, loss, **({"epochs": 12, "keep_path": True} | options | more))


def assert_same(found, wanted):
    for name in ("coef", "intercept", "costs", "path", "lrs", "gradient_norms", "validation_costs",
                 "best_epoch", "n_epochs", "cost", "converged", "method"):  # fmt: skip
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


@every_loop
@pytest.mark.parametrize("calls", [1, 4])
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_a_stopped_fit_goes_on(loop, calls):
    seen = []
    whole = run(loop, callback=lambda fit: seen.append(fit.n_epochs))
    assert len(seen) > 1
    stopped = run(loop, callback=stop_after(min(calls, len(seen) - 1)))
    assert stopped.n_epochs < whole.n_epochs
    assert not stopped.converged
    file = io.BytesIO()
    stopped.save(file)
    file.seek(0)
    loaded = fastgd.load(file)
    again = []
    assert_same(run(loop, callback=lambda fit: again.append(fit), resume=loaded), whole)
    assert len(again) < len(seen)  # it does not begin again
    assert loaded.state.keys() == stopped.state.keys()


def test_a_fit_that_the_callback_kept_is_a_checkpoint():
    kept = []
    whole = run("minibatch, momentum", callback=kept.append)
    assert len(kept) == 12
    for fit in (kept[2], kept[7]):
        assert_same(run("minibatch, momentum", resume=fit, callback=kept.append), whole)


@pytest.mark.parametrize("loop", [name for name in LOOPS if name.startswith("auto")])
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_more_passes_of_auto(loop):
    """A run that its cap ended goes on under a higher one; one that converged stays there."""
    whole = run(loop, epochs=100, callback=go_on)
    assert whole.converged
    capped = run(loop, epochs=2, callback=go_on)
    assert (capped.converged, capped.n_epochs) == (False, 2)
    assert_same(run(loop, epochs=100, resume=capped), whole)
    assert_same(run(loop, epochs=whole.n_epochs, resume=whole), whole)


def test_more_epochs():
    twelve = run("batch", callback=lambda fit: None)
    more = run("batch", epochs=20, resume=twelve)
    assert_same(more, run("batch", epochs=20, callback=lambda fit: None))
    again = run("batch", epochs=12, resume=twelve)  # there already
    np.testing.assert_array_equal(again.coef, twelve.coef)


@pytest.mark.parametrize(
    ("made", "how", "text"),
    [
        ({}, {}, "resume is no fit with a state"),
        ({"callback": go_on}, {"batch_size": 5}, "the state is of solver"),
        ({"callback": go_on}, {"x": X[:50], "y": Y[:50]}, "the state is of shape"),
        ({"callback": go_on}, {"validation": HELD}, "had no validation"),
        ({"callback": go_on, "validation": HELD}, {}, "had validation; pass the same"),
    ],
)
def test_what_does_not_fit_is_refused(made, how, text):
    how = {"x": X, "y": Y} | how
    given = {"lr": 0.1, "epochs": 3, "patience": 9}
    with pytest.warns() if "validation" in made else np.errstate():
        fit = fastgd.fit(X, Y, callback=made.pop("callback", None), **given, **made)
    with pytest.raises(fastgd.InputError, match=text):
        fastgd.fit(how.pop("x"), how.pop("y"), resume=fit, **given, **how)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_fit_whose_patience_ended_stays_there(batch_size):
    given = {"lr": 0.3, "epochs": 500, "patience": 3, "batch_size": batch_size, "callback": go_on,
             "keep_path": True}  # fmt: skip
    given["validation"] = (HELD[0], HELD[1] + 5.0)
    ended = fastgd.fit(X, Y, **given)
    assert ended.n_epochs < 500
    assert_same(fastgd.fit(X, Y, resume=ended, **given), ended)


def test_without_a_callback_no_state_is_kept():
    assert run("batch").state is None
    with pytest.raises(fastgd.InputError, match="resume is no fit"):
        run("batch", resume=3)
