from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from manifests import edited_manifest
from PIL import Image

from hydra_export.export import export_bundle
from hydra_export.targets import TARGETS, Limits, TargetResult, target_for
from hydra_mobile.api.model import load
from hydra_mobile.bundle.bundle import SCHEMA, Bundle, write_manifest
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.bundle.presets import preset_named
from hydra_mobile.bundle.tolerance import tolerance_of
from hydra_mobile.core.errors import ArtifactError, DataError, HydraError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.models.processor import MobileVLMProcessor


@pytest.fixture
def bundle(tiny_merged: Path, tmp_path: Path) -> Path:
    """A bundle whose program is a few bytes: nothing here runs it."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"program")
    write_manifest(
        folder,
        target="android",
        runtime="executorch",
        preset=preset_named("int4"),
        limits=Limits(64, 16),
        shapes={"vocab_size": 320, "hidden_size": 64, "layers": 2, "image_size": 32},
        processor=MobileVLMProcessor.from_pretrained(tiny_merged),
        result=TargetResult({"program": "model.bin"}, {"attention": "custom"}, ["a fallback"]),
        other_files={},
        sources={"base": "tiny"},
        requires=TARGETS["android"].requires,
    )
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with edited_manifest(folder) as manifest:
        change(manifest)


def test_reads_back_what_was_written(bundle: Path, tiny_merged: Path) -> None:
    opened = Bundle.open(bundle)
    assert (opened.target, opened.runtime) == ("android", "executorch")
    assert opened.preset == preset_named("int4")
    assert opened.limits == Limits(64, 16)
    assert opened.file("program").read_bytes() == b"program"
    assert opened.manifest["fallbacks"] == ["a fallback"]
    original = MobileVLMProcessor.from_pretrained(tiny_merged)
    assert opened.processor().to_dict() == original.to_dict()
    assert opened.processor().prompt("a cat") == original.prompt("a cat")


def test_format_is_pinned(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    assert manifest["schema"] == SCHEMA == 1
    assert set(manifest) == {
        *("schema", "created", "target", "runtime", "preset", "tolerance", "limits", "shapes"),
        *(
            "template",
            "image",
            "pictures",
            "stop_ids",
            "files",
            "versions",
            "sources",
            "details",
            "fallbacks",
        ),
        *("requires", "manifest_sha256"),
    }
    assert manifest["requires"] == {"abis": ["arm64-v8a", "x86_64"], "android_api": 26}
    assert manifest["tolerance"] == tolerance_of(manifest["preset"]).to_dict()
    assert set(manifest["files"]["model.bin"]) == {"sha256", "bytes", "role"}
    assert manifest["files"]["tokenizer.json"]["role"] == "tokenizer"


def test_refuses_a_file_of_the_same_size_with_another_hash(bundle: Path) -> None:
    expected = Bundle.open(bundle).manifest["files"]["model.bin"]["sha256"]
    (bundle / "model.bin").write_bytes(b"Program")
    with pytest.raises(ArtifactError) as error:
        Bundle.open(bundle)
    assert "model.bin" in error.value.what
    assert expected in error.value.what
    Bundle.open(bundle, verify_hashes=False)


def test_refuses_a_truncated_file_even_without_hashes(bundle: Path) -> None:
    (bundle / "model.bin").write_bytes(b"pro")
    with pytest.raises(ArtifactError, match=r"model\.bin.* 3 .* 7"):
        Bundle.open(bundle, verify_hashes=False)


def test_refuses_a_missing_file(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer\.json.*missing"):
        Bundle.open(bundle)


def test_refuses_a_missing_or_broken_manifest(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="folder"):
        Bundle.open(tmp_path / "nothing")
    (bundle / MANIFEST).write_text("{")
    with pytest.raises(ArtifactError, match="JSON"):
        Bundle.open(bundle)
    (bundle / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json.*missing"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=2), "`schema` is 2, expected 1"),
        (lambda m: m.pop("limits"), "`limits` is None"),
        (lambda m: m["files"].update({"../x": m["files"]["model.bin"]}), "outside of its folder"),
        (lambda m: m["files"].update({"C:\\x": m["files"]["model.bin"]}), "outside of its folder"),
        (lambda m: m["files"].update({"/etc/x": m["files"]["model.bin"]}), "outside of its folder"),
        (lambda m: m["files"].update({"a\0b": m["files"]["model.bin"]}), "expected the name"),
        (lambda m: m["files"].pop("tokenizer.json"), "does not list tokenizer.json"),
        (lambda m: m["files"].update({"model.bin": 3}), "model.bin"),
        (lambda m: m["files"]["model.bin"].update(bytes="7"), "bytes"),
        (lambda m: m["preset"].update(kv_cache="w8"), "preset.*kv_cache"),
        (lambda m: m["preset"].update(decoder="w3"), "decoder.*w3"),
        (lambda m: m["limits"].update(max_images=4), "limits.*max_images"),
        (lambda m: m["limits"].pop("max_prefill"), "limits.*max_prefill"),
        (lambda m: m["limits"].update(max_context="long"), "limits.*max_context"),
        (lambda m: m["template"].update(system="x"), "template.*system"),
        (lambda m: m["image"].update(tiles=4), "image.*tiles"),
        (lambda m: m["shapes"].update(vocab_size="many"), "vocab_size"),
        (lambda m: m["shapes"].pop("num_image_tokens"), "num_image_tokens"),
    ],
)
def test_refuses_an_altered_manifest(
    bundle: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(bundle, change)
    with pytest.raises(ArtifactError, match=message):
        Bundle.open(bundle)


def test_a_hub_cache_of_links_opens(bundle: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "hub/snapshots/abc", tmp_path / "hub/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in bundle.iterdir():
        blob = blobs / sha256_of(file)
        shutil.copyfile(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    assert Bundle.open(snapshot).file("program").read_bytes() == b"program"
    (blobs / sha256_of(bundle / "model.bin")).write_bytes(b"Program")
    with pytest.raises(ArtifactError, match=r"model\.bin"):
        Bundle.open(snapshot)


def test_names_the_roles_when_one_is_missing(bundle: Path) -> None:
    with pytest.raises(ArtifactError, match="program"):
        Bundle.open(bundle).file("golden")


def test_every_registered_target_resolves() -> None:
    for target, platform in TARGETS.items():
        for runtime in platform.runtimes:
            assert target_for(target, runtime).runtime == runtime


@pytest.mark.parametrize(
    ("target", "runtime", "message"),
    [
        ("andriod", None, "Did you mean `android`"),
        ("android", "onx", "Did you mean `onnx`"),
    ],
)
def test_unknown_target_or_runtime_lists_the_valid(
    target: str, runtime: str | None, message: str
) -> None:
    with pytest.raises(HydraError, match=message):
        target_for(target, runtime)


def export(merged: Path, out: Path, **changes: Any) -> Bundle:
    arguments: dict[str, Any] = {
        "target": "android",
        "runtime": "executorch",
        "preset": "fp32",
        "golden_inputs": [],
    }
    return export_bundle(merged, out=out, **(arguments | changes))


def test_export_refuses_before_it_starts(tiny_merged: Path, tmp_path: Path) -> None:
    with pytest.raises(HydraError, match="`int5`"):
        export(tiny_merged, tmp_path / "b", preset="int5")
    with pytest.raises(ArtifactError, match=r"model\.safetensors.*missing"):
        export(tmp_path, tmp_path / "b")
    with pytest.raises(DataError, match="image"):
        export(tiny_merged, tmp_path / "b")
    with pytest.raises(HydraError, match="max_prefill=64"):
        Limits(64, 64)
    assert not (tmp_path / "b").exists()


def test_export_leaves_a_folder_that_is_no_bundle_alone(tiny_merged: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"precious.*thesis"):
        export(tiny_merged, tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "mine"


def test_export_says_when_the_disk_is_full(
    tiny_merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(HydraError, match=r"(?i)space.*bundle b"):
        export(tiny_merged, tmp_path / "b")


def test_export_refuses_truncated_weights(tiny_merged: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny_merged, tmp_path / "broken"))
    data = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="broken"):
        export(broken, tmp_path / "b")


def test_delegation_reaches_the_report(fp32_bundle: Path) -> None:
    from hydra_mobile.evaluation.results.rows import bundle_facts

    delegation, _ = bundle_facts(fp32_bundle)
    assert delegation is not None
    assert delegation.nodes is not None
    assert 0.0 < delegation.nodes <= 1.0


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("limits", "max_context", 10**12),
        ("shapes", "num_image_tokens", 10**12),
        ("shapes", "vocab_size", 10**12),
        ("image", "size", 50_000),
        ("image", "std", [1e-300, 1.0, 1.0]),
        ("image", "mean", [1e300, 0.0, 0.0]),
        ("pictures", "turn", "no"),
    ],
)
def test_numbers_from_which_memory_is_taken_have_ranges(
    copied: Callable[[], Path], part: str, key: str, value: Any
) -> None:
    folder = copied()
    with edited_manifest(folder) as manifest:
        manifest[part][key] = value
    with pytest.raises(HydraError, match=key if part != "pictures" else part):
        Bundle.open(folder)


@pytest.mark.parametrize("runtime", ["onnx", "executorch"])
def test_a_manifest_for_other_programs_is_told(
    exported: Callable[..., Path], tmp_path: Path, runtime: str
) -> None:
    folder = Path(shutil.copytree(exported(runtime), tmp_path / "copy"))
    image = Image.new("RGB", (40, 30))
    for part, key, value in (("image", "size", 64), ("shapes", "num_image_tokens", 9)):
        with edited_manifest(folder) as manifest:
            before, manifest[part][key] = manifest[part][key], value
        with pytest.raises(HydraError, match="export the bundle again"):
            load(folder).ask(image, "What is it?", max_new_tokens=2)
        with edited_manifest(folder) as manifest:
            manifest[part][key] = before
