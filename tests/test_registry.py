"""Every entry of a registry has an oracle, a bench and a place in the guide."""

import re
from pathlib import Path

import oracles
import pytest

import fastgd
from fastgd.formulas.activations import ACTIVATIONS
from fastgd.losses import LINKS, LOSSES, named_link
from fastgd.optimizers import OPTIMIZERS

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "fastgd" / "GUIDE.md").read_text("utf-8")


def bench_of(module: str, name: str):
    """What a module of the benches calls `name`."""
    import importlib

    return getattr(importlib.import_module(module), name)


REGISTRIES = {
    "losses": (LOSSES, oracles.LOSSES | oracles.COUPLED),
    "optimizers": (OPTIMIZERS, oracles.OPTIMIZERS),
    "activations": (ACTIVATIONS, oracles.ACTIVATIONS),
}
every_registry = pytest.mark.parametrize(("entries", "twins"), REGISTRIES.values(), ids=REGISTRIES)


@every_registry
def test_every_entry_has_an_oracle(entries, twins):
    assert entries.keys() == twins.keys()


@every_registry
def test_every_entry_is_in_the_guide(entries, twins):
    missing = [name for name in entries if not re.search(rf"[`\"]{name}[`\"]", GUIDE)]
    assert not missing


def test_every_entry_has_a_bench():
    """The benches assert the same for activations and optimizers where they list their workloads."""
    assert bench_of("optimizer", "TORCH").keys() == OPTIMIZERS.keys()
    of_their_own = {"mse", "bce", "cross_entropy"}  # bench_batch, bench_softmax
    assert of_their_own | bench_of("loss", "SLOPES").keys() == LOSSES.keys()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_traits_of_a_loss_are_whole(loss):
    assert LOSSES[loss.name] is loss
    without = loss.targets == "labels" and loss.link is None
    assert without or named_link(loss.link) in LINKS  # a saved fit can name it
    assert loss.targets in ("real", "counts", "positive", "labels", "classes")
    assert loss.value.__doc__
    assert loss.slope.__doc__
    assert loss.coupled == (loss.targets == "classes")
    assert loss.name in fastgd.fit.__doc__
