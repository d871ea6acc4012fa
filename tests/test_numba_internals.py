"""The parts of Numba that are no public interface and that fastgd uses: each works as its file expects.

A failure says which part of a new Numba has changed, and which file of fastgd has to follow. The bounds
in pyproject.toml are the versions that passed these tests, 0.62 to 0.68.
"""

import ast
import gc
import itertools
import pickle
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import extending

import fastgd

pytestmark = pytest.mark.jit
ROOT = Path(fastgd.__file__).parent

#: Modules whose interface Numba documents.
PUBLIC = {"numba", "numba.extending", "numba.types", "numba.cuda"}


def plain(x):
    return x + 1


def compiled():
    """A dispatcher with one compiled overload, its target context, and the compile result."""
    dispatcher = numba.njit(plain)
    dispatcher.compile((numba.int64,))
    return dispatcher, dispatcher.targetdescr.target_context, dispatcher.overloads[(numba.int64,)]


# --- the disk cache -------------------------------------------------------------------------------


def functions_are_numbered_by_a_counter(patch):
    from numba.core.bytecode import FunctionIdentity

    patch.setattr(FunctionIdentity, "_unique_ids", itertools.count(77))
    assert FunctionIdentity.from_function(plain).unique_id == 77


def a_dispatcher_asks_its_cache(patch):
    from numba.core.caching import NullCache

    calls = []

    class Cache(NullCache):
        def load_overload(self, sig, target_context):
            target_context.refresh()
            calls.append(("load", sig, target_context.codegen().magic_tuple()))

        def save_overload(self, sig, data):
            calls.append(("save", sig, data.codegen.magic_tuple()))

    dispatcher = numba.njit(plain)
    dispatcher._cache = Cache()
    assert dispatcher(1) == 2
    assert [kind for kind, *_ in calls] == ["load", "save"]
    assert calls[0][1:] == calls[1][1:]
    assert dispatcher.stats.cache_misses


def a_signature_is_arguments_and_result(patch):
    from numba.core.sigutils import normalize_signature

    for given in ((numba.int64,), numba.float64(numba.int64)):
        arguments, result = normalize_signature(given)
        assert arguments == (numba.int64,)
        assert result is None or result == numba.float64


def compiled_code_goes_to_bytes_and_back(patch):
    from numba.core.caching import CompileResultCacheImpl
    from numba.core.serialize import dumps

    _, context, result = compiled()
    cache = CompileResultCacheImpl(plain)
    assert cache.check_cachable(result)
    again = cache.rebuild(context, pickle.loads(dumps(cache.reduce(result))))
    assert again.signature == result.signature
    assert callable(again.entry_point)


def machine_code_needs_an_allocator(patch):
    from numba.core import entrypoints
    from numba.core.runtime.nrt import rtsys

    context = compiled()[1]
    patch.setattr(rtsys, "_init", False)
    rtsys.initialize(context)
    assert rtsys._init
    called = []
    patch.setattr(entrypoints, "_already_initialized", False)
    patch.setattr(entrypoints.importlib_metadata, "entry_points", lambda: called.append(1) or {})
    entrypoints.init_all()
    assert called


def a_cache_has_a_folder(patch):
    from numba.core.caching import CompileResultCacheImpl

    locator = CompileResultCacheImpl(plain).locator
    assert isinstance(locator.get_cache_path(), str)
    locator.ensure_cache_path()
    assert Path(locator.get_cache_path()).is_dir()


# --- calls by address -----------------------------------------------------------------------------


def a_compiled_function_has_an_address(patch):
    _, _, result = compiled()
    assert result.library.get_pointer_to_function(result.fndesc.llvm_func_name) > 0


def a_function_is_called_by_its_address(patch):
    from fastgd.compile.functions import call, pointer

    inner = numba.njit(lambda x: 2.0 * x)

    @numba.njit
    def outer(address, x):
        return call(address, x)

    assert outer(pointer(inner, 3.0), 3.0) == 6.0


def a_plain_function_has_instructions(patch):
    from fastgd.compile.functions import instructions

    def twice(x):
        return 2 * x

    @instructions(twice)
    def define(typingctx, x):
        return x(x), lambda context, builder, signature, arguments: builder.fadd(*2 * arguments)

    assert numba.njit(lambda x: twice(x))(3.0) == twice(3.0) == 6.0


def a_compilation_holds_a_lock(patch):
    from numba.core.compiler_lock import global_compiler_lock

    assert not global_compiler_lock.is_locked()
    with global_compiler_lock:
        assert global_compiler_lock.is_locked()


def a_compilation_is_an_event(patch):
    from numba.core import event

    heard = []

    class Listener(event.Listener):
        def on_start(self, event):
            heard.append(event.data["dispatcher"].py_func)

        def on_end(self, event):
            heard.append("end")

    with event.install_listener("numba:compile", Listener()):
        compiled()
    assert heard == [plain, "end"]


def a_dispatcher_compiles_by_its_method(patch):
    from fastgd.compile.functions import kernel

    collecting = []

    def slope(x):
        return 2 * x

    def heard(dispatcher, types):
        collecting.append(gc.isenabled())
        return numba_compile(dispatcher, types)

    kind = type(kernel(slope))
    numba_compile = kind.compile
    patch.setattr(kind, "compile", heard)
    assert kernel(slope)(3.0) == 6.0
    assert collecting[0] is False
    assert gc.isenabled()


# --- the digest of code ---------------------------------------------------------------------------


def a_dispatcher_says_what_it_compiles(patch):
    from numba.core.registry import CPUDispatcher

    dispatcher, _, _ = compiled()
    assert type(dispatcher) is CPUDispatcher
    assert dispatcher.py_func is plain
    assert dispatcher.targetoptions["nopython"] is True
    assert isinstance(dispatcher.locals, dict)
    assert isinstance(dispatcher._compiler.pipeline_class, type)
    assert [s.args for s in dispatcher.nopython_signatures] == [(numba.int64,)]
    assert dispatcher._can_compile
    dispatcher.disable_compile()
    assert not dispatcher._can_compile


def an_intrinsic_has_its_definition(patch):
    def define(typingctx, x):
        return x(x), lambda context, builder, signature, arguments: arguments[0]

    same = extending.intrinsic(define)
    assert type(same) is extending._Intrinsic
    assert same._defn is define
    assert same._prefer_literal is False


def implementations_are_registered(patch):
    from numba.core.typing.templates import builtin_registry

    def twice(x):
        return 2 * x

    def implement(x):
        return lambda x: 2 * x

    known = len(builtin_registry.globals)
    extending.overload(twice, inline="always")(implement)
    found = [
        template
        for value, kind in builtin_registry.globals[known:]
        if value is twice
        for template in kind.templates
    ]
    (template,) = found
    assert vars(template)["_overload_func"].__func__ is implement
    assert template._inline._inline == "always"
    assert template.prefer_literal is False
    assert template.metadata.get("target", "generic") == "generic"
    assert isinstance(getattr(template, "_jit_options", {}), dict)


def instructions_are_registered(patch):
    from numba.core.typing.templates import builtin_registry

    from fastgd.compile.functions import instructions

    def same(x):
        return x

    def define(typingctx, x):
        return x(x), lambda context, builder, signature, arguments: arguments[0]

    known = len(builtin_registry.globals)
    instructions(same)(define)
    ((value, kind),) = builtin_registry.globals[known:]
    (template,) = kind.templates
    assert value is same
    assert vars(template)["_definition_func"].__func__ is define
    assert template.prefer_literal is False


def attributes_are_registered(patch):
    from numba.core.typing.templates import builtin_registry

    class Box(numba.types.Type):
        def __init__(self):
            super().__init__("Box")

    def implement(box):
        return lambda box: 3

    known = len(builtin_registry.attributes)
    extending.overload_attribute(Box, "three")(implement)
    (template,) = [t for t in builtin_registry.attributes[known:] if hasattr(t, "_attr")]
    assert template._attr == "three"
    assert vars(template)["_overload_func"].__func__ is implement


def a_type_has_a_key(patch):
    from numba.core import types

    assert types.Array(numba.float64, 2, "C").key == types.Array(numba.float64, 2, "C").key
    assert types.Omitted(3).value == 3
    one, same, other = (
        numba.typeof(np.zeros(1, [("a", kind)])[0]).key for kind in ("f8", "f8", "f4")
    )
    assert one == same != other


# --- what the processor needs ---------------------------------------------------------------------


def a_prefetch_is_compiled(patch):
    from fastgd.cpu.machine.prefetch import prefetch

    @numba.njit
    def kernel(x):
        prefetch(x, 1, 1)
        return x[1, 1]

    assert kernel(np.eye(2)) == 1.0
    assert "llvm.prefetch" in "".join(kernel.inspect_llvm().values())


def views_are_compiled(patch):
    from fastgd.cpu.machine.views import array_at, view

    @numba.njit
    def kernel(x, address):
        part, whole = view(x, 1, (2, 2)), array_at(address, (3, 2), None, np.float64)
        turned = array_at(address, (2, 3), (8, 16), np.float64)
        return part[1, 0], whole[1, 1], turned[1, 2]

    x = np.arange(6.0)
    assert kernel(x, x.ctypes.data) == kernel.py_func(x, x.ctypes.data) == (3.0, 3.0, 5.0)


def a_product_is_compiled(patch):
    from fastgd.cpu.machine.blas import multiply, product

    @numba.njit
    def kernel(blas, x):
        multiply(blas, x, 2, 2, 3, (0, 3, False), (6, 3, True), (12, 2), 2.0, 1.0)

    x, expected = np.arange(16.0), np.arange(16.0)
    kernel(product(x.dtype), x)
    kernel.py_func(0, expected)
    assert x[12:].tolist() == expected[12:].tolist() == [58.0, 77.0, 186.0, 259.0]


def attributes_of_a_function_are_a_set(patch):
    from fastgd.cpu.machine.vector_width import use_widest_vectors

    @numba.njit
    def kernel(x):
        use_widest_vectors()
        return x.sum()

    assert kernel(np.ones(2)) == 2.0
    assert '"prefer-vector-width"="512"' in "".join(kernel.inspect_llvm().values())


#: What fastgd uses, in the words of the file that does, and how it is checked.
PARTS = [
    ("compile/cache.py", "FunctionIdentity._unique_ids", functions_are_numbered_by_a_counter),
    ("compile/cache.py", "NullCache", a_dispatcher_asks_its_cache),
    ("compile/functions.py", "dispatcher._cache", a_dispatcher_asks_its_cache),
    ("compile/cache.py", "normalize_signature", a_signature_is_arguments_and_result),
    ("compile/cache.py", "CompileResultCacheImpl", compiled_code_goes_to_bytes_and_back),
    (
        "compile/cache.py",
        "from numba.core.serialize import dumps",
        compiled_code_goes_to_bytes_and_back,
    ),
    ("compile/cache.py", "rtsys.initialize", machine_code_needs_an_allocator),
    ("compile/cache.py", "entrypoints.init_all", machine_code_needs_an_allocator),
    ("compile/cache.py", "locator.get_cache_path", a_cache_has_a_folder),
    ("compile/functions.py", "fndesc.llvm_func_name", a_compiled_function_has_an_address),
    ("compile/functions.py", "cgutils.unpack_tuple", a_function_is_called_by_its_address),
    ("compile/functions.py", "infer", a_plain_function_has_instructions),
    ("compile/functions.py", "infer_global", a_plain_function_has_instructions),
    ("compile/functions.py", "make_intrinsic_template", a_plain_function_has_instructions),
    ("compile/functions.py", "context.call_conv", a_function_is_called_by_its_address),
    ("compile/functions.py", "global_compiler_lock", a_compilation_holds_a_lock),
    ("cli/compiling.py", "event.install_listener", a_compilation_is_an_event),
    ("compile/functions.py", "dispatcher.compile", a_dispatcher_compiles_by_its_method),
    ("compile/fingerprint.py", "CPUDispatcher", a_dispatcher_says_what_it_compiles),
    ("compile/fingerprint.py", "thing._can_compile", a_dispatcher_says_what_it_compiles),
    ("compile/fingerprint.py", "_compiler.pipeline_class", a_dispatcher_says_what_it_compiles),
    ("compile/fingerprint.py", "_Intrinsic", an_intrinsic_has_its_definition),
    ("compile/fingerprint.py", "thing._prefer_literal", an_intrinsic_has_its_definition),
    ("compile/fingerprint.py", "builtin_registry", implementations_are_registered),
    ("compile/fingerprint.py", "template._inline._inline", implementations_are_registered),
    ("compile/fingerprint.py", "builtin_registry.attributes", attributes_are_registered),
    ("compile/fingerprint.py", "_definition_func", instructions_are_registered),
    ("compile/fingerprint.py", "from numba.core import types", a_type_has_a_key),
    ("cpu/machine/blas.py", "cgutils.unpack_tuple", a_product_is_compiled),
    ("cpu/machine/prefetch.py", "cgutils.unpack_tuple", a_prefetch_is_compiled),
    ("cpu/machine/views.py", "cgutils.unpack_tuple", views_are_compiled),
    ("cpu/machine/views.py", "populate_array", views_are_compiled),
    (
        "cpu/machine/vector_width.py",
        "builder.function.attributes",
        attributes_of_a_function_are_a_set,
    ),
]


@pytest.mark.parametrize(("file", "part", "check"), PARTS, ids=lambda v: getattr(v, "__name__", v))
def test_a_part_of_numba_is_as_its_file_uses_it(file, part, check, monkeypatch):
    assert part in (ROOT / file).read_text(encoding="utf-8"), f"{file} no longer uses {part}"
    try:
        check(monkeypatch)
    except Exception as error:
        pytest.fail(
            f"in Numba {numba.__version__}, {part} is not as fastgd/{file} uses it: {error!r}"
        )


def private_imports(path):
    """What a file imports from modules of Numba that are not public, or under a private name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "numba":
            for alias in node.names:
                if node.module not in PUBLIC or alias.name.startswith("_"):
                    yield alias.name
        if isinstance(node, ast.Import):
            yield from (
                a.name for a in node.names if a.name.startswith("numba.") and a.name not in PUBLIC
            )


def test_what_is_private_has_a_test():
    tested = {(file, word) for file, part, _ in PARTS for word in part.replace(".", " ").split()}
    for path in ROOT.rglob("*.py"):
        file = path.relative_to(ROOT).as_posix()
        if not file.startswith("cuda/"):  # numba-cuda is another package, with a bound of its own
            for name in private_imports(path):
                assert (file, name) in tested, f"{file} imports {name} of Numba: add it to PARTS"
