"""How many functions the usual calls of a first session compile: no machine changes that, as seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastgd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled"),
]

#: The most functions, pieces and leaves among them, that each call compiles after those before it.
BUDGET = {
    "fit_linear default": 12,
    "fit_linear lr": 9,
    "fit_linear per-sample": 15,
    "fit_linear batches": 8,
    "fit_linear batches, adam": 3,
    "fit_linear adam": 0,
    "fit_linear momentum": 3,
    "fit_linear lbfgs": 4,
    "fit_linear l1": 3,
    "fit_linear float32": 2,
    "fit_linear F order": 2,
    "fit_linear weights": 0,
    "predict": 0,
    "fit_logistic default": 13,
    "fit_logistic lr": 2,
    "fit_logistic per-sample": 9,
    "fit_logistic batches, adam": 0,
    "softmax default": 9,
    "softmax batches": 0,
    "fit_mlp": 13,
    "fit_mlp adam, tanh": 7,
    "mse_cost": 0,
    "cost_curve": 1,
    "activations.tanh": 3,
    "sparse, lr": 5,
    "sparse, per-sample": 13,
    "sparse, l2": 13,
    "sparse, l1": 10,
}


def test_no_call_compiles_more_than_its_budget(tmp_path):
    root = Path(fastgd.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "benches.session"], cwd=root, capture_output=True, text=True, timeout=600,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^ +[\d.]+ s +(\d+)  (.+)$", done.stdout, re.MULTILINE)
    found = {name: int(count) for count, name in lines}
    assert found.keys() == BUDGET.keys()
    over = {name: count for name, count in found.items() if count > BUDGET[name]}
    assert not over, f"these calls compile more functions than before: {over}"
    assert sum(found.values()) > 50  # the listener does hear
