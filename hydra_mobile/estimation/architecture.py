"""The configuration of a base by name or folder, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.core.model_folder import read_config
from hydra_mobile.core.registry import nearest
from hydra_mobile.models.checkpoints.llava import is_llava, read_llava
from hydra_mobile.models.checkpoints.mobilevlm import CLIP_L_336_ID, is_original, read_original
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.families import find_family, unknown_class
from hydra_mobile.models.published import CLIP_L_336, PUBLISHED, published_config
from hydra_mobile.models.registry import BASES, cached_base


def base_config(base: str) -> Any:
    """Return the configuration that `base` will have; nothing is downloaded.

    Raises:
        ConfigError: a named base that is not fetched, or neither a name nor a folder.
        ArtifactError: the folder's config.json is damaged or of another architecture.
    """
    if base in PUBLISHED:
        return published_config(base)
    folder = cached_base(base) if base in BASES else Path(base)
    file = folder / "config.json"
    if file.is_file():
        return _of_file(file)
    if base in BASES:
        raise ConfigError(
            f"The base `{base}` is not on this machine, and its sizes are not known without it.",
            f"Fetch it first: hydra-mobile fetch {base}",
        )
    raise ConfigError(
        f"The base `{base}` is neither a name nor a folder with a config.json.",
        f"A model of the same size will do, for example base=mobilevlm-1.7b. "
        f"{nearest(base, {*BASES, *PUBLISHED})}",
    )


def _of_file(file: Path) -> Any:
    stored: dict[str, Any] = read_config(file, "the configuration of a base")
    family = find_family(stored)
    if family is not None:
        return family.config_of(stored)
    if is_original(stored):
        return _of_original(stored, str(file))
    if is_llava(stored):
        facts = read_llava(stored, str(file))
        return MobileVLMConfig(
            vision_config=facts.vision,
            projector_config={"model_type": "mlp", "depth": 2},
            text_config=facts.text,
            image_token_id=facts.image_token_id,
        )
    raise unknown_class(file, stored)


def _of_original(stored: dict[str, Any], where: str) -> MobileVLMConfig:
    original = read_original(stored, where)
    # A folder of the same name counts: the published tower is the only one of this size.
    if Path(original.vision_tower).name != Path(CLIP_L_336_ID).name:
        raise ArtifactError(
            f"{where}: the sizes of the vision tower {original.vision_tower} are not known here.",
            "Import the checkpoint first (hydra-mobile import), then name the folder that it made.",
        )
    return MobileVLMConfig(
        vision_config={**CLIP_L_336, "select_layer": original.select_layer},
        projector_config=original.projector,
        text_config=original.text,
        image_token_id=int(original.text["vocab_size"]),
    )
