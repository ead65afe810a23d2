"""Writing the folder of a base: weights, configuration with their hash, processor.

Called by the builders of the named bases.
"""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.files import sha256_of
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor


def write_base(
    folder: Path,
    name: str,
    model: MobileVLMForConditionalGeneration,
    processor: MobileVLMProcessor,
) -> None:
    """Write a base that carries its name and the sha256 of its weights."""
    model.save_pretrained(folder)
    model.config.base = name
    model.config.base_sha256 = sha256_of(folder / "model.safetensors")
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
