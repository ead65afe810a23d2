"""What the dynamic stage costs over uniform LoRA on base `smol`: CPU time and peak memory.

Uniform LoRA and `hydra` train on the same batches, each run in a process of its own, in turns. At
margin 1 an event moves ranks or is undone by its check, so that changes of rank, checks and the
kernels that new ranks need are all in what `hydra` costs. Time is the CPU time of the process from
the first step on, which other work on the machine changes little. What the four events add does not
grow with the run (but for the check, which has a share of its own, at most 2%), so the ratio is
given for the shortest run that has events.

    python -m experiments.training_speed.event_cost --data data/emojiqa

Needs EmojiQA: hydra-mobile data emojiqa --out data/emojiqa
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.training_speed.step_time import quick_stage2
from hydra_mobile.adapters.dynamic.settings import DynamicConfig
from hydra_mobile.config import load_config
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.reporting import environment
from hydra_mobile.training import run as run_module
from hydra_mobile.training.run import TrainingRun

RESULT = Path(__file__).with_name("event_cost.json")
ARMS = {
    "uniform": ["ranks.policy=uniform"],
    "hydra": ["ranks.policy=hydra", "ranks.dynamic.margin=1", "ranks.dynamic.least_steps=0"],
}


def settings(data: Path, run: Path, steps: int) -> list[str]:
    """Return the overrides that both arms share."""
    return [
        *quick_stage2(data, run, steps),
        "ranks.rank_step=4",
        "ranks.r_min=4",
        "runtime.threads=1",
        "runtime.memory_check=false",
    ]


def one_run(overrides: list[str]) -> dict[str, Any]:
    """Train in this process; return CPU seconds of steps with what follows them, and the peak."""
    began: list[float] = []
    step = run_module.train_step

    def timed(*given: Any) -> Any:
        began.append(time.process_time())
        return step(*given)

    run_module.train_step = timed
    result = TrainingRun(load_config(None, overrides)).train()
    summary = json.loads((result.parent / "summary.json").read_text())
    moved = [line for line in _lines(result.parent / "ranks.jsonl") if line["event"] == "move"]
    return {
        # A step lasts until the next one begins: events are in it, writing the adapter is not.
        "cpu_seconds": [round(b - a, 3) for a, b in itertools.pairwise(began)],
        "moved_at": [event["step"] for event in moved],
        "peak_mib": summary["peak_memory_bytes"] / 2**20,
    }


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def summary(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the ratios to uniform LoRA of the same round, medians with their range.

    The first step, which pays for thread pools and first allocations, is left out.
    """
    least = DynamicConfig().least_steps
    time_ratios, memory_ratios, steps, added = [], [], [], []
    for measured in rounds:
        uniform, hydra = (measured[arm]["cpu_seconds"][1:] for arm in ("uniform", "hydra"))
        step = statistics.fmean(uniform)
        more = sum(hydra) - sum(uniform)
        steps.append(step)
        added.append(more)
        time_ratios.append(1 + more / (least * step))
        memory_ratios.append(measured["hydra"]["peak_mib"] / measured["uniform"]["peak_mib"])
    return {
        "step_cpu_seconds": statistics.median(steps),
        "added_cpu_seconds": statistics.median(added),
        "events": len(DynamicConfig().events),
        "of_steps": least,
        "time_ratio": statistics.median(time_ratios),
        "time_ratio_range": [min(time_ratios), max(time_ratios)],
        "memory_ratio": statistics.median(memory_ratios),
        "memory_ratio_range": [min(memory_ratios), max(memory_ratios)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/emojiqa"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print("\n" + dumps(one_run(given.one)))
        return
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(given.rounds):
        measured = {}
        # Another order every round: whoever comes first finds the coldest machine.
        for arm in list(ARMS)[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory() as folder:
                own = [*settings(given.data, Path(folder) / "run", given.steps), *ARMS[arm]]
                command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--one", *own]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured[arm] = json.loads(done.stdout.splitlines()[-1])
        rounds.append(measured)
        value = {
            "steps": given.steps,
            "environment": vars(environment.collect()),
            "summary": summary(rounds),
            "rounds": rounds,
        }
        write_json(given.out, value)
        print(f"round {number + 1}: {value['summary']}", flush=True)


if __name__ == "__main__":
    main()
