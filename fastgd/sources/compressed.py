"""Sparse data of any kind as checked rows in SciPy's CSR format.

A matrix may come from a file, and SciPy's conversions and fastgd's kernels read the memory that its
index arrays name. So they are checked first, at every call, whatever flags the matrix carries.
"""

from __future__ import annotations

import functools
from typing import Any, NoReturn

import numpy as np

from .. import inputs
from ..errors import InputError

__all__ = ["Columns", "as_dense", "compressed", "is_sparse", "rows_or_columns", "rows_to_predict"]

is_sparse = inputs.is_sparse

_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)
_NOT_NUMBERS = {
    "c": "is complex; take its real part, or stack real and imaginary parts",
    "O": "holds Python objects; convert it to numbers first, as in {}.astype(float)",
}
#: Entries that are looked at together, where a wrong one is searched for.
_SEARCHED = 1 << 20
#: The names of what rows and columns are in an index array of CSR and of CSC.
_CSR, _CSC, _BSR = ("row", "column"), ("column", "row"), ("block row", "block column")


def compressed(x: Any, name: str = "x") -> Any:
    """Sparse data as a checked CSR matrix or array of SciPy, without a copy where possible.

    Parameters
    ----------
    x : sparse matrix or array of SciPy, or pandas frame with a sparse column
        Any for which `is_sparse` is true. It stays as it is, flags included.
    name : str
        The name of x in messages.

    Returns
    -------
    csr_matrix or csr_array (n, d)
        x itself where it is one that can be read as it is. Its `data` (float32, float64, bool or an
        integer type), `indices` and `indptr` (both int32 or both int64) are contiguous and in the byte
        order of the machine, and as long as it has entries; the indices of each row increase.
        Explicit zeros stay, duplicates are summed, and an array of shape (n,) is one column.

    Raises
    ------
    InputError
        If x holds what are not real numbers, has no row or column, or if its index arrays contradict
        each other; the first wrong entry is named.
    """
    found = rows_or_columns(x, name)
    return found.rows if isinstance(found, Columns) else found


def as_dense(rows: Any, dtype: Any = np.float64) -> np.ndarray:
    """A copy of some rows, dense or sparse, as an array of a dtype in C order."""
    if is_sparse(rows):
        return np.asarray(rows.toarray().astype(dtype, copy=False))
    return np.array(rows, dtype, order="C")


def rows_or_columns(x: Any, name: str = "x") -> Any:
    """As `compressed`, but CSC that can be read as it is becomes `Columns`, and no row is made yet."""
    if inputs.is_sparse_frame(x):
        return _of_frame(x, name)
    _require_numbers(x, name)
    shape = (*x.shape, 1) if x.ndim == 1 else x.shape
    if len(shape) != 2 or 0 in shape:
        inputs.check_shape(shape, name)
    try:
        if x.format == "csc":
            return _of_columns(x, name)
        own = x if x.format == "csr" and x.ndim == 2 else _converted(x, name)
    except InputError:
        raise
    except Exception as error:  # a matrix whose arrays were replaced by anything
        raise InputError(
            f"{name} can't be read as a sparse matrix: {_why(error)}; build it again."
        ) from error
    return _canonical(own, name, copied=own is not x)


def rows_to_predict(x: Any, d: int, fitted_names: tuple[str, ...] | None) -> Any:
    """Sparse x (m, d) for a fit of d columns; `rows_or_columns` says more."""
    inputs.require_names(x, fitted_names)
    if x.shape == (d,) and d > 1:
        inputs.refuse_one_axis(d, "x.reshape(1, -1)")
    rows = rows_or_columns(x)
    inputs.require_columns(rows, d)
    return rows


def _why(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or repr(error)


def _require_numbers(x: Any, name: str) -> None:
    """Refuse matrices of anything but real numbers."""
    try:
        dtype = np.dtype(x.dtype)
    except (AttributeError, TypeError) as error:
        raise InputError(f"the data of {name} is no array of numbers; build it again.") from error
    if dtype.kind not in "fiub":
        what = _NOT_NUMBERS.get(dtype.kind, f"holds {dtype}; encode it as numbers first")
        raise InputError(f"{name} {what.format(name)}.")


class Columns:
    """A checked CSC matrix (n, d), sorted and without duplicates, and its rows once they are asked for.

    To whoever reads rows it is CSR: the first of them waits for the conversion.

    Parameters
    ----------
    data, indices, indptr : ndarray
        As `compressed` gives them, with the roles of rows and columns exchanged.
    shape : tuple (int, int)
    """

    ndim = 2

    def __init__(
        self, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]
    ):
        self.arrays, self.shape = (data, indices, indptr), shape
        self.dtype, self.nnz = data.dtype, len(data)
        self.size = self.nnz

    @property
    def _matrix(self) -> Any:
        from scipy.sparse import csc_array

        return _assembled(*self.arrays, self.shape, csc_array)

    @functools.cached_property
    def rows(self) -> Any:
        """The same numbers as CSR, sorted."""
        return self._matrix.tocsr()

    @property
    def data(self) -> np.ndarray:
        """The entries of `rows`."""
        return np.asarray(self.rows.data)

    @property
    def indices(self) -> np.ndarray:
        """The columns of the entries of `rows`."""
        return np.asarray(self.rows.indices)

    @property
    def indptr(self) -> np.ndarray:
        """Where each of the `rows` starts, and the last one ends."""
        return np.asarray(self.rows.indptr)

    def __getitem__(self, which: Any) -> Any:
        return self.rows[which]

    def __matmul__(self, other: np.ndarray) -> Any:
        """The product; sums have the order of columns, as those over rows."""
        return self._matrix @ other


# --- CSR ------------------------------------------------------------------------------------------


def _canonical(x: Any, name: str, copied: bool) -> Any:
    """A CSR matrix with sorted indices, one for each entry: x itself, or a copy if it isn't `copied`."""
    data, indices, indptr, is_sorted = _checked(x, name, *_CSR)
    nnz = int(indptr[-1])
    if nnz < len(data):
        data, indices = data[:nnz], indices[:nnz]
    data = _native_numbers(data, indices, indptr, name)
    if not is_sorted:
        if not copied:
            data, indices, indptr = data.copy(), indices.copy(), indptr.copy()
        made = _assembled(data, indices, indptr, x.shape)
        made.sum_duplicates()
        return made
    if data is x.data and indices is x.indices and indptr is x.indptr:
        return x
    return _assembled(data, indices, indptr, x.shape)


def _assembled(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: Any, kind: Any = None
) -> Any:
    """A csr_array of these very arrays: SciPy's constructor would copy int64 indices to int32."""
    from scipy.sparse import csr_array

    made = (kind or csr_array)(shape)
    made.data, made.indices, made.indptr = data, indices, indptr
    return made


def _native_numbers(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, name: str
) -> np.ndarray:
    """The entries in a dtype of the machine: float32 for float16, float64 for longer floats."""
    if data.dtype.kind != "f" or data.itemsize in (4, 8):
        return data
    dtype = np.dtype(np.float32 if data.itemsize < 4 else np.float64)
    with np.errstate(all="ignore"):
        converted = data.astype(dtype)
    beyond = np.isinf(converted) & np.isfinite(data)
    if beyond.any():
        entry = int(np.argmax(beyond))
        row = int(np.searchsorted(indptr, entry, side="right")) - 1
        raise InputError(
            f"{name} holds a number beyond float64 at row {row}, column {indices[entry]}; scale it first."
        )
    return converted


# --- the check of compressed rows or columns -----------------------------------------------------------


def _checked(x: Any, name: str, major: str, minor: str, blocks: Any = None) -> tuple[Any, ...]:
    """`data`, `indices` and `indptr` of CSR, CSC or BSR, and whether the indices increase in each row.

    Parameters
    ----------
    x : CSR, CSC or BSR matrix
    name : str
    major, minor : str
        What `indptr` and `indices` count, for messages.
    blocks : tuple (int, int), optional
        How many blocks BSR has, down and across.
    """
    from ..cpu import structure

    n, d = blocks or (x.shape if major == "row" else x.shape[::-1])
    data = np.asarray(x.data)
    indices, indptr = _indices(x.indices, f"{name}.indices"), _indices(x.indptr, f"{name}.indptr")
    if data.ndim != (3 if blocks else 1):
        raise InputError(f"{name}.data has shape {data.shape}; {_again()}.")
    if len(data) != len(indices):
        raise InputError(
            f"{name}.data has {len(data)} entries and {name}.indices has {len(indices)}; {_again()}."
        )
    if len(indptr) != n + 1:
        raise InputError(
            f"{name}.indptr has {len(indptr)} entries; with {n} {major}s it has {n + 1}: {_again()}."
        )
    data = _as_stored(data)
    kept, starts = indices, indptr
    if indices.dtype != indptr.dtype or indices.dtype not in (_INT32, _INT64):
        narrow = max(d, len(indices)) < 2**31 and indices.dtype == _INT32
        dtype = _INT32 if narrow and _in_int32(indptr) else _INT64
        indices, indptr = indices.astype(dtype, copy=False), indptr.astype(dtype, copy=False)
    found = structure.structure(indptr, indices, d)
    if found == structure.BAD_INDPTR:
        _refuse_indptr(starts, len(kept), name, major)
    if found == structure.BAD_INDICES:
        _refuse_indices(kept[: int(indptr[-1])], indptr, d, name, major, minor)
    return data, indices, indptr, found == structure.SORTED


def _in_int32(indptr: np.ndarray) -> bool:
    return bool(len(indptr)) and indptr.min() >= -(2**31) and indptr.max() < 2**31


def _as_stored(array: np.ndarray) -> np.ndarray:
    """An array that is contiguous, aligned and in the byte order of the machine, itself where it is."""
    if array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])


def _again() -> str:
    return "the matrix is damaged, build it again"


def _indices(array: Any, name: str) -> np.ndarray:
    """An index array, (m,) contiguous integers in the byte order of the machine."""
    array = np.asarray(array)
    if array.ndim != 1:
        raise InputError(
            f"{name} has shape {array.shape}, and an index array has one axis; {_again()}."
        )
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} is {array.dtype}, and indices are whole numbers; {_again()}.")
    return _as_stored(array)


def _refuse_indptr(indptr: np.ndarray, stored: int, name: str, major: str) -> NoReturn:
    """Say what is wrong with an `indptr`."""
    values = indptr.astype(object) if indptr.dtype == np.uint64 else indptr
    if values[0] != 0:
        raise InputError(f"{name}.indptr starts at {values[0]}, not at 0; {_again()}.")
    falls = np.flatnonzero(values[1:] < values[:-1])
    if len(falls):
        row = int(falls[0])
        raise InputError(
            f"{name}.indptr falls from {values[row]} to {values[row + 1]} at {major} {row}; {_again()}."
        )
    row = int(np.argmax(values > stored)) - 1
    raise InputError(
        f"{name}.indptr is {values[row + 1]} at the end of {major} {row}, and {name}.indices has "
        f"{stored} entries; {_again()}."
    )


def _refuse_indices(
    indices: np.ndarray, indptr: np.ndarray, d: int, name: str, major: str, minor: str
) -> NoReturn:
    """Say which index is out of range."""
    entry = _first_outside(indices, d)
    row = int(np.searchsorted(indptr, entry, side="right")) - 1
    raise InputError(
        f"{name}.indices is {indices[entry]} at entry {entry}, in {major} {row}, and {name} has {d} "
        f"{minor}s; {_again()}, or give it the shape of its data."
    )


def _first_outside(indices: np.ndarray, d: int) -> int:
    """The place of the first index below 0 or from d on; −1 where there is none."""
    for start in range(0, len(indices), _SEARCHED):
        block = indices[start : start + _SEARCHED]
        outside = (block < 0) | (block >= d)
        if outside.any():
            return start + int(np.argmax(outside))
    return -1


# --- other formats -----------------------------------------------------------------------------------


def _converted(x: Any, name: str) -> Any:
    """A matrix of another format as CSR, its index arrays checked before SciPy reads them.

    The result has memory of its own, and may be neither sorted nor, from LIL, checked.
    """
    kind = x.format
    if kind == "bsr":
        return _of_blocks(x, name)
    if kind == "lil":
        return _of_lists(x, name)
    if kind == "csr":  # of one axis
        data, indices, _, _ = _checked_row(x, name)
        return _of_coordinates(data, (indices,), x.shape, name)
    if kind == "dia":
        return _of_diagonals(x, name)
    made = x if kind == "coo" else x.tocoo()  # of a dictionary
    coords = made.coords if hasattr(made, "coords") else (made.row, made.col)
    return _of_coordinates(np.asarray(made.data), coords, x.shape, name)


def _checked_row(x: Any, name: str) -> tuple[Any, ...]:
    """The arrays of CSR of one axis, which is one row."""
    row = _assembled(np.asarray(x.data), x.indices, x.indptr, (1, x.shape[0]))
    data, indices, indptr, is_sorted = _checked(row, name, *_CSR)
    nnz = int(indptr[-1])
    return data[:nnz], indices[:nnz], indptr, is_sorted


def _of_coordinates(data: np.ndarray, coords: Any, shape: Any, name: str) -> Any:
    """COO as CSR; of one axis as one column."""
    from scipy.sparse import coo_array

    coords = [_indices(c, f"{name}.coords[{axis}]") for axis, c in enumerate(coords)]
    if len(coords) != len(shape) or data.ndim != 1 or {len(c) for c in coords} != {len(data)}:
        lengths = " and ".join(str(len(c)) for c in coords)
        raise InputError(
            f"{name}.data has shape {data.shape} and {name}.coords have {lengths} entries; {_again()}."
        )
    for axis, (indices, size) in enumerate(zip(coords, shape, strict=True)):
        entry = _first_outside(indices, size)
        if entry >= 0:
            raise InputError(
                f"{name}.coords[{axis}] is {indices[entry]} at entry {entry}, and {name} has {size} "
                f"{'columns' if axis else 'rows'}; {_again()}, or give it the shape of its data."
            )
    if len(coords) == 1:
        coords, shape = [coords[0], np.zeros_like(coords[0])], (*shape, 1)
    return coo_array((_for_scipy(data), tuple(coords)), shape=shape).tocsr()


def _of_columns(x: Any, name: str) -> Any:
    """CSC as `Columns`, or as CSR where it isn't sorted, or in a dtype that kernels don't have."""
    from scipy.sparse import csc_array

    data, indices, indptr, is_sorted = _checked(x, name, *_CSC)
    nnz = int(indptr[-1])
    data, indices = _for_scipy(data[:nnz]), indices[:nnz]
    if is_sorted and (data.dtype.kind != "f" or data.itemsize in (4, 8)):
        return Columns(data, indices, indptr, x.shape)
    rows = _assembled(data, indices, indptr, x.shape, csc_array).tocsr()
    return _canonical(rows, name, copied=True)


def _of_blocks(x: Any, name: str) -> Any:
    """BSR as CSR."""
    from scipy.sparse import bsr_array

    shape = np.shape(x.data)
    (n, d), (down, across) = x.shape, shape[1:] if len(shape) == 3 else (1, 1)
    if 0 in (down, across) or n % down or d % across:
        raise InputError(
            f"{name} has blocks of {down}×{across}, which don't divide its shape {x.shape}; {_again()}."
        )
    blocks = n // down, d // across
    data, indices, indptr, _ = _checked(x, name, *_BSR, blocks)
    made = bsr_array(x.shape, blocksize=(down, across))
    made.data, made.indices, made.indptr = _for_scipy(data), indices, indptr
    return made.tocsr()


def _of_lists(x: Any, name: str) -> Any:
    """LIL as CSR: SciPy copies the lists into arrays as long as `rows` says."""
    rows, data = x.rows, x.data
    for row, (columns, values) in enumerate(zip(rows, data, strict=True)):
        if not isinstance(columns, list) or not isinstance(values, list):
            raise InputError(f"{name} has no list of entries at row {row}; {_again()}.")
        if len(columns) != len(values):
            raise InputError(
                f"{name} has {len(values)} values and {len(columns)} columns at row {row}; {_again()}."
            )
    if len(rows) != x.shape[0]:
        raise InputError(f"{name} has {len(rows)} lists for {x.shape[0]} rows; {_again()}.")
    return x.tocsr()


def _of_diagonals(x: Any, name: str) -> Any:
    """DIA as CSR, without the zeros that fill its diagonals: SciPy does it in unchecked C too."""
    (n, d), data = x.shape, np.asarray(x.data)
    offsets = _indices(x.offsets, f"{name}.offsets")
    if data.ndim != 2 or len(data) != len(offsets):
        raise InputError(
            f"{name}.data has shape {data.shape} for {len(offsets)} diagonals; {_again()}."
        )
    rows, columns, values = [], [], [data[:0].ravel()]
    for offset, diagonal in zip(offsets.tolist(), data, strict=True):
        first = max(0, offset)
        stored = first + np.flatnonzero(diagonal[first : max(0, min(d, n + offset))])
        rows.append(stored - offset)
        columns.append(stored)
        values.append(diagonal[stored])
    coords = [np.concatenate([[], *of_axis]).astype(np.int64) for of_axis in (rows, columns)]
    return _of_coordinates(np.concatenate(values), coords, x.shape, name)


def _for_scipy(data: np.ndarray) -> np.ndarray:
    """Entries in a dtype that SciPy's conversions take: float16 as float32, and all in native order."""
    half = data.dtype.kind == "f" and data.itemsize == 2
    dtype = np.dtype(np.float32) if half else data.dtype.newbyteorder("=")
    return np.asarray(data, dtype=dtype)


# --- pandas ------------------------------------------------------------------------------------------


def _of_frame(frame: Any, name: str) -> Any:
    """A pandas frame with sparse columns, and possibly dense ones, as CSR: column by column.

    `frame.sparse.to_coo` takes no dense column, and makes Python objects of booleans among numbers.
    """
    try:
        from scipy.sparse import csc_array
    except ImportError:
        raise InputError(
            f"{name} has sparse columns, which needs SciPy: pip install scipy."
        ) from None
    names = inputs.column_names(frame) or []
    inputs.check_shape(frame.shape, name)
    columns = [
        inputs.entries_of_column(column, name, names, j)
        for j, (_, column) in enumerate(frame.items())
    ]
    rows, values = zip(*columns, strict=True)
    dtype = np.result_type(*{of_column.dtype for of_column in values})
    indptr = np.concatenate([[0], np.cumsum([len(of_column) for of_column in rows])])
    wide = max(*frame.shape, int(indptr[-1])) >= 2**31
    index = _INT64 if wide else _INT32
    data = np.concatenate([of_column.astype(dtype, copy=False) for of_column in values])
    made = csc_array(frame.shape)
    made.data, made.indices = data, np.concatenate(rows).astype(index, copy=False)
    made.indptr = indptr.astype(index)
    return made.tocsr()
