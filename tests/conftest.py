"""What all tests share: ugly shapes, both dtypes and their tolerances, hypothesis without chance."""

import contextlib
import os
import pathlib
import signal

import numpy as np
import pytest
import thinning

with contextlib.suppress(ImportError):  # the tests of kernels do without, on a GPU machine as it is
    from hypothesis import settings

    # The same examples on every run and every machine, however slow.
    settings.register_profile("fastgd", derandomize=True, deadline=None, max_examples=25)
    settings.load_profile("fastgd")

HERE = pathlib.Path(__file__).parent
JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"

#: Rows × columns: one number, odd sizes, more columns than rows, one column, several blocks.
SHAPES = [(1, 1), (1, 4), (33, 5), (7, 1), (6, 20), (700, 3)]

#: What rounding may cost, by the dtype of the computation.
TOLERANCES = {
    np.float32: {"rtol": 2e-4, "atol": 2e-5},
    np.float64: {"rtol": 1e-10, "atol": 1e-12},
}


def _shape_id(shape):
    return f"{shape[0]}x{shape[1]}"


def pytest_collection_modifyitems(config, items):
    if not os.environ.get("FASTGD_PRODUCTS"):
        ours, others = [], []
        for item in items:
            (ours if HERE in item.path.parents else others).append(item)
        ours, dropped = thinning.split(ours)
        items[:] = ours + others
        config.hook.pytest_deselected(items=dropped)
    if JIT_OFF:
        reason = pytest.mark.skip(reason="speaks of compiled code, and the JIT is off")
        for item in items:
            if item.get_closest_marker("jit"):
                item.add_marker(reason)


def pytest_configure(config):
    config.addinivalue_line("markers", "jit: needs compiled code, so skipped when the JIT is off")
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "thin(strength): how many axes are combined fully (2)")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests run in one worker, so that no two workers compile the same kernels."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture
def control_c():
    """SIGINT raises KeyboardInterrupt, also where the parent ignores it, as nohup and shells do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=SHAPES, ids=_shape_id, scope="session")
def shape(request):
    return request.param


@pytest.fixture(params=TOLERANCES, ids=lambda dtype: dtype.__name__, scope="session")
def dtype(request):
    return request.param


@pytest.fixture  # of a wider scope it would outlive a dtype that `parametrize` gives
def close(dtype):
    """assert_allclose with the tolerance of the dtype."""

    def assert_close(actual, expected, **options):
        np.testing.assert_allclose(actual, expected, **(TOLERANCES[dtype] | options))

    return assert_close


@pytest.fixture(params=["mse", "bce"], scope="session")
def loss_name(request):
    return request.param


@pytest.fixture(params=["mean", "sum"], scope="session")
def reduction(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["plain", "weighted"], scope="session")
def weighted(request):
    return request.param


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def check_compiled(request):
    """Check that a compiled function agrees with the plain one and stays in the dtype of its input.

    One bare 1.0 in a leaf would make every float32 kernel compute in float64.
    """
    from fastgd.compile import functions

    def check(function, plain, *arguments):
        kernel, scalar = functions.kernel(function), request.param
        wanted = pytest.approx(plain(*arguments), rel=8 * float(np.finfo(scalar).eps))
        assert kernel(*map(scalar, arguments)) == wanted
        types = [str(overload.signature.return_type) for overload in kernel.overloads.values()]
        assert types == [scalar.__name__]

    return check
