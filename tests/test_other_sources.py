"""Rows that are lists, sparse, or in blocks: solvers end where they do on dense rows."""

import every_solver
import numpy as np
import pytest
from every_solver import SOLVERS
from list_source import ListRows
from scipy.sparse import csr_array

from fastgd.errors import InputError
from fastgd.losses import LOSSES
from fastgd.settings import Settings
from fastgd.solvers import curve
from fastgd.solvers.automatic import AutomaticSolver
from fastgd.solvers.step_size import largest_stable_lr
from fastgd.sources.blocks import BlockRows, Blocks
from fastgd.sources.dense import DenseRows
from fastgd.sources.sparse import SparseRows

CLOSE = {"rtol": 1e-8, "atol": 1e-10}


@pytest.fixture(autouse=True)
def _quiet():
    """Fits ignore what overflows, too: without the JIT these are NumPy's numbers."""
    with np.errstate(all="ignore"):
        yield


def lists(x, y, weight, k=None):
    return ListRows(x.tolist(), y.tolist(), None if weight is None else weight.tolist(), k=k)


def compressed(x, y, weight, k=None):
    return SparseRows(csr_array(x), y, weight, np.float64, 1, k)


def in_blocks(x, y, weight, k=None):
    """Blocks of 37 rows, every other one sparse."""

    def opened():
        for first in range(0, len(x), 37):
            block = x[first : first + 37]
            yield csr_array(block) if first % 2 else block

    return BlockRows(Blocks(opened, x.shape, x.dtype), y, weight, np.float64, 1, k)


KINDS = {"lists": lists, "sparse": compressed, "blocks": in_blocks}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def sources(kind, loss_name, n=every_solver.N):
    """The same rows of a kind and dense, and the weights."""
    x, y, weight, k = every_solver.problem(loss_name, n)
    return (kind(x, y, weight, k), DenseRows(x, y, weight, np.float64, 1, k)), weight


@every_kind
@pytest.mark.parametrize("case", SOLVERS)
def test_every_solver_ends_where_it_does_on_dense_rows(case, kind, monkeypatch):
    case = SOLVERS[case]
    for patch in case.patches:
        monkeypatch.setattr(*patch)
    both, weight = sources(kind, case.loss, case.n)
    found, wanted = (case.make(source, weight) for source in both)
    shuffle = getattr(found, "shuffle", False)
    if kind is in_blocks and shuffle:
        if shuffle == "block":  # an order of its own, for which there is `test_block_order`
            return
        with pytest.raises(InputError, match="shuffle=False"):
            every_solver.finish(found)
        return
    statuses = [every_solver.finish(solver) for solver in (found, wanted)]
    assert statuses[0] == statuses[1]
    assert wanted.epoch > 0
    assert found.method == wanted.method
    np.testing.assert_allclose(found.coef, wanted.coef, **CLOSE)
    np.testing.assert_allclose(found.intercept, wanted.intercept, **CLOSE)
    assert found.cost() == pytest.approx(wanted.cost(), rel=1e-9)
    if isinstance(wanted, AutomaticSolver):  # when it takes a new metric is counted from `work`
        return
    done = slice(0, wanted.epoch)
    np.testing.assert_allclose(found.costs[done], wanted.costs[done], rtol=1e-8)
    np.testing.assert_allclose(found.path[done], wanted.path[done], **CLOSE)


@every_kind
@pytest.mark.parametrize("batch_size", [None, 1, 8])
def test_the_largest_stable_step(batch_size, kind):
    both, _ = sources(kind, "bce")
    settings = Settings(lr=0.1, l2=0.1, scale=0.01, row_scale=0.02, fit_intercept=True, tol=0.0)
    found, wanted = (
        largest_stable_lr(source, LOSSES["bce"], settings, batch_size) for source in both
    )
    assert found == pytest.approx(wanted, rel=1e-6)


@every_kind
@pytest.mark.parametrize("weighted", [False, True])
def test_what_it_says_of_its_rows(weighted, kind):
    """Numbers that solvers see: those of the dense source, also in a subset of the rows."""
    x, y, weight, k = every_solver.problem("mse")
    weight = weight if weighted else None
    x[np.random.default_rng(0).random(x.shape) < 0.5] = 0.0
    own, dense = kind(x, y, weight), DenseRows(x, y, weight, np.float64, 1)
    pairs = [(own, dense)]
    (few, share), (dense_few, dense_share) = own.subset(3, 4), dense.subset(3, 4)
    assert share == pytest.approx(dense_share)
    pairs.append((few, dense_few))
    for found, wanted in pairs:
        assert (found.n, found.d, found.k) == (wanted.n, wanted.d, wanted.k)
        for name, arguments in (
            ("moments", (np.ones(3), np.array([0.5, 1.0, 2.0]), np.array([0.3]))),
            ("moments", (np.ones(3), np.ones(3), np.zeros(0), np.linspace(0, 1, found.n))),
            ("totals", (LOSSES["mse"], np.ones((k, 3)), np.ones(k), np.full(3, 0.2))),
            ("predictions", (np.ones((1, 3)), np.ones(1))),
            ("extremes", ()),
            ("sample", (7,)),
            ("few_predictions", (np.ones((2, 3)),)),
        ):
            a, b = getattr(found, name)(*arguments), getattr(wanted, name)(*arguments)
            if name == "sample" and isinstance(found, BlockRows):  # of the first block
                assert all((row == x[:37]).all(axis=1).any() for row in a)
                continue
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=name)
        for centred in (True, False):
            for a, b in zip(
                found.column_moments(centred), wanted.column_moments(centred), strict=True
            ):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@every_kind
def test_costs_at_many_coefficients(kind):
    both, _ = sources(kind, "bce")
    coefs, levels = np.linspace(-1, 1, 15).reshape(5, 3), np.linspace(0, 1, 5)
    for loss in (loss for loss in LOSSES.values() if not loss.coupled):
        found, wanted = (source.costs(loss, coefs, levels) for source in both)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    found, wanted = (curve.squared_costs(source, LOSSES["mse"], coefs, levels) for source in both)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
