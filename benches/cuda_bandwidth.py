"""What the memory of a GPU gives: a plain copy, and the fastest read that is found."""

import functools

import numba
import numpy as np

from fastgd.cuda.driver import SIMULATED, cuda
from fastgd.cuda.loads import fetch

#: Bytes of an array: many times the second-level cache.
BYTES = 1 << 16 if SIMULATED else 1 << 30
_THREADS = 32 if SIMULATED else 256
_BLOCKS = (2,) if SIMULATED else (1024, 2048, 8192)


@functools.cache
def reader():
    load = fetch(4)

    @cuda.jit
    def read(x, out):
        held = cuda.local.array(16, numba.float32)
        total = numba.float32(0)
        step = cuda.gridsize(1) * 4
        for at in range(cuda.grid(1) * 4, x.shape[0] - 3 * step, 4 * step):
            for u in range(4):
                load(x, at + u * step, held, 4 * u)
            for e in range(16):
                total += held[e]
        if total == numba.float32(-1):  # never: but the compiler does not know
            out[0] = total

    return read


@functools.cache
def copier():
    @cuda.jit
    def copy(x, out):
        for at in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
            out[at] = x[at]

    return copy


def measured(seconds_of) -> dict[str, float]:
    """Bytes a second of a copy, counting what is read and what is written, and of a read.

    ``seconds_of(call)`` times a call by the device's events.
    """
    x = cuda.to_device(np.ones(BYTES // 4, np.float32))
    out = cuda.device_array_like(x)
    copies = [lambda b=b: copier()[b, _THREADS](x, out) for b in _BLOCKS]
    reads = [lambda b=b: reader()[b, _THREADS](x, out) for b in _BLOCKS]
    if not SIMULATED:
        copies.append(lambda: out.copy_to_device(x))
        try:
            import torch

            if torch.cuda.is_available():
                source = torch.as_tensor(x, device="cuda")
                target, total = torch.empty_like(source), torch.empty((), device="cuda")
                copies.append(lambda: target.copy_(source))
                reads.append(lambda: torch.sum(source, 0, out=total))
        except Exception as failure:  # the kernels above measure it alone
            print(f"torch does not join the measuring of bandwidth: {failure}")
    return {
        "copy_GBps": 2 * BYTES / _fastest(copies, seconds_of) / 1e9,
        "read_GBps": BYTES / _fastest(reads, seconds_of) / 1e9,
    }


def _fastest(calls, seconds_of) -> float:
    for call in calls:
        call()
    return min(seconds_of(call) for _ in range(5) for call in calls)
