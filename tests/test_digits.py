"""python -m fastgd mnist FOLDER, on real digits, beside scikit-learn on the same ones."""

import re

import numpy as np
import oracles
import pytest
import test_images

from fastgd.cli import tour as command
from fastgd.datasets import images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnist")
    test_images.write_mnist(folder, test_images.real_mnist(), ".gz")
    return folder


def accuracies(capsys, *arguments):
    assert command.main(list(map(str, arguments))) == 0
    out = capsys.readouterr().out
    return [float(share) / 100 for share in re.findall(r"([\d.]+)% of the test images right", out)]


@pytest.mark.jit  # sixty million numbers an epoch
@pytest.mark.slow
def test_digits_are_told_apart_as_well_as_scikit_learn_does(folder, capsys):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    softmax, net = accuracies(capsys, "mnist", folder)
    data = images.load_mnist(folder)
    for ours, theirs in (
        (softmax, LogisticRegression(max_iter=50)),
        (net, MLPClassifier((128,), batch_size=64, max_iter=20, random_state=0)),
    ):
        with oracles.quiet():  # they would go on
            theirs.fit(data.x_train, data.y_train)
        assert ours >= theirs.score(data.x_test, data.y_test)


@pytest.mark.jit
def test_without_a_test_set_some_are_held_out(folder, capsys):
    found = accuracies(capsys, "mnist", folder / "train-images-idx3-ubyte.gz", "--epochs", 3)
    assert len(found) == 2
    assert min(found) > 0.75


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_what_is_not_there_is_said(name, tmp_path, capsys):
    assert command.main([name, str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert command.main([name, str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("fastgd: ")


def test_held_out_images_are_not_trained_on():
    from fastgd.cli.digits import _with_test

    x = np.arange(20.0)[:, None]
    split = _with_test(images.Images(x, np.arange(20), x[:0], np.arange(0)))
    assert sorted([*split.x_train[:, 0], *split.x_test[:, 0]]) == list(range(20))
    assert len(split.x_test) == 4
    np.testing.assert_array_equal(split.x_test[:, 0], split.y_test)
