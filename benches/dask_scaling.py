"""What a pass costs on 1 to 1024 workers of a Dask cluster: a simulation, from constants measured here.

    python benches/dask_scaling.py [--to FOLDER]

Measured: passes that do nothing, on a real scheduler with 2 to 64 workers of this process. The time of
such a pass is fitted by a constant, a part for each worker and a part for each chunk; as scheduler,
client and workers share the processors of one machine, these are upper bounds.

Simulated: a pass over rows that are spread over the workers. Tasks leave the scheduler one after the
other, arrive after a latency, read their chunks at the bandwidth of a worker, and are taken back one
after the other. Latencies are drawn from a log-normal distribution with a median of 0.5 ms. The share of
the pass that is not reading is what scheduling costs.
"""

import argparse
import logging
import pathlib
import statistics
import time

import numpy as np
from plots import SETTINGS

#: The workers and chunks of a worker that are measured, and those that are simulated.
MEASURED = (2, 8, 24, 64), (1, 4)
WORKERS, CHUNKS = [2**e for e in range(11)], (1, 16)
#: Bytes a second that a worker reads, seconds of the median latency, and the sigma of its logarithm.
BANDWIDTH, LATENCY, SPREAD = 10e9, 0.5e-3, 0.5
#: Bytes of x: 1e9 rows of 32 float32.
BYTES = 128e9


def chunk(number):
    return np.full((100, 4), float(number))


def empty_pass(n_workers, per_worker, times=10):
    """The median seconds of a pass that does nothing."""
    import dask.array as da
    from dask.delayed import delayed
    from distributed import Client

    from fastgd.sources.dask import _kind, of_dask

    with Client(processes=False, n_workers=n_workers, threads_per_worker=1, dashboard_address=None):
        m = n_workers * per_worker
        parts = [da.from_delayed(delayed(chunk)(i), (100, 4), float) for i in range(m)]
        held, took = of_dask(da.concatenate(parts), np.ones(100 * m), None).x, []
        for _ in range(times):
            begun = time.perf_counter()
            held.each(_kind)
            took.append(time.perf_counter() - begun)
        held.close()
        return statistics.median(took)


def constants(rows):
    """Seconds of a pass, of each worker and of each chunk, from (workers, chunks, seconds).

    Least squares of relative errors, none of the constants below zero.
    """
    from scipy.optimize import nnls

    table = np.array([(1.0, workers, chunks) for workers, chunks, _ in rows])
    seconds = np.array([took for _, _, took in rows])
    return nnls(table / seconds[:, None], np.ones(len(rows)))[0]


def simulated(n_workers, per_worker, n_bytes, of_pass, of_worker, of_chunk, rng):
    """Seconds of a pass, the scheduler being busy half of a worker's share before and after its task."""
    there, back = rng.lognormal(np.log(LATENCY), SPREAD, (2, n_workers))
    sent = (np.arange(n_workers) + 1) * of_worker / 2
    ended = np.sort(sent + there + n_bytes / n_workers / BANDWIDTH + back)
    free = 0.0
    for at in ended:
        free = max(free, at) + of_worker / 2
    return of_pass + free + n_workers * per_worker * of_chunk


def passes(found, sizes, per_worker):
    """The mean seconds of a pass for each number of workers and its bytes."""
    rng = np.random.default_rng(0)
    return np.array(
        [
            np.mean([simulated(w, per_worker, n_bytes, *found, rng) for _ in range(20)])
            for w, n_bytes in zip(WORKERS, sizes, strict=True)
        ]
    )


def draw(found, path):
    """The time of a pass against the workers: the same rows on more of them, and 1 GB for each."""
    import matplotlib.pyplot as plt

    with plt.rc_context(SETTINGS):
        figure, places = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
        fixed, grown = BYTES * np.ones(len(WORKERS)), 1e9 * np.array(WORKERS)
        titles = "128 GB of x", "1 GB of x for each worker"
        for place, sizes, title in zip(places, (fixed, grown), titles, strict=True):
            for per_worker, color in zip(CHUNKS, ("#D55E00", "#0072B2"), strict=True):
                times = passes(found, sizes, per_worker)
                place.plot(
                    WORKERS, times, "o-", color=color, label=f"{per_worker} chunk(s) a worker"
                )
            reading = sizes / WORKERS / BANDWIDTH
            place.plot(WORKERS, reading, "k--", linewidth=1, label="reading alone")
            place.set(xscale="log", yscale="log", title=title, xlabel="workers")
            place.set_xticks(WORKERS[::2], WORKERS[::2])
            place.minorticks_off()
        places[0].set_ylabel("seconds of a pass")
        places[0].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path("benches/results"))
    to = parser.parse_args().to
    logging.getLogger("distributed").setLevel(logging.ERROR)
    rows = []
    for workers in MEASURED[0]:
        for per_worker in MEASURED[1]:
            rows.append((workers, workers * per_worker, empty_pass(workers, per_worker)))
            print("{:4} workers, {:4} chunks: {:.4f} s".format(*rows[-1]), flush=True)
    found = constants(rows)
    print("a pass {:.2e} s, a worker {:.2e} s, a chunk {:.2e} s".format(*found))
    for per_worker in CHUNKS:
        sizes = BYTES * np.ones(len(WORKERS))
        times = passes(found, sizes, per_worker)
        over = times - sizes / WORKERS / BANDWIDTH
        for w, took, more in zip(WORKERS, times, over, strict=True):
            print(
                f"{w:5} x {per_worker} chunks: {took:.3f} s, of which not reading {more / took:.0%}"
            )
        print(f"the shortest pass is on {WORKERS[int(np.argmin(times))]} workers")
    draw(found, to / "dask-passes.svg")


if __name__ == "__main__":
    main()
