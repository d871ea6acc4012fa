"""`prefetch(x, i, line)`: ask for a cache line of row i before its use.

A pass reads a block of rows from memory once and from the first-level cache the second time, while the
memory is idle. Prefetching the next block during both took a pass over 1e6×32 by two threads from 22 to
26 GB/s in float64 and from 19 to 28 in float32 (a bare sum: 33). An address beyond the array is
harmless: a prefetch never faults.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ...compile.functions import instructions

#: Bytes that one prefetch brings.
LINE = 64
#: The hardware's own prefetcher follows rows longer than this; ours only costs there.
LONGEST_ROW = 2048


def prefetch(x, i, line):
    """Ask for `LINE` bytes from row i of x (n,) or (n, d) on, in C order; in plain Python nothing."""


@instructions(prefetch)
def _prefetch(typingctx, x, i, line):
    def codegen(context, builder, signature, arguments):
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, arguments[0])
        row = builder.mul(arguments[1], cgutils.unpack_tuple(builder, array.strides)[0])
        # A multiple of a constant, so that several of them are one instruction each.
        place = builder.add(row, builder.mul(arguments[2], ir.Constant(ir.IntType(64), LINE)))
        pointer = builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [place])
        byte, number = ir.PointerType(), ir.IntType(32)
        signature_of_it = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(
            builder.module, signature_of_it, "llvm.prefetch.p0"
        )
        # For reading, into all levels of the data cache.
        settings = [ir.Constant(number, value) for value in (0, 3, 1)]
        builder.call(function, [pointer, *settings])
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64), codegen
