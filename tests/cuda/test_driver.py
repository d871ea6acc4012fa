"""What connects kernels to numba, as far as it shows without a GPU."""

import importlib.util
import warnings

import pytest

from fastgd.cuda import driver, rows


@pytest.mark.ptx
@pytest.mark.skipif(
    driver.SIMULATED or not importlib.util.find_spec("numba_cuda"), reason="needs numba-cuda"
)
def test_a_small_grid_is_no_reason_to_warn(monkeypatch):
    config = importlib.import_module("numba.cuda.core.config")
    monkeypatch.setattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        launch = driver.configured(rows.take(), 1, 256, 0)
    assert launch.griddim == (1, 1, 1)
    assert config.CUDA_LOW_OCCUPANCY_WARNINGS  # for the caller's own kernels it stays on
