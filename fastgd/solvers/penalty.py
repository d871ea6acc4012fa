"""The l1 penalty on arrays: the twins of `soft` and `l1_slope` in `fastgd.formulas.updates`."""

import numpy as np


def soft(values: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    """The proximal step, or soft threshold: towards 0 by the threshold, but not beyond it."""
    result = np.abs(values)
    result -= threshold
    np.maximum(result, 0, out=result)
    result *= np.sign(values)
    return result


def l1_slope(coef: np.ndarray, gradient: np.ndarray, l1: np.ndarray | float) -> np.ndarray:
    """The smallest subgradient of cost + l1·|coef|, where `gradient` is that of the cost."""
    slope = soft(gradient, l1)
    used = np.nonzero(coef)
    slope[used] = gradient[used] + np.broadcast_to(l1, coef.shape)[used] * np.sign(coef[used])
    return slope
