"""Learning rates that change from epoch to epoch, with torch's names (torch.optim.lr_scheduler).

A leaf: no numba, no numpy. ``rate(lr, epoch)`` is the learning rate of an epoch, the first one being
number 0. A plain function of the epoch is also accepted: its value multiplies lr, as with LambdaLR.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .arguments import keep_numbers, real, shown
from .errors import InputError


def _power(base: float, exponent: float) -> float:
    """base^exponent, infinite where that is beyond float64."""
    try:
        return base**exponent
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class ConstantLR:
    """lr·factor for the first `total_iters` epochs, then lr; with 0 always lr·factor."""

    factor: float = 1 / 3
    total_iters: int = 5

    def __post_init__(self) -> None:
        keep_numbers(self, "factor")
        keep_numbers(self, "total_iters", whole=True)

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate of an epoch."""
        return lr * self.factor if epoch < self.total_iters or self.total_iters == 0 else lr


@dataclass(frozen=True)
class StepLR:
    """lr·gamma^⌊epoch/step_size⌋."""

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        keep_numbers(self, "step_size", low=1, whole=True)
        keep_numbers(self, "gamma")

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate of an epoch."""
        return lr * _power(self.gamma, epoch // self.step_size)


@dataclass(frozen=True)
class ExponentialLR:
    """lr·gamma^epoch."""

    gamma: float

    def __post_init__(self) -> None:
        keep_numbers(self, "gamma")

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate of an epoch."""
        return lr * _power(self.gamma, epoch)


@dataclass(frozen=True)
class CosineAnnealingLR:
    """eta_min + (lr − eta_min)·(1 + cos(π·epoch/T_max))/2 (Loshchilov and Hutter, 2017)."""

    T_max: int
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        keep_numbers(self, "T_max", low=1)
        keep_numbers(self, "eta_min")

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate of an epoch."""
        return self.eta_min + (lr - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


@dataclass(frozen=True)
class LinearLR:
    """A warm-up: from lr·start_factor to lr·end_factor in `total_iters` epochs, then that."""

    start_factor: float = 1 / 3
    end_factor: float = 1.0
    total_iters: int = 5

    def __post_init__(self) -> None:
        keep_numbers(self, "start_factor", "end_factor")
        keep_numbers(self, "total_iters", low=1, whole=True)

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate of an epoch."""
        share = min(epoch, self.total_iters) / self.total_iters
        return lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


@dataclass(frozen=True)
class InverseScaling:
    """lr/(epoch + 1)^power, as scikit-learn's "invscaling" by epochs."""

    power: float = 0.5

    def __post_init__(self) -> None:
        keep_numbers(self, "power")

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate of an epoch."""
        return lr / _power(epoch + 1, self.power)


@dataclass(frozen=True)
class LambdaLR:
    """lr·lr_lambda(epoch)."""

    lr_lambda: Callable[[int], Any]

    def __post_init__(self) -> None:
        if not callable(self.lr_lambda):
            raise InputError(
                f"lr_lambda of LambdaLR is {shown(self.lr_lambda)}; expected a function of the epoch."
            )

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate of an epoch."""
        factor = self.lr_lambda(epoch)
        return lr * (factor if type(factor) is float else _factor(factor, epoch))


def _factor(given: Any, epoch: int) -> float:
    """What a function of the epoch gives, as a float."""
    factor = real(given)
    if factor is None:
        raise InputError(
            f"the schedule gives {shown(given)} for epoch {epoch}; expected a factor of lr."
        )
    return factor


SCHEDULES = {
    schedule.__name__: schedule
    for schedule in (
        ConstantLR, StepLR, ExponentialLR, CosineAnnealingLR, LinearLR, InverseScaling, LambdaLR,
    )
}  # fmt: skip
