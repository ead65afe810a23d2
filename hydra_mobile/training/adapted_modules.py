"""Which linears of a MobileVLM get an adapter.

The bridge between the trainer and `hydra_mobile.adapters`, which knows no MobileVLM.
"""

from __future__ import annotations

from torch import nn

from hydra_mobile.adapters.lora_layers import adapted_linears

#: The seven linears of a Llama layer that MobileVLM's LoRA adapts.
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapted_modules(model: nn.Module) -> list[str]:
    """Return the full names of the language model's linears that get an adapter."""
    return [
        name
        for name in adapted_linears(model)
        if name.startswith("language_model.model.layers.") and name.rsplit(".", 1)[-1] in LINEARS
    ]
