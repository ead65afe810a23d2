"""A small benchmark with drawn pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def questions(shapes_data: Path, tmp_path_factory) -> Path:
    """An EmojiQA folder with the drawn pictures of `shapes_data`."""
    folder = tmp_path_factory.mktemp("emojiqa")
    lines = []
    for number in range(12):
        (folder / f"{number}.png").write_bytes((shapes_data / f"{number}.png").read_bytes())
        for kind, text, answer in (
            ("yesno", "Is there a circle?", ("yes", "no")[number % 2]),
            ("class", "Which color is it?", ("red", "green", "blue")[number % 3]),
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
