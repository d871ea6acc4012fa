"""The door: which names there are, that they are documented, and what importing them costs."""

import ast
import inspect
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgd

NAMES = {
    "fit", "losses", "fit_linear", "fit_logistic", "fit_mlp", "mlp_cost_and_gradient", "MlpFit",
    "mse_cost", "mse_gradient", "mse_cost_and_gradient",
    "bce_cost", "bce_gradient", "bce_cost_and_gradient",
    "cross_entropy_cost", "cross_entropy_gradient", "cross_entropy_cost_and_gradient",
    "cost_curve", "linear", "Fit", "load", "activations", "schedules",
    "DivergenceError", "InputError", "BlockError",
    "ConvergenceWarning", "__version__",
    "SGD", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "RMSprop", "Rprop",
}  # fmt: skip
FITS = ("fit", "fit_linear", "fit_logistic")
COSTS = [f"{loss}_{what}" for loss in ("mse", "bce", "cross_entropy") for what in
         ("cost", "gradient", "cost_and_gradient")]  # fmt: skip
FUNCTIONS = (
    *FITS, *COSTS, "cost_curve", "linear", "load", "fit_mlp", "mlp_cost_and_gradient",
)  # fmt: skip
#: Methods of a Fit and the sections that their docstrings have at least.
METHODS = {
    "predict": {"Parameters", "Returns"},
    "predict_proba": {"Parameters", "Returns"},
    "raw_prediction": {"Parameters", "Returns", "Raises"},
    "score": {"Parameters", "Returns"},
    "plot": {"Parameters", "Returns", "Raises"},
    "plot_path": {"Parameters", "Returns", "Raises"},
    "save": {"Raises"},
}

#: Keyword arguments of the fits with their defaults, as the design has them.
OPTIONS = {
    "fit_intercept": True,
    "lr": "auto",
    "epochs": None,
    "batch_size": None,
    "shuffle": True,
    "seed": 0,
    "optimizer": None,
    "schedule": None,
    "average": False,
    "tol": None,
    "reduction": "mean",
    "resume": None,
    "columns": None,
    "categories": None,
    "checkpoint": None,
    "l1": 0.0,
    "l2": 0.0,
    "sample_weight": None,
    "coef_init": None,
    "intercept_init": None,
    "offset": None,
    "keep_path": False,
    "dtype": None,
    "device": None,
    "n_threads": None,
    "callback": None,
    "progress": False,
    "validation": None,
    "patience": 5,
}
#: What only one of them has.
OWN_OPTIONS = {
    "fit": {"class_weight": None},
    "fit_linear": {},
    "fit_logistic": {"class_weight": None},
}


def sections(thing):
    """Names of the numpydoc sections of a docstring."""
    lines = inspect.getdoc(thing).splitlines()
    return {a for a, b in itertools.pairwise(lines) if a and b == "-" * len(a)}


def documented(function):
    """Names of the parameters in the first section of a docstring, one or several a line."""
    text = inspect.getdoc(function).partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    heads = (line.partition(" :")[0] for line in text.splitlines() if not line.startswith(" "))
    return {name for head in heads for name in head.split(", ")}


def in_a_new_process(code):
    """What `code` prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_all_is_complete():
    assert len(fastgd.__all__) == len(set(fastgd.__all__))
    assert set(fastgd.__all__) == NAMES
    for name in fastgd.__all__:
        assert hasattr(fastgd, name)
    seen = {}
    exec("from fastgd import *", seen)
    assert set(seen) >= NAMES


@pytest.mark.parametrize("name", FITS)
def test_the_fits_take_the_same_options_by_name(name):
    parameters = list(inspect.signature(getattr(fastgd, name)).parameters.values())
    assert [p.name for p in parameters[:2]] == ["x", "y"]
    rest = [p for p in parameters[2:] if p.name != "loss"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in rest)
    options = OPTIONS | OWN_OPTIONS[name]
    assert {p.name: p.default for p in rest} == options
    assert set(options) <= documented(getattr(fastgd, name))


@pytest.mark.parametrize("name", COSTS)
def test_the_costs_have_one_signature(name):
    signature = inspect.signature(getattr(fastgd, name))
    assert list(signature.parameters) == [
        "x", "y", "coef", "intercept", "sample_weight", "reduction",
    ]  # fmt: skip
    assert signature.parameters["intercept"].default == 0.0
    assert signature.parameters["reduction"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_documented(name):
    function = getattr(fastgd, name)
    wanted = {"Parameters", "Returns", "Raises", "Examples"}
    if name in FITS:
        wanted |= {"Warns"}
    assert wanted <= sections(function)
    assert inspect.getdoc(function).splitlines()[0].endswith(".")
    text = inspect.getdoc(function)
    assert documented(function) == set(inspect.signature(function).parameters)
    assert f"fastgd.{name}(" in text.split("Examples\n")[1]


def test_fit_is_documented():
    assert {"Attributes", "Examples"} <= sections(fastgd.Fit)
    text = inspect.getdoc(fastgd.Fit)
    fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6])
    for name in ("coef", "intercept", "costs", "cost", "n_epochs", "converged", "method", "path",
                 "classes", "lrs", "gradient_norms", "start", "validation_costs",
                 "best_epoch"):  # fmt: skip
        assert f"\n{name} : " in text
        assert hasattr(fit, name)
    for name, wanted in METHODS.items():
        assert wanted <= sections(getattr(fastgd.Fit, name)), name


def test_mlp_fit_is_documented():
    assert {"Attributes", "Examples"} <= sections(fastgd.MlpFit)
    text = inspect.getdoc(fastgd.MlpFit)
    for name in ("weights", "biases", "costs", "cost", "n_epochs", "converged", "method", "classes",
                 "lrs"):  # fmt: skip
        assert f"\n{name} : " in text
    for name, wanted in METHODS.items():
        if name not in ("plot", "plot_path"):
            assert wanted <= sections(getattr(fastgd.MlpFit, name)), name


def test_the_errors_are_documented_and_descend_from_the_builtin_ones():
    for name, base in (
        ("InputError", ValueError),
        ("DivergenceError", ArithmeticError),
        ("ConvergenceWarning", UserWarning),
    ):
        assert inspect.getdoc(getattr(fastgd, name))
        assert issubclass(getattr(fastgd, name), base)
    assert "Attributes" in sections(fastgd.DivergenceError)
    error = fastgd.DivergenceError("message", "a fit", 0.5)
    assert (str(error), error.fit, error.stable_lr) == ("message", "a fit", 0.5)


def test_every_module_is_documented():
    files = sorted(Path(fastgd.__file__).parent.rglob("*.py"))
    assert len(files) > 50
    assert not [f for f in files if not ast.get_docstring(ast.parse(f.read_text("utf-8")))]


def test_importing_fastgd_loads_nothing_heavy():
    code = """
import json, sys
import fastgd
fastgd.fit_linear, fastgd.fit_mlp, fastgd.Fit, fastgd.mse_cost, fastgd.activations.tanh
heavy = ("numba", "llvmlite", "torch", "matplotlib", "pandas", "scipy", "sklearn", "tqdm")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    assert in_a_new_process(code) == []


def test_a_fit_needs_no_optional_package():
    code = """
import json, sys
blocked = ("torch", "matplotlib", "pandas", "polars", "pyarrow", "scipy", "sklearn", "tqdm")
for name in blocked:
    sys.modules[name] = None
import fastgd
fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6])
logistic = fastgd.fit_logistic([1, 2, 3, 4], ["a", "b", "a", "b"])
print(json.dumps([round(float(fit.coef[0]), 9), logistic.predict([4.0]).tolist()]))
"""
    assert in_a_new_process(code) == [2.0, ["b"]]


def test_types_and_version_ship():
    from importlib import metadata, resources

    assert resources.files("fastgd").joinpath("py.typed").is_file()
    assert all(part.isdigit() for part in fastgd.__version__.split(".")[:2])
    try:
        assert metadata.version("fastgd") == fastgd.__version__
    except metadata.PackageNotFoundError:
        pytest.skip("run from a checkout, not installed")


def test_the_designs_first_screen():
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.5, 8.0])
    fit = fastgd.fit_linear(x, y)
    np.testing.assert_allclose([fit.coef[0], fit.intercept], np.polyfit(x, y, 1), atol=1e-12)
    assert fastgd.fit_linear(x, y, lr=0.01, epochs=100).n_epochs == 100
