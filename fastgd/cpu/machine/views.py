"""Arrays over memory: `view` of a part of an array, and `array_at` an address.

They are instructions: slices that are reshaped, and Numba's `carray`, take up to 0.3 s to compile.
"""

import math
import types as python_types

import numpy as np
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from ...compile.functions import instructions


def view(array, place, shape):
    """The numbers of an array in C order from its number `place` on, as an array of this shape."""
    return array.reshape(-1)[place : place + math.prod(shape)].reshape(shape)


def array_at(address, shape, strides, scalar):
    """The array of a scalar type at an address; with None for the strides, in bytes, in C order."""
    about = {"version": 3, "data": (int(address), False), "shape": shape, "strides": strides}
    about["typestr"] = np.dtype(scalar).str
    return np.asarray(python_types.SimpleNamespace(__array_interface__=about))


def _array(context, builder, kind, data, sizes, strides=None):
    """An array without an owner, of these sizes."""
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    if strides is None:
        strides = [context.get_constant(types.int64, size)]
        for n in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], n))
    array = context.make_array(kind)(context, builder)
    populate_array(array, data, sizes, strides, size, meminfo=None)
    return array._getvalue()


@instructions(view)
def _view(typingctx, array, place, shape):
    kind = types.Array(array.dtype, len(shape), "C")

    def codegen(context, builder, signature, arguments):
        given, place, shape = arguments
        data = builder.gep(context.make_array(array)(context, builder, given).data, [place])
        return _array(context, builder, kind, data, cgutils.unpack_tuple(builder, shape))

    return kind(array, types.int64, types.UniTuple(types.int64, len(shape))), codegen


@instructions(array_at)
def _array_at(typingctx, address, shape, strides, scalar):
    in_order = isinstance(strides, types.NoneType)
    kind = types.Array(scalar.dtype, len(shape), "C" if in_order else "A")
    sizes = types.UniTuple(types.int64, len(shape))

    def codegen(context, builder, signature, arguments):
        pointer = context.get_data_type(kind.dtype).as_pointer()
        data = builder.inttoptr(arguments[0], pointer)
        shape, strides = (
            None if value.type.is_pointer else cgutils.unpack_tuple(builder, value)
            for value in arguments[1:3]
        )
        return _array(context, builder, kind, data, shape, strides)

    return kind(types.int64, sizes, strides if in_order else sizes, scalar), codegen
