"""The plots of a fit: its costs over the epochs, and its path over the cost surface."""

from typing import Any

import numpy as np

from . import inputs
from .arguments import shown
from .costs import cost_curve
from .errors import InputError

#: Number of coefficients at which the cost is evaluated: along a curve, and along each side of contours.
_ALONG, _ASIDE = 201, 61
_COST = {"mse": "mean squared error", "bce": "cross-entropy", "cross_entropy": "cross-entropy"}
_PATH = {"color": "#D55E00", "marker": "o", "markersize": 3, "linewidth": 1.2, "zorder": 3}


def _cost_of(fit: Any) -> str:
    """What the cost of a fit is, for an axis."""
    return _COST.get(fit.loss, f"cost ({fit.loss})")


def axes(ax: Any) -> Any:
    """`ax`, or new axes."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "fastgd[plot]".') from error
    if ax is not None and not hasattr(ax, "plot"):
        raise InputError(f"ax is {shown(ax)}; expected matplotlib's axes.")
    return plt.subplots()[1] if ax is None else ax


def draw_costs(fit: Any, ax: Any) -> Any:
    """Plot the cost over the epochs, and with validation that of the held-out rows."""
    ax = axes(ax)
    epochs = np.arange(fit.n_epochs + 1)
    if fit.validation_costs is None:
        ax.plot(epochs, [*fit.costs, fit.cost])
    else:  # `cost` is that of the best epoch
        ax.plot(epochs[:-1], fit.costs, label="training")
        ax.plot(epochs[1:], fit.validation_costs, label="validation")
        ax.axvline(fit.best_epoch, color="#999999", linestyle=":", label="best epoch")
        ax.legend()
    ax.set_xlabel("epoch")
    ax.set_ylabel(_cost_of(fit))
    ax.set_title(f"{fit.n_epochs} epochs, cost {fit.cost:.6g}")
    return ax


def draw_path(fit: Any, x: Any, y: Any, ax: Any, sample_weight: Any) -> Any:
    """Plot the path of one coefficient on the cost curve, or of two on the contours of the cost."""
    if fit.path is None:
        raise InputError("this fit kept no path; fit with keep_path=True.")
    if fit.coef.ndim > 1 and len(fit.coef) > 1:
        raise InputError(f"this fit has {len(fit.coef)} targets; plot_path draws the path of one.")
    d = fit.coef.shape[-1]
    if d > 2:
        raise InputError(f"this fit has {d} coefficients; plot_path draws the path of one or two.")
    if fit.classes is not None:
        y = inputs.known_labels(y, len(inputs.one_label_a_row(y)), fit.classes, np.float64)[0]
    ax = axes(ax)
    coef, intercept = fit.coef.reshape(d), float(np.ravel(fit.intercept)[0])
    walked = np.concatenate([fit.start.reshape(1, d), fit.path.reshape(-1, d)])

    def cost(coefs: np.ndarray) -> np.ndarray:
        return cost_curve(
            x, y, coefs, intercept=intercept, loss=fit.loss, sample_weight=sample_weight
        )

    # The same distance to each side of the path's end, so that the end is in the middle.
    reach = 1.2 * np.abs(walked - coef).max(axis=0)
    reach[reach == 0] = reach.max() or 1.0
    if d == 1:
        at = np.linspace(coef - reach, coef + reach, _ALONG)
        ax.plot(at[:, 0], cost(at), color="#0072B2", linewidth=1.6)
        across, up = walked[:, 0], cost(walked)
        end = (coef[0], cost(coef[None])[0])
        names = ("coefficient", _cost_of(fit))
    else:
        sides = np.linspace(coef - reach, coef + reach, _ASIDE).T
        grid = np.stack(np.meshgrid(*sides), axis=-1)
        heights = cost(grid.reshape(-1, 2)).reshape(_ASIDE, _ASIDE)
        low, high = heights.min(), heights.max()
        if high > low:  # squares of even steps: evenly spaced contours of a quadratic
            levels = low + (high - low) * np.linspace(0, 1, 16)[1:] ** 2
            rings = ax.contour(*sides, heights, levels=levels, cmap="viridis", linewidths=0.9)
            ax.figure.colorbar(rings, ax=ax, label=_cost_of(fit))
        across, up = walked.T
        end = tuple(coef)
        names = ("coefficient 0", "coefficient 1")
    ax.plot(across, up, label="path", **_PATH)
    style = {"linestyle": "none", "markersize": 9, "markeredgecolor": "black", "zorder": 4}
    ax.plot(across[0], up[0], marker="s", color="white", label="start", **style)
    ax.plot(*end, marker="*", color="#E69F00", label="end", **(style | {"markersize": 13}))
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    ax.set_title(f"{fit.n_epochs} epochs" + (f", intercept {intercept:.4g}" if intercept else ""))
    ax.legend()
    return ax
