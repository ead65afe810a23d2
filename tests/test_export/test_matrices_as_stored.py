"""Exports of models in half precision leave matrices in the file, and write equal bundles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import target_bundles
import tiny_families
import torch
from safetensors.torch import load_file, save_file

import hydra_export.load
from hydra_export.load import load_for_export
from hydra_mobile.core.model_folder import weight_files
from hydra_mobile.core.safetensors_io import places
from hydra_mobile.models.registry import fetch

#: What a bundle says of its making, beside what was made.
_OF_ITS_MAKING = ("README.md", "manifest.json")
FAMILIES = {
    "MobileVLM": tiny_families.mobilevlm,
    "SmolVLM": tiny_families.smolvlm,
    "InternVL": tiny_families.internvl,
    "DeepSeek-VL": tiny_families.deepseek_vl,
}


def in_half(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Store the weights of a checkpoint in half precision."""
    for file in weight_files(folder):
        tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def half_tiny(tmp_path: Path) -> Path:
    return in_half(Path(shutil.copytree(fetch("tiny"), tmp_path / "half")))


def exported(
    monkeypatch: pytest.MonkeyPatch, large: int, base: Path, out: Path, inputs: Any, *what: str
) -> dict[str, bytes]:
    """Export with another limit of what is large; return the files that were made."""
    # Weights that an earlier export rounded would be taken from its cache.
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(out.with_name(f"home-{out.name}")))
    monkeypatch.setattr(hydra_export.load, "LARGE", large)
    target_bundles.export(*what, base, out, inputs)
    return {
        str(file.relative_to(out)): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and file.name not in _OF_ITS_MAKING
    }


@pytest.mark.parametrize(
    ("runtime", "preset"),
    [
        ("onnx", "int4"),
        ("onnx", "int8"),
        pytest.param("onnx", "fp32", marks=pytest.mark.slow),
        pytest.param("onnx", "fp16", marks=pytest.mark.slow),
        pytest.param("executorch", "int4", marks=pytest.mark.slow),
        pytest.param("executorch", "int8", marks=pytest.mark.slow),
        pytest.param("executorch", "fp16", marks=pytest.mark.slow),
        pytest.param("executorch", "fp32", marks=pytest.mark.slow),
        pytest.param("coreml", "int8", marks=pytest.mark.slow),
    ],
)
def test_matrices_as_stored_give_the_same_bundle(
    half_tiny: Path,
    golden_inputs: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    preset: str,
) -> None:
    small, large = (
        exported(monkeypatch, limit, half_tiny, tmp_path / name, golden_inputs[:1], runtime, preset)
        for name, limit in (("float32", 10**15), ("stored", 0))
    )
    assert small.keys() == large.keys()
    differ = [name for name in small if small[name] != large[name]]
    # Core ML's packages name their parts by chance; what they compute is in the golden vectors.
    assert not differ or (runtime == "coreml" and all(".ml" in name for name in differ)), differ


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_stored_model_computes_what_its_float32_copy_does(
    family: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAMILIES[family](tmp_path / "base")
    base = in_half(tmp_path / "base", dtype)
    copies, logits = [], []
    for limit in (10**15, 0):
        monkeypatch.setattr(hydra_export.load, "LARGE", limit)
        model, processor = load_for_export(base)
        pixels = torch.rand(
            1, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0)
        )
        prompt = processor.prompt("What is it?")
        ids = torch.tensor([[*prompt.before, *processor.image_ids, *prompt.after]])
        with torch.no_grad():
            logits.append(model(input_ids=ids, pixel_values=pixels).logits)
        held = [weight for weight in model.parameters() if weight.dtype == dtype]
        copies.append(sum(weight.numel() for weight in held))
    assert logits[0].dtype == logits[1].dtype == torch.float32
    assert torch.equal(logits[0], logits[1])
    stored = {name: place for file in weight_files(base) for name, place in places(file).items()}
    matrices = sum(
        torch.Size(place.shape).numel()
        for name, place in stored.items()
        if len(place.shape) == 2 and ("layers" in name and "vision" not in name)
    )
    assert copies[0] == 0
    assert copies[1] >= matrices > 0


def test_a_model_with_any_float32_tensor_is_read_in_float32(
    half_tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hydra_export.load, "LARGE", 0)
    file = weight_files(half_tiny)[0]
    tensors = load_file(file)
    name = next(name for name in tensors if "norm" in name)
    save_file({**tensors, name: tensors[name].float()}, file, metadata={"format": "pt"})
    model, _ = load_for_export(half_tiny)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
