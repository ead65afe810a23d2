"""One run: train an arm with a seed on a task, score it, keep the scores and what explains them.

A process of its own for each run, started by `run`; goes on where it was killed. The trained
weights are deleted once they are scored: they can be made again from config.yaml.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from experiments.quality.scoring import score
from hydra_mobile.config import load_config
from hydra_mobile.core.files import write_json
from hydra_mobile.core.quiet import quiet
from hydra_mobile.training.run import TrainingRun

SCORE = "score.json"


def one_run(folder: Path, data: Path, splits: tuple[str, ...], overrides: list[str]) -> None:
    """Train in `folder`/run with the overrides, and write `folder`/score.json."""
    run = folder / "run"
    config = load_config(None, [*overrides, f"output={run}"])
    result = TrainingRun(config, print).train(resume=run.is_dir())
    scored = score(run, data, splits) if result.name == "adapter" else score(result, data, splits)
    history = run / "ranks.jsonl"
    write_json(
        folder / SCORE,
        {
            "summary": json.loads((run / "summary.json").read_text()),
            "splits": {split: asdict(each) for split, each in scored.items()},
            "rank_events": history.read_text().splitlines() if history.is_file() else [],
            "loss_curve": _curve(run / "metrics.jsonl"),
        },
    )
    for name in ("adapter", "merged", "checkpoints"):
        shutil.rmtree(run / name, ignore_errors=True)


def _curve(metrics: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [(line["step"], round(line["loss"], 4)) for line in lines if line["stage"] == "stage2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", required=True)
    parser.add_argument("--set", nargs="+", required=True, help="section.key=value")
    arguments = parser.parse_args()
    quiet()
    torch.set_float32_matmul_precision("highest")
    one_run(arguments.folder, arguments.data, tuple(arguments.splits), arguments.set)


if __name__ == "__main__":
    main()
