"""What is left when an export cannot finish: the bundle that was there before, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hydra_export.export import export_bundle
from hydra_export.targets import Limits, TargetResult
from hydra_mobile.bundle.bundle import Bundle, write_manifest
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.bundle.presets import Preset, preset_named
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.processor import MobileVLMProcessor

_EXPORT = """
import sys
from pathlib import Path
from PIL import Image
from hydra_export.export import export_bundle
from hydra_export.targets import Limits

def log(line):
    print(line, flush=True)
    if line.startswith(sys.argv[3]):
        sys.stdin.read()  # waits to be killed

export_bundle(
    Path(sys.argv[1]), target="android", runtime="onnx", preset="fp32", out=Path(sys.argv[2]),
    golden_inputs=[(Image.new("RGB", (40, 24), "red"), "What is in the image?")],
    limits=Limits(80, 16), log=log,
)
"""


def old_bundle(folder: Path, merged: Path) -> str:
    """Write a bundle of an earlier export; returns its manifest's text."""
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"old")
    write_manifest(
        folder,
        target="android",
        runtime="onnx",
        preset=preset_named("int4"),
        limits=Limits(64, 16),
        shapes={"vocab_size": 320, "hidden_size": 64, "layers": 2, "image_size": 32},
        processor=MobileVLMProcessor.from_pretrained(merged),
        result=TargetResult({"program": "model.bin"}),
        other_files={},
        sources={},
    )
    return (folder / MANIFEST).read_text()


# A process of its own each. Every day: tests/contracts/test_targets.py interrupts exports.
@pytest.mark.slow
@pytest.mark.parametrize("with_old", [False, True])
@pytest.mark.parametrize("moment", ["golden vectors", "decoder_model_merged.onnx"])
def test_a_killed_export_leaves_no_half_bundle(
    tiny_merged: Path, tmp_path: Path, moment: str, with_old: bool
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    out = tmp_path / "bundle"
    before = old_bundle(out, tiny_merged) if with_old else ""
    command = [sys.executable, "-W", "ignore", "-c", _EXPORT, str(tiny_merged), str(out), moment]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        reached = any(line.startswith(moment) for line in process.stdout)
        process.kill()
    assert reached
    if with_old:
        assert Bundle.open(out).file("program").read_bytes() == b"old"
        assert (out / MANIFEST).read_text() == before
    else:
        with pytest.raises(ArtifactError, match="folder"):
            Bundle.open(out)
    # What the killed process was writing has another name and is no bundle.
    left = [path for path in tmp_path.iterdir() if path != out and path.is_dir()]
    assert left
    for path in left:
        assert path.name.startswith(".bundle.")
        with pytest.raises(ArtifactError, match=r"manifest\.json.*missing"):
            Bundle.open(path)


def test_a_missing_extra_is_named(
    tiny_merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(HydraError, match=r"\[onnx\]"):
        export_bundle(
            tiny_merged,
            target="android",
            runtime="onnx",
            preset="fp32",
            out=tmp_path / "b",
            golden_inputs=[],
        )
    assert not (tmp_path / "b").exists()


def test_a_group_size_without_kernel_is_refused(tiny_merged: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    from PIL import Image

    preset = Preset("odd", "fp32", "fp32", "fp32", "w4a8", "w4a8", group_size=48)
    with pytest.raises(HydraError, match=r"group_size.*48"):
        export_bundle(
            tiny_merged,
            target="android",
            runtime="onnx",
            preset=preset,
            out=tmp_path / "b",
            golden_inputs=[(Image.new("RGB", (40, 24)), "What is in the image?")],
        )
    assert list(tmp_path.iterdir()) == []
