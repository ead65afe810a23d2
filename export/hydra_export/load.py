"""A model as exports read it: in float32, but the large matrices of a large one as stored."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from hydra_export.graphs.llama_layers import is_llama
from hydra_export.graphs.stored import can_store, store
from hydra_mobile.core.model_folder import read_config, weight_files
from hydra_mobile.core.safetensors_io import DTYPES, places
from hydra_mobile.models.families import family_of
from hydra_mobile.models.loading import load_with_processor
from hydra_mobile.models.on_meta import on_meta
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.vision_language import VisionLanguageModel

_HALVES = ("BF16", "F16")
#: Weights from which on a float32 copy costs more than time: widening a matrix at each use takes
#: longer than its product with one token.
LARGE = 500_000_000


def load_for_export(folder: Path) -> tuple[VisionLanguageModel, MobileVLMProcessor]:
    """Load a model in float32; linears and table of a large text model in half precision stay so.

    Raises:
        ArtifactError: see `hydra_mobile.models.loading`.
    """
    kind = stored_type(folder)
    model, processor = load_with_processor(folder, dtype=kind or torch.float32)
    if kind is not None:
        _store_text(model)
    return model.requires_grad_(False), processor


def stored_type(folder: Path) -> torch.dtype | None:
    """Return the type in which the matrices of a folder's text model stay; None: float32.

    It has to be the type of all its tensors, the model `LARGE`, and the decoder one that is written
    by hand: in a traced one the widening would be part of the graph.
    """
    found = [place for file in weight_files(folder) for place in places(file).values()]
    kinds = {place.dtype for place in found}
    if len(kinds) != 1 or not kinds <= set(_HALVES):
        return None
    if sum(math.prod(place.shape) for place in found) < LARGE:
        return None
    family, file = family_of(folder), folder / "config.json"
    config = family.config_of(read_config(file, "the configuration of a vision-language model"))
    empty = on_meta(lambda: family.empty_model(config), str(file))
    return DTYPES[kinds.pop()] if is_llama(empty.language_model) else None


def _store_text(model: VisionLanguageModel) -> None:
    """Make a model in half precision float32 but for the matrices of its text model."""
    kept = set(_text_matrices(model))
    weights = {id(module.weight) for module in kept}
    wide: dict[int, Tensor] = {}
    for module in {*model.modules(), *model.whole.modules()}:
        for name, tensor in module._parameters.items():
            # Another object: tracing would take the type of one whose data was exchanged.
            if tensor is not None and id(tensor) not in weights and tensor.is_floating_point():
                new = wide.setdefault(id(tensor), nn.Parameter(tensor.float(), requires_grad=False))
                module._parameters[name] = new
        for name, tensor in module._buffers.items():
            if tensor is not None and tensor.is_floating_point():
                module._buffers[name] = wide.setdefault(id(tensor), tensor.float())
    for module in kept:
        store(module)


def _text_matrices(model: VisionLanguageModel) -> Iterable[nn.Module]:
    text = model.language_model
    ends = (text.lm_head, text.get_input_embeddings())
    for module in (*text.model.layers.modules(), *ends):
        if can_store(module):
            yield module
