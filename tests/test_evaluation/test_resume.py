"""Real processes, really killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from hydra_mobile.evaluation.store.prediction_log import LineCount

pytestmark = pytest.mark.slow


def start(data: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "evaluate", "tiny"]
    return subprocess.Popen(
        [*command, "--data", str(data), "--out", str(out), "--workers", "2"],
        stdout=subprocess.DEVNULL,
    )


def answered(out: Path) -> int:
    return sum(LineCount(file).count() for file in out.rglob("answers*.jsonl"))


def until(seconds: float, reached) -> None:
    limit = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.02)


@pytest.fixture
def many_questions(questions: Path, tmp_path: Path) -> Path:
    """The questions of `questions` twenty times over, so that there is time for a kill."""
    import hashlib
    import shutil

    data = tmp_path / "data"
    shutil.copytree(questions, data)
    lines = [json.loads(line) for line in (data / "test_seen.jsonl").read_text().splitlines()]
    copies = [
        json.dumps(line | {"question_id": f"{line['question_id']}-{n}"}) + "\n"
        for n in range(20)
        for line in lines
    ]
    content = "".join(copies).encode()
    (data / "test_seen.jsonl").write_bytes(content)
    files = {"test_seen.jsonl": {"sha256": hashlib.sha256(content).hexdigest()}}
    (data / "emojiqa.json").write_text(json.dumps({"files": files}))
    return data


def test_a_killed_command_takes_its_workers_along_and_goes_on(many_questions, tmp_path):
    out = tmp_path / "out"
    process = start(many_questions, out)
    until(120, lambda: answered(out) >= 20)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(20, lambda: not any(w.is_running() and w.status() != "zombie" for w in workers))
    before = {
        line
        for file in out.rglob("answers*.jsonl")
        for line in file.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    }
    assert 20 <= len(before) < 480
    assert start(many_questions, out).wait() == 0
    (file,) = out.rglob("answers*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    assert before <= set(lines), "something was asked again"
    counts = Counter(json.loads(line)["key"] for line in lines)
    assert len(counts) == 480
    assert set(counts.values()) == {1}
