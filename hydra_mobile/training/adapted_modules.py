"""Which linears of a base get an adapter.

The bridge between the trainer and `hydra_mobile.adapters`, which knows no vision-language model.
"""

from __future__ import annotations

from hydra_mobile.adapters.lora_layers import adapted_linears
from hydra_mobile.models.vision_language import VisionLanguageModel


def adapted_modules(model: VisionLanguageModel) -> list[str]:
    """Return the full names of the linears in the language model's layers: all get an adapter.

    In a Llama these are the seven that MobileVLM's LoRA adapts.
    """
    layers = f"{model.layers_name}."
    return [name for name in adapted_linears(model.whole) if name.startswith(layers)]
