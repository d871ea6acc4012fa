"""The identity of compiled code: what the code reaches changes it; what can't be followed has none."""

import enum
import functools
import math
import os
import subprocess
import sys
import textwrap
import types
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.extending import intrinsic, overload, register_jitable

from fastgd.compile import fingerprint as _fingerprint
from fastgd.compile.fingerprint import UntraceableError, fingerprint
from fastgd.compile.functions import kernel

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="there is no cache without the JIT"
)


class Color(enum.IntEnum):
    RED = 1


class Pair(NamedTuple):
    a: float
    b: np.ndarray


def module(name, **values):
    made = types.ModuleType(name)
    vars(made).update(values)
    return made


def closure(value):
    def kernel(x):
        return x + value

    return kernel


def delta(of):
    def kernel(x):
        return x * of.DELTA

    return kernel


def chain(package):
    def kernel(x):
        return x * package.consts.DELTA

    return kernel


def called(consts):
    def kernel(x):
        return consts.f(x)

    return kernel


def default(value, keyword=0.0):
    def kernel(x, y=value, *, z=keyword):
        return x + y + z

    return kernel


def times(factor):
    def helper(x):
        return factor * x

    return helper


def overloaded(factor):
    def function(x):
        """Not compiled: another one stands for it."""

    @overload(function)
    def implementation(x):
        return lambda x: factor * x

    return function


def by_intrinsic(factor):
    @intrinsic
    def function(typingctx, x):
        def codegen(context, builder, signature, arguments):
            return builder.fmul(arguments[0], arguments[0].type(factor))

        return x(x), codegen

    return function


BIG, OTHER = np.zeros(5000), np.zeros(5000)
OTHER[2500] = 1.0

#: Each way to the value, with two values that look alike where a name or an abbreviated text is taken.
WAYS = {
    "number": (closure, 1.0, 2.0),
    "sign": (closure, 0.0, -0.0),
    "type": (closure, 1, 1.0),
    "dtype": (closure, np.float32(1), np.float64(1)),
    "array": (closure, BIG, OTHER),
    "shape": (closure, np.zeros((2, 3)), np.zeros((3, 2))),
    "layout": (closure, np.zeros((2, 3)), np.zeros((2, 3), order="F")),
    "tuple": (closure, (1, (2.0, BIG)), (1, (2.0, OTHER))),
    "nesting": (closure, (1, (2,)), (1, 2)),
    "named tuple": (closure, Pair(1.0, BIG), Pair(1.0, OTHER)),
    "dict": (closure, {"a": 1}, {"a": 2}),
    "member": (closure, Color.RED, enum.IntEnum("Color", "GREEN RED").RED),
    "numba type": (closure, numba.float32, numba.float64),
    "module": (delta, module("consts", DELTA=1.0), module("consts", DELTA=5.0)),
    "chain": (
        chain,
        module("package", consts=module("consts", DELTA=1.0)),
        module("package", consts=module("consts", DELTA=5.0)),
    ),
    "njit of a module": (
        called,
        module("consts", f=numba.njit(times(1.0))),
        module("consts", f=numba.njit(times(5.0))),
    ),
    "options": (
        called,
        module("consts", f=numba.njit(error_model="numpy")(times(1.0))),
        module("consts", f=numba.njit(times(1.0))),
    ),
    "register_jitable of a module": (
        called,
        module("consts", f=register_jitable(times(1.0))),
        module("consts", f=register_jitable(times(5.0))),
    ),
    "options of register_jitable": (
        called,
        module("consts", f=register_jitable(times(1.0))),
        module("consts", f=register_jitable(fastmath=True)(times(1.0))),
    ),
    "overload": (
        called,
        module("consts", f=overloaded(1.0)),
        module("consts", f=overloaded(5.0)),
    ),
    "intrinsic": (
        called,
        module("consts", f=by_intrinsic(1.0)),
        module("consts", f=by_intrinsic(5.0)),
    ),
    "function of a known module": (
        called,
        module("consts", f=math.exp),
        module("consts", f=math.expm1),
    ),
    "default": (default, 1.0, 5.0),
    "default of a keyword": (functools.partial(default, 0.0), 1.0, 5.0),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_code_reaches_counts(way):
    make, one, other = WAYS[way]
    assert fingerprint(make(one)) == fingerprint(make(one))
    assert fingerprint(make(one)) != fingerprint(make(other))


def test_flags_and_types_count():
    function = times(1.0)
    plain = fingerprint(kernel(function))
    assert plain != fingerprint(kernel(function, frozenset({"contract"})))
    assert plain != fingerprint(kernel(function), (numba.float64,))
    assert fingerprint((numba.float64[:],)) != fingerprint((numba.float64[::1],))


def test_globals_are_looked_up_as_numba_does():
    def made(**values):
        code = compile("def kernel(x): return consts.DELTA * abs(x)", "file", "exec")
        scope = {"__name__": "users", **values}
        exec(code, scope)
        return scope["kernel"]

    first = fingerprint(made(consts=module("consts", DELTA=1.0)))
    assert first == fingerprint(made(consts=module("consts", DELTA=1.0, unused=object())))
    assert first != fingerprint(made(consts=module("consts", DELTA=5.0)))
    assert first != fingerprint(made(consts=module("consts", DELTA=1.0), abs=times(2.0)))


def test_an_attribute_is_not_a_global_of_the_same_name():
    scope = {"__name__": "users", "shape": object()}
    exec("def kernel(x): return x.shape", scope)
    assert fingerprint(scope["kernel"])


def itself(n):
    return 1 if n == 0 else n * itself(n - 1)


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n > 0 and even(n - 1)


def early(x):
    return not_there_yet(x)  # noqa: F821


def importing(x):
    from math import exp

    return exp(x)


def whole(consts):
    def kernel(x):
        here = consts
        return here.DELTA * x

    return kernel


def test_a_function_may_call_itself():
    assert fingerprint(itself) == fingerprint(itself)


@pytest.mark.parametrize(
    "function",
    [
        closure(object()),
        closure(np.array([object()])),
        closure(os.environ),
        closure(numba.types.pyobject),
        delta(module("consts")),
        whole(module("consts", DELTA=1.0)),
        even,
        early,
        importing,
    ],
    ids=["object", "objects", "instance", "type", "missing", "module", "mutual", "early", "import"],
)
def test_what_cannot_be_followed_has_none(function):
    with pytest.raises(UntraceableError):
        fingerprint(function)


def test_a_function_that_changed_in_the_process_has_none():
    """Numba may have compiled it with the value before, and takes that one."""
    consts = module("consts", DELTA=1.0)
    kernel = delta(consts)
    first = fingerprint(kernel)
    consts.DELTA = 5.0
    with pytest.raises(UntraceableError):
        fingerprint(kernel)
    consts.DELTA = 1.0
    assert fingerprint(kernel) == first


def test_a_file_named_as_a_module_of_python_is_followed(tmp_path):
    code = """
        import statistics
        from fastgd.compile.fingerprint import fingerprint
        print(fingerprint(statistics.kernel))
    """
    digests = []
    for factor in "12":
        tmp_path.joinpath("statistics.py").write_text(f"def kernel(x): return {factor} * x")
        digests += printed(code, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert digests[0] != digests[1]


def printed(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=os.environ | environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_process_finds_the_same():
    code = """
        import numba
        from fastgd import losses
        from fastgd.cpu import dense, elementwise, stochastic
        from fastgd.mlp import layers, network
        from fastgd.compile.fingerprint import fingerprint
        def kernel(x):
            return x in {"red", "green", "blue", "white"}
        print(fingerprint(kernel))
        print(fingerprint(stochastic.per_sample(losses.LOSSES["bce"], False)))
        print(fingerprint(layers.activate("tanh"), (numba.float32[:, ::1],)))
        print(fingerprint(network.updates))
    """
    found = printed(code, PYTHONHASHSEED="1")
    assert len(set(found)) == 4
    assert found == printed(code, PYTHONHASHSEED="2")


def test_code_is_read_as_python_runs_it():
    def kernel(x):
        return [math.exp(i) + types.ModuleType.__name__.x for i in x] + WAYS.a.b

    reads = [
        read for code in (kernel.__code__, *inner(kernel)) for read in _fingerprint._read(code)[1]
    ]
    assert ("math", False, "exp") in reads
    assert ("types", False, "ModuleType", "__name__", "x") in reads
    assert ("WAYS", False, "a", "b") in reads


def inner(function):
    return [c for c in function.__code__.co_consts if isinstance(c, types.CodeType)]
