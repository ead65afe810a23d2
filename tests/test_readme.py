"""The five lines that the documentation promises, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from peft import PeftModel
from trainer_models import arguments, llava, pictures

DOCUMENT = Path(__file__).parents[1] / "docs" / "hydra_in_your_trainer.md"


def blocks(document: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


def test_the_snippets_train_save_and_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, again = blocks(DOCUMENT)
    names = {
        "model": llava(),
        "args": arguments(tmp_path / "run", max_steps=20, save_strategy="steps", save_steps=10),
        "data": pictures((3, 16, 16), 4),
    }
    exec(first, names)
    assert len(set(names["hydra"].rank_map.values())) > 1
    PeftModel.from_pretrained(llava(), "adapter")
    ranks = names["hydra"].rank_map
    exec(
        again,
        names
        | {"model": llava(), "folder": str(tmp_path / "run" / "checkpoint-10")}
        | ({"Trainer": names["Trainer"]}),
    )
    assert names["hydra"].rank_map == ranks
