"""Files of compiled functions: of the right function, whole, and never in the way."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import fastgd
from fastgd.compile import cache as _kernel_cache

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="there is no cache without the JIT"
)

KERNELS = """
    from fastgd.compile.functions import kernel

    @kernel
    def twice(x):
        return 2 * x

    @kernel
    def thrice(x):
        return 3 * x

    def counts(*kernels):
        hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels)
        return hits, sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels)
"""


def printed(code, folder):
    """What a fresh process prints that has `kernels`, and a cache of its own, in a folder."""
    folder.joinpath("kernels.py").write_text(textwrap.dedent(KERNELS))
    env = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")}
    env["PYTHONPATH"] = os.pathsep.join([str(folder), str(Path(fastgd.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True,
        cwd=folder, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def files(folder):
    return sorted(folder.joinpath("cache").rglob("*.nbc"))


@pytest.mark.slow
def test_loading_prepares_no_compilation(tmp_path):
    """Numba's implementations, and SciPy with them, are imported by the first compilation only."""
    code = """
        import sys
        import fastgd, kernels
        fit = fastgd.fit_linear([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], lr=0.01, epochs=9)
        print(fit.coef[0].hex(), "numba.np.arraymath" in sys.modules, "scipy.linalg" in sys.modules)
        print(kernels.twice(5.0), "numba.np.arraymath" in sys.modules)
    """
    cold, compiled = printed(code, tmp_path)
    assert cold.split()[1] == "True"
    for path in files(tmp_path):
        if path.name.startswith("twice"):
            path.unlink()
    warm, again = printed(code, tmp_path)
    assert warm.split() == [cold.split()[0], "False", "False"]
    assert again == compiled == "10.0 True"


BOTH = """
    from kernels import twice, thrice, counts
    print(twice(5.0), thrice(5.0), *counts(twice, thrice))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes by fork")
@pytest.mark.slow
def test_six_processes_with_six_types(tmp_path):
    code = """
        import os, time
        import numba, numpy as np
        import kernels

        def value(kind):
            return np.array([5]).astype(kind)

        KINDS = "float32 float64 int32 int64 complex64 complex128".split()

        def children(work, arguments):
            pids = []
            for argument in arguments:
                pids.append(os.fork())
                if pids[-1] == 0:
                    bad = 1
                    try:
                        work(argument)
                        bad = 0
                    finally:
                        os._exit(bad)
            return sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)

        def call(kind):
            while time.time() < start:
                pass
            kernels.twice(value(kind))

        def check(kinds):
            for kind in kinds:
                assert kernels.twice(value(kind)) == 10, kind
            assert kernels.counts(kernels.twice) == (6, 0)

        for number in range(3):
            numba.config.CACHE_DIR = os.path.abspath(f"round{number}")
            start = time.time() + 0.2
            print(children(call, KINDS), children(check, [KINDS]))
    """
    assert printed(code, tmp_path) == ["0 0"] * 3


def test_a_file_under_the_name_of_another_is_not_loaded(tmp_path):
    assert printed(BOTH, tmp_path) == ["10.0 15.0 0 2"]
    assert printed(BOTH, tmp_path) == ["10.0 15.0 2 0"]
    one, other = files(tmp_path)
    one.rename("kept")
    other.rename(one)
    Path("kept").rename(other)
    assert printed(BOTH, tmp_path) == ["10.0 15.0 0 2"]
    assert printed(BOTH, tmp_path) == ["10.0 15.0 2 0"]


def test_a_file_of_an_earlier_version_is_not_loaded(tmp_path):
    """The same name and a key that differs, as if digests of names had met."""
    printed(BOTH, tmp_path)
    for file in files(tmp_path):
        data = file.read_bytes()[32:].replace(b"thrice", b"twice!")
        file.write_bytes(_kernel_cache.hashlib.sha256(data).digest() + data)
    assert printed(BOTH, tmp_path) == ["10.0 15.0 1 1"]


USE = """
    import consts, losses, numpy as np
    import fastgd
    from fastgd.compile import functions as _jit
    from fastgd.cpu import dense
    loss = fastgd.losses.Loss("scaled", losses.value, losses.slope)
    kernel = dense.cost_and_gradient(loss)
    given = np.ones((1, 1)), np.zeros(1), np.ones(1), 0.0, np.empty(1)
    print(kernel(*given)[0], sum(kernel.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_a_constant_in_another_file_counts(tmp_path):
    tmp_path.joinpath("losses.py").write_text(
        textwrap.dedent("""
            import consts

            def made(consts):
                def value(z, y):
                    return consts.DELTA * (z - y) + consts.half(z)

                def slope(z, y):
                    return z - y

                return value, slope

            value, slope = made(consts)
        """)
    )
    text = "import numba\nDELTA = {}\n@numba.njit\ndef half(z):\n    return {} * z"
    for delta, half, expected in [
        (1.0, 0.5, "1.5 0"),
        (1.0, 0.5, "1.5 1"),
        (7.0, 0.5, "7.5 0"),
        (7.0, 0.25, "7.25 0"),
        (1.0, 0.5, "1.5 1"),
    ]:
        tmp_path.joinpath("consts.py").write_text(text.format(delta, half))
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)  # by the second and by the size
        assert printed(USE, tmp_path) == [expected]


def test_what_changes_in_a_process_is_not_cached_under_its_new_value(tmp_path):
    """Numba keeps a helper's first value, also within a kernel that is compiled after the change."""
    tmp_path.joinpath("consts.py").write_text("DELTA = 1.0")
    tmp_path.joinpath("users.py").write_text(
        textwrap.dedent("""
            import consts, numba
            from fastgd.compile.functions import kernel

            @numba.njit
            def helper(x):
                return consts.DELTA * x

            @kernel
            def first(x):
                return helper(x)

            @kernel
            def second(x):
                return helper(x) + 1.0
        """)
    )
    code = "import consts, users; {}consts.DELTA = 5.0; print(users.second(1.0))"
    assert printed(code.format("users.first(1.0); "), tmp_path) == ["2.0"]
    assert printed(code.format(""), tmp_path) == ["6.0"]


def test_variants_of_a_helper_from_two_processes_are_told_apart(tmp_path):
    """A helper that is not fastgd's, and not inlined: machine code is found by its name."""
    tmp_path.joinpath("variants.py").write_text(
        textwrap.dedent("""
            import numba
            from fastgd.compile.functions import call, piece, kernel, pointer
            from fastgd.cpu.machine.vector_width import use_widest_vectors

            def times(factor):
                # Of one flag: the order of several differs from process to process, and so the names.
                @numba.njit(fastmath={"contract"})
                def helper(x):
                    use_widest_vectors()
                    return factor * x

                @kernel
                def apply(x):
                    return helper(x)

                return apply

            @kernel
            def through(function, x):
                return call(function, (x,))

            def result(factor):
                return through(pointer(times(factor), 1.0), 1.0)
        """)
    )
    code = "import variants; print(*map(variants.result, {}))"
    assert printed(code.format([2.0]), tmp_path) == ["2.0"]
    assert printed(code.format([3.0, 2.0]), tmp_path) == ["3.0 2.0"]
    assert printed(code.format([2.0, 3.0]), tmp_path) == ["2.0 3.0"]


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "kernel.nbc"
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _kernel_cache._write(path, "key", b"payload")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 10, 32, 50, -1])
def test_a_file_that_is_cut_off_is_a_miss(tmp_path, size):
    path = tmp_path / "kernel.nbc"
    _kernel_cache._write(path, "key", b"payload" * 9)
    assert _kernel_cache._read(path, "key") == b"payload" * 9
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="damaged"):
        _kernel_cache._read(path, "key")


def test_a_folder_that_vanishes_or_is_full(tmp_path):
    code = """
        import shutil
        from kernels import twice
        twice(1.0)
        shutil.rmtree("cache")
        print(twice(1))
        def full(*_):
            raise OSError(28, "No space left on device")
        from fastgd.compile import cache as _kernel_cache
        _kernel_cache._write = full
        print(twice(1j))
    """
    assert printed(code, tmp_path) == ["2", "2j"]


def test_what_nobody_loads_is_removed(tmp_path):
    path, old = tmp_path / f"a-{'0' * 32}.nbc", tmp_path / f"b-{'1' * 32}.nbc"
    unfinished, foreign = tmp_path / f"{old.name}.{'2' * 32}", tmp_path / "c-1.py311.1.nbc"
    long_ago = time.time() - 100 * 86400
    for each in (path, old, unfinished, foreign):
        _kernel_cache._write(each, "key", b"payload")
        os.utime(each, (long_ago, long_ago))
    _kernel_cache._read(path, "key")
    _kernel_cache._remove_old.cache_clear()
    _kernel_cache._remove_old(tmp_path)
    assert sorted(tmp_path.iterdir()) == [path, foreign]


def test_every_kernel_is_cached():
    """Nothing that a kernel of fastgd reaches keeps it out of the cache."""
    code = """
        import gc, importlib, itertools, pkgutil
        import numpy as np
        from numba.core.registry import CPUDispatcher
        import fastgd.cpu
        from fastgd.compile.fingerprint import fingerprint
        from fastgd.losses import LOSSES
        from fastgd.formulas.updates import RULES
        from fastgd.formulas.activations import ACTIVATIONS

        for module in pkgutil.iter_modules(fastgd.cpu.__path__, "fastgd.cpu."):
            importlib.import_module(module.name)
        from fastgd.cpu import advance, block_losses, dense, elementwise, statistics, stochastic
        from fastgd.mlp import layers

        kernels = []
        for rule in RULES.values():
            kernels += [advance.step(rule), layers.update(rule)]
        kernels += [dense.batch_epochs, stochastic.minibatch, statistics.statistics_epochs]
        kernels += [dense.rows_pass(paired) for paired in (False, True)]
        kernels += [dense.columns_pass(centred) for centred in (False, True)]
        kernels += [stochastic.stochastic_epochs, dense.gather(np.dtype("float32"))]
        for loss in (loss for loss in LOSSES.values() if not loss.coupled):
            kernels += [dense.cost_and_gradient(loss), block_losses.losses_of_outputs(loss, True)]
            kernels += [stochastic.per_sample(loss, False)]
            kernels += [layers.head(loss)]
        for name, which in itertools.product(ACTIVATIONS, ("value", "slope")):
            leaf = getattr(ACTIVATIONS[name], which)
            kernels += [elementwise._kernel(leaf), layers.activate(name)]
        found = {k for k in gc.get_objects() if type(k) is CPUDispatcher}
        print(found.issuperset(kernels), all(map(fingerprint, found)))
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]


def test_a_second_network_waits_for_no_lock_of_the_compiler():
    """A child may be forked while another thread has it, and then no one gives it back."""
    from llvmlite.binding import ffi

    import fastgd.mlp.network as network

    given = [3, 4, 1], "relu", fastgd.losses.LOSSES["mse"], "float64", 1, False
    network.Network(*given)
    taken, done = threading.Event(), threading.Event()

    def hold():
        with ffi.lib._lock:
            taken.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    second = threading.Thread(target=network.Network, args=given, daemon=True)
    second.start()
    second.join(20)
    waits = second.is_alive()
    done.set()
    holder.join()
    assert not waits
