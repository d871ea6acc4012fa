"""The penalty that the parameters of LogisticRegression name, and what scikit-learn says of them."""

from __future__ import annotations

import math
import warnings
from typing import Any

#: The penalties that each solver of scikit-learn knows; None is no penalty.
_PENALTIES = {
    "lbfgs": ("l2", None), "newton-cg": ("l2", None), "newton-cholesky": ("l2", None),
    "sag": ("l2", None), "liblinear": ("l1", "l2"), "saga": ("l1", "l2", "elasticnet", None),
}  # fmt: skip


def penalty_of(model: Any) -> tuple[float, float]:
    """The part that is l1, and C.

    Raises
    ------
    ValueError
        For a penalty that the solver of scikit-learn doesn't know.

    Warns
    -----
    FutureWarning
        For parameters that scikit-learn will remove.
    """
    name, ratio, C = getattr(model, "penalty", "deprecated"), model.l1_ratio, model.C
    if name == "deprecated":
        if ratio is None:
            _warn(
                "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in 1.10. "
                "Use 0<=l1_ratio<=1 instead.",
                FutureWarning,
            )
        ratio = ratio or 0.0
        name = {0.0: "l2", 1.0: "l1"}.get(ratio, "elasticnet")
        name = None if math.isinf(C) else name
    else:
        _warn_of_name(name, ratio, C)
        ratio = {"l1": 1.0, "elasticnet": ratio}.get(name, 0.0)
        C = math.inf if name is None else C
    _require_known(model, name)
    return ratio, C


def _require_known(model: Any, name: str | None) -> None:
    """Refuse what scikit-learn refuses."""
    solver = model.solver
    if name not in _PENALTIES[solver]:
        if solver != "liblinear":
            raise ValueError(
                f"Solver {solver} supports only 'l2' or None penalties, got {name} penalty."
            )
        if name is None:
            raise ValueError(
                "C=np.inf as well as penalty=None is not supported for the liblinear solver"
            )
        raise ValueError("Only 'saga' solver supports elasticnet penalty, got solver=liblinear.")
    if model.dual and solver != "liblinear":
        raise ValueError(f"Solver {solver} supports only dual=False, got dual={model.dual}")
    if model.dual and name == "l1":
        raise ValueError("Unsupported set of arguments: penalty='l1' and dual=True.")


def _warn_of_name(name: str | None, ratio: float | None, C: float) -> None:
    """What scikit-learn says of the deprecated `penalty`."""
    _warn(
        "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid this warning, "
        "leave 'penalty' set to its default value and use 'l1_ratio' or 'C' instead. Use l1_ratio=0 "
        "instead of penalty='l2', l1_ratio=1 instead of penalty='l1', l1_ratio set to a float between "
        "0 and 1 instead of penalty='elasticnet', and C=np.inf instead of penalty=None.",
        FutureWarning,
    )
    if name == "elasticnet" and ratio is None:
        raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
    if name != "elasticnet" and ratio is not None and 0 < ratio < 1:
        _warn(f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={name})")
    if (name == "l2" and ratio != 0) or (name == "l1" and ratio != 1):
        _warn(
            f"Inconsistent values: penalty={name} with l1_ratio={ratio}. penalty is deprecated. "
            "Please use l1_ratio only."
        )
    if name is None and C != 1.0:
        _warn("Setting penalty=None will ignore the C and l1_ratio parameters")


def _warn(text: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn(text, category, stacklevel=7)  # the line that calls `fit`
