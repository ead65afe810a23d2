"""The vision encoder a second time, for a phone's GPU: one delegate of ExecuTorch's Vulkan backend.

It is a method of its own in the same program. The three methods that every host calls stay what
they are, so a bundle runs wherever it ran; a host whose ExecuTorch has the Vulkan backend may call
this one in place of `vision_encoder`. Nothing here has run on Vulkan, see `NOT_EXECUTED`: what is
compared is the graph before it was lowered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from hydra_export.quantization.witness import image_parity
from hydra_export.targets.executorch import delegation
from hydra_mobile.core.errors import HydraError

#: Name of the method.
METHOD = "vision_encoder_vulkan"
#: Name of the backend in ExecuTorch's registry.
BACKEND = "VulkanBackend"
#: A driver alone would not help, a driver for the CPU (Mesa's lavapipe) neither: what calls it is
#: missing.
NOT_EXECUTED = (
    f"neither ExecuTorch's Python package nor the Android library of the app has {BACKEND}"
)


def partitioner() -> Any:
    """Return the partitioner of Vulkan; weights and sums stay float32."""
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return VulkanPartitioner()


def traced(vision: nn.Module, image_size: int) -> Any:
    """Return the encoder's graph as it is in fp32: to be called before anything is quantized."""
    return torch.export.export(vision, (torch.zeros(1, 3, image_size, image_size),), strict=False)


def require_one_delegate(graph_module: Any) -> None:
    """Raise unless the whole lowered encoder is one call of the delegate.

    Raises:
        HydraError: an operator stayed outside; names some.
    """
    outside = delegation.names_outside(graph_module)
    calls = delegation.calls(graph_module)
    if calls != 1 or outside:
        raise HydraError(
            f"The vision encoder does not lower to one Vulkan delegate: {calls} calls of it, and "
            f"outside of them {', '.join(outside[:5]) or 'nothing'}.",
            "Leave out --vision-backend; the CPU runs every encoder.",
        )


def described(graph: Any, folder: Path) -> dict[str, Any]:
    """Return what the manifest says of the method.

    Args:
        graph: what `traced` returned.
        folder: holds the golden vectors.
    """
    module = graph.module()
    return {
        "method": METHOD,
        "precision": "fp32",
        "executed": False,
        "why_not": NOT_EXECUTED,
        "compared": "the traced graph, in torch, with the model's own image embeddings",
        **image_parity(folder, lambda pixels: module(torch.from_numpy(pixels)).detach().numpy()),
    }
