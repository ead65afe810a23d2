"""The Python that docs/hydra_in_your_trainer.md shows, run as it is there."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from peft import PeftModel
from trainer_models import arguments, batches, llava, pictures

from hydra_mobile.adapters import Hydra

DOCUMENT = Path(__file__).parents[1] / "docs" / "hydra_in_your_trainer.md"


def blocks(document: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


def test_the_snippets_train_save_and_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, again, _ = blocks(DOCUMENT)
    names = {
        "model": llava(),
        "args": arguments(tmp_path / "run", max_steps=20, save_strategy="steps", save_steps=10),
        "data": pictures((3, 16, 16), 4),
    }
    exec(first, names)
    assert set(names["hydra"].rank_map.values()) == {16}  # too short a run for ranks to move
    PeftModel.from_pretrained(llava(), "adapter")
    ranks = names["hydra"].rank_map
    exec(
        again,
        names
        | {"model": llava(), "folder": str(tmp_path / "run" / "checkpoint-10")}
        | ({"Trainer": names["Trainer"]}),
    )
    assert names["hydra"].rank_map == ranks


def test_the_loop_without_a_trainer_moves_ranks():
    *_, loop = blocks(DOCUMENT)
    model = llava()
    hydra = Hydra(
        model, r_ref=16, alpha_ref=32, targets=".*language_model.*_proj", start="coarse_fine"
    )
    data = batches(pictures((3, 16, 16), 4))
    trained = [p for p in model.parameters() if p.requires_grad]
    names = {
        "model": model,
        "hydra": hydra,
        "optimizer": torch.optim.AdamW(trained, lr=1e-3),
        "batches": data,
        "probe_batches": data[:4],
        "held_out": data[-2:],
        "steps": 14,
    }
    exec(loop, names)
    assert len(set(hydra.rank_map.values())) > 1
    assert not hydra.waits
