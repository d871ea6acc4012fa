"""The only import of numba.cuda, and its connection to the caller: arrays and streams.

Importing this file takes 0.1 to 0.4 s and needs no GPU; `require_device` says what is missing.
"""

import contextlib
import importlib
import importlib.util
import sys
import threading
import warnings
from typing import Any

import numba
import numpy as np

from ..errors import InputError

#: Whether numba.cuda is its simulator, which runs kernels as Python threads.
SIMULATED = bool(getattr(numba.config, "ENABLE_CUDASIM", False))

_HOW = 'pip install "fastgd[cuda13]" (or [cuda12], whichever CUDA version nvidia-smi shows)'


@contextlib.contextmanager
def _row_stack():
    """Define np.row_stack meanwhile: numba-cuda up to 0.30.4 registers it, NumPy 2.5 has none."""
    if hasattr(np, "row_stack"):
        yield
        return
    np.row_stack = np.vstack  # noqa: NPY201
    try:
        yield
    finally:
        del np.row_stack  # noqa: NPY201


def _import_cuda() -> Any:
    with warnings.catch_warnings():
        # numba-cuda 0.30.4 makes a datetime without a unit, which NumPy 2.5 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        from numba import cuda

    if not SIMULATED and importlib.util.find_spec("numba_cuda") and not hasattr(np, "row_stack"):
        with _row_stack():
            importlib.import_module("numba.cuda.cudaimpl")
            target = importlib.import_module("numba.cuda.descriptor").cuda_target
            target.typing_context.refresh()
            target.target_context.refresh()
    return cuda


cuda = _import_cuda()


def missing() -> str | None:
    """What is missing for CUDA and how to get it, in one sentence; None if nothing is."""
    if SIMULATED:
        return None
    if importlib.util.find_spec("numba_cuda") is None:
        return f"CUDA needs the package numba-cuda: {_HOW}."
    try:
        count = len(cuda.gpus)
    except ImportError as error:  # numba's CudaSupportError
        lines = str(error).split(":", 1)[-1].split("\n")
        why = " ".join(line.strip() for line in lines if line.strip(" :"))
        return f"CUDA needs NVIDIA's driver, and it can't be used ({why}); install it or update it."
    if count == 0:
        return "NVIDIA's driver sees no GPU; look at nvidia-smi and at CUDA_VISIBLE_DEVICES."
    if not importlib.import_module("numba.cuda.cudadrv.nvvm").is_available():
        return f"CUDA needs the compiler library libnvvm: {_HOW}, or set CUDA_HOME."
    return None


def require_device() -> None:
    """Raise `InputError`, saying what is missing, unless kernels can run."""
    sentence = missing()
    if sentence is not None:
        raise InputError(f"{sentence} Without device='cuda' the fit runs on the CPU.")


def is_device_array(value: Any) -> bool:
    """Whether `value` is on a GPU: of torch, CuPy, JAX, numba or any other CUDA library."""
    if type(value) is np.ndarray:
        return False
    if _library(value) == "torch":
        return bool(getattr(value, "is_cuda", False))
    if hasattr(value, "__cuda_array_interface__") or getattr(value, "__cuda_ndarray__", False):
        return True
    return _dlpack_device(value)[0] == _DLPACK_CUDA


def device_array(value: Any) -> Any:
    """A GPU array as numba's own, of the same memory: nothing is copied.

    `current_stream` orders work on it after the caller's, so no synchronisation is needed.
    """
    if getattr(value, "__cuda_ndarray__", False):
        return value
    if _library(value) == "torch":
        value = (
            value.detach()
        )  # shares the memory; a tensor that requires a gradient can't be passed
    with on(device_number(value)):
        if not hasattr(value, "__cuda_array_interface__"):
            from .dlpack import Described

            value = Described(value, stream_number(value))
        return cuda.as_cuda_array(value, sync=False)


def to_device(array: np.ndarray, stream: Any = 0) -> Any:
    """A contiguous array of the host, copied to the GPU in the same order."""
    order: Any = "C" if array.flags.c_contiguous else "F"
    # A view of the usual strides: y[None] has a stride of 0, with which numba-cuda walks over the
    # elements in Python, 1.5 µs each.
    buffer: Any = array if order == "C" else array.T
    return cuda.to_device(np.ndarray(array.shape, array.dtype, buffer, order=order), stream=stream)


def device_number(value: Any) -> int | None:
    """The number of the GPU that holds `value`; None where that is not known."""
    if getattr(value, "__cuda_ndarray__", False):
        return None if SIMULATED else value.gpu_data.context.device.id
    device = getattr(value, "device", None)
    number = getattr(device, "index" if _library(value) == "torch" else "id", None)
    if number is None and not hasattr(value, "__cuda_array_interface__"):
        kind, number = _dlpack_device(value)
        return number if kind == _DLPACK_CUDA else None
    return number if isinstance(number, int) else None


def on(number: int | None) -> Any:
    """The context in which calls go to GPU `number`; None changes nothing."""
    return contextlib.nullcontext() if number is None or SIMULATED else cuda.gpus[number]


def stream_number(value: Any) -> int:
    """The address of the stream on which the library of `value` now works; 0 is the default one."""
    library = _library(value)
    if library == "torch":
        return sys.modules["torch"].cuda.current_stream(value.device).cuda_stream
    if library == "cupy":
        return sys.modules["cupy"].cuda.get_current_stream().ptr
    interface = getattr(value, "__cuda_array_interface__", None) or {}
    # Version 3 may name a stream; 1 stands for the legacy default stream, 2 for that of the thread.
    return interface.get("stream") or 0


def current_stream(value: Any) -> Any:
    """That stream as a numba stream, for launches and copies that are ordered with the caller's."""
    if SIMULATED:
        return 0
    number = stream_number(value)
    if number in (0, 1):
        return cuda.legacy_default_stream()
    if number == 2:
        return cuda.per_thread_default_stream()
    return cuda.external_stream(number)


def configured(kernel: Any, blocks: int, threads: int, stream: Any) -> Any:
    """``kernel[blocks, threads, stream]``, without numba's warning of grids below 128 blocks.

    Such grids are right for the sums over parts and for a small fit.
    """
    if SIMULATED:
        return kernel[blocks, threads, stream]
    config: Any = importlib.import_module("numba.cuda.core.config")
    with _configuring:
        before, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:
            return kernel[blocks, threads, stream]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = before


_configuring = threading.Lock()


def with_registers(most: int) -> dict[str, int]:
    """The option of ``cuda.jit`` for at most so many registers a thread; the simulator has none."""
    return {} if SIMULATED else {"max_registers": most}


def cooperative_blocks(specialized: Any, threads: int) -> int:
    """The largest number of blocks of a kernel that run at the same time, for grid-wide barriers.

    `specialized` is what ``kernel.specialize(*arguments)`` gives.
    """
    if SIMULATED:
        return 1
    compiled = next(iter(specialized.overloads.values()))
    return max(1, compiled.max_cooperative_grid_blocks(threads))


def fits(size: int) -> bool:
    """Whether a GPU has so many bytes free, and a third more."""
    if SIMULATED:
        return True
    return size * 4 / 3 < cuda.current_context().get_memory_info().total


def transposed(array: Any) -> Any:
    """The transpose as a view of the same memory; numba's own `T` is a copy."""
    if SIMULATED:
        return array.T
    return _viewed(array, array.shape[::-1], array.strides[::-1])


def as_column(array: Any) -> Any:
    """(n,) as (n, 1), a view also of strided elements, which numba's `reshape` refuses."""
    if SIMULATED:
        return array.reshape(-1, 1)
    return _viewed(array, (*array.shape, 1), (*array.strides, array.dtype.itemsize))


def _viewed(array: Any, shape: tuple, strides: tuple) -> Any:
    described = dict(array.__cuda_array_interface__)
    described["shape"], described["strides"] = shape, strides
    return cuda.from_cuda_array_interface(described, owner=array, sync=False)


def is_aligned(array: Any) -> bool:
    """Whether its memory is aligned to 16 bytes, or empty."""
    if SIMULATED or array.size == 0:
        return True
    return array.__cuda_array_interface__["data"][0] % 16 == 0


_DLPACK_CUDA = 2


def _dlpack_device(value: Any) -> tuple[int, int]:
    ask = getattr(value, "__dlpack_device__", None)
    kind, number = (0, 0) if ask is None else ask()
    return int(kind), int(number)


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]
