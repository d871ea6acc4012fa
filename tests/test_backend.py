"""Where a fit runs, on a machine without CUDA: what is missing is named, and nothing is imported."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fastgd
from fastgd import inputs


def test_what_is_missing_is_named():
    from fastgd.cuda import driver

    sentence = driver.missing()
    if sentence is None:
        pytest.skip("this machine has a GPU, or its simulator")
    with pytest.raises(fastgd.InputError) as caught:
        fastgd.fit_linear([1, 2, 3], [2, 4, 6], device="cuda")
    assert str(caught.value).startswith(sentence)
    assert "on the CPU" in str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "mps", 0])
def test_other_places_are_refused(device):
    with pytest.raises(fastgd.InputError, match=r"choose from 'cpu', 'cuda'"):
        fastgd.fit_linear([1, 2, 3], [2, 4, 6], device=device)


def test_the_cpu_can_be_named():
    fit = fastgd.fit_linear([1, 2, 3], [2, 4, 6], device="cpu")
    assert fit.converged


def test_host_data_is_not_taken_for_a_gpu_s():
    import torch

    for value in ([1], (1,), np.ones(2), torch.ones(2), np.float64(1), None, "x"):
        assert not inputs.on_gpu(value)


def test_a_fit_on_the_cpu_imports_no_cuda():
    code = """
        import sys
        import fastgd
        fastgd.fit_linear([1, 2, 3], [2, 4, 6])
        fastgd.mse_cost([1, 2, 3], [2, 4, 6], 1.0)
        cuda = ("numba.cuda", "numba_cuda", "fastgd.cuda")
        print([name for name in sys.modules if name.startswith(cuda)])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
