"""Batch norms of frozen parts keep their statistics.

A Trainer puts the whole model into training mode. A frozen batch norm would then normalize by the
batch, and move its running statistics: buffers, which neither an adapter nor its merge carries, so
the model that was trained would be another than the one that is saved.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_statistics(model: nn.Module) -> int:
    """Make batch norms without a trained parameter normalize by their statistics, always.

    Returns:
        How many there are.
    """
    found = [m for m in model.modules() if isinstance(m, _BatchNorm) and _is_frozen(m)]
    for norm in found:
        norm.register_forward_pre_hook(_evaluate)
    return len(found)


def _is_frozen(module: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in module.parameters())


def _evaluate(module: nn.Module, inputs: Any) -> None:
    """Undo `model.train()`, which is called before every step."""
    module.training = False
