"""Ids of repositories on the Hugging Face hub, told from paths without asking the hub."""

from __future__ import annotations

import re
from pathlib import Path

#: "owner/name", or "owner/name@revision".
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def is_hub_id(source: str) -> bool:
    """Whether a name can be that of a repository on the hub, and is none of a folder here."""
    path = Path(source)
    # A mistyped path in a folder that exists is no repository.
    return bool(HUB_ID.fullmatch(source)) and not path.exists() and not path.parent.exists()


def at_revision(hub_id: str, revision: str) -> str:
    """Return a hub id with a commit in place of the branch that it may name; "" keeps it."""
    return f"{hub_id.partition('@')[0]}@{revision}" if revision else hub_id
