"""A queue of runs: one that fails is named in the end and does not stop the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.quality import run as queue
from experiments.quality.one_run import SCORE
from experiments.quality.run import Run, run_all
from hydra_mobile.core.errors import HydraError


def test_a_failure_does_not_stop_the_other_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    score = json.dumps({"splits": {"seen": {"right": [True, False]}}})

    def started(run: Run, work: Path, *_: object) -> subprocess.Popen[bytes]:
        folder = work / run.name
        folder.mkdir(parents=True)
        (folder / "run.log").write_text("begins\nthe first rank would be 1\n")
        if run.arm == "adalora":
            return subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])
        (folder / SCORE).write_text(score)
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(queue, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(queue, "_started", started)
    monkeypatch.setattr(queue, "base", lambda work: work)
    runs = [Run("emojiqa", "low", arm, 0) for arm in ("adalora", "uniform", "coarse")]
    with pytest.raises(HydraError, match="emojiqa/low/adalora/seed0"):
        run_all(runs, tmp_path, jobs=1, minutes=0, slower=1.1)
    told = capsys.readouterr().out
    assert "adalora/seed0 failed" in told
    assert "uniform/seed0: seen 50.0" in told
    assert "coarse/seed0: seen 50.0" in told
    assert "0 runs left" in told
