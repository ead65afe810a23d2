"""The native runner opens whole and unaltered bundles only, and hashes a program once."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from android_demo.tools.vector_json import MARKED, REFUSED, SOUND
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import sha256_of
from hydra_mobile.models.pictures import open_picture

Copied = Callable[..., Path]
NOTE = ".sha256.json"


def prepared(binary: Path, bundle: Path, picture: Path) -> subprocess.CompletedProcess[bytes]:
    command = [str(binary), "--bundle", str(bundle), "--pixels", str(picture)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def refused(binary: Path, bundle: Path, word: str) -> None:
    done = prepared(binary, bundle, bundle / "golden" / "0.png")
    assert done.returncode == 2
    assert word in done.stderr.decode()


def test_an_altered_program_is_refused_however_often_it_was_opened(
    binary: Path, copied: Copied
) -> None:
    folder = copied()
    assert prepared(binary, folder, folder / "golden" / "0.png").returncode == 0
    program = folder / "model.pte"
    content, found = bytearray(program.read_bytes()), program.stat()
    content[len(content) // 2] ^= 1
    program.write_bytes(content)
    # As it was before: size and time of the last change alone would not tell.
    os.utime(program, ns=(found.st_atime_ns, found.st_mtime_ns))
    for _ in range(2):
        refused(binary, folder, f"model.pte was altered: it has sha256 {sha256_of(program)}")


def test_a_program_is_hashed_once(binary: Path, copied: Copied) -> None:
    folder = copied()
    (folder / NOTE).unlink(missing_ok=True)  # other tests run the bundle that this is a copy of
    picture = folder / "golden" / "0.png"
    # What was written in the last two seconds may still be written: nothing is remembered of it.
    # A time ahead of the clock stays as recent however slow the machine is.
    ahead = time.time() + 3600
    os.utime(folder / "model.pte", (ahead, ahead))
    assert prepared(binary, folder, picture).returncode == 0
    assert not (folder / NOTE).exists()
    (folder / "model.pte").touch()
    time.sleep(2.2)
    assert prepared(binary, folder, picture).returncode == 0
    note = json.loads((folder / NOTE).read_text())
    assert note["model.pte"]["sha256"] == sha256_of(folder / "model.pte")
    # Whether it is read shows where it is wrong.
    note["model.pte"]["sha256"] = "0" * 64
    (folder / NOTE).write_text(json.dumps(note))
    refused(binary, folder, "0" * 64)
    for damaged in ("", "[]", "{", json.dumps({"model.pte": 3})):
        (folder / NOTE).write_text(damaged)
        assert prepared(binary, folder, picture).returncode == 0
    Bundle.open(folder)


@pytest.mark.parametrize(
    "name", ["../model.pte", "/tmp/model.pte", "a/../../model.pte", "..\\model.pte", "C:model.pte"]
)
def test_names_that_leave_the_folder_are_refused(binary: Path, copied: Copied, name: str) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = manifest["files"].pop("model.pte")

    refused(binary, copied(rename), "outside of the bundle")


def test_a_flipped_bit_of_the_manifest_is_told(
    binary: Path, bundle: Path, copied: Copied, tmp_path: Path
) -> None:
    whole = (bundle / "manifest.json").read_bytes()
    folder = copied()
    for old, new in (
        (b'"max_context": 8', b'"max_context": 9'),
        (b'"size": 32', b'"size": 33'),
        (b'"manifest_sha256": "', b'"manifest_sha256": "f'),
    ):
        assert old in whole
        (folder / "manifest.json").write_bytes(whole.replace(old, new, 1))
        refused(binary, folder, "manifest.json was altered")
    # Bundles of earlier versions have no seal.
    manifest = json.loads(whole)
    del manifest["manifest_sha256"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    Image.new("RGB", (40, 24)).save(tmp_path / "a.png")
    assert prepared(binary, folder, tmp_path / "a.png").returncode == 0


def test_the_bundle_and_then_the_request_say_how_pictures_are_read(
    binary: Path, bundle: Path, copied: Copied, tmp_path: Path
) -> None:
    assert json.loads((bundle / "manifest.json").read_text())["pictures"] == {"turn": True}
    exif = Image.Exif()
    exif[0x0112] = 6
    rng = np.random.default_rng(5)
    picture = Image.fromarray(rng.integers(0, 256, (24, 40, 4), dtype=np.uint8))
    picture.save(tmp_path / "photo.png", exif=exif)
    stored = copied(lambda manifest: manifest.update(pictures={"turn": False}))
    seen, raw = (
        np.frombuffer(prepared(binary, folder, tmp_path / "photo.png").stdout, np.float32)
        for folder in (bundle, stored)
    )
    recipe = Bundle.open(bundle).processor().image
    for found, turn in ((seen, True), (raw, False)):
        expected = recipe(open_picture(tmp_path / "photo.png", turn=turn))
        np.testing.assert_array_equal(found, expected.ravel())

    def logits(folder: Path, name: str, **keys: bool) -> bytes:
        asked = {"id": "1", "image": str(tmp_path / "photo.png"), "before": [5], "after": [6]}
        asked |= {"max_new_tokens": 1, "logits": str(tmp_path / f"{name}.f32"), **keys}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(asked) + "\n")
        command = [str(binary), "--bundle", str(folder), "--threads", "1"]
        command += ["--requests", str(tmp_path / f"{name}.jsonl")]
        answers = ["--answers", str(tmp_path / f"{name}.answers")]
        subprocess.run([*command, *answers], check=True, timeout=60)
        return (tmp_path / f"{name}.f32").read_bytes()

    turned = logits(bundle, "turned")
    assert logits(bundle, "stored", turn=False) != turned
    assert logits(stored, "by-bundle") == logits(bundle, "stored-again", turn=False)
    assert logits(stored, "turned-again", turn=True) == turned


def test_json_is_read_and_refused_as_in_python(
    binary: Path, bundle: Path, copied: Copied, tmp_path: Path
) -> None:
    folder = copied()
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["manifest_sha256"]  # as bundles of earlier versions
    head = json.dumps(manifest)[:-1]
    Image.new("RGB", (40, 24)).save(tmp_path / "a.png")

    def opened(text: bytes) -> int:
        file.write_bytes(text)
        done = prepared(binary, folder, tmp_path / "a.png")
        assert done.returncode in (0, 2), done.stderr
        assert done.returncode == 0 or b"manifest.json" in done.stderr
        return done.returncode

    for name, value in SOUND.items():
        assert opened(f'{head}, "value": {value}}}'.encode()) == 0, name
    for name, value in REFUSED.items():
        assert opened(f'{head}, "value": {value}}}'.encode()) == 2, name
    for name, whole in MARKED.items():
        start, end = whole[: whole.index(b"{")], whole[whole.index(b"{") + 1 : -1]
        more = b", " + end if end else b""
        assert opened(start + head.encode() + more + b"}") == 2, name


def test_manifests_of_other_sizes_and_kinds_are_not_read(
    binary: Path, copied: Copied, tmp_path: Path
) -> None:
    folder = copied()
    Image.new("RGB", (40, 24)).save(tmp_path / "a.png")
    file = folder / "manifest.json"
    with file.open("r+b") as handle:
        handle.truncate(5_000_000_000)  # no block of it is on the disk
    refused(binary, folder, "5000000000 bytes")
    file.unlink()
    os.mkfifo(file)
    refused(binary, folder, "is no file")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("image", "size", 1_000_000_000),
        ("image", "size", 0),
        ("image", "std", [0.0, 1.0, 1.0]),
        ("shapes", "vocab_size", 10**15),
        ("shapes", "num_image_tokens", -1),
        ("limits", "max_context", 10**15),
    ],
)
def test_numbers_of_a_manifest_have_ranges(
    binary: Path, copied: Copied, part: str, key: str, value: Any
) -> None:
    folder = copied(lambda manifest: manifest[part].update({key: value}))
    refused(binary, folder, key)
