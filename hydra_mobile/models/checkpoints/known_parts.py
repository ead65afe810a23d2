"""Which of our projectors and vision towers other projects know, asked of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.registry import resolve
from hydra_mobile.models.projectors import PROJECTORS
from hydra_mobile.models.projectors.base import Projector
from hydra_mobile.models.vision import VISION_TOWERS
from hydra_mobile.models.vision.base import PublishedTower


def projector_of(config: Mapping[str, Any]) -> tuple[type[Projector], dict[str, Any]]:
    """Return the class and the arguments of a model's `projector_config`."""
    arguments = dict(config)
    name = str(arguments.pop("model_type"))
    return _projector(name), arguments


def projector_named(name: str) -> dict[str, Any] | None:
    """Return our projector's name and arguments for `mm_projector_type`, None if unknown."""
    for own in PROJECTORS:
        arguments = _projector(own).from_published(name)
        if arguments is not None:
            return {"model_type": own, **arguments}
    return None


def known_projectors() -> list[str]:
    """Return every `mm_projector_type` that is known, for messages."""
    return [name for own in PROJECTORS for name in _projector(own).published_names]


@cache
def known_towers() -> dict[str, PublishedTower]:
    """Return the towers that other projects store, by our name."""
    classes = {name: resolve("vision tower", name, VISION_TOWERS) for name in VISION_TOWERS}
    facts = {name: getattr(part, "published", None) for name, part in classes.items()}
    return {name: published for name, published in facts.items() if published is not None}


def tower_of(config: Mapping[str, Any]) -> PublishedTower:
    """Return how other projects store the tower of a model's `vision_config`.

    Raises:
        ArtifactError: none does.
    """
    name = str(config.get("model_type"))
    if name not in known_towers():
        raise ArtifactError(
            f"Vision tower `{name}` has no place in another project's layout; only "
            f"{' and '.join(known_towers())} have."
        )
    return known_towers()[name]


def _projector(name: str) -> type[Projector]:
    return cast("type[Projector]", resolve("projector", name, PROJECTORS))
