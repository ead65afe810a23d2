"""Optimizer state that follows a parameter through a change of its rank.

A resize makes a new Parameter. Here it takes the old one's place in the optimizer's groups (no
group is added, none loses a member) and the old one's state goes with it, row by row.

Why new rows need care: Adam's bias correction uses one step count per tensor. A new row with
second moment v = 0 in a tensor of many steps takes a first step of (1 - b1) / sqrt(1 - b2) = 3.16
times the learning rate (b1 = 0.9, b2 = 0.999) where 1 is meant. New rows therefore start with the
mean v of the old rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError

#: Moments that average gradients: they change with a gradient's direction.
FIRST_MOMENTS = frozenset({"exp_avg", "momentum_buffer"})
#: Moments that average squared gradients.
SECOND_MOMENTS = frozenset({"exp_avg_sq", "max_exp_avg_sq"})


class Carry(Protocol):
    """How a moment changes with its parameter."""

    def first(self, moment: Tensor) -> Tensor:
        """Return the first moment of the new parameter."""

    def second(self, moment: Tensor) -> Tensor:
        """Return the second moment of the new parameter."""


def replace_parameter(
    optimizers: Iterable[torch.optim.Optimizer], old: nn.Parameter, new: nn.Parameter, carry: Carry
) -> None:
    """Put `new` where `old` is in the optimizers' groups and carry the state over.

    Args:
        optimizers: each is searched by identity; one that does not hold `old` is left alone.
        old: the parameter before the change.
        new: the parameter after it.
        carry: turns moments of the old shape into moments of the new shape.

    Raises:
        ConfigError: the optimizer keeps state of the parameter's shape that is neither a first
            nor a second moment known here.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for place, parameter in enumerate(group["params"]):
                if parameter is old:
                    group["params"][place] = new
        state = optimizer.state.pop(old, None)
        if state is None:
            continue
        optimizer.state[new] = {
            key: _carried(type(optimizer).__name__, key, value, old, carry)
            for key, value in state.items()
        }


def _carried(optimizer: str, key: str, value: object, old: Tensor, carry: Carry) -> object:
    change: Callable[[Tensor], Tensor] | None = None
    if key in FIRST_MOMENTS:
        change = carry.first
    elif key in SECOND_MOMENTS:
        change = carry.second
    if isinstance(value, Tensor) and change is not None:
        return change(value).contiguous()
    if isinstance(value, Tensor) and value.numel() > 1:
        raise ConfigError(
            f"{optimizer} keeps `{key}` of shape {tuple(value.shape)} for a parameter of shape "
            f"{tuple(old.shape)}; ranks cannot move with it.",
            "Use AdamW, Adam or SGD, or a policy whose ranks stay (coarse_fine with "
            "importance from a calibration pass, uniform).",
        )
    return value
