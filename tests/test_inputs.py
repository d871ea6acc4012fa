"""What can be passed, and the sentence for everything that can't: the README's table of errors."""

import datetime
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch

import fastgd
from fastgd import inputs
from fastgd.sources.readers import in_blocks

X = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 5.0], [4.0, 3.0], [5.0, 8.0], [6.0, 4.0]])
Y = np.array([1.0, 3.0, 2.0, 5.0, 4.0, 6.0])
LABELS = np.array([0, 1, 0, 1, 0, 1])


def with_(array, value, *at):
    """A copy of `array` with `value` at index `at`."""
    array = np.array(array)
    array[at] = value
    return array


# --- bad input: arguments that differ from fit_linear(X, Y), and the whole sentence -------------------


class Schedule:
    """A schedule of one's own that gives whatever it was given."""

    def __init__(self, given):
        self.given = given

    def rate(self, lr, epoch):
        return self.given


NAN, INF = np.nan, np.inf
SETS = "expected a finite number"
CHOICE = (
    "choose from 'gd', 'momentum', 'nesterov', 'adagrad', 'adam', 'adamw', 'adamax', 'asgd', 'lbfgs', "
    "'rmsprop', 'rprop', or pass an object such as fastgd.Adam()."
)

DATA = {
    "x of 0 rows": ({"x": np.empty((0, 2))}, "x has 0 rows; pass at least one."),
    "x = []": ({"x": []}, "x has 0 rows; pass at least one."),
    "x of 0 columns": (
        {"x": np.empty((6, 0))},
        "x has 0 columns; pass at least one feature.",
    ),
    "x a number": ({"x": 3.0}, "x has shape (); expected (n,) or (n, d)."),
    "x (n, d, 1)": (
        {"x": X[:, :, None]},
        "x has shape (6, 2, 1); expected (n,) or (n, d).",
    ),
    "x shorter than y": (
        {"x": X[:4]},
        "x has 4 rows and y has 6; they must have the same length.",
    ),
    "x ragged": (
        {"x": [[1, 2], [3]]},
        "x can't be read as an array: its rows have different lengths.",
    ),
    "x None": ({"x": None}, "x is None; pass an array or a list of numbers."),
    "x of text": ({"x": ["a"] * 6}, "x holds text ('a' at row 0); encode it as numbers first."),
    "x text in one cell": (
        {"x": with_(X.astype(object), "two", 2, 1)},
        "x holds text ('two') at row 2, column 1; encode it as a number first.",
    ),
    "x DataFrame with a text column": (
        {"x": pd.DataFrame({"size": Y, "town": list("abcdef")})},
        "x holds text ('a') at row 0, column 1 ('town'); encode it as a number first.",
    ),
    "x with None": (
        {"x": with_(X.astype(object), None, 5, 1)},
        "x has no value (None) at row 5, column 1; drop or fill that row.",
    ),
    "x of objects": (
        {"x": with_(X.astype(object), [], 3, 0)},
        "x holds a list ([]) at row 3, column 0; encode it as a number first.",
    ),
    "x of bytes": (
        {"x": [b"a"] * 6},
        "x holds bytes (b'a' at row 0); encode it as numbers first.",
    ),
    "x of dates": (
        {"x": np.array(["2024-02-29"] * 6, "M8[D]")},
        "x holds dates (datetime.date(2024, 2, 29) at row 0); encode it as numbers first.",
    ),
    "x of datetime.date": (
        {"x": [datetime.date(2024, 2, 29)] * 6},
        "x holds a date (datetime.date(2024, 2, 29)) at row 0; encode it as a number first.",
    ),
    "x DataFrame with a column of dates": (
        {"x": pd.DataFrame({"size": Y, "day": pd.date_range("2024-02-29", periods=6, unit="ns")})},
        "x holds dates (datetime.datetime(2024, 2, 29, 0, 0) at row 0, column 1 ('day')); encode it as "
        "numbers first.",
    ),
    "x DataFrame with text after objects": (
        {"x": pd.DataFrame({"a": [1, 2, 3, 4, 5, 6], "b": [1, 2, 3, "four", 5, 6]})},
        "x holds text ('four') at row 3, column 1 ('b'); encode it as a number first.",
    ),
    "x of time spans": (
        {"x": np.ones(6, "m8[s]")},
        "x holds time spans (datetime.timedelta(seconds=1) at row 0); encode it as numbers first.",
    ),
    "x complex": (
        {"x": X + 1j},
        "x is complex; take its real part, or stack real and imaginary parts.",
    ),
    "x a number of 400 digits": (
        {"x": [10**400] * 6},
        "x holds a number beyond float64 at row 0; scale it first.",
    ),
    "x of StringDType": (
        {"x": np.array(list("abcdef"), np.dtypes.StringDType())},
        "x holds text ('a' at row 0); encode it as numbers first.",
    ),
    "x a longdouble beyond float64": (
        {"x": with_(X.astype(np.longdouble), np.longdouble("-1e4000"), 3, 1)},
        "x holds a number beyond float64 at row 3, column 1; scale it first.",
    ),
    "x a tensor without data": (
        {"x": torch.ones(6, 2, device="meta")},
        "x is a torch.strided tensor on meta; pass a dense CPU one.",
    ),
    "x nullable with <NA>": (
        {"x": pd.DataFrame({"size": pd.array([1, 2, None, 4, 5, 6], dtype="Int64")})},
        "x is nan at row 2, column 0 ('size'); drop or fill that row.",
    ),
    "x floats and nullable with <NA>": (
        {"x": pd.DataFrame({"a": Y, "old": pd.array([True, None] * 3, dtype="boolean")})},
        "x is nan at row 1, column 1 ('old'); drop or fill that row.",
    ),
    "x strings with <NA>": (
        {"x": pd.DataFrame({"a": Y, "town": pd.array([None, "a"] * 3, dtype="string")})},
        "x has no value (<NA>) at row 0, column 1 ('town'); drop or fill that row.",
    ),
    "x masked": (
        {"x": np.ma.masked_greater(X, 5)},
        "x is a masked array with masked entries; fill or drop them first.",
    ),
    "y sparse": (
        {"y": scipy.sparse.csr_matrix(Y)},
        "y is sparse; pass y.toarray().",
    ),
    "x a sparse tensor": (
        {"x": torch.tensor(X).to_sparse()},
        "x is a torch.sparse_coo tensor on cpu; pass a dense CPU one.",
    ),
    "x with NaN": (
        {"x": with_(X, NAN, 3, 1)},
        "x is nan at row 3, column 1; drop or fill that row.",
    ),
    "x with -inf": (
        {"x": with_(X, -INF, 0, 1)},
        "x is -inf at row 0, column 1; drop or fill that row.",
    ),
    "x DataFrame with NaN": (
        {"x": pd.DataFrame(with_(X, NAN, 3, 1), columns=["size", "age"])},
        "x is nan at row 3, column 1 ('age'); drop or fill that row.",
    ),
    "x polars with null": (
        {"x": pl.DataFrame({"size": Y, "age": [1.0, None, 2.0, 5.0, 3.0, 4.0]})},
        "x is nan at row 1, column 1 ('age'); drop or fill that row.",
    ),
    "y shorter than x": (
        {"y": Y[:4]},
        "x has 6 rows and y has 4; they must have the same length.",
    ),
    "y (n, k, 1)": (
        {"y": Y[:, None, None]},
        "y has shape (6, 1, 1); expected (n,) or (n, k).",
    ),
    "y a number": ({"y": 2.0}, "y has shape (); expected (n,) or (n, k)."),
    "y of 0 columns": (
        {"y": np.empty((6, 0))},
        "y has 0 columns; pass at least one target.",
    ),
    "y with NaN": (
        {"y": with_(Y, NAN, 2)},
        "y is nan at row 2; drop or fill that row.",
    ),
    "y (n, k) with inf": (
        {"y": with_(np.column_stack([Y, Y]), INF, 4, 1)},
        "y is inf at row 4, column 1; drop or fill that row.",
    ),
    "y of text": (
        {"y": list("abcdef")},
        "y holds text ('a' at row 0); encode it as numbers first.",
    ),
    "y complex": (
        {"y": Y + 0j},
        "y is complex; take its real part, or stack real and imaginary parts.",
    ),
    "y None": ({"y": None}, "y is None; pass an array or a list of numbers."),
    "y a number of 400 digits": (
        {"y": [1.0, 2.0, 3.0, 4.0, 5.0, 10**400]},
        "y holds a number beyond float64 at row 5; scale it first.",
    ),
    "weight negative": (
        {"sample_weight": with_(Y, -2, 4)},
        "sample_weight is -2.0 at row 4; weights can't be negative.",
    ),
    "weights all zero": (
        {"sample_weight": np.zeros(6)},
        "sample_weight is zero for every row; at least one must be positive.",
    ),
    "weight NaN": (
        {"sample_weight": with_(Y, NAN, 1)},
        "sample_weight is nan at row 1; drop or fill that row.",
    ),
    "weight inf": (
        {"sample_weight": with_(Y, INF, 1)},
        "sample_weight is inf at row 1; drop or fill that row.",
    ),
    "weights too few": (
        {"sample_weight": Y[:3]},
        "sample_weight has shape (3,); expected (6,), one a row of x.",
    ),
    "weights of text": (
        {"sample_weight": list("abcdef")},
        "sample_weight holds text ('a' at row 0); encode it as numbers first.",
    ),
}

HUGE = 10**400
DIGITS = "1" + 79 * "0" + "…" + 20 * "0"
OPTIONS = {
    "lr=10**400": ({"lr": HUGE}, f"lr is {DIGITS}; {SETS} above 0."),
    "lr=10**6000": ({"lr": 10**6000}, f"lr is an unprintable int; {SETS} above 0."),
    "l1=10**400": ({"l1": HUGE}, f"l1 is {DIGITS}; {SETS} at least 0."),
    "l2=-10**400": ({"l2": -HUGE}, f"l2 is -…; {SETS} at least 0."),
    "tol=10**400": ({"tol": HUGE}, f"tol is {DIGITS}; {SETS} above 0."),
    "epochs=10**400": ({"epochs": HUGE}, f"epochs is {DIGITS}; expected at most {2**63 - 1}."),
    "batch_size=10**400": (
        {"batch_size": HUGE},
        f"batch_size is {DIGITS}; expected at most {2**63 - 1}.",
    ),
    "patience=10**400": (
        {"patience": HUGE},
        f"patience is {DIGITS}; expected at most {2**63 - 1}.",
    ),
    "coef_init=10**400": (
        {"coef_init": [HUGE, 1]},
        "coef_init holds a number beyond float64 at row 0; scale it first.",
    ),
    "intercept_init=10**400": (
        {"intercept_init": HUGE},
        "intercept_init holds a number beyond float64; scale it first.",
    ),
    "validation=10**400": (
        {"validation": HUGE},
        f"validation is {DIGITS}; pass a fraction of the rows above 0 and below 1, or a tuple (x, y), "
        "(x, y, sample_weight) or (x, y, sample_weight, offset).",
    ),
    "device=10**400": ({"device": HUGE}, f"device is {DIGITS}; choose from 'cpu', 'cuda'."),
    "dtype=10**6000": (
        {"dtype": 10**6000},
        "dtype is an unprintable int; choose 'float32' or 'float64'.",
    ),
    "shuffle=[True, False]": (
        {"shuffle": np.array([True, False])},
        "shuffle is array([ True, False]); choose from True, False, 'block'.",
    ),
    "schedule beyond float64": (
        {"schedule": lambda epoch: HUGE, "lr": 0.1},
        "the schedule LambdaLR gives lr=inf for epoch 0; expected a finite number from 0 up.",
    ),
    "schedule of nothing": (
        {"schedule": Schedule(None), "lr": 0.1},
        "the schedule Schedule gives lr=None for epoch 0; expected a finite number from 0 up.",
    ),
    "lr=-1": ({"lr": -1}, f"lr is -1; {SETS} above 0."),
    "lr=0": ({"lr": 0}, f"lr is 0; {SETS} above 0."),
    "lr=nan": ({"lr": NAN}, f"lr is nan; {SETS} above 0."),
    "lr=inf": ({"lr": INF}, f"lr is inf; {SETS} above 0."),
    "lr='fast'": ({"lr": "fast"}, "lr is 'fast'; pass a number or 'auto'."),
    "lr=True": ({"lr": True}, "lr is True; expected a number."),
    "lr=None": ({"lr": None}, "lr is None; expected a number."),
    "lr=[0.1, 0.2]": (
        {"lr": [0.1, 0.2]},
        "lr has 2 values and y has 1 column(s); pass one number, or one for each column.",
    ),
    "lr=[[0.1]]": (
        {"lr": [[0.1]]},
        "lr has shape (1, 1); pass one number, or one for each output.",
    ),
    "epochs=0": ({"epochs": 0}, "epochs is 0; expected at least 1."),
    "epochs=-1": ({"epochs": -1}, "epochs is -1; expected at least 1."),
    "epochs=1.5": ({"epochs": 1.5}, "epochs is 1.5; expected a whole number."),
    "epochs=True": ({"epochs": True}, "epochs is True; expected a whole number."),
    "batch_size=0": ({"batch_size": 0}, "batch_size is 0; expected at least 1."),
    "batch_size larger than n": (
        {"batch_size": 7},
        "batch_size is 7, x has 6 rows; None takes all rows at once.",
    ),
    "batch_size=2.0": ({"batch_size": 2.0}, "batch_size is 2.0; expected a whole number."),
    "optimizer='adamm'": (
        {"optimizer": "adamm"},
        f"optimizer is 'adamm'; did you mean 'adam'? {CHOICE}",
    ),
    "optimizer='best'": ({"optimizer": "best"}, f"optimizer is 'best'; {CHOICE}"),
    "optimizer=Adam": (
        {"optimizer": fastgd.Adam},
        "optimizer is the class Adam; pass Adam().",
    ),
    "schedule with auto": (
        {"schedule": fastgd.schedules.StepLR(5)},
        "schedule needs a learning rate to begin with; pass lr as a number.",
    ),
    "schedule='cosine'": (
        {"schedule": "cosine", "lr": 0.1},
        "schedule is 'cosine'; pass a function of the epoch, or one of fastgd.schedules, such as "
        "StepLR(30).",
    ),
    "schedule below 0": (
        {"schedule": lambda epoch: -1.0, "lr": 0.1},
        "the schedule LambdaLR gives lr=-0.1 for epoch 0; expected a finite number from 0 up.",
    ),
    "schedule of text": (
        {"schedule": lambda epoch: "small", "lr": 0.1},
        "the schedule gives 'small' for epoch 0; expected a factor of lr.",
    ),
    "average without batches": (
        {"average": True, "lr": 0.1},
        "average is for stochastic updates; pass batch_size.",
    ),
    "lbfgs in batches": (
        {"optimizer": "lbfgs", "batch_size": 2, "lr": 0.1},
        "'lbfgs' looks at all rows in every step; leave batch_size out.",
    ),
    "l1 with adam": (
        {"optimizer": "adam", "l1": 0.1},
        "l1 takes proximal steps of plain descent; leave optimizer out, or use l2.",
    ),
    "optimizer='gdd'": (
        {"optimizer": "gdd"},
        f"optimizer is 'gdd'; did you mean 'gd'? {CHOICE}",
    ),
    "optimizer='SGD'": (
        {"optimizer": "SGD"},
        "optimizer is 'SGD'; choose 'gd', with batch_size for stochastic steps.",
    ),
    "optimizer=['gd']": (
        {"optimizer": ["gd"]},
        f"optimizer is ['gd']; {CHOICE}",
    ),
    "tol=nan": ({"tol": NAN}, f"tol is nan; {SETS} above 0."),
    "tol=-1": ({"tol": -1}, f"tol is -1; {SETS} above 0."),
    "tol=0": ({"tol": 0}, f"tol is 0; {SETS} above 0."),
    "tol='small'": ({"tol": "small"}, "tol is 'small'; expected a number."),
    "l1=-1": ({"l1": -1}, f"l1 is -1; {SETS} at least 0."),
    "l2=-1": ({"l2": -1}, f"l2 is -1; {SETS} at least 0."),
    "l2=nan": ({"l2": NAN}, f"l2 is nan; {SETS} at least 0."),
    "shuffle='blok'": (
        {"shuffle": "blok"},
        "shuffle is 'blok'; did you mean 'block'? choose from True, False, 'block'.",
    ),
    "seed=-1": ({"seed": -1}, "seed is -1; expected at least 0."),
    "seed=None": ({"seed": None}, "seed is None; expected a whole number."),
    "reduction='avg'": (
        {"reduction": "avg"},
        "reduction is 'avg'; choose from 'mean', 'sum'.",
    ),
    "device='gpu'": ({"device": "gpu"}, "device is 'gpu'; choose from 'cpu', 'cuda'."),
    "dtype='int32'": ({"dtype": "int32"}, "dtype is 'int32'; choose 'float32' or 'float64'."),
    "dtype='double precision'": (
        {"dtype": "double precision"},
        "dtype is 'double precision'; choose 'float32' or 'float64'.",
    ),
    "coef_init of another shape": (
        {"coef_init": [1.0, 2.0, 3.0]},
        "coef_init has shape (3,); expected (2,).",
    ),
    "coef_init for one of two targets": (
        {"y": np.column_stack([Y, Y]), "coef_init": [1.0, 2.0]},
        "coef_init has shape (2,); expected (2, 2).",
    ),
    "coef_init with NaN": ({"coef_init": [NAN, 1.0]}, "coef_init is not finite: [nan, 1.0]."),
    "intercept_init of another shape": (
        {"intercept_init": [1.0, 2.0]},
        "intercept_init has shape (2,); expected a number.",
    ),
    "intercept_init without intercept": (
        {"intercept_init": 1.0, "fit_intercept": False},
        "intercept_init needs fit_intercept=True.",
    ),
    "n_threads=0": ({"n_threads": 0}, "n_threads is 0; expected at least 1."),
    "callback=3": ({"callback": 3}, "callback is 3; expected a function of one argument."),
    "fit_intercept=1": ({"fit_intercept": 1}, "fit_intercept is 1; expected True or False."),
    "keep_path=None": ({"keep_path": None}, "keep_path is None; expected True or False."),
    "progress='yes'": ({"progress": "yes"}, "progress is 'yes'; expected True or False."),
}

Y_LABELS = {
    "one label": ([1] * 6, "y has 1 label value(s), 1; two are needed."),
    "targets for labels": (
        Y / 8,
        "y is 0.125 at row 0, and y has more than two values; numeric labels must be whole numbers, and "
        "fit_linear takes targets.",
    ),
    "labels that are lists": (
        np.array([[1], [2, 3]] * 3, dtype=object),
        "y holds values that can't be labels: …",
    ),
    "None among labels": (
        ["a", "b", None, "a", "b", "a"],
        "y has no label at row 2 (None); drop or fill that row.",
    ),
    "NaN among labels": (
        [0, 1, NAN, 1, 0, 1],
        "y is nan at row 2; drop or fill that row.",
    ),
    "NaN among text labels": (
        np.array(["a", "b", NAN, "a", "b", "a"], dtype=object),
        "y has no label at row 2 (nan); drop or fill that row.",
    ),
    "NaN in a list of text": (
        ["a", "b", NAN, "a", "b", "a"],
        "y has no label at row 2 (nan); drop or fill that row.",
    ),
    "<NA> among pandas strings": (
        pd.array(["a", "b", None, "a", "b", "a"], dtype="string"),
        "y has no label at row 2 (<NA>); drop or fill that row.",
    ),
    "NaT among dates": (
        np.array(["2023", "NaT", "2024"] * 2, "M8[Y]"),
        "y has no label at row 1 (…NaT…); drop or fill that row.",
    ),
    "NaT among time spans": (
        np.array(["1", "NaT", "2"] * 2, "m8[s]"),
        "y has no label at row 1 (…NaT…); drop or fill that row.",
    ),
    "None among StringDType": (
        np.array(["a", "b", None] * 2, np.dtypes.StringDType(na_object=None)),
        "y has no label at row 2 (None); drop or fill that row.",
    ),
    "pandas category with a gap": (
        pd.Categorical(["a", "b", None, "a", "b", "a"]),
        "y has no label at row 2 (nan); drop or fill that row.",
    ),
    "labels that can't be compared": (
        np.array(["a", 1] * 3, dtype=object),
        "y has labels of types that can't be compared: …",
    ),
    "complex labels": (LABELS + 0j, "y is complex; labels are numbers, text or booleans."),
    "one-hot labels": (
        np.eye(6, dtype=int),
        "y has shape (6, 6); fit_logistic takes one label a row, shape (n,).",
    ),
    "too few labels": (LABELS[:3], "x has 6 rows and y has 3; they must have the same length."),
    "no labels": (None, "y is None; pass an array or a list of numbers."),
}


def sentence(text):
    """A pattern for the whole message; … stands for anything."""
    return f"^{re.escape(text).replace('…', '.*')}$"


@pytest.mark.parametrize("case", [*DATA, *OPTIONS])
def test_bad_input_is_answered_with_a_sentence(case):
    arguments, text = {**DATA, **OPTIONS}[case]
    arguments = {"x": X, "y": Y, **arguments}
    with pytest.raises(fastgd.InputError, match=sentence(text)):
        fastgd.fit_linear(**arguments)


@pytest.mark.parametrize("case", Y_LABELS)
def test_bad_labels_are_answered_with_a_sentence(case):
    y, text = Y_LABELS[case]
    with pytest.raises(fastgd.InputError, match=sentence(text)):
        fastgd.fit_logistic(X, y)


@pytest.mark.parametrize("case", [c for c in DATA if c.startswith(("x", "weight"))] + [*OPTIONS])
def test_fit_logistic_says_the_same(case):
    arguments, text = {**DATA, **OPTIONS}[case]
    if "y" not in arguments:
        with pytest.raises(fastgd.InputError, match=sentence(text)):
            fastgd.fit_logistic(**{"x": X, "y": LABELS, **arguments})


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({}, NAN),
        ({"batch_size": 4}, INF),
        ({"lr": 0.01}, -INF),
        ({"lr": 0.01, "batch_size": 1}, NAN),
        ({"lr": 0.01, "batch_size": 4}, INF),
    ],
)
def test_the_culprit_is_named_on_every_loop(value, options):
    frame = pd.DataFrame(with_(X, value, 5, 0), columns=["size", "age"])
    text = f"x is {value} at row 5, column 0 ('size'); drop or fill that row."
    with pytest.raises(fastgd.InputError, match=sentence(text)):
        fastgd.fit_linear(frame, Y, **options)
    with pytest.raises(fastgd.InputError, match=sentence(text)):
        fastgd.fit_logistic(frame, LABELS, **options)


def test_a_culprit_far_down_is_found(monkeypatch):
    monkeypatch.setattr(inputs.arrays, "_SEARCH_BYTES", 64)
    x = with_(np.ones((500, 2)), NAN, 499, 1)
    with pytest.raises(fastgd.InputError, match="x is nan at row 499, column 1"):
        inputs.require_finite(x, "x")


def test_errors_are_value_errors_and_unknown_arguments_type_errors():
    assert issubclass(fastgd.InputError, ValueError)
    assert issubclass(fastgd.DivergenceError, ArithmeticError)
    assert issubclass(fastgd.ConvergenceWarning, UserWarning)
    with pytest.raises(TypeError, match="learning_rate"):
        fastgd.fit_linear(X, Y, learning_rate=0.1)


def test_finite_values_whose_sum_overflows_are_not_called_infinite():
    y = np.array([1e308, 1e308, 1e308, 1.0, 2.0, 3.0])
    converted, flat = inputs.targets(y, 6, np.float64)
    assert flat
    np.testing.assert_array_equal(converted, y[None, :])


# --- good input: everything answers as the plain float64 array does -------------------------------------


def memory_mapped(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


class HasArray:
    """Something that NumPy can read through __array__."""

    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x


class Measured(torch.Tensor):
    """A tensor of another library."""


def mixed(x, dtype):
    """A frame whose second column has another dtype."""
    frame = pd.DataFrame(x, columns=["size", "age"])
    return frame.astype({"age": dtype})


KINDS = {
    "list": lambda x, _: x.tolist(),
    "tuples": lambda x, _: tuple(map(tuple, x.tolist())),
    "memoryview": lambda x, _: memoryview(np.ascontiguousarray(x)),
    "__array__": lambda x, _: HasArray(x),
    "objects": lambda x, _: x.astype(object),
    "clean masked array": lambda x, _: np.ma.masked_array(x, mask=np.zeros_like(x, dtype=bool)),
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "every second row and column": lambda x, _: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda x, _: x[::-1, ::-1].copy()[::-1, ::-1],
    "unaligned": lambda x, _: np.frombuffer(b"." + x.tobytes(), offset=1).reshape(x.shape),
    "big-endian": lambda x, _: x.astype(">f8"),
    "big-endian int": lambda x, _: x.astype(">i4"),
    "longdouble": lambda x, _: x.astype(np.longdouble),
    "int8": lambda x, _: x.astype(np.int8),
    "uint64": lambda x, _: x.astype(np.uint64),
    "float16": lambda x, _: x.astype(np.float16),
    "float32": lambda x, _: x.astype(np.float32),
    "read-only": lambda x, _: read_only(x),
    "memory-mapped": memory_mapped,
    "pandas": lambda x, _: pd.DataFrame(x, columns=["size", "age"], index=list("fedcba")),
    "pandas of two dtypes": lambda x, _: pd.DataFrame({"i": x[:, 0].astype(int), "f": x[:, 1]}),
    "pandas same name twice": lambda x, _: pd.DataFrame(x, columns=["size", "size"]),
    "pandas Int64": lambda x, _: pd.DataFrame(x).astype("Int64"),
    "pandas Float64": lambda x, _: pd.DataFrame(x).astype("Float64"),
    "pandas floats and Int64": lambda x, _: mixed(x, "Int64"),
    "pandas floats and Float64": lambda x, _: mixed(x, "Float64"),
    "pandas floats and objects": lambda x, _: mixed(x, object),
    "pandas floats and float32": lambda x, _: mixed(x, np.float32),
    "polars": lambda x, _: pl.DataFrame({"size": x[:, 0], "age": x[:, 1]}),
    "polars of two dtypes": lambda x, _: pl.DataFrame({"i": x[:, 0].astype(int), "f": x[:, 1]}),
    "torch": lambda x, _: torch.tensor(x),
    "torch float32": lambda x, _: torch.tensor(x).float(),
    "torch with gradient": lambda x, _: torch.tensor(x, requires_grad=True),
    "torch transposed": lambda x, _: torch.tensor(x.T.copy()).T,
    "torch int": lambda x, _: torch.tensor(x).int(),
    "torch bfloat16": lambda x, _: torch.tensor(x).bfloat16(),
    "torch of 8 bits": lambda x, _: torch.tensor(x).to(torch.float8_e4m3fn),
    "torch parameter": lambda x, _: torch.nn.Parameter(torch.tensor(x)),
    "torch subclass": lambda x, _: torch.tensor(x, requires_grad=True).as_subclass(Measured),
    "torch with the negative bit": lambda x, _: torch.tensor(-1j * x).conj().imag,
    "list of tensors": lambda x, _: [torch.tensor(row, requires_grad=True) for row in x],
    "lists of tensors": lambda x, _: [
        [torch.tensor(value, requires_grad=True) for value in row] for row in x
    ],
}

LOW = ("float16", "float32", "torch float32", "torch bfloat16", "torch of 8 bits")

Y_KINDS = {
    "list": lambda y: y.tolist(),
    "int8": lambda y: y.astype(np.int8),
    "float32": lambda y: y.astype(np.float32),
    "big-endian": lambda y: y.astype(">f4"),
    "strided": lambda y: np.repeat(y, 3)[::3],
    "objects": lambda y: y.astype(object),
    "pandas": lambda y: pd.Series(y, index=list("fedcba")),
    "pandas Int64": lambda y: pd.Series(y).astype("Int64"),
    "polars": lambda y: pl.Series("y", y),
    "torch": lambda y: torch.tensor(y, requires_grad=True),
    "list of tensors": lambda y: list(torch.tensor(y, requires_grad=True)),
    "torch with the negative bit": lambda y: torch.tensor(-1j * y).conj().imag,
}


LOOPS = ({"lr": 0.01}, {"lr": 0.01, "batch_size": 1}, {"lr": 0.01, "batch_size": 4}, {})


def answers(x, y, loops=LOOPS, **options):
    """The fits of loops as rows of numbers."""
    fits = [fastgd.fit_linear(x, y, epochs=5, **loop, **options) for loop in loops]
    return np.array([[*fit.coef, fit.intercept, fit.cost] for fit in fits])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_x_gives_the_same_answer(kind, tmp_path):
    x = KINDS[kind](X, tmp_path)
    close = {"rtol": 1e-5} if kind in LOW else {"rtol": 1e-13}
    loops = ({"lr": 0.01}, {}) if kind in LOW else LOOPS
    np.testing.assert_allclose(answers(x, Y, loops), answers(X, Y, loops), **close)
    fit = fastgd.fit_logistic(X, LABELS, lr=0.01, epochs=3)
    np.testing.assert_allclose(fit.predict_proba(x), fit.predict_proba(X), **close)


@pytest.mark.parametrize("kind", Y_KINDS)
def test_every_kind_of_y_and_weights_gives_the_same_answer(kind):
    y = Y_KINDS[kind](Y)
    np.testing.assert_allclose(answers(X, y), answers(X, Y), rtol=1e-13)
    weighted = answers(X, Y, sample_weight=Y)
    np.testing.assert_allclose(answers(X, Y, sample_weight=y), weighted, rtol=1e-13)


def test_pyarrow_tables_and_columns():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"size": X[:, 0], "age": X[:, 1]})
    np.testing.assert_allclose(answers(table, pa.array(Y)), answers(X, Y), rtol=1e-13)
    column = pa.chunked_array([X[:2, 0], X[2:, 0]])
    np.testing.assert_allclose(answers(column, Y), answers(X[:, 0], Y), rtol=1e-13)


def test_pyarrow_columns_are_named():
    pa = pytest.importorskip("pyarrow")
    for table in (pa.table, pa.RecordBatch.from_pydict):
        text = "x holds text ('a') at row 0, column 1 ('town'); encode it as a number first."
        with pytest.raises(fastgd.InputError, match=sentence(text)):
            fastgd.fit_linear(table({"size": Y, "town": list("abcdef")}), Y)
        text = "x is nan at row 2, column 1 ('age'); drop or fill that row."
        with pytest.raises(fastgd.InputError, match=sentence(text)):
            fastgd.fit_linear(table({"size": Y, "age": [1, 2, None, 4, 5, 6]}), Y)


def sentence_of(x, name):
    """What is said of x, as features, targets and labels the same; networks alone refuse blocks."""
    texts = set()
    calls = (
        lambda: fastgd.fit_mlp(**{"x": X, "y": Y, name: x}),
        lambda: fastgd.fit_linear(**{"x": X, "y": Y, name: x}),
        lambda: fastgd.fit_logistic(**{"x": X, "y": LABELS, name: x}),
    )
    for call in calls[:1] if name == "x" and in_blocks(x) else calls:
        with pytest.raises(fastgd.InputError) as caught:
            call()
        texts.add(str(caught.value))
    (text,) = texts
    return text


@pytest.mark.parametrize("name", ["x", "y"])
def test_frames_without_rows_are_answered_with_what_to_do(name, tmp_path):
    pandas, polars = pd.DataFrame({"a": X[:, 0], "b": Y}), pl.DataFrame({"a": X[:, 0], "b": Y})
    pandas.to_csv(tmp_path / "x.csv")
    groups = "groups of rows; aggregate them first, "
    lazy = "a query that has not run; "
    with pd.read_csv(tmp_path / "x.csv", chunksize=2) as chunks:
        for x, text in (
            (polars.lazy(), f"polars.LazyFrame, {lazy}pass {name}.collect()"),
            (
                polars.lazy().group_by("a"),
                f"polars.LazyGroupBy, {lazy}aggregate it, and pass .collect() of that",
            ),
            (pl.col("a"), f"polars.Expr, an expression without rows; pass frame.select({name})"),
            (polars.group_by("a"), f"polars.GroupBy, {groups}as {name}.mean() does"),
            (pandas.groupby("a"), f"pandas.DataFrameGroupBy, {groups}as {name}.mean() does"),
            (pandas["b"].groupby(Y), f"pandas.SeriesGroupBy, {groups}as {name}.mean() does"),
            (
                pandas.rolling(2),
                f"pandas.Rolling, windows of rows; aggregate them first, as {name}.mean() does",
            ),
            (chunks, f"pandas.TextFileReader, not in memory; pass pandas.concat({name})"),
        ):
            assert sentence_of(x, name) == f"{name} is a {text}."


def test_pyarrow_without_rows_is_answered_with_what_to_do(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.dataset
    import pyarrow.parquet

    table, path = pa.table({"a": X[:, 0], "b": Y}), tmp_path / "x.parquet"
    pyarrow.parquet.write_table(table, path)
    dataset = pyarrow.dataset.dataset(path)
    with pyarrow.parquet.ParquetFile(path) as file:
        for x, text in (
            (dataset, "FileSystemDataset, not in memory; pass x.to_table()"),
            (dataset.scanner(), "Scanner, not in memory; pass x.to_table()"),
            (file, "ParquetFile, not in memory; pass x.read()"),
            (table.to_reader(), "RecordBatchReader, not in memory; pass x.read_all()"),
            (
                table.group_by("a"),
                "TableGroupBy, groups of rows; aggregate them first, with x.aggregate(…)",
            ),
        ):
            assert sentence_of(x, "x") == f"x is a pyarrow.{text}."


@pytest.mark.parametrize("dtype", ["double[pyarrow]", "int64[pyarrow]", "bool[pyarrow]"])
def test_arrow_columns_of_pandas(dtype):
    pytest.importorskip("pyarrow")
    plain = np.column_stack([Y, X[:, 1] > 3 if "bool" in dtype else X[:, 1]]).astype(float)
    frame = pd.DataFrame(plain, columns=["size", "age"])
    frame["age"] = frame["age"].astype(bool if "bool" in dtype else float).astype(dtype)
    np.testing.assert_array_equal(inputs.as_array(frame, "x"), plain)
    frame.loc[2, "age"] = None
    text = "x is nan at row 2, column 1 ('age'); drop or fill that row."
    with pytest.raises(fastgd.InputError, match=sentence(text)):
        fastgd.fit_linear(frame, Y)


@pytest.mark.parametrize("dtype", [bool, "boolean", "Int64", "Float64", object])
def test_a_mixed_frame_is_converted_by_column(dtype, monkeypatch):
    """One Python object for every number would take a thousand times as long as the floats alone."""
    looked_at = []
    is_missing = inputs.arrays.is_missing
    monkeypatch.setattr(inputs.arrays, "is_missing", lambda v: looked_at.append(v) or is_missing(v))
    plain = np.column_stack([Y, X[:, 1] > 3]).astype(float)
    frame = pd.DataFrame({"size": Y, "old": pd.array(X[:, 1] > 3).astype(dtype)})
    array = inputs.as_array(frame, "x")
    np.testing.assert_array_equal(array, plain)
    assert array.dtype == np.float64
    assert looked_at == []


def test_a_frame_of_floats_is_not_copied():
    frame = pd.DataFrame(X, columns=["size", "age"], copy=False)
    assert np.shares_memory(inputs.as_array(frame, "x"), X)


@pytest.mark.parametrize("kind", [lambda v: v, list, pd.Series, pl.Series, torch.tensor])
def test_one_dimension_is_one_column(kind):
    np.testing.assert_allclose(answers(kind(X[:, 0]), Y), answers(X[:, :1], Y), rtol=1e-13)


def test_bool_columns_are_zeros_and_ones():
    x = X > 3
    np.testing.assert_allclose(answers(x, Y), answers(x.astype(float), Y), rtol=1e-13)
    flagged = pd.DataFrame(x, columns=["size", "age"])
    np.testing.assert_allclose(answers(flagged, Y), answers(x.astype(float), Y), rtol=1e-13)
    one = pd.DataFrame({"size": x[:, 0], "age": X[:, 1]})
    plain = np.column_stack([x[:, 0], X[:, 1]])
    np.testing.assert_allclose(answers(one, Y), answers(plain, Y), rtol=1e-13)


ANY_LABELS = {
    "text": ["no", "yes"],
    "bytes": [b"no", b"yes"],
    "bool": [False, True],
    "ints": [-1, 1],
    "unsigned": list(np.array([3, 200], np.uint8)),
    "floats": [0.5, 2.5],
    "objects of text": list(np.array(["no", "yes"], dtype=object)),
    "objects of int": list(np.array([10**30, 10**31], dtype=object)),
    "dates": list(np.array(["2023-01-01", "2024-01-01"], "M8[D]")),
    "time spans": list(np.array([1, 2], "m8[s]")),
}


@pytest.mark.parametrize("kind", ANY_LABELS)
@pytest.mark.parametrize("container", [list, np.array, pd.Series, "column", "category"])
def test_labels_of_any_kind_give_the_same_answer(kind, container):
    values = ANY_LABELS[kind]
    y = [values[label] for label in LABELS]
    if container == "category":
        y = pd.Categorical(y)
    elif container == "column":
        y = np.array(y)[:, None]
    else:
        y = container(y)
    wanted = fastgd.fit_logistic(X, LABELS, l2=0.1)
    fit = fastgd.fit_logistic(X, y, l2=0.1)
    assert fit.coef.tobytes() == wanted.coef.tobytes()
    assert fit.costs.tobytes() == wanted.costs.tobytes()
    assert list(fit.classes) == sorted(values)
    assert fit.cost == pytest.approx(fastgd.bce_cost(X, LABELS, fit.coef, fit.intercept))
    assert set(fit.predict(X)) <= set(values)
    assert fit.score(X, np.ravel(y)) == wanted.score(X, LABELS)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint64])
def test_integer_labels_of_the_whole_range(dtype):
    """Few labels are counted from the lowest one up: int8 has no room for 127 − (−128)."""
    limits = np.iinfo(dtype)
    span = min(int(limits.max) - int(limits.min), 255)
    values = np.array([int(limits.max) - d for d in (span, 100, 1, 0)], dtype=dtype)
    y = np.tile(values, 20)
    codes, classes = inputs.labels(y, 80, np.float64)
    assert classes.dtype == dtype
    np.testing.assert_array_equal(classes, values)
    np.testing.assert_array_equal(codes, [[0, 1, 2, 3] * 20])


def test_labels_of_string_dtype():
    text = np.array(["no", "yes"], np.dtypes.StringDType())[LABELS]
    wanted = fastgd.fit_logistic(X, LABELS, l2=0.1)
    fit = fastgd.fit_logistic(X, text, l2=0.1)
    assert fit.coef.tobytes() == wanted.coef.tobytes()
    assert fit.classes.tolist() == ["no", "yes"]
    assert fit.score(X, text) == wanted.score(X, LABELS)


TUPLES = [[(0, 1), (1, 2)][label] for label in LABELS]
TEXTS = [["a", "b"][label] for label in LABELS]


@pytest.mark.parametrize(
    ("trained", "given", "text"),
    [
        (LABELS, TUPLES, "y is (0, 1) at row 0; the labels fitted are 0, 1."),
        (TUPLES, LABELS, "y is 0 at row 0; the labels fitted are (0, 1), (1, 2)."),
        (TEXTS, LABELS, "y is 0 at row 0; the labels fitted are 'a', 'b'."),
        (LABELS, TEXTS, "y is 'a' at row 0; the labels fitted are 0, 1."),
        (LABELS, LABELS.astype("m8[s]"), "y is …(0) at row 0; the labels fitted are 0, 1."),
        (LABELS, np.array([{}] * 6), "y holds values that can't be labels: …dict…"),
    ],
)
def test_labels_of_another_kind_are_told_from_those_fitted(trained, given, text):
    with pytest.raises(fastgd.InputError, match=sentence(f"in validation, {text}")):
        fastgd.fit_logistic(X, trained, lr=0.1, validation=(X, given))


def test_tuples_are_labels_also_of_the_rows_held_out():
    options = {"lr": 0.001, "epochs": 5}
    with pytest.warns(fastgd.ConvergenceWarning):
        fit = fastgd.fit_logistic(X, TUPLES, validation=(X, TUPLES), **options)
    with pytest.warns(fastgd.ConvergenceWarning):
        wanted = fastgd.fit_logistic(X, LABELS, validation=(X, LABELS), **options)
    np.testing.assert_array_equal(fit.validation_costs, wanted.validation_costs)
    assert fit.score(X, TUPLES) == wanted.score(X, LABELS)


@pytest.mark.parametrize("kind", [pl.Series, torch.tensor])
def test_labels_of_other_libraries(kind):
    fit = fastgd.fit_logistic(X, kind(LABELS.tolist()), l2=0.1)
    assert fit.coef.tobytes() == fastgd.fit_logistic(X, LABELS, l2=0.1).coef.tobytes()


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("order", "dtype"), [("F", np.float64), ("C", np.float32), ("C", np.int64)]
)
@pytest.mark.parametrize("options", [{}, {"lr": 0.01}, {"lr": 0.01, "batch_size": 2}])
def test_the_callers_arrays_are_never_modified(order, dtype, options):
    x, y = np.array(X, dtype, order=order), Y.astype(dtype)
    weight, labels = (Y + 1).astype(dtype), LABELS.copy()
    coef, intercept = np.array([0.5, -0.5]), np.array([0.25])
    before = [a.copy() for a in (x, y, weight, labels, coef, intercept)]
    common = dict(sample_weight=weight, coef_init=coef, intercept_init=intercept, l2=0.1, **options)
    fastgd.fit_linear(x, y, **common).predict(x)
    fastgd.fit_logistic(x, labels, **common).predict_proba(x)
    fastgd.mse_cost_and_gradient(x, y, coef, intercept[0], sample_weight=weight)
    fastgd.cost_curve(x, y, coef[None, :])
    fastgd.linear(x, coef[None, :], intercept)
    for array, old in zip((x, y, weight, labels, coef, intercept), before, strict=True):
        assert array.tobytes() == old.tobytes()
        assert array.flags.writeable


def test_a_fit_shares_no_memory_with_what_was_passed():
    coef, intercept = np.array([0.5, -0.5]), np.array([0.25])
    fit = fastgd.fit_linear(X, Y, lr=1e-9, epochs=1, coef_init=coef, intercept_init=intercept)
    assert not np.shares_memory(fit.coef, coef)
    fit.coef[:] = 7
    assert coef.tolist() == [0.5, -0.5]


def test_starting_values_take_every_allowed_shape():
    wanted = fastgd.fit_linear(X, Y, lr=0.01, epochs=2, coef_init=[1, 2], intercept_init=3)
    for coef, intercept in (([[1.0, 2.0]], [3]), (np.array([1, 2]), np.float32(3)), ((1, 2), 3.0)):
        fit = fastgd.fit_linear(X, Y, lr=0.01, epochs=2, coef_init=coef, intercept_init=intercept)
        assert fit.coef.tobytes() == wanted.coef.tobytes()
    one = fastgd.fit_linear(X[:, 0], Y, lr=0.01, epochs=2, coef_init=1.5)
    assert one.coef == fastgd.fit_linear(X[:, 0], Y, lr=0.01, epochs=2, coef_init=[1.5]).coef


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("f4"), torch.float32])
def test_dtype_of_any_spelling(dtype):
    assert fastgd.fit_linear(X, Y, lr=0.01, dtype=dtype).coef.dtype == np.float32


def test_what_does_not_fit_float32_says_so():
    with pytest.raises(
        fastgd.InputError, match=r"^y goes up to 6e\+100, beyond float32; use dtype="
    ):
        fastgd.fit_linear(X.astype("f4"), Y * 1e100, lr=0.01)


def test_numbers_of_other_kinds_are_taken_as_options():
    wanted = fastgd.fit_linear(X, Y, lr=0.01, epochs=3, batch_size=2)
    for lr in (np.float64(0.01), np.array(0.01)):
        fit = fastgd.fit_linear(X, Y, lr=lr, epochs=np.int64(3), batch_size=np.uint8(2))
        assert fit.coef.tobytes() == wanted.coef.tobytes()


SCALARS = {
    "lr": 0.0009765625,
    "l2": 0.5,
    "epochs": 3,
    "batch_size": 2,
    "seed": 5,
    "patience": 2,
    "n_threads": 1,
    "shuffle": "block",
    "reduction": "sum",
    "optimizer": "momentum",
    "device": "cpu",
    "dtype": "float32",
    "fit_intercept": False,
    "keep_path": True,
    "average": True,
}
CONTAINERS = {"scalar": lambda v: np.array(v)[()], "0-d array": np.array, "tensor": torch.tensor}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_scalars_of_numpy_and_torch_are_taken_as_options(name, container):
    value = SCALARS[name]
    if container == "tensor" and isinstance(value, str):
        container = "scalar"  # torch has no text
    given = CONTAINERS[container](value)
    options = {"lr": 0.001, "epochs": 2, "batch_size": 3}
    wanted = fastgd.fit_linear(X, Y, **options | {name: value})
    fit = fastgd.fit_linear(X, Y, **options | {name: given})
    assert fit.coef.tobytes() == wanted.coef.tobytes()
    assert fit.coef.dtype == wanted.coef.dtype


def test_scalars_of_numpy_in_a_network():
    options = {"hidden": 3, "activation": "tanh", "loss": "bce", "optimizer": "gd", "lr": 0.5}
    wanted = fastgd.fit_mlp(X, LABELS, epochs=3, **options)
    scalars = {name: np.array(value) for name, value in options.items()}
    fit = fastgd.fit_mlp(X, LABELS, epochs=np.int8(3), **scalars)
    for ours, theirs in zip(fit.weights, wanted.weights, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_what_the_schedule_of_a_user_raises_comes_through():
    with pytest.raises(ZeroDivisionError):
        fastgd.fit_linear(X, Y, lr=0.1, schedule=lambda epoch: 1 / epoch)


def test_one_row_of_any_stride_in_a_network():
    """NumPy calls a matrix of one row contiguous whatever its strides are, and BLAS reads them."""
    rows = np.lib.stride_tricks.as_strided(np.arange(3.0), (1, 3), (8, 8))
    options = {"hidden": 2, "epochs": 2, "lr": 0.01}
    wanted = fastgd.fit_mlp([[0.0, 1.0, 2.0]], [1.0], **options)
    assert fastgd.fit_mlp(rows, [1.0], **options).cost == wanted.cost
    weights, biases = [np.ones((2, 3)), np.ones((1, 2))], [np.zeros(2), np.zeros(1)]
    costs = [
        fastgd.mlp_cost_and_gradient(x, [1.0], weights, biases)[0] for x in (rows, rows.tolist())
    ]
    assert costs[0] == costs[1]


@pytest.mark.parametrize(
    ("valid", "invalid"),
    [
        ({"fit_intercept": True}, {"fit_intercept": 1}),
        ({"fit_intercept": True}, {"fit_intercept": 1.0}),
        ({"shuffle": False}, {"shuffle": 0}),
        ({"epochs": 1}, {"epochs": True}),
        ({"epochs": 1}, {"epochs": 1.0}),
        ({"l2": 0.0}, {"l2": False}),
    ],
)
def test_an_option_that_was_valid_says_nothing_of_an_equal_one_of_another_type(valid, invalid):
    x, y = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]
    fastgd.fit_linear(x, y, **{"lr": 0.01, "epochs": 1, **valid})
    (name,) = invalid
    with pytest.raises(fastgd.InputError, match=f"{name} is {invalid[name]!r}"):
        fastgd.fit_linear(x, y, **{"lr": 0.01, "epochs": 1, **invalid})
