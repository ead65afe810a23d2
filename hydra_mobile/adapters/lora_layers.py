"""Finding peft's LoRA layers and their tensors in a model.

The one place that knows peft's attribute names.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.lora import LoraLayer
from torch import nn

ADAPTER = "default"


def lora_layers(model: nn.Module) -> dict[str, Any]:
    """Return peft's LoRA layers by the name of the linear that they wrap."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}


def lora_tensors(model: nn.Module) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """Return each LoRA's A (rank, in) and B (out, rank) by module name."""
    return {
        name: (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight)
        for name, layer in lora_layers(model).items()
    }


def adapted_linears(model: nn.Module) -> dict[str, nn.Linear]:
    """Return every linear by its name in the base model, looking through LoRA layers."""
    layers = lora_layers(model)
    inside = tuple(f"{name}." for name in layers)
    linears: dict[str, nn.Linear] = {}
    for name, module in model.named_modules():
        if name in layers:
            module = module.get_base_layer()
        elif inside and name.startswith(inside):
            continue
        if isinstance(module, nn.Linear):
            linears[name] = module
    return linears
