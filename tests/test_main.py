"""python -m fastgd: what it prints, and the sentence for every way a file can be wrong."""

import os
import re
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import fastgd
from fastgd.cli import tour as command
from fastgd.cli.csv_table import read_csv
from fastgd.cli.terminal_plot import curve

CSV = "size,age,price\n1,10,3.5\n2,8,5\n3,12,7\n4,3,9.5\n5,7,11\n6,1,13\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Time the plain-Python loop on a few rows only."""
    monkeypatch.setattr(command, "PLAIN_PYTHON_BUDGET", 1)


@pytest.fixture
def run(capsys, tmp_path):
    """Run the command on a file of this text (or these bytes); return status, output, complaint."""

    def run(text, *arguments, name="data.csv"):
        file = tmp_path / name
        if text is not None:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        status = command.main([str(file), *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def three_lines(out):
    lines = out.split("three lines of Python\n\n")[1].split("\n")[:3]
    names = {}
    exec("\n".join(line.strip() for line in lines), names)
    return names["fit"]


def coefficients(out):
    """The printed table: name -> number."""
    block = out.split("column ", 1)[1].split("\n\n")[0].splitlines()[1:]
    return {line.split()[0]: float(line.split()[1]) for line in block}


# The shipped data


def test_shipped_data_in_a_process_of_its_own():
    done = subprocess.run(
        [sys.executable, "-m", "fastgd"],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("333 Antarctic penguins", "g per mm", "R² 0.7639", "converged", "times as fast"):
        assert part in done.stdout
    assert "All 333 rows, 100 epochs" in done.stdout


def test_output_that_knows_only_ascii():
    done = subprocess.run(
        [sys.executable, "-m", "fastgd"],
        capture_output=True,
        encoding="ascii",
        timeout=300,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "R? 0.7639" in done.stdout


def test_linear_first_run(capsys):
    assert command.main([]) == 0
    out = capsys.readouterr().out
    table, _ = command._load(command._parser().parse_args([]))
    exact = np.linalg.lstsq(np.c_[table.x, np.ones(len(table.x))], table.y, rcond=None)[0]
    assert list(coefficients(out).values()) == pytest.approx(exact, rel=1e-5)
    assert list(coefficients(out)) == [
        "flipper_length_mm", "bill_length_mm", "bill_depth_mm", "intercept",
    ]  # fmt: skip
    agreed = re.search(r"agree to (\d+) digits", out)
    assert int(agreed[1]) >= 10
    fit = three_lines(out)
    assert fit.coef == pytest.approx(exact[:3], rel=1e-9)
    assert max(map(len, out.split("4. The same")[0].splitlines())) <= 80


def test_logistic_first_run(capsys):
    assert command.main(["--logistic"]) == 0
    out = capsys.readouterr().out
    assert "log-odds of sex = male" in out
    assert "labels right" in out
    fit = three_lines(out)
    assert list(fit.classes) == ["female", "male"]
    assert fit.coef == pytest.approx(list(coefficients(out).values())[:4], rel=1e-4)


def test_shipped_file_says_where_it_comes_from():
    folder = command.files("fastgd") / "datasets"
    note = (folder / "penguins.txt").read_text(encoding="utf-8")
    assert "CC0 1.0" in note
    assert "Gorman" in note
    assert "11 of the 344 rows" in note
    assert len((folder / "penguins.csv").read_text(encoding="utf-8").splitlines()) == 334


# A file of one's own


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace("\n", "\r\n"),
        CSV.replace("\n", "\r"),
        CSV.rstrip("\n"),
        CSV + "\n  \n",
        "\n" + CSV,
        "\ufeff" + CSV,
        CSV.replace(",", ", "),
        re.sub(r"([^,\n]+)", r'"\1"', CSV),
        '"si""ze; a, b\nin m", age ,price\n' + CSV.split("\n", 1)[1],
        "größe#,age,price\n" + CSV.split("\n", 1)[1],
    ],
    ids=[
        "comma", "semicolon", "tab", "CRLF", "CR", "no last newline", "blank end", "blank start",
        "BOM", "spaces", "quoted", "quoted name", "other letters",
    ],
)  # fmt: skip
def test_own_file(run, text):
    status, out, err = run(text, "--target", "price")
    assert (status, err) == (0, "")
    x, y = np.array([[1, 10], [2, 8], [3, 12], [4, 3], [5, 7], [6, 1.0]]), [3.5, 5, 7, 9.5, 11, 13]
    exact = np.linalg.lstsq(np.c_[x, np.ones(6)], np.array(y), rcond=None)[0]
    assert three_lines(out).coef == pytest.approx(exact[:2], rel=1e-9)
    assert f"{exact[2]:.6g}" in out
    assert "6 rows" in out
    assert "price per unit of the column" in out


def test_labels_of_text_and_of_numbers(run):
    text = "a,b,spam\n1,2,yes\n2,1,no\n3,3, yes\n4,9,no\n5,9,yes\n6,5,yes\n7,1,no\n"
    status, out, err = run(text, "--target", "spam", "--logistic")
    assert (status, err) == (0, "")
    assert "log-odds of spam = yes" in out
    assert three_lines(out).classes.tolist()[1] == "yes"
    status, out, err = run(
        text.replace("yes", "7").replace("no", "2"), "--target", "spam", "--logistic"
    )
    assert (status, err) == (0, "")
    assert "log-odds of spam = 7" in out
    assert three_lines(out).classes.tolist() == [2.0, 7.0]


def test_columns_can_be_ignored(run):
    text = "id,name,size,price\nx1,a,1,2\nx2,b,2,4.5\nx3,c,3,6\n"
    status, out, err = run(text, "--target", "price", "--without", "id", "--without", "name")
    assert (status, err) == (0, "")
    assert list(coefficients(out)) == ["size", "intercept"]
    assert three_lines(out).coef == pytest.approx([2.0])


def test_many_columns_and_rows(run):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 60))
    rows = np.c_[x, x @ np.arange(60.0)]
    text = ",".join(f"c{j}" for j in range(61)) + "\n"
    text += "\n".join(",".join(map(str, row)) for row in rows.tolist())
    status, out, err = run(text, "--target", "c60")
    assert (status, err) == (0, "")
    assert "… and 20 more columns" in out
    assert "20 of the 300 rows" in out


@pytest.mark.parametrize(
    "text",
    [
        "a,y\n1,5\n2,5\n3,5\n",
        "a,y\n1,0\n2,0\n",
        "a,b,y\n1,4,1\n1,4,2\n1,4,4\n",
        "a,b,y\n1,2,1\n2,4,2\n3,6,5\n",
        "a,b,c,y\n1,2,3,1\n2,4,5,2\n",
        "a,y\n1,2\n",
        "a,y\n1e9,1e-9\n2e9,3e-9\n4e9,3e-9\n",
        "a,y\n1e150,1\n2e150,2\n4e150,3\n",
        "a,y\n1,1e150\n2,2e150\n3,2e150\n",
        "a,y\n1,1e300\n2,2e300\n3,2e300\n",
        "a,y\n1e300,1\n2e300,2\n-1e308,3\n1.7e308,0\n",
        "a,y\n1e-300,1\n2e-300,2\n4e-300,2\n",
    ],
)
def test_awkward_numbers_end_in_a_result_or_a_sentence(run, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, out, err = run(text, "--target", "y")
    if status:
        assert status == 2
        assert err.startswith("fastgd: ")
        assert err.count("\n") == 1
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert three_lines(out).n_epochs >= 0
    assert "nan" not in out
    assert "inf" not in out


def test_separable_labels_bring_a_note(run):
    status, out, err = run("a,y\n1,0\n2,0\n3,1\n4,1\n", "--target", "y", "--logistic")
    assert (status, err) == (0, "")
    assert "Note: " in out
    assert "not converged" in out


# Sentences


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (None, [], ["no file", "data.csv"]),
        ("", [], ["is empty"]),
        ("\ufeff \n\n", [], ["is empty"]),
        ("size,age,price\n", [], ["no rows"]),
        (CSV, ["--target", "Prize"], ["no column 'Prize'", "did you mean 'price'", "'age'"]),
        (CSV, ["--target", "zzz"], ["no column 'zzz';", "'size', 'age', 'price'"]),
        (CSV, ["--without", "agee"], ["no column 'agee'", "did you mean 'age'"]),
        (CSV, ["--without", "price"], ["both"]),
        (CSV.replace("8", "eight"), [], ["row 3,", "column 'age'", "'eight'", "--without 'age'"]),
        (CSV.replace("7,11", "7,much"), [], ["row 6,", "column 'price'", "'much'", "--logistic"]),
        (CSV.replace("8", ""), [], ["row 3,", "column 'age'", "missing"]),
        (CSV.replace("8", "NaN"), [], ["row 3,", "column 'age'", "missing ('NaN')"]),
        (CSV.replace("13", "NA"), [], ["row 7,", "column 'price'", "missing ('NA')"]),
        (CSV.replace("13", ""), ["--logistic"], ["row 7,", "column 'price'", "missing"]),
        (CSV.replace("8", "inf"), [], ["row 3,", "column 'age'", "'inf' is not a finite"]),
        (CSV.replace("8", "1_0"), [], ["row 3,", "column 'age'", "'1_0'"]),
        ("a;price\n1,5;2\n2;3\n", [], ["row 2,", "column 'a'", "'1,5'", "with a point"]),
        ("\n\n" + CSV.replace("8", "x"), [], ["row 5,", "'x'"]),
        (CSV + "7,2\n", [], ["row 8", "is 2", "3 columns"]),
        (CSV + "7,2,3,4\n", [], ["row 8", "is 4", "3 columns"]),
        ("age,age,price\n1,2,3\n", [], ["2 columns named 'age'"]),
        ("price\n1\n2\n", [], ["no column besides the target 'price'"]),
        (",age,price\n0,2,3\n", [], ["column 1 has no name", "--without ''"]),
        (CSV, ["--logistic"], ["'price'", "two different values", "holds 6", "3.5"]),
        ("a,price\n1,x\n2,x\n", ["--logistic"], ["two different values", "holds 1", "'x'"]),
        (CSV.replace("age", "âge").encode("latin-1"), [], ["row 1", "UTF-8", "0xe2"]),
        (CSV.replace("8", "8€").encode("cp1252"), [], ["row 3", "UTF-8", "0x80"]),
        (CSV.encode("utf-16"), [], ["UTF-8"]),
        (CSV.replace("8", '"8'), [], ["not readable as CSV"]),
        (bytes(range(1, 100)), [], [""]),
        ("a,price\n" + "1" * 200_000 + ",2\n", [], ["not readable as CSV", "row 2"]),
    ],
)  # fmt: skip
def test_sentences(run, text, arguments, words):
    if "--target" not in arguments:
        arguments = ["--target", "price", *arguments]
    status, out, err = run(text, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("fastgd: ")
    assert err.endswith(".\n")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_target_must_be_named(run, capsys):
    status, out, err = run(CSV)
    assert (status, out) == (2, "")
    assert "--target" in err
    assert "'size', 'age', 'price'" in err
    assert command.main(["--target", "price"]) == 2
    assert "python -m fastgd FILE.csv --target COLUMN" in capsys.readouterr().err


def test_folder(tmp_path, capsys):
    assert command.main([str(tmp_path), "--target", "y"]) == 2
    assert "it is a folder" in capsys.readouterr().err


def test_errors_and_warnings_of_the_fit_are_sentences(run, monkeypatch):
    def diverge(*args, **kwargs):
        raise fastgd.DivergenceError("lr is too large.")

    def warn(x, y, **kwargs):
        warnings.warn("stopped early.", fastgd.ConvergenceWarning, stacklevel=2)
        return fit(x, y, **kwargs)

    fit = fastgd.fit_linear
    monkeypatch.setattr(fastgd, "fit_linear", warn)
    status, out, err = run(CSV, "--target", "price")
    assert (status, err) == (0, "")
    assert "Note: stopped early.\n" in out
    monkeypatch.setattr(fastgd, "fit_linear", diverge)
    status, out, err = run(CSV, "--target", "price")
    assert (status, err) == (2, "fastgd: lr is too large.\n")


def test_ctrl_c(run, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastgd, "fit_linear", stop)
    status, _, err = run(CSV, "--target", "price")
    assert (status, err) == (130, "fastgd: stopped.\n")


def test_help(capsys):
    with pytest.raises(SystemExit) as exit:
        command.main(["--help"])
    assert exit.value.code == 0
    out = capsys.readouterr().out
    for word in ("--target", "--logistic", "--plot", "--without", "examples:"):
        assert word in out


# Pictures


def test_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "cost.png"
    status, out, err = run(CSV, "--target", "price", "--plot", str(file))
    assert (status, err) == (0, "")
    assert file.read_bytes()[:4] == b"\x89PNG"
    assert str(file) in out
    run(CSV, "--target", "price", "--plot", str(tmp_path / "plain"))
    assert (tmp_path / "plain.png").exists()


@pytest.mark.parametrize("name", ["data.csv", "absent/cost.png"])
def test_plot_that_cannot_be_written(run, tmp_path, name):
    pytest.importorskip("matplotlib")
    status, out, err = run(CSV, "--target", "price", "--plot", str(tmp_path / name))
    assert status == 2
    assert "three lines" in out
    assert "can't be written" in err
    assert err.count("\n") == 1
    assert (tmp_path / "data.csv").read_text() == CSV


def test_plot_without_matplotlib(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, out, err = run(CSV, "--target", "price", "--plot", "cost.png")
    assert status == 2
    assert "three lines" in out
    assert (
        err
        == 'fastgd: --plot needs matplotlib, which is not installed: pip install "fastgd[plot]".\n'
    )


# Pieces


def test_rows_are_read_into_exact_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("a,y,b\n0.1,1,1e-300\n-2.5e3,2,.5\n")
    table = read_csv(tmp_path / "t.csv", "y")
    assert table.x.tolist() == [[0.1, 1e-300], [-2500.0, 0.5]]
    assert (table.y.tolist(), table.features) == ([1.0, 2.0], ["a", "b"])


@pytest.mark.parametrize(
    "values", [[5.0], [1.0, 1.0], [0.0] * 9, list(range(300)), [1e9, 1e-9], [3, 0]]
)
def test_curve_fits_the_terminal(values):
    drawing, log = curve(values)
    lines = drawing.splitlines()
    assert len(lines) == 14
    assert max(map(len, lines)) <= 80
    assert drawing.isascii()
    assert log == (min(values) > 0 and max(values) / min(values) > 10)
    assert drawing.count("*") == 62


def test_curve_falls_from_left_to_right():
    lines = curve([2.0**-e for e in range(40)])[0].splitlines()
    assert lines[0].index("*") < lines[6].index("*") < lines[11].index("*")


# Kernels ahead of their use


@pytest.mark.slow
@pytest.mark.jit
def test_compiling_ahead_fills_the_cache(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "fastgd", "compile"],
        capture_output=True,
        text=True,
        timeout=600,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    assert "28 of 28 calls" in done.stderr
    found = list(tmp_path.rglob("*.nbc"))
    assert re.search(rf"The cache has {len(found)} compiled functions, [1-9]\d* MB", done.stdout)
    # A later process compiles nothing.
    code = """
        import numpy as np, fastgd
        from numba.core import event
        compiled = event.RecordingListener()
        with event.install_listener("numba:compile", compiled):
            fastgd.fit_linear(np.arange(30.0).reshape(10, 3) ** 1.5, np.arange(10.0))
        print(len(compiled.buffer))
    """
    later = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=100,
        env=env,
    )
    assert later.stdout.split() == ["0"], later.stderr
