"""Whatever the caller has becomes checked arrays here; every `InputError` about data is worded here."""

from ..arguments import choice, flag, integer, nearest, number, plain, real, shown
from .arrays import (
    as_array,
    check_shape,
    features,
    in_units,
    is_missing,
    on_gpu,
    parameters,
    probabilities,
    require_finite,
    targets,
    weights,
    working_dtype,
)
from .frames import column_names
from .labels import (
    class_indices,
    class_weights,
    known_labels,
    labels,
    listed,
    one_label_a_row,
    places_among,
)

__all__ = [
    "as_array",
    "check_shape",
    "choice",
    "class_indices",
    "class_weights",
    "column_names",
    "features",
    "flag",
    "in_units",
    "integer",
    "is_missing",
    "known_labels",
    "labels",
    "listed",
    "nearest",
    "number",
    "on_gpu",
    "one_label_a_row",
    "parameters",
    "places_among",
    "plain",
    "probabilities",
    "real",
    "require_finite",
    "shown",
    "targets",
    "weights",
    "working_dtype",
]
