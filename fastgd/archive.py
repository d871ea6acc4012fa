"""The file of a fit: a ZIP archive of .npy arrays, stored as numpy.savez does, without pickles.

A table of members describes each array. `save` and `load` both check it, so that every saved file can be
loaded. The archive is not compressed, so that loaded arrays are no larger than the file; but of a large
array of which most numbers are 0, the others are stored (see `_SPARSE`).
"""

import contextlib
import io
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .arguments import is_value
from .errors import InputError
from .losses import CLASSES, LOSSES
from .losses import LABELS as LABEL_TARGETS

#: Version of the format, a member of every file; those of fastgd before it had none.
FORMAT = 4
#: Members by the version of the format that added them; they are None in fits from older files.
_CAME_WITH = {"feature_names": 2}

REAL = (np.float32, np.float64)
INTEGER = (np.int32, np.int64)
FLAG = (np.bool_,)
TEXT = (np.str_,)
LABELS = (np.number, np.bool_, np.character, np.datetime64)

#: The prefix of the members that hold the state of a solver, arrays of any shape.
_STATE = "state."
#: Prefixes of the three members that stand for one array: the places of the numbers that are not 0, in
#: C order and increasing; these numbers; and the shape.
_SPARSE = "sparse.at.", "sparse.values.", "sparse.shape."
#: From how many numbers on, and up to how many in all the arrays of a file: 512 MB.
_LEAST_SPARSE, _MOST_SPARSE = 1 << 12, 1 << 26
#: The array that stands for None.
_NONE = np.empty(0, dtype="V1")
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>|][biufcmMUSV]\d+(?:\[\w+\])?)', "
    rb"'fortran_order': (False|True), 'shape': \(((?:\d+, ?)*\d*)\), \} *\n",
    re.DOTALL,
)


class Member(NamedTuple):
    """The description of one attribute of a fit as an array.

    Parameters
    ----------
    types : tuple of types
        NumPy's scalar types that its dtype may have.
    shape, or_shape : tuple of int
        The shapes that it may have.
    optional : bool
        It may be None.
    finite : bool
        It holds no NaN and no infinity.
    among : container, optional
        The values that it may have.
    """

    types: tuple[type, ...]
    shape: tuple[int, ...] = ()
    or_shape: tuple[int, ...] | None = None
    optional: bool = False
    finite: bool = False
    among: Container[Any] | None = None


#: Attributes as arrays by name, None where an attribute is None.
Arrays = Mapping[str, np.ndarray | None]
Table = Mapping[str, Member]


def shape(arrays: Arrays, name: str) -> tuple[int, ...]:
    """The shape of a member with each size at least 1; () where it is None or missing."""
    return tuple(max(1, size) for size in np.shape(arrays.get(name)))  # type: ignore[arg-type]


def of_every_fit(arrays: Arrays, n_labels: int) -> dict[str, Member]:
    """The members that fits of every kind have; of one on labels, there are `n_labels` of them."""
    epochs = _size(arrays, "costs")
    history = Member(REAL, (epochs,))
    known = LOSSES.get(str(arrays.get("loss")))
    on_labels = known is not None and known.targets in (LABEL_TARGETS, CLASSES)
    on_targets = known is not None and not on_labels
    return {
        "costs": history,
        "cost": Member(REAL, finite=epochs > 0),
        "n_epochs": Member(INTEGER, among=(epochs,)),
        "converged": Member(FLAG),
        "method": Member(TEXT),
        "loss": Member(TEXT),
        "classes": Member(() if on_targets else LABELS, (n_labels,), optional=not on_labels),
        "lrs": history,
        "validation_costs": history._replace(optional=True),
        "best_epoch": Member(
            INTEGER, optional=not _size(arrays, "validation_costs"), among=range(epochs + 1)
        ),
    }


def _size(arrays: Arrays, name: str) -> int:
    array = arrays.get(name)
    return 0 if array is None else array.size


def split_state(arrays: Arrays) -> tuple[Arrays, dict[str, np.ndarray] | None]:
    """The members of a fit without the state of its solver, and that state."""
    state = {n[len(_STATE) :]: a for n, a in arrays.items() if n.startswith(_STATE)}
    if any(array is None for array in state.values()):
        raise ValueError("an array of the solver's state is None")
    return {n: a for n, a in arrays.items() if not n.startswith(_STATE)}, state or None  # type: ignore[return-value]


def attributes(arrays: Arrays, table: Table) -> dict[str, Any]:
    """The arrays as a fit holds them, or ValueError; without axes they are numbers or text."""
    if odd := sorted(arrays.keys() ^ table.keys()):
        raise ValueError(f"missing, or not of a fit: {', '.join(odd)}")
    return {name: _attribute(name, arrays[name], member) for name, member in table.items()}


def _attribute(name: str, array: np.ndarray | None, member: Member) -> Any:
    if array is None:
        if not member.optional:
            raise ValueError(f"{name} is None")
        return None
    if not issubclass(array.dtype.type, member.types):
        raise ValueError(f"{name} has dtype {array.dtype}")
    if array.shape not in (member.shape, member.or_shape):
        raise ValueError(f"{name} has shape {array.shape}; expected {member.shape}")
    if member.finite and not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite")
    if array.ndim:
        return array
    value = array.item()
    if member.among is not None and value not in member.among:
        raise ValueError(f"{name} is {value!r}, which does not fit the other members")
    return value


def as_text(categories: Mapping[str, Any] | None, features: Any) -> str | None:
    """Values of columns, by their names, as JSON; `features` are the names that a fit has.

    Raises
    ------
    InputError
        If they are no text, numbers or booleans, or of other features.
    """
    if not categories:
        return None
    try:
        text = json.dumps({name: list(values) for name, values in categories.items()})
        of_text(text, features)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the fit can't be saved: its categories: {error}.") from error
    return text


def of_text(text: str | None, features: Any) -> dict[str, tuple[Any, ...]] | None:
    """The inverse of `as_text`, or ValueError."""
    if text is None:
        return None
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(v, list) and v for v in found.values()):
        raise ValueError("categories are no values by name")
    for name, values in found.items():
        for value in values:
            if not is_value(value):
                raise ValueError(f"{value!r} is among the categories")
        for value in values[1:]:
            if f"{name}={value}" not in (() if features is None else features):
                raise ValueError(f"no feature is {name}={value}")
    return {name: tuple(values) for name, values in found.items()}


# --- writing --------------------------------------------------------------------------------------


def save(
    target: Any,
    values: Mapping[str, Any],
    table_of: Callable[[Arrays], Table],
    state: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the attributes of a fit, and the state of its solver, to a path or to an open file."""
    try:
        arrays = {name: None if v is None else np.asarray(v) for name, v in values.items()}
        classes = arrays["classes"]
        if classes is not None and classes.dtype.hasobject:
            raise InputError("the labels are Python objects; fit on text or numbers to save.")
        attributes(arrays, table_of(arrays))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the fit can't be saved: {error}.") from error
    if isinstance(target, io.TextIOBase):
        raise InputError("the file is open for text; open it for bytes, with mode 'wb'.")
    opened = contextlib.nullcontext(target) if hasattr(target, "write") else replaced(target)
    with opened as file, zipfile.ZipFile(file, "w") as archive:
        of_solver = {f"{_STATE}{name}": array for name, array in (state or {}).items()}
        members = {"format": np.array(FORMAT), **_without_zeros({**arrays, **of_solver})}
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                array = _NONE if array is None else array
                np.lib.format.write_array(member, array, (1, 0), allow_pickle=False)


def _without_zeros(arrays: Arrays) -> Arrays:
    """The members of a file for arrays: three, see `_SPARSE`, for each of which most numbers are 0."""
    members: dict[str, np.ndarray | None] = {}
    room = _MOST_SPARSE
    for name, array in arrays.items():
        at = None if array is None or array.size > room else _places_of_few(array)
        if array is None or at is None:
            members[name] = array
            continue
        parts = at.astype(np.int32), array.ravel()[at], np.array(array.shape, np.int64)
        members |= {f"{prefix}{name}": part for prefix, part in zip(_SPARSE, parts, strict=True)}
        room -= array.size
    return members


def _places_of_few(array: np.ndarray) -> np.ndarray | None:
    """The places of the numbers of a large array that are not 0; None where more than a third are."""
    if array.size < _LEAST_SPARSE or array.dtype not in REAL or not array.flags.c_contiguous:
        return None
    bits = array.ravel().view(f"u{array.itemsize}")  # a negative zero is kept
    return np.flatnonzero(bits) if 3 * np.count_nonzero(bits) <= bits.size else None


@contextlib.contextmanager
def replaced(target: Any) -> Iterator[Any]:
    """A new file that replaces the one at a path when it is complete and on the disk.

    After a failure the old file is unchanged. A link stays a link, to the new file.
    """
    path = os.path.realpath(_path(target))
    folder = os.path.dirname(path)
    new = os.path.join(folder, f".fastgd-{os.urandom(8).hex()}.tmp")
    old = None
    if os.path.lexists(path):
        _require_regular(path)
        with open(path, "rb+") as file:  # refused where the old file is read-only
            old = os.fstat(file.fileno())
    try:
        with open(new, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if old:
            with contextlib.suppress(OSError, AttributeError):  # Windows has no owners
                os.chown(new, old.st_uid, old.st_gid)
            os.chmod(new, stat.S_IMODE(old.st_mode))
        os.replace(new, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(new)
        if isinstance(error, OSError) and error.filename == new:
            error.filename = path
        raise
    with contextlib.suppress(OSError):  # some systems can't open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _path(target: Any) -> str:
    try:
        path = os.fsdecode(target)
    except TypeError:
        raise InputError(
            f"the file is of type {type(target).__name__}; pass a path, or a file open for bytes."
        ) from None
    if "\0" in path:
        raise InputError(f"the path {path!r} holds a null character.")
    return path


def _require_regular(path: str) -> None:
    """Refuse files that can block or have an effect when opened, such as a pipe or a device."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise InputError(f"{path} is not a regular file; open it yourself and pass the open file.")


# --- reading --------------------------------------------------------------------------------------


def load(source: Any, fit_of: Callable[[Arrays], Any]) -> Any:
    """The fit that `fit_of` makes of the arrays in a file: at a path, or open for reading bytes."""
    with _opened(source) as file:
        name = "the file" if hasattr(source, "read") else _path(source)
        try:
            return fit_of(_arrays(file, name))
        except (InputError, MemoryError):
            raise
        except Exception as error:  # damaged bytes raise errors of many kinds
            raise InputError(f"{name} is not a saved fit ({error}).") from error


def _opened(source: Any) -> Any:
    if not hasattr(source, "read"):
        path = _path(source)
        _require_regular(path)
        return open(path, "rb")
    data = source.read()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InputError("the file is open for text; open it for bytes, with mode 'rb'.")
    return io.BytesIO(data)


def _arrays(file: Any, name: str) -> dict[str, np.ndarray | None]:
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise ValueError("two members have one name")
        if all(entry.header_offset for entry in entries.values()):
            raise ValueError("other bytes come before it")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ValueError("a member is compressed")
        if sum(entry.file_size for entry in entries.values()) > size:
            raise ValueError("its members are larger than the file")
        version: Any = 0
        if "format" in entries:
            version = _array(archive.read(entries.pop("format")))
            if version is None or version.dtype.kind != "i" or version.ndim or version < 1:
                raise ValueError("the version of its format is not a number above 0")
            if version > FORMAT:
                raise InputError(
                    f"{name} was saved by a later version of fastgd; update fastgd to load it."
                )
        # Members are read to their end, where zipfile checks their checksum.
        arrays = {key: _array(archive.read(entry)) for key, entry in entries.items()}
    arrays = _with_zeros(arrays)
    return {name: None for name, since in _CAME_WITH.items() if version < since} | arrays


def _with_zeros(members: dict[str, np.ndarray | None]) -> dict[str, np.ndarray | None]:
    """The arrays for the members of a file: the inverse of `_without_zeros`."""
    first, room = _SPARSE[0], _MOST_SPARSE
    for name in [key[len(first) :] for key in members if key.startswith(first)]:
        at, values, shape = (members.pop(f"{prefix}{name}", None) for prefix in _SPARSE)
        if at is None or values is None or shape is None or name in members:
            raise ValueError(f"{name} is there in part, or twice")
        if not at.ndim == values.ndim == shape.ndim == 1 or len(at) != len(values):
            raise ValueError(f"the parts of {name} don't fit each other")
        if at.dtype != np.int32 or shape.dtype != np.int64 or values.dtype not in REAL:
            raise ValueError(f"the parts of {name} have other dtypes")
        sizes = shape.tolist()
        size = math.prod(sizes)
        if not sizes or min(sizes) < 0 or size > room:
            raise ValueError(f"{name} has shape {tuple(sizes)}")
        if len(at) and (at[0] < 0 or at[-1] >= size or (at[1:] <= at[:-1]).any()):
            raise ValueError(f"the places of {name} are not in order")
        array = np.zeros(size, values.dtype)
        array[at] = values
        members[name] = array.reshape(sizes)
        room -= size
    return members


def _array(data: bytes) -> np.ndarray | None:
    """The array in the bytes of a .npy file, its own copy in the byte order of the machine."""
    header = _HEADER.match(data)
    if header is None or header.end() != 10 + int.from_bytes(data[8:10], "little"):
        raise ValueError("a member has no header of a .npy file")
    dtype = np.dtype(header[1].decode())
    if dtype == _NONE.dtype:
        return None
    sizes = tuple(int(size) for size in header[3].split(b",") if size.strip())
    if math.prod(sizes) * dtype.itemsize != len(data) - header.end():
        raise ValueError("a member holds more or less than its header says")
    array = np.frombuffer(data, dtype, offset=header.end())
    if dtype.kind == "U":
        array.tolist()  # ValueError where a number is no character
    array = array.reshape(sizes, order="F" if header[2] == b"True" else "C")
    return array.astype(dtype.newbyteorder("="))
