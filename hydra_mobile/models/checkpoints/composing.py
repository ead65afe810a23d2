"""A base out of parts: a Llama, a CLIP or SigLIP, and a projector that stage I has to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.folders import folder_atomically
from hydra_mobile.core.marks import IMPORTED
from hydra_mobile.core.model_folder import read_config
from hydra_mobile.core.progress import Log
from hydra_mobile.core.registry import nearest, resolve
from hydra_mobile.models.checkpoints.base_plan import (
    Plan,
    separate,
    source_name,
    write_plan,
)
from hydra_mobile.models.checkpoints.hub import checkpoint_folder
from hydra_mobile.models.checkpoints.keys import llama_layout
from hydra_mobile.models.checkpoints.known_parts import known_projectors, projector_named
from hydra_mobile.models.checkpoints.llava import require_llama
from hydra_mobile.models.checkpoints.part_configs import text_arguments
from hydra_mobile.models.checkpoints.tensor_map import Source, expected_shapes, match
from hydra_mobile.models.checkpoints.tower import read_tower, tower_source
from hydra_mobile.models.checkpoints.weights import open_weights
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.projectors import PROJECTORS

_PREFIX = "projector."
_SEED = 20231228


def compose(
    language: str,
    vision: str,
    projector: str,
    out: Path,
    *,
    select_layer: int = -2,
    template: str = "v1",
    name: str = "",
    log: Log = print,
) -> None:
    """Write a base folder from a language model, a vision tower and a fresh projector.

    Args:
        language: folder or hub id of a Llama.
        vision: folder or hub id of a CLIP or SigLIP; of a whole one the vision part is taken.
        projector: MobileVLM's name (ldpnet, ldpnetv2, linear, mlp2x_gelu) or one in `PROJECTORS`.
        out: folder to write or replace, atomically.
        select_layer: hidden states of the tower that are read; -2 is the input of its last layer.
        template: name of the template.
        name: of the base; empty: made of the parts' names.
        log: receives a line per step.

    Raises:
        ConfigError: unknown projector, or one that does not fit the parts.
        ArtifactError: the language model is no Llama, the tower neither CLIP nor SigLIP, or their
            tensors are not those of their configurations.
    """
    fresh = _projector_config(projector)
    language_folder = checkpoint_folder(language, "the language model", log)
    vision_folder = checkpoint_folder(vision, "the vision tower", log)
    name = name or "+".join(
        (source_name(vision, vision_folder), projector, source_name(language, language_folder))
    )
    separate(out, language_folder, vision_folder)
    with folder_atomically(out, mark=IMPORTED) as temporary:
        fill_from_parts(
            temporary,
            language_folder,
            vision_folder,
            fresh,
            select_layer=select_layer,
            template=template,
            name=name,
            log=log,
        )


def fill_from_parts(
    folder: Path,
    language: Path,
    vision: Path,
    projector: dict[str, Any],
    *,
    select_layer: int = -2,
    template: str = "v1",
    name: str,
    log: Log,
) -> None:
    """Fill the empty `folder` with the base of the parts in two folders."""
    file = language / "config.json"
    stored = read_config(file, "the configuration of a language model")
    require_llama(str(stored.get("model_type")), str(file))
    text = text_arguments(stored)
    config = MobileVLMConfig(
        vision_config={**read_tower(vision), "select_layer": select_layer},
        projector_config=projector,
        text_config=text,
    )
    expected, config.num_image_tokens = expected_shapes(config)
    outside = {key: shape for key, shape in expected.items() if not key.startswith(_PREFIX)}
    loaded: Any = config.text_config
    sources = [Source(open_weights(language, log), llama_layout()), tower_source(vision, log)]
    matched = match(outside, sources, tied=loaded.tie_word_embeddings)
    weights = fresh_projector(config)
    log(f"Projector {projector['model_type']}: {_count(weights):,} fresh parameters in fp32")
    matched.add(weights)
    write_plan(folder, Plan(config, matched, language, template), name, log)


def fresh_projector(config: MobileVLMConfig) -> dict[str, Tensor]:
    """Return a new projector's tensors by full name, the same ones at every call.

    As PyTorch initializes its layers, like the published recipe, and in fp32: stage I trains them,
    so they should not be rounded to the language model's half precision.
    """
    arguments = dict(config.projector_config)
    part = resolve("projector", arguments.pop("model_type"), PROJECTORS)
    text: Any = config.text_config
    vision = config.vision_config
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = part(patches, vision["hidden_size"], text.hidden_size, **arguments)
    return {f"{_PREFIX}{key}": value for key, value in module.state_dict().items()}


def _projector_config(name: str) -> dict[str, Any]:
    known = projector_named(name)
    if known is not None:
        return known
    if name in PROJECTORS:
        return {"model_type": name}
    names = [*PROJECTORS, *known_projectors()]
    raise ConfigError(f"Unknown projector `{name}`.", nearest(name, names))


def _count(weights: dict[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in weights.values())
