"""BLAS's threads: no fit's bits depend on them, and every fit hands them back."""

import os
import threading

import numpy as np
import pytest

import fastgd
from fastgd.cpu.machine import blas

pytestmark = pytest.mark.skipif(blas._controls() is None, reason="NumPy's BLAS is not OpenBLAS")


@pytest.fixture
def set_threads():
    """Sets the number of BLAS's threads, until the end of the test."""
    get, put = blas._controls()
    before = get()
    yield put
    put(before)


def data(n, d):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    return x, x[:, 0] + rng.standard_normal(n)


def fits():
    """Bits of fits that use BLAS: factorisations of every kind, and products of a network."""
    x, y = data(400, 131)
    collinear = x.copy()
    collinear[:, 0] = collinear[:, 1] + 1e-7 * collinear[:, 2]
    network = fastgd.fit_mlp(x, y, hidden=[64, 32], lr=0.01, epochs=2, batch_size=100)
    linear = [
        fastgd.fit_linear(x, y),
        fastgd.fit_linear(collinear, y),
        fastgd.fit_logistic(x, y > 0, l2=0.01),
        fastgd.fit_linear(x, y, l1=0.01),
    ]
    many = network.predict(np.repeat(x, 8, axis=0))
    return [fit.coef.tobytes() for fit in linear] + [network.weights[0].tobytes(), many.tobytes()]


@pytest.mark.jit  # 400×131 in plain Python takes minutes
@pytest.mark.filterwarnings("ignore::fastgd.ConvergenceWarning")
def test_the_same_bits_for_every_number_of_threads_of_blas(set_threads):
    set_threads(1)
    wanted = fits()
    for n_threads in (2, 3):
        set_threads(n_threads)
        assert fits() == wanted


@pytest.mark.jit
def test_the_same_bits_while_another_thread_trains_networks(set_threads):
    set_threads(2)
    x, y = data(400, 131)
    wanted, over, trained = fastgd.fit_linear(x, y).coef.tobytes(), threading.Event(), []

    def train():
        while not over.is_set():
            trained.append(fastgd.fit_mlp(x[:, :3], y, hidden=4, epochs=1, batch_size=50))

    other = threading.Thread(target=train)
    other.start()
    try:
        found = {fastgd.fit_linear(x, y).coef.tobytes() for _ in range(40)}
    finally:
        over.set()
        other.join()
    assert trained
    assert found == {wanted}


def test_a_failed_fit_hands_the_threads_back(set_threads):
    set_threads(2)
    x, y = data(40, 3)
    with pytest.raises(fastgd.DivergenceError):
        fastgd.fit_linear(x, y, lr=1e6, epochs=200)
    assert blas._controls()[0]() == 2


def test_a_context_without_an_exit_hands_the_threads_back(set_threads):
    """A signal may come between the end of its block and the exit."""
    set_threads(2)
    context = blas.one_thread()
    context.__enter__()
    assert blas._controls()[0]() == 1
    del context
    assert blas._controls()[0]() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("fit", [fastgd.fit_linear, fastgd.fit_mlp])
def test_a_child_forked_in_a_callback_has_all_threads(set_threads, fit):
    set_threads(2)
    x, y = data(30, 2)
    more = {} if fit is fastgd.fit_linear else {"hidden": 3}
    codes = []

    def fork(so_far):
        child = os.fork()
        if child == 0:
            try:
                had = blas._controls()[0]()
                fit(x, y, lr=0.01, epochs=1, **more)
                os._exit(0 if (had, blas._controls()[0]()) == (2, 2) else 1)
            finally:
                os._exit(2)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return True

    fit(x, y, lr=0.01, epochs=1, callback=fork, **more)
    assert codes == [0]
    assert blas._controls()[0]() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_while_another_thread_fits_has_all_threads(set_threads):
    set_threads(2)
    inside, over = threading.Event(), threading.Event()

    def hold():
        with blas.one_thread():
            inside.set()
            over.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        with blas.one_thread():
            inside_child = blas._controls()[0]()
        os._exit(0 if (inside_child, blas._controls()[0]()) == (1, 2) else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    over.set()
    other.join()
    assert code == 0
