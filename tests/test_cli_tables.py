"""python -m fastgd on CSV, Parquet and Arrow files with text, --loss, --save, and predict."""

import csv
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import fastgd
from fastgd.cli import tour

RNG = np.random.default_rng(0)
N = 400
SIZE = RNG.normal(5, 1, N)
SEX = RNG.choice(["male", "female"], N)
TOWN = RNG.choice(["Rome", "Ulm", "Bonn"], N)
PRICE = 3 * SIZE + 10 * (SEX == "male") + 5 * (TOWN == "Ulm") + 0.1 * RNG.normal(size=N)
TABLE = pa.table(
    {
        "size": SIZE, "sex": SEX, "town": pa.array(TOWN).dictionary_encode(), "price": PRICE,
        "visits": RNG.poisson(np.exp(SIZE / 5)), "sold": np.where(PRICE > 24, "yes", "no"),
    }
)  # fmt: skip
DUMMIES = np.column_stack([SIZE, SEX == "male", TOWN == "Rome", TOWN == "Ulm"]).astype(float)
WITHOUT_TARGETS = ["--without", "visits", "--without", "sold"]
NAMES = ["size", "sex=male", "town=Rome", "town=Ulm"]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(tour, "PLAIN_PYTHON_BUDGET", 1)
    monkeypatch.chdir(tmp_path)


def write(table, path):
    if path.endswith(".csv"):
        table.to_pandas().to_csv(path, index=False)
    elif path.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=30)
    else:
        pyarrow.feather.write_feather(table, path, compression="uncompressed")


@pytest.fixture
def run(capsys):
    """Run the command; return status, output, complaint."""

    def run(*words):
        status = tour.main(list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def complaint(run):
    def complaint(*words):
        status, out, err = run(*words)
        assert (status, out) == (2, "")
        assert err.startswith("fastgd: ")
        assert err.endswith(".\n")
        assert err.count("\n") == 1
        return err

    return complaint


@pytest.mark.parametrize("data", ["h.csv", "h.parquet", "h.arrow", "h.feather"])
@pytest.mark.parametrize("out", ["o.csv", "o.parquet", "o.arrow"])
def test_text_is_encoded_and_predictions_are_those_of_the_fit(run, data, out):
    write(TABLE, data)
    status, printed, err = run(data, "--target", "price", *WITHOUT_TARGETS, "--save", "f.npz")
    assert (status, err) == (0, "")
    wanted = fastgd.fit_linear(DUMMIES, PRICE)
    fit = fastgd.load("f.npz")
    assert fit.feature_names == tuple(NAMES)
    np.testing.assert_allclose(fit.coef, wanted.coef, rtol=1e-9)
    assert fit.categories == {"sex": ("female", "male"), "town": ("Bonn", "Rome", "Ulm")}
    assert f"{'sex=male':9}  {wanted.coef[1]:14.6g}" in printed
    assert f"{N} rows" in printed
    status, printed, err = run("predict", "f.npz", data, "-o", out)
    assert (status, err) == (0, "")
    assert f"{N} rows" in printed
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "arrow": pd.read_feather}
    found = read[out.rpartition(".")[2]](out)
    assert list(found) == ["prediction"]
    np.testing.assert_allclose(found["prediction"], wanted.predict(DUMMIES), rtol=1e-9)


def test_a_folder_of_files(run, tmp_path):
    (tmp_path / "all").mkdir()
    for i in range(3):
        pq.write_table(TABLE.slice(150 * i, 150), f"all/{i}.parquet")
    assert run("all", "--target", "price", *WITHOUT_TARGETS, "--save", "f.npz")[0] == 0
    wanted = fastgd.fit_linear(DUMMIES, PRICE).coef
    np.testing.assert_allclose(fastgd.load("f.npz").coef, wanted, rtol=1e-9)


@pytest.mark.parametrize("data", ["h.csv", "h.parquet"])
def test_labels_and_their_probabilities(run, data):
    write(TABLE, data)
    arguments = ["--target", "sold", "--logistic", "--without", "price", "--without", "visits"]
    status, printed, err = run(data, *arguments, "--save", "f.npz")
    assert (status, err) == (0, "")
    assert "log-odds of sold = yes" in printed
    assert "labels right" in printed
    assert run("predict", "f.npz", data, "-o", "o.csv")[0] == 0
    found = pd.read_csv("o.csv")
    fit = fastgd.fit_logistic(DUMMIES, TABLE["sold"].to_pylist())
    assert list(found) == ["prediction", "probability=no", "probability=yes"]
    assert found["prediction"].tolist() == fit.predict(DUMMIES).tolist()
    np.testing.assert_allclose(
        found["probability=yes"], fit.predict_proba(DUMMIES)[:, 1], atol=1e-6
    )


@pytest.mark.parametrize("data", ["h.csv", "h.parquet"])
def test_another_loss(run, data):
    write(TABLE, data)
    words = ["--target", "visits", "--loss", "poisson", "--without", "price", "--without", "sold"]
    status, printed, err = run(data, *words, "--save", "f.npz")
    assert (status, err) == (0, "")
    assert "log of visits per unit of the column" in printed
    assert "The cost falling" in printed
    assert "D² " in printed
    wanted = fastgd.fit(DUMMIES, TABLE["visits"].to_numpy(), loss="poisson")
    np.testing.assert_allclose(fastgd.load("f.npz").coef, wanted.coef, rtol=1e-5)
    assert run("predict", "f.npz", data, "-o", "o.csv")[0] == 0
    np.testing.assert_allclose(
        pd.read_csv("o.csv")["prediction"], wanted.predict(DUMMIES), rtol=1e-5
    )


@pytest.mark.parametrize("data", ["h.csv", "h.parquet", "numbers.parquet"])
def test_the_python_that_is_shown_fits_the_same(run, data):
    text = not data.startswith("numbers")
    write(TABLE if text else TABLE.select(["size", "visits", "price"]), data)
    more = WITHOUT_TARGETS if text else []
    _, printed, _ = run(data, "--target", "price", *more, "--save", "f.npz")
    lines = printed.split("lines of Python\n\n" if "csv" in data else "in Python\n\n")[1]
    scope = {}
    exec("\n".join(line.strip() for line in lines.partition("\n\n")[0].splitlines()), scope)
    saved = fastgd.load("f.npz")
    given = dict(zip(saved.feature_names, saved.coef, strict=True))
    for name, value in zip(scope["fit"].feature_names, scope["fit"].coef, strict=True):
        assert value == pytest.approx(given[name], rel=1e-6)


@pytest.mark.parametrize("data", ["h.csv", "h.parquet"])
def test_files_of_before_with_the_coefficient_0_of_first_values(run, data):
    write(TABLE, data)
    wanted = fastgd.fit_linear(DUMMIES, PRICE)
    old = fastgd.Fit(
        coef=np.insert(wanted.coef, [1, 2], 0.0), intercept=wanted.intercept, costs=wanted.costs,
        cost=wanted.cost, n_epochs=wanted.n_epochs, converged=True, method=wanted.method,
        lrs=np.zeros(wanted.n_epochs),
        feature_names=("size", "sex=female", "sex=male", "town=Bonn", "town=Rome", "town=Ulm"),
    )  # fmt: skip
    old.save("old.npz")
    assert run("predict", "old.npz", data, "-o", "o.csv")[::2] == (0, "")
    found = pd.read_csv("o.csv")["prediction"]
    np.testing.assert_allclose(found, wanted.predict(DUMMIES), rtol=1e-12)


def test_a_text_column_like_numbers_is_refused(complaint):
    for rows, words in (
        ("1,2\nx,3\n", ["row 3", "'a'", "'x' is not a finite number", "--without 'a'"]),
        ("x,2\n1,3\n", ["row 3", "'a'", "'1' is like a number"]),
        ("x,2\n,3\n", ["row 3", "'a'", "missing"]),
        ("x,2\nNA,3\n", ["row 3", "'a'", "missing ('NA')"]),
    ):
        with open("t.csv", "w") as file:
            file.write("a,y\n" + rows)
        said = complaint("t.csv", "--target", "y")
        assert all(word in said for word in words), said


@pytest.mark.parametrize("data", ["t.csv", "t.parquet"])
def test_columns_that_cannot_be_encoded(complaint, data):
    many = [f"street {i}" for i in range(101)]
    write(pa.table({"street": many, "y": range(101)}), data)
    said = complaint(data, "--target", "y")
    assert "'street' is text of more than 100 values" in said
    assert "--without 'street'" in said


def test_types_and_missing_values_of_parquet(run, complaint):
    days = pa.array([1, 2, 3], pa.date32())
    write(pa.table({"day": days, "y": [1, 2, 3]}), "t.parquet")
    said = complaint("t.parquet", "--target", "y")
    assert (
        "'day' is date32[day], and not numbers; to ignore this column, add --without 'day'" in said
    )
    said = complaint("t.parquet", "--target", "day")
    assert "for a target of two labels, add --logistic" in said
    text = pa.array(["a", "b"] * 20 + [None], pa.string())
    write(pa.table({"town": text, "y": range(41)}), "t.parquet")
    said = complaint("t.parquet", "--target", "y")
    assert "column 'town' of x has no value at row 40 (row 40 of " in said
    assert "row group 1)" in said
    said = complaint("t.parquet", "--target", "town", "--logistic")
    assert "column 'town': the value is missing" in said
    write(pa.table({"a": [1.0] * 35 + [None], "y": range(36)}), "t.parquet")
    status, _, err = run("t.parquet", "--target", "y")
    assert status == 2
    assert "row group 1" in err
    write(pa.table({"a": pa.array([], pa.float64()), "y": pa.array([], pa.float64())}), "t.parquet")
    assert "has no rows" in complaint("t.parquet", "--target", "y")


@pytest.mark.parametrize("data", ["h.csv", "h.parquet"])
def test_values_and_columns_that_the_fit_has_not(run, complaint, data):
    write(TABLE, data)
    run(data, "--target", "price", *WITHOUT_TARGETS, "--save", "f.npz")
    new = TABLE.to_pandas().astype({"town": str})
    new.loc[37, "town"] = "Oslo"
    write(pa.Table.from_pandas(new), "new" + data)
    said = complaint("predict", "f.npz", "new" + data, "-o", "o.csv")
    assert ("row 39" if "csv" in data else "row 37 (row 37 of ") in said
    assert (
        "'Oslo' is none of its categories ('Bonn', 'Rome', 'Ulm')" in said
        if "csv" in data
        else "which is none of its categories ('Bonn', 'Rome', 'Ulm')" in said
    )
    write(pa.Table.from_pandas(new.drop(columns="sex")), "new" + data)
    said = complaint("predict", "f.npz", "new" + data, "-o", "o.csv")
    assert "has no column 'sex', which is one of the features" in said
    write(TABLE.set_column(0, "size", pa.array(SEX)), "new" + data)
    said = complaint("predict", "f.npz", "new" + data, "-o", "o.csv")
    assert "'size'" in said


def test_sentences_of_predict(run, complaint, tmp_path):
    write(TABLE, "h.csv")
    run("h.csv", "--target", "price", *WITHOUT_TARGETS, "--save", "f.npz")
    assert "There is no file g.npz" in complaint("predict", "g.npz", "h.csv", "-o", "o.csv")
    assert "is not a saved fit" in complaint("predict", "h.csv", "h.csv", "-o", "o.csv")
    assert "There is no file g.csv" in complaint("predict", "f.npz", "g.csv", "-o", "o.csv")
    assert "There is no file g.parquet" in complaint("predict", "f.npz", "g.parquet", "-o", "o.csv")
    assert "no ending of a format" in complaint("predict", "f.npz", "h.csv", "-o", "o.txt")
    assert "is the file to read" in complaint("predict", "f.npz", "h.csv", "-o", "h.csv")
    assert "can't be written" in complaint("predict", "f.npz", "h.csv", "-o", "none/o.csv")
    fastgd.fit_linear([1, 2, 3], [1, 2, 4]).save("plain.npz")
    assert "columns with names" in complaint("predict", "plain.npz", "h.csv", "-o", "o.csv")
    with open("h.csv") as file:
        assert len(list(csv.reader(file))) == N + 1


def test_sentences_of_a_fit(run, complaint):
    write(TABLE, "h.parquet")
    said = complaint("h.parquet", "--target", "prise")
    assert "no column 'prise' (did you mean 'price'?)" in said
    assert "--target" in complaint("h.parquet")
    said = complaint("h.parquet", "--target", "visits", "--loss", "bce", "--logistic")
    assert "leave out one of it and --loss" in said
    assert "--loss needs a file" in complaint("--loss", "poisson")
    assert "There is no file" in complaint("none.parquet", "--target", "y")
    with open("bad.parquet", "wb") as file:
        file.write(b"PAR1 no table PAR1")
    assert "can't be" in complaint("bad.parquet", "--target", "y")
    status, out, err = run(
        "h.parquet", "--target", "price", *WITHOUT_TARGETS, "--save", "none/f.npz"
    )
    assert (status, err) == (
        2,
        "fastgd: The fit none/f.npz can't be written: No such file or directory.\n",
    )
    assert "R²" in out


def test_without_pyarrow(complaint, run, monkeypatch):
    write(TABLE, "h.csv")
    write(TABLE, "h.parquet")
    for name in ("pyarrow", "pyarrow.dataset", "pyarrow.feather", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'fastgd[arrow]'" in complaint("h.parquet", "--target", "price")
    assert run("h.csv", "--target", "price", *WITHOUT_TARGETS, "--save", "f.npz")[0] == 0
    assert run("predict", "f.npz", "h.csv", "-o", "o.csv")[0] == 0
    assert "pip install 'fastgd[arrow]'" in complaint(
        "predict", "f.npz", "h.csv", "-o", "o.parquet"
    )
