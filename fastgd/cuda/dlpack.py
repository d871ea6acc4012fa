"""A DLPack capsule as the CUDA array interface, for libraries that have only the former."""

import ctypes
from typing import Any


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor, as dlpack.h lays it out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


#: DLDataTypeCode as the letters of the array interface.
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class Described:
    """The memory of `value`, with the capsule that keeps it alive.

    The capsule stays unconsumed: its own destructor gives the memory back.
    """

    def __init__(self, value: Any, stream: int | None = None):
        # To DLPack 0 is ambiguous, and 1 is the legacy default stream.
        options = {} if stream is None else {"stream": stream or 1}
        self._capsule = value.__dlpack__(**options)
        tensor = _Tensor.from_address(_pointer_of(self._capsule, b"dltensor"))
        kind, size = _KINDS.get(tensor.dtype.code), tensor.dtype.bits // 8
        if kind is None or tensor.dtype.lanes != 1:
            raise TypeError("its elements are not real numbers of a common kind")
        shape = tuple(tensor.shape[: tensor.ndim])
        strides = tuple(s * size for s in tensor.strides[: tensor.ndim]) if tensor.strides else None
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": shape,
            "strides": strides,
            "typestr": f"{'|' if size == 1 else '<'}{kind}{size}",
            "data": ((tensor.data or 0) + tensor.byte_offset, False),
            "stream": None,
        }
