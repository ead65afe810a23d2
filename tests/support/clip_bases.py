"""Tiny bases with MobileVLM's own parts: a CLIP tower and one of its projectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.save import write_base

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
#: name of a projector -> its arguments and how many embeddings it makes of 4 x 4 patches.
PROJECTORS: dict[str, tuple[dict[str, Any], int]] = {
    "ldpnet": ({}, 4),
    "ldpnetv2": ({"tokens": 4}, 4),
    "mlp": ({"depth": 2}, 16),
}


def clip_model(
    tiny: Path, projector: str, tower: str = "clip"
) -> tuple[MobileVLMForConditionalGeneration, MobileVLMProcessor]:
    """Return a model with random weights, its language model that of base `tiny`.

    Args:
        tiny: folder of base `tiny`.
        projector: key of `PROJECTORS`.
        tower: "clip" or "siglip".
    """
    language = MobileVLMForConditionalGeneration.from_pretrained(tiny).language_model
    processor = MobileVLMProcessor.from_pretrained(tiny)
    arguments, tokens = PROJECTORS[projector]
    processor.num_image_tokens = tokens
    config = MobileVLMConfig(
        vision_config={"model_type": tower, **VISION},
        projector_config={"model_type": projector, **arguments},
        text_config=language.config.to_dict(),
        image_token_id=processor.image_token_id,
        num_image_tokens=tokens,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = MobileVLMForConditionalGeneration(config).eval()
        model.language_model.load_state_dict(language.state_dict())
        with torch.no_grad():
            for part in (model.vision_tower, model.projector):
                for parameter in part.parameters():
                    # So far from their initial values that biases and norms matter too.
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model, processor


def write_clip_base(tiny: Path, projector: str, folder: Path) -> Path:
    """Write such a model as a base; returns `folder`, which is made."""
    model, processor = clip_model(tiny, projector)
    folder.mkdir(parents=True)
    write_base(folder, f"tiny-clip-{projector}", model, processor)
    return folder
