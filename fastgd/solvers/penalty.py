"""The l1 penalty on arrays: the twins of `soft` and `l1_slope` in `fastgd.formulas.updates`."""

from typing import Any

import numpy as np


def soft(values: Any, threshold: Any) -> np.ndarray:
    """The proximal step: towards 0 by the threshold, and at 0 where it would pass."""
    return np.sign(values) * np.maximum(np.abs(values) - threshold, 0)


def l1_slope(coef: Any, gradient: Any, l1: Any) -> np.ndarray:
    """The smallest slope of cost + l1·|coef|, where `gradient` is that of the cost."""
    return np.where(coef == 0, soft(gradient, l1), gradient + l1 * np.sign(coef))
