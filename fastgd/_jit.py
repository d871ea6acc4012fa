"""Everything about Numba, once: flags, disk cache, and making leaves callable from kernels.

Nothing outside this file and the backends knows Numba. Importing it costs 0.3 s, so the door only
does so at the first fit.
"""

import contextlib
import dis
import functools
import hashlib
import os
import pathlib
import pickle
import types
from typing import Any

import numba
from numba.core import cgutils
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic, overload, register_jitable

#: Sums may be reordered and contracted, which lets loops vectorise. NaN and infinity keep their
#: meaning (no "nnan", no "ninf"): the divergence check rests on them.
FLAGS = {"nsz", "arcp", "contract", "afn", "reassoc"}

#: Inlined, because a function that is called by name may run as its own copy or as that within its
#: caller, whichever was loaded first; they are optimised apart, and differ in the last bits.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}


def fingerprint(function) -> str:
    """A digest of the code that `function` runs, followed through closures and globals.

    Numba keys its disk cache by the function's own file and by pickled closures: it does not see a
    change in a file that the function only calls into, and misses for closures over compiled
    functions. This key is right in both cases, also for a loss that lives in the caller's module.
    Files that register overloads or intrinsics count as a whole: those can't be followed from a caller.
    """
    digest = hashlib.sha256(_source_digest())
    seen: set[int] = set()

    def visit(thing):
        thing = getattr(thing, "py_func", getattr(thing, "_defn", thing))
        if isinstance(thing, types.ModuleType):
            digest.update(thing.__name__.encode())
        elif isinstance(thing, types.FunctionType):
            if id(thing) in seen:
                return
            seen.add(id(thing))
            visit_code(thing.__code__, thing.__globals__)
            for value in (
                *(cell.cell_contents for cell in thing.__closure__ or ()),
                *(thing.__defaults__ or ()),
            ):
                visit(value)
        else:
            digest.update(f"{type(thing).__name__}:{thing!r}".encode())

    def visit_code(code, scope):
        digest.update(code.co_code)
        digest.update(repr((code.co_names, code.co_varnames)).encode())
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                visit_code(constant, scope)
            else:
                digest.update(repr(constant).encode())
        for name in code.co_names:
            value = scope.get(name)
            if value is not None:
                visit(value)

    visit(function)
    return digest.hexdigest()


@functools.cache
def _source_digest() -> bytes:
    """A digest of the files that extend Numba: 1 ms, once per process."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(pathlib.Path(__file__).parent.rglob("*.py")):
        source = path.read_bytes()
        if b"numba.extending" in source:
            digest.update(source)
    return digest.digest()


class _CheckedFile(IndexDataCacheFile):
    """Cache files that carry their own digest, so that a damaged one is a miss and not a crash."""

    def _dump(self, obj):
        data = super()._dump(obj)
        return hashlib.sha256(data).digest() + data

    def _read(self, path):
        with open(path, "rb") as file:
            digest, data = file.read(32), file.read()
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None

    def _load_index(self):
        try:
            found = self._read(self._index_path)
        except OSError:
            found = None
        return found[1] if found is not None and found[0] == self._source_stamp else {}

    def _save_index(self, overloads):
        with self._open_for_write(self._index_path) as file:
            file.write(self._dump((self._source_stamp, overloads)))

    def _load_data(self, name):
        return self._read(self._data_path(name))


class _Cache(FunctionCache):
    """Numba's disk cache with the key above, and never a reason for a fit to fail."""

    def __init__(self, function, fingerprint):
        super().__init__(function)
        self._fingerprint = fingerprint
        self._cache_file = _CheckedFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=fingerprint,
        )

    def _index_key(self, sig, codegen):
        return sig, codegen.magic_tuple(), self._fingerprint

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever is wrong with the file, compiling afresh is right
            return None

    def save_overload(self, sig, data):
        # A read-only, full or vanished folder: the kernel is compiled, only not kept.
        with contextlib.suppress(OSError, pickle.PicklingError):
            super().save_overload(sig, data)


def compiled(function, flags=frozenset(FLAGS)):
    """`numba.njit` with fastgd's flags, or the caller's, and its cache."""
    if numba.config.DISABLE_JIT:
        return function
    # The machine code of a function is found by its name and a number, that of its turn in the process
    # that compiled it. Two variants of one factory, from the caches of two processes, may have the same:
    # one would run in place of the other. It also keeps variants, and two installed versions that share
    # a cache folder, out of each other's index.
    known_by = fingerprint(function)
    function.__qualname__ += f"_{known_by[:16]}"
    dispatcher = numba.njit(**_OPTIONS | {"fastmath": set(flags)})(function)
    # Without any folder to cache in, it is compiled once per process.
    with contextlib.suppress(RuntimeError):
        dispatcher._cache = _Cache(function, known_by)
    return dispatcher


def pointer(dispatcher, *arguments):
    """A compiled function of these types for a kernel's argument: its address, or itself without the JIT.

    A kernel that calls through a pointer is compiled once for all functions. Numba's own function types
    cost 50 µs an argument and call, and kernels that are given a dispatcher never find their cache again.
    """
    if not hasattr(dispatcher, "py_func"):
        return dispatcher
    types = tuple(numba.typeof(argument) for argument in arguments)
    dispatcher.compile(types)
    found = dispatcher.overloads[types]
    return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)


def call(function, arguments):
    """The float that a function given by `pointer` returns.

    The tuple has the types that `pointer` was told: nothing else checks them.
    """
    return function(*arguments)


@intrinsic
def _call(typingctx, address, arguments):
    def codegen(context, builder, signature, given):
        kinds, result = signature.args[1].types, signature.return_type
        convention = context.call_conv
        function = builder.inttoptr(
            given[0], convention.get_function_type(result, kinds).as_pointer()
        )
        values = cgutils.unpack_tuple(builder, given[1], len(kinds))
        return convention.call_function(builder, function, result, kinds, values)[1]

    return numba.types.float64(address, arguments), codegen


@overload(call, inline="always")
def _compiled_call(function, arguments):
    return lambda function, arguments: _call(function, arguments)


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
    return register_jitable(forceinline=True)(function)


def compiles() -> bool:
    """Whether the thread that asks is in the middle of a compilation."""
    return global_compiler_lock.is_locked()


def default_threads() -> int:
    """The number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
