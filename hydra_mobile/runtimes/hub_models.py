"""Models given by hub id: adapters, merged models, bundles and bases are opened like folders."""

from __future__ import annotations

from hydra_mobile.core.hub_id import is_hub_id
from hydra_mobile.core.model_folder import MERGE_FILE
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.models.checkpoints.hub import repository
from hydra_mobile.models.registry import base_folder


def resolved(reference: str, log: Log = silent) -> str:
    """Return the path that a reference to a model stands for; what is on the hub is fetched.

    Args:
        reference: a path or the name of a base, which are returned as they are, there or not; or
            `OWNER/NAME[@REVISION][#ADAPTER]`, of which no folder OWNER is here.
        log: receives a line before a download.

    Raises:
        HydraError: no such repository or revision, or the hub cannot be reached; says that there
            is no such folder either.
    """
    hub_id, mark, adapter = reference.partition("#")
    if not is_hub_id(hub_id):
        return reference
    folder = repository(hub_id, "a model", log)
    if (folder / "config.json").is_file() and not (folder / MERGE_FILE).is_file():
        # Another project's checkpoint is imported once, under its name on the hub.
        return str(base_folder(hub_id, silent))
    return f"{folder}{mark}{adapter}"
