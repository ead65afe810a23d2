"""The tutorial, command by command, as it is written; on base `tiny`, which learns nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_documented_commands import ROOT, commands, words_of

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "tutorial.md"
#: What they need is not here: a phone, and the tools that build an app.
ELSEWHERE = ("devices", "app")


@pytest.fixture(scope="module")
def folder(shapes_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty records and a test set in the two forms that the page shows."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "images").mkdir()
    records = json.loads((shapes_data / "questions.json").read_text("utf-8"))[:30]
    train, test = [], []
    for i, record in enumerate(records):
        shutil.copy(shapes_data / record["image"], folder / "images" / record["image"])
        asked, said = (turn["value"] for turn in record["conversations"])
        question, image = asked.removeprefix("<image>\n"), f"images/{record['image']}"
        if i < 20:
            turns = [("user", question), ("assistant", said)]
            messages = [{"role": role, "content": text} for role, text in turns]
            train.append({"messages": messages, "images": [image]})
        else:
            test.append({"question": question, "image": image, "answer": said})
    for name, lines in (("train", train), ("test", test)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    return folder


def smaller(words: list[str], settings: list[str]) -> list[str]:
    """Return the command with `tiny` in place of `smol`, and a training of seconds."""
    words = ["tiny" if word == "smol" else word for word in words]
    if words[0] != "train":
        return words
    wanted = [s for s in settings if not s.startswith(("output=", "data."))]
    return [*words, *wanted]


def test_the_tutorial_runs_as_it_is_written(
    folder: Path, run_settings: Callable[[Path], list[str]]
) -> None:
    shown = [words_of(text) for text in commands(PAGE)]
    run = [words for words in shown if words[0] not in ELSEWHERE]
    assert [words[0] for words in run] == [
        *("data", "data", "train", "train", "export", "export"),
        *("verify", "evaluate", "chat"),
    ]
    for words in run:
        command = smaller(words, run_settings(folder / "unused"))
        done = subprocess.run(
            [sys.executable, "-m", "hydra_mobile", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    page = (folder / "report" / "report.html").read_text("utf-8")
    # The pictures of a test set of one's own are on the page.
    assert page.count('src="data:image/webp;base64,') >= 4
    for name in ("scores", "ship", "gallery", "flips", "phone", "ranks", "training", "trust"):
        assert f'<section id="{name}"' in page
