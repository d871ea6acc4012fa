"""Where a fit runs: on the CPU, or on the GPU that holds x or that the caller names.

Both give a gradient source with the same methods; what drives it does not know which it is. numba.cuda
is imported only for those who use it.
"""

from typing import Any, NamedTuple

import numpy as np

from . import inputs
from .cpu.descent import BatchDescent, StochasticDescent
from .cpu.source import DenseRows
from .errors import InputError


class Backend(NamedTuple):
    """The classes that read rows and descend on them in one place."""

    rows: type
    batch: type
    stochastic: type


CPU = Backend(DenseRows, BatchDescent, StochasticDescent)


def on_gpu(value: Any) -> bool:
    """Whether `value` lies on a GPU, told without importing anything."""
    if type(value) is np.ndarray or isinstance(value, list | tuple):
        return False
    if type(value).__module__.partition(".")[0] == "torch":
        return bool(getattr(value, "is_cuda", False))
    if hasattr(value, "__cuda_array_interface__") or getattr(value, "__cuda_ndarray__", False):
        return True
    ask = getattr(value, "__dlpack_device__", None)
    return ask is not None and int(ask()[0]) == 2


def features(x: Any, device: Any) -> tuple[Any, Backend]:
    """x as (n, d) where it lies or is to lie, and the backend that reads it there.

    Raises
    ------
    InputError
        If x can't be used, if CUDA can't be used (what is missing is named), or if x lies elsewhere
        than `device` says.
    """
    named = None if device is None else str(device)
    if not on_gpu(x) and named in (None, "cpu"):
        return inputs.features(x), CPU
    if named == "cpu":
        raise InputError(
            "x is on a GPU and device is 'cpu'; leave device out, or pass x on the host."
        )
    from .cuda import driver

    driver.require_device()
    from .cuda.descent import DeviceDescent, DeviceStochasticDescent
    from .cuda.source import DeviceMatrix, DeviceRows

    cuda = Backend(DeviceRows, DeviceDescent, DeviceStochasticDescent)
    if not on_gpu(x):
        if named not in ("cuda", "cuda:0"):
            raise InputError(f"device is {named!r}; data on the host is moved to 'cuda:0' only.")
        return inputs.features(x), cuda
    number = driver.device_number(x)
    if named not in (None, "cuda") and named != f"cuda:{number or 0}":
        raise InputError(f"x is on cuda:{number or 0} and device is {named!r}; move one of them.")
    matrix = DeviceMatrix(x)
    inputs.check_shape(matrix.shape, "x")
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"x is {matrix.dtype}; pass real numbers.")
    return matrix, cuda


def on_host(value: Any, name: str, backend: Backend) -> Any:
    """y or weights, which are small beside X: a copy on the host where they lie on a GPU with x."""
    if not on_gpu(value):
        return value
    if backend is CPU:
        raise InputError(f"{name} is on a GPU and x is on the host; move one of them to the other.")
    from .cuda import driver

    with driver.on(driver.device_number(value)):
        stream = driver.current_stream(value)
        host = driver.device_array(value).copy_to_host(stream=stream)
        if not driver.SIMULATED:
            stream.synchronize()
    return host
