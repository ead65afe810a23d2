"""Families of vision-language models that a base may be of, by name.

A new family is one file with a `Family` and one line in `FAMILIES`. Nothing else switches on the
class of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.model_folder import read_config
from hydra_mobile.core.registry import nearest, resolve

if TYPE_CHECKING:
    from hydra_mobile.models.families.base import Family

#: name -> "module:class".
FAMILIES = {
    "mobilevlm": "hydra_mobile.models.families.mobilevlm:MobileVLM",
    "deepseek_vl": "hydra_mobile.models.families.deepseek_vl:DeepseekVL",
    "fast_vlm": "hydra_mobile.models.families.fast_vlm:FastVLM",
    "gemma3": "hydra_mobile.models.families.gemma3:Gemma3",
    "internvl": "hydra_mobile.models.families.internvl:InternVL",
    "lfm2_vl": "hydra_mobile.models.families.lfm2_vl:Lfm2VL",
    "qwen2_5_vl": "hydra_mobile.models.families.qwen_vl:Qwen25VL",
    "qwen3_vl": "hydra_mobile.models.families.qwen_vl:Qwen3VL",
    "smolvlm": "hydra_mobile.models.families.smolvlm:SmolVLM",
}


def family_named(name: str) -> Family:
    """Return a family.

    Raises:
        HydraError: there is none of that name; the message lists those that exist.
    """
    return cast("type[Family]", resolve("family", name, FAMILIES))()


def families() -> list[Family]:
    """Return all families."""
    return [family_named(name) for name in FAMILIES]


def find_family(config: Mapping[str, Any]) -> Family | None:
    """Return the family that a config.json is of; None: it is of none."""
    kind = config.get("model_type")
    return next((found for found in families() if kind in found.model_types), None)


def family_of(folder: Path) -> Family:
    """Return the family of a model folder.

    Raises:
        ArtifactError: no config.json, or one of a class that no family knows.
    """
    file = folder / "config.json"
    config = read_config(file, "the configuration of a vision-language model")
    found = find_family(config)
    if found is None:
        raise unknown_class(file, config)
    return found


def unknown_class(file: Path, config: Mapping[str, Any]) -> ArtifactError:
    """Return the error for a config.json of no known family."""
    kind = str(config.get("model_type"))
    known = [kind for found in families() for kind in found.model_types]
    return ArtifactError(
        f"{file}: model_type is {kind!r}, which no family knows.",
        f"{nearest(kind, known)} A new family is one file: docs/families.md.",
    )


def derives_prompts(folder: Path) -> bool:
    """Whether template and pictures of a model folder are in transformers' files, not in ours."""
    config = read_config(folder / "config.json", "the configuration of a base model")
    family = find_family(config)
    return family.derives_prompts if family else bool(config.get("architectures"))


def stored_names(folder: Path) -> Callable[[str], str | None]:
    """Return what gives a tensor's name in a model folder for the one that it has in memory.

    Of any class of transformers, whether a family knows it or not: adapters are trained on others
    as well. None for a name that is none of the folder's.
    """
    config = read_config(folder / "config.json", "the configuration of a base model")
    family = find_family(config)
    return family.rename(folder) if family else _names_of_class(folder, config)


def _names_of_class(folder: Path, config: Mapping[str, Any]) -> Callable[[str], str | None]:
    import transformers

    name = next(iter(config.get("architectures") or ()), "")
    found = getattr(transformers, name, None)
    if found is None:
        return lambda name: None
    from hydra_mobile.models.families.tensor_names import stored_name

    kind = found.config_class
    return stored_name(folder, lambda: found(kind.from_dict(dict(config))))
