"""Manifests of bundles as an exporter would have written them otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.manifest import read_manifest, save_manifest


@contextmanager
def edited_manifest(bundle: Path) -> Iterator[dict[str, Any]]:
    """Give the manifest of a bundle to be changed, and write it back with a seal that fits."""
    manifest: dict[str, Any] = read_manifest(bundle)
    yield manifest
    save_manifest(bundle, manifest)
