"""Chunks that workers compute: in a module of its own, which they can import."""

import time

import numpy as np

ROWS, D = 40_000, 16


def chunk(number):
    """Rows that a worker can compute again."""
    return np.random.default_rng(number).standard_normal((ROWS, D))


def too_large(number):
    """Rows that take more than the memory of a worker to compute."""
    held = np.ones(150_000_000)
    time.sleep(2)
    return held[: ROWS * D].reshape(ROWS, D)


def set_share_at_which_to_pause(share, dask_worker):
    """The share of its memory at which a worker takes no more tasks."""
    dask_worker.memory_manager.memory_pause_fraction = share
