"""Is a model that was trained for 4 bits closer to its int4 bundle than one that was not?

    python -m experiments.qat.run --quickstart quickstart --work runs/qat

Goes on from the trained model of a quickstart, on its data: each seed (order of the questions,
start of the adapter) trains stage 2 for some more steps, once without `stage2.qat` and once with
it from the first of these steps on. So both arms are what the last share of a run is. Every model
is then asked EmojiQA questions, as it is and on the grid of int4 (`presets/rounded.py`). Each part
is written when it is done; the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path
from typing import Any

from experiments.presets.rounded import clusters_of, measured
from experiments.presets.run import verb
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("result.json")
ARMS = {"none": "", "int4": "int4"}
#: What each arm's weights are rounded on, what an export does by itself first.
ROUNDINGS = {"none": ("training data", "nearest"), "int4": ("nearest", "training data")}


def trained(run: Path, settings: list[str]) -> None:
    """Train and merge a run; what training took goes into `seconds.json`."""
    before = os.times()
    if (run / "run.json").is_file():
        verb("train", str(run), "--resume")
    else:
        verb("train", str(run), *settings)
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    write_json(
        run / "seconds.json",
        {"wall": round(after.elapsed - before.elapsed, 1), "cpu": round(used, 1)},
    )
    verb("merge", str(run))


def step_seconds(run: Path) -> list[float]:
    """Return the wall seconds of each step but the first."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    at = [row["seconds"] for row in rows if row["stage"] == "stage2"]
    return [round(later - earlier, 3) for earlier, later in itertools.pairwise(at)]


def settings_of(quickstart: Path, seed: int, arm: str, steps: int) -> list[str]:
    """Return the configuration of a run as KEY=VALUE."""
    return [
        f"base={quickstart / 'run' / 'merged'}",
        f"seed={seed}",
        f"data.stage2={quickstart / 'emojiqa' / 'train_stage2.json'}",
        f"stage2.steps={steps}",
        "stage2.batch_size=15",
        # About what the last share of the quickstart's steps has on the average.
        "stage2.learning_rate=5e-4",
        "stage2.projector_learning_rate=1e-4",
        f"stage2.qat={ARMS[arm]}",
        "stage2.qat_share=1.0",
        "ranks.policy=fixed",
        f"ranks.map_file={quickstart / 'run' / 'ranks.jsonl'}",
        "ranks.r_ref=16",
        "ranks.alpha_ref=32",
        "runtime.checkpoint_every=5",
        "runtime.log_every=1",
        "runtime.memory_check=false",
        f"runtime.threads={os.environ.get('OMP_NUM_THREADS', '0')}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", type=Path, default=Path("quickstart"))
    parser.add_argument("--work", type=Path, default=Path("runs/qat"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--limit", type=int, default=60, help="questions per split")
    parser.add_argument("--parts", type=int, default=0, help="trainings and roundings; 0: all")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    quiet()
    quickstart = given.quickstart.absolute()
    data = quickstart / "emojiqa"
    result: dict[str, Any] = {
        "what": "EmojiQA; each trained model in fp32 against itself on the grid of int4",
        "environment": json.loads(dumps(vars(environment.collect()))),
        "steps": given.steps,
        "clusters": clusters_of(data, given.limit),
        "seeds": {},
    }
    if given.out.is_file():
        result["seeds"] = json.loads(given.out.read_text())["seeds"]
    done = 0
    # What an export does by itself first, for all seeds.
    for number in range(max(map(len, ROUNDINGS.values()))):
        for seed, arm in itertools.product(range(given.seeds), ARMS):
            run = given.work.absolute() / f"seed{seed}" / arm
            if not (run / "merged").is_dir():
                trained(run, settings_of(quickstart, seed, arm, given.steps))
                done += 1
            if given.parts and done >= given.parts:
                return
            found = result["seeds"].setdefault(str(seed), {}).setdefault(arm, {})
            found["seconds"] = read_json(run / "seconds.json", "seconds")
            found["step_seconds"] = step_seconds(run)
            rows = found.setdefault("rows", {})
            roundings = ROUNDINGS[arm][number : number + 1]
            if roundings and roundings[0] not in rows:
                for name, row in measured(run, data, given.limit, roundings[0]):
                    rows[name] = row
                write_json(given.out, result)
                done += 1
            if given.parts and done >= given.parts:
                return


if __name__ == "__main__":
    main()
