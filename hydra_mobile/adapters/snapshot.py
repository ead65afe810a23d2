"""Tensors and their optimizer state, copied to main memory to go back to.

For steps that are taken and taken back: whoever restores first brings the model to the ranks of the
snapshot, so that names and shapes are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TensorSnapshot:
    """Values by name, and what the optimizer kept for each.

    Attributes:
        tensors: copies on the CPU.
        moments: optimizer state; a tensor comes with the device to go back to.
    """

    tensors: dict[str, Tensor]
    moments: dict[str, dict[str, Any]]

    @classmethod
    def take(
        cls, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> TensorSnapshot:
        """Copy `tensors`, parameters or buffers, and the optimizer's state of each."""
        return cls(
            {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()},
            {name: _copied(optimizer.state.get(tensor)) for name, tensor in tensors.items()},
        )

    @torch.no_grad()
    def put_back(self, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Restore `tensors`, of the same names and shapes; those without state keep none."""
        for name, tensor in tensors.items():
            tensor.copy_(self.tensors[name])
            optimizer.state.pop(tensor, None)
            if self.moments[name]:
                optimizer.state[tensor] = _put_back(self.moments[name])


def _copied(state: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        key: (value.detach().cpu().clone(), value.device)
        if isinstance(value, Tensor)
        else copy.deepcopy(value)
        for key, value in (state or {}).items()
    }


def _put_back(copied: Mapping[str, Any]) -> dict[str, Any]:
    # Cloned: a snapshot may be gone back to more than once.
    return {
        key: value[0].clone().to(value[1])
        if isinstance(value, tuple) and isinstance(value[0], Tensor)
        else copy.deepcopy(value)
        for key, value in copied.items()
    }
