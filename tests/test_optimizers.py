"""Optimizers: each step against torch.optim with the same gradients."""

import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgd._jit import leaf
from fastgd.optimizers import OPTIMIZERS, PLANNED

numbers = st.floats(-1e6, 1e6)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def test_every_optimizer_has_a_torch_twin():
    assert OPTIMIZERS.keys() == oracles.OPTIMIZERS.keys()
    assert all(name == optimizer.name for name, optimizer in OPTIMIZERS.items())


def test_what_is_planned_is_not_there_yet():
    assert not OPTIMIZERS.keys() & set(PLANNED)
    assert list(PLANNED) == sorted(PLANNED)


@every_optimizer
@given(
    parameter=numbers, gradients=st.lists(numbers, min_size=1, max_size=5), lr=st.floats(1e-6, 10)
)
def test_steps_follow_torch(optimizer, parameter, gradients, lr):
    twin = oracles.tensor(parameter, requires_grad=True)
    rule = oracles.OPTIMIZERS[optimizer.name]([twin], lr=lr)
    for gradient in gradients:
        twin.grad = oracles.tensor(gradient)
        rule.step()
        parameter = optimizer.step(parameter, gradient, lr)
        assert parameter == pytest.approx(twin.item(), rel=1e-14, abs=1e-8)


@every_optimizer
def test_no_gradient_no_step(optimizer):
    assert optimizer.step(1.5, 0.0, 0.1) == 1.5


@pytest.mark.jit
@every_optimizer
def test_compiled_code_stays_in_its_dtype(optimizer, check_compiled):
    plain = leaf(optimizer.step)
    check_compiled(lambda p, g, lr: plain(p, g, lr), optimizer.step, 1.0, 0.5, 0.1)
