"""Fits of a Dask array on two processes of one thread each, beside the same rows in one process.

    python benches/dask_passes.py [ROWS]

The overhead of a pass is the time of one task for each worker which does nothing. Where dask-ml is
installed, which has its solvers from dask-glm, its estimators fit the same chunks once; their costs are
given relative to that of fastgd.
"""

import importlib.util
import statistics
import sys
import time
import warnings

import numpy as np

import fastgd

D, CHUNKS = 32, 16


def chunk(number, rows):
    return np.random.default_rng(number).standard_normal((rows, D), dtype=np.float32)


def seconds(call, times=3):
    """The median time of a call, the first of which compiles."""
    took = []
    for _ in range(times + 1):
        begun = time.perf_counter()
        found = call()
        took.append(time.perf_counter() - begun)
    return found, statistics.median(took[1:])


def of_dask_ml(kind, chunks, y, cost):
    """The times of dask-ml's fastest solvers, to 1e-6 and without a penalty."""
    import dask.array as da
    import dask_ml.linear_model

    y = da.from_array(y.astype(np.float32), chunks=chunks.chunks[0]).persist()
    for solver, options in {"lbfgs": {"C": 1e12}, "newton": {}}.items():
        model = getattr(dask_ml.linear_model, kind)(solver=solver, tol=1e-6, **options)
        begun = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model.fit(chunks, y)
            except NotImplementedError:
                continue
        took = time.perf_counter() - begun
        above = cost(np.ravel(model.coef_), model.intercept_) - 1
        print(f"{'':22} dask-ml, {solver} {took:.2f} s   cost {above:+.0e}")


def main(n):
    import dask.array as da
    from dask.delayed import delayed
    from distributed import Client, LocalCluster

    rows = n // CHUNKS
    x = np.concatenate([chunk(number, rows) for number in range(CHUNKS)])
    rng, z = np.random.default_rng(99), x @ np.linspace(-1, 1, D, dtype=np.float32)
    linear = z + rng.standard_normal(len(z))
    labels = rng.random(len(z)) < 1 / (1 + np.exp(-z))
    fits = {
        "least squares": (fastgd.fit_linear, linear, {}),
        "logistic, tol=1e-6": (fastgd.fit_logistic, labels, {"tol": 1e-6}),
        "logistic, 20 epochs": (fastgd.fit_logistic, labels, {"lr": 0.1, "epochs": 20}),
    }
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        parts = [
            da.from_delayed(delayed(chunk)(number, rows), (rows, D), np.float32)
            for number in range(CHUNKS)
        ]
        chunks = client.persist(da.concatenate(parts))
        print(f"{len(x):,}x{D} float32 in {CHUNKS} chunks")
        rivals = {}
        if importlib.util.find_spec("dask_ml"):
            rivals = {
                "least squares": "LinearRegression",
                "logistic, tol=1e-6": "LogisticRegression",
            }
        for name, (fit, y, options) in fits.items():
            there, of_dask = seconds(lambda: fit(chunks, y, **options))  # noqa: B023
            here, in_memory = seconds(lambda: fit(x, y, n_threads=2, **options))  # noqa: B023
            np.testing.assert_allclose(there.coef, here.coef, rtol=1e-3, atol=1e-4)
            print(
                f"{name:22} dask {of_dask:.2f} s   one process {in_memory:.2f} s   "
                f"ratio {of_dask / in_memory:.2f}   {there.n_epochs} epochs"
            )
            if name in rivals:
                cost_of = fastgd.mse_cost if y is linear else fastgd.bce_cost

                def relative(coef, intercept):
                    return cost_of(x, y, coef, intercept) / there.cost  # noqa: B023

                of_dask_ml(rivals[name], chunks, y, relative)
        from fastgd.sources.dask import _kind, of_dask

        held = of_dask(chunks, linear, None).x
        _, empty = seconds(lambda: held.each(_kind), 20)
        held.close()
        print(f"a pass that does nothing {1e3 * empty:.1f} ms")


if __name__ == "__main__":
    main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000)
