"""Names of tensors in other projects' checkpoints and in ours: prefixes that are exchanged.

Parts keep their published names inside, so a layout is a short table of prefixes, read in both
directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.core.model_folder import read_config
from hydra_mobile.models.checkpoints.known_parts import known_towers, projector_of

#: Constants that older versions stored and newer ones compute.
BUFFERS = re.compile(r"(^|\.)(rotary_emb\.inv_freq|position_ids)$")
_BESIDE_VISION = re.compile(
    r"^(text_model\.|visual_projection\.|text_projection\.|logit_scale$|logit_bias$)"
)
_VISION = "vision_tower.model."
_TEXT = "language_model.model."
_HEAD = "language_model.lm_head."


def _as_it_is(key: str) -> str:
    return key


@dataclass(frozen=True)
class Layout:
    """How one kind of checkpoint names its tensors.

    Attributes:
        prefixes: (theirs, ours); for a key of theirs the first that fits is exchanged.
        canonical: maps the spellings of several versions to the one that `prefixes` knows.
        ignored: whether a key is a tensor that we have no use for, by design.
    """

    prefixes: tuple[tuple[str, str], ...]
    canonical: Callable[[str], str] = _as_it_is
    ignored: Callable[[str], bool] = lambda key: False

    def ours(self, key: str) -> str | None:
        """Return our name for their key, None where there is none."""
        key = self.canonical(key)
        for theirs, ours in self.prefixes:
            if key.startswith(theirs):
                return ours + key.removeprefix(theirs)
        return None

    def theirs(self, name: str) -> str | None:
        """Return their key for our name, None where the layout has no place for it."""
        for theirs, ours in self.prefixes:
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        return None


def mobilevlm_layout(projector: Mapping[str, Any]) -> Layout:
    """Return the layout of MobileVLM's and LLaVA's own code.

    Args:
        projector: name and arguments of our projector.
    """
    kind, arguments = projector_of(projector)
    return Layout(
        (
            ("model.vision_tower.vision_tower.vision_model.", _VISION),
            kind.published_prefix(arguments),
            ("model.", _TEXT),
            ("lm_head.", _HEAD),
        ),
        canonical=_with_vision_model("model.vision_tower.vision_tower."),
        ignored=lambda key: BUFFERS.search(key) is not None,
    )


def published_names(folder: Path) -> Callable[[str], str | None]:
    """Return what gives our name for one of MobileVLM's and LLaVA's own code.

    Args:
        folder: of a base, whose projector decides.
    """
    config = read_config(folder / "config.json", "the configuration of a base model")
    projector = config.get("projector_config")
    return mobilevlm_layout(projector).ours if projector else lambda name: None


def llava_layout(projector: Mapping[str, Any]) -> Layout:
    """Return the layout in which transformers' LLaVA is published.

    Versions 4.52 and later also write `model.language_model.*`, `model.vision_tower.*` and leave
    out `vision_model.`; these are read too.

    Args:
        projector: name and arguments of our projector.
    """
    kind, arguments = projector_of(projector)
    with_vision_model = _with_vision_model("vision_tower.")

    def canonical(key: str) -> str:
        if key.startswith("model.language_model."):
            key = "language_model.model." + key.removeprefix("model.language_model.")
        key = re.sub(r"^model\.(vision_tower|multi_modal_projector)\.", r"\1.", key)
        if key.startswith("lm_head."):
            key = "language_model." + key
        return with_vision_model(key)

    return Layout(
        (
            ("vision_tower.vision_model.", _VISION),
            *(kind.transformers_prefixes(arguments) or ()),
            ("language_model.model.", _TEXT),
            ("language_model.lm_head.", _HEAD),
        ),
        canonical=canonical,
        ignored=lambda key: BUFFERS.search(key) is not None,
    )


def llama_layout() -> Layout:
    """Return the layout of a Llama language model."""
    return Layout(
        (("model.", _TEXT), ("lm_head.", _HEAD)),
        ignored=lambda key: BUFFERS.search(key) is not None,
    )


def vision_layout() -> Layout:
    """Return the layout of vision towers; text halves of the same models are ignored."""
    return Layout(
        (("vision_model.", _VISION),),
        canonical=_with_vision_model(""),
        ignored=lambda key: (
            _BESIDE_VISION.search(key) is not None or BUFFERS.search(key) is not None
        ),
    )


def _with_vision_model(prefix: str) -> Callable[[str], str]:
    """Return a spelling in which `vision_model.` follows `prefix`: some versions leave it out."""
    parts = tuple({part for tower in known_towers().values() for part in tower.parts})

    def canonical(key: str) -> str:
        rest = key.removeprefix(prefix)
        if key.startswith(prefix) and rest.startswith(parts):
            return f"{prefix}vision_model.{rest}"
        return key

    return canonical
