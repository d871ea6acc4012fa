"""A network whose fit was stopped, or whose process was killed, goes on to the same bits."""

import io
import pathlib

import numpy as np
import pytest
from killed_process import resumed_and_whole
from scipy.sparse import csr_array

import fastgd
from fastgd.fitting import checkpoint
from fastgd.mlp import run as mlp_run
from fastgd.mlp.result import MlpFit

#: Of epochs that ended before patience did.
pytestmark = pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 3))
Y = np.sin(X[:, 0]) + 0.1 * RNG.standard_normal(90)
LABELS = np.array(["a", "b", "c"])[np.digitize(Y, [-0.5, 0.5])]
HELD = (X[:20] + 0.1, Y[:20])

FITS = {
    "adam": (X, Y, {"batch_size": 16}),
    "all rows": (X, Y, {"lr": 0.1, "batch_size": None, "l2": 1e-3}),
    "asgd": (X, Y, {"optimizer": "asgd", "lr": 0.1}),
    "momentum, float32, schedule": (
        X, Y, {
            "optimizer": "momentum", "lr": 0.05, "dtype": "float32", "hidden": (5, 4),
            "schedule": fastgd.schedules.StepLR(3),
        },
    ),
    "labels of sparse rows": (
        csr_array(X), LABELS, {"loss": "cross_entropy", "optimizer": "rmsprop", "shuffle": "block"},
    ),
    "validation": (X, Y, {"validation": HELD, "patience": 50}),
    "a share for validation": (X, Y, {"validation": 0.3, "patience": 50, "sample_weight": X[:, 1] ** 2}),
}  # fmt: skip
every_fit = pytest.mark.parametrize("name", FITS)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """A call of the callback, and a file, after every epoch."""
    monkeypatch.setattr(mlp_run, "_CALLBACK", 0.0)
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "_TIMES", 0.0)


def run(name, **more):
    x, y, options = FITS[name]
    return fastgd.fit_mlp(x, y, **({"hidden": 5, "epochs": 8} | options | more))


def go_on(fit):
    return False


def after(epochs):
    return lambda fit: fit.n_epochs == epochs


def assert_same(found, wanted):
    for name in ("costs", "lrs", "cost", "n_epochs", "converged", "method", "validation_costs",
                 "best_epoch"):  # fmt: skip
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    for got, expected in zip(
        (*found.weights, *found.biases), (*wanted.weights, *wanted.biases), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@every_fit
def test_a_stopped_fit_goes_on(name):
    whole = run(name)
    assert whole.state is None
    stopped = run(name, callback=after(3))
    assert (stopped.n_epochs, stopped.converged) == (3, False)
    file = io.BytesIO()
    stopped.save(file)
    file.seek(0)
    loaded = fastgd.load(file)
    assert loaded.state.keys() == stopped.state.keys()
    for resumed in (stopped, loaded):
        seen = []
        assert_same(run(name, resume=resumed, callback=seen.append), whole)
        assert seen[0].n_epochs == 4  # it does not begin again
    again = run(name, resume=stopped, callback=after(5))
    assert_same(run(name, resume=again), whole)


@every_fit
def test_a_fit_goes_on_from_every_file_that_it_wrote(name, tmp_path, monkeypatch):
    files, save = [], MlpFit.save

    def kept(fit, path):
        save(fit, path)
        files.append(pathlib.Path(path).read_bytes())

    monkeypatch.setattr(MlpFit, "save", kept)
    whole = run(name)
    assert_same(run(name, checkpoint=tmp_path / "fit.npz"), whole)
    assert len(files) == 9  # of each epoch, and at the end
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]  # nothing half written
    for number in (0, 4, 8):
        (tmp_path / "earlier.npz").write_bytes(files[number])
        assert_same(run(name, resume=str(tmp_path / "earlier.npz")), whole)


def test_columns_in_another_order_are_refused():
    frame = pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c"])
    options = {"hidden": 5, "epochs": 3}
    fit = fastgd.fit_mlp(frame, Y, callback=go_on, **options)
    with pytest.raises(fastgd.InputError, match="column 0 of x is 'c', and that of the fit is 'a'"):
        fastgd.fit_mlp(frame[["c", "b", "a"]], Y, resume=fit, **options)


def test_more_epochs():
    eight = run("adam", callback=go_on)
    assert_same(run("adam", epochs=12, resume=eight), run("adam", epochs=12))
    assert_same(run("adam", resume=eight), eight)  # there already
    assert_same(run("adam", epochs=2, resume=eight), eight)


def test_it_goes_on_from_the_last_epoch_and_not_from_the_best():
    given = {"lr": 0.3, "validation": (HELD[0], -HELD[1]), "patience": 50}
    eight = run("validation", callback=go_on, **given)
    assert eight.best_epoch < 8
    more = run("validation", resume=eight, epochs=12, **given)
    assert_same(more, run("validation", epochs=12, **given))


def test_a_fit_whose_patience_ended_stays_there():
    given = {"patience": 2, "epochs": 400, "lr": 0.3, "validation": (HELD[0], HELD[1] + 5.0)}
    ended = run("validation", callback=go_on, **given)
    assert ended.n_epochs < 400
    assert_same(run("validation", resume=ended, **given), ended)


def test_ctrl_c_in_a_resumed_fit_keeps_it():
    stopped = run("adam", callback=after(3))

    def interrupt(fit):
        if fit.n_epochs == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stop:
        run("adam", resume=stopped, callback=interrupt)
    assert_same(stop.value.fit, run("adam", epochs=5, callback=lambda fit: fit.n_epochs == 5))


def test_a_resumed_fit_that_diverges_has_the_last_finite_one():
    stopped = run("all rows", callback=after(3), l2=0.0)
    with pytest.raises(fastgd.DivergenceError) as error:
        run("all rows", resume=stopped, lr=1e300, l2=0.0)
    assert error.value.fit.n_epochs == 3
    np.testing.assert_array_equal(error.value.fit.weights[0], stopped.weights[0])


@pytest.mark.parametrize(
    ("made", "how", "said"),
    [
        ({}, {}, "resume is no fit with a state"),
        ({"callback": go_on}, {"optimizer": "momentum", "lr": 0.1}, "by adam', and this .* by momentum"),
        ({"callback": go_on}, {"activation": "tanh"}, "the state is of solver 'network of logistic"),
        ({"callback": go_on}, {"hidden": 6}, "the state is of shape"),
        ({"callback": go_on}, {"dtype": "float32"}, "'theta' in the state is float64"),
        ({"callback": go_on}, {"validation": HELD}, "had no validation"),
        ({"callback": go_on, "validation": HELD}, {}, "had validation; pass the same"),
        ({"callback": go_on}, {"checkpoint": 3}, "checkpoint is 3; pass the path of a file"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(made, how, said):
    fit = run("adam", patience=9, **made)
    with pytest.raises(fastgd.InputError, match=said):
        run("adam", resume=fit, **how)


def test_fits_of_another_kind_are_refused(tmp_path):
    linear = fastgd.fit_linear(X, Y, lr=0.1, callback=go_on)
    with pytest.raises(fastgd.InputError, match="the state is of solver 'BatchDescent', and this"):
        run("adam", resume=linear)
    with pytest.raises(
        fastgd.InputError, match="the state is of solver 'network of logistic and mse"
    ):
        fastgd.fit_linear(X, Y, lr=0.1, resume=run("adam", callback=go_on))
    with pytest.raises(FileNotFoundError):
        run("adam", resume=tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        run("adam", checkpoint=tmp_path / "no folder" / "fit.npz")


def test_a_killed_process(tmp_path):
    code = """
        import sys
        import numpy as np
        import fastgd
        from fastgd.fitting import checkpoint

        checkpoint._SECONDS = 0.01
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2_000, 4))
        given = dict(hidden=16, epochs=int(sys.argv[1]), batch_size=32, validation=0.2, patience=10**9)
        fit = fastgd.fit_mlp(x, np.sin(x[:, 0]), **given, checkpoint="fit.npz",
                             resume=sys.argv[2] or None)
        fit.save("end.npz")
    """
    assert_same(*resumed_and_whole(tmp_path, code, 1_000_000))
