"""Linears and token tables whose weights stay in half precision, as a file has them.

A float32 copy of a model is twice its file. These keep bfloat16 or float16, mapped from the file,
and widen it for the moment in which it is needed. Both types are subsets of float32, so results are
those of a float32 module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stacked(parts: Sequence[nn.Linear]) -> Tensor:
    """Return the weights of linears that read one input as one, float32 [sum of out, in]."""
    return torch.cat([part.weight.detach().float() for part in parts])


class StoredLinear(nn.Linear):
    """A linear whose weight keeps its stored type; input and output are float32."""

    def wide(self) -> Tensor:
        """Return the weight float32 [out, in]."""
        return self.weight.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """Map x float32 [..., in] to [..., out]."""
        return F.linear(x, self.wide(), self.bias)


class StoredStack(StoredLinear):
    """Linears that read the same input, side by side; each keeps its own weight until this widens.

    Args:
        parts: in the order of the outputs.
    """

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        super().__init__(1, 1, bias=parts[0].bias is not None, device="meta")
        self.in_features = parts[0].in_features
        self.out_features = sum(part.out_features for part in parts)
        self._parts = tuple(parts)
        if parts[0].bias is not None:
            self.bias = nn.Parameter(torch.cat([part.bias for part in parts]), False)

    def wide(self) -> Tensor:
        """Return the weight float32 [sum of out, in]."""
        return stacked(self._parts)

    def release(self) -> None:
        """Let go of the parts' weights: with the last view, the file is no longer mapped."""
        for part in self._parts:
            part.weight = nn.Parameter(part.weight.new_empty(0), requires_grad=False)


class StoredEmbedding(nn.Embedding):
    """A token table that keeps its stored type; its rows come out as float32."""

    def wide(self) -> Tensor:
        """Return the table float32 [V, hidden]."""
        return self.weight.detach().float()

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids int64 [...] to rows float32 [..., hidden]."""
        return super().forward(ids).float()


_STORED = {nn.Linear: StoredLinear, nn.Embedding: StoredEmbedding}


def can_store(module: nn.Module) -> bool:
    """Whether a module is an ordinary linear or table, and no class derived from one."""
    return type(module) in _STORED


def store(module: nn.Module) -> None:
    """Let a linear or table keep its weight as it is, in place; see `can_store`."""
    module.__class__ = _STORED[type(module)]


def widen(module: nn.Module) -> None:
    """Make a stored linear or table an ordinary one in float32, in place; leave other modules."""
    if isinstance(module, StoredLinear | StoredEmbedding):
        module.weight = nn.Parameter(module.wide(), requires_grad=False)
        if isinstance(module, StoredStack):
            module.release()
        plain: Any = nn.Linear if isinstance(module, nn.Linear) else nn.Embedding
        module.__class__ = plain


def widen_all(modules: Iterable[nn.Module]) -> None:
    """Make every stored linear or table inside some modules an ordinary one; ties stay."""
    wide: dict[int, nn.Parameter] = {}
    for module in (each for whole in modules for each in whole.modules()):
        if isinstance(module, StoredLinear | StoredEmbedding):
            stored = module.weight
            widen(module)
            if not stored.is_meta:
                module.weight = wide.setdefault(id(stored), cast(nn.Parameter, module.weight))
