"""Where can a rank map show anything? Uniform LoRA of rank r and 2 r, each at its best rate.

No map whose ranks go up to 2 r can be expected to beat uniform rank 2 r at its best learning rate.
So only a task and budget where rank 2 r lowers the loss by at least 5% is worth the comparison of
`run.py`.

The first seed looks for the rate: from `FIRST_RATE` by factors of two, until the best rate has a
worse one on either side. The other seeds train at that rate and at the one beside it that was
second best. The loss is that of the task's first split, on which rates are chosen too, so small
gains are flattered. Runs are short and small, so that a night of one core is enough.

Every run is written at once and never done twice, on another machine neither: losses that stand in
the result count. The same command goes on:

    python -m experiments.quality.screen --work runs/quality
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.quality import phone_book
from experiments.quality.one_run import SCORE, one_run
from experiments.quality.run import base
from experiments.quality.tasks import TASKS, Task, emojiqa
from experiments.shared.markdown import table
from hydra_mobile.core.files import write_json
from hydra_mobile.core.quiet import quiet
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("screen.json")
FIRST_RATE = 4e-3
SEEDS = 2
SCREENED = {**TASKS, "phone_book": Task(phone_book.build, phone_book.SPLITS, 200)}
WORTH_IT = 0.05
"""Share of the loss by which rank 2 r must beat rank r."""


@dataclass(frozen=True)
class Place:
    """A task at a budget of steps, and the ranks that are compared there.

    Attributes:
        task: of `SCREENED`.
        steps: optimizer steps.
        batch: questions of a step.
        ranks: each twice the one before it.
    """

    task: str
    steps: int
    batch: int
    ranks: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the place, as `--only` takes it."""
        return f"{self.task}-{self.steps}-{'-'.join(map(str, self.ranks))}"


PLAN = (
    Place("phone_book", 300, 8, (2, 4)),
    Place("emojiqa", 100, 15, (2, 4)),
    Place("phone_book", 300, 8, (1, 2)),
    Place("phone_book", 300, 8, (4, 8)),
    Place("handwriting", 100, 15, (2, 4)),
    Place("emojiqa", 100, 15, (16, 32)),
)
"""In the order in which they are run."""


@dataclass(frozen=True)
class Cell:
    """One run of the screen."""

    task: str
    steps: int
    batch: int
    rank: int
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Folder of the run, relative to the work folder."""
        return f"screen/{self.task}-{self.steps}/rank{self.rank}/rate{self.rate:g}/seed{self.seed}"


Losses = Mapping[Cell, float]
"""Held-out loss in nats by cell."""


def next_cell(place: Place, rank: int, seeds: int, losses: Losses) -> Cell | None:
    """Return the run that a rank needs next; None where its best rate is known with all seeds."""

    def cell(rate: float, seed: int) -> Cell:
        return Cell(place.task, place.steps, place.batch, rank, rate, seed)

    found = {c.rate: loss for c, loss in losses.items() if c == cell(c.rate, 0)}
    if not found:
        return cell(FIRST_RATE, 0)
    best = min(found, key=found.__getitem__)
    for rate in (best / 2, best * 2):
        if rate not in found:
            return cell(rate, 0)
    second = min((best / 2, best * 2), key=found.__getitem__)
    for seed in range(1, seeds):
        for rate in (best, second):
            if cell(rate, seed) not in losses:
                return cell(rate, seed)
    return None


def summary(losses: Losses) -> list[dict[str, Any]]:
    """Return, by task, steps and rank, the best rate's loss and the gain over half the rank.

    The best rate is the one with the lowest geometric mean among those that have most seeds.
    """
    by_rate: dict[tuple[str, int, int], dict[float, dict[int, float]]] = {}
    for cell, loss in losses.items():
        rates = by_rate.setdefault((cell.task, cell.steps, cell.rank), {})
        rates.setdefault(cell.rate, {})[cell.seed] = math.log(loss)
    best = {place: _best(rates) for place, rates in by_rate.items()}
    rows = []
    for (task, steps, rank), (rate, logs) in sorted(best.items()):
        half = best.get((task, steps, rank // 2)) if rank % 2 == 0 else None
        common = sorted(logs.keys() & half[1].keys()) if half else []
        gains = [1 - math.exp(logs[seed] - half[1][seed]) for seed in common] if half else []
        gain = (
            1 - math.exp(statistics.fmean(logs[s] - half[1][s] for s in common)) if half else None
        )
        rows.append(
            {
                "task": task,
                "steps": steps,
                "rank": rank,
                "best_rate": rate,
                "rates": {
                    f"{r:g}": _mean(seeds)
                    for r, seeds in sorted(by_rate[task, steps, rank].items())
                },
                "seeds": len(logs),
                "loss": _mean(logs),
                "gain_over_half_the_rank": gain,
                "gain_by_seed": gains,
                "worth_comparing": None if gain is None else gain >= WORTH_IT,
            }
        )
    return rows


def _best(rates: Mapping[float, dict[int, float]]) -> tuple[float, dict[int, float]]:
    most = max(map(len, rates.values()))
    full = {rate: logs for rate, logs in rates.items() if len(logs) == most}
    rate = min(full, key=lambda r: statistics.fmean(full[r].values()))
    return rate, full[rate]


def _mean(logs: Mapping[int, float]) -> float:
    return math.exp(statistics.fmean(logs.values()))


def render(value: Mapping[str, Any]) -> str:
    """Return the table of `screen.json`."""
    lines = []
    for row in value["summary"]:
        gain = row["gain_over_half_the_rank"]
        own = ", ".join(f"{100 * g:+.1f}" for g in row["gain_by_seed"])
        lines.append(
            [
                row["task"],
                f"{row['steps']}",
                f"{row['rank']}",
                f"{row['best_rate']:g}",
                f"{row['seeds']}",
                f"{row['loss']:.4f}",
                "" if gain is None else f"{100 * gain:+.1f}% ({own})",
                "" if gain is None else ("yes" if row["worth_comparing"] else "no"),
            ]
        )
    titles = ["task", "steps", "rank", "best rate", "seeds", "loss, nats"]
    return table(
        [*titles, "loss less than at half the rank (by seed)", "worth a comparison of maps"], lines
    )


def overrides(cell: Cell, data: Path, start: str) -> list[str]:
    """Return the configuration of a run: plain LoRA at the scale 2, whatever its rank."""
    return [
        f"base={start}",
        f"seed={cell.seed}",
        f"data.stage2={data / 'train.json'}",
        f"stage2.steps={cell.steps}",
        f"stage2.batch_size={cell.batch}",
        f"stage2.learning_rate={cell.rate}",
        "stage2.projector_learning_rate=1e-4",
        "ranks.policy=uniform",
        f"ranks.r_ref={cell.rank}",
        f"ranks.alpha_ref={2 * cell.rank}",
        "ranks.rank_step=1",
        "ranks.r_min=1",
        "runtime.log_every=5",
        "runtime.checkpoint_every=0",
        "runtime.memory_check=false",
        # The same on every machine: on some it is no faster.
        "runtime.precision=bf16",
        f"runtime.threads={torch.get_num_threads()}",
    ]


def known(result: Path) -> dict[Cell, float]:
    """Return the losses in a result, by cell; none where there is no such file."""
    if not result.is_file():
        return {}
    runs = json.loads(result.read_text())["runs"]
    return {Cell(**{k: v for k, v in run.items() if k != "loss"}): run["loss"] for run in runs}


def loss_of(cell: Cell, work: Path) -> float:
    """Return the mean loss of a cell's run on the task's first split, training it if need be."""
    folder = work / cell.name
    splits = SCREENED[cell.task].splits[:1]
    if not (folder / SCORE).is_file():
        data = work / "data" / cell.task
        SCREENED[cell.task].build(data)
        # A task without pictures needs no projector that was trained for them.
        start = "smol" if cell.task == "phone_book" else str(_aligned(work))
        folder.mkdir(parents=True, exist_ok=True)
        one_run(folder, data, splits, overrides(cell, data, start))
    own = json.loads((folder / SCORE).read_text())["splits"][splits[0]]["loss"]
    return statistics.fmean(own)


def _aligned(work: Path) -> Path:
    emojiqa(work / "data" / "emojiqa")
    return base(work).absolute()


def cells(plan: Sequence[Place], losses: Losses, seeds: int) -> Iterator[Cell]:
    """Yield the runs that are due, as `losses` fills."""
    for place in plan:
        for rank in place.ranks:
            while cell := next_cell(place, rank, seeds, losses):
                yield cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/quality"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", nargs="+", choices=[place.name for place in PLAN])
    parser.add_argument("--minutes", type=float, default=0, help="start no run later; 0: never end")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    quiet()
    torch.set_float32_matmul_precision("highest")
    began = time.monotonic()
    plan = [place for place in PLAN if not given.only or place.name in given.only]
    losses = known(given.out)
    for cell in cells(plan, losses, given.seeds):
        if given.minutes and time.monotonic() - began > 60 * given.minutes:
            print("time is up: the same command goes on")
            break
        spent = time.process_time()
        losses[cell] = loss_of(cell, given.work)
        spent = time.process_time() - spent
        print(f"{cell.name}: loss {losses[cell]:.4f}, {spent:.0f} s of one core", flush=True)
        runs = [{**vars(c), "loss": loss} for c, loss in losses.items()]
        value = {
            "what": "uniform LoRA of rank r and 2 r, each at its best rate; loss in nats of the "
            "reference answers on the first split",
            "plan": [vars(place) for place in PLAN],
            "environment": vars(environment.collect()),
            "summary": summary(losses),
            "runs": runs,
        }
        write_json(given.out, value)


if __name__ == "__main__":
    main()
