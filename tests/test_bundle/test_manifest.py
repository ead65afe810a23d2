"""The seal of `manifest.json`: what one flipped bit does, and what stays readable."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from manifests import edited_manifest

from hydra_mobile.bundle.manifest import (
    MANIFEST,
    SEAL,
    parse_manifest,
    read_manifest,
    save_manifest,
)
from hydra_mobile.core.errors import ArtifactError

CONTENT = {"schema": 1, "template": {"start": f'é "{SEAL}": "'}, "limits": [0.5, 96]}


def test_the_seal_is_the_hash_of_the_bytes_with_zeros_in_its_place(tmp_path: Path) -> None:
    save_manifest(tmp_path, CONTENT)
    data = (tmp_path / MANIFEST).read_bytes()
    seal = json.loads(data)[SEAL]
    assert hashlib.sha256(data.replace(seal.encode(), b"0" * 64)).hexdigest() == seal
    assert read_manifest(tmp_path) == {**CONTENT, SEAL: seal}
    with edited_manifest(tmp_path) as manifest:
        manifest["schema"] = 2
    assert read_manifest(tmp_path)["schema"] == 2


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    save_manifest(tmp_path, CONTENT)
    whole = (tmp_path / MANIFEST).read_bytes()
    told = 0
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            try:
                found = parse_manifest(bytes(data), tmp_path / MANIFEST)
            except ArtifactError:
                told += 1
            else:
                # The key's own name: without it the manifest is one of an earlier version.
                assert {k: v for k, v in found.items() if k in CONTENT} == CONTENT
    assert told > 7 * len(whole)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_an_edit_of_ones_own_is_told_until_the_key_is_left_out(
    tmp_path: Path, separators: tuple[str, str]
) -> None:
    save_manifest(tmp_path, CONTENT)
    manifest = {**read_manifest(tmp_path), "schema": 2}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest, separators=separators))
    with pytest.raises(ArtifactError, match=rf"manifest\.json.*`{SEAL}`"):
        read_manifest(tmp_path)
    del manifest[SEAL]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest, separators=separators))
    assert read_manifest(tmp_path) == manifest
