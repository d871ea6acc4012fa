"""Files of fits: what is saved comes back, whole or not at all; what is damaged or foreign is refused."""

import copy
import io
import itertools
import os
import re
import signal
import stat
import struct
import zipfile

import numpy as np
import pytest

import fastgd
from fastgd import archive

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 3))


def history(epochs):
    return {
        "costs": np.linspace(2, 1, epochs), "cost": 1.0, "n_epochs": epochs, "converged": True,
        "method": "stream",
    }  # fmt: skip


def linear():
    return fastgd.Fit(coef=np.array([1.0, -2.0, 0.5]), intercept=0.25, **history(4))


def targets():
    return fastgd.Fit(
        coef=np.ones((2, 3), np.float32), intercept=np.ones(2, np.float32),
        path=np.ones((4, 2, 3), np.float32), start=np.zeros((2, 3), np.float32),
        lrs=np.full((4, 2), 0.1), gradient_norms=np.ones(4), **history(4),
    )  # fmt: skip


def logistic():
    return fastgd.Fit(
        coef=np.array([1.0, -2.0, 0.5]), intercept=0.25, loss="bce",
        classes=np.array(["down", "up"]), lrs=np.full(4, 0.1),
        validation_costs=np.array([3.0, 2.0, 1.5, 2.5]), best_epoch=3, **history(4),
    )  # fmt: skip


def softmax():
    return fastgd.Fit(
        coef=np.arange(9.0).reshape(3, 3), intercept=np.zeros(3), loss="cross_entropy",
        classes=np.array([3, 5, 7]), feature_names=("a", "größe", "a"), **history(4),
    )  # fmt: skip


def encoded():
    return fastgd.Fit(
        coef=np.array([1.0, -2.0, 0.5]), intercept=0.25, feature_names=("a=q", "a=5", "b=True"),
        categories={"a": ("größe", "q", 5), "b": (False, True), "c": (0.5,)}, **history(4),
    )  # fmt: skip


def network(loss="mse", outputs=1, **options):
    sizes = [3, 4, outputs]
    return fastgd.MlpFit(
        weights=[RNG.standard_normal((b, a)) for a, b in itertools.pairwise(sizes)],
        biases=[RNG.standard_normal(size) for size in sizes[1:]],
        loss=loss, activation="relu", lrs=np.full(4, 0.1), **history(4),
        **{"flat": True, "classes": None, **options},
    )  # fmt: skip


FITS = {
    "linear": linear(),
    "targets": targets(),
    "logistic": logistic(),
    "softmax": softmax(),
    "encoded": encoded(),
    "no epoch": fastgd.Fit(coef=np.zeros(3), intercept=0.0, **history(0) | {"cost": np.nan}),
    "network": network(),
    "network of a column": network(flat=False),
    "network on two labels": network("bce", classes=np.array([False, True])),
    "network on labels": network("cross_entropy", 3, classes=np.array(list("abc")), flat=False),
}
each_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)


def bytes_of(fit):
    file = io.BytesIO()
    fit.save(file)
    return file.getvalue()


def loaded(data):
    return fastgd.load(io.BytesIO(data))


def refused(data):
    """The reason why bytes are no fit."""
    with pytest.raises(fastgd.InputError) as caught:
        loaded(data)
    return str(caught.value)


def members_of(fit):
    with np.load(io.BytesIO(bytes_of(fit))) as file:
        return dict(file)


def npz(members, write=np.savez):
    file = io.BytesIO()
    write(file, **members)
    return file.getvalue()


# --- there and back -------------------------------------------------------------------------------


@each_fit
def test_a_fit_comes_back_from_whatever_takes_bytes(fit, tmp_path):
    data = bytes_of(fit)
    path = tmp_path / "fit.npz"
    for name in (path, str(path), os.fsencode(path)):
        fit.save(name)
        assert path.read_bytes() == data
        again = fastgd.load(name)
        assert bytes_of(again) == data
        assert repr(again) == repr(fit)
    for slot in type(fit).__slots__:
        ours, theirs = getattr(fit, slot), getattr(again, slot)
        assert type(ours) is type(theirs), slot
    with open(path, "wb") as file:
        fit.save(file)
    with open(path, "rb") as file:
        assert bytes_of(fastgd.load(file)) == data
    assert os.listdir(tmp_path) == ["fit.npz"]


def test_a_pipe_takes_and_gives_a_fit():
    reading, writing = os.pipe()
    with open(writing, "wb") as file:
        linear().save(file)
    with open(reading, "rb") as file:
        assert repr(fastgd.load(file)) == repr(linear())


def test_a_file_object_is_read_from_where_it_stands():
    file = io.BytesIO()
    file.write(b"before")
    linear().save(file)
    file.seek(6)
    assert repr(fastgd.load(file)) == repr(linear())
    assert "other bytes come before it" in refused(file.getvalue())
    assert "other bytes come before it" in refused(bytes_of(linear()) + bytes_of(softmax()))


@each_fit
def test_a_file_of_an_earlier_version_still_loads(fit):
    members = members_of(fit)
    del members["format"]
    assert bytes_of(loaded(npz(members))) == bytes_of(fit)
    fit = copy.copy(fit)
    fit.feature_names = None
    if isinstance(fit, fastgd.Fit):
        fit.categories = None
    newer = ("feature_names", "categories")
    for version in ({}, {"format": np.array(1)}):  # neither had names
        older = {k: v for k, v in members.items() if k not in newer} | version
        assert bytes_of(loaded(npz(older))) == bytes_of(fit)
    assert "missing" in refused(npz(older | {"format": np.array(2)}))


@pytest.mark.parametrize("odd", [{}, {"coef": np.array(["another", "kind"])}, {"new": np.ones(3)}])
def test_a_file_of_a_later_version_says_to_update(odd):
    reason = refused(npz(members_of(linear()) | {"format": np.array(archive.FORMAT + 1)} | odd))
    assert reason == "the file was saved by a later version of fastgd; update fastgd to load it."


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, [1]])
def test_a_version_is_a_number_above_0(version):
    assert "version" in refused(npz(members_of(linear()) | {"format": np.array(version)}))


def test_arrays_come_back_in_the_byte_order_of_the_machine():
    members = {
        name: value.astype(value.dtype.newbyteorder(">"))
        for name, value in members_of(softmax()).items()
    }
    fit = loaded(npz(members))
    assert fit.coef.dtype.isnative
    assert bytes_of(fit) == bytes_of(softmax())


@pytest.mark.parametrize("target", [3, None, 1.5, [], True])
def test_what_is_no_file_is_refused(target):
    for call in (linear().save, fastgd.load):
        with pytest.raises(fastgd.InputError, match="pass a path, or a file open for bytes"):
            call(target)


def test_text_files_and_impossible_paths_are_refused(tmp_path):
    for call, mode in ((linear().save, "w"), (fastgd.load, "r")):
        with (
            open(tmp_path / "text", mode, encoding="utf-8") as file,
            pytest.raises(fastgd.InputError, match=f"with mode '{mode}b'"),
        ):
            call(file)
        with pytest.raises(fastgd.InputError, match="null character"):
            call("a\0b")
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no" / "fit"))):
            call(tmp_path / "no" / "fit")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, os.devnull, "/dev/zero"):
        for call in (linear().save, fastgd.load):
            with pytest.raises(fastgd.InputError, match="is not a regular file"):
                call(path)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


# --- a save that fails ----------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path):
    """A file that holds a fit, alone in its folder."""
    path = tmp_path / "fit.npz"
    logistic().save(path)
    return path


def assert_only(path, fit):
    """Whether the file holds this fit, and nothing lies beside it."""
    assert path.read_bytes() == bytes_of(fit)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [MemoryError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["numpy.lib.format.write_array", "os.fsync", "os.replace"])
def test_a_failure_keeps_the_old_file(old, monkeypatch, error, where):
    def fail(*arguments, **options):
        raise error("now")

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises(error, match="now"):
            softmax().save(old)
    assert_only(old, logistic())
    softmax().save(old)
    assert_only(old, softmax())


def in_a_child(work):
    """How a child process ends that runs `work` and exits with 0."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    ("where", "call"),
    [("numpy.lib.format.write_array", 1), ("numpy.lib.format.write_array", 9), ("os.fsync", 1),
     ("os.replace", 1)],
)  # fmt: skip
def test_a_killed_process_keeps_the_old_file(old, monkeypatch, where, call):
    write, calls = np.lib.format.write_array, []

    def killed(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(where, killed)
        assert in_a_child(lambda: softmax().save(old)) == signal.SIGKILL
    assert old.read_bytes() == bytes_of(logistic())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_limit_of_size_keeps_the_old_file(old):
    import resource

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with pytest.raises(OSError, match="File too large"):
            softmax().save(old)

    assert in_a_child(work) == 0
    assert_only(old, logistic())


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_and_links_are_kept(old):
    mask = os.umask(0o027)
    try:
        softmax().save(old.parent / "new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(os.stat(old.parent / "new").st_mode) == 0o640
    os.chmod(old, 0o604)
    link = old.parent / "link"
    link.symlink_to(old.name)
    softmax().save(link)
    assert link.is_symlink()
    assert old.read_bytes() == bytes_of(softmax())
    assert stat.S_IMODE(os.stat(old).st_mode) == 0o604
    dangling = old.parent / "dangling"
    dangling.symlink_to("later")
    linear().save(dangling)
    assert dangling.is_symlink()
    assert (old.parent / "later").read_bytes() == bytes_of(linear())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_file_is_not_replaced(old):
    os.chmod(old, 0o444)
    with pytest.raises(PermissionError):
        softmax().save(old)
    assert_only(old, logistic())


WRONG = {
    "coef": np.ones(4, int), "intercept": np.ones(2), "costs": [1.0, 2.0], "n_epochs": 3,
    "cost": np.inf, "classes": np.array([1, 2, 3]), "loss": 2, "link": "cubic", "best_epoch": 9,
    "lrs": "slow",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_fit_that_could_not_be_loaded_is_not_saved(name):
    fit = logistic()
    setattr(fit, name, WRONG[name])
    file = io.BytesIO()
    with pytest.raises(fastgd.InputError, match="the fit can't be saved: "):
        fit.save(file)
    assert file.getvalue() == b""


@pytest.mark.parametrize(
    "wrong", [["a"], {"a": 5}, {"a": ["p", "r"]}, {"a": [None]}, {"a": [b"p"]}, {"a": ["p", ()]}]
)
def test_categories_that_are_no_values_of_features_are_neither_saved_nor_loaded(wrong):
    fit = encoded()
    fit.categories = wrong
    with pytest.raises(fastgd.InputError, match="the fit can't be saved: "):
        fit.save(io.BytesIO())
    members = members_of(encoded())
    for text in (repr(wrong).replace("'", '"'), "{", "[" * 100_000):
        refused(npz(members | {"categories": np.array(text)}))
    refused(npz(members | {"feature_names": np.empty(0, "V1")}))


# --- damaged files --------------------------------------------------------------------------------


def same_or_refused(data, wanted):
    try:
        fit = loaded(data)
    except fastgd.InputError:
        return
    assert bytes_of(fit) == wanted


def check_flips(fit, step):
    wanted = bytes_of(fit)
    for bit in range(0, 8 * len(wanted), step):
        data = bytearray(wanted)
        data[bit // 8] ^= 1 << bit % 8
        same_or_refused(data, wanted)


@each_fit
def test_a_flipped_bit_is_found(fit):
    check_flips(fit, 61)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "network"])
def test_a_flipped_bit_is_found_wherever_it_is(name):
    check_flips(FITS[name], 5)  # every bit of a byte in turn


def test_a_flipped_bit_of_a_shape_is_found():
    """NumPy reads as many numbers as the header says and never comes to the checksum."""
    fit = fastgd.Fit(coef=np.ones(9000), intercept=0.0, **history(4))
    assert "CRC" in refused(bytes_of(fit).replace(b"(9000,)", b"(1000,)"))


@pytest.mark.parametrize("name", ["targets", "network"])
def test_a_truncated_file_is_refused(name):
    data = bytes_of(FITS[name])
    for length in range(0, len(data), 3):
        assert refused(data[:length]).startswith("the file is not a saved fit (")


def test_random_damage_is_found():
    rng = np.random.default_rng(1)
    wanted = bytes_of(logistic())
    for _ in range(300):
        data = bytearray(wanted)
        start, length = rng.integers(len(data)), rng.integers(1, 40)
        kind = rng.integers(3)
        if kind == 0:
            data[start : start + length] = rng.bytes(length)
        elif kind == 1:
            del data[start : start + length]
        else:
            data[start:start] = rng.bytes(length)
        same_or_refused(data, wanted)


# --- foreign files --------------------------------------------------------------------------------


def test_compressed_members_are_refused():
    members = members_of(linear()) | {"costs": np.zeros(10**6), "n_epochs": np.array(10**6)}
    assert "a member is compressed" in refused(npz(members, np.savez_compressed))


def test_members_that_share_bytes_are_refused():
    """A directory whose entries all lead to the same member."""
    data = npz({"a": np.zeros(2000)})
    end = data.rindex(b"PK\5\6")
    start = data.index(b"PK\1\2")
    entries = b"".join(data[start:end].replace(b"a.npy", f"{i:x}.npy".encode()) for i in range(9))
    record = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, len(entries), start, 0)
    assert "larger than the file" in refused(data[:start] + entries + record)


def test_two_members_of_one_name_are_refused():
    file = io.BytesIO(bytes_of(linear()))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("coef", archive.read("coef.npy"))
    assert "two members have one name" in refused(file.getvalue())


def odd_values(rng, value):
    """A value of another kind, shape or size than a member has."""
    shape = tuple(rng.integers(0, 4, rng.integers(0, 4)))
    return [
        np.array(5), np.array(-1), np.array(2**62), np.array(0.5), np.array(np.nan), np.array("text"),
        np.array(b"bytes"), np.array(True), np.array(1j), np.array(["a", "b", "c"]), np.empty(0),
        np.empty(0, "V1"), np.zeros(3, "V8"), np.array(["2020-01-01"], "M8[D]"), np.arange(3),
        np.ones(3, "f2"), np.ones(3, np.longdouble), np.zeros(2, [("a", "i4"), ("b", "f8")]),
        np.full(value.shape, np.nan), np.full(value.shape, np.inf), value[None], value.ravel()[:1],
        value.astype("U8"), np.asfortranarray(value), rng.standard_normal(shape),
        np.zeros(shape, rng.choice(["i1", "u8", "f4", ">f8", "?", "S3", "U3", "c16", "m8[s]"])),
    ][rng.integers(26)]  # fmt: skip


def use(fit, axes):
    """Do what one does with a fit."""
    linear = isinstance(fit, fastgd.Fit)
    x = X[:, : (fit.coef if linear else fit.weights[0]).shape[-1]]
    predicted = fit.predict(x)
    assert len(predicted) == len(x)
    if fit.classes is None:
        assert np.isfinite(fit.score(x, RNG.standard_normal(predicted.shape)))
    else:
        assert np.isfinite(fit.predict_proba(x)).all()
        assert 0 <= fit.score(x, predicted) <= 1
    if linear:
        fit.plot(axes)
    assert type(repr(fit)) is str
    bytes_of(fit)


@pytest.mark.parametrize("name", ["linear", "targets", "logistic", "softmax", "network"])
def test_members_of_other_types_are_refused_or_make_a_fit_that_works(name):
    from matplotlib.figure import Figure

    rng = np.random.default_rng(2)
    members = members_of(FITS[name])
    axes, outcomes = Figure().add_subplot(), set()
    for _ in range(150):
        odd = dict(members)
        for member in rng.choice(list(members), rng.integers(1, 3)):
            odd[member] = odd_values(rng, members[member])
        try:
            fit = loaded(npz(odd))
        except fastgd.InputError:
            outcomes.add("refused")
        else:
            use(fit, axes)
            outcomes.add("works")
    assert outcomes == {"refused", "works"}
