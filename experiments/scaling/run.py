"""What grows how: rank events, export time and memory, program size, from 2 to 30 layers.

    python -m experiments.scaling.run                  # an hour or more; goes on where it stopped
    python -m experiments.scaling.run --quick          # five small models, minutes
    python -m experiments.scaling.run --minutes 30     # what fits

Random models, each export in a process of its own under a limit of time and memory; what exceeds a
limit is skipped, and the result says so. Lines are fitted to what was measured and evaluated for
MobileVLM-1.7B and 3B, beside what the bits of the preset and
`hydra_mobile.bundle.memory.footprint` say.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from experiments.scaling.predict import lines, predictions
from experiments.scaling.table import plot, render
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.progress import duration
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("result.json")
_MEASURED = "measured.jsonl"
#: (layers, width): one axis each, and corners; small ones first, so that time may run out.
POINTS = (
    *((layers, 576) for layers in (2, 6, 12, 20, 30)),
    *((4, width) for width in (64, 128, 256, 576, 1024, 2048)),
    *((12, 1024), (30, 1024), (12, 2048), (30, 2048)),
)
QUICK = ((2, 64), (4, 64), (2, 128), (4, 256), (8, 128))
FORMS = (("onnx", "fp32"), ("onnx", "int4"), ("executorch", "fp32"), ("executorch", "int4"))
#: Bytes that an export is expected to take for a byte of fp32 weights, a little more than the 4.3
#: of a decoder of 220M; decides only what is not tried.
_EXPECTED_PEAK = 4.5
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Limits:
    """When a process is stopped.

    Attributes:
        seconds: of one process.
        memory: bytes of one process.
    """

    seconds: float
    memory: float


def weights_of(layers: int, width: int) -> int:
    """Return about how many weights a point's model has."""
    return 8192 * width + layers * 12 * width * width


def asked(task: str, request: dict[str, Any], work: Path, limits: Limits) -> dict[str, Any]:
    """Run a task in a process; return its answer, or {"skipped": reason}."""
    file = work / "request.json"
    write_json(file, request)
    command = [sys.executable, "-W", "ignore", "-m", "experiments.scaling.point", task, str(file)]
    with (work / "errors.log").open("w") as errors, (work / "answer").open("w") as answer:
        process = subprocess.Popen(command, stdout=answer, stderr=errors)
        watched, began = psutil.Process(process.pid), time.monotonic()
        reason = None
        while process.poll() is None and reason is None:
            time.sleep(_POLL_SECONDS)
            if time.monotonic() - began > limits.seconds:
                reason = f"took longer than {limits.seconds:.0f} s"
            elif _resident(watched) > limits.memory:
                reason = f"took more than {limits.memory / 2**30:.0f} GiB"
        if reason:
            process.kill()
            process.wait()
            return {"skipped": reason}
    lines = (work / "answer").read_text().strip().splitlines()
    if process.returncode or not lines:
        last = ((work / "errors.log").read_text().strip().splitlines() or ["no message"])[-1]
        return {"skipped": f"ended with code {process.returncode}: {last[:200]}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


class Kept:
    """Answers of earlier sittings."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.answers: dict[str, dict[str, Any]] = {}
        for line in file.read_text().splitlines() if file.is_file() else ():
            # A line that a killed process has not finished is asked again.
            if line.endswith("}"):
                entry = json.loads(line)
                self.answers[entry.pop("key")] = entry

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer, on disk too."""
        self.answers[key] = answer
        with self._file.open("a") as file:
            file.write(dumps({"key": key, **answer}) + "\n")


def measure(
    points: tuple[tuple[int, int], ...], work: Path, limits: Limits, minutes: float, forms: Any
) -> list[dict[str, Any]]:
    """Measure every point; return rows {task, layers, width, ..., answer}."""
    kept = Kept(work / _MEASURED)
    tasks = [(layers, width, None, None) for layers, width in points]
    tasks += [(layers, width, *form) for form in forms for layers, width in points]
    # Small models first, whatever is done with them.
    tasks.sort(key=lambda task: weights_of(task[0], task[1]))
    rows: list[dict[str, Any]] = []
    began, done, total = time.monotonic(), 0.0, sum(_effort(task) for task in tasks)
    for task in tasks:
        layers, width, runtime, preset = task
        key = f"{layers}x{width} {f'{runtime} {preset}' if runtime else 'event'}"
        row = {"layers": layers, "width": width, "runtime": runtime, "preset": preset}
        fresh = key not in kept.answers
        if fresh:
            if minutes and time.monotonic() - began > 60 * minutes:
                rows.append({**row, "skipped": "time was up"})
                continue
            kept.add(key, _one(row, work, limits))
        rows.append({**row, **kept.answers[key]})
        total -= 0 if fresh else _effort(task)
        done += _effort(task) if fresh else 0
        if fresh:
            left = (total - done) * (time.monotonic() - began) / done
            print(f"{key}: {_short(kept.answers[key])}; about {duration(left)} left", flush=True)
    return rows


def _one(row: dict[str, Any], work: Path, limits: Limits) -> dict[str, Any]:
    layers, width = row["layers"], row["width"]
    request = {**row, "repeats": 5}
    if row["runtime"] is None:
        # Weights, gradients of activations: training a frozen model takes twice its weights.
        if 8 * weights_of(layers, width) > limits.memory:
            return {"skipped": "the model would not fit twice into the limit of memory"}
        return asked("event", request, work, limits)
    expected = _EXPECTED_PEAK * 4 * weights_of(layers, width)
    if expected > limits.memory:
        return {"skipped": f"would take about {expected / 2**30:.0f} GiB"}
    merged, out = work / f"{layers}x{width}", work / "bundle"
    request |= {"merged": str(merged), "out": str(out)}
    shutil.rmtree(out, ignore_errors=True)
    try:
        built = asked("build", request, work, limits) if not merged.is_dir() else {}
        if "skipped" in built:
            return built
        return asked("export", request, work, limits)
    finally:
        shutil.rmtree(out, ignore_errors=True)
        # Rebuilt in seconds; fifteen of them would fill the disk.
        shutil.rmtree(merged, ignore_errors=True)


def _effort(task: tuple[Any, ...]) -> float:
    """Return a guess of how long a task takes beside the others, for the time left."""
    layers, width, runtime, _ = task
    factor = {None: 0.3, "onnx": 1.0, "executorch": 3.0}[runtime]
    return factor * (10.0 + layers + weights_of(layers, width) / 1e6)


def _short(answer: dict[str, Any]) -> str:
    if "skipped" in answer:
        return f"skipped, {answer['skipped']}"
    if "event_in_steps" in answer:
        return f"an event costs {answer['event_in_steps']:.2f} steps"
    return f"{answer['seconds']:.0f} s, peak {answer['peak_bytes'] / 1e9:.2f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--quick", action="store_true", help="small models, ONNX only")
    parser.add_argument("--minutes", type=float, default=0, help="start nothing after; 0: no end")
    parser.add_argument("--seconds", type=float, default=1800, help="limit of one process")
    parser.add_argument("--gib", type=float, default=20, help="limit of one process")
    parser.add_argument("--points", nargs="+", metavar="LAYERSxWIDTH", help="instead of the usual")
    parser.add_argument("--forms", nargs="*", choices=[" ".join(f) for f in FORMS], metavar="FORM")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    points = QUICK if given.quick else POINTS
    if given.points:
        points = tuple((int(a), int(b)) for a, b in (p.split("x") for p in given.points))
    forms = [form for form in FORMS if form[0] == "onnx" or not given.quick]
    if given.forms is not None:
        forms = [form for form in FORMS if " ".join(form) in given.forms]
    limits = Limits(given.seconds, given.gib * 2**30)
    rows = measure(points, given.work, limits, given.minutes, forms)
    facts = json.loads(dumps(vars(environment.collect())))
    value = {
        "what": "random models; each export in a process of its own; seconds and bytes",
        "environment": facts,
        "config": {
            "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
            "limit_seconds": limits.seconds,
            "limit_bytes": limits.memory,
        },
        "rows": rows,
        "lines": lines(rows),
        "predictions": predictions(rows),
    }
    out = given.out or (given.work / "quick.json" if given.quick else RESULT)
    write_json(out, value)
    plot(value, out.with_suffix(".png"))
    print(render(value))
    print(f"written to {out} and {out.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
