"""Linears with weights in half precision: the product in float16, everything around it in float32.

Norms, sums and the cache stay float32: the squares of a language model's largest activations do not
fit into float16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_export.graphs.stored import widen


class HalfLinear(nn.Linear):
    """A linear whose weight is float16; inputs and outputs are float32."""

    @classmethod
    def of(cls, linear: nn.Linear) -> HalfLinear:
        """Return the half-precision copy of a linear."""
        half = cls(1, 1, bias=linear.bias is not None, device="meta")
        half.in_features, half.out_features = linear.in_features, linear.out_features
        half.weight = nn.Parameter(linear.weight.detach().to(torch.float16), requires_grad=False)
        if linear.bias is not None:
            half.bias = nn.Parameter(linear.bias.detach().to(torch.float16), requires_grad=False)
        return half

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [..., in] to float32 [..., out]."""
        return F.linear(x.half(), self.weight, self.bias).float()


def halve_linears(module: nn.Module, names: set[str]) -> None:
    """Replace the linears of `module` called `names` by half-precision copies, in place."""
    for name in sorted(names):
        parent, _, child = name.rpartition(".")
        linear = module.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        widen(linear)
        setattr(module.get_submodule(parent), child, HalfLinear.of(linear))
