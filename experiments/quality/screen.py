"""Where can a rank map show anything? Uniform LoRA of rank r, 2 r and 4 r, each at its best rate.

No map whose ranks go up to 2 r can be expected to beat uniform rank 2 r at its best learning rate.
So only a task and budget where rank 2 r lowers the loss by at least 5% is worth the comparison of
`run.py`. Two seeds; the loss is that of the first split, on which rates are chosen too, so small
gains are flattered.

Every cell is a process of its own and is never done twice; the same command goes on:

    python -m experiments.quality.screen --work runs/quality --minutes 120

Not run yet: 24 cells a task of 500 steps are hours of two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.quality.one_run import SCORE
from experiments.quality.run import base
from experiments.quality.tasks import TASKS, emojiqa
from hydra_mobile.core.files import write_json

RESULT = Path(__file__).with_name("screen.json")
RATES = ("2.5e-4", "5e-4", "1e-3", "2e-3")
MULTIPLES = (1, 2, 4)
SEEDS = 2
WORTH_IT = 0.05
"""Share of the loss by which rank 2 r must beat rank r."""


@dataclass(frozen=True)
class Cell:
    """One run of the screen."""

    task: str
    steps: int
    rank: int
    rate: str
    seed: int

    @property
    def name(self) -> str:
        """Folder of the run, relative to the work folder."""
        return f"screen/{self.task}-{self.steps}/rank{self.rank}/rate{self.rate}/seed{self.seed}"


def cells(tasks: Iterable[str], steps: int, r_ref: int) -> list[Cell]:
    """Return the runs: ranks r and 2 r at all rates first, since they decide."""
    return [
        Cell(task, steps, multiple * r_ref, rate, seed)
        for task in tasks
        for multiple in MULTIPLES
        for seed in range(SEEDS)
        for rate in RATES
    ]


def overrides(cell: Cell, work: Path, start: Path) -> list[str]:
    """Return the configuration of a run: plain LoRA at the scale 2, whatever its rank."""
    return [
        f"base={start}",
        f"seed={cell.seed}",
        f"data.stage2={work / 'data' / cell.task / 'train.json'}",
        f"stage2.steps={cell.steps}",
        "stage2.batch_size=15",
        f"stage2.learning_rate={cell.rate}",
        "stage2.projector_learning_rate=1e-4",
        "ranks.policy=uniform",
        f"ranks.r_ref={cell.rank}",
        f"ranks.alpha_ref={2 * cell.rank}",
        "ranks.rank_step=1",
        "ranks.r_min=1",
        "runtime.log_every=5",
        "runtime.checkpoint_every=0",
    ]


def summary(losses: Mapping[Cell, float]) -> list[dict[str, Any]]:
    """Return, by task, steps and rank, the best rate's loss and the gain over half the rank.

    Args:
        losses: held-out loss in nats by cell. Means are geometric, over seeds.
    """
    by_rate: dict[tuple[str, int, int], dict[str, list[float]]] = {}
    for cell, loss in losses.items():
        rates = by_rate.setdefault((cell.task, cell.steps, cell.rank), {})
        rates.setdefault(cell.rate, []).append(math.log(loss))
    best = {
        place: min((sum(logs) / len(logs), rate) for rate, logs in rates.items())
        for place, rates in by_rate.items()
    }
    rows = []
    for (task, steps, rank), (log, rate) in sorted(best.items()):
        half = best.get((task, steps, rank // 2)) if rank % 2 == 0 else None
        gain = None if half is None else 1 - math.exp(log - half[0])
        rows.append(
            {
                "task": task,
                "steps": steps,
                "rank": rank,
                "best_rate": rate,
                "runs": sum(map(len, by_rate[task, steps, rank].values())),
                "loss": math.exp(log),
                "gain_over_half_the_rank": gain,
                "worth_comparing": None if gain is None else gain >= WORTH_IT,
            }
        )
    return rows


def collect(work: Path, wanted: Iterable[Cell]) -> dict[Cell, float]:
    """Return the mean loss on the task's first split of every cell that is done."""
    found = {}
    for cell in wanted:
        file = work / cell.name / SCORE
        if file.is_file():
            own = json.loads(file.read_text())["splits"][TASKS[cell.task].splits[0]]["loss"]
            found[cell] = sum(own) / len(own)
    return found


def run(cell: Cell, work: Path, start: Path) -> None:
    """Train and score a cell.

    Raises:
        CalledProcessError: it failed; its run.log says why.
    """
    folder = work / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "experiments.quality.one_run", str(folder)]
    command += ["--data", str(work / "data" / cell.task), "--splits", *TASKS[cell.task].splits]
    command += ["--set", *overrides(cell, work, start)]
    with (folder / "run.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True, env=dict(os.environ))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/quality"))
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=["emojiqa"])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--r-ref", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0, help="start no run later; 0: never end")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    emojiqa(given.work / "data" / "emojiqa")  # the base needs its captions
    for task in given.tasks:
        TASKS[task].build(given.work / "data" / task)
    start, began = base(given.work).absolute(), time.monotonic()
    wanted = cells(given.tasks, given.steps, given.r_ref)
    for cell in wanted:
        if (given.work / cell.name / SCORE).is_file():
            continue
        if given.minutes and time.monotonic() - began > 60 * given.minutes:
            print("time is up: the same command goes on")
            break
        run(cell, given.work, start)
        losses = collect(given.work, wanted)
        runs = [{**vars(c), "loss": loss} for c, loss in losses.items()]
        write_json(given.out, {"summary": summary(losses), "runs": runs})
        print(f"{cell.name}: loss {losses[cell]:.4f}", flush=True)
    for row in summary(collect(given.work, wanted)):
        print(row)


if __name__ == "__main__":
    main()
