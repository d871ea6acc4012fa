"""The identity of compiled code: one digest of everything that its machine code depends on.

Numba keys its disk cache by a function's own file and its pickled closure. It does not see a change in a
file that the function only calls into, and misses for closures over compiled functions. This digest
traces the function: its bytecode and options, and what the bytecode reads from globals, closures,
defaults and attributes of modules. Functions count by their code, or by what is registered with Numba to
be compiled in their place, and values by their contents. What belongs to Python, NumPy, llvmlite or Numba
counts by its name, since their versions are part of the digest. What can't be traced has no digest.

Compiled code keeps the values of the time when it was compiled, also within other functions that are
compiled later. So a function that has changed since this process first read it has no digest.
"""

import builtins
import dis
import enum
import functools
import hashlib
import pathlib
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
import numpy as np
from llvmlite import ir
from numba.core import types as numba_types
from numba.core.extending import _Intrinsic
from numba.core.registry import CPUDispatcher
from numba.core.typing.templates import builtin_registry

#: Types whose text describes a value completely.
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
#: Types of Numba that `key` describes completely.
_TYPES = (
    numba_types.Number, numba_types.Boolean, numba_types.NoneType, numba_types.UnicodeType,
    numba_types.Array, numba_types.BaseTuple, numba_types.Literal, numba_types.DType,
    numba_types.NumberClass, numba_types.CPointer, numba_types.Record,
)  # fmt: skip
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME"}
_CELLS = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}

_VERSIONS = repr((sys.version, np.__version__, llvmlite.__version__, numba.__version__)).encode()

#: The digest of each function's own code and values when it was first read.
_first: weakref.WeakKeyDictionary[types.FunctionType, bytes] = weakref.WeakKeyDictionary()


#: What is traced, and how.
_FUNCTIONS = {
    types.FunctionType: "_function",
    CPUDispatcher: "_dispatcher",
    _Intrinsic: "_intrinsic",
}


#: Stands for a missing value.
_MISSING = object()


class UntraceableError(Exception):
    """Something that a function reads can't be traced: the function must not be cached."""


def fingerprint(*things: Any) -> str:
    """The digest of functions and other values; UntraceableError if something has none."""
    visit = _Visit()
    digest = _hash("fastgd", _VERSIONS, *map(visit.value, things))
    if visit.trouble is not None:
        raise UntraceableError(str(visit.trouble)) from visit.trouble
    return digest.hex()


def _hash(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(b":%d:" % len(part) + part)
    return digest.digest()


def _text(kind: str, *parts: Any) -> bytes:
    return _hash(kind, repr(parts).encode())


class _Visit:
    """One traversal of all that some values reach."""

    def __init__(self) -> None:
        self._done: dict[Callable[..., Any], bytes] = {}
        self._open: list[Callable[..., Any]] = []
        self._implemented: list[Callable[..., Any]] = []
        self._registered = _registered()
        self.trouble: Exception | None = None

    def value(self, thing: Any) -> bytes:
        """The digest of a value that code reads; the traversal goes on after a value without one."""
        try:
            return self._value(thing)
        except Exception as error:
            self.trouble = error
            return b""

    def _value(self, thing: Any) -> bytes:
        kind = type(thing)
        if kind in _PLAIN:
            return _text(kind.__name__, thing)
        if kind in _FUNCTIONS and thing in self._done:
            return self._done[thing]
        name = _name(thing)
        if name is not None:
            return _hash("name", name.encode(), self._implementations(thing))
        if kind in _FUNCTIONS:
            return getattr(self, _FUNCTIONS[kind])(thing)
        if kind in (tuple, list, dict, set, frozenset, range):
            return self._collection(thing)
        if isinstance(thing, np.ndarray | np.generic | np.dtype):
            return self._numbers(thing)
        if isinstance(thing, type):
            return self._class(thing)
        if isinstance(thing, tuple) and hasattr(thing, "_fields"):
            return _hash("named tuple", self.value(kind), self._values("fields", thing))
        if isinstance(thing, enum.Enum):
            return _hash("member", self.value(kind), thing.name.encode())
        if isinstance(thing, numba_types.Type):
            return self._numba_type(thing)
        if isinstance(thing, ir.Type):
            return _text("llvm", kind.__name__, str(thing))
        raise UntraceableError(repr(thing))

    def _values(self, kind: str, things: Any) -> bytes:
        return _hash(kind, *map(self.value, things))

    def _collection(self, thing: Any) -> bytes:
        name = type(thing).__name__
        if isinstance(thing, set | frozenset):
            return _hash(name, *sorted(map(self.value, thing)))
        if isinstance(thing, dict):
            thing = [part for item in thing.items() for part in item]
        if isinstance(thing, range):
            thing = thing.start, thing.stop, thing.step
        if all(type(part) in _PLAIN for part in thing):
            return _text(name, *thing)
        return self._values(name, thing)

    def _numbers(self, thing: Any) -> bytes:
        if isinstance(thing, np.dtype):
            if thing.hasobject:
                raise UntraceableError("objects in an array")
            return _text("dtype", thing)
        if isinstance(thing, np.generic):
            return _hash("number", self.value(thing.dtype), thing.tobytes())
        if type(thing) is not np.ndarray:
            raise UntraceableError(f"an array of class {type(thing).__name__}")
        flags = thing.flags
        layout = flags.c_contiguous, flags.f_contiguous, flags.writeable, flags.aligned
        return _hash(
            "array", self.value(thing.dtype), _text("layout", thing.shape, layout), thing.tobytes()
        )

    def _numba_type(self, thing: Any) -> bytes:
        if isinstance(thing, numba_types.Omitted):
            return _hash("omitted", self.value(thing.value))
        if not isinstance(thing, _TYPES):
            raise UntraceableError(f"the type {thing}")
        return self._values("type", (type(thing), thing.key))

    def _class(self, thing: Any) -> bytes:
        if issubclass(thing, tuple) and hasattr(thing, "_fields"):
            about = thing.__qualname__, thing._fields, thing._field_defaults
            return self._values("tuple class", about)
        if issubclass(thing, enum.Enum):
            members = [(name, member.value) for name, member in thing.__members__.items()]
            return self._values("enum", (thing.__qualname__, thing.__mro__[1:], members))
        raise UntraceableError(repr(thing))

    def _options(self, options: Any) -> bytes:
        return self._collection({name: options[name] for name in sorted(options)})

    def _dispatcher(self, thing: Any) -> bytes:
        signatures = () if thing._can_compile else [s.args for s in thing.nopython_signatures]
        about = thing.locals, thing._compiler.pipeline_class, signatures, thing.py_func
        digest = _hash("compiled", self._options(thing.targetoptions), *map(self.value, about))
        self._done[thing] = digest
        return digest

    def _intrinsic(self, thing: Any) -> bytes:
        return self._values("intrinsic", (thing._prefer_literal, thing._defn))

    def _implementations(self, thing: Any) -> bytes:
        """Those registered for a function, or for all attributes of a name, outside of Numba."""
        found = self._registered.get(thing if isinstance(thing, str) else id(thing), ())
        return _hash("registered", *map(self._template, found))

    def _template(self, template: Any) -> bytes:
        definition = vars(template).get("_definition_func")
        if definition is not None:
            return self._values("definition", (template.prefer_literal, definition.__func__))
        implementation = vars(template).get("_overload_func")
        if implementation is None:
            raise UntraceableError(f"the typing template {template}")
        about = template._inline._inline, template.prefer_literal, implementation.__func__
        options = getattr(template, "_jit_options", {}), template.metadata
        return _hash("template", *map(self._options, options), *map(self.value, about))

    def _function(self, thing: Any) -> bytes:
        # With implementations, its own code is compiled only if one of them leads back to it.
        if id(thing) in self._registered and thing not in self._implemented:
            self._implemented.append(thing)
            self._done[thing] = digest = self._implementations(thing)
            self._implemented.remove(thing)
            return digest
        if self._open and self._open[-1] is thing:
            return _hash("itself")
        if thing in self._open:
            raise UntraceableError(f"functions that call each other, as {thing.__qualname__}")
        self._open.append(thing)
        cells = dict(zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True))
        digest = _hash(
            "function",
            self._code(thing.__code__, thing.__globals__, cells),
            self.value(thing.__defaults__),
            self.value(thing.__kwdefaults__),
        )
        self._open.pop()
        if _first.setdefault(thing, digest) != digest:
            raise UntraceableError(
                f"{thing.__qualname__}, which has changed since it may have been compiled"
            )
        if thing not in self._implemented:
            self._done[thing] = digest
        return digest

    def _code(self, code: types.CodeType, scope: dict[str, Any], cells: dict[str, Any]) -> bytes:
        """Code and all that it reads, except the cells of an outer function's variables."""
        own, reads = _read(code)
        parts = [own]
        for name, is_cell, *attributes in reads:
            if not is_cell:
                found = scope.get(name, getattr(builtins, name, _MISSING))
                parts.append(self._reached(found, attributes))
            elif name in cells:
                parts.append(self._reached(_contents(cells[name]), attributes))
        parts.extend(
            self._implementations(name) for name in code.co_names if name in self._registered
        )
        inner = {name: cell for name, cell in cells.items() if name not in code.co_cellvars}
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                parts.append(self._code(constant, scope, inner))
        return _hash("code", *parts)

    def _reached(self, thing: Any, attributes: Any) -> bytes:
        """The value that attributes of a module lead to; any other value as it is."""
        for at, name in enumerate(attributes):
            if not isinstance(thing, types.ModuleType):
                break
            module, thing = thing, getattr(thing, name, _MISSING)
            within = _versioned(module.__name__) and not isinstance(thing, types.ModuleType)
            if within and type(thing) not in _PLAIN and _versioned(_module(thing)):
                known_by = f"{module.__name__}:{'.'.join(attributes[at:])}"
                return _hash("name", known_by.encode(), self._implementations(thing))
        return self.value(thing)


@functools.cache
def _read(code: types.CodeType) -> tuple[bytes, list[tuple[Any, ...]]]:
    """The digest of code by itself; and what it reads: name, whether it is a cell, attributes of that."""
    reads: list[tuple[Any, ...]] = []
    extends = False
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBALS | _CELLS:
            reads.append((instruction.argval, instruction.opname in _CELLS))
            extends = True
        elif instruction.opname in _ATTRIBUTES and extends:
            reads[-1] += (instruction.argval,)
        elif instruction.opname.startswith("IMPORT"):
            reads.append(("an import", False))
        elif instruction.opname not in ("EXTENDED_ARG", "NOP"):
            extends = False
    constants = [None if isinstance(c, types.CodeType) else c for c in code.co_consts]
    about = (
        code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_names,
        code.co_varnames, code.co_freevars, code.co_cellvars, code.co_exceptiontable, code.co_code,
    )  # fmt: skip
    return _hash("own", _text("about", *about), _Visit()._collection(constants)), list(
        dict.fromkeys(reads)
    )


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _name(thing: Any) -> str | None:
    """The name of something that belongs to a module whose version is known."""
    is_module = isinstance(thing, types.ModuleType)
    module = thing.__name__ if is_module else _module(thing)
    if not _versioned(module):
        return None
    path = [] if is_module else getattr(thing, "__qualname__", "").split(".")
    found = sys.modules.get(module)
    for name in path:
        found = getattr(found, name, None)
    return ":".join([module, *path]) if found is thing else None


def _module(thing: Any) -> str:
    return getattr(thing, "__module__", None) or type(thing).__module__


@functools.cache
def _versioned(name: str) -> bool:
    """Whether a module is part of Python, NumPy, llvmlite or Numba, and no file of the same name."""
    top = name.partition(".")[0]
    if top in ("numpy", "llvmlite", "numba"):
        return True
    if top not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is None or pathlib.Path(functools.__file__).parent in pathlib.Path(file).parents


#: Typing templates from outside of Numba: by the id of a function, or the name of an attribute.
_templates: dict[int | str, list[Any]] = {}
_counted = [0, 0]


def _registered() -> dict[int | str, list[Any]]:
    """`_templates`, with what has come since. Numba's registries keep the functions, and only grow."""
    for value, kind in builtin_registry.globals[_counted[0] :]:
        for template in getattr(kind, "templates", ()):
            if not isinstance(value, _Intrinsic) and _outside(template, value):
                _templates.setdefault(id(value), []).append(template)
    for template in builtin_registry.attributes[_counted[1] :]:
        if hasattr(template, "_attr") and _outside(template):
            _templates.setdefault(template._attr, []).append(template)
    _counted[:] = len(builtin_registry.globals), len(builtin_registry.attributes)
    return _templates


def _outside(template: Any, value: Any = None) -> bool:
    """Whether a template, or the function that it is for, is not Numba's, and for this processor."""
    source = vars(template).get("_overload_func", template.__mro__[1])
    if _versioned(_module(source)) and _versioned(_module(value)):
        return False
    return template.metadata.get("target", "generic") in ("generic", "cpu")
