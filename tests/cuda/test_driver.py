"""What connects kernels to numba, as far as it shows without a GPU."""

import importlib.util
import math
import warnings

import numpy as np
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


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (2, 3), (5,), (0, 3)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_go_to_the_device_with_the_usual_strides(shape, order, monkeypatch):
    """A view such as y[None] may have a stride of 0, with which numba-cuda walks over it in Python."""
    sent = []
    monkeypatch.setattr(driver.cuda, "to_device", lambda array, stream: sent.append(array))
    values = np.arange(math.prod(shape), dtype=np.float32)
    view = np.require(values.reshape(shape), requirements=order)
    if 1 in shape:
        view = np.lib.stride_tricks.as_strided(values, shape, [4 * (size > 1) for size in shape])
    driver.to_device(view)
    np.testing.assert_array_equal(sent[0], view)
    usual = [np.empty(shape, np.float32, order).strides for order in "CF"]
    assert sent[0].strides in usual or not view.size
