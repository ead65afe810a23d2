"""Another project's checkpoint into a base folder: nothing lost, nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.folders import folder_atomically
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.marks import IMPORTED
from hydra_mobile.core.model_folder import read_config
from hydra_mobile.core.progress import Log
from hydra_mobile.models.checkpoints.base_plan import (
    ORIGINAL_CONFIG,
    Plan,
    separate,
    source_name,
    write_plan,
)
from hydra_mobile.models.checkpoints.hub import checkpoint_folder
from hydra_mobile.models.checkpoints.keys import (
    llava_layout,
    mobilevlm_layout,
)
from hydra_mobile.models.checkpoints.llava import LLAVA_PROJECTOR, is_llava, read_llava
from hydra_mobile.models.checkpoints.mobilevlm import (
    CLIP_L_336_ID,
    OriginalConfig,
    is_original,
    read_original,
)
from hydra_mobile.models.checkpoints.part_configs import vision_arguments
from hydra_mobile.models.checkpoints.tensor_map import Matched, Source, expected_shapes, match
from hydra_mobile.models.checkpoints.tower import read_tower, tower_folder, tower_source
from hydra_mobile.models.checkpoints.weights import open_weights
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.families import find_family, unknown_class
from hydra_mobile.models.published import CLIP_L_336

_VISION = "vision_tower."


def import_checkpoint(
    source: str, out: Path, *, vision: str = "", name: str = "", log: Log = print
) -> None:
    """Write the base folder of a MobileVLM or LLaVA checkpoint, or of transformers' LLaVA.

    Args:
        source: folder or hub id.
        out: folder to write or replace, atomically.
        vision: folder or hub id of a CLIP or SigLIP that replaces the checkpoint's own tower.
        name: of the base; empty: the hub id, or the folder's name.
        log: receives a line per step.

    Raises:
        HydraError: the hub cannot be reached, or the disk is full.
        ArtifactError: the checkpoint is incomplete, of another architecture, or has a tensor that
            is missing, unknown or misshapen.
    """
    folder = checkpoint_folder(source, "a MobileVLM or LLaVA checkpoint", log)
    with folder_atomically(separate(out, folder), mark=IMPORTED) as temporary:
        fill_from_checkpoint(
            temporary, folder, vision=vision, name=name or source_name(source, folder), log=log
        )


def fill_from_checkpoint(folder: Path, source: Path, *, vision: str, name: str, log: Log) -> None:
    """Fill the empty `folder` with the base of the checkpoint at `source`."""
    file = source / "config.json"
    config = read_config(file, "the configuration of a checkpoint")
    if is_original(config):
        plan = _plan_original(source, config, vision, log)
    elif is_llava(config):
        plan = _plan_llava(source, config, vision, log)
    else:
        raise _foreign(file, config)
    write_plan(folder, plan, name, log)


def _foreign(file: Path, config: Mapping[str, Any]) -> ArtifactError:
    kind = config.get("model_type")
    if kind == "mobile_vlm":
        return ArtifactError(f"{file.parent} is a base already; it needs no import.")
    if kind == "llama":
        return ArtifactError(
            f"{file.parent} is a language model alone.",
            "Add a vision tower and a projector: hydra-mobile compose --language "
            f"{file.parent} --vision {CLIP_L_336_ID} --projector ldpnet --out FOLDER",
        )
    if find_family(config) is not None:
        return ArtifactError(
            f"{file.parent} is of a class of transformers that is a base as it is.",
            f"It needs no import: base={file.parent}",
        )
    unknown = unknown_class(file, config)
    return ArtifactError(
        unknown.what,
        "Imported are MobileVLM's and LLaVA's own checkpoints and transformers' "
        f"LlavaForConditionalGeneration. Families that are taken as they are: {unknown.fixes[0]}",
    )


def _plan_original(source: Path, stored: Mapping[str, Any], vision: str, log: Log) -> Plan:
    original = read_original(stored, str(source / "config.json"))
    projector = original.projector
    layout = mobilevlm_layout(projector)
    files = open_weights(source, log)
    has_tower = any((layout.ours(key) or "").startswith(_VISION) for key in files.forms)
    sources = [Source(files, layout)]
    tower = None
    if vision or not has_tower:
        tower = tower_folder(vision or original.vision_tower, vision, source, log)
        sources = [Source(files, layout, wanted=_beside_tower), tower_source(tower, log)]
    else:
        log(f"The vision tower comes from {source.name} itself")
    config = MobileVLMConfig(
        vision_config={
            **_tower_arguments(original, tower, source, log),
            "select_layer": original.select_layer,
        },
        projector_config=projector,
        text_config=original.text,
    )
    matched = _match(config, sources)
    kept = (source / "config.json").read_bytes()
    if vision:
        # Their code loads the tower that is named here, whatever the weights hold.
        kept = dumps({**stored, "mm_vision_tower": vision}, indent=2).encode()
    fit: Literal["pad", "crop"] = "pad" if original.pad else "crop"
    return Plan(config, matched, source, fit=fit, kept={ORIGINAL_CONFIG: kept})


def _plan_llava(source: Path, stored: Mapping[str, Any], vision: str, log: Log) -> Plan:
    facts = read_llava(stored, str(source / "config.json"))
    files = open_weights(source, log)
    layout = llava_layout(LLAVA_PROJECTOR)
    sources = [Source(files, layout)]
    arguments = facts.vision
    if vision:
        tower = tower_folder(vision, vision, source, log)
        sources = [Source(files, layout, wanted=_beside_tower), tower_source(tower, log)]
        layer = arguments["select_layer"]
        arguments = {**read_tower(tower), "select_layer": layer}
    config = MobileVLMConfig(
        vision_config=arguments,
        projector_config=dict(LLAVA_PROJECTOR),
        text_config=facts.text,
        image_token_id=facts.image_token_id,
    )
    return Plan(config, _match(config, sources), source)


def _match(config: MobileVLMConfig, sources: Sequence[Source]) -> Matched:
    text: Any = config.text_config
    expected, tokens = expected_shapes(config)
    config.num_image_tokens = tokens
    return match(expected, sources, tied=text.tie_word_embeddings)


def _beside_tower(name: str) -> bool:
    return not name.startswith(_VISION)


def _tower_arguments(
    original: OriginalConfig, tower: Path | None, source: Path, log: Log
) -> dict[str, Any]:
    """Return the tower's name and sizes: from its folder, the checkpoint, or as published."""
    if tower is not None:
        return read_tower(tower)
    if original.vision is not None:
        return vision_arguments(original.vision, str(source / "config.json"))
    # People keep copies of the published tower under their own paths.
    if original.vision_tower.rstrip("/").split("/")[-1] == CLIP_L_336_ID.split("/")[-1]:
        return {key: value for key, value in CLIP_L_336.items() if key != "select_layer"}
    return read_tower(tower_folder(original.vision_tower, "", source, log))
