"""NumPy's BLAS: `multiply` for compiled loops, and one thread of it in fits.

The bits of a factorisation or a long dot product depend on the number of BLAS's threads, those of a fit
must not. OpenBLAS's threads also spin-wait. For a batch of 64 rows times 784×128 two of them took
70 µs on idle processors where one takes 97, and on busy ones 8,000: the thread that spins takes the
processor of the thread that it waits for. An epoch of 45 ms took 2 to 7 seconds.
"""

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from ...compile.functions import instructions

# The symbols of NumPy's BLAS, and not the documented `get_cython_function_address` on
# scipy.linalg.cython_blas: fastgd does not depend on SciPy, that import takes 270 ms, and SciPy's wheels
# bring a second OpenBLAS with threads of its own. On one thread both take 0.35 ms for 64×784×128.

#: As NumPy's wheels name it, and as others do. Where integers have 32 bits, all but Apple's processors
#: pass them in places of 64.
_PRODUCTS = (
    "scipy_cblas_{}gemm64_",
    "cblas_{}gemm64_",
    "cblas_{}gemm$NEWLAPACK$ILP64",
    *(() if sys.platform == "darwin" else ("cblas_{}gemm",)),
)
_NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "openblas_{}_num_threads64_",
    "openblas_{}_num_threads",
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Uses:
    """The number of running fits, and of OpenBLAS's threads before the first of them."""

    def __init__(self):
        # Reentrant: a signal handler may fit while its own thread holds the lock.
        self.lock = threading.RLock()
        self.number, self.threads_before = 0, 0


_uses = _Uses()


def _restore_in_child() -> None:
    """Reset in the child: fits of other threads, and the one whose callback forked, don't go on there."""
    global _uses
    uses, _uses = _uses, _Uses()
    if uses.number:
        _controls()[1](uses.threads_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore_in_child)


@functools.cache
def _library():
    """A handle of the module that is linked to BLAS, which also finds the symbols of BLAS."""
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(np.linalg._umath_linalg.__file__)
    return None


@functools.cache
def product(dtype: np.dtype) -> int:
    """The address of BLAS's product of matrices, or of plain loops if its name is unknown."""
    for name in _PRODUCTS:
        function = getattr(_library(), name.format("s" if dtype == np.float32 else "d"), None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    return _loops(dtype).address


@functools.cache
def _loops(dtype: np.dtype):
    """CBLAS's product of matrices as plain loops."""
    enum, whole, number = types.int32, types.int64, numba.from_dtype(dtype)
    matrix = types.CPointer(number)

    @numba.cfunc(
        types.void(
            enum, enum, enum, whole, whole, whole, number, matrix, whole, matrix, whole, number, matrix,
            whole,
        )
    )  # fmt: skip
    def gemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        for i in range(m):
            for j in range(n):
                c[i * ldc + j] = beta * c[i * ldc + j] if beta != 0 else 0.0
            for p in range(k):
                one = alpha * (a[p * lda + i] if ta == _TURNED else a[i * lda + p])
                for j in range(n):
                    c[i * ldc + j] += one * (b[j * ldb + p] if tb == _TURNED else b[p * ldb + j])

    return gemm


def multiply(blas, numbers, m, n, k, a, b, out, alpha, beta):
    """out = alpha·a·b + beta·out by BLAS, of matrices (m, k), (k, n) and (m, n) in one flat array.

    name         dir     shape     meaning
    blas         IN      int       address of the product, from `product`
    numbers      IN OUT  (…,)      the flat array
    a, b         IN      3 values  the matrix: its first place, the places from row to row, and whether
                                   it is turned: stored as (k, m), or b as (n, k)
    out          IN      2 values  the same of the result, which is not turned
    alpha, beta  IN      float
    """
    place, row = out
    result = alpha * np.dot(_matrix(numbers, m, k, *a), _matrix(numbers, k, n, *b))
    into = _matrix(numbers, m, n, place, row, False)
    into[...] = result if beta == 0 else result + beta * into


def _matrix(numbers, m, n, place, row, turned):
    """The matrix (m, n) at a place; its rows, or columns if it is turned, are `row` places apart."""
    size = numbers.itemsize
    strides = (size, row * size) if turned else (row * size, size)
    return np.lib.stride_tricks.as_strided(numbers[place:], (m, n), strides)


#: CBLAS's names for matrices by rows, as they are and turned.
_ROWS, _PLAIN, _TURNED = 101, 111, 112


@instructions(multiply)
def _multiply(typingctx, blas, numbers, m, n, k, a, b, out, alpha, beta):
    whole, number = types.int64, numbers.dtype
    given = types.Tuple((whole, whole, types.boolean))
    result = types.UniTuple(whole, 2)

    def codegen(context, builder, signature, arguments):
        enum, integer, pointer = ir.IntType(32), ir.IntType(64), ir.PointerType()
        scalar = context.get_value_type(number)
        matrix = [pointer, integer]
        kinds = [enum] * 3 + [integer] * 3 + [scalar, *matrix, *matrix, scalar, *matrix]
        kind = ir.FunctionType(ir.VoidType(), kinds)
        address, array, m, n, k, a, b, out, alpha, beta = arguments
        data = context.make_array(numbers)(context, builder, array).data
        (a, a_row, a_turned), (b, b_row, b_turned), (out, out_row) = (
            cgutils.unpack_tuple(builder, value) for value in (a, b, out)
        )
        a, b, out = (builder.gep(data, [place]) for place in (a, b, out))
        turned, plain = enum(_TURNED), enum(_PLAIN)
        orders = [builder.select(flag, turned, plain) for flag in (a_turned, b_turned)]
        builder.call(
            builder.inttoptr(address, kind.as_pointer()),
            [enum(_ROWS), *orders, m, n, k, alpha, a, a_row, b, b_row, beta, out, out_row],
        )
        return context.get_dummy_value()

    arguments = whole, numbers, whole, whole, whole, given, given, result, number, number
    return types.void(*arguments), codegen


@functools.cache
def _controls():
    """OpenBLAS's functions that get and set the number of threads, or None for another BLAS.

    threadpoolctl knows more libraries. It would be a dependency, and takes 28 µs a fit with a controller
    that is kept (1,500 without), where these take 6.
    """
    library = _library()
    if library is not None:
        for name in _NAMES:
            if hasattr(library, name.format("set")):
                get, put = (getattr(library, name.format(what)) for what in ("get", "set"))
                get.restype, put.argtypes, put.restype = ctypes.c_int, [ctypes.c_int], None
                return get, put
    return None


class one_thread:  # noqa: N801
    """OpenBLAS on one thread, in the whole process; another BLAS stays as it is.

    A context, or a decorator. A generator as context takes a microsecond more in every fit.

    OpenBLAS has no setting for one thread alone: `openblas_set_num_threads_local` sets that of the
    process too. So the first of the fits that run at a time sets it, and the last one sets it back.
    """

    _entered: _Uses | None = None

    def __call__(self, function: _Function) -> _Function:
        @functools.wraps(function)
        def within(*arguments, **named):
            with one_thread():
                return function(*arguments, **named)

        return within  # type: ignore[return-value]

    def __enter__(self):
        controls, uses = _controls(), _uses
        if controls is None:
            return
        get, put = controls
        with uses.lock:
            if uses.number == 0:
                uses.threads_before = get()
            uses.number += 1
            self._entered = uses
            if uses.number == 1:
                put(1)

    def __exit__(self, *error):
        uses = self._entered
        if uses is not _uses:  # none, or a forked child, which has set it back already
            return
        with uses.lock:
            self._entered = None
            uses.number -= 1
            if uses.number == 0:
                _controls()[1](uses.threads_before)

    def __del__(self):
        self.__exit__()  # a signal may come between the end of a block and the call of `__exit__`
