"""Every kernel through NVIDIA's compiler, which needs no GPU: what the simulator can't see.

It hides computations that slip into float64, arrays that leave the registers, and loads that stay
narrow. PTX shows the first and the last, ptxas, the assembler, the registers. Installed with
``pip install "fastgd[ptx]"``, which replaces the `numba.cuda` of numba itself.
"""

import importlib.metadata
import importlib.util
import pathlib
import re
import shutil
import subprocess
import types

import numba
import pytest

from fastgd.cuda import coupled_updates, dense, driver, layout, loop, rows, statistics, stochastic
from fastgd.formulas.updates import RULES
from fastgd.losses import CROSS_ENTROPY, LOSSES

#: An A100 and an H100.
ARCHITECTURES = [(8, 0), (9, 0)]
REGISTERS = 65536  # of a multiprocessor
#: Bytes that ptxas may spill for an A100 where a thread holds 128 bytes each of row, coefficients and
#: gradient. Across calls, as those that divide floats, it has fewer registers. For an H100: none.
SPILLED = 256
BYTES = {"float32": 4, "float64": 8}


def ptxas() -> str | None:
    """The path of NVIDIA's assembler, from the extra or from the system."""
    try:
        files = importlib.metadata.files("nvidia-cuda-nvcc") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [str(file.locate()) for file in files if file.name in ("ptxas", "ptxas.exe")]
    return found[0] if found else shutil.which("ptxas")


def missing() -> str | None:
    if driver.SIMULATED or numba.config.DISABLE_JIT:
        return "compiles nothing: the simulator is on, or the JIT is off"
    if importlib.util.find_spec("numba_cuda") is None or ptxas() is None:
        return 'needs numba-cuda and ptxas: pip install "fastgd[ptx]"'
    return None


_reason = missing()
pytestmark = [pytest.mark.ptx, pytest.mark.skipif(_reason is not None, reason=str(_reason))]


@pytest.fixture(params=ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
def cc(request, monkeypatch):
    """A compute capability, as if a GPU had it: device functions ask for that of the current one."""
    device = types.SimpleNamespace(compute_capability=request.param)
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
    return request.param


def array(dtype: str, ndim: int):
    return numba.types.Array(getattr(numba, dtype), ndim, "C")


def floats(*ndims: int) -> list:
    return [array("float64", ndim) for ndim in ndims]


def ptx(kernel, arguments, cc) -> str:
    return driver.cuda.compile_ptx(kernel.py_func, numba.void(*arguments), cc=cc)[0]


def usage(text: str, cc, folder: pathlib.Path) -> dict[str, int]:
    """Registers of a thread, and bytes of its stack and of what it spills."""
    source = folder / "kernel.ptx"
    source.write_text(text)
    # -c as for the linker, through which numba loads kernels: functions then have a calling convention.
    command = [
        ptxas(),
        "-v",
        "-c",
        f"-arch=sm_{cc[0]}{cc[1]}",
        source,
        "-o",
        folder / "kernel.cubin",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    patterns = {
        "registers": r"Used (\d+) registers",
        "stack": r"(\d+) bytes stack frame",
        "spilled": r"(\d+) bytes spill stores",
    }
    return {
        name: max(map(int, re.findall(pattern, done.stdout + done.stderr)), default=0)
        for name, pattern in patterns.items()
    }


def count(text: str, pattern: str) -> int:
    return len(re.findall(pattern, text))


def checked(kernel, arguments, threads, cc, folder, spilled=0) -> str:
    """The PTX of a kernel that fits into registers, for blocks of so many threads."""
    text = ptx(kernel, arguments, cc)
    assert not count(text, r"\b(ld|st)\.local"), "an array left the registers"
    used = usage(text, cc, folder)
    assert used["registers"] * threads <= REGISTERS, used
    assert used["spilled"] <= spilled, used
    assert used["stack"] <= spilled, used
    return text


def wide_loads(text: str, dtype: str) -> int:
    """Loads of 16 bytes."""
    return count(
        text, r"ld\.global\S*\.v4\.f32" if dtype == "float32" else r"ld\.global\S*\.v2\.f64"
    )


def pass_arguments(x: str, dtype: str) -> list:
    y, weight, center, coef, intercept = (array(dtype, ndim) for ndim in (2, 1, 1, 2, 1))
    p = getattr(numba, dtype)
    return [array(x, 2), y, weight, y, p, center, coef, intercept, numba.int64, array(dtype, 3)]


def row_layout(d, x, dtype, make=layout.row_layout):
    return make(d, BYTES[x], BYTES[dtype], True)


dtypes = pytest.mark.parametrize(
    ("x", "dtype"),
    [("float32", "float32"), ("float32", "float64"), ("float64", "float64")],
    ids=["float32", "mixed", "float64"],
)
dtype_of_pass = pytest.mark.parametrize("dtype", ["float32", "float64"])


def check_pass(kernel, lay, x, dtype, cc, folder, spilled=0):
    arguments = pass_arguments(x, dtype)
    text = checked(kernel, arguments, lay.threads, cc, folder, spilled)
    # A call, which costs registers all over the kernel.
    assert not count(text, r"\b(div|rem)\.[su]64")
    if dtype == "float32":
        assert not count(text, r"\.f64\b")
    return wide_loads(text, x)


# From a thread a row to a warp a row with all it can hold, and a block a row.
@pytest.mark.parametrize("d", [1, 5, 32, 1024, 4096])
@dtypes
def test_rows(d, x, dtype, cc, tmp_path):
    lay = row_layout(d, x, dtype)
    kernel = dense.accumulate(LOSSES["bce"], lay, dtype)
    spilled = SPILLED if cc < (9, 0) and d == 4096 and dtype == "float64" else 0
    found = check_pass(kernel, lay, x, dtype, cc, tmp_path, spilled)
    assert found == (lay.loads * lay.rows if lay.vector > 1 else 0)


@pytest.mark.parametrize("d", [2, 8, 32, 4096])
@dtypes
def test_columns(d, x, dtype, cc, tmp_path):
    lay = layout.column_layout(d, BYTES[x], BYTES[dtype], True)
    kernel = dense.accumulate(LOSSES["bce"], lay, dtype)
    found = check_pass(kernel, lay, x, dtype, cc, tmp_path)
    in_registers = not lay.tile and lay.vector > 1
    # The columns, and y, the weights and the offset where they have the type of x.
    assert found == in_registers * (d + 3 * (x == dtype))


@pytest.mark.parametrize("by_columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize(
    ("loss", "slopes_too", "centred"), [("mse", True, False), ("mse", True, True), ("bce", False, False)]
)  # fmt: skip
def test_variants_of_the_pass(by_columns, loss, slopes_too, centred, cc, tmp_path):
    make = layout.column_layout if by_columns else layout.row_layout
    lay = make(32, 4, 4, True)
    kernel = dense.accumulate(LOSSES[loss], lay, "float32", slopes_too, centred)
    check_pass(kernel, lay, "float32", "float32", cc, tmp_path)


# The other losses stand in the tests around this one.
@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"mse", "bce", "cross_entropy"}))
@pytest.mark.parametrize("cc", ARCHITECTURES[-1:], indirect=True, ids=["sm_90"])
def test_every_loss_stays_in_float32(name, cc):
    """exp, log and log1p too, and all constants."""
    lay = layout.row_layout(1, 4, 4, True)
    kernel = dense.accumulate(LOSSES[name].formula, lay, "float32")
    text = ptx(kernel, pass_arguments("float32", "float32"), cc)
    assert not count(text, r"\.f64\b")


@pytest.mark.parametrize("by_columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("k", [3, 10, 40])
@dtypes
def test_coupled_outputs(k, x, dtype, by_columns, cc, tmp_path):
    lay = layout.coupled_layout(100, k, by_columns)
    kernel = dense.accumulate(CROSS_ENTROPY, lay, dtype)
    check_pass(kernel, lay, x, dtype, cc, tmp_path)


@pytest.mark.parametrize(("slopes_too", "centred"), [(False, False), (True, True)])
def test_variants_of_the_coupled_pass(slopes_too, centred, cc, tmp_path):
    lay = layout.coupled_layout(8, 10, False)
    kernel = dense.accumulate(CROSS_ENTROPY, lay, "float32", slopes_too, centred)
    check_pass(kernel, lay, "float32", "float32", cc, tmp_path)


@dtype_of_pass
def test_sums_of_parts(dtype, cc, tmp_path):
    for columns in (1, 100):
        width, threads = dense.adders(columns)
        checked(
            dense.add_up(width, threads), [array(dtype, 2), *floats(1)], threads, cc, tmp_path
        )  # fmt: skip


def descent_arguments(dtype: str) -> list:
    given = [array(dtype, ndim) for ndim in (2, 2, 1, 2, 2, 1)]
    state = floats(2, 1, 2, 1, 2, 1, 3, 1, 1, 1, 3)
    sums = [array(dtype, 3), array(dtype, 2), *floats(2, 1)]
    return [*given, *state, array("int64", 1), *sums, *[numba.int64] * 3]


def test_epochs_on_the_device(cc, tmp_path):
    """The end of an epoch is float64, and has as many instructions whatever pass comes before."""
    found = set()
    for lay in (
        layout.row_layout(32, 4, 4, True),
        layout.row_layout(1024, 4, 4, True),
        layout.column_layout(100, 4, 4, True),
    ):
        width = min(layout.WARP, lay.threads)
        kernel = loop.batch_epochs(LOSSES["bce"], lay, "float32", width)
        # Barriers of the grid are calls, once or twice an epoch: what an A100 spills, it spills there.
        spilled = 2 * SPILLED if cc < (9, 0) else 16
        text = checked(
            kernel, descent_arguments("float32"), lay.threads, cc, tmp_path, spilled
        )  # fmt: skip
        found.add(count(text, r"\.f64\b"))
    # A pass in float64 would have 16 more for every row in flight.
    assert max(found) - min(found) <= 4


def test_epochs_of_coupled_outputs(cc, tmp_path):
    lay = layout.coupled_layout(100, 10, False)
    kernel = loop.batch_epochs(CROSS_ENTROPY, lay, "float32", layout.WARP)
    spilled = 2 * SPILLED if cc < (9, 0) else 16
    text = checked(kernel, descent_arguments("float32"), lay.threads, cc, tmp_path, spilled)
    other = layout.row_layout(32, 4, 4, True, lay.threads)
    plain = loop.batch_epochs(LOSSES["bce"], other, "float32", layout.WARP)
    wanted = ptx(plain, descent_arguments("float32"), cc)
    assert abs(count(text, r"\.f64\b") - count(wanted, r"\.f64\b")) <= 4


def test_epochs_on_the_device_link(cc):
    """As at a launch: barriers of the grid are in CUDA's library for the device."""
    from numba.cuda.cudadrv.driver import _Linker
    from numba.cuda.cudadrv.libs import get_cudalib

    lay = layout.row_layout(32, 8, 8, True)
    kernel = loop.batch_epochs(LOSSES["mse"], lay, "float64", layout.WARP)
    linker = _Linker(cc=cc)
    linker.add_ptx(ptx(kernel, descent_arguments("float64"), cc).encode())
    linker.add_file_guess_ext(get_cudalib("cudadevrt", static=True))
    assert linker.complete().code[:4] == b"\x7fELF"


def stochastic_arguments(dtype: str) -> list:
    given = [array(dtype, ndim) for ndim in (2, 2, 1, 2)]
    return [*given, array("int32", 1), *(array(dtype, ndim) for ndim in (2, 1, 1, 1))]


def check_updates(text: str, x: str):
    """In float32 only the losses are summed in float64, every now and then."""
    if x == "float32":
        assert count(text, r"cvt\.f64\.f32") <= 1
        assert not count(text, r"\b(fma|mul|div|sub)\S*\.f64")


@pytest.mark.parametrize("d", [5, 32, 4096])
@dtype_of_pass
def test_updates_by_sample(d, dtype, cc, tmp_path):
    lay = row_layout(d, dtype, dtype, layout.sample_layout)
    kernel = stochastic.per_sample(LOSSES["bce"], lay, dtype)
    arguments = [*stochastic_arguments(dtype), numba.int64, numba.int64, *floats(1)]
    spilled = SPILLED if cc < (9, 0) and d == 4096 else 0
    text = checked(kernel, arguments, lay.threads, cc, tmp_path, spilled)
    check_updates(text, dtype)
    # The first row, and the one to come.
    assert wide_loads(text, dtype) == (2 * lay.loads if lay.vector > 1 else 0)


@pytest.mark.parametrize("ordered", [False, True])
@dtype_of_pass
def test_updates_by_batch(ordered, dtype, cc, tmp_path):
    lay = row_layout(100, dtype, dtype)
    kernel = stochastic.minibatch(LOSSES["bce"], lay, dtype, 128, ordered)
    optimizer = [*floats(1), array(dtype, 1), array(dtype, 3), numba.float64, *floats(2)]
    arguments = [*stochastic_arguments(dtype), *optimizer, *[numba.int64] * 3, *floats(1)]
    spilled = SPILLED if cc < (9, 0) and dtype == "float64" else 0
    text = checked(kernel, arguments, lay.threads, cc, tmp_path, spilled)
    check_updates(text, dtype)
    assert wide_loads(text, dtype) == lay.loads * lay.rows


@pytest.mark.parametrize("ordered", [False, True])
@dtype_of_pass
def test_updates_of_coupled_outputs(ordered, dtype, cc, tmp_path):
    lay = layout.coupled_layout(100, 10, False)
    way = ordered, RULES["gd"], False
    kernel = coupled_updates.coupled_minibatch(CROSS_ENTROPY, lay, dtype, *way)
    optimizer = [*floats(1), array(dtype, 1), array(dtype, 3), numba.float64, *floats(2)]
    length = [numba.int64] * 3
    arguments = [*stochastic_arguments(dtype), *optimizer, *length, *floats(1), array(dtype, 2)]
    text = checked(kernel, arguments, lay.threads, cc, tmp_path)
    assert not count(text, r"\b(div|rem)\.[su]64")
    check_updates(text, dtype)


@dtype_of_pass
def test_what_is_float64_by_design(dtype, cc, tmp_path):
    """Moments, predictions and what is known of columns; a copy of rows computes nothing."""
    matrix, vector, length = array(dtype, 2), array(dtype, 1), numba.int64
    for kernel, arguments in (
        (
            statistics.moments_kernel(),
            [matrix, matrix, vector, *floats(1, 1, 1), length, *floats(4)],
        ),
        (rows.predictions(), [matrix, *floats(2, 1, 1)]),
        (rows.predictions_by_columns(), [matrix, *floats(2, 1, 1)]),
        (rows.column_sums(), [matrix, vector, *floats(1), length, *floats(2)]),
        (rows.column_extremes(), [matrix, length, *floats(2, 2)]),
        (rows.take(), [matrix, length, length, length, matrix]),
    ):
        text = checked(kernel, arguments, layout.THREADS, cc, tmp_path)
    assert not count(text, r"\b(add|mul|fma|cvt)\S*\.f64")
