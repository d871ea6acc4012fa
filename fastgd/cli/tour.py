"""python -m fastgd: a guided first run, on a small real data set or on your own CSV file."""

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import fastgd

from .. import reference
from ..errors import BlockError
from ..losses import CLASSES, LABELS, LOSSES
from . import compiling
from .csv_table import Table, read_csv
from .terminal_plot import curve

_Result = TypeVar("_Result")

EPOCHS = 100
SHIPPED = "333 Antarctic penguins (shipped with fastgd; Gorman et al. 2014, CC0)"
UNITS = {
    "flipper_length_mm": "mm",
    "bill_length_mm": "mm",
    "bill_depth_mm": "mm",
    "body_mass_g": "g",
}
#: Numbers that plain Python may read in one timed run: about half a second.
PLAIN_PYTHON_BUDGET = 3_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status, 0, or 2 for an error of the user."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        if words and words[0] in ("mnist", "cifar10"):
            from . import digits

            digits.run(words[0], words[1:])
        elif words and words[0] == "compile":
            from . import compile_ahead

            compile_ahead.run(words[1:])
        elif words and words[0] == "predict":
            from . import predicting

            predicting.run(words[1:])
        else:
            from . import svmlight, table_file

            options = _parser().parse_args(words)
            if options.file is not None and svmlight.is_svmlight(options.file):
                svmlight.run(options)
            elif options.loss or (options.file is not None and table_file.is_table(options.file)):
                own_costs(options)
            else:
                first_run(options)
    except (fastgd.InputError, fastgd.DivergenceError, BlockError, FileNotFoundError) as error:
        print(f"fastgd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastgd: stopped.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastgd",
        description="""\
Fit a linear or logistic model by gradient descent and show what happens: the
coefficients, the cost falling, the time against plain Python, the Python code.
Without FILE, on a small real data set that ships with fastgd.""",
        epilog="""examples:
  python -m fastgd                                    body mass of penguins
  python -m fastgd --logistic                         their sex
  python -m fastgd houses.csv --target price          your own data
  python -m fastgd houses.csv --target price --without id --without street
  python -m fastgd mail.csv --target spam --logistic --plot cost.png
  python -m fastgd houses.parquet --target price --save fit.npz
  python -m fastgd predict fit.npz new.parquet -o prices.parquet
  python -m fastgd text.svm                           sparse rows, in svmlight format
  python -m fastgd mnist FOLDER                       softmax and a net on images (or cifar10)
  python -m fastgd compile                            kernels into the cache, ahead of their use""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="CSV in UTF-8, column names in the first row, then numbers or text, separated by commas, "
        "semicolons or tabs; a Parquet or Arrow file, or a folder of them; or sparse rows in svmlight "
        "format. Text columns are encoded, one feature for each value but the first",
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column of FILE to predict")
    parser.add_argument(
        "--without",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column of FILE to ignore (may be repeated); all others are features",
    )
    parser.add_argument(
        "--logistic",
        action="store_true",
        help="logistic regression: the target holds two labels, numbers or text",
    )
    parser.add_argument(
        "--loss",
        choices=[name for name, loss in LOSSES.items() if loss.targets != CLASSES],
        help="another loss than that of least squares or, with --logistic, of logistic regression",
    )
    parser.add_argument(
        "--save", metavar="FILE", help="write the fit, for python -m fastgd predict"
    )
    parser.add_argument("--plot", metavar="FILE", help="write the cost curve as a picture (PNG)")
    return parser


def first_run(options: argparse.Namespace) -> None:
    """Fit, show, time and explain; everything `python -m fastgd` prints."""
    name = "fit_logistic" if options.logistic else "fit_linear"
    fit_model = getattr(fastgd, name)
    table, path = _load(options)
    units = UNITS if options.file is None else {}
    data = f"{options.file}: {len(table.y):,} rows" if options.file else SHIPPED
    few = ", ".join(table.features[:4]) + (", …" if len(table.features) > 4 else "")
    print(f"Data   {data}\nTask   {table.target} from {few}\n")

    print(f"1. The answer: fastgd.{name}(x, y)\n")
    start = time.perf_counter()
    with compiling.told():
        fit = noted(fit_model, table.x, table.y)
    first = time.perf_counter() - start
    _show_coefficients(table, fit, units)
    print(f"   {_quality(fit, table.x, table.y)}; {epochs(fit)}; method: {fit.method}\n")

    z, lr = _textbook(table.x, options.logistic)
    print(f"2. Gradient descent at work: fastgd.{name}(z, y, lr={lr:g}, epochs={EPOCHS})")
    print("   on z, which is x with every column scaled to mean 0 and standard deviation 1\n")
    with compiling.told():
        slow = noted(fit_model, z, table.y, lr=lr, epochs=EPOCHS)
    drawing, log = curve([*slow.costs, slow.cost])
    square = f", {units[table.target]}²" if table.target in units else ""
    cost = "mean cross-entropy" if options.logistic else f"mean squared error{square}"
    print(f"   cost ({cost}{'; logarithmic scale' if log else ''})\n{drawing}\n")
    print(f"   {_quality(slow, z, table.y)} after {EPOCHS} epochs at this small step\n")

    print("3. Speed: the same textbook loop, all its epochs\n")
    _race(fit_model, table, options.logistic)
    print(f"   The first fit above, with compiling or loading the compiled code: {first:.2f} s\n")

    few_lines = (
        three_lines(table, path, name) if table.loadtxt else _python(options, table, name, "")
    )
    print(f"4. The same in {'three' if table.loadtxt else 'a few'} lines of Python\n")
    for line in few_lines:
        print(f"   {line}")
    print("\n   then: fit.coef, fit.intercept, fit.predict(x), fit.score(x, y)")
    if options.file is None:
        print("   Your own data: python -m fastgd FILE.csv --target COLUMN [--logistic]")
    _written(options, table, fit, slow, log)


def own_costs(options: argparse.Namespace) -> None:
    """Fit and show, with the costs of the fit itself: for rows on the disk, and for other losses."""
    from . import table_file

    if options.file is None:
        raise fastgd.InputError("--loss needs a file: python -m fastgd FILE --target COLUMN.")
    if options.loss and options.logistic:
        raise fastgd.InputError("--logistic is the loss 'bce'; leave out one of it and --loss.")
    labels = options.logistic or (options.loss and LOSSES[options.loss].targets == LABELS)
    if table_file.is_table(options.file):
        table = table_file.read_table(options.file, options.target, options.without, labels)
    else:
        table = read_csv(options.file, options.target, without=options.without, labels=labels)
    name = "fit" if options.loss else "fit_logistic" if options.logistic else "fit_linear"
    loss = {"loss": options.loss} if options.loss else {}
    more = "".join(f", {key}={value!r}" for key, value in loss.items())
    few = ", ".join(table.features[:4]) + (", …" if len(table.features) > 4 else "")
    print(f"Data   {options.file}: {len(table.y):,} rows\nTask   {table.target} from {few}\n")

    print(f"1. The answer: fastgd.{name}(x, y{more})\n")
    start = time.perf_counter()
    with compiling.told():
        fit = noted(getattr(fastgd, name), table.x, table.y, **loss)
    seconds = time.perf_counter() - start
    _show_coefficients(table, fit, {})
    print(f"   {_quality(fit, table.x, table.y)}; {epochs(fit)}, in {seconds:.2f} s; "
          f"method: {fit.method}\n")  # fmt: skip

    drawing, log = curve([*fit.costs, fit.cost])
    print("2. The cost falling\n")
    print(f"   cost (mean loss{'; logarithmic scale' if log else ''})\n{drawing}\n")

    print("3. The same in Python\n")
    for line in _python(options, table, name, more):
        print(f"   {line}")
    print(
        "\n   then: fit.coef, fit.intercept, fit.predict(x), fit.score(x, y), fit.save('fit.npz')"
    )
    _written(options, table, fit, fit, log)


def _written(
    options: argparse.Namespace, table: Table, fit: fastgd.Fit, drawn: fastgd.Fit, log: bool
) -> None:
    """Write the fit and the picture of a cost curve, where they are asked for."""
    if options.save:
        fit = copy.copy(fit)
        fit.feature_names, fit.categories = tuple(table.features), table.categories or None
        try:
            fit.save(options.save)
        except OSError as error:
            raise fastgd.InputError(
                f"The fit {options.save} can't be written: {error.strerror}."
            ) from None
        print(
            f"\nFit written to {options.save}; python -m fastgd predict {options.save} DATA -o OUT"
        )
    if options.plot:
        print(f"\nCost curve written to {plot(drawn, options.plot, log)}")


def _python(options: argparse.Namespace, table: Table, name: str, more: str) -> list[str]:
    """Python code that fits the same model to the columns of a file."""
    from . import table_file

    path, target, without = str(options.file), table.target, [*options.without]
    on_disk = table_file.is_table(path)
    if on_disk and not table.categories and not without:
        whole = f"pathlib.Path({path!r})"
        return ["import fastgd, pathlib", f"fit = fastgd.{name}({whole}, {target!r}{more})"]
    read = f"read_csv({path!r}, sep=None, engine='python')"
    if on_disk:
        kind = "feather" if Path(path).suffix.lower() in table_file.ENDINGS[1:] else "parquet"
        read = f"read_{kind}({path!r})"
    lines = ["import fastgd, pandas", f"table = pandas.{read}"]
    if without:
        lines += [f"table = table.drop(columns={without!r})"]
    text = f", categories={list(table.categories)!r}" if table.categories else ""
    return [*lines, f"fit = fastgd.{name}(table, {target!r}{text}{more})"]


def _load(options: argparse.Namespace) -> tuple[Table, Path]:
    """The table, and the path of its file."""
    if options.file is not None:
        path, target, without = Path(options.file), options.target, options.without
    elif options.target is not None or options.without:
        raise fastgd.InputError(
            "--target and --without need a file: python -m fastgd FILE.csv --target COLUMN."
        )
    else:
        path = Path(str(files("fastgd") / "datasets" / "penguins.csv"))
        target, without = ("sex", []) if options.logistic else ("body_mass_g", ["sex"])
    return read_csv(path, target, without=without, labels=options.logistic), path


def noted(fit_model: Callable[..., fastgd.Fit], *args: Any, **kwargs: Any) -> fastgd.Fit:
    """Fit; print warnings as plain sentences instead of as source lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = fit_model(*args, **kwargs)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"   Note: {message}\n")
    return fit


def _show_coefficients(
    table: Table, fit: fastgd.Fit, units: dict[str, str], most: int = 40
) -> None:
    """One line a column, with the unit where it is known."""
    if fit.classes is None:
        top, what = units.get(table.target, ""), f"{table.target} per unit of the column"
        what = f"log of {what}" if fit.link == "exponential" else what
    else:
        label = fit.classes[1] if fit.classes.dtype.kind in "Ub" else f"{fit.classes[1]:g}"
        top, what = "", f"of {table.target} = {label} per unit of the column"
        what = f"{'log-odds' if fit.link == 'logistic' else 'raw prediction'} {what}"
    width = max(map(len, ("intercept", *table.features[:most])))
    print(f"   {'column':{width}}  {'coefficient':>14}  {'' if units and top else what}".rstrip())
    for column, value in zip(table.features[:most], fit.coef, strict=False):
        unit = f"{top} per {units[column]}".lstrip() if column in units else ""
        print(f"   {column:{width}}  {value:14.6g}  {unit}".rstrip())
    if len(table.features) > most:
        print(f"   … and {len(table.features) - most} more columns")
    print(f"   {'intercept':{width}}  {fit.intercept:14.6g}  {top}".rstrip() + "\n")


def _quality(fit: fastgd.Fit, x: Any, y: np.ndarray) -> str:
    score = fit.score(x, y)
    if fit.link == "exponential":
        return f"D² {score:.4f}"
    return f"R² {score:.4f}" if fit.classes is None else f"{score:.1%} of the labels right"


def epochs(fit: fastgd.Fit) -> str:
    """How many epochs, and whether they converged, in words."""
    number = "1 epoch" if fit.n_epochs == 1 else f"{fit.n_epochs:,} epochs"
    return number + (", converged" if fit.converged else ", not converged")


def _textbook(x: np.ndarray, logistic: bool) -> tuple[np.ndarray, float]:
    """Columns of mean 0 and standard deviation 1, and a small constant step that suits them."""
    largest = np.abs(x).max(axis=0)  # first, so that squares neither overflow nor vanish
    x = x / np.where(largest > 0, largest, 1.0)
    spread = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    curvature = LOSSES["bce" if logistic else "mse"].curvature
    # The intercept's own eigenvalue is 1. A tenth of the safe step, rounded down to one digit: easy
    # to type, and slow enough to see the cost fall.
    gram = z.T @ z if x.shape[1] <= len(x) else z @ z.T
    steepest = max(1.0, np.linalg.eigvalsh(gram / len(x))[-1])
    lr = 0.1 / (curvature * steepest)
    digit = 10.0 ** np.floor(np.log10(lr))
    return z, float(f"{np.floor(lr / digit) * digit:.0e}")


def _race(fit_model: Callable[..., fastgd.Fit], table: Table, logistic: bool) -> None:
    """Time plain Python and fastgd on exactly the same work, and compare what they return."""
    n, d = table.x.shape
    m = min(n, max(20, PLAIN_PYTHON_BUDGET // (EPOCHS * (d + 3))))
    # Rows spread evenly over the sorted target: both labels are there.
    rows = np.argsort(table.y, kind="stable")[np.linspace(0, n - 1, m).astype(int)]
    z, lr = _textbook(table.x[np.sort(rows)], logistic)
    y = table.y[np.sort(rows)]
    target = (y == np.unique(y)[1]).astype(float) if logistic else y
    z_list, y_list, loss = z.tolist(), target.tolist(), LOSSES["bce" if logistic else "mse"]

    def plain() -> Any:
        return reference.batch_gd(z_list, y_list, [0.0] * d, lr=lr, epochs=EPOCHS, loss=loss)

    def fast() -> fastgd.Fit:
        return fit_model(z, y, lr=lr, epochs=EPOCHS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fast()  # compiles
        plain_time, (coef, intercept, costs, _) = _median_time(plain, 3)
        fast_time, fit = _median_time(fast, 21)
    pairs = [([*coef, intercept], [*fit.coef, fit.intercept]), (costs, fit.costs)]
    off = max(np.abs(np.subtract(a, b)).max() / (np.abs(a).max() or 1.0) for a, b in pairs)
    digits = 15 if off < 1e-15 else int(-np.log10(off))

    ratio = f"{plain_time / fast_time:,.0f} times as fast"
    print(f"   plain Python  {plain_time * 1e3:10,.2f} ms   (fastgd.reference.batch_gd)")
    print(f"   fastgd        {fast_time * 1e3:10,.2f} ms   {ratio}\n")
    some = f"{m:,} of the {n:,} rows" if m < n else f"All {n:,} rows"
    print(f"   {some}, {EPOCHS} epochs; median of 3 and 21 runs after compiling.")
    print(f"   Coefficients and all {EPOCHS} costs agree to {digits} digits.")


def _median_time(run: Callable[[], _Result], times: int) -> tuple[float, _Result]:
    """The median time of a number of runs, and the result of the last one."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def three_lines(table: Table, path: Path, name: str) -> list[str]:
    """Python code, without fastgd's private parts, that fits the same model."""
    x = "table[:, :-1]" + (".astype(float)" if table.y.dtype.kind == "U" else "")
    return [
        "import fastgd, numpy",
        f"table = numpy.loadtxt({str(path)!r}, {table.loadtxt})",
        f"fit = fastgd.{name}({x}, table[:, -1])",
    ]


def plot(fit: fastgd.Fit, file: str, log: bool) -> Path:
    """Write the cost curve to a picture file; return its path."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise fastgd.InputError(
            '--plot needs matplotlib, which is not installed: pip install "fastgd[plot]".'
        ) from None
    path = Path(file) if Path(file).suffix else Path(file).with_suffix(".png")
    figure = Figure(layout="constrained")
    fit.plot(figure.subplots()).set_yscale("log" if log else "linear")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise fastgd.InputError(f"The picture {path} can't be written: {error}") from None
    return path
