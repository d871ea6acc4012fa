"""The l1 penalty on arrays: the twins of `soft` and `l1_slope` in `fastgd.formulas.updates`."""

import numpy as np


def soft(values: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    """The proximal step, or soft threshold: towards 0 by the threshold, but not beyond it."""
    return np.asarray(np.sign(values) * np.maximum(np.abs(values) - threshold, 0))


def l1_slope(coef: np.ndarray, gradient: np.ndarray, l1: np.ndarray | float) -> np.ndarray:
    """The smallest subgradient of cost + l1·|coef|, where `gradient` is that of the cost."""
    return np.where(coef == 0, soft(gradient, l1), gradient + l1 * np.sign(coef))
