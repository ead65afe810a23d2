"""A small benchmark with drawn pictures, and workers inside of the test."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hydra_mobile.core.errors import HydraError
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.evaluation.workers import pool as worker_pool
from hydra_mobile.evaluation.workers import process as worker


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


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers run inside the test: a process of their own takes seconds to import torch."""

    def start(
        task: str, folder: Path, threads: int, part: Shard, lock: int, log: Path
    ) -> SimpleNamespace:
        code = 0
        try:
            worker.answer(folder, threads, part) if task == "answer" else worker.measure(folder, 1)
        except HydraError as error:
            log.write_text(str(error))
            code = error.exit_code
        return SimpleNamespace(
            returncode=code,
            pid=os.getpid(),
            poll=lambda: code,
            wait=lambda: code,
            terminate=lambda: None,
        )

    monkeypatch.setattr(worker_pool, "_start", start)
    monkeypatch.setattr(worker_pool, "_POLL_SECONDS", 0.0)
