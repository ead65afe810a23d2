"""The published recipe, both stages, by its own file: only the sizes are small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from original_checkpoints import write_original
from PIL import Image

from hydra_mobile.config import load_config
from hydra_mobile.runtimes.torch import load_artifact
from hydra_mobile.training.run import TrainingRun

CONFIG = Path(__file__).parents[2] / "hydra_mobile" / "configs" / "mobilevlm-1.7b.yaml"


def record(index: int, image: str | None, *turns: str) -> dict[str, object]:
    texts = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(turns)]
    return {"id": str(index), "conversations": texts} | ({"image": image} if image else {})


@pytest.fixture
def data(tmp_path) -> Path:
    """LLaVA's two files: captions, and a mix with text-only, over-long and unlearnable records."""
    folder = tmp_path / "data"
    folder.mkdir()
    for index in range(6):
        size = (60 + 10 * index, 40)
        Image.new("RGB", size, (40 * index, 90, 60)).save(folder / f"{index}.jpg")
    captions = [
        record(i, f"{i}.jpg", "Describe the picture.\n<image>", f"a drawing, number {i}")
        for i in range(6)
    ]
    mix = [
        record(i, f"{i}.jpg", "<image>\nIs it red?", "yes", "And large?", f"number {i}, no")
        for i in range(6)
    ]
    mix += [record(10 + i, None, f"What is {i} and {i}?", f"It is {2 * i}.") for i in range(4)]
    mix.append(record(20, None, "Repeat.", "again and " * 300))
    mix.append(record(22, None, "And?", " "))
    mix.append(record(21, None, "What did it say?", "It said USER: a ASSISTANT: b"))
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "mix.json").write_text(json.dumps(mix))
    return folder


def test_the_published_file_trains_a_checkpoint_as_it_is(tmp_path, data):
    write_original(tmp_path / "checkpoint", "ldpnet", "sharded-bin")
    lines: list[str] = []
    settings = [
        f"base={tmp_path / 'checkpoint'}",
        f"output={tmp_path / 'run'}",
        f"data.stage1={data / 'captions.json'}",
        f"data.stage2={data / 'mix.json'}",
        "data.max_length=200",
        "stage1.batch_size=3",
        "stage2.batch_size=2",
        "ranks.policy=coarse_fine",
        "ranks.importance=calibration",
        "ranks.calibration_batches=2",
        "ranks.r_ref=16",
        "ranks.alpha_ref=32",
        "runtime.precision=fp32",
        "runtime.workers=2",
    ]
    run = TrainingRun(load_config(CONFIG, settings))
    run._say = lines.append  # type: ignore[method-assign]
    adapter = run.train()

    said = " ".join(lines)
    assert "data.max_length" in said
    assert "1 malformed" in said
    assert "1 left out because LLaVA's mask" in said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    # Three captions a step; of the mix, pictures and texts never share a batch: 3 and 3.
    assert summary["steps"] == {"stage1": 2, "stage2": 6}
    assert summary["conversations"]["stage2"] == 11
    assert summary["parameters"]["lora"] <= summary["parameters"]["budget"]
    _, processor = load_artifact(adapter.parent)
    assert (processor.template.name, processor.image.fit) == ("v1", "pad")
    stage1 = run.data.rows["stage1"][0]
    assert len(stage1.prefix) == 1 + processor.num_image_tokens
    stage2 = run.data.rows["stage2"][0]
    assert processor.tokenizer.decode(list(stage2.segments[0].ids)).endswith("number 0, no")
