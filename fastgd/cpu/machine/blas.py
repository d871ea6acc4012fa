"""NumPy's BLAS: `multiply` for compiled loops, and one thread of it in every fit.

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

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

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


def multiply(blas, a, turned, b, turned_too, out, alpha, beta):
    """out = alpha·a·b + beta·out by BLAS, with aᵀ if `turned` and bᵀ if `turned_too`.

    name         dir     shape    meaning
    blas         IN      int      address of the product, from `product`
    a            IN      (m, p)   contiguous rows, maybe some columns of a wider matrix, as b and out
    b            IN      (p, q)
    out          IN OUT  (m, q)
    turned       IN      bool     a is given as (p, m)
    turned_too   IN      bool     b is given as (q, p)
    alpha, beta  IN      float
    """
    result = alpha * np.dot(a.T if turned else a, b.T if turned_too else b)
    out[...] = result if beta == 0 else result + beta * out


@intrinsic
def _gemm(typingctx, blas, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    def codegen(context, builder, signature, arguments):
        enum, integer, pointer = ir.IntType(32), ir.IntType(64), ir.PointerType()
        number = context.get_value_type(signature.args[6])
        kinds = [enum] * 3 + [integer] * 3 + [number, pointer, integer, pointer, integer]
        kind = ir.FunctionType(ir.VoidType(), [*kinds, number, pointer, integer])
        address, ta, tb, *rest = arguments
        given = [ir.Constant(enum, _ROWS), builder.trunc(ta, enum), builder.trunc(tb, enum)]
        for value, wanted in zip(rest, kind.args[3:], strict=True):
            given.append(builder.inttoptr(value, wanted) if wanted == pointer else value)
        builder.call(builder.inttoptr(address, kind.as_pointer()), given)
        return context.get_dummy_value()

    whole = types.int64
    return types.void(
        whole,
        whole,
        whole,
        whole,
        whole,
        whole,
        alpha,
        whole,
        whole,
        whole,
        whole,
        alpha,
        whole,
        whole,
    ), codegen


#: CBLAS's names for matrices by rows, as they are and turned.
_ROWS, _PLAIN, _TURNED = 101, 111, 112


@overload(multiply)
def _compiled_multiply(blas, a, turned, b, turned_too, out, alpha, beta):
    def by_blas(blas, a, turned, b, turned_too, out, alpha, beta):
        T, size = out.dtype.type, out.itemsize
        _gemm(
            blas, _TURNED if turned else _PLAIN, _TURNED if turned_too else _PLAIN, out.shape[0],
            out.shape[1], a.shape[0] if turned else a.shape[1], T(alpha), a.ctypes.data,
            a.strides[0] // size, b.ctypes.data, b.strides[0] // size, T(beta), out.ctypes.data,
            out.strides[0] // size,
        )  # fmt: skip

    return by_blas


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


@contextlib.contextmanager
def one_thread():
    """OpenBLAS on one thread, in the whole process; another BLAS stays as it is.

    OpenBLAS has no setting for one thread alone: `openblas_set_num_threads_local` sets that of the
    process too. So the first of the fits that run at a time sets it, and the last one sets it back.
    """
    controls, uses = _controls(), _uses
    if controls is None:
        yield
        return
    get, put = controls
    entered = False
    try:
        with uses.lock:
            if uses.number == 0:
                uses.threads_before = get()
            uses.number += 1
            entered = True
            if uses.number == 1:
                put(1)
        yield
    finally:
        if entered and uses is _uses:  # not in a forked child, which has set it back already
            with uses.lock:
                uses.number -= 1
                if uses.number == 0:
                    put(uses.threads_before)
