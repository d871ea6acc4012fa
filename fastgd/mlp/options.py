"""The keyword arguments of `fit_mlp`, checked."""

from typing import Any

from .. import inputs
from ..errors import InputError
from ..fitting.options import Options
from ..formulas.activations import ACTIVATIONS
from ..losses import LOSSES

#: The losses of a network's last layer.
_LOSSES = ("mse", "bce", "cross_entropy")
#: What the options are that `fit_mlp` does not take.
_OF_LINEAR_FITS: dict[str, Any] = {
    "tol": None, "fit_intercept": True, "keep_path": False, "average": False, "l1": 0.0,
}  # fmt: skip


class MlpOptions(Options):
    """The options of `Options` and those of a network, as `fit_mlp` documents them.

    Raises
    ------
    InputError
        For the first option that can't be used.
    """

    hidden: tuple[int, ...]
    activation: str
    loss: Any
    lr: float
    epochs: int
    optimizer: Any
    weights_init: Any
    biases_init: Any

    def __init__(self, **given: Any):
        hidden = _hidden(given["hidden"])
        activation = inputs.choice(given["activation"], "activation", tuple(ACTIVATIONS))
        loss = loss_of(given["loss"])
        optimizer = inputs.plain(given["optimizer"])
        lbfgs = isinstance(optimizer, str) and optimizer == "lbfgs"
        if lbfgs or getattr(optimizer, "joint", False):
            raise InputError("fit_mlp does not take 'lbfgs'; choose 'adam' or another optimizer.")
        automatic = isinstance(inputs.plain(given["lr"]), str)
        if optimizer is None:
            optimizer = "adam" if automatic else "gd"
        if given["epochs"] is None:
            raise InputError("epochs is None; expected a whole number.")
        super().__init__(**given | _OF_LINEAR_FITS | {"optimizer": optimizer})
        self.hidden, self.activation, self.loss = hidden, activation, loss
        if not isinstance(self.lr, str | float):
            raise InputError("lr has several values; a network takes one number.")
        if automatic:
            self.lr = self.optimizer.lr


def loss_of(name: Any) -> Any:
    """The loss of this name."""
    return LOSSES[inputs.choice(name, "loss", _LOSSES)]


def _hidden(hidden: Any) -> tuple[int, ...]:
    if isinstance(hidden, list | tuple):
        return tuple(inputs.integer(h, f"hidden[{i}]", low=1) for i, h in enumerate(hidden))
    return (inputs.integer(hidden, "hidden", low=1),)
