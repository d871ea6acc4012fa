"""Where rows are read: in the memory of the host, or on the GPU that holds x or that the caller names.

All give a source with the same methods. numba.cuda is imported only for those who use it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import inputs
from ..errors import InputError
from .blocks import BlockRows, Blocks
from .compressed import is_sparse, rows_or_columns
from .dask import Chunks, DaskRows
from .dense import DenseRows
from .protocol import Source
from .sparse import SparseRows


class Place(NamedTuple):
    """What makes a source of rows, and whether they are read by a GPU."""

    rows: Callable[..., Source]
    on_gpu: bool


HOST, SPARSE = Place(DenseRows, False), Place(SparseRows, False)
BLOCKS, CHUNKS = Place(BlockRows, False), Place(DaskRows, False)


def features(x: Any, device: Any) -> tuple[Any, Place]:
    """x as (n, d) where it lies or is to lie, and the place that reads it there.

    Raises
    ------
    InputError
        If x can't be used, if CUDA can't be used (what is missing is named), or if x lies elsewhere
        than `device` says.
    """
    named = None if device is None else str(device)
    if isinstance(x, Blocks):
        if named not in (None, "cpu"):
            raise InputError(
                f"x is read in blocks and device is {named!r}: blocks are read on the CPU only; leave "
                "device out."
            )
        inputs.check_shape(x.shape, "x")
        return x, CHUNKS if isinstance(x, Chunks) else BLOCKS
    if is_sparse(x):
        if named not in (None, "cpu"):
            raise InputError(
                f"x is sparse and device is {named!r}: sparse rows are read on the CPU only; leave "
                "device out, or pass x.toarray()."
            )
        x = rows_or_columns(x)
        inputs.check_shape(x.shape, "x")
        return x, SPARSE
    if not inputs.on_gpu(x) and named in (None, "cpu"):
        return inputs.features(x), HOST
    if named == "cpu":
        raise InputError(
            "x is on a GPU and device is 'cpu'; leave device out, or pass x on the host."
        )
    from ..cuda import driver

    driver.require_device()
    from .device import DeviceMatrix
    from .streamed import device_rows

    cuda = Place(device_rows, True)
    if not inputs.on_gpu(x):
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


def predictions(x: Any, coef: np.ndarray, intercept: Any) -> np.ndarray:
    """x·coef + intercept for x on a GPU: (n,) for coef (d,), (n, k) for (k, d), on the host."""
    x, place = features(x, None)
    if x.shape[1] != coef.shape[-1]:
        raise InputError(f"x has {x.shape[1]} columns; this fit has {coef.shape[-1]} coefficients.")
    source = place.rows(x, np.empty((1, 0)), None, coef.dtype)
    outputs = zip(np.atleast_2d(coef), np.atleast_1d(intercept), strict=True)
    raw = [source.predictions(w[None].astype(float), np.array([b], float)) for w, b in outputs]
    return (raw[0] if coef.ndim == 1 else np.stack(raw, axis=1)).astype(coef.dtype)


def require_finite(x: Any, name: str, names: list[str] | None) -> None:
    """Raise `InputError` with row, column and value of the first entry that is not finite."""
    if isinstance(x, Blocks):
        x.require_finite(name)
    else:
        inputs.require_finite(x, name, names)


def on_host(value: Any, name: str, place: Place) -> Any:
    """y or weights, which are small beside X: a copy on the host where they lie on a GPU with x."""
    if not inputs.on_gpu(value):
        return value
    if not place.on_gpu:
        raise InputError(f"{name} is on a GPU and x is on the host; move one of them to the other.")
    from .device import DeviceMatrix

    matrix = DeviceMatrix(value)  # which copies rows of any strides
    inputs.check_shape(matrix.shape, name)
    rows = matrix[:]
    return rows[:, 0] if matrix.flat else rows
