"""A second export of one model takes rounded weights and golden vectors from the first."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import target_bundles
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hydra_export.export import export_bundle
from hydra_export.training_data import TrainingData
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.presets import Preset, preset_named

REUSED = "of an earlier export"
#: Small, with every part that rounding looks at.
INT4 = dataclasses.replace(preset_named("int4"), sensitive=None, budget=None)


@pytest.fixture(scope="module")
def first(
    tiny_merged: Path, shapes_data: Path, golden_inputs: Any, tmp_path_factory: Any
) -> tuple[Path, Bundle]:
    """A cache after one export, and the bundle that it made."""
    pytest.importorskip("onnx", reason="needs the extra [onnx]")
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_MOBILE_HOME", str(folder / "home"))
        model = Path(shutil.copytree(tiny_merged, folder / "model"))
        bundle, reused = exported(model, shapes_data / "questions.json", golden_inputs)
    assert reused == set()
    return folder / "home", bundle


@pytest.fixture(autouse=True)
def home(first: tuple[Path, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that cache."""
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(first[0], tmp_path / "home"))


@pytest.fixture
def model(tiny_merged: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_merged, tmp_path / "model"))


@pytest.fixture
def data(shapes_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes_data, tmp_path / "data")) / "questions.json"


def exported(
    model: Path,
    data: Path | None,
    inputs: Any,
    runtime: str = "onnx",
    preset: Preset = INT4,
) -> tuple[Bundle, set[str]]:
    """Export; return the bundle and which of "weights" and "vectors" are of an earlier export."""
    said: list[str] = []
    bundle = export(model, data, inputs, runtime, preset, said.append)
    return bundle, reused_in(said)


def export(
    model: Path,
    data: Path | None,
    inputs: Any,
    runtime: str,
    preset: Preset,
    log: Callable[[str], object],
) -> Bundle:
    number = len(list(model.parent.glob("bundle-*")))
    return export_bundle(
        model,
        target=target_bundles.platform_of(runtime),
        runtime=runtime,
        preset=preset,
        out=model.parent / f"bundle-{number}",
        golden_inputs=inputs,
        limits=target_bundles.LIMITS,
        calibrate=TrainingData(data) if data else None,
        min_fast_path=0.0,
        log=log,
    )


def reused_by(model: Path, data: Path | None, inputs: Any, preset: Preset = INT4) -> set[str]:
    """Return what an export takes from an earlier one; it ends as soon as it has said so."""
    said: list[str] = []

    def log(line: str) -> None:
        said.append(line)
        if "4-bit weights" in line or line.startswith("Rounding to 4 bits"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(model, data, inputs, "onnx", preset, log)
    return reused_in(said)


def reused_in(said: list[str]) -> set[str]:
    reused = " ".join(line for line in said if REUSED in line)
    return {what for what in ("weights", "vectors") if what in reused}


def contents(bundle: Bundle) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in bundle.manifest["files"].items()}


def test_a_second_export_is_the_same_bundle(first, model, data, golden_inputs) -> None:
    # The model, the data and the cache lie elsewhere now.
    second, reused = exported(model, data, golden_inputs)
    assert reused == {"weights", "vectors"}
    assert contents(second) == contents(first[1])
    details = second.manifest["details"]["quantisation"]
    assert details == first[1].manifest["details"]["quantisation"]


@pytest.mark.slow  # ExecuTorch takes half a minute to lower a program of any size
def test_another_runtime_takes_them(first, model, data, golden_inputs) -> None:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    second, reused = exported(model, data, golden_inputs, "executorch")
    assert reused == {"weights", "vectors"}
    names = {name for name in contents(first[1]) if name.startswith("golden")}
    assert len(names) == 2 + len(golden_inputs)
    assert all(contents(first[1])[name] == contents(second)[name] for name in names)
    details = second.manifest["details"]["quantisation"]
    assert details == first[1].manifest["details"]["quantisation"]


def change_weight(model: Path, data: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors["language_model.model.layers.1.mlp.down_proj.weight"][3, 5] += 0.01
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def change_config(model: Path, data: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["rms_norm_eps"] = 1e-4
    (model / "config.json").write_text(json.dumps(config))


def change_pictures(model: Path, data: Path) -> None:
    for path in data.parent.glob("*.png"):
        picture = np.array(Image.open(path).convert("RGB"))
        picture[:4] //= 2
        Image.fromarray(picture).save(path)


def change_answer(model: Path, data: Path) -> None:
    data.write_text(data.read_text().replace("yes", "yes, it is"))


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (change_weight, set()),
        (change_config, set()),
        (change_pictures, {"vectors"}),
        (change_answer, {"vectors"}),
    ],
)
def test_another_model_and_other_data_are_rounded(model, data, golden_inputs, change, kept) -> None:
    change(model, data)
    assert reused_by(model, data, golden_inputs) == kept


def test_text_that_the_model_writes_is_other_data(model, golden_inputs) -> None:
    assert exported(model, None, golden_inputs)[1] == {"vectors"}
    assert reused_by(model, None, golden_inputs) == {"weights", "vectors"}


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ({"group_size": 16}, {"vectors"}),
        ({"embedding": "w8"}, {"vectors"}),
        # It decides what the budget leaves for the decoder.
        ({"vision": "fp16"}, {"vectors"}),
        ({"sensitive": "w8a8", "budget": 0.5}, {"vectors"}),
        # A name decides nothing.
        ({"name": "mine"}, {"weights", "vectors"}),
    ],
)
def test_another_grid_is_rounded(model, data, golden_inputs, other, kept) -> None:
    preset = dataclasses.replace(INT4, **other)
    assert reused_by(model, data, golden_inputs, preset) == kept


@pytest.mark.parametrize("what", ["question", "picture", "fewer"])
def test_other_questions_have_other_vectors(model, data, golden_inputs, what) -> None:
    (picture, question), *others = golden_inputs
    inputs = {
        "question": [(picture, f"{question}!"), *others],
        "picture": [(picture.point(lambda value: value // 2), question), *others],
        "fewer": others,
    }
    assert reused_by(model, data, inputs[what]) == {"weights"}


@pytest.mark.parametrize("shelf", ["rounded", "golden"])
def test_a_damaged_file_is_made_anew(first, model, data, golden_inputs, home, shelf) -> None:
    (file,) = (home / shelf).rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    second, reused = exported(model, data, golden_inputs)
    assert reused == {"vectors" if shelf == "rounded" else "weights"}
    assert contents(second) == contents(first[1])
    assert reused_by(model, data, golden_inputs) == {"weights", "vectors"}


def test_codes_are_packed_and_unpacked() -> None:
    from hydra_mobile.adapters.int4_grid import packed, unpacked

    codes = torch.arange(-8, 8, dtype=torch.int8).repeat(3, 2)
    assert packed(codes).shape == (3, 16)
    assert torch.equal(unpacked(packed(codes)), codes)
