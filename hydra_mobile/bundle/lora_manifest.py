"""Which adapter of a bundle is meant: `BUNDLE` is its default, `BUNDLE#NAME` another of them.

A manifest lists adapters under `adapters`, and their files under `files` with roles that end in
`:NAME`. Choosing one gives a manifest as if the bundle had been made for it alone: its files, its
golden vectors, its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.registry import nearest

#: `BUNDLE#base`: the base program without any adapter.
NO_ADAPTER = "base"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def split_selection(path: Path) -> tuple[Path, str | None]:
    """Split `BUNDLE#NAME`; the name is None where there is none, or a folder has a mark in its."""
    folder, mark, name = path.name.rpartition("#")
    if not mark or path.is_dir():
        return path, None
    return path.with_name(folder) if folder else path.parent, name


def require_name(name: str, taken: Container[str] = ()) -> None:
    """Raise `HydraError` unless `name` can be given to an adapter beside those `taken`."""
    if not _NAME.fullmatch(name) or name == NO_ADAPTER:
        raise HydraError(
            f"`{name}` cannot name an adapter: expected letters, digits, `.`, `_` and `-`, and not "
            f"`{NO_ADAPTER}`, which means none."
        )
    if name in taken:
        raise HydraError(
            f"The bundle has an adapter `{name}` already.",
            "Choose another --name.",
        )


def selected(manifest: Mapping[str, Any], name: str | None, path: Path) -> dict[str, Any]:
    """Return the manifest as it is for one adapter, whose name is under the key `adapter`.

    Args:
        manifest: as it is stored.
        name: an adapter's, `NO_ADAPTER`, or None for the default.
        path: of the manifest, for messages.

    Raises:
        ArtifactError: there is no such adapter, the bundle holds none at all because they were
            merged, or the adapter's entry belongs to another base.
    """
    adapters = manifest.get("adapters")
    if adapters is None:
        if name is not None:
            raise ArtifactError(
                f"{path} has no adapter `{name}`: the bundle was exported merged.",
                "Leave out the `#`, or export with --adapter separate.",
            )
        return dict(manifest)
    default = manifest.get("default_adapter")
    chosen = default if name is None else name
    if chosen == NO_ADAPTER:
        chosen = None
    if chosen is not None and chosen not in adapters:
        raise ArtifactError(
            f"{path} has no adapter `{chosen}`.", nearest(chosen, [*adapters, NO_ADAPTER])
        )
    sources = dict(manifest["sources"])
    if chosen is not None and adapters[chosen]["base_sha256"] != sources["base_sha256"]:
        raise ArtifactError(
            f"{path}: adapter `{chosen}` was trained on base "
            f"{str(adapters[chosen]['base_sha256'])[:12]}, the program is of "
            f"{str(sources['base_sha256'])[:12]}.",
            "Export the adapter for this bundle with `hydra-mobile bundle add`.",
        )
    sources["merged_sha256"] = _digest(sources["base_sha256"], adapters.get(chosen))
    files = {}
    for file, entry in manifest["files"].items():
        role, _, owner = str(entry["role"]).partition(":")
        # Golden vectors without an owner are the default's.
        ownerless = not role.startswith("golden") or chosen == default
        if owner == chosen or (not owner and ownerless):
            files[file] = {**entry, "role": role}
    return {**manifest, "sources": sources, "files": files, "adapter": chosen}


def _digest(base: object, entry: Mapping[str, Any] | None) -> str:
    """Return what stands for the hash of merged weights that were never made."""
    lines = [f"{file} {digest}" for file, digest in sorted((entry or {}).get("source", {}).items())]
    return hashlib.sha256("\n".join([str(base), *lines]).encode()).hexdigest()
