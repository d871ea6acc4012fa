"""python -m fastgd FILE.svm: what it reads, what it prints, and a sentence for what it can't read."""

import bz2
import gzip
import io
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file

import fastgd
from fastgd.cli import svmlight, tour

RNG = np.random.default_rng(0)
X = sp.random_array((200, 3000), density=0.01, rng=0, format="csr")
Z = X[:, :40] @ RNG.normal(size=40) * 5
ROWS = b"# a comment\n\n1 1:0.5 7:2 # another\n-1 3:1e-3\n1\n"


def dumped(y, **options):
    file = io.BytesIO()
    dump_svmlight_file(X, y, file, **options)
    return file.getvalue()


@pytest.fixture
def run(capsys, tmp_path):
    """Run the command on a file of these bytes; return status, output, complaint."""

    def run(data, *arguments, name="data.svm"):
        file = tmp_path / name
        if data is not None:
            file.write_bytes(data)
        status = tour.main([str(file), *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


# --- which files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a.svm", "A.SVM", "b.svmlight", "c.libsvm", "d.svm.gz", "e.svm.bz2"]
)
def test_files_with_the_ending(name):
    assert svmlight.is_svmlight(name)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (ROWS, True), (b"1 qid:3 1:2\n", True), (b"-1.5 1:2\t4:-1e3\r\n2 1:1\n", True),
        (b"size,price\n1:2,3\n", False), (b"size price 1:2\n", False), (b"time;1:00\n", False),
        (b"", False), (b"1\n2\n", False), (b"\xff\xfe1 1:2", False),
    ],
)  # fmt: skip
def test_files_without_the_ending_by_their_first_row(tmp_path, text, wanted):
    for name in ("a9a", "a9a.txt"):
        (tmp_path / name).write_bytes(text)
        assert svmlight.is_svmlight(str(tmp_path / name)) is wanted


def test_other_paths(tmp_path):
    assert not svmlight.is_svmlight(str(tmp_path))
    assert not svmlight.is_svmlight(str(tmp_path / "none.csv"))


def test_the_rows_of_a_file(tmp_path):
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}
    for ending, packed in pack.items():
        path = tmp_path / f"rows.svm{ending}"
        path.write_bytes(packed(ROWS))
        x, y = svmlight.read_svmlight(str(path))
        wanted = [[0.5, 0, 0, 0, 0, 0, 2], [0, 0, 1e-3, 0, 0, 0, 0], [0] * 7]
        np.testing.assert_array_equal(x.toarray(), wanted)
        np.testing.assert_array_equal(y, [1, -1, 1])


# --- what it prints -----------------------------------------------------------------------------------


def printed_call(out):
    """The fit that the printed lines of Python make."""
    lines = out.split("four lines of Python\n\n")[1].split("\n")[:4]
    names = {}
    exec("\n".join(line.strip() for line in lines), names)
    return names["fit"]


def test_labels(run):
    status, out, err = run(dumped(np.where(Z > 0, 1, -1)))
    assert (status, err) == (0, "")
    assert (
        f"200 rows, {X.indices.max() + 1:,} columns, {X.nnz:,} numbers that are not 0 (1 %" in out
    )
    assert "one of 2 labels: -1, 1" in out
    assert "fastgd.fit_logistic(x, y, l2=0.005), on 4 of 5 rows" in out
    assert "of the labels of the other rows right" in out
    assert "always the most frequent one: " in out
    fit = printed_call(out)
    assert fit.loss == "bce"
    assert fit.converged


def test_the_largest_coefficients_come_first(run):
    _, out, _ = run(dumped(Z))
    assert "a number, from " in out
    assert "fastgd.fit_linear(x, y, l2=0.005)" in out
    assert "R² " in out
    block = out.split("coefficient\n")[1].split("\n\n")[0].splitlines()
    shown = [abs(float(line.split()[1])) for line in block[:-1]]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == 10
    assert block[-1].split()[0] == "intercept"


def test_coefficients_of_labels_and_zeros(capsys):
    history = {
        "costs": np.ones(1),
        "cost": 1.0,
        "n_epochs": 1,
        "converged": True,
        "method": "stream",
    }
    coef = np.zeros((3, 1000))
    coef[2, 7], coef[0, 999], coef[1, 0] = 0.5, -3, 1
    classes = np.array([10.0, 20, 30])
    fit = fastgd.Fit(
        coef=coef, intercept=np.zeros(3), loss="cross_entropy", classes=classes, **history
    )
    svmlight._show_coefficients(fit)
    out = capsys.readouterr().out
    assert "3,000 coefficients, 2,997 of which are 0" in out
    rows = [line.split() for line in out.splitlines()[2:5]]
    assert rows == [["999", "-3", "10"], ["0", "1", "20"], ["7", "0.5", "30"]]


def test_several_labels_are_asked_for(run):
    y = np.digitize(Z, [-1, 1])
    assert "if its 3 values are labels, add --logistic" in run(dumped(y))[1]
    status, out, _ = run(dumped(y), "--logistic")
    assert status == 0
    assert "one of 3 labels: 0, 1, 2" in out
    assert "for the label" in out
    assert printed_call(out).loss == "cross_entropy"


def test_a_few_rows_are_all_fitted_on(run):
    status, out, _ = run(b"1 1:2\n-1 2:1\n1 1:1 2:1\n")
    assert status == 0
    assert "on 4 of 5 rows" not in out
    assert "100.0% of the labels right; always the most frequent one: 66.7%" in out


def test_a_picture(run, tmp_path):
    status, out, _ = run(dumped(np.sign(Z)), "--plot", str(tmp_path / "cost.png"))
    assert status == 0
    assert "Cost curve written to" in out
    assert (tmp_path / "cost.png").stat().st_size > 5_000


# --- sentences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "arguments", "words"),
    [
        (None, (), "There is no file "),
        (b"", (), " has no rows."),
        (b"# nothing\n", (), " has no rows."),
        (
            b"1 1:2\n1 3:2 1:3\n",
            (),
            "indices in SVMlight/LibSVM data file should be sorted and unique.",
        ),
        (b"yes 1:2\n", (), "could not convert string to float: b'yes'."),
        (
            b"1 1:2\n\xff 1:2\n",
            (),
            " is not in svmlight format, 'target column:value column:value …'",
        ),
        (b"1 99999999999999999999:3\n", (), " is not in svmlight format"),
        (ROWS, ("--target", "price"), "columns have no names; leave out --target and --without."),
        (ROWS, ("--without", "price"), "columns have no names; leave out --target and --without."),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(run, data, arguments, words):
    status, _, err = run(data, *arguments)
    assert status == 2
    assert err.startswith("fastgd: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_folder_and_a_broken_archive(run, tmp_path):
    (tmp_path / "folder.svm").mkdir()
    assert "folder.svm can't be read: it is a folder." in run(None, name="folder.svm")[2]
    assert "can't be read: " in run(gzip.compress(ROWS)[:-12], name="half.svm.gz")[2]
    assert "can't be read: " in run(b"1 1:2\n", name="plain.svm.gz")[2]


def test_without_scikit_learn(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    status, _, err = run(ROWS)
    assert status == 2
    assert 'which scikit-learn reads; it is not installed: pip install "fastgd[svmlight]".' in err
