"""How a vision tower is stored by other projects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Color = tuple[float, float, float]


@dataclass(frozen=True)
class PublishedTower:
    """A tower that exists in other projects' checkpoints; it is the attribute `published`.

    Attributes:
        types: `model_type` of stored configurations that are this tower.
        stored_type: the one that is written.
        config: class of the stored configuration; gives what is left out its default.
        own_fields: fields of it that only this kind of tower has.
        architecture: class of the model that transformers reads it with.
        parts: first names of its tensors, below `vision_model.`, which some versions leave out.
        mean: of each channel that it was trained with, in units of [0, 1].
        std: deviation of each channel.
        feature_strategy: which features its patches are, in LLaVA's words: "default" drops the
            class token, "full" has none.
        image_processor: transformers' class that prepares its pictures.
        crops: whether that class resizes the shortest side and cuts, instead of stretching.
        llama_cpp: whether llama.cpp's converter reads it.
    """

    types: tuple[str, ...]
    stored_type: str
    config: Callable[..., Any]
    own_fields: tuple[str, ...]
    architecture: str
    parts: tuple[str, ...]
    mean: Color
    std: Color
    feature_strategy: str
    image_processor: str
    crops: bool
    llama_cpp: bool = False

    @property
    def extra_tokens(self) -> int:
        """Tokens that stand before the patches and are dropped behind the tower."""
        return 1 if self.feature_strategy == "default" else 0
