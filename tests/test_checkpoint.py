"""A fit whose process was killed goes on from its checkpoint, to the same bits."""

import pathlib

import numpy as np
import pytest
from killed_process import resumed_and_whole
from test_resume import LOOPS, X, every_loop, run

import fastgd
from fastgd.fitting import checkpoint
from fastgd.solvers import work

#: Of rounds that epochs cut short.
pytestmark = pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """A file after every step, or of many after some."""
    monkeypatch.setattr(work, "CHUNK_NS", 1.0)
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "_TIMES", 1.0)


def assert_same(found, expected):
    assert np.array_equal(found.coef, expected.coef)
    assert np.array_equal(found.intercept, expected.intercept)
    assert np.array_equal(found.costs, expected.costs)
    assert found.n_epochs == expected.n_epochs


@every_loop
def test_a_fit_goes_on_from_every_file_that_it_wrote(loop, tmp_path, monkeypatch):
    whole, files = run(loop, callback=lambda fit: False), []
    save = fastgd.Fit.save

    def kept(fit, path):
        save(fit, path)
        files.append(pathlib.Path(path).read_bytes())

    monkeypatch.setattr(fastgd.Fit, "save", kept)
    assert_same(run(loop, checkpoint=tmp_path / "fit.npz"), whole)
    assert len(files) > 1  # at the end, and before
    for number in {0, len(files) // 2, len(files) - 1}:
        (tmp_path / "earlier.npz").write_bytes(files[number])
        assert_same(run(loop, resume=tmp_path / "earlier.npz"), whole)


def test_a_killed_process(tmp_path):
    code = """
        import sys
        import numpy as np
        import fastgd
        from fastgd.fitting import checkpoint

        checkpoint._SECONDS = 0.01
        rng = np.random.default_rng(0)
        x = rng.standard_normal((20_000, 4))
        y = (x @ [1.0, -1.0, 0.5, 0.0] + rng.standard_normal(20_000) > 0).astype(int)
        given = dict(lr=0.01, epochs=int(sys.argv[1]), batch_size=32)
        fit = fastgd.fit_logistic(x, y, **given, checkpoint="fit.npz", resume=sys.argv[2] or None)
        fit.save("end.npz")
    """
    assert_same(*resumed_and_whole(tmp_path, code, 100_000))


def test_without_a_callback_a_checkpoint_has_the_state(tmp_path):
    path = tmp_path / "fit.npz"
    fit = fastgd.fit_linear(X, LOOPS["batch"][0], lr=0.1, checkpoint=path)
    assert fit.state is not None
    assert fastgd.load(path).state.keys() == fit.state.keys()
    assert [name.name for name in tmp_path.iterdir()] == ["fit.npz"]  # nothing half written


def test_what_is_refused(tmp_path):
    y = LOOPS["batch"][0]
    with pytest.raises(fastgd.InputError, match="checkpoint is 3; pass the path of a file"):
        fastgd.fit_linear(X, y, checkpoint=3)
    with pytest.raises(FileNotFoundError):
        fastgd.fit_linear(X, y, resume=tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        fastgd.fit_linear(X, y, checkpoint=tmp_path / "no folder" / "fit.npz")
    own = fastgd.losses.Loss(
        "own", lambda z, y: (z - y) ** 2, lambda z, y: 2 * (z - y), link=lambda z: z
    )
    with pytest.raises(fastgd.InputError, match="no file keeps"):
        fastgd.fit(X, y, own, lr=0.1, checkpoint=tmp_path / "fit.npz")
