"""The quickstart on real weights and pictures, shortened: slow, needs the network once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_mobile.reporting.write import read_report

pytestmark = pytest.mark.slow
SHORT = ["stage1.align_steps=20", "stage1.steps=2", "stage2.steps=3", "ranks.calibration_batches=2"]


def test_quickstart_shortened(tmp_path: Path, real_home: str | None):
    environment = dict(os.environ)
    # The user's own cache, so that a gigabyte is not fetched and built again for each test run.
    environment.pop("HYDRA_MOBILE_HOME")
    if real_home:
        environment["HYDRA_MOBILE_HOME"] = real_home
    out = tmp_path / "quickstart"
    command = [sys.executable, "-m", "hydra_mobile", "quickstart", "--out", str(out)]
    command += ["--questions", "48", *SHORT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # Not on a terminal: a line where a step begins, and one where it ends.
    for number, step in enumerate(("fetch", "data", "train", "merge", "export", "evaluate"), 1):
        for what in ("begins", "done"):
            assert done.stderr.count(f"{number}/6 {step} {what}") == 1
    report = read_report(out / "report")
    assert len(report.systems) == 4
    exported = [s for s in report.systems if s.role == "export"]
    assert [s.runtime for s in exported] == ["executorch", "onnx"]
    for system in exported:
        assert system.agreement is not None
        # After three steps answers hang on hundredths of a logit; most stay the same still.
        assert all(a.same / a.n > 0.5 for a in system.agreement.values())
    assert all(row.verdict == "pass" for row in report.parity if row.tolerance)
    # A second call finds every bundle and answers nothing again.
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    for step in ("merge", "export"):
        (line,) = [x for x in again.stderr.splitlines() if f"/6 {step} done" in x]
        assert "up to date" in line
    log = (out / "logs" / "quickstart.log").read_text(encoding="utf-8")
    assert log.count("is there already") == 2
    assert str(out / "logs" / "quickstart.log") in again.stdout
