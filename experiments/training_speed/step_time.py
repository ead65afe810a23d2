"""What a training step costs under each rank policy, on base `smol`: time and peak memory.

Interleaved: policies take turns, round after round, each a training run of its own in a fresh
process, so that a slow spell of the machine falls on all of them. A run is timed as a whole stage
II: importance statistics, rank events, probes and resizes are in the time of HyDRA, which is then
divided by the optimizer steps of the run. Reported: medians over rounds, ratios to uniform LoRA
round by round with their spread, and the highest resident memory.

    python -m experiments.training_speed.step_time --rounds 3 --steps 120

Needs EmojiQA: hydra-mobile data emojiqa --out data/emojiqa
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra_mobile.core.json_text import dumps

RESULT = Path(__file__).with_name("step_time.json")
# One probe of six steps and two held-out losses in 120 steps: 6%, the share that 13 events of two
# candidates have in a run of 5,198 steps (the defaults allow 7%).
POLICIES = {
    "uniform": ["ranks.policy=uniform"],
    "hydra": ["ranks.policy=hydra"],
    "adalora": ["ranks.policy=adalora"],
}


def quick_stage2(data: Path, run: Path, steps: int) -> list[str]:
    """Return the overrides of a run of the quickstart's stage II with smaller batches."""
    return [
        "base=smol",
        f"output={run}",
        f"data.stage2={data / 'train_stage2.json'}",
        f"stage2.steps={steps}",
        "stage2.batch_size=4",
        "stage2.learning_rate=5e-4",
        "ranks.r_ref=16",
        "ranks.alpha_ref=32",
        "runtime.checkpoint_every=0",
    ]


def settings(data: Path, run: Path, steps: int, rank_step: int) -> list[str]:
    """Return the overrides that all policies share: the quickstart's stage II, smaller batches.

    Small batches are the hard case: what a policy costs per step does not grow with them.
    """
    return [
        *quick_stage2(data, run, steps),
        "stage2.projector_learning_rate=1e-4",
        f"ranks.rank_step={rank_step}",
        f"ranks.r_min={rank_step}",
        "ranks.calibration_batches=6",
        "ranks.dynamic.candidates=1",
        "ranks.dynamic.probe_steps=6",
        "ranks.dynamic.holdout_batches=2",
        "runtime.log_every=1",
    ]


def one_run(data: Path, steps: int, rank_step: int, overrides: list[str]) -> dict[str, float]:
    """Train in a fresh process; return seconds per step, first step left out, and the peak."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "train"]
        command += [*settings(data, run, steps, rank_step), *overrides]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((run / "summary.json").read_text())
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        seconds = [line["seconds"] for line in lines if line["stage"] == "stage2"]
        single = [b - a for a, b in itertools.pairwise(seconds)]
        return {
            # The first step pays for thread pools and first allocations.
            "seconds_per_step": (seconds[-1] - seconds[0]) / (len(seconds) - 1),
            "median_step": statistics.median(single),
            "probe_steps": summary["probes"].get("probe_steps", 0),
            # All policies see the same batches; adalora's loss has its penalty in it.
            "loss_of_last_quarter": statistics.fmean(
                line["loss"] for line in lines if line["step"] > 0.75 * steps
            ),
            "peak_mib": summary["peak_memory_bytes"] / 2**20,
        }


def summarize(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return medians and ratios to uniform LoRA of the same round."""
    table: dict[str, Any] = {}
    for name in rounds[0]:
        ratios = [r[name]["seconds_per_step"] / r["uniform"]["seconds_per_step"] for r in rounds]
        memory = [r[name]["peak_mib"] / r["uniform"]["peak_mib"] for r in rounds]
        table[name] = {
            "seconds_per_step": statistics.median(r[name]["seconds_per_step"] for r in rounds),
            "median_step": statistics.median(r[name]["median_step"] for r in rounds),
            "probe_steps": rounds[0][name]["probe_steps"],
            "loss_of_last_quarter": rounds[0][name]["loss_of_last_quarter"],
            "time_ratio": statistics.median(ratios),
            "time_ratio_range": [min(ratios), max(ratios)],
            "peak_mib": statistics.median(r[name]["peak_mib"] for r in rounds),
            "memory_ratio": statistics.median(memory),
            "memory_ratio_range": [min(memory), max(memory)],
        }
    return table


def show(table: dict[str, Any]) -> None:
    print(f"\n{'policy':<30}{'s/step':>8}{'x uniform':>11}{'range':>16}{'MiB':>8}{'x':>7}")
    for name, row in table.items():
        low, high = row["time_ratio_range"]
        print(
            f"{name:<30}{row['seconds_per_step']:>8.3f}{row['time_ratio']:>11.3f}"
            f"{f'{low:.3f} - {high:.3f}':>16}{row['peak_mib']:>8.0f}{row['memory_ratio']:>7.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/emojiqa"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rank-step", type=int, default=8, help="grid of the ranks, r_min too")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(arguments.rounds):
        # Another order every round: whoever comes first finds the coldest machine.
        names = list(arguments.policies)
        names = names[number % len(names) :] + names[: number % len(names)]
        measured = {}
        for name in names:
            measured[name] = one_run(
                arguments.data, arguments.steps, arguments.rank_step, POLICIES[name]
            )
            took = measured[name]["seconds_per_step"]
            print(f"round {number + 1}/{arguments.rounds}  {name}: {took:.3f} s/step", flush=True)
        rounds.append({name: measured[name] for name in arguments.policies})
    table = summarize(rounds)
    show(table)
    import peft
    import torch

    value = {
        "steps": arguments.steps,
        "rank_step": arguments.rank_step,
        "rounds": rounds,
        "table": table,
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
        "versions": {"torch": torch.__version__, "peft": peft.__version__},
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(dumps(value, indent=2) + "\n")
    print(f"\n{arguments.out}")


if __name__ == "__main__":
    main()
