"""scikit-learn's own tests with fastgd's estimators in place of its own: see `sklearn_suite.plugin`."""

import os
import pathlib
import subprocess
import sys

import pytest
from conftest import JIT_OFF
from sklearn_suite import plugin

HERE = pathlib.Path(plugin.__file__).parent
SUITES = {name.rsplit(".", 1)[-1]: name for name in plugin.SUITES}


@pytest.mark.slow
@pytest.mark.skipif(JIT_OFF, reason="tests the estimators, not their kernels")
@pytest.mark.parametrize("suite", SUITES)
def test_of_scikit_learn(suite):
    run(SUITES[suite])


def run(suite):
    """Run a test module of scikit-learn, which has to pass."""
    path = os.pathsep.join(str(folder) for folder in (HERE.parent, HERE.parent.parent))
    command = ["-m", "pytest", "-q", "-c", HERE / "pytest.ini", "-p", "sklearn_suite.plugin"]
    ran = subprocess.run(
        [sys.executable, *command, "--pyargs", suite],
        env=os.environ | {"PYTHONPATH": path, "PYTEST_ADDOPTS": ""},
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=340,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert "fits" in ran.stdout
