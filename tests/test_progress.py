"""The bar of fits whose x is in blocks: rows and bytes of the present reading, and its epoch."""

import re
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastgd
from fastgd.fitting import progress
from fastgd.sources import blocks

N, D = 3_000, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
Y = X @ [1.0, -0.3, 2.0, 0.5] + RNG.standard_normal(N)


@pytest.fixture(autouse=True)
def every_look(monkeypatch):
    """Every look is shown."""
    monkeypatch.setattr(progress, "_SECONDS", 0.0)


@pytest.fixture
def shown(capfd):
    """What a fit shows: its lines, one for each look."""

    def looks(x, y, call=fastgd.fit, **options):
        capfd.readouterr()
        fit = call(x, y, progress=True, **options)
        lines = re.split(r"[\r\n]+", capfd.readouterr().err)
        return fit, [line for line in lines if line.strip()]

    return looks


def pairs():
    for first in range(0, N, 700):
        own = slice(first, first + 700)
        yield X[own], Y[own]


def epochs_of(lines):
    found = [re.match(r"epoch (\d+)", line) for line in lines]
    return [int(one[1]) for one in found if one]


def test_rows_bytes_and_epochs(shown):
    _, lines = shown(pairs, None, loss="huber", lr=0.01, epochs=5, callback=lambda fit: None)
    opening = [line for line in lines if line.startswith("opening x")]
    assert [line.split("rows")[0].split()[-1] for line in opening][-5:] == [
        "700", "1.40k", "2.10k", "2.80k", "3.00k",
    ]  # fmt: skip
    first = [line for line in lines if line.startswith("epoch 1 of 5")]
    for rows, size in (
        ("700/3.00k", "22.4kB"),
        ("2.10k/3.00k", "67.2kB"),
        ("3.00k/3.00k", "96.0kB"),
    ):
        assert any(f"{rows} rows, {size}" in line for line in first)
    assert lines[-1].startswith("epoch 5 of 5: 100%")
    assert any("epoch 1 of 5:   0%" in line for line in first)
    epochs = epochs_of(lines)
    assert epochs == sorted(epochs)


@pytest.mark.filterwarnings("ignore:the validation cost was lowest")
def test_the_other_ways_to_read(shown, tmp_path):
    """lr="auto", files, updates in any order, a share for validation, and one reading of a generator."""
    path = tmp_path / "all.parquet"
    table = pa.table({**{f"c{j}": X[:, j] for j in range(D)}, "y": Y})
    pq.write_table(table, path, row_group_size=400)
    fit, lines = shown(path, "y", call=fastgd.fit_linear)
    assert lines[-1].startswith("epoch ")
    assert "of" not in lines[-1].split(":")[0]
    assert "100%" in lines[-1]
    assert fit.converged
    for options in (
        {"shuffle": False},
        {"shuffle": "block"},
        {"shuffle": "block", "validation": 0.3},
    ):
        _, lines = shown(path, "y", lr=0.001, batch_size=50, epochs=2, patience=1, **options)
        assert any("epoch 1 of 2: " in line and "3.00k/3.00k rows" in line for line in lines)
        assert lines[-1].startswith("epoch 2 of 2: 100%")
    _, lines = shown(pairs(), None, lr=0.01, epochs=3)
    assert any(line.startswith("opening x: 2.10k rows, 67.2kB") for line in lines)
    assert lines[-1].startswith("epoch 3 of 3: 100%")
    assert "3.00k/3.00k rows" in lines[-1]
    _, lines = shown([X[:1_000], X[1_000:]], Y, loss="huber", lr=0.01, epochs=3)
    assert lines[-1].startswith("epoch 3 of 3: 100%")


def test_life_during_one_reading(shown):
    """Rows are shown while the reading goes on, and not at its end."""
    seen = []

    def slow():
        for block in pairs():
            seen.append(time.monotonic())
            time.sleep(0.02)
            yield block

    looked, told = [], blocks.Blocks._tell

    def tell(self, rows):
        looked.append((rows, len(seen)))
        told(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks.Blocks, "_tell", tell)
        shown(slow, None, loss="huber", lr=0.01, epochs=1)
    by_rows = [(rows, read - 5) for rows, read in looked[:6]]
    assert by_rows[1][0] == 700
    assert by_rows[1][1] <= 3  # the second block is in use, and the third one is read


def test_few_looks_of_short_readings(shown, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", 0.1)
    begun = time.monotonic()
    _, lines = shown([X[:1_500], X[1_500:]], Y, loss="huber", lr=0.01, epochs=200)
    assert len(lines) < 12 + 20 * (time.monotonic() - begun)
    assert lines[-1].startswith("epoch 200 of 200: 100%")


def test_rows_in_memory_show_epochs(shown):
    _, lines = shown(X, Y, lr=0.01, epochs=7)
    assert "7/7" in lines[-1]
    assert "rows" not in lines[-1]


def test_a_fit_that_fails_ends_its_bar(shown, capfd):
    def fails():
        yield X[:700], Y[:700]
        raise OSError("the disk is gone")

    for x in (fails, fails()):
        with pytest.raises(fastgd.BlockError) as first:
            fastgd.fit(x, None, progress=True)
        assert capfd.readouterr().err.endswith("\n")
    with pytest.raises(fastgd.InputError, match="validation") as second:
        fastgd.fit(pairs, None, progress=True, validation=0.3)
    assert first.value is not second.value
    assert capfd.readouterr().err.endswith("\n")
    assert not any(
        "tqdm" in each.name.lower() and not each.daemon for each in threading.enumerate()
    )


def test_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    for x in (pairs, pairs()):
        with pytest.raises(ImportError, match=r'pip install "fastgd\[progress\]"'):
            fastgd.fit(x, None, progress=True)
