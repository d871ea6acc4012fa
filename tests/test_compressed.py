"""Sparse data as checked CSR: every format and dtype, ugly matrices, and damaged ones."""

import itertools
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgd import InputError, inputs
from fastgd.cpu import structure
from fastgd.sources.compressed import compressed, is_sparse

RNG = np.random.default_rng(0)
FORMATS = "csr", "csc", "coo", "bsr", "lil", "dok", "dia"
COMPRESSED = "csr", "csc", "bsr"
DTYPES = "?", "i1", "u1", "i2", "u4", "i8", "f4", "f8"
DENSE = (RNG.random((9, 6)) < 0.4) * RNG.integers(1, 9, (9, 6))
DENSE[3] = DENSE[:, 2] = 0


def with_arrays(matrix, **arrays):
    """The matrix, with other arrays that SciPy doesn't look at."""
    for name, array in arrays.items():
        setattr(matrix, name, array)
    return matrix


def with_index_dtype(matrix, dtype):
    for name in ("indices", "indptr", "offsets"):
        if name in vars(matrix):
            setattr(matrix, name, getattr(matrix, name).astype(dtype))
    if "coords" in vars(matrix):
        matrix.coords = tuple(c.astype(dtype) for c in matrix.coords)
    return matrix


def memory(matrix):
    """Everything that a matrix holds, by name, as it is now."""
    found = {}
    for name, value in vars(matrix).items():
        if isinstance(value, np.ndarray) and value.dtype != object:
            value = value.tobytes(), str(value.dtype), value.flags.writeable
        elif isinstance(value, tuple):
            value = [getattr(c, "tolist", lambda c=c: c)() for c in value]
        found[name] = repr(value)
    return found


def assert_canonical(found, dense):
    """Whether this is CSR that kernels can read, of these numbers."""
    data, indices, indptr = found.data, found.indices, found.indptr
    assert found.format == "csr"
    assert found.shape == dense.shape
    assert len(indptr) == dense.shape[0] + 1
    assert indptr[0] == 0
    assert indptr[-1] == len(data) == len(indices)
    assert indices.dtype == indptr.dtype
    assert indptr.dtype in (np.int32, np.int64)
    for array in (data, indices, indptr):
        assert type(array) is np.ndarray
        assert array.ndim == 1
        assert array.dtype.isnative
        assert array.flags.c_contiguous
        assert array.flags.aligned
    for start, stop in itertools.pairwise(indptr):
        assert (np.diff(indices[start:stop]) > 0).all()
        assert (indices[start:stop] >= 0).all()
        assert (indices[start:stop] < dense.shape[1]).all()
    np.testing.assert_array_equal(found.toarray(), dense)


def refusal(matrix, name="x"):
    with pytest.raises(InputError) as caught:
        compressed(matrix, name)
    text = str(caught.value)
    assert text.startswith(name)
    assert text.endswith(".")
    return text


# --- formats and dtypes -----------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["i4", "i8", "u4", "i2", ">i4", ">i8", "u8"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_and_dtype(kind, index):
    if kind == "dia" and index[0] == "u":
        pytest.skip("offsets have signs")
    for dtype in DTYPES:
        for of in (sp.csr_array, sp.csr_matrix):
            dense = DENSE.astype(dtype)
            matrix = with_index_dtype(of(dense).asformat(kind), index)
            before = memory(matrix)
            found = compressed(matrix)
            assert_canonical(found, dense)
            assert found.dtype == np.dtype(dtype)
            assert memory(matrix) == before
            if kind in COMPRESSED and index in ("i4", "i8"):
                assert found.indices.dtype == np.dtype(index)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("dtype", "kept"), [(">f8", "f8"), (">i4", "i4"), ("f2", "f4"), (">f2", "f4"), ("g", "f8")]
)
def test_dtypes_that_kernels_do_not_have(kind, dtype, kept):
    matrix = sp.csr_array(DENSE.astype(np.float64)).asformat(kind)
    if kind in ("lil", "dok"):
        if dtype != "g":
            pytest.skip("SciPy makes none")
        matrix = matrix.astype(dtype)
    else:
        matrix.data = matrix.data.astype(dtype)
    before = memory(matrix)
    found = compressed(matrix)
    assert_canonical(found, DENSE.astype(kept))
    assert found.dtype == np.dtype(kept)
    assert memory(matrix) == before


def test_a_matrix_that_can_be_read_is_not_copied():
    for of in (sp.csr_array, sp.csr_matrix):
        matrix = of(DENSE)
        for array in (matrix.data, matrix.indices, matrix.indptr):
            array.flags.writeable = False
        assert compressed(matrix) is matrix
    # Indices of 64 bits stay, and so do the arrays of a matrix that has room for more entries.
    longer = with_arrays(
        with_index_dtype(sp.csr_array(DENSE), "i8"),
        data=np.r_[matrix.data, 7, 7], indices=np.r_[matrix.indices, -1, 99].astype("i8"),
    )  # fmt: skip
    found = compressed(longer)
    assert_canonical(found, DENSE)
    assert np.shares_memory(found.data, longer.data)
    assert np.shares_memory(found.indices, longer.indices)
    assert found.indptr is longer.indptr


def test_arrays_in_strides_and_of_subclasses(tmp_path):
    base = sp.csr_array(DENSE)
    strided = with_arrays(sp.csr_array(DENSE), data=np.repeat(base.data, 2)[::2])
    assert_canonical(compressed(strided), DENSE)
    base.indices.tofile(tmp_path / "indices")
    mapped = np.memmap(tmp_path / "indices", base.indices.dtype, "r")
    assert_canonical(compressed(with_arrays(sp.csr_array(DENSE), indices=mapped)), DENSE)
    raw = np.empty(base.data.nbytes + 1, np.uint8)[1:].view(base.data.dtype)
    raw[:] = base.data
    assert not raw.flags.aligned
    assert_canonical(compressed(with_arrays(sp.csr_array(DENSE), data=raw)), DENSE)


@pytest.mark.parametrize("index", ["i4", "i8"])
def test_index_arrays_of_two_dtypes(index):
    other = {"i4": "i8", "i8": "i4"}[index]
    matrix = sp.csr_array(DENSE)
    matrix.indices, matrix.indptr = matrix.indices.astype(index), matrix.indptr.astype(other)
    found = compressed(matrix)
    assert_canonical(found, DENSE)
    assert found.indices is matrix.indices


@pytest.mark.parametrize("kind", ["csr", "coo", "dok"])
def test_one_axis_is_one_column(kind):
    line = np.array([0.0, 3, 0, 2])
    matrix = sp.coo_array(line).asformat(kind)
    before = memory(matrix)
    assert_canonical(compressed(matrix), line[:, None])
    assert memory(matrix) == before


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (4, 3)])
@pytest.mark.parametrize("kind", FORMATS)
def test_no_entry_at_all(kind, shape):
    assert_canonical(compressed(sp.csr_array(shape).asformat(kind)), np.zeros(shape))


def test_shapes_without_rows_or_columns():
    assert refusal(sp.csr_array((0, 3))) == "x has 0 rows; pass at least one."
    assert refusal(sp.csc_array((3, 0))) == "x has 0 columns; pass at least one feature."
    cube = sp.coo_array(np.ones((2, 3, 4)))
    assert refusal(cube) == "x has shape (2, 3, 4); expected (n,) or (n, d)."


# --- ugly matrices ----------------------------------------------------------------------------------


@st.composite
def ugly(draw):
    """CSR with unsorted and repeated indices, explicit zeros, empty rows, wrong flags; and it dense."""
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    dtype = np.dtype(draw(st.sampled_from(["i2", "f4", "f8"])))
    index = draw(st.sampled_from(["i4", "i8"]))
    rows = draw(st.lists(st.lists(st.integers(0, d - 1), max_size=7), min_size=n, max_size=n))
    indptr = np.cumsum([0, *map(len, rows)]).astype(index)
    indices = np.array([*itertools.chain.from_iterable(rows)], index)
    data = np.array([draw(st.integers(-3, 3)) for _ in indices]).astype(dtype)
    dense = np.zeros((n, d), dtype)
    np.add.at(dense, (np.repeat(np.arange(n), np.diff(indptr)), indices), data)
    room = np.ones(draw(st.integers(0, 2)))
    data, indices = np.r_[data, room.astype(dtype)], np.r_[indices, (-5 * room).astype(index)]
    for array in (data, indices, indptr):
        array.flags.writeable = draw(st.booleans())
    matrix = with_arrays(sp.csr_array((n, d)), data=data, indices=indices, indptr=indptr)
    if draw(st.booleans()):
        matrix.has_canonical_format = draw(st.booleans())
    return matrix, dense


@given(ugly())
def test_ugly_rows(drawn):
    matrix, dense = drawn
    before = memory(matrix)
    found = compressed(matrix)
    assert_canonical(found, dense)
    assert memory(matrix) == before
    own = matrix.indptr[-1]
    one_each = len(set(zip(*matrix_places(matrix), strict=True))) == own
    assert len(found.data) == own or not one_each  # explicit zeros stay


def matrix_places(matrix):
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows.tolist(), matrix.indices[: len(rows)].tolist()


@given(ugly())
def test_ugly_columns(drawn):
    matrix, dense = drawn
    columns = with_arrays(
        sp.csc_array(dense.T.shape), data=matrix.data, indices=matrix.indices, indptr=matrix.indptr
    )
    before = memory(columns)
    assert_canonical(compressed(columns), dense.T)
    assert memory(columns) == before


@given(ugly(), st.integers(1, 5), st.integers(1, 3))
def test_the_check_by_parts_finds_what_numpy_finds(drawn, part, n_threads):
    matrix, dense = drawn
    indptr, indices = matrix.indptr, matrix.indices
    rows = [indices[a:b] for a, b in itertools.pairwise(indptr)]
    is_sorted = all((np.diff(row) > 0).all() for row in rows)
    wanted = structure.SORTED if is_sorted else structure.UNSORTED
    whole = structure._PART, structure._THREADED
    structure._PART, structure._THREADED = part, 0
    try:
        assert structure.structure(indptr, indices, dense.shape[1], n_threads) == wanted
        largest = indices[: indptr[-1]].max(initial=-1)
        if largest >= 0:
            bad = structure.structure(indptr, indices, int(largest), n_threads)
            assert bad == structure.BAD_INDICES
    finally:
        structure._PART, structure._THREADED = whole


@pytest.mark.parametrize("index", ["i4", "i8"])
def test_many_entries_on_two_threads(index):
    n, d = 30_000, 1 << 18
    lengths = RNG.integers(0, 80, n)
    lengths[0] = lengths[-1] = 0
    indptr = np.r_[0, np.cumsum(lengths)].astype(index)
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    indices = (within * 3000 + RNG.integers(0, 3000, len(within))).astype(index)
    assert structure.structure(indptr, indices, d) == structure.SORTED
    for place in (0, 1, structure._PART - 1, structure._PART, len(indices) - 1):
        for value, found in ((-1, structure.BAD_INDICES), (d, structure.BAD_INDICES)):
            wrong = indices.copy()
            wrong[place] = value
            assert structure.structure(indptr, wrong, d) == found
    row = int(np.searchsorted(indptr, structure._PART, side="right")) - 1
    last = int(indptr[row + 1]) - 1  # the last entry of the row on both sides of a part's end
    for place in (last, structure._PART):
        wrong = indices.copy()
        wrong[place] = wrong[place - 1]
        assert structure.structure(indptr, wrong, d) == structure.UNSORTED


def test_a_shape_beyond_the_index_dtype():
    matrix = with_index_dtype(sp.csr_array((2, 1 << 40)), "i4")
    matrix.data, matrix.indices = np.ones(1), np.array([2**31 - 1], np.int32)
    matrix.indptr = np.array([0, 1, 1], np.int32)
    assert compressed(matrix) is matrix
    matrix.indices = np.array([-1], np.int32)
    assert "x.indices is -1 at entry 0" in refusal(matrix)


# --- damaged matrices -------------------------------------------------------------------------------


def entries(**arrays):
    """A CSR matrix of 3 rows and 4 columns with two entries, and these arrays."""
    plain = {
        "data": np.array([1.0, 2]), "indices": np.array([3, 1]), "indptr": np.array([0, 1, 1, 2])
    }  # fmt: skip
    return with_arrays(sp.csr_array((3, 4)), **plain | {k: np.array(v) for k, v in arrays.items()})


DAMAGED = {
    "index too large": (
        entries(indices=[3, 4]),
        "x.indices is 4 at entry 1, in row 2, and x has 4 columns; the matrix is damaged, build it "
        "again, or give it the shape of its data.",
    ),
    "index below 0": (entries(indices=[-1, 0]), "x.indices is -1 at entry 0, in row 0"),
    "index of 64 bits": (
        entries(indices=np.array([0, 2**64 - 1], "u8")),
        "x.indices is 18446744073709551615 at entry 1",
    ),
    "indptr falls": (
        entries(indptr=[0, 2, 1, 2]),
        "x.indptr falls from 2 to 1 at row 1; the matrix is damaged, build it again.",
    ),
    "indptr from 1": (entries(indptr=[1, 1, 1, 2]), "x.indptr starts at 1, not at 0;"),
    "indptr below 0": (entries(indptr=[0, -1, 1, 2]), "x.indptr falls from 0 to -1 at row 0;"),
    "indptr beyond": (
        entries(indptr=[0, 1, 1, 3]),
        "x.indptr is 3 at the end of row 2, and x.indices has 2 entries;",
    ),
    "indptr far beyond": (
        entries(indptr=np.array([0, 1, 1, 2**63 + 1], "u8")),
        "x.indptr is 9223372036854775809 at the end of row 2",
    ),
    "indptr short": (entries(indptr=[0, 1, 2]), "x.indptr has 3 entries; with 3 rows it has 4:"),
    "indptr empty": (entries(indptr=np.zeros(0, int)), "x.indptr has 0 entries;"),
    "data short": (entries(data=[1.0]), "x.data has 1 entries and x.indices has 2;"),
    "data of two axes": (entries(data=[[1.0], [2]]), "x.data has shape (2, 1);"),
    "indices of floats": (
        entries(indices=[0.0, 1]),
        "x.indices is float64, and indices are whole numbers;",
    ),
    "indptr of two axes": (entries(indptr=[[0, 1, 1, 2]]), "x.indptr has shape (1, 4),"),
    "complex": (
        entries(data=[1j, 2]),
        "x is complex; take its real part, or stack real and imaginary parts.",
    ),
    "objects": (
        entries(data=np.array([1, "a"], object)),
        "x holds Python objects; convert it to numbers first, as in x.astype(float).",
    ),
    "text": (entries(data=["1", "2"]), "x holds <U1; encode it as numbers first."),
    "beyond float64": (
        entries(data=np.array([1, 10], np.longdouble) ** 400),
        "x holds a number beyond float64 at row 2, column 1; scale it first.",
    ),
    "rows of CSC": (
        with_arrays(sp.csc_array(np.eye(3)), indices=np.array([0, 1, 3])),
        "x.indices is 3 at entry 2, in column 2, and x has 3 rows;",
    ),
    "columns of COO": (
        with_arrays(sp.coo_array(np.eye(3)), coords=(np.array([0, 1, 2]), np.array([0, 5, 2]))),
        "x.coords[1] is 5 at entry 1, and x has 3 columns;",
    ),
    "blocks of BSR": (
        with_arrays(sp.bsr_array(np.eye(4), blocksize=(2, 2)), indices=np.array([0, 2])),
        "x.indices is 2 at entry 1, in block row 1, and x has 2 block columns;",
    ),
    "shape of BSR": (
        with_arrays(sp.bsr_array(np.eye(4), blocksize=(2, 2)), data=np.ones((2, 3, 2))),
        "x has blocks of 3×2, which don't divide its shape (4, 4);",
    ),
    "lists of LIL": (
        with_arrays(sp.lil_array(np.eye(2)), rows=np.array([[0, 1], [1]], object)),
        "x has 1 values and 2 columns at row 0;",
    ),
    "diagonals of DIA": (
        with_arrays(sp.dia_array(np.eye(2)), offsets=np.array([0, 1])),
        "x.data has shape (1, 2) for 2 diagonals;",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_matrix_is_refused_in_a_sentence(case):
    matrix, words = DAMAGED[case]
    assert words in refusal(matrix)
    if words.endswith("."):
        assert refusal(matrix, "in validation, x") == words.replace(
            "x", "in validation, x", 1
        ).replace("and x has", "and in validation, x has").replace(
            "x.astype", "in validation, x.astype"
        )


def test_diagonals_outside_the_matrix_are_empty():
    matrix = with_arrays(sp.dia_array(np.eye(3)), offsets=np.array([-7]))
    assert_canonical(compressed(matrix), np.zeros((3, 3)))
    matrix.offsets = np.array([1 << 40])
    assert_canonical(compressed(matrix), np.zeros((3, 3)))


SMALL = st.integers(-3, 8)
ODD = st.sampled_from([2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), 10**6])
DTYPES_OF_INDICES = st.sampled_from(["i4", "i8", "i8", "u8", "i1", "f8", ">i4"])


@st.composite
def numbers(draw, most=9):
    found = draw(st.lists(SMALL | ODD, max_size=most))
    with np.errstate(all="ignore"):
        return np.array(found, dtype=object).astype("i8").astype(draw(DTYPES_OF_INDICES))


@st.composite
def wrecks(draw):
    """A matrix of any format with arrays of any content."""
    kind = draw(st.sampled_from(FORMATS))
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    matrix = (sp.random_array(shape, density=0.5, rng=0) * 9).asformat(kind)
    drawn = {
        "csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "bsr": ("indices", "indptr"),
        "dia": ("offsets",),
    }.get(kind, ())  # fmt: skip
    for name in drawn:
        if draw(st.booleans()):
            matrix = with_arrays(matrix, **{name: draw(numbers())})
    if kind == "coo":
        matrix.coords = tuple(draw(st.just(c) | numbers()) for c in matrix.coords)
    if kind == "lil":
        lists = st.lists(st.integers(-3, 8), max_size=4)
        for row in range(shape[0]):
            matrix.rows[row] = draw(st.just(matrix.rows[row]) | lists | st.none())
    if kind == "dok":
        matrix._dict[draw(SMALL | ODD), draw(SMALL | ODD)] = 1.0
    if kind in (*COMPRESSED, "coo") and draw(st.booleans()):
        length = draw(st.integers(0, 9))
        matrix.data = np.ones((length, *matrix.data.shape[1:]))
    return matrix


@settings(max_examples=600)
@given(wrecks())
def test_any_content_gives_a_matrix_or_a_sentence(matrix):
    before = memory(matrix)
    try:
        found = compressed(matrix)
    except InputError:
        pass
    else:
        assert_canonical(found, found.toarray())
    assert memory(matrix) == before


# --- frames -----------------------------------------------------------------------------------------


def column(values, fill=0, dtype=None):
    return pd.arrays.SparseArray(values, fill_value=fill, dtype=dtype)


def test_a_frame_with_sparse_columns():
    frame = pd.DataFrame.sparse.from_spmatrix(sp.csr_array(DENSE))
    assert is_sparse(frame)
    assert_canonical(compressed(frame), DENSE)
    frame["of booleans"] = column([True, False, True] * 3, False)
    frame["dense"] = np.linspace(0, 2, 9)
    frame["of pandas"] = pd.array([1, None] + [0] * 7, dtype="Int64")
    found = compressed(frame)
    assert found.dtype == np.float64
    assert found.nnz == np.count_nonzero(DENSE) + 6 + 8 + 2
    np.testing.assert_array_equal(found.toarray(), frame.to_numpy(np.float64, na_value=np.nan))


def test_a_frame_of_blocks_of_one_dtype_keeps_it():
    dummies = pd.get_dummies(pd.Series(list("abcab")), sparse=True)
    found = compressed(dummies)
    assert found.dtype == bool
    assert_canonical(found, dummies.to_numpy())
    assert compressed(dummies.astype(pd.SparseDtype("float32", 0))).dtype == np.float32


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"a": [1.0, 2], "b": column([1.0, np.nan], np.nan)}),
         "column 1 ('b') of x leaves out nan, and sparse columns can leave out 0 only; convert it with "
         ".astype(pandas.SparseDtype('float64', 0))."),
        (pd.DataFrame({"a": column([1, 5], 5)}), "column 0 ('a') of x leaves out 5,"),
        (pd.DataFrame({"a": column([1, 0]), "b": ["u", "v"]}), "column 1 ('b')"),
        (pd.DataFrame({"a": column([1j, 0])}), "x is complex"),
        (pd.DataFrame({"a": column([])}), "x has 0 rows"),
    ],
)  # fmt: skip
def test_frames_that_are_refused(frame, words):
    with pytest.raises(InputError) as caught:
        compressed(frame)
    assert words in str(caught.value)


def test_a_fill_value_that_fills_nothing():
    frame = pd.DataFrame({"a": column([1.0, 0, 2], np.nan)})
    assert_canonical(compressed(frame), np.array([[1.0], [0], [2]]))


def test_a_frame_without_scipy(monkeypatch):
    frame = pd.DataFrame({"a": column([1, 0])})
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    assert is_sparse(frame)
    assert refusal(frame) == "x has sparse columns, which needs SciPy: pip install scipy."


@pytest.mark.parametrize(
    "x",
    [
        None,
        1.0,
        [[1]],
        np.eye(2),
        np.matrix([[1]]),
        "csr",
        pd.DataFrame({"a": [1]}),
        pd.Series([1]),
    ],
)
def test_what_is_not_sparse(x):
    assert not is_sparse(x)


# --- entries that are not finite -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_named(value):
    matrix = sp.csr_array(DENSE.astype(np.float64))
    inputs.require_finite(matrix, "x")
    row, place = 5, int(matrix.indptr[5])
    at = matrix.indices[place]
    matrix.data[place] = value
    with pytest.raises(InputError, match=rf"^x is {value} at row {row}, column {at}; drop or fill"):
        inputs.require_finite(matrix, "x")
    with pytest.raises(InputError, match=rf"column {at} \('c{at}'\)"):
        inputs.require_finite(matrix, "x", [f"c{j}" for j in range(6)])


@pytest.mark.parametrize(
    ("dtype", "working"), [("f4", "f4"), ("f8", "f8"), ("i2", "f8"), ("?", "f8")]
)
def test_the_dtype_of_the_computation(dtype, working):
    assert inputs.working_dtype(sp.csr_array(DENSE.astype(dtype)), None) == np.dtype(working)


def test_dense_features_may_not_be_sparse():
    with pytest.raises(InputError, match=r"^x is sparse; pass x\.toarray\(\)\.$"):
        inputs.features(sp.csr_array(DENSE))
    frame = pd.DataFrame({"a": column([1, 0])})
    with pytest.raises(InputError, match=r"has sparse columns; .* x\.sparse\.to_dense\(\)\.$"):
        inputs.features(frame)
