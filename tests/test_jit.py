"""The disk cache: hit in a second process, never trusted when damaged, and never in the way."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastgd
from fastgd.compile import functions as _jit

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="there is no cache without the JIT"
)

USE = """
    import numpy as np, fastgd
    print(fastgd.activations.tanh(np.array([0.3, 2.0])).tobytes().hex())
"""
COUNT = """
    from fastgd.cpu import elementwise
    from fastgd.formulas.activations import ACTIVATIONS
    kernel = elementwise._kernel(ACTIVATIONS["tanh"].value)
    print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache folder that one process has filled, and the answer that it printed."""
    folder = tmp_path_factory.mktemp("warm")
    return folder, run(USE, folder)


def run(code, cache=None, **environment):
    environment = {**os.environ, **environment}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_compiles_nothing(warm):
    folder, answer = warm
    assert run(USE + COUNT, folder) == [*answer, "1", "0"]


@pytest.mark.parametrize("damage", ["truncate", "garbage", "flip", "empty"])
def test_a_damaged_cache_is_compiled_afresh(warm, tmp_path, damage):
    folder, answer = warm
    copy = tmp_path / "cache"
    shutil.copytree(folder, copy)
    files = list(copy.rglob("*.nbc"))
    assert files
    for file in files:
        data = file.read_bytes()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
        file.write_bytes(
            {"truncate": data[:middle], "garbage": b"x" * 99, "flip": flipped, "empty": b""}[damage]
        )
    assert run(USE, copy) == answer
    assert run(USE + COUNT, copy) == [*answer, "1", "0"]  # and mended


@pytest.mark.skipif(os.name != "posix", reason="permissions of folders")
def test_a_read_only_install_without_a_home(tmp_path, warm):
    """Nowhere to write: neither beside the package nor in the home folder."""
    package = tmp_path / "site" / "fastgd"
    shutil.copytree(
        Path(fastgd.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "file").write_text("a file where a folder would have to be")
    for folder in [package, *(p for p in package.rglob("*") if p.is_dir())]:
        (folder / "__pycache__").write_text("not a folder")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})" + textwrap.dedent(USE)
    blocked = str(tmp_path / "file")
    answer = run(code, HOME=blocked, XDG_CACHE_HOME=blocked, PYTHONDONTWRITEBYTECODE="1")
    assert answer == warm[1]


@pytest.mark.slow
def test_processes_that_compile_at_once(tmp_path, warm):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(USE)], env=environment,
            stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    answers = [process.communicate(timeout=300)[0].split() for process in processes]
    assert answers == [warm[1]] * 3


def test_leaves_stay_plain_python():
    from fastgd import losses

    assert type(losses.squared_error) is type(lambda: 0)
    assert losses.squared_error(np.float64(3.0), 1.0) == 4.0


@_jit.kernel
def twice(x):
    return 2.0 * x[0]


@_jit.kernel
def thrice(x):
    return 3.0 * x[0]


@_jit.kernel
def called(function, x):
    return _jit.call(function, x)


def test_a_kernel_calls_what_it_is_given_and_is_compiled_once():
    x = np.ones(1)
    assert called(_jit.pointer(twice, x), x) == 2
    assert called(_jit.pointer(thrice, x), x) == 3
    if hasattr(called, "signatures"):
        assert len(called.signatures) == 1


def _printed(code, folder):
    """What a fresh process prints, with a cache and modules of its own in a folder."""
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")}
    env["PYTHONPATH"] = os.pathsep.join([str(folder), str(Path(fastgd.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True,
        cwd=folder, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_variants_from_the_caches_of_two_processes_are_told_apart(tmp_path):
    tmp_path.joinpath("variants.py").write_text(
        textwrap.dedent("""
            from fastgd.compile.functions import call, piece, kernel, pointer
            from fastgd.cpu.machine.vector_width import use_widest_vectors

            def times(factor):
                def called_by_name(x):
                    use_widest_vectors()
                    return factor * x

                # Of one flag: the order of several differs from process to process, and so the names.
                product = piece(called_by_name, frozenset({"contract"}))

                @kernel
                def apply(x):
                    return product(x)

                return apply

            @kernel
            def through(function, x):
                return call(function, x)

            def result(factor):
                return through(pointer(times(factor), 1.0), 1.0)
        """)
    )
    _printed("import variants; variants.result(2.0)", tmp_path)
    both = "import variants; print(variants.result(3.0), variants.result(2.0))"
    assert _printed(both, tmp_path) == ["3.0", "2.0"]


@pytest.mark.slow
def test_compiled_and_loaded_kernels_give_the_same_bits(tmp_path):
    code = """
        import numpy as np
        import fastgd
        rng = np.random.default_rng(0)
        x = rng.random((3000, 6))
        y = x @ np.arange(6.0) + rng.random(3000)
        for fit in (
            fastgd.fit_linear(x, y, lr=0.1, epochs=5),
            fastgd.fit_logistic(x, y > y.mean(), lr=0.1, epochs=5, optimizer="adam"),
            fastgd.fit_logistic(x, y > y.mean(), lr=0.1, epochs=2, batch_size=32),
        ):
            print(fit.coef.tobytes().hex())
    """
    assert _printed(code, tmp_path) == _printed(code, tmp_path)
