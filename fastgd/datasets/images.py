"""Readers of image data: MNIST's IDX format, CIFAR-10's binary and Python batches.

The formats, as their authors describe them: IDX at https://yann.lecun.com/exdb/mnist/ (bottom of the
page), CIFAR-10 at https://www.cs.toronto.edu/~kriz/cifar.html. Every size that a file declares is
checked against its real size before memory is allocated, and a pickle is never run.
"""

import gzip
import math
import os
import pickletools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError

#: Element types of IDX by their code; the bytes are big-endian.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_DIMENSIONS = 32  # the limit of every NumPy
#: Deflate makes at most 1,032 bytes of one: a gzip file that declares more is not complete.
_DEFLATE_RATIO = 1032
_CHUNK = 1 << 20

_CIFAR_PIXELS = 3 * 32 * 32
#: A binary batch has no header: its number of images is the only check.
_CIFAR_ROWS = 10_000
_CLASSES = 10

_AGAIN = "copy or download it again"


class Images(NamedTuple):
    """Images as rows, and the class of each, one of ten.

    Attributes
    ----------
    x_train : ndarray of shape (n, pixels), float32
        One image a row, in C order, from 0 (black) to 1.
    y_train : ndarray of shape (n,), int64
        The class of each image, 0 to 9.
    x_test : ndarray of shape (m, pixels), float32
        Images to test on. m is 0 where a single file was read.
    y_test : ndarray of shape (m,), int64
        Their classes.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    r"""Read any array in the IDX format, plain or compressed with gzip.

    Parameters
    ----------
    path : str or path
        The file. Its content, not its name, shows whether it is compressed.

    Returns
    -------
    ndarray
        The array in its own shape, of dtype uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    InputError
        If the file isn't IDX, is damaged, or is shorter or longer than it declares.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastgd.datasets.images import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "labels-idx1-ubyte"
    ...     _ = file.write_bytes(b"\0\0\x08\x01" + b"\0\0\0\x03" + bytes([7, 2, 1]))
    ...     read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    path = _existing_file(path)
    size = path.stat().st_size
    with open(path, "rb") as raw:
        start = raw.read(2)
        raw.seek(0)
        if start == b"PK":
            raise InputError(f"{path} is a ZIP archive; unpack it and pass what is in it.")
        if start != b"\x1f\x8b":
            return _idx_array(path, raw, size)
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _idx_array(path, unpacked, size, size * _DEFLATE_RATIO)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path} is damaged as a gzip file ({error}); {_AGAIN}.") from None


def load_mnist(path: str | os.PathLike[str]) -> Images:
    r"""Load MNIST, or another set in its four files, such as Fashion-MNIST.

    Parameters
    ----------
    path : str or path
        The folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, or the folder that has them in
        ``MNIST/raw``, as torchvision does. A dot may stand for the second hyphen
        (``train-images.idx3-ubyte``), and each file may be compressed (``.gz``); of a plain and a
        compressed one the plain one is read. Or one file of images, with its labels in the same folder.

    Returns
    -------
    Images
        ``x_train`` of shape (60000, 784) and ``x_test`` of shape (10000, 784), for images of 28×28
        pixels row by row; 0 is background, 1 is ink. One file of images comes back as ``x_train``
        and ``y_train``.

    Raises
    ------
    InputError
        If a file is missing in the folder, foreign, truncated or too long, if images and labels
        differ in number, or if a label is not 0 to 9.
    FileNotFoundError
        If there is no such folder or file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastgd.datasets.images import load_mnist
    >>> with tempfile.TemporaryDirectory() as folder:  # one image of 2×2 pixels
    ...     images = Path(folder) / "train-images-idx3-ubyte"
    ...     size = b"\0\0\0\x01" + b"\0\0\0\x02" + b"\0\0\0\x02"
    ...     _ = images.write_bytes(b"\0\0\x08\x03" + size + bytes([0, 255, 51, 0]))
    ...     labels = Path(folder) / "train-labels-idx1-ubyte"
    ...     _ = labels.write_bytes(b"\0\0\x08\x01" + b"\0\0\0\x01" + bytes([7]))
    ...     digits = load_mnist(images)
    >>> digits.x_train, digits.y_train
    (array([[0. , 1. , 0.2, 0. ]], dtype=float32), array([7]))
    """
    path = _existing(path)
    if not path.is_dir():
        base, found, _ = path.name.rpartition("images")
        if not found:
            raise InputError(
                f"{path}: the name of a file of images has 'images' in it, as in "
                "train-images-idx3-ubyte; pass such a file, or the folder."
            )
        x, y = _mnist_pair(path, _mnist_file(path.parent, f"{base}labels", 1))
        return Images(x, y, np.empty((0, x.shape[1]), x.dtype), np.empty(0, y.dtype))

    below = path / "MNIST" / "raw"
    folder = path if any(_mnist_files(path)) or not below.is_dir() else below
    if not any(_mnist_files(folder)):
        raise InputError(
            f"{path} holds none of MNIST's files; expected train-images-idx3-ubyte and three more, "
            "there or in MNIST/raw below it."
        )
    # All four must exist before the first is read.
    train, test = (
        (_mnist_file(folder, f"{part}-images", 3), _mnist_file(folder, f"{part}-labels", 1))
        for part in ("train", "t10k")
    )
    x_train, y_train = _mnist_pair(*train)
    x_test, y_test = _mnist_pair(*test)
    if x_train.shape[1] != x_test.shape[1]:
        raise InputError(
            f"{train[0]} has images of {x_train.shape[1]} pixels and {test[0]} of "
            f"{x_test.shape[1]}; the two are not of one data set."
        )
    return Images(x_train, y_train, x_test, y_test)


def load_cifar10(path: str | os.PathLike[str]) -> Images:
    """Load CIFAR-10, from its binary or its Python version.

    Parameters
    ----------
    path : str or path
        The folder of ``data_batch_1`` to ``data_batch_5`` and ``test_batch`` (with ``.bin`` at the
        end of each for the binary version), or the folder that has them in
        ``cifar-10-batches-py`` or ``cifar-10-batches-bin``. Or one batch: a name that ends in
        ``.bin`` is a binary one. The Python version is a pickle; it is not run, only arrays,
        lists, numbers and text are read from it, and anything else is refused.

    Returns
    -------
    Images
        ``x_train`` of shape (50000, 3072) and ``x_test`` of shape (10000, 3072), 700 MB: the red
        channel's 32×32 pixels row by row, then the green, then the blue. One batch comes back as
        ``x_train`` and ``y_train``.

    Raises
    ------
    InputError
        If a batch is missing in the folder, foreign, truncated or too long, if the folder has both
        versions, or if a label is not 0 to 9.
    FileNotFoundError
        If there is no such folder or file.

    Examples
    --------
    >>> import pickle
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fastgd.datasets.images import load_cifar10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "data_batch_1"
    ...     batch = {b"data": np.full((2, 3072), 51, np.uint8), b"labels": [3, 8]}
    ...     _ = file.write_bytes(pickle.dumps(batch, protocol=2))
    ...     cifar = load_cifar10(file)
    >>> cifar.x_train[0, 0], cifar.x_train.shape, cifar.y_train
    (np.float32(0.2), (2, 3072), array([3, 8]))
    """
    path = _existing(path)
    if not path.is_dir():
        x, y = _joined([_cifar_batch(path)])
        return Images(x, y, np.empty((0, x.shape[1]), x.dtype), np.empty(0, y.dtype))

    places = [
        (folder, end)
        for end, name in (("", "cifar-10-batches-py"), (".bin", "cifar-10-batches-bin"))
        for folder in (path, path / name)
        if any((folder / f"{batch}{end}").exists() for batch in ("data_batch_1", "test_batch"))
    ]
    if not places:
        raise InputError(
            f"{path} holds none of CIFAR-10's batches; expected data_batch_1 or data_batch_1.bin "
            "and five more, there or in cifar-10-batches-py or cifar-10-batches-bin below it."
        )
    if len(places) > 1:
        shown = " and ".join(str(folder / f"data_batch_1{end}") for folder, end in places)
        raise InputError(f"{path} holds CIFAR-10 more than once ({shown}); pass the folder of one.")
    ((folder, end),) = places
    names = [*(f"data_batch_{number}{end}" for number in range(1, 6)), f"test_batch{end}"]
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)}; CIFAR-10 is six batches.")
    *train, test = [_cifar_batch(folder / name) for name in names]
    return Images(*_joined(train), *_joined([test]))


# Files


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    return path


def _existing_file(path: str | os.PathLike[str]) -> Path:
    path = _existing(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise InputError(f"{path} is {what}; a file is expected there.")
    return path


def _check_labels(path: Path, labels: np.ndarray) -> np.ndarray:
    """Labels as int64; the first that is out of range is named."""
    bad = np.flatnonzero((labels < 0) | (labels >= _CLASSES))
    if bad.size:
        raise InputError(
            f"{path}: label {bad[0]} (counted from 0) is {labels[bad[0]]}; expected 0 to "
            f"{_CLASSES - 1}."
        )
    return labels.astype(np.int64)


# IDX: two zero bytes, a type, the number of dimensions, each dimension in four bytes, the elements.


def _idx_array(path: Path, file: Any, size: int, most: int | None = None) -> np.ndarray:
    """The array of an open file of `size` bytes, or of one that unpacks to `most` bytes at most."""
    magic = file.read(4)
    if len(magic) < 4:
        raise InputError(f"{path} has {len(magic)} bytes, too few for an IDX file; {_AGAIN}.")
    if magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 1 <= magic[3] <= _IDX_DIMENSIONS:
        raise InputError(
            f"{path} is not an IDX file: it starts with the bytes {magic.hex(' ')}; expected 00 00, "
            f"a type (08, 09, 0b to 0e) and a number of dimensions (01 to {_IDX_DIMENSIONS:02x})."
        )
    dtype, ndim = np.dtype(_IDX_TYPES[magic[2]]), magic[3]
    header = file.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise InputError(
            f"{path} ends at byte {4 + len(header)}, within its header of {4 + 4 * ndim} bytes; "
            f"{_AGAIN}."
        )
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    wanted = math.prod(shape) * dtype.itemsize
    start = 4 + 4 * ndim
    form = f"{'×'.join(map(str, shape))} elements of {dtype.name}, {start + wanted} bytes in all"
    if wanted > (size - start if most is None else most):
        where = f"ends at byte {size}" if most is None else "is too short"
        raise InputError(f"{path} {where}, but declares {form}; {_AGAIN}.")

    if most is None:
        content, extra = np.fromfile(file, dtype, math.prod(shape)), size > start + wanted
    else:
        buffer = bytearray()
        while len(buffer) < wanted and (chunk := file.read(min(_CHUNK, wanted - len(buffer)))):
            buffer += chunk
        # Asking for one byte more also has gzip verify its checksum at the end.
        content, extra = np.frombuffer(buffer, np.uint8), bool(file.read(1))
    if content.nbytes < wanted:
        raise InputError(
            f"{path} unpacks to {start + content.nbytes} bytes, but declares {form}; {_AGAIN}."
        )
    if extra:
        raise InputError(f"{path} goes on after byte {start + wanted}, but declares {form}.")
    try:
        content = content.view(dtype).reshape(shape)
    except ValueError:  # 0 × 4 billion × 4 billion × …
        raise InputError(f"{path} declares {form}, a shape that no array can have.") from None
    return content.astype(dtype.newbyteorder("="), copy=False)


def _mnist_files(folder: Path) -> Iterator[Path]:
    """The files and folders with a name of MNIST's in a folder."""
    return (
        folder / f"{part}-{what}{hyphen}idx{ndim}-ubyte{end}"
        for part in ("train", "t10k")
        for what, ndim in (("images", 3), ("labels", 1))
        for hyphen in "-."
        for end in ("", ".gz")
        if (folder / f"{part}-{what}{hyphen}idx{ndim}-ubyte{end}").exists()
    )


def _mnist_file(folder: Path, stem: str, ndim: int) -> Path:
    """The one file of that name; unpacking may have made a folder of the same name."""
    names = [folder / f"{stem}{hyphen}idx{ndim}-ubyte" for hyphen in "-."]
    for end in ("", ".gz"):
        paths = [name.with_name(name.name + end) for name in names]
        files = [path for path in paths if path.is_file()]
        if len(files) > 1:
            raise InputError(f"{folder} holds both {files[0].name} and {files[1].name}; keep one.")
        if files:
            return files[0]
    folders = [name for name in names if name.is_dir()]
    if folders:
        raise InputError(f"{folders[0]} is a folder; a file is expected there.")
    raise InputError(f"{folder} lacks {names[0].name} (or {names[0].name}.gz, or {names[1].name}).")


def _mnist_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, pixels) from 0 to 1 and their labels (n,), from two files."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, what, ndim in (
        (images_path, images, "images", 3),
        (labels_path, labels, "labels", 1),
    ):
        if array.ndim != ndim or array.dtype != np.uint8:
            raise InputError(
                f"{path} holds {array.dtype} in {array.ndim} dimension(s); {what} are uint8 in "
                f"{ndim}."
            )
    if len(images) != len(labels):
        raise InputError(
            f"{images_path} holds {len(images)} images and {labels_path} {len(labels)} labels; "
            "the numbers must be equal."
        )
    if not images.size:
        raise InputError(f"{images_path} holds no image (its shape is {images.shape}).")
    y = _check_labels(labels_path, labels)
    return np.divide(images.reshape(len(images), -1), np.float32(255)), y


# CIFAR-10


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Batches of bytes as one pair of x in 0…1 and y."""
    x = np.empty((sum(len(labels) for _, labels in batches), _CIFAR_PIXELS), np.float32)
    start = 0
    for pixels, labels in batches:
        np.divide(pixels, np.float32(255), out=x[start : start + len(labels)])
        start += len(labels)
    return x, np.concatenate([labels for _, labels in batches])


def _cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3072) as bytes and checked labels."""
    path = _existing_file(path)
    return (_binary_batch if path.suffix == ".bin" else _python_batch)(path)


def _binary_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Records of one byte for the label and 3,072 for the pixels."""
    size, wanted = path.stat().st_size, _CIFAR_ROWS * (1 + _CIFAR_PIXELS)
    if size != wanted:
        raise InputError(
            f"{path} has {size} bytes; a binary batch of CIFAR-10 has {wanted} ({_CIFAR_ROWS} images "
            f"of {1 + _CIFAR_PIXELS}). Where it was cut off, {_AGAIN}."
        )
    records = np.fromfile(path, np.uint8).reshape(_CIFAR_ROWS, 1 + _CIFAR_PIXELS)
    return records[:, 1:], _check_labels(path, records[:, 0])


def _python_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dictionary with the pixels under 'data' and a list under 'labels'."""
    with open(path, "rb") as file:
        if file.read(1) != b"\x80":  # before all of it is read
            raise InputError(
                f"{path} is not a Python batch of CIFAR-10: that would start with the byte 80. Unpack "
                "archives; a binary batch is called data_batch_1.bin."
            )
    batch = _unpickled(path, path.read_bytes())
    if not isinstance(batch, dict) or not {"data", "labels"} <= batch.keys():
        names = ", ".join(repr(name)[:30] for name in [*batch][:8]) if type(batch) is dict else ""
        raise InputError(
            f"{path} is not a Python batch of CIFAR-10: expected a dictionary with 'data' and "
            f"'labels', found {f'one with {names}' if names else 'none'}."
        )
    data, labels = batch["data"], batch["labels"]
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(f"{path}: 'labels' is not a list of whole numbers.")
    if not isinstance(data, _Array) or data.shape != (len(labels), _CIFAR_PIXELS) or not labels:
        found = f"an array of shape {data.shape}" if isinstance(data, _Array) else "no array"
        raise InputError(
            f"{path}: 'data' is {found:.100}; expected ({len(labels) or 'n'}, {_CIFAR_PIXELS}), a row "
            f"for each of the {len(labels)} labels."
        )
    if len(data.buffer) != len(labels) * _CIFAR_PIXELS:
        raise InputError(
            f"{path}: 'data' has {len(data.buffer)} bytes, but declares "
            f"{len(labels)}×{_CIFAR_PIXELS}; {_AGAIN}."
        )
    try:
        content = data.buffer.encode("latin-1") if type(data.buffer) is str else data.buffer
    except UnicodeEncodeError:
        raise InputError(f"{path}: 'data' is text and not bytes; {_AGAIN}.") from None
    order: Any = "F" if data.fortran else "C"
    pixels = np.frombuffer(content, np.uint8).reshape(data.shape, order=order)
    # Objects first, as a number beyond int64 would not fit.
    return pixels, _check_labels(path, np.array(labels, dtype=object))


# A pickle is a program for a small stack machine, which may call any function. This one is never run:
# its instructions are read one by one, and those that a batch needs build plain values.
#
# `pickle.Unpickler` with a whitelist in `find_class` would be shorter, but guards only the calls. In
# CPython 3.11, 9 bytes with a memo index of 2^28 made it take 4 GiB and 13 s; 138 bytes with a key of
# nested tuples made it hash for 1 s, twice as long for every 5 bytes more. Tests have both.


class _Array:
    """The description of an array in a pickle."""

    shape: Any = None
    fortran: Any = None
    buffer: Any = None


class _Type:
    """numpy.dtype("u1"), the only one that is allowed."""


#: What a pickle may name: NumPy 1 and 2 differ in the underscore, protocol 5 in the function.
_EMPTY_ARRAY = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_FULL_ARRAY = {"numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"}
_NAMES = _EMPTY_ARRAY | _FULL_ARRAY | {"numpy ndarray", "numpy dtype", "_codecs encode"}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


def _unpickled(path: Path, content: bytes) -> Any:
    """The dictionaries, lists, tuples, numbers, text and arrays of bytes in a pickle."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    at: Any = 0
    value: Any
    items: list[Any] | tuple[Any, ...]

    def above_the_mark() -> list[Any]:
        mark = marks.pop()
        items = stack[mark:]
        del stack[mark:]
        return items

    try:
        for code, value, at in pickletools.genops(content):
            op = code.name
            if op in _VALUES:
                stack.append(value)
            elif op in ("BINPUT", "LONG_BINPUT"):
                memo[value] = stack[-1]
            elif op == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif op in ("BINGET", "LONG_BINGET"):
                stack.append(memo[value])
            elif op in _CONSTANTS:
                stack.append(_CONSTANTS[op])
            elif op in _EMPTY:
                stack.append(_EMPTY[op]())
            elif op == "MARK":
                marks.append(len(stack))
            elif op == "TUPLE":
                stack.append(tuple(above_the_mark()))
            elif op in _TUPLES:
                items = tuple(stack.pop() for _ in range(_TUPLES[op]))
                stack.append(items[::-1])
            elif op in ("APPEND", "APPENDS"):
                items = [stack.pop()] if op == "APPEND" else above_the_mark()
                stack[-1].extend(items)
            elif op in ("SETITEM", "SETITEMS"):
                items = [stack.pop(), stack.pop()][::-1] if op == "SETITEM" else above_the_mark()
                _set_items(stack[-1], items)
            elif op in ("GLOBAL", "STACK_GLOBAL"):
                name = value if op == "GLOBAL" else " ".join([stack.pop(), stack.pop()][::-1])
                if name not in _NAMES:
                    raise InputError(
                        f"{path} asks at byte {at} for {name.replace(' ', '.')[:80]!r}, which no "
                        "array needs. It was refused, nothing was run; don't open this file with "
                        "pickle, it may be malicious."
                    )
                stack.append(name)
            elif op == "REDUCE":
                arguments, name = stack.pop(), stack.pop()
                stack.append(_made(path, at, name, arguments))
            elif op == "BUILD":
                _set_state(stack.pop(), stack[-1])
            elif op == "STOP":
                (result,) = stack
            elif op not in ("PROTO", "FRAME"):
                raise InputError(
                    f"{path} has the pickle instruction {op} at byte {at}, which no batch of CIFAR-10 "
                    "needs. It was refused, nothing was run."
                )
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, Warning) as error:
        # From pickletools where bytes are missing, from above where the instructions are nonsense. A
        # backslash in a name makes pickletools warn, which is an error for who asks for that.
        raise InputError(
            f"{path} is damaged or cut off: as a pickle it can't be read on from byte {at} "
            f"({str(error)[:80]}); {_AGAIN}."
        ) from None
    if at + 1 != len(content):
        raise InputError(f"{path} goes on after byte {at + 1}, where its pickle ends; {_AGAIN}.")
    return result


def _set_items(target: Any, items: Sequence[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Text only: to hash tuples of tuples of tuples can take forever.
        if type(target) is not dict or not isinstance(key, str | bytes):
            raise TypeError("a dictionary's key is not text")
        target[key if isinstance(key, str) else key.decode("latin-1")] = value


def _made(path: Path, at: int, name: Any, arguments: Any) -> Any:
    """The result of a call of one of the names, as far as needed."""
    if not isinstance(name, str):  # nor can it be looked up: tuples of tuples, as above
        raise TypeError("a call of what can't be called")
    if name == "_codecs encode":  # bytes as text: how Python 3 writes them in protocol 2
        text, coding = arguments
        if coding != "latin1":
            raise ValueError(f"text in {coding}")
        return text
    if name == "numpy dtype":
        kind = arguments[0]
        if not isinstance(kind, str):
            raise TypeError("a type that isn't text")
        if kind not in ("u1", "|u1"):
            raise InputError(
                f"{path} has an array of type {kind[:30]!r} at byte {at}; only bytes ('u1') are read."
            )
        return _Type()
    array = _Array()
    if name in _FULL_ARRAY:
        array.buffer, dtype, array.shape, order = arguments
        array.fortran = order == "F"
        _check_state(array, dtype)
    elif name not in _EMPTY_ARRAY:
        raise TypeError("a call of what can't be called")
    return array


def _set_state(state: Any, target: Any) -> None:
    if isinstance(target, _Array):
        _, target.shape, dtype, target.fortran, target.buffer = state
        _check_state(target, dtype)
    elif not isinstance(target, _Type):
        raise TypeError("a state for what has none")


def _check_state(array: _Array, dtype: Any) -> None:
    whole = isinstance(array.shape, tuple) and all(type(length) is int for length in array.shape)
    if not (
        whole and isinstance(dtype, _Type) and isinstance(array.buffer, str | bytes | bytearray)
    ):
        raise TypeError("an array's state")
