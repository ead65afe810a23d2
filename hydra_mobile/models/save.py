"""Writing the folder of a base: weights, configuration with their hash, processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from hydra_mobile.core.files import sha256_of
from hydra_mobile.core.safetensors_io import Form, write_tensors
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.hub_files import write_generation_config
from hydra_mobile.models.loading import without_progress_bars
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor

_WEIGHTS = "model.safetensors"
# Its dtype is the language model's, by far the largest part.
_EMBEDDINGS = "language_model.model.embed_tokens.weight"


def write_base(
    folder: Path,
    name: str,
    model: MobileVLMForConditionalGeneration,
    processor: MobileVLMProcessor,
) -> None:
    """Write a base that carries its name and the sha256 of its weights."""
    with without_progress_bars():
        model.save_pretrained(folder)
    model.config.base = name
    model.config.base_sha256 = sha256_of(folder / _WEIGHTS)
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_generation_config(folder, processor)


def write_streamed_base(
    folder: Path,
    name: str,
    config: MobileVLMConfig,
    processor: MobileVLMProcessor,
    forms: Mapping[str, Form],
    read: Callable[[str], Tensor],
    log: Callable[[str], None],
) -> None:
    """Write a base whose tensors come one at a time, each in its own dtype.

    Args:
        folder: to fill.
        name: of the base.
        config: of the model; name, hash and dtype are filled in.
        processor: of the model.
        forms: dtype and shape of each tensor.
        read: returns a tensor by name.
        log: receives a line now and then.
    """
    config.base = name
    config.base_sha256 = write_tensors(folder / _WEIGHTS, forms, read, log)
    config.architectures = [MobileVLMForConditionalGeneration.__name__]
    config.dtype = forms[_EMBEDDINGS].dtype
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_generation_config(folder, processor)
