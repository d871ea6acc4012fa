"""Dense rows in memory: every layout gives the same totals, on every number of threads, uncopied."""

import tracemalloc

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgd.losses import LOSSES
from fastgd.sources import dense as source
from fastgd.sources import host
from fastgd.sources.dense import DenseRows

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def whole_numbers(n, d):
    """x that every dtype can hold, y (1, n) and parameters."""
    _, y, weight, coef, intercept = oracles.problem(n, d, "bce")
    x = np.random.default_rng(1).integers(0, 9, (n, d)).astype(float)
    return x, y[None], weight, coef[None], np.array([intercept])


def unaligned(x):
    raw = np.empty(x.nbytes + 1, dtype=np.int8)[1:].view(x.dtype).reshape(x.shape)
    raw[:] = x
    return raw


def wide(x):
    """x as every second column of a wider array that is otherwise NaN."""
    out = np.full((x.shape[0], 2 * x.shape[1]), np.nan)
    out[:, ::2] = x
    return out[:, ::2]


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second column": wide,
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "rows of the same place": lambda x: np.broadcast_to(x[:1], x.shape),
    "read-only": oracles.read_only,
    "read-only F": lambda x: oracles.read_only(np.asfortranarray(x)),
    "unaligned": unaligned,
    "foreign byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "float16": lambda x: x.astype(np.float16),
    "float32": lambda x: x.astype(np.float32),
    "float32 F": lambda x: np.asfortranarray(x.astype(np.float32)),
    "int8": lambda x: x.astype(np.int8),
    "uint8 F": lambda x: np.asfortranarray(x.astype(np.uint8)),
    "int64": lambda x: x.astype(np.int64),
    "bool": lambda x: x > 4,
}
every_layout = pytest.mark.parametrize("lay", LAYOUTS.values(), ids=LAYOUTS)
#: One part, and parts of a few rows, the last of them smaller.
every_size = pytest.mark.parametrize("part_bytes", [4 << 20, 700], ids="parts of {}".format)


@every_layout
@every_size
@pytest.mark.parametrize("shape", [(45, 3), (45, 1), (1, 3)], ids=str)
def test_every_layout_gives_the_same_totals(monkeypatch, lay, part_bytes, shape, weighted):
    monkeypatch.setattr(source, "PART_BYTES", part_bytes)
    x, y, weight, coef, intercept = whole_numbers(*shape)
    laid = lay(x)
    x, loss = np.array(laid, dtype=float), LOSSES["bce"]
    rows = DenseRows(laid, y, weight if weighted else None, np.float64, 1)
    wanted = oracles.cost_and_gradient(
        x, y[0], coef[0], intercept[0], "bce", weight if weighted else None, "sum"
    )
    totals = rows.totals(loss, coef, intercept)[0]
    np.testing.assert_allclose(totals, [*wanted[1], wanted[2], wanted[0]], **EXACT)
    costs = rows.costs(loss, np.concatenate([coef, -coef]), np.zeros(2))
    for c, at in enumerate((coef[0], -coef[0])):
        cost = oracles.cost_and_gradient(
            x, y[0], at, 0.0, "bce", weight if weighted else None, "sum"
        )[0]
        assert costs[c] == pytest.approx(cost, rel=1e-12)


@every_layout
@every_size
def test_a_pass_that_was_used_gives_the_same_bits(monkeypatch, lay, part_bytes, weighted):
    """Its scratch is kept, also where a pass met what is not finite, or another loss came between."""
    monkeypatch.setattr(source, "PART_BYTES", part_bytes)
    x, y, weight, coef, intercept = whole_numbers(45, 3)

    def totals(rows, name, center=None):
        return rows.totals(LOSSES[name], coef, intercept, center).tobytes()

    def fresh():
        return DenseRows(lay(x), y, weight if weighted else None, np.float64, 2)

    rows, calls = fresh(), [("bce", None), ("mse", None), ("bce", np.ones(3)), ("bce", np.zeros(3))]
    for _ in range(2):
        for call in calls:
            assert totals(rows, *call) == totals(fresh(), *call)
        assert np.isnan(rows.totals(LOSSES["bce"], np.nan * coef, intercept)).any()


@every_layout
@every_size
def test_every_layout_gives_the_same_numbers(monkeypatch, lay, part_bytes, weighted):
    """Moments, predictions, extremes, and the mean and variance of columns."""
    monkeypatch.setattr(source, "PART_BYTES", part_bytes)
    x, y, weight, coef, intercept = whole_numbers(45, 3)
    laid = lay(x)
    x = np.array(laid, dtype=float)
    rows = DenseRows(laid, y, weight if weighted else None, np.float64, 1)
    weight = weight if weighted else np.ones(45)
    center, scale = x.mean(axis=0), np.array([0.5, 2.0, 1.0])
    z = np.column_stack([np.ones(45), (x - center) * scale, y[0] - 0.3])
    moments = rows.moments(center, scale, np.array([0.3]))
    np.testing.assert_allclose(moments, z.T @ (z * weight[:, None]), rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(moments, moments.T)
    np.testing.assert_allclose(rows.predictions(coef, intercept), x @ coef[0] + intercept, **EXACT)
    np.testing.assert_array_equal(rows.extremes(), (x.min(axis=0), x.max(axis=0)))
    np.testing.assert_array_equal(rows.sample(), x)
    for centred in (True, False):
        mass, mean, second = rows.column_moments(centred)
        wanted = np.average(x, axis=0, weights=weight)
        assert mass == pytest.approx(weight.sum())
        np.testing.assert_allclose(mean, wanted, **EXACT)
        about = wanted if centred else 0
        wanted = np.average((x - about) ** 2, axis=0, weights=weight)
        np.testing.assert_allclose(second, wanted, rtol=1e-11, atol=1e-11)


def test_a_memory_map_is_read_where_it_is(tmp_path):
    x, y, weight, coef, intercept = whole_numbers(45, 3)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = DenseRows(mapped, y, weight, np.float64, 1)
    assert np.shares_memory(rows.seen, mapped)
    plain = DenseRows(x, y, weight, np.float64, 1)
    found, wanted = (s.totals(LOSSES["mse"], coef, intercept) for s in (rows, plain))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["C", "F", "read-only", "read-only F", "float32", "float32 F"])
def test_what_kernels_can_read_is_not_copied(name):
    x, y, weight, *_ = whole_numbers(45, 3)
    laid = LAYOUTS[name](x)
    rows = DenseRows(laid, y, weight, np.float64, 1)
    assert np.shares_memory(rows.seen, laid)
    assert not rows.converts
    assert not rows.seen.flags.writeable
    assert laid.flags.writeable == ("read-only" not in name)


def test_a_working_dtype_below_that_of_x():
    x, y, _, coef, intercept = whole_numbers(45, 3)
    rows = DenseRows(x, y, None, np.float32, 1)
    totals = rows.totals(LOSSES["bce"], coef.astype(np.float32), intercept.astype(np.float32))
    cost, by_coef, by_intercept = oracles.cost_and_gradient(
        x, y[0], coef[0], intercept[0], "bce", reduction="sum"
    )
    assert totals.dtype == np.float64
    np.testing.assert_allclose(totals[0], [*by_coef, by_intercept, cost], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lay", ["C", "F", "every second row", "int8"])
def test_the_number_of_threads_does_not_change_a_bit(monkeypatch, lay):
    monkeypatch.setattr(source, "PART_BYTES", 512)
    _, y, weight, coef, intercept = oracles.problem(900, 3, "bce")
    x, *_ = whole_numbers(900, 3)
    laid, coef, intercept = LAYOUTS[lay](x), coef[None], np.array([intercept])
    bits = set()
    for n_threads in (1, 2, 5):
        rows = DenseRows(laid, y[None], weight, np.float64, n_threads)
        assert rows.n_parts > 4
        results = (
            rows.totals(LOSSES["bce"], coef, intercept),
            rows.moments(np.ones(3), np.ones(3), np.zeros(1)),
            rows.costs(LOSSES["bce"], np.concatenate([coef, -coef]), np.zeros(2)),
            rows.predictions(coef, intercept),
            *rows.column_moments(True),
        )
        bits.add(b"".join(np.asarray(result).tobytes() for result in results))
    assert len(bits) == 1


@pytest.mark.parametrize("lay", LAYOUTS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_visit_holds_the_rows_asked_for(lay, shuffle, weighted):
    x, y, weight, *_ = whole_numbers(45, 3)
    laid, y = LAYOUTS[lay](x), np.concatenate([y, np.arange(45.0)[None]])
    rows = DenseRows(laid, y, weight if weighted else None, np.float64, 1)
    order = np.random.default_rng(0).permutation(45 * shuffle).astype(np.int32)
    wanted = order[7:19] if shuffle else np.arange(7, 19)
    visit = rows.visit(order, 7, 19)
    numbers = range(visit.first, visit.last)
    visited = [visit.order[i] if len(visit.order) else i for i in numbers]
    np.testing.assert_array_equal(visit.x[visited], np.array(laid, float)[wanted])
    np.testing.assert_array_equal(visit.y[:, visited], y[:, wanted])
    assert visit.x.flags.c_contiguous
    assert not visit.x.flags.writeable
    if weighted:
        np.testing.assert_array_equal(visit.weight[visited], weight[wanted])
    else:
        assert len(visit.weight) == 0


def test_rows_that_kernels_can_read_are_visited_in_place(monkeypatch):
    monkeypatch.setattr(source, "PART_BYTES", 5 * 8 * 3 * 8)
    x, y, *_ = whole_numbers(45, 3)
    for lay, most in (("C", None), ("read-only", None), ("F", 5), ("every second row", 5)):
        laid = LAYOUTS[lay](x)
        rows = DenseRows(laid, y, None, np.float64, 1)
        assert rows.rows_at_once() == most, lay
        visit = rows.visit(np.arange(45), 3, 9)
        assert np.shares_memory(visit.x, laid) == (most is None)
        assert len(visit.x) == (45 if most is None else 6)


@pytest.mark.parametrize("lay", ["C", "F", "int8"])
def test_other_targets_and_the_largest_row(lay, weighted):
    x, y, weight, coef, intercept = whole_numbers(45, 3)
    weight = weight if weighted else None
    laid = LAYOUTS[lay](x)
    rows = DenseRows(laid, y, weight, np.float32, 1)
    other = rows.with_targets(1 - y, np.float64)
    assert (other.n, other.d, other.k, other.dtype) == (45, 3, 1, np.float64)
    assert np.shares_memory(other.x, rows.x)
    wanted = DenseRows(laid, 1 - y, rows.weight if weighted else None, np.float64, 1)
    at = LOSSES["mse"], coef, intercept
    np.testing.assert_allclose(other.totals(*at), wanted.totals(*at), **EXACT)
    norms = ((x / 4) ** 2).sum(axis=1)
    for fit_intercept in (False, True):
        weights = np.ones(45) if weight is None else rows.weight.astype(float)
        largest = (weights * (norms + fit_intercept / 16)).max()
        assert rows.largest_row_norm(4.0, fit_intercept) == pytest.approx(largest, rel=1e-12)


@given(n_parts=st.integers(1, 200), n_groups=st.integers(1, 40))
def test_groups_hold_every_part_once(n_parts, n_groups):
    groups = host.groups_of(n_parts, n_groups)
    assert [part for group in groups for part in group] == list(range(n_parts))
    assert all(groups)
    assert len(groups) == min(n_parts, n_groups)


@pytest.mark.jit  # interpreted kernels take memory of their own
@pytest.mark.parametrize("lay", ["every second row", "every second column", "foreign byte order"])
def test_a_large_x_is_never_copied_whole(monkeypatch, lay):
    """A fit of what kernels can't read takes the memory of a few parts beside x."""
    monkeypatch.setattr(source, "PART_BYTES", 1 << 15)
    _, y, _, coef, intercept = oracles.problem(2000, 32, "bce")
    laid = LAYOUTS[lay](oracles.problem(2000, 32)[0])

    def work(x, y):
        rows = DenseRows(x, y[None], None, np.float64, 1)
        assert rows.converts
        rows.totals(LOSSES["bce"], coef[None], np.array([intercept]))
        rows.costs(LOSSES["bce"], coef[None], np.array([intercept]))
        rows.moments(np.zeros(32), np.ones(32), np.zeros(1))
        return rows.n_parts

    work(laid[:200], y[:200])  # compiles
    tracemalloc.start()
    try:
        n_parts = work(laid, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert laid.size * 8 > 15 * source.PART_BYTES
    # Beside the parts: the eight sums of the moments, and the tuples of arguments that Python keeps for
    # later calls, up to 2,000 of 200 bytes.
    assert peak < 4 * source.PART_BYTES + 8 * 36 * 36 * 8 + 2 * n_parts * 200
