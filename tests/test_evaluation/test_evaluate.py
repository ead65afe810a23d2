from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from hydra_mobile.data.templates import template_named
from hydra_mobile.errors import HydraError
from hydra_mobile.evaluation import evaluate as module
from hydra_mobile.evaluation.artefacts import artefact_at, merged_folder
from hydra_mobile.evaluation.evaluate import Task
from hydra_mobile.evaluation.generation import Generator
from hydra_mobile.evaluation.report import report_on
from hydra_mobile.evaluation.runners.base import CacheState
from hydra_mobile.evaluation.runners.torch import TorchRunner
from hydra_mobile.evaluation.worker import read_answers


@pytest.fixture(scope="module")
def questions(shapes_data: Path, tmp_path_factory) -> Path:
    """An EmojiQA folder with the drawn pictures of `shapes_data`."""
    folder = tmp_path_factory.mktemp("emojiqa")
    lines = []
    for number in range(12):
        (folder / f"{number}.png").write_bytes((shapes_data / f"{number}.png").read_bytes())
        for kind, text, answer in (
            ("yesno", "Is there a circle?", ("yes", "no")[number % 2]),
            ("class", "Which colour is it?", ("red", "green", "blue")[number % 3]),
        ):
            lines.append(
                {
                    "question_id": f"seen-{number}-{kind}",
                    "image": f"{number}.png",
                    "text": text,
                    "category": kind,
                    "answer": answer,
                    "name": f"thing {number}",
                    "class": "shape",
                    "meta": {},
                }
            )
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / "test_seen.jsonl").write_bytes(content)
    files = {"test_seen.jsonl": {"sha256": hashlib.sha256(content).hexdigest()}}
    (folder / "emojiqa.json").write_text(json.dumps({"files": files}))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_settings) -> Path:
    from hydra_mobile.config import load_config
    from hydra_mobile.training.run import TrainingRun

    folder = tmp_path_factory.mktemp("evaluated") / "run"
    TrainingRun(load_config(None, run_settings(folder)), Console(quiet=True)).train()
    return folder


@pytest.fixture
def console() -> Console:
    return Console(file=open(os.devnull, "w"))


def test_reusing_the_prefix_does_not_change_an_answer(tiny_base, shapes_data):
    from PIL import Image

    def ask(keys):
        generator = Generator(TorchRunner.load(tiny_base))
        picture = Image.open(shapes_data / "0.png")
        return [
            generator.answer(q, lambda: picture, key, max_new_tokens=5, stop=False)
            for q, key in zip(("What is it?", "Is it red?", "What is it?"), keys, strict=True)
        ]

    shared, alone = ask(["p", "p", "p"]), ask([None, None, None])
    assert [g.ids for g in shared] == [g.ids for g in alone]
    assert shared[1].encode_seconds is None
    assert shared[1].prefill_tokens < alone[1].prefill_tokens


def test_a_caption_begins_right_behind_the_picture(tiny_base, shapes_data):
    from PIL import Image

    runner = TorchRunner.load(tiny_base)
    runner.processor.template = template_named("plain")
    assert runner.processor.prompt("What is it?").after == []

    def caption(generator, key):
        picture = Image.open(shapes_data / "0.png")
        return generator.answer("", lambda: picture, key, max_new_tokens=5, stop=False)

    alone = caption(Generator(runner), None)
    generator = Generator(runner)
    caption(generator, "p")
    again = caption(generator, "p")
    assert again.encode_seconds is None
    assert again.ids == alone.ids
    pixels = runner.processor.preprocess(Image.open(shapes_data / "0.png"))[None]
    logits, _ = runner.decode(runner.encode_image(pixels), CacheState())
    assert alone.ids[0] == int(logits.argmax())


def test_report_of_base_run_and_merged_model(run, questions, tmp_path, console):
    merged = merged_folder(artefact_at(str(run)), lambda line: None)
    artefacts = [artefact_at("tiny"), artefact_at(str(merged)), artefact_at(str(run))]
    report = report_on(artefacts, Task("emojiqa", questions), tmp_path / "report", console)
    assert [system.role for system in report.systems] == ["untrained", "reference", "reference"]
    unmerged = report.systems[2]
    assert unmerged.agreement is not None
    assert unmerged.agreement["seen"].same == unmerged.agreement["seen"].n == 24
    assert report.parity[0].max_abs is not None
    assert report.parity[0].max_abs < 1e-4
    assert report.training is not None
    assert report.training.parameters.lora <= report.training.parameters.budget
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / "report" / name).stat().st_size > 500
    decode = report.systems[0].timings.decode_tokens_per_second
    assert decode is not None
    assert decode.n == 5


def test_an_interrupted_evaluation_goes_on_at_the_next_question(questions, tmp_path, console):
    task = Task("emojiqa", questions)
    module.evaluate([artefact_at("tiny")], task, tmp_path, console)
    (folder,) = tmp_path.iterdir()
    answers = read_answers(folder / "answers.jsonl")
    lines = (folder / "answers.jsonl").read_text().splitlines()
    # As a kill leaves it: some answers, the last one cut short, no facts.
    marked = json.dumps(json.loads(lines[0]) | {"text": "kept"})
    (folder / "answers.jsonl").write_text("\n".join([marked, *lines[1:7], lines[7][:20]]))
    (folder / "facts.json").unlink()
    module.evaluate([artefact_at("tiny")], task, tmp_path, console)
    again = read_answers(folder / "answers.jsonl")
    assert len((folder / "answers.jsonl").read_text().splitlines()) == len(answers) == 24
    assert again.pop(json.loads(lines[0])["key"])["text"] == "kept", "it was asked twice"
    assert all(again[key]["ids"] == answers[key]["ids"] for key in again)


def test_a_failing_worker_says_why(questions, tmp_path, console, tiny_base):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    artefact = artefact_at(str(broken))
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(HydraError, match=r"tokenizer\.json is no readable tokenizer"):
        module.evaluate([artefact], Task("emojiqa", questions), tmp_path / "work", console)
