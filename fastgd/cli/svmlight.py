"""python -m fastgd FILE.svm: a fit of sparse rows, read from a file in svmlight (libsvm) format."""

import argparse
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastgd

from . import compiling, tour

#: Endings of such files; those of others are recognised by their first row.
ENDINGS = {".svm", ".svmlight", ".libsvm"}
#: Compressed files, which the loader reads too.
_COMPRESSED = {".gz", ".bz2"}
#: A target, and one column:value pair at least.
_FIRST_ROW = re.compile(rb"[-+.\d][^\s,;:#]*([ \t]+(qid|\d+):[^\s,;:]+)+\s*(#.*)?")
_START = 1 << 16
#: One of so many rows is held out, and so many coefficients are shown.
_FOLDS, _SHOWN = 5, 10


def is_svmlight(file: str) -> bool:
    """Whether a file has an ending of this format, or a first row in it."""
    path = Path(file)
    name = Path(path.stem) if path.suffix.lower() in _COMPRESSED else path
    if name.suffix.lower() in ENDINGS:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        lines = (line.strip() for line in opened.read(_START).split(b"\n"))
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return _FIRST_ROW.fullmatch(first) is not None


def run(options: argparse.Namespace) -> None:
    """Read, fit on four of five rows, and show."""
    if options.target is not None or options.without:
        raise fastgd.InputError(
            f"{options.file} is in svmlight format, where each row begins with its target and columns "
            "have no names; leave out --target and --without."
        )
    if options.loss or options.save:
        raise fastgd.InputError("--loss and --save are for CSV, Parquet and Arrow files.")
    x, y = read_svmlight(options.file)
    (n, d), values = x.shape, np.unique(y)
    labels = options.logistic or len(values) == 2
    print(f"Data   {options.file}: {n:,} rows, {d:,} columns, {x.nnz:,} numbers that are not 0 "
          f"({100 * x.nnz / (n * d):.2g} % of all, {x.nnz / n:.1f} a row)")  # fmt: skip
    print(f"Task   {_task(values, labels)}\n")

    name = "fit_logistic" if labels else "fit_linear"
    l2 = float(f"{1 / n:.0e}")
    train, test = _split(n)
    call = f"fastgd.{name}(x, y, l2={l2:g})"
    print(f"1. The answer: {call}{', on 4 of 5 rows' if len(test) else ''}\n")
    start = time.perf_counter()
    with compiling.told():
        fit = tour.noted(getattr(fastgd, name), x[train], y[train], l2=l2)
    seconds = time.perf_counter() - start
    _show_coefficients(fit)
    print(f"   {_quality(fit, x, y, train, test)}")
    print(f"   {tour.epochs(fit)}, in {seconds:.2f} s; method: {fit.method}\n")

    print("2. The same on all rows, in four lines of Python\n")
    print("   import fastgd")
    print("   from sklearn.datasets import load_svmlight_file")
    print(f"   x, y = load_svmlight_file({str(options.file)!r})")
    print(f"   fit = {call}")
    print(
        "\n   then: fit.coef, fit.sparsify(), fit.predict(x), fit.score(x, y), fit.save('fit.npz')"
    )
    if options.plot:
        print(f"\nCost curve written to {tour.plot(fit, options.plot, False)}")


def read_svmlight(file: str) -> tuple[Any, np.ndarray]:
    """The rows, as a CSR matrix, and the targets of a file in svmlight format."""
    try:
        from sklearn.datasets import load_svmlight_file
    except ImportError:
        raise fastgd.InputError(
            f"{file} is in svmlight format, which scikit-learn reads; it is not installed: "
            'pip install "fastgd[svmlight]".'
        ) from None
    try:
        x, y = load_svmlight_file(file)
    except FileNotFoundError:
        raise fastgd.InputError(f"There is no file {file}.") from None
    except (OSError, EOFError) as error:
        reason = "it is a folder" if Path(file).is_dir() else getattr(error, "strerror", None)
        raise fastgd.InputError(f"{file} can't be read: {reason or error}.") from None
    except (ValueError, OverflowError) as error:
        reason = str(error).rstrip(".")
        raise fastgd.InputError(
            f"{file} is not in svmlight format, 'target column:value column:value …' in each row: "
            f"{reason}."
        ) from None
    if not len(y):
        raise fastgd.InputError(f"{file} has no rows.")
    return x, y


def _task(values: np.ndarray, labels: bool) -> str:
    """What is predicted, in words."""
    shown = ", ".join(f"{value:g}" for value in values[:10]) + (", …" if len(values) > 10 else "")
    if labels:
        return f"one of {len(values)} labels: {shown}"
    whole = len(values) <= 100 and (values == np.floor(values)).all()
    hint = f" (if its {len(values)} values are labels, add --logistic)" if whole else ""
    return f"a number, from {values[0]:g} to {values[-1]:g}{hint}"


def _split(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and to test with; too few rows are all fitted on."""
    order = np.random.default_rng(0).permutation(n)
    held_out = n // _FOLDS if n >= 10 * _FOLDS else 0
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _quality(fit: fastgd.Fit, x: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> str:
    """The score on both kinds of rows, and for labels that of the most frequent one."""
    rows = [test, train] if len(test) else [train]
    scores = [fit.score(x[chosen], y[chosen]) for chosen in rows]
    if fit.classes is None:
        first, *other = [f"R² {score:.4f}" for score in scores]
        return first + (f" on the other rows, {other[0]} on these" if other else "")
    first, *other = [f"{score:.1%}" for score in scores]
    _, counts = np.unique(y[rows[0]], return_counts=True)
    text = f"{first} of the labels{' of the other rows' if other else ''} right"
    text += f" ({other[0]} of these)" if other else ""
    return text + f"; always the most frequent one: {counts.max() / counts.sum():.1%}"


def _show_coefficients(fit: fastgd.Fit) -> None:
    """The largest coefficients, and how many are 0."""
    coef = np.atleast_2d(fit.coef)
    k, d = coef.shape
    zero = coef.size - np.count_nonzero(coef)
    print(f"   the largest of {coef.size:,} coefficients"
          + (f", {zero:,} of which are 0" if zero else "") + " (columns count from 0)")  # fmt: skip
    print(f"   {'column':>10}  {'coefficient':>14}" + ("  for the label" if k > 1 else ""))
    largest = np.argsort(-np.abs(coef), axis=None, kind="stable")[:_SHOWN]
    for place in largest[coef.ravel()[largest] != 0]:
        output, column = divmod(int(place), d)
        label = f"  {fit.classes[output]:g}" if k > 1 and fit.classes is not None else ""
        print(f"   {column:10}  {coef[output, column]:14.6g}{label}")
    if k == 1:
        print(f"   {'intercept':>10}  {float(np.ravel(fit.intercept)[0]):14.6g}")
    print()
