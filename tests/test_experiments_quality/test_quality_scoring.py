"""The comparison's scores: packed batches give every question what it gets alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from experiments.quality.arms import ARMS, LONGER, SETTINGS, VARIANTS, overrides_of
from experiments.quality.run import Run, collect, overrides, wanted
from experiments.quality.scoring import score
from experiments.quality.tasks import TASKS
from hydra_mobile.config import load_config
from hydra_mobile.models.templates import IGNORE_INDEX, Turn
from hydra_mobile.runtimes.torch import load_artifact

ANSWERS = ("yes", "no", "a red car", "12")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    records = []
    # Questions about the two pictures are mixed, so that rows hold them in another order.
    for number in range(9):
        name = f"{number % 2}.png"
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        if not (tmp_path / name).exists():
            Image.fromarray(pixels).save(tmp_path / name)
        question = {"from": "human", "value": f"<image>\nIs there a {number}?"}
        answer = {"from": "gpt", "value": ANSWERS[number % len(ANSWERS)]}
        records.append({"id": f"q{number}", "image": name, "conversations": [question, answer]})
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "seen.json").write_text(json.dumps(records))
    return tmp_path


def test_a_packed_question_is_scored_as_it_is_alone(tiny_base: Path, data: Path) -> None:
    scored = score(tiny_base, data, ("seen",))["seen"]
    assert scored.keys == [f"q{n}" for n in range(9)]
    model, processor = load_artifact(tiny_base)
    for number, (right, loss) in enumerate(zip(scored.right, scored.loss, strict=True)):
        turn = Turn(f"Is there a {number}?", ANSWERS[number % len(ANSWERS)])
        encoded = processor.encode_record([turn], with_image=True)
        ids = torch.tensor([[*encoded.prefix, *encoded.ids]])
        labels = torch.tensor([[IGNORE_INDEX] * len(encoded.prefix) + list(encoded.labels)])
        pixels = processor.preprocess(Image.open(data / f"{number % 2}.png"))[None]
        with torch.inference_mode():
            logits = model(
                input_ids=ids, labels=labels, pixel_values=torch.from_numpy(pixels)
            ).logits
        targets = labels[labels != IGNORE_INDEX]
        assert loss == pytest.approx(float(functional.cross_entropy(logits, targets)), abs=2e-3)
        assert right == bool((logits.argmax(-1) == targets).all())


def test_the_main_comparison_comes_first_and_every_arm_is_a_configuration(tmp_path: Path) -> None:
    runs = wanted(["emojiqa"], list(SETTINGS), list(ARMS), 2)
    assert {run.arm for run in runs[:8]} == {"uniform", "hydra"}
    assert len(runs) == len(set(runs)) == 2 * len(SETTINGS) * len(ARMS)
    for arm in {**ARMS, **VARIANTS}:
        for setting in SETTINGS:
            run = Run("emojiqa", setting, arm, 3)
            config = load_config(None, overrides(run, tmp_path, tmp_path, 1.1))
            assert config.seed == 3
            assert config.ranks.r_ref == SETTINGS[setting].r_ref
    narrow = overrides_of("coarse_fine_narrow", SETTINGS["moderate"], tmp_path)
    assert narrow[-1] == "ranks.r_min=8"
    longer = overrides(Run("emojiqa", "low", LONGER, 0), tmp_path, tmp_path, 1.1)
    assert f"stage2.steps={round(TASKS['emojiqa'].steps * 1.1)}" in longer


def test_what_is_scored_is_collected_and_the_rest_is_not(tmp_path: Path) -> None:
    run = Run("emojiqa", "low", "uniform", 0)
    folder = tmp_path / run.name
    folder.mkdir(parents=True)
    split = {"keys": ["a-yesno", "b-class"], "pictures": ["x/1.png", "x/1.png"]}
    summary = {
        "parameters": {},
        "precision": "fp32",
        "device": "cpu",
        "steps": {},
        "probes": {},
        "seconds": {"stage2": 1.0},
        "peak_memory_bytes": 1,
    }
    scored = {
        "summary": summary,
        "splits": {"seen": {**split, "right": [True, False], "loss": [0.5, 1.5]}},
        "rank_events": [],
        "loss_curve": [[1, 2.0]],
    }
    (folder / "score.json").write_text(json.dumps(scored))
    result = collect(tmp_path, [run, Run("emojiqa", "low", "hydra", 0)], 1.1)
    (cell,) = result["runs"]
    assert cell["splits"]["seen"] == {"right": "10", "loss": 1.0}
    asked = result["questions"]["emojiqa"]["seen"]
    assert asked == {
        "count": 2,
        "pictures": "0 0",
        "kinds": "0 1",
        "kind_names": ["yesno", "class"],
    }
