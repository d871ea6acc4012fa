"""Fits of a Parquet file that stays on the disk: time a pass beside pyarrow's, and the peak of memory.

``python -m benches.blocks 2`` writes a file of 2 GB (float32, 32 columns) into a temporary folder, and
reads it in processes of their own: once with pyarrow alone, and in fits. Seconds are those of the second
of two runs, so that nothing is compiled in it and the system holds the file in memory, if it can.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

D = 32
#: Rows that are written together, as a row group.
GROUP = 1 << 20
CALLS = ("pyarrow", "least squares", "logistic", "predict")


def write(path: str, size: int) -> None:
    """A Parquet file of so many bytes: columns c0, c1, …, a target y and labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, left, writer = np.random.default_rng(0), max(1, size // (4 * D)), None
    truth = np.linspace(-1, 1, D, dtype=np.float32)
    while left > 0:
        m = min(left, GROUP)
        x = rng.standard_normal((D, m), dtype=np.float32)
        z = truth @ x
        table = pa.table(
            {f"c{j}": x[j] for j in range(D)}
            | {
                "y": z + rng.standard_normal(m, dtype=np.float32),
                "label": z > rng.logistic(0, 1, m),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=GROUP)
        left -= m
    assert writer is not None
    writer.close()


def call(name: str, path: str) -> tuple[float, int]:
    """Seconds, and the readings of the features."""
    import fastgd
    from fastgd.sources.blocks import Blocks

    passes, read = 0, Blocks.read

    def counted(self: Any) -> Any:
        nonlocal passes
        passes += 1
        return read(self)

    Blocks.read = counted  # type: ignore[method-assign]
    features = [f"c{j}" for j in range(D)]
    if name == "pyarrow":
        import pyarrow.dataset as ds

        start, passes = time.perf_counter(), 1
        for _ in ds.dataset(path).to_batches(columns=features):
            pass
        return time.perf_counter() - start, passes
    import pyarrow as pa
    import pyarrow.dataset as ds

    target = "label" if name == "logistic" else "y"
    types = {"y": pa.float32(), "label": pa.bool_()}
    schema = pa.schema([(c, pa.float32()) for c in features] + [(target, types[target])])
    data = ds.dataset(path, schema=schema)
    if name == "predict":
        fit = fastgd.Fit(
            coef=np.ones(D, np.float32), intercept=0.0, costs=np.empty(0), cost=0.0, n_epochs=0,
            converged=True, method="stream", feature_names=features,
        )  # fmt: skip
        start = time.perf_counter()
        fit.predict(data)
    else:
        fits = {"least squares": fastgd.fit_linear, "logistic": fastgd.fit_logistic}
        start = time.perf_counter()
        assert fits[name](data, target).converged
    return time.perf_counter() - start, passes


def measured(name: str, path: str) -> dict[str, Any]:
    """Seconds, passes and the peak of memory, in bytes, of a call in a process of its own."""
    words = [sys.executable, "-m", "benches.blocks", "--child", name, path]
    root = Path(__file__).parent.parent
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("gigabytes", nargs="?", type=float, default=0.25)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        for _ in range(2):
            seconds, passes = call(*options.child)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "passes": passes, "peak": peak}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.parquet"
        write(path, int(options.gigabytes * 1e9))
        print(f"a file of {Path(path).stat().st_size / 1e9:.2f} GB\n")
        print(
            f"{'':14} {'seconds':>8} {'passes':>7} {'a pass':>7} {'of pyarrow':>11} {'peak GB':>8}"
        )
        alone = 0.0
        for name in CALLS:
            of = measured(name, path)
            a_pass = of["seconds"] / of["passes"]
            alone = alone or a_pass
            times = f"{of['seconds']:8.2f} {of['passes']:7} {a_pass:7.2f} {a_pass / alone:10.2f}x"
            print(f"{name:14} {times} {of['peak'] / 1e9:8.2f}", flush=True)


if __name__ == "__main__":
    main()
