"""Where answers lie: apart for whatever would make them other answers."""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.evaluation.store.shards import WHOLE
from hydra_mobile.evaluation.store.work_dir import ArtifactDir
from hydra_mobile.runtimes.model_ref import ModelRef


def _artifact(runner: str, digest: str = "of these weights") -> ModelRef:
    return ModelRef(Path("model"), "merged", runner, "a model", "fp32", 1, digest)


def _home(artifact: ModelRef, root: Path, device: str = "cpu") -> str:
    return ArtifactDir.prepare(artifact, [], root, WHOLE, device).folder.name


def test_answers_of_a_gpu_are_not_taken_for_those_of_the_processor(tmp_path: Path) -> None:
    torch = _artifact("torch")
    assert _home(torch, tmp_path, "cuda:0") == _home(torch, tmp_path) + "-cuda"
    # The processes of a group each have a GPU of their own and one folder.
    assert _home(torch, tmp_path, "cuda:1") == _home(torch, tmp_path, "cuda:0")


def test_the_torch_device_is_nothing_to_a_bundle(tmp_path: Path) -> None:
    onnx = _artifact("onnx")
    assert _home(onnx, tmp_path, "cuda:0") == _home(onnx, tmp_path)


def test_other_weights_lie_elsewhere(tmp_path: Path) -> None:
    assert _home(_artifact("onnx"), tmp_path) != _home(_artifact("onnx", "of others"), tmp_path)
