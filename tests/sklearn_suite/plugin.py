"""A pytest plugin that runs scikit-learn's own tests with fastgd's estimators in place of its own.

    PYTHONPATH=tests python -m pytest -c tests/sklearn_suite/pytest.ini -p sklearn_suite.plugin \
        --pyargs sklearn.linear_model.tests.test_sgd

`SUITES` says which names each of scikit-learn's test modules gets from fastgd. They are replaced where
the module imports them from, before it is imported. The run fails if one of them was never fitted (of
items selected by `-k` or by name: none of them), because then it proves nothing.

`deselected.toml` has a table for each test module, and in it the items that are not run, each with its
reason. A key is the name of a test function, or the name of an item with its parameters in brackets, in
which `*` stands for any text:

    ["sklearn.linear_model.tests.test_sgd"]
    "test_private_helper" = "calls a private function of scikit-learn"
    "test_averaging[*-SGDOneClassSVM]" = "has no substitute"

A key that matches no item fails the run too. Other options of pytest, such as `-k` and `-x`, work.
"""

import collections
import functools
import importlib
import inspect
import pathlib
import re
import tomllib
from typing import Any

import pytest

#: Which estimators fastgd gives to each test module, by the module that it imports them from.
SUITES: dict[str, dict[str, tuple[str, ...]]] = {
    "sklearn.linear_model._glm.tests.test_glm": {
        "sklearn.linear_model": ("GammaRegressor", "PoissonRegressor", "TweedieRegressor"),
    },
    "sklearn.linear_model.tests.test_base": {"sklearn.linear_model": ("LinearRegression",)},
    "sklearn.linear_model.tests.test_coordinate_descent": {
        "sklearn.linear_model": ("ElasticNet", "Lasso"),
    },
    "sklearn.linear_model.tests.test_huber": {"sklearn.linear_model": ("HuberRegressor",)},
    "sklearn.linear_model.tests.test_logistic": {
        "sklearn.linear_model": ("LogisticRegression",),
    },
    "sklearn.linear_model.tests.test_quantile": {
        "sklearn.linear_model": ("HuberRegressor", "QuantileRegressor"),
    },
    "sklearn.linear_model.tests.test_ridge": {
        "sklearn.linear_model": ("LinearRegression", "Ridge"),
    },
    "sklearn.linear_model.tests.test_sgd": {
        "sklearn.linear_model": ("SGDClassifier", "SGDRegressor"),
    },
    "sklearn.neural_network.tests.test_mlp": {
        "sklearn.neural_network": ("MLPClassifier", "MLPRegressor"),
    },
    "sklearn.linear_model.tests.test_sparse_coordinate_descent": {
        "sklearn.linear_model": ("ElasticNet", "Lasso"),
    },
}
#: Where fastgd has the estimators of scikit-learn's modules.
_HOMES = {
    "sklearn.linear_model": "fastgd.linear_model",
    "sklearn.neural_network": "fastgd.linear_model",
}
DESELECTED = pathlib.Path(__file__).with_name("deselected.toml")


def _matches(key: str, item: Any) -> bool:
    pattern = ".*".join(map(re.escape, key.split("*")))
    return any(re.fullmatch(pattern, name) for name in (item.name, item.originalname))


def _is_part(config: Any) -> bool:
    """Whether the command line selects items."""
    return bool(config.option.keyword) or any("::" in argument for argument in config.args)


class _Counted:
    """A method that counts its calls; where the original isn't available, it isn't either."""

    def __init__(self, original: Any, fits: dict[str, int], name: str):
        self.original, self.fits, self.name = original, fits, name

    def __get__(self, instance: Any, owner: Any) -> Any:
        method = self.original.__get__(instance, owner)

        @functools.wraps(method)
        def counted(*args: Any, **named: Any) -> Any:
            self.fits[self.name] += 1
            return method(*args, **named)

        return counted


class Substitution:
    """fastgd's estimators in place of scikit-learn's, with a count of their fits."""

    def __init__(self, suites: list[str]):
        self.suites = suites
        self.fits: dict[str, int] = {}
        self.failures: list[str] = []
        self.lines: list[str] = []
        for suite in suites:
            for home, names in SUITES[suite].items():
                for name in names:
                    self._replace(importlib.import_module(home), name)

    def _replace(self, home: Any, name: str) -> None:
        substitute = getattr(importlib.import_module(_HOMES[home.__name__]), name)
        if getattr(home, name) is substitute:
            return
        self.fits[name] = 0
        for method in ("fit", "partial_fit"):
            if hasattr(substitute, method):
                original = inspect.getattr_static(substitute, method)
                setattr(substitute, method, _Counted(original, self.fits, name))
        setattr(home, name, substitute)

    @pytest.hookimpl(tryfirst=True)  # before -k
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        listed = tomllib.loads(DESELECTED.read_text(encoding="utf-8"))
        items_of = collections.defaultdict(list)
        for item in items:
            items_of[item.module.__name__].append(item)
        dropped = set()
        for suite, own in items_of.items():
            keys = listed.get(suite, {})
            found = {key: [item for item in own if _matches(key, item)] for key in keys}
            if not any("::" in argument for argument in config.args):
                stale = sorted(key for key in keys if not found[key])
                self.failures += [f"{suite}: no item is named {key!r}." for key in stale]
            unreasoned = [key for key, reason in keys.items() if not str(reason).strip()]
            self.failures += [f"{suite}: {key!r} has no reason." for key in unreasoned]
            here = {item for matching in found.values() for item in matching}
            self.lines.append(f"{suite}: {len(own) - len(here)} of {len(own)} items are selected")
            dropped |= here
        config.hook.pytest_deselected(items=[item for item in items if item in dropped])
        items[:] = [item for item in items if item not in dropped]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        if not session.config.option.collectonly:
            unused = [name for name, fits in self.fits.items() if not fits]
            # Of a part of the items, one estimator may have none.
            if not _is_part(session.config) or len(unused) == len(self.fits):
                self.failures += [f"{name} was never fitted." for name in unused]
        if self.failures and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("fastgd in place of scikit-learn")
        for line in self.lines:
            terminalreporter.write_line(line)
        for name, fits in self.fits.items():
            terminalreporter.write_line(f"{name}: {fits} fits")
        for line in self.failures:
            terminalreporter.write_line(f"FAILED: {line}", red=True)


def pytest_configure(config: Any) -> None:
    named = [argument.split("::")[0] for argument in config.args]
    unknown = [name for name in named if name not in SUITES]
    if unknown or not named:
        known = "\n  ".join(SUITES)
        raise pytest.UsageError(
            f"name test modules of scikit-learn after --pyargs, of these:\n  {known}"
        )
    config.pluginmanager.register(Substitution(named))
