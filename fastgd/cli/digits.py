"""python -m fastgd mnist FOLDER (or cifar10 FOLDER): softmax and a two-layer net on real images."""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastgd

from ..datasets import images
from . import compiling

LOADERS = {"mnist": images.load_mnist, "cifar10": images.load_cifar10}
EPOCHS, BATCH, HIDDEN, LR = 20, 64, 128, 0.002
#: The fraction of the images that is held out if the data has no test set.
_HELD_OUT = 0.2


def parser(command: str) -> argparse.ArgumentParser:
    """The options after `python -m fastgd mnist`."""
    what = argparse.ArgumentParser(
        prog=f"python -m fastgd {command}",
        description="Train softmax regression and a two-layer net on the images in FOLDER; print "
        "accuracy and time.",
        allow_abbrev=False,
    )
    what.add_argument(
        "folder", metavar="FOLDER", help="a folder of the set's files, or one of them"
    )
    what.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes (default {EPOCHS})")
    return what


def run(command: str, arguments: list[str]) -> None:
    """Load, train twice, and print."""
    options = parser(command).parse_args(arguments)
    data = _with_test(LOADERS[command](options.folder))
    n, d = data.x_train.shape
    print(f"Data   {options.folder}: {n:,} images to train on, {len(data.x_test):,} to test, "
          f"{d} numbers each\n")  # fmt: skip
    how = {"lr": LR, "epochs": options.epochs, "batch_size": BATCH, "optimizer": "adam"}
    shown = f'lr={LR}, epochs={options.epochs}, batch_size={BATCH}, optimizer="adam"'
    print(f"1. Softmax: fastgd.fit_logistic(x, y, {shown})\n")
    _train(
        data, lambda x, y, epochs: fastgd.fit_logistic(x, y, **{**how, "epochs": epochs}), options
    )
    print(f'2. A net: fastgd.fit_mlp(x, y, hidden=({HIDDEN},), activation="relu", '
          f'loss="cross_entropy",\n                           {shown})\n')  # fmt: skip

    def net(x: np.ndarray, y: np.ndarray, epochs: int) -> Any:
        return fastgd.fit_mlp(
            x,
            y,
            hidden=(HIDDEN,),
            activation="relu",
            loss="cross_entropy",
            **{**how, "epochs": epochs},
        )

    _train(data, net, options)


def _train(data: images.Images, fit: Callable[..., Any], options: argparse.Namespace) -> None:
    """Fit twice, the first time to compile; print accuracy and time."""
    with compiling.told():
        fit(data.x_train[: BATCH * 2], np.arange(BATCH * 2) % 10, 1)
    start = time.perf_counter()
    found = fit(data.x_train, data.y_train, options.epochs)
    seconds = time.perf_counter() - start
    scores = found.score(data.x_train, data.y_train), found.score(data.x_test, data.y_test)
    print(f"   {scores[1]:.1%} of the test images right ({scores[0]:.1%} of the others), "
          f"{seconds:.2f} s, {seconds / options.epochs * 1e3:.0f} ms an epoch\n")  # fmt: skip


def _with_test(data: images.Images) -> images.Images:
    """The images; some are held out if the data has no test set."""
    if len(data.x_test):
        return data
    order = np.random.default_rng(0).permutation(len(data.x_train))
    test, train = np.split(order, [max(1, int(_HELD_OUT * len(order)))])
    x, y = data.x_train, data.y_train
    return images.Images(x[train], y[train], x[test], y[test])
