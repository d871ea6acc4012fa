"""Every solver in every phase, on a small problem: made alike on any source."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import oracles

import fastgd
from fastgd.losses import CROSS_ENTROPY, LOSSES
from fastgd.settings import Settings
from fastgd.solvers import joint, metric, proximal, whitened
from fastgd.solvers.automatic import AutomaticSolver
from fastgd.solvers.batch import BatchDescent
from fastgd.solvers.curved import CurvedDescent
from fastgd.solvers.interior import InteriorDescent
from fastgd.solvers.joint import CoupledDescent
from fastgd.solvers.lbfgs import LBFGSDescent
from fastgd.solvers.protocol import Solver
from fastgd.solvers.proximal import ProximalDescent
from fastgd.solvers.stochastic import StochasticDescent
from fastgd.solvers.whitened import AutomaticDescent

#: mypy says here what a solver lacks.
KINDS: tuple[type[Solver], ...] = (
    BatchDescent, StochasticDescent, LBFGSDescent, AutomaticDescent, CoupledDescent, ProximalDescent,
    InteriorDescent,
)  # fmt: skip

N, D, K = 90, 3, 3
EPOCHS = 12


class Case(NamedTuple):
    """A solver: its loss, ``make(source, weight, start)``, its rows, and what to patch."""

    loss: str
    make: Callable[..., Any]
    n: int = N
    patches: tuple[tuple[Any, str, Any], ...] = ()


def problem(loss_name, n=N):
    """x (n, D), y (k, n), weights and the number of outputs; labels are not separable."""
    x, noise, weight, coef, _ = oracles.problem(n, D, seed=3)
    z = x @ coef + noise
    if loss_name == "mse":
        return x, np.stack([z, -2 * z + noise]), weight, 2
    if loss_name in ("quantile", "epsilon_insensitive"):
        return x, z[None], weight, 1
    if loss_name in ("bce", "hinge"):
        return x, (z > 0.2)[None].astype(float), weight, 1
    if loss_name == "poisson":
        return x, np.floor(np.exp(z))[None], weight, 1
    return x, np.digitize(z, [-1.0, 1.0])[None].astype(float), weight, K


def _loss(name):
    return CROSS_ENTROPY if name == "cross_entropy" else LOSSES[name]


def _settings(weight, k, loss_name, **options):
    scale = 1 / (weight.sum() * (1 if loss_name == "cross_entropy" else k))
    options = {
        "lr": 0.1,
        "l2": 0.01,
        "fit_intercept": True,
        "tol": 0.0,
        "row_scale": scale,
    } | options
    return Settings(scale=scale, **options)


def batch(loss_name, switch=None, may_stop=False, **options):
    """Batch descent that goes over to statistics at epoch number `switch`."""

    def make(source, weight, start=0.1):
        coef, intercept = _start(source, start)
        settings = _settings(weight, source.k, loss_name, **options)
        solver = BatchDescent(
            source, _loss(loss_name), settings, coef, intercept, EPOCHS, True, may_stop
        )
        solver._switch = EPOCHS if switch is None else switch
        solver.method = "statistics" if switch == 0 else "stream"
        return solver

    return Case(loss_name, make)


def stochastic(loss_name, batch_size, shuffle=True, average=False, **options):
    def make(source, weight, start=0.1):
        coef, intercept = _start(source, start)
        settings = _settings(
            weight, source.k, loss_name, row_scale=1 / weight.mean() / source.k, **options
        )
        return StochasticDescent(
            source, _loss(loss_name), settings, coef, intercept, True,
            batch_size=batch_size, shuffle=shuffle, seed=1, mean=True, average=average,
        )  # fmt: skip

    return Case(loss_name, make)


def lbfgs(loss_name, switch=np.inf, tol=0.0, **options):
    def make(source, weight, start=0.1):
        settings = _settings(
            weight, source.k, loss_name, tol=tol, optimizer=fastgd.LBFGS(max_iter=2, **options)
        )
        solver = LBFGSDescent(source, _loss(loss_name), settings, *_start(source, start), True)
        solver._switch = switch
        return solver

    return Case(loss_name, make)


def automatic(loss_name, kind=AutomaticDescent, **options):
    def make(source, weight, start=0.1):
        settings = _settings(weight, source.k, loss_name, **options)
        return kind(source, _loss(loss_name), settings, *_start(source, start), 200, True)

    return Case(loss_name, make)


def _start(source, value):
    return np.full((source.k, source.d), value), np.linspace(-0.2, 0.2, source.k)


#: Enough rows for a start from a sample, and so few columns that they count as too many for a matrix.
_SAMPLED = {"n": 900, "patches": ((whitened, "_ROWS_A_COLUMN", 5), (proximal, "_ROWS_A_COLUMN", 5))}
_DIAGONAL = {"patches": tuple((module, "FULL_METRIC", 2) for module in (metric, joint))}

SOLVERS = {
    "batch": batch("bce"),
    "batch, adam": batch("mse", optimizer=fastgd.Adam()),
    "batch, tol": batch("mse", tol=0.6),
    "batch, softmax, l1": batch("cross_entropy", l1=0.01),
    "statistics": batch("mse", 0),
    "statistics, later": batch("mse", 5, True, optimizer=fastgd.SGD(momentum=0.9)),
    "per-sample": stochastic("bce", 1),
    "per-sample, in order": stochastic("mse", 1, shuffle=False),
    "minibatch": stochastic("mse", 7),
    "minibatch, tol": stochastic("bce", 7, shuffle="block", tol=0.25),
    "minibatch, average": stochastic("mse", 7, average=True),
    "minibatch, adam, schedule": stochastic(
        "bce", 16, optimizer=fastgd.Adam(), schedule=fastgd.schedules.StepLR(2)
    ),
    "minibatch, softmax": stochastic("cross_entropy", 7, l1=0.01),
    "lbfgs": lbfgs("bce"),
    "lbfgs, tol": lbfgs("bce", tol=0.5),
    "lbfgs, wolfe, softmax": lbfgs("cross_entropy", line_search_fn="strong_wolfe"),
    "lbfgs, statistics": lbfgs("mse", 4, history_size=3),
    "whitened": automatic("mse"),
    "whitened, logistic": automatic("bce"),
    "whitened, logistic, tol": automatic("bce", tol=1e-6),
    "whitened, curvature at hand": automatic("bce")._replace(
        patches=((AutomaticDescent, "_refresh", lambda solver: 2),)
    ),
    "whitened, curvature at hand, tol": automatic("bce", tol=1e-4)._replace(
        patches=((AutomaticDescent, "_refresh", lambda solver: 2),)
    ),
    "whitened, from a sample": automatic("bce")._replace(**_SAMPLED),
    "diagonal": automatic("bce")._replace(**_DIAGONAL),
    "newton": automatic("poisson", CurvedDescent),
    "newton, tol": automatic("poisson", CurvedDescent, tol=1e-6),
    "interior": automatic("quantile", InteriorDescent),
    "interior, l1": automatic("epsilon_insensitive", InteriorDescent, l1=0.01),
    "interior, labels, tol": automatic("hinge", InteriorDescent, tol=1e-3),
    "joint": automatic("cross_entropy", CoupledDescent),
    "joint, no penalty": automatic("cross_entropy", CoupledDescent, l2=0.0),
    "joint, tol": automatic("cross_entropy", CoupledDescent, tol=1e-9),
    "proximal": automatic("mse", ProximalDescent, l1=0.05),
    "proximal, logistic": automatic("bce", ProximalDescent, l1=0.01),
    "proximal, softmax": automatic("cross_entropy", ProximalDescent, l1=0.01),
    "proximal, poisson": automatic("poisson", ProximalDescent, l1=0.01),
    "proximal, tol": automatic("bce", ProximalDescent, l1=0.01, tol=1e-9),
    "proximal, from a sample": automatic("bce", ProximalDescent, l1=0.01)._replace(**_SAMPLED),
    "accelerated": automatic("bce", ProximalDescent, l1=0.01)._replace(**_DIAGONAL),
}


def last_epoch(solver):
    """The epoch to which a case runs; lr="auto" ends before it."""
    return solver.epochs if isinstance(solver, AutomaticSolver) else EPOCHS


def finish(solver):
    """Run a solver to its end; its status, and why there is no optimum."""
    return solver.run(last_epoch(solver)), getattr(solver, "trouble", None)
