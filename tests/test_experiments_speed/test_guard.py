"""`make bench` fails where a ratio is below the committed ones, and only there."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import guard

ROOT = Path(guard.__file__).parents[1]


def committed(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((ROOT / "experiments" / name / "result.json").read_text())
    return value


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Quick runs that measured what is committed."""
    for name in ("training_speed", "inference_speed"):
        (tmp_path / name).mkdir()
        write(tmp_path, name, committed(name))
    return tmp_path


def write(runs: Path, name: str, value: dict[str, Any]) -> None:
    (runs / name / "quick.json").write_text(json.dumps(value))


def judged(runs: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.guard", "--runs", str(runs)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_what_is_committed_holds_on_a_machine_of_any_speed(runs: Path) -> None:
    slow = committed("inference_speed")
    for row in slow["rows"]:
        row["seconds"] = {key: [2 * s for s in all_] for key, all_ in row["seconds"].items()}
    write(runs, "inference_speed", slow)
    done = judged(runs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "onnx-int4 over llama.cpp-q4_0, decode 64, 2 threads" in done.stdout


def test_a_slower_phase_of_one_form_is_named(runs: Path) -> None:
    slower = committed("inference_speed")
    for row in slower["rows"]:
        if row["form"] == "onnx-int4":
            row["seconds"]["decode 64"] = [1.6 * s for s in row["seconds"]["decode 64"]]
    write(runs, "inference_speed", slower)
    done = judged(runs)
    assert done.returncode == 1
    assert "onnx-int4 over llama.cpp-q4_0, decode 64, 2 threads" in done.stderr
    assert "prefill" not in done.stderr
    assert "executorch" not in done.stderr


def test_slower_training_is_named(runs: Path) -> None:
    slower = copy.deepcopy(committed("training_speed"))
    for row in slower["rows"]:
        if row["way"] == "ours, HyDRA":
            row["questions_per_second"] /= 1.6
    write(runs, "training_speed", slower)
    done = judged(runs)
    assert done.returncode == 1
    assert "ours, HyDRA over ours, uniform" in done.stderr


def test_nothing_to_compare_is_no_success(runs: Path) -> None:
    value = committed("inference_speed")
    value["rows"] = [row for row in value["rows"] if not row["form"].startswith("llama.cpp")]
    write(runs, "inference_speed", value)
    done = judged(runs)
    assert done.returncode == 2
    assert "requirements.txt" in done.stderr
    (runs / "training_speed" / "quick.json").unlink()
    done = judged(runs)
    assert done.returncode == 2
    assert "quick.json" in done.stderr
