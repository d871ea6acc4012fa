"""Loads of 16 bytes: Numba never emits them by itself, and they halve the instructions of a pass."""

import functools
from typing import Any

from numba.extending import register_jitable

from .driver import SIMULATED

if SIMULATED:

    def _elements(x, at, count):
        if x.ndim == 1:
            return [x[at + i] for i in range(count)]
        d = x.shape[1]
        return [x[(at + i) // d, (at + i) % d] for i in range(count)]

    def _load1(x, at):
        return _elements(x, at, 1)

    def _load2(x, at):
        return _elements(x, at, 2)

    def _load4(x, at):
        return _elements(x, at, 4)

else:
    from llvmlite import ir
    from numba.core import types
    from numba.cuda.extending import intrinsic

    def _vector_load(count: int) -> Any:
        @intrinsic
        def load(typingctx, x, at):
            def codegen(context, builder, signature, arguments):
                array_type, at_type = signature.args
                array = context.make_array(array_type)(context, builder, arguments[0])
                index = context.cast(builder, arguments[1], at_type, types.int64)
                number = context.get_data_type(array_type.dtype)
                pointer = builder.gep(array.data, [index])
                if count > 1:
                    kind = ir.VectorType(number, count)
                    pointer = builder.bitcast(pointer, kind.as_pointer())
                vector = builder.load(pointer)
                vector.align = min(16, count * array_type.dtype.bitwidth // 8)
                parts = [vector]
                if count > 1:
                    lanes = [ir.Constant(ir.IntType(32), lane) for lane in range(count)]
                    parts = [builder.extract_element(vector, lane) for lane in lanes]
                return context.make_tuple(builder, signature.return_type, parts)

            return types.UniTuple(x.dtype, count)(x, at), codegen

        return load

    _load1, _load2, _load4 = _vector_load(1), _vector_load(2), _vector_load(4)


def _fetch1(x, at, held, place):
    held[place] = _load1(x, at)[0]


def _fetch2(x, at, held, place):
    a, b = _load2(x, at)
    held[place], held[place + 1] = a, b


def _fetch4(x, at, held, place):
    a, b, c, d = _load4(x, at)
    held[place], held[place + 1], held[place + 2], held[place + 3] = a, b, c, d


@functools.cache
def fetch(vector: int):
    """A function ``(x, at, held, place)`` for kernels that loads `vector` neighbouring elements.

        name   dir     shape     meaning
        x      IN      any       an array in C order
        at     IN      int       number of the first element; 16-byte aligned if `vector` > 1
        held   OUT     local     held[place], held[place + 1], … are the elements
        place  IN      int       place of the first one

    `vector` is 1, or the number of elements in 16 bytes.
    """
    return register_jitable(forceinline=True)({1: _fetch1, 2: _fetch2, 4: _fetch4}[vector])
