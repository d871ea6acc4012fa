"""A source of rows that are Python lists: the guide for whoever adds a source.

A source holds rows x (n, d), targets, weights and offsets, and answers what
`fastgd.sources.protocol.Source` lists: sums over the rows, and rows in any order. Everything else
(updates, steps, stopping) is the solvers'. This one is slow and obvious: each method is the formula of
its docstring in the protocol.
"""

import math

import numpy as np

from fastgd import reference
from fastgd.cpu.order import order_of_epoch
from fastgd.sources.in_memory import InMemory
from fastgd.sources.protocol import Source
from fastgd.sources.visit import DenseVisit, read_only, taken


class ListRows(InMemory):
    """x is a list of rows, y a list of k targets, each a list of n numbers, weight one of n or None.

    For a loss that couples k outputs y is ``[labels]``, and `k` is given. `offset` is None or like y, a
    list for each output.
    """

    def __init__(self, x, y, weight=None, dtype=np.float64, k=None, offset=None):
        self.rows, self.columns, self.targets = x, list(zip(*x, strict=True)), y
        self.weights = [1.0] * len(x) if weight is None else weight
        self.n, self.d, self.k = len(x), len(x[0]), k or len(y)
        self.dtype, self.n_threads = np.dtype(dtype), 1
        self.y = read_only(np.array(y, self.dtype))
        self.weight = read_only(np.array([] if weight is None else weight, self.dtype))
        self.fixed = [None] * self.k if offset is None else offset
        self.offset = read_only(np.array(offset or np.empty((0, 1)), self.dtype))

    widest_square = math.inf
    columns = dual_epoch = None
    shifts_rows = True

    # One pass over the rows: what batch descent, L-BFGS and lr="auto" live on.

    def totals(self, loss, coef, intercept, center=None, slopes_too=True):
        rows = self.rows
        if center is not None:
            rows = [[a - c for a, c in zip(row, center, strict=True)] for row in rows]
        coef, intercept = coef.tolist(), intercept.tolist()
        totals = np.zeros((self.k, self.d + 2))
        if len(self.targets) < self.k:  # one row of class indices for all outputs
            fixed = list(zip(*self.fixed, strict=True)) if len(self.offset) else None
            at = rows, list(map(int, self.targets[0])), coef, intercept, self.weights, "sum", fixed
            totals[0, -1] = reference.softmax_cost(*at)
            if slopes_too:
                totals[:, :-2], totals[:, -2] = reference.softmax_gradient(*at)
            return totals
        outputs = zip(totals, self.targets, coef, intercept, self.fixed, strict=True)
        for total, y, w, b, fixed in outputs:
            at = rows, y, w, b, loss, self.weights, "sum", fixed
            total[-1] = reference.cost(*at)
            if slopes_too:
                total[:-2], total[-2] = reference.gradient(*at)
        return totals

    def costs(self, loss, coefs, intercepts):
        pairs = zip(coefs[:, None], intercepts[:, None], strict=True)
        return np.array([self.totals(loss, *at, slopes_too=False)[0, -1] for at in pairs])

    def predictions(self, coef, intercept):
        return np.array(reference.predict(self.rows, coef[0].tolist(), float(intercept[0])))

    # Moments: the statistics of squared error, and the metric of lr="auto".

    def moments(self, center, scale, y_center, weight=None):
        columns = zip(self.columns, center, scale, strict=True)
        targets = zip(self.targets, y_center, strict=False)  # as many as have a centre
        z = [[1.0] * self.n, *([(a - c) * s for a in column] for column, c, s in columns)]
        z += [[t - c for t in target] for target, c in targets]
        weights = self.weights if weight is None else weight.tolist()
        return np.array([[_sum(weights, p, q) for q in z] for p in z])

    def column_moments(self, centred, center=None):
        mass = sum(self.weights)
        means = [_sum(self.weights, column) / mass for column in self.columns]
        squares = []
        for column, mean in zip(self.columns, means, strict=True):
            apart = [a - mean for a in column] if centred else column
            squares.append(_sum(self.weights, apart, apart) / mass)
        return mass, np.array(means), np.array(squares)

    # What a solver looks at before it begins.

    def extremes(self):
        return tuple(np.array(list(map(of, self.columns))) for of in (min, max))

    def middle(self):
        return self.sample().mean(axis=0)

    def few_predictions(self, coef):
        return np.array(self.rows, dtype=np.float64) @ coef.T

    def sample(self, rows=256):
        return np.array(self.rows[:: max(1, self.n // rows)], dtype=np.float64)

    def largest_row_norm(self, size, fit_intercept):
        rows = [[a / size for a in (*row, float(fit_intercept))] for row in self.rows]
        return max(
            _sum([w] * len(row), row, row) for w, row in zip(self.weights, rows, strict=True)
        )

    def work(self, kind, outputs=None):
        k = self.k if outputs is None else outputs
        return 50.0 * self.n * (self.d * k if kind == "pass" else (1 + self.d + k) ** 2)

    # The same rows with other targets, and some of the rows.

    def with_targets(self, y, dtype):
        return ListRows(self.rows, y.tolist(), self._given(self.weights), dtype)

    def only(self, output):
        y, fixed = [self.targets[output]], [self.fixed[min(output, len(self.fixed) - 1)]]
        weights, offset = self._given(self.weights), fixed if len(self.offset) else None
        return ListRows(self.rows, y, weights, self.dtype, 1, offset)

    def subset(self, every, together=64):
        chosen = [i for i in range(self.n) if i % (every * together) < together]
        weights = [self.weights[i] for i in chosen]
        rows = [self.rows[i] for i in chosen]
        targets = [[y[i] for i in chosen] for y in self.targets]
        fixed = taken(self.offset, chosen).tolist() or None
        source = ListRows(rows, targets, self._given(weights), self.dtype, self.k, fixed)
        return source, math.fsum(weights) / math.fsum(self.weights)

    def _given(self, weights):
        return weights if len(self.weight) else None

    # Loops of updates: no compiled one of this source's own, and rows as arrays for those of the CPU.

    def batch_epochs(self, loss, rule, arrays, stop, with_cost):
        return None

    def rows_at_once(self):
        return self.n

    def direct_rows(self, loss, batch_size):
        return None

    block_order = ""

    def order(self, shuffle, seed, epoch):
        return order_of_epoch(self.n, shuffle, seed, epoch)

    def visit(self, order, first, last):
        chosen = order[first:last].tolist() if len(order) else range(first, last)
        x = np.array([self.rows[i] for i in chosen], self.dtype)
        arrays = x, *(taken(a, list(chosen)) for a in (self.y, self.weight, self.offset))
        return DenseVisit(*map(read_only, arrays), order[:0], 0, last - first)


def _sum(*factors):
    """The sum of products, one factor of each list."""
    return sum(map(math.prod, zip(*factors, strict=True)))


#: mypy says here what a source lacks.
_SOURCE: type[Source] = ListRows
