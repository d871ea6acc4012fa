"""The check of compressed rows (or columns): whether `indptr` and `indices` can be read, and are sorted.

It runs at every call: the matrix may come from a file, and kernels read the memory that it names. Both
arrays come as unsigned numbers of the same bits, so that a negative number is too large.
"""

import numpy as np

from ..compile.functions import default_threads, kernel
from .machine.pool import for_each_part
from .machine.vector_width import use_widest_vectors

#: What `structure` finds: `indices` that increase in each row; that do not, or occur twice; that are out
#: of range; an `indptr` that does not start at 0, decreases, or goes beyond `indices`.
SORTED, UNSORTED, BAD_INDICES, BAD_INDPTR = range(4)
#: Entries in a part, and below how many a second thread doesn't help.
_PART, _THREADED = 1 << 18, 1 << 20
_UNSIGNED: dict[int, np.dtype] = {4: np.dtype(np.uint32), 8: np.dtype(np.uint64)}


@kernel
def _structure(starts, columns, following, bound, first):
    """SORTED, UNSORTED or BAD_INDICES, of a range of entries.

    Neighbours that don't increase are counted without regard to rows, in a loop that has vectors; those
    with a start of a row between them are taken off.

    name       dir   shape             meaning
    starts     IN    (r+1,) unsigned   where the rows start that do after the first entry of the range (or
                                       before) up to the one that follows it, and where the last row ends
    columns    IN    (m,) unsigned     the column of each entry
    following  IN    (m|m-1,)          the column of the entry after it
    bound      IN    unsigned          number of columns
    first      IN    int               number of the first entry
    """
    use_widest_vectors()
    top, falls = columns.dtype.type(0), columns.dtype.type(0)
    one = columns.dtype.type(1)
    for k in range(following.shape[0]):
        if columns[k] > top:
            top = columns[k]
        if columns[k] >= following[k]:
            falls = columns.dtype.type(falls + one)
    if max(top, columns[columns.shape[0] - 1]) >= bound:
        return BAD_INDICES
    if falls != 0:
        for i in range(starts.shape[0] - 1):
            k = np.intp(starts[i]) - first - 1
            if k >= 0 and starts[i] < starts[i + 1] and columns[k] >= following[k]:
                falls = columns.dtype.type(falls - one)
    return UNSORTED if falls != 0 else SORTED


def structure(
    indptr: np.ndarray, indices: np.ndarray, n_columns: int, n_threads: int | None = None
) -> int:
    """SORTED, UNSORTED, BAD_INDICES or BAD_INDPTR, of compressed rows; of columns with roles exchanged.

    Parameters
    ----------
    indptr : ndarray (n+1,) of int32 or int64
    indices : ndarray (nnz or more,) of the same dtype
        Both contiguous and in the byte order of the machine.
    n_columns : int
    n_threads : int, optional
        All processors by default.
    """
    nnz = int(indptr[-1])
    starts, columns = _unsigned(indptr), _unsigned(indices)
    if indptr[0] != 0 or not 0 <= nnz <= len(indices) or (starts[:-1] > starts[1:]).any():
        return BAD_INDPTR
    # A signed index can't be larger than this, and Numba compares uint64 with int64 as floats.
    largest = min(n_columns, 1 << (8 * indices.itemsize - 1))
    bound = columns.dtype.type(largest)
    if nnz <= _PART:
        return _structure(starts, columns[:nnz], columns[1:nnz], bound, 0) if nnz else SORTED
    parts = -(-nnz // _PART)
    edges = np.minimum(np.arange(parts + 1) * _PART, nnz).astype(indptr.dtype)
    rows = np.searchsorted(indptr, edges, side="right").tolist()
    found = [SORTED] * parts

    def check(group: int, part: int) -> None:
        first, last = part * _PART, min(nnz, (part + 1) * _PART)
        here = columns[first:last], columns[first + 1 : min(nnz, last + 1)]
        found[part] = _structure(starts[rows[part] : rows[part + 1] + 1], *here, bound, first)

    n_threads = (n_threads or default_threads()) if nnz >= _THREADED else 1
    for_each_part(check, [range(part, part + 1) for part in range(parts)], n_threads)
    return max(found)


def _unsigned(array: np.ndarray) -> np.ndarray:
    """A read-only view of the same bits: the same compiled code for arrays that are read-only."""
    view = array.view(_UNSIGNED[array.itemsize])
    view.flags.writeable = False
    return view
