"""Runs whose last steps see the 4 bits of export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import hydra_mobile as hm
from hydra_mobile.adapters.int4_grid import round_nearest
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.loading import load_model
from hydra_mobile.runtimes.base import CacheState
from hydra_mobile.training.run import TrainingRun

Settings = Callable[[Path], list[str]]
QAT = ("data.stage1=", "stage2.qat=int4", "stage2.qat_share=0.5", "stage2.learning_rate=0.01")


def silent(line: str) -> None:
    return


@pytest.fixture(scope="module")
def run(run_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> hm.Run:
    folder = tmp_path_factory.mktemp("qat") / "run"
    return hm.train(None, *run_settings(folder), *QAT, log=silent)


@pytest.mark.slow
def test_the_bundle_has_the_weights_that_training_saw(run: hm.Run, tmp_path: Path) -> None:
    record = json.loads((run.path / "adapter" / "hydra.json").read_text())
    assert record["trained_for"] == "int4"
    lines: list[str] = []
    bundle = hm.export(run, runtime="onnx", preset="int4", out=tmp_path / "b", log=lines.append)
    assert any("trained for int4" in line for line in lines)
    manifest = bundle.manifest
    assert manifest["preset"]["rounding"] == "nearest"
    assert "mixed_precision" not in manifest["details"].get("quantization", {})
    # What torch computes with the rounded merged weights is what the program computes.
    ids = [5, 9, 3, 7]
    model = load_model(run.path / "merged")

    def logits() -> np.ndarray:
        with torch.no_grad():
            output = model.language_model(input_ids=torch.tensor([ids]))
        found: np.ndarray = output.logits[0, -1].numpy()
        return found

    unrounded = logits()
    for module in model.language_model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.weight.data = round_nearest(module.weight.detach(), 32).values()
    program = hm.load(bundle).runtime
    found, _ = program.decode(program.embed(ids), CacheState())
    # What is left between them are the 8 bits of the inputs.
    assert np.abs(found - logits()).mean() < 0.5 * np.abs(found - unrounded).mean()


def test_an_adapter_by_itself_is_refused(run: hm.Run, tmp_path: Path) -> None:
    with pytest.raises(hm.HydraError, match="trained for int4"):
        hm.export(run, runtime="onnx", adapter="separate", out=tmp_path / "b", log=silent)


def test_a_resumed_run_ends_where_a_whole_one_does(
    run: hm.Run, run_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*run_settings(tmp_path / "cut"), *QAT]
    save = TrainingRun._save

    def save_and_stop(self: TrainingRun, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if self._place.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "_save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            hm.train(None, *settings, log=silent)
    hm.train(None, *settings, resume=True, log=silent)
    for file in ("adapter_model.safetensors", "projector.safetensors"):
        whole = (run.path / "adapter" / file).read_bytes()
        assert (tmp_path / "cut" / "adapter" / file).read_bytes() == whole, file


def test_the_best_step_is_one_that_saw_4_bits(run_settings: Settings, tmp_path: Path) -> None:
    settings = run_settings(tmp_path / "run")
    lines: list[str] = []
    more = ("data.validation=0.3", "runtime.evaluate_every=1", "runtime.sample_answers=0")
    made = hm.train(None, *settings, *QAT, *more, log=lines.append)
    best = made.summary["validation"]["best_step"]
    assert best > 3
    assert sum("before 4 bits" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("ranks.policy=adalora", "ranks.policy"),
        ("ranks.policy=full", "ranks.policy"),
        ("ranks.dropout=0.1", "ranks.dropout"),
        ("runtime.base_precision=4bit", "runtime.base_precision"),
        ("runtime.compile=true", "runtime.compile"),
        ("runtime.distributed=fsdp", "runtime.distributed"),
        ("stage1.qat=int4", "stage1.qat"),
    ],
)
def test_what_it_does_not_go_with_is_refused_by_name(
    run_settings: Settings, tmp_path: Path, more: str, key: str
) -> None:
    with pytest.raises(ConfigError, match=key):
        hm.train(None, *run_settings(tmp_path / "run"), *QAT, more, log=silent)
