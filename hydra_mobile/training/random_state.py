"""The random streams that training draws from (dropout): torch's, on the CPU and on the GPU.

Data order and new tensors have generators of their own and are not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """State of torch's generators, as uint8 tensors on the CPU.

    Attributes:
        cpu: the CPU's generator.
        cuda: the current GPU's generator; empty without one.
    """

    cpu: Tensor
    cuda: Tensor

    @classmethod
    def now(cls) -> RandomState:
        """Return the present state."""
        gpu = torch.cuda.is_available()
        empty = torch.empty(0, dtype=torch.uint8)
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state() if gpu else empty)

    def restore(self) -> None:
        """Put the generators back."""
        torch.set_rng_state(self.cpu)
        if self.cuda.numel():
            torch.cuda.set_rng_state(self.cuda)
