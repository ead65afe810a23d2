"""The configuration of MobileVLM's own code, read and written. LLaVA's own code writes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.checkpoints.known_parts import (
    known_projectors,
    projector_named,
    projector_of,
)
from hydra_mobile.models.checkpoints.part_configs import (
    text_arguments,
    text_fields,
    vision_arguments,
    vision_fields,
)
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.published import CLIP_L_336

#: Tower of the published models, whose sizes are known without its folder.
CLIP_L_336_ID = "openai/clip-vit-large-patch14-336"


@dataclass(frozen=True)
class OriginalConfig:
    """What the configuration of an original checkpoint says.

    Attributes:
        text: arguments of `LlamaConfig`.
        projector: our projector's name and arguments.
        select_layer: hidden states of the tower that are read.
        vision_tower: hub id or folder of the tower.
        vision: its stored configuration, where the checkpoint carries one.
        pad: whether pictures are padded to a square.
    """

    text: dict[str, Any]
    projector: dict[str, Any]
    select_layer: int
    vision_tower: str
    vision: dict[str, Any] | None
    pad: bool


def is_original(config: Mapping[str, Any]) -> bool:
    """Return whether a config.json was written by MobileVLM's or LLaVA's own code."""
    return "mm_vision_tower" in config or "mm_projector_type" in config


def read_original(config: Mapping[str, Any], where: str) -> OriginalConfig:
    """Read the config.json of an original checkpoint.

    Args:
        config: its content.
        where: names the file for messages.

    Raises:
        ArtifactError: the model computes something that this project has no part for.
    """
    feature = config.get("mm_vision_select_feature", "patch")
    if feature != "patch":
        raise ArtifactError(
            f"{where}: mm_vision_select_feature is {feature!r}, expected 'patch'.",
            "Checkpoints that keep the class token cannot be imported.",
        )
    if config.get("mm_use_im_start_end"):
        raise ArtifactError(
            f"{where}: mm_use_im_start_end is set, but the templates here put no tokens around a "
            "image.",
            "Only checkpoints without start and end tokens can be imported.",
        )
    name = str(config.get("mm_projector_type", "linear"))
    projector = projector_named(name)
    if projector is None:
        raise ArtifactError(
            f"{where}: mm_projector_type is {name!r}, which is not known here.",
            f"Known: {', '.join(known_projectors())}.",
        )
    return OriginalConfig(
        text=text_arguments(config),
        projector=projector,
        select_layer=int(config.get("mm_vision_select_layer", -2)),
        vision_tower=str(config.get("mm_vision_tower") or config.get("vision_tower") or ""),
        vision=config.get("vision_config") or None,
        pad=config.get("image_aspect_ratio", "pad") == "pad",
    )


def projector_type(projector: Mapping[str, Any]) -> str:
    """Return `mm_projector_type` for our projector's name and arguments.

    Raises:
        ArtifactError: the original code has no such projector.
    """
    kind, arguments = projector_of(projector)
    name = kind.published_name(arguments)
    if name is None:
        raise ArtifactError(
            f"Projector `{projector.get('model_type')}` with {arguments or 'its defaults'} does "
            "not exist in MobileVLM's code, so that code could not run the result.",
            f"Only {', '.join(known_projectors())} can be written in its layout.",
        )
    return name


def write_original(
    config: MobileVLMConfig, imported: Mapping[str, Any] | None, dtype: str
) -> dict[str, Any]:
    """Return the config.json of an original checkpoint.

    Args:
        config: of our model.
        imported: the config.json that the model was imported with, None where there was none.
        dtype: of the weights, for example "float16".
    """
    vision = dict(config.vision_config)
    select_layer = int(vision.pop("select_layer", -2))
    model = {
        **text_fields(config.text_config),
        "mm_projector_type": projector_type(config.projector_config),
        "mm_vision_select_layer": select_layer,
        "mm_hidden_size": vision["hidden_size"],
    }
    if imported is not None:
        # As it came; only what the model would contradict is replaced.
        written = {**imported, **{k: v for k, v in model.items() if k in imported}}
        stored = imported.get("vision_config")
        if stored is not None and vision_arguments(stored, "vision_config") != vision:
            written["vision_config"] = vision_fields(vision)
        return written
    known = {key: value for key, value in CLIP_L_336.items() if key != "select_layer"}
    published = all(vision.get(key) == value for key, value in known.items())
    written = {
        "architectures": ["MobileLlamaForCausalLM"],
        "model_type": "mobilevlm",
        **model,
        "use_cache": True,
        "mm_vision_tower": CLIP_L_336_ID if published else "",
        "vision_tower_type": vision["model_type"],
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "use_mm_proj": True,
        "tune_mm_mlp_adapter": False,
        "freeze_mm_mlp_adapter": False,
        "image_aspect_ratio": "pad",
        "image_grid_pinpoints": None,
        "torch_dtype": dtype,
    }
    if not published:
        # The original code reads the tower's folder; the weights alone do not say their heads.
        written["vision_config"] = vision_fields(vision)
    return written
