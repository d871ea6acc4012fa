"""python -m fastgd predict FIT.npz DATA -o OUT: what a saved fit predicts for the rows of a file."""

import argparse
import csv
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastgd

from ..archive import replaced
from . import csv_table, table_file


def run(words: Sequence[str]) -> None:
    """Read, predict, and write."""
    options = _parser().parse_args(words)
    start = time.perf_counter()
    fit = _loaded(options.fit)
    ending = Path(options.output).suffix.lower()
    if ending not in (".csv", *table_file.ENDINGS):
        raise fastgd.InputError(
            f"{options.output} has no ending of a format: .csv, {', '.join(table_file.ENDINGS)}."
        )
    if os.path.exists(options.output) and os.path.samefile(options.data, options.output):
        raise fastgd.InputError(f"{options.output} is the file to read; name another one.")
    if table_file.is_table(options.data):
        x: Any = table_file.existing(options.data)
    else:
        x = csv_table.read_csv_to_predict(
            options.data, fit.feature_names or (), fit.categories or {}
        )
    columns = _predictions(fit, x)
    try:
        (_write_csv if ending == ".csv" else _write_arrow)(options.output, columns)
    except OSError as error:
        raise fastgd.InputError(f"{options.output} can't be written: {error.strerror}.") from None
    n, seconds = len(columns["prediction"]), time.perf_counter() - start
    print(f"{n:,} rows with the columns {', '.join(columns)} written to {options.output}, in "
          f"{seconds:.2f} s")  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastgd predict",
        description="Predict with a fit that --save wrote: a row of predictions for every row of DATA, "
        "in its order; for labels also their probabilities.",
        allow_abbrev=False,
    )
    parser.add_argument("fit", metavar="FIT.npz", help="what python -m fastgd DATA --save wrote")
    parser.add_argument(
        "data", metavar="DATA", help="CSV, Parquet or Arrow, with the columns of the fit"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="a file to write: .csv, .parquet or .arrow",
    )
    return parser


def _loaded(path: str) -> fastgd.Fit:
    try:
        fit = fastgd.load(path)
    except FileNotFoundError:
        raise fastgd.InputError(f"There is no file {path}.") from None
    except OSError as error:
        raise fastgd.InputError(f"{path} can't be read: {error.strerror}.") from None
    if not isinstance(fit, fastgd.Fit) or fit.feature_names is None or fit.coef.ndim > 1:
        raise fastgd.InputError(
            f"{path} is not a fit of one target or two labels on columns with names, as --save writes it."
        )
    return _with_categories(fit)


def _with_categories(fit: fastgd.Fit) -> fastgd.Fit:
    """The fit; one of a file of before, with the coefficient 0 of each first value, as they are now."""
    values: dict[str, list[str]] = {}
    names = fit.feature_names or ()
    for name in names:
        column, sign, value = name.partition("=")
        if sign:
            values.setdefault(column, []).append(value)
    coef = dict(zip(names, fit.coef.tolist(), strict=True))
    found = {c: tuple(v) for c, v in values.items() if len(v) > 1 and coef[f"{c}={v[0]}"] == 0}
    if fit.categories is None and found:
        bases = [f"{column}={of[0]}" for column, of in found.items()]
        fit.coef = fit.coef[[name not in bases for name in names]]
        fit.feature_names = tuple(name for name in names if name not in bases)
        fit.categories = found
    return fit


def _predictions(fit: fastgd.Fit, x: Any) -> dict[str, np.ndarray]:
    """The columns to write, from one reading of x."""
    if fit.classes is None:
        return {"prediction": fit.predict(x)}
    if fit.link is None:  # a margin
        return {"prediction": fit.predict(x)}
    shares = fit.predict_proba(x)
    labels = fit.classes.tolist()
    places = np.asarray(shares[:, 1] > shares[:, 0], dtype=int)
    of_labels = {f"probability={label}": shares[:, k] for k, label in enumerate(labels)}
    return {"prediction": fit.classes[places], **of_labels}


def _write_csv(path: str, columns: dict[str, np.ndarray]) -> None:
    with replaced(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        text.detach()


def _write_arrow(path: str, columns: dict[str, np.ndarray]) -> None:
    try:
        import pyarrow.feather
        import pyarrow.parquet
    except ImportError:
        raise fastgd.InputError(
            f"writing {path} needs pyarrow: pip install 'fastgd[arrow]'; or name a .csv file."
        ) from None
    table = pyarrow.table(columns)
    with replaced(path) as file:
        if path.lower().endswith(".parquet"):
            pyarrow.parquet.write_table(table, file)
        else:
            pyarrow.feather.write_feather(table, file, compression="uncompressed")
