"""A pass over rows that stay in a Parquet file, beside that of pyarrow, and the peak of the process."""

import tempfile
from pathlib import Path

import blocks
import pytest
from race import replay
from workloads import SMOKE

SIZE = 16 << 20 if SMOKE else 2 << 30


@pytest.fixture(scope="module")
def file():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.parquet"
        blocks.write(path, SIZE)
        yield path


@pytest.mark.parametrize("name", blocks.CALLS)
def test_a_pass(benchmark, file, name):
    of, size = blocks.measured(name, file), Path(file).stat().st_size
    assert of["passes"] <= 20
    info = {"table": "memory", "memory": of["peak"], "x_bytes": size, "of_x": of["peak"] / size}
    what = f"memory, a pass over {size / 1e9:.2f} GB of Parquet, and the peak of the process"
    replay(benchmark, what, name, [of["seconds"] / of["passes"]], **info)
