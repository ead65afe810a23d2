"""Run the comparison: every arm, seed, budget and task, in an order that may stop anywhere.

    python -m experiments.quality.run --work runs/quality --seeds 5 --jobs 2

Each run is a process of its own and is never done twice: the same command goes on where it was
interrupted, and with more seeds it adds what is missing. The main comparison (uniform LoRA and
HyDRA, both tasks, both budgets) comes first, seed by seed; the other arms follow. `--minutes` ends
in time. Afterwards all scores that exist are in one JSON; `tables` makes tables and plots from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from experiments.quality import ranks
from experiments.quality.arms import (
    ARMS,
    HYDRA,
    LONGER,
    REFERENCE,
    SETTINGS,
    VARIANTS,
    overrides_of,
)
from experiments.quality.maps import SHAPES, write_maps
from experiments.quality.one_run import SCORE
from experiments.quality.tasks import TASKS, emojiqa
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import write_json
from hydra_mobile.core.progress import duration
from hydra_mobile.core.registry import nearest
from hydra_mobile.reporting import environment
from hydra_mobile.training.run import TrainingRun

RESULT = Path(__file__).with_name("result.json")
#: Adam leaves a parameter as it is at this rate: a stage II that changes nothing.
_NOTHING = "1e-30"
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Run:
    """One cell of the comparison."""

    task: str
    setting: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Folder of the run, relative to the work folder."""
        return f"{self.task}/{self.setting}/{self.arm}/seed{self.seed}"


def wanted(
    tasks: Sequence[str], settings: Sequence[str], arms: Sequence[str], seeds: int
) -> list[Run]:
    """Return all runs, the main comparison first, seed by seed."""
    main = [arm for arm in arms if arm in (REFERENCE, HYDRA)]
    rest = [arm for arm in arms if arm not in main]
    return [
        Run(task, setting, arm, seed)
        for group in (main, rest)
        for seed in range(seeds)
        for task in tasks
        for setting in settings
        for arm in group
    ]


def base(work: Path) -> Path:
    """Return the base of all runs: `smol` with its projector aligned on EmojiQA's captions."""
    run = work / "base"
    if not (run / "merged").is_dir():
        data = work / "data" / "emojiqa"
        overrides = [
            "base=smol",
            f"output={run}",
            f"data.stage1={data / 'train_stage1.json'}",
            f"data.stage2={data / 'train.json'}",
            "stage1.align_steps=200",
            "stage1.steps=20",
            "stage1.batch_size=16",
            "stage1.learning_rate=5e-4",
            "stage2.steps=1",
            f"stage2.learning_rate={_NOTHING}",
            f"stage2.projector_learning_rate={_NOTHING}",
            "ranks.policy=full",
        ]
        config = load_config(None, overrides)
        TrainingRun(config, print).train(resume=run.is_dir())
    return run / "merged"


def overrides(run: Run, work: Path, start: Path, slower: float) -> list[str]:
    """Return the configuration of a run.

    Args:
        run: which one.
        work: holds the data.
        start: the base.
        slower: time of a HyDRA run over that of a uniform one, for the arm that trains longer.
    """
    task = TASKS[run.task]
    steps = round(task.steps * slower) if run.arm == LONGER else task.steps
    rate = "5e-5" if run.arm == "full" else "5e-4"
    return [
        f"base={start}",
        f"seed={run.seed}",
        f"data.stage2={work / 'data' / run.task / 'train.json'}",
        f"stage2.steps={steps}",
        "stage2.batch_size=15",
        f"stage2.learning_rate={rate}",
        "stage2.projector_learning_rate=1e-4",
        "runtime.log_every=5",
        "runtime.checkpoint_every=0",
        *overrides_of(run.arm, SETTINGS[run.setting], _maps(work, run.setting)),
    ]


def _maps(work: Path, setting: str) -> Path:
    """Return where the maps by shape of a budget lie."""
    return (work / "maps" / setting).absolute()


def run_all(runs: Sequence[Run], work: Path, jobs: int, minutes: float, slower: float) -> None:
    """Do what is not done yet, `jobs` at a time; stop before `minutes` would be exceeded.

    Raises:
        HydraError: runs failed; the others were done first.
    """
    start = base(work).absolute()
    for setting in {run.setting for run in runs if run.arm in SHAPES}:
        write_maps(start, SETTINGS[setting], _maps(work, setting))
    waiting = [run for run in runs if not (work / run.name / SCORE).is_file()]
    print(f"{len(runs) - len(waiting)} of {len(runs)} runs are done", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    began, longest, done = time.monotonic(), 0.0, 0
    failed: list[str] = []
    running: dict[subprocess.Popen[bytes], tuple[Run, float]] = {}
    try:
        while waiting or running:
            spent = time.monotonic() - began
            if waiting and minutes and spent + longest > 60 * minutes:
                print(f"time is up: {len(waiting)} runs are left for another time", flush=True)
                waiting = []
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                running[_started(run, work, start, slower, threads)] = (run, time.monotonic())
            time.sleep(_POLL_SECONDS)
            for process in [p for p in running if p.poll() is not None]:
                run, at = running.pop(process)
                if process.returncode:
                    # An arm that cannot start at one budget must not stop a night's other runs.
                    failed.append(run.name)
                    print(f"{run.name} failed: {_last_words(work / run.name)}", flush=True)
                    continue
                done += 1
                took = time.monotonic() - at
                longest = max(longest, took)
                left = len(waiting) + len(running)
                until = duration((time.monotonic() - began) / done * left)
                print(
                    f"{run.name}: {_headline(work / run.name)}, {duration(took)}; "
                    f"{left} runs left, {until}",
                    flush=True,
                )
    finally:
        for process in running:
            process.terminate()
    if failed:
        raise HydraError(
            f"Not done, because they failed: {', '.join(failed)}.",
            f"Each has its run.log in {work}; the same command tries them again.",
        )


def _last_words(folder: Path) -> str:
    log = (folder / "run.log").read_text(errors="replace")
    return (log.strip().splitlines() or ["it wrote nothing"])[-1]


def _started(
    run: Run, work: Path, start: Path, slower: float, threads: int
) -> subprocess.Popen[bytes]:
    folder = work / run.name
    folder.mkdir(parents=True, exist_ok=True)
    task = TASKS[run.task]
    command = [sys.executable, "-W", "ignore", "-m", "experiments.quality.one_run", str(folder)]
    command += ["--data", str(work / "data" / run.task), "--splits", *task.splits, "--set"]
    command += [*overrides(run, work, start, slower), f"runtime.threads={threads}"]
    with (folder / "run.log").open("w") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )


def _headline(folder: Path) -> str:
    splits = json.loads((folder / SCORE).read_text())["splits"]
    return ", ".join(
        f"{n} {100 * sum(s['right']) / len(s['right']):.1f}" for n, s in splits.items()
    )


def collect(work: Path, runs: Sequence[Run], slower: float) -> dict[str, Any]:
    """Return everything that is scored as one JSON value; right and wrong as strings of 1 and 0."""
    questions: dict[str, dict[str, Any]] = {}
    cells = []
    for run in runs:
        if not (work / run.name / SCORE).is_file():
            continue
        scored = json.loads((work / run.name / SCORE).read_text())
        summary = scored["summary"]
        parts = {}
        for split, each in scored["splits"].items():
            asked = {"keys": each["keys"], "pictures": [Path(p).name for p in each["pictures"]]}
            if questions.setdefault(run.task, {}).setdefault(split, asked) != asked:
                raise HydraError(f"{run.name} was asked other questions than the runs before it.")
            parts[split] = {
                "right": "".join("01"[right] for right in each["right"]),
                "loss": round(sum(each["loss"]) / len(each["loss"]), 4),
            }
        cells.append(
            {
                **vars(run),
                "parameters": summary["parameters"],
                "precision": summary["precision"],
                "device": summary["device"],
                "steps": summary["steps"],
                "probes": summary["probes"],
                "seconds": round(summary["seconds"]["stage2"], 1),
                "peak_memory_bytes": summary["peak_memory_bytes"],
                "final_loss": scored["loss_curve"][-1][1],
                "splits": parts,
                "ranks": ranks.summary(scored["rank_events"]),
            }
        )
    return {
        "environment": vars(environment.collect(_accelerator())),
        "config": {
            "settings": {name: vars(setting) for name, setting in SETTINGS.items()},
            "arms": {run.arm: {**ARMS, **VARIANTS}[run.arm] for run in runs},
            "steps": {name: task.steps for name, task in TASKS.items()},
            "longer": slower,
        },
        "questions": {
            task: {split: _clusters(asked) for split, asked in splits.items()}
            for task, splits in questions.items()
        },
        "runs": cells,
    }


def _accelerator() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _clusters(asked: dict[str, Any]) -> dict[str, Any]:
    """Return how many questions there are, and which belong to one picture: its number for each."""
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(picture, len(numbers)) for picture in asked["pictures"]]
    kinds: dict[str, int] = {}
    return {
        "count": len(places),
        "pictures": _line(places),
        "kinds": _line(kinds.setdefault(key.split("-")[-1], len(kinds)) for key in asked["keys"]),
        "kind_names": list(kinds),
    }


def _line(numbers: Iterable[int]) -> str:
    """Return numbers in one line: a list of thousands would be as many lines of JSON."""
    return " ".join(map(str, numbers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/quality"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument(
        "--minutes", type=float, default=0, help="stop starting runs in time; 0: never"
    )
    parser.add_argument(
        "--longer", type=float, default=1.1, help="steps of the arm `uniform_longer`, times"
    )
    parser.add_argument("--steps", type=int, default=0, help="of each run; 0: the task's own")
    parser.add_argument(
        "--built",
        action="store_true",
        help="the data were copied to WORK/data from a machine that built them: no downloads",
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    for kind, given, valid in (
        ("task", arguments.tasks, TASKS),
        ("setting", arguments.settings, SETTINGS),
        ("arm", arguments.arms, {**ARMS, **VARIANTS}),
    ):
        for name in given:
            if name not in valid:
                raise SystemExit(f"Unknown {kind} `{name}`. {nearest(name, valid)}")
    if arguments.steps:
        for name, task in TASKS.items():
            TASKS[name] = replace(task, steps=arguments.steps)
    work = arguments.work
    if not arguments.built:
        emojiqa(work / "data" / "emojiqa")  # the base needs its captions, whichever tasks are asked
        for task in arguments.tasks:
            TASKS[task].build(work / "data" / task)
    runs = wanted(arguments.tasks, arguments.settings, arguments.arms, arguments.seeds)
    try:
        run_all(runs, work, arguments.jobs, arguments.minutes, arguments.longer)
    except HydraError as error:
        raise SystemExit(str(error)) from None
    finally:
        known = [*ARMS, *VARIANTS]
        everything = wanted(list(TASKS), list(SETTINGS), known, max(arguments.seeds, 20))
        write_json(arguments.out, collect(work, everything, arguments.longer))
        print(f"written to {arguments.out}", flush=True)


if __name__ == "__main__":
    main()
