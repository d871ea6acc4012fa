"""Visiting orders: permutations, uniform, their own for every epoch, the same for the same seed."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fastgd.cpu.order import visiting_order

#: A uniform source exceeds the chi-square limit once in a million; here the numbers are fixed.
RARE = 1e-6

every_shuffle = pytest.mark.parametrize("shuffle", [False, True, "block"])


def assert_uniform(counts, cells):
    """Chi-square: the counts of `cells` equally likely outcomes."""
    expected = sum(counts.values()) / cells
    assert len(counts) <= cells
    missing = cells - len(counts)
    statistic = sum((c - expected) ** 2 for c in counts.values()) / expected + missing * expected
    assert stats.chi2.ppf(RARE, cells - 1) < statistic < stats.chi2.isf(RARE, cells - 1)


def count(outcomes):
    values, counts = np.unique(list(outcomes), axis=0, return_counts=True)
    return dict(zip(map(str, values), counts.tolist(), strict=True))


@every_shuffle
@given(n=st.integers(1, 1500), seed=st.integers(0, 2**70), epoch=st.integers(0, 10**6))
def test_every_row_once(shuffle, n, seed, epoch):
    order = visiting_order(n, shuffle, seed, epoch)
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(n))


def test_the_given_order():
    assert visiting_order(5, False, seed=3, epoch=9).tolist() == [0, 1, 2, 3, 4]
    assert visiting_order(0, True, 0, 0).tolist() == []


@pytest.mark.parametrize("shuffle", [True, "block"])
def test_seed_and_epoch_decide(shuffle):
    keys = list(itertools.product(range(5), range(5)))
    orders = {visiting_order(1200, shuffle, *key).tobytes() for key in keys}
    assert len(orders) == len(keys)
    assert {visiting_order(1200, shuffle, *key).tobytes() for key in keys} == orders


@pytest.mark.parametrize("shuffle", [True, "block"])
@pytest.mark.parametrize("vary", ["epoch", "seed"])
def test_every_permutation_is_as_likely(shuffle, vary):
    def order(i):
        return visiting_order(
            4, shuffle, **({"seed": 0, "epoch": i} if vary == "epoch" else {"seed": i, "epoch": 0})
        )

    assert_uniform(count(order(i) for i in range(2400)), 24)


def test_epochs_and_seeds_that_follow_each_other_know_nothing_of_each_other():
    def first(seed, epoch):
        return visiting_order(5, True, seed, epoch)[0]

    assert_uniform(count((first(1, e), first(1, e + 1)) for e in range(2500)), 25)
    assert_uniform(count((first(s, 1), first(s + 1, 1)) for s in range(2500)), 25)
    assert_uniform(count((first(s, s + 1), first(s + 1, s)) for s in range(2500)), 25)


def test_a_row_may_come_anywhere():
    """A tenth of the rows and a tenth of the places, over one long order."""
    order = visiting_order(4000, True, seed=5, epoch=0)
    cells = zip(order * 10 // 4000, np.arange(4000) * 10 // 4000, strict=True)
    counts = count(cells)
    assert len(counts) == 100
    assert max(counts.values()) < 40 + 6 * 40**0.5
    assert min(counts.values()) > 40 - 6 * 40**0.5


def test_block_order_is_local():
    """Windows of 512 adjacent rows one after the other; in random order, and shuffled inside."""
    order = visiting_order(3000, "block", seed=2, epoch=0)
    windows = [window for window, _ in itertools.groupby(order // 512)]
    assert sorted(windows) == [0, 1, 2, 3, 4, 5]
    assert windows != sorted(windows)
    for window in windows:
        rows = order[order // 512 == window]
        assert (np.diff(rows) != 1).mean() > 0.9
    firsts = [visiting_order(1024 + 512, "block", 0, e)[0] // 512 for e in range(300)]
    assert_uniform(count(firsts), 3)


def test_every_bit_of_a_seed_counts():
    orders = [visiting_order(50, True, seed, 0).tobytes() for seed in (0, 1, 1 << 64, 1 << 130)]
    assert orders[1] == orders[2]  # bits fold: 64 of them are kept
    assert orders[3] not in orders[:2]
