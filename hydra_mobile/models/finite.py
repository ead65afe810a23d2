"""Weights looked at once, where a model is opened for weeks of training or for an export.

One number that is not finite makes every answer the same token, and no comparison of a model with
its own export shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from hydra_mobile.core.errors import ArtifactError


def require_finite_weights(model: nn.Module, folder: Path) -> None:
    """Raise unless every weight of a model is a finite number.

    Args:
        model: as it was loaded.
        folder: where from, for the message.

    Raises:
        ArtifactError: names the tensor, and how many of its values are not finite.
    """
    for name, tensor in named_weights(model):
        if not math.isfinite(largest(tensor)):
            count = int((~torch.isfinite(tensor)).sum())
            raise ArtifactError(
                f"{folder}: {count:,} of the {tensor.numel():,} values of `{name}` are not finite.",
                "The training that made it diverged, or the file was damaged; take the model from "
                "before that.",
            )


def named_weights(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yield the floating-point parameters and buffers of a model by name, none of them empty."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
            yield name, tensor.detach()


def largest(tensor: Tensor) -> float:
    """Return the largest absolute value of a tensor; NaN where one of its values is NaN."""
    low, high = torch.aminmax(tensor)
    # torch's minimum and maximum of anything with NaN are NaN; Python's `max` would lose it.
    return float(torch.maximum(-low, high))
