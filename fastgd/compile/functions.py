"""Everything about Numba, once: flags, and making leaves callable from kernels.

Only this file, its disk cache (`cache`, `fingerprint`) and the backends import Numba. That takes 0.3 s,
so the public modules import it at the first fit.
"""

import contextlib
import dis
import functools
import gc
import os
import types
from typing import Any

import numba
import numpy as np
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.typing.templates import infer, infer_global, make_intrinsic_template
from numba.extending import register_jitable

from ..losses import takes_parameter
from .cache import KernelCache

#: Sums may be reordered and contracted, which lets loops vectorise. NaN and infinity keep their
#: meaning (no "nnan", no "ninf"): the check for divergence needs them.
FLAGS = {"nsz", "arcp", "contract", "afn", "reassoc"}

#: No kernel is called from C.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
#: A wrapper for calls from Python takes as long to compile as a small loop: 10 ms an argument.
_PIECE = _OPTIONS | {"forceinline": True, "no_cpython_wrapper": True}


def kernel(function, flags=frozenset(FLAGS)):
    """Compile a function that Python calls, and kernels through `pointer`, but none by its name."""
    return _dispatcher(function, _OPTIONS | {"fastmath": set(flags)})


def piece(function, flags=frozenset(FLAGS)):
    """Compile a piece of kernels, which call it by name or through `pointer`; Python can't call it.

    Called by name it is inlined: otherwise its own copy or the copy in its caller would run, whichever
    was loaded first; they are optimised separately, and differ in the last bits.
    """
    return _dispatcher(function, _PIECE | {"fastmath": set(flags)})


def _dispatcher(function, options):
    if numba.config.DISABLE_JIT:
        return function
    dispatcher = numba.njit(**options)(function)
    dispatcher._cache = KernelCache(dispatcher)
    compile_types = dispatcher.compile

    def compile_without_collecting(types):
        with _collector_paused():
            return compile_types(types)

    dispatcher.compile = compile_without_collecting
    return dispatcher


@contextlib.contextmanager
def _collector_paused():
    """Pause the garbage collector: in a compilation it visits millions of objects that are all in use.

    24 calls of a first session compile in 28.8 seconds, not 32.2.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def pointer(dispatcher, *arguments):
    """The address of a compiled function of these types, an argument for kernels; itself without the JIT.

    A kernel that calls through a pointer is compiled once for all functions. Numba's own function types
    cost 50 µs an argument and call, and kernels with a dispatcher as argument never hit their cache.
    """
    if not hasattr(dispatcher, "py_func"):
        return dispatcher
    return _address(dispatcher, tuple(map(numba.typeof, arguments)))


@functools.cache
def _address(dispatcher, types: tuple) -> int:
    """The address, looked up once: this takes llvmlite's lock, which may stay locked after a fork."""
    dispatcher.compile(types)
    found = dispatcher.overloads[types]
    return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)


def instructions(function):
    """A decorator: compiled code has these instructions in place of the calls of a plain function.

    It takes a definition as `numba.extending.intrinsic` does. An `overload` that calls an intrinsic is
    compiled for itself, which takes 40 ms for each combination of types.
    """

    def register(definition):
        template = make_intrinsic_template(function, definition, function.__name__)
        infer(template)
        infer_global(function, numba.types.Function(template))
        return definition

    return register


def call(function, *arguments):
    """The float that a function given by `pointer` returns.

    The arguments must have the types that `pointer` got: they are not checked. They are no tuple: that
    would count references to its arrays, 7 ns an array and call.
    """
    return function(*arguments)


@instructions(call)
def _call(typingctx, address, *arguments):
    def codegen(context, builder, signature, given):
        kinds, result = signature.args[1].types, signature.return_type
        convention = context.call_conv
        function = builder.inttoptr(
            given[0], convention.get_function_type(result, kinds).as_pointer()
        )
        values = cgutils.unpack_tuple(builder, given[1], len(kinds))
        return convention.call_function(builder, function, result, kinds, values)[1]

    return numba.types.float64(address, numba.types.StarArgTuple.from_types(arguments)), codegen


def record(**values):
    """Numbers, addresses and short arrays as one argument of kernels, which read them as attributes."""
    return records([values])[0]


def records(rows):
    """An array of a `record` for each of some dictionaries with the same names."""
    if numba.config.DISABLE_JIT:
        return np.array([types.SimpleNamespace(**values) for values in rows], object)
    kinds = ((name, np.result_type(v).str, np.shape(v)) for name, v in rows[0].items())
    return np.array([tuple(values.values()) for values in rows], _record_type(*kinds))


@functools.cache
def _record_type(*fields):
    """The same object for the same fields, because Numba looks its types up by that."""
    return np.dtype((np.record, np.dtype(list(fields), align=True)))


def global_names(function) -> set[str]:
    """The globals that a function reads; `co_names` has attributes too, as tanh of `math.tanh`."""
    return {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}


@functools.cache
def leaf(function):
    """Make a plain function, and those it calls, callable from kernels on every backend.

    They stay plain Python.
    """
    for name in global_names(function):
        called = function.__globals__.get(name)
        if isinstance(called, types.FunctionType):
            leaf(called)
    return register_jitable(forceinline=True, no_cfunc_wrapper=True)(function)


@functools.cache
def with_parameter(function):
    """A leaf of a loss as a function f(z, y, p), for kernels; it may ignore p."""
    if takes_parameter(function):
        return function

    def without(z, y, p):
        return function(z, y)

    return leaf(without)


def compiles() -> bool:
    """Whether this thread is compiling."""
    return global_compiler_lock.is_locked()


def default_threads() -> int:
    """The number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
