"""The named bases of the published models: fetched from the hub, imported or composed.

Called through `bases.fetch`; where they are and what they are made of is in `published`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hydra_mobile.core.hub_id import at_revision
from hydra_mobile.core.progress import Log
from hydra_mobile.models.checkpoints.composing import fill_from_parts
from hydra_mobile.models.checkpoints.hub import checkpoint_folder
from hydra_mobile.models.checkpoints.importing import fill_from_checkpoint
from hydra_mobile.models.published import PUBLISHED


class Builder(Protocol):
    """Fills an empty folder with a base, of a certain commit of its checkpoint or of the newest."""

    def __call__(self, folder: Path, log: Log, revision: str = "") -> None:
        """Download the checkpoint where it is not in the hub's cache."""


def _builder(name: str) -> Builder:
    facts = PUBLISHED[name]

    def build(folder: Path, log: Log, revision: str = "") -> None:
        hub_id = at_revision(facts.hub_id, revision)
        if not facts.fresh_projector:
            source = checkpoint_folder(hub_id, f"base {name}", log)
            fill_from_checkpoint(folder, source, vision="", name=name, log=log)
            return
        language = checkpoint_folder(hub_id, f"the language model of base {name}", log)
        vision = checkpoint_folder(facts.vision_hub_id, f"the vision tower of base {name}", log)
        projector = {"model_type": facts.projector}
        fill_from_parts(folder, language, vision, projector, name=name, log=log)

    return build


mobilevlm_1_7b = _builder("mobilevlm-1.7b")
mobilevlm_3b = _builder("mobilevlm-3b")
mobilevlm_v2_1_7b = _builder("mobilevlm-v2-1.7b")
mobilevlm_v2_3b = _builder("mobilevlm-v2-3b")
mobilellama_1_4b_ldp = _builder("mobilellama-1.4b-ldp")
mobilellama_2_7b_ldp = _builder("mobilellama-2.7b-ldp")
mobilellama_1_4b_ldpv2 = _builder("mobilellama-1.4b-ldpv2")
mobilellama_2_7b_ldpv2 = _builder("mobilellama-2.7b-ldpv2")
