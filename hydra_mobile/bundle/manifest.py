"""The file `manifest.json` of a bundle, with a seal that every host can compare.

The seal is the sha256 of the file's own bytes, taken with 64 zeros in its place: no host needs the
exporter's way of writing numbers and keys. A manifest of an earlier version has none and is taken
as it is; earlier versions read over the key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import parse_json, read_bytes, write_atomically
from hydra_mobile.core.json_text import dumps

MANIFEST = "manifest.json"
#: Key of the seal.
SEAL = "manifest_sha256"

_WHAT = "the manifest of a bundle, which `hydra-mobile export` writes"
_OPEN = "0" * 64
# Within a string of JSON its quotes would have backslashes: the key is found nowhere else.
_SEALED = re.compile(rb'("%s": ")([0-9a-f]{64})(?=")' % SEAL.encode())


def read_manifest(folder: Path) -> Any:
    """Return what the manifest of a bundle says, compared with its seal; its keys are not checked.

    Raises:
        ArtifactError: it is missing, no JSON, or was altered.
    """
    path = folder / MANIFEST
    return parse_manifest(read_bytes(path, _WHAT), path)


def parse_manifest(data: bytes, path: Path) -> Any:
    """Return what the bytes of a manifest say; as `read_manifest`, for one inside an archive."""
    manifest = parse_json(data, path, _WHAT)
    if isinstance(manifest, dict) and SEAL in manifest and seal_of(data) != manifest[SEAL]:
        raise ArtifactError(
            f"{path} was altered: its bytes have another sha256 than its key `{SEAL}` says.",
            "Copy or export the bundle again; after an edit of your own, leave the key out.",
            where=str(path),
        )
    return manifest


def save_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a bundle with its seal, atomically."""
    with write_atomically(folder / MANIFEST) as temporary:
        temporary.write_bytes(sealed_bytes(manifest))


def sealed_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the bytes of a manifest's file: JSON whose last key is the seal."""
    content = {key: value for key, value in manifest.items() if key != SEAL}
    data = (dumps({**content, SEAL: _OPEN}, indent=2, ensure_ascii=False) + "\n").encode()
    return _SEALED.sub(rb"\g<1>" + seal_of(data).encode(), data)


def seal_of(data: bytes) -> str:
    """Return the seal that the bytes of a manifest should have, whatever stands in its place."""
    return hashlib.sha256(_SEALED.sub(rb"\g<1>" + _OPEN.encode(), data)).hexdigest()
