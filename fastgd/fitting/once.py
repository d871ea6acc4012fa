"""A fit of blocks that can be read once: what it refuses, and the few rows that take their place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import inputs
from ..sources.once import summary
from ..sources.readers import can_be_read_once, require_no_names
from .options import Options


def read_once(x: Any, y: Any, loss: Any, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """x and y of few rows with the squared error of all; sets their weights and the dtype of the fit.

    Raises
    ------
    InputError
        If the fit needs the blocks of x more than once, or they can't be used.
    """
    needs = {
        f"the loss {loss.name!r} needs them in every step": not loss.quadratic,
        "updates with a batch_size need them in every epoch": options.batch_size is not None,
        "a share for validation needs them in every epoch": isinstance(options.validation, float),
        "offset belongs to rows that are read again": options.offset is not None,
    }
    for why, needed in needs.items():
        if needed:
            raise can_be_read_once(x, why)
    require_no_names(y, options.sample_weight, options.columns, options.categories)
    found = summary(x, y, options.sample_weight)
    options.sample_weight = found.weight
    options.dtype = inputs.working_dtype(found, options.dtype).name
    return found.x, found.y
