"""scikit-learn's SGD on one output in plain Python, one row after the other, with nothing lazy.

The oracle of fastgd's kernels, also where scikit-learn's own result is not wanted: the objective has the
norm of all coefficients, and scores are those of the coefficients as they are.
"""

import math

import numpy as np


def orders(n, seed):
    """The orders of the epochs, for ever: each shuffles that before with the same random numbers."""
    order = list(range(n))
    while True:
        state = seed or 1
        for i in range(n - 1):
            state ^= (state << 13) & 0xFFFFFFFF
            state ^= state >> 17
            state ^= (state << 5) & 0xFFFFFFFF
            j = i + (state & 0x7FFFFFFF) % (n - i)
            order[i], order[j] = order[j], order[i]
        yield list(order)


def descend(
    x, y, weight, loss, seed, *, penalty, alpha, l1_ratio, schedule, eta0, power_t, fit_intercept,
    intercept_decay, max_iter, tol, patience, average, touched=None, skipped=(), score=None, t=1.0,
    coef=None, intercept=0.0, smallest=1e-9,
):  # fmt: skip
    """The coefficients, the intercept, the number of epochs and the mean losses.

    `touched(i)` are the columns that an update of row i brings up to date, all if it is None;
    `score(coef, intercept)` of the rows `skipped` ends a run in place of the objective.
    """
    n, d = x.shape
    w, b = (np.zeros(d) if coef is None else np.array(coef, float)), float(intercept)
    mean, mean_intercept = np.zeros(d), 0.0
    value, slope = (
        lambda z, y: loss.value(z, y, *loss.parameters),
        lambda z, y: loss.slope(z, y, *loss.parameters),
    )
    l1_ratio = {"l1": 1.0, "l2": 0.0, None: 0.0}.get(penalty, l1_ratio)
    l1, l2 = (0.0, 0.0) if penalty is None else (alpha * l1_ratio, alpha * (1 - l1_ratio))
    t0 = 0.0
    if schedule == "optimal":
        typical = math.sqrt(1 / math.sqrt(alpha))
        t0 = max(1.0, slope(-typical, 1.0)) / (typical * alpha)
    eta, limit, lost = eta0, 0.0, np.zeros(d)
    # What a change of a coefficient by the penalty adds to the mean: scikit-learn's a/b.
    size, a, b_ = 1.0, 0.0, 1.0
    best, idle, costs = math.inf, 0, []
    norms = w @ w, np.abs(w).sum()
    for order in orders(n, seed):
        losses = objective = count = 0
        for i in order:
            if i in skipped:
                continue
            count += 1
            row, target = x[i], y[i]
            z = row @ w + b
            losses += value(z, target)
            if schedule not in ("pa1", "pa2"):
                objective += l2 / 2 * norms[0] + l1 * norms[1]
            rate = eta
            if schedule == "optimal":
                rate = 1 / (alpha * (t0 + t - 1))
            elif schedule == "invscaling":
                rate = eta0 / t**power_t
            if schedule in ("pa1", "pa2"):
                square = row @ row
                if schedule == "pa1" and square == 0:
                    continue
                length = value(z, target)
                length = (
                    min(eta0, length / square)
                    if schedule == "pa1"
                    else length / (square + 0.5 / eta0)
                )
                u = -slope(z, target) * length
            else:
                u = -rate * min(max(slope(z, target), -1e12), 1e12)
            u *= weight[i]
            factor = max(0.0, 1 - l2 * rate)
            w *= factor
            norms = norms[0] * factor**2, norms[1] * factor
            size *= factor
            if size < smallest:
                size, a, b_ = 1.0, 0.0, 1.0
            if u != 0:
                w += u * row
                norms = w @ w, np.abs(w).sum()
            if fit_intercept:
                b += u * intercept_decay
            if 0 < average <= t:
                k = t - average + 1
                mean += (w - mean) / k
                mean_intercept += (b - mean_intercept) / k
                b_ = b_ / (1 - 1 / k) if k > 1 else b_
                a += b_ * size / k
            if l1:
                limit += l1 * rate
                columns = range(d) if touched is None else touched(i)
                for j in columns:
                    old = w[j]
                    if old > 0:
                        w[j] = max(0.0, old - (limit + lost[j]))
                    elif old < 0:
                        w[j] = min(0.0, old + (limit - lost[j]))
                    lost[j] += w[j] - old
                    mean[j] += (w[j] - old) / size * a / b_
                if touched is not None:
                    norms = w @ w, np.abs(w).sum()
            t += 1
        costs.append(losses / count)
        now = (losses + objective) / count if score is None else -score(w, b)
        idle = idle + 1 if tol is not None and now > best - tol else 0
        best = min(best, now)
        if idle >= patience:
            if schedule == "adaptive" and eta > 1e-6:
                eta, idle = eta / 5, 0
            else:
                break
        if len(costs) == max_iter:
            break
    if 0 < average <= t - 1:
        w, b = mean, mean_intercept
    return w, b, len(costs), costs
